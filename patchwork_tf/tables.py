"""Holds the zoo against the paper: the architecture of Table 3, the costs of Tables 4 and 5.

Everything is counted from the built models, layer by layer; max and avg are those of a run
over frames. MFLOPs are multiply-adds / 10^6, as in the paper. Without --system these are the 20 rows of the
paper's tables, and M=2 N=1 for both tasks, of which the paper gives no figures (and --json leaves out).

  patchwork-tables
  patchwork-tables --json > tables.json
  patchwork-tables --layers --system=vid-pw-m4n1

With --scores or --latency it is a whole table of the paper, ours beside its own: what patchwork-evaluate --json
has scored, one file or more for each seed, and a report of patchwork-benchmark --json, of this machine or a phone.

  patchwork-tables --scores=seed0.json,seed1.json,seed2.json --latency=phone.json --output=table5.md
"""

import sys

from absl import flags

from patchwork_tf import cli

_FLAGS = flags.FlagValues()
cli.define(_FLAGS, "system", "image_size", system="")
flags.DEFINE_boolean(
    "json",
    False,
    "Print a list with one object per row: system, mflops_max, mflops_avg, paper_mflops_max, "
    "paper_mflops_avg, and more.",
    flag_values=_FLAGS,
)
flags.DEFINE_boolean(
    "layers",
    False,
    "Multiply-adds, parameters, activation and state bytes of every layer.",
    flag_values=_FLAGS,
)
cli.define_list("scores", "", "What was scored: files of patchwork-evaluate --json, of all seeds.", _FLAGS)
flags.DEFINE_string("latency", None, "What was timed: a report of patchwork-benchmark --json.", _FLAGS)
flags.DEFINE_string(
    "output", None, "File for the table of --scores and --latency, in Markdown; by default it is printed.", _FLAGS
)


def _tables():
    from patchwork_tf.commands.tables import run

    run(_FLAGS)


def main(argv=None) -> int:
    return cli.run(_tables, _FLAGS, "patchwork-tables", __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())
