"""The hexadecimal examples of docs/formats are worked by hand there and executed here; every format has its page."""

import doctest
from pathlib import Path

import pytest

from gossamer.formats import FORMATS

PAGES = Path(__file__).parents[2] / "docs" / "formats"


@pytest.mark.parametrize("name", FORMATS)
def test_page(name: str):
    page = PAGES / f"{name.replace('_', '-')}.md"
    text = page.read_text().replace("\n```\n", "\n\n")
    test = doctest.DocTestParser().get_doctest(text, {}, page.name, str(page), 0)
    assert test.examples
    assert doctest.DocTestRunner().run(test).failed == 0


def test_patents_are_stated_as_a_fact():
    text = (PAGES / "gather-scatter.md").read_text()
    assert "US patents 11,481,214 and 11,836,489 have been found to name such methods." in text
