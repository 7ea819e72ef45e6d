"""Does the packed file compute what the masked torch model computes?

Both run on the example (batch 1 and 2) and on random inputs of its mean and deviation (batch 1, 2 and the
maximum). The measure is max|packed - torch| / max|torch| of each output: one number that neither small
entries nor a large batch can hide.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call

from gossamer import runtime
from gossamer.errors import ExportError, RuntimeFailure
from gossamer.export.capture import PREFIX, Captured, with_batch
from gossamer.export.report import Verification
from gossamer.export.subject import Facade, Subject, evaluating

TOLERANCES = {"float32": 1e-4, "float16": 5e-3}
SLOW_MACS = 2e9  # the reference engine is not asked for more in one run


def verify(
    candidate: bytes,
    captured: Captured,
    subject: Subject,
    masks: Mapping[str, Tensor],
    *,
    max_batch: int,
    tolerance: float,
    seed: int = 0,
) -> Verification:
    """Compare; ExportError where an error is above `tolerance`."""
    session = runtime.load(candidate, threads=torch.get_num_threads())
    macs = sum(int(row["macs_dense"]) for row in session.layers())
    errors: dict[str, float] = {}
    generator = torch.Generator().manual_seed(seed)
    for batch in _batches(captured, max_batch, macs, session.engine):
        example = subject.inputs if not captured.symbols else with_batch(subject.inputs, batch)
        noise = tuple(_random_like(tensor, generator) for tensor in example)
        for inputs in (example, noise) if batch <= 2 or not captured.symbols else (noise,):
            expected = reference(subject, masks, inputs)
            arrays = {n: t.cpu().numpy() for n, t in zip(subject.names, inputs, strict=True)}
            try:
                found = session.run(arrays)
            except RuntimeFailure as failure:
                raise ExportError(f"the packed network does not run at batch {batch}: {failure}") from failure
            error = max(relative_error(found[name], expected[name], name) for name in expected)
            errors[str(batch)] = max(errors.get(str(batch), 0.0), error)
    result = Verification(engine=session.engine, tolerance=tolerance, errors=errors)
    if not result.worst <= tolerance:
        raise ExportError(
            f"the packed network differs from the model: relative error {result.worst:.3g}, expected at most {tolerance:g} "
            f"(by batch: {_table(errors)}). Nothing was written. " + _advice(errors, tolerance)
        )
    return result


def reference(
    subject: Subject, masks: Mapping[str, Tensor], inputs: Sequence[Tensor]
) -> dict[str, np.ndarray]:
    """Outputs of the torch model in evaluation mode, its weights masked, by output name."""
    facade = Facade(subject)
    weights = dict(subject.model.named_parameters(remove_duplicate=False))
    products: dict[int, Tensor] = {}  # tied parameters must stay one tensor
    masked = {
        f"{PREFIX}{name}": products.setdefault(
            id(weights[name]), weights[name].detach() * mask.to(weights[name].device)
        )
        for name, mask in masks.items()
    }
    with evaluating(subject.model), _full_precision():
        results = functional_call(facade, masked, tuple(tensor.clone() for tensor in inputs))
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


def relative_error(found: np.ndarray, expected: np.ndarray, name: str = "output") -> float:
    """max|found - expected| / max|expected|; 0 where both are zero everywhere.

    >>> relative_error(np.array([1.0, 2.1]), np.array([1.0, 2.0]))
    0.050000000000000044
    """
    if found.shape != expected.shape:
        raise ExportError(
            f"{name}: the model gives the shape {list(expected.shape)}, the packed network {list(found.shape)}; where "
            "only a size of 1 is missing the model calls squeeze() without a dimension: write flatten(1)"
        )
    if not np.isfinite(expected).all():
        raise ExportError(
            f"{name}: the model itself gives NaN or infinity on the example; packing cannot be verified"
        )
    difference = np.abs(found.astype(np.float64) - expected.astype(np.float64)).max(initial=0.0)
    scale = np.abs(expected.astype(np.float64)).max(initial=0.0)
    if scale == 0.0:
        return 0.0 if difference == 0.0 else float("inf")
    return float(difference / scale)


def _batches(captured: Captured, max_batch: int, macs: int, engine: str) -> list[int]:
    """1, 2 and the maximum; the reference engine leaves out the maximum where it would take minutes."""
    if not captured.symbols:
        return [captured.batch]
    chosen = sorted({1, min(2, max_batch), max_batch})
    if engine == "reference" and macs * max_batch > SLOW_MACS:
        return [batch for batch in chosen if batch <= 2]
    return chosen


def _random_like(tensor: Tensor, generator: torch.Generator) -> Tensor:
    noise = torch.randn(tensor.shape, generator=generator)
    mean = float(tensor.mean())
    deviation = float(tensor.std()) if tensor.numel() > 1 else 0.0
    return (mean + (deviation or 1.0) * noise).to(tensor.device)


def _table(errors: Mapping[str, float]) -> str:
    return ", ".join(f"{batch}: {error:.2e}" for batch, error in errors.items())


def _advice(errors: Mapping[str, float], tolerance: float) -> str:
    if max(errors.values()) > 100 * max(min(errors.values()), 1e-7):
        return (
            "The model computes something else at another batch (a branch on the batch's size?): pack with max_batch=1, "
            "or with an example of the batch that you need after fixing it in the model."
        )
    if tolerance > TOLERANCES["float32"]:
        return 'If the weights need more precision, pack with dtype="float32"; otherwise pass tolerance= knowingly.'
    return "Please report this model: packed and torch outputs should agree."
