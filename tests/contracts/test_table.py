"""The table of contracts leaves nothing of the library out."""

import re
from pathlib import Path

from gossamer.formats import FORMATS as MODULES
from gossamer.sparsity.patterns import PATTERNS as FAMILIES
from gossamer.sparsity.patterns import parse_pattern
from gossamer.training import METHODS as CLASSES
from tests.contracts.table import (
    FORMATS,
    KERNELS,
    METHOD_REFUSALS,
    METHODS,
    PATTERNS,
    TRAINING_KERNELS,
    UNSTORED,
)

ROOT = Path(__file__).parents[2]


def test_every_pattern_is_in_the_table():
    assert {type(parse_pattern(text)) for text in PATTERNS} == set(FAMILIES.values())


def test_every_format_is_in_the_table():
    assert {line.format for line in FORMATS} == set(MODULES)


def test_every_method_is_in_the_table():
    assert {name for name, _ in METHODS.values()} == set(CLASSES)


def test_every_kernel_with_a_reference_is_in_the_table():
    found = set()
    for path in sorted((ROOT / "src/gossamer/kernels").glob("*.py")):
        found |= set(re.findall(r"^def (\w+)_reference\(", path.read_text(), re.MULTILINE))
    projections = {"gather_scatter", "project_gs"} & found  # tests/kernels/test_project.py
    assert set(KERNELS) | set(TRAINING_KERNELS) == found - projections


def test_every_refusal_is_of_a_line_of_the_table():
    assert {method for method, _ in METHOD_REFUSALS} <= set(METHODS)
    assert {pattern for _, pattern in METHOD_REFUSALS} | set(UNSTORED) <= set(PATTERNS)
