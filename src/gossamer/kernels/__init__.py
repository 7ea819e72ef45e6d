"""Python faces of native operations, each beside a slow NumPy reference of the same signature; `native.py` says what is available."""
