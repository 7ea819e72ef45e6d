"""What the engine says about its work: plain records with numbers, that print as tables and turn into JSON."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

from gossamer.sparsity.costs import LayerShape
from gossamer.units import show_percent


@dataclass(frozen=True, kw_only=True)
class LayerRow:
    """One weight. `reason` is empty for a masked weight, and says why a dense one is dense."""

    name: str
    shape: tuple[int, ...]
    size: int  # number of weights
    num_kept: int
    pattern: str  # "" for a dense weight
    reason: str

    @property
    def sparsity(self) -> float:
        return 1.0 - self.num_kept / self.size if self.size else 0.0


def layer_rows(
    shapes: Mapping[str, LayerShape], num_kept: Callable[[str], int], pattern: str
) -> tuple[LayerRow, ...]:
    """A row for every weight that counts, dense ones with their reason."""
    return tuple(
        LayerRow(
            name=name,
            shape=shape.weight,
            size=shape.numel,
            num_kept=shape.numel if shape.dense is not None else num_kept(name),
            pattern="" if shape.dense is not None else pattern,
            reason=shape.dense or "",
        )
        for name, shape in shapes.items()
    )


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The state of a network: all its linear and convolution weights, protected ones included.

    `requested` is the sparsity that the method asks for in the end (None where the pattern fixes it); `peak_kept` is the largest
    number of weights kept at once since the start, which is what memory planning needs.
    """

    step: int
    requested: float | None
    rows: tuple[LayerRow, ...]
    peak_kept: int

    @property
    def size(self) -> int:
        return sum(row.size for row in self.rows)

    @property
    def num_kept(self) -> int:
        return sum(row.num_kept for row in self.rows)

    @property
    def sparsity(self) -> float:
        """Zeros over all weights of linear and convolution layers: the granted sparsity."""
        return 1.0 - self.num_kept / self.size if self.size else 0.0

    @property
    def masked(self) -> tuple[LayerRow, ...]:
        return tuple(row for row in self.rows if not row.reason)

    @property
    def left_dense(self) -> tuple[LayerRow, ...]:
        return tuple(row for row in self.rows if row.reason)

    @property
    def whole(self) -> tuple[LayerRow, ...]:
        """Weights that may be sparse but have nothing dropped (now): ERK keeps small layers whole."""
        return tuple(row for row in self.masked if row.num_kept == row.size)

    def to_dict(self) -> dict[str, object]:
        """Plain numbers, strings and lists, ready for JSON."""
        return {**asdict(self), "sparsity": self.sparsity, "num_kept": self.num_kept, "size": self.size}

    def __str__(self) -> str:
        width = max([len(row.name) for row in self.rows], default=4)
        lines = [f"{'weight':<{width}}  {'shape':<18} {'kept':>10} {'of':>10}  sparsity  pattern or reason"]
        for row in self.rows:
            shape = "x".join(map(str, row.shape))
            note = row.pattern if not row.reason else f"dense: {row.reason}"
            if not row.reason and row.num_kept == row.size:
                note += " (nothing dropped: the allocation keeps it whole)"
            lines.append(
                f"{row.name:<{width}}  {shape:<18} {row.num_kept:>10,} {row.size:>10,}  {row.sparsity:>7.2%}   {note}"
            )
        asked = "" if self.requested is None else f", {self.requested:.2%} requested"
        lines.append(
            f"{'network':<{width}}  {'':<18} {self.num_kept:>10,} {self.size:>10,}  {self.sparsity:>7.2%}   at step "
            f"{self.step}{asked}, peak {self.peak_kept:,} kept"
        )
        return "\n".join(lines)


@dataclass(frozen=True, kw_only=True)
class LayerChange:
    """What one edit did to one weight. An entry that was dropped and grown again at once counts in both, and in `regrown`."""

    dropped: int
    grown: int
    regrown: int
    num_kept: int


@dataclass(frozen=True, kw_only=True)
class EditRecord:
    """One edit as it happened. `mask_hash` is the digest of all masks after it, equal on every rank."""

    step: int
    layers: Mapping[str, LayerChange]
    mask_hash: str

    @property
    def dropped(self) -> int:
        return sum(change.dropped for change in self.layers.values())

    @property
    def grown(self) -> int:
        return sum(change.grown for change in self.layers.values())

    @property
    def num_kept(self) -> int:
        """Entries kept after the edit in the weights that it touched."""
        return sum(change.num_kept for change in self.layers.values())


def early_end(summary: Summary, last_edit: int, *, begins_dense: bool) -> str | None:
    """What to say where training ended before the method's last edit: the masks are not the final ones, and
    the sparsity is another one where the method begins dense.

    >>> early_end(Summary(step=3, requested=0.2, rows=(), peak_kept=0), 10_000, begins_dense=True)
    'ended at step 3, the method edits until 10,000: 0 % instead of 20 %'
    """
    if summary.step >= last_edit:
        return None
    words = f"ended at step {summary.step:,}, the method edits until {last_edit:,}"
    if not begins_dense or summary.requested is None:
        return words
    return f"{words}: {show_percent(summary.sparsity)} instead of {show_percent(summary.requested)}"


@dataclass(frozen=True, kw_only=True)
class FinalReport:
    """What `Sparsifier.finalize` did: the last state, the history, and how many stray values it set to zero."""

    summary: Summary
    history: tuple[EditRecord, ...]
    zeroed: int  # non-zero values found at dropped places when finalizing (0 in a loop that used the hooks)
    notes: tuple[str, ...] = ()  # what a user should know, such as an end before the last edit

    def __str__(self) -> str:
        stray = f"; {self.zeroed:,} stray values zeroed" if self.zeroed else ""
        edits = f"{len(self.history)} edit{'' if len(self.history) == 1 else 's'}"
        return "\n".join(
            [str(self.summary), f"{edits}{stray}; hooks removed", *(f"note: {note}" for note in self.notes)]
        )
