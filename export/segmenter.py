"""The segmenter's answer as the exported graph computes it."""

import tensorflow as tf

from patchwork_tf.export.float_scope import in_float
from patchwork_tf.export.lowering import Lowering
from patchwork_tf.models.segmenter import LOGITS, OUTPUTS, margin_of, surprising, with_margin


class SegmenterLowering(Lowering):
    """A segmenter's step. Its output is 'mask' (H, W), and 'classes' (H, W) if it tells several apart.

    It remembers foreground's logit minus background's, or the logits of all classes.
    """

    @property
    def by_hand(self):
        made = [op for op in self.operations if op.output is self.model.plan.outputs[LOGITS]]
        is_pair = self.model.logits_shape[-1] == OUTPUTS and made and made[0].is_pointwise
        return (LOGITS,) if is_pair else ()

    def _answer(self):
        if self.by_hand:
            classify, x = self.convolution_of(LOGITS)
            kernel, bias = (values[..., 1:] - values[..., :1] for values in classify.weights)
            known = tf.nn.bias_add(tf.nn.conv2d(x, kernel, 1, "VALID"), bias)
        else:
            known = self._known(self.tensors[id(self.model.plan.outputs[LOGITS])])
        found = self._masks(known)
        return found, None if self.fresh is None else self._need(known[..., :1])

    @in_float
    def _need(self, margin):
        """`model.need`: how undecided a window's cells are, and perhaps how much they have changed.

        What they are is remembered as what they are short of being undecided.
        """
        certainty = 1 - self.model.undecided(margin)
        undecided = 1 - (self.blended_cells("certainty", certainty) if self._is_renewed else certainty)
        if not self.model.follows_surprise:
            return undecided
        return surprising(undecided, self.blended_cells("surprise", self._surprise))

    @in_float
    def _known(self, logits):
        """The margin (1, h, w, 1) of logits; if there are several classes, all of these behind it."""
        return with_margin(logits) if self.model.tells_classes else margin_of(logits)

    @property
    def _is_renewed(self) -> bool:
        """Whether the answer of windows is."""
        return self.remembers and self.model.is_remembered

    @in_float
    def _masks(self, known):
        """Probability of foreground (H, W) of what is `_known`, and the likeliest classes."""
        image_size = self.model.config.image_size
        found = self._renewed(known) if self._is_renewed else self._pixels_of(known, image_size)
        # Indexing would take four times as long as all of the above.
        found = {name: tf.reshape(x, image_size) for name, x in found.items()}
        return {name: tf.cast(x, tf.int32) if name == "classes" else x for name, x in found.items()}

    def _resized(self, x, size):
        """`PatchworkSegmenter._enlarged` in operators of TensorFlow."""
        if tuple(x.shape[1:3]) == tuple(size):
            return x
        if not self.model.corners:
            return tf.image.resize(x, size)
        is_block = all(side % own == 0 for side, own in zip(size, x.shape[1:3], strict=True))
        return tf.compat.v1.image.resize_bilinear(x, size, align_corners=not is_block)

    def _pixels_of(self, known, size) -> dict:
        """Probability of foreground, and classes in float32, (1, H, W, 1) of `size`."""
        known = self._resized(known, size)
        found = {"mask": tf.sigmoid(known[..., :1])}
        if self.model.tells_classes:
            found["classes"] = tf.cast(tf.argmax(known[..., 1:], 3, tf.int32), tf.float32)[..., None]
        return found

    def _renewed(self, known) -> dict:
        """The same of the full frame: renewed where it depends on a window, remembered elsewhere.

        What is remembered is the mask minus 1/2, which is 0 where nothing has been seen yet.
        """
        size, image_size = self.model.logits_shape[:2], self.model.config.image_size
        upscale = image_size[0] // size[0]
        # How many pixels before a window depend on it: half a block, or with `corners` a whole one.
        before = 0 if upscale == 1 else upscale if self.model.corners else upscale // 2
        if upscale > 1:
            known = self.edges_repeated(self.memory.surround("margin", known, size, 1, 1))
        found = self._pixels_of(known, [side * upscale for side in known.shape[1:3]])
        mask_size = tuple(side + upscale * (upscale > 1) for side in image_size)
        first = upscale - before if upscale > 1 else 0  # of the pixels that depend on the window
        renewed = {}
        for name, part in found.items():
            if upscale > 1:
                height, width = (side - upscale for side in part.shape[1:3])
                part = part[:, first : first + height, first : first + width]
            part = part - 0.5 if name == "mask" else part
            if name == "mask" and self.model.follows_surprise:
                change = tf.abs(part - self.memory.before("mask", part, self.at_window(image_size)))
                height, width = self.grid.window_size(image_size)
                inside = change[:, before : before + height, before : before + width]
                self._surprise = self.model.mean_of_cells(inside)
            x = self.memory.paste(name, part, mask_size, self.at_window(image_size))
            x = tf.slice(x, (0, before, before, 0), (1, *image_size, 1))
            renewed[name] = x + 0.5 if name == "mask" else x
        return renewed
