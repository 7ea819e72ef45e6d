"""What `pack`, `prune` and `bench` work on: a run's folder, or a network by name with its weights.

No logic of its own: finds the files and builds the objects that the library wants.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gossamer.errors import CheckpointError, RecipeError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from gossamer.export import PackReport
    from gossamer.graph import ImagePreprocessing


@dataclass(frozen=True, kw_only=True)
class NetworkSubject:
    """A network with its weights, and everything known about it. masks: None where nobody has recorded them."""

    name: str
    model: nn.Module
    input_shape: tuple[int, ...]
    masks: dict[str, Tensor] | None = None
    pattern: str = "unstructured"
    dtype: str = "float16"
    labels: tuple[str, ...] | None = None
    preprocessing: ImagePreprocessing | None = None
    recipe: Mapping[str, Any] | None = None
    metrics: Mapping[str, Any] | None = None
    licence: str | None = None
    spec: str = field(default="")
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Sizes of an ONNX file's input. input_shape: as --input gives it."""

    input_shape: str | None
    max_batch: int
    max_length: int | None = None


def is_onnx(source: str) -> bool:
    """Whether a name is that of an ONNX file.

    >>> is_onnx("resnet.onnx"), is_onnx("model.safetensors")
    (True, False)
    """
    return Path(source).suffix.lower() == ".onnx"


def onnx_packed(
    source: str, path: Path, *, weights: Path | None, sizes: Sizes, pattern: str | None, dtype: str | None
) -> PackReport:
    """Pack an ONNX file into `path`. Needs no torch."""
    from gossamer.export.arguments import parse_shape
    from gossamer.export.onnx import input_names, pack_onnx

    if weights is not None:
        raise RecipeError("--weights belongs to package.module:callable; an ONNX file holds its weights")
    shapes = None
    if sizes.input_shape is not None:
        names = input_names(source)
        if len(names) != 1:
            raise RecipeError(
                f"--input: expected an ONNX file with one input, got {', '.join(names)}; in Python: "
                f"gossamer.export.pack_onnx(…, shapes={{NAME: SIZES}})"
            )
        shapes = {names[0]: parse_shape(sizes.input_shape)}
    return pack_onnx(
        source,
        path,
        shapes=shapes,
        pattern=pattern,
        dtype=dtype or "float16",
        max_batch=sizes.max_batch,
        max_length=sizes.max_length,
    )


def subject_of(
    source: str, *, weights: Path | None, input_shape: str | None, as_trained: bool = False
) -> NetworkSubject:
    """A folder of a finished run, or `package.module:callable` (`weights`: a file for it). as_trained: the network of a run with compact
    weights keeps them so; otherwise it is the dense one, with masks."""
    path = Path(source)
    if path.is_dir():
        if weights is not None:
            raise RecipeError(
                "--weights belongs to package.module:callable; the folder of a run has its own weights"
            )
        return _of_run(path, input_shape, as_trained)
    if ":" not in source:
        hint = (
            "no such file or folder" if not path.exists() else "a file alone does not say which network it is"
        )
        raise RecipeError(
            f"{source}: {hint}; expected the folder of a run, or package.module:callable with --weights FILE and --input SHAPE"
        )
    if input_shape is None:
        raise RecipeError(
            f"{source}: expected --input with the shape of an example, such as --input 1x3x224x224"
        )
    from gossamer.export import load_model
    from gossamer.export.spec import examples_of
    from gossamer.recipes import outcome
    from gossamer.tasks.weights import load_weights

    model = load_model(source)
    masks, pattern = None, "unstructured"
    if weights is not None:
        load_weights(model, weights)
        masks = _masks_beside(weights, model)
        pattern = outcome.read_pattern(_beside(weights)) or pattern
    return NetworkSubject(
        name=source.rpartition(":")[2],
        spec=source,
        model=model.eval(),
        input_shape=_first_shape(examples_of(input_shape)),
        masks=masks,
        pattern=pattern,
        notes=_notes(source, weights, masks),
    )


def _first_shape(example: Tensor | dict[str, Tensor]) -> tuple[int, ...]:
    """The shape of the (first) example."""
    tensor = next(iter(example.values())) if isinstance(example, dict) else example
    return tuple(tensor.shape)


def _of_run(path: Path, input_shape: str | None, as_trained: bool) -> NetworkSubject:
    from gossamer.export import parse_shape
    from gossamer.recipes import building, document, outcome, resolved, validate
    from gossamer.recipes.run_folder import RunFolder
    from gossamer.tasks.weights import load_weights

    folder = RunFolder(path=path)
    if not folder.recipe.is_file():
        raise CheckpointError(f"{path}: expected the folder of a run (it holds no recipe.yaml)")
    if not folder.is_finished:
        raise CheckpointError(
            f"{path}: the run is not finished; go on with gossamer train {folder.recipe} --out {path}"
        )
    plan = validate.plan_of(document.read(folder.recipe))
    model = building.model_of(plan)
    compact = as_trained and plan.recipe.train.storage == "compact"
    load_weights(
        building.stored(plan, model)[0] if compact else model, folder.compact if compact else folder.model
    )
    result = folder.read_result()
    return NetworkSubject(
        name=plan.recipe.name,
        spec=plan.recipe.model,
        model=model.eval(),
        input_shape=parse_shape(input_shape) if input_shape else (1, *plan.task.input_shape),
        masks=None if compact else outcome.read_masks(folder.masks),
        pattern=plan.method.pattern if plan.method is not None else "unstructured",
        dtype=plan.recipe.pack.dtype,
        labels=plan.task.labels,
        preprocessing=plan.task.preprocessing(),
        recipe=resolved.plain(plan.recipe),
        metrics={
            key: result[key] for key in ("test_accuracy", "test_images", "sparsity", "steps", "seed", "quick")
        },
        licence=f"data: {plan.task.licence}",
    )


def _beside(weights: Path) -> Path:
    return weights.with_name("masks.safetensors")


def _masks_beside(weights: Path, model: nn.Module) -> dict[str, Tensor] | None:
    """`masks.safetensors` beside the weights, as `train` and `prune` leave it; it must have made their zeros."""
    from gossamer.export.compact import compact_layers
    from gossamer.recipes import outcome

    path = _beside(weights)
    found_masks = outcome.read_masks(path)
    if found_masks is None:
        return None
    compact = compact_layers(model)  # their places are their masks
    masks = {name: mask for name, mask in found_masks.items() if name not in compact}
    parameters = dict(model.named_parameters())
    for name, mask in masks.items():
        found = parameters.get(name)
        if found is None or found.shape != mask.shape or bool(found.detach()[~mask.bool()].any()):
            raise CheckpointError(
                f"{path} does not belong to {weights} beside it: expected zeros of a weight {name!r} where its mask drops; "
                "put the weights, or the masks, into another folder"
            )
    return masks


def _notes(source: str, weights: Path | None, masks: dict[str, Tensor] | None) -> tuple[str, ...]:
    if weights is None:
        return (f"note: no --weights given: these are the weights that {source} is made with",)
    return () if masks is None else (f"note: masks from {_beside(weights)}",)
