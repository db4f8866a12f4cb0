"""Runs a recipe: all stages from raw data to a table of the paper, each a command of this project.

What is done stays done: the same command goes on where it was, after Ctrl-C, a kill or an error. A stage is run
again if its command, or one that it needs, is another than before. Every stage has a log in --output_dir/logs.

  patchwork-recipe --recipe=recipes/table5.yaml --set=raw=DAVIS --output_dir=runs/table5
  patchwork-recipe --recipe=recipes/table5.yaml --set=raw=DAVIS --output_dir=runs/table5 --dry_run
  patchwork-recipe --recipe=recipes/table5.yaml --output_dir=/tmp/smoke --smoke --jobs=2
"""

import sys

from absl import flags

from patchwork_tf import cli

_FLAGS = flags.FlagValues()
flags.DEFINE_string("recipe", None, "The recipe, a .yaml file. Required.", _FLAGS)
flags.DEFINE_string("output_dir", None, "Folder of all that is made. Required.", _FLAGS)
cli.define_list("set", "", "Values of the recipe that are other than in its file, as name=value.", _FLAGS)
flags.DEFINE_boolean(
    "smoke", False, "Try the recipe on tiny data in a minute or two: that it runs, not what it gives.", _FLAGS
)
flags.DEFINE_integer(
    "jobs",
    1,
    "Stages at once, where they do not need each other; each takes memory and cores.",
    1,
    flag_values=_FLAGS,
)
cli.define_list("only", "", "Stages to run, with all that they need; by default all.", _FLAGS)
flags.DEFINE_boolean("dry_run", False, "Print the commands and which are done, and run nothing.", _FLAGS)


def _recipe():
    from patchwork_tf.commands.recipes import run

    run(_FLAGS)


def main(argv=None) -> int:
    return cli.run(_recipe, _FLAGS, "patchwork-recipe", __doc__, argv)


if __name__ == "__main__":
    sys.exit(main())
