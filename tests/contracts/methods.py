"""The table of methods: an entry is one line, a pattern is one line, a pair without meaning stands as its refusal.

Settings are for the bottleneck of tests/training/helpers.py, trained for 12 steps with edits every 3.
"""

from typing import Any

METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    # entry: (name in gossamer.training.METHODS, settings; sparsity and pattern come from the pattern's line)
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
}

PATTERNS: dict[str, float | None] = {  # pattern string: network sparsity asked for
    "unstructured": 0.8,
    "2:4": None,
    "1:4": None,
    "block:4x1": 0.75,
    "gs:8,1": 0.75,
    "gs:8,2": 0.75,
    "gs:8,8": 0.75,
    "window:8": 0.75,
}

REFUSALS: dict[tuple[str, str], str] = {  # (method, pattern): a part of the sentence
    ("set", "1:4"): "with N = 1 it would exchange the whole layer at once",
    ("set exclude", "1:4"): "with N = 1",
    ("rigl", "1:4"): "with N = 1",
    ("rigl random", "1:4"): "with N = 1",
    ("rigl mest score", "1:4"): "with N = 1",
}

PAIRS = [(method, pattern) for method in METHODS for pattern in PATTERNS if (method, pattern) not in REFUSALS]
