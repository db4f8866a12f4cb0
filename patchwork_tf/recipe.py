"""Runs a recipe: all stages from raw data to a table of the paper, each a command of this project.

What is done stays done: the same command goes on where it was, after Ctrl-C, a kill or an error. A stage is run
again if its command, or one that it needs, is another than before. Every stage has a log in --output_dir/logs.

  patchwork-recipe --recipe=recipes/table5.yaml --set=raw=DAVIS --output_dir=runs/table5
  patchwork-recipe --recipe=recipes/table5.yaml --set=raw=DAVIS --output_dir=runs/table5 --dry_run
  patchwork-recipe --recipe=recipes/table5.yaml --output_dir=/tmp/smoke --smoke --jobs=2

A recipe has these parts:

    needs:   what --set must give, by name, each with a line that says what it is
    values:  what commands have in common, by name; --set changes them; `seeds` is a list, by default of 0
    stages:  by what each makes, a file or folder of --output_dir: `run`, its command without the 'patchwork-', and
             perhaps `each: seed`, if there is one for every seed
    smoke:   `values` and `stages` that take the place of, or come before, the others with --smoke

In commands {name} is a value, {output} what the stage makes, {seed} its seed, and the name of an earlier stage
what that makes: its input. A stage that is not of one seed gets those of all seeds, separated by commas. {here} is
the recipe's folder.
"""

import collections
import dataclasses
import fcntl
import hashlib
import importlib
import multiprocessing
import multiprocessing.connection
import os
import re
import shlex
import sys
import time

import yaml

from patchwork_tf import backend, cli, files
from patchwork_tf.bars import progress
from patchwork_tf.errors import DataError, UsageError
from patchwork_tf.interrupts import interruptible

_FLAGS = cli.Flags()
_FLAGS.string("recipe", "The recipe, a .yaml file. Required.")
_FLAGS.string("output_dir", "Folder of all that is made. Required.")
_FLAGS.list("set", "Values of the recipe that are other than in its file, as name=value.")
_FLAGS.boolean("smoke", "Try the recipe on tiny data in a minute or two: that it runs, not what it gives.")
_FLAGS.count("jobs", "Stages at once, where they do not need each other; each takes memory and cores.", default=1)
_FLAGS.list("only", "Stages to run, with all that they need; by default all.")
_FLAGS.boolean("dry_run", "Print the commands and which are done, and run nothing.")

_MODULES = {name: name for name in ("prepare", "train", "evaluate", "compare", "tables")}
_MODULES |= {"export": "export.__main__", "benchmark": "benchmarks.__main__"}
_HEAVY = ("train_run", "score_systems")  # modules of commands/, imported once for all stages
_IS_COMPILED = ("export", "benchmark")  # with --smoke, too: what is compiled there is what is tested
_NAME = re.compile(r"\{([^{}]*)\}")
_DONE = "stages.json"


@dataclasses.dataclass(frozen=True)
class Stage:
    """A command to run."""

    name: str  # as in the recipe
    output: str  # what it makes, below the folder
    command: tuple[str, ...]  # with its arguments, without the 'patchwork-'
    needs: tuple[str, ...]  # outputs of other stages that it reads
    key: str  # digest of its command and of all that were run for what it reads

    @property
    def text(self) -> str:
        """The command as one would type it."""
        return f"{'' if self.command[0] == 'python' else 'patchwork-'}{shlex.join(self.command)}"


@cli.command("patchwork-recipe", _FLAGS, __doc__)
def main():
    """Runs the stages that are not done yet, or lists them."""
    cli.required(_FLAGS, "recipe", "output_dir")
    given = {}
    for text in _FLAGS.set:
        name, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"--set={text}: give name=value")
        given[name] = os.path.expanduser(value)
    stages = _needed(read(_FLAGS.recipe, _FLAGS.output_dir, given, _FLAGS.smoke), _FLAGS.only)
    done = _Done(_FLAGS.output_dir)
    if _FLAGS.dry_run:
        for stage in stages:
            print(f"{'# done: ' if done.has(stage) else ''}{stage.text}")
        return
    files.make_folder(os.path.join(_FLAGS.output_dir, "logs"))
    with interruptible():
        _run_all(stages, done, _FLAGS.jobs, _FLAGS.smoke)
    for stage in stages:
        if stage.command[0] == "tables":
            with open(os.path.join(_FLAGS.output_dir, stage.output), encoding="utf-8") as file:
                print(file.read())
    print(f"{len(stages)} stages are done; all that they made is in {_FLAGS.output_dir}")


def read(path: str, folder: str, given: dict[str, str] | None = None, smoke: bool = False) -> list[Stage]:
    """The stages of a recipe, or with `smoke` the small one, in an order in which they can be run.

    They write to the folder; `given` are values other than the recipe's. Raises DataError if the recipe is
    missing, or wrong, UsageError if a value is missing, or unknown.
    """
    try:
        recipe = yaml.safe_load(files.read_bytes(path))
        small = recipe.get("smoke") or {}
        values, needs = dict(recipe["values"]), dict(recipe.get("needs") or {})
        stages = dict(recipe["stages"])
        if smoke:
            values |= small.get("values") or {}
            stages = {**(small.get("stages") or {}), **stages}
        unknown = set(given or ()) - values.keys() - needs.keys()
        if unknown:
            raise UsageError(f"--set={min(unknown)}: {path} knows {', '.join([*needs, *values])}")
        values |= {"here": os.path.dirname(path) or ".", **(given or {})}
        for name, what in needs.items():
            if name not in values and name not in stages:
                raise UsageError(f"--set={name}=... is required: {what}")
        seeds = values.get("seeds", [0])
        seeds = seeds if isinstance(seeds, list) else str(seeds).split("+")
        expanded = []
        for name, stage in stages.items():
            for seed in seeds if stage.get("each") == "seed" else [None]:
                expanded.append(_stage(name, stage["run"], seed, values, expanded, folder))
    except UsageError:
        raise
    except (yaml.YAMLError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise DataError(f"{path}: not a recipe ({type(error).__name__}: {' '.join(str(error).split())})") from None
    return expanded


def _stage(name, text, seed, values, before, folder) -> Stage:
    """One stage of one seed, or of none; `before` are those that it may read."""
    own = name if seed is None else os.path.join(f"seed{seed}", name)
    made = collections.defaultdict(list)
    for stage in before:
        made[stage.name].append(stage)
    read = []

    def value(match):
        """What a name in braces stands for; stages that it names are read."""
        key = match[1]
        if key == "output":
            return os.path.join(folder, own)
        if key == "seed" and seed is not None:
            return str(seed)
        if key in made:
            same = os.path.join(f"seed{seed}", key)
            stages = [s for s in made[key] if s.output == same] or made[key]
            read.extend(stages)
            return ",".join(os.path.join(folder, s.output) for s in stages)
        if key in values:
            return _NAME.sub(value, str(values[key]))
        raise ValueError(f"stage {name}: {{{key}}} is neither a value nor an earlier stage")

    command = []
    for word in shlex.split(text):  # before the values come in: a path may have blanks
        filled = _NAME.sub(value, word)  # several words, or none, if it is a value and nothing else
        command += shlex.split(filled) if _NAME.fullmatch(word) else [filled]
    if command[0] not in (*_MODULES, "python"):
        raise ValueError(f"stage {name}: unknown command '{command[0]}'; there are {', '.join(_MODULES)}")
    read = list(dict.fromkeys(read))
    key = hashlib.sha256("\n".join([*command, *(s.key for s in read)]).encode()).hexdigest()[:16]
    return Stage(name, own, tuple(command), tuple(s.output for s in read), key)


def _needed(stages, only) -> list[Stage]:
    if not only:
        return stages
    names = {stage.name for stage in stages}
    if unknown := [name for name in only if name not in names]:
        raise UsageError(f"--only={unknown[0]}: there are {', '.join(dict.fromkeys(s.name for s in stages))}")
    wanted = set()
    for stage in reversed(stages):
        if stage.name in only or stage.output in wanted:
            wanted |= {stage.output, *stage.needs}
    return [stage for stage in stages if stage.output in wanted]


class _Done:
    """Which stages of a folder were begun and which are done, kept in a file there."""

    def __init__(self, folder):
        self.folder, self.path = folder, os.path.join(folder, _DONE)
        self.stages = files.read_json(self.path) if os.path.exists(self.path) else {}

    def has(self, stage) -> bool:
        about = self.stages.get(stage.output, {})
        is_there = os.path.exists(os.path.join(self.folder, stage.output))
        return is_there and about.get("key") == stage.key and about["seconds"] is not None

    def check(self, stage):
        """Raises DataError if a folder would go on that another command began. Files are made anew."""
        path, begun = os.path.join(self.folder, stage.output), self.stages.get(stage.output)
        if os.path.isdir(path) and begun and begun["key"] != stage.key:
            raise DataError(
                f"{path} is of another command, or of other inputs: remove it, or take another --output_dir  "
                f"(it was {begun['command']})"
            )

    def add(self, stage, seconds=None):
        """A stage that begins, or is done after so many seconds."""
        seconds = seconds and round(seconds, 1)
        self.stages[stage.output] = {"key": stage.key, "seconds": seconds, "command": stage.text}
        files.write_json(self.path, self.stages, indent=1)

    def log(self, stage) -> str:
        return os.path.join(self.folder, "logs", stage.output.replace(os.sep, "-") + ".log")


def _run_all(stages, done, jobs, smoke):
    """Runs stages as soon as what they need is there, `jobs` at once. Raises DataError if one fails."""
    # Importing TensorFlow takes seconds: one process does, and stages are forked from it. JAX does not fork.
    context = multiprocessing.get_context("forkserver" if backend.check() == "tensorflow" else "spawn")
    context.set_forkserver_preload([f"patchwork_tf.commands.{name}" for name in _HEAVY])
    waiting = [stage for stage in stages if not done.has(stage)]
    for stage in waiting:
        done.check(stage)
    missing, running = {stage.output for stage in waiting}, {}
    with progress(total=len(stages), initial=len(stages) - len(waiting), unit="stage") as bar:
        try:
            while waiting or running:
                ready = [stage for stage in waiting if not missing & set(stage.needs)]
                for stage in ready[: jobs - len(running)]:
                    waiting.remove(stage)
                    done.add(stage)
                    process = context.Process(target=_work, args=(stage, done.log(stage), smoke))
                    process.start()
                    running[stage] = (process, time.monotonic())
                bar.set_description(", ".join(stage.output for stage in running))
                multiprocessing.connection.wait([process.sentinel for process, _ in running.values()], 60)
                for stage, (process, since) in list(running.items()):
                    if process.exitcode is None:
                        continue
                    del running[stage]
                    if process.exitcode:
                        raise DataError(_failure(stage, process.exitcode, done.log(stage)))
                    done.add(stage, time.monotonic() - since)
                    missing.discard(stage.output)
                    bar.update()
        except KeyboardInterrupt:
            raise KeyboardInterrupt("interrupted; the same command goes on from there") from None
        finally:
            for process, _ in running.values():
                process.terminate()  # training saves a checkpoint
            for process, _ in running.values():
                process.join()


def _work(stage, log, smoke):
    """A stage's process: runs a command, its output in a log."""
    os.setsid()  # Ctrl-C is for the process that started it, which passes it on
    name, *arguments = stage.command
    with open(log, "a", encoding="utf-8") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        # One that a killed run left behind may be at it still.
        fcntl.flock(file, fcntl.LOCK_EX)
        print(f"$ {stage.text}", flush=True)
        if name == "python":
            os.execv(sys.executable, [sys.executable, *arguments])
        if smoke and name not in _IS_COMPILED and backend.check() == "tensorflow":
            import tensorflow as tf

            tf.config.run_functions_eagerly(True)  # compiling takes longer than the few steps
        sys.exit(importlib.import_module(f"patchwork_tf.{_MODULES[name]}").main(arguments))


def _failure(stage, code, log) -> str:
    with open(log, encoding="utf-8", errors="replace") as file:
        lines = [line.strip() for line in file if line.strip()]
    own = [line for line in lines if line.startswith(f"patchwork-{stage.command[0]}: ")]
    return f"{stage.output}: {(own or lines)[-1]} (exit code {code}); its log is {log}"


if __name__ == "__main__":
    sys.exit(main())
