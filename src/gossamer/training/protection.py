"""Which weights stay dense although they could be sparse: stated defaults, and names.

The first layer sees the raw input and the last one speaks to the loss; both are small, and removing their weights costs more
accuracy than it saves. A depthwise convolution has a handful of weights an output channel and no pattern to speak of. All three
stay dense unless the user says otherwise; *first* and *last* are meant in the order of `model.named_modules()`.

Protected weights still count: the sparsity of a network is zeros over **all** weights of its linear and convolution layers.
"""

from dataclasses import dataclass
from fnmatch import fnmatchcase

from gossamer.errors import EngineError


@dataclass(frozen=True, kw_only=True)
class Protection:
    """What stays dense. `names` are weight or module names of the dense model; `*` and `?` match as in a shell.

    >>> Protection().first, Protection().depthwise, Protection(names=("head.*",)).names
    (True, True, ('head.*',))
    """

    first: bool = True  # the first linear or convolution layer
    last: bool = True  # the last one
    depthwise: bool = True  # convolutions with one input channel a group
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        names: object = self.names
        if isinstance(names, str):
            raise EngineError(
                f"Protection(names=…): expected a tuple of names, got the string {self.names!r}; "
                f"write names=({self.names!r},)"
            )


def matches(pattern: str, name: str) -> bool:
    """True if `pattern` (a weight name, a module name, or a shell pattern) names the weight `name`.

    >>> matches("layer1.conv1", "layer1.conv1.weight"), matches("layer1.*", "layer1.conv1.weight")
    (True, True)
    >>> matches("layer1", "layer1.conv1.weight"), matches("layer1.conv1.weight", "layer1.conv1.weight")
    (False, True)
    """
    return fnmatchcase(name, pattern) or fnmatchcase(name.rpartition(".")[0], pattern)


def is_exact(pattern: str) -> bool:
    """True if `pattern` names one thing and does not match by wildcard."""
    return not any(character in pattern for character in "*?[")
