"""Models and inputs as the command line names them: `package.module:callable` and `1x3x224x224`."""

import difflib
import importlib
import inspect
import re
import sys
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from gossamer.errors import ExportError
from gossamer.export.arguments import parse_shape

_EXAMPLE = re.compile(r"(?:(?P<name>[A-Za-z_]\w*)=)?(?P<shape>[0-9xX]+)(?::(?P<low>\d+)\.\.(?P<high>\d+))?")


def example_of(text: str, *, seed: int = 0) -> Tensor:
    """A normal random example of a shape.

    >>> example_of("2x5").shape
    torch.Size([2, 5])
    """
    return torch.randn(parse_shape(text), generator=torch.Generator().manual_seed(seed))


def examples_of(text: str, *, seed: int = 0) -> Tensor | dict[str, Tensor]:
    """Examples as the command line has them: `[NAME=]SHAPE[:LOW..HIGH]`, several with commas; whole numbers from LOW to HIGH, else
    normal numbers.

    >>> found = examples_of("ids=1x6:0..99,mask=1x6:1..1")
    >>> {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in found.items()}
    {'ids': (torch.int64, (1, 6)), 'mask': (torch.int64, (1, 6))}
    """
    generator = torch.Generator().manual_seed(seed)
    found: dict[str, Tensor] = {}
    for part in text.split(","):
        match = _EXAMPLE.fullmatch(part.strip())
        if match is None:
            raise ExportError(
                f"input: expected [NAME=]SHAPE[:LOW..HIGH], such as 1x3x224x224 or ids=1x128:0..30521,mask=1x128:1..1, got {part!r}"
            )
        shape = parse_shape(match["shape"])
        if match["low"] is None:
            found[match["name"] or ""] = torch.randn(shape, generator=generator)
        else:
            low, high = int(match["low"]), int(match["high"])
            if low > high:
                raise ExportError(f"input: expected LOW <= HIGH, got {low}..{high}")
            found[match["name"] or ""] = torch.randint(low, high + 1, shape, generator=generator)
    if "" in found and len(found) + text.count(",") > 1:
        raise ExportError(f"input: expected a name for each of several inputs, as in ids=1x128, got {text!r}")
    return found.get("", found)


def resolve_callable(spec: str) -> object:
    """The object that `package.module:name` names; the current directory is searched, too."""
    module_name, colon, attribute = spec.partition(":")
    if not colon or not module_name or not attribute:
        raise ExportError(f"model: expected package.module:callable, got {spec!r}")
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)
    try:
        found: object = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        missing = error.name or module_name
        if not (module_name == missing or module_name.startswith(f"{missing}.")):
            raise ExportError(
                f"model {spec!r}: module {module_name} needs the module {missing}, which is not installed"
            ) from error
        raise ExportError(
            f"model {spec!r}: there is no module {missing} in {here} or among the installed packages"
        ) from error
    except Exception as error:
        raise ExportError(
            f"model {spec!r}: importing {module_name} failed: {type(error).__name__}: {error}"
        ) from error
    for part in attribute.split("."):
        if not hasattr(found, part):
            close = difflib.get_close_matches(
                part, [name for name in dir(found) if not name.startswith("_")], n=3, cutoff=0.4
            )
            hint = f"; nearest: {', '.join(close)}" if close else ""
            raise ExportError(f"model {spec!r}: {module_name} has no {attribute!r}{hint}")
        found = getattr(found, part)
    return found


def load_model(spec: str, arguments: Mapping[str, object] | None = None) -> nn.Module:
    """The model that `package.module:callable` names: called with `arguments`, or taken as it is if it is a
    module already.

    >>> load_model("torch.nn:Linear", {"in_features": 3, "out_features": 2})
    Linear(in_features=3, out_features=2, bias=True)
    """
    found = resolve_callable(spec)
    if isinstance(found, nn.Module):
        if arguments:
            raise ExportError(
                f"model {spec!r}: expected a callable that takes {sorted(arguments)}, got a finished module"
            )
        return found
    if not callable(found):
        raise ExportError(
            f"model {spec!r}: expected a callable that makes a model, got a {type(found).__name__}"
        )
    given = dict(arguments or {})
    try:
        inspect.signature(found).bind(**given)
    except TypeError as error:
        raise ExportError(
            f"model {spec!r}: cannot be called with {given or 'no arguments'}: {error}; write a function without "
            f"arguments that returns the model"
        ) from error
    except ValueError:
        pass  # a callable without a signature
    try:
        model = found(**given)
    except Exception as error:
        raise ExportError(
            f"model {spec!r}: making the model failed: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(model, nn.Module):
        raise ExportError(f"model {spec!r}: expected a torch.nn.Module, got a {type(model).__name__}")
    return model
