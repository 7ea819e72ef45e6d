"""P-GaP in this process: what is combined how, counts, retries, resume, and what is refused."""

import copy
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from gossamer.errors import CheckpointError, EngineError, FileError
from gossamer.training import GaP, Sparsifier, Static
from gossamer.training.compact import compact_
from gossamer.training.foresight import peak_kept
from gossamer.training.parallel import (
    Grown,
    InTurn,
    LocalProcesses,
    Ranks,
    Turn,
    Workers,
    grow_in_parallel,
    processes,
)
from gossamer.training.parallel.combine import combine, owners
from gossamer.training.parallel.turn import Job
from gossamer.training.parallel.workers import Outcome
from tests.training.helpers import NOTHING, is_plus_zero
from tests.training.parallel.jobs import (
    SIZES,
    Dies,
    LeavesAThread,
    Normed,
    StopsInRound,
    steps,
    train,
    train_adam,
    train_from_a_loader,
)

E = 3


def gap(**settings: Any) -> GaP:
    return GaP(
        **{
            "sparsity": 0.5,
            "partitions": 3,
            "order": "parallel",
            "steps_per_stage": E,
            "rounds": 2,
            "finetune": 2,
            **settings,
        }
    )


def grow(
    model: nn.Module | None = None, *, train: Any = train, workers: Workers | None = None, **settings: Any
) -> tuple[nn.Module, Grown]:
    model = Normed() if model is None else model
    own = {
        name: settings.pop(name)
        for name in ("others", "retries", "checkpoint", "threads")
        if name in settings
    }
    method = gap(**settings)
    grown = grow_in_parallel(
        model, method, train=train, workers=workers or InTurn(), seed=5, protect=NOTHING, **own
    )
    return model, grown


def equal(first: nn.Module, second: nn.Module) -> bool:
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_the_network_ends_at_its_target_and_every_turn_is_in_the_report() -> None:
    model, grown = grow()
    assert [int(mask.sum()) for mask in grown.masks.values()] == [24, 32, 16]
    for name, mask in grown.masks.items():
        assert is_plus_zero(model.get_parameter(name).detach()[~mask])
    rows = grown.report.rows
    assert [(row.round, row.partition, row.steps) for row in rows] == [
        (0, 0, E),
        (0, 1, E),
        (0, 2, E),
        (1, 0, E),
        (1, 1, E),
        (1, 2, E),
        (2, None, 2),
    ]
    assert grown.report.machine_steps == 6 * E + 2
    assert grown.report.longest_steps == 2 * E + 2
    assert [row.peak_kept for row in rows[:3]] == [72 + size // 2 for size in SIZES]
    assert grown.report.peak_kept == peak_kept(
        gap(order="cyclic"), Sparsifier(model, Static(sparsity=0.5), protect=NOTHING).shapes
    )
    assert "20 steps of all workers, 8 one after the other; peak density 72.2%, sparsity 50.00%" in str(
        grown.report
    )


@pytest.mark.parametrize("function", [train, train_adam])
@pytest.mark.parametrize("allocation", ["uniform", "erk", "global_rank"])
def test_one_partition_equals_the_cyclic_method_bit_for_bit(function: Any, allocation: str) -> None:
    class Plain(Normed):
        def forward(self, x: torch.Tensor) -> torch.Tensor:  # without dropout, whose generator differs
            return self.third(torch.relu(self.second(torch.relu(self.norm(self.first(x))))))

    parallel, grown = grow(Plain(), train=function, partitions=1, allocation=allocation)
    cyclic = Plain()
    method = gap(order="cyclic", partitions=1, allocation=allocation)

    class Whole:
        """A turn that is the whole run."""

        first_step, steps = 0, 2 * E + 2
        sparsifier: Any = None

        def attach(self, model: nn.Module, optimizer: Any) -> None:
            self.sparsifier = Sparsifier(model, method, optimizer, seed=5, protect=NOTHING)

    turn: Any = Whole()
    function(cyclic, turn)
    assert equal(parallel, cyclic)
    assert all(torch.equal(mask, turn.sparsifier.masks[name]) for name, mask in grown.masks.items())


class Shuffled:
    """Workers that carry out the last job first."""

    def run(self, jobs: Any, *, retries: int) -> list[Outcome]:
        return InTurn().run(jobs[::-1], retries=retries)[::-1]

    def agree(self, make: Any) -> Any:
        return make()


def test_the_order_in_which_workers_finish_does_not_matter() -> None:
    assert equal(grow()[0], grow(workers=Shuffled())[0])


def test_permuted_partitions_give_the_same_model() -> None:
    def same(model: nn.Module, turn: Turn) -> None:  # the same random numbers in every partition
        torch.manual_seed(turn.round)
        train(model, turn)

    one, _ = grow(train=same, partitions=(("first",), ("second",), ("third",)))
    other, _ = grow(train=same, partitions=(("third",), ("first",), ("second",)))
    assert equal(one, other)


def test_every_tensor_comes_from_where_the_rule_says() -> None:
    seen: list[dict[str, torch.Tensor]] = []

    class Spy(InTurn):
        def run(self, jobs: Any, *, retries: int) -> list[Outcome]:
            outcomes = super().run(jobs, retries=retries)
            seen.extend(dict(outcome.result.state) for outcome in outcomes)
            return outcomes

    for others in ("average", "owner"):
        seen.clear()
        model, grown = grow(workers=Spy(), rounds=1, finetune=0, others=others)
        state = model.state_dict()
        for index, layer in enumerate(("first", "second", "third")):
            mask = grown.masks[f"{layer}.weight"]
            assert torch.equal(state[f"{layer}.weight"], seen[index][f"{layer}.weight"] * mask)
        running = [worker["norm.running_mean"] for worker in seen]
        biases = [worker["third.bias"] for worker in seen]
        if others == "average":
            assert torch.allclose(state["norm.running_mean"], sum(running) / 3, atol=1e-7)
            assert torch.allclose(state["third.bias"], sum(biases) / 3, atol=1e-7)
        else:
            assert torch.equal(state["norm.running_mean"], running[0])
            assert torch.equal(state["third.bias"], biases[2])
        assert int(state["norm.num_batches_tracked"]) == E


def test_a_tensor_without_a_rule_is_refused() -> None:
    weight = torch.ones(2)
    flags = [{"w": weight, "flag": torch.tensor(value)} for value in (True, False)]
    with pytest.raises(
        EngineError, match=r"'flag' \(torch.bool\) has no mean: .* partition 1; use others='owner'"
    ):
        combine(flags, [["w"], []], "average")
    assert bool(combine(flags, [["w"], []], "owner")["flag"])
    with pytest.raises(EngineError, match="'extra' has no owner"):
        combine([{"w": weight}, {"w": weight, "extra": weight}], [["w"], []], "average")
    with pytest.raises(EngineError, match=r"expected 'w' of shape \(2,\) as in the others, got none"):
        combine([{"w": weight}, {}], [["w"], []], "average")
    with pytest.raises(EngineError, match="expected 'v' among the tensors of the model"):
        owners(["w"], [["v"]])


def test_counts_take_the_largest_and_means_do_not_depend_on_the_order() -> None:
    states = [
        {"w": torch.ones(1), "n": torch.tensor(n), "b": torch.tensor([b])}
        for n, b in ((3, 0.1), (5, 1e8), (4, -1e8))
    ]
    combined = combine(states, [["w"], [], []], "average")
    assert int(combined["n"]) == 5
    for order in ((2, 1, 0), (1, 0, 2)):
        assert torch.equal(
            combine([states[i] for i in order], [["w"], [], []], "average")["b"], combined["b"]
        )
    assert combined["b"].item() == pytest.approx(0.1 / 3)


def test_a_lost_turn_is_tried_again_and_changes_nothing(tmp_path: Path) -> None:
    whole, _ = grow()
    model, grown = grow(train=Dies(tmp_path, partition=1, times=2), retries=2)
    assert equal(whole, model)
    assert [row.retries for row in grown.report.rows] == [0, 2, 0, 0, 0, 0, 0]
    assert "power is out" in grown.report.rows[1].lost[0]
    assert grown.report.retries == 2


def test_a_turn_that_is_lost_too_often_says_so(tmp_path: Path) -> None:
    with pytest.raises(
        EngineError,
        match=r"round 0: the worker of partition 1 was lost 2 times \(retries=1\)(?s:.*)power is out",
    ):
        grow(train=Dies(tmp_path, partition=1, times=9))


@pytest.mark.parametrize("number", [1, 2])
def test_a_run_goes_on_at_the_round_where_it_was_stopped(tmp_path: Path, number: int) -> None:
    whole, expected = grow()
    path = tmp_path / "round.pt"
    with pytest.raises(EngineError, match="stopped"):
        grow(train=StopsInRound(number), checkpoint=path)
    torch.manual_seed(1234)  # must not matter
    model, grown = grow(checkpoint=path)
    assert equal(whole, model)
    assert all(torch.equal(mask, expected.masks[name]) for name, mask in grown.masks.items())
    assert [(row.round, row.partition, row.steps) for row in grown.report.rows] == [
        (row.round, row.partition, row.steps) for row in expected.report.rows
    ]
    again, _ = grow(train=StopsInRound(0), checkpoint=path)  # finished: nothing is trained any more
    assert equal(whole, again)


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "round.pt"
    grow(checkpoint=path)
    with pytest.raises(CheckpointError, match=r"belongs to another run: .*rounds=1"):
        grow(checkpoint=path, rounds=1)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CheckpointError, match="no complete checkpoint"):
        grow(checkpoint=path)
    torch.save({"step": 1}, path)
    with pytest.raises(CheckpointError, match="got something else"):
        grow(checkpoint=path)


def test_a_checkpoint_that_cannot_be_written_is_refused_before_a_turn() -> None:
    with pytest.raises(FileError, match=r"cannot write /proc/round\.pt"):
        grow(train=StopsInRound(0), checkpoint="/proc/round.pt")


def test_random_state_and_threads_are_left_alone() -> None:
    model = Normed()
    torch.manual_seed(7)
    before = torch.get_rng_state()
    grow(model, threads=1)
    assert torch.equal(torch.get_rng_state(), before)
    threads = torch.get_num_threads()
    grow(threads=threads + 1)
    assert torch.get_num_threads() == threads


def test_training_functions_that_forget_something_are_told() -> None:
    def forgets(model: nn.Module, turn: Turn) -> None:
        pass

    def idle(model: nn.Module, turn: Turn) -> None:
        turn.attach(model, torch.optim.SGD(model.parameters(), lr=0.1))

    def twice(model: nn.Module, turn: Turn) -> None:
        idle(model, turn)
        idle(model, turn)

    for function, words in (
        (forgets, r"forgets\(model, turn\): expected it to call turn.attach"),
        (idle, "expected 3 optimizer steps"),
        (twice, "expected one call a turn"),
    ):
        with pytest.raises(EngineError, match=words):
            grow(train=function)


def test_a_mask_that_changed_elsewhere_is_found() -> None:
    class Meddles(InTurn):
        def run(self, jobs: Any, *, retries: int) -> list[Outcome]:
            outcomes = super().run(jobs, retries=retries)
            outcomes[0].result.masks["third.weight"].fill_(True)
            return outcomes

    with pytest.raises(
        EngineError, match=r"worker of partition 0: expected the mask of 'third.weight' as it was sent"
    ):
        grow(workers=Meddles())


def test_turns_say_where_they_are() -> None:
    told: list[tuple[Any, ...]] = []

    def notes(model: nn.Module, turn: Turn) -> None:
        told.append((turn.round, turn.partition, turn.first_step, turn.steps, turn.seed))
        train(model, turn)

    grow(train=notes, partitions=2)
    assert [told[i][:4] for i in range(5)] == [
        (0, 0, 0, 3),
        (0, 1, 0, 3),
        (1, 0, 3, 3),
        (1, 1, 3, 3),
        (2, None, 6, 2),
    ]
    assert len({row[4] for row in told}) == 5


def test_partitions_open_at_zero_and_the_rest_stays(tmp_path: Path) -> None:
    def looks(model: nn.Module, turn: Turn) -> None:
        before = copy.deepcopy(model)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        sparsifier = turn.attach(model, optimizer)
        assert equal(before, model)  # opening changes no value
        dense = [bool(mask.all()) for mask in sparsifier.masks.values()]
        assert dense == [turn.partition == index for index in range(3)]
        for _ in range(turn.steps):
            nn.functional.mse_loss(model(torch.ones(4, 6)), torch.zeros(4, 4)).backward()
            optimizer.step()

    grow(train=looks)


def test_what_cannot_be_meant_is_refused() -> None:
    for settings, words in (
        ({"order": "cyclic"}, r"expected GaP\(…, order='parallel'\)"),
        ({"others": "sum"}, "others to be average or owner"),
        ({"retries": -1}, "whole number of at least 0 as retries, got -1"),
        ({"retries": "2"}, "as retries, got '2'"),
        ({"threads": 0}, "whole number of at least 1 as threads, or None for as many as here, got 0"),
        ({"workers": 2}, r"workers such as InTurn\(\) or LocalProcesses\(2\), got 2"),
        ({"train": None}, r"a function train\(model, turn\), got None"),
    ):
        with pytest.raises(EngineError, match=words):
            grow(**settings)
    with pytest.raises(EngineError, match="at least 1 process, got 0"):
        LocalProcesses(0)
    with pytest.raises(EngineError, match="expected an initialised process group"):
        Ranks()


def test_a_function_that_cannot_be_sent_is_refused_before_a_process_starts() -> None:
    with pytest.raises(EngineError, match="defined at the top level of a module"):
        grow(train=lambda model, turn: steps(model, None, turn), workers=LocalProcesses(1))


def test_two_processes_equal_the_sequential_run_bit_for_bit() -> None:
    assert equal(grow(rounds=1, partitions=2)[0], grow(rounds=1, partitions=2, workers=LocalProcesses(2))[0])


def test_a_worker_may_have_processes_of_its_own() -> None:
    model, _ = grow(
        train=train_from_a_loader, rounds=1, partitions=1, finetune=0, workers=LocalProcesses(1), threads=1
    )
    alone, _ = grow(train=train_from_a_loader, rounds=1, partitions=1, finetune=0, threads=1)
    assert equal(model, alone)


def test_a_worker_that_has_sent_its_result_is_not_waited_for_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(processes, "ENDS_WITHIN", 0.5)
    begun = time.monotonic()
    grow(train=LeavesAThread(600.0), rounds=1, partitions=1, finetune=0, workers=LocalProcesses(1))
    assert time.monotonic() - begun < 300


def test_jobs_carry_no_hooks_of_the_parent() -> None:
    jobs: list[Job] = []

    class Keeps(InTurn):
        def run(self, given: Any, *, retries: int) -> list[Outcome]:
            jobs.extend(given)
            return super().run(given, retries=retries)

    grow(workers=Keeps())
    assert all(not module._load_state_dict_post_hooks for module in jobs[0].model.modules())


def test_compact_layers_are_refused_in_a_short_sentence() -> None:
    model = nn.Sequential(*(nn.Linear(8, 8) for _ in range(3)))
    compact_(model, 0.6, protect=NOTHING)
    with pytest.raises(
        EngineError, match=r"expected a dense model, got 3 compact layers \('0' is the first\)"
    ) as refused:
        grow_in_parallel(
            model, GaP(sparsity=0.6, partitions=2, order="parallel"), train=train, workers=InTurn()
        )
    assert "to_dense(model) first" in str(refused.value)
    assert len(str(refused.value)) < 300
