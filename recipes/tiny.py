"""Writes a tiny data set in the layout in which it is published, of generated scenes: what recipes are tried on.

python recipes/tiny.py --layout=davis2016 --output=FOLDER
"""

import argparse
import json
import os

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from patchwork_tf.data.imagenet_vid import WORDNET_IDS
from patchwork_tf.data.moving_objects import render_clip

HEIGHT, WIDTH = 96, 128
FRAMES = 6
_SPLITS = (("train", 0), ("val", 1))  # and the seed of its scene


def main():
    """Writes what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    layouts = {"davis2016": davis, "imagenet_vid": vid, "coco": coco}
    parser.add_argument("--layout", required=True, choices=layouts)
    parser.add_argument("--output", required=True, help="folder")
    given = parser.parse_args()
    layouts[given.layout](given.output)


def davis(root):
    """JPEGImages, Annotations and lists of DAVIS 2016, a sequence each."""
    for (split, seed), sequence in zip(_SPLITS, ("bear", "cow"), strict=True):
        clip, lines = _clip(seed), []
        for t in range(FRAMES):
            image, mask = f"JPEGImages/480p/{sequence}/{t:05d}.jpg", f"Annotations/480p/{sequence}/{t:05d}.png"
            _write_image(f"{root}/{image}", clip.frames[t])
            _write_image(f"{root}/{mask}", 255 * (clip.instances[t] > 0).astype(np.uint8))
            lines.append(f"/{image} /{mask}")
        _write(f"{root}/ImageSets/480p/{split}.txt", "\n".join(lines) + "\n")


def vid(root):
    """Data and Annotations of ILSVRC2015's VID, a video each."""
    for (split, seed), part in zip(_SPLITS, ("ILSVRC2015_VID_train_0000/", ""), strict=True):
        clip, name = _clip(seed), f"VID/{split}/{part}ILSVRC2015_{split}_00000000"
        for t in range(FRAMES):
            _write_image(f"{root}/Data/{name}/{t:06d}.JPEG", clip.frames[t])
            things = "".join(
                f"<object><trackid>{track}</trackid><name>{WORDNET_IDS[track]}</name><bndbox><xmax>{x2}</xmax>"
                f"<xmin>{x1}</xmin><ymax>{y2}</ymax><ymin>{y1}</ymin></bndbox><occluded>0</occluded>"
                "<generated>0</generated></object>"
                for track, (x1, y1, x2, y2) in _boxes(clip.instances[t])
            )
            size = f"<size><width>{WIDTH}</width><height>{HEIGHT}</height></size>"
            _write(f"{root}/Annotations/{name}/{t:06d}.xml", f"<annotation>{size}{things}</annotation>")
    os.makedirs(f"{root}/ImageSets/VID", exist_ok=True)


def coco(root):
    """Photos and instances of COCO, the frames of a scene."""
    clip, images, annotations = _clip(2), [], []
    for t in range(FRAMES):
        _write_image(f"{root}/train2017/{t:012d}.jpg", clip.frames[t])
        images.append({"id": t, "file_name": f"{t:012d}.jpg", "width": WIDTH, "height": HEIGHT})
        for track, (x1, y1, x2, y2) in _boxes(clip.instances[t]):
            code = coco_mask.encode(np.asfortranarray(clip.instances[t] == track, np.uint8))
            annotations.append(
                {
                    **{"id": len(annotations) + 1, "image_id": t, "category_id": 1 + track % 2, "iscrowd": 0},
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": int((clip.instances[t] == track).sum()),
                    "segmentation": {"size": code["size"], "counts": code["counts"].decode()},
                }
            )
    categories = [{"id": 1, "name": "person"}, {"id": 2, "name": "dog"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    _write(f"{root}/annotations/instances_train2017.json", json.dumps(content))


def _clip(seed):
    clip = render_clip(seed, FRAMES, WIDTH, "train")
    return type(clip)(**{**vars(clip), "frames": clip.frames[:, :HEIGHT], "instances": clip.instances[:, :HEIGHT]})


def _boxes(instances):
    """(number, (x1, y1, x2, y2)) of every thing that is to be seen, in pixels."""
    for number in np.unique(instances[instances > 0]).tolist():
        rows, columns = np.nonzero(instances == number)
        yield number, (int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1)


def _write_image(path, image):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    cv2.imwrite(path, image[..., ::-1] if image.ndim == 3 else image)


def _write(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.write(text)


if __name__ == "__main__":
    main()
