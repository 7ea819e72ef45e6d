"""The two projections onto vertical and hybrid gather-scatter masks: the exact flow, and the greedy one.

*Greedy*: bundles are shared among groups as if only residues had to be balanced (an upper bound of the true gains); then the entries of
each group are walked by falling score, all groups in step, and one is taken when its row and its residue have room. Two matroids
intersect here, so at least half of the optimum is certain; measured losses stand in docs/concepts/pattern.md.

Groups that the walk leaves unfinished (a cell is full), or in which it takes a -inf or misses an entry of `keep`, are solved exactly, and
where even that does not help, because the shares are wrong, the whole matrix is.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gossamer.kernels.project import project_gs
from gossamer.sparsity.patterns.tiles import stable_order, top_bundles


def exact_mask(scores: Tensor, *, banks: int, per_row: int, bundles: int, keep: Tensor | None) -> Tensor:
    """bool [R, C]: the optimum of `bundles` bundles; computed on the CPU, in C++ where that is built."""
    found = project_gs(
        scores.detach().double().cpu().numpy(),
        banks=banks,
        per_row=per_row,
        bundles=bundles,
        keep=None if keep is None else keep.cpu().numpy(),
    )
    return torch.from_numpy(found).to(scores.device)


def greedy_mask(scores: Tensor, *, banks: int, per_row: int, bundles: int, keep: Tensor | None) -> Tensor:
    """bool [R, C]: a legal mask of `bundles` bundles, near the optimum; deterministic."""
    rows, columns = scores.shape
    height = banks // per_row
    groups, depth = rows // height, height * columns // banks

    def by_residue(matrix: Tensor) -> Tensor:  # [groups, B, entries of a residue class]
        return matrix.reshape(groups, depth, banks).transpose(1, 2)

    relaxed = top_bundles(by_residue(scores), bundles, None if keep is None else by_residue(keep))
    share = relaxed[:, 0].sum(dim=1)  # [groups]: T, since every residue of a group has as many
    taken = walked_mask(scores, share, banks=banks, per_row=per_row, keep=keep)
    missed = keep is not None and bool((keep & ~taken).any())
    if missed or bool((taken & scores.isneginf()).any()):
        return exact_mask(scores, banks=banks, per_row=per_row, bundles=bundles, keep=keep)
    return taken


def walked_mask(
    scores: Tensor, share: Tensor, *, banks: int, per_row: int, keep: Tensor | None = None
) -> Tensor:
    """bool [R, C]: `share` [groups] bundles of each group by the walk, or exactly where it fails."""
    rows, columns = scores.shape
    height = banks // per_row

    def by_group(matrix: Tensor) -> Tensor:
        return matrix.reshape(rows // height, height * columns)

    order = stable_order(by_group(scores), None if keep is None else by_group(keep))
    walked = _walk(order.cpu().numpy(), share.cpu().numpy(), banks=banks, per_row=per_row, columns=columns)
    taken = torch.from_numpy(walked).to(scores.device).reshape(rows, columns)

    wrong = (
        taken & scores.isneginf() if keep is None else (taken & scores.isneginf() & ~keep) | (keep & ~taken)
    )
    unfinished = (by_group(taken).sum(dim=1) != banks * share) | by_group(wrong).any(dim=1)
    for group in unfinished.nonzero().flatten().tolist():
        lines = slice(group * height, (group + 1) * height)
        taken[lines] = exact_mask(
            scores[lines],
            banks=banks,
            per_row=per_row,
            bundles=int(share[group]),
            keep=None if keep is None else keep[lines],
        )
    return taken


def _walk(
    order: NDArray[np.int64], share: NDArray[np.int64], *, banks: int, per_row: int, columns: int
) -> NDArray[np.bool_]:
    """bool [groups, n]: the entries taken when each group walks its `order` [groups, n] with room for `share` [groups] bundles."""
    groups, entries = order.shape
    group = np.arange(groups)
    row = (
        order // columns + group[:, None] * (entries // columns)
    ).T.copy()  # [n, groups]: numbered over all groups
    residue = (order % banks + group[:, None] * banks).T.copy()
    row_room = np.repeat(per_row * share, entries // columns)
    residue_room = np.repeat(share, banks)
    taken = np.zeros((entries, groups), dtype=np.bool_)
    for step in range(entries):
        if step % 256 == 0 and not row_room.any():
            break
        fits = (row_room[row[step]] > 0) & (residue_room[residue[step]] > 0)
        row_room[row[step]] -= fits
        residue_room[residue[step]] -= fits
        taken[step] = fits
    mask = np.zeros((groups, entries), dtype=np.bool_)
    np.put_along_axis(mask, order, taken.T, axis=1)
    return mask
