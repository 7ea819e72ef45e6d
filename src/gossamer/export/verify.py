"""Does the packed file compute what the masked torch model computes?

Both run on the example (batch 1 and 2) and on random inputs of its mean and deviation (batch 1, 2 and the
maximum), with a free length at the smallest, a middle and the largest length. The measure is that of
gossamer.export.agreement.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call

from gossamer import runtime
from gossamer.errors import ExportError, RuntimeFailure
from gossamer.export.agreement import MACS, Comparison
from gossamer.export.capture import PREFIX, Captured, with_batch, with_length
from gossamer.export.length import Length
from gossamer.export.report import Verification
from gossamer.export.subject import Facade, Subject, evaluating
from gossamer.runtime.threads import usable_cpus

MEMORY = 2**31  # bytes of the largest value of one run, four times, at most


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is tried: batches up to the largest, lengths; and the outputs whose batch is not their first dimension in the model."""

    max_batch: int
    length: Length | None = None
    out_batch_dims: Mapping[str, int] = field(default_factory=dict)


def verify(
    candidate: bytes,
    captured: Captured,
    subject: Subject,
    masks: Mapping[str, Tensor],
    plan: Plan,
    *,
    tolerance: float,
    dtype: str,
    seed: int = 0,
) -> tuple[Verification, list[str]]:
    """Compare; ExportError where an error is above `tolerance`. Also remarks for the report."""
    session = runtime.load(candidate, threads=min(torch.get_num_threads(), usable_cpus()))
    macs = sum(int(row["macs_dense"]) for row in session.layers())
    comparison = Comparison()
    generator = torch.Generator().manual_seed(seed)
    batches = _batches(captured, plan.max_batch, macs, session.engine)
    weights = masked_weights(subject, masks)
    for batch, length in _trials(batches, plan.length):
        label = str(batch) if length is None else f"{batch}x{length}"
        at_length = (
            subject
            if plan.length is None or length is None
            else with_length(subject, plan.length.dims, length)
        )
        example = at_length.inputs if not captured.symbols else with_batch(at_length, batch)
        noise = tuple(_random_like(tensor, generator) for tensor in example)
        for inputs in (example, noise) if batch <= 2 or not captured.symbols else (noise,):
            expected = reference(subject, weights, inputs)
            arrays = {
                name: np.ascontiguousarray(tensor.movedim(subject.batch_dim(name), 0).cpu().numpy())
                for name, tensor in zip(subject.names, inputs, strict=True)
            }
            try:
                found = session.run(arrays)
            except RuntimeFailure as failure:
                raise ExportError(f"the packed network does not run at batch {label}: {failure}") from failure
            for name, value in expected.items():
                comparison.add(
                    label, name, found[name], np.moveaxis(value, plan.out_batch_dims.get(name, 0), 0)
                )
    result = comparison.verdict("the model", engine=session.engine, tolerance=tolerance, dtype=dtype)
    remarks = []
    if captured.symbols and plan.max_batch not in batches:
        remarks.append(
            f"verified up to batch {max(batches)}; batch {plan.max_batch} would take too long or too much memory"
        )
    return result, remarks


def _trials(batches: Sequence[int], length: Length | None) -> list[tuple[int, int | None]]:
    """(batch, length): every length with one and two examples, the largest batch at the smallest length."""
    if length is None:
        return [(batch, None) for batch in batches]
    few: list[tuple[int, int | None]] = [(batch, size) for size in length.tried for batch in batches[:2]]
    return few + [(batch, length.min) for batch in batches[2:]]


def masked_weights(subject: Subject, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The parameters that have a mask, with it, by their name in the facade."""
    weights = dict(subject.model.named_parameters(remove_duplicate=False))
    products: dict[int, Tensor] = {}  # tied parameters must stay one tensor
    for name, mask in masks.items():
        weight = weights[name]
        if id(weight) not in products:
            products[id(weight)] = weight.detach() * mask.to(weight.device)
    return {f"{PREFIX}{name}": products[id(weights[name])] for name in masks}


def reference(
    subject: Subject, weights: Mapping[str, Tensor], inputs: Sequence[Tensor]
) -> dict[str, np.ndarray]:
    """Outputs of the torch model in evaluation mode with these weights in place of its own, by output name."""
    facade = Facade(subject)
    with evaluating(subject.model), _full_precision():
        results = functional_call(facade, dict(weights), tuple(tensor.clone() for tensor in inputs))
    return {
        name: result.detach().cpu().to(torch.float32).numpy()
        for name, result in zip(facade.output_names.last, results, strict=True)
    }


@contextmanager
def _full_precision() -> Iterator[None]:
    """float32 arithmetic whatever the process allows: no TF32, no bfloat16 in products."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
            yield
    finally:
        torch.set_float32_matmul_precision(before)


def _batches(captured: Captured, max_batch: int, macs: int, engine: str) -> list[int]:
    """1, 2 and the maximum, or the largest batch below it that neither minutes nor memory forbid."""
    if not captured.symbols:
        return [captured.batch]
    largest = max(1, *(_elements(node) for node in captured.graph.nodes))
    affordable = int(min(MACS[engine] / max(macs, 1), MEMORY / (16 * largest)))
    return sorted({1, min(2, max_batch), min(max_batch, max(2, affordable))})


def _elements(node: torch.fx.Node) -> int:
    """Elements an example of what a captured node makes."""
    value = node.meta.get("val")
    if node.op == "placeholder" or not isinstance(value, Tensor):
        return 0
    return math.prod(int(str(size)) for size in value.shape[1:] if str(size).isdigit())


def _random_like(tensor: Tensor, generator: torch.Generator) -> Tensor:
    """Noise of the example's mean and deviation; whole numbers between its own (flags, which are 0 and 1, as they are)."""
    if not tensor.is_floating_point():
        low, high = int(tensor.min()), int(tensor.max())
        if high <= 1:
            return tensor
        return torch.randint(low, high + 1, tensor.shape, generator=generator).to(tensor.device)
    noise = torch.randn(tensor.shape, generator=generator)
    mean = float(tensor.mean())
    deviation = float(tensor.std()) if tensor.numel() > 1 else 0.0
    return (mean + (deviation or 1.0) * noise).to(tensor.device)
