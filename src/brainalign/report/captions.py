"""Captions of the figures of single measures: what is drawn, and its numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pandas as pd

from brainalign.measures.result import Result
from brainalign.measures.selective import OTHER, SELECTED
from brainalign.report.answers import target_names
from brainalign.report.component_words import component_match_caption, witness_agreement_caption
from brainalign.report.decoding_figures import decoding_caption, reliability_caption
from brainalign.report.encoding_map_figures import encoding_map_caption
from brainalign.report.reconstruction_figures import reconstruction_caption
from brainalign.report.words import Row, estimate, highest, number, present, records, score

#: Most rows that a caption lists.
MAX_LISTED = 12


def caption(result: Result) -> str:
    """Say what the main figure of a result shows, with its numbers.

    Parameters
    ----------
    result : Result
        Of a measure with a figure of its own.

    Returns
    -------
    str
        One or two sentences.
    """
    whose = next((str(m) for m in result.table["model"] if m), "") or str(result.table["brain"].iloc[0]) or "the brain"
    if result.table["model"].nunique() > 1:
        whose = "all models"
    write = _CAPTIONS.get(result.kind)
    if write is None:
        has_intervals = result.table[["ci_low", "ci_high"]].notna().any().all()
        return f"{result.measure} of {whose}{', with intervals' if has_intervals else ''}."
    return write(whose, result)


def caption_together(measure: str, table: pd.DataFrame) -> str:
    """Say what the figure of all models of a measure shows.

    Parameters
    ----------
    measure : str
        Its name.
    table : DataFrame
        The rows of all results.

    Returns
    -------
    str
        One or two sentences.
    """
    if measure in _TOGETHER:
        return _TOGETHER[measure](table)
    if measure == "ablation":
        rows = records(table[table["statistic"] == "mAP_difference"])
        listed = _listed(rows, "model", "ablated")
        return f"Mean average precision with other units silenced, minus that with the top units: {listed}."
    intervals = ", with intervals" if table[["ci_low", "ci_high"]].notna().any().all() else ""
    text = f"{measure} by layer{intervals}; a model of one layer is a dashed line"
    flagged = int(((table["note"] != "") & (table["target"] == SELECTED)).sum()) if measure == "selective-ratio" else 0
    if flagged:
        text += f". Left out are {flagged} of {int((table['target'] == SELECTED).sum())} ratios that have a note: read"
        text += " it in the table first"
    return f"{text}."


def _selective_ratio(whose: str, result: Result) -> str:
    table = result.table.dropna(subset="value")
    parts = [f"{g}: {_listed(records(table[table['target'] == g]), 'layer')}" for g in (SELECTED, OTHER)]
    hollow = " Hollow marks have a note in the table, to be read before the number." if table["note"].any() else ""
    return f"Response ratio of units of {whose}, on sounds that did not select them; {'. '.join(parts)}.{hollow}"


def _selective_profile(whose: str, result: Result) -> str:
    table = result.table[result.table["units"] == SELECTED]
    tops = [highest(records(rows)) for _, rows in table.groupby("layer", sort=False)]
    return (
        f"Correlation of the mean response of the selected units of {whose} with each component, on sounds that did "
        f"not select them, with intervals. Highest of each layer: {_listed([t for t in tops if t], 'layer', 'target')}."
    )


def _unit_table(whose: str, result: Result) -> str:
    n = int(result.table["selected"].sum())
    top = highest(records(result.table))
    most = f" Highest index: {top['target']} {number(top['value'])}." if top else ""
    thick = f"; thick: the selected ones ({n})" if n else "; they are so few that none is selected"
    return f"Selectivity index of {len(result.table)} units of {whose} by rank within their layer{thick}.{most}"


def _readout(whose: str, result: Result) -> str:
    table = result.table[(result.table["target"] == "targets") & (result.table["units"] == "all")]
    rows = records(table.dropna(subset="value"))
    chance = f" Chance {number(rows[0]['chance'], 2)}." if rows and present(rows[0]["chance"]) else ""
    return (
        f"Average precision of reading {target_names(result)} out of {whose}, from all units and from slices by rank "
        f"of selectivity. All units: {_listed(rows, 'layer')}.{chance}"
    )


def _segregation(whose: str, result: Result) -> str:
    table = result.table.dropna(subset="value")
    shown = f", the layer of the highest index of {len(table)}" if len(table) > 1 else ""
    chance = {r["layer"]: number(r["chance"], 2) for r in records(table)} if "chance" in table else {}
    listed = "; ".join(
        f"{r['layer']} {estimate(r)}".strip() + (f", chance {chance[r['layer']]}" if chance else "")
        for r in records(table)[:MAX_LISTED]
    )
    return (
        f"Sounds in the embedding of {whose}{shown}; contours enclose 80, 60, 40 and 20 % of a kind. Segregation "
        f"index, which has no interval (resampled sounds fall on themselves): {listed}."
    )


def _ablation(whose: str, result: Result) -> str:
    means = records(result.table[result.table["statistic"] == "mAP"])
    differences = records(result.table[result.table["statistic"] == "mAP_difference"])
    text = f"Average precision of each category in {whose} with groups of units silenced. Mean over categories, p of "
    text += f"being lower than intact: {_listed(means, 'ablated').replace('none ', 'intact ', 1)}"
    return f"{text}. Differences, p of being above 0: {_listed(differences, 'ablated')}."


def _level_sweep(whose: str, result: Result) -> str:
    table = result.table[(result.table["target"] == SELECTED) & (result.table["sounds"] == "normalised")]
    rows = [r | {"power": f"{r['power_ratio']:.3g}:"} for r in map(dict, records(table))]
    return (
        f"Response ratio of the selected units of {whose}, all sounds equally loud and {target_names(result)} then "
        f"made softer, by power of these sounds / power of the rest, with intervals: {_listed(rows, 'layer', 'power')}."
    )


def _quilt_sweep(whose: str, result: Result) -> str:
    table = result.table[(result.table["statistic"] == "log_length_r") & (result.table["target"] == SELECTED)]
    return (
        f"Mean response of units of {whose} to quilts by segment length, targets: {target_names(result)}; originals "
        f"stand at the right, bands and bars are intervals. Correlation of the selected units’ response with the "
        f"logarithm of the length: {_listed(records(table), 'layer', 'sounds')}."
    )


def _compare_models(whose: str, result: Result) -> str:
    table = result.table[~result.table["statistic"].str.startswith("difference")]
    return (
        f"{table['statistic'].iloc[0]!s} of the RDMs of {whose} with the brain’s, with intervals; the band is the "
        f"noise ceiling. {_listed(records(table), 'model', 'layer')}. Tests of all differences stand in the table."
    )


def _depth_profile(whose: str, result: Result) -> str:
    stages = result.table[result.table["statistic"] == "relative_best_stage"]
    return (
        f"Where the layer of {whose} lies that predicts the voxels of a region best, from the first layer (0) to the "
        f"last (1): grey lines are subjects, points their mean with its interval: {_listed(records(stages), 'target')}."
    )


def _variance_partition(whose: str, result: Result) -> str:
    unique = result.table[result.table["statistic"] == "unique"]
    return (
        f"Variance on new sounds that only one space explains, and that spaces share (&), with intervals. Unique: "
        f"{_listed(records(unique), 'target', 'model')}."
    )


def _layer_map(whose: str, result: Result) -> str:
    top = highest(records(result.table))
    whom = "models" if top and top["model"] != top["model_2"] else "layers"
    most = f" Highest between {whom}: {top['layer']} and {top['layer_2']} {score(top)}." if top else ""
    return f"Similarity ({result.table['statistic'].iloc[0]}) of all layers of {whose} with all layers.{most}"


def _listed(rows: Iterable[Row], *columns: str) -> str:
    """List rows as ``name value (interval; p)``, the first few of many."""
    rows = list(rows)
    shown = "; ".join(" ".join([*(str(r[c]) for c in columns if r[c]), estimate(r)]) for r in rows[:MAX_LISTED])
    return f"{shown}; the table has {len(rows) - MAX_LISTED} more" if len(rows) > MAX_LISTED else shown


_CAPTIONS: dict[str, Callable[[str, Result], str]] = {
    "encoding-map": encoding_map_caption,
    "reconstruction": reconstruction_caption,
    "selective-ratio": _selective_ratio,
    "selective-profile": _selective_profile,
    "unit-table": _unit_table,
    "readout": _readout,
    "segregation": _segregation,
    "ablation": _ablation,
    "level-sweep": _level_sweep,
    "quilt-sweep": _quilt_sweep,
    "compare-models": _compare_models,
    "depth-profile": _depth_profile,
    "variance-partition": _variance_partition,
    "layer-map": _layer_map,
    "component-match": component_match_caption,
    "witness-agreement": witness_agreement_caption,
}
_TOGETHER: dict[str, Callable[[pd.DataFrame], str]] = {
    "decoding": decoding_caption,
    "reliability": reliability_caption,
}
