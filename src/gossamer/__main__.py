"""`python -m gossamer`: the same as the console script."""

from gossamer.cli import main

if __name__ == "__main__":
    main()
