"""What an extra of pyproject.toml needs, without Gossamer itself and torch: what `make` installs at once.

>>> "numpy>=1.26" in requirements("dev") and not any(line.startswith("torch") for line in requirements("dev"))
True
"""

import re
import sys
import tomllib
from pathlib import Path


def requirements(extra: str) -> list[str]:
    """The hard dependencies and those of `extra`; `gossamer[other]` is resolved."""
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    found: list[str] = list(project["dependencies"])
    waiting = [extra]
    while waiting:
        for line in project["optional-dependencies"][waiting.pop()]:
            if own := re.fullmatch(r"gossamer\[(.*)\]", line):
                waiting += own[1].split(",")
            elif not line.startswith("torch"):
                found.append(line)
    return list(dict.fromkeys(found))


if __name__ == "__main__":
    print("\n".join(requirements(sys.argv[1])))
