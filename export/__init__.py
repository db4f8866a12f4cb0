"""Export to TFLite, and running what was exported. Imported as patchwork_tf.export."""
