"""Keeps loaded weights under their masks, and tells who owns a weight.

A guard sits on every module with a masked weight, as a hook that runs after a checkpoint is loaded into it. Copies of the model (an
average made with `copy.deepcopy`, a pickle) must not drag the engine along: a copied guard is empty and does nothing.
"""

import weakref
from collections.abc import Callable
from typing import Any

from torch import nn
from torch.utils.hooks import RemovableHandle

from gossamer.training.layers import Slot


class LoadGuard:
    """Calls `loaded(owner, module)` after a checkpoint has been loaded into `module`; holds its owner weakly."""

    def __init__(self, owner: object = None, loaded: Callable[[Any, nn.Module], None] | None = None) -> None:
        self._owner = weakref.ref(owner) if owner is not None else None
        self._loaded = loaded

    @property
    def owner(self) -> object:
        return self._owner() if self._owner is not None else None

    def __call__(self, module: nn.Module, incompatible_keys: object) -> None:
        owner = self.owner
        if owner is not None and self._loaded is not None:
            self._loaded(owner, module)

    def __deepcopy__(self, memo: dict[int, Any]) -> "LoadGuard":
        return LoadGuard()

    def __reduce__(self) -> tuple[type["LoadGuard"], tuple[()]]:
        return LoadGuard, ()


def owners_of(slot: Slot) -> list[object]:
    """The living owners of guards on the slot's module."""
    hooks = slot.module._load_state_dict_post_hooks.values()
    return [hook.owner for hook in hooks if isinstance(hook, LoadGuard) and hook.owner is not None]


def place(module: nn.Module, guard: LoadGuard) -> RemovableHandle:
    return module.register_load_state_dict_post_hook(guard)  # type: ignore[no-any-return,no-untyped-call,unused-ignore]
