"""How the network of Kim et al. 2024 learns: AudioSet-style data, conditions, the trainer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from brainalign.training.recipe import TrainingRecipe, read_training_recipe
    from brainalign.training.trainer import TrainedNetwork, train

__all__ = ["TrainedNetwork", "TrainingRecipe", "read_training_recipe", "train"]

_WHERE = {
    "TrainedNetwork": "trainer",
    "TrainingRecipe": "recipe",
    "read_training_recipe": "recipe",
    "train": "trainer",
}


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'brainalign.training' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"brainalign.training.{_WHERE[name]}"), name)
