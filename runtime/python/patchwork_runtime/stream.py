"""Answering the frames of a video by an exported file."""

import contextlib
import dataclasses
import functools
import os
import threading

import numpy as np

from .answers import OF_TASK, Answer
from .errors import UsageError
from .frames import STARTS, as_rgb, check_size, sweep
from .network import Network
from .resizing import Resizer

_SIZES = 8  # of frames, for which scaling is kept ready


class Model:
    """An exported file, of which any number of videos may be answered, by turns.

        model = Model("pw.tflite")
        stream = model.stream()
        for frame in frames:
            answer = stream.push(frame)

    Args:
        path: of the file.
        threads: of inference; one is fastest for small windows.

    Attributes:
        path: likewise.
        facts: all that the file says of itself, docs/file_format.md lists it.
        system, task: their names, such as 'oid-pw-m4n2' and 'detection'.
        labels: names of the classes.
        image_size: (H, W) of the network.
        cells, window_cells: of its grid, and of a window, per side.
        policy: how windows are chosen, 'rule' or 'learned'.

    Raises:
        DataError: if it is no file of patchwork-export, damaged, or LiteRT cannot load it.
        UsageError: if it needs what is not here: a mirrored second stream, late answers, suppression.
    """

    def __init__(self, path: str | os.PathLike, threads: int = 1):
        self._network = Network(path, threads)
        self.path, self.facts = self._network.path, self._network.facts
        self.system, self.task = self.facts["system"], self.facts["task"]
        self.labels, self.policy = tuple(self.facts["labels"]), self.facts["policy"]
        self.image_size = tuple(self.facts["input"]["image_size"])
        self.cells, self.window_cells = self.facts["grid"]["cells"], self.facts["grid"]["window_cells"]
        self._busy, self._is_new = threading.Lock(), True
        self._resizer = functools.lru_cache(_SIZES)(self._make_resizer)
        if self.facts["stream"]["flip"] or self.facts["stream"]["delay"]:
            raise UsageError(f"{self.path}: {self.system} mirrors frames or answers late; that needs patchwork_tf")
        if self.task == "detection" and "count" not in self._network.output_names:
            raise UsageError(f"{self.path}: no suppression in it; export it without --nosuppression")

    def stream(self, start: str = "whole") -> "Stream":
        """A new video.

        Args:
            start: 'whole', the first frame is looked at as a whole, at 1.1 to 1.2 times the cost of the
                single-frame network; or 'sweep', no frame costs more than a window: the first ones look through
                the fewest windows that cover the frame, row by row.

        Raises:
            UsageError: for another start.
        """
        with self._alone():
            return Stream(self, start)

    @contextlib.contextmanager
    def _alone(self):
        """While no other thread is at the model, or at a stream of it."""
        if not self._busy.acquire(blocking=False):
            raise UsageError(f"{self.path}: two threads are at one Model; make one for each thread")
        try:
            yield
        finally:
            self._busy.release()

    def _make_resizer(self, size):
        return Resizer(size, self.image_size, self.facts["resize_mode"])

    def _memory(self):
        """Of a new stream: the first one has what comes with the network."""
        first, self._is_new = self._is_new, False
        return self._network.memory if first else self._network.new_memory()


class Stream:
    """One video. Made by `Model.stream`.

    Attributes:
        memory: what it remembers, a network.Memory.
    """

    def __init__(self, model: Model, start: str):
        if start not in STARTS:
            raise UsageError(f"start is one of {', '.join(STARTS)}, not {start}")
        self._model, self._network = model, model._network
        self.memory, self._start = model._memory(), start
        self._forget()

    def reset(self):
        """Forgets the video: the next frame is the first of another, as after a cut, a turn or a pause."""
        with self._model._alone():
            self.memory.reset()
            self._forget()

    def push(self, frame: np.ndarray) -> Answer:
        """Answers the next frame.

        Args:
            frame: (h, w, 3) uint8 RGB, upright, all of one size; grey ones, alpha and 16 bits are converted. Only
                what the window sees of it is read.

        Returns:
            Detections, a Mask or Maps.

        Raises:
            UsageError: if it is no such image, or another thread is at this model.
            DataError: if it has another size than those before it.
        """
        with self._model._alone():
            return self._push(frame)

    def _forget(self):
        model = self._model
        self._number, self._size, self._resizer, self._outputs = 0, None, None, None
        self._sweep = iter(sweep(model.cells, model.window_cells) if self._start == "sweep" else ())
        self._next_window = (0, 0)

    def _push(self, frame):
        model, facts = self._model, self._model.facts
        frame = as_rgb(frame, f"frame {self._number}")
        if self._size is None:
            self._size = frame.shape[:2]
            self._resizer = model._resizer(self._size)
        check_size(frame.shape[:2], self._size, f"frame {self._number}")
        about = {}
        if self._number % facts["stream"]["interval"] == 0:
            about = self._look(frame)
        self._number += 1
        answer = OF_TASK[model.task](self._outputs, self._size, model.image_size, facts["resize_mode"])
        return dataclasses.replace(answer, **about)

    def _look(self, frame) -> dict:
        """Runs the network on a frame; returns what an Answer says of how."""
        network, model = self._network, self._model
        single = model.cells == model.window_cells
        whole = not single and self._number == 0 and self._start == "whole"
        window = next(self._sweep, None) or self._next_window
        self._resizer.fill(frame, self._seen(None if whole or single else window), network.frame[0])
        if whole:
            outputs = network.start(network.frame, self.memory)
        else:
            outputs = network.step(network.frame, window, self.memory)
        self._next_window = tuple(outputs["next_window"].tolist()) if "next_window" in outputs else (0, 0)
        self._outputs = outputs
        cost = model.facts["mflops"]["start" if whole else "step"]
        values = outputs.get("q_values", outputs.get("rule_values"))
        values = None if values is None else values[0]
        about = {"window": None if whole else window, "whole_frame": whole, "mflops": cost, "q_values": values}
        fresh = next((s["name"] for s in model.facts["states"] if s["name"].endswith("_freshness")), None)
        return about | {"freshness": fresh and self.memory.read(fresh)[0, :, :, 0]}

    def _seen(self, window) -> tuple[int, int, int, int]:
        """The pixels of the network's image that a step looks at; None is for all."""
        height, width = self._model.image_size
        if window is None:
            return 0, 0, height, width
        height, width = height // self._model.cells, width // self._model.cells
        (row, column), side = window, self._model.window_cells
        return row * height, column * width, (row + side) * height, (column + side) * width
