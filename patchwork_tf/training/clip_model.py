"""A detector unrolled over clips, in the form that `keras.Model.fit` trains."""

import keras
from keras import ops

from patchwork_tf.training import losses


class ClipDetector(keras.Model):
    """Trains a detector on every frame of clips, gradients flowing through its memory.

    Each step is judged by what it freshly predicts: the window's high-resolution anchors and
    all low-resolution ones, against the objects of that frame. Stale predictions are not, for no
    weight could have known the future when they were made.

    `fit` takes (clip, objects):
        clip: 'frames' (B, T, H, W, 3) uint8 and 'windows' (B, T, 2) int32, B and T static.
        objects: 'boxes' (B, T, G, 4) float32 and 'labels' (B, T, G) int32, 0 for padding.
    """

    def __init__(self, detector):
        super().__init__(name="clip_detector")
        self.detector = detector
        self.unrolled = _Unrolled(detector)
        self.class_loss = keras.metrics.Mean(name="class_loss")
        self.box_loss = keras.metrics.Mean(name="box_loss")
        self.built = True  # the detector's layers are

    def call(self, clip, training=None):
        """Returns class logits (B, T, a, 1 + classes) and box codes (B, T, a, 4) of the fresh anchors."""
        # JAX's `fit` does not enter this model through __call__, which tells nested layers that they train.
        return self.unrolled(clip, training=training)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Focal loss of the classes plus smooth L1 of the boxes, averaged over matched anchors."""
        class_targets, code_targets = self._targets(x["windows"], y["boxes"], y["labels"])
        class_loss, box_loss = losses.detection_loss(
            y_pred["logits"], y_pred["codes"], class_targets, code_targets
        )
        self.class_loss.update_state(class_loss)
        self.box_loss.update_state(box_loss)
        return class_loss + box_loss

    def _targets(self, windows, boxes, labels):
        """Targets (B, T, a) and (B, T, a, 4) of the anchors that each step predicts freshly."""
        labels = losses.seen_labels(boxes, labels, windows, self.detector.grid)
        classes, codes = losses.match_anchors(self.detector.anchors, boxes, labels)
        batch, time, anchors = classes.shape
        windows = ops.reshape(windows, (batch * time, 2))
        classes = self.detector.select_window(ops.reshape(classes, (batch * time, anchors, 1)), windows)
        codes = self.detector.select_window(ops.reshape(codes, (batch * time, anchors, 4)), windows)
        return ops.reshape(classes, (batch, time, -1)), ops.reshape(codes, (batch, time, -1, 4))


class _Unrolled(keras.layers.Layer):
    """A detector run over the frames of clips from zero memory on."""

    def __init__(self, detector):
        super().__init__(name="unrolled")
        self.detector = detector
        self.built = True
        self._step = self._traced_once()

    def _traced_once(self):
        """predict_window as one function of the graph, so that TensorFlow traces it once, not T times."""

        def step(training, frame, window, state):
            del training  # layers read it from Keras' call context; here it only keys the trace
            return self.detector.predict_window(frame, window, state)

        if keras.backend.backend() != "tensorflow":
            return step
        import tensorflow as tf

        from patchwork_tf.training import tensorflow_gradients

        tensorflow_gradients.register()
        return tf.function(step)

    def call(self, clip, training=None):
        frames, windows = clip["frames"], clip["windows"]
        state = self.detector.initial_state(frames.shape[0])
        logits, codes = [], []
        for t in range(frames.shape[1]):
            frame = ops.cast(frames[:, t], "float32") / 127.5 - 1.0
            predictions, state = self._step(bool(training), frame, windows[:, t], state)
            level_logits, level_codes = zip(*predictions, strict=True)
            logits.append(ops.concatenate(level_logits, axis=1))
            codes.append(ops.concatenate(level_codes, axis=1))
        return {"logits": ops.stack(logits, axis=1), "codes": ops.stack(codes, axis=1)}
