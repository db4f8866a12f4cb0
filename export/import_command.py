"""Makes Patchwork of a network that was trained elsewhere, a .tflite file. Nothing is trained.

  patchwork-import --tflite=deeplab.tflite --labels=labels.txt --model_dir=/tmp/mine
  patchwork-compare --checkpoint=/tmp/mine --tflite=deeplab.tflite --video=yours.mp4
  patchwork-export --system=pw-m4n2 --checkpoint=/tmp/mine --output=patchwork.tflite

The file is of convolutions, with one frame as input, in float32, float16 or 8 bits. It is read operator by
operator, and written as a checkpoint after our network has given the file's own answers at its size. Systems of
it are named by how it is run: sf on every frame, sf-int3 on every third, pw-m4n2 through windows of 2 x 2 of 4 x 4
cells.
"""

import sys

from patchwork_tf import cli
from patchwork_tf.choices import RESIZE_MODES
from patchwork_tf.errors import UsageError
from patchwork_tf.grid import Grid

_FLAGS = cli.Flags()
_FLAGS.string("tflite", "The network's .tflite file. Required.")
cli.define(_FLAGS, "model_dir")
_FLAGS.string("labels", "Text file with one class name per line; by default what is packed into the .tflite.")
_FLAGS.string(
    "input_range", "What the input has for black and white: -1,1 or 0,1 or 0,255. Files in 8 bits say it."
)
_FLAGS.enum(
    "task",
    "What it answers: boxes, masks, or maps as they are; by default what its last operators say.",
    values=["detection", "segmentation", "maps"],
)
_FLAGS.string(
    "anchors",
    "Of detectors that have no anchors in the file: ssd, mediapipe or yolox, by their published rules, or a file, "
    ".npy or text, of ycenter, xcenter, height, width per line.",
)
cli.define(_FLAGS, "image_size")
_FLAGS.enum(
    "resize_mode",
    "How its frames got to its size where it was trained; a letterbox leaves bars.",
    default="stretch",
    values=RESIZE_MODES,
)
_SHOWN = {"sf": Grid(), "pw-m4n2": Grid(4, 2), "pw-m4n1": Grid(4, 1)}
_MUCH = 1 / 3  # of a step on the map of the full frame, from which on another size is shown
_WHOLE_STRIDE = 128  # sides of frames that divide into 4 x 4 cells at stride 32


@cli.command("patchwork-import", _FLAGS, __doc__)
def main():
    """Imports a network and says what it costs as Patchwork."""
    from patchwork_tf.export import importer

    cli.required(_FLAGS, "tflite", "model_dir")
    cli.check_outputs(_FLAGS, "model_dir")
    made = importer.import_tflite(
        _FLAGS.tflite,
        _FLAGS.model_dir,
        labels=_FLAGS.labels,
        task=_FLAGS.task,
        image_size=_FLAGS.image_size,
        input_range=_FLAGS.input_range and _range(_FLAGS.input_range),
        anchors=_FLAGS.anchors,
        resize_mode=_FLAGS.resize_mode,
    )
    source, size = made.source, made.config.image_size
    text = ", 8 bits" if source.in_8_bits else ""
    print(f"read:    {source.network.count_params() / 1e6:.1f} M parameters{text}; answers {made.meaning.said}")
    print(f"proven:  {made.proof} at {_sides(source.image_size)}")
    print(f"written: {made.path}, for frames of {_sides(size)}")
    costs, has_windows = _costs(made)
    print(costs)
    if not has_windows:
        print(
            "Next: patchwork-import once more, at a size that is named above; this one is for whole frames alone"
        )
        return
    print(
        f"Next: patchwork-compare --checkpoint={_FLAGS.model_dir} --tflite={_FLAGS.tflite} --video=VIDEO\n"
        f"      patchwork-demo --system=sf,pw-m4n2 --checkpoint={_FLAGS.model_dir} --video=VIDEO "
        "--output=annotated.mp4\n"
        f"      patchwork-export --system=pw-m4n2 --checkpoint={_FLAGS.model_dir} --output=patchwork.tflite"
    )


def _range(text):
    try:
        low, high = map(float, text.split(","))
    except ValueError:
        raise UsageError(f"--input_range={text}: two numbers, such as -1,1") from None
    return low, high


def _costs(made) -> tuple[str, bool]:
    """Multiply-adds of some systems, at the size and, if much of them is on the map, at another.

    And whether there are windows at the size itself.
    """
    from patchwork_tf.models.costs import plan_macs
    from patchwork_tf.models.networks import get_network
    from patchwork_tf.models.patch import AUTO, plan_of

    described, size, lines, whole = get_network(made.config.network), made.config.image_size, [], None
    notes = []
    titles = ["system", "pixels", "M multiply-adds", "of sf", "on the map of the full frame"]
    sizes = [size, tuple(-(-side // _WHOLE_STRIDE) * _WHOLE_STRIDE for side in size)]
    for size in dict.fromkeys(sizes):
        shares = []
        try:
            network = described.build(size)
            for name, grid in _SHOWN.items():
                macs, on_map = plan_macs(plan_of(network, grid, AUTO, tuple(network.output)))
                whole, on_map = (macs, 0) if grid.is_whole_frame else (whole, on_map)
                shares.append(on_map / macs)
                numbers = f"{macs / 1e6:.0f}", f"{macs / whole:.2f}", f"{on_map / 1e6:.0f}"
                lines.append([name, _sides(size), *numbers])
        except UsageError as error:
            notes.append(f"{_sides(size)}: {error}")
        if notes or max(shares) < _MUCH:
            break
    own = [name for name, pixels, *_ in lines if pixels == _sides(made.config.image_size)]
    return "\n".join([cli.table(titles, lines, left=(0, 1)), *notes]), set(own) == set(_SHOWN)


def _sides(size) -> str:
    return "x".join(map(str, size))


if __name__ == "__main__":
    sys.exit(main())
