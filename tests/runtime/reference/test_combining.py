"""Several values, number by number, and concat, against torch."""

import pytest
import torch

from tests.runtime.one_node import close, randn, run


def test_add_and_concat():
    a, b, c = randn(2, 3, 4), randn(2, 3, 4) + 1, randn(2, 5, 4)
    close(run("add", [a, b]), a + b)
    close(run("concat", [a, c, b], axis=1), torch.cat([a, c, b], 1))


SHAPES = {
    "equal": ((2, 3, 4), (2, 3, 4)),
    "one repeated": ((2, 3, 1), (2, 3, 4)),
    "both repeated": ((3, 1, 5, 1), (3, 2, 1, 7)),
    "rank 1": ((4,), (4,)),
}
PAIRS = {
    "add": torch.add,
    "sub": torch.sub,
    "mul": torch.mul,
    "div": torch.div,
    "maximum": torch.maximum,
    "minimum": torch.minimum,
    "equal": torch.eq,
    "not_equal": torch.ne,
    "less": torch.lt,
    "less_equal": torch.le,
}


@pytest.mark.parametrize("shapes", SHAPES)
@pytest.mark.parametrize("op", PAIRS)
def test_pairs(op: str, shapes: str):
    a, b = (randn(*shape).round(decimals=1) for shape in SHAPES[shapes])
    a.flatten()[0], b.flatten()[-1] = torch.nan, torch.nan
    a.flatten()[-1], b.flatten()[0] = 0.0, -torch.inf
    close(run(op, [a, b]), PAIRS[op](a, b).float())


def test_where():
    condition, yes, no = randn(2, 1, 3), randn(2, 4, 1), randn(2, 1, 1)
    condition[0, 0] = torch.tensor([0.0, -0.0, torch.nan])
    yes[1] = torch.nan
    close(run("where", [condition, yes, no]), torch.where(condition != 0, yes, no))
