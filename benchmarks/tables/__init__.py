"""The generated tables of docs/, by subject; benchmarks/docs.py puts them into the pages."""
