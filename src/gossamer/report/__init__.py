"""Results for people: numbers with units, plots and one self-contained HTML page."""

from gossamer.report.page import Figure, KeyFigures, Page, Section, Table, Text

__all__ = ["Figure", "KeyFigures", "Page", "Section", "Table", "Text"]
