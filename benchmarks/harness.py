"""The protocol that turns exported files into latencies of a phone.

Every repeat runs all systems in another order, so that a phone that gets slower does so for all of them. A run
starts when nothing throttles, on the CPUs of one cluster, and counts when all its raw samples have arrived here.
What is finished is kept, whatever happens next. Nothing needs root.
"""

import dataclasses
import datetime
import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

from patchwork_tf import files
from patchwork_tf.benchmarks import conditions, phone_runner, stock
from patchwork_tf.benchmarks.adb import Adb, Device
from patchwork_tf.benchmarks.interrupts import interruptible
from patchwork_tf.benchmarks.phone import Phone, PhoneSession, windows_file, workplace
from patchwork_tf.benchmarks.plan import Model, Settings, as_streamed, order
from patchwork_tf.benchmarks.run_folder import PhoneFolder, RunFolder
from patchwork_tf.benchmarks.selection import select
from patchwork_tf.errors import DataError
from patchwork_tf.streaming.policies import View


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """Systems to measure on phones.

    Attributes:
        models: system name -> Model.
        settings: how to measure.
        runner: folder of the native runner for these phones; None makes a bundle (see phone_runner.py).
        stock_tool: path of benchmark_model for these phones, to run on the plain models as a cross-check; or None.
        progress: called after every run with how many runs there are, all phones together.
        say: is told what is waited for, and what had to be left undone.
    """

    models: dict[str, Model]
    settings: Settings
    runner: str | None = None
    stock_tool: str | None = None
    progress: Callable[[int], None] = lambda total: None
    say: Callable[[str], None] = print


def measure(benchmark: Benchmark, adb: Adb, serials: list[str], folder: str) -> Iterator[dict]:
    """Measures on one or several phones, one after the other. In the main thread only, for the sake of Ctrl-C.

    Args:
        benchmark: what and how.
        adb: the client.
        serials: devices, as `select` takes them.
        folder: where finished repeats are kept; those that are there are not measured again (see run_folder.py).

    Yields:
        For every phone whose runs are all finished: see `_result`.

    Raises:
        UsageError, DataError: if something cannot be as asked for; what went wrong on one phone, only when
            the others are done.
    """
    devices = select(adb, serials, benchmark.say)
    run_folder = RunFolder(folder, _plan(benchmark))
    failures = []
    for device in devices:
        try:
            with interruptible():
                result = _measure_phone(benchmark, device, run_folder, len(devices))
        except DataError as error:
            failures.append(str(error))
        else:
            yield result
    if failures:
        raise DataError(f"{'; '.join(failures)}. Finished repeats are kept, --resume={folder} continues")


def _plan(benchmark) -> dict:
    """What must be the same when a run is continued."""
    settings = dataclasses.asdict(benchmark.settings)
    del settings["cool_seconds"]  # one may lose patience
    digests = {f"model of {name}": model.file.digest for name, model in benchmark.models.items()}
    return {"stock_tool": bool(benchmark.stock_tool), **settings, **digests}


def _measure_phone(benchmark, device: Device, run_folder, num_phones) -> dict:
    phone = Phone(device, benchmark.settings)
    kept = run_folder.of_phone(phone.serial)
    turns = order(list(benchmark.models), benchmark.settings.repeats, benchmark.settings.seed)
    checks = [name for name, model in benchmark.models.items() if benchmark.stock_tool and model.is_plain]
    total = num_phones * (len(turns) + len(checks))
    missing = [turn for turn in turns if not kept.finished(*turn)]
    missing_checks = [name for name in checks if not os.path.exists(kept.stock_path(name))]
    for _ in range(len(turns) + len(checks) - len(missing) - len(missing_checks)):
        benchmark.progress(total)
    if missing or missing_checks:
        with _session(benchmark, phone, kept, run_folder) as session:
            for system, repeat in missing:
                session.run(system, benchmark.models[system], repeat)
                benchmark.progress(total)
            for system in missing_checks:
                session.cross_check(system, os.path.basename(benchmark.stock_tool))
                benchmark.progress(total)
    return _result(benchmark, kept, checks)


@contextmanager
def _session(benchmark, phone, kept, run_folder):
    """Within it, all files are on the phone, and its clocks are held if they can be."""
    settings, device = benchmark.settings, phone.device
    bundle = phone_runner.bundle_for(phone.abi, benchmark.runner, os.path.join(run_folder.path, phone.abi))
    files = [(os.path.join(bundle.folder, name), name) for name in bundle.files]
    files += [(model.path, f"{name}.tflite") for name, model in benchmark.models.items()]
    if benchmark.stock_tool:
        files.append((benchmark.stock_tool, os.path.basename(benchmark.stock_tool)))
    files += _windows_files(benchmark, run_folder.path)
    hold = conditions.fixed_performance if settings.fixed_performance else lambda *_: nullcontext(False)
    with workplace(device, files, benchmark.say), hold(device, benchmark.say) as held:
        kept.begin({**phone.machine(), "runner": phone_runner.way(bundle), "fixed_performance": held})
        yield PhoneSession(phone, bundle.command, kept, benchmark.say)


def _windows_files(benchmark, folder) -> Iterator[tuple[str, str]]:
    """Writes the windows of systems whose model does not choose them: (path here, name on the phone)."""
    settings = benchmark.settings
    for system, model in benchmark.models.items():
        if choose := model.blind_policy(settings.policy, settings.seed):
            path = os.path.join(folder, windows_file(system))
            with files.atomic_file(path, "w") as file:
                for number in range(settings.warmup + settings.steps):
                    row, column = choose(View(number))
                    file.write(f"{row} {column}\n")
            yield path, windows_file(system)


def _result(benchmark, kept: PhoneFolder, checks) -> dict:
    """Everything about one phone, as `report.summarise` takes it.

    Returns:
        'target', 'emulated', 'created' (ISO time), 'machine', 'settings', 'stock' (system -> `stock.Statistics` as
        a dict), and 'systems': name -> 'file' ('sha256', 'bytes'), 'stream' ('interval', 'delay', 'flip'), and
        'repeats', each with 'started' (seconds since the first one), 'temperature_before', 'temperature_after'
        (degrees Celsius), 'tainted', 'reason', 'load_ns', 'first_ns', 'peak_kb', and one entry per frame in
        'nanoseconds', 'kinds', 'late'.
    """
    machine = kept.machine()
    repeats = {name: _repeats(benchmark, kept, name) for name in benchmark.models}
    begun = min(repeat["started"] for of_system in repeats.values() for repeat in of_system)
    for repeat in itertools.chain(*repeats.values()):
        repeat["started"] -= begun
    return {
        "target": "adb",
        "emulated": machine["emulated"],
        "created": datetime.datetime.fromtimestamp(begun, datetime.timezone.utc).isoformat(timespec="seconds"),
        "machine": machine,
        "settings": dataclasses.asdict(benchmark.settings),
        "stock": {name: dataclasses.asdict(stock.read(kept.stock_path(name))) for name in checks},
        "systems": {
            name: {
                "file": {"sha256": model.file.digest, "bytes": model.file.size},
                "stream": {"interval": model.interval, "delay": model.delay, "flip": model.flip},
                "repeats": repeats[name],
            }
            for name, model in benchmark.models.items()
        },
    }


def _repeats(benchmark, kept, name) -> list[dict]:
    """All repeats of a system, its times as they lie in the stream."""
    rows = []
    for number in range(benchmark.settings.repeats):
        record, samples = kept.finished(name, number)
        nanoseconds, late = as_streamed(
            samples.nanoseconds, samples.late, benchmark.models[name], benchmark.settings.fps
        )
        facts = {key: samples.facts[key] for key in ("load_ns", "first_ns", "peak_kb")}
        rows.append({**record, **facts, "nanoseconds": nanoseconds, "kinds": samples.kinds, "late": late})
    return rows
