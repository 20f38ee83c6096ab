"""The power page: one HTML file with curves of power by number of subjects, and what they rest on."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from brainalign._files import write_then_rename
from brainalign.errors import MeasureError
from brainalign.measures.power import FALSE_POSITIVES, POWER, smallest_studies
from brainalign.measures.result import Result
from brainalign.report._draw import new_figure, style
from brainalign.report.colours import MUTED, model_styles
from brainalign.report.svg import Drawing
from brainalign.report.words import number, present, setting

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLUMNS = {
    "target": "measure", "statistic": "statistic", "n_stimuli": "sounds", "n_repetitions": "repetitions",
    "n_subjects": "subjects", "value": "value", "ci_low": "from", "ci_high": "to", "closed_form": "closed form",
    "wrong": "wrong model", "difference": "difference", "difference_sd": "SD of subjects", "share": "share",
}  # fmt: skip
_NAMES = {"rsa": "RSA", "encoding": "Encoding"}
#: What each setting means; the models stand in the headings, and the inference in `population`.
_ASSUMED = {
    "stimuli": "sounds",
    "n_stimuli_at_hand": "sounds at hand",
    "share": "share of the right model in the signal of the median subject",
    "share_sd": "SD of this share over subjects, in log odds",
    "n_voxels": "independent voxels per subject",
    "reliability": "reliability of a voxel in one repetition",
    "mean_reliability": "mean reliability over voxels",
    "comparison": "comparison of RDMs",
    "statistic": "score of predictions (encoding)",
    "n_splits": "folds of the sounds (encoding)",
    "population": "the test speaks about",
    "alpha": "level of the test, two-sided",
    "n_bootstrap": "bootstrap samples per study",
    "n_simulations": "simulated studies for each number",
    "interval": "interval",
    "seed": "seed of the random draws",
}


def plot_power(result: Result, figure: Figure | None = None, *, wanted: float = 0.8) -> Figure:
    """Draw power and false positives by the number of subjects.

    Parameters
    ----------
    result : Result
        Of :func:`~brainalign.measures.power.power`.
    figure : matplotlib Figure, optional
        Where to draw; a new figure if not given.
    wanted : float
        The power that is enough, drawn as a line.

    Returns
    -------
    matplotlib Figure
        One row for each measure, one column for each number of sounds, one curve for each number of repetitions.
    """
    table = result.table
    measures, sizes = (list(dict.fromkeys(table[c])) for c in ("target", "n_stimuli"))
    figure = figure or new_figure(3.4 * len(sizes) + 1.2, 2.6 * len(measures) + 0.7)
    axes = figure.subplots(len(measures), len(sizes), squeeze=False, sharex=True, sharey=True)
    for measure, row in zip(measures, axes, strict=True):
        for size, ax in zip(sizes, row, strict=True):
            own = table[(table["target"] == measure) & (table["n_stimuli"] == size)]
            _draw_panel(ax, own, float(result.settings["alpha"]), wanted)
            ax.set_title(f"{_NAMES[measure]}, {size} sounds")
        row[0].set_ylabel("share of studies")
    for ax in axes[-1]:
        ax.set_xlabel("subjects")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2, handlelength=3)
    return figure


def _draw_panel(ax: Axes, table: pd.DataFrame, alpha: float, wanted: float) -> None:
    for level in (alpha, wanted):
        ax.axhline(level, color=MUTED, linewidth=0.8, linestyle=":", gid=f"{level:g}")
    styles = model_styles([str(r) for r in sorted(set(table["n_repetitions"]))])
    for (statistic, repetitions), own in table.groupby(["statistic", "n_repetitions"], sort=False):
        own, look = own[own["n"] > 0].sort_values("n_subjects"), styles[str(repetitions)]
        if own.empty:
            continue
        right = statistic == POWER
        label = f"{_times(repetitions)}, {'power' if right else 'false positives'}"
        ax.plot(
            own["n_subjects"], own["value"], color=look.colour, marker=look.marker, markersize=4.5, label=label,
            linestyle="-" if right else "--", markerfacecolor=look.colour if right else "none",
        )  # fmt: skip
        ax.fill_between(own["n_subjects"], own["ci_low"], own["ci_high"], color=look.colour, alpha=0.15, linewidth=0)
    ax.set_ylim(-0.02, 1.02)
    ax.set_xticks(sorted(set(table["n_subjects"])))


def _times(repetitions: object) -> str:
    return f"{repetitions} repetition{'' if repetitions == 1 else 's'}"


def write_power_page(
    results: Sequence[Result],
    path: Path,
    *,
    title: str = "How large a study tells these models apart?",
    wanted: float = 0.8,
) -> Path:
    """Write the power page.

    Parameters
    ----------
    results : sequence of Result
        Of :func:`~brainalign.measures.power.power`, for instance one with either model as the right one.
    path : Path
        The HTML file; replaced when the new one is whole.
    title : str
        Its heading.
    wanted : float
        The power that is enough.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    MeasureError
        If a result is of another measure, or there is none.
    """
    from jinja2 import Environment, StrictUndefined

    others = [r.measure for r in results if r.kind != "power"]
    if others or not results:
        raise MeasureError(
            f"the power page shows results of the measure 'power', found {others[0] if others else 'none'!r}"
        )
    with style():
        cases = [_case(result, f"power-{i}", wanted) for i, result in enumerate(results)]
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    source = files("brainalign.report").joinpath("power.html.j2").read_text(encoding="utf-8")
    html = environment.from_string(source).render(title=title, cases=cases)
    with write_then_rename(Path(path)) as temporary:
        temporary.write_text(html, encoding="utf-8", errors="replace")
    return Path(path)


def _case(result: Result, name: str, wanted: float) -> dict[str, Any]:
    from markupsafe import Markup

    right, wrong = result.settings["models"]
    table = result.table[[c for c in _COLUMNS if result.table[c].map(present).any()]]
    svg = Drawing(plot_power(result, wanted=wanted)).inline(name, f"Power by number of subjects if {right} is right")
    return {
        "right": right,
        "wrong": wrong,
        "answer": _answer(result, wanted),
        "warnings": result.warnings,
        # The drawing escapes what it writes.
        "svg": Markup(svg),
        "caption": _caption(result, wanted),
        "table_caption": "Difference: of the models' scores, mean over studies. SD of subjects: of this difference, "
        "within a study. Wrong model: share of studies that the other model wins. Share: of the right model in the "
        "signal.",
        "columns": [_COLUMNS[str(c)] for c in table],
        "rows": [[v if isinstance(v, str) else number(v) for v in row] for row in table.itertuples(index=False)],
        "settings": {label: setting(result.settings[key]) for key, label in _ASSUMED.items() if key in result.settings},
    }


def _caption(result: Result, wanted: float) -> str:
    n, alpha, right = (result.settings[key] for key in ("n_simulations", "alpha", "models"))
    return (
        f"Solid: share of {n} simulated studies in which {right[0]} is better, p < {alpha:g}. Dashed: share of p < "
        f"{alpha:g} where the brain is a mixture of which both models explain as much. Shaded: 95 % intervals of the "
        f"simulation (Wilson). Dotted: {wanted:g} and {alpha:g}."
    )


def _answer(result: Result, wanted: float) -> list[str]:
    """Say how many subjects are enough, and whether the test can be trusted."""
    from statsmodels.stats.proportion import proportion_confint

    sentences = [f"The test speaks about {result.settings['population']}."]
    for row in smallest_studies(result, wanted).to_dict("records"):
        design = f"{_NAMES[row['measure']]}, {row['n_stimuli']} sounds, {_times(row['n_repetitions'])}"
        found = f"power {row['power']:.2f}, {row['ci_low']:.2f} to {row['ci_high']:.2f}"
        if pd.isna(row["n_subjects"]):
            sentences.append(f"{design}: none of the numbers of subjects tried reaches {wanted:g} (at most {found}).")
        else:
            unsure = "" if row["sure"] else "; the simulation leaves open whether it is enough"
            fewest = f"{row['n_subjects']} subjects are the fewest, of the numbers tried, that reach power {wanted:g}"
            sentences.append(f"{design}: {fewest} ({found}{unsure}).")
    null = result.table[(result.table["statistic"] == FALSE_POSITIVES) & (result.table["n"] > 0)]
    alpha = result.settings["alpha"]
    # Of many designs some exceed alpha by chance: the intervals that decide are simultaneous (Bonferroni).
    n = null["n"].astype(float)
    low, _ = proportion_confint(null["value"] * n, n, 0.05 / max(len(null), 1), "wilson")
    high = null[low > alpha]
    if len(high):
        worst = high.loc[high["value"].idxmax()]
        sentences.append(
            f"In {len(high)} of {len(null)} designs the test finds a winner too often where both models are equally "
            f"good, up to {worst['value']:.2f} instead of {alpha:g}: power there is in part false confidence."
        )
    elif len(null):
        sentences.append(
            f"Where both models are equally good, no design finds a winner in clearly more than {alpha:g} of studies."
        )
    return sentences
