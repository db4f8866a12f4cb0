"""tf.data pipelines: clips and the windows to look at them through, batched for training.

An element of every pipeline is a dict that describes one clip:
    'frames' (T, H, W, 3) uint8, 'index' () int64,
    of the truth 'objects' 'boxes' (T, G, 4) float32 as fractions of the frame and 'labels' (T, G) int32,
    1 + class or 0 for padding; of 'masks' 'masks' (T, H, W) uint8, 1 for foreground.

Everything random is a function of the clip's index and a seed, and the order is fixed, so that a
run that starts at clip k sees what an unbroken run sees from clip k on.
"""

import dataclasses

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from patchwork_tf.data import moving_objects, videos
from patchwork_tf.data.augmentation import augment, clip_boxes
from patchwork_tf.data.datasets import DATASETS, Source, dataset_info, open_prepared, scenes_of, undecoded
from patchwork_tf.errors import UsageError
from patchwork_tf.grid import Grid
from patchwork_tf.resizing import resize_boxes, resize_images
from patchwork_tf.truth import UNKNOWN

# Keep the random streams of one clip apart.
_WINDOW_STREAM, _AUGMENTATION_STREAM, _CUT_STREAM, _EXPLORATION_STREAM, _START_STREAM = range(101, 106)
_FOLLOW_STREAM, _ORDER_STREAM, _PHOTO_STREAM = range(106, 109)
_PLAIN = tf.autograph.experimental.do_not_convert  # nothing here needs it, and it takes seconds
_STILL_CROP = (0.6, 1.0)  # side of the crops that move over a still image, relative to it
_OF_PHOTOS = 0.3  # what part of the clips is, where photos join videos
TRUTHS = {"masks": ("masks",), "objects": ("boxes", "labels"), "nothing": ()}  # kinds of truth: keys of clips


@dataclasses.dataclass(frozen=True)
class ClipConfig:
    """What a training clip is."""

    truth: str  # the kind that is wanted, a key of TRUTHS
    num_frames: int  # T
    image_size: tuple[int, int]  # (H, W)
    stride: int = 1  # every so many frames of a video one is taken; less if the video is too short
    resize_mode: str = "stretch"  # how frames get to that size, see `choices.RESIZE_MODES`
    seed: int = 0  # of what part of a video a clip is, and of what is generated
    start: int = 0  # index of the first clip; a resumed training run starts where it stopped
    shard: tuple[int, int] = (0, 1)  # (index, count): only every count-th clip, for one of several processes
    deterministic: bool = True  # whether clips come in their order, at the price of waiting for slow ones


def training_clips(source: Source, config: ClipConfig):
    """Endless clips of a data set; of prepared moving_objects by default the smallest form that is large enough.

    Raises DataError if it was not prepared there, UsageError if a data_dir is needed.
    """
    if source.dataset == videos.NAME:
        return _clips_of_videos(videos.open_videos(source.data_dir, source.skip_bad, source.photos), config)
    if source.is_generated:
        return _generated_clips(source.split, config, scenes_of(source.config))
    builder = open_source(source, config.image_size)
    info = dataset_info(source.dataset)
    read = _video_clip if "frames" in builder.info.features else _coco_clip
    examples = _endless(builder, source.split, config, undecoded(builder))
    return _map(examples, lambda index, video: read(index, video, config, info), config)


def open_source(source: Source, image_size):
    """The builder of a prepared data set to train on; errors are those of `training_clips`."""
    if source.dataset == "moving_objects" and not source.config:
        sizes = [name for name in DATASETS[source.dataset].configs if name.isdigit()]
        size = next((size for size in sizes if int(size) >= max(image_size)), sizes[-1])
        source = dataclasses.replace(source, config=size)
    return open_prepared(source)


def _generated_clips(split, config, scenes):
    """Clips of moving_objects, rendered on the fly, square, then resized to the image size."""
    size, frames, objects = max(config.image_size), config.num_frames, moving_objects.MAX_OBJECTS

    def render(index):
        clip = moving_objects.render_clip(int(index), frames, size, split, config.seed, scenes)
        return clip.frames, (clip.instances > 0).astype(np.uint8)[..., None], clip.boxes, clip.labels

    def element(index):
        images, masks, boxes, labels = tf.numpy_function(
            render, [index], (tf.uint8, tf.uint8, tf.float32, tf.int32)
        )
        images = tf.ensure_shape(images, (frames, size, size, 3))
        truth = {
            "masks": tf.ensure_shape(masks, (frames, size, size, 1)),
            "boxes": tf.ensure_shape(boxes, (frames, objects, 4)),
            "labels": tf.ensure_shape(labels, (frames, objects)),
        }
        return _clip(index, images, {key: truth[key] for key in TRUTHS[config.truth]}, config)

    return _map(_indices(config), element, config)


def _clips_of_videos(found: videos.Videos, config):
    """Clips of videos without truth, one of each in turn, in an order that changes every time.

    If photos join them, some clips are crops that wander over a photo instead.
    """
    max_side = round(max(config.image_size) / _STILL_CROP[0])

    def numbered(index, count):
        turn, place = divmod(int(index), count)
        return np.random.default_rng([config.seed, _ORDER_STREAM, turn]).permutation(count)[place]

    def read(index):
        number = numbered(index, len(found.paths))
        return found.read(number, lambda count: frame_numbers(count, config, index).numpy())

    def of_video(index):
        images = tf.ensure_shape(tf.numpy_function(read, [index], tf.uint8), (config.num_frames, None, None, 3))
        return _clip(index, images, {}, config)

    def read_photo(index):
        return found.read_photo(numbered(index, len(found.photos)), max_side)

    def of_photo(index):
        photo = tf.ensure_shape(tf.numpy_function(read_photo, [index], tf.uint8), (None, None, 3))
        return _still_clip(index, photo, {}, config)

    def element(index):
        draw = tf.random.stateless_uniform((), [index, config.seed * 1000 + _PHOTO_STREAM])
        return tf.cond(draw < _OF_PHOTOS, lambda: of_photo(index), lambda: of_video(index))

    return _map(_indices(config), element if found.photos else of_video, config)


def _indices(config):
    """Numbers of this process's clips, for ever."""
    return _shard(tf.data.Dataset.range(config.start, np.iinfo(np.int64).max), config)


def _shard(dataset, config):
    index, count = config.shard
    return dataset.shard(count, index)


def _endless(builder, split, config, decoders):
    """(clip index, example) for ever, from the clip `config.start` on, without reading what is before it."""
    parts = tfds.core.ReadInstruction.from_spec(split).to_absolute(builder.info.splits)
    if len(parts) != 1:
        raise UsageError(f"--split={split}: train on one split, or a part of one as train[:90%]")
    whole = parts[0]
    count = builder.info.splits[whole.splitname].num_examples
    first, last = whole.from_ or 0, count if whole.to is None else whole.to
    # One file after the other: that alone is the same order from wherever one starts.
    reading = tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False)

    def examples(skipped):
        part = f"{whole.splitname}[{first + skipped}:{last}]"
        return builder.as_dataset(split=part, decoders=decoders, read_config=reading, shuffle_files=False)

    videos = examples(config.start % (last - first)).concatenate(examples(0).repeat())
    return tf.data.Dataset.zip(_indices(config), _shard(videos, config))


def _map(dataset, function, config):
    options = tf.data.Options()
    options.deterministic = config.deterministic
    return dataset.map(_PLAIN(function), num_parallel_calls=tf.data.AUTOTUNE).with_options(options)


def _video_clip(index, video, config, info):
    """T frames of a video in our schema; only these are decoded. One that is a single picture becomes a clip."""

    def of_video():
        chosen = tf.unstack(frame_numbers(tf.shape(video["frames"])[0], config, index))
        images = tf.stack([_decode(video["frames"][number], 3) for number in chosen])
        return _clip(index, images, _read_truth(video, chosen, config, info), config)

    def of_picture():
        truth = {key: value[0] for key, value in _read_truth(video, [0], config, info).items()}
        return _still_clip(index, _decode(video["frames"][0], 3), truth, config)

    if config.num_frames == 1:
        return of_video()
    return tf.cond(tf.shape(video["frames"])[0] == 1, of_picture, of_video)


def frame_numbers(length, config: ClipConfig, index):
    """Which frames (T,) int32 of a video of `length` frames make clip `index`.

    The stride is cut down to what there is room for; a video shorter than T stands still at its last frame.
    """
    steps = config.num_frames - 1
    stride = tf.clip_by_value((length - 1) // max(steps, 1), 1, config.stride)
    room = tf.maximum(length - steps * stride, 1)
    first = tf.random.stateless_uniform((), [index, config.seed * 1000 + _CUT_STREAM], 0, room, tf.int32)
    numbers = first + stride * tf.range(config.num_frames)
    return tf.ensure_shape(tf.minimum(numbers, length - 1), (config.num_frames,))


def _decode(image, channels):
    return tf.ensure_shape(tf.io.decode_image(image, channels, expand_animations=False), (None, None, channels))


def _objects_of(objects, kept, max_objects, box="box"):
    """Boxes (G, 4) and labels (G,) int32, 1 + class, of the objects that are `kept`, bool, padded."""
    kept = tf.where(kept)[:max_objects, 0]
    missing = max_objects - tf.shape(kept)[0]
    boxes = tf.pad(tf.gather(objects[box], kept), [(0, missing), (0, 0)])
    labels = tf.pad(tf.cast(tf.gather(objects["label"], kept), tf.int32) + 1, [(0, missing)])
    return tf.ensure_shape(boxes, (max_objects, 4)), tf.ensure_shape(labels, (max_objects,))


def _coco_clip(index, example, config, info):
    """An image of COCO, as TFDS has it, as a clip."""
    objects = example["objects"]
    boxes, labels = _objects_of(objects, ~objects["is_crowd"], info.max_objects, box="bbox")
    return _still_clip(index, example["image"], {"boxes": boxes, "labels": labels}, config)


def _still_clip(index, image, truth, config):
    """A still image (h, w, 3) uint8 as a clip: a crop that wanders over it, nearing or backing off."""
    draw = tf.random.stateless_uniform((2, 3), [index, config.seed * 1000 + _CUT_STREAM])
    sides = _STILL_CROP[0] + (_STILL_CROP[1] - _STILL_CROP[0]) * draw[:, 0]
    ends = tf.concat([(1 - sides)[:, None] * draw[:, 1:], sides[:, None]], axis=1)  # ymin, xmin, side
    time = tf.linspace(0.0, 1.0, config.num_frames)[:, None]
    corner_and_side = ends[0] * (1 - time) + ends[1] * time  # (T, 3)
    corner, side = corner_and_side[:, :2], corner_and_side[:, 2:]
    regions = tf.concat([corner, corner + side], axis=1)
    images = tf.cast(tf.round(_crops(image, regions)), tf.uint8)
    if "masks" in truth:
        truth = {"masks": tf.cast(_crops(truth["masks"], regions, "nearest"), tf.uint8)}
    elif "boxes" in truth:
        boxes, labels = (tf.repeat(truth[key][None], config.num_frames, axis=0) for key in ("boxes", "labels"))
        truth = dict(zip(("boxes", "labels"), clip_boxes(boxes, labels, regions[:, None]), strict=True))
    return _clip(index, images, truth, config)


def _crops(image, regions, method="bilinear"):
    """Crops (T, h, w, C) float32 of an image, of its own shape, so that they are resized as frames are."""
    count = regions.shape[0]
    image = tf.cast(image, tf.float32)[None]
    return tf.image.crop_and_resize(image, regions, tf.zeros(count, tf.int32), tf.shape(image)[1:3], method)


def _clip(index, images, truth, config):
    """The element of a clip, of images and truth of any size, at the image size."""
    size, mode = config.image_size, config.resize_mode
    clip = {"frames": resize_images(images, size, mode), "index": index, **truth}
    if "masks" in truth:
        clip["masks"] = resize_images(truth["masks"], size, mode, method="nearest")[..., 0]
    if "boxes" in truth:
        clip["boxes"] = resize_boxes(truth["boxes"], tf.cast(tf.shape(images)[1:3], tf.float32), size, mode)
    return clip


def _read_truth(video, numbers, config, info):
    """What is true of some frames of a video in our schema; masks keep a last axis of 1."""
    if config.truth == "masks":
        masks = tf.stack([_decode(video["masks"][number], 1) for number in numbers])
        foreground = tf.cast(masks > 0, tf.uint8)
        if info.empty_masks == "unknown":
            empty = tf.reduce_max(masks, axis=(1, 2, 3), keepdims=True) == 0
            foreground = tf.where(empty, tf.constant(UNKNOWN, tf.uint8), foreground)
        return {"masks": foreground}
    if config.truth == "objects":
        objects = video["objects"]
        of_frames = [
            _objects_of(objects, (objects["frame"] == number) & ~objects["crowd"], info.max_objects)
            for number in numbers
        ]
        boxes, labels = (tf.stack(parts) for parts in zip(*of_frames, strict=True))
        return {"boxes": boxes, "labels": labels}
    return {}


@dataclasses.dataclass(frozen=True)
class Exploration:
    """How often a policy in training looks at a random window: `first`, linearly falling to `last` at `clips`."""

    first: float
    last: float
    clips: int

    def epsilon(self, index: int) -> float:
        """The probability at clip `index`."""
        part = min(index / max(self.clips, 1), 1.0)
        return self.first + (self.last - self.first) * part


@dataclasses.dataclass(frozen=True)
class BatchConfig:
    """What is drawn for every clip of a batch."""

    windows: str = "mixed"  # how they are chosen, one of `choices.TRAIN_WINDOWS`
    warm_starts: float = 0.0  # the part of the clips that remember their whole first frame from the start
    follows: float = 0.0  # the part that is looked at through the windows that the model itself chooses
    exploration: Exploration | None = None  # of a policy, which chooses windows: batches are for `ClipPolicy.fit`
    augmented: bool = True  # whether clips are flipped, cropped and recoloured
    seed: int = 0


def training_batches(clips, grid: Grid, batch_size: int, config: BatchConfig = BatchConfig()):
    """Batches of clips, as from `training_clips`, for `ClipModel.fit`: (clip, truth) with windows on a grid."""
    exploration, seed = config.exploration, config.seed

    def prepare(clip):
        """A clip, augmented, with what chooses its windows; and the truth."""
        index = clip["index"]
        if config.augmented:
            clip = augment(clip, seed=tf.stack([index, seed * 1000 + _AUGMENTATION_STREAM]))
        num_frames = clip["frames"].shape[0]
        truth = {key: clip[key] for key in ("boxes", "labels", "masks") if key in clip}
        if exploration:
            explores, actions = tf.numpy_function(
                lambda i: exploration_of(grid, num_frames, exploration, seed, int(i)), [index], (tf.bool, tf.int32)
            )
            chosen = {
                "explores": tf.ensure_shape(explores, (num_frames,)),
                "random_actions": tf.ensure_shape(actions, (num_frames,)),
                "truth": truth,
            }
        else:
            chosen = tf.numpy_function(
                lambda i: clip_windows(grid, num_frames, config.windows, seed, int(i)), [index], tf.int32
            )
            chosen = {"windows": tf.ensure_shape(chosen, (num_frames, 2))}
        for key, part, stream in (
            ("warm", config.warm_starts, _START_STREAM),
            ("follows", config.follows, _FOLLOW_STREAM),
        ):
            if part:
                draw = tf.random.stateless_uniform((), [index, seed * 1000 + stream])
                chosen[key] = tf.cast(draw < part, tf.float32)
        return {"frames": clip["frames"], **chosen}, truth

    batches = clips.map(_PLAIN(prepare), num_parallel_calls=tf.data.AUTOTUNE)
    return batches.batch(batch_size, drop_remainder=True).prefetch(2)


def exploration_of(grid: Grid, num_frames, exploration: Exploration, seed=0, index=0):
    """Whether each frame (T,) of clip `index` is explored, bool, and random actions (T,) int32."""
    rng = np.random.default_rng([seed, _EXPLORATION_STREAM, index])
    explores = rng.random(num_frames) < exploration.epsilon(index)
    return explores, rng.integers(len(grid.windows), size=num_frames, dtype=np.int32)


def clip_windows(grid: Grid, num_frames, how, seed=0, index=0) -> np.ndarray:
    """Windows (T, 2) int32 of one training clip: drawn anew per frame, or a raster from a random start."""
    rng = np.random.default_rng([seed, _WINDOW_STREAM, index])
    if how == "mixed":
        how = "raster" if rng.random() < 0.5 else "random"
    if how == "random":
        return rng.integers(0, grid.positions, (num_frames, 2), dtype=np.int32)
    sweep = np.array(grid.raster, np.int32)
    return sweep[(rng.integers(len(sweep)) + np.arange(num_frames)) % len(sweep)]
