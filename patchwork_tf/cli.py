"""What all commands share: flag parsing, `--help`, and errors as one line with an exit code."""

import copy
import functools
import importlib
import itertools
import os
import sys
import textwrap

from absl import flags

from patchwork_tf import backend, files
from patchwork_tf.choices import POLICIES
from patchwork_tf.errors import DataError, UsageError
from patchwork_tf.runtime import quiet
from patchwork_tf.runtime.frames import STARTS


def command(name: str, flag_values: flags.FlagValues, doc: str):
    """Makes a command of a function without arguments: its only argument is then `argv` of `run`."""
    return lambda main: functools.partial(run, main, flag_values, name, doc)


def run(main, flag_values: flags.FlagValues, name: str, doc: str, argv=None) -> int:
    """Parses flags, by default the process' arguments, and runs a command, whose `main` reads its `flag_values`.

    The name is in front of error messages, `doc` is what --help shows. Returns the exit code: 0, 1 for bad data or
    a full disk, 2 for wrong usage, 130 after Ctrl-C.
    """
    is_process = argv is None
    argv = sys.argv[1:] if is_process else argv
    if "plugins" not in flag_values:
        define(flag_values, "plugins")
    if is_process and hasattr(sys.stdout, "reconfigure"):  # there may be none
        sys.stdout.reconfigure(errors="replace")  # of names, what it cannot show
    if "--help" in argv or "-h" in argv:
        print(_help(flag_values, name, doc))
        return 0
    try:
        flag_values.unparse_flags()
        extra = flag_values([name, *argv])[1:]
        _expand_home(flag_values)
        if extra:
            raise UsageError(f"unexpected argument '{extra[0]}'; all arguments are --flags")
        backend.check()
        with quiet.python_only_stderr(to_the_end=is_process):
            import_plugins(flag_values.plugins)
            main()
            print(end="", flush=True)  # that it cannot be written is to be told, too
        return 0
    except (flags.Error, UsageError) as error:
        return _fail(name, f"{error}  (see {name} --help)", 2)
    except DataError as error:
        return _fail(name, error, 1)
    except BrokenPipeError:  # whoever read our lines has read enough
        _drop_output()
        return 1
    except OSError as error:
        _drop_output()
        where = f"{error.filename}: " if error.filename else ""
        return _fail(name, f"{where}{error.strerror or error}", 1)
    except KeyboardInterrupt as error:
        return _fail(name, str(error) or "interrupted", 130)


def _drop_output():
    """Drops what cannot be written of the output, which Python would try again when it ends."""
    try:
        print(end="", flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def import_plugins(names):
    """Imports modules of the user's, from this folder too."""
    if names:
        sys.path.insert(0, os.getcwd())  # and it stays: they may import their neighbours later
    for name in names:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise UsageError(f"--plugins={name}: {error}; give a module's name, without .py") from None


def _expand_home(flag_values):
    """~/x in a flag's value is the user's home; shells leave it alone there."""
    for name in flag_values:
        value = flag_values[name].value
        if isinstance(value, str) and value.startswith("~"):
            flag_values[name].value = os.path.expanduser(value)
        elif isinstance(value, list):
            flag_values[name].value = [os.path.expanduser(v) if isinstance(v, str) else v for v in value]


def _fail(name, message, code) -> int:
    if sys.stderr is None:  # of daemons
        return code
    print(f"{name}: {' '.join(str(message).split())}", file=sys.stderr)
    return code


def _help(flag_values, name, doc) -> str:
    lines = [(doc or "").strip(), "", f"{name} flags:"]
    for flag in itertools.chain(*flag_values.flags_by_module_dict().values()):  # as defined
        shown = ",".join(flag.default) if isinstance(flag.default, list) else flag.default
        default = "" if shown in (None, "") else f"  [{textwrap.shorten(str(shown), 60, placeholder='...')}]"
        lines.append(f"  --{'[no]' if flag.boolean else ''}{flag.name}{default}")
        lines += textwrap.wrap(flag.help, 100, initial_indent=" " * 6, subsequent_indent=" " * 6)
    return "\n".join(lines)


class _ImageSize(flags.ArgumentParser):
    """'128' or '128x256', height x width, to (H, W) in pixels."""

    syntactic_help = "one side in pixels, or HEIGHTxWIDTH"

    def parse(self, argument):
        if isinstance(argument, tuple):
            return argument
        sides = argument.lower().split("x")
        if len(sides) > 2 or not all(side.isdecimal() for side in sides):
            raise ValueError(f"give {self.syntactic_help}")
        return int(sides[0]), int(sides[-1])


class _ImageSizeSerializer(flags.ArgumentSerializer):
    def serialize(self, value):
        return "x".join(map(str, value))


class _List(flags.ListParser):
    """Items separated by commas; but a path that exists is one item, commas and all."""

    def parse(self, argument):
        is_path = isinstance(argument, str) and os.path.exists(os.path.expanduser(argument))
        return [argument] if is_path else list(filter(None, super().parse(argument)))


class _ListFlag(flags.Flag):
    """A flag that may be given more than once: a list of all items."""

    def parse(self, argument):
        before = self.value if self.present else []
        super().parse(argument)
        self.value = [*before, *self.value]


class Flags(flags.FlagValues):
    """The flags of a command, in the order in which --help shows them; each method defines one."""

    def string(self, name, help, default=None):
        flags.DEFINE_string(name, default, help, self)

    def boolean(self, name, help, default=False):
        flags.DEFINE_boolean(name, default, help, self)

    def integer(self, name, help, default=None, least=None, most=None):
        flags.DEFINE_integer(name, default, help, least, most, flag_values=self)

    def count(self, name, help, default=None):
        """A whole number from 1 on."""
        self.integer(name, help, default, least=1)

    def number(self, name, help, default=None, least=None, most=None):
        flags.DEFINE_float(name, default, help, least, most, flag_values=self)

    def enum(self, name, help, default=None, values=()):
        flags.DEFINE_enum(name, default, values, help, self)

    def list(self, name, help, default=""):
        """Of items, separated by commas or each in a flag."""
        flags.DEFINE_flag(_ListFlag(_List(), flags.CsvListSerializer(","), name, default, help), self)

    def size(self, name, help, default=None):
        """Of images, (H, W) in pixels."""
        flags.DEFINE(_ImageSize(), name, default, help, self, _ImageSizeSerializer())


# Those that several commands share.
_SHARED = Flags()
_SHARED.list(
    "system",
    "Systems, separated by commas; of demo and evaluate by default the checkpoint's.",
    default="vid-pw-m4n2",
)
_SHARED.list(
    "checkpoint",
    "Weights: a training folder, a checkpoint file or the name of a pretrained system; one for all systems, or "
    "one each. Without it demo and compare take the weights that are shipped, and others random ones, good for "
    "latency only.",
)
_SHARED.list("tflite", "Exported files, separated by commas, to run by LiteRT in place of systems.")
_SHARED.string(
    "dataset",
    "Name of the data set: moving_objects, folder (your own), imagenet_vid, davis2016, coco, coco_scenes, one of "
    "a plugin, video (any, in a folder --data_dir, to distil from), or another that was prepared in --data_dir "
    "(docs/your_data.md).",
    default="moving_objects",
)
_SHARED.string("data_dir", "Folder of prepared data sets; without it moving_objects is generated on the fly.")
_SHARED.string(
    "config",
    "Which form of it: videos or frames15 of imagenet_vid, 128, 256 or 384 pixels of moving_objects, still or "
    "moving of coco_scenes; by default the first. Of generated moving_objects the kind of scenes: varied, sparse "
    "or mixed.",
)
_SHARED.string("split", "Part of the data set, such as validation or train[:90%].", default="train")
_SHARED.list(
    "video", "Video files or folders of frames, separated by commas; a name with a comma in a flag of its own."
)
_SHARED.list("policy", f"Who chooses windows, {', '.join(POLICIES)}; or of a plugin; by default the model itself.")
_SHARED.enum(
    "start",
    "Look at the first frame as a whole, or sweep it, window by window in the first frames.",
    default="whole",
    values=STARTS,
)
_SHARED.count("max_frames", "At most so many of each video; by default all, and 32 of those that are generated.")
_SHARED.size(
    "image_size",
    "Of frames, in pixels: one side, or HEIGHTxWIDTH; by default the weights' or the system's, or the one nearest "
    "to a file's.",
)
_SHARED.number("depth", "Width multiplier; by default the weights' or the system's.")
_SHARED.string(
    "beam_runner",
    "Run on Apache Beam: DirectRunner, all cores of this machine, FlinkRunner or another that it knows.",
)
_SHARED.list(
    "beam_options", "Options of that: project=P,temp_location=gs://B/tmp, or direct_num_workers=4 of DirectRunner."
)
_SHARED.string("model_dir", "Folder of checkpoints and logs. Required.")
_SHARED.string("output", "The file to write.")
_SHARED.string("json", "The JSON file to write results to.")
_SHARED.list(
    "plugins",
    "Python modules to import first, from this folder or installed: they may register systems, backbones, tasks, "
    "policies and data sets of your own.",
)
_SHARED.integer("seed", "Of all that is random.", default=0)


def define(flag_values: flags.FlagValues, *names: str, **defaults):
    """Defines flags that several commands share, with the defaults of this command."""
    for name in names:
        flags.DEFINE_flag(copy.deepcopy(_SHARED[name]), flag_values)
    for name, default in defaults.items():
        flag_values.set_default(name, default)


# Flags that name what a command reads, or programs that it runs; and those that name folders to write to.
_READ = (
    *("checkpoint", "init_checkpoint", "teacher", "backbone_weights", "tflite", "labels", "inspect"),
    *("video", "photos", "calibration", "data_dir", "manual_dir", "predictions", "ground_truth", "image_set"),
    *("scores", "report", "runner"),
)
_FOLDERS = ("data_dir", "golden", "model_dir", "save_predictions")


def check_outputs(flag_values: flags.FlagValues, *names: str):
    """Makes sure, before anything is read, that what flags name can be written in the end and no input is lost.

    Of the flags that name files and folders to write those without a value do not count. Raises UsageError if one
    names what another flag names, be it through links, DataError if it cannot be written.
    """
    outputs = {name: flag_values[name].value for name in names if flag_values[name].value}
    read = [(name, path) for name in _READ if name in flag_values for path in _existing(flag_values[name].value)]
    for name, output in outputs.items():
        for other, path in [*read, *outputs.items()]:
            if other != name and files.would_lose(output, path):
                raise UsageError(f"--{name}={output} would be written over --{other}={path}: name another one")
    for name, output in outputs.items():
        (files.check_folder if name in _FOLDERS else files.check_output)(output)


def _existing(value) -> list[str]:
    """The paths that a flag names, as far as they are there."""
    values = value if isinstance(value, list) else [value]
    return [path for path in values if path and os.path.exists(path)]


def single(flag: str, values: list[str]) -> str:
    """The one value of a list. Raises UsageError if there are more or none."""
    if len(values) != 1:
        raise UsageError(f"--{flag} takes one value here, not {len(values)}")
    return values[0]


def required(flags_given: flags.FlagValues, *names: str):
    """Raises UsageError if a flag has no value."""
    for name in names:
        if not flags_given[name].value:
            raise UsageError(f"--{name} is required: {flags_given[name].help.removesuffix(' Required.')}")


def override(**fields) -> dict:
    """The fields that a flag was given for."""
    return {key: value for key, value in fields.items() if value is not None}


def one_per_item(flag: str, values: list[str], items: list) -> list:
    """Spreads a list over items: none, one for all, or one each. Raises UsageError for any other number."""
    if len(values) not in (0, 1, len(items)):
        raise UsageError(f"--{flag} has {len(values)} values for {len(items)} systems; give one, or one each")
    return values if len(values) > 1 else (values or [None]) * len(items)


def non_empty(flag: str, values: list[str]) -> list[str]:
    """The values of a list. Raises UsageError if there are none."""
    if not values:
        raise UsageError(f"--{flag} is empty; name at least one")
    return values


def per_cent(value: float | None) -> str:
    """With one digit; '-' where unknown."""
    return "-" if value is None else f"{100 * value:.1f}"


def table(titles: list[str], lines: list[list], left: tuple[int, ...] = (0,)) -> str:
    """A table as text, whose columns are aligned on the right, but for those that are named."""
    from tabulate import tabulate

    sides = ["right"] * len(titles)
    for column in left:
        sides[column] = "left"
    return tabulate(lines, titles, "plain", disable_numparse=True, colalign=sides)
