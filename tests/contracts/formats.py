"""The table of formats: every format by every pattern whose masks it may be given, and odd shapes; refusals stand in it.

A format is one line in FORMATS, a pattern one line in PATTERNS, a shape one line in SHAPES.
"""

FORMATS: dict[str, tuple[str, dict[str, int]]] = {  # entry: (format, parameters)
    "dense": ("dense", {}),
    "unstructured": ("unstructured", {}),
    "block 4x1": ("block", {"rows": 4, "columns": 1}),
    "block 2x4": ("block", {"rows": 2, "columns": 4}),
    "n_of_m 2:4": ("n_of_m", {"n": 2, "m": 4}),
    "n_of_m 1:16": ("n_of_m", {"n": 1, "m": 16}),
    "gather_scatter 8,1": ("gather_scatter", {"banks": 8, "per_row": 1}),
    "gather_scatter 8,2": ("gather_scatter", {"banks": 8, "per_row": 2}),
    "gather_scatter 8,8": ("gather_scatter", {"banks": 8, "per_row": 8}),
    "window 8": ("window", {"width": 8}),
}

PATTERNS: tuple[str, ...] = (
    "unstructured", "2:4", "1:16", "block:4x1", "block:2x4", "gs:8,1", "gs:8,2", "gs:8,8", "window:8",
)  # fmt: skip

SHAPES: tuple[tuple[int, int], ...] = ((1, 1), (3, 7), (8, 16), (24, 48), (1, 1024), (16, 72), (40, 8))

# Which patterns' masks a format stores; all others it refuses, in the words of REFUSALS.
HOLDS: dict[str, tuple[str, ...]] = {
    "dense": PATTERNS,
    "unstructured": PATTERNS,
    "block 4x1": ("block:4x1",),
    "block 2x4": ("block:2x4",),
    "n_of_m 2:4": ("2:4",),
    "n_of_m 1:16": ("1:16",),
    "gather_scatter 8,1": ("gs:8,1",),
    "gather_scatter 8,2": ("gs:8,2",),
    "gather_scatter 8,8": ("gs:8,8",),
    "window 8": ("window:8",),
}
# Neither promised nor refused: 2:4 keeps 4 in each row of a window, which is legal where 8 divides rows and columns.
FREE: frozenset[tuple[str, str]] = frozenset({("window 8", "2:4")})
REFUSALS: dict[str, str] = {  # format: how it refuses a mask that is not its own
    "block 4x1": "expected whole blocks",
    "block 2x4": "expected whole blocks",
    "n_of_m 2:4": "expected 2 kept in every group",
    "n_of_m 1:16": "expected 1 kept in every group",
    "gather_scatter 8,1": "gs:8,1: expected",
    "gather_scatter 8,2": "gs:8,2: expected",
    "gather_scatter 8,8": "gs:8,8: expected",
    "window 8": "expected every row of a window to keep equally many",
}
