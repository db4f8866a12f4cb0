"""What a model is: everything that decides its layers and their shapes."""

import dataclasses

from patchwork_tf.errors import UsageError
from patchwork_tf.grid import Grid
from patchwork_tf.models.mobilenet_v2 import STRIDE


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """A model of the zoo.

    Attributes:
        task: 'detection'.
        cells: M, the frame is a grid of M x M cells.
        window: N, one step looks at N x N cells; M = N is the single-frame network.
        depth: width multiplier of what runs on the window.
        image_size: (H, W) in pixels, both divisible by 32 M. An int means a square.
        num_classes: foreground classes.
    """

    task: str = "detection"
    cells: int = 1
    window: int = 1
    depth: float = 1.0
    image_size: tuple[int, int] = (384, 384)
    num_classes: int = 30

    def __post_init__(self):
        if isinstance(self.image_size, int):
            object.__setattr__(self, "image_size", (self.image_size, self.image_size))
        object.__setattr__(self, "image_size", tuple(self.image_size))
        multiple = STRIDE * self.grid.cells
        height, width = self.image_size
        if height < multiple or width < multiple or height % multiple or width % multiple:
            nearest = [max(1, round(side / multiple)) * multiple for side in self.image_size]
            raise UsageError(
                f"image size {height}x{width} does not divide into {self.cells} x {self.cells} cells of "
                f"whole {STRIDE} pixel blocks: both sides must be multiples of {multiple}, "
                f"for example {nearest[0]}x{nearest[1]}"
            )
        if self.depth <= 0:
            raise UsageError(f"depth must be positive, not {self.depth}")
        if self.num_classes < 1:
            raise UsageError(f"num_classes must be at least 1, not {self.num_classes}")

    @property
    def grid(self) -> Grid:
        return Grid(self.cells, self.window)
