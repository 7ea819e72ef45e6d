"""What packing did, as a record: sizes, the format of every weight and why, measured errors, notes on
choices."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from gossamer.graph.strict_json import Json


@dataclass(frozen=True, kw_only=True)
class WeightReport:
    """One weight of the file. bytes: of its parts on disk; reason: why it has this format; of_model: False
    for what lowering made (a choice of channels)."""

    name: str
    shape: tuple[int, ...]
    format: str
    dtype: str
    num_kept: int
    num_weights: int
    bytes: int
    reason: str
    of_model: bool = True


@dataclass(frozen=True, kw_only=True)
class Verification:
    """Largest relative error max|packed - torch| / max|torch| over all outputs, by batch size. engine: what
    ran the file."""

    engine: str
    tolerance: float
    errors: Mapping[str, float]

    @property
    def worst(self) -> float:
        """The largest of the errors."""
        return max(self.errors.values())

    def to_json(self) -> dict[str, Json]:
        """The `verification` of the manifest."""
        return {
            "engine": self.engine,
            "tolerance": self.tolerance,
            "worst_relative_error": self.worst,
            "relative_errors": dict(self.errors),
        }


@dataclass(frozen=True, kw_only=True)
class PackReport:
    """Result of `pack`. bytes_dense: the same weights as dense float32."""

    path: Path
    bytes: int
    bytes_dense: int
    batch: str
    nodes: int
    weights: tuple[WeightReport, ...]
    verification: Verification
    notes: tuple[str, ...]

    @property
    def sparsity(self) -> float:
        """Fraction of absent weights in all matrices of the model (linear and convolution layers)."""
        matrices = [weight for weight in self.weights if len(weight.shape) == 2 and weight.of_model]
        total = sum(weight.num_weights for weight in matrices)
        return 1.0 - sum(weight.num_kept for weight in matrices) / total if total else 0.0

    @property
    def ratio(self) -> float:
        """How many times smaller than dense float32."""
        return self.bytes_dense / self.bytes

    def _beside_dense(self) -> str:
        """Its size beside dense float32, in words."""
        if self.bytes_dense == 0:
            return "no weights"
        words = (
            f"{self.ratio:.2f} times smaller than"
            if self.ratio >= 1.0
            else f"{1 / self.ratio:.2f} times the size of"
        )
        return f"{words} dense float32 ({self.bytes_dense:,} bytes)"

    def to_json(self) -> dict[str, Json]:
        """The record for `--json`."""
        return {
            "path": str(self.path),
            "bytes": self.bytes,
            "bytes_dense": self.bytes_dense,
            "ratio": self.ratio,
            "sparsity": self.sparsity,
            "batch": self.batch,
            "nodes": self.nodes,
            "verification": self.verification.to_json(),
            "notes": list(self.notes),
            "weights": [{**asdict(weight), "shape": list(weight.shape)} for weight in self.weights],
        }

    def __str__(self) -> str:
        matrices = [weight for weight in self.weights if len(weight.shape) == 2]
        width = max([len(weight.name) for weight in matrices], default=0)
        rows = [
            f"  {w.name:<{width}}  {w.shape[0]:>5} x {w.shape[1]:<6} {w.num_kept / w.num_weights:>7.1%} kept  "
            f"{w.bytes:>11,} bytes  {w.format}: {w.reason}"
            for w in matrices
        ]
        head = [
            f"{self.path}: {self.bytes:,} bytes, {self._beside_dense()}",
            f"  {self.nodes} node{'s' * (self.nodes != 1)}, {self.batch}, sparsity {self.sparsity:.2%}",
            f"  verified with the {self.verification.engine} engine: relative error {self.verification.worst:.1e} "
            f"(limit {self.verification.tolerance:.0e}) at batch {', '.join(self.verification.errors)}",
        ]
        return "\n".join([*head, *(f"  note: {note}" for note in self.notes), *rows])
