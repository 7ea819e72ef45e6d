"""The NumPy reference executor: the packed network's meaning, operator by operator, in float32. Slow but right.

It runs where there is no native library, and every test of the native one compares with it. One function an operator, in files by family;
matrices are unpacked to dense once, by the first run.
"""

from gossamer.runtime.reference.executor import OPERATIONS, ReferenceExecutor

__all__ = ["OPERATIONS", "ReferenceExecutor"]
