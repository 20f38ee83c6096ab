"""What a measure gives: a tidy table, and the arrays behind it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pandas as pd
import xarray as xr

from brainalign._html import html_card, html_list, html_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Columns that every result table has, in this order; more may follow.
COLUMNS = (
    "measure", "model", "layer", "brain", "target", "statistic", "value", "ci_low", "ci_high",
    "p", "effect_size", "n", "n_of", "note",
)  # fmt: skip
_TEXT = {"measure", "model", "layer", "brain", "target", "statistic", "n_of", "note"}


@dataclass(repr=False)
class Result:
    """Estimates of one measure, with their uncertainty.

    Attributes
    ----------
    measure : str
        Name of the measure.
    table : DataFrame
        One row per estimate, columns as in `COLUMNS` and possibly more: what it is about (``model``, ``layer``,
        ``brain``, ``target``), which ``statistic``, its ``value`` with the interval ``ci_low`` to ``ci_high``, the
        ``p`` and ``effect_size`` of its test, how many (``n``) of what (``n_of``) it rests on, and a ``note``.
    arrays : dict of str to DataArray
        The arrays behind the table, for figures and further work (profiles, predictions, RDMs).
    settings : dict
        The options that gave the numbers, and the methods (tests, interval, stimuli that selected and tested).
    warnings : list of str
        What a reader must know.
    asked : str
        The registered name of the measure where `measure` is a label that a recipe gave; else empty.
    """

    measure: str
    table: pd.DataFrame
    arrays: dict[str, xr.DataArray] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    asked: str = ""

    @property
    def kind(self) -> str:
        """Registered name of the measure, whatever a recipe calls it."""
        return self.asked or self.measure

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the main figure of the measure.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Where to draw; a new figure if not given.

        Returns
        -------
        matplotlib Axes
            The axes drawn into.
        """
        from brainalign.report.figures import plot_result

        drawn: Axes = plot_result(self, ax=ax)
        return drawn

    def __repr__(self) -> str:
        models = ", ".join(dict.fromkeys(m for m in self.table["model"] if m)) or "brain"
        return f"<Result {self.measure}: {len(self.table)} estimates, {models}>"

    def _repr_html_(self) -> str:
        shown = self.table.drop(columns="measure")
        table = html_table(list(shown.columns), shown.itertuples(index=False, name=None), "estimates")
        return html_card(self.measure, {}, table, html_list("warnings", self.warnings))


def result_table(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Make a result table from rows; columns of `COLUMNS` that a row lacks stay empty.

    Parameters
    ----------
    rows : iterable of mappings
        One per estimate.

    Returns
    -------
    DataFrame
        The columns of `COLUMNS` first, others after them; text columns hold strings, ``n`` integers.
    """
    table = pd.DataFrame(list(rows))
    extra = [c for c in table.columns if c not in COLUMNS]
    table = table.reindex(columns=[*COLUMNS, *extra])
    for column in COLUMNS:
        if column in _TEXT:
            table[column] = table[column].astype(object).fillna("").astype(str)
        elif column == "n":
            table[column] = table[column].astype("Int64")
        else:
            table[column] = table[column].astype(float)
    return table
