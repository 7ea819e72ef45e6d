"""The generated page of operators is the one in the documentation."""

from pathlib import Path

from gossamer.export.reference import page


def test_the_page_of_operators_is_up_to_date() -> None:
    found = (Path(__file__).parents[2] / "docs/reference/operators.md").read_text(encoding="utf-8")
    assert found == page(), "python -m gossamer.export.reference > docs/reference/operators.md"
