"""Runs systems over a video and writes it annotated: boxes or mask, the window looked at, stale parts dark.

  patchwork-demo --video=clip.mp4 --output=annotated.mp4
  patchwork-demo --system=oid-sf,oid-sf-int4,oid-pw-m4n2 --video=clip.mp4 --output=annotated.mp4 --json=boxes.json
  patchwork-demo --system=oid-pw-m4n2,voc-sf,voc-pw-m4n2 --video=clip.mp4 --output=boxes_and_masks.mp4

Several systems are shown side by side, those that answer the same in a row, and a table says what each costs and
how well it agrees with the first of its row.
--video is any file that FFmpeg reads, also out of a pipe (/dev/stdin), which is read to its end first, or a
folder of frames, of any size and shape. For moving_objects, `moving_objects:K` is clip K of the validation set.
Systems without --checkpoint take the weights that are shipped, where there are some.
"""

import sys

from absl import flags

from patchwork_tf import cli
from patchwork_tf.errors import UsageError

_FLAGS = flags.FlagValues()
cli.define(_FLAGS, "system", "checkpoint", "tflite", "video", "output", "json", system="oid-pw-m4n2")
cli.define(_FLAGS, "policy", "start", "max_frames")
flags.DEFINE_boolean(
    "show_values",
    False,
    "Also draw what windows are held for worth, a square each, the brighter the more; the best is outlined.",
    flag_values=_FLAGS,
)
flags.DEFINE_float(
    "min_score",
    0.3,
    "Detections of lower score are not shown, nor written; there are none below 0.01.",
    0,
    1,
    flag_values=_FLAGS,
)
flags.DEFINE_float(
    "fps", None, "Frames per second of the output; by default the video's.", lower_bound=0.1, flag_values=_FLAGS
)
cli.define(_FLAGS, "image_size", "depth", "seed")


def _demo():
    from patchwork_tf.commands.showing import run

    cli.required(_FLAGS, "video")
    if not (_FLAGS.output or _FLAGS.json):
        raise UsageError("--output is required, the video to write, or --json")
    run(_FLAGS)


def main(argv=None) -> int:
    return cli.run(_demo, _FLAGS, "patchwork-demo", __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())
