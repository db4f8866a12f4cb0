"""The segmenter's decoder as the exported graph computes it."""

import numpy as np
import tensorflow as tf

from patchwork_tf.export.lowering import Lowering, constant, convolve, in_float, pointwise
from patchwork_tf.models.segmenter import ASPP_RATES, ASPP_STRIDE, REFINE_STRIDE

UPSCALE = REFINE_STRIDE  # from logits to pixels, which Patchwork networks see at full resolution


class SegmenterLowering(Lowering):
    """A segmenter's step. Its output is 'mask' (H, W); it remembers foreground's logit minus background's."""

    restored_border = (max(ASPP_RATES), max(ASPP_RATES))
    wants_restored = True

    def _answer(self):
        model = self.model
        x = self._pyramid_pooling(self.map_of(ASPP_STRIDE))
        x = self._upsampled(x)
        x = tf.concat([x, pointwise(self.map_of(REFINE_STRIDE), model.early)], 3)
        for part in model.refine:
            x = self.block(x, part)
        kernel, bias = constant(model.classify.kernel), constant(model.classify.bias)
        margin = tf.nn.bias_add(
            tf.nn.conv2d(x, kernel[..., 1:] - kernel[..., :1], 1, "VALID"), bias[1:] - bias[:1]
        )
        return {"mask": self._mask(margin)}, None if self.fresh is None else self._undecided(margin)

    @in_float
    def _undecided(self, margin):
        """`model.need`: what a window's cells are is remembered, as what they are short of being undecided."""
        certainty = 1 - self.model.undecided(margin)
        return 1 - (self.blended_cells("certainty", certainty) if self.remembers else certainty)

    @in_float
    def _mask(self, margin):
        """Probability of foreground (H, W) from the margin (1, h, w, 1) between logits."""
        image_size = self.model.config.image_size
        if not self.remembers:
            mask = tf.sigmoid(tf.image.resize(margin, image_size))
        else:
            mask = self._renewed_mask(margin)
        return tf.reshape(mask, image_size)  # indexing would take four times as long as all of the above

    def _renewed_mask(self, margin):
        """The same (1, H, W, 1) of the full frame: renewed where a window's margin matters, remembered elsewhere.

        What is remembered is the mask minus 1/2, which is 0 where nothing has been seen yet.
        """
        border = self.memory.surround("margin", margin, self.model.logits_shape[:2], 1, 1)
        part = self._edges_repeated(border)
        part = tf.image.resize(part, [side * UPSCALE for side in part.shape[1:3]])
        reach = UPSCALE // 2  # how far beyond the window pixels depend on it
        part = tf.sigmoid(part[:, reach:-reach, reach:-reach]) - 0.5
        image_size = self.model.config.image_size
        mask_size = tuple(side + 2 * reach for side in image_size)
        mask = self.memory.paste("mask", part, mask_size, self.at_window(image_size))
        return tf.slice(mask, (0, reach, reach, 0), (1, *image_size, 1)) + 0.5

    def _pyramid_pooling(self, x):
        branches = [pointwise(x, self.model.aspp_pointwise)]
        for rate, part in zip(ASPP_RATES, self.model.aspp_dilated, strict=True):
            if not self.remembers:
                branches.append(convolve(x, part, "SAME"))
            else:
                branches.append(convolve(self.restored_part(rate), part))
        return pointwise(tf.concat(branches, 3), self.model.aspp_join)

    def _upsampled(self, x):
        """The window of the upsampled full frame, whose border is the frame's own edge at the frame's edge."""
        cell = self.model.upsample
        factor = cell.layer.size[0]
        if not self.remembers:
            return tf.image.resize(x, [side * factor for side in x.shape[1:3]])
        context = self._edges_repeated(self.memory.surround(cell.key, x, cell.frame_shape[:2], 1, 1))
        context = tf.image.resize(context, [side * factor for side in context.shape[1:3]])
        return context[:, factor:-factor, factor:-factor]

    def _edges_repeated(self, x):
        """x (1, h + 2, w + 2, C), its outermost pixels replaced by those beside them where they are off the frame.

        By arithmetic: a choice between tensors would break the delegate's graph in two.
        """
        last = self.grid.positions - 1
        at_edge = np.float32([[r == 0, r == last, c == 0, c == last] for r, c in self.grid.windows])
        outside = tf.gather(at_edge, self.position)
        above, below = _or(x[:, :1], x[:, 1:2], outside[0]), _or(x[:, -1:], x[:, -2:-1], outside[1])
        x = tf.concat([above, x[:, 1:-1], below], 1)
        left, right = _or(x[:, :, :1], x[:, :, 1:2], outside[2]), _or(x[:, :, -1:], x[:, :, -2:-1], outside[3])
        return tf.concat([left, x[:, :, 1:-1], right], 2)


def _or(first, second, choice):
    """`second` where `choice` is 1, `first` where it is 0, exactly."""
    return first * (1 - choice) + second * choice
