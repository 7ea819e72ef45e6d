"""Stages: when the optimizer's state restarts, what is left of it, and resume across a boundary."""

import copy
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import nn

from gossamer.errors import EngineError, MethodError
from gossamer.sparsity.costs import LayerShape
from gossamer.sparsity.criteria import CRITERIA
from gossamer.sparsity.growth import GROWTH
from gossamer.training import Sparsifier, Static
from gossamer.training.edits import AtSparsity, Edit, Most, RankedInside, Shapes
from gossamer.training.methods.method import stages_of
from gossamer.training.stages import RESTARTS, Stage
from tests.training.helpers import MLP, NOTHING, OPTIMIZERS, backward, mlp

BOUNDARIES = (3, 5)


@dataclass(frozen=True)
class Only:
    """A scope rule: the weight at this place in the network."""

    place: int

    def __call__(self, shapes: Shapes) -> tuple[str, ...]:
        return (list(shapes)[self.place],)


@dataclass(frozen=True)
class Parts:
    """The smallest method in stages: the second weight becomes dense at step 3, and is pruned back at step 5."""

    restart: frozenset[str] = RESTARTS
    sparsity: float = 0.5
    pattern: str = "unstructured"
    allocation: str = "uniform"
    criterion: str = "magnitude"
    initial: str = "random"
    last_edit: int = 5
    grows: bool = True

    def edits_at(self, step: int) -> tuple[Edit, ...]:
        edits = {
            0: Edit(drop_to=AtSparsity(0.5), drop_by=GROWTH["random"]),
            3: Edit(scope=Only(1), grow_to=Most(), grow_by=GROWTH["all"]),
            5: Edit(scope=Only(1), drop_to=AtSparsity(0.5), drop_by=CRITERIA["magnitude"]),
        }
        return (edits[step],) if step in edits else ()

    def stages(self) -> tuple[Stage, ...]:
        names = ("first", "dense", "last")
        return tuple(
            Stage(name=name, steps=steps, restart=self.restart)
            for name, steps in zip(names, (3, 2, 0), strict=True)
        )


def start(optimizer: str = "sgd momentum", **settings: Any) -> tuple[nn.Module, Any, Sparsifier]:
    model = mlp()
    kind, arguments = OPTIMIZERS[optimizer]
    made = kind(model.parameters(), **arguments)
    return model, made, Sparsifier(model, Parts(**settings), made, seed=1, protect=NOTHING)


def run(model: nn.Module, optimizer: Any, first: int, last: int) -> None:
    for step in range(first, last + 1):
        backward(model, step, shape=MLP)
        optimizer.step()


def test_a_scope_rule_picks_weights_of_the_network() -> None:
    model, optimizer, sparsifier = start()
    run(model, optimizer, 1, 3)
    assert [name for name, mask in sparsifier.masks.items() if bool(mask.all())] == ["2.weight"]
    assert list(sparsifier.history[1].layers) == ["2.weight"]
    run(model, optimizer, 4, 5)
    assert [int(mask.sum()) for mask in sparsifier.masks.values()] == [24, 32, 16]


def test_the_position_is_the_stage_of_the_next_step() -> None:
    model, optimizer, sparsifier = start()
    seen = []
    for step in range(1, 8):
        seen.append((sparsifier.stage.index, sparsifier.stage.step) if sparsifier.stage else None)
        run(model, optimizer, step, step)
    assert seen == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (2, 0), (2, 1)]
    assert str(sparsifier.stage) == "stage 3/3 last"


def test_a_method_without_stages_has_none() -> None:
    model = mlp()
    sparsifier = Sparsifier(model, Static(sparsity=0.5), protect=NOTHING)
    assert sparsifier.stage is None
    assert stages_of(Static(sparsity=0.5)) == ()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_stage_begins_with_the_state_of_a_new_optimizer(name: str) -> None:
    """From each boundary on, training equals that of a new optimizer on the same weights under the same masks."""
    model, optimizer, sparsifier = start(name)
    run(model, optimizer, 1, 3)
    twin = copy.deepcopy(model)
    kind, arguments = OPTIMIZERS[name]
    fresh = kind(twin.parameters(), **arguments)
    Sparsifier(twin, Static(initial="given"), fresh, masks=sparsifier.masks, protect=NOTHING)
    run(model, optimizer, 4, 4)
    run(twin, fresh, 4, 4)
    for (key, a), b in zip(model.state_dict().items(), twin.state_dict().values(), strict=True):
        assert torch.equal(a, b), key
    assert sparsifier._editor.adam is None or not sparsifier._editor.adam.births


class Eager(torch.optim.SGD):
    """A user's optimizer that makes its state when it is constructed."""

    def __init__(self, parameters: Any) -> None:
        super().__init__(parameters, lr=0.1)
        for parameter in self.param_groups[0]["params"]:
            self.state[parameter]["sum"] = torch.zeros_like(parameter)


class Lazy(torch.optim.SGD):
    """A user's optimizer that makes its state at its first step, as torch's do."""


def test_an_unknown_optimizer_that_cannot_restart_is_told_before_training() -> None:
    model = mlp()
    with pytest.raises(EngineError, match=r"Eager has state before its first step.*restart_optimizer=False"):
        Sparsifier(model, Parts(), Eager(model.parameters()), protect=NOTHING)
    assert bool(model[0].weight.all())
    optimizer = Eager(model.parameters())
    Sparsifier(model, Parts(restart=frozenset({"rate"})), optimizer, protect=NOTHING)  # nothing to restart
    run(model, optimizer, 1, 4)
    assert all(optimizer.state.values())
    other = mlp()
    lazy = Lazy(other.parameters(), lr=0.1, momentum=0.9)
    Sparsifier(other, Parts(), lazy, protect=NOTHING)
    run(other, lazy, 1, 3)
    assert not lazy.state  # a stage has begun


@pytest.mark.parametrize("restart", [frozenset(), frozenset({"rate"})])
def test_without_restart_the_state_goes_on(restart: frozenset[str]) -> None:
    model, optimizer, _ = start("adam", restart=restart)
    run(model, optimizer, 1, 3)
    assert {int(state["step"]) for state in optimizer.state.values()} == {3}
    restarting, other, _ = start("adam")
    run(restarting, other, 1, 3)
    assert not other.state


@pytest.mark.parametrize("name", ["sgd momentum", "adam"])
@pytest.mark.parametrize("at", [2, 3, 4, 5])
def test_resume_across_a_boundary_is_bit_equal(name: str, at: int) -> None:
    model, optimizer, sparsifier = start(name)
    run(model, optimizer, 1, at)
    saved = copy.deepcopy((model.state_dict(), optimizer.state_dict(), sparsifier.state_dict()))
    run(model, optimizer, at + 1, 8)
    other, new, follower = start(name)
    run(other, new, 1, 1)  # whatever it did before
    other.load_state_dict(saved[0])
    new.load_state_dict(saved[1])
    follower.load_state_dict(saved[2])
    run(other, new, at + 1, 8)
    assert follower.stage == sparsifier.stage
    for (key, a), b in zip(model.state_dict().items(), other.state_dict().values(), strict=True):
        assert torch.equal(a, b), key


def test_a_skipped_step_begins_no_stage() -> None:
    model, optimizer, sparsifier = start("sgd nesterov fused")
    run(model, optimizer, 1, 2)
    backward(model, 3, shape=MLP)
    optimizer.found_inf = torch.ones(1)
    optimizer.step()
    assert sparsifier.stage is not None
    assert sparsifier.stage.index == 0
    assert optimizer.state
    optimizer.found_inf = None
    run(model, optimizer, 3, 3)
    assert sparsifier.stage.index == 1
    assert not optimizer.state


def test_ranked_inside_shares_the_scopes_own_total() -> None:
    """Two weights of 4 entries at 50 %: 4 entries in all; magnitudes say 3 and 1."""
    model = nn.Sequential(
        nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)
    )
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[9.0, 9.0], [9.0, 9.0]]))
        model[1].weight.copy_(torch.tensor([[8.0, 7.0], [6.0, 1.0]]))
        model[2].weight.copy_(torch.tensor([[5.0, 4.0], [3.0, 2.0]]))

    @dataclass(frozen=True)
    class Once(Parts):
        def edits_at(self, step: int) -> tuple[Edit, ...]:
            scope = ("1.weight", "2.weight")
            edit = Edit(scope=scope, drop_to=RankedInside(0.5), drop_by=CRITERIA["magnitude"])
            return (edit,) if step == 0 else ()

    sparsifier = Sparsifier(model, Once(), protect=NOTHING)
    assert [int(mask.sum()) for mask in sparsifier.masks.values()] == [4, 3, 1]


def test_stages_that_cannot_be_meant_are_refused() -> None:
    with pytest.raises(MethodError, match="at least 0 steps, got -1"):
        Stage(name="a", steps=-1)
    with pytest.raises(MethodError, match="got momentum"):
        Stage(name="a", steps=1, restart=frozenset({"momentum"}))


def test_a_scope_rule_sees_layers_that_stay_dense() -> None:
    seen: list[dict[str, LayerShape]] = []

    @dataclass(frozen=True)
    class Watching(Parts):
        def edits_at(self, step: int) -> tuple[Edit, ...]:
            def scope(shapes: Shapes) -> tuple[str, ...]:
                seen.append(dict(shapes))
                return ("2.weight",)

            return (
                (Edit(scope=scope, drop_to=AtSparsity(0.2), drop_by=CRITERIA["magnitude"]),)
                if not step
                else ()
            )

    Sparsifier(mlp(), Watching(sparsity=0.2))
    assert [(name, shape.dense is None) for name, shape in seen[0].items()] == [
        ("0.weight", False),
        ("2.weight", True),
        ("4.weight", False),
    ]
