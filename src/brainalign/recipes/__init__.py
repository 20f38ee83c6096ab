"""An analysis as data: recipes, what computes them, and the record of how a result came about."""

from __future__ import annotations

from brainalign.recipes.runner import Run, compute_recipe
from brainalign.recipes.schema import Recipe, read_recipe, shipped_recipes

__all__ = ["Recipe", "Run", "compute_recipe", "read_recipe", "shipped_recipes"]
