"""The scoreboard: every published number, ours, and the verdict."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from brainalign._files import write_then_rename
from brainalign.errors import BrainalignError, DownloadError
from brainalign.replication.facts import ARCHITECTURE, FACTS
from brainalign.replication.published import (
    ComparisonCheck,
    CorrelationCheck,
    DifferenceCheck,
    EstimateCheck,
    FactCheck,
    NeedsCheck,
    Paper,
    PublishedNumber,
    RankSumCheck,
    SignedRankCheck,
    read_papers,
)
from brainalign.replication.runs import RecipeResults, Runs, difference_of_two, given_results, mean_over_models, rows_of
from brainalign.replication.statistics import recompute_statistic
from brainalign.replication.verdicts import VERDICTS, Verdict, as_printed, judge_estimate, judge_test
from brainalign.stats import rank_sum

#: How a number is checked, for the column ``check``.
STATISTIC = "recomputed from the printed statistic and n"
RUN, STAND_IN, NOTHING = "run", "run, stand-in", "cannot be checked here"


@dataclass(frozen=True)
class Score:
    """A published number and what came of it.

    Attributes
    ----------
    paper, id, where, what : str
        Which number.
    published : str
        As printed, with SD or U.
    ours : str
        Ours; empty if there is none.
    value, ci_low, ci_high : float or None
        Our value and its 95 % interval, where it has one.
    interval : str
        The interval, and what it is over.
    verdict : str
        ``reproduced``, ``same sign``, ``differs``, ``needs data`` or ``not run``.
    needs : str
        The data that are needed, by the name under which `how_to_get` explains them.
    check : str
        ``recomputed from the printed statistic and n``, ``... from printed numbers``, ``... from published data``,
        ``computed from the architecture``, ``run``, or ``run, stand-in`` (of another network).
    recipe : str
        The recipe that gives ours.
    reason : str
        Why, and what a reader must know.
    how_to_get : str
        How to get what is needed.
    """

    paper: str
    id: str
    where: str
    what: str
    published: str
    verdict: Verdict
    check: str
    reason: str
    ours: str = ""
    value: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    interval: str = ""
    needs: str = ""
    recipe: str = ""
    how_to_get: str = ""

    @property
    def verdict_text(self) -> str:
        """The verdict with what is needed (``"needs data audioset"``), or marked where nothing was run."""
        if self.needs:
            return f"{self.verdict} {self.needs}"
        mark = "recomputed" if "computed" in self.check else "stand-in" if self.check == STAND_IN else ""
        return f"{self.verdict} ({mark})" if mark else self.verdict


def scoreboard(
    papers: Sequence[str] | None = None,
    *,
    results: Sequence[str | Path] = (),
    run_into: Path | None = None,
    jobs: int = 1,
    cache: Path | None = None,
    progress: bool = False,
) -> list[Score]:
    """Check the published numbers of some papers.

    Parameters
    ----------
    papers : sequence of str, optional
        Such as ``["kim2024"]``; all if not given.
    results : sequence of path-like
        Results folders that ``brainalign run`` wrote from the recipes that check these numbers.
    run_into : Path, optional
        Run the recipes that are not given, as far as the data allow, and keep their results here. If not given, only
        what takes seconds is computed.
    jobs : int
        Processes that compute measures side by side.
    cache : Path, optional
        Folder in which activations are kept.
    progress : bool
        Show progress bars.

    Returns
    -------
    list of Score
        One per published number, in the order of the papers.

    Raises
    ------
    ResultsError
        If a paper is unknown, or a folder was not written by one of these recipes as it ships now.
    """
    asked = read_papers(papers)
    recipes = recipes_of(asked.values())
    runs = Runs(given_results(results, recipes), run_into, jobs, cache, progress)
    return [_score(paper, number, runs) for paper in asked.values() for number in paper.numbers]


def recipes_of(papers: Iterable[Paper]) -> list[str]:
    """Return the recipes by which numbers of some papers are checked."""
    checks = [number.check for paper in papers for number in paper.numbers]
    run = [c.recipe for c in checks if isinstance(c, EstimateCheck | ComparisonCheck | DifferenceCheck)]
    return list(dict.fromkeys(run))


def _score(paper: Paper, number: PublishedNumber, runs: Runs) -> Score:
    check = number.check
    about: dict[str, Any] = {
        "paper": paper.name,
        "id": number.id,
        "where": number.where,
        "what": number.what,
        "published": number.printed + (f" ({number.n} {number.n_of})" if number.n else ""),
    }
    if isinstance(check, RankSumCheck | SignedRankCheck | CorrelationCheck):
        ours, verdict, how = recompute_statistic(check)
        made: dict[str, Any] = {"ours": ours, "verdict": verdict, "check": STATISTIC, "reason": how}
    elif isinstance(check, FactCheck):
        made = _fact(paper, number, check)
    elif isinstance(check, NeedsCheck):
        made = {"check": NOTHING} | _needed(paper, check.data)
    else:
        made = _run(paper, number, check, runs)
    made["reason"] = "; ".join(filter(None, (made["reason"], number.note)))
    return Score(**about, **made)


def _needed(paper: Paper, data: str) -> dict[str, Any]:
    needed = paper.data[data]
    return {"verdict": "needs data", "needs": data, "how_to_get": needed.how, "reason": f"needs {needed.what}"}


def _fact(paper: Paper, number: PublishedNumber, check: FactCheck) -> dict[str, Any]:
    function, basis = FACTS[check.fact]
    made = {"check": f"computed from the {basis}" if basis == ARCHITECTURE else f"recomputed from {basis}"}
    try:
        value = function(**check.options)
    except DownloadError:
        if check.data is None:
            raise
        return made | _needed(paper, check.data)
    except BrainalignError as why:
        return made | {"verdict": "not run", "reason": str(why)}
    assert number.value is not None  # a fact is about a printed value
    equal = as_printed(value, number.value)
    return made | {
        "ours": f"{value:,.0f}" if float(value).is_integer() else f"{value:.4g}",
        "value": float(value),
        "verdict": "reproduced" if equal else "differs",
        "reason": "equals the printed digits" if equal else "does not equal the printed digits",
    }


def _run(
    paper: Paper, number: PublishedNumber, check: EstimateCheck | ComparisonCheck | DifferenceCheck, runs: Runs
) -> dict[str, Any]:
    """Check a number by the results of a recipe, if there are any."""
    made = {"check": STAND_IN if getattr(check, "stand_in", False) else RUN, "recipe": check.recipe}
    try:
        results = runs.get(check.recipe)
    except DownloadError:
        return made | _needed(paper, check.data)
    except BrainalignError as why:
        return made | {"verdict": "not run", "reason": f"the recipe failed: {why}"}
    if results is None:
        return made | {"verdict": "not run", "reason": "give its results with --results, or run it with --run"}
    if isinstance(check, EstimateCheck):
        made |= _estimate(number, check, results)
    elif isinstance(check, DifferenceCheck):
        made |= _difference(number, check, results)
    else:
        made |= _comparison(check, results)
    made["reason"] = f"{made['reason']} ({results.how})"
    return made


def _estimate(number: PublishedNumber, check: EstimateCheck, results: RecipeResults) -> dict[str, Any]:
    rows = rows_of(results, check.rows, check.models)
    if len(rows) == 1:
        value, low, high = _ends(rows.iloc[0])
        spread, over = "", f"over {rows['n_of'].iloc[0]}"
    else:
        values = rows["value"].to_numpy(dtype=float)
        value, low, high = mean_over_models(values)
        spread, over = f" ± {values.std(ddof=1):.2g}", f"over {len(values)} networks"
    verdict, reason = judge_estimate(
        float(str(number.value)), low, high, null=check.null, claim=check.claim, stand_in=check.stand_in
    )
    return _interval(value, low, high, over) | {
        "ours": f"{value:.3g}{spread}",
        "verdict": verdict,
        "reason": reason,
    }


def _difference(number: PublishedNumber, check: DifferenceCheck, results: RecipeResults) -> dict[str, Any]:
    one, other = (rows_of(results, check.rows, [m]).iloc[0] for m in (check.model, check.against))
    value, low, high = difference_of_two(_ends(one), _ends(other))
    verdict, reason = judge_estimate(
        float(str(number.value)), low, high, null=0.0, claim="greater", stand_in=check.stand_in
    )
    return _interval(value, low, high, "from the intervals of both") | {
        "ours": f"{value:.3g} ({one['value']:.3g} less {other['value']:.3g})",
        "verdict": verdict,
        "reason": reason,
    }


def _comparison(check: ComparisonCheck, results: RecipeResults) -> dict[str, Any]:
    mine, others = (rows_of(results, check.rows, m)["value"].to_numpy(float) for m in (check.models, check.against))
    test = rank_sum(mine, others, alternative=check.alternative, method="asymptotic")
    u, p = float(test.statistic), float(test.p)
    verdict, reason = judge_test(f"{check.u:g}", check.p, u, p, n_pairs=len(mine) * len(others))
    return {"ours": f"U = {u:g}, p = {p:.3g}", "value": u, "verdict": verdict, "reason": reason}


def _ends(row: pd.Series) -> tuple[float, float, float]:
    return float(row["value"]), float(row["ci_low"]), float(row["ci_high"])


def _interval(value: float, low: float, high: float, over: str) -> dict[str, Any]:
    if math.isnan(low) or math.isnan(high):
        return {"value": value}
    return {"value": value, "ci_low": low, "ci_high": high, "interval": f"{low:.3g} to {high:.3g}, {over}"}


def to_table(scores: Sequence[Score]) -> pd.DataFrame:
    """Return the scoreboard as a table.

    Parameters
    ----------
    scores : sequence of Score
        From :func:`scoreboard`.

    Returns
    -------
    DataFrame
        One row per published number.
    """
    first = ("paper", "id", "where", "what", "published", "ours", "interval", "verdict", "needs", "check", "recipe")
    table = pd.DataFrame([asdict(s) for s in scores])
    return table[[*first, *(c for c in table if c not in first)]]


def data_needed(scores: Sequence[Score]) -> dict[str, str]:
    """Return how to get the data that some numbers need, by name."""
    return {s.needs: s.how_to_get for s in scores if s.needs}


def count_verdicts(scores: Sequence[Score]) -> list[tuple[str, str, dict[Verdict, int]]]:
    """Count verdicts by paper and way of checking: a recomputed p is not a replicated experiment.

    Parameters
    ----------
    scores : sequence of Score
        From :func:`scoreboard`.

    Returns
    -------
    list of (paper, check, counts)
        In the order of the papers; counts of every verdict.
    """
    groups = dict.fromkeys((s.paper, s.check) for s in scores)
    counted = Counter((s.paper, s.check, s.verdict) for s in scores)
    return [(paper, check, {v: counted[paper, check, v] for v in VERDICTS}) for paper, check in groups]


def write_scoreboard(scores: Sequence[Score], folder: Path) -> tuple[Path, Path]:
    """Write the scoreboard as a table and as a page.

    Parameters
    ----------
    scores : sequence of Score
        From :func:`scoreboard`.
    folder : Path
        Gets ``scoreboard.csv`` and ``scoreboard.html``; older ones are replaced.

    Returns
    -------
    tuple of Path
        The two files.
    """
    from brainalign.replication.page import render_page

    table, page = folder / "scoreboard.csv", folder / "scoreboard.html"
    with write_then_rename(table) as temporary:
        to_table(scores).to_csv(temporary, index=False)
    with write_then_rename(page) as temporary:
        temporary.write_text(render_page(scores), encoding="utf-8")
    return table, page
