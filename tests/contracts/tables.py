"""The table of patterns that all contract tests share: a new pattern is one line here.

`PATTERNS`: pattern string, matrix shapes on which it lives (odd ones included). `REFUSED`: pattern string, shape, words of the refusal.
`MALFORMED`: strings that no pattern reads, with words of the refusal.
"""

Shape = tuple[int, int]

PATTERNS: list[tuple[str, list[Shape]]] = [
    ("unstructured", [(1, 1), (1, 7), (5, 3), (16, 27), (10, 64)]),
    ("2:4", [(1, 4), (3, 8), (10, 64), (16, 36)]),
    ("1:8", [(1, 8), (5, 16)]),
    ("block:4x1", [(4, 1), (8, 5), (16, 27)]),
    ("block:8x1", [(8, 3), (16, 9)]),
    ("block:1x4", [(1, 4), (7, 12)]),
    ("block:2x3", [(2, 3), (6, 9)]),
    ("gs:8,1", [(8, 8), (16, 24), (8, 72)]),
    ("gs:8,2", [(4, 8), (8, 24)]),
    ("gs:8,8", [(1, 8), (5, 24), (10, 64)]),
    ("gs:4,1", [(4, 4), (12, 36)]),
    ("gs:8,1,greedy", [(8, 8), (16, 24)]),
    ("gs:8,4,greedy", [(2, 8), (6, 40)]),
    ("window:8", [(8, 8), (16, 24)]),
    ("window:4", [(4, 4), (8, 36)]),
]

REFUSED: list[tuple[str, Shape, str]] = [
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
    ("unstructured", (0, 4), "expected a matrix shape (rows, columns) of positive numbers"),
]

MALFORMED: list[tuple[str, str]] = [
    ("", "expected a pattern string of the family unstructured, N:M, block, gs, window, got ''"),
    ("diagonal:3", "got 'diagonal:3'"),
    ("N:M", "got 'N:M'"),
    ("unstructured:3", "without parameters"),
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
    ("٢:٤", "of ASCII letters"),
    ("gs:8888888888,1", "numbers below 10^9"),
]
