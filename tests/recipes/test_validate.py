"""What is wrong in a recipe is an error that names the line and helps."""

import pytest
from helpers import RECIPE, plan

from gossamer.errors import RecipeError
from gossamer.training.methods import Gradual


def test_a_plan():
    found = plan()
    assert found.steps_per_epoch == 8
    assert found.num_steps == 24
    assert found.method == Gradual(sparsity=0.9, stop=14, every=2)
    assert found.test_images == 100


def test_steps_as_parts_and_epochs():
    assert plan("method.stop=50%", "method.every=1 epoch").method == Gradual(sparsity=0.9, stop=12, every=8)
    assert plan("method.stop=1.5 epochs").method == Gradual(sparsity=0.9, stop=12, every=2)
    assert plan("method.stop=24").method == Gradual(sparsity=0.9, stop=24, every=2)
    assert plan("method.stop=60%", "method.every=0.1%").method == Gradual(sparsity=0.9, stop=14, every=1)


def test_incomplete_last_batches_are_left_out():
    assert plan("train.images=255").steps_per_epoch == 7


def test_dense_is_a_word_or_a_section():
    text = RECIPE[: RECIPE.index("method:")] + "method: dense\n" + RECIPE[RECIPE.index("protect:") :]
    assert plan(text=text).method is None
    assert plan("method={name: dense}").method is None


def test_quick_lowers_images_and_epochs_only():
    found = plan("train.images=10000", quick=True)
    assert found.recipe.quick
    assert (found.recipe.train.epochs, found.train_images, found.test_images) == (2, 1280, 100)
    full = plan("train.images=10000").recipe
    assert found.recipe.train.batch_size == full.train.batch_size
    assert found.recipe.method == full.method


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("method.sparsity=1.2", "sparsity: expected a fraction in [0, 1), got 1.2"),
        ("method.sparsity=90", "got 90"),
        ("method.sparsity=much", "method.sparsity: input should be a valid number"),
        ("method.sparsty=0.5", "unknown key; did you mean sparsity"),
        (
            "method.mutation=0.1",
            "method.mutation: unknown key; expected one of ",
        ),  # MEST's; like none of gradual's
        (
            "method.pattern=2:4",
            "method.pattern: Gradual: the pattern 2:4 fixes the sparsity of its layers at 0.5, got sparsity 0.9",
        ),
        ("method.pattern=block:0x3", "method.pattern"),
        ("method.pattern=blok:4x1", "method.pattern"),
        ("method.stop=25", "25 steps are more than the whole run (3 epochs of 8 steps are 24)"),
        ("method.stop=120%", "expected at most 100%"),
        ("method.stop=half", "expected steps as a number, `60%` or `3 epochs`"),
        ("method.every=0", "method.every"),
        ("method.name=riggl", "unknown name 'riggl'; did you mean rigl?"),
        ("method.name=dense", "dense training has no settings"),
        ("method=", "expected a name"),
        ("method={sparsity: 0.9}", "expected a method, write for example `name: gradual`"),
        ("trian.epochs=3", "trian: unknown key; did you mean train"),
        ("train.epochs=0", "train.epochs: expected at least 1, got 0"),
        ("train.epochs=2.5", "train.epochs"),
        ("train.epochs=true", "expected a number, got true"),
        ("train.batch_size=512", "expected at most the 256 images of an epoch, got 512"),
        ("train.images=10001", "expected at most 10000"),
        ("train.optimizer.lr=-1", "train.optimizer.lr: expected a number above 0, got -1.0"),
        ("train.optimizer.kind=adam", "'sgd' or 'adamw'"),
        ("train.optimizer={kind: sgd, lr: 0.1, momentum: 0}", "nesterov"),
        ("train.rate.warmup=1", "train.rate.warmup"),
        ("train.augment.crop=99", "train.augment.crop"),
        ("train.precision=fp8", "'fp32' or 'bf16'"),
        ("train=3", "train: "),
        ("task=fashion", "did you mean fashion-mnist?"),
        ("data=ful", "did you mean full?"),
        ("model=resnet", "did you mean resnet20?"),
        ("name=a/b", "name: expected letters"),
        ("protect.names=fc", "protect.names"),
        ("protect.frist=false", "did you mean first"),
        ("seed=-1", "seed"),
    ],
)
def test_errors_of_overrides(override, message):
    with pytest.raises(RecipeError) as caught:
        plan(override)
    assert message in str(caught.value)
    assert str(caught.value).startswith((f"override {override!r}: ", "small.yaml:"))


@pytest.mark.parametrize(
    ("line", "replacement", "message"),
    [
        ("  sparsity: 0.9", "  sparsity: 1.2", "small.yaml:8: method.sparsity"),
        (
            "  sparsity: 0.9",
            "  sparsiti: 0.9",
            "small.yaml:8: method.sparsiti: unknown key; did you mean sparsity",
        ),
        ("  stop: 60%", "  stop: 10000", "small.yaml:9: method.stop"),
        ("  stop: 60%", "  # no stop", "small.yaml:6: method.stop: the last edit is at step 10000"),
        ("  epochs: 3", "  epoch: 3", "small.yaml:13: train.epoch: unknown key; did you mean epochs"),
        ("  epochs: 3", "  eval_every: 3", "small.yaml:12: train.epochs: this key is required"),
        ("model: mlp", "modle: mlp", "small.yaml:3: modle: unknown key; did you mean model"),
    ],
)
def test_errors_name_the_line_of_the_file(line, replacement, message):
    with pytest.raises(RecipeError) as caught:
        plan(text=RECIPE.replace(line, replacement, 1))
    assert message in str(caught.value)
