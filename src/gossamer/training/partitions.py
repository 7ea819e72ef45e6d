"""Partitions: the maskable weights of a network in K groups, each of which is an edit's scope.

A number K splits the weights in network order into K runs of consecutive layers: of equally many layers (`balance="order"`; the first
ones get one more where K does not divide), or such that the largest run has as few weights as possible (`balance="size"`; among such
splits the earlier runs are the longer ones). Groups of name patterns say it layer by layer; then every weight belongs to exactly one.
"""

from dataclasses import dataclass
from itertools import accumulate, pairwise

from gossamer.errors import MethodError
from gossamer.training.edits import Shapes, names_in
from gossamer.training.protection import matches

BALANCES = ("order", "size")


@dataclass(frozen=True, kw_only=True)
class Partitions:
    """How a network is split.

    >>> from gossamer.sparsity.costs import LayerShape
    >>> shapes = {name: LayerShape(weight=(size, 1)) for name, size in (("a", 60), ("b", 20), ("c", 10), ("d", 10), ("e", 10))}
    >>> Partitions(parts=2).split(shapes)
    (('a', 'b', 'c'), ('d', 'e'))
    >>> Partitions(parts=2, balance="size").split(shapes)
    (('a',), ('b', 'c', 'd', 'e'))
    >>> Partitions(parts=(("[ab]",), ("c", "d", "e"))).split(shapes)
    (('a', 'b'), ('c', 'd', 'e'))
    """

    parts: int | tuple[tuple[str, ...], ...]
    balance: str = "order"

    def __post_init__(self) -> None:
        parts: object = self.parts
        if self.balance not in BALANCES:
            raise MethodError(
                f"partitions: expected balance to be one of {', '.join(BALANCES)}, got {self.balance!r}"
            )
        if isinstance(parts, int) and not isinstance(parts, bool):
            if parts < 1:
                raise MethodError(f"partitions: expected at least 1, got {parts}")
        elif not isinstance(parts, tuple) or not parts or not all(_is_group(group) for group in parts):
            raise MethodError(
                'partitions: expected a number, or a tuple of tuples of layer names such as (("layer1.*",), ("layer2.*", "fc")), '
                f"got {parts!r}"
            )

    def __len__(self) -> int:
        return self.parts if isinstance(self.parts, int) else len(self.parts)

    def split(self, shapes: Shapes) -> tuple[tuple[str, ...], ...]:
        """The names of each partition, in network order; MethodError where this network cannot be split so."""
        names = names_in(None, shapes)
        if not isinstance(self.parts, int):
            return _by_name(self.parts, names, shapes)
        if self.parts > len(names):
            raise MethodError(
                f"partitions: expected at most {len(names)}, one for each of the {len(names)} layers that are masked here, got "
                f"{self.parts}; lower it, or protect fewer layers"
            )
        if self.balance == "order":
            each, more = divmod(len(names), self.parts)
            lengths = [each + (index < more) for index in range(self.parts)]
        else:
            lengths = _even_lengths([shapes[name].numel for name in names], self.parts)
        edges = [0, *accumulate(lengths)]
        return tuple(names[begin:end] for begin, end in pairwise(edges))


@dataclass(frozen=True)
class Inside:
    """The scope of one partition."""

    partitions: Partitions
    index: int

    def __call__(self, shapes: Shapes) -> tuple[str, ...]:
        return self.partitions.split(shapes)[self.index]


@dataclass(frozen=True)
class Outside:
    """The scope of all partitions but one."""

    partitions: Partitions
    index: int

    def __call__(self, shapes: Shapes) -> tuple[str, ...]:
        inside = self.partitions.split(shapes)[self.index]
        return tuple(name for name in names_in(None, shapes) if name not in inside)


def _is_group(group: object) -> bool:
    return isinstance(group, tuple) and len(group) > 0 and all(isinstance(name, str) for name in group)


def _by_name(
    groups: tuple[tuple[str, ...], ...], names: tuple[str, ...], shapes: Shapes
) -> tuple[tuple[str, ...], ...]:
    for group in groups:
        for wanted in group:
            found = [name for name in shapes if matches(wanted, name)]
            if not found:
                raise MethodError(
                    f"partitions: {wanted!r} names no linear or convolution weight of this model; its masked ones are "
                    f"{_some(names)} (a module name without wildcard does not include what lies below it: write 'name.*')"
                )
            if not set(found) & set(names):
                reasons = ", ".join(f"{name}: {shapes[name].dense}" for name in found)
                raise MethodError(
                    f"partitions: {wanted!r} names only weights that stay dense ({reasons}); leave it out, or protect fewer layers"
                )
    owners = {
        name: [index for index, group in enumerate(groups) if any(matches(wanted, name) for wanted in group)]
        for name in names
    }
    unassigned = [name for name, found in owners.items() if not found]
    if unassigned:
        raise MethodError(
            f"partitions: expected every masked weight in one of the {len(groups)} groups, got none for {_some(unassigned)}; add "
            "their names to a group, or leave them dense with Protection(names=…)"
        )
    for name, several in owners.items():
        if len(several) > 1:
            raise MethodError(
                f"partitions: expected every masked weight in one group, got {name!r} in groups {several[0]} and {several[1]}"
            )
    return tuple(tuple(name for name in names if owners[name] == [index]) for index in range(len(groups)))


def _even_lengths(sizes: list[int], num_parts: int) -> list[int]:
    """Lengths of `num_parts` runs, none empty, whose largest sum is as small as possible; earlier runs are as long as that allows."""
    totals = [0, *accumulate(sizes)]
    count = len(sizes)
    # best[p][i]: the smallest possible largest sum when the last count - i sizes make p runs
    best = [[0.0 if i == count else float("inf") for i in range(count + 1)]]
    for parts in range(1, num_parts + 1):
        before = best[-1]
        best.append(
            [
                min(
                    (max(totals[j] - totals[i], before[j]) for j in range(i + 1, count - parts + 2)),
                    default=float("inf"),
                )
                for i in range(count + 1)
            ]
        )
    bound, begin, lengths = best[num_parts][0], 0, []
    for parts in range(num_parts, 0, -1):
        end = max(
            j
            for j in range(begin + 1, count - parts + 2)
            if totals[j] - totals[begin] <= bound and best[parts - 1][j] <= bound
        )
        lengths.append(end - begin)
        begin = end
    return lengths


def _some(names: tuple[str, ...] | list[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
