"""Results of recipes: made in this call, or in a folder that was written by the same recipe, checked by its digest."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from brainalign._files import sha256
from brainalign.errors import BrainalignError, ResultsError, name_some
from brainalign.recipes.shipped import find_recipe
from brainalign.replication.published import Rows
from brainalign.report.folder import run_recipe


@dataclass(frozen=True)
class RecipeResults:
    """The results of one recipe.

    Attributes
    ----------
    table : DataFrame
        ``results.csv``.
    folder : Path
        Where they are.
    how : str
        Whether they were made in this call, and with which seed.
    """

    table: pd.DataFrame
    folder: Path
    how: str


def read_results(folder: str | Path, recipes: Iterable[str]) -> tuple[str, RecipeResults]:
    """Read a results folder, if one of these recipes wrote it as it ships now.

    Parameters
    ----------
    folder : path-like
        As ``brainalign run`` writes it.
    recipes : iterable of str
        Names of shipped recipes.

    Returns
    -------
    recipe : str
        The one that wrote the folder.
    results : RecipeResults
        What it gave.

    Raises
    ------
    ResultsError
        If the folder is no results folder, another recipe (or another state of it) wrote it, or ``results.csv`` is no
        longer as the run wrote it. Folders of older versions have no digest of it, and are read without this check.
    """
    folder = Path(folder)
    record = _read_provenance(folder)
    digests = {sha256(find_recipe(name)): name for name in recipes}
    recipe = digests.get(str(record.get("recipe_sha256")))
    if recipe is None:
        written = record.get("command", "an unknown command")
        raise ResultsError(
            f"{folder} was written by {written!r}, recipe with SHA-256 {str(record.get('recipe_sha256'))[:12]}...; no "
            f"number asked for is checked by that recipe as it ships now: {name_some(digests.values(), 10) or 'none'}"
        )
    path = folder / "results.csv"
    try:
        digest = sha256(path)
        table = pd.read_csv(path, keep_default_na=False, na_values=[""])
    except (OSError, ValueError) as why:
        raise ResultsError(f"{path} cannot be read: {why}; run the recipe again") from why
    if record.get("results_sha256", digest) != digest:
        raise ResultsError(
            f"{path} was changed after the run: its SHA-256 is {digest[:12]}..., provenance.json says "
            f"{str(record['results_sha256'])[:12]}...; run the recipe again"
        )
    version = record.get("versions", {}).get("brainalign", "of unknown version")
    how = f"results of {folder}: seed {record.get('seed')}, brainalign {version}"
    return recipe, RecipeResults(table, folder, how)


def _read_provenance(folder: Path) -> dict[str, Any]:
    path = folder / "provenance.json"
    if not folder.exists():
        raise ResultsError(f"no results folder {str(folder)!r}; give one that brainalign run wrote")
    if not path.is_file():
        raise ResultsError(f"{folder} is no results folder of brainalign run: it has no provenance.json")
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as why:
        raise ResultsError(f"{folder} is no results folder of brainalign run: {why}") from why
    if not isinstance(record, dict):
        raise ResultsError(f"{path} is not a JSON object")
    return record


@dataclass
class Runs:
    """Where the results of recipes come from.

    Attributes
    ----------
    given : dict of str to RecipeResults
        By recipe: those that were given, and those made since.
    out : Path, optional
        Folder in which recipes that were not given are run; None: they are not run. A folder in it that the same
        recipe wrote earlier is taken as it is.
    jobs : int
        Processes that compute measures side by side.
    cache : Path, optional
        Folder in which activations are kept.
    progress : bool
        Show progress bars.
    failed : dict of str to BrainalignError
        By recipe: why it could not be run. It is not tried again for the next number.
    """

    given: dict[str, RecipeResults] = field(default_factory=dict)
    out: Path | None = None
    jobs: int = 1
    cache: Path | None = None
    progress: bool = False
    failed: dict[str, BrainalignError] = field(default_factory=dict)

    def get(self, recipe: str) -> RecipeResults | None:
        """Return the results of a recipe, after running it if that was asked for.

        Parameters
        ----------
        recipe : str
            Name of a shipped recipe.

        Returns
        -------
        RecipeResults or None
            None if they were not given and nothing is to be run.

        Raises
        ------
        BrainalignError
            If the recipe cannot be run.
        """
        if recipe in self.failed:
            raise self.failed[recipe]
        if recipe not in self.given and self.out is not None:
            try:
                self.given[recipe] = self._run(recipe, self.out / "runs" / recipe.replace("/", "--"))
            except BrainalignError as why:
                self.failed[recipe] = why
                raise
        return self.given.get(recipe)

    def _run(self, recipe: str, folder: Path) -> RecipeResults:
        if folder.is_dir():
            return read_results(folder, [recipe])[1]
        run_recipe(recipe, folder, jobs=self.jobs, cache=self.cache, progress=self.progress)
        return replace(read_results(folder, [recipe])[1], how="run in this call")


def given_results(folders: Sequence[str | Path], recipes: Iterable[str]) -> dict[str, RecipeResults]:
    """Read the results folders that a user gives.

    Parameters
    ----------
    folders : sequence of path-like
        At most one per recipe.
    recipes : iterable of str
        The recipes by which numbers are checked.

    Returns
    -------
    dict of str to RecipeResults
        By recipe.

    Raises
    ------
    ResultsError
        If a folder was written by another recipe, or two by the same.
    """
    known = list(recipes)
    found: dict[str, RecipeResults] = {}
    for folder in folders:
        recipe, results = read_results(folder, known)
        if recipe in found:
            raise ResultsError(f"{found[recipe].folder} and {folder} are both of {recipe}; give one of them")
        found[recipe] = results
    return found


def rows_of(results: RecipeResults, rows: Rows, models: Sequence[str]) -> pd.DataFrame:
    """Return the one row of each model.

    Parameters
    ----------
    results : RecipeResults
        Of a recipe.
    rows : dict of str to str or list of str
        What columns must say.
    models : sequence of str
        The models.

    Returns
    -------
    DataFrame
        Indexed by model, in the order of `models`.

    Raises
    ------
    ResultsError
        If a column is missing, or a model has no such row or several.
    """
    table = results.table
    lacking = [c for c in (*rows, "model", "value", "ci_low", "ci_high") if c not in table]
    if lacking:
        raise ResultsError(
            f"{results.folder / 'results.csv'} has no column {lacking[0]!r}: was it written by an older version? run "
            "the recipe again"
        )
    for column, wanted in rows.items():
        table = table[table[column].isin([wanted] if isinstance(wanted, str) else wanted)]
    counts = table["model"].value_counts()
    odd = [m for m in models if counts.get(m, 0) != 1]
    if odd:
        raise ResultsError(
            f"{results.folder / 'results.csv'} has {counts.get(odd[0], 0)} rows of {odd[0]} with "
            f"{', '.join(f'{c} = {v}' for c, v in rows.items())}; expected one; run the recipe again"
        )
    return table.set_index("model").loc[list(models)]


def mean_over_models(values: NDArray[np.float64]) -> tuple[float, float, float]:
    """Return the mean of independent networks and its 95 % interval by Student's t."""
    from scipy.special import stdtrit

    half = stdtrit(len(values) - 1, 0.975) * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean()), float(values.mean() - half), float(values.mean() + half)


def difference_of_two(one: tuple[float, float, float], other: tuple[float, float, float]) -> tuple[float, float, float]:
    """Return the difference of two estimates, with an interval from theirs (MOVER).

    Parameters
    ----------
    one, other : tuple of float
        Value, lower and upper end of a 95 % interval.

    Returns
    -------
    tuple of float
        Value, lower and upper end of the difference. Right for independent estimates; too wide, and so on the safe
        side, for two that rest on the same sounds and go up and down together.

    References
    ----------
    Zou, G. Y. & Donner, A. (2008). Statistics in Medicine 27, 1693-1702.
    """
    (x, x_low, x_high), (y, y_low, y_high) = one, other
    value = x - y
    return value, value - np.hypot(x - x_low, y_high - y), value + np.hypot(x_high - x, y - y_low)
