"""What a model is: everything that decides its layers and their shapes; and how it is run over a stream."""

import dataclasses
import math

from patchwork_tf.choices import HEADS, MEMORIES, POLICY_PRIORS
from patchwork_tf.errors import UsageError
from patchwork_tf.grid import Grid
from patchwork_tf.models.backbone import STRIDE
from patchwork_tf.task import get_task


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """A model of the zoo.

    Attributes:
        task: name of a task, 'detection' or 'segmentation'.
        cells: M, the frame is a grid of M x M cells.
        window_cells: N, one step looks at N x N cells; M = N is the single-frame network.
        depth: width multiplier of what runs on the window.
        image_size: (H, W) of the frame in pixels. An int means a square.
        resolution: part of the frame's pixels that the network works on; 0.25 is half the side.
            Height and width times its square root must be divisible by 32 M, but for detectors with 'ssd'
            heads that see whole frames.
        num_classes: foreground classes; by default the task's: the 30 of ImageNet VID, and 1 of segmentation,
            which knows no other number.
        memory: 'features', a cell at every convolution (Figure 11b), or 'pixels', one cell at
            the input, after which the whole network runs on the assembled image (Figure 11a): the
            ceiling of accuracy, at the cost of the single-frame network.
        heads: of a detector, 'patchwork' or 'ssd'.
        trained_size: (H, W) of the images that a detector's weights were trained on. Networks know things by their
            pixels, so anchors have the same there and here. None: the size the network works on.
        backbone: name of a registered backbone, see `backbone.register_backbone`.
        network: name of a network that is described in full, heads and all, see `networks`; depth, heads and
            backbone say nothing then, and parts whose maps do not divide into cells are on the map.
        policy_prior: what the attention network's values are added to: 'rule', or 'none', as the paper words it.
    """

    task: str = "detection"
    cells: int = 1
    window_cells: int = 1
    depth: float = 1.0
    image_size: tuple[int, int] = (384, 384)
    resolution: float = 1.0
    num_classes: int | None = None
    memory: str = "features"
    heads: str = "patchwork"
    trained_size: tuple[int, int] | None = None
    backbone: str = "mobilenet_v2"
    network: str | None = None
    policy_prior: str = "rule"

    def __post_init__(self):
        if isinstance(self.image_size, int):
            object.__setattr__(self, "image_size", (self.image_size, self.image_size))
        object.__setattr__(self, "image_size", tuple(self.image_size))
        if self.trained_size is not None:
            object.__setattr__(self, "trained_size", tuple(self.trained_size))
        if self.num_classes is None:
            object.__setattr__(self, "num_classes", get_task(self.task).num_classes)
        for field, choices in (("memory", MEMORIES), ("heads", HEADS), ("policy_prior", POLICY_PRIORS)):
            if getattr(self, field) not in choices:
                raise UsageError(f"{field} must be one of {', '.join(choices)}, not {getattr(self, field)}")
        if not 0 < self.resolution <= 1:
            raise UsageError(
                f"resolution is a part of the frame's pixels, above 0 and at most 1, not {self.resolution}"
            )
        self._check_image_size()
        if self.depth <= 0:
            raise UsageError(f"depth must be positive, not {self.depth}")
        if self.num_classes < 1:
            raise UsageError(f"num_classes must be at least 1, not {self.num_classes}")
        get_task(self.task).check(self)

    def _check_image_size(self):
        is_any_size = self.network or (self.heads == "ssd" and self.grid.is_whole_frame)
        if is_any_size and min(self.image_size) >= STRIDE:
            return
        stride = get_task(self.task).stride
        multiple = stride * self.grid.cells / math.sqrt(self.resolution)
        if all(side > 0 and side % multiple == 0 for side in self.image_size):
            return
        height, width = self.image_size
        nearest = [max(1, round(side / multiple)) * multiple for side in self.image_size]
        raise UsageError(
            f"image size {height}x{width} does not divide into {self.cells} x {self.cells} cells of "
            f"whole {stride} pixel blocks: both sides must be multiples of {multiple:g}, "
            f"for example {nearest[0]:g}x{nearest[1]:g}"
        )

    @property
    def grid(self) -> Grid:
        """The grid that windows are counted in."""
        return Grid(self.cells, self.window_cells)

    @property
    def feature_grid(self) -> Grid:
        """The grid of the layers: of one cell if they see whole frames, assembled at the input."""
        return self.grid if self.memory == "features" else Grid()

    @property
    def network_size(self) -> tuple[int, int]:
        """(H, W) in pixels of the image that the network works on."""
        return tuple(round(side * math.sqrt(self.resolution)) for side in self.image_size)

    @property
    def size_of_training(self) -> tuple[int, int]:
        """(H, W) in pixels of the images that weights were trained on."""
        return self.trained_size or self.network_size


@dataclasses.dataclass(frozen=True)
class StreamConfig:
    """How a model is run over the frames of a stream."""

    interval: int = 1  # K, only every K-th frame (the key frames) is processed; others get the last answer
    delay: int = 0  # frames by which an answer is late; K - 1 spreads one inference over K frames
    flip: bool = False  # also run the mirrored frame as a second stream, and merge both
    # Of detectors, every class of every anchor is a candidate of suppression; else its best is, as in files.
    every_class: bool = False


EVERY_FRAME = StreamConfig()


@dataclasses.dataclass(frozen=True)
class ModelInfo:
    """What else a model knows: what it is for, and what its weights have learned."""

    system: str | None = None  # name of the one that it belongs to
    stream: StreamConfig = EVERY_FRAME  # how it is run over a stream
    reference: str | None = None  # name of the single-frame system that it is held against
    class_names: tuple[str, ...] | None = None  # of the foreground, in order; numbers, if it has not learned any
    resize_mode: str = "stretch"  # how frames get to its image size, see `choices.RESIZE_MODES`
    weights: str = "random weights"  # where they come from
    weights_sha256: str | None = None  # of the checkpoint file that they were read from

    @classmethod
    def from_json(cls, fields: dict) -> "ModelInfo":
        """Of its fields, once JSON."""
        stream, names = StreamConfig(**fields["stream"]), tuple(fields["class_names"])
        return cls(**{**fields, "stream": stream, "class_names": names})
