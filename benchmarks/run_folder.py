"""What is finished stays finished: repeats of a benchmark on disk, so that a broken run can be continued.

plan.json                     what is measured, and how; a run can be continued only as it was begun
PHONE/machine.json            the phone as it was found
PHONE/SYSTEM.REPEAT.txt       raw samples, as the runner wrote them
PHONE/SYSTEM.REPEAT.json      when and how hot; written last, so that it makes a repeat a finished one
PHONE/SYSTEM.stock.txt        what benchmark_model printed
ABI/                          the runner's bundle for such phones
SYSTEM.windows                where it is told to look, unless its model chooses
"""

import json
import os
import re

from patchwork_tf import files
from patchwork_tf.benchmarks.samples import Samples, read_samples
from patchwork_tf.errors import DataError, UsageError


class RunFolder:
    """Finished repeats of one benchmark, on one phone or several.

    Args:
        path: of a folder; begun if it is new or empty.
        plan: JSON fields that must be the same whenever the run is continued.

    Raises:
        UsageError: if it holds another run, or something else.
        DataError: if it cannot be written to.
    """

    def __init__(self, path: str, plan: dict):
        self.path = path
        files.make_folder(path)
        plan_path = os.path.join(path, "plan.json")
        if os.path.exists(plan_path):
            self._compare(_read_json(plan_path), plan)
        elif os.listdir(path):
            raise UsageError(f"{path}: neither empty nor a folder of a benchmark; name another one")
        else:
            _write_json(plan_path, plan)

    def of_phone(self, serial: str) -> "PhoneFolder":
        """The part of one phone, by its own serial number."""
        folder = os.path.join(self.path, re.sub(r"[^\w.-]", "_", serial))
        os.makedirs(folder, exist_ok=True)
        return PhoneFolder(folder)

    def _compare(self, begun, plan):
        for key in {**begun, **plan}:
            if begun.get(key) != plan.get(key):
                raise UsageError(
                    f"{self.path}: this run was begun with {key} {_short(begun.get(key))}, not "
                    f"{_short(plan.get(key))}; continue it as it was begun, or name another folder"
                )


class PhoneFolder:
    """Finished repeats on one phone."""

    def __init__(self, path: str):
        self.path = path

    def begin(self, machine: dict):
        """Notes what the phone is, or that it still is what it was.

        Raises:
            DataError: if its system or what runs on it is another than when the run began.
        """
        path = os.path.join(self.path, "machine.json")
        if not os.path.exists(path):
            _write_json(path, machine)
        begun = self.machine()
        for fact in ("build", "cpu_mask", "runner", "fixed_performance"):
            if begun[fact] != machine[fact]:
                raise DataError(
                    f"{self.path}: begun with {fact} {begun[fact]}, which now is {machine[fact]}; begin anew"
                )

    def machine(self) -> dict:
        """The phone as it was when the run began."""
        return _read_json(os.path.join(self.path, "machine.json"))

    def samples_path(self, system: str, repeat: int) -> str:
        return os.path.join(self.path, f"{system}.{repeat}.txt")

    def stock_path(self, system: str) -> str:
        return os.path.join(self.path, f"{system}.stock.txt")

    def keep(self, system: str, repeat: int, record: dict):
        """Makes a repeat whose samples are in place a finished one."""
        _write_json(self._record_path(system, repeat), record)

    def finished(self, system: str, repeat: int) -> tuple[dict, Samples] | None:
        """The record and the samples of a repeat; None if it is not finished, or spoilt."""
        try:
            return _read_json(self._record_path(system, repeat)), read_samples(self.samples_path(system, repeat))
        except DataError:
            return None

    def _record_path(self, system, repeat):
        return os.path.join(self.path, f"{system}.{repeat}.json")


def _read_json(path):
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot read it ({error})") from None


def _write_json(path, content):
    with files.atomic_file(path, "w") as file:
        json.dump(content, file, indent=1)


def _short(value) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
