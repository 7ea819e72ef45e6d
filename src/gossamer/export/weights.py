"""From drafted weights to compact ones: which format a weight gets, and why.

The format of the pattern, if the mask is legal in it; dense, if nothing is absent, if the operator takes
nothing else, or if dense is smaller; otherwise unstructured. Two nodes that share a parameter share the
packed weight, unless folding made them differ.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from gossamer.errors import ExportError, FormatError
from gossamer.export.draft import DraftNode, Weight
from gossamer.export.report import WeightReport
from gossamer.formats import PackedMatrix, for_pattern
from gossamer.formats import pack as pack_matrix
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
    """Pack every weight of `nodes`. zeros_are_absent: no masks were given, what is zero counts as absent."""
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
                packed, reason = _pack(
                    replace(drafted, name=name), pattern, dtype, zeros_are_absent=zeros_are_absent
                )
                weights[name] = packed
                reports.append(
                    WeightReport(
                        name=name,
                        shape=tuple(packed.shape),
                        format=packed.format,
                        dtype=packed.dtype,
                        num_kept=_num_kept(drafted, zeros_are_absent),
                        num_weights=int(drafted.values.size),
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
    return masks and a.only_dense == b.only_dense and np.array_equal(a.values, b.values)


def _mask(weight: Weight, zeros_are_absent: bool) -> np.ndarray | None:
    """The mask, None where nothing is absent."""
    mask = weight.values != 0 if zeros_are_absent and weight.mask is None else weight.mask
    return None if mask is None or weight.values.ndim != 2 or mask.all() else mask


def _num_kept(weight: Weight, zeros_are_absent: bool) -> int:
    mask = _mask(weight, zeros_are_absent)
    return int(weight.values.size if mask is None else mask.sum())


def _pack(
    weight: Weight, pattern: str | None, dtype: str, *, zeros_are_absent: bool
) -> tuple[PackedMatrix, str]:
    if not np.isfinite(weight.values).all():
        raise ExportError(f"weight {weight.name!r}: expected finite values, got NaN or infinity")
    if weight.values.ndim == 1:
        return pack_matrix(weight.values, None, format="dense", dtype="float32"), "vectors are dense float32"
    mask = _mask(weight, zeros_are_absent)
    values = weight.values if mask is None else np.where(mask, weight.values, np.float32(0))
    largest = float(np.abs(values).max(initial=0.0))
    if dtype == "float16" and largest > FP16_MAX:
        raise ExportError(
            f"weight {weight.name!r}: expected values up to {FP16_MAX:.0f} in float16, got {largest:g} (after folding of "
            f'batch norm); pack with dtype="float32"'
        )
    dense = pack_matrix(values, mask, format="dense", dtype=dtype)
    if mask is None:
        return dense, "nothing is absent"
    if weight.only_dense:
        return dense, "grouped convolutions are dense"
    sparse, reason = _sparse(values, mask, pattern, dtype)
    if dense.nbytes <= sparse.nbytes:
        return dense, f"smaller than {sparse.format} ({dense.nbytes} against {sparse.nbytes} bytes)"
    return sparse, reason


def _sparse(
    values: np.ndarray, mask: np.ndarray, pattern: str | None, dtype: str
) -> tuple[PackedMatrix, str]:
    reason = "no pattern was named"
    if pattern is not None:
        name, parameters = for_pattern(pattern)
        try:
            return pack_matrix(values, mask, format=name, dtype=dtype, **parameters), f"the mask is {pattern}"
        except FormatError as error:
            reason = f"the mask is not {pattern} ({error})"
    return pack_matrix(values, mask, format="unstructured", dtype=dtype), reason
