"""Compact training on two gloo processes: equal weights on all ranks, and a run killed in the middle of an edit resumes bit for bit."""

import os
import signal
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn

from gossamer.training import SET, RigL, Sparsifier
from gossamer.training.compact import compact_
from gossamer.training.compact.layer import CompactLayer
from gossamer.training.compact.moves import Move
from tests.training.helpers import NOTHING

pytestmark = pytest.mark.slow
STEPS, SAVED = 12, 5


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(128, 32),
        nn.ReLU(),
        nn.Linear(32, 4),
    )


def batch(step: int, rank: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1000 * rank + step)
    return torch.randn(8, 2, 4, 4, generator=generator), torch.randint(0, 4, (8,), generator=generator)


def train(rank: int, folder: str, *, resume: bool, kill: bool) -> None:
    method = SET(sparsity=0.7, every=2, stop=STEPS, pattern="block:2x1")
    plain = network()
    compact_(plain, method, protect=NOTHING)
    model = nn.parallel.DistributedDataParallel(plain)
    torch.manual_seed(100 + rank)  # must not matter
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    sparsifier = Sparsifier(model, method, optimizer, seed=rank)  # rank 0 decides all the same
    parts = (plain, optimizer, sparsifier)
    if resume:
        for part, state in zip(
            parts, torch.load(f"{folder}/saved-{rank}.pt", weights_only=True), strict=True
        ):
            part.load_state_dict(state)
    calls = 0

    def kill_myself(self: Move, tensor: Tensor, empty: float = 0) -> None:
        nonlocal calls
        calls += 1
        apply(self, tensor, empty)
        if rank == 1 and sparsifier.step == 8 and calls % 7 == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    apply = Move.apply
    if kill:
        Move.apply = kill_myself  # type: ignore[method-assign]
    shapes = [p.shape for p in model.parameters()]
    for step in range(sparsifier.step, STEPS):
        x, y = batch(step, rank)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
        if step == SAVED - 1 and not resume:
            torch.save([part.state_dict() for part in parts], f"{folder}/saved-{rank}.pt")
    assert [p.shape for p in model.parameters()] == shapes
    assert sum(isinstance(module, CompactLayer) for module in plain.modules()) == 3
    final = {"model": plain.state_dict(), "hashes": [record.mask_hash for record in sparsifier.history]}
    torch.save(final, f"{folder}/final-{rank}.pt")


def worker(rank: int, folder: str, store: str, resume: bool, kill: bool) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/{store}", rank=rank, world_size=2)
    train(rank, folder, resume=resume, kill=kill)
    dist.barrier()
    dist.destroy_process_group()


def assert_equal(first: dict[str, dict[str, Tensor]], second: dict[str, dict[str, Tensor]]) -> None:
    assert first["hashes"] == second["hashes"]
    assert first["model"].keys() == second["model"].keys()
    for name, tensor in first["model"].items():
        if "running" not in name:  # batch norm's own statistics are each rank's
            assert torch.equal(tensor, second["model"][name]), name


def test_ranks_agree_and_a_killed_run_resumes_bit_for_bit(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    mp.spawn(worker, args=(str(whole), "a", False, False), nprocs=2)
    results = [torch.load(whole / f"final-{rank}.pt", weights_only=True) for rank in range(2)]
    assert_equal(*results)
    assert len(set(results[0]["hashes"])) == 6

    with pytest.raises(mp.ProcessExitedException, match="SIGKILL"):
        mp.spawn(worker, args=(str(killed), "a", False, True), nprocs=2)
    assert not list(killed.glob("final-*"))
    mp.spawn(worker, args=(str(killed), "b", True, False), nprocs=2)
    for rank in range(2):
        again = torch.load(killed / f"final-{rank}.pt", weights_only=True)
        assert_equal(again, results[rank])
        for name, tensor in again["model"].items():
            assert torch.equal(tensor, results[rank]["model"][name]), name


def train_by_gradient(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    method = RigL(sparsity=0.6, every=2, stop=STEPS)
    hashes = []
    for compact in (False, True):
        plain = network().double()
        if compact:
            compact_(plain, method, seed=3, protect=NOTHING)
        model = nn.parallel.DistributedDataParallel(plain)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
        sparsifier = Sparsifier(
            model, method, optimizer, seed=3, protect=NOTHING, dense_gradients="blockwise"
        )
        for step in range(8):
            x, y = batch(step, rank)
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x.double()), y).backward()
            optimizer.step()
        hashes.append([record.mask_hash for record in sparsifier.history])
    assert hashes[0] == hashes[1]
    assert len(set(hashes[1])) == 5
    dist.barrier()
    dist.destroy_process_group()


def test_gradients_in_blocks_are_averaged_over_ranks(tmp_path: Path) -> None:
    mp.spawn(train_by_gradient, args=(str(tmp_path),), nprocs=2)
