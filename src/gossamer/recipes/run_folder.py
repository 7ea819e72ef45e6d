"""The folder of one run.

```
runs/NAME/
  recipe.yaml         the resolved recipe: every key with its value
  metrics.jsonl       one line each few steps and each epoch, in order, without gaps after a resume
  checkpoint.pt       the last saved state
  rounds.pt           the same of a method that trains in workers: the state between two rounds
  turns/              what its workers wrote: metrics and costs, turn by turn
  model.safetensors   the finished weights, keys of the dense model
  compact.safetensors the same weights as compact layers hold them (only where the recipe's storage is compact)
  masks.safetensors   which of them are kept (absent after dense training)
  removed.npy         indices of the training images that a sieve has removed (absent without one)
  result.json         the outcome; its presence says that the run is finished
```
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gossamer.errors import CheckpointError, GossamerError
from gossamer.files import TEMPORARY, write_atomic
from gossamer.recipes import checkpoint, resolved
from gossamer.recipes.checkpoint import Checkpoint
from gossamer.recipes.document import parse
from gossamer.recipes.schema import Recipe


@dataclass(frozen=True, kw_only=True)
class RunFolder:
    """Paths and rules of a run's folder."""

    path: Path

    @property
    def recipe(self) -> Path:
        return self.path / "recipe.yaml"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def checkpoint(self) -> Path:
        return self.path / "checkpoint.pt"

    @property
    def rounds(self) -> Path:
        return self.path / "rounds.pt"

    @property
    def turns(self) -> Path:
        return self.path / "turns"

    @property
    def model(self) -> Path:
        return self.path / "model.safetensors"

    @property
    def compact(self) -> Path:
        return self.path / "compact.safetensors"

    @property
    def masks(self) -> Path:
        return self.path / "masks.safetensors"

    @property
    def removed(self) -> Path:
        return self.path / "removed.npy"

    @property
    def result(self) -> Path:
        return self.path / "result.json"

    @property
    def is_finished(self) -> bool:
        return self.result.is_file()

    @property
    def is_begun(self) -> bool:
        """Whether there is a state to go on from."""
        return self.checkpoint.is_file() or self.rounds.is_file()

    def clear(self) -> None:
        """Remove the files of a run, and nothing else; also half written ones of a run that was killed while it saved.

        The result goes first: what is half cleared is unfinished. Call it while the folder is `locked`.
        """
        for file in (
            self.result,
            self.checkpoint,
            self.rounds,
            self.metrics,
            *self.turns.glob("*.json*"),
            *(half for folder in (self.path, self.turns) for half in folder.glob(TEMPORARY)),
            self.model,
            self.compact,
            self.masks,
            self.removed,
            self.recipe,
        ):
            file.unlink(missing_ok=True)

    def claim(self, recipe: Recipe) -> None:
        """The folder is this recipe's from here on; CheckpointError where it holds a run of another one."""
        if self.recipe.is_file() and (self.is_begun or self.is_finished):
            self._expect_same(recipe, self.recipe.read_text(encoding="utf-8"), self.recipe)
        elif self.is_begun:
            raise CheckpointError(
                f"{self.path} holds a checkpoint but no recipe.yaml, so nobody can say what it belongs to; start over "
                f"with --fresh, or choose another folder with --out"
            )
        else:
            write_atomic(self.recipe, resolved.to_yaml(recipe).encode())

    def begin(self, recipe: Recipe) -> Checkpoint | None:
        """Prepare the folder for this recipe; returns the state to go on from, or None for a start at step 0."""
        self.claim(recipe)
        if not self.checkpoint.is_file():
            self.cut_metrics(0)
            return None
        saved = checkpoint.load(self.checkpoint)
        self._expect_same(recipe, saved.recipe, self.checkpoint)
        self.cut_metrics(saved.step)
        return saved

    def save(self, state: Checkpoint) -> None:
        """Replace the checkpoint."""
        checkpoint.save(state, self.checkpoint)

    def append(self, row: Mapping[str, object]) -> None:
        """Add one line to the metrics."""
        try:
            with self.metrics.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
        except OSError as error:
            raise CheckpointError(f"cannot write {self.metrics}: {error.strerror or error}") from None

    def rows(self) -> list[dict[str, Any]]:
        """All lines of the metrics; a last line that a crash cut off is left out."""
        if not self.metrics.is_file():
            return []
        rows = []
        for line in self.metrics.read_text(encoding="utf-8").splitlines():
            try:
                rows.append(json.loads(line))
            except ValueError:
                break
        return rows

    def read_result(self) -> dict[str, Any]:
        """The outcome of a finished run."""
        try:
            result: dict[str, Any] = json.loads(self.result.read_text(encoding="utf-8"))
        except OSError as error:
            raise CheckpointError(f"cannot read {self.result}: {error.strerror or error}") from None
        except ValueError as error:
            raise CheckpointError(f"{self.result} is damaged ({error}); start over with --fresh") from None
        return result

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep a second process out while this one trains."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.path / ".lock", os.O_CREAT | os.O_RDWR, 0o644)
        except OSError as error:
            raise CheckpointError(f"cannot use the folder {self.path}: {error.strerror or error}") from None
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise CheckpointError(
                    f"another process is training in {self.path}; choose another folder with --out"
                ) from None
            yield
        finally:
            os.close(handle)

    def _expect_same(self, recipe: Recipe, text: str, file: Path) -> None:
        try:
            there = parse(text, name=str(file)).values
        except GossamerError as error:
            raise CheckpointError(f"{error}; start over with --fresh") from None
        found = resolved.differences(resolved.plain(recipe), there)
        if found:
            more = f" and {len(found) - 4} more" if len(found) > 4 else ""
            raise CheckpointError(
                f"{self.path} belongs to a run of another recipe ({'; '.join(found[:4])}{more}). Choose another folder with "
                f"--out, or start over in this one with --fresh"
            )

    def cut_metrics(self, step: int) -> None:
        """Forget what was written after the step that is resumed from."""
        if self.metrics.is_file():
            kept = [row for row in self.rows() if row["step"] <= step]
            write_atomic(self.metrics, "".join(json.dumps(row) + "\n" for row in kept).encode())
