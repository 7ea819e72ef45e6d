"""From a document to a checked recipe, and from a recipe to the plan of its run.

pydantic validates the same dataclasses that the program uses; this module adds what it cannot know: the line of every complaint, the
nearest known names, steps written as `60%` or `3 epochs`, and combinations that cannot work.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from types import UnionType
from typing import Any, get_args, get_type_hints

from pydantic import TypeAdapter, ValidationError

from gossamer.errors import EngineError, GossamerError, PatternError
from gossamer.recipes.calendar import calendar_of
from gossamer.recipes.document import Address, Document, Plain
from gossamer.recipes.schema import Recipe, Training
from gossamer.sparsity.patterns import parse_pattern
from gossamer.tasks.catalog import TASKS
from gossamer.tasks.task import ImageTask
from gossamer.training.compact.checks import check_growth
from gossamer.training.methods import METHODS, GaP, Method
from gossamer.training.methods.method import Steps, stages_of
from gossamer.training.sieve import Sieving

DENSE = "dense"
QUICK_EPOCHS, QUICK_IMAGES, QUICK_TEST_IMAGES = 2, 1280, 500

_MOMENT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(%|epochs?)\s*")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A recipe with everything that follows from it; `method` is None for dense training."""

    recipe: Recipe
    task: ImageTask
    method: Method | None
    train_images: int
    test_images: int
    steps_per_epoch: int

    @property
    def num_steps(self) -> int:
        """Optimizer steps of the whole run."""
        return self.steps_per_epoch * self.recipe.train.epochs

    @property
    def in_parallel(self) -> GaP | None:
        """The method, where its partitions are trained in workers."""
        return self.method if isinstance(self.method, GaP) and self.method.order == "parallel" else None


def plan_of(document: Document, *, quick: bool = False) -> Plan:
    """Check a document completely; raises RecipeError that names the line or the override."""
    recipe = _recipe_of(document)
    task = _known(document, ("task",), recipe.task, TASKS)
    choice = _known(document, ("data",), recipe.data, task.data)
    if ":" not in recipe.model:
        _known(document, ("model",), recipe.model, task.models)
    if quick:
        recipe = _quick(recipe)
    train = recipe.train
    train_images = _limited(document, "images", train.images, choice.train_images)
    test_images = _limited(document, "test_images", train.test_images, choice.test_images)
    if train.batch_size > train_images:
        raise document.error(
            ("train", "batch_size"),
            f"expected at most the {train_images} images of an epoch, got {train.batch_size}",
        )
    steps_per_epoch = train_images // train.batch_size
    method = _method_of(document, recipe, steps_per_epoch)
    if train.storage == "compact":
        _check_compact(document, recipe, method)
    if method is not None and train.sieve is not None:
        kept = 1 - train.sieve.most_removed(choice.train_images) / choice.train_images
        _check_sieve(document, train, train.sieve, method, train_images, kept)
    return Plan(
        recipe=recipe,
        task=task,
        method=method,
        train_images=train_images,
        test_images=test_images,
        steps_per_epoch=steps_per_epoch,
    )


def _recipe_of(document: Document) -> Recipe:
    values = dict(document.values)
    _reject_unknown(document, (), values, Recipe)
    section = values.get("method", {})
    if isinstance(section, str):
        section = {"name": section}
    if not isinstance(section, dict):
        raise document.error(("method",), "expected a name, or `name: …` with the method's settings below it")
    if "name" in section:
        values["method"] = {
            "name": section["name"],
            "settings": {key: value for key, value in section.items() if key != "name"},
        }
    else:
        names = ", ".join([DENSE, *METHODS])
        raise document.error(
            ("method",), f"expected a method, write for example `name: gradual` (one of {names})"
        )
    recipe: Recipe = _validated(document, (), Recipe, values)
    return recipe


def _method_of(document: Document, recipe: Recipe, steps_per_epoch: int) -> Method | None:
    name = recipe.method.name
    settings = dict(recipe.method.settings)
    kind = _known(document, ("method", "name"), name, {DENSE: None, **METHODS})
    if kind is None:
        if recipe.workers is not None:
            raise document.error(("workers",), "dense training has one process; remove the line")
        for key in settings:
            raise document.error(
                ("method", key), "dense training has no settings; remove the line or name a method"
            )
        return None
    hints = get_type_hints(kind, include_extras=True)
    num_steps = steps_per_epoch * recipe.train.epochs
    for key, value in settings.items():
        address = ("method", key)
        if counts_steps(hints.get(key)) and isinstance(value, str):
            settings[key] = value = _steps(document, address, value, steps_per_epoch, num_steps)
        if counts_steps(hints.get(key)) and isinstance(value, int) and value > num_steps:
            raise document.error(address, f"{value} steps are more than {_length(recipe, steps_per_epoch)}")
    _reject_unknown(document, ("method",), settings, kind)
    method: Method = _validated(document, ("method",), kind, settings)
    if method.last_edit > num_steps:
        raise document.error(
            ("method", "stop") if "stop" in hints else ("method",),
            f"the last edit is at step {method.last_edit}, behind the end: {_length(recipe, steps_per_epoch)}",
        )
    planned = sum(stage.steps for stage in stages_of(method))
    if planned > num_steps:
        raise document.error(
            ("method",), f"its stages are {planned} steps long, more than {_length(recipe, steps_per_epoch)}"
        )
    if isinstance(method, GaP) and method.order == "parallel":
        _check_parallel(document, recipe)
        return replace(
            method, finetune=num_steps - method.last_edit
        )  # as ever, it goes on until training ends
    if recipe.workers is not None:
        raise document.error(("workers",), f"{name} trains in one process; remove the line")
    return method


def _check_parallel(document: Document, recipe: Recipe) -> None:
    """Workers are processes of this machine's CPU, each with a masked network."""
    if recipe.train.storage == "compact":
        raise document.error(
            ("train", "storage"),
            "gap makes whole layers dense, which compact storage has no place for; write masked",
        )
    if recipe.device != "cpu":
        raise document.error(
            ("device",),
            f"the workers of a recipe train on the CPU, got {recipe.device}; write cpu, use order cyclic, or call "
            "gossamer.training.parallel.grow_in_parallel with RayTasks",
        )


def _check_sieve(
    document: Document, train: Training, sieve: Sieving, method: Method, images: int, kept: float
) -> None:
    """The run that a sieve may shorten most must still reach the method's last edit. kept: the share of the images left then."""
    if stages_of(method):
        raise document.error(
            ("train", "sieve"),
            "the method has stages, whose lengths are steps that a sieve would take away; remove one of the two",
        )
    shortest = calendar_of(
        epochs=train.epochs, images=images, batch_size=train.batch_size, sieved=(sieve.at_epoch, kept)
    )
    if method.last_edit > shortest.num_steps:
        raise document.error(
            ("method", "stop"),
            f"the last edit is at step {method.last_edit}, but the sieve may shorten the run to {shortest.num_steps} steps; stop "
            "earlier, or lower max_fraction",
        )


def _check_compact(document: Document, recipe: Recipe, method: Method | None) -> None:
    """Compact training needs a method that grows at random, and a CPU."""
    address = ("train", "storage")
    if method is None:
        raise document.error(
            address, "dense training has nothing to leave out; name a method, or write masked"
        )
    if recipe.device != "cpu":
        raise document.error(
            address, f"compact weights train on the CPU, got device {recipe.device}; write masked"
        )
    try:
        check_growth(method, parse_pattern(method.pattern), blockwise=False)
    except EngineError as error:
        raise document.error(address, str(error)) from None


def _length(recipe: Recipe, steps_per_epoch: int) -> str:
    epochs = recipe.train.epochs
    return (
        f"the whole run ({epochs} epochs of {steps_per_epoch} steps are {epochs * steps_per_epoch}); "
        f"write for example `60%` (of all steps) or `3 epochs`, or train longer"
    )


def counts_steps(hint: object) -> bool:
    """Whether a method's field of this type is a number of optimizer steps."""
    return hint in (Steps, Steps | None)


def _steps(document: Document, address: Address, text: str, steps_per_epoch: int, num_steps: int) -> int:
    match = _MOMENT.fullmatch(text)
    if match is None:
        raise document.error(address, f"expected steps as a number, `60%` or `3 epochs`, got {text!r}")
    number, unit = float(match[1]), match[2]
    if unit == "%":
        if number > 100:
            raise document.error(address, f"expected at most 100%, got {text!r}")
        number *= num_steps / 100
    else:
        number *= steps_per_epoch
    return max(1, round(number)) if number else 0


def _quick(recipe: Recipe) -> Recipe:
    """Fewer images and epochs; shapes, sparsity and everything else stay."""
    train = recipe.train
    return replace(
        recipe,
        quick=True,
        train=replace(
            train,
            epochs=min(train.epochs, QUICK_EPOCHS),
            images=min(train.images or QUICK_IMAGES, max(QUICK_IMAGES, train.batch_size)),
            sieve=None
            if train.sieve is None
            else replace(train.sieve, at_epoch=QUICK_EPOCHS - 1, min_presentations=1),
            test_images=min(train.test_images or QUICK_TEST_IMAGES, QUICK_TEST_IMAGES),
        ),
    )


def _limited(document: Document, key: str, wanted: int | None, available: int) -> int:
    if wanted is not None and wanted > available:
        raise document.error(
            ("train", key), f"expected at most {available} (all that the data have), got {wanted}"
        )
    return available if wanted is None else wanted


def _known(document: Document, address: Address, name: str, known: Mapping[str, Any]) -> Any:
    if name in known:
        return known[name]
    raise document.error(address, f"unknown name {name!r}{_nearest(name, known)}")


def _nearest(name: str, known: Iterable[str]) -> str:
    names = list(known)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.7)
    return f"; did you mean {' or '.join(near)}?" if near else f"; expected one of {', '.join(names)}"


def _reject_unknown(document: Document, address: Address, values: Mapping[str, object], kind: type) -> None:
    """Complain about the first key that the dataclass does not have, at any depth."""
    hints = get_type_hints(kind)
    names = [field.name for field in fields(kind)]
    for key, value in values.items():
        inner = (*address, key)
        if key not in names:
            raise document.error(inner, f"unknown key{_nearest(key, names)}")
        hint = hints[key]
        if isinstance(value, bool) and hint in (int, float, int | None, float | None):
            raise document.error(inner, f"expected a number, got {str(value).lower()}")
        hint = _without_none(hint)
        if isinstance(value, dict) and is_dataclass(hint) and isinstance(hint, type) and inner != ("method",):
            _reject_unknown(document, inner, value, hint)


def _without_none(hint: object) -> object:
    """X of `X | None`, everything else as it is."""
    kinds = [kind for kind in get_args(hint) if kind is not type(None)]
    return kinds[0] if len(kinds) == 1 and isinstance(hint, UnionType) else hint


def _validated(
    document: Document, address: Address, kind: type, values: Mapping[str, Plain] | Mapping[str, object]
) -> Any:
    try:
        return TypeAdapter(kind).validate_python(dict(values))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = (*address, *(str(part) for part in first["loc"] if not _is_tag(part)))
        raise document.error(*_explained(where, first)) from None
    except GossamerError as error:
        raise document.error(_blamed(address, error, values), str(error)) from None


def _is_tag(part: object) -> bool:
    """pydantic adds names of union members to a location; no key of ours looks like them."""
    return isinstance(part, str) and (
        part in {"int", "str", "float", "bool"} or part[:1].isupper() or "[" in part
    )


def _explained(where: Address, error: Any) -> tuple[Address, str]:
    if error["type"] == "missing":
        return where, "this key is required"
    if error["type"] == "value_error":
        message = str(error["ctx"]["error"])
        name, colon, rest = message.partition(": ")
        return ((*where, name), rest) if colon and name.isidentifier() else (where, message)
    return where, f"{error['msg'][:1].lower()}{error['msg'][1:]}, got {error['input']!r}"


def _blamed(address: Address, error: GossamerError, values: Mapping[str, object]) -> Address:
    """The setting that an error speaks of: the first one whose name stands in its message."""
    if isinstance(error, PatternError) and "pattern" in values:
        return (*address, "pattern")
    named = [word for word in re.findall(r"\w+", str(error)) if word in values]
    return (*address, named[0]) if named else address
