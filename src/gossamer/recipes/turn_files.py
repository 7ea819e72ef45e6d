"""What workers leave in the folder of their run: their lines of metrics while they train, and their costs at the end.

`turns/R-I.jsonl` and `turns/R-I.json` are of partition I in round R, `turns/R.jsonl` and `turns/R.json` of the fine-tuning. A turn that is
done again begins its files anew, so their content is that of the attempt that counts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gossamer.errors import CheckpointError
from gossamer.files import write_atomic
from gossamer.recipes.checkpoint import Checkpoint
from gossamer.training.methods import GaP

SUMMED = ("examples", "macs", "dense_macs", "examples_left_out", "macs_left_out")


@dataclass(frozen=True, kw_only=True)
class TurnFile:
    """The journal of one turn. worker: number of its partition; None for the fine-tuning."""

    folder: Path
    round: int
    worker: int | None

    @property
    def title(self) -> str:
        return "fine-tune" if self.worker is None else f"round {self.round} worker {self.worker}"

    def open(self) -> None:
        """Begins anew."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._costs.unlink(missing_ok=True)
        self._lines.write_bytes(b"")

    def append(self, row: Mapping[str, object]) -> None:
        """One line of the metrics, with round and worker."""
        place = {"round": self.round} if self.worker is None else {"round": self.round, "worker": self.worker}
        with self._lines.open("a", encoding="utf-8") as file:
            file.write(json.dumps({**row, **place}) + "\n")

    def save(self, state: Checkpoint) -> None:
        """Nothing: a turn that is lost is done again from its beginning."""

    def close(self, books: Mapping[str, object]) -> None:
        """The turn is finished."""
        write_atomic(self._costs, json.dumps(books).encode())

    def rows(self) -> list[dict[str, Any]]:
        """The lines so far; one that is being written is left out."""
        whole, _, _ = self._lines.read_text(encoding="utf-8").rpartition("\n")
        return [json.loads(line) for line in whole.splitlines()]

    def books(self) -> dict[str, Any]:
        """What `close` was given."""
        try:
            found: dict[str, Any] = json.loads(self._costs.read_bytes())
        except (OSError, ValueError) as error:
            raise CheckpointError(
                f"{self._costs}: expected the costs of a finished turn, got none ({error}); start over with --fresh"
            ) from None
        return found

    @property
    def _lines(self) -> Path:
        return self.folder / f"{self._stem}.jsonl"

    @property
    def _costs(self) -> Path:
        return self.folder / f"{self._stem}.json"

    @property
    def _stem(self) -> str:
        return str(self.round) if self.worker is None else f"{self.round}-{self.worker}"


def books(folder: Path, method: GaP, *, upto: int | None = None) -> dict[str, Any]:
    """Costs of all workers together, up to this round (None: of the whole run); memory of the one that held the most.

    Of a layer that is dense in one worker and sparse in the others, the trace has the dense count: it is that of the worker who trains it.
    """
    last = method.rounds if upto is None else upto
    all_turns = [turns(folder, method, number) for number in range(last + 1)]
    found = [[file.books() for file in files] for files in all_turns if files]
    costs = [[book["cost"] for book in of_round] for of_round in found]
    every = [cost for of_round in costs for cost in of_round]
    trace: list[dict[str, Any]] = []
    for number, of_round in enumerate(costs):
        counts = _largest([point["num_kept"] for cost in of_round for point in cost["trace"]])
        if not trace or trace[-1]["num_kept"] != counts:
            trace.append({"step": number * method.steps_per_stage, "num_kept": counts})
    cost = {
        "steps": sum(of_round[0]["steps"] for of_round in costs),
        **{name: sum(cost[name] for cost in every) for name in SUMMED},
        "names": every[0]["names"],
        "sizes": every[0]["sizes"],
        "trace": trace,
    }
    memories = [book["memory"] for of_round in found for book in of_round]
    largest: dict[str, Any] = max(memories, key=lambda memory: int(memory["measured"]["total"]))
    return {"cost": cost, "memory": largest, "sieve": None}


def turns(folder: Path, method: GaP, number: int) -> list[TurnFile]:
    """The turns of a round; behind the last round that of the fine-tuning, none where it has no steps."""
    if number < method.rounds:
        workers: Sequence[int | None] = range(len(method.split_by))
    else:
        workers = [None] if method.finetune else []
    return [TurnFile(folder=folder, round=number, worker=worker) for worker in workers]


def _largest(counts: Sequence[Sequence[int]]) -> list[int]:
    return [max(column) for column in zip(*counts, strict=True)]
