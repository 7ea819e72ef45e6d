"""C-GaP: the counts of every step by the formula, what a stage may change, coverage, the corner cases, and what is refused."""

import copy
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gossamer.errors import EngineError, GossamerError, MethodError
from gossamer.sparsity.costs import LayerShape
from gossamer.sparsity.view import as_matrix
from gossamer.training import GaP, OneShot, Protection, Sparsifier
from gossamer.training.foresight import counts_over_time, peak_counts, peak_kept
from gossamer.training.partitions import Partitions
from tests.training.helpers import MLP, NOTHING, backward, bottleneck, is_plus_zero, mlp

E = 3  # steps a stage
SIZES = (48, 64, 32)  # weights of the three layers of mlp(): 8x6, 8x8, 4x8
HALF = (24, 32, 16)


def start(model: nn.Module | None = None, **settings: Any) -> tuple[nn.Module, Any, Sparsifier, GaP]:
    model = mlp() if model is None else model
    method = GaP(**{"sparsity": 0.5, "partitions": 3, "steps_per_stage": E, **settings})
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)
    return model, optimizer, Sparsifier(model, method, optimizer, seed=2, protect=NOTHING), method


def step_once(model: nn.Module, optimizer: Any, step: int, shape: tuple[int, ...] = MLP) -> None:
    backward(model, step, shape=shape)
    optimizer.step()


def counts(sparsifier: Sparsifier) -> list[int]:
    return [int(mask.sum()) for mask in sparsifier.masks.values()]


@pytest.mark.parametrize("first", [0, 2])
def test_every_step_keeps_exactly_what_the_formula_says(first: int) -> None:
    model, optimizer, sparsifier, method = start(rounds=2, first=first)
    for step in range(8 * E + 2):
        stage = step // E
        dense = method.turns[stage] if stage < 6 else None
        assert counts(sparsifier) == [
            SIZES[layer] if layer == dense else HALF[layer] for layer in range(3)
        ], step
        step_once(model, optimizer, step + 1)
    assert method.turns == tuple((first + stage) % 3 for stage in range(6))
    assert sparsifier.summary().peak_kept == 72 + 32  # the largest partition, 8x8, dense
    assert sparsifier.budget_met


def test_declared_peak_equals_the_formula_and_the_peak_that_was_seen() -> None:
    """1/K + (1 - s)(1 - 1/K) for equal partitions: four layers of 64 at 75 %, two partitions: 0.5 + 0.25 * 0.5."""
    model = nn.Sequential(*(nn.Linear(8, 8) for _ in range(4)))
    shapes = {f"{i}.weight": LayerShape(weight=(8, 8)) for i in range(4)}
    method = GaP(sparsity=0.75, partitions=2, steps_per_stage=E)
    assert peak_kept(method, shapes) == 0.625 * 256
    assert set(peak_counts(method, shapes).values()) == {64}
    _, optimizer, sparsifier, _ = start(model, sparsity=0.75, partitions=2)
    for step in range(1, 3 * E):
        step_once(model, optimizer, step, (8, 8))
    assert sparsifier.summary().peak_kept == 160


@pytest.mark.parametrize("allocation", ["uniform", "erk", "global_rank"])
@pytest.mark.parametrize("order", ["cyclic", "random"])
def test_foreseen_totals_are_those_of_training(allocation: str, order: str) -> None:
    model, optimizer, sparsifier, method = start(
        allocation=allocation, order=order, rounds=2, partitions=2, balance="size"
    )
    shapes = sparsifier._editor.shapes
    foreseen: dict[int, int] = {}
    for step, kept in counts_over_time(method, shapes):
        foreseen[step] = sum(kept.values())
    total = 0
    for step in range(5 * E):
        total = foreseen.get(step, total)
        assert sum(counts(sparsifier)) == total
        step_once(model, optimizer, step + 1)
    assert total == 72
    assert sparsifier.summary().peak_kept == peak_kept(method, shapes)


def test_only_the_open_partition_changes_its_mask_and_opens_at_zero() -> None:
    model, optimizer, sparsifier, method = start(partitions=3)
    parameters = dict(model.named_parameters())
    names = list(sparsifier.masks)
    before = {name: mask.clone() for name, mask in sparsifier.masks.items()}
    for step in range(1, 4 * E):
        step_once(model, optimizer, step)
        now = {name: mask.clone() for name, mask in sparsifier.masks.items()}
        changed = {name for name in names if not torch.equal(now[name], before[name])}
        if step % E:
            assert not changed
        else:
            stage = step // E
            wanted = {names[method.turns[stage - 1]]} | ({names[method.turns[stage]]} if stage < 3 else set())
            assert changed == wanted
            for name in changed:
                assert is_plus_zero(parameters[name].detach()[now[name] & ~before[name]])
        for name, mask in now.items():
            assert is_plus_zero(parameters[name].detach()[~mask])
        before = now


def test_pruning_keeps_the_largest_magnitudes() -> None:
    model, optimizer, sparsifier, _ = start(partitions=1)
    for step in range(1, E):
        step_once(model, optimizer, step)
    twin, other = copy.deepcopy(model), None
    other = torch.optim.SGD(twin.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    step_once(model, optimizer, E)
    step_once(twin, other, E)
    for (name, weight), mask in zip(
        [(n, p) for n, p in twin.named_parameters() if p.dim() == 2], sparsifier.masks.values(), strict=True
    ):
        kept = weight.detach().abs().flatten().topk(int(mask.sum())).indices
        assert set(mask.flatten().nonzero().flatten().tolist()) == set(kept.tolist()), name


@pytest.mark.parametrize("balance", ["order", "size"])
def test_after_all_stages_every_weight_was_trainable(balance: str) -> None:
    model, optimizer, sparsifier, _ = start(bottleneck(), partitions=2, balance=balance)
    seen = {name: mask.clone() for name, mask in sparsifier.masks.items()}
    for step in range(1, 2 * E):
        step_once(model, optimizer, step, (4, 1, 6, 6))
        for name, mask in sparsifier.masks.items():
            seen[name] |= mask
    assert all(bool(mask.all()) for mask in seen.values())


def test_one_partition_is_dense_training_and_pruning() -> None:
    """K = 1, first values kept: dense training, then one-shot pruning at the end of the stage."""
    model, optimizer, sparsifier, _ = start(partitions=1, keep_first=True, rounds=1)
    assert sparsifier.sparsity == 0
    other = mlp()
    second = torch.optim.SGD(other.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)
    one_shot = Sparsifier(other, OneShot(sparsity=0.5, allocation="uniform", at=E), second, protect=NOTHING)
    for step in range(1, E + 1):
        step_once(model, optimizer, step)
        step_once(other, second, step)
    assert all(torch.equal(mask, one_shot.masks[name]) for name, mask in sparsifier.masks.items())
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))


def test_without_sparsity_it_is_plain_training_with_restarts() -> None:
    model, optimizer, sparsifier, _ = start(sparsity=0.0)
    twin = mlp()
    for begin in range(0, 4 * E, E):
        fresh = torch.optim.SGD(twin.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)
        for step in range(begin + 1, begin + E + 1):
            step_once(twin, fresh, step)
            step_once(model, optimizer, step)
    assert sparsifier.sparsity == 0
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), twin.parameters(), strict=True))


def test_keep_first_begins_with_the_first_partitions_own_values() -> None:
    model, _, sparsifier, _ = start(keep_first=True)
    assert counts(sparsifier) == [48, 32, 16]
    assert torch.equal(model[0].weight, mlp()[0].weight)
    grown, _, _, _ = start()
    assert int((grown[0].weight == 0).sum()) == 24


def test_ranking_happens_inside_the_partition_that_was_dense() -> None:
    model, optimizer, sparsifier, _ = start(
        partitions=(("0", "2"), ("4",)), allocation="global_rank", rounds=1
    )
    for step in range(1, E):
        step_once(model, optimizer, step)
    with torch.no_grad():
        model[2].weight.mul_(100.0)
    twin = copy.deepcopy(model)
    other = torch.optim.SGD(twin.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    step_once(model, optimizer, E)
    step_once(twin, other, E)
    magnitudes = torch.cat([twin[0].weight.detach().flatten(), twin[2].weight.detach().flatten()]).abs()
    largest = magnitudes.topk(24 + 32).indices  # the partition's own total
    first, second, third = counts(sparsifier)
    assert (first, second) == (int((largest < 48).sum()), int((largest >= 48).sum()))
    assert second > 32  # not the uniform shares
    assert third == 32
    for step in range(E + 1, 2 * E + 1):
        step_once(model, optimizer, step)
    assert sum(counts(sparsifier)) == 72


@pytest.mark.parametrize("pattern", ["2:4", "block:4x1", "gs:8,1", "window:8"])
@pytest.mark.parametrize("allocation", ["uniform", "global_rank"])
def test_partitions_in_patterns(pattern: str, allocation: str) -> None:
    sparsity = None if pattern == "2:4" else 0.6
    model, optimizer, sparsifier, method = start(
        bottleneck(), pattern=pattern, sparsity=sparsity, partitions=2, allocation=allocation
    )
    shapes = sparsifier._editor.shapes
    foreseen = {step: sum(kept.values()) for step, kept in counts_over_time(method, shapes)}
    parts = method.split_by.split(shapes)
    for step in range(1, 3 * E):
        dense = parts[step // E] if step < 2 * E else ()
        step_once(model, optimizer, step, (4, 1, 6, 6))
        if step % E == 0:
            assert sum(counts(sparsifier)) == foreseen[step]
        elif step < 2 * E:
            assert {name for name, mask in sparsifier.masks.items() if bool(mask.all())} >= set(dense)
    for mask in sparsifier.masks.values():
        sparsifier.pattern.check(as_matrix(mask))


def test_pruning_what_is_at_its_target_is_the_identity() -> None:
    model, optimizer, sparsifier, method = start(partitions=1)
    for step in range(1, E + 1):
        step_once(model, optimizer, step)
    before = {name: mask.clone() for name, mask in sparsifier.masks.items()}
    sparsifier._editor._run(method.pruning(0), E, optimizer)
    assert all(torch.equal(mask, before[name]) for name, mask in sparsifier.masks.items())


def test_random_turns_never_repeat_at_once_and_follow_the_seed() -> None:
    turns = GaP(sparsity=0.5, partitions=3, rounds=200, order="random", seed=4).turns
    assert all(a != b for a, b in pairwise(turns))
    counted = [turns.count(index) for index in range(3)]
    assert min(counted) > 150  # 600 draws, 200 expected
    assert turns == GaP(sparsity=0.5, partitions=3, rounds=200, order="random", seed=4).turns
    assert turns != GaP(sparsity=0.5, partitions=3, rounds=200, order="random", seed=5).turns
    assert GaP(sparsity=0.5, partitions=1, rounds=3, order="random").turns == (0, 0, 0)


def test_stages_are_those_of_one_machine() -> None:
    cyclic = GaP(sparsity=0.5, partitions=3, rounds=2, steps_per_stage=E, finetune=5)
    parallel = GaP(sparsity=0.5, partitions=3, rounds=2, steps_per_stage=E, finetune=5, order="parallel")
    assert [stage.name for stage in cyclic.stages()] == [f"grow {i}" for i in (0, 1, 2, 0, 1, 2)] + [
        "fine-tune"
    ]
    assert [stage.name for stage in parallel.stages()] == ["round 0", "round 1", "fine-tune"]
    assert (cyclic.last_edit, parallel.last_edit) == (6 * E, 2 * E)
    assert [stage.restart for stage in GaP(sparsity=0.5, restart_optimizer=False).stages()] == [{"rate"}] * 5
    assert [stage.restart for stage in GaP(sparsity=0.5, restart_rate=False).stages()] == [{"optimizer"}] * 5


@pytest.mark.parametrize(
    ("sizes", "parts", "lengths"),
    [
        ([5, 5, 5, 5], 2, [2, 2]),
        ([10, 1, 1, 1], 2, [1, 3]),
        ([1, 1, 1, 10], 2, [3, 1]),
        ([1, 2, 3, 4, 5], 3, [3, 1, 1]),  # 6, 4, 5: no split has a smaller largest sum
        ([7], 1, [1]),
        ([1, 1, 1, 1], 4, [1, 1, 1, 1]),
        ([0, 0, 9], 3, [1, 1, 1]),
    ],
)
def test_balance_by_size(sizes: list[int], parts: int, lengths: list[int]) -> None:
    shapes = {str(i): LayerShape(weight=(max(size, 1), 1)) for i, size in enumerate(sizes)}
    split = Partitions(parts=parts, balance="size").split(shapes)
    assert [len(names) for names in split] == lengths
    assert [name for names in split for name in names] == list(shapes)


REFUSALS: list[tuple[dict[str, Any], str]] = [
    ({"partitions": 4}, "expected at most 3, one for each of the 3 layers that are masked here, got 4"),
    ({"partitions": (("0", "2"),)}, "none for 4.weight; add their names to a group"),
    ({"partitions": (("0", "2"), ("*",))}, "'0.weight' in groups 0 and 1"),
    ({"partitions": (("0", "2", "4"), ("layer7",))}, "'layer7' names no linear or convolution weight"),
    ({"partitions": 0}, "expected at least 1, got 0"),
    ({"partitions": ()}, "a number, or a tuple of tuples"),
    ({"partitions": (("0",), ())}, "a number, or a tuple of tuples"),
    ({"partitions": ("0", "2")}, "a number, or a tuple of tuples"),
    ({"partitions": True}, "a number, or a tuple of tuples"),
    ({"balance": "macs"}, "balance to be one of order, size"),
    ({"order": "sequential"}, "order to be one of cyclic, random, parallel"),
    ({"order": "parallel"}, "gossamer.training.parallel.grow_in_parallel"),
    ({"first": 3}, "first from 0 to 2, got 3"),
    ({"seed": "a", "order": "random"}, "seed to be a whole number, got 'a'"),
    ({"restart_optimizer": "no"}, "restart_optimizer to be True or False, got 'no'"),
    ({"rounds": 0}, "rounds at least 1, got 0"),
    ({"rounds": 1.5}, "rounds to be a whole number, got 1.5"),
    ({"steps_per_stage": 0}, "steps_per_stage at least 1"),
    ({"steps_per_stage": 2.5}, "steps_per_stage to be a whole number"),
    ({"finetune": -1}, "finetune at least 0"),
    ({"initial": "given"}, "initial"),
    ({"initial": "dense"}, "expected initial random or magnitude"),
    ({"sparsity": None}, "expected a sparsity"),
    ({"order": "parallel", "criterion": "taylor"}, "workers do not send"),
    ({"order": "parallel", "restart_rate": False}, "every worker makes its own optimizer"),
    ({"order": "parallel", "keep_first": True}, "all partitions grow at once"),
]


@pytest.mark.parametrize(("settings", "words"), REFUSALS)
def test_what_cannot_be_meant_is_refused_in_words(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(GossamerError, match=words.replace("(", r"\(")):
        start(**settings)


def test_a_group_of_layers_that_stay_dense_is_refused() -> None:
    method = GaP(sparsity=0.2, partitions=(("0",), ("2",)))
    with pytest.raises(
        MethodError, match=r"'0' names only weights that stay dense \(0.weight: protected: first"
    ):
        Sparsifier(mlp(), method, protect=Protection(last=False))


def test_frozen_weights_are_refused() -> None:
    model = mlp()
    model[2].weight.requires_grad_(False)
    with pytest.raises(EngineError, match="is frozen"):
        start(model)


@pytest.mark.parametrize("at", [E - 1, E, E + 1, 3 * E])
@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.Adam])
def test_resume_across_stages_is_bit_equal(at: int, kind: Any) -> None:
    def fresh() -> tuple[nn.Module, Any, Sparsifier]:
        model = mlp()
        settings: dict[str, Any] = {"momentum": 0.9} if kind is torch.optim.SGD else {}
        optimizer = kind(model.parameters(), lr=0.05, **settings)
        method = GaP(sparsity=0.5, partitions=3, steps_per_stage=E, allocation="global_rank")
        return model, optimizer, Sparsifier(model, method, optimizer, protect=NOTHING)

    model, optimizer, sparsifier = fresh()
    for step in range(1, at + 1):
        step_once(model, optimizer, step)
    saved: Any = copy.deepcopy((model.state_dict(), optimizer.state_dict(), sparsifier.state_dict()))
    other, second, follower = fresh()
    for part, state in zip((other, second, follower), saved, strict=True):
        part.load_state_dict(state)
    for step in range(at + 1, 4 * E + 2):
        step_once(model, optimizer, step)
        step_once(other, second, step)
    tensors: list[tuple[Tensor, Tensor]] = list(
        zip(model.state_dict().values(), other.state_dict().values(), strict=True)
    )
    assert all(torch.equal(a, b) for a, b in tensors)
    assert sparsifier.history == follower.history
