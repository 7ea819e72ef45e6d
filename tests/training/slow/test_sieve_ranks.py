"""Two gloo processes and their distributed samplers: both have the statistics of one process, and remove the same."""

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.utils.data import DistributedSampler

from gossamer.training.sieve import Sieve, SieveSampler, Sieving

pytestmark = pytest.mark.slow
SETTINGS = Sieving(at_epoch=5, max_fraction=0.3, min_presentations=4)
COUNT = 41  # odd: one example is on both ranks each epoch


def epoch(sieve: Sieve, number: int, indices: list[int]) -> None:
    correct = torch.rand(COUNT, generator=torch.Generator().manual_seed(number)) < 0.85
    for part in torch.tensor(indices).split(8):
        sieve.observe(part, correct[part])
    sieve.end_epoch()


def worker(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    try:
        sieve = Sieve(SETTINGS, num_examples=COUNT, seed=1)
        sampler = DistributedSampler(range(COUNT), shuffle=True)
        for number in range(5):
            sampler.set_epoch(number)
            epoch(sieve, number, list(sampler))
        torch.save({**sieve.state_dict(), "next": list(SieveSampler(sieve))}, f"{folder}/{rank}.pt")
    finally:
        dist.destroy_process_group()


def test_two_ranks_remove_what_one_process_removes(tmp_path: object) -> None:
    mp.spawn(worker, args=(str(tmp_path),), nprocs=2)
    alone = Sieve(SETTINGS, num_examples=COUNT, seed=1)
    for number in range(5):
        epoch(alone, number, list(range(COUNT)))
    states = [torch.load(f"{tmp_path}/{rank}.pt", weights_only=True) for rank in range(2)]
    assert len(alone.removed) == 12
    for state in states:
        assert torch.equal(state["kept_mask"].nonzero().flatten(), alone.kept)
        assert torch.equal(state["forgets"].long(), alone.forgets)
    assert {*states[0]["next"], *states[1]["next"]} == set(alone.kept.tolist())
