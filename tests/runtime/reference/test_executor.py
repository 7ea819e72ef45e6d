"""Every operator is there, and nothing else."""

from gossamer.graph import OPERATORS
from gossamer.runtime.reference import OPERATIONS


def test_every_operator_has_an_operation():
    assert set(OPERATIONS) == set(OPERATORS)
