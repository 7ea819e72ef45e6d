"""The page docs/reference/operators.md: the ATen operators that `pack` takes, from the tables of `gossamer.export.lower`.

`python -m gossamer.export.reference > docs/reference/operators.md` writes it again; a test compares.
"""

from gossamer.export.lower import FAMILIES, SIZED

_HEAD = """\
# Operators of torch that can be packed

Generated; write it again with `python -m gossamer.export.reference > docs/reference/operators.md`.

{count} operators of ATen, with all their overloads and in-place forms. Some take only part of their
arguments (`topk` with k = 1); packing says so, with the line of your program.
What depends on parameters and sizes alone may use any operator: it is evaluated once. Nothing may mix the
examples of a batch.
"""


def page() -> str:
    """The Markdown text."""
    parts = [_HEAD.format(count=sum(len(table) for table in FAMILIES.values()) + len(SIZED))]
    for name, table in (*FAMILIES.items(), ("sizes", SIZED)):
        names = ", ".join(f"`{op.removeprefix('aten.')}`" for op in sorted(table))
        parts.append(f"## {name.capitalize()}\n\n{names}\n")
    return "\n".join(parts)


if __name__ == "__main__":
    print(page(), end="")
