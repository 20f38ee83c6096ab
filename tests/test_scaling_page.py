"""The page that plans large benchmarks says what the measured constants give."""

from __future__ import annotations

import runpy
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parents[1]
PLAN = runpy.run_path(str(ROOT / "benchmarks" / "plan.py"), run_name="plan")


@pytest.fixture(scope="module")
def measured() -> pd.DataFrame:
    return pd.read_csv(ROOT / "docs" / "pictures" / "scaling.csv")


@pytest.mark.parametrize(
    ("mark", "table"), [("slopes", PLAN["growth"]), ("plan", lambda m: PLAN["costs"](PLAN["Plan"](), m))]
)
def test_tables_of_the_page_are_those_of_the_script(mark, table, measured):
    page = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")
    shown = page.split(f"<!-- {mark}: made by benchmarks/plan.py -->")[1].split(f"<!-- /{mark} -->")[0].strip()
    assert shown == PLAN["as_markdown"](table(measured))


def test_the_plan_is_linear_in_models_and_data_sets(measured):
    one, many = (PLAN["costs"](PLAN["Plan"](n_models=n, n_datasets=d), measured) for n, d in ((1, 1), (100, 7)))
    for column in ("core hours", "GB kept", "tasks"):
        assert many[column].tolist() == pytest.approx((700 * one[column]).tolist())
    assert many["s a task"].tolist() == one["s a task"].tolist()


def test_a_plan_by_hand():
    """Constants of 1 s a sound, 2 s a target and permutation, 3 s a layer of RSA."""
    rows = [("extraction, sounds", 1), ("encoding, targets", 0.05), ("encoding, permutations", 2), ("RSA, layers", 3)]
    table = pd.DataFrame(
        [(what, size, cost * size) for what, cost in rows for size in (1, 10)], columns=["what", "size", "cpu_s"]
    )
    plan = PLAN["Plan"](1, 1, 165, 1.5, 2, 10, 1_000, 5)
    found = PLAN["costs"](plan, table).set_index("work")["core hours"] * 3_600
    # 1,000 targets cost 50 s with ten permutations of 2 s each: 30 s for the fit, and 5 permutations.
    assert found.to_dict() == pytest.approx({"listening": 165, "voxel-encoding": 2 * (30 + 5 * 2), "rsa": 6})
