"""The parts of a page that show sounds by their dissimilarities: matrices (RDMs), and maps."""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr
from markupsafe import Markup
from numpy.typing import NDArray

from brainalign.errors import MeasureError, name_some
from brainalign.measures.result import Result
from brainalign.report import figures
from brainalign.report._draw import by_id
from brainalign.report._embed import packed_steps, script_json
from brainalign.report.matrices import rdm_order
from brainalign.report.panels import Gallery, Shown, model_of, values_of
from brainalign.report.sampling import sample_evenly
from brainalign.report.sound_map import SoundMap, aligned, map_table, plot_sound_maps, sound_map, words_of
from brainalign.report.words import Row, highest, of_kind, records, score

#: Most sounds of a matrix or a map; of more, a sample is drawn that is spread evenly over the categories.
MAX_SOUNDS = 256
#: Most models with a map of their own.
MAX_MAPS = 4


def matrices(gallery: Gallery) -> list[Shown]:
    """Draw the RDM of the brain beside those of the layers, one figure per model.

    Parameters
    ----------
    gallery : Gallery
        Takes the figures, and what could not be drawn.

    Returns
    -------
    list of Shown
        Labelled by model.
    """
    shown = []
    for result in _with_rdms(gallery):
        label = model_of(result)
        brain, rdms, sampled = _few_sounds(gallery, result)
        order = rdm_order(brain, gallery.category)
        order = order if order == rdm_order(rdms, gallery.category) else []
        named = {"brain": brain} | {_column(n): rdms.sel(rdm=n) for n in rdms["rdm"].values}
        values = _values(gallery, named, order) if order else None
        rows = result.table[result.table["layer"].isin(rdms["rdm"].values)]
        caption = (
            f"Dissimilarity of each pair of sounds ({result.settings.get('distance', 'as the result gives it')}), as "
            f"percentile ranks, in the brain and in the layers of {label}; sounds are ordered by category. "
            f"Spearman correlation with the brain: {values_of(records(rows), 'layer')}.{sampled}"
        )
        if values:
            caption += " The pointer and the arrow keys read a pair with its dissimilarity and percentile."
        elif order:
            caption += " To keep the page small, the pointer reads names here and no values; the CSV has them."
        data = _pairs(named, [str(s) for s in brain["stimulus"].values])
        figure = figures.plot_rdms(brain, rdms, gallery.category)
        shown.append(gallery.add(f"rdms-{label}", figure, data, caption, label=label, rows=order, values=values))
    return shown


def maps(gallery: Gallery) -> list[Shown]:
    """Draw a map of the sounds by the brain beside one by a layer, a figure for each of the first models.

    Parameters
    ----------
    gallery : Gallery
        Takes the figures, and what could not be drawn.

    Returns
    -------
    list of Shown
        Labelled by model; of each the layer whose RDM is most like the brain's.
    """
    shown: list[Shown] = []
    results = [r for r in of_kind(gallery.content.results, "rsa") if _holds_rdms(r)]
    of_brain: SoundMap | None = None
    for result in results[:MAX_MAPS]:
        label = model_of(result)
        brain, rdms, sampled = _few_sounds(gallery, result)
        row = _layer(result, [str(n) for n in rdms["rdm"].values])
        layer = str(row["layer"]) if row else str(rdms["rdm"].values[0])
        try:
            if of_brain is None or list(of_brain.points.index) != [str(s) for s in brain["stimulus"].values]:
                of_brain = sound_map(brain)
            of_layer = aligned(sound_map(rdms.sel(rdm=layer)), of_brain)
        except MeasureError as why:
            gallery.missing.append(f"Map of the sounds, {label}: {why}.")
            continue
        drawn = {"brain": of_brain, f"{label} {layer}".strip(): of_layer}
        alike = f", the layer whose RDM is most like the brain’s ({row['statistic']} {score(row)})" if row else ""
        caption = (
            "Each point is a sound. The less alike the responses to two sounds are, the farther apart they lie, as "
            "well as two dimensions can show it (multidimensional scaling); the axes mean nothing by themselves. "
            f"Left: the brain ({words_of(of_brain)}). Right: {layer or 'the model'}{alike}, turned to lie like the "
            f"left one ({words_of(of_layer)}).{sampled}"
        )
        figure = plot_sound_maps(drawn, gallery.category)
        data = map_table(drawn, gallery.category)
        shown.append(gallery.add(f"map-{label}", figure, data, caption, label=label, is_map=True))
    if left_out := [model_of(r) for r in results[MAX_MAPS:]]:
        gallery.missing.append(
            f"Maps of the sounds are drawn for the first {MAX_MAPS} models, not for {name_some(left_out)}."
        )
    return shown


def _with_rdms(gallery: Gallery) -> list[Result]:
    """Return the results whose matrices can be drawn, and note the others."""
    found = of_kind(gallery.content.results, "rsa")
    gallery.missing += [
        f"RDMs and map of {model_of(r) or 'the model'}: the result of {r.measure} holds no matrices."
        for r in found
        if not _holds_rdms(r)
    ]
    return [r for r in found if _holds_rdms(r)]


def _holds_rdms(result: Result) -> bool:
    return {"rdms", "brain_rdm"} <= set(result.arrays)


def _few_sounds(gallery: Gallery, result: Result) -> tuple[xr.DataArray, xr.DataArray, str]:
    """Return the RDMs of the brain and of the layers, of all sounds or of a sample, and a sentence if of a sample."""
    brain, rdms = result.arrays["brain_rdm"], result.arrays["rdms"]
    n = brain.sizes["stimulus"]
    if n <= MAX_SOUNDS:
        return brain, rdms, ""
    ids = [str(s) for s in brain["stimulus"].values]
    _, category = by_id(pd.Series(0.0, index=ids), gallery.category)
    # In the order of the set, in which the sounds that can be heard are sampled too.
    category = category.loc[[str(i) for i in gallery.category.index if str(i) in category.index]]
    few = set(sample_evenly(category, MAX_SOUNDS))
    kept = [i for i in ids if i in few]
    sentence = (
        f" Drawn are {MAX_SOUNDS} of the {n} sounds, sampled evenly over the categories; the scores are of all of them."
    )
    return brain.sel(stimulus=kept, stimulus_2=kept), rdms.sel(stimulus=kept, stimulus_2=kept), sentence


def _layer(result: Result, layers: list[str]) -> Row | None:
    """Return the row of the layer that is most like the brain."""
    return highest(r for r in records(result.table) if r["layer"] in layers)


def _upper(rdm: xr.DataArray, ids: list[str]) -> NDArray[np.float64]:
    """Return the dissimilarities above the diagonal, row by row."""
    return np.asarray(rdm.sel(stimulus=ids, stimulus_2=ids).to_numpy()[np.triu_indices(len(ids), 1)], float)


def _values(gallery: Gallery, named: dict[str, xr.DataArray], order: list[str]) -> Markup | None:
    """Pack the dissimilarities for the pointer, if there is room for them."""
    content = script_json([{"name": name, **packed_steps(_upper(rdm, order))} for name, rdm in named.items()])
    if len(content) > gallery.room:
        return None
    gallery.room -= len(content)
    return content


def _column(layer: object) -> str:
    return str(layer) if str(layer) != "brain" else "layer brain"


def _pairs(named: dict[str, xr.DataArray], ids: list[str]) -> pd.DataFrame:
    """Return dissimilarities with one row per pair of sounds and one column per RDM."""
    first, second = np.triu_indices(len(ids), 1)
    names = np.asarray(ids, dtype=object)
    pairs = pd.DataFrame({"stimulus": names[first], "stimulus_2": names[second]})
    return pairs.assign(**{name: _upper(rdm, ids) for name, rdm in named.items()})
