"""Whether a method can run on compact layers as they are: told at the beginning, not at its first edit."""

from __future__ import annotations

from collections.abc import Mapping

from gossamer.errors import EngineError
from gossamer.sparsity.growth import All, Random
from gossamer.sparsity.patterns import Pattern
from gossamer.training.compact.blockwise import check_pattern
from gossamer.training.compact.entries import refused_growth
from gossamer.training.compact.layer import CompactLayer
from gossamer.training.counting import Allocations
from gossamer.training.edits import Shapes, after_edit
from gossamer.training.foresight import no_ranking, peak_counts, state_of
from gossamer.training.layers import Slot
from gossamer.training.methods.method import Method, edit_steps_of


def check_compact(
    method: Method,
    pattern: Pattern,
    shapes: Shapes,
    slots: Mapping[str, Slot],
    *,
    blockwise: bool,
) -> None:
    """EngineError for growth that needs dense tensors, too small a capacity, or other counts than at the start."""
    check_growth(method, pattern, blockwise=blockwise)
    layers = {name: compact_layer(slot) for name, slot in slots.items()}
    held = {name: layer.num_kept for name, layer in layers.items()}
    if method.initial != "given" and not (method.allocation == "global_rank" and method.last_edit == 0):
        network, wanted = (
            Allocations(method.allocation, pattern, shapes),
            {name: shapes[name].numel for name in layers},
        )
        for edit in method.edits_at(0):
            wanted |= after_edit(edit, state_of(network, wanted, edit, no_ranking))
        for name, count in wanted.items():
            if held[name] != count:
                raise EngineError(
                    f"{name!r} holds {held[name]} entries, and {method!r} begins with {count}: expected equal numbers; make the layers by "
                    "compact_(model, method) with the same method, protect= and layers=, or begin with them as they are "
                    "(initial='given')"
                )
    if method.last_edit:
        start = held if method.initial == "given" else None
        for name, peak in peak_counts(method, shapes, start, exact=True).items():
            if peak > layers[name].capacity:
                raise EngineError(
                    f"{name!r} has room for {layers[name].capacity} entries, and {type(method).__name__} grows to {peak}: expected at "
                    "least that capacity; make the layers by compact_(model, method) with the same method"
                )


def check_growth(method: Method, pattern: Pattern, *, blockwise: bool) -> None:
    """EngineError if an edit of `method` grows otherwise than at random, or shares counts by a ranking of dense scores."""
    for step in edit_steps_of(method):
        for edit in method.edits_at(step):
            if edit.grow_by is None or isinstance(edit.grow_by, Random):
                continue
            if isinstance(edit.grow_by, All) or not blockwise:
                raise refused_growth(edit.grow_by)
            check_pattern(pattern)
    if method.allocation == "global_rank" and method.last_edit:
        no_ranking()


def compact_layer(slot: Slot) -> CompactLayer:
    assert isinstance(slot.module, CompactLayer)
    return slot.module
