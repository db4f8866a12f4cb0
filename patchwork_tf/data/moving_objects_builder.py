"""moving_objects as a TFDS data set, for those who would rather render once."""

import dataclasses

import tensorflow_datasets as tfds

from patchwork_tf.data import moving_objects
from patchwork_tf.data.moving_objects import CLASSES, SPLITS, render_clip
from patchwork_tf.data.schema import rendered_example, video_features


@dataclasses.dataclass
class MovingObjectsConfig(tfds.core.BuilderConfig):
    """How many clips of which size; the clips are those of `render_clip` with the same seed."""

    image_size: int = 128
    scenes: str = "varied"
    clip_frames: int = 16
    clips: dict[str, int] = dataclasses.field(
        default_factory=lambda: {"train": 2000, "validation": 100, "test": 100}
    )
    seed: int = 0


class MovingObjects(tfds.core.GeneratorBasedBuilder):
    """Generated clips with exact boxes, instance masks and track ids. See moving_objects.py."""

    VERSION = tfds.core.Version("3.0.0")
    BUILDER_CONFIGS = [  # noqa: RUF012  TFDS' own convention
        MovingObjectsConfig(
            name=f"{size}{'' if scenes == 'varied' else f'_{scenes}'}",
            image_size=size,
            scenes=scenes,
            description=f"{scenes} scenes, {size} x {size} pixels",
        )
        for scenes in ("varied", "sparse")
        for size in (128, 256, 384)
    ]

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=moving_objects.__doc__,
            features=video_features(CLASSES, masks=True, encoding="png"),
        )

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(split) for split in SPLITS}

    def _generate_examples(self, split):
        config = self.builder_config
        for index in range(config.clips[split]):
            clip = render_clip(index, config.clip_frames, config.image_size, split, config.seed, config.scenes)
            yield index, rendered_example(f"{split}-{index:05d}", clip, masks=True)
