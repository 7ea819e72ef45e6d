"""The projection onto gather-scatter masks, against an independent linear program and against its own slow twin."""

import numpy as np
import pytest
from scipy.optimize import LinearConstraint, milp

from gossamer.kernels.native import status
from gossamer.kernels.project import project_gs, project_gs_reference

needs_native = pytest.mark.skipif(
    not hasattr(status().module, "project_gs"), reason=f"native projection not available: {status().reason}"
)
ORIENTATIONS = {
    "vertical": [(2, 1), (4, 1), (8, 1)],
    "hybrid": [(4, 2), (8, 2), (8, 4)],
    "horizontal": [(2, 2), (4, 4), (8, 8)],
}


def optimum(scores: np.ndarray, banks: int, per_row: int, bundles: int) -> float:
    """The best total score by an integer program over the whole matrix: entries y in [0, 1], T whole for each group."""
    rows, columns = scores.shape
    height = banks // per_row
    groups = rows // height
    entries = rows * columns
    lines = []
    for row in range(rows):  # sum of a row - k T = 0
        line = np.zeros(entries + groups)
        line[row * columns : (row + 1) * columns] = 1
        line[entries + row // height] = -per_row
        lines.append(line)
    for group in range(groups):
        for residue in range(banks):  # sum of a residue - T = 0
            inside = np.zeros((rows, columns))
            inside[group * height : (group + 1) * height, residue::banks] = 1
            line = np.zeros(entries + groups)
            line[:entries] = inside.ravel()
            line[entries + group] = -1
            lines.append(line)
    total = np.zeros(entries + groups)
    total[entries:] = 1
    limits = np.zeros(len(lines) + 1)
    limits[-1] = bundles
    found = milp(
        np.concatenate([-scores.ravel(), np.zeros(groups)]),
        integrality=np.repeat([0, 1], [entries, groups]),
        bounds=(0, np.repeat([1.0, columns], [entries, groups])),
        constraints=LinearConstraint(np.array([*lines, total]), limits, limits),
    )
    assert found.success, found.message
    return -found.fun


def is_legal(mask: np.ndarray, banks: int, per_row: int) -> bool:
    height = banks // per_row
    grouped = mask.reshape(mask.shape[0] // height, height, -1, banks)
    bundles = grouped.sum(axis=(1, 2, 3)) // banks
    rows, residues = grouped.sum(axis=(2, 3)), grouped.sum(axis=(1, 2))
    return bool((rows == per_row * bundles[:, None]).all() and (residues == bundles[:, None]).all())


def random_case(seed: int, orientation: str) -> tuple[np.ndarray, int, int, int]:
    random = np.random.default_rng(seed)
    banks, per_row = ORIENTATIONS[orientation][seed % 3]
    height = banks // per_row
    shape = (height * int(random.integers(1, 4)), banks * int(random.integers(1, 4)))
    scores = random.standard_normal(shape)
    if seed % 2:
        scores = np.abs(scores)
    return scores, banks, per_row, int(random.integers(0, scores.size // banks + 1))


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("project", [project_gs, project_gs_reference])
def test_it_equals_the_linear_program_on_100_random_cases(orientation, project):
    for seed in range(100):
        scores, banks, per_row, bundles = random_case(seed, orientation)
        mask = project(scores, banks=banks, per_row=per_row, bundles=bundles)
        assert mask.dtype == np.bool_
        assert mask.sum() == bundles * banks
        assert is_legal(mask, banks, per_row)
        best = optimum(scores, banks, per_row, bundles)
        assert scores[mask].sum() == pytest.approx(best, abs=1e-9), (
            seed,
            banks,
            per_row,
            bundles,
            scores.shape,
        )


@pytest.mark.parametrize("orientation", ["vertical", "hybrid"])
def test_keep_is_held_and_the_rest_is_optimal(orientation):
    """The linear program with the keep entries worth far more than everything else says what is possible."""
    held = 0
    for seed in range(60):
        scores, banks, per_row, bundles = random_case(seed, orientation)
        keep = np.random.default_rng(seed).random(scores.shape) < 0.08
        mask = project_gs(scores, banks=banks, per_row=per_row, bundles=bundles, keep=keep)
        assert is_legal(mask, banks, per_row)
        best = optimum(scores + 1000 * keep, banks, per_row, bundles)
        assert (scores + 1000 * keep)[mask].sum() == pytest.approx(best, abs=1e-6)
        held += bool(keep.any()) and not (keep & ~mask).any()
    assert held > 10


def test_infinities_are_levels():
    scores = np.array([[np.inf, 1.0, -np.inf, 5.0], [2.0, -np.inf, 4.0, 3.0]])
    for project in (project_gs, project_gs_reference):
        mask = project(scores, banks=2, per_row=1, bundles=1)
        assert mask.astype(int).tolist() == [
            [1, 0, 0, 0],
            [0, 0, 0, 1],
        ]  # +inf of residue 0, the best of the other row's residue 1
        mask = project(scores, banks=2, per_row=1, bundles=3)
        assert mask.astype(int).tolist() == [[1, 1, 0, 1], [1, 0, 1, 1]]  # the two -inf are what is left out
        huge = np.where(np.isposinf(scores), 1e300, scores)
        assert np.array_equal(mask, project(huge, banks=2, per_row=1, bundles=3))


def test_keep_does_not_drown_small_scores():
    scores = 1e-12 * np.array([[3.0, 1.0, 2.0, 4.0], [1.0, 5.0, 6.0, 2.0]])
    keep = np.zeros(scores.shape, dtype=bool)
    keep[0, 1] = True
    mask = project_gs(scores, banks=2, per_row=1, bundles=2, keep=keep)
    assert mask.astype(int).tolist() == [
        [1, 1, 0, 0],
        [0, 1, 1, 0],
    ]  # 1 is held; then 3, 5 and 6 beat 4, 1 and 6
    assert is_legal(mask, 2, 1)


@needs_native
@pytest.mark.native
def test_native_equals_reference():
    random = np.random.default_rng(0)
    for seed in range(200):
        scores, banks, per_row, bundles = random_case(seed, ("vertical", "hybrid", "horizontal")[seed % 3])
        scores = scores.astype(np.float32).astype(
            np.float64
        )  # sums of such scores are exact, so equals are equals in both
        if seed % 5 == 0:
            scores = np.round(scores)
        keep = random.random(scores.shape) < 0.1 if seed % 4 == 0 else None
        arguments = {"banks": banks, "per_row": per_row, "bundles": bundles, "keep": keep}
        assert np.array_equal(project_gs(scores, **arguments), project_gs_reference(scores, **arguments)), (
            seed
        )


@needs_native
@pytest.mark.native
def test_native_takes_any_memory_order():
    scores, banks, per_row, bundles = random_case(4, "vertical")
    expected = project_gs(scores, banks=banks, per_row=per_row, bundles=bundles)
    assert np.array_equal(
        expected, project_gs(np.asfortranarray(scores), banks=banks, per_row=per_row, bundles=bundles)
    )
    doubled = np.repeat(scores, 2, axis=1)[:, ::2]
    assert np.array_equal(expected, project_gs(doubled, banks=banks, per_row=per_row, bundles=bundles))
