"""P-GaP: in every round each of K workers opens its own partition of the same sparse model and trains; then they are combined and pruned.

    start    every layer at the target sparsity
    round r  all K workers get this model; worker i grows partition i, trains E steps, and talks to nobody
             COMBINE: partition i comes from worker i, everything else by a stated rule (combine.py)
             PRUNE every partition to the target by magnitude
    end      fine-tune under fixed masks

A round takes the time of one stage on K machines, and the work of K. With one partition it is C-GaP with one partition, bit for bit.
Results do not depend on the kind of workers, their number, or the order in which they finish.

Paper: Effective Model Sparsification by Scheduled Grow-and-Prune Methods, ICLR 2022 (P-GaP). The paper does not say what becomes of biases,
norms and layers outside the partitions; the released code takes some from one worker and leaves others as the receiving process had them.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from gossamer.errors import EngineError
from gossamer.files import check_place
from gossamer.sparsity.patterns.pattern import is_whole
from gossamer.training.compact.layer import CompactLayer
from gossamer.training.edits import Edit, Shapes
from gossamer.training.engine import Sparsifier
from gossamer.training.layers import unwrap
from gossamer.training.methods.gap import GaP
from gossamer.training.parallel import saved
from gossamer.training.parallel.combine import OTHERS, combine
from gossamer.training.parallel.report import ParallelReport, TurnRow
from gossamer.training.parallel.saved import Round
from gossamer.training.parallel.turn import Act, Job, Train
from gossamer.training.parallel.workers import Outcome, Workers
from gossamer.training.protection import Protection
from gossamer.training.reports import Summary


def grow_in_parallel(
    model: nn.Module,
    method: GaP,
    *,
    train: Train,
    workers: Workers,
    seed: int = 0,
    protect: Protection | None = None,
    layers: Sequence[str] | None = None,
    others: str = "average",
    retries: int = 1,
    threads: int | None = None,
    checkpoint: Path | str | None = None,
    watcher: "RoundWatcher | None" = None,
) -> "Grown":
    """Trains `model` in place by P-GaP, and returns its masks with a report of what it cost.

    `train(model, turn)` carries out one turn (see `Turn`). `others`: what becomes of tensors outside the partitions ("average",
    "owner"). `retries`: how often a lost turn is tried again. `threads`: of torch in every worker (None: as many as here; another number
    of threads may change the last bits). `checkpoint`: a file written after every round; a run that finds it goes on from there. `watcher`
    is told of every round.

    >>> from gossamer.training.parallel import InTurn
    >>> def train(model, turn):
    ...     optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    ...     turn.attach(model, optimizer)
    ...     for step in range(turn.first_step, turn.first_step + turn.steps):
    ...         batch = torch.randn(8, 4, generator=torch.Generator().manual_seed(step))
    ...         optimizer.zero_grad()
    ...         model(batch).square().mean().backward()
    ...         optimizer.step()
    >>> torch.manual_seed(0)  # doctest: +ELLIPSIS
    <torch._C.Generator object at ...>
    >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 4))
    >>> method = GaP(sparsity=0.75, partitions=2, order="parallel", steps_per_stage=5, rounds=2, finetune=3)
    >>> grown = grow_in_parallel(model, method, train=train, workers=InTurn(), protect=Protection(first=False, last=False))
    >>> grown.report.machine_steps, grown.report.longest_steps, grown.report.peak_density, grown.report.sparsity
    (23, 13, 0.625, 0.75)
    """
    _check(model, method, train, workers, others, retries, threads)
    checkpoint = None if checkpoint is None else Path(checkpoint)
    run = _Run(method=method, seed=seed, protect=protect, layers=layers)
    settings = f"{method!r}, seed {seed}, others {others!r}, protect {protect!r}, layers {layers!r}"
    begun = workers.agree(lambda: _begun(model, checkpoint, settings))
    _load(model, begun.state)
    edited = run.edit(model, () if begun.masks else method.starting_edits(), masks=begun.masks or None)
    rows = list(begun.rows)
    for number in range(begun.next_round, method.rounds + 1):
        if watcher is not None:
            watcher.begins(number)
        jobs = run.jobs(model, edited.masks, number, train, threads or torch.get_num_threads())
        told: list[TurnRow] = []
        if jobs:
            outcomes = workers.run(jobs, retries=retries)
            told = [_row(job, outcome) for job, outcome in zip(jobs, outcomes, strict=True)]
            rows += told
            states = [outcome.result.state for outcome in outcomes]
            if number == method.rounds:
                _load(model, states[0])
                edited = run.edit(model, (), masks=edited.masks)
            else:
                partitions = method.split_by.split(edited.shapes)
                opened = _opened(edited.masks, partitions, outcomes)
                _load(model, combine(states, partitions, others))
                prunings = tuple(method.pruning(index) for index in range(len(partitions)))
                edited = run.edit(model, prunings, masks=opened)
        if watcher is not None:
            watcher.ended(number, told, edited.summary)
        if checkpoint is not None:
            ended = Round(
                run=settings, next_round=number + 1, state=_state(model), masks=edited.masks, rows=rows
            )
            workers.agree(partial(saved.save, ended, checkpoint))
    summary = edited.summary
    return Grown(
        masks=edited.masks,
        summary=summary,
        report=ParallelReport(rows=tuple(rows), size=summary.size, num_kept=summary.num_kept),
    )


class RoundWatcher(Protocol):
    """Who is told of rounds, with several ranks on each of them. The fine-tuning comes as the round behind the last."""

    def begins(self, number: int) -> None:
        """Before a round; the first call says where a run goes on."""
        ...

    def ended(self, number: int, rows: Sequence[TurnRow], summary: Summary) -> None:
        """After a round, when the model is the combined one, and before it is saved. `rows`: none where nothing had to be trained."""
        ...


@dataclass(frozen=True, kw_only=True)
class Grown:
    """The outcome: masks by weight name, the state of the network, and what it cost."""

    masks: Mapping[str, Tensor]
    summary: Summary
    report: ParallelReport


@dataclass(frozen=True, kw_only=True)
class _Edited:
    """A network between two rounds."""

    summary: Summary
    masks: Mapping[str, Tensor]
    shapes: Shapes


@dataclass(frozen=True, kw_only=True)
class _Run:
    """What stays the same from round to round."""

    method: GaP
    seed: int
    protect: Protection | None
    layers: Sequence[str] | None

    def edit(self, model: nn.Module, edits: tuple[Edit, ...], masks: Mapping[str, Tensor] | None) -> _Edited:
        """Carries out edits on the model here, under these masks (None: it is still dense)."""
        sparsifier = Sparsifier(
            model,
            Act(gap=self.method, edits=edits, initial=self.method.initial if masks is None else "given"),
            seed=self.seed,
            protect=self.protect,
            layers=self.layers,
            masks=masks,
        )
        summary = sparsifier.finalize().summary
        kept = {name: mask.cpu().clone() for name, mask in sparsifier.masks.items()}
        return _Edited(summary=summary, masks=kept, shapes=sparsifier.shapes)

    def jobs(
        self, model: nn.Module, masks: Mapping[str, Tensor], number: int, train: Train, threads: int
    ) -> list[Job]:
        """The turns of a round; behind the last round the fine-tuning, which may have no steps: then no turn."""
        method, fine_tuning = self.method, number == self.method.rounds
        turns: list[int | None] = [None] if fine_tuning else list(range(len(method.split_by)))
        steps = method.finetune if fine_tuning else method.steps_per_stage
        return [
            Job(
                model=model,
                masks=masks,
                method=method,
                partition=partition,
                round=number,
                steps=steps,
                first_step=number * method.steps_per_stage,
                seed=_seed(self.seed, number, partition),
                threads=threads,
                protect=self.protect,
                layers=self.layers,
                train=train,
            )
            for partition in turns
            if steps
        ]


def _check(
    model: nn.Module,
    method: GaP,
    train: object,
    workers: object,
    others: str,
    retries: int,
    threads: int | None,
) -> None:
    given: object = method
    if not isinstance(given, GaP) or method.order != "parallel":
        raise EngineError(
            f"grow_in_parallel: expected GaP(…, order='parallel') as method, got {method!r}; other methods train with a Sparsifier"
        )
    compact = [name for name, module in model.named_modules() if isinstance(module, CompactLayer)]
    if compact:
        raise EngineError(
            f"grow_in_parallel: expected a dense model, got {len(compact)} compact layers ({compact[0]!r} is the first), which have no "
            "room for the whole partition that a worker grows; to_dense(model) first, and compact_(model, masks=…) the trained one"
        )
    if not callable(train):
        raise EngineError(f"grow_in_parallel: expected a function train(model, turn), got {train!r}")
    if isinstance(workers, type) or not hasattr(workers, "agree"):
        raise EngineError(
            f"grow_in_parallel: expected workers such as InTurn() or LocalProcesses(2), got {workers!r}"
        )
    if others not in OTHERS:
        raise EngineError(f"grow_in_parallel: expected others to be {' or '.join(OTHERS)}, got {others!r}")
    if not is_whole(retries) or retries < 0:
        raise EngineError(
            f"grow_in_parallel: expected a whole number of at least 0 as retries, got {retries!r}"
        )
    if threads is not None and (not is_whole(threads) or threads < 1):
        raise EngineError(
            f"grow_in_parallel: expected a whole number of at least 1 as threads, or None for as many as here, got {threads!r}"
        )


def _opened(
    masks: Mapping[str, Tensor], partitions: Sequence[Sequence[str]], outcomes: Sequence[Outcome]
) -> dict[str, Tensor]:
    """The masks of the combined model: each partition's from its worker, who must have left the others alone."""
    opened = dict(masks)
    for index, (names, outcome) in enumerate(zip(partitions, outcomes, strict=True)):
        for name, mask in outcome.result.masks.items():
            if name in names:
                opened[name] = mask
            elif not torch.equal(mask, masks[name]):
                raise EngineError(
                    f"worker of partition {index}: expected the mask of {name!r} as it was sent, got another one; only its own partition "
                    "may change"
                )
    return opened


def _begun(model: nn.Module, checkpoint: Path | None, settings: str) -> Round:
    """Where the run goes on: at the checkpoint, else before the first round, with the weights of this process and no masks yet."""
    found = None if checkpoint is None else saved.load(checkpoint, run=settings)
    if checkpoint is not None:
        check_place(checkpoint)  # before a round is trained for nothing
    return found or Round(run=settings, next_round=0, state=_state(model), masks={}, rows=())


def _state(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu() for name, tensor in unwrap(model).state_dict().items()}


def _load(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    unwrap(model).load_state_dict(state)


def _row(job: Job, outcome: Outcome) -> TurnRow:
    return TurnRow(
        round=job.round,
        partition=job.partition,
        steps=outcome.result.steps,
        seconds=outcome.result.seconds,
        peak_kept=outcome.result.peak_kept,
        lost=outcome.lost,
    )


def _seed(seed: int, number: int, partition: int | None) -> int:
    drawn = hashlib.sha256(f"{seed}/{number}/{partition}".encode()).digest()
    return int.from_bytes(drawn[:8], "little") >> 1
