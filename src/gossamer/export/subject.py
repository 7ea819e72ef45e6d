"""What is exported, made uniform: the bare module, its example inputs and its outputs as flat, named tensors.

torch.export flattens arguments and results by position; names are lost and unknown classes are refused.
`Facade` is a thin module around the model that takes the inputs by position and gives its results back as a
tuple of tensors; their names come from keys, fields or positions. So dictionaries, named tuples,
dataclasses and nested results need no registration.
"""

import dataclasses
import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from gossamer.errors import ExportError

Example = Tensor | Sequence[Tensor] | Mapping[str, Tensor]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Subject:
    """A model and one example of its inputs. keywords: inputs are given by name; otherwise by position. batch_dims: the dimension of
    the batch where it is not the first."""

    model: nn.Module
    inputs: tuple[Tensor, ...]
    names: tuple[str, ...]
    keywords: bool
    batch_dims: Mapping[str, int] = dataclasses.field(default_factory=dict)

    def batch_dim(self, name: str) -> int:
        """The dimension of an input that holds the batch."""
        return self.batch_dims.get(name, 0)


@dataclasses.dataclass
class OutputNames:
    """Names of the tensors of the last result. No container: torch.export puts lists of a module back as
    they were."""

    last: tuple[str, ...] = ()


class Facade(nn.Module):
    """forward(*tensors) -> tuple of tensors; `output_names` is filled by every call."""

    def __init__(self, subject: Subject) -> None:
        super().__init__()
        self.model = subject.model
        self.input_names = subject.names
        self.keywords = subject.keywords
        self.output_names = OutputNames()

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Run the model; the names of the results are left in `output_names`."""
        if self.keywords:
            result = self.model(**dict(zip(self.input_names, tensors, strict=True)))
        else:
            result = self.model(*tensors)
        named = list(_flatten(result, ""))
        self.output_names.last = tuple(name or "output" for name, _ in named)
        return tuple(tensor for _, tensor in named)


def subject_of(
    model: nn.Module,
    example: Example,
    *,
    states: Mapping[str, str] | None = None,
    batch_dims: Mapping[str, int] | None = None,
) -> Subject:
    """Unwrap the model, put the example on its device, check both. states: inputs of three dimensions among them have their batch in
    the second, unless `batch_dims` says otherwise."""
    if not isinstance(model, nn.Module):
        raise ExportError(f"model: expected a torch.nn.Module, got {type(model).__name__}")
    bare = unwrap(model)
    if isinstance(bare, torch.jit.ScriptModule):
        raise ExportError(
            "model: expected a torch.nn.Module, got a TorchScript module; pass the module from before torch.jit.script or "
            "torch.jit.trace"
        )
    if not isinstance(example, Tensor | Mapping | list | tuple):
        raise ExportError(
            f"example: expected a tensor, a sequence of tensors or a mapping by argument name, got "
            f"{type(example).__name__}; torch.from_numpy converts arrays"
        )
    if isinstance(example, Tensor):
        named, keywords = {_parameter_names(bare, 1)[0]: example}, False
    elif isinstance(example, Mapping):
        named, keywords = dict(example), True
    else:
        named, keywords = dict(zip(_parameter_names(bare, len(example)), example, strict=True)), False
    if not named:
        raise ExportError("example: expected at least one tensor, got none")
    for name, tensor in named.items():
        _check_tensor(name, tensor)
    state = next((t for t in (*bare.parameters(), *bare.buffers()) if t.is_floating_point()), None)
    if state is not None and state.dtype != torch.float32:
        raise ExportError(
            f"model: expected float32 weights, got {str(state.dtype).removeprefix('torch.')}; call model.float() first "
            f"(the packed file stores the weights as dtype= says)"
        )
    device = state.device if state is not None else torch.device("cpu")
    return Subject(
        model=bare,
        inputs=tuple(tensor.detach().to(device) for tensor in named.values()),
        names=tuple(named),
        keywords=keywords,
        batch_dims=_batch_dims(named, states or {}, batch_dims or {}),
    )


def _batch_dims(
    named: Mapping[str, Tensor], states: Mapping[str, str], given: Mapping[str, int]
) -> dict[str, int]:
    """The inputs whose batch is not their first dimension."""
    for what, names in (("states", states), ("batch_dims", given)):
        for name in names:
            if name not in named:
                raise ExportError(f"{what}: expected names of inputs ({', '.join(named)}), got {name!r}")
    found = {name: 1 for name in states if named[name].dim() == 3}
    found.update(given)
    for name, dim in found.items():
        if not 0 <= dim < named[name].dim():
            raise ExportError(
                f"batch_dims: expected a dimension of {name!r} (0 to {named[name].dim() - 1}), got {dim}"
            )
    return {name: dim for name, dim in found.items() if dim}


def unwrap(model: nn.Module) -> nn.Module:
    """The user's module inside torch.compile, DataParallel and DistributedDataParallel."""
    wrappers = (nn.DataParallel, nn.parallel.DistributedDataParallel)
    while True:
        inner = model.module if isinstance(model, wrappers) else getattr(model, "_orig_mod", None)
        if not isinstance(inner, nn.Module):
            return model
        model = inner


def plain_name(name: str) -> str:
    """A parameter's name without the marks that torch.compile leaves in it.

    >>> plain_name("features._orig_mod.0.weight")
    'features.0.weight'
    """
    return ".".join(part for part in name.split(".") if part != "_orig_mod")


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients and outside of autocast; every module's own mode comes back
    afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad(), torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
            yield
    finally:
        for module, mode in modes:
            module.training = mode


def _check_tensor(name: str, tensor: object) -> None:
    if not isinstance(tensor, Tensor):
        raise ExportError(f"example {name!r}: expected a tensor, got {type(tensor).__name__}")
    if tensor.dtype not in (torch.float32, torch.int64):
        advice = ".float()" if tensor.is_floating_point() else ".long()"
        raise ExportError(
            f"example {name!r}: expected float32 or int64, got {str(tensor.dtype).removeprefix('torch.')}; convert the example "
            f"with {advice}"
        )
    if tensor.dim() < 1 or tensor.numel() == 0:
        raise ExportError(
            f"example {name!r}: expected a batch of at least one example [N, ...], got shape {list(tensor.shape)}"
        )


def _parameter_names(model: nn.Module, count: int) -> list[str]:
    """Names of the first `count` positional parameters of forward, without a name as far as it has fewer."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    found = [p.name for p in inspect.signature(model.forward).parameters.values() if p.kind in kinds]
    names = found[:count] + [f"input_{index}" for index in range(len(found), count)]
    return ["x" if name == "input" and count == 1 else name for name in names]


def _flatten(result: object, name: str) -> Iterator[tuple[str, Tensor]]:
    """(name, tensor) of every tensor of a model's result, in order; None is left out."""
    if result is None:
        return
    if isinstance(result, Tensor):
        yield name, result
        return
    prefix = f"{name}." if name else ""
    if isinstance(result, Mapping):
        items = [(f"{prefix}{key}", value) for key, value in result.items()]
    elif dataclasses.is_dataclass(result):
        items = [(f"{prefix}{f.name}", getattr(result, f.name)) for f in dataclasses.fields(result)]
    elif isinstance(result, tuple) and hasattr(result, "_fields"):
        items = [(f"{prefix}{key}", value) for key, value in zip(result._fields, result, strict=True)]
    elif isinstance(result, list | tuple):
        base = name or "output"
        items = [(base if len(result) == 1 else f"{base}_{i}", value) for i, value in enumerate(result)]
    else:
        raise ExportError(
            f"the model returns a {type(result).__name__}{f' as {name}' if name else ''}; expected a tensor, or a tuple, "
            f"list, dictionary or dataclass of tensors"
        )
    for key, value in items:
        yield from _flatten(value, key)
