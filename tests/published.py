"""Data sets in the layouts in which they are published, of generated frames, and what is read from them."""

import os

import cv2
import PIL.Image
import pytest

from patchwork_tf.data.datasets import Source, annotated_videos
from patchwork_tf.data.imagenet_vid import WORDNET_IDS
from patchwork_tf.data.moving_objects import render_clip

HEIGHT, WIDTH = 48, 64


def write_xml(path, objects, size=(HEIGHT, WIDTH)):
    """objects: (wnid, track, xmin, ymin, xmax, ymax)."""
    things = "".join(
        f"<object><trackid>{track}</trackid><name>{name}</name><bndbox><xmax>{x2}</xmax><xmin>{x1}</xmin>"
        f"<ymax>{y2}</ymax><ymin>{y1}</ymin></bndbox><occluded>1</occluded><generated>0</generated></object>"
        for name, track, x1, y1, x2, y2 in objects
    )
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.write(
            f"<annotation><size><width>{size[1]}</width><height>{size[0]}</height></size>{things}</annotation>"
        )


def write_frame(path, image):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    cv2.imwrite(path, image[..., ::-1])


def make_vid(root, videos=2, frames=20):
    """A folder like ILSVRC2015's, of generated frames with one object of known motion."""
    for split, part in (("train", "ILSVRC2015_VID_train_0000/"), ("val", "")):
        for video in range(videos):
            name = f"{split}/{part}ILSVRC2015_{split}_{video:08d}"
            clip = render_clip(video, frames, WIDTH, "train").frames[:, :HEIGHT]
            for t in range(frames):
                write_frame(f"{root}/Data/VID/{name}/{t:06d}.JPEG", clip[t])
                things = [(WORDNET_IDS[video], 7, t, 10, t + 19, 29)] if t % 5 else []
                write_xml(f"{root}/Annotations/VID/{name}/{t:06d}.xml", things)
    os.makedirs(f"{root}/ImageSets/VID")
    return str(root)


def make_davis(root, frames=5, layout=2016):
    """A folder like DAVIS', of generated frames; 2017's with palette masks of several objects."""
    lists = {}
    for split, sequences in (("train", ["bear", "bus"]), ("val", ["cow"])):
        for number, sequence in enumerate(sequences):
            clip = render_clip(number, frames, WIDTH, "train")
            for t in range(frames):
                write_frame(f"{root}/JPEGImages/480p/{sequence}/{t:05d}.jpg", clip.frames[t, :HEIGHT])
                mask = PIL.Image.fromarray(clip.instances[t, :HEIGHT], mode="L")
                if layout == 2017:
                    mask = PIL.Image.fromarray(clip.instances[t, :HEIGHT], mode="P")
                    mask.putpalette([value % 256 for value in range(0, 7 * 768, 7)])
                else:
                    mask = mask.point(lambda value: 255 * (value > 0))
                path = f"{root}/Annotations/480p/{sequence}/{t:05d}.png"
                os.makedirs(os.path.dirname(path), exist_ok=True)
                mask.save(path)
                lines = lists.setdefault(split, [])
                if layout == 2017 and t == 0:
                    lines.append(sequence)
                elif layout == 2016:
                    image = f"/JPEGImages/480p/{sequence}/{t:05d}.jpg"
                    lines.append(f"{image} /Annotations/480p/{sequence}/{t:05d}.png")
    folder = f"{root}/ImageSets/{'480p' if layout == 2016 else '2016'}"
    os.makedirs(folder)
    for split, lines in lists.items():
        with open(f"{folder}/{split}.txt", "w") as file:
            file.write("\n".join(lines) + "\n")
    return str(root)


@pytest.fixture(scope="session")
def vid(tmp_path_factory):
    return make_vid(tmp_path_factory.mktemp("vid"))


@pytest.fixture(scope="session")
def davis(tmp_path_factory):
    return make_davis(tmp_path_factory.mktemp("davis"))


def videos_of(dataset, folder, split="validation", **options):
    settings = {"count": None, "num_frames": None, "size": 64, **options}
    found, count = annotated_videos(Source(dataset, folder, split, settings.pop("config", None)), **settings)
    found = list(found)
    assert len(found) == count
    return {video.name: video for video in found}
