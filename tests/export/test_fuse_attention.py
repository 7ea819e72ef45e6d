"""Attention written by hand becomes the one operator, whatever the spelling, and computes what torch does in float64."""

import copy
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gossamer import runtime
from gossamer.export import pack
from gossamer.export.capture import capture
from gossamer.export.fold import fold
from gossamer.export.lower import lower
from gossamer.export.subject import subject_of

TOKENS, WIDTH, HEADS = 7, 24, 3
EACH = WIDTH // HEADS
FUTURE = torch.ones(TOKENS, TOKENS, dtype=torch.bool).triu(1)


class Attention(nn.Module):
    """One qkv layer, heads by reshape and permute; `core` is the part that is spelled."""

    def __init__(self, core: Callable[..., Tensor], heads: int = HEADS) -> None:
        super().__init__()
        self.core, self.heads = core, heads
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.drop = nn.Dropout(0.5)
        self.register_buffer("bias", torch.randn(1, heads, TOKENS, TOKENS))
        self.register_buffer("future", FUTURE)

    def forward(self, x: Tensor, keep: Tensor) -> Tensor:
        n, t, _ = x.shape
        q, k, v = self.qkv(x).reshape(n, t, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        y = self.core(self, q, k, v, keep)
        return self.out(y.transpose(1, 2).reshape(n, t, WIDTH))


class Split(nn.Module):
    """Three slices of one layer, heads by view and transpose, additive mask from 0 and 1, as BERT has it."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor, keep: Tensor) -> Tensor:
        q, k, v = (
            part.view(-1, TOKENS, HEADS, EACH).transpose(1, 2) for part in self.qkv(x).split(WIDTH, -1)
        )
        scores = (
            torch.matmul(q, k.transpose(-1, -2)) / math.sqrt(EACH) + (1.0 - keep[:, None, None]) * -10000.0
        )
        return self.out((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))


class Einsum(nn.Module):
    """Separate layers, heads in the middle, scaled queries."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(3))

    def forward(self, x: Tensor, keep: Tensor) -> Tensor:
        q, k, v = (layer(x).view(-1, TOKENS, HEADS, EACH) for layer in (self.q, self.k, self.v))
        scores = torch.einsum("bthd,bshd->bhts", q * EACH**-0.5, k)
        scores = torch.where(keep[:, None, None, :] != 0, scores, torch.finfo(scores.dtype).min)
        return torch.einsum("bhts,bshd->bthd", torch.softmax(scores, -1), v).flatten(2)


class OneHead(nn.Module):
    """No heads at all, bmm."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(WIDTH, WIDTH) for _ in range(3))

    def forward(self, x: Tensor, keep: Tensor) -> Tensor:
        scores = torch.bmm(self.q(x), self.k(x).transpose(1, 2)) * WIDTH**-0.5
        return torch.bmm(scores.masked_fill(keep[:, None] == 0, -1e9).softmax(-1), self.v(x))


def scaled_after(m, q, k, v, keep):
    return m.drop(((q @ k.transpose(-2, -1)) * EACH**-0.5).softmax(-1)) @ v


def scaled_before(m, q, k, v, keep):
    return ((q * EACH**-0.5) @ k.transpose(-2, -1)).softmax(-1) @ v


def scaled_both(m, q, k, v, keep):
    root = EACH**-0.25
    return ((q * root) @ (k * root).transpose(-2, -1)).softmax(-1) @ v


def with_bias(m, q, k, v, keep):
    return (m.bias + q @ k.transpose(-2, -1) / EACH**0.5).softmax(-1) @ v


def causal(m, q, k, v, keep):
    return (q @ k.transpose(-2, -1) / EACH**0.5).masked_fill(m.future, float("-inf")).softmax(-1) @ v


def causal_and_padded(m, q, k, v, keep):
    scores = (q @ k.transpose(-2, -1) / EACH**0.5).masked_fill(m.future, -1e9)
    return scores.masked_fill((keep == 0)[:, None, None], -1e9).softmax(-1) @ v


def biased_then_padded(m, q, k, v, keep):
    scores = q @ k.transpose(-2, -1) / EACH**0.5 + m.bias
    return scores.masked_fill(keep[:, None, None, :].eq(0), float("-inf")).softmax(-1) @ v


SPELLINGS: dict[str, Callable[[], nn.Module]] = {
    **{
        core.__name__: lambda core=core: Attention(core)
        for core in (
            scaled_after, scaled_before, scaled_both, with_bias, causal, causal_and_padded, biased_then_padded,
        )
    },
    "one of several heads": lambda: Attention(causal_and_padded, heads=1),
    "split": Split,
    "einsum": Einsum,
    "one head": OneHead,
}  # fmt: skip


def example() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    keep = torch.ones(2, TOKENS)
    keep[1, 4:] = 0.0
    return torch.randn(2, TOKENS, WIDTH, generator=generator), keep


def operations(model: nn.Module) -> list[str]:
    return [node.op for node in fold(lower(capture(subject_of(model.eval(), example()), max_batch=4), {}))]


class Without(nn.Module):
    """The model with a mask that is one, where it takes none."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor, keep: Tensor) -> Tensor:
        return self.inner(x, keep) + 0.0 * keep[:, :, None]


@pytest.mark.parametrize("name", SPELLINGS)
def test_is_the_one_operator_and_equals_torch(name: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    model = Without(SPELLINGS[name]()).eval()
    x, keep = example()
    found = operations(model)
    assert found.count("attention") == 1
    assert not {"softmax", "matmul"} & set(found)
    pack(model, (x, keep), tmp_path / "a.safetensors", dtype="float32")
    with torch.no_grad():
        expected = copy.deepcopy(model).double()(x.double(), keep.double()).numpy()
    session = runtime.load(tmp_path / "a.safetensors")
    (got,) = session.run({"x": x.numpy(), "keep": keep.numpy()}).values()
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_probabilities_that_are_a_result_are_not_computed_twice() -> None:
    class Shown(nn.Module):
        def forward(self, x: Tensor, keep: Tensor) -> tuple[Tensor, Tensor]:
            p = (x @ x.transpose(1, 2) + keep[:, None]).softmax(-1)
            return p @ x, p

    found = operations(Shown())
    assert "attention" not in found
    assert found.count("softmax") == 1


def test_a_number_that_hides_nothing_is_no_mask() -> None:
    class Filled(nn.Module):
        def forward(self, x: Tensor, keep: Tensor) -> Tensor:
            scores = x @ x.transpose(1, 2)
            return scores.masked_fill(keep[:, None] == 0, -1.0).softmax(-1) @ x

    assert "attention" not in operations(Filled())


def test_a_sum_that_is_scaled_afterwards_is_not_fused() -> None:
    class Scaled(nn.Module):
        def forward(self, x: Tensor, keep: Tensor) -> Tensor:
            return ((x @ x.transpose(1, 2) + keep[:, None]) * 0.5).softmax(-1) @ x

    assert "attention" not in operations(Scaled())


def test_scores_of_a_matrix_and_a_vector_are_not_fused(tmp_path: Path) -> None:
    class Additive(nn.Module):
        def forward(self, x: Tensor, keep: Tensor) -> Tensor:
            row = (x @ x.mean(1).unsqueeze(-1)).squeeze(-1) + (1.0 - keep) * -1e4
            return (row.softmax(-1).unsqueeze(1) @ x).squeeze(1)

    assert "attention" not in operations(Additive())
    report = pack(Additive(), example(), tmp_path / "a.safetensors", dtype="float32")
    assert report.verification.worst < 1e-5
