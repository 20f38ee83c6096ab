"""The table of published numbers: what a paper prints, where, and how it is checked here.

One TOML file per paper in the folder ``papers`` beside this file. Only what a paper, its figures or its release
prints stands there; what was computed from its data afterwards, by us or by others, is no published number.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from brainalign.errors import ResultsError, did_you_mean
from brainalign.stats.rank_nulls import Alternative

FOLDER = Path(__file__).parent / "papers"

#: Condition on a column of results.csv: a value, or several.
Rows = dict[str, str | list[str]]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class RankSumCheck(_Part):
    """Wilcoxon rank sum from the printed U and sizes: normal approximation with continuity correction."""

    kind: Literal["rank-sum"]
    u: float
    n1: int
    n2: int
    alternative: Alternative
    p: str
    effect_size: str


class SignedRankCheck(_Part):
    """Wilcoxon signed rank from the printed W+ and n: exact up to 50 differences, else normal without correction."""

    kind: Literal["signed-rank"]
    w: float
    n: int
    alternative: Alternative = "greater"
    p: str
    effect_size: str


class CorrelationCheck(_Part):
    """Two-sided p of a Pearson correlation from the printed r and n."""

    kind: Literal["correlation"]
    r: str
    n: int
    p: str


class FactCheck(_Part):
    """A number that follows from other printed numbers, from the published data, or from the architecture."""

    kind: Literal["fact"]
    fact: str
    options: dict[str, Any] = {}
    data: str | None = None


class EstimateCheck(_Part):
    """Rows of a recipe's results: the value of one model, or the mean over several with the interval over them.

    `null` and `claim` say what the paper claims beyond the number: that it lies above or below `null`.
    """

    kind: Literal["estimate"]
    recipe: str
    data: str
    rows: Rows
    models: list[str] = Field(min_length=1)
    null: float | None = None
    claim: Literal["greater", "less"] | None = None
    stand_in: bool = False


class ComparisonCheck(_Part):
    """Rows of a recipe's results: the values of some models against those of others, by rank sum over models."""

    kind: Literal["comparison"]
    recipe: str
    data: str
    rows: Rows
    models: list[str] = Field(min_length=2)
    against: list[str] = Field(min_length=2)
    alternative: Alternative
    u: float
    p: str


class DifferenceCheck(_Part):
    """Rows of a recipe's results: the value of one model less that of another, which the paper claims is above 0."""

    kind: Literal["difference"]
    recipe: str
    data: str
    rows: Rows
    model: str
    against: str
    stand_in: bool = False


class NeedsCheck(_Part):
    """Cannot be computed without data that are not public or not at hand."""

    kind: Literal["needs"]
    data: str


Check = (
    RankSumCheck
    | SignedRankCheck
    | CorrelationCheck
    | FactCheck
    | EstimateCheck
    | ComparisonCheck
    | DifferenceCheck
    | NeedsCheck
)


class PublishedNumber(_Part):
    """A number as a paper prints it.

    `value` is the number alone; for statistics it is left out, and read off the check. `sd` and `n` stand where the
    paper gives them, `note` says what a reader of the verdict must know: a slip, or what differs here.
    """

    id: str
    where: str
    what: str
    value: str | None = None
    sd: str | None = None
    n: int | None = None
    n_of: str | None = None
    note: str = ""
    check: Annotated[Check, Field(discriminator="kind")]

    @property
    def printed(self) -> str:
        """The number as it is shown: with SD, or U, p and effect size of a statistic."""
        check = self.check
        if isinstance(check, RankSumCheck):
            return f"U = {check.u:,.0f}, p = {check.p}, effect size {check.effect_size}"
        if isinstance(check, SignedRankCheck):
            return f"W+ = {check.w:,.0f}, p = {check.p}, effect size {check.effect_size}"
        if isinstance(check, CorrelationCheck):
            return f"r = {check.r}, p = {check.p}"
        if isinstance(check, ComparisonCheck):
            return f"U = {check.u:g}, p = {check.p}"
        return f"{self.value} ± {self.sd}" if self.sd else str(self.value)


class DataNeeded(_Part):
    """Data that some numbers need: what they are, and how to get them."""

    what: str
    how: str


class Paper(_Part):
    """A paper with its published numbers."""

    name: str
    citation: str
    data: dict[str, DataNeeded] = {}
    numbers: list[PublishedNumber]


def known_papers() -> list[str]:
    """Return the papers by the names that ``--paper`` takes."""
    return sorted(p.stem for p in FOLDER.glob("*.toml"))


def read_papers(names: Sequence[str] | None = None) -> dict[str, Paper]:
    """Read the published numbers.

    Parameters
    ----------
    names : sequence of str, optional
        Such as ``["kim2024"]``; all papers if not given.

    Returns
    -------
    dict of str to Paper
        In the order asked for.

    Raises
    ------
    ResultsError
        If a paper is unknown.
    """
    known = known_papers()
    for name in names or ():
        if name not in known:
            raise ResultsError(f"no published numbers of a paper {name!r}; {did_you_mean(name, known)}")
    return {name: _read(FOLDER / f"{name}.toml") for name in dict.fromkeys(names or known)}


def _read(path: Path) -> Paper:
    content = tomllib.loads(path.read_text(encoding="utf-8"))
    content["numbers"] = [one for number in content["numbers"] for one in _expanded(number)]
    return Paper.model_validate(content)


def _expanded(number: dict[str, Any]) -> list[dict[str, Any]]:
    """Write out an entry with ``cases``: the same statistic for several conditions, each a number of its own."""
    cases = number.pop("cases", None)
    if cases is None:
        return [number]
    own = {"value", "sd", "note"}
    return [
        number
        | {k: v for k, v in case.items() if k in own}
        | {
            "id": f"{number['id']}-{re.sub(r'[^a-z0-9]+', '-', case['of'].lower()).strip('-')}",
            "what": f"{number['what']}, {case['of']}",
            "check": _merged(number["check"], {k: v for k, v in case.items() if k not in own | {"of"}}),
        }
        for case in cases
    ]


def _merged(check: dict[str, Any], case: dict[str, Any]) -> dict[str, Any]:
    """Join a check with what a case changes; tables within it are joined too."""
    return check | {k: {**check.get(k, {}), **v} if isinstance(v, dict) else v for k, v in case.items()}
