"""Folders of one's own as five formats describe them, all saying the same, and as Roboflow writes them."""

import json
import os

import numpy as np
import PIL.Image

from patchwork_tf.data.moving_objects import render_clip

HEIGHT, WIDTH, FRAMES = 48, 64, 4
NAMES = ["cup", "duck"]
CLIPS = {"kitchen": 0, "pond": 1}  # and the class of what moves in them


def box_of(clip, t):
    """xmin, ymin, width, height; none in the last frame."""
    return None if t == FRAMES - 1 else (4 + 3 * t + CLIPS[clip], 10, 20, 16)


def pictures(folder, name="{t:05d}.jpg"):
    for index, clip in enumerate(CLIPS):
        os.makedirs(folder.format(clip=clip))
        for t, frame in enumerate(render_clip(index, FRAMES, WIDTH, "train").frames[:, :HEIGHT]):
            PIL.Image.fromarray(frame).save(f"{folder.format(clip=clip)}/{name.format(t=t)}", quality=95)


def all_boxes():
    return [(clip, t, box_of(clip, t)) for clip in CLIPS for t in range(FRAMES)]


def coco(root, videos=True):
    pictures(f"{root}/frames/{{clip}}")
    clips = [*CLIPS]
    images, annotations = [], []
    for number, (clip, t, box) in enumerate(all_boxes(), start=1):
        image = {"id": number, "file_name": f"{clip}/{t:05d}.jpg", "width": WIDTH, "height": HEIGHT}
        images.append(image | ({"video_id": clips.index(clip), "frame_id": t} if videos else {}))
        if box:
            annotation = {"id": number, "image_id": number, "category_id": 7 + CLIPS[clip], "bbox": box}
            annotations.append(annotation | {"instance_id": 3, "iscrowd": 0})
    content = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 7 + k, "name": name} for k, name in enumerate(NAMES)],
    }
    if videos:
        content["videos"] = [{"id": number, "name": clip} for number, clip in enumerate(clips)]
    write(f"{root}/annotations/instances_default.json", json.dumps(content))


def plain_coco(root):
    coco(root, videos=False)


def mot(root):
    pictures(f"{root}/{{clip}}/img1", "{t:06d}.jpg")
    for clip in CLIPS:
        rows = [
            f"{t + 1},3,{','.join(map(str, box))},1,{CLIPS[clip] + 1},1.0"
            for c, t, box in all_boxes()
            if box and c == clip
        ]
        write(f"{root}/{clip}/gt/gt.txt", "\n".join(rows))
        write(f"{root}/{clip}/gt/labels.txt", "\n".join(NAMES))


def yolo(root):
    pictures(f"{root}/images/train/{{clip}}")
    write(f"{root}/data.yaml", f"path: .\nnames: {{0: {NAMES[0]}, 1: {NAMES[1]}}}\n")
    for clip, t, box in all_boxes():
        if box:
            x, y, w, h = box
            row = f"{CLIPS[clip]} {(x + w / 2) / WIDTH} {(y + h / 2) / HEIGHT} {w / WIDTH} {h / HEIGHT} 3"
            write(f"{root}/labels/train/{clip}/{t:05d}.txt", row)


def voc(root):
    pictures(f"{root}/JPEGImages/{{clip}}")
    for clip, t, box in all_boxes():
        edges = box and f"<xmin>{box[0]}</xmin><ymin>{box[1]}</ymin><xmax>{box[0] + box[2] - 1}</xmax>"
        thing = box and f"{edges}<ymax>{box[1] + box[3] - 1}</ymax>"
        thing = box and f"<object><name>{NAMES[CLIPS[clip]]}</name><bndbox>{thing}</bndbox></object>"
        size = f"<size><width>{WIDTH}</width><height>{HEIGHT}</height></size>"
        path = f"{root}/Annotations/{clip}/{t:05d}.xml"
        write(path, f"<annotation>{size}{thing or ''}</annotation>")


def masks(root):
    pictures(f"{root}/frames/{{clip}}")
    for clip, t, box in all_boxes():
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        if box:
            mask[box[1] : box[1] + box[3], box[0] : box[0] + box[2]] = 255
        os.makedirs(f"{root}/masks/{clip}", exist_ok=True)
        PIL.Image.fromarray(mask).save(f"{root}/masks/{clip}/{t:05d}.png")


BOXES = {"COCO with videos": coco, "COCO": plain_coco, "MOT": mot, "YOLO": yolo, "VOC": voc}


def write(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.write(text)


def frames_of(folder, pattern, count=3):
    os.makedirs(folder)
    for t in range(count):
        PIL.Image.new("RGB", (WIDTH, HEIGHT), (40 * t, 80, 120)).save(f"{folder}/{pattern.format(t)}")


def roboflow_yolo(root):
    """Equal names in every split; notes, and a link in place of a folder."""
    for split in ("train", "valid", "test"):
        frames_of(f"{root}/{split}/images", "img{:d}_jpg.rf.ab.jpg")
        write(f"{root}/{split}/labels/img1_jpg.rf.ab.txt", "0 0.5 0.5 0.25 0.5")
    write(f"{root}/data.yaml", "train: ../train/images\nnc: 1\nnames: ['cup']\n")
    write(f"{root}/README.roboflow.txt", "\n3 images\n")
    os.rename(f"{root}/valid", f"{root}_elsewhere")
    os.symlink(f"{root}_elsewhere", f"{root}/valid")


def roboflow_coco(root):
    """A JSON in every split; a class without objects has another's name."""
    for split in ("train", "valid", "test"):
        frames_of(f"{root}/{split}", "img{:d}.jpg")
        images = [{"id": t, "file_name": f"img{t}.jpg"} for t in range(3)]
        thing = {"id": 0, "image_id": 1, "category_id": 1, "bbox": [24, 12, 16, 24]}
        categories = [{"id": 0, "name": "cup"}, {"id": 1, "name": "cup"}]
        content = {"images": images, "annotations": [thing], "categories": categories}
        write(f"{root}/{split}/_annotations.coco.json", json.dumps(content))
