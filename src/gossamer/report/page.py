"""One self-contained HTML page: no script, no font, no picture from elsewhere; it can be mailed and opened
in ten years.

A page is a title and sections; a section is a heading and blocks (text, key figures, tables, figures as
inline SVG).
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Protocol

from gossamer.files import write_atomic

_STYLE = """
:root { --ink: #1c2430; --soft: #5b6675; --line: #dfe4ea;
        --paper: #ffffff; --shade: #f5f7fa; --accent: #0b7285; }
* { box-sizing: border-box; }
body { margin: 0; background: var(--shade); color: var(--ink);
       font: 15px/1.5 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }
main { max-width: 1160px; margin: 0 auto; padding: 32px 24px 64px; }
h1 { font-size: 27px; line-height: 1.25; margin: 0 0 4px; }
h2 { font-size: 18px; margin: 0 0 12px; }
p { margin: 0 0 12px; max-width: 78ch; }
.lead { color: var(--soft); margin-bottom: 24px; }
section { background: var(--paper); border: 1px solid var(--line); border-radius: 8px;
          padding: 20px 24px; margin: 0 0 20px; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(170px, 1fr));
           gap: 12px; margin: 0 0 12px; }
.figures div { background: var(--shade); border-radius: 6px; padding: 12px 14px; }
.figures b { display: block; font-size: 22px; line-height: 1.3; color: var(--accent); }
.figures span { color: var(--soft); font-size: 13px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; margin: 0 0 12px;
        font-size: 14px; font-variant-numeric: tabular-nums; }
th, td { padding: 6px 10px; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th { color: var(--soft); font-weight: 600; }
th:first-child, td:first-child, td.words, th.words { text-align: left; }
td.words { white-space: normal; min-width: 220px; color: var(--soft); }
th.names, td.names { text-align: left; }
td.names:first-child { white-space: normal; overflow-wrap: anywhere; min-width: 180px; max-width: 320px; }
.many { font-size: 12.5px; line-height: 1.35; }
.many th, .many td { padding: 4px 7px; }
tr.marked td { background: #e6f4f1; font-weight: 600; }
figure { margin: 0 0 12px; }
figure svg { width: 100%; max-width: 860px; height: auto; display: block; }
figcaption, .note { color: var(--soft); font-size: 13px; max-width: 90ch; }
@media (max-width: 640px) { main { padding: 16px 12px; } section { padding: 16px 14px; } }
"""


class Block(Protocol):
    """Anything that can stand in a section."""

    def html(self) -> str:
        """Markup of the block; all text in it is escaped."""
        ...


@dataclass(frozen=True, kw_only=True)
class Text:
    """A paragraph; note: smaller and grey."""

    text: str
    note: bool = False

    def html(self) -> str:
        """<p>."""
        return f'<p class="note">{escape(self.text)}</p>' if self.note else f"<p>{escape(self.text)}</p>"


@dataclass(frozen=True, kw_only=True)
class KeyFigures:
    """A few large numbers, each with what it says: (number with unit, meaning)."""

    figures: tuple[tuple[str, str], ...]

    def html(self) -> str:
        """A grid of tiles."""
        tiles = "".join(
            f"<div><b>{escape(value)}</b><span>{escape(label)}</span></div>" for value, label in self.figures
        )
        return f'<div class="figures">{tiles}</div>'


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows of text. words: indices of columns that hold sentences, names: those that hold names (left-aligned).
    marked: indices of rows that stand out. many: smaller, for many rows and columns."""

    header: list[str]
    rows: list[list[str]]
    words: tuple[int, ...] = ()
    names: tuple[int, ...] = ()
    marked: tuple[int, ...] = ()
    many: bool = False

    def html(self) -> str:
        """<table> in a scrolling box."""
        head = "".join(self._cell("th", column, text) for column, text in enumerate(self.header))
        body = "".join(
            ('<tr class="marked">' if index in self.marked else "<tr>")
            + "".join(self._cell("td", column, text) for column, text in enumerate(row))
            + "</tr>"
            for index, row in enumerate(self.rows)
        )
        kind = ' class="many"' if self.many else ""
        table = f"<table{kind}><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        return f'<div class="scroll">{table}</div>'

    def _cell(self, tag: str, column: int, text: str) -> str:
        name = "words" if column in self.words else "names" if column in self.names else ""
        kind = f' class="{name}"' if name else ""
        return f"<{tag}{kind}>{escape(text)}</{tag}>"


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A drawing as SVG markup (see plots) with its caption, which also is what a screen reader says."""

    svg: str
    caption: str

    def html(self) -> str:
        """<figure>."""
        caption = escape(self.caption)
        drawing = f'<figure role="img" aria-label="{caption}">{self.svg}'
        return f"{drawing}<figcaption>{caption}</figcaption></figure>"


@dataclass(frozen=True, kw_only=True)
class Section:
    """A heading and the blocks below it."""

    title: str
    blocks: tuple[Block, ...]

    def html(self) -> str:
        """<section>."""
        blocks = "".join(block.html() for block in self.blocks)
        return f"<section><h2>{escape(self.title)}</h2>{blocks}</section>"


@dataclass(frozen=True, kw_only=True)
class Page:
    """The whole report. lead: one sentence below the title."""

    title: str
    lead: str
    sections: tuple[Section, ...]

    def html(self) -> str:
        """The document as text."""
        return (
            '<!doctype html><html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{escape(self.title)}</title><style>{_STYLE}</style></head><body><main>"
            f'<h1>{escape(self.title)}</h1><p class="lead">{escape(self.lead)}</p>'
            f"{''.join(section.html() for section in self.sections)}</main></body></html>\n"
        )

    def write(self, path: str | Path) -> Path:
        """Write the page, atomically; returns its path."""
        return write_atomic(Path(path), self.html().encode())
