"""Multiply-accumulates and examples of a training run, step by step.

A weight that is used at P places of an example (1 in a linear layer, height x width of a convolution's output) costs, with k entries kept,

    P k   forward
    P k   gradient of its input     not for a layer whose input needs none, which is the first one
    P k   gradient of the weight    P R C at a step where a method grows by the dense gradient (RigL)

multiply-accumulates an example (1 MAC = 2 FLOPs). Biases, norms, activations and the optimizer are not counted, as in the papers; nor
is what a masked run computes and throws away: the count is that of the kept weights, `dense_macs` beside it that of the dense network.

Counts of kept entries are read only where an edit has happened, so that a step costs a few additions and never waits for the device.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from math import prod
from typing import Any

from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from gossamer.errors import CheckpointError, EngineError
from gossamer.training.activations import activation_bytes
from gossamer.training.edits import Shapes, names_in
from gossamer.training.engine import Sparsifier
from gossamer.training.foresight import counts_over_time
from gossamer.training.layers import Slot, find_weights
from gossamer.training.methods import Method

_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_RECURRENT = (nn.RNNBase, nn.RNNCellBase)
_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class LayerUse:
    """How a weight is used: `positions` of one example, whether its input needs a gradient, whether it trains itself."""

    size: int
    positions: float
    needs_dx: bool
    trains: bool

    def macs(self, num_kept: int) -> float:
        """Of one example, forward and backward."""
        return self.positions * num_kept * (1 + self.needs_dx + self.trains)


@dataclass(frozen=True, kw_only=True)
class BatchProfile:
    """What one forward pass tells: the use of every weight by name, and the bytes kept for its backward pass."""

    layers: Mapping[str, LayerUse]
    activations: int


def profile_batch(model: nn.Module, loss: Callable[[], Tensor], *, examples: int) -> BatchProfile:
    """Runs `loss()`, the forward pass of a batch of so many examples; buffers and random state are as before afterwards.

    >>> import torch
    >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8 * 4 * 4, 10))
    >>> profile = profile_batch(model, lambda: model(torch.ones(2, 3, 6, 6)).sum(), examples=2)
    >>> [(name, use.positions, use.needs_dx) for name, use in profile.layers.items()]
    [('0.weight', 16.0, False), ('2.weight', 1.0, True)]
    """
    slots = find_weights(model)
    seen: dict[str, tuple[float, bool]] = {}
    with _watched(slots, seen):
        activations = activation_bytes(model, loss)
    layers = {}
    for name, slot in slots.items():
        places, needs_dx = seen.get(name, (0.0, False))
        layers[name] = LayerUse(
            size=prod(slot.shape),
            positions=places / examples,
            needs_dx=needs_dx,
            trains=slot.weight.requires_grad,
        )
    return BatchProfile(layers=layers, activations=activations)


@dataclass(frozen=True, kw_only=True)
class TracePoint:
    """Kept entries of every weight from this step on, in the order of `CostReport.names`."""

    step: int
    num_kept: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class CostReport:
    """A run so far. `left_out`: examples that a sieve has spared, and the MACs that they would have cost with the masks of their time."""

    steps: int
    examples: int
    macs: int
    dense_macs: int
    examples_left_out: int
    macs_left_out: int
    names: tuple[str, ...]
    sizes: tuple[int, ...]
    trace: tuple[TracePoint, ...]

    @property
    def peak_kept(self) -> dict[str, int]:
        """The most entries that each weight has had."""
        return {name: max(point.num_kept[i] for point in self.trace) for i, name in enumerate(self.names)}

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and lists, ready for JSON."""
        return {
            **asdict(self),
            "names": list(self.names),
            "sizes": list(self.sizes),
            "trace": [{"step": point.step, "num_kept": list(point.num_kept)} for point in self.trace],
        }


class CostMeter:
    """Counts a run. Call `step` after every step of the optimizer.

    >>> import torch
    >>> model = nn.Sequential(nn.Linear(8, 4), nn.Linear(4, 2))
    >>> profile = profile_batch(model, lambda: model(torch.ones(5, 8)).sum(), examples=5)
    >>> meter = CostMeter(profile.layers)
    >>> meter.step(5)
    >>> meter.report().macs == 5 * (2 * 32 + 3 * 8), meter.report().examples
    (True, 5)
    """

    def __init__(self, layers: Mapping[str, LayerUse], sparsifier: Sparsifier | None = None) -> None:
        """layers: of `profile_batch`. sparsifier: None for dense training."""
        self.layers, self.sparsifier = dict(layers), sparsifier
        self.steps = self.examples = self.macs = self.dense_macs = 0
        self.examples_left_out = self.macs_left_out = 0
        self.trace: list[TracePoint] = []
        self._dense = round(sum(use.macs(use.size) for use in self.layers.values()))
        self._edits = -1
        self._look()

    def step(self, examples: int) -> None:
        """A step on so many examples, of all ranks together, has been made."""
        self.steps += 1
        self.examples += examples
        self.macs += examples * (self._sparse + self._dense_gradients())
        self.dense_macs += examples * self._dense
        self._look()

    def leave_out(self, examples: int) -> None:
        """So many examples would have come, were it not for a sieve."""
        self.examples_left_out += examples
        self.macs_left_out += examples * self._sparse

    def report(self) -> CostReport:
        return CostReport(
            steps=self.steps,
            examples=self.examples,
            macs=self.macs,
            dense_macs=self.dense_macs,
            examples_left_out=self.examples_left_out,
            macs_left_out=self.macs_left_out,
            names=tuple(self.layers),
            sizes=tuple(use.size for use in self.layers.values()),
            trace=tuple(self.trace),
        )

    def state_dict(self) -> dict[str, Any]:
        """Numbers and lists, for torch.load(weights_only=True)."""
        return {"version": _VERSION, **self.report().to_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on where `state` was saved. The Sparsifier loads its own, before this call."""
        if state.get("version") != _VERSION or list(state["names"]) != list(self.layers):
            raise CheckpointError(
                f"this cost state belongs to another model: expected {len(self.layers)} weights from {next(iter(self.layers), 'none')!r}"
                f" on, got {list(state.get('names', ()))[:3]}"
            )
        for name in ("steps", "examples", "macs", "dense_macs", "examples_left_out", "macs_left_out"):
            setattr(self, name, int(state[name]))
        self.trace = [
            TracePoint(step=point["step"], num_kept=tuple(point["num_kept"])) for point in state["trace"]
        ]
        self._edits = -1
        self._look()

    def _look(self) -> None:
        """Reads the counts again if there was an edit."""
        edits = 0 if self.sparsifier is None else len(self.sparsifier.history)
        if edits == self._edits:
            return
        self._edits = edits
        kept = {name: use.size for name, use in self.layers.items()}
        if self.sparsifier is not None:
            found = {row.name: row.num_kept for row in self.sparsifier.summary().rows}
            if found.keys() != kept.keys():
                raise EngineError(
                    f"the costs were profiled on another model: expected the {len(found)} weights of the Sparsifier, got {len(kept)}"
                )
            kept.update(found)
        self._kept = kept
        self._sparse = round(sum(use.macs(kept[name]) for name, use in self.layers.items()))
        counts = tuple(kept.values())
        if not self.trace or self.trace[-1].num_kept != counts:
            self.trace.append(TracePoint(step=self.steps, num_kept=counts))

    def _dense_gradients(self) -> int:
        """MACs of one example beyond the kept weights, at a step whose edit grows by the dense gradient."""
        if self.sparsifier is None or len(self.sparsifier.history) == self._edits:
            return 0
        names = grown_by_gradient(self.sparsifier.method, self.sparsifier.shapes, self.sparsifier.step)
        uses = {name: self.layers[name] for name in names}
        return round(sum(use.positions * (use.size - self._kept[name]) for name, use in uses.items()))


def planned_cost(
    layers: Mapping[str, LayerUse],
    method: Method | None,
    shapes: Shapes,
    *,
    num_steps: int,
    batch_size: int,
) -> CostReport:
    """What a run of `method` (None: dense) will cost, before it is made: the edits carried out on counts alone (`foresight`), no sieve.

    >>> import torch
    >>> from gossamer.sparsity.costs import LayerShape
    >>> from gossamer.training.methods import OneShot
    >>> model = nn.Sequential(nn.Linear(8, 4), nn.Linear(4, 2))
    >>> layers = profile_batch(model, lambda: model(torch.ones(5, 8)).sum(), examples=5).layers
    >>> shapes = {"0.weight": LayerShape(weight=(4, 8)), "1.weight": LayerShape(weight=(2, 4))}
    >>> plan = planned_cost(layers, OneShot(sparsity=0.5, at=6, allocation="uniform"), shapes, num_steps=10, batch_size=5)
    >>> plan.macs == 5 * (6 * (2 * 32 + 3 * 8) + 4 * (2 * 16 + 3 * 4)), [point.step for point in plan.trace]
    (True, [0, 6])
    """
    counts = {name: use.size for name, use in layers.items()}
    told = () if method is None else counts_over_time(method, shapes)
    events = {step: after for step, after in told if step <= num_steps}
    trace, total, before = [TracePoint(step=0, num_kept=tuple(counts.values()))], 0.0, 0

    def macs() -> float:
        return sum(use.macs(counts[name]) for name, use in layers.items())

    for step in sorted(events):
        total += (step - before) * macs()
        for name in grown_by_gradient(method, shapes, step) if step and method is not None else ():
            total += layers[name].positions * (layers[name].size - counts[name])
        counts.update(events[step])
        before = step
        point = TracePoint(step=step, num_kept=tuple(counts.values()))
        if step == 0:
            trace[0] = point
        elif point.num_kept != trace[-1].num_kept:
            trace.append(point)
    total += (num_steps - before) * macs()
    return CostReport(
        steps=num_steps,
        examples=num_steps * batch_size,
        macs=round(total * batch_size),
        dense_macs=round(sum(use.macs(use.size) for use in layers.values())) * num_steps * batch_size,
        examples_left_out=0,
        macs_left_out=0,
        names=tuple(layers),
        sizes=tuple(use.size for use in layers.values()),
        trace=tuple(trace),
    )


def grown_by_gradient(method: Method, shapes: Shapes, step: int) -> set[str]:
    """The weights whose dense gradients the edits after this step rank."""
    return {
        name
        for edit in method.edits_at(step)
        if edit.grow_by is not None and "gradient" in edit.grow_by.needs
        for name in names_in(edit.scope, shapes)
    }


@contextmanager
def _watched(slots: Mapping[str, Slot], seen: dict[str, tuple[float, bool]]) -> Iterator[None]:
    """Notes for every weight how often the forward pass uses it, summed over the batch and over all calls."""
    of_module: dict[int, list[str]] = {}
    for name, slot in slots.items():
        of_module.setdefault(id(slot.module), []).append(name)
        if isinstance(
            slot.module, nn.MultiheadAttention
        ):  # applies the weight of out_proj without calling it
            prefix = name.rpartition(".")[0]
            of_module[id(slot.module)] += [other for other in slots if other == f"{prefix}.out_proj.weight"]

    def note(module: nn.Module, inputs: Sequence[Any], output: Any) -> None:
        tensors = [value for value in inputs if isinstance(value, (Tensor, PackedSequence))]
        for name in dict.fromkeys(of_module[id(module)]):
            before, needed = seen.get(name, (0.0, False))
            needs = any(_data(tensor).requires_grad for tensor in tensors) or "weight_hh" in name
            seen[name] = before + _places(module, slots[name], tensors, output), needed or needs

    modules = {id(slot.module): slot.module for slot in slots.values()}
    handles = [module.register_forward_hook(note) for module in modules.values()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _places(module: nn.Module, slot: Slot, inputs: Sequence[Tensor | PackedSequence], output: Any) -> float:
    """How often the batch uses each entry of a weight."""
    if isinstance(module, nn.MultiheadAttention):
        which = {"k_proj_weight": 1, "v_proj_weight": 2}.get(slot.attribute, 0)
        tensor = inputs[min(which, len(inputs) - 1)]
        return _data(tensor).numel() / _data(tensor).shape[-1]
    if isinstance(module, _RECURRENT):
        return _data(inputs[0]).numel() / _data(inputs[0]).shape[-1]
    if isinstance(module, _TRANSPOSED):
        return _data(inputs[0]).numel() / module.in_channels
    return float(output.numel()) / slot.shape[0]


def _data(value: Tensor | PackedSequence) -> Tensor:
    return value.data if isinstance(value, PackedSequence) else value
