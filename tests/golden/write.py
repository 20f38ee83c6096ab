"""Write the golden results anew: ``python tests/golden/write.py [RECIPE ...]``; without names, all that are stored.

What is stored is what a run gave when somebody looked at it and found it right. After a change that is meant to move
numbers, write them anew, and say in the commit which moved and why.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import pandas as pd

HERE = Path(__file__).parent
NUMBERS = ("value", "ci_low", "ci_high", "p", "effect_size")
#: Single units are thousands of rows: of these measures every so many-th row is stored.
SAMPLED = {"unit-table": 50}


def stored() -> list[str]:
    """Return the recipes whose results are stored."""
    return [p.stem.replace("--", "/") for p in sorted(HERE.glob("*.csv"))]


def path_of(recipe: str) -> Path:
    """Return the file of the golden results of a recipe."""
    return HERE / f"{recipe.replace('/', '--')}.csv"


def reduced(results: Path) -> pd.DataFrame:
    """Return what is compared of a results.csv: what each row is about, and its numbers.

    Notes and warnings are words; they may be put better without moving a number.
    """
    table = pd.read_csv(results, keep_default_na=False, na_values=[""])
    kept = [part.iloc[:: SAMPLED.get(str(name), 1)] for name, part in table.groupby("measure", sort=False)]
    table = pd.concat(kept, ignore_index=True)
    return table.drop(columns=["note"]).dropna(axis="columns", how="all")


def compute(recipe: str, folder: Path) -> pd.DataFrame:
    """Run a recipe as it ships, and return what is compared."""
    from brainalign.report.folder import run_recipe

    return reduced(run_recipe(recipe, folder, audio=False) / "results.csv")


def main() -> None:
    """Write the files."""
    for recipe in sys.argv[1:] or stored():
        with tempfile.TemporaryDirectory() as folder:
            compute(recipe, Path(folder) / "run").to_csv(path_of(recipe), index=False, float_format="%.7g")
        print(path_of(recipe).name)


if __name__ == "__main__":
    main()
