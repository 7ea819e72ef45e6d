"""YAML with the line of every key."""

import pytest

from gossamer.errors import RecipeError
from gossamer.recipes.document import parse, read, with_overrides

TEXT = """\
# a comment
name: x

train:
  epochs: 3
  betas:
    - 0.9
    - 0.99
"""


def test_places():
    document = parse(TEXT, name="r.yaml")
    assert document.values == {"name": "x", "train": {"epochs": 3, "betas": [0.9, 0.99]}}
    assert document.place(("name",)) == "r.yaml:2"
    assert document.place(("train", "epochs")) == "r.yaml:5"
    assert document.place(("train", "betas", "1")) == "r.yaml:8"
    assert document.place(("train", "missing")) == "r.yaml:4"
    assert document.place(("elsewhere",)) == "r.yaml"
    assert str(document.error(("train", "epochs"), "too few")) == "r.yaml:5: train.epochs: too few"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2:4", "2:4"),
        ("gs:8,1", "gs:8,1"),
        ("1e-3", 1e-3),
        ("-2", -2),
        (".5", 0.5),
        ("60%", "60%"),
        ("no", "no"),
        ("true", True),
        ("~", None),
        ("", None),
        ("'7'", "7"),
        ("2026-11-22", "2026-11-22"),
        ("0x10", "0x10"),
    ],
)
def test_scalars_mean_what_they_look_like(text, value):
    assert parse(f"key: {text}", name="r.yaml").values == {"key": value}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        ("- 1", "r.yaml:1: expected `key: value`"),
        ("a: 1\nb: [1, 2", "r.yaml:2: not valid YAML"),
        ("a: 1\nb: 2\na: 3", "r.yaml:3: the key 'a' is given twice (first at r.yaml:1)"),
        ("a: &x {b: 1}\nc: *x", "r.yaml:1: anchors are not supported"),
        ("a: &x [*x]", "anchors are not supported"),
        ("a: 1\n? [1]\n: 2", "r.yaml:2: expected a plain word as key"),
        ("a: \x00", "not valid YAML"),
        ("a: !!python/object/apply:os.getcwd []", "a"),
    ],
)
def test_errors_name_the_line(text, message):
    if "python" in text:
        assert parse(text, name="r.yaml").values == {"a": []}  # a tag runs nothing
        return
    with pytest.raises(RecipeError) as caught:
        parse(text, name="r.yaml")
    assert message in str(caught.value)


def test_overrides_replace_add_and_keep_the_document():
    document = parse(TEXT, name="r.yaml")
    changed = with_overrides(
        document, ["train.epochs=5", "train.rate.kind=constant", "pattern=2:4", "train.betas=[0.5]"]
    )
    assert changed.values["train"] == {"epochs": 5, "betas": [0.5], "rate": {"kind": "constant"}}
    assert changed.values["pattern"] == "2:4"
    assert changed.place(("train", "epochs")) == "override 'train.epochs=5'"
    assert changed.place(("train", "betas", "1")) == "override 'train.betas=[0.5]'"
    assert changed.place(("train", "rate")) == "override 'train.rate.kind=constant'"
    assert document.values["train"] == {"epochs": 3, "betas": [0.9, 0.99]}


@pytest.mark.parametrize("override", ["train", "=3", "train..epochs=3", "name.x=3", "a=[1"])
def test_bad_overrides(override):
    with pytest.raises(RecipeError, match="override"):
        with_overrides(parse(TEXT, name="r.yaml"), [override])


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(RecipeError, match="No such file"):
        read(tmp_path / "absent.yaml")
    (tmp_path / "latin.yaml").write_bytes("name: Käse".encode("latin-1"))
    with pytest.raises(RecipeError, match="UTF-8"):
        read(tmp_path / "latin.yaml")
