"""Arguments of the Sparsifier that cannot be meant, refused in words."""

from collections.abc import Mapping
from numbers import Integral

from torch import Tensor, nn

from gossamer.errors import EngineError
from gossamer.training.layers import HoldsValues
from gossamer.training.methods.method import Method
from gossamer.training.protection import Protection

ADAM_COUNTS = ("per_weight", "shared")
DENSE_GRADIENTS = ("refused", "blockwise")


def check_arguments(
    model: object,
    method: Method,
    seed: object,
    protect: object,
    masks: Mapping[str, Tensor] | None,
    adam_counts: str,
    dense_gradients: str,
) -> None:
    """EngineError for the first argument of a wrong kind, or two that contradict each other."""
    wrong = None
    if not isinstance(model, nn.Module):
        wrong = f"a torch.nn.Module as model, got {type(model).__name__}"
    elif isinstance(method, type) or not hasattr(method, "edits_at"):
        wrong = f"a method such as RigL(sparsity=0.9), got {method!r}"
    elif isinstance(seed, bool) or not isinstance(seed, Integral):
        wrong = f"a whole number as seed, got {seed!r}"
    elif not isinstance(protect, Protection | None):
        wrong = f"protect=Protection(first=…, last=…, names=…), got {protect!r}"
    elif adam_counts not in ADAM_COUNTS:
        wrong = f"adam_counts to be {' or '.join(ADAM_COUNTS)}, got {adam_counts!r}"
    elif dense_gradients not in DENSE_GRADIENTS:
        wrong = f"dense_gradients to be {' or '.join(DENSE_GRADIENTS)}, got {dense_gradients!r}"
    elif masks is not None and _has_places(model):
        wrong = "no masks= with compact layers, whose places are the masks, got some"
    elif (method.initial == "given") != (masks is not None) and not _has_places(model):
        got = "masks" if masks is not None else "no masks"
        wrong = f"masks= together with a method whose initial is 'given', got {got} and initial={method.initial!r}"
    if wrong is not None:
        raise EngineError(f"Sparsifier: expected {wrong}")


def _has_places(model: nn.Module) -> bool:
    """Compact layers hold their masks themselves, so that initial="given" takes them as they are."""
    return any(isinstance(module, HoldsValues) for module in model.modules())
