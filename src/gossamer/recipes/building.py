"""What a recipe trains: its network, in the storage that it names, the optimizer and the Sparsifier beside it."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gossamer.errors import RecipeError
from gossamer.export import load_model
from gossamer.recipes.schema import Optimizer
from gossamer.recipes.validate import Plan
from gossamer.training import Sparsifier
from gossamer.training.compact import CompactLayer, compact_


@dataclass(frozen=True, kw_only=True)
class Built:
    """The parts of a run that its seed decides; sparsifier: None for dense training; notes: on what is stored how."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    sparsifier: Sparsifier | None
    notes: tuple[str, ...]


def built(plan: Plan, device: torch.device) -> Built:
    """Everything with fresh weights and the first masks; draws from torch's generator, which is seeded here."""
    recipe = plan.recipe
    torch.manual_seed(recipe.seed)
    fresh, notes = stored(plan, model_of(plan))
    model = fresh.to(device)
    if recipe.train.channels_last:
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = make_optimizer(model, recipe.train.optimizer)
    if plan.method is None:
        return Built(model=model, optimizer=optimizer, sparsifier=None, notes=notes)
    sparsifier = Sparsifier(model, plan.method, optimizer, seed=recipe.seed, protect=recipe.protect)
    return Built(model=model, optimizer=optimizer, sparsifier=sparsifier, notes=notes)


def model_of(plan: Plan) -> nn.Module:
    """The recipe's network with fresh weights, all of them; it must fit the task."""
    name = plan.recipe.model
    model = load_model(name) if ":" in name else plan.task.models[name]()
    wanted = (2, len(plan.task.labels))
    try:
        with torch.no_grad():
            found = model.eval()(torch.zeros(2, *plan.task.input_shape))
    except (RuntimeError, TypeError, ValueError) as error:
        raise RecipeError(
            f"model {name}: cannot take images of shape {list(plan.task.input_shape)} of {plan.task.name}: {error}"
        ) from None
    if not isinstance(found, Tensor) or tuple(found.shape) != wanted:
        got = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise RecipeError(f"model {name}: expected logits {list(wanted)} for two images, got {got}")
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise RecipeError(f"model {name}: expected weights that can be trained, got none")
    return model


def stored(plan: Plan, model: nn.Module) -> tuple[nn.Module, tuple[str, ...]]:
    """The network as the recipe stores it in training: as it is, or with the kept weights of its sparse layers alone; and notes on that."""
    if plan.recipe.train.storage == "masked":
        return model, ()
    assert plan.method is not None
    with warnings.catch_warnings():  # the report says it too
        warnings.simplefilter("ignore", RuntimeWarning)
        report = compact_(model, plan.method, seed=plan.recipe.seed, protect=plan.recipe.protect)
    return model, report.notes


def make_optimizer(model: nn.Module, settings: Optimizer) -> torch.optim.Optimizer:
    """SGD or AdamW; weight decay acts on weights of at least two dimensions, also where only their kept values are stored."""
    kept = {id(layer.values) for layer in model.modules() if isinstance(layer, CompactLayer)}
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    decayed = [p for p in parameters if p.dim() > 1 or id(p) in kept]
    others = [p for p in parameters if p.dim() <= 1 and id(p) not in kept]
    groups = [
        {"params": decayed, "weight_decay": settings.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if settings.kind == "adamw":
        return torch.optim.AdamW(groups, lr=settings.lr, betas=settings.betas)
    return torch.optim.SGD(groups, lr=settings.lr, momentum=settings.momentum, nesterov=settings.nesterov)
