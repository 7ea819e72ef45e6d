"""Runs what is missing, a few runs at a time, each in a process of its own; what fails is told and does not end the others."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks.study import store
from benchmarks.study.runs import Run


@dataclass(frozen=True, kw_only=True)
class _Job:
    run: Run
    process: subprocess.Popen[bytes]
    cpu: int
    begun: float


@dataclass(kw_only=True)
class Runner:
    """`plan` gives the wanted runs in order; it is asked anew after every run, because later rows depend on earlier results."""

    plan: Callable[[store.Finished], Sequence[Run]]
    folder: Path
    jobs: int
    hours: Callable[[Sequence[Run]], float]
    say: Callable[[str], None]
    failed: dict[str, str] = field(default_factory=dict)
    _running: dict[str, _Job] = field(default_factory=dict)

    def run(self) -> list[str]:
        """Train until every run of the plan is finished or has failed; the names of those that failed. SIGTERM ends the runs, too."""
        cpus = sorted(os.sched_getaffinity(0))
        free = [cpus[place % len(cpus)] for place in range(self.jobs)]
        before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
        try:
            while True:
                todo = self._missing()
                while todo and free:
                    self._start(todo.pop(0), free.pop(0))
                if not self._running:
                    return list(self.failed.values())
                free += self._wait(todo)
        finally:
            signal.signal(signal.SIGTERM, before)
            for job in self._running.values():
                job.process.terminate()

    def _missing(self) -> list[Run]:
        done = store.finished(self.folder)
        taken = {*done, *self._running, *self.failed}
        return [run for run in self.plan(done) if run.key not in taken]

    def _start(self, run: Run, cpu: int) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        source = self.folder / f"{run.key}.run"
        source.write_text(json.dumps(asdict(run)))
        command = [sys.executable, "-m", "benchmarks.study.one", str(source), str(self.folder), str(cpu)]
        with (self.folder / f"{run.key}.log").open("wb") as log:
            process = subprocess.Popen(
                command, cwd=store.ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=log, stderr=log
            )
        self._running[run.key] = _Job(run=run, process=process, cpu=cpu, begun=time.monotonic())

    def _wait(self, todo: Sequence[Run]) -> list[int]:
        """Until at least one run ends; the cores that are free then."""
        while True:
            ended = [job for job in self._running.values() if job.process.poll() is not None]
            for job in ended:
                del self._running[job.run.key]
            for job in ended:
                self._tell(job, [*todo, *(other.run for other in self._running.values())])
            if ended:
                return [job.cpu for job in ended]
            time.sleep(0.2)

    def _tell(self, job: _Job, left: Sequence[Run]) -> None:
        run, minutes = job.run, (time.monotonic() - job.begun) / 60
        path = store.path_of(run, self.folder)
        if not path.is_file():
            self.failed[run.key] = run.name
            log = (self.folder / f"{run.key}.log").read_text(errors="replace").strip().splitlines()
            why = (
                log[-1]
                if log
                else "another process trains it"
                if not job.process.returncode
                else "no message"
            )
            self.say(f"FAILED {run.name} after {minutes:.1f} min (exit code {job.process.returncode}): {why}")
            return
        outcome = json.loads(path.read_text())["outcome"]
        self.say(
            f"{run.name}: {outcome['accuracy']:.2f} %, {outcome['epochs']:.1f} epochs at the cost of "
            f"{outcome['dense_epochs']:.3f} dense ones, {minutes:.1f} min; {len(left)} left, "
            f"about {self.hours(left):.1f} h"
        )
