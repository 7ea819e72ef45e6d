"""Methods: how zeros are found. One file a method; `method.py` holds what all are.

>>> sorted(METHODS)
['gap', 'gradual', 'mest', 'one_shot', 'rigl', 'set', 'static']
"""

from collections.abc import Mapping

from gossamer.training.methods.gap import GaP
from gossamer.training.methods.gradual import Gradual
from gossamer.training.methods.mest import MEST
from gossamer.training.methods.method import Method
from gossamer.training.methods.one_shot import OneShot
from gossamer.training.methods.rigl import RigL
from gossamer.training.methods.set import SET
from gossamer.training.methods.static import Static

AnyMethod = OneShot | Gradual | Static | SET | RigL | GaP | MEST

METHODS: Mapping[str, type[AnyMethod]] = {
    "one_shot": OneShot,
    "gradual": Gradual,
    "static": Static,
    "set": SET,
    "rigl": RigL,
    "gap": GaP,
    "mest": MEST,
}

__all__ = ["MEST", "METHODS", "SET", "AnyMethod", "GaP", "Gradual", "Method", "OneShot", "RigL", "Static"]
