"""How many threads can be of use: never more than the CPUs of this process, because a team waits for its slowest member."""

import os

from gossamer.errors import GossamerError, RuntimeFailure


def usable_cpus() -> int:
    """CPUs that this process may run on: its affinity, where the system knows one."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


def check_threads(threads: int, *, error: type[GossamerError] = RuntimeFailure) -> None:
    """`error`, with the range in words, for a number of threads that this process cannot use.

    >>> check_threads(0)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    gossamer.errors.RuntimeFailure: threads: expected ... (the CPUs this process may use), got 0
    """
    cpus = usable_cpus()
    if not 1 <= threads <= cpus:
        raise error(
            f"threads: expected 1{f' to {cpus}' if cpus > 1 else ''} (the CPUs this process may use), got {threads}"
        )
