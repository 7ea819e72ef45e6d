"""The recipes that come with the package."""

import json
from dataclasses import replace

import jsonschema
import pytest
import yaml

from gossamer.errors import RecipeError
from gossamer.recipes import json_schema, library, resolved, validate
from gossamer.recipes.document import parse
from gossamer.training.methods import METHODS

NAMES = library.names()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("quick", [False, True])
def test_is_valid_and_resolves_to_itself(name, quick):
    plan = validate.plan_of(library.document_of(name), quick=quick)
    assert plan.recipe.name == name
    again = validate.plan_of(parse(resolved.to_yaml(plan.recipe), name="resolved.yaml"))
    assert again.recipe == plan.recipe
    assert again.method == plan.method


@pytest.mark.parametrize("name", NAMES)
def test_fits_the_published_schema(name):
    jsonschema.validate(yaml.safe_load(library.text_of(name)), json.loads(json_schema.PUBLISHED.read_text()))


def test_there_is_one_recipe_a_method():
    resnet = {name for name in NAMES if "resnet20" in name}
    twins = {
        "fashion-mnist-resnet20-mest-compact",  # of the masked one, in the other storage
        "fashion-mnist-resnet20-pgap",  # of gap, whose partitions train at once
    }
    methods = {f"fashion-mnist-resnet20-{method.replace('_', '-')}" for method in ("dense", *METHODS)}
    assert resnet == methods | twins


def test_sparse_recipes_train_exactly_as_their_dense_twin():
    plans = {name: validate.plan_of(library.document_of(name)) for name in NAMES if "resnet20" in name}
    twin = plans.pop("fashion-mnist-resnet20-dense")
    for plan in plans.values():
        assert replace(plan.recipe.train, storage="masked") == twin.recipe.train
        assert plan.num_steps == twin.num_steps
        assert plan.method is not None
        assert plan.method.sparsity == 0.9


def test_the_published_schema_is_current():
    assert json_schema.PUBLISHED.read_text(encoding="utf-8") == json_schema.text(), (
        "write it again: python -m gossamer.recipes.json_schema"
    )


@pytest.mark.parametrize(
    "change",
    [
        {"trian": {}},
        {"train": {"epochs": 3, "extra": 1}},
        {"method": {"name": "riggl"}},
        {"method": {"name": "gradual", "at": 3}},
        {"train": {"epochs": "many"}},
    ],
)
def test_the_schema_refuses(change):
    values = {**yaml.safe_load(library.text_of("fashion-mnist-resnet20-gradual")), **change}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(values, json_schema.schema())


def test_unknown_names():
    with pytest.raises(RecipeError, match="did you mean fashion-mnist-resnet20-rigl"):
        library.document_of("fashion-mnist-resnet20-rigle")
    with pytest.raises(RecipeError, match="No such file"):
        library.document_of("mine.yaml")
