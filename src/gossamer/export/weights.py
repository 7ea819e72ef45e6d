"""From drafted weights to compact ones: which format a weight gets, and why.

The format of the pattern, if the mask is legal in it; dense, if nothing is absent, if the operator takes
nothing else, or if dense is smaller; otherwise unstructured. Two nodes that share a parameter share the
packed weight, unless folding made them differ.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from gossamer.errors import ExportError, FormatError
from gossamer.export.draft import DraftNode
from gossamer.export.report import WeightReport
from gossamer.export.weight import Weight
from gossamer.formats import Kept, PackedMatrix, for_pattern, pack_kept
from gossamer.graph import Node

FP16_MAX = 65504.0


@dataclass(frozen=True, kw_only=True)
class PackedWeights:
    """Weights by name, the rows of the report, and for every node its role -> weight name."""

    weights: Mapping[str, PackedMatrix]
    reports: tuple[WeightReport, ...]
    roles: Mapping[str, Mapping[str, str]]

    def network_nodes(self, nodes: Iterable[DraftNode]) -> tuple[Node, ...]:
        """The drafted nodes as nodes of the file, their weights by name."""
        return tuple(
            Node(
                op=node.op,
                name=node.name,
                inputs=node.inputs,
                outputs=node.outputs,
                attributes=node.attributes,
                weights=self.roles[node.name],
            )
            for node in nodes
        )


def pack_weights(
    nodes: Iterable[DraftNode], *, pattern: str | None, dtype: str, zeros_are_absent: bool
) -> PackedWeights:
    """Pack every weight of `nodes`. pattern: None for that of every compact layer itself; zeros_are_absent: no masks were given, what is
    zero counts as absent (of a compact layer, what it does not keep)."""
    weights: dict[str, PackedMatrix] = {}
    seen: dict[str, Weight] = {}
    reports: list[WeightReport] = []
    roles: dict[str, dict[str, str]] = {}
    for node in nodes:
        roles[node.name] = {}
        for role, weight in node.weights.items():
            drafted = replace(weight, values=weight.values.astype(np.float32))
            name = _name(drafted, seen)
            if name not in seen:
                seen[name] = drafted
                kept = _kept(drafted, zeros_are_absent)
                own = pattern if pattern is not None or weight.places is None else weight.places.pattern
                packed, reason = _pack(replace(drafted, name=name), kept, own, dtype)
                weights[name] = packed
                reports.append(
                    WeightReport(
                        name=name,
                        shape=tuple(packed.shape),
                        format=packed.format,
                        dtype=packed.dtype,
                        num_kept=kept.values.size,
                        num_weights=prod(drafted.shape),
                        bytes=packed.nbytes,
                        reason=reason,
                        of_model=drafted.of_model,
                    )
                )
            roles[node.name][role] = name
    return PackedWeights(weights=weights, reports=tuple(reports), roles=roles)


def _name(weight: Weight, seen: Mapping[str, Weight]) -> str:
    """The name under which an equal weight lies already, or a new one."""
    name, number = weight.name, 1
    while name in seen and not _equal(seen[name], weight):
        number += 1
        name = f"{weight.name}#{number}"
    return name


def _equal(a: Weight, b: Weight) -> bool:
    masks = a.mask is b.mask or (a.mask is not None and b.mask is not None and np.array_equal(a.mask, b.mask))
    places = a.places is b.places or (
        a.places is not None
        and b.places is not None
        and a.places.shape == b.places.shape
        and np.array_equal(a.places.slots, b.places.slots)
    )
    return masks and places and a.only_dense == b.only_dense and np.array_equal(a.values, b.values)


def _kept(weight: Weight, zeros_are_absent: bool) -> Kept:
    """What the file will hold of a weight; slots None where nothing is absent."""
    size = prod(weight.shape)
    if weight.places is not None:
        slots = weight.places.slots
        return Kept(weight.shape, None if slots.size == size else slots, weight.values)
    mask = weight.values != 0 if zeros_are_absent and weight.mask is None else weight.mask
    values = weight.values.reshape(-1)
    if mask is None or len(weight.shape) != 2 or mask.all():
        return Kept(weight.shape, None, values)
    slots = np.flatnonzero(mask)
    return Kept(weight.shape, slots, values[slots])


def _pack(weight: Weight, kept: Kept, pattern: str | None, dtype: str) -> tuple[PackedMatrix, str]:
    if not np.isfinite(weight.values).all():
        raise ExportError(f"weight {weight.name!r}: expected finite values, got NaN or infinity")
    if len(kept.shape) == 1:
        return pack_kept(kept, format="dense", dtype="float32"), "vectors are dense float32"
    largest = float(np.abs(kept.values).max(initial=0.0))
    if dtype == "float16" and largest > FP16_MAX:
        raise ExportError(
            f"weight {weight.name!r}: expected values up to {FP16_MAX:.0f} in float16, got {largest:g} (after folding of "
            f'batch norm); pack with dtype="float32"'
        )
    if kept.slots is None:
        return pack_kept(kept, format="dense", dtype=dtype), "nothing is absent"
    if weight.only_dense:
        return pack_kept(kept, format="dense", dtype=dtype), "grouped convolutions are dense"
    sparse, reason = _sparse(kept, pattern, dtype)
    whole = prod(kept.shape) * np.dtype(dtype).itemsize
    if whole <= sparse.nbytes:
        dense = pack_kept(kept, format="dense", dtype=dtype)
        return dense, f"smaller than {sparse.format} ({dense.nbytes} against {sparse.nbytes} bytes)"
    return sparse, reason


def _sparse(kept: Kept, pattern: str | None, dtype: str) -> tuple[PackedMatrix, str]:
    reason = "no pattern was named"
    if pattern is not None:
        name, parameters = for_pattern(pattern)
        try:
            return pack_kept(kept, format=name, dtype=dtype, **parameters), f"the mask is {pattern}"
        except FormatError as error:
            reason = f"the mask is not {pattern} ({error})"
    return pack_kept(kept, format="unstructured", dtype=dtype), reason
