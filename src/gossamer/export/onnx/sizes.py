"""Which sizes of the inputs are the batch, which the length, and which are numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gossamer.errors import ExportError
from gossamer.export.length import LENGTH
from gossamer.export.onnx.reader import OnnxModel, OnnxValue, read
from gossamer.export.onnx.walk import WalkInput, needed

BATCH = "n"
PROBES = (13, 17)  # batches that no size of a model is likely to be a multiple of
_BATCH_NAME = re.compile(r"(?i)^(n|b|bs|.*batch.*)$")


@dataclass(frozen=True, kw_only=True)
class InputSizes:
    """One input as ONNX sees it; sizes are numbers, BATCH or LENGTH. batch: place of the batch."""

    name: str
    dtype: np.dtype[np.generic]
    sizes: tuple[int | str, ...]
    batch: int

    def at(self, batch: int, length: int) -> tuple[int, ...]:
        """Concrete sizes."""
        return tuple({BATCH: batch, LENGTH: length}[s] if isinstance(s, str) else s for s in self.sizes)

    def walk_input(self, batch: int, length: int) -> WalkInput:
        """For a walk."""
        return WalkInput(name=self.name, shape=self.at(batch, length), batch=self.batch, dtype=self.dtype)

    @property
    def network_shape(self) -> tuple[int | str, ...]:
        """Of the packed network's input, the batch first."""
        return (self.sizes[self.batch], *(s for place, s in enumerate(self.sizes) if place != self.batch))


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """All inputs. fixed: the batch that the file writes down, None where it leaves it free."""

    inputs: tuple[InputSizes, ...]
    fixed: int | None
    has_length: bool


def sizes_of(
    model: OnnxModel,
    shapes: Mapping[str, Sequence[int]] | None,
    batch_dims: Mapping[str, int] | None = None,
) -> Sizes:
    """Sizes of every input that an output depends on. shapes: sizes that the caller fixes, by input name; batch_dims: place of
    the batch, where the file does not tell it."""
    used = {name for node in needed(model) for name in node.inputs} | {item.name for item in model.outputs}
    inputs = [item for item in model.inputs if item.name in used]
    if not inputs:
        raise ExportError(f"{model.path}: expected an input that the outputs depend on, got none")
    given = dict(shapes or {})
    for name in (*given, *(batch_dims or {})):
        if name not in {item.name for item in inputs}:
            raise ExportError(
                f"shapes, batch_dims: expected names of inputs ({', '.join(i.name for i in inputs)}), got {name!r}"
            )
    named = {item.name: _names(item) for item in inputs}
    places = dict(batch_dims or {})
    first = named[inputs[0].name]
    symbol: int | str | None = _batch_symbol([named[item.name] for item in inputs])
    if inputs[0].name in places:
        symbol = first[places[inputs[0].name]]
    symbol = symbol if isinstance(symbol, str) else None
    found = [
        _sizes(item, named[item.name], symbol, given.get(item.name), places.get(item.name)) for item in inputs
    ]
    lengths = sorted({s for item in found for s in item.sizes if isinstance(s, str) and s != BATCH})
    if len(lengths) > 1:
        raise ExportError(
            f"{model.path}: expected at most one free size beside the batch, got {', '.join(lengths)}; fix them with "
            f"shapes={_example(found)} (--input SIZES where there is one input)"
        )
    for item in found:
        if len(item.sizes) >= 4 and any(isinstance(s, str) and s != BATCH for s in item.sizes):
            raise ExportError(
                f"input {item.name!r}: expected a fixed height and width, got {list(item.sizes)}; fix them with "
                f"shapes={_example(found)} (--input 1x3x224x224)"
            )
    fixed = None if symbol is not None else int(found[0].sizes[found[0].batch])
    done = tuple(_renamed(item, lengths) for item in found)
    return Sizes(inputs=done, fixed=fixed, has_length=bool(lengths))


def input_names(path: str | Path) -> list[str]:
    """Names of the inputs of an ONNX file that its outputs depend on."""
    model = read(path)
    used = {name for node in needed(model) for name in node.inputs}
    return [item.name for item in model.inputs if item.name in used]


def with_batch(sizes: Sizes, batch: int | str) -> tuple[InputSizes, ...]:
    """The inputs with the batch fixed, or free."""
    return tuple(
        InputSizes(
            name=item.name,
            dtype=item.dtype,
            batch=item.batch,
            sizes=(*item.sizes[: item.batch], batch, *item.sizes[item.batch + 1 :]),
        )
        for item in sizes.inputs
    )


def _names(item: OnnxValue) -> tuple[int | str, ...]:
    if item.shape is None:
        raise ExportError(
            f"input {item.name!r}: expected a known number of dimensions, got none; fix it with shapes="
        )
    if not item.shape:
        raise ExportError(
            f"input {item.name!r}: expected a batch of examples, got a single number; make it a constant"
        )
    if item.dtype.kind not in "fiub":
        raise ExportError(f"input {item.name!r}: expected numbers, got {item.dtype}")
    return tuple(
        s or f"{item.name}.{place}" if isinstance(s, str) else s for place, s in enumerate(item.shape)
    )


def _batch_symbol(shapes: Sequence[tuple[int | str, ...]]) -> str | None:
    """The name of the batch: one that says so, else the first size of the first input; None where that is a number."""
    names = [s for shape in shapes for s in shape if isinstance(s, str)]
    telling = [name for name in names if _BATCH_NAME.match(name)]
    first = shapes[0][0]
    return telling[0] if telling and not isinstance(first, int) else first if isinstance(first, str) else None


def _sizes(
    item: OnnxValue,
    named: tuple[int | str, ...],
    symbol: str | None,
    given: Sequence[int] | None,
    place: int | None,
) -> InputSizes:
    own = f"{item.name}.0"  # an unnamed first size is the batch, too
    places = [place for place, s in enumerate(named) if symbol is not None and s in (symbol, own)]
    if symbol is not None and not places:
        raise ExportError(
            f"input {item.name!r}: expected a dimension {symbol!r} (the batch of the first input), got {list(named)}; export "
            f"the model with the batch in every input, or make this one a constant"
        )
    batch = place if place is not None else places[0] if places else 0
    sizes: list[int | str] = [
        BATCH if place == batch and symbol is not None else s for place, s in enumerate(named)
    ]
    if given is not None:
        _check_given(item, named, given, batch)
        sizes = [
            s if place == batch and symbol is not None else int(given[place]) for place, s in enumerate(sizes)
        ]
    return InputSizes(name=item.name, dtype=item.dtype, sizes=tuple(sizes), batch=batch)


def _check_given(item: OnnxValue, named: tuple[int | str, ...], given: Sequence[int], batch: int) -> None:
    fits = len(given) == len(named) and all(
        isinstance(s, str) or s == int(g) or place == batch
        for place, (s, g) in enumerate(zip(named, given, strict=True))
    )
    if not fits:
        raise ExportError(f"input {item.name!r}: expected sizes that fit {list(named)}, got {list(given)}")


def _renamed(item: InputSizes, lengths: Sequence[str]) -> InputSizes:
    sizes = tuple(LENGTH if s in lengths else s for s in item.sizes)
    return InputSizes(name=item.name, dtype=item.dtype, sizes=sizes, batch=item.batch)


def example_of(sizes: Sizes) -> str:
    """What `shapes=` could be, with usual numbers for free sizes."""
    return _example(sizes.inputs)


def _example(found: Sequence[InputSizes]) -> str:
    common = {2: 224, 3: 224}
    texts = []
    for item in found:
        sizes = [
            s if isinstance(s, int) else 1 if s == BATCH else common.get(p, 128)
            for p, s in enumerate(item.sizes)
        ]
        texts.append(f"{item.name!r}: ({', '.join(map(str, sizes))})")
    return "{" + ", ".join(texts) + "}"
