"""The native library `gossamer._native`: loaded when first needed, with a status in words instead of a swallowed exception."""

from __future__ import annotations

import importlib
import warnings
from dataclasses import dataclass
from functools import cache
from types import ModuleType


@dataclass(frozen=True, kw_only=True)
class NativeStatus:
    """Whether the native library can be used, and if not, why."""

    module: ModuleType | None
    reason: str

    @property
    def available(self) -> bool:
        return self.module is not None


@cache
def status() -> NativeStatus:
    """Import the native library once and remember the outcome."""
    try:
        return NativeStatus(module=importlib.import_module("gossamer._native"), reason="loaded")
    except ImportError as error:
        reason = f"native library not usable ({error}); reinstall with a C++17 compiler, GOSSAMER_REQUIRE_NATIVE=1 shows the build's error"
        return NativeStatus(module=None, reason=reason)


def operation(name: str) -> object | None:
    """The native operation of that name; None, with one warning an operation, where there is no native library."""
    found = getattr(status().module, name, None)
    if found is None:
        _warn_slow(name)
    return found


@cache
def _warn_slow(name: str) -> None:
    why = status().reason if not status().available else "this build of the native library does not have it"
    warnings.warn(f"{name}: using the slow NumPy reference: {why}", RuntimeWarning, stacklevel=4)
