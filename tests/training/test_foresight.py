"""Counts foreseen from the edit steps alone are those of a walk over every step; what can be found once is found once."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import nn

import gossamer
from gossamer.sparsity.costs import LayerShape
from gossamer.sparsity.criteria import CRITERIA
from gossamer.sparsity.growth import GROWTH
from gossamer.sparsity.patterns import parse_pattern
from gossamer.training import MEST, SET, GaP, Gradual, Method, OneShot, RigL, Sparsifier, Static, counting
from gossamer.training.counting import Allocations
from gossamer.training.edits import AtSparsity, Edit, Most, Unchanged, WithoutFraction
from gossamer.training.foresight import counts_over_time, kept_over_time, peak_counts, peak_kept, state_of
from gossamer.training.methods.method import edit_steps_of
from gossamer.training.methods.mutation import AboveInBytes
from tests.training.helpers import NOTHING, backward, bottleneck, mlp

SHAPES = {
    "stem": LayerShape(weight=(8, 3, 3, 3), dense="first layer"),
    "a": LayerShape(weight=(16, 8, 3, 3)),
    "b": LayerShape(weight=(16, 16, 1, 1)),
    "c": LayerShape(weight=(32, 16, 3, 3)),
    "fc": LayerShape(weight=(24, 32)),
}


@dataclass(frozen=True)
class Own:
    """A user's method, which does not know its edit steps: grows above what it drops, twice at one step."""

    sparsity: float = 0.5
    pattern: str = "unstructured"
    allocation: str = "erk"
    criterion: str = "magnitude"
    initial: str = "random"
    last_edit: int = 9
    grows: bool = True

    def edits_at(self, step: int) -> tuple[Edit, ...]:
        magnitude, random = CRITERIA["magnitude"], GROWTH["random"]
        edits = {
            0: (
                Edit(drop_to=AtSparsity(0.2), drop_by=random),
                Edit(drop_to=AtSparsity(0.5), drop_by=magnitude),
            ),
            4: (
                Edit(scope=("b",), grow_to=Most(), grow_by=GROWTH["all"]),
                Edit(
                    scope=("a", "b"),
                    drop_to=AtSparsity(0.7),
                    drop_by=magnitude,
                    grow_to=AtSparsity(0.4),
                    grow_by=random,
                ),
            ),
            9: (
                Edit(drop_to=WithoutFraction(0.4), drop_by=magnitude),
                Edit(
                    drop_to=WithoutFraction(0.3), drop_by=magnitude, grow_to=AtSparsity(0.6), grow_by=random
                ),
                Edit(drop_to=AtSparsity(0.8), drop_by=magnitude, grow_to=Unchanged(), grow_by=random),
            ),
        }
        return edits.get(step, ())


METHODS: dict[str, Method] = {
    "own": Own(),
    "one shot": OneShot(sparsity=0.8, at=7),
    "gradual": Gradual(sparsity=0.9, start=3, every=5, stop=41),
    "gradual global": Gradual(sparsity=0.9, every=5, stop=40, allocation="global_rank"),
    "gradual 2:4": Gradual(pattern="2:4", every=4, stop=40),
    "static": Static(sparsity=0.9),
    "set": SET(sparsity=0.8, every=7, stop=43),
    "set no exchange": SET(sparsity=0.8, every=7, stop=0),
    "set gs": SET(sparsity=0.8, every=7, stop=43, pattern="gs:8,1"),
    "rigl": RigL(sparsity=0.8, every=7, stop=42),
    "gap": GaP(sparsity=0.9, partitions=3, rounds=2, steps_per_stage=6),
    "gap global": GaP(
        sparsity=0.9, partitions=2, steps_per_stage=6, allocation="global_rank", keep_first=True
    ),
    "em": MEST(sparsity=0.9, every=6, stop=44),
    "em cosine": MEST(sparsity=0.9, every=6, stop=44, decay="cosine", pattern="block:4x1"),
    "em&s": MEST(sparsity=0.7, kind="em&s", every=6, stop=44),
    "em&s taps": MEST(
        sparsity=0.8, kind="em&s", every=6, stop=42, mutation=0.1, decay="linear", pattern="taps:4"
    ),
    "em&s 2:4": MEST(kind="em&s", every=6, stop=42, mutation=0.25, pattern="2:4"),
    "em&s bytes": MEST(sparsity=0.9, kind="em&s", every=6, stop=44, decay="cosine", peak_bytes=40_000),
    "em&s nothing": MEST(sparsity=0.9, kind="em&s", mutation=0.0, every=6, stop=44),
}


def step_by_step(method: Method, shapes: Mapping[str, LayerShape]) -> Iterator[tuple[int, dict[str, int]]]:
    """The slow reference: asks at every step, drops before it grows, and remembers nothing."""
    pattern = parse_pattern(method.pattern)
    kept = {name: shape.numel for name, shape in shapes.items() if shape.dense is None}
    for step in range(method.last_edit + 1):
        for edit in method.edits_at(step):
            state = state_of(Allocations(method.allocation, pattern, shapes), kept, edit)
            drop_to = dict(edit.drop_to(state)) if edit.drop_to is not None else {}
            grow_to = dict(edit.grow_to(state)) if edit.grow_to is not None else {}
            after = dict(kept)
            for name in state.scope:
                after[name] = max(min(kept[name], drop_to.get(name, kept[name])), grow_to.get(name, 0))
            kept = after
            yield step, kept


@pytest.mark.parametrize("name", METHODS)
def test_foreseen_counts_are_those_of_every_step(name: str) -> None:
    method = METHODS[name]
    shapes = {key: shape for key, shape in SHAPES.items() if "taps" not in name or key != "fc"}
    walked = list(step_by_step(method, shapes))
    assert [(step, dict(counts)) for step, counts in counts_over_time(method, shapes)] == walked
    begins = [counts for step, counts in walked if step == 0]
    trained = [*begins[-1:], *(counts for step, counts in walked if step > 0)]
    if not begins or (not method.edits_at(0) and method.last_edit):
        trained.insert(0, {key: shape.numel for key, shape in shapes.items() if shape.dense is None})
    assert peak_counts(method, shapes) == {key: max(counts[key] for counts in trained) for key in trained[0]}
    dense = sum(shape.numel for shape in shapes.values() if shape.dense is not None)
    assert peak_kept(method, shapes) == dense + max(sum(counts.values()) for counts in trained)
    ends = {step: dense + sum(counts.values()) for step, counts in walked}
    told = kept_over_time(method, shapes)
    for step in range(method.last_edit + 5):
        now = [kept for since, kept in told if since <= step][-1]
        assert now == ends.get(
            max((s for s in ends if s <= step), default=-1), dense + sum(trained[0].values())
        )


@pytest.mark.parametrize("name", METHODS)
def test_edit_steps_are_all_of_them(name: str) -> None:
    method = METHODS[name]
    steps = list(edit_steps_of(method))
    assert steps == sorted(set(steps))
    assert (
        {step for step in range(200) if method.edits_at(step)}
        <= set(steps)
        <= set(range(method.last_edit + 1))
    )


def calls_of(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> Counter[str]:
    """Counts the calls of a function from now on."""
    before, seen = getattr(owner, name), Counter[str]()

    def counted(*args: Any, **settings: Any) -> Any:
        seen[name] += 1
        return before(*args, **settings)

    monkeypatch.setattr(owner, name, counted)
    return seen


def test_a_long_schedule_is_asked_at_its_edits_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """501 edits in a million steps: each walk over them asks 501 times."""
    asked = calls_of(monkeypatch, SET, "edits_at")
    method = SET(sparsity=0.4, every=2000, stop=1_000_001)
    assert peak_counts(method, SHAPES, exact=True)
    assert asked["edits_at"] == 501
    model = nn.Sequential(*(nn.Linear(8, 8) for _ in range(4)))
    gossamer.compact_(model, method)
    Sparsifier(model, method, torch.optim.SGD(model.parameters(), lr=0.1))
    assert asked["edits_at"] <= 501 * 5 + 10  # peak, and growth, each in compact_ and in the Sparsifier


@pytest.mark.parametrize("settings", [{}, {"kind": "em&s"}, {"kind": "em&s", "peak_bytes": 40_000}])
def test_levels_of_a_staircase_are_allocated_once(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    searched = calls_of(monkeypatch, AboveInBytes, "_searched")
    method = MEST(sparsity=0.9, every=100, stop=100_000, **settings)
    entries = sum(shape.numel for shape in SHAPES.values())
    allocated = calls_of(monkeypatch, counting, "allocate")
    peak_counts(method, SHAPES, exact=True)
    bisection = entries.bit_length() if "peak_bytes" in settings else 0
    assert 0 < allocated["allocate"] <= 4 + bisection  # the target, p0 and p0 / 2; not 1000 times
    assert searched["_searched"] == ("peak_bytes" in settings)


def test_edits_of_a_run_search_the_mutation_of_a_byte_bound_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    searched = calls_of(monkeypatch, AboveInBytes, "_searched")
    method = MEST(sparsity=0.8, kind="em&s", peak_bytes=2000, every=1, stop=6)
    sparsifier = Sparsifier(model, method, optimizer, protect=NOTHING)
    for step in range(1, 6):
        backward(model, step, shape=(8, 6))
        optimizer.step()
    assert len(sparsifier.history) == 6
    assert searched["_searched"] == 1


def test_a_dense_beginning_is_whole_where_the_pattern_never_is() -> None:
    """Taps keep at most 4 of 9, and yet all are there before the first edit."""
    model = bottleneck()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    method = Gradual(sparsity=0.7, pattern="taps:4", start=2, every=2, stop=4)
    sparsifier = Sparsifier(model, method, optimizer)
    for step in range(1, 5):
        backward(model, step)
        optimizer.step()
    summary = sparsifier.summary()
    assert summary.peak_kept == summary.size == peak_kept(method, sparsifier.shapes)
    assert kept_over_time(method, sparsifier.shapes)[-1] == (4, summary.num_kept)
