"""A packed network as a PyTorch module with dense float32 weights: what a user of eager PyTorch would run
(batch norms folded)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from gossamer.bench.subject import DenseNetwork, attributes_of
from gossamer.bench.torch_version_2 import RUN as RUN_VERSION_2
from gossamer.errors import RuntimeFailure
from gossamer.graph import Node


class TorchModel(torch.nn.Module):
    """Executes the nodes of a network in order with torch.nn.functional; returns the outputs in the
    network's order."""

    def __init__(self, dense: DenseNetwork, memory_format: torch.memory_format) -> None:
        super().__init__()
        self._network = dense.network
        self._names: dict[tuple[str, str], str] = {}
        for node in dense.network.nodes:
            for role, name in node.weights.items():
                if node.op == "conv2d" and role == "weight":
                    weight = torch.from_numpy(dense.conv_weight(name, tuple(attributes_of(node)["kernel"])))
                    weight = weight.contiguous(memory_format=memory_format)
                else:
                    weight = torch.from_numpy(dense.weights[name])
                buffer = f"weight_{len(self._names)}"
                self._names[node.name, role] = buffer
                self.register_buffer(buffer, weight)

        self._lengths = {name: dim.max for name, dim in dense.network.dims.items()}
        unknown = [
            node for node in dense.network.nodes if node.op not in _RUN and node.op not in RUN_VERSION_2
        ]
        if unknown:
            raise RuntimeFailure(
                f"node {unknown[0].name!r}: the operator {unknown[0].op} has no dense twin in torch yet"
            )

    def forward(self, *inputs: Tensor) -> list[Tensor]:
        """Inputs in the network's order, float32, or int64 where the network takes whole numbers."""
        values = dict(zip((value.name for value in self._network.inputs), inputs, strict=True))
        for node in self._network.nodes:
            given = [values[name] for name in node.inputs]
            if node.op in _RUN:
                values[node.outputs[0]] = _RUN[node.op](self, node, [_real(x) for x in given])
                continue
            if node.op != "embedding":
                given = [_real(x) for x in given]
            weights = {role: self._buffers[self._names[node.name, role]] for role in node.weights}
            found = RUN_VERSION_2[node.op](node.attributes, given, weights)  # type: ignore[arg-type]
            values.update(zip(node.outputs, found if isinstance(found, list) else [found], strict=False))
        return [values[output.value] for output in self._network.outputs]

    def shape(self, sizes: Sequence[int | str]) -> list[int]:
        """A `shape` attribute with the length at its largest."""
        return [self._lengths[size] if isinstance(size, str) else size for size in sizes]

    def weight(self, node: Node, role: str) -> Tensor | None:
        """The weight of a role, None where the node has none."""
        buffer = self._names.get((node.name, role))
        return None if buffer is None else self._buffers[buffer]


_Run = Callable[[TorchModel, Node, list[Tensor]], Tensor]


def _padded(x: Tensor, padding: list[int], value: float = 0.0) -> tuple[Tensor, tuple[int, int]]:
    """Symmetric padding is left to the operator; anything else is written out."""
    top, left, bottom, right = padding
    if top == bottom and left == right:
        return x, (top, left)
    return F.pad(x, (left, right, top, bottom), value=value), (0, 0)


def _conv2d(model: TorchModel, node: Node, inputs: list[Tensor]) -> Tensor:
    attributes = attributes_of(node)
    x, padding = _padded(inputs[0], attributes["padding"])
    weight = model.weight(node, "weight")
    assert weight is not None
    return F.conv2d(
        x,
        weight,
        model.weight(node, "bias"),
        attributes["stride"],
        padding,
        attributes["dilation"],
        attributes["groups"],
    )


def _linear(model: TorchModel, node: Node, inputs: list[Tensor]) -> Tensor:
    weight = model.weight(node, "weight")
    assert weight is not None
    return F.linear(inputs[0], weight, model.weight(node, "bias"))


def _channel_affine(model: TorchModel, node: Node, inputs: list[Tensor]) -> Tensor:
    scale, shift = model.weight(node, "scale"), model.weight(node, "shift")
    assert scale is not None
    assert shift is not None
    shape = (-1, *([1] * (inputs[0].ndim - 2)))
    return inputs[0] * scale.view(shape) + shift.view(shape)


def _layer_norm(model: TorchModel, node: Node, inputs: list[Tensor]) -> Tensor:
    shape = inputs[0].shape[-attributes_of(node)["axes"] :]
    weight, bias = model.weight(node, "weight"), model.weight(node, "bias")
    return F.layer_norm(
        inputs[0],
        shape,
        None if weight is None else weight.view(shape),
        None if bias is None else bias.view(shape),
        attributes_of(node)["epsilon"],
    )


def _max_pool2d(_: TorchModel, node: Node, inputs: list[Tensor]) -> Tensor:
    attributes = attributes_of(node)
    x, padding = _padded(inputs[0], attributes["padding"], value=float("-inf"))
    return F.max_pool2d(x, attributes["kernel"], attributes["stride"], padding, attributes["dilation"])


def _avg_pool2d(model: TorchModel, node: Node, inputs: list[Tensor]) -> Tensor:
    del model
    attributes = attributes_of(node)
    if attributes["count_include_pad"]:
        x, padding = _padded(inputs[0], attributes["padding"])
        return F.avg_pool2d(x, attributes["kernel"], attributes["stride"], padding)
    x, padding = _padded(inputs[0], attributes["padding"])
    if x is inputs[0]:
        return F.avg_pool2d(x, attributes["kernel"], attributes["stride"], padding, count_include_pad=False)
    inside = _padded(torch.ones_like(inputs[0][:1, :1]), attributes["padding"])[0]
    window = (attributes["kernel"], attributes["stride"])
    return F.avg_pool2d(x, *window) / F.avg_pool2d(inside, *window)


def _real(x: Tensor) -> Tensor:
    return x if x.is_floating_point() else x.float()


def _constant(model: TorchModel, node: Node, inputs: list[Tensor]) -> Tensor:
    shape, value = model.shape(attributes_of(node)["shape"]), model.weight(node, "value")
    assert value is not None
    return value.float().reshape(1, *shape).expand(inputs[0].shape[0], *shape)


_RUN: dict[str, _Run] = {
    "reshape": lambda model, node, inputs: inputs[0].reshape(
        inputs[0].shape[0], *model.shape(attributes_of(node)["shape"])
    ),
    "expand": lambda model, node, inputs: inputs[0].expand(
        inputs[0].shape[0], *model.shape(attributes_of(node)["shape"])
    ),
    "constant": _constant,
    "conv2d": _conv2d,
    "linear": _linear,
    "channel_affine": _channel_affine,
    "layer_norm": _layer_norm,
    "relu": lambda _, __, inputs: F.relu(inputs[0]),
    "relu6": lambda _, __, inputs: F.relu6(inputs[0]),
    "silu": lambda _, __, inputs: F.silu(inputs[0]),
    "sigmoid": lambda _, __, inputs: torch.sigmoid(inputs[0]),
    "gelu": lambda _, node, inputs: F.gelu(inputs[0], approximate=attributes_of(node)["approximate"]),
    "softmax": lambda _, node, inputs: F.softmax(inputs[0], dim=attributes_of(node)["axis"]),
    "add": lambda _, __, inputs: inputs[0] + inputs[1],
    "concat": lambda _, node, inputs: torch.cat(inputs, dim=attributes_of(node)["axis"]),
    "max_pool2d": _max_pool2d,
    "avg_pool2d": _avg_pool2d,
    "adaptive_avg_pool2d": lambda _, node, inputs: F.adaptive_avg_pool2d(
        inputs[0], attributes_of(node)["output"]
    ),
    "flatten": lambda _, node, inputs: torch.flatten(inputs[0], attributes_of(node)["start"]),
}
