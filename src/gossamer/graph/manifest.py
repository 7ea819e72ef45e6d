"""The manifest of a packed file: the network and everything that travels with it, but for the weights' own table.

>>> block = ImagePreprocessing(size=(28, 28), channels=1, mean=(0.5,), std=(0.25,))
>>> ImagePreprocessing.from_json(block.to_json()) == block
True
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite

from gossamer.errors import GraphError
from gossamer.graph.fields import array, integer, mapping, member, show, string
from gossamer.graph.network import Network
from gossamer.graph.strict_json import Json

FORMAT_VERSION = 2
"""The newest version of the format; every version from 1 on is read."""
_REQUIRED = ("format_version", "library", "network", "weights")
_OPTIONAL = ("preprocessing", "labels", "recipe", "metrics", "verification", "license", "versions")


@dataclass(frozen=True, kw_only=True)
class ImagePreprocessing:
    """How a uint8 image becomes the network's input: resize, divide by `scale`, subtract `mean`, divide by `std`."""

    size: tuple[int, int]  # H, W
    channels: int  # 1 (grey) or 3 (RGB)
    scale: float = 255.0
    mean: tuple[float, ...]  # one a channel, after the division by scale
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        for number in (*self.mean, *self.std, self.scale):
            if not isfinite(_number(number, "preprocessing")):
                raise GraphError(f"preprocessing: expected finite numbers, got {number}")
        if self.channels not in (1, 3):
            raise GraphError(f"preprocessing channels: expected 1 or 3, got {self.channels}")
        if len(self.mean) != self.channels or len(self.std) != self.channels:
            raise GraphError(
                f"preprocessing: expected {self.channels} means and stds, got {self.mean}, {self.std}"
            )
        if min(*self.std, self.scale) <= 0:
            raise GraphError(
                f"preprocessing: expected scale and std above 0, got {self.scale} and {self.std}"
            )
        sizes: tuple[int, ...] = self.size
        if len(sizes) != 2 or min(sizes) < 1:
            raise GraphError(f"preprocessing size: expected [H, W] of at least 1, got {list(sizes)}")

    def to_json(self) -> dict[str, Json]:
        """The `preprocessing` of the manifest."""
        return {
            "kind": "image",
            "size": list(self.size),
            "channels": self.channels,
            "scale": self.scale,
            "mean": list(self.mean),
            "std": list(self.std),
        }

    @classmethod
    def from_json(cls, value: Json) -> "ImagePreprocessing":
        """The block that `value` holds; GraphError for another kind or a malformed one."""
        found = member(value, "preprocessing", keys=("kind", "size", "channels", "scale", "mean", "std"))
        if found["kind"] != "image":
            raise GraphError(f'preprocessing kind: expected "image", got {show(found["kind"])}')
        size = [
            integer(item, "preprocessing size", 1, 65536)
            for item in array(found["size"], "preprocessing size")
        ]
        if len(size) != 2:
            raise GraphError(f"preprocessing size: expected [H, W], got {show(size)}")
        return cls(
            size=(size[0], size[1]),
            channels=integer(found["channels"], "preprocessing channels", 1, 3),
            scale=_number(found["scale"], "preprocessing scale"),
            mean=tuple(
                _number(item, "preprocessing mean") for item in array(found["mean"], "preprocessing mean")
            ),
            std=tuple(
                _number(item, "preprocessing std") for item in array(found["std"], "preprocessing std")
            ),
        )


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Optional blocks are None where the file has none; their content is free JSON."""

    network: Network
    library: str = "gossamer"
    preprocessing: Mapping[str, Json] | None = None
    labels: tuple[str, ...] | None = None
    recipe: Mapping[str, Json] | None = None
    metrics: Mapping[str, Json] | None = None
    verification: Mapping[str, Json] | None = None
    license: str | None = None
    versions: Mapping[str, Json] | None = None

    def to_json(self, weights: Mapping[str, Json], *, version: int) -> dict[str, Json]:
        """The manifest with `weights` as its table of weights, as a file of that format version."""
        result: dict[str, Json] = {
            "format_version": version,
            "library": self.library,
            "network": self.network.to_json(),
            "weights": dict(weights),
        }
        for key in _OPTIONAL:
            value = getattr(self, key)
            if isinstance(value, Mapping):
                result[key] = dict(value)
            elif isinstance(value, tuple):
                result[key] = list(value)
            elif value is not None:
                result[key] = value
        return result

    @classmethod
    def from_json(cls, value: Json) -> tuple["Manifest", Mapping[str, Json], int]:
        """The manifest, its table of weights, as yet unchecked, and the format version; GraphError names what is malformed.

        Whether a file of version 1 keeps to version 1 is the affair of `validate`.
        """
        version = mapping(value, "manifest").get("format_version")
        if isinstance(version, bool) or not isinstance(version, int) or not 1 <= version <= FORMAT_VERSION:
            raise GraphError(
                f"manifest: expected format_version 1 to {FORMAT_VERSION}, got {show(version)}; "
                "a newer file needs a newer gossamer"
            )
        found = member(value, "manifest", keys=_REQUIRED, optional=_OPTIONAL)
        blocks = {
            key: mapping(found[key], key)
            for key in ("preprocessing", "recipe", "metrics", "verification", "versions")
            if key in found
        }
        labels = (
            [string(item, "labels") for item in array(found["labels"], "labels")]
            if "labels" in found
            else None
        )
        manifest = cls(
            library=string(found["library"], "library"),
            network=Network.from_json(found["network"]),
            labels=None if labels is None else tuple(labels),
            license=string(found["license"], "license") if "license" in found else None,
            **blocks,
        )
        return manifest, mapping(found["weights"], "weights"), version


def _number(value: Json, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise GraphError(f"{where}: expected a number, got {show(value)}")
    return float(value)
