"""Shows a training run: a moving line in a terminal, one line an epoch elsewhere."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn
from rich.progress import Progress as Bar

if TYPE_CHECKING:
    from gossamer.recipes.progress import Progress


class TrainingView:
    """A Watcher (see gossamer.recipes.progress) that prints to standard error."""

    def __init__(self, title: str) -> None:
        self._console = Console(file=sys.stderr, highlight=False, markup=False, soft_wrap=True)
        self._bar: Bar | None = None
        self._task: TaskID | None = None
        self._title = title

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._bar = Bar(
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                TextColumn("{task.fields[state]}"),
                console=self._console,
                transient=True,
            )
            self._bar.start()
            self._task = self._bar.add_task(self._title, total=None, state="preparing")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def say(self, line: str) -> None:
        """A line of text above the bar."""
        self._console.print(line)

    def step(self, progress: Progress) -> None:
        """Move the bar."""
        if self._bar is not None and self._task is not None:
            accuracy = "" if progress.accuracy is None else f"  accuracy {progress.accuracy:.2%}"
            stage = "" if progress.stage is None else f"  {progress.stage}"
            state = (
                f"{progress.step}/{progress.num_steps}{stage}  density {progress.density:.1%}  loss {progress.loss:.3f}"
                f"{accuracy}  {duration(progress.seconds_left)} left"
            )
            self._bar.update(self._task, total=progress.num_steps, completed=progress.step, state=state)

    def epoch(self, progress: Progress) -> None:
        """One line that stays."""
        accuracy = "" if progress.accuracy is None else f"  accuracy {progress.accuracy:6.2%}"
        stage = "" if progress.stage is None else f"{progress.stage}  "
        width = len(str(progress.epochs))
        self._console.print(
            f"epoch {progress.epoch:>{width}}/{progress.epochs}  step {progress.step}/{progress.num_steps}  "
            f"{stage}density {progress.density:6.1%}  loss {progress.loss:.4f}{accuracy}  {duration(progress.seconds_left)} left"
        )


def duration(seconds: float) -> str:
    """Time for people.

    >>> duration(9), duration(75), duration(3700)
    ('9 s', '1 min 15 s', '1 h 1 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
