"""The segmenter's answer as the exported graph computes it."""

import tensorflow as tf

from patchwork_tf.export.float_scope import in_float
from patchwork_tf.export.lowering import Lowering
from patchwork_tf.models.segmenter import LOGITS, REFINE_STRIDE

UPSCALE = REFINE_STRIDE  # from logits to pixels, which Patchwork networks see at full resolution


class SegmenterLowering(Lowering):
    """A segmenter's step. Its output is 'mask' (H, W); it remembers foreground's logit minus background's."""

    by_hand = (LOGITS,)

    def _answer(self):
        classify, x = self.convolution_of(LOGITS)
        kernel, bias = classify.weights
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
        part = self.edges_repeated(border)
        part = tf.image.resize(part, [side * UPSCALE for side in part.shape[1:3]])
        reach = UPSCALE // 2  # how far beyond the window pixels depend on it
        part = tf.sigmoid(part[:, reach:-reach, reach:-reach]) - 0.5
        image_size = self.model.config.image_size
        mask_size = tuple(side + 2 * reach for side in image_size)
        mask = self.memory.paste("mask", part, mask_size, self.at_window(image_size))
        return tf.slice(mask, (0, reach, reach, 0), (1, *image_size, 1)) + 0.5
