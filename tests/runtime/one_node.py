"""One node through shape rules, file and NumPy executor, for comparison with torch."""

import numpy as np
import torch
from torch import Tensor

from gossamer.formats import pack, packed_file
from gossamer.graph import OPERATORS, FreeDim, Input, Manifest, Network, Node, Output, validate
from gossamer.runtime.reference import ReferenceExecutor


def run_all(
    op: str, inputs: list[Tensor], weights: dict[str, Tensor] | None = None, **attributes: object
) -> list[Tensor]:
    """All outputs of one node; the inferred shapes must be those of the results, and the network must survive a file."""
    names = tuple(f"x{index}" for index in range(len(inputs)))
    results = tuple(f"y{index}" for index in range(1 + len(OPERATORS[op].more)))
    stored = {
        role: pack(value.numpy(), None, format="dense", dtype="float32")
        for role, value in (weights or {}).items()
    }
    network = Network(
        name="one",
        dims={"n": FreeDim(min=1, max=9)},
        inputs=tuple(Input(name=n, shape=("n", *x.shape[1:])) for n, x in zip(names, inputs, strict=True)),
        outputs=tuple(Output(name=name, value=name) for name in results),
        nodes=(
            Node(
                op=op,
                name=op,
                inputs=names,
                outputs=results,
                attributes=attributes,  # type: ignore[arg-type]
                weights={role: role for role in stored},
            ),
        ),
    )
    read = packed_file.read(packed_file.to_bytes(Manifest(network=network), stored))
    assert read.manifest.network == network
    shapes = validate(network, stored)
    assert shapes.version == read.version
    arrays = {name: value.numpy() for name, value in zip(names, inputs, strict=True)}
    outputs = ReferenceExecutor(network, stored).run(arrays)
    for name in results:
        assert outputs[name].dtype == np.float32
        batch = inputs[0].shape[0]
        assert outputs[name].shape == (batch, *shapes.at_min[name][1:]) == (batch, *shapes.at_max[name][1:])
    return [torch.from_numpy(outputs[name]) for name in results]


def run(
    op: str, inputs: list[Tensor], weights: dict[str, Tensor] | None = None, **attributes: object
) -> Tensor:
    """The only output of one node."""
    (result,) = run_all(op, inputs, weights, **attributes)
    return result


def randn(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected.to(found.dtype), rtol=1e-5, atol=1e-5, equal_nan=True)
