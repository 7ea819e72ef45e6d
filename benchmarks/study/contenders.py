"""The methods of the study with their settings: how a run of so many steps, of all workers together, becomes a method of the library.

All of them use ERK densities and keep the first and the last layer dense. Moments are parts of the run, `mutation` one of the kept weights.
`settings` is what the study runs with; `tried` is what was compared on validation images (`benchmarks/methods.py --choose`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gossamer.training import RigL
from gossamer.training.methods import MEST, SET, GaP, Gradual, Method, OneShot, Static

Settings = Mapping[str, float | int | str]


def part(fraction: float, num_steps: int) -> int:
    """A moment of the run in optimizer steps, at least the first."""
    return max(1, round(fraction * num_steps))


@dataclass(frozen=True, kw_only=True)
class Contender:
    """A row of the table. `build` gets the common fields (sparsity, pattern, allocation), the settings and the number of steps."""

    label: str
    build: Callable[[dict[str, Any], Settings, int], Method | None]
    settings: Settings = field(default_factory=dict)
    tried: Mapping[str, Sequence[float | int | str]] = field(default_factory=dict)


def _one_shot(common: dict[str, Any], s: Any, steps: int) -> Method:
    return OneShot(**common, at=part(s["at"], steps))


def _gradual(common: dict[str, Any], s: Any, steps: int) -> Method:
    return Gradual(**common, every=part(s["every"], steps), stop=part(s["stop"], steps))


def _set(common: dict[str, Any], s: Any, steps: int) -> Method:
    return SET(
        **common,
        decay=s["decay"],
        drop_fraction=0.3,
        every=part(s["every"], steps),
        stop=part(s["stop"], steps),
    )


def _rigl(common: dict[str, Any], s: Any, steps: int) -> Method:
    return RigL(**common, drop_fraction=0.3, every=part(s["every"], steps), stop=part(s["stop"], steps))


def _gap(common: dict[str, Any], s: Any, steps: int) -> Method:
    stage = part(s["grow"] / (s["partitions"] * s["rounds"]), steps)
    fine_tuning = max(0, steps - stage * s["partitions"] * s["rounds"])
    return GaP(
        **common,
        order=s["order"],
        partitions=s["partitions"],
        balance=s["balance"],
        rounds=s["rounds"],
        steps_per_stage=stage,
        finetune=fine_tuning,
    )


def _mest(common: dict[str, Any], s: Any, steps: int) -> Method:
    return MEST(
        **common,
        kind=s["kind"],
        mutation=s["mutation"] * (1 - common["sparsity"]),
        every=part(s["every"], steps),
        stop=part(s["stop"], steps),
    )


CONTENDERS: dict[str, Contender] = {
    "dense": Contender(label="dense", build=lambda common, settings, steps: None),
    "one-shot": Contender(
        label="one-shot + fine-tune",
        build=_one_shot,
        settings={"at": 0.05},
        tried={"at": (0.02, 0.05, 0.1, 0.2, 0.3)},
    ),
    "gradual": Contender(
        label="gradual",
        build=_gradual,
        settings={"every": 0.02, "stop": 0.05},
        tried={"stop": (0.05, 0.1, 0.2, 0.3, 0.5, 0.75)},
    ),
    "static": Contender(label="static random", build=lambda common, settings, steps: Static(**common)),
    "set": Contender(
        label="SET",
        build=_set,
        settings={"decay": "constant", "every": 0.03, "stop": 0.75},
    ),
    "rigl": Contender(
        label="RigL",
        build=_rigl,
        settings={"every": 0.03, "stop": 0.75},
    ),
    "c-gap": Contender(
        label="C-GaP",
        build=_gap,
        settings={"order": "cyclic", "partitions": 4, "balance": "size", "rounds": 1, "grow": 0.1},
        tried={"grow": (0.05, 0.1, 0.2, 0.3, 0.5)},
    ),
    "p-gap": Contender(
        label="P-GaP",
        build=_gap,
        settings={"order": "parallel", "partitions": 4, "balance": "size", "rounds": 1, "grow": 0.1},
    ),
    "mest-em": Contender(
        label="MEST-EM",
        build=_mest,
        settings={"kind": "em", "mutation": 0.2, "every": 0.03, "stop": 0.75},
    ),
    "em&s": Contender(
        label="MEST-EM&S",
        build=_mest,
        settings={"kind": "em&s", "mutation": 0.2, "every": 0.03, "stop": 0.75},
        tried={"mutation": (0.2, 0.5, 1.0)},
    ),
}


def method_of(
    name: str, settings: Settings, sparsity: float | None, pattern: str, steps: int
) -> Method | None:
    """The method of a run of so many steps."""
    common = {"sparsity": sparsity, "pattern": pattern, "allocation": "erk"}
    return CONTENDERS[name].build(common, settings, steps)
