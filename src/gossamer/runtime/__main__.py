"""`python -m gossamer.runtime FILE IN.npy OUT.npy`: one run without any extra. `.npz` where there are several arrays."""

import argparse
import sys
from pathlib import Path

from gossamer.errors import GossamerError
from gossamer.runtime.arrays import check_name, read_arrays, write_arrays
from gossamer.runtime.session import load


def main(arguments: list[str] | None = None) -> int:
    """0, or 2 with a message on stderr, like `gossamer`."""
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
    parser.add_argument("--tune", action="store_true", help="measure the kernels of every layer first")
    parser.add_argument("--pin", action="store_true", help="keep every thread but the first on one CPU")
    options = parser.parse_args(arguments)
    try:
        session = load(
            options.file,
            threads=options.threads,
            engine=options.engine,
            tune=options.tune,
            pin=options.pin,
        )
        check_name(options.output, {output.name: output for output in session.outputs})
        write_arrays(options.output, session.run(read_arrays(options.input)))
    except GossamerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
