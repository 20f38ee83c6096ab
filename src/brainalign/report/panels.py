"""The figures of a page, each with the caption and the description that hold its numbers."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pandas as pd
import xarray as xr
from markupsafe import Markup

from brainalign.measures.encoding import CHOSEN
from brainalign.measures.result import Result
from brainalign.report import figures
from brainalign.report._draw import new_figure, series
from brainalign.report.answers import target_names
from brainalign.report.captions import caption, caption_together
from brainalign.report.colours import ModelStyle
from brainalign.report.estimates import headline_rows
from brainalign.report.headline import Headline
from brainalign.report.profiles import MANY, category_means, r2_of_bars, sorted_ids
from brainalign.report.response_profiles import category_table, plot_category_grid
from brainalign.report.svg import Drawing
from brainalign.report.words import Row, highest, join, names_of, number, of_kind, records, score, table_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from brainalign.report.page import ReportContent

#: Most rows of the figure of ratios, and most targets (there may be thousands of voxels) of the figures of encoding.
MAX_RATIOS, MAX_TARGETS = 60, 12
#: Most models below each other in the figure of category means.
MAX_MEANS = 4
#: Most characters of dissimilarities in a page, for the pointer to read.
MAX_VALUES = 3_000_000
#: Figures that need more height than others, in inches.
_HEIGHTS = {"segregation": 5.5, "layer-map": 7.0, "component-match": 7.0, "witness-agreement": 5.0}


@dataclass(frozen=True)
class Shown:
    """A figure as the template takes it.

    Its files are pairs of kind and relative address. Of square matrices over sounds, `sounds` lists the rows (JSON) and
    `values` holds what is drawn (JSON, safe in a script element). In a map the marks are points, else bars.
    """

    label: str
    svg: Markup
    caption: str
    files: list[tuple[str, str]]
    sounds: str = ""
    values: Markup | None = None
    is_map: bool = False


@dataclass
class Gallery:
    """Takes the figures of a page in, and writes them into a folder if there is one.

    Attributes
    ----------
    content : ReportContent
        What the page is made from.
    page : Path
        The page.
    folder : Path or None
        Where the figures go as files.
    styles : dict of str to ModelStyle
        How each model is drawn.
    missing : list of str
        Sentences about what could not be drawn, and why.
    room : int
        Characters that are left for the values of matrices.
    count : callable
        Called after each figure.
    """

    content: ReportContent
    page: Path
    folder: Path | None
    styles: dict[str, ModelStyle]
    missing: list[str] = field(default_factory=list)
    room: int = field(default_factory=lambda: MAX_VALUES)
    count: Callable[[], Any] = lambda: None
    _names: set[str] = field(default_factory=set)

    @property
    def category(self) -> pd.Series:
        """Category of each sound, indexed by stimulus id."""
        return self.content.stimuli.table["category"]

    def add(
        self, name: str, figure: Figure, data: pd.DataFrame, caption: str,
        *, label: str = "", alt: str = "", rows: Sequence[str] = (), values: Markup | None = None, is_map: bool = False,
    ) -> Shown:  # fmt: skip
        """Take a figure in; its files are linked from the page if they lie below it."""
        name = self._unique(name)
        home = self.page.parent.resolve()
        drawing = Drawing(figure)
        written = drawing.save(data, self.folder, name) if self.folder else []
        links = [
            (path.suffix[1:].upper(), quote(path.resolve().relative_to(home).as_posix()))
            for path in written
            if path.resolve().is_relative_to(home)
        ]
        sounds = json.dumps(list(rows)) if rows else ""
        self.count()
        return Shown(label, Markup(drawing.inline(name, alt or caption)), caption, links, sounds, values, is_map)

    def _unique(self, name: str) -> str:
        """Make a name safe as a file name and an id, and different from those before it."""
        slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:60] or "figure"
        taken, n = slug, 2
        while taken in self._names:
            taken, n = f"{slug}-{n}", n + 1
        self._names.add(taken)
        return taken


def main(gallery: Gallery, answer: Headline) -> Shown | None:
    """Draw the profile that the answer is about, above the best model's prediction of it.

    Parameters
    ----------
    gallery : Gallery
        Takes the figure.
    answer : Headline
        What it is about.

    Returns
    -------
    Shown or None
        None if no result holds the profile.
    """
    brain, target = gallery.content.brain.name if gallery.content.brain else "the brain", answer.target
    encoded = [r for r in _predicting(gallery.content.results) if answer.best and model_of(r) == answer.best["model"]]
    predictions, rows = _predictions(encoded[0], [target]) if encoded else ({}, {})
    if target in rows:
        row = rows[target]
        observed = series(encoded[0].arrays["observed"].sel(target=target))
        predicted = series(predictions[target])
        model = f"{row['model']}, " + (
            "layer chosen in training" if row["layer"] == CHOSEN else f"layer {row['layer']}"
        )
        caption = (
            f"Response of the {target} component of {brain} to each sound (top), and the prediction of it by {model}, "
            f"made while that sound is held out (bottom): r² = {score(row)}, "
            f"n = {row['n']} {row['n_of']}. This score is the median over splits; a bar is the mean of the held-out "
            f"predictions of its sound, and the r² of these bars is {number(r2_of_bars(observed, predicted), 2)}. "
            f"Both rows have one order. The means at the right name the colours."
            f"{_as_image(len(observed))}"
        )
    else:
        profile = _brain_profile(gallery.content.results, target)
        if profile is None:
            return None
        observed, predicted, model = profile, None, ""
        caption = f"Response of {target} of {brain} to each sound. The means at the right name the colours."
        caption += _as_image(len(observed))
    means = category_means(observed, gallery.category)["mean"]
    alt = (
        f"{caption} Mean measured response: strongest {means.index[0]}, {number(means.iloc[0])}; "
        f"weakest {means.index[-1]}, {number(means.iloc[-1])}."
    )
    category = gallery.category
    figure = figures.plot_profile_pair(observed, predicted, category, name=f"{target} component", model=model)
    data = _profile_data(observed, predicted, category, target)
    return gallery.add(f"main-{target}", figure, data, caption, alt=alt)


def profiles(gallery: Gallery) -> list[Shown]:
    """Draw all components and their predictions, one figure per model.

    Parameters
    ----------
    gallery : Gallery
        Takes the figures.

    Returns
    -------
    list of Shown
        Labelled by model.
    """
    shown = []
    few, cut = few_targets(gallery.content.results)
    for result in of_kind(gallery.content.results, "component-encoding"):
        if not _predicting([result]):
            gallery.missing.append(
                f"Profiles of {model_of(result)}: the result of {result.measure} holds no predictions."
            )
            continue
        predictions, rows = _predictions(result, few)
        if not rows:
            continue
        observed = result.arrays["observed"].sel(target=list(rows))
        predicted = xr.concat(list(predictions.values()), dim="target", coords="minimal", compat="override")
        figure = figures.plot_component_profiles(
            observed, predicted, gallery.category, pd.DataFrame(list(rows.values()))
        )
        how = "from the layer chosen inside the training sounds"
        if any(row["layer"] != CHOSEN for row in rows.values()):
            how = join(dict.fromkeys(f"{t} from {row['layer']}" for t, row in rows.items()))
        caption = (
            f"Each component’s measured response to the sounds (upper row) and the held-out prediction of it by "
            f"{model_of(result)} in the same order (lower row), {how}. r²: {values_of(rows.values(), 'target')}.{cut}"
            f"{_as_image(observed.sizes['stimulus'])}"
        )
        data = pd.concat(
            _profile_data(series(observed.sel(target=t)), series(predictions[t]), gallery.category, t) for t in rows
        )
        shown.append(gallery.add(f"profiles-{model_of(result)}", figure, data, caption, label=model_of(result)))
    return shown


def means(gallery: Gallery) -> list[Shown]:
    """Draw the category means of the measured components above those of the predictions by the models.

    Parameters
    ----------
    gallery : Gallery
        Takes the figures.

    Returns
    -------
    list of Shown
        One for each brain, of its first :data:`MAX_MEANS` models.
    """
    few, cut = few_targets(gallery.content.results)
    together: dict[tuple[str, ...], dict[str, xr.DataArray]] = {}
    for result in _predicting(gallery.content.results):
        predictions, rows = _predictions(result, few)
        if rows:
            observed = result.arrays["observed"].sel(target=list(rows))
            same = together.setdefault((str(result.table["brain"].iloc[0]), *rows), {"measured": observed})
            if len(same) <= MAX_MEANS:
                same[model_of(result)] = xr.concat(
                    list(predictions.values()), dim="target", coords="minimal", compat="override"
                ).transpose("stimulus", "target")
    return [_means(gallery, brain, same, cut) for (brain, *_), same in together.items()]


def _means(gallery: Gallery, brain: str, profiles: dict[str, xr.DataArray], cut: str) -> Shown:
    data = category_table(profiles, gallery.category)
    top = data.loc[data[data["whose"] == "measured"].groupby("target", sort=False)["mean"].idxmax()]
    strongest = "; ".join(f"{r['target']} {r['category']} {number(r['mean'], 4, trailing=True)}" for r in records(top))
    caption = (
        f"Mean response to each category, ± SEM over sounds: as measured in {brain} (first row), and in the held-out "
        f"predictions by {join(list(profiles)[1:])}. In each column the categories have the order of the measured "
        f"means, and all rows one scale. Strongest measured: {strongest}.{cut}"
    )
    return gallery.add(f"category-means-{brain}", plot_category_grid(profiles, gallery.category), data, caption)


def curves(gallery: Gallery) -> list[Shown]:
    """Draw encoding by component and by layer, and RSA by layer.

    Parameters
    ----------
    gallery : Gallery
        Takes the figures.

    Returns
    -------
    list of Shown
        Those for which there are results.
    """
    shown = []
    encoding = table_of(gallery.content.results, "component-encoding", "r2")
    rsa = table_of(gallery.content.results, "rsa", "spearman")
    how = "bands are intervals; a model of one layer is a dashed line"
    few, cut = few_targets(gallery.content.results)
    encoding = encoding[encoding["target"].isin(few)]
    if len(encoding):
        rows = headline_rows(encoding)
        figure = new_figure(11, max(0.42 * rows["target"].nunique(), 1) + 0.8)
        figures.plot_targets(figure.subplots(), encoding, styles=gallery.styles).set_xlabel("held-out r²")
        caption = (
            "Held-out r² of every component by every model, with its interval; where a model has several layers, the "
            f"layer was chosen inside the training sounds. Highest: {_highest_by_target(rows)}.{cut}"
        )
        shown.append(gallery.add("encoding-by-component", figure, rows, caption))
    if _has_layers(encoding):
        ceilings = figures.noise_ceilings(gallery.content.results, str(encoding["brain"].iloc[0]))
        figure = figures.plot_layer_curves(encoding, styles=gallery.styles, label="held-out r²", ceilings=ceilings)
        layers = encoding[encoding["layer"] != CHOSEN]
        caption = (
            f"Held-out r² by layer: {how}; points at the right are scores with the layer chosen inside the training "
            f"sounds. Highest layer of each component, picked on the test sounds and so optimistic: "
            f"{_highest_by_target(layers, 'layer')}.{' Dotted: the noise ceiling.' if ceilings else ''}{cut}"
        )
        shown.append(gallery.add("encoding-by-layer", figure, encoding, caption))
    if len(rsa):
        figure = new_figure(11, 3)
        figures.plot_rsa(figure.subplots(), rsa, styles=gallery.styles)
        top = [highest(records(rows)) for _, rows in rsa.groupby("model", sort=False)]
        caption = (
            f"Similarity of model and brain RDMs by layer (Spearman): {how}. Highest layer of each model, picked on "
            f"the same sounds and so optimistic: {values_of([r for r in top if r], 'model', 'layer')}."
        )
        shown.append(gallery.add("rsa-by-layer", figure, rsa, caption))
    return shown


def ratios(gallery: Gallery) -> Shown | None:
    """Draw the response ratios, the brain's first.

    Parameters
    ----------
    gallery : Gallery
        Takes the figure.

    Returns
    -------
    Shown or None
        None if there are no ratios.
    """
    table = table_of(gallery.content.results, "response-ratio", "ratio")
    if table.empty:
        return None
    table = table.sort_values("model", key=lambda m: m != "", kind="stable")
    drawn = table.head(MAX_RATIOS)
    figure = new_figure(11, 0.25 * len(drawn) + 0.8)
    named = target_names(of_kind(gallery.content.results, "response-ratio")[0])
    figures.plot_ratios(figure.subplots(), drawn, styles=gallery.styles, targets=named)
    intervals = " with its interval" if drawn["ci_low"].notna().any() else ""
    cut = f" The first {len(drawn)} of {len(table)} groups; the table has them all." if len(drawn) < len(table) else ""
    caption = (
        f"Response ratio (mean response to {named} / mean response to the other sounds){intervals}, for "
        f"components of the brain and groups of model units; at 1 there is no preference. Hollow marks have a note in "
        f"the table, to be read before the number; lines and arrows at an edge go on beyond it.{cut}"
    )
    alt = f"{caption} {values_of(records(drawn), 'model', 'layer', 'target')}."
    return gallery.add("response-ratios", figure, table, caption, alt=alt)


def others(gallery: Gallery) -> dict[str, list[Shown]]:
    """Draw the main figure of every result that has one and no section of its own on the page.

    Parameters
    ----------
    gallery : Gallery
        Takes the figures.

    Returns
    -------
    dict of str to list of Shown
        By measure, labelled by model.
    """
    shown: dict[str, list[Shown]] = {}
    results = gallery.content.results
    for kind, measure in [(k, name) for k in figures.TOGETHER for name in names_of(results, k)]:
        tables = [r.table for r in results if r.measure == measure]
        # Where each model has a figure too, one model needs no second one.
        if len(tables) > (kind in figures.OF_RESULT):
            figure, table = new_figure(11, 3.2), pd.concat(tables, ignore_index=True)
            figures.TOGETHER[kind](figure.subplots(), table, gallery.styles)
            text = caption_together(kind, table)
            label = "all models" if any(table["model"]) else "brain"
            shown[measure] = [gallery.add(measure, figure, table, text, label=label)]
    for result in sorted(results, key=lambda r: not model_of(r)):
        if result.kind in figures.OF_RESULT:
            together = len({m for m in result.table["model"] if m}) > 1
            label = "" if together else model_of(result) or "brain"
            figure = new_figure(11, _HEIGHTS.get(result.kind, 4))
            try:
                figures.OF_RESULT[result.kind](figure.subplots(), result)
            except KeyError as lacking:
                gallery.missing.append(f"{result.measure} of {label or 'all models'}: the result holds no {lacking}.")
                continue
            name = result.measure if together else f"{result.measure}-{label}"
            one = gallery.add(name, figure, result.table, caption(result), label=label)
            shown.setdefault(result.measure, []).append(one)
    return shown


def model_of(result: Result) -> str:
    """Return the model that a result is about.

    Parameters
    ----------
    result : Result
        Of any measure.

    Returns
    -------
    str
        The first of several; empty for the brain alone.
    """
    return str(next((m for m in result.table["model"] if m), ""))


def _predicting(results: Sequence[Result]) -> list[Result]:
    """Return the results of encoding that hold predictions."""
    encoded = of_kind(results, "component-encoding")
    return [r for r in encoded if {"observed", "predictions"} <= set(r.arrays)]


def _has_layers(table: pd.DataFrame) -> bool:
    layers = table[table["layer"] != CHOSEN] if len(table) else table
    return bool((layers.groupby("model")["layer"].nunique() > 1).any()) if len(layers) else False


def few_targets(results: Sequence[Result]) -> tuple[list[str], str]:
    """Choose the targets to draw.

    Parameters
    ----------
    results : sequence of Result
        Those of the measure "component-encoding" are used.

    Returns
    -------
    tuple of list of str and str
        All targets or the :data:`MAX_TARGETS` that the models predict best, and a sentence if not all.
    """
    encoding = table_of(results, "component-encoding", "r2")
    targets = list(dict.fromkeys(map(str, encoding["target"])))
    if len(targets) <= MAX_TARGETS:
        return targets, ""
    best = headline_rows(encoding).groupby("target")["value"].max().nlargest(MAX_TARGETS)
    few = [t for t in targets if t in set(best.index)]
    return (
        few,
        f" Shown are the {len(few)} of {len(targets)} targets that a model predicts best; the table has the others.",
    )


def _predictions(result: Result, targets: Iterable[str]) -> tuple[dict[str, xr.DataArray], dict[str, Row]]:
    """Return, for each target, the predictions to draw and the row of the table that scores them.

    They come from the layer chosen inside the training parts if the result holds it, else from the highest layer.
    """
    predictions = result.arrays["predictions"]
    layers = [str(name) for name in predictions["layer"].values]
    usable = [CHOSEN] if CHOSEN in layers else layers
    parts, rows = {}, {}
    for target in targets:
        about = [r for r in records(result.table) if r["target"] == target and r["statistic"] == "r2"]
        row = highest(r for r in about if r["layer"] in usable)
        if row is not None:
            parts[target] = predictions.isel(layer=layers.index(row["layer"])).sel(target=target).drop_vars("layer")
            rows[target] = row
    return parts, rows


def _as_image(n_sounds: int) -> str:
    """Say what a profile of many sounds cannot do."""
    if n_sounds <= MANY:
        return ""
    return f" Of more than {MANY} sounds, as here, single bars cannot be chosen; the list below plays them."


def _brain_profile(results: Sequence[Result], target: str) -> pd.Series | None:
    for result in of_kind(results, "response-ratio"):
        found = result.arrays.get("profiles")
        if found is not None:
            here = (found["model"].values == "") & (found["target"].values == target)
            if here.any():
                return series(found.isel(profile=int(here.argmax())))
    return None


def _profile_data(observed: pd.Series, predicted: pd.Series | None, category: pd.Series, target: str) -> pd.DataFrame:
    order = sorted_ids(observed)
    data = pd.DataFrame({"target": target, "stimulus_id": order, "category": category.loc[order].to_numpy()})
    data["measured"] = observed.loc[order].to_numpy()
    return data if predicted is None else data.assign(predicted=predicted.loc[order].to_numpy())


def values_of(rows: Iterable[Row], *columns: str) -> str:
    """List rows as ``name value (interval)``.

    Parameters
    ----------
    rows : iterable of mapping
        Rows of a result table.
    *columns : str
        Columns that name a row.

    Returns
    -------
    str
        Rows parted by semicolons.
    """
    return "; ".join(f"{' '.join(str(row[c]) for c in columns if row[c])} {score(row)}" for row in rows)


def _highest_by_target(table: pd.DataFrame, *columns: str) -> str:
    top = [highest(records(rows)) for _, rows in table.groupby("target", sort=False)]
    return values_of([r for r in top if r], "target", "model", *columns)
