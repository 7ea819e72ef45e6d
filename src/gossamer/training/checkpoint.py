"""What a Sparsifier saves: tensors, numbers, strings, lists and mappings, so that torch.load(weights_only=True) reads it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from gossamer.errors import CheckpointError
from gossamer.training.reports import EditRecord, LayerChange

VERSION = 2
_KEYS = {"version", "method", "seed", "step", "event", "peak_kept", "masks", "mask_hash", "births", "history"}


@dataclass(frozen=True, kw_only=True)
class Saved:
    """The memory of a Sparsifier between two steps."""

    method: str  # repr of the method: all its settings
    seed: int
    step: int
    event: int
    peak_kept: int
    masks: Mapping[str, Tensor]  # of compact weights: the bytes of their places
    mask_hash: str
    births: Mapping[str, Tensor]  # Adam's step count when an entry was grown
    history: Sequence[EditRecord]

    def to_state(self) -> dict[str, Any]:
        return {
            "version": VERSION,
            "method": self.method,
            "seed": self.seed,
            "step": self.step,
            "event": self.event,
            "peak_kept": self.peak_kept,
            "masks": {name: mask.clone() for name, mask in self.masks.items()},
            "mask_hash": self.mask_hash,
            "births": {name: births.clone() for name, births in self.births.items()},
            "history": [asdict(record) for record in self.history],
        }


def from_state(
    state: object,
    *,
    method: str,
    like: Mapping[str, Tensor],
    digest_of: Callable[[Mapping[str, Tensor]], str],
) -> Saved:
    """The memory in `state`, if it belongs to this method and to weights saved as in `like`; otherwise CheckpointError."""
    if not isinstance(state, Mapping) or not state.keys() >= _KEYS:
        keys = (
            ", ".join(str(key) for key in list(state)[:5])
            if isinstance(state, Mapping)
            else type(state).__name__
        )
        raise CheckpointError(
            f"expected the state_dict of a Sparsifier ({', '.join(sorted(_KEYS))}), got {keys}"
        )
    if state["version"] != VERSION:
        raise CheckpointError(
            f"expected a Sparsifier state of version {VERSION}, got {state['version']!r}; install a matching gossamer"
        )
    masks: Mapping[str, Tensor] = state["masks"]
    missing, unknown = [n for n in like if n not in masks], [n for n in masks if n not in like]
    if missing or unknown:
        raise CheckpointError(
            "this state belongs to another model or protects other layers: expected masks of "
            f"{len(like)} weights, got {len(masks)}"
            + (f"; not in it: {_some(missing)}" if missing else "")
            + (f"; not in this model: {_some(unknown)}" if unknown else "")
        )
    for name, mask in masks.items():
        if (mask.shape, mask.dtype) != (like[name].shape, like[name].dtype):
            raise CheckpointError(
                f"this state belongs to another model, or one of the two is compact: expected for {name!r} {like[name].dtype} of shape "
                f"{tuple(like[name].shape)}, got {mask.dtype} of shape {tuple(mask.shape)}"
            )
    if digest_of(masks) != state["mask_hash"]:
        raise CheckpointError(
            f"this state is damaged: expected masks whose hash is {state['mask_hash']}, got {digest_of(masks)}; load an earlier one"
        )
    if state["method"] != method:
        raise CheckpointError(
            f"this state belongs to another run: expected {method}, got {state['method']}; to go on with its masks under another "
            "method, pass masks=state['masks'] with initial='given'"
        )
    history = [
        EditRecord(
            step=record["step"],
            layers={name: LayerChange(**change) for name, change in record["layers"].items()},
            mask_hash=record["mask_hash"],
        )
        for record in state["history"]
    ]
    numbers = {key: int(state[key]) for key in ("seed", "step", "event", "peak_kept")}
    return Saved(
        method=method,
        masks=masks,
        mask_hash=state["mask_hash"],
        births=state["births"],
        history=history,
        **numbers,
    )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
