"""Decisions for all ranks, in one process: without a process group, and with a group of one."""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from gossamer.errors import EngineError
from gossamer.training import ranks

MASKS = {"a": torch.tensor([[True, False]]), "b": torch.tensor([[False]])}


@pytest.mark.parametrize("group", [False, True])
def test_alone_a_decision_is_its_computation(group: bool, tmp_path: Path) -> None:
    if group:
        dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        assert ranks.world_size() == 1
        decided = ranks.decide(lambda: {"a": ~MASKS["a"]}, MASKS)
        assert decided["a"].tolist() == [[False, True]]
        ranks.check_equal("0123456789abcdef", torch.device("cpu"))
    finally:
        if group:
            dist.destroy_process_group()


class TwoRanks:
    """Stands for torch.distributed on rank 1 of 2; `sent` is what rank 0 broadcasts."""

    class ReduceOp:
        MAX = None

    def __init__(self, sent: list[list[int]], other: int = 0) -> None:
        self.sent, self.other = [torch.tensor(values, dtype=torch.uint8) for values in sent], other

    def is_available(self) -> bool:
        return True

    is_initialized = is_available

    def get_world_size(self) -> int:
        return 2

    def get_rank(self) -> int:
        return 1

    def broadcast(self, tensor: torch.Tensor, src: int) -> None:
        assert src == 0
        tensor.copy_(self.sent.pop(0).reshape(tensor.shape))

    def all_reduce(self, tensor: torch.Tensor, op: None) -> None:
        other = torch.tensor([self.other, -self.other])
        tensor.copy_(torch.maximum(tensor, other))


def test_other_ranks_receive_and_do_not_compute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "dist", TwoRanks([[0, 1, 0], [0, 1]]))
    decided = ranks.decide(lambda: pytest.fail("computed on rank 1"), MASKS)
    assert list(decided) == ["a"]
    assert decided["a"].tolist() == [[False, True]]


def test_an_error_of_rank_0_ends_every_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "dist", TwoRanks([[1, 0, 0]]))
    with pytest.raises(EngineError, match="rank 0 could not decide"):
        ranks.decide(dict, MASKS)


def test_hashes_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    digest = "0123456789abcdef"
    monkeypatch.setattr(ranks, "dist", TwoRanks([], other=int(digest[:15], 16)))
    ranks.check_equal(digest, torch.device("cpu"))
    for other in (1, 1 << 59):
        monkeypatch.setattr(ranks, "dist", TwoRanks([], other=other))
        with pytest.raises(EngineError, match="masks of the ranks differ"):
            ranks.check_equal(digest, torch.device("cpu"))
