"""The sieve against a reference of lists, on scripted and on random sequences."""

import itertools
import random
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from gossamer.errors import CheckpointError, DataError
from gossamer.training import ranks, sieve
from gossamer.training.sieve import Sieve, SieveReport, SieveSampler, Sieving


def presented(history: list[list[bool]]) -> dict[str, Any]:
    """The definition, example by example: `history` holds for every epoch the views of it (none, one or several)."""
    seen = [all(views) for views in history if views]
    return {
        "presentations": len(seen),
        "ever": any(seen),
        "forgets": sum(before and not now for before, now in itertools.pairwise(seen)),
    }


def run(script: list[list[str]], settings: Sieving, **arguments: Any) -> tuple[Sieve, SieveReport | None]:
    """script[example][epoch]: "1" right, "0" wrong, "" not seen, "11" or "10" seen twice."""
    filter_ = Sieve(settings, num_examples=len(script), **arguments)
    report = None
    for epoch in range(len(script[0])):
        views = [(index, view == "1") for index, word in enumerate(script) for view in word[epoch]]
        indices, correct = (torch.tensor(column) for column in zip(*views, strict=True))
        for part in range(
            0, len(views), 3
        ):  # batches of three, the last one partial; some hold an example twice
            filter_.observe(indices[part : part + 3], correct[part : part + 3].bool())
        report = filter_.end_epoch() or report
    return filter_, report


SCRIPT = [
    ["1", "1", "1", "1"],  # 0 always right
    ["0", "0", "1", "1"],  # 1 learned late, kept since
    ["0", "0", "0", "0"],  # 2 never learned
    ["1", "0", "1", "1"],  # 3 forgotten once, right in the end
    ["1", "0", "1", "0"],  # 4 forgotten twice
    ["1", "", "", "1"],  # 5 right, but seen only twice
    ["1", "", "0", "1"],  # 6 forgotten over an epoch in which it was not seen
    ["11", "1", "1", "11"],  # 7 duplicates, always right
    ["1", "10", "1", "1"],  # 8 wrong at one of two views: forgotten
    ["", "", "", ""],  # 9 never seen
]


def test_scripted_sequence_by_hand() -> None:
    filter_, report = run(SCRIPT, Sieving(at_epoch=4, max_fraction=0.9, min_presentations=3))
    assert filter_.forgets.tolist() == [0, 0, 0, 1, 2, 0, 1, 0, 1, 0]
    assert filter_.removed.tolist() == [0, 1, 7]
    assert filter_.kept.tolist() == [2, 3, 4, 5, 6, 8, 9]
    assert report is not None
    assert (report.unforgettable, report.forgotten, report.never_learned, report.too_few) == (3, 4, 1, 2)
    assert (report.removed, report.num_examples, report.fraction, report.epoch) == (3, 10, 0.3, 4)


def test_nothing_is_removed_earlier_and_nothing_is_noted_later() -> None:
    filter_ = Sieve(Sieving(at_epoch=2, min_presentations=1, max_fraction=0.5), num_examples=2)
    for epoch, right in enumerate([[1, 1], [1, 0], [0, 0]], start=1):
        filter_.observe(torch.arange(2), torch.tensor(right).bool())
        report = filter_.end_epoch()
        assert (report is not None) == (epoch == 2)
        assert filter_.kept.tolist() == ([0, 1] if epoch == 1 else [1])
    assert filter_.forgets.tolist() == [0, 1]
    assert filter_.epoch == 3


@pytest.mark.parametrize("seed", range(4))
def test_random_sequences_equal_the_reference(seed: int) -> None:
    draw = random.Random(seed)
    epochs, count = draw.randint(1, 7), draw.randint(1, 60)
    words = ["", "0", "1", "1", "1", "11", "10"]
    script = [[draw.choice(words) for _ in range(epochs)] for _ in range(count)]
    script[0] = ["1"] * epochs  # no epoch is empty
    settings = Sieving(
        at_epoch=epochs,
        max_fraction=draw.choice([0.05, 0.2, 0.9]),
        min_presentations=draw.randint(1, min(4, epochs)),
        only_unforgettable=draw.random() < 0.5,
    )
    filter_, report = run(script, settings, seed=seed)
    facts = [presented([[view == "1" for view in word] for word in row]) for row in script]
    assert filter_.forgets.tolist() == [fact["forgets"] for fact in facts]
    may_go = {
        index
        for index, fact in enumerate(facts)
        if fact["ever"]
        and fact["presentations"] >= settings.min_presentations
        and (not settings.only_unforgettable or fact["forgets"] == 0)
    }
    removed = filter_.removed.tolist()
    assert set(removed) <= may_go
    assert len(removed) == min(len(may_go), settings.most_removed(count))
    if removed:  # none of those that stay was forgotten less often
        assert max(facts[i]["forgets"] for i in removed) <= min(
            (facts[i]["forgets"] for i in may_go - set(removed)), default=10**6
        )
    assert report is not None
    assert report.unforgettable + report.forgotten + report.never_learned + report.too_few == count


def test_order_of_batches_and_of_examples_does_not_matter() -> None:
    outcomes = set()
    for order in range(5):
        filter_ = Sieve(Sieving(at_epoch=3, max_fraction=0.3, min_presentations=1), num_examples=20)
        for epoch in range(3):
            correct = torch.rand(20, generator=torch.Generator().manual_seed(epoch)) < 0.8
            indices = torch.randperm(20, generator=torch.Generator().manual_seed(100 * order + epoch))
            for part in indices.split(7):
                filter_.observe(part, correct[part])
            filter_.end_epoch()
        outcomes.add((tuple(filter_.forgets.tolist()), tuple(filter_.removed.tolist())))
    assert len(outcomes) == 1


def test_ties_fall_by_the_seed() -> None:
    settings = Sieving(at_epoch=1, max_fraction=0.1, min_presentations=1)
    gone = [run([["1"]] * 100, settings, seed=seed)[0].removed.tolist() for seed in (0, 0, 1)]
    assert gone[0] == gone[1] != gone[2]
    assert [len(each) for each in gone] == [10, 10, 10]


def test_report_by_class() -> None:
    labels = torch.tensor([5, 5, 7])
    _, report = run(
        [["1"], ["0"], ["1"]], Sieving(at_epoch=1, max_fraction=0.9, min_presentations=1), labels=labels
    )
    assert report is not None
    assert report.per_class == {5: (1, 2), 7: (1, 1)}
    assert report.to_dict()["per_class"] == {"5": [1, 2], "7": [1, 1]}
    assert "removed 2 of 3 examples (66.7%)" in str(report)


def test_state_continues_in_the_middle_of_an_epoch() -> None:
    def batches(filter_: Sieve, start: int, stop: int) -> None:
        for number in range(start, stop):  # epochs of four batches
            generator = torch.Generator().manual_seed(number)
            filter_.observe(
                torch.randperm(40, generator=generator)[:10], torch.rand(10, generator=generator) < 0.7
            )
            if number % 4 == 3:
                filter_.end_epoch()

    settings = Sieving(at_epoch=4, max_fraction=0.2, min_presentations=2)
    whole = Sieve(settings, num_examples=40, seed=3)
    batches(whole, 0, 20)
    for stop in (6, 19):  # before the removal, and after it
        first, second = Sieve(settings, num_examples=40, seed=3), Sieve(settings, num_examples=40)
        batches(first, 0, stop)
        second.load_state_dict(first.state_dict())
        batches(second, stop, 20)
        for (name, mine), other in zip(second.state_dict().items(), whole.state_dict().values(), strict=True):
            assert torch.equal(mine, other) if isinstance(mine, torch.Tensor) else mine == other, name


def test_foreign_state_is_refused() -> None:
    state = Sieve(Sieving(at_epoch=3), num_examples=3).state_dict()
    with pytest.raises(CheckpointError, match="num_examples 4, got 3"):
        Sieve(Sieving(at_epoch=3), num_examples=4).load_state_dict(state)
    with pytest.raises(CheckpointError, match="settings"):
        Sieve(Sieving(at_epoch=4), num_examples=3).load_state_dict(state)


def test_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match="at_epoch: expected at least 1"):
        Sieving(at_epoch=0)
    with pytest.raises(ValueError, match=r"max_fraction: expected a fraction 0 < x < 1, got 1"):
        Sieving(at_epoch=3, max_fraction=1)
    with pytest.raises(ValueError, match="min_presentations"):
        Sieving(at_epoch=1, min_presentations=0)
    with pytest.raises(ValueError, match=r"min_presentations: expected 1 to at_epoch \(2\).*got 3"):
        Sieving(at_epoch=2)
    with pytest.raises(ValueError, match="at_epoch: expected a whole number of epochs, got '4'"):
        Sieving(at_epoch="4")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"max_fraction: expected a fraction 0 < x < 1, got '0.3'"):
        Sieving(at_epoch=4, max_fraction="0.3")  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"num_examples: expected at least 1, got 2\.5"):
        Sieve(Sieving(at_epoch=3), num_examples=2.5)  # type: ignore[arg-type]
    filter_ = Sieve(Sieving(at_epoch=3), num_examples=3)
    right = torch.ones(2).bool()
    for indices, correct, words in (
        ([0, 1], right, r"as tensors \[N\], got list and Tensor"),
        (torch.tensor([0.0, 1.0]), right, "got torch.float32 and torch.bool"),
        (torch.arange(2), torch.ones(2), "got torch.int64 and torch.float32"),
        (torch.tensor([0, 3]), right, "indices from 0 to 2 .* got 3"),
        (torch.tensor([-1, 0]), right, "indices from 0 to 2 .* got -1"),
    ):
        with pytest.raises(DataError, match=words):
            filter_.observe(indices, correct)  # type: ignore[arg-type]
    filter_.observe(torch.arange(0), right[:0])
    with pytest.raises(DataError, match=r"one shape \[N\], got \(2,\) and \(3,\)"):
        filter_.observe(torch.arange(2), torch.ones(3).bool())
    for labels, words in (
        (torch.arange(2), r"one for each of 3 examples, got \(2,\)"),
        ([0, 1, 2], "a tensor of whole numbers, got list"),
        (torch.arange(3).numpy(), "a tensor of whole numbers, got ndarray"),
        (torch.ones(3), "a tensor of whole numbers, got torch.float32"),
    ):
        with pytest.raises(DataError, match=f"labels: expected {words}"):
            Sieve(Sieving(at_epoch=3), num_examples=3, labels=labels)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="rank: expected 0 to 1, got 2"):
        SieveSampler(filter_, num_replicas=2, rank=2)


def test_forgetting_between_ranks_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two ranks, each its own half, halves exchanged each epoch: the sum of local counts would miss every forgetting."""
    together = [Sieve(Sieving(at_epoch=9), num_examples=4) for _ in range(2)]
    alone = Sieve(Sieving(at_epoch=9), num_examples=4)
    monkeypatch.setattr(ranks, "world_size", lambda: 2)
    for epoch in range(3):
        correct = torch.tensor([True, True, False, True]) if epoch != 1 else torch.tensor([False] * 4)
        for rank, filter_ in enumerate(together):
            mine = torch.arange(2) + 2 * ((rank + epoch) % 2)
            mine = torch.cat([mine, torch.tensor([3])])  # filled up: on both ranks
            filter_.observe(mine, correct[mine])
        shown = torch.stack([filter_._now for filter_ in together]).amax(dim=0)
        monkeypatch.setattr(sieve.dist, "all_reduce", lambda tensor, op, shown=shown: tensor.copy_(shown))
        for filter_ in together:
            filter_.end_epoch()
        with monkeypatch.context() as single:
            single.setattr(ranks, "world_size", lambda: 1)
            alone.observe(torch.arange(4), correct)
            alone.end_epoch()
    assert [filter_.forgets.tolist() for filter_ in together] == [[1, 1, 0, 1]] * 2
    assert torch.equal(together[0]._presentations, alone._presentations)


def test_sampler_gives_what_is_kept_to_all_ranks_once() -> None:
    filter_, _ = run(
        [["1"], ["0"], ["1"], ["0"], ["0"]], Sieving(at_epoch=1, max_fraction=0.4, min_presentations=1)
    )
    assert list(SieveSampler(filter_, shuffle=False)) == [1, 3, 4]
    shares = []
    for rank in range(2):
        sampler = SieveSampler(filter_, seed=1, num_replicas=2, rank=rank)
        sampler.set_epoch(4)
        shares.append(list(sampler))
        assert list(sampler) == shares[-1]
        assert len(sampler) == len(shares[-1]) == 2
    assert sorted({*shares[0], *shares[1]}) == [1, 3, 4]
    assert len([*shares[0], *shares[1]]) == 4  # one stands twice, to fill up


def test_sampler_shuffles_by_epoch_and_feeds_a_loader() -> None:
    filter_ = Sieve(Sieving(at_epoch=3), num_examples=50)
    sampler = SieveSampler(filter_)
    first = list(sampler)
    sampler.set_epoch(1)
    assert sorted(sampler) == sorted(first) == list(range(50))
    assert list(sampler) != first
    loader = DataLoader(TensorDataset(torch.arange(50)), batch_size=16, sampler=sampler)
    assert [int(i) for (part,) in loader for i in part] == list(sampler)
