"""The one table of contracts. A new pattern, method or format is one line here, and every contract test runs over it.

`test_patterns.py`: every pattern on each of its shapes. `test_formats.py`: every format by every pattern on its shapes, in
float32 and float16. `test_kernels.py`: every kernel face against its NumPy reference, on odd shapes. `test_methods.py`: every method by
every pattern, in fp32 and under autocast. A pair without meaning stands here as its refusal: `METHOD_REFUSALS` (at construction),
`Line.refuses` of a format (a mask that is not its own), `SHAPE_REFUSALS` and `MALFORMED` of patterns.
`test_table.py` sees that nothing of the library is missing.
"""

from dataclasses import dataclass
from typing import Any

Shape = tuple[int, int]

# Pattern string: odd shapes on which it lives.
PATTERNS: dict[str, tuple[Shape, ...]] = {
    "unstructured": ((1, 1), (1, 7), (5, 3), (16, 27), (10, 64), (1, 1024), (40, 8)),
    "2:4": ((1, 4), (3, 8), (10, 64), (16, 36), (24, 48)),
    "1:4": ((1, 4), (7, 12)),
    "1:8": ((1, 8), (5, 16)),
    "1:16": ((1, 16), (3, 48)),
    "block:4x1": ((4, 1), (8, 5), (16, 27), (40, 8)),
    "block:8x1": ((8, 3), (16, 9)),
    "block:1x4": ((1, 4), (7, 12), (1, 1024)),
    "block:2x3": ((2, 3), (6, 9)),
    "gs:8,1": ((8, 8), (16, 24), (8, 72)),
    "gs:8,2": ((4, 8), (8, 24), (24, 48)),
    "gs:8,8": ((1, 8), (5, 24), (10, 64), (1, 1024)),
    "gs:4,1": ((4, 4), (12, 36)),
    "gs:8,1,greedy": ((8, 8), (16, 24)),
    "gs:8,4,greedy": ((2, 8), (6, 40)),
    "window:8": ((8, 8), (16, 24), (40, 8)),
    "window:4": ((4, 4), (8, 36)),
    "taps:4": ((1, 9), (3, 27), (16, 72), (5, 63)),
}

SHAPE_REFUSALS: list[tuple[str, Shape, str]] = [  # pattern string, shape, words of the refusal
    ("2:4", (3, 27), "2:4 needs columns divisible by 4: expected a multiple of 4, got 27 columns"),
    ("block:4x1", (10, 64), "block:4x1 needs rows divisible by 4: expected a multiple of 4, got 10 rows"),
    ("block:1x4", (8, 9), "needs columns divisible by 4"),
    (
        "gs:8,1",
        (16, 9),
        "gs:8,1 needs columns divisible by 8: expected a multiple of 8, got 9 columns (shape 16x9); leave this layer",
    ),
    ("gs:8,1", (10, 64), "gs:8,1 needs rows divisible by 8"),
    ("gs:8,4", (3, 64), "gs:8,4 needs rows divisible by 2"),
    ("window:8", (8, 12), "window:8 needs columns divisible by 8"),
    ("window:8", (12, 8), "window:8 needs rows divisible by 8"),
    ("taps:4", (16, 24), "taps:4 needs columns divisible by 9: expected a multiple of 9, got 24 columns"),
    ("unstructured", (0, 4), "expected a matrix shape (rows, columns) of positive numbers"),
]

MALFORMED: list[tuple[str, str]] = [  # strings that no pattern reads, with words of the refusal
    ("", "expected a pattern string of the family unstructured, N:M, block, gs, window, taps, got ''"),
    ("diagonal:3", "got 'diagonal:3'"),
    ("N:M", "got 'N:M'"),
    ("unstructured:3", "without parameters"),
    ("  2:4", "got '  2:4'"),
    ("gs:8,1 ", "got 'gs:8,1 '"),
    ("4:2", "got 4:2; write 2:4"),
    ("4:4", "expected 1 <= N < M"),
    ("0:4", "expected 1 <= N < M"),
    ("block:4", "such as block:4x1"),
    ("block:1x1", "at least two entries"),
    ("block:0x4", "at least two entries"),
    ("gs:8", "such as gs:8,1"),
    ("gs:6,1", "a power of two, at least 2, got B = 6"),
    ("gs:8,3", "expected k to divide B = 8, got k = 3"),
    ("gs:8,0", "expected k to divide B = 8, got k = 0"),
    ("gs:8,1,fast", "gs:B,k,greedy"),
    ("gs:8,1,", "gs:B,k,greedy"),
    ("window:8x8", "such as window:8"),
    ("window:1", "a width of at least 2"),
    ("taps:3", "expected 4 kept of the 9 taps of a filter slice, got 3"),
    ("taps", "expected taps:4, four kept of the nine taps of a filter slice, got 'taps'"),
    ("٢:٤", "of ASCII letters"),
    ("gs:8888888888,1", "numbers below 10^9"),
]


@dataclass(frozen=True, kw_only=True)
class Line:
    """A format with parameters; `pattern` says which masks it stores, `refuses` how it refuses all others."""

    format: str
    parameters: dict[str, int]
    pattern: str
    refuses: str


def line(format: str, pattern: str, refuses: str, **parameters: int) -> Line:
    return Line(format=format, parameters=parameters, pattern=pattern, refuses=refuses)


FORMATS: tuple[Line, ...] = (
    line("dense", "unstructured", "never"),
    line("unstructured", "unstructured", "never"),
    line("block", "block:4x1", "block:4x1: expected whole blocks", rows=4, columns=1),
    line("block", "block:8x1", "block:8x1: expected whole blocks", rows=8, columns=1),
    line("block", "block:1x4", "block:1x4: expected whole blocks", rows=1, columns=4),
    line("block", "block:2x3", "block:2x3: expected whole blocks", rows=2, columns=3),
    line("n_of_m", "2:4", "2:4: expected 2 kept in every group", n=2, m=4),
    line("n_of_m", "1:4", "1:4: expected 1 kept in every group", n=1, m=4),
    line("n_of_m", "1:8", "1:8: expected 1 kept in every group", n=1, m=8),
    line("n_of_m", "1:16", "1:16: expected 1 kept in every group", n=1, m=16),
    line("gather_scatter", "gs:8,1", "gs:8,1: expected", banks=8, per_row=1),
    line("gather_scatter", "gs:8,2", "gs:8,2: expected", banks=8, per_row=2),
    line("gather_scatter", "gs:8,4", "gs:8,4: expected", banks=8, per_row=4),
    line("gather_scatter", "gs:8,8", "gs:8,8: expected", banks=8, per_row=8),
    line("gather_scatter", "gs:4,1", "gs:4,1: expected", banks=4, per_row=1),
    line("window", "window:8", "window:8: expected every row of a window to keep equally many", width=8),
)
UNSTORED: dict[str, str] = {
    "window:4": "window width: expected 8, got 4"
}  # patterns without a format of their own

METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    # entry: (name in gossamer.training.METHODS, settings; sparsity and pattern are added). Settings are for the bottleneck of
    # tests/training/helpers.py, trained for 12 steps.
    "one_shot": ("one_shot", {}),
    "one_shot late": ("one_shot", {"at": 5, "criterion": "taylor", "allocation": "uniform"}),
    "one_shot global": ("one_shot", {"allocation": "global_rank"}),
    "gradual": ("gradual", {"every": 3, "stop": 9}),
    "gradual global": ("gradual", {"every": 3, "stop": 9, "allocation": "global_rank"}),
    "static": ("static", {}),
    "static magnitude": ("static", {"initial": "magnitude", "allocation": "uniform"}),
    "set": ("set", {"every": 3, "stop": 10}),
    "set exclude": (
        "set",
        {"every": 3, "stop": 10, "exclude_dropped": True, "decay": "cosine", "drop_fraction": 0.5},
    ),
    "rigl": ("rigl", {"every": 3, "stop": 10, "drop_fraction": 0.5}),
    "rigl random": ("rigl", {"every": 3, "stop": 10, "drop_fraction": 0.5, "grow": "random"}),
    "rigl mest score": (
        "rigl",
        {"every": 3, "stop": 10, "drop_fraction": 0.5, "criterion": "magnitude_gradient"},
    ),
    # one partition, because some patterns fit one layer of the bottleneck only; more in tests/training/methods/test_gap.py
    "gap": ("gap", {"partitions": 1, "rounds": 3, "steps_per_stage": 3}),
    "gap global": (
        "gap",
        {
            "partitions": 1,
            "steps_per_stage": 2,
            "rounds": 2,
            "allocation": "global_rank",
            "keep_first": True,
            "restart_optimizer": False,
        },
    ),
    "mest": ("mest", {"every": 3, "stop": 10, "mutation": 0.1}),
    "mest coarse": (
        "mest",
        {"every": 3, "stop": 10, "mutation": 0.25, "gradient_weight": 0.0, "decay": "cosine"},
    ),
    "mest soft": (
        "mest",
        {
            "kind": "em&s",
            "every": 3,
            "stop": 10,
            "mutation": 0.05,
            "exclude_dropped": True,
            "decay": "linear",
        },
    ),
    "mest soft coarse": (
        "mest",
        {
            "kind": "em&s",
            "every": 3,
            "stop": 8,
            "mutation": 0.25,
            "allocation": "uniform",
            "initial": "magnitude",
        },
    ),
    "mest bytes": (
        "mest",
        {"kind": "em&s", "every": 3, "stop": 9, "peak_bytes": 50_000, "states": 5, "decay": "constant"},
    ),
}
SPARSITY = 0.65  # of the network, asked for where the pattern does not fix its own

METHOD_REFUSALS: dict[tuple[str, str], str] = {  # (method, pattern): a part of the sentence
    (method, pattern): "with N = 1 it would exchange the whole layer at once"
    for method in ("set", "set exclude", "rigl", "rigl random", "rigl mest score")
    for pattern in ("1:4", "1:8", "1:16")
}
METHOD_REFUSALS |= {
    (method, pattern): f"so mutation is a multiple of 1/{pattern.split(':')[1]}"
    for method in ("mest", "mest soft")
    for pattern in ("2:4", "1:4", "1:8", "1:16")
}
METHOD_REFUSALS |= {
    ("mest coarse", pattern): "exchange the whole layer at once" for pattern in ("1:4", "1:8", "1:16")
}
METHOD_REFUSALS["mest soft coarse", "taps:4"] = (
    "expected a sparsity of at least 5/9 = 0.5556 at the peak, got 0.4"
)

COMPACT_REFUSALS: dict[str, str] = {  # method entry: why compact layers cannot serve it
    "one_shot late": "begins with dense weights",
    "gradual": "begins with dense weights",
    "gradual global": "begins with dense weights",
    "rigl": "grows by the gradient of absent weights",
    "rigl mest score": "grows by the gradient of absent weights",
    "gap": "makes whole weights dense",
    "gap global": "makes whole weights dense",
}

KERNELS: dict[str, tuple[str, tuple[str, ...]]] = {
    # face: (module of gossamer.kernels, types); the reference is NAME_reference beside it. `test_kernels.py` makes the arguments.
    "spmm": ("spmm", ("float32",)),
    "spmv": ("spmv", ("float32",)),
}

TRAINING_KERNELS: tuple[str, ...] = ("linear", "linear_backward", "conv", "conv_backward")
# Methods of gossamer.kernels.training_matrix.TrainingMatrix, in float32 and float64; NAME_reference stands in training_reference.py or
# in a file of the operation's own.
