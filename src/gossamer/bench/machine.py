"""Facts about the machine and the versions that belong beside every measured figure."""

from __future__ import annotations

import json
import os
import platform
from importlib import metadata
from pathlib import Path

from gossamer.kernels import native

_PACKAGES = ("gossamer", "numpy", "torch", "onnx", "onnxruntime", "openvino", "nncf", "sparselab")


def describe() -> dict[str, object]:
    """Machine, CPU model, CPUs that this process may use, instruction set, versions of everything
    measured."""
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
        "isa": isa(),
        "features": features(),
        "versions": versions,
    }


def features() -> list[str]:
    """Units for int8 and bfloat16 that dense engines use beyond this instruction set, as far as the system tells."""
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.exists():
        return []
    lines = (line for line in cpuinfo.read_text().splitlines() if line.startswith("flags"))
    flags = set(next(lines, "").split())
    return [name for name in ("avx_vnni", "avx512_vnni", "amx_int8", "amx_bf16") if name in flags]


def cache_bytes() -> int:
    """Size of the largest cache that the first CPU reaches, as the system tells it; 32 MiB where it does not."""
    sizes = [
        _size(path.read_text()) for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size")
    ]
    return max(sizes, default=32 * 2**20)


def _size(text: str) -> int:
    """Bytes of the kernel's notation.

    >>> _size("2048K"), _size("32M\\n")
    (2097152, 33554432)
    """
    number, unit = text.strip()[:-1], text.strip()[-1]
    factors = {"K": 2**10, "M": 2**20, "G": 2**30}
    return int(number) * factors[unit] if unit in factors else int(text)


def isa() -> str:
    """Instruction set that the native runtime uses here, `reference` where there is no native library."""
    module = native.status().module
    return "reference" if module is None else str(json.loads(module.build_info())["isa"])


def cpu_model() -> str:
    """Name of the processor, as the system tells it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
