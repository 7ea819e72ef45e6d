"""GaP, scheduled grow-and-prune: partitions of a sparse network become dense in turn, train, and are pruned back.

    start    every layer at the target sparsity
    stage j  prune the partition grown in stage j - 1 back by magnitude; grow partition Λ of stage j: all of it, at zero;
             fresh optimizer, fresh learning rate; train
    end      prune the last one: the whole network is at its target; fine-tune under fixed masks

    kept while Λ is dense = Σ_{l in Λ} n_l + Σ_{l not in Λ} k_l        n_l weights of layer l, k_l its count at the target

so K equal partitions have the peak density 1/K + (1 - s)(1 - 1/K). In K stages of the cyclic order every weight trains at least once.

Paper: Effective Model Sparsification by Scheduled Grow-and-Prune Methods, ICLR 2022: C-GaP is order="cyclic"; P-GaP is
order="parallel", for `gossamer.training.parallel`. Deviations: counts are exact, where the released code compares with a percentile; a
masked weight is zero and gets no update within a stage, where that code under mixed precision goes on training the hidden values. A
pattern whose legal masks never hold a whole weight is grown to the most that it allows.
"""

import hashlib
from dataclasses import dataclass
from functools import lru_cache

from gossamer.errors import MethodError
from gossamer.sparsity.criteria import CRITERIA
from gossamer.sparsity.growth import GROWTH, Random
from gossamer.training.edits import AtSparsity, Counts, Edit, Most, RankedInside, Scope
from gossamer.training.methods.method import (
    Steps,
    check_flags,
    check_is_step,
    check_settings,
    final_sparsity,
)
from gossamer.training.partitions import Inside, Outside, Partitions
from gossamer.training.stages import Stage

ORDERS = ("cyclic", "random", "parallel")


@dataclass(frozen=True, kw_only=True)
class GaP:
    """Each partition dense for `steps_per_stage` steps, `rounds` times, then fine-tuning to the end of training.

    >>> method = GaP(sparsity=0.9, partitions=3, steps_per_stage=100, finetune=200)
    >>> [len(method.edits_at(step)) for step in (0, 99, 100, 200, 300, 301)]  # at 0: the first masks, and the first growth
    [2, 0, 2, 2, 1, 0]
    >>> [(stage.name, stage.steps) for stage in method.stages()]
    [('grow 0', 100), ('grow 1', 100), ('grow 2', 100), ('fine-tune', 200)]
    >>> GaP(sparsity=0.9, partitions=3, rounds=2, order="random", seed=1).turns  # never the same twice running
    (0, 2, 1, 0, 2, 1)
    """

    sparsity: float | None = None  # of the whole network in the end; None for a pattern that fixes it (N:M)
    pattern: str = "unstructured"
    allocation: str = "uniform"  # uniform, erk; global_rank: one ranking inside the partition that was dense
    criterion: str = "magnitude"  # what is kept
    partitions: int | tuple[tuple[str, ...], ...] = 4  # how many, or the layers of each (names, wildcards)
    balance: str = "order"  # of a number of partitions: order (equally many layers), size (of weights)
    order: str = "cyclic"  # cyclic, random (never the same twice running), parallel (one worker each)
    first: int = 0  # the partition that grows first
    seed: int = 0  # of the random order
    steps_per_stage: Steps = 1000
    rounds: int = 1  # stages are partitions x rounds
    finetune: Steps = 0  # as planned; it goes on until training ends
    initial: str = "random"  # random, magnitude
    keep_first: bool = False  # the first partition keeps its initial values, instead of growing from zero
    restart_optimizer: bool = True
    restart_rate: bool = True

    def __post_init__(self) -> None:
        check_settings(self)
        num_partitions = len(self.split_by)
        check_is_step("GaP", steps_per_stage=self.steps_per_stage, finetune=self.finetune)
        check_flags(
            "GaP",
            keep_first=self.keep_first,
            restart_optimizer=self.restart_optimizer,
            restart_rate=self.restart_rate,
        )
        for name, value, least, most in (
            ("seed", self.seed, 0, None),
            ("rounds", self.rounds, 1, None),
            ("first", self.first, 0, num_partitions - 1),
            ("steps_per_stage", self.steps_per_stage, 1, None),
            ("finetune", self.finetune, 0, None),
        ):
            if isinstance(value, bool) or not isinstance(value, int):
                raise MethodError(f"GaP: expected {name} to be a whole number, got {value!r}")
            if value < least or (most is not None and value > most):
                limit = f"at least {least}" if most is None else f"from {least} to {most}"
                raise MethodError(f"GaP: expected {name} {limit}, got {value}")
        if self.order not in ORDERS:
            raise MethodError(f"GaP: expected order to be one of {', '.join(ORDERS)}, got {self.order!r}")
        if self.initial not in ("random", "magnitude"):
            raise MethodError(f"GaP: expected initial random or magnitude, got {self.initial!r}")
        if "gradient" in CRITERIA[self.criterion].needs and self.order == "parallel":
            raise MethodError(
                f"GaP: criterion {self.criterion} reads gradients, which workers do not send: expected magnitude with order='parallel'"
            )
        if self.order == "parallel" and not (self.restart_optimizer and self.restart_rate):
            raise MethodError(
                "GaP: with order='parallel' every worker makes its own optimizer: expected restart_optimizer and restart_rate to stay true"
            )
        if self.keep_first and self.order == "parallel":
            raise MethodError(
                "GaP: expected keep_first=False with order='parallel': all partitions grow at once"
            )

    @property
    def split_by(self) -> Partitions:
        """How a network is split, as a rule."""
        return Partitions(parts=self.partitions, balance=self.balance)

    @property
    def turns(self) -> tuple[int, ...]:
        """The partition of every stage; of order="parallel": of every turn, all of a round together."""
        count = len(self.split_by)
        return _turns(count * self.rounds, count, self.first, self.seed if self.order == "random" else None)

    @property
    def last_edit(self) -> int:
        return self.steps_per_stage * (self.rounds if self.order == "parallel" else len(self.turns))

    @property
    def grows(self) -> bool:
        return True

    def edit_steps(self) -> range:
        return range(0, self.last_edit + 1, self.steps_per_stage)

    def edits_at(self, step: int) -> tuple[Edit, ...]:
        if self.order == "parallel":
            raise MethodError(
                "GaP(order='parallel') grows every partition in a worker of its own: expected "
                "gossamer.training.parallel.grow_in_parallel(model, method, …); a Sparsifier takes order cyclic or random"
            )
        turns = self.turns
        stage, inside = divmod(step, self.steps_per_stage)
        if inside or stage > len(turns):
            return ()
        if stage == 0:
            return (*self.starting_edits(), *(() if self.keep_first else (self.growth(turns[0]),)))
        ended = self.pruning(turns[stage - 1])
        return (ended,) if stage == len(turns) else (ended, self.growth(turns[stage]))

    def stages(self) -> tuple[Stage, ...]:
        wanted = (("optimizer", self.restart_optimizer), ("rate", self.restart_rate))
        restart = frozenset(name for name, wants in wanted if wants)
        names = [f"grow {index}" for index in self.turns]
        if self.order == "parallel":
            names = [f"round {number}" for number in range(self.rounds)]
        return (
            *(Stage(name=name, steps=self.steps_per_stage, restart=restart) for name in names),
            Stage(name="fine-tune", steps=self.finetune, restart=restart),
        )

    # The edits, one by one; workers of order="parallel" use them too.

    def starting_edits(self) -> tuple[Edit, ...]:
        """The first masks: the target counts everywhere (a ranking has nothing to rank yet: then uniform ones)."""
        if self.keep_first and len(self.split_by) == 1:
            return ()
        allocation = "uniform" if self.allocation == "global_rank" else None
        return (
            Edit(
                scope=Outside(self.split_by, self.turns[0]) if self.keep_first else None,
                drop_to=AtSparsity(final_sparsity(self), allocation=allocation),
                drop_by=Random() if self.initial == "random" else CRITERIA["magnitude"],
            ),
        )

    def growth(self, partition: int) -> Edit:
        """All of one partition, at zero."""
        scope: Scope = Inside(self.split_by, partition)
        return Edit(scope=scope, grow_to=Most(), grow_by=GROWTH["all"])

    def pruning(self, partition: int) -> Edit:
        """One partition back to its target counts."""
        sparsity = final_sparsity(self)
        target: Counts = AtSparsity(sparsity)
        if self.allocation == "global_rank" and sparsity is not None:
            target = RankedInside(sparsity)
        return Edit(scope=Inside(self.split_by, partition), drop_to=target, drop_by=CRITERIA[self.criterion])


@lru_cache(maxsize=64)
def _turns(num_stages: int, num_partitions: int, first: int, seed: int | None) -> tuple[int, ...]:
    """In turn, or at random from `seed`: then any partition but the one before is equally likely."""
    turns = [first]
    for stage in range(1, num_stages):
        step = 1
        if seed is not None and num_partitions > 1:
            drawn = hashlib.sha256(f"{seed}/{stage}".encode()).digest()
            step = 1 + int.from_bytes(drawn[:8], "little") % (num_partitions - 1)
        turns.append((turns[-1] + step) % num_partitions)
    return tuple(turns)
