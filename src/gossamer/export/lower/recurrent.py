"""LSTM, GRU and plain recurrent layers: one node a layer and direction. A plain layer is a GRU whose gates are shut: r = 1, z = 0."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from gossamer.export.draft import Const, Draft, Unsupported
from gossamer.export.layout import Ref, Shape, seen
from gossamer.export.lower.activation import unary
from gossamer.export.lower.arithmetic import plus
from gossamer.export.lower.call import Call, Lowering, matrix_weight, operand, to_array
from gossamer.export.lower.matrix import with_matrix
from gossamer.export.lower.pairwise import elementwise
from gossamer.export.lower.select import join, take
from gossamer.export.weight import Weight, sibling
from gossamer.graph.strict_json import Json

OPEN, SHUT = 40.0, -88.0  # sigmoid of these is 1 and (nearly) 0 in float32


def lstm(call: Call, draft: Draft) -> tuple[Ref | None, ...]:
    """y, h_n, c_n of nn.LSTM."""
    return _stack(call, draft, "lstm")


def gru(call: Call, draft: Draft) -> tuple[Ref | None, ...]:
    """y, h_n of nn.GRU."""
    return _stack(call, draft, "gru")


def rnn(call: Call, draft: Draft) -> tuple[Ref | None, ...]:
    """y, h_n of nn.RNN with tanh."""
    return _stack(call, draft, "rnn")


def refuse(call: Call, draft: Draft) -> Ref:
    """Recurrent layers of other kinds."""
    raise Unsupported(call.op.removeprefix("aten."), "nn.LSTM, nn.GRU, or nn.RNN with tanh")


def _stack(call: Call, draft: Draft, kind: str) -> tuple[Ref | None, ...]:
    if not isinstance(call.get("batch_first"), bool):
        raise Unsupported("a packed sequence", "padded sequences [N, T, I]")
    x, params = call.ref(), call.get("params")
    assert isinstance(params, list | tuple)
    if len(x.dims) != 3:
        raise Unsupported("a recurrent layer without a batch", "[N, T, I]")
    hidden = call.get("hx")
    states = list(hidden) if isinstance(hidden, list | tuple) else [hidden]
    biased, layers = call.get("has_biases") is True, call.integer("num_layers", 1)
    ways = 2 if call.get("bidirectional") is True else 1
    each = len(params) // (layers * ways)
    if each != (4 if biased else 2):
        raise Unsupported("an LSTM with a projection", "nn.LSTM without proj_size")
    first = call.get("batch_first") is True
    if not first:
        x = replace(x, dims=(x.dims[1], x.dims[0], x.dims[2]))
    last: list[list[Ref]] = []
    for layer in range(layers):
        outs: list[Ref] = []
        for way in range(ways):
            number = layer * ways + way
            own = params[number * each : (number + 1) * each]
            start = [_state(draft, state, number) for state in states]
            y, *ends = layer_of(call, draft, kind, x, own, start, reverse=way == 1)
            outs.append(y)
            last.append(ends)
        x = outs[0] if ways == 1 else join(draft, outs, 2, (*outs[0].shape[:2], _double(outs[0])))
    y = x if first else replace(x, dims=(x.dims[1], x.dims[0], x.dims[2]))
    return (y, *(_together(draft, list(ends)) for ends in zip(*last, strict=True)))


def _double(ref: Ref) -> int:
    size = ref.shape[2]
    assert isinstance(size, int)
    return 2 * size


def _together(draft: Draft, ends: list[Ref]) -> Ref:
    """[layers, N, H] of values [N, H]."""
    ones = [replace(end, dims=((), *end.dims)) for end in ends]
    return join(draft, ones, 0, (len(ones), *ends[0].shape)) if len(ones) > 1 else ones[0]


def _state(draft: Draft, state: object, number: int) -> Ref | None:
    """The initial state of one layer and direction; None where it is zero."""
    if isinstance(state, Const):
        if not bool(state.tensor.any()):
            return None
        state = operand(draft, state)
    assert isinstance(state, Ref)
    one = take(draft, state, 0, range(number, number + 1))
    return replace(one, dims=one.dims[1:])


def layer_of(
    call: Call,
    draft: Draft,
    kind: str,
    x: Ref,
    params: Sequence[object],
    start: Sequence[Ref | None],
    *,
    reverse: bool = False,
) -> tuple[Ref, ...]:
    """One layer of [N, T, I] in one direction."""
    value, shape, places = draft.lead(x)
    if len(shape) != 3 or places != [None, 1, 2]:
        raise Unsupported("a recurrent layer over a batch joined with other sizes", "[N, T, I]")
    weights = _weights(call, kind, params)
    size = weights["hidden"].values.shape[1]
    states = []
    if any(state is not None for state in start):
        zero = draft.constant(np.zeros((1, size), np.float32), batch=0)
        for state in start:
            name, lying, _ = draft.lead(zero if state is None else state)
            states.append(draft.reshape(name, (lying[0], size)))
    op = "lstm" if kind == "lstm" else "gru"
    shapes: list[Shape] = [(shape[0], shape[1], size), *[(shape[0], size)] * (2 if op == "lstm" else 1)]
    attributes: dict[str, Json] = {"reverse": reverse}
    made = draft.emit_many(op, [value, *states], shapes, attributes=attributes, weights=weights)
    return tuple(seen(name, lying) for name, lying in zip(made, shapes, strict=True))


def _weights(call: Call, kind: str, params: Sequence[object]) -> dict[str, Weight]:
    constants = [entry for entry in params if isinstance(entry, Const)]
    if len(constants) != len(params):
        raise Unsupported("a recurrent layer with computed weights", "constant weights")
    inner, outer = matrix_weight(call, constants[0]), matrix_weight(call, constants[1])
    bias, other = (
        to_array(constants[place].tensor).astype(np.float64) if len(constants) == 4 else None
        for place in (2, 3)
    )
    name = (
        constants[2].parameter
        if len(constants) == 4 and constants[2].parameter
        else sibling(inner.name, "bias")
    )
    rows = outer.values.shape[1]
    if kind == "rnn":
        inner, outer = _widened(inner, rows), _widened(outer, rows)
        gates = np.repeat([OPEN, SHUT], rows)
        bias, other = np.concatenate([gates, bias if bias is not None else np.zeros(rows)]), other
    weights = {"input": inner, "hidden": outer}
    if kind == "lstm":
        if bias is not None and other is not None:
            weights["bias"] = Weight(name=name, values=bias + other)
        return weights
    if bias is not None:
        total = bias.copy()
        if other is not None and kind == "gru":
            total[: 2 * rows] += other[: 2 * rows]
        weights["bias"] = Weight(name=name, values=total)
    if other is not None:
        second = constants[3].parameter or sibling(outer.name, "hidden_bias")
        weights["hidden_bias"] = Weight(name=second, values=other[-rows:])
    return weights


def _widened(weight: Weight, rows: int) -> Weight:
    """Two gates without weights before the rows of a plain layer."""
    none = np.zeros((2 * rows, weight.values.shape[1]))
    kept = np.ones(weight.values.shape, np.bool_) if weight.mask is None else weight.mask
    mask = np.concatenate([none.astype(np.bool_), kept])
    return replace(weight, values=np.concatenate([none, weight.values]), mask=mask)


def cell(kind: str) -> Lowering:
    """nn.LSTMCell, nn.GRUCell, nn.RNNCell: a sequence of one step."""

    def lower(call: Call, draft: Draft) -> Ref | tuple[Ref | None, ...]:
        x, hidden = call.value(draft, "input"), call.get("hx")
        states = list(hidden) if isinstance(hidden, list | tuple) else [hidden]
        step = replace(x, dims=(x.dims[0], (), x.dims[1]))
        params = [call.get(name) for name in ("w_ih", "w_hh", "b_ih", "b_hh")]
        start = [
            None if isinstance(s, Const) and not bool(s.tensor.any()) else operand(draft, s) for s in states
        ]
        _, *ends = layer_of(call, draft, kind, step, [p for p in params if p is not None], start)
        return tuple(ends) if kind == "lstm" else ends[0]

    return lower


def relu_cell(call: Call, draft: Draft) -> Ref:
    """relu(W x + b + U h + c)."""
    sides = []
    for value, weight, bias in (("input", "w_ih", "b_ih"), ("hx", "w_hh", "b_hh")):
        matrix = call.const(weight)
        assert matrix is not None
        sides.append(with_matrix(call, draft, call.value(draft, value), matrix, call.vector(bias)))
    return unary(draft, "relu", elementwise(draft, "add", *sides))


def relu_layers(call: Call, draft: Draft) -> tuple[Ref | None, ...]:
    """nn.RNN with relu: step by step, for sequences of a fixed length up to 64."""
    x, params, state = call.ref(), call.get("params"), call.get("hx")
    steps = x.shape[1 if call.get("batch_first") is True else 0]
    simple = call.integer("num_layers", 1) == 1 and call.get("bidirectional") is False
    if not isinstance(params, list | tuple) or not isinstance(steps, int) or steps > 64 or not simple:
        return (refuse(call, draft),)
    if call.get("batch_first") is not True:
        x = replace(x, dims=(x.dims[1], x.dims[0], x.dims[2]))
    inner, outer = params[0], params[1]
    assert isinstance(inner, Const)
    assert isinstance(outer, Const)
    biases = [to_array(p.tensor) if isinstance(p, Const) else None for p in (*params[2:], None, None)][:2]
    given = with_matrix(call, draft, x, inner, biases[0])
    hidden = _state(draft, state, 0)
    outs: list[Ref] = []
    for step in range(steps):
        now = take(draft, given, 1, range(step, step + 1))
        now = replace(now, dims=(now.dims[0], now.dims[2]))
        if hidden is None:
            hidden = draft.constant(np.zeros((1, outer.tensor.shape[0]), np.float32), batch=0)
        now = plus(draft, now, with_matrix(call, draft, hidden, outer, biases[1]))
        hidden = unary(draft, "relu", now)
        outs.append(replace(hidden, dims=(hidden.dims[0], (), hidden.dims[1])))
    assert hidden is not None
    y = join(draft, outs, 1, (outs[0].shape[0], steps, outs[0].shape[2]))
    y = y if call.get("batch_first") is True else replace(y, dims=(y.dims[1], y.dims[0], y.dims[2]))
    return y, replace(hidden, dims=((), *hidden.dims))


LOWERINGS: dict[str, Lowering] = {
    "aten.lstm": lstm,
    "aten.gru": gru,
    "aten.rnn_tanh": rnn,
    "aten.rnn_relu": relu_layers,
    "aten.lstm_cell": cell("lstm"),
    "aten.gru_cell": cell("gru"),
    "aten.rnn_tanh_cell": cell("rnn"),
    "aten.rnn_relu_cell": relu_cell,
}
