"""DAVIS 2016 as a TFDS data set: 480p frames with masks of the foreground.

manual_dir is the folder that holds JPEGImages, Annotations and ImageSets, of the 2016 release
or of the 2017 one, whose objects are merged into one foreground.
"""

import tensorflow_datasets as tfds
from etils import epath

from patchwork_tf.data.schema import VideoExample, find_folder, read_list, video_features
from patchwork_tf.errors import DataError
from patchwork_tf.pictures import list_folder, read_mask, read_stored

RESOLUTION = "480p"
_SPLITS = {"train": "train.txt", "validation": "val.txt"}


class Davis2016(tfds.core.GeneratorBasedBuilder):
    """Sequences of DAVIS 2016. See davis2016.py."""

    VERSION = tfds.core.Version("2.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = "Download DAVIS 2016 or 2017 at 480p from davischallenge.org and unpack it."
    skip_bad = False
    listed = ()  # names of all sequences that should be there, once the lists were read

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self, description=__doc__, features=video_features(masks=True), disable_shuffling=True
        )

    def _split_generators(self, dl_manager):
        root = str(dl_manager.manual_dir)
        find_folder(root, f"JPEGImages/{RESOLUTION}", what="DAVIS 2016")
        find_folder(root, f"Annotations/{RESOLUTION}", what="DAVIS 2016")
        # The 2016 release lists frames in ImageSets/480p, the 2017 one sequences in ImageSets/2016.
        lists = find_folder(root, f"ImageSets/{RESOLUTION}", "ImageSets/2016", what="DAVIS 2016")
        present = {split: f"{lists}/{name}" for split, name in _SPLITS.items() if name in list_folder(lists)}
        if not present:
            raise DataError(f"{lists}: neither {' nor '.join(_SPLITS.values())} is there")
        sequences = {split: read_sequences(root, path) for split, path in present.items()}
        self.listed = [sequence for some in sequences.values() for sequence in some]
        return {split: self._generate_examples(root, some) for split, some in sequences.items()}

    def _generate_examples(self, root, sequences):
        for number, (sequence, names) in enumerate(sequences.items()):
            collected = VideoExample(sequence, self.skip_bad)
            for name in names:
                collected.add(name, lambda name=name, sequence=sequence: _read_frame(root, sequence, name))
            if collected.example["frames"]:
                yield number, collected.example
            elif not self.skip_bad:
                raise DataError(f"{root}/JPEGImages/{RESOLUTION}/{sequence}: no frames in this sequence")


def read_sequences(root: str, list_path: str) -> dict[str, list[str]]:
    """Frame names of every sequence in a list of DAVIS 2016, whose lines name frames, or 2017, sequences."""
    sequences = {}
    for number, line in enumerate(read_list(list_path), start=1):
        image = line.split()[0].strip("/").split("/")
        if len(image) == 1:
            folder = f"{root}/JPEGImages/{RESOLUTION}/{image[0]}"
            if not epath.Path(folder).is_dir():
                raise DataError(f"{list_path}:{number}: names {image[0]}, but there is no {folder}")
            sequences[image[0]] = [
                name.removesuffix(".jpg") for name in list_folder(folder) if name.endswith(".jpg")
            ]
        elif len(image) == 4:
            sequences.setdefault(image[2], []).append(image[3].removesuffix(".jpg"))
        else:
            raise DataError(
                f"{list_path}:{number}: expected a sequence, or '/JPEGImages/480p/sequence/frame.jpg ...'"
            )
    return sequences


def _read_frame(root, sequence, name):
    image, size = read_stored(f"{root}/JPEGImages/{RESOLUTION}/{sequence}/{name}.jpg")
    path = f"{root}/Annotations/{RESOLUTION}/{sequence}/{name}.png"
    mask = read_mask(path)
    if mask.shape != size:
        raise DataError(
            f"{path}: the mask has {mask.shape[1]}x{mask.shape[0]} pixels, its frame {size[1]}x{size[0]}"
        )
    return (image, size), (mask > 0).astype("uint8"), None
