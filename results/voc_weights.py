"""Makes patchwork_tf/pretrained/voc.npz of DeepLabV3 MobileNetV2 for PASCAL VOC, as Google published it.

  python results/voc_weights.py --tflite=deeplabv3_mnv2_pascal_quant.tflite \\
      --output=patchwork_tf/pretrained/voc.npz

The file is in github.com/google-coral/test_data (Apache-2.0). Its 8 bits become 16: the numbers are those of
`patchwork-import` rounded to float16.
"""

import argparse
import dataclasses
import tempfile

from patchwork_tf.export.importer import import_tflite
from patchwork_tf.zoo import checkpoints
from patchwork_tf.zoo.systems import get_system

LABELS = "results/voc_labels.txt"


def main():
    """Writes --output."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tflite", required=True)
    parser.add_argument("--output", required=True)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        import_tflite(given.tflite, f"{folder}/voc", LABELS, "segmentation")
        made = checkpoints.read(f"{folder}/voc")
        about = {
            "system": "voc-sf",
            "model": dataclasses.asdict(get_system("voc-sf").model),
            "network": made.metadata["network"] | {"name": "voc"},
        }
        checkpoints.pack(dataclasses.replace(made, metadata=made.metadata | about), given.output, bits=16)


if __name__ == "__main__":
    main()
