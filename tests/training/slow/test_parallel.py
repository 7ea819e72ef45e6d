"""P-GaP on processes, ranks and Ray tasks: the same bits as in one process, and nothing is lost with a worker or the parent."""

import os
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from gossamer.errors import EngineError, GossamerError
from gossamer.training import GaP
from gossamer.training.parallel import Grown, InTurn, LocalProcesses, Ranks, RayTasks, grow_in_parallel
from tests.training.helpers import NOTHING
from tests.training.parallel.jobs import Dies, Normed, SlowAtTheEnd, StopsInRound, train

pytestmark = pytest.mark.slow
METHOD = GaP(sparsity=0.5, partitions=3, order="parallel", steps_per_stage=3, rounds=2, finetune=2)
ROOT = Path(__file__).parents[3]


def grow(workers: Any, function: Any = train, **settings: Any) -> tuple[nn.Module, Grown]:
    model = Normed()
    return model, grow_in_parallel(
        model, METHOD, train=function, workers=workers, seed=5, protect=NOTHING, threads=1, **settings
    )


def equal(first: nn.Module, second: nn.Module) -> bool:
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_processes_equal_the_sequential_run_although_one_is_killed(tmp_path: Path) -> None:
    model, grown = grow(LocalProcesses(2), Dies(tmp_path, partition=1, times=1, kill=True))
    assert equal(grow(InTurn())[0], model)
    assert [row.retries for row in grown.report.rows] == [0, 1, 0, 0, 0, 0, 0]
    assert grown.report.rows[1].lost == ("the process ended without a result (exit code -9)",)


def test_an_exception_in_a_process_is_told_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"partition 2 was lost 1 times(?s:.*)jobs.py(?s:.*)power is out"):
        grow(LocalProcesses(3), Dies(tmp_path, partition=2, times=1), retries=0)


PARENT = """
import sys, time
from pathlib import Path
from gossamer.training.parallel import LocalProcesses
from tests.training.parallel.jobs import Waits
from tests.training.slow.test_parallel import grow
if __name__ == "__main__":
    folder = Path(sys.argv[1])
    grow(LocalProcesses(3), Waits(folder), checkpoint=folder / "round.pt")
"""


def test_a_killed_parent_goes_on_at_its_round_and_leaves_no_worker_behind(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    parent = subprocess.Popen([sys.executable, str(script), str(tmp_path)], env=environment, cwd=ROOT)
    try:
        until(lambda: len(list(tmp_path.glob("waits-*"))) == 3)  # all workers of round 1 are in it
        assert (tmp_path / "round.pt").is_file()
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    workers = [int(path.name.removeprefix("waits-")) for path in tmp_path.glob("waits-*")]
    until(lambda: not any(is_running(pid) for pid in workers))
    model, grown = grow(InTurn(), checkpoint=tmp_path / "round.pt")
    assert equal(grow(InTurn())[0], model)
    assert len(grown.report.rows) == 7


def until(holds: Any, seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.1)


def is_running(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    try:
        return stat.read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def rank_main(rank: int, work: str, folder: str) -> None:
    torch.set_num_threads(1)
    store = dist.FileStore(f"{folder}/store-{work}", 2)
    dist.init_process_group("gloo", rank=rank, world_size=2, store=store)
    try:
        if work == "train":
            torch.manual_seed(100 + rank)  # must not matter
            model, grown = grow(
                Ranks(), Dies(Path(folder), partition=1, times=1), checkpoint=Path(folder, "round.pt")
            )
            saved = {"state": model.state_dict(), "masks": dict(grown.masks)}
            torch.save(saved, f"{folder}/{rank}.pt")
            again, _ = grow(
                Ranks(), StopsInRound(0), checkpoint=Path(folder, "round.pt")
            )  # rank 0 reads, all have it
            assert equal(again, model)
        elif work == "other weights":
            model = Normed()
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.add_(rank)  # rank 1 was made with another seed
            grow_in_parallel(model, METHOD, train=train, workers=Ranks(), seed=5, protect=NOTHING, threads=1)
            torch.save(model.state_dict(), f"{folder}/{rank}.pt")
        elif work == "no disk":
            path = Path(folder, "nothing") / "round.pt"
            if rank == 0:
                path.parent.write_bytes(b"a file, no folder")
            match = "^cannot read the checkpoint" if rank == 0 else "^rank 0: cannot read the checkpoint"
            with pytest.raises(GossamerError, match=match):
                grow(Ranks(timeout=timedelta(seconds=20)), checkpoint=path)
            dist.barrier()  # rank 0 lives on: the others must not wait for what it never sends
        elif work == "wait":
            workers = Ranks()
            dist.distributed_c10d._set_pg_timeout(timedelta(seconds=1))  # of the default group
            model, _ = grow(workers, SlowAtTheEnd())
            torch.save(model.state_dict(), f"{folder}/{rank}.pt")
        else:
            with pytest.raises(
                EngineError, match=r"rank 1: round 0: the worker of partition 1 was lost 1 times"
            ):
                grow(Ranks(), Dies(Path(folder), partition=1, times=9), retries=0)
    finally:
        dist.destroy_process_group()


def test_two_ranks_equal_the_sequential_run(tmp_path: Path) -> None:
    mp.spawn(rank_main, args=("train", str(tmp_path)), nprocs=2)
    model, grown = grow(InTurn())
    for rank in (0, 1):
        saved = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        for name, tensor in model.state_dict().items():
            assert torch.equal(tensor, saved["state"][name]), (rank, name)
        assert all(torch.equal(mask, saved["masks"][name]) for name, mask in grown.masks.items())


def test_ranks_begin_with_the_weights_of_the_first(tmp_path: Path) -> None:
    mp.spawn(rank_main, args=("other weights", str(tmp_path)), nprocs=2)
    model, _ = grow(InTurn())
    for rank in (0, 1):
        saved = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert all(torch.equal(tensor, saved[name]) for name, tensor in model.state_dict().items()), rank


def test_an_error_of_the_first_rank_is_one_of_all(tmp_path: Path) -> None:
    mp.spawn(rank_main, args=("no disk", str(tmp_path)), nprocs=2)


def test_waiting_for_the_fine_tuning_does_not_time_out(tmp_path: Path) -> None:
    mp.spawn(rank_main, args=("wait", str(tmp_path)), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_turn_that_fails_on_one_rank_fails_on_all(tmp_path: Path) -> None:
    mp.spawn(rank_main, args=("fail", str(tmp_path)), nprocs=2)


def test_ray_tasks_equal_the_sequential_run_although_one_is_killed(tmp_path: Path) -> None:
    ray = pytest.importorskip("ray")
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    ray.init(num_cpus=2, include_dashboard=False, runtime_env={"env_vars": {"PYTHONPATH": path}})
    try:
        model, grown = grow(RayTasks(), Dies(tmp_path, partition=1, times=1, kill=True))
        assert equal(grow(InTurn())[0], model)
        assert [row.retries for row in grown.report.rows] == [0, 1, 0, 0, 0, 0, 0]
        with pytest.raises(EngineError, match=r"partition 2 was lost 1 times(?s:.*)power is out"):
            grow(RayTasks(), Dies(tmp_path, partition=2, times=9), retries=0)
    finally:
        ray.shutdown()
