"""moving_objects as a TensorFlow Datasets builder, for those who prefer clips prepared on disk.

    builder = MovingObjects(config='128', data_dir='/tmp/tfds')
    builder.download_and_prepare()

or `python -m patchwork_tf.data.moving_objects_builder --data_dir=/tmp/tfds --config=128`.
"""

import dataclasses
import sys

import numpy as np
import tensorflow_datasets as tfds
from absl import flags

from patchwork_tf import cli
from patchwork_tf.data import moving_objects
from patchwork_tf.data.moving_objects import MAX_OBJECTS, SPLITS, render_clip


@dataclasses.dataclass
class MovingObjectsConfig(tfds.core.BuilderConfig):
    """How many clips of which size; the clips are those of `render_clip` with the same seed."""

    image_size: int = 128
    clip_frames: int = 16
    clips: dict[str, int] = dataclasses.field(
        default_factory=lambda: {"train": 2000, "validation": 100, "test": 100}
    )
    seed: int = 0


class MovingObjects(tfds.core.GeneratorBasedBuilder):
    """Generated clips with exact boxes, instance masks and track ids. See moving_objects.py."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [  # noqa: RUF012  TFDS' own convention
        MovingObjectsConfig(name=str(size), image_size=size, description=f"{size} x {size} pixels")
        for size in (128, 256, 384)
    ]

    def _info(self) -> tfds.core.DatasetInfo:
        config = self.builder_config
        count, size = config.clip_frames, config.image_size
        return tfds.core.DatasetInfo(
            builder=self,
            description=moving_objects.__doc__,
            features=tfds.features.FeaturesDict(
                {
                    "index": tfds.features.Scalar(np.int64),
                    "frames": tfds.features.Video(shape=(count, size, size, 3)),
                    "instances": tfds.features.Video(shape=(count, size, size, 1)),
                    "boxes": tfds.features.Tensor(shape=(count, MAX_OBJECTS, 4), dtype=np.float32),
                    "labels": tfds.features.Tensor(shape=(count, MAX_OBJECTS), dtype=np.int32),
                    "track_ids": tfds.features.Tensor(shape=(MAX_OBJECTS,), dtype=np.int32),
                }
            ),
        )

    def _split_generators(self, dl_manager):
        del dl_manager
        return {split: self._generate_examples(split) for split in SPLITS}

    def _generate_examples(self, split):
        config = self.builder_config
        for index in range(config.clips[split]):
            clip = render_clip(index, config.clip_frames, config.image_size, split, config.seed)
            yield (
                index,
                {
                    "index": index,
                    "frames": clip.frames,
                    "instances": clip.instances[..., None],
                    "boxes": clip.boxes,
                    "labels": clip.labels,
                    "track_ids": clip.track_ids,
                },
            )


_FLAGS = flags.FlagValues()
_DATA_DIR = flags.DEFINE_string("data_dir", None, "TFDS folder to prepare into. Required.", flag_values=_FLAGS)
_CONFIG = flags.DEFINE_enum(
    "config", "128", [c.name for c in MovingObjects.BUILDER_CONFIGS], "Frame size.", flag_values=_FLAGS
)


def _prepare():
    if not _DATA_DIR.value:
        raise cli.UsageError("--data_dir is required: the TFDS folder to prepare into")
    builder = MovingObjects(config=_CONFIG.value, data_dir=_DATA_DIR.value)
    builder.download_and_prepare()
    print(builder.info)


def main(argv=None) -> int:
    return cli.run(_prepare, _FLAGS, "moving_objects_builder", __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())
