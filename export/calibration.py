"""Eight bits that cost little: how to round kernels, and where to clip activations, by what real frames show.

Rounding to the nearest step treats every weight alone, and the errors of a channel add up: most of all those of a
depthwise kernel, nine weights on inputs that are never negative. Here weights are rounded one after the other, and
those that are left make up for the error so far, as moments of the inputs weigh it: GPTQ (Frantar et al., ICLR
2023, Algorithm 1). Ranges of activations are those of least squared error: a few large values cost all others
more precision than they lose themselves.
"""

import dataclasses

import numpy as np

STEPS = 127  # from 0 to the largest weight of a channel, which sets the channel's scale
_DAMPING = 0.01  # of the mean moment: inputs that were hardly seen must not be counted on
_PLACES = 300  # of a map, drawn at random per frame, that stand for all
_BLOCK = 64  # weights, after which the rest makes up for all of their errors at once
_CLIPPED = np.linspace(1, 0.3, 15)  # parts of the whole range to try


@dataclasses.dataclass(frozen=True)
class Window:
    """What an output of a convolution looks at, rows first."""

    size: tuple[int, int]
    strides: tuple[int, int] = (1, 1)
    dilations: tuple[int, int] = (1, 1)
    same: bool = True  # whether the map is padded with zeros as SAME has it, else not at all
    depthwise: bool = False  # whether every channel has a kernel of its own


def moments(x: np.ndarray, window: Window, rng) -> np.ndarray:
    """Sum of x x^T over places of a map (1, H, W, C), which `rng` draws.

    Returns:
        (P, C, C) float64, for each of the P places in the kernel; of depthwise kernels (C, P, P). What the
        places of a dense kernel have to do with one another is left out: it would take gigabytes.
    """
    (x,) = x
    reach = [(size - 1) * apart + 1 for size, apart in zip(window.size, window.dilations, strict=True)]
    if window.same:
        totals = (
            max((-(-side // stride) - 1) * stride + size - side, 0)
            for side, stride, size in zip(x.shape, window.strides, reach, strict=False)
        )
        x = np.pad(x, [*((total // 2, total - total // 2) for total in totals), (0, 0)])
    patches = np.lib.stride_tricks.sliding_window_view(x, reach, (0, 1))[
        :: window.strides[0], :: window.strides[1]
    ]
    places = rng.permutation(patches.shape[0] * patches.shape[1])[:_PLACES]
    patches = patches[np.unravel_index(places, patches.shape[:2])]  # (places, C, rows, columns)
    patches = patches[..., :: window.dilations[0], :: window.dilations[1]]
    rows = patches.reshape(*patches.shape[:2], -1).transpose((1, 0, 2) if window.depthwise else (2, 0, 1))
    return (rows.swapaxes(-1, -2) @ rows).astype(np.float64)


def scales(rows: np.ndarray) -> np.ndarray:
    """Step of every channel's weights (O, 1), from rows of weights (O, n)."""
    largest = np.abs(rows).max(1, keepdims=True)
    return np.where(largest > 0, largest, 1) / STEPS


def rounded(rows: np.ndarray, step: np.ndarray, moment: np.ndarray) -> np.ndarray:
    """Rows of weights (O, n) at whole steps (O, 1), at most STEPS of them.

    The moment is the sum of x x^T of their inputs, (n, n) for all or (O, n, n) for each.
    """
    step, count = step[:, 0], rows.shape[1]
    damping = np.maximum(_DAMPING * np.trace(moment, axis1=-2, axis2=-1) / count, 1e-12)
    damped = moment + damping[..., None, None] * np.eye(count)
    # Row i of this triangle: how the weights after i make up for an error in i.
    triangle = np.linalg.cholesky(np.linalg.inv(damped)).swapaxes(-1, -2)
    left, result = rows.astype(np.float64), np.empty_like(rows)
    for start in range(0, count, _BLOCK):
        end = min(start + _BLOCK, count)
        errors = np.empty((len(rows), end - start))
        for i in range(start, end):
            result[:, i] = step * np.clip(np.round(left[:, i] / step), -STEPS, STEPS)
            errors[:, i - start] = (left[:, i] - result[:, i]) / triangle[..., i, i]
            left[:, i:end] -= errors[:, i - start, None] * triangle[..., i, i:end]
        left[:, end:] -= (errors[:, None] @ triangle[..., start:end, end:])[:, 0]
    return result


def least_error_range(values: np.ndarray) -> tuple[float, float]:
    """The range (low, high), 0 in it, in which values (n,) lose least to 8 bits, in square."""
    values = values.astype(np.float64)
    low, high = min(values.min(), 0.0), max(values.max(), 0.0)

    def error(part):
        step = max((high - low) * part / 255, 1e-12)
        return np.mean((np.clip(np.round(values / step) * step, part * low, part * high) - values) ** 2)

    best = min(_CLIPPED, key=error)
    return best * low, best * high
