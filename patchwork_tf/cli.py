"""What all commands share: flag parsing, `--help`, and errors as one line with an exit code."""

import itertools
import os
import sys
import textwrap

from absl import flags
from tqdm import tqdm

from patchwork_tf.errors import DataError, UsageError


def run(main, flag_values: flags.FlagValues, name: str, doc: str, argv=None) -> int:
    """Parses flags and runs a command.

    Args:
        main: takes no arguments; reads its flags from `flag_values`.
        flag_values: the command's own flags, in the order `--help` shows them.
        name: of the command, in front of error messages.
        doc: what the command does, shown by `--help`.
        argv: arguments; those of the process by default.

    Returns:
        The exit code: 0, 1 for bad data or a full disk, 2 for wrong usage, 130 after Ctrl-C.
    """
    argv = sys.argv[1:] if argv is None else argv
    if "--help" in argv or "-h" in argv:
        print(_help(flag_values, name, doc))
        return 0
    try:
        flag_values.unparse_flags()
        extra = flag_values([name, *argv])[1:]
        _expand_home(flag_values)
        if extra:
            raise UsageError(f"unexpected argument '{extra[0]}'; all arguments are --flags")
        main()
        return 0
    except (flags.Error, UsageError) as error:
        return _fail(name, f"{error}  (see {name} --help)", 2)
    except DataError as error:
        return _fail(name, error, 1)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _fail(name, f"{where}{error.strerror or error}", 1)
    except KeyboardInterrupt:
        return _fail(name, "interrupted", 130)


def _expand_home(flag_values):
    """~/x in a flag's value is the user's home; shells leave it alone there."""
    for name in flag_values:
        value = flag_values[name].value
        if isinstance(value, str) and value.startswith("~"):
            flag_values[name].value = os.path.expanduser(value)
        elif isinstance(value, list):
            flag_values[name].value = [os.path.expanduser(v) if isinstance(v, str) else v for v in value]


def _fail(name, message, code) -> int:
    print(f"{name}: {' '.join(str(message).split())}", file=sys.stderr)
    return code


def _help(flag_values, name, doc) -> str:
    lines = [doc.strip(), "", f"{name} flags:"]
    for flag in itertools.chain(*flag_values.flags_by_module_dict().values()):  # as defined
        shown = ",".join(flag.default) if isinstance(flag.default, list) else flag.default
        default = "" if shown in (None, "") else f"  [{textwrap.shorten(str(shown), 60, placeholder='...')}]"
        lines.append(f"  --{'[no]' if flag.boolean else ''}{flag.name}{default}")
        lines += textwrap.wrap(flag.help, 100, initial_indent=" " * 6, subsequent_indent=" " * 6)
    return "\n".join(lines)


def parse_image_size(text: str | None) -> tuple[int, int] | None:
    """'128' or '128x256' (height x width) to (H, W) in pixels; None stays None.

    Raises:
        UsageError: for anything else.
    """
    if text is None:
        return None
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(side.isdigit() for side in sides):
        raise UsageError(f"--image_size={text}: give one side in pixels, or HEIGHTxWIDTH")
    return int(sides[0]), int(sides[-1])


def progress(**options) -> tqdm:
    """A progress bar: of the terminal's width, or, in a log file, a line a minute."""
    if not sys.stderr.isatty():
        options = {"mininterval": 60, "maxinterval": 120, "ncols": 100, **options}
    return tqdm(**{"dynamic_ncols": sys.stderr.isatty(), **options})


def override(**fields) -> dict:
    """The fields that a flag was given for."""
    return {key: value for key, value in fields.items() if value is not None}


def one_per_item(flag: str, values: list[str], items: list) -> list:
    """Spreads a comma-separated flag over items: none, one for all, or one each.

    Raises:
        UsageError: for any other number.
    """
    values = [value for value in values if value]
    if len(values) not in (0, 1, len(items)):
        raise UsageError(f"--{flag} has {len(values)} values for {len(items)} systems; give one, or one each")
    return (values or [None]) * len(items) if len(values) < 2 else values


def non_empty(flag: str, values: list[str]) -> list[str]:
    """The values of a comma-separated flag. Raises UsageError if there are none."""
    values = [value for value in values if value]
    if not values:
        raise UsageError(f"--{flag} is empty; name at least one")
    return values
