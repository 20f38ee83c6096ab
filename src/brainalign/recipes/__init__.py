"""An analysis as data: recipes, what computes them, and the record of how a result came about."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from brainalign.recipes.json_schema import recipe_schema
    from brainalign.recipes.runner import Run, compute_recipe
    from brainalign.recipes.schema import Recipe, read_recipe
    from brainalign.recipes.shipped import shipped_recipes

__all__ = ["Recipe", "Run", "compute_recipe", "read_recipe", "recipe_schema", "shipped_recipes"]

_WHERE = {
    "Recipe": "schema",
    "Run": "runner",
    "compute_recipe": "runner",
    "read_recipe": "schema",
    "recipe_schema": "json_schema",
    "shipped_recipes": "shipped",
}


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'brainalign.recipes' has no attribute {name!r}")
    return getattr(import_module(f"brainalign.recipes.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    return __all__
