"""What a sweep of the first frames costs, against a look at the first frame as a whole.

  python results/starts.py --davis=DAVIS --json=results/starts.json

Agreement with the single-frame network on every whole frame, as `patchwork-compare` has it, over the
first frames of DAVIS 2016's sequences, by age of the stream; and multiply-adds of the dearest frame.
"""

import itertools
import os
import sys

import tabulate
from absl import flags

import patchwork_tf as pw
from patchwork_tf import cli, files
from patchwork_tf.bars import progress
from patchwork_tf.data.video import Video
from patchwork_tf.runtime.frames import STARTS
from patchwork_tf.streaming.step import KerasStep
from patchwork_tf.task import get_task
from patchwork_tf.zoo import checkpoints

SYSTEMS = ("oid-pw-m4n2", "oid-pw-m4n1", "voc-pw-m4n2", "voc-pw-m4n1")
SPANS = ((0, 1), (1, 4), (4, 8), (8, 16), (16, 32))  # of frames

_FLAGS = flags.FlagValues()
_DAVIS = flags.DEFINE_string("davis", None, "Root of DAVIS 2016, at any resolution. Required.", flag_values=_FLAGS)
_JSON = flags.DEFINE_string("json", None, "Where to write the numbers.", flag_values=_FLAGS)


def _step(name) -> KerasStep:
    return KerasStep(checkpoints.build_from(pw.get_system(name), checkpoints.read(name)))


def _measure():
    folder = os.path.join(_DAVIS.value, "JPEGImages/480p")
    sequences = sorted(os.listdir(folder))
    steps = {name: _step(name) for name in {*SYSTEMS, *(f"{name[:3]}-sf" for name in SYSTEMS)}}
    metrics, worst = {}, {}
    with progress(desc="sequences", total=len(sequences)) as bar:
        for sequence in sequences:
            video = Video(os.path.join(folder, sequence))
            frames = list(itertools.islice(video, SPANS[-1][1]))
            truths = {task: list(pw.stream(steps[f"{task}-sf"], frames)) for task in ("oid", "voc")}
            for name, start in itertools.product(SYSTEMS, STARTS):
                answers = pw.stream(steps[name], frames, start=start)
                for number, answer in enumerate(answers):
                    span = next(span for span in SPANS if span[0] <= number < span[1])
                    metric = metrics.setdefault((name, start, span), _metric(steps[name]))
                    metric.add_frame(answer, truths[name[:3]][number], frames[0].shape[:2])
                    worst[name, start] = max(worst.get((name, start), 0), answer.mflops)
            bar.update()
    rows = [
        [name, start, *(100 * metrics[name, start, span].result() for span in SPANS), worst[name, start]]
        for name, start in itertools.product(SYSTEMS, STARTS)
    ]
    heads = ["system", "start", *(f"frames {a} to {b - 1}" for a, b in SPANS), "dearest frame, MFLOPs"]
    print(tabulate.tabulate(rows, heads, "github", floatfmt=".1f"))
    if _JSON.value:
        files.write_json(_JSON.value, [dict(zip(heads, row, strict=True)) for row in rows], indent=1)


def _metric(step):
    return get_task(step.config.task).agreement_metric(step.info.class_names)


def main(argv=None) -> int:
    return cli.run(_measure, _FLAGS, "starts", __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())
