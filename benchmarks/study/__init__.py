"""The study of methods at equal training cost: what runs, how long, with which outcome (`benchmarks/methods.py` is its command line)."""
