"""Numbers do not drift: the demo and recipes that ship give what they gave when their results were looked at.

Tolerances are those of another processor and another build of the linear algebra: single-precision activations agree to
1e-6, regressions enlarge that; a p from permutations moves in steps of one permutation.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from golden.write import NUMBERS, compute, path_of, stored

from brainalign.recipes import read_recipe, shipped_recipes

#: Relative and absolute tolerance of each column of numbers.
TOLERANCES = {
    "value": (1e-3, 1e-4),
    "ci_low": (1e-2, 1e-3),
    "ci_high": (1e-2, 1e-3),
    "p": (1e-2, 5e-3),
    "effect_size": (1e-3, 1e-4),
}


def needs_data(recipe: str) -> bool:
    return read_recipe(shipped_recipes()[recipe]).stimuli.set != "demo"


CASES = [
    pytest.param(r, marks=[pytest.mark.slow, *([pytest.mark.realdata] if needs_data(r) else [])]) for r in stored()
]


@pytest.mark.parametrize("recipe", CASES)
def test_a_shipped_recipe_gives_its_golden_results(recipe: str, tmp_path: Path) -> None:
    golden = pd.read_csv(path_of(recipe), keep_default_na=False, na_values=[""])
    found = compute(recipe, tmp_path / "run")
    about = [c for c in golden if c not in NUMBERS]
    assert list(found) == list(golden)
    pd.testing.assert_frame_equal(found[about], golden[about], rtol=1e-5, check_dtype=False)
    for column in set(NUMBERS) & set(golden):  # a measure without intervals has no such column
        rtol, atol = TOLERANCES[column]
        np.testing.assert_allclose(found[column], golden[column], rtol=rtol, atol=atol, err_msg=column)


def test_a_drift_of_one_percent_would_be_seen() -> None:
    """The tolerance is no loophole: it is far below the estimates of the demo."""
    values = pd.read_csv(path_of("demo"), keep_default_na=False, na_values=[""])["value"]
    rtol, atol = TOLERANCES["value"]
    drifted = ~np.isclose(values * 1.01, values, rtol=rtol, atol=atol)
    assert drifted.mean() > 0.9


def test_the_demo_and_a_recipe_of_real_data_are_held() -> None:
    assert {"demo", "kim2024/natsound165"} <= set(stored())
