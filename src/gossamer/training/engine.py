"""The Sparsifier: runs a method beside any training loop, through the step hooks of the optimizer.

One order of events, at every optimizer step (drawn in docs/concepts/engine.md):

    backward -> gradients reduced and unscaled -> [edit step: dense gradients taken] -> gradients of dropped entries zeroed
    -> the optimizer updates -> [edit step: drop, then grow] -> [a stage begins: optimizer state restarts]
    -> weights, optimizer state and averaged copies masked

A step that a gradient scaler skipped is no step. Random choices come from one generator an event, seeded by (seed, event); rank 0
decides, the others receive. The model keeps the keys of the dense model; everything the engine remembers is in its own `state_dict()`.
"""

import warnings
import weakref
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NoReturn

from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from gossamer.errors import EngineError
from gossamer.sparsity.costs import LayerShape
from gossamer.sparsity.patterns import parse_pattern
from gossamer.training.arguments import check_arguments
from gossamer.training.checkpoint import Saved, from_state
from gossamer.training.compact.checks import check_compact
from gossamer.training.compact.stores import CompactStores
from gossamer.training.copies import Average, find_copies
from gossamer.training.counting import check_reachable
from gossamer.training.editor import Editor
from gossamer.training.guard import LoadGuard, owners_of, place
from gossamer.training.layers import choose, shapes_of
from gossamer.training.loaded import LoadedWeights
from gossamer.training.masks import MaskOwner, put_given
from gossamer.training.methods.method import Method, final_sparsity, stages_of
from gossamer.training.optimizers import Support, check_optimizer, check_restart, restart_state
from gossamer.training.protection import Protection
from gossamer.training.reports import EditRecord, FinalReport, Summary, early_end, layer_rows
from gossamer.training.stages import StagePosition, position_at, restarts_at
from gossamer.training.steps import StepCalls
from gossamer.training.stores import Stores


class Sparsifier:
    """Masks the weights of `model` as `method` says, at every step of `optimizer`.

    >>> import torch
    >>> from gossamer.training.methods import Static
    >>> model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 4))
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    >>> sparsifier = Sparsifier(model, Static(sparsity=0.75), optimizer, protect=Protection(first=False, last=False))
    >>> model(torch.ones(2, 8)).sum().backward()
    >>> optimizer.step()
    >>> sparsifier.step, sparsifier.sparsity
    (1, 0.75)
    >>> sparsifier
    <Sparsifier: Static, sparsity 0.75, step 1, 2 layers>
    >>> sparsifier.finalize().zeroed
    0
    """

    def __init__(
        self,
        model: nn.Module,
        method: Method,
        optimizer: Optimizer | None = None,
        *,
        seed: int = 0,
        protect: Protection | None = None,
        layers: Sequence[str] | None = None,
        ema: Average | Iterable[Average] = (),
        masks: Mapping[str, Tensor] | None = None,
        adam_counts: str = "per_weight",
        dense_gradients: str = "refused",
    ) -> None:
        """`layers` narrows what is masked (names, wildcards); `ema` are averaged copies of the model that are masked too; `masks` are the
        masks of a method with initial="given"; `adam_counts` is "per_weight" (a grown weight has its own step count in Adam's bias
        correction) or "shared" (torch's count for the whole tensor). Of a model with compact layers these are edited, and nothing else;
        `dense_gradients` is "refused", or "blockwise" for methods that grow by the gradient of absent weights (RigL), which is then made
        at edits, a block of rows at a time."""
        check_arguments(model, method, seed, protect, masks, adam_counts, dense_gradients)
        self.method = method
        self.pattern = parse_pattern(method.pattern)
        self.stages, self.adam_counts = stages_of(method), adam_counts
        self.step = 0
        named = list(masks) if masks is not None and layers is None else layers
        chosen = choose(model, self.pattern, protect or Protection(), named)
        for slot in chosen.masked.values():
            if owners_of(slot):
                raise EngineError(
                    f"{slot.name!r} belongs to another Sparsifier already: expected one owner a weight; finalize() that one first"
                )
        shapes = shapes_of(model, chosen.reasons)
        check_reachable(method, self.pattern, shapes)
        self._owner: Stores
        if chosen.compact:
            check_compact(
                method, self.pattern, shapes, chosen.masked, blockwise=dense_gradients == "blockwise"
            )
            self._owner = CompactStores(chosen.masked)
        else:
            self._owner = MaskOwner(chosen.masked)
        self._copies = find_copies(ema, chosen.masked)
        self._editor = Editor(
            method,
            self.pattern,
            self._owner,
            shapes,
            copies=self._copies,
            seed=seed,
            per_weight_counts=adam_counts == "per_weight",
        )
        self._optimizer: Optimizer | None = None
        self._last_optimizer: weakref.ref[Optimizer] | None = None
        self._followed: tuple[Tensor, ...] = ()  # the parameters that the optimizer was found to hold
        self._support: Support | None = None
        self._hooks: list[RemovableHandle] = []
        self._guards: list[RemovableHandle] = []
        self._finalized = False
        self._calls = StepCalls()
        self._state_dirty = True  # something may have written optimizer state at dropped places
        self._loaded = LoadedWeights(self._owner)
        if optimizer is not None:
            self._checked(optimizer)

        self._start(masks)
        guard = LoadGuard(self, Sparsifier._weights_loaded)
        modules = {id(slot.module): slot.module for slot in self._owner.slots.values()}
        self._guards = [place(module, guard) for module in modules.values()]
        if optimizer is not None:
            self.attach(optimizer)

    # What it knows.

    def __repr__(self) -> str:
        about = f"sparsity {self.sparsity:.4g}, step {self.step}, {len(self._owner.slots)} layers"
        return f"<Sparsifier: {type(self.method).__name__}, {about}>"

    @property
    def masks(self) -> Mapping[str, Tensor]:
        """The masks, bool, True = kept, by weight name. Read-only: an edit is the only way to change one."""
        return self._owner.kept

    @property
    def shapes(self) -> Mapping[str, LayerShape]:
        """All weights that count, in network order; those that stay dense have the reason."""
        return self._editor.shapes

    @property
    def sparsity(self) -> float:
        """Zeros over all linear and convolution weights of the network, protected ones included."""
        return self.summary().sparsity

    @property
    def density(self) -> float:
        return 1.0 - self.sparsity

    @property
    def history(self) -> tuple[EditRecord, ...]:
        """Every edit so far."""
        return tuple(self._editor.history)

    @property
    def budget_met(self) -> bool:
        """True from the last edit on: select the best model only then, an earlier one may be over budget."""
        return self.step >= self.method.last_edit

    @property
    def stage(self) -> StagePosition | None:
        """The stage that the next step belongs to; None for a method that has no stages."""
        return position_at(self.stages, self.step)

    @property
    def attached(self) -> bool:
        """True while the steps of an optimizer are this Sparsifier's steps."""
        return self._optimizer is not None

    def summary(self) -> Summary:
        """All weights that count, masked or dense with the reason, and the sparsity requested and granted."""
        rows = layer_rows(self._editor.shapes, self._owner.num_kept, str(self.pattern))
        return Summary(
            step=self.step,
            requested=final_sparsity(self.method),
            rows=rows,
            peak_kept=self._editor.peak_kept,
        )

    def held_bytes(self) -> tuple[int, int]:
        """Bytes that the engine holds beside the model: masks, and step counts of grown weights."""
        return self._owner.nbytes, 0 if self._editor.adam is None else self._editor.adam.nbytes

    # What a user's loop calls.

    def attach(self, optimizer: Optimizer) -> Summary:
        """Starts to follow `optimizer`: from now on its steps are this Sparsifier's steps, and weights obey their masks at once."""
        self._check_alive()
        if self._optimizer is not None:
            raise EngineError(
                "this Sparsifier is attached to an optimizer already: expected one; detach() it first"
            )
        self._support = self._checked(optimizer)
        if self._last_optimizer is not None and self._last_optimizer() is not optimizer:
            self._editor.forget_births()
        self._optimizer, self._last_optimizer = optimizer, weakref.ref(optimizer)
        self._owner.mask_weights()
        self._optimizer_loaded(optimizer)
        self._editor.watch(self.step + 1)
        self._hooks = [
            optimizer.register_step_pre_hook(self._before_step),
            optimizer.register_step_post_hook(self._after_step),
            optimizer.register_load_state_dict_post_hook(self._optimizer_loaded),
        ]
        return self.summary()

    def detach(self) -> Summary:
        """Stops following the optimizer: it trains densely from now on. Masks stay. The same optimizer, or another one, may be attached
        later."""
        for hook in self._hooks:
            hook.remove()
        self._hooks, self._optimizer, self._support = [], None, None
        self._editor.gradients.clear()
        self._owner.watch(())
        return self.summary()

    def mask_gradients(self) -> None:
        """Zeroes the gradients of dropped entries now: call it before clipping, for a norm of what will be applied.

        Once a step, after the last backward pass and (with a scaler) after `scaler.unscale_(optimizer)`. At an edit step the dense
        gradients that a score needs are taken first. The optimizer's pre-hook does the same; calling both is harmless.
        """
        self._check_alive()
        self._editor.take_gradients(self.step + 1)
        self._owner.mask_gradients()

    def finalize(self) -> FinalReport:
        """Sets all dropped places to zero for good, removes every hook, and reports. Masks can still be read.

        Before the method's last edit the masks are not the final ones: a warning and a note of the report say so.
        """
        self._check_alive()
        stray = self._owner.count_stray()
        self._apply_masks(with_state=True)
        summary = self.detach()
        for guard in self._guards:
            guard.remove()
        self._loaded.forget()
        self._guards, self._finalized = [], True
        early = early_end(summary, self.method.last_edit, begins_dense=self.method.initial == "dense")
        if early is not None:
            warnings.warn(f"{type(self.method).__name__}: {early}", RuntimeWarning, stacklevel=2)
        notes = () if early is None else (early,)
        return FinalReport(summary=summary, history=self.history, zeroed=stray, notes=notes)

    def state_dict(self) -> dict[str, Any]:
        """Masks, step, event, births of grown weights and history: tensors, numbers and strings, for torch.load(weights_only=True)."""
        editor = self._editor
        return Saved(
            method=repr(self.method),
            seed=editor.seed,
            step=self.step,
            event=editor.event,
            peak_kept=editor.peak_kept,
            masks=self._owner.saved(),
            mask_hash=self._owner.digest(),
            births=editor.adam.births if editor.adam is not None else {},
            history=editor.history,
        ).to_state()

    def load_state_dict(self, state: Mapping[str, Any]) -> Summary:
        """Continues where `state` was saved. Model and optimizer load their own, before or after this call."""
        self._check_alive()
        saved = from_state(
            state,
            method=repr(self.method),
            like=self._owner.saved(),
            digest_of=self._owner.digest_of_saved,
        )
        self.step = saved.step
        self._editor.load(saved)
        self._loaded.give_back()
        self._loaded.note(self._owner.slots)
        for name, mask in saved.masks.items():
            self._owner.load(name, mask)
        self._editor.digest()
        self._editor.watch(self.step + 1)
        self._owner.mask_weights()
        self._state_dirty = True
        return self.summary()

    # The order of events.

    def _before_step(
        self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Any, Any] | None:
        if not self._calls.begins():
            return None
        weights = self._weights()
        if any(now is not then for now, then in zip(weights.values(), self._followed, strict=True)):
            self._support = self._checked(optimizer)  # parameters were replaced: load_state_dict(assign=True)
        closure = args[1] if len(args) > 1 else kwargs.get("closure")
        if closure is None:
            self._gradients_ready(optimizer)
            return None

        def closure_then_mask() -> Any:
            loss = closure()
            self._gradients_ready(optimizer)
            return loss

        if len(args) > 1:
            return (args[0], closure_then_mask, *args[2:]), kwargs
        return args, {**kwargs, "closure": closure_then_mask}

    def _gradients_ready(self, optimizer: Optimizer) -> None:
        self.mask_gradients()
        scale = getattr(optimizer, "grad_scale", None)  # a fused optimizer unscales inside its step
        if scale is not None:
            self._editor.gradients.divide(scale)
        self._calls.note_state(optimizer)

    def _after_step(self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if not self._calls.ends():
            return
        if self._calls.was_skipped(optimizer):
            self._editor.gradients.clear()
            self._editor.watch(self.step + 1)
            return
        self._editor.correct_adam(optimizer)
        self.step += 1
        edited = self._editor.run(self.step, optimizer)
        if edited:
            self._owner.mask_gradients()
        if restarts_at(self.stages, self.step, "optimizer"):
            restart_state(optimizer)
            self._editor.forget_births()
        assert self._support is not None
        self._apply_masks(with_state=edited or self._state_dirty or not self._support.zero_is_fixed)
        self._state_dirty = False
        self._loaded.forget()
        self._editor.gradients.clear()
        self._editor.watch(self.step + 1)

    def _apply_masks(self, *, with_state: bool) -> None:
        self._owner.mask_weights()
        self._owner.mask_copies(self._copies)
        if with_state and self._optimizer is not None:
            self._owner.mask_state(self._optimizer)

    # Beginnings, and what others do to weights and state.

    def _start(self, masks: Mapping[str, Tensor] | None) -> None:
        """The masks before the first step: those given, then the edits at step 0. Optimizer state is not touched before a step."""
        if isinstance(self._owner, MaskOwner):
            if masks is not None:
                put_given(self._owner, masks, self.pattern)
            self._editor.run(0, None)
        else:
            self._editor.adopt_start()
        self._editor.digest()
        self._editor.note_kept(start=True)
        self._loaded.note(self._owner.slots)
        self._owner.mask_weights()

    def _weights_loaded(self, module: nn.Module) -> None:
        """After a checkpoint was loaded into a module: its weights obey their masks again at once."""
        self._loaded.note([name for name, slot in self._owner.slots.items() if slot.module is module])
        self._owner.mask_weights()

    def _optimizer_loaded(self, optimizer: Optimizer) -> None:
        self._state_dirty = True
        if self._editor.adam is not None:
            self._editor.adam.forget_places()

    def _weights(self) -> dict[str, Tensor]:
        return {name: slot.weight for name, slot in self._owner.slots.items()}

    def _checked(self, optimizer: Optimizer) -> Support:
        weights = self._weights()
        support = check_optimizer(
            optimizer, self.method, weights, per_weight_counts=self._editor.adam is not None
        )
        if self.step == 0:
            check_restart(optimizer, self.method)
        self._followed = tuple(weights.values())
        return support

    def __reduce__(self) -> NoReturn:
        raise EngineError(
            "a Sparsifier cannot be copied or pickled, because it hooks into one model and one optimizer: expected its state_dict(); save "
            "that, and load it into a Sparsifier made for the copies"
        )

    def _check_alive(self) -> None:
        if self._finalized:
            raise EngineError(
                "this Sparsifier is finalized: expected no further use but reading masks; make a new one"
            )
