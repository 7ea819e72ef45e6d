"""What workers will hold, before a step is made."""

from gossamer.training.edits import Shapes
from gossamer.training.foresight import peak_kept
from gossamer.training.methods.gap import GaP
from gossamer.training.parallel.turn import Act


def starting(method: GaP) -> Act:
    """The first masks alone, as a method: what every worker of the first round gets."""
    return Act(gap=method, edits=method.starting_edits(), initial=method.initial)


def kept_in_turns(method: GaP, shapes: Shapes) -> tuple[int, ...]:
    """Weights of the whole network, dense layers included, that each worker keeps while its partition is open.

    >>> from gossamer.sparsity.costs import LayerShape
    >>> shapes = {"a": LayerShape(weight=(10, 10)), "b": LayerShape(weight=(20, 10))}
    >>> kept_in_turns(GaP(sparsity=0.9, partitions=2, order="parallel"), shapes)  # 100 + 20, 10 + 200
    (120, 210)
    """
    opened = (
        Act(gap=method, edits=(*method.starting_edits(), method.growth(partition)), initial=method.initial)
        for partition in range(len(method.split_by))
    )
    return tuple(peak_kept(act, shapes) for act in opened)
