"""gossamer doctor"""

from __future__ import annotations

from importlib import metadata
from json import loads

from gossamer._version import __version__
from gossamer.cli.extras import EXTRA_OF
from gossamer.cli.output import Json, Output

_DISTRIBUTION = {"PIL": "pillow", "yaml": "PyYAML", "sklearn": "scikit-learn"}


def doctor(json: Json = False) -> None:
    """Say what this installation can do: versions, instruction sets, CPUs, extras.

    \b
    Example:
      gossamer doctor
    """
    import os
    import platform

    output = Output(json)
    packages = {name: _version(_DISTRIBUTION.get(name, name)) for name in ("numpy", "safetensors", *EXTRA_OF)}
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    native = native_facts()
    missing = sorted({EXTRA_OF[name] for name, version in packages.items() if version is None})
    found: dict[str, object] = {
        "gossamer": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": cpus,
        "native": native,
        "packages": packages,
        "missing_extras": missing,
    }
    output.say(
        f"gossamer {__version__}, Python {platform.python_version()}, {platform.platform()}, {cpus} CPUs usable"
    )
    if native is None:
        output.say(
            "native library: absent; packed files run with the slow NumPy reference. Reinstall with a C++17 compiler."
        )
    else:
        for key, value in native.items():
            text = ", ".join(map(str, value)) if isinstance(value, list) else value
            output.say(f"native {key.replace('_', ' ')}: {text}")
    for name, version in packages.items():
        extra = f"  (extra {EXTRA_OF[name]})" if name in EXTRA_OF else ""
        output.say(f"{name}: {version or 'not installed'}{extra}")
    output.say(
        f"missing extras: {', '.join(missing)}; install with pip install 'gossamer[{','.join(missing)}]'"
        if missing
        else "all extras are installed"
    )
    output.result(found)


def native_facts() -> dict[str, object] | None:
    """What the native library says about itself, None where there is none."""
    from gossamer.kernels import native

    found = native.status()
    return None if found.module is None else dict(loads(found.module.build_info()))


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
