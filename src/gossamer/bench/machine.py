"""Facts about the machine and the versions that belong beside every measured figure."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path

_PACKAGES = ("gossamer", "numpy", "torch", "onnx", "onnxruntime", "openvino", "nncf")


def describe() -> dict[str, object]:
    """Machine, CPU model, CPUs that this process may use, instruction set, versions of everything
    measured."""
    from gossamer.kernels import native

    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {
        "cpu": cpu_model(),
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "isa": native.isa(),
        "versions": versions,
    }


def cpu_model() -> str:
    """Name of the processor, as the system tells it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
