"""Models on the meta device: after the large layers have become compact, the rest is materialised, module by module."""

from __future__ import annotations

from torch import Tensor, nn

from gossamer.errors import EngineError


def is_meta(model: nn.Module) -> bool:
    """True if the model was made on the meta device; a mixture is refused."""
    found = {tensor.is_meta for tensor in model.parameters()}
    if len(found) > 1:
        raise EngineError(
            "compact_: expected a model wholly on the meta device or wholly off it, got a mixture"
        )
    return found == {True}


def materialise(model: nn.Module) -> None:
    """Gives every module that is still on the meta device memory on the CPU and its own initial values (torch's generator)."""
    _refuse_tied(model)
    stuck = []
    for name, module in model.named_modules():
        own: list[Tensor | None] = [*module._parameters.values(), *module._buffers.values()]
        if not any(tensor is not None and tensor.is_meta for tensor in own):
            continue
        reset = getattr(module, "reset_parameters", None) or getattr(module, "_reset_parameters", None)
        if reset is None:
            stuck.append(name or type(module).__name__)
            continue
        module.to_empty(device="cpu", recurse=False)
        reset()
    if stuck:
        raise EngineError(
            f"compact_: expected modules with reset_parameters() on the meta device, got {', '.join(stuck)} without: their first values "
            "are unknown; give them that method, or make the model on the CPU"
        )


def _refuse_tied(model: nn.Module) -> None:
    names: dict[int, str] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if not parameter.is_meta:
            continue
        first = names.setdefault(id(parameter), name)
        if first != name:
            raise EngineError(
                f"compact_: {name!r} is tied to {first!r}, and materialising would untie them: expected no tied weights on the meta "
                "device; make the model on the CPU, or tie after compact_"
            )
