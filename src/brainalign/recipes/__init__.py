"""An analysis as data: recipes, what runs them, and the record of how a result came about."""

from __future__ import annotations

from brainalign.recipes.runner import run_recipe
from brainalign.recipes.schema import Recipe, read_recipe, shipped_recipes

__all__ = ["Recipe", "read_recipe", "run_recipe", "shipped_recipes"]
