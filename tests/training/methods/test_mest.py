"""MEST: exact counts at every step, a gradient term that acts, equality chains, and a bound in bytes."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gossamer.errors import BudgetError, EngineError, GossamerError, MethodError
from gossamer.sparsity.costs import LayerShape
from gossamer.training import MEST, SET, Method, Sparsifier, Static
from gossamer.training.foresight import peak_counts, peak_kept
from gossamer.training.weight_bytes import network_memory
from tests.contracts.table import PATTERNS
from tests.training.helpers import MLP, NOTHING, assert_dropped_is_zero, backward, bottleneck, mlp

Trace = list[dict[str, int]]
SIZES = {"0.weight": 48, "2.weight": 64, "4.weight": 32}  # the layers of mlp(), 144 weights


def train(method: Method, steps: int, **settings: Any) -> tuple[nn.Module, Sparsifier, Trace]:
    """The kept entries of every layer after each step, from step 0 on."""
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    sparsifier = Sparsifier(model, method, optimizer, protect=NOTHING, seed=4, **settings)
    trace = [kept(sparsifier)]
    for step in range(1, steps + 1):
        backward(model, step, shape=MLP)
        optimizer.step()
        assert_dropped_is_zero(sparsifier, model, optimizer)
        trace.append(kept(sparsifier))
    return model, sparsifier, trace


def kept(sparsifier: Sparsifier) -> dict[str, int]:
    return {name: int(mask.sum()) for name, mask in sparsifier.masks.items()}


def weights(model: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def at(sparsity: float) -> dict[str, int]:
    """Uniform counts; the sparsities of these tests give whole numbers."""
    counts = {name: size * (1 - sparsity) for name, size in SIZES.items()}
    assert all(abs(count - round(count)) < 1e-9 for count in counts.values())
    return {name: round(count) for name, count in counts.items()}


def test_em_is_at_its_target_at_every_step() -> None:
    method = MEST(sparsity=0.5, mutation=0.25, allocation="uniform", every=3, stop=16)
    _, sparsifier, trace = train(method, 18)
    assert trace == [at(0.5)] * 19
    assert [record.step for record in sparsifier.history] == [0, 3, 6, 9, 12, 15]
    # p is 0.25 before 3/4 of 16 steps, 0.125 from there: of 144 weights 36 and 18 are exchanged
    assert [record.dropped for record in sparsifier.history[1:]] == [36, 36, 36, 18, 18]
    assert [record.grown for record in sparsifier.history[1:]] == [36, 36, 36, 18, 18]
    assert sparsifier.summary().peak_kept == sum(at(0.5).values())


@pytest.mark.parametrize(
    ("decay", "mutations"),
    [
        ("piecewise", [0.25, 0.25, 0.25, 0.25, 0.125]),  # from step 12 half of it
        ("constant", [0.25] * 5),
        ("linear", [0.25, 0.203125, 0.15625, 0.109375, 0.0625]),
        ("cosine", [0.25, 0.2289, 0.1728, 0.1006, 0.0366]),
    ],
)
def test_em_s_follows_its_declared_counts_exactly(decay: str, mutations: list[float]) -> None:
    """Between edits s - p of the edit before, from `stop` on s; edits at 0, 3, 6, 9, 12 of 16 steps."""
    method = MEST(
        sparsity=0.5, kind="em&s", mutation=0.25, decay=decay, allocation="uniform", every=3, stop=16
    )
    _, sparsifier, trace = train(method, 18)
    totals = [sum(counts.values()) for counts in trace]
    expected = [144 * (0.5 + mutation) for mutation in mutations]
    for step, total in enumerate(totals[:15]):
        assert abs(total - expected[step // 3]) <= 0.5, step
    assert trace[:3] == [at(0.25)] * 3
    assert trace[16:] == [at(0.5)] * 3
    assert method.last_edit == 16
    assert method.peak_sparsity == 0.25
    assert max(totals) == sparsifier.summary().peak_kept == 108
    for record in sparsifier.history[1:]:  # every edit drops to the target first
        assert record.num_kept - record.grown == 72


@pytest.mark.parametrize("pattern", [text for text in PATTERNS if not text.startswith("1:")])
@pytest.mark.parametrize("allocation", ["uniform", "erk"])
def test_the_peak_is_the_declared_one(pattern: str, allocation: str) -> None:
    sparsity, mutation = (None, 0.25) if pattern == "2:4" else (0.67, 0.1)
    method = MEST(
        sparsity=sparsity,
        kind="em&s",
        mutation=mutation,
        pattern=pattern,
        allocation=allocation,
        every=2,
        stop=7,
    )
    model = bottleneck()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    sparsifier = Sparsifier(model, method, optimizer, seed=1)
    declared, each = peak_kept(method, sparsifier.shapes), peak_counts(method, sparsifier.shapes)
    dense = sum(shape.numel for shape in sparsifier.shapes.values() if shape.dense is not None)
    seen = [kept(sparsifier)]
    for step in range(1, 10):
        backward(model, step)
        optimizer.step()
        seen.append(kept(sparsifier))
    assert max(sum(counts.values()) for counts in seen) + dense == declared == sparsifier.summary().peak_kept
    assert {name: max(counts[name] for counts in seen) for name in each} == each
    unit = max(legal.step for legal in legal_of(sparsifier).values())
    if sparsity is not None:
        size = sum(shape.numel for shape in sparsifier.shapes.values())
        assert abs(declared - size * (1 - sparsity + mutation)) <= unit / 2 + 1e-9
        assert abs(sum(seen[-1].values()) + dense - size * (1 - sparsity)) <= unit / 2 + 1e-9


def legal_of(sparsifier: Sparsifier) -> dict[str, range]:
    return {
        name: sparsifier.pattern.for_weight(shape.weight).counts(shape.matrix)
        for name, shape in sparsifier.shapes.items()
        if shape.dense is None
    }


def one_edit(gradient_weight: float, values: Tensor, gradient: Tensor) -> Tensor:
    """What the drop of one edit leaves of a layer, by |w| + gradient_weight |g|: half of it, nothing grows again."""
    layer = nn.Linear(4, 2, bias=False)
    layer.weight.data = values.clone()
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.0)
    method = MEST(
        sparsity=0.5,
        kind="em&s",
        mutation=0.5,
        gradient_weight=gradient_weight,
        every=9,
        stop=1,
        initial="magnitude",
    )
    sparsifier = Sparsifier(nn.Sequential(layer), method, optimizer, protect=NOTHING)
    layer.weight.grad = gradient.clone()
    optimizer.step()
    (mask,) = sparsifier.masks.values()
    return mask.flatten()


def test_the_gradient_term_acts() -> None:
    """By hand. |w| keeps 8, 7, 6, 5; with lambda = 10 the scores are 8, 7, 6, 15, 4, 23, 2, 11: other four stay."""
    values = torch.tensor([[8.0, -7.0, 6.0, 5.0], [-4.0, 3.0, 2.0, 1.0]])
    gradient = torch.tensor([[0.0, 0.0, 0.0, 1.0], [0.0, -2.0, 0.0, 1.0]])
    assert one_edit(0.0, values, gradient).tolist() == [True] * 4 + [False] * 4
    assert one_edit(0.01, values, gradient).tolist() == [True] * 4 + [False] * 4
    assert one_edit(10.0, values, gradient).tolist() == [True, False, False, True, False, True, False, True]


def test_a_large_lambda_ranks_by_the_gradient() -> None:
    generator = torch.Generator().manual_seed(0)
    values, gradient = torch.randn(2, 4, generator=generator), torch.randn(2, 4, generator=generator)
    best = gradient.abs().flatten().topk(4).indices
    assert one_edit(1e6, values, gradient).nonzero().flatten().tolist() == sorted(best.tolist())


def test_without_lambda_no_gradient_is_read() -> None:
    assert not MEST(sparsity=0.9, gradient_weight=0.0).edits_at(100)[0].needs & {"gradient"}
    assert MEST(sparsity=0.9).edits_at(100)[0].needs >= {"gradient"}


def test_without_mutation_it_is_static() -> None:
    static, first, trace = train(Static(sparsity=0.6), 8)
    for kind in ("em", "em&s"):
        model, sparsifier, same = train(MEST(sparsity=0.6, kind=kind, mutation=0.0, every=2, stop=6), 8)
        assert sparsifier.history == first.history
        assert same == trace
        assert torch.equal(weights(model), weights(static))


def test_vanilla_mest_is_set_of_the_same_counts() -> None:
    """p = zeta (1 - s), and no gradient term: 0.25 of all weights are half of those kept."""
    common: dict[str, Any] = {"sparsity": 0.5, "allocation": "uniform", "every": 2, "stop": 8}
    model, first, _ = train(MEST(**common, mutation=0.25, decay="constant", gradient_weight=0.0), 9)
    other, second, _ = train(SET(**common, drop_fraction=0.5), 9)
    assert first.history == second.history
    assert first.history[1].grown == 36
    assert torch.equal(weights(model), weights(other))


def test_just_dropped_weights_can_be_excluded() -> None:
    common: dict[str, Any] = {"sparsity": 0.5, "mutation": 0.25, "every": 1, "stop": 9}
    for kind in ("em", "em&s"):
        _, sparsifier, _ = train(MEST(**common, kind=kind), 9)
        assert any(change.regrown for record in sparsifier.history for change in record.layers.values())
    _, sparsifier, _ = train(MEST(**common, exclude_dropped=True), 9)
    assert all(change.regrown == 0 for record in sparsifier.history for change in record.layers.values())


def test_a_layer_kept_whole_is_left_alone() -> None:
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    sparsifier = Sparsifier(model, MEST(sparsity=0.5, every=1, stop=5), optimizer, protect=NOTHING)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    change = sparsifier.history[1].layers
    assert (change["2.weight"].dropped, change["2.weight"].num_kept) == (0, 256)
    assert change["0.weight"].dropped > 100


SHAPES = {
    "a": LayerShape(weight=(40, 50)),
    "b": LayerShape(weight=(30, 40)),
    "c": LayerShape(weight=(10, 30), dense="last layer"),
}


def bytes_of(method: MEST) -> int:
    """Of the peak, by the formula of training/weight_bytes.py."""
    counts = peak_counts(method, SHAPES)
    return network_memory(SHAPES, counts, states=method.states, pattern=method.pattern).total


@pytest.mark.parametrize("states", [0, 1, 3])
@pytest.mark.parametrize("allocation", ["uniform", "erk"])
def test_peak_bytes_gives_the_largest_mutation(states: int, allocation: str) -> None:
    common: dict[str, Any] = {
        "sparsity": 0.8, "kind": "em&s", "every": 5, "stop": 20, "states": states, "allocation": allocation
    }  # fmt: skip
    by_number = MEST(**common, mutation=0.1)
    bound = bytes_of(by_number)
    by_bytes = MEST(**common, peak_bytes=bound)
    assert peak_counts(by_bytes, SHAPES) == peak_counts(by_number, SHAPES)
    assert bytes_of(MEST(**common, peak_bytes=bound + 100)) <= bound + 100
    assert bytes_of(MEST(**common, peak_bytes=bound - 1)) < bound  # one entry less
    assert peak_kept(MEST(**common, peak_bytes=bound - 1), SHAPES) == peak_kept(by_number, SHAPES) - 1
    assert by_bytes.peak_sparsity is None


def test_a_bound_too_small_names_the_least_possible() -> None:
    common: dict[str, Any] = {"sparsity": 0.8, "kind": "em&s", "every": 5, "stop": 20}
    least = bytes_of(MEST(**common, mutation=0.0))
    with pytest.raises(BudgetError, match=f"expected peak_bytes of at least {least}, .*got {least - 1}"):
        peak_counts(MEST(**common, peak_bytes=least - 1), SHAPES)
    exact = MEST(**common, peak_bytes=least)
    assert peak_counts(exact, SHAPES) == peak_counts(MEST(**common, mutation=0.0), SHAPES)
    with pytest.raises(
        BudgetError, match="of at least"
    ):  # when the Sparsifier is made, not in the middle of training
        Sparsifier(mlp(), MEST(**{**common, "peak_bytes": 100, "sparsity": 0.5}), protect=NOTHING)


def test_bytes_are_met_in_training() -> None:
    model = mlp()
    bound = 2200
    method = MEST(sparsity=0.6, kind="em&s", peak_bytes=bound, every=2, stop=8)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    sparsifier = Sparsifier(model, method, optimizer, protect=NOTHING)
    seen = []
    for step in range(10):
        seen.append(network_memory(sparsifier.shapes, kept(sparsifier), states=1).total)
        backward(model, step, shape=MLP)
        optimizer.step()
    assert bound - 20 < seen[0] <= bound  # an entry takes 12 bytes and its index
    assert max(seen) == seen[0]
    assert seen[-1] == network_memory(sparsifier.shapes, kept(sparsifier), states=1).total < bound - 100


@pytest.mark.parametrize(
    ("make", "needed"),
    [
        (lambda p: torch.optim.SGD(p, lr=0.1), 0),
        (lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9), 1),
        (torch.optim.Adam, 5),
        (lambda p: torch.optim.AdamW(p, amsgrad=True), 6),
    ],
)
def test_a_bound_in_bytes_is_planned_for_the_optimizer(make: Any, needed: int) -> None:
    def start(states: int, **settings: Any) -> Sparsifier:
        model = mlp()
        method = MEST(sparsity=0.6, kind="em&s", peak_bytes=100_000, states=states)
        return Sparsifier(model, method, make(model.parameters()), protect=NOTHING, **settings)

    start(needed)
    if needed:
        with pytest.raises(EngineError, match=f"has {needed}.*: expected states={needed} in the method"):
            start(needed - 1)
    if needed > 2:
        start(needed - 3, adam_counts="shared")


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"kind": "soft"}, "kind to be one of em, em&s, got 'soft'"),
    ({"decay": "cubic"}, "decay to be one of piecewise, cosine, linear, constant"),
    ({"initial": "given", "sparsity": None}, "initial to be one of random, magnitude, got 'given'"),
    ({"allocation": "global_rank"}, "allocation uniform or erk, got global_rank"),
    ({"mutation": -0.1}, "mutation to be a number of at least 0, got -0.1"),
    ({"mutation": 0.1}, "em drops to sparsity 0.9 \\+ 0.1, where nothing is left"),
    (
        {"mutation": 0.95, "kind": "em&s"},
        "em&s grows to sparsity 0.9 - 0.95: expected mutation of at most 0.9",
    ),
    ({"gradient_weight": float("nan")}, "gradient_weight to be a number of at least 0, got nan"),
    ({"every": 0}, "every to be at least 1"),
    ({"exclude_dropped": "yes"}, "exclude_dropped to be True or False, got 'yes'"),
    ({"kind": "em&s", "stop": 0}, "stop at step 1 or later"),
    ({"peak_bytes": 1000}, "expected kind='em&s' with peak_bytes"),
    ({"peak_bytes": 1000, "kind": "em&s", "mutation": 0.1}, "expected one of the two, got mutation 0.1"),
    ({"peak_bytes": 1.5, "kind": "em&s"}, "peak_bytes to be a whole number"),
    ({"peak_bytes": 1000, "kind": "em&s", "states": -1}, "states to be a whole number"),
    ({"pattern": "taps:4", "sparsity": 0.58, "kind": "em&s"}, "at least 5/9 = 0.5556 at the peak, got 0.53"),
    ({"pattern": "taps:4", "kind": "em&s", "mutation": 0.9}, "at least 5/9 = 0.5556 at the peak, got 0;"),
    ({"pattern": "taps:4", "sparsity": 0.5}, "at least 5/9 = 0.5556 at the peak, got 0.5"),
]


@pytest.mark.parametrize(("settings", "words"), REFUSED)
def test_settings_without_meaning_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises((MethodError, BudgetError), match=words):
        MEST(**{"sparsity": 0.9, **settings})
    assert issubclass(MethodError, GossamerError)


@pytest.mark.parametrize("kind", ["em", "em&s"])
def test_a_refused_default_is_not_told_as_typed(kind: str) -> None:
    with pytest.raises(MethodError, match=r"mutation=0\.25, got none, which stands for 0\.05"):
        MEST(kind=kind, pattern="2:4")
    with pytest.raises(MethodError, match=r"mutation=0\.25, got 0\.1$"):
        MEST(kind=kind, pattern="2:4", mutation=0.1)
    assert MEST(kind=kind, pattern="2:4", mutation=0.25).mutation_at(0) == 0.25


def test_the_default_mutation() -> None:
    assert MEST(sparsity=0.9).mutation_at(0) == pytest.approx(0.02)  # a fifth of what is kept
    assert MEST(sparsity=0.95).mutation_at(0) == pytest.approx(0.01)
    assert MEST(sparsity=0.5).mutation_at(0) == 0.05
    assert MEST(sparsity=0.95, kind="em&s").mutation_at(0) == 0.05
