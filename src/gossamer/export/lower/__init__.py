"""Lowering: every captured operation becomes nodes of the packed network, one file a family of operators.

The walk keeps values that depend on the input (`Ref`) apart from constants (`Const`: parameters, buffers,
and whatever is computed from them alone, which is evaluated here); numbers computed from sizes are neither.
An unsupported operation is noted and replaced by a value of the right shape, so that one error lists all of
them. In-place operations are the plain ones, after which every alias of the value stands for the result.
"""

import difflib
import operator
from collections.abc import Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from gossamer.errors import ExportError
from gossamer.export.capture import BATCH, Captured
from gossamer.export.draft import Const, Draft, Ref, Shape, Size, Unsupported
from gossamer.export.lower import activation, arithmetic, convolution, elide, linear, merge, norm, pooling
from gossamer.export.lower.call import Call, Lowering
from gossamer.export.lower.live import needed
from gossamer.export.source import is_leaf_module, module_of, source_of
from gossamer.export.subject import plain_name

LOWERINGS: Mapping[str, Lowering] = {
    **elide.ELIDED,
    **convolution.LOWERINGS,
    **linear.LOWERINGS,
    **norm.LOWERINGS,
    **activation.LOWERINGS,
    **pooling.LOWERINGS,
    **arithmetic.LOWERINGS,
    **merge.LOWERINGS,
}
_NEAREST = "a form made of the operations in docs/formats/operators.md"
_HIGHER_ORDER = {
    "wrap_with_autocast": "no torch.autocast inside of forward; packing computes in float32",
    "cond": "one branch; forward must not depend on values",
    "while_loop": "a loop whose length does not depend on values",
}


def lower(captured: Captured, masks: Mapping[str, Tensor]) -> Draft:
    """The draft of a captured program; masks: by the parameter's full name, True = kept, absent = all
    kept."""
    return _Walk(captured, masks).run()


class _Walk:
    def __init__(self, captured: Captured, masks: Mapping[str, Tensor]) -> None:
        self.captured = captured
        self.masks = masks
        self.draft = Draft()
        self.env: dict[torch.fx.Node, object] = {}
        self.issues: dict[tuple[str, str], Unsupported] = {}

    def run(self) -> Draft:
        live = needed(self.captured.graph)
        for node in self.captured.graph.nodes:
            if node.op == "placeholder":
                self._placeholder(node)
            elif node.op == "output":
                self._output(node)
            elif node in live and _tensors(node):
                self._operation(node)
        if self.issues:
            raise ExportError(_report(self.issues))
        return self.draft

    def _placeholder(self, node: torch.fx.Node) -> None:
        if node.name in self.captured.inputs:
            name = self.captured.inputs[node.name]
            self.env[node] = self.draft.add_input(name, self._shape(node.meta["val"]))
        elif node.name in self.captured.constants:
            name, tensor = self.captured.constants[node.name]
            mask = self.masks.get(name)
            kept = tensor if mask is None else tensor * mask.to(tensor.device)
            self.env[node] = Const(tensor=kept, parameter=plain_name(name), mask=mask)

    def _output(self, node: torch.fx.Node) -> None:
        results = node.args[0]
        assert isinstance(results, list | tuple)
        results = results[len(results) - len(self.captured.output_names) :]
        for name, result in zip(self.captured.output_names, results, strict=True):
            found = self.env.get(result) if isinstance(result, torch.fx.Node) else None
            try:
                if not isinstance(found, Ref):
                    raise Unsupported(
                        "an output that does not depend on the input", "leave it out of the result"
                    )
                self.draft.outputs.append((name, self.draft.settle(found)))
            except Unsupported as error:
                self._issue(node, f"output {name!r}", error)

    def _operation(self, node: torch.fx.Node) -> None:
        op = _operation_name(node)
        try:
            if node.target is operator.getitem:
                self.env[node] = self._item(node)
                return
            values = list(_flat([*node.args, *node.kwargs.values()]))
            found = [self.env.get(value) for value in values]
            if not any(isinstance(entry, Ref) for entry in found):
                self.env[node] = self._constant(node, op, values)
                return
            in_place = op.endswith("_") and not op.endswith("__")
            self.env[node] = self._lowered(node, op.removesuffix("_") if in_place else op)
            if in_place:
                self._rebind(node)
        except Unsupported as error:
            self._issue(node, op, error)
            stand_ins = tuple(
                self.draft.add_stand_in(f"?{node.name}.{i}", s) for i, s in enumerate(self._shapes(node))
            )
            self.env[node] = stand_ins if isinstance(node.meta["val"], list | tuple) else stand_ins[0]

    def _lowered(self, node: torch.fx.Node, op: str) -> object:
        schema = getattr(node.target, "_schema", None)
        if op not in LOWERINGS or schema is None:
            raise Unsupported(op.removeprefix("aten."), _nearest(op))
        arguments = {a.name: a.default_value for a in schema.arguments if a.has_default_value()}
        for argument, value in zip(schema.arguments, node.args, strict=False):
            arguments[argument.name] = self._resolve(value)
        arguments.update({key: self._resolve(value) for key, value in node.kwargs.items()})
        path = module_of(node)
        kind = op.removeprefix("aten.").lstrip("_")
        self.draft.current = path if is_leaf_module(node) else f"{path}.{kind}" if path else kind
        call = Call(
            op=op, node=node, arguments=arguments, out_shapes=self._shapes(node), name=self.draft.current
        )
        return LOWERINGS[op](call, self.draft)

    def _item(self, node: torch.fx.Node) -> object:
        source, index = node.args
        assert isinstance(source, torch.fx.Node)
        assert isinstance(index, int)
        entry = self.env[source]
        found = entry[index] if isinstance(entry, tuple) else None
        if found is None:
            raise Unsupported(f"result {index} of {source.target}", "the first result (no indices)")
        return found

    def _constant(self, node: torch.fx.Node, op: str, values: list[torch.fx.Node]) -> object:
        """Evaluate an operation of constants. What is computed from a masked weight keeps its zeros as its
        mask."""
        if any(not isinstance(self.env.get(value), Const) for value in values):
            raise Unsupported(
                "a tensor whose size depends on the batch", "tensors that are computed from the input"
            )
        if torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ()) or op.endswith("_"):
            raise Unsupported(
                f"{op.removeprefix('aten.')} (random, or a change of state)", "values from the input"
            )
        constants = [entry for value in values if isinstance(entry := self.env[value], Const)]
        if len(constants) == 1:
            schema = getattr(node.target, "_schema", None)
            names = [argument.name for argument in schema.arguments] if schema is not None else []
            carried = elide.carry(op, constants[0], dict(zip(names, node.args, strict=False)))
            if carried is not None:
                return carried
        args = [self._tensors_of(value) for value in node.args]
        kwargs = {key: self._tensors_of(value) for key, value in node.kwargs.items()}
        assert callable(node.target)
        with torch.no_grad():
            result = node.target(*args, **kwargs)
        masked = any(constant.mask is not None for constant in constants)
        if isinstance(result, Tensor):
            return Const(tensor=result, mask=result != 0 if masked else None)
        return tuple(Const(tensor=part, mask=part != 0 if masked else None) for part in result)

    def _rebind(self, node: torch.fx.Node) -> None:
        target, result = node.args[0], self.env[node]
        assert isinstance(target, torch.fx.Node)
        changed = self.env[target]
        assert isinstance(result, Ref)
        if not isinstance(changed, Ref):
            raise Unsupported("an in-place change of a constant", "the same operation, not in place")
        slices = any(isinstance(e, Ref) and e.part_of == changed.storage for e in _entries(self.env))
        if changed.part_of is not None or slices:
            raise Unsupported(
                "an in-place operation on a slice, or on a value with slices",
                "the same operation, not in place",
            )
        for other, entry in self.env.items():
            if isinstance(entry, Ref) and entry.storage == changed.storage:
                self.env[other] = replace(entry, value=result.value, padding=result.padding)
        self.env[node] = replace(result, storage=changed.storage)

    def _issue(self, node: torch.fx.Node, op: str, error: Unsupported) -> None:
        blamed = error.node or node
        label = op if error.node is None or op.startswith("output") else _operation_name(blamed)
        self.issues.setdefault((label, source_of(blamed)), error)

    def _resolve(self, value: object) -> object:
        if isinstance(value, torch.fx.Node):
            return self.env.get(value, value)
        if isinstance(value, list | tuple):
            return [self._resolve(item) for item in value]
        return value

    def _tensors_of(self, value: object) -> object:
        if isinstance(value, torch.fx.Node):
            entry = self.env[value]
            assert isinstance(entry, Const)
            return entry.tensor
        if isinstance(value, list | tuple):
            return [self._tensors_of(item) for item in value]
        return value

    def _shapes(self, node: torch.fx.Node) -> tuple[Shape, ...]:
        return tuple(self._shape(tensor) for tensor in _tensors(node))

    def _shape(self, tensor: Tensor) -> Shape:
        return tuple(self._size(size) for size in tensor.shape)

    def _size(self, size: int | torch.SymInt) -> Size:
        text = str(size)
        if text in self.captured.symbols:
            return BATCH
        return int(text) if text.isdigit() else text


def _entries(env: Mapping[torch.fx.Node, object]) -> Iterator[object]:
    for entry in env.values():
        yield from entry if isinstance(entry, tuple) else (entry,)


def _tensors(node: torch.fx.Node) -> list[Tensor]:
    value = node.meta.get("val")
    parts = value if isinstance(value, list | tuple) else [value]
    return [part for part in parts if isinstance(part, Tensor)]


def _flat(value: object) -> Iterator[torch.fx.Node]:
    if isinstance(value, torch.fx.Node):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _flat(item)


def _operation_name(node: torch.fx.Node) -> str:
    """aten.relu_ for torch.ops.aten.relu_.default."""
    if isinstance(node.target, torch._ops.OpOverload):
        return str(node.target).rpartition(".")[0]
    return str(getattr(node.target, "__name__", node.target))


def _nearest(op: str) -> str:
    if op in _HIGHER_ORDER:
        return _HIGHER_ORDER[op]
    known = [name.removeprefix("aten.") for name in LOWERINGS if name not in elide.ELIDED]
    close = difflib.get_close_matches(op.removeprefix("aten."), known, n=1, cutoff=0.85)
    return f"{close[0]}, or {_NEAREST}" if close else _NEAREST


def _report(issues: Mapping[tuple[str, str], Unsupported]) -> str:
    count = "an operation" if len(issues) == 1 else f"{len(issues)} operations"
    lines = [f"the model uses {count} that the runtime lacks:"]
    for (op, source), error in issues.items():
        name = op.removeprefix("aten.")
        title = name if error.reason == name else f"{name}: {error.reason}"
        lines.append(f"  {title}\n    at {source}\n    nearest supported form: {error.nearest}")
    return "\n".join(lines)
