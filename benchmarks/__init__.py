"""Latency benchmarks. Imported as patchwork_tf.benchmarks."""
