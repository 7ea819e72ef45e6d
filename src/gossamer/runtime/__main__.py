"""`python -m gossamer.runtime FILE IN.npy OUT.npy`: one run without any extra. `.npz` where there are several arrays."""

import argparse
import sys
from pathlib import Path

import numpy as np

from gossamer.errors import GossamerError, RuntimeFailure
from gossamer.runtime.session import EngineName, load


def main(arguments: list[str] | None = None) -> int:
    """0, or 1 with a message on stderr."""
    parser = argparse.ArgumentParser(
        prog="python -m gossamer.runtime", description="Run a packed network once."
    )
    parser.add_argument("file", type=Path, help="packed file")
    parser.add_argument(
        "input", type=Path, help="float32 array (.npy), or one array an input, by name (.npz)"
    )
    parser.add_argument(
        "output", type=Path, help="where the output goes (.npy), or all outputs by name (.npz)"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--engine", choices=("auto", "native", "reference"), default="auto")
    options = parser.parse_args(arguments)
    try:
        _run(options.file, options.input, options.output, options.threads, options.engine)
    except GossamerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _run(file: Path, source: Path, target: Path, threads: int, engine: EngineName) -> None:
    if target.suffix not in (".npy", ".npz"):
        raise RuntimeFailure(f"{target}: expected a name that ends with .npy or .npz")
    session = load(file, threads=threads, engine=engine)
    try:
        loaded = np.load(source, allow_pickle=False)
        results = session.run(loaded if isinstance(loaded, np.ndarray) else dict(loaded.items()))
    except (OSError, ValueError, EOFError) as error:
        raise RuntimeFailure(f"{source}: expected an array as NumPy saves it, got: {error}") from error
    if target.suffix == ".npy" and len(results) != 1:
        raise RuntimeFailure(f"{target}: expected .npz for the outputs {', '.join(results)}")
    try:
        if target.suffix == ".npz":
            np.savez(target, allow_pickle=False, **results)
        else:
            np.save(target, next(iter(results.values())), allow_pickle=False)
    except OSError as error:
        raise RuntimeFailure(f"{target}: expected to write the output, got: {error}") from error


if __name__ == "__main__":
    sys.exit(main())
