"""Two gloo processes with different data, seeds and generators: equal masks, equal weights, equal errors."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from gossamer.errors import EngineError, GossamerError
from gossamer.training import METHODS, RigL, Sparsifier
from gossamer.training.masks import digest_of
from tests.training.helpers import NOTHING, assert_dropped_is_zero, backward, mlp

pytestmark = pytest.mark.slow
MLP = (8, 6)
SETTINGS: dict[str, dict[str, Any]] = {
    "one_shot": {"at": 3},
    "gradual": {"every": 2, "stop": 6},
    "static": {},
    "set": {"every": 2, "stop": 9},
    "rigl": {"every": 2, "stop": 9, "drop_fraction": 0.5},
    "gap": {"partitions": 3, "steps_per_stage": 2},
}


def train(rank: int, method: str, results: str) -> None:
    model = nn.parallel.DistributedDataParallel(mlp(seed=0))
    torch.manual_seed(100 + rank)  # must not matter
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    # Another seed on each rank: rank 0 decides all the same.
    sparsifier = Sparsifier(
        model, METHODS[method](sparsity=0.6, **SETTINGS[method]), optimizer, protect=NOTHING, seed=rank
    )
    for step in range(9):
        backward(model, 2 * step + rank, shape=MLP)
        optimizer.step()
        assert_dropped_is_zero(sparsifier, model.module, optimizer)
    saved = {
        "masks": dict(sparsifier.masks),
        "weights": [p.detach() for p in model.parameters()],
        "hashes": [r.mask_hash for r in sparsifier.history],
    }
    torch.save(saved, f"{results}/{rank}.pt")


def refuse(rank: int, method: str, results: str) -> None:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    sparsifier = Sparsifier(model, RigL(sparsity=0.6, every=1, stop=9), optimizer, protect=NOTHING)
    state = sparsifier.state_dict()
    if rank == 1:
        state["masks"] = {name: mask.flip(0) for name, mask in state["masks"].items()}
        state["mask_hash"] = digest_of(state["masks"])
    with pytest.raises(EngineError, match="masks of the ranks differ"):
        sparsifier.load_state_dict(state)
    sparsifier.finalize()

    other = mlp()
    optimizer = torch.optim.SGD(other.parameters(), lr=0.1)
    Sparsifier(other, RigL(sparsity=0.6, every=1, stop=9, drop_fraction=0.9), optimizer, protect=NOTHING)
    for parameter in other.parameters():
        parameter.grad = torch.full_like(parameter, float("nan"))
    with pytest.raises(GossamerError, match="NaN" if rank == 0 else "rank 0 could not decide"):
        optimizer.step()
    Path(results, f"{rank}.pt").touch()


def worker(rank: int, work: str, method: str, results: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{results}/store", rank=rank, world_size=2)
    {"train": train, "refuse": refuse}[work](rank, method, results)
    dist.barrier()
    dist.destroy_process_group()


@pytest.mark.parametrize("method", SETTINGS)
def test_ranks_have_equal_masks_and_weights(method: str, tmp_path: Path) -> None:
    mp.spawn(worker, args=("train", method, str(tmp_path)), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    assert first["hashes"] == second["hashes"]
    assert len(first["hashes"]) >= 1
    for name, mask in first["masks"].items():
        assert torch.equal(mask, second["masks"][name])
    for a, b in zip(first["weights"], second["weights"], strict=True):
        assert torch.equal(a, b)


def test_errors_reach_every_rank(tmp_path: Path) -> None:
    mp.spawn(worker, args=("refuse", "", str(tmp_path)), nprocs=2)
    assert (tmp_path / "0.pt").exists()
    assert (tmp_path / "1.pt").exists()
