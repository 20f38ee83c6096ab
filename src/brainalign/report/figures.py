"""Static figures of results: each function takes tidy data and draws into axes or a figure it is given.

Nothing here touches pyplot: figures are :class:`matplotlib.figure.Figure`, so a report that is made on
a server leaves no window and no global state behind.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pandas as pd

from brainalign.errors import MeasureError, name_some
from brainalign.measures.result import Result
from brainalign.report import (
    comparison_figures,
    component_figures,
    decoding_figures,
    encoding_map_figures,
    quilt_figures,
    reconstruction_figures,
    selectivity_figures,
)
from brainalign.report._draw import style
from brainalign.report.brain_figures import brain_map_figures, plot_brain_map, plot_unit_histograms
from brainalign.report.estimates import (
    noise_ceilings,
    plot_layer_curves,
    plot_ratios,
    plot_rsa,
    plot_targets,
)
from brainalign.report.matrices import plot_rdm, plot_rdms
from brainalign.report.profiles import (
    plot_category_means,
    plot_component_profiles,
    plot_profile,
    plot_profile_pair,
)
from brainalign.report.response_profiles import plot_category_grid, plot_response_profiles

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "brain_map_figures",
    "noise_ceilings",
    "plot_brain_map",
    "plot_category_grid",
    "plot_category_means",
    "plot_component_profiles",
    "plot_layer_curves",
    "plot_profile",
    "plot_profile_pair",
    "plot_ratios",
    "plot_rdm",
    "plot_rdms",
    "plot_response_profiles",
    "plot_result",
    "plot_rsa",
    "plot_targets",
    "plot_unit_histograms",
]


def _plot_encoding(ax: Axes, table: pd.DataFrame) -> Axes:
    return plot_targets(ax, table[table["statistic"] == "r2"])


def _plot_ratio(ax: Axes, table: pd.DataFrame) -> Axes:
    return plot_ratios(ax, table[table["statistic"] == "ratio"])


def _plot_rsa(ax: Axes, table: pd.DataFrame) -> Axes:
    return plot_rsa(ax, table[table["statistic"] == "spearman"])


_MAIN: dict[str, Callable[..., Axes]] = {
    "component-encoding": _plot_encoding, "response-ratio": _plot_ratio, "rsa": _plot_rsa,
    **comparison_figures.TOGETHER, **decoding_figures.TOGETHER,
}  # fmt: skip
#: Figures that hold all models, drawn from the rows of all results of a measure.
TOGETHER: dict[str, Callable[..., Axes]] = {
    **comparison_figures.TOGETHER, **selectivity_figures.TOGETHER, **decoding_figures.TOGETHER,
}  # fmt: skip
#: Measures whose figure tells brain data sets apart; all others are drawn for the first alone.
OF_ALL_BRAINS = frozenset({"decoding", "reconstruction"})
#: Figures of one result that take more than its table.
OF_RESULT: dict[str, Callable[[Axes, Result], Axes]] = {
    **selectivity_figures.MAIN, **comparison_figures.MAIN, **component_figures.MAIN, **quilt_figures.MAIN,
    **encoding_map_figures.MAIN, **reconstruction_figures.MAIN,
}  # fmt: skip


def plot_result(result: Result, ax: Axes | None = None) -> Axes:
    """Draw the main figure of one result.

    Parameters
    ----------
    result : Result
        Of any measure that has a main figure; the error names them.
    ax : matplotlib Axes, optional
        Where to draw; a new figure if not given.

    Returns
    -------
    matplotlib Axes
        The axes drawn into.

    Raises
    ------
    MeasureError
        If there is no figure for the measure.
    """
    known = {*_MAIN, *OF_RESULT}
    if result.kind not in known:
        raise MeasureError(
            f"there is no figure for the measure {result.kind!r} (there is for {name_some(sorted(known), 20)}); "
            f"its numbers are in Result.table"
        )
    if ax is None:
        # pyplot, so that a notebook shows the figure.
        import matplotlib.pyplot as plt

        rows = len(result.table) if result.kind in _MAIN else 12
        with style():
            ax = plt.figure(figsize=(8, max(2.5, min(0.3 * rows + 1, 10))), layout="constrained").subplots()
            return _draw(ax, result)
    return _draw(ax, result)


def _draw(ax: Axes, result: Result) -> Axes:
    if result.kind in _MAIN:
        return _MAIN[result.kind](ax, result.table)
    return OF_RESULT[result.kind](ax, result)
