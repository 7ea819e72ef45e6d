"""Capture: the graph that torch.export sees, with the batch as a free dimension.

A batch of 1 would be taken for a constant, so the example is repeated to batch 2 and its first dimension is
declared dynamic. Nothing is decomposed: a convolution, a norm, a recurrent layer stay one node each; only in-place operations become
plain ones. Attention is captured without torch's fast path, whose fused operations hide it. A
model that fixes its batch (it writes the number into a reshape, or guards on it) is captured again with the
batch of the example, and `fixed_because` says why.
"""

import io
import logging
import traceback
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram, export
from torch.export.graph_signature import InputKind, OutputKind

from gossamer.errors import ExportError
from gossamer.export.compact import compact_layers, stand_ins
from gossamer.export.layout import BATCH
from gossamer.export.subject import Facade, Subject, evaluating
from gossamer.training.compact import CompactLayer

PREFIX = "model."


@dataclass(frozen=True, kw_only=True)
class Captured:
    """A captured program.

    inputs: input name of every user placeholder; constants: (name of the parameter or buffer, tensor) of
    every other one. symbols: how torch writes the free dimension in shapes (e.g. "s77"; inputs that never
    meet have one each), empty where the batch is fixed at `batch`. batch_dims: of the inputs whose first dimension is not the batch.
    compact: the compact layers by the names of their weights, which `constants` has in shape alone.
    """

    graph: torch.fx.Graph
    inputs: dict[str, str]
    input_shapes: dict[str, tuple[int, ...]]
    constants: dict[str, tuple[str, Tensor]]
    compact: dict[str, CompactLayer]
    output_names: tuple[str, ...]
    symbols: frozenset[str]
    batch: int
    input_types: dict[str, str]
    batch_dims: dict[str, int]
    fixed_because: str | None


def capture(subject: Subject, *, max_batch: int) -> Captured:
    """Export `subject` with a batch of 1 to `max_batch`, or with the example's batch where that is
    impossible."""
    reason = _obstacle(subject, max_batch)
    program: ExportedProgram | None = None
    facade = Facade(subject)
    with evaluating(subject.model), _quiet():
        _run_once(facade, subject)
        if reason is None:
            try:
                program = _export(facade, subject, with_batch(subject, 2), max_batch)
            except ExportError:
                raise
            except Exception as error:
                reason = _first_line(error)
        if program is None:
            try:
                program = _export(facade, subject, subject.inputs, None)
            except ExportError:
                raise
            except Exception as error:
                raise ExportError(
                    f"torch.export cannot capture {type(subject.model).__name__}: {_first_line(error)}. The model's forward "
                    f"must be free of control flow that depends on values, and the modules plain torch ones (no quantized ones)"
                    f"{_unknown_mask(error) or _forgotten_batch(facade, subject)}"
                ) from error
    return _read(program, subject, facade, reason)


def _run_once(facade: Facade, subject: Subject) -> None:
    try:
        facade(*(tensor.clone() for tensor in subject.inputs))
    except ExportError:
        raise
    except Exception as error:
        raise ExportError(
            f"{type(subject.model).__name__} does not run on the example {_shapes(subject.inputs)}: {_first_line(error)}"
            f"{_forgotten_batch(facade, subject) or _advice(error)}"
        ) from error


def _advice(error: Exception) -> str:
    """What to change where torch's own words do not say it: inputs that go into an embedding."""
    said = str(error)
    if isinstance(error, IndexError) and "index out of range in self" in said:
        return "; a number of the example, or a place in the sequence, is beyond the rows of an embedding"
    if "argument #1 'indices' to have one of the following scalar types" in said:
        return "; an embedding takes whole numbers: torch.randint in Python, --input ids=1x16:0..999 on the command line"
    return ""


def _unknown_mask(error: Exception) -> str:
    """Advice where torch's own transformer looks at the numbers of a mask, to see whether it is causal."""
    if "_detect_is_causal_mask" not in "".join(traceback.format_exception(error)):
        return ""
    return (
        "; torch compares the mask with a causal one: say it in the call, tgt_is_causal=True for nn.Transformer and "
        "nn.TransformerDecoder (src_is_causal= and is_causal= for the encoder), or False where the mask is another one"
    )


def _forgotten_batch(facade: Facade, subject: Subject) -> str:
    """Advice where the example looks like a single one (a vector, an image) and the model runs on it with a batch of 1 in front."""
    if any(tensor.dim() not in (1, 3) for tensor in subject.inputs):
        return ""
    batched = tuple(tensor.unsqueeze(0) for tensor in subject.inputs)
    try:
        facade(*(tensor.clone() for tensor in batched))
    except Exception:  # a trial only: the model's first error is the one that is raised
        return ""
    return f"; the batch comes first: {', '.join('x'.join(map(str, tensor.shape)) for tensor in batched)}"


@contextmanager
def _quiet() -> Iterator[None]:
    """Without torch's warnings and log lines: an attempt that fails is told by the error or the report."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def with_batch(subject: Subject, batch: int) -> tuple[Tensor, ...]:
    """The example's first rows, repeated until there are `batch`."""
    return tuple(
        stretched(tensor, subject.batch_dim(name), batch)
        for name, tensor in zip(subject.names, subject.inputs, strict=True)
    )


def with_length(subject: Subject, dims: Mapping[str, int], length: int) -> Subject:
    """The example at another length."""
    inputs = tuple(
        stretched(tensor, dims[name], length) if name in dims else tensor
        for name, tensor in zip(subject.names, subject.inputs, strict=True)
    )
    return replace(subject, inputs=inputs)


def stretched(tensor: Tensor, dim: int, size: int) -> Tensor:
    """The first `size` entries along `dim`, from the beginning again where there are fewer."""
    copies = torch.cat([tensor] * -(-size // tensor.shape[dim]), dim)
    return copies.narrow(dim, 0, size).contiguous()


def _obstacle(subject: Subject, max_batch: int) -> str | None:
    first = {
        tensor.shape[subject.batch_dim(name)]
        for name, tensor in zip(subject.names, subject.inputs, strict=True)
    }
    if len(first) > 1:
        return f"the inputs differ in their first dimension ({_shapes(subject.inputs)})"
    if max_batch == 1 and first == {1}:
        return "max_batch is 1"
    return None


def _export(
    facade: Facade, subject: Subject, inputs: tuple[Tensor, ...], max_batch: int | None
) -> ExportedProgram:
    shapes = None
    if max_batch is not None:
        batch = Dim(BATCH, min=1, max=max(max_batch, 2))
        shapes = (tuple({subject.batch_dim(name): batch} for name in subject.names),)
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with (
            stand_ins(facade),
            redirect_stderr(io.StringIO()),
        ):  # where it fails, torch prints the whole graph
            program: ExportedProgram = export(facade, inputs, dynamic_shapes=shapes)
        functional: ExportedProgram = program.run_decompositions({})
        return functional
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def _read(program: ExportedProgram, subject: Subject, facade: Facade, reason: str | None) -> Captured:
    signature = program.graph_signature
    for output in signature.output_specs:
        if output.kind not in (OutputKind.USER_OUTPUT, OutputKind.USER_INPUT_MUTATION):
            raise ExportError(
                f"the model changes its own state {output.target!r} while it runs; a packed network has no state"
            )
    inputs: dict[str, str] = {}
    constants: dict[str, tuple[str, Tensor]] = {}
    names = iter(subject.names)
    for spec in signature.input_specs:
        placeholder = spec.arg.name
        if spec.kind == InputKind.USER_INPUT:
            inputs[placeholder] = next(names)
        elif spec.kind in (InputKind.PARAMETER, InputKind.BUFFER, InputKind.CONSTANT_TENSOR):
            target = str(spec.target)
            table = program.constants if target in program.constants else program.state_dict
            constants[placeholder] = (target.removeprefix(PREFIX), table[target].detach())
        else:
            raise ExportError(
                f"the model needs {spec.target!r} of kind {spec.kind.name}, which no packed file can hold"
            )
    symbols = {
        str(node.meta["val"].shape[subject.batch_dim(inputs[node.name])])
        for node in program.graph.nodes
        if node.op == "placeholder" and node.name in inputs and reason is None
    }
    assert not any(symbol.isdigit() for symbol in symbols)
    return Captured(
        graph=program.graph,
        inputs=inputs,
        input_shapes={n: tuple(t.shape) for n, t in zip(subject.names, subject.inputs, strict=True)},
        constants=constants,
        compact=compact_layers(subject.model),
        output_names=facade.output_names.last,
        symbols=frozenset(symbols),
        batch=subject.inputs[0].shape[subject.batch_dim(subject.names[0])],
        input_types={
            n: str(t.dtype).removeprefix("torch.") for n, t in zip(subject.names, subject.inputs, strict=True)
        },
        batch_dims=dict(subject.batch_dims),
        fixed_because=reason,
    )


def _shapes(inputs: tuple[Tensor, ...]) -> str:
    return ", ".join(str(list(tensor.shape)) for tensor in inputs)


def _first_line(error: Exception) -> str:
    """The first line that says something, and for a specialized batch the line that says to what."""
    lines = [line.strip(" -") for line in str(error).splitlines() if line.strip()]
    special = next((line for line in lines if "specialized it to be a constant" in line), None)
    if special is not None:
        return special.split(". If you")[0]
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}"
