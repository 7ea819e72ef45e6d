"""The sieve of MEST (Yuan et al., NeurIPS 2021, "data efficiency"): train for a while, then go on without what is never forgotten.

An example is *presented* once an epoch, and is right or wrong there, as it was trained on: there is no extra pass. It is *forgotten* when
it was right at its last presentation and is wrong at this one (Toneva et al., ICLR 2019). After epoch `at_epoch` the sieve removes
examples that were learned and never forgotten, no more than `max_fraction` of all; the seed decides which, where there are more.

The statistics are those of whole epochs: an example that stands in a batch twice, or that a distributed sampler has put on two ranks
to fill up, was presented once, and right only if it was right each time. So they do not depend on the order of batches or on which rank
saw what, and a forgetting whose two presentations were on different ranks counts.

Deviations from the authors' code: an example that was forgotten, never learned, or seen fewer than `min_presentations` times is never
removed, whatever `max_fraction` asks for (theirs goes on with forgotten ones); ties fall by the seed, not by an unstable sort.

Dimensions: D examples of the data set, N of a batch. All updates are vectorised, in place, and never wait for the device.
"""

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils.data import Sampler

from gossamer.errors import CheckpointError, DataError
from gossamer.sparsity.patterns.pattern import is_whole
from gossamer.training import ranks

_UNSEEN, _RIGHT, _WRONG = 0, 1, 2  # of an epoch; the larger one wins where an example is seen twice
_MOST = torch.iinfo(torch.int16).max
_VERSION = 1
_TENSORS = ("now", "last", "forgets", "ever", "presentations", "kept_mask")


@dataclass(frozen=True, kw_only=True)
class Sieving:
    """When and how much. at_epoch: epochs that see all examples. max_fraction: of all examples, the most that may be removed.

    only_unforgettable=False removes the least forgotten first, as far as `max_fraction` goes; examples that were never learned, or seen
    too rarely, stay in any case.
    """

    at_epoch: int
    max_fraction: float = 0.25
    only_unforgettable: bool = True
    min_presentations: int = 3

    def __post_init__(self) -> None:
        for name, value in (("at_epoch", self.at_epoch), ("min_presentations", self.min_presentations)):
            if not is_whole(value):
                raise ValueError(f"{name}: expected a whole number of epochs, got {value!r}")
        if self.at_epoch < 1:
            raise ValueError(f"at_epoch: expected at least 1 epoch with all examples, got {self.at_epoch!r}")
        given: object = self.max_fraction
        if not isinstance(given, int | float) or not 0 < given < 1:
            raise ValueError(f"max_fraction: expected a fraction 0 < x < 1, got {self.max_fraction!r}")
        if not 1 <= self.min_presentations <= self.at_epoch:
            raise ValueError(
                f"min_presentations: expected 1 to at_epoch ({self.at_epoch}), because an example is presented once an epoch, got "
                f"{self.min_presentations!r}; lower it, or sieve later"
            )

    def most_removed(self, num_examples: int) -> int:
        """The most examples of so many that may be removed.

        >>> Sieving(at_epoch=3, max_fraction=0.3).most_removed(11)
        3
        """
        return math.floor(self.max_fraction * num_examples + 1e-9)


@dataclass(frozen=True, kw_only=True)
class SieveReport:
    """What a removal found and did; counts of examples. `per_class`: label -> (removed, of so many), where labels are known.

    Every example is one of: unforgettable (learned, seen often enough, never forgotten), forgotten, never learned, seen too rarely.
    """

    epoch: int
    num_examples: int
    unforgettable: int
    forgotten: int
    never_learned: int
    too_few: int
    removed: int
    per_class: Mapping[int, tuple[int, int]]

    @property
    def fraction(self) -> float:
        return self.removed / self.num_examples

    def to_dict(self) -> dict[str, object]:
        """Plain numbers, ready for JSON."""
        per_class = {str(label): list(counts) for label, counts in self.per_class.items()}
        return {**asdict(self), "per_class": per_class, "fraction": self.fraction}

    def __str__(self) -> str:
        return (
            f"after epoch {self.epoch} removed {self.removed:,} of {self.num_examples:,} examples ({self.fraction:.1%}): "
            f"{self.unforgettable:,} unforgettable, {self.forgotten:,} forgotten, {self.never_learned:,} never learned, "
            f"{self.too_few:,} seen too rarely"
        )


class Sieve:
    """Forgetting statistics of a data set of `num_examples`, and the removal.

    >>> sieve = Sieve(Sieving(at_epoch=2, max_fraction=0.5, min_presentations=2), num_examples=4)
    >>> for right in ([1, 1, 0, 0], [1, 0, 1, 0]):      # always right; forgotten; learned late; never learned
    ...     sieve.observe(torch.arange(4), torch.tensor(right).bool())
    ...     report = sieve.end_epoch()
    >>> report.removed, sieve.kept.tolist()
    (2, [1, 3])
    """

    def __init__(
        self,
        settings: Sieving,
        *,
        num_examples: int,
        seed: int = 0,
        labels: Tensor | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        """labels: int64 [D], only for the report. device: where the statistics live, that of the training loop."""
        if not is_whole(num_examples) or num_examples < 1:
            raise DataError(f"num_examples: expected at least 1, got {num_examples!r}")
        if labels is not None:
            _check_labels(labels, num_examples)
        self.settings, self.num_examples, self.seed, self.labels = settings, num_examples, seed, labels
        self.epoch = 0  # epochs finished
        self.report: SieveReport | None = None

        def filled(kind: torch.dtype, value: int = 0) -> Tensor:
            return torch.full((num_examples,), value, dtype=kind, device=device)

        self._now = filled(torch.uint8)  # what this epoch has shown so far
        self._last = filled(torch.uint8)  # 1: right at the last presentation
        self._forgets = filled(torch.int16)
        self._ever = filled(torch.bool)  # right at some presentation
        self._presentations = filled(torch.int16)
        self._kept_mask = filled(torch.bool, 1)

    @property
    def done(self) -> bool:
        """True after the removal."""
        return self.report is not None

    @property
    def kept(self) -> Tensor:
        """Indices of the examples that are trained on, int64, ascending."""
        return self._kept_mask.nonzero().flatten().cpu()

    @property
    def removed(self) -> Tensor:
        """Indices of those that are not, int64, ascending."""
        return (~self._kept_mask).nonzero().flatten().cpu()

    @property
    def forgets(self) -> Tensor:
        """Forgetting events of every example in finished epochs, int64 [D]."""
        return self._forgets.long().cpu()

    @torch.no_grad()
    def observe(self, indices: Tensor, correct: Tensor) -> None:
        """Notes a batch: indices [N] into the data set, correct [N] bool. After the removal there is nothing more to note."""
        self._check_batch(indices, correct)
        if self.done:
            return
        device = self._now.device
        codes = _WRONG - correct.to(device=device, dtype=torch.uint8)
        self._now.scatter_reduce_(0, indices.to(device=device, dtype=torch.int64), codes, "amax")

    def _check_batch(self, indices: object, correct: object) -> None:
        """Whether a batch can be meant; values of indices only where that needs no wait for a device."""
        if not isinstance(indices, Tensor) or not isinstance(correct, Tensor):
            raise DataError(
                f"expected indices and correct as tensors [N], got {type(indices).__name__} and {type(correct).__name__}"
            )
        if indices.shape != correct.shape or indices.dim() != 1:
            raise DataError(
                f"expected indices and correct of one shape [N], got {tuple(indices.shape)} and {tuple(correct.shape)}"
            )
        if indices.is_floating_point() or indices.dtype == torch.bool or correct.dtype != torch.bool:
            raise DataError(
                f"expected whole numbers as indices and bool as correct, got {indices.dtype} and {correct.dtype}; for "
                "instance correct=logits.argmax(1) == labels"
            )
        if indices.device.type == "cpu" and len(indices):
            first, last = (int(value) for value in indices.aminmax())
            if first < 0 or last >= self.num_examples:
                raise DataError(
                    f"expected indices from 0 to {self.num_examples - 1} into the data set of {self.num_examples} examples, got "
                    f"{first if first < 0 else last}"
                )

    @torch.no_grad()
    def end_epoch(self) -> SieveReport | None:
        """Takes the epoch over into the statistics, of all ranks together; removes, and reports, after epoch `at_epoch`.

        Every rank calls it at the same place; all have equal statistics and remove the same afterwards.
        """
        self.epoch += 1
        if self.done:
            return None
        if ranks.world_size() > 1:
            dist.all_reduce(self._now, op=dist.ReduceOp.MAX)
        seen, right = self._now != _UNSEEN, self._now == _RIGHT
        forgotten = seen & ~right & self._last.bool()
        self._forgets += forgotten & (self._forgets < _MOST)
        self._presentations += seen & (self._presentations < _MOST)
        self._ever |= right
        self._last.copy_(torch.where(seen, right.to(torch.uint8), self._last))
        self._now.zero_()
        if self.epoch < self.settings.at_epoch:
            return None
        return self._remove()

    def _remove(self) -> SieveReport:
        often = self._presentations >= self.settings.min_presentations
        learned, forgotten = self._ever & often, self._forgets > 0
        unforgettable = learned & ~forgotten
        candidates = unforgettable if self.settings.only_unforgettable else learned
        keys = torch.rand(
            self.num_examples, generator=torch.Generator().manual_seed(self.seed), dtype=torch.float64
        )
        by_seed = keys.argsort(stable=True)
        by_seed = by_seed[candidates.cpu()[by_seed]]
        order = by_seed[self._forgets.cpu()[by_seed].argsort(stable=True)]
        gone = order[: self.settings.most_removed(self.num_examples)]
        self._kept_mask[gone.to(self._kept_mask.device)] = False
        ranks.check_equal(
            hashlib.sha256(self._kept_mask.cpu().numpy().tobytes()).hexdigest(), self._kept_mask.device
        )
        self.report = SieveReport(
            epoch=self.epoch,
            num_examples=self.num_examples,
            unforgettable=int(unforgettable.sum()),
            forgotten=int((often & forgotten).sum()),
            never_learned=int((often & ~self._ever).sum()),
            too_few=int((~often).sum()),
            removed=len(gone),
            per_class=self._per_class(),
        )
        return self.report

    def _per_class(self) -> dict[int, tuple[int, int]]:
        if self.labels is None:
            return {}
        labels = self.labels.cpu()
        gone = labels[self.removed]
        return {
            label: (int((gone == label).sum()), int((labels == label).sum()))
            for label in sorted(set(labels.tolist()))
        }

    def state_dict(self) -> dict[str, Any]:
        """Statistics, the unfinished epoch included, and what was removed: for torch.load(weights_only=True)."""
        return {
            "version": _VERSION,
            "settings": repr(self.settings),
            "num_examples": self.num_examples,
            "seed": self.seed,
            "epoch": self.epoch,
            "report": None if self.report is None else asdict(self.report),
            **{name: getattr(self, f"_{name}").clone() for name in _TENSORS},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on where `state` was saved; under DDP every rank saves and loads its own, until an epoch has ended all are equal."""
        mine = {"version": _VERSION, "settings": repr(self.settings), "num_examples": self.num_examples}
        for key, expected in mine.items():
            if state.get(key) != expected:
                raise CheckpointError(
                    f"this sieve's state belongs to another run: expected {key} {expected!r}, got {state.get(key)!r}"
                )
        self.seed, self.epoch = int(state["seed"]), int(state["epoch"])
        self.report = None if state["report"] is None else SieveReport(**state["report"])
        for name in _TENSORS:
            getattr(self, f"_{name}").copy_(state[name])


def _check_labels(labels: object, num_examples: int) -> None:
    """Before training: the report that reads them is made many epochs later."""
    if not isinstance(labels, Tensor) or labels.is_floating_point():
        got = labels.dtype if isinstance(labels, Tensor) else type(labels).__name__
        raise DataError(
            f"labels: expected a tensor of whole numbers, got {got}; for instance torch.as_tensor(labels)"
        )
    if labels.shape != (num_examples,):
        raise DataError(
            f"labels: expected one for each of {num_examples} examples, got {tuple(labels.shape)}"
        )


class SieveSampler(Sampler[int]):
    """Indices of an epoch for a DataLoader: what the sieve has kept, shuffled by seed and epoch, shared out among ranks.

    As DistributedSampler does, it fills up the ranks' last turn with examples from the start; the sieve counts those once.

    >>> sampler = SieveSampler(Sieve(Sieving(at_epoch=3), num_examples=5), num_replicas=2, rank=1)
    >>> len(sampler), len(list(sampler))
    (3, 3)
    """

    def __init__(
        self,
        sieve: Sieve,
        *,
        seed: int = 0,
        shuffle: bool = True,
        num_replicas: int | None = None,
        rank: int | None = None,
    ) -> None:
        """num_replicas and rank: those of torch.distributed where nothing is given."""
        self.sieve, self.seed, self.shuffle, self.epoch = sieve, seed, shuffle, 0
        self.num_replicas = ranks.world_size() if num_replicas is None else num_replicas
        self.rank = (dist.get_rank() if ranks.world_size() > 1 else 0) if rank is None else rank
        if not 0 <= self.rank < self.num_replicas:
            raise DataError(f"rank: expected 0 to {self.num_replicas - 1}, got {self.rank}")

    def set_epoch(self, epoch: int) -> None:
        """The epoch whose order comes next; call it before each one."""
        self.epoch = epoch

    def __len__(self) -> int:
        return math.ceil(len(self.sieve.kept) / self.num_replicas)

    def __iter__(self) -> Iterator[int]:
        kept = self.sieve.kept
        if self.shuffle:
            seed = hashlib.sha256(f"{self.seed}/{self.epoch}".encode()).digest()[:8]
            generator = torch.Generator().manual_seed(int.from_bytes(seed, "little") >> 1)
            kept = kept[torch.randperm(len(kept), generator=generator)]
        missing = -len(kept) % self.num_replicas
        filled = torch.cat([kept, kept.repeat(math.ceil(missing / max(1, len(kept))))[:missing]])
        yield from filled[self.rank :: self.num_replicas].tolist()
