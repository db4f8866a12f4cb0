"""What the paper reports: Tables 3, 4 and 5 (supplement, Section C)."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class PaperRow:
    """A row of Table 4 or 5."""

    mflops_max: float  # theoretical cost per frame
    mflops_avg: float
    p95_ms: float  # latency per frame on the paper's phone
    p99_ms: float
    mean_ms: float
    std_ms: float
    accuracy: dict[str, float]  # mAP of ImageNet VID in Table 4, J and F of DAVIS 2016 in Table 5, in per cent


def _rows(prefix, metrics, rows) -> dict[str, PaperRow]:
    return {f"{prefix}-{row[0]}": PaperRow(*row[1:7], dict(zip(metrics, row[7:], strict=True))) for row in rows}


# fmt: off
TABLE_4 = _rows("vid", ["mAP"], [
    # method             MFLOPs max, avg  p95    p99    mean   std   mAP
    ("sf",                2047, 2047,     152.7, 160.6, 134.3,  8.9, 54.7),
    ("sf-int4",           2047,  512,     146.9, 155.0,  33.8, 58.8, 53.4),
    ("sf-int16",          2047,  128,     127.6, 147.8,  8.41, 32.7, 45.7),
    ("pw-m4n2-d1.4-flip", 1945, 1945,     149.2, 156.3, 137.7,  6.2, 58.7),
    ("pw-m4n2-d1.4",       973,  973,      75.2,  79.2,  68.1,  3.6, 57.4),
    ("sf-d0.5",            602,  602,      73.4,  80.9,  66.3,  3.7, 47.2),
    ("sf-r0.25",           512,  512,      47.4,  50.0,  41.7,  2.6, 46.8),
    ("sf-int4-delay3",     512,  128,      36.7,  38.8,   8.5, 16.9, 49.3),
    ("pw-m4n2",            543,  543,      55.2,  58.4,  47.9,  3.7, 54.3),
    ("sf-int16-delay15",   128,    8,       8.0,   9.2,   0.5,  2.0, 34.3),
    ("pw-m4n1",            162,  162,      28.1,  29.8,  24.2,  2.3, 41.6),
])
TABLE_5 = _rows("davis", ["J", "F"], [
    # method             MFLOPs max, avg  p95    p99    mean   std   J     F
    ("sf",                3307, 3307,     190.5, 205.0, 174.0,  9.2, 63.6, 59.5),
    ("sf-int4",           3307,  827,     171.5, 181.7,  41.0, 71.3, 55.8, 47.9),
    ("sf-int16",          3307,  207,     156.5, 174.3,  10.3, 40.0, 40.5, 31.7),
    ("sf-d0.5",           1240, 1240,     108.6, 114.8,  99.5,  5.3, 58.4, 55.2),
    ("sf-r0.25",           827,  827,      51.6,  58.5,  45.2,  3.5, 56.6, 50.8),
    ("sf-int4-delay3",     827,  207,      42.9,  45.4,  10.3, 17.8, 44.6, 34.1),
    ("pw-m4n2",            841,  841,      65.5,  71.1,  58.5,  3.6, 62.1, 58.8),
    ("sf-int16-delay15",   207,   52,       9.8,  10.9,  0.64,  2.5, 27.5, 20.8),
    ("pw-m4n1",            221,  221,      33.4,  36.2,  28.3,  2.7, 42.2, 36.9),
])

# Table 3: the backbone of M=4, N=1. Input of the window, operator, t, c, n, s. The printed input of the
# fourth row, 24 x 24 x 16, is a misprint: the third row's output has 24 channels.
TABLE_3 = (
    ((96, 96, 3),   "s-conv2d",     None, 32,   1, 2),
    ((48, 48, 32),  "s-bottleneck", 1,    16,   1, 1),
    ((48, 48, 16),  "s-bottleneck", 6,    24,   2, 2),
    ((24, 24, 24),  "s-bottleneck", 6,    32,   3, 2),
    ((12, 12, 32),  "s-bottleneck", 6,    64,   4, 2),
    ((6, 6, 64),    "s-bottleneck", 6,    96,   3, 1),
    ((6, 6, 96),    "s-bottleneck", 6,    160,  3, 2),
    ((3, 3, 160),   "s-bottleneck", 6,    320,  1, 1),
    ((3, 3, 320),   "s-conv2d",     None, 1280, 1, 1),
)
# fmt: on
PAPER = {**TABLE_4, **TABLE_5}
# The single-frame system of a table -> its number, and the data set of its accuracies.
TABLE_OF = {"vid-sf": (4, "ImageNet VID"), "davis-sf": (5, "DAVIS 2016")}
