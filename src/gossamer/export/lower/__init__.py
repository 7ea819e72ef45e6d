"""Lowering: every captured operation becomes nodes of the packed network, one file a family of operators.

The walk keeps values that depend on the input (`Ref`) apart from constants (`Const`: parameters, buffers,
and whatever is computed from them and from sizes alone, which is evaluated here, with a batch of two).
An unsupported operation is noted and replaced by a value of the right shape, so that one error lists all of
them.
"""

import difflib
import operator
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from gossamer.errors import ExportError
from gossamer.export.capture import Captured
from gossamer.export.compact import kept_weight
from gossamer.export.draft import Const, Draft, Unsupported
from gossamer.export.fuse import fuse
from gossamer.export.layout import Many, Ref, Shape, Size, moved
from gossamer.export.lower import (
    activation,
    arithmetic,
    attention,
    convolution,
    embedding,
    indexing,
    matrix,
    norm,
    padding,
    pooling,
    recurrent,
    reduction,
    resize,
    select,
    shape,
    transposed,
)
from gossamer.export.lower.call import Call, Lowering
from gossamer.export.source import is_leaf_module, module_of, source_of
from gossamer.export.subject import plain_name

FAMILIES: Mapping[str, Mapping[str, Lowering]] = {
    "shape": shape.LOWERINGS,
    "convolution": convolution.LOWERINGS,
    "transposed": transposed.LOWERINGS,
    "matrix": matrix.LOWERINGS,
    "attention": attention.LOWERINGS,
    "recurrent": recurrent.LOWERINGS,
    "embedding": embedding.LOWERINGS,
    "norm": norm.LOWERINGS,
    "activation": activation.LOWERINGS,
    "pooling": pooling.LOWERINGS,
    "resize": resize.LOWERINGS,
    "reduction": reduction.LOWERINGS,
    "arithmetic": arithmetic.LOWERINGS,
    "select": select.LOWERINGS,
    "indexing": indexing.LOWERINGS,
    "padding": padding.LOWERINGS,
}
LOWERINGS: Mapping[str, Lowering] = {
    op: lowering for table in FAMILIES.values() for op, lowering in table.items()
}
SIZED = frozenset(
    {
        "aten.zeros_like", "aten.ones_like", "aten.full_like", "aten.new_zeros", "aten.new_ones", "aten.new_full", "aten.fill",
        "aten.new_empty", "aten.empty_like",
    }
)  # fmt: skip
"""Operations that take from a value nothing but its size and type."""
_REPEATING = frozenset({"aten.permute", "aten.transpose", "aten.expand", "aten.unsqueeze"}) | set(
    arithmetic.LOWERINGS
)
_NEAREST = "a form made of the operations in docs/reference/operators.md"
_HIGHER_ORDER = {
    "wrap_with_autocast": "no torch.autocast inside of forward; packing computes in float32",
    "cond": "one branch; forward must not depend on values",
    "while_loop": "a loop whose length does not depend on values",
}


def lower(captured: Captured, masks: Mapping[str, Tensor], length: int | None = None) -> Draft:
    """The draft of a captured program; masks: by the parameter's full name, True = kept, absent = all
    kept. length: the size that another capture has in another way."""
    draft = _Walk(captured, masks, Draft(length)).run()
    fuse(draft)
    return draft


class _Walk:
    def __init__(self, captured: Captured, masks: Mapping[str, Tensor], draft: Draft) -> None:
        self.captured = captured
        self.masks = masks
        self.draft = draft
        self.env: dict[torch.fx.Node, object] = {}
        self.issues: dict[tuple[str, str], Unsupported] = {}

    def run(self) -> Draft:
        live = _needed(self.captured.graph)
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
            sizes = self._shape(node.meta["val"])
            batch = self.captured.batch_dims.get(name, 0)
            order = [batch, *(place for place in range(len(sizes)) if place != batch)]
            lying = self.draft.add_input(name, tuple(sizes[place] for place in order))
            self.env[node] = moved(lying, [order.index(place) for place in range(len(order))])
        elif node.name in self.captured.constants:
            name, tensor = self.captured.constants[node.name]
            layer = self.captured.compact.get(name)
            if layer is not None:
                weight = kept_weight(plain_name(name), layer)
                self.env[node] = Const(
                    tensor=tensor, shape=tuple(tensor.shape), parameter=weight.name, compact=weight
                )
                return
            mask = self.masks.get(name)
            kept = tensor if mask is None else tensor * mask.to(tensor.device)
            self.env[node] = Const(
                tensor=kept, shape=tuple(kept.shape), parameter=plain_name(name), mask=mask
            )

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
                self.draft.outputs.append((name, self._settled(found)))
                if found.batch_dim:
                    self.draft.batch_dims[name] = found.batch_dim
            except Unsupported as error:
                self._issue(node, f"output {name!r}", error)

    def _settled(self, ref: Ref) -> str:
        """The output with its batch in front and the other dimensions in their order."""
        ref = self.draft.real(ref)
        value, shape, _ = self.draft.lead(ref)
        if len(shape) != len(ref.dims):
            raise Unsupported(
                f"a result of shape [{', '.join(map(str, ref.shape))}] whose batch is joined with other sizes",
                "results that have the batch as a dimension of its own",
            )
        return value

    def _operation(self, node: torch.fx.Node) -> None:
        op = _operation_name(node)
        try:
            if node.target is operator.getitem:
                self.env[node] = self._item(node)
                return
            values = list(_flat([*node.args, *node.kwargs.values()]))
            found = [self.env.get(value) for value in values if _tensors(value)]
            if op in SIZED or not any(isinstance(entry, Ref) for entry in found):
                self.env[node] = self._constant(node, op)
                return
            self.env[node] = self._lowered(node, op)
        except Unsupported as error:
            self._issue(node, op, error)
            stand_ins = tuple(
                self.draft.add_stand_in(f"?{node.name}.{i}", s) for i, s in enumerate(self._shapes(node))
            )
            self.env[node] = stand_ins if isinstance(node.meta["val"], list | tuple) else stand_ins[0]

    def _call(self, node: torch.fx.Node, op: str) -> Call:
        schema = getattr(node.target, "_schema", None)
        if schema is None:
            raise Unsupported(op.removeprefix("aten."), _nearest(op))
        arguments = {a.name: a.default_value for a in schema.arguments if a.has_default_value()}
        for argument, value in zip(schema.arguments, node.args, strict=False):
            arguments[argument.name] = self._resolve(value, op)
        arguments.update({key: self._resolve(value, op) for key, value in node.kwargs.items()})
        path = module_of(node)
        kind = op.removeprefix("aten.").lstrip("_")
        self.draft.current = path if is_leaf_module(node) else f"{path}.{kind}" if path else kind
        return Call(
            op=op, node=node, arguments=arguments, out_shapes=self._shapes(node), name=self.draft.current
        )

    def _lowered(self, node: torch.fx.Node, op: str) -> object:
        if op not in LOWERINGS:
            raise Unsupported(op.removeprefix("aten."), _nearest(op))
        return LOWERINGS[op](self._call(node, op), self.draft)

    def _item(self, node: torch.fx.Node) -> object:
        source, index = node.args
        assert isinstance(source, torch.fx.Node)
        assert isinstance(index, int)
        entry = self.env[source]
        found = entry[index] if isinstance(entry, tuple) and index < len(entry) else None
        if found is None:
            raise Unsupported(f"result {index} of {source.target}", "the first result (no indices)")
        return found

    def _constant(self, node: torch.fx.Node, op: str) -> object:
        """Evaluate an operation of constants and sizes. What is computed from a masked weight keeps its zeros as its
        mask."""
        entries = [self.env.get(value) for value in _flat([*node.args, *node.kwargs.values()])]
        constants = [entry for entry in entries if isinstance(entry, Const)]
        if len(constants) == 1 and op in (*shape.IDENTITIES, *shape.PERMUTED):
            carried = shape.carry(op, constants[0], self._call(node, op))
            if carried is not None:
                return carried
        args = [self._concrete(value) for value in node.args]
        kwargs = {key: self._concrete(value) for key, value in node.kwargs.items()}
        assert callable(node.target)
        with torch.no_grad():
            result = node.target(*args, **kwargs)
            chance = torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ())
            if chance and not _alike(result, node.target(*args, **kwargs)):
                raise Unsupported(f"{op.removeprefix('aten.')} (random)", "values from the input")
        masked = any(constant.mask is not None for constant in constants)
        parts = [result] if isinstance(result, Tensor) else list(result)
        made = tuple(
            Const(tensor=part, shape=size, mask=part != 0 if masked else None)
            for part, size in zip(parts, self._shapes(node), strict=True)
        )
        return made[0] if isinstance(result, Tensor) else made

    def _issue(self, node: torch.fx.Node, op: str, error: Unsupported) -> None:
        blamed = error.node or node
        label = op if error.node is None or op.startswith("output") else _operation_name(blamed)
        self.issues.setdefault((label, source_of(blamed)), error)

    def _resolve(self, value: object, op: str) -> object:
        """An argument as the lowering functions read it."""
        if isinstance(value, torch.fx.Node):
            entry = self.env.get(value)
            if isinstance(entry, Ref) and entry.repeats and op not in _REPEATING:
                return self.draft.real(entry)
            return self._number(value) if entry is None else entry
        if isinstance(value, list | tuple):
            return [self._resolve(item, op) for item in value]
        return value

    def _number(self, node: torch.fx.Node) -> object:
        """A number computed from sizes: an integer, a multiple of the batch, or the node itself."""
        value = node.meta.get("val")
        if isinstance(value, int | float):
            return value
        if isinstance(value, torch.SymInt):
            try:
                return self._size(value)
            except Unsupported:
                return node
        return node

    def _concrete(self, value: object) -> object:
        """An argument for torch's own function, with a batch of two."""
        if isinstance(value, torch.fx.Node):
            entry = self.env.get(value)
            if isinstance(entry, Const):
                return entry.tensor.contiguous()
            if isinstance(entry, Ref):  # of an operation that reads its size alone
                like = value.meta["val"]
                return torch.zeros([int(_two(size)) for size in like.shape], dtype=like.dtype)
            found = value.meta.get("val")
            if isinstance(found, int | float | bool):
                return found
            if isinstance(found, torch.SymInt | torch.SymFloat | torch.SymBool):
                return _two(found)
            raise Unsupported(f"a result of {value.target}", "tensors that are computed from the input")
        if isinstance(value, list | tuple):
            return [self._concrete(item) for item in value]
        return value

    def _shapes(self, node: torch.fx.Node) -> tuple[Shape, ...]:
        return tuple(self._shape(tensor) for tensor in _tensors(node))

    def _shape(self, tensor: Tensor) -> Shape:
        return tuple(self._size(size) for size in tensor.shape)

    def _size(self, size: int | torch.SymInt) -> Size:
        if isinstance(size, int):
            return size
        expression = size.node.expr
        if not expression.free_symbols:
            return int(expression)
        names = [symbol for symbol in expression.free_symbols if str(symbol) in self.captured.symbols]
        if names:  # inputs that never meet have a symbol each
            expression = expression.xreplace(dict.fromkeys(names, names[0]))
        if expression.is_Integer:
            return int(expression)
        factor = expression / names[0] if names else expression
        if factor.free_symbols or not factor.is_Integer:
            raise Unsupported(f"a size {size} of the batch n", "sizes that are multiples of the batch")
        return Many(int(factor))


def _alike(first: object, second: object) -> bool:
    """Two results of one operation are the same: it draws nothing by chance."""
    if isinstance(first, Tensor):
        return isinstance(second, Tensor) and torch.equal(first, second)
    assert isinstance(first, list | tuple)
    assert isinstance(second, list | tuple)
    return all(_alike(one, two) for one, two in zip(first, second, strict=True))


def _two(size: int | torch.SymInt | torch.SymFloat | torch.SymBool) -> int | float:
    """What a number computed from sizes is with a batch of two."""
    if isinstance(size, int | float):
        return size
    expression = size.node.expr
    found = expression.xreplace(dict.fromkeys(expression.free_symbols, 2))
    return int(found) if isinstance(size, torch.SymInt | torch.SymBool) else float(found)


def _needed(graph: torch.fx.Graph) -> set[torch.fx.Node]:
    """Nodes that the outputs need."""
    live: set[torch.fx.Node] = set()
    for node in reversed(graph.nodes):
        if node.op == "output" or node in live:
            live.add(node)
            live.update(node.all_input_nodes)
    return live


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
    """aten.relu for torch.ops.aten.relu.default."""
    if isinstance(node.target, torch._ops.OpOverload):
        return str(node.target).rpartition(".")[0]
    return str(getattr(node.target, "__name__", node.target))


def _nearest(op: str) -> str:
    if op in _HIGHER_ORDER:
        return _HIGHER_ORDER[op]
    known = [name.removeprefix("aten.") for name in LOWERINGS]
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
