"""patchwork-compare: a network as Patchwork, and what else its cost would buy."""

import contextlib
import functools
import itertools
import os
import tempfile

import numpy as np

from patchwork_tf import cli, provenance
from patchwork_tf.bars import progress
from patchwork_tf.benchmarks import host
from patchwork_tf.commands import beam
from patchwork_tf.commands.compare_files import export_files, measure_costs, smaller_files, wanted_files
from patchwork_tf.commands.compare_methods import Comparison
from patchwork_tf.commands.score_systems import check_classes
from patchwork_tf.data.datasets import AnnotatedVideo, Source, annotated_videos, class_names
from patchwork_tf.data.video import Video
from patchwork_tf.errors import UsageError
from patchwork_tf.task import get_task
from patchwork_tf.zoo import checkpoints

_TIMED = 1000  # frames that are timed where workers answer: ten are above p99


def run(flags) -> dict:
    """All that the command measured; Ctrl-C ends it early, with what there is."""
    shared = beam.shared_folder(flags)
    if shared and not os.path.isdir(shared):
        raise UsageError(
            f"--beam_options=temp_location={shared}: workers read exported files there: name a folder that all "
            "machines have mounted"
        )
    with tempfile.TemporaryDirectory(dir=shared) as folder:
        reference, files = wanted_files(flags, folder)
        videos = _videos(flags, reference)
        task = get_task(reference.config.task)
        paths = export_files(files, folder, videos, flags.plugins)
        costs = measure_costs(files, paths, videos[0])
        if task.name != "maps":  # of another size, they are held against nothing
            smaller = smaller_files(files[0], costs, flags.image_size or reference.config.image_size)
            paths |= export_files(smaller, folder, (), flags.plugins)
            files += smaller
        comparison = _comparison(flags, reference, files, paths)
        costs |= comparison.own_cost(videos[0])
        comparison.add_skips(costs)
        file_facts, finished = comparison.file_facts(), True
        if flags.beam_runner:
            timed = comparison.anew()  # it scores them, too, which are few: the same code runs everywhere
            timed.run(videos, "timing", _TIMED)
            make = functools.partial(_answering, beam.FlagsOfWorkers(flags), files, paths, costs)
            with progress(total=len(videos), unit="video", desc="comparing") as bar:
                for found in beam.numbered(flags, make, len(videos), bar):
                    comparison.merge(*found)
            for method, more in zip(comparison.methods, timed.methods, strict=True):
                method.milliseconds = more.milliseconds
        else:
            finished = comparison.measure(videos)
        return {
            "finished": finished,
            "reference": comparison.reference,
            "task": task.name,
            "videos": [video.name for video in videos],
            "frames": comparison.frames,
            "timed_frames": len(comparison.methods[0].milliseconds),  # the first ones
            "found": comparison.found,
            "machine": host.machine(),
            "version": provenance.version(),
            "rows": [each.facts(file_facts[each.file], task) for each in comparison.methods if each.milliseconds],
        }


def _comparison(flags, reference, files, paths) -> Comparison:
    task, names = get_task(reference.config.task), tuple(reference.class_names)
    own = (flags.tflite, reference) if flags.tflite else None
    return Comparison(files, paths, task, names, own, has_truth=flags["dataset"].present)


def _answering(flags, files, paths, costs):
    """In a worker: the function that answers the video of a number."""
    cli.import_plugins(flags.plugins)
    reference = checkpoints.read(files[0].source)
    comparison = _comparison(flags, reference, files, paths)
    comparison.add_skips(costs)

    def answer(number):
        with contextlib.redirect_stdout(None):  # which classes count is said once, not for every video
            (video,) = _videos(flags, reference, only=number)
        return comparison.of_video(video)

    return answer


def _videos(flags, checkpoint, only=None) -> list[AnnotatedVideo]:
    """Those of --video, without truth, or of --dataset; or the one of a number."""
    if bool(flags.video) == flags["dataset"].present:
        raise UsageError("name videos, --video=FILE_OR_FOLDER,..., or a data set with truth, --dataset")
    if flags.video:
        paths = flags.video if only is None else [flags.video[only]]
        return [AnnotatedVideo(path, _FirstFrames(path, flags.max_frames), []) for path in paths]
    source = Source(flags.dataset, flags.data_dir, flags.split, flags.config)
    task = get_task(checkpoint.config.task)
    if not task.truth:
        raise UsageError(f"there is no truth of {task.name}: name --video, not --dataset")
    known = class_names(source, task.truth)
    numbers = _common(checkpoint, known, flags.dataset) if task.name == "detection" else None
    size = max(checkpoint.config.image_size)
    videos, _ = annotated_videos(
        source, count=flags.num_videos, num_frames=flags.max_frames, size=size, seed=flags.seed, only=only
    )
    return [video.renumbered(numbers) if numbers is not None else video for video in videos]


def _common(checkpoint, known, dataset) -> np.ndarray | None:
    """The network's number of each class of a data set by its name, -1 without; None if they are the same."""
    own = {name.casefold(): number for number, name in enumerate(checkpoint.class_names)}
    numbers = np.array([own.get(name.casefold(), -1) for name in known])
    if np.array_equal(numbers, np.arange(len(own))):
        return None
    if (numbers < 0).all():
        check_classes("detection", checkpoint.path, checkpoint.class_names, known, dataset)
    common = [name for name, number in zip(known, numbers, strict=True) if number >= 0]
    print(f"scored by the {len(common)} classes that {dataset} has, too: {', '.join(common)}", flush=True)
    return numbers


class _FirstFrames:
    """The first frames of a video file, as often as it is asked for them."""

    def __init__(self, path, most):
        self._video, self._most = Video(path), most

    def __iter__(self):
        return itertools.islice(iter(self._video), self._most)

    def __length_hint__(self):
        known = self._video.num_frames
        return min(known, self._most or known) if known else NotImplemented
