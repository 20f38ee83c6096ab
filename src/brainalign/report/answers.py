"""What each measure answers in one sentence, about the model that a run names first; the others follow for comparison.

Of a model with several layers the last is quoted, which no result chose.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pandas as pd

from brainalign.measures.quilt_sweep import REST, TARGETS
from brainalign.measures.ratio import MEAN_OF_UNITS
from brainalign.measures.result import Result
from brainalign.measures.selective import OTHER, SELECTED
from brainalign.report.component_words import component_match_answer, witness_agreement_answer
from brainalign.report.decoding_figures import decoding_answer, reliability_answer
from brainalign.report.encoding_map_figures import encoding_map_answer
from brainalign.report.estimates import headline_rows
from brainalign.report.reconstruction_figures import reconstruction_answer
from brainalign.report.words import (
    Row,
    counted,
    estimate,
    highest,
    join,
    number,
    p_words,
    present,
    readable,
    records,
    score,
    scores,
)

#: Most models or regions that a sentence lists; most sentences.
MAX_LISTED, MAX_SENTENCES = 4, 3
#: A rate of false discoveries that is common.
FDR = 0.05


def answers(results: Sequence[Result]) -> list[str]:
    """Say what the measures of a run found, one sentence each.

    Parameters
    ----------
    results : sequence of Result
        Of all measures.

    Returns
    -------
    list of str
        At most three sentences; if there is no sentence for any of the measures, one that counts the estimates.
    """
    found = []
    for measure in dict.fromkeys(r.measure for r in results):
        own = [r for r in results if r.measure == measure]
        table = pd.concat([r.table for r in own], ignore_index=True).dropna(subset="value")
        kind = own[0].kind
        if kind in SENTENCES and len(table) and (sentence := SENTENCES[kind](table, own)):
            found.append(sentence if measure == kind else f"{measure}: {sentence}")
    n = sum(len(r.table) for r in results)
    count = f"This run holds {counted(n, 'estimate')} of {join(dict.fromkeys(r.measure for r in results))}."
    return found[:MAX_SENTENCES] or [count]


def target_names(result: Result) -> str:
    """Return the target categories of a result as words: ``Music and Song``."""
    named = result.settings.get("categories") or ["the target categories"]
    return named if isinstance(named, str) else join(named)


def last_layers(table: pd.DataFrame) -> list[Row]:
    """Return the last row of each model, those without a note; the model named first leads, a brain ends the list.

    Parameters
    ----------
    table : DataFrame
        Result rows, one per model and layer.

    Returns
    -------
    list of mapping
        A row whose ratio cannot be read as one gives way to an earlier layer.
    """
    models = [records(own) for _, own in table.groupby("model", sort=False)]
    rows = [next((r for r in reversed(own) if readable(r)), own[-1]) for own in models]
    usable = [r for r in rows if not r["note"]] or [r for r in rows if readable(r)][:1] or rows[:1]
    return sorted(usable, key=lambda r: r["model"] == "")


def place(row: Row) -> str:
    """Say which layer of which model a row is about."""
    whose = row["model"] or row["brain"] or "the brain"
    return f"{row['layer']} of {whose}" if row["layer"] and row["layer"] != whose else str(whose)


def _besides(rows: Sequence[Row], write: Callable[[Row], str] = estimate) -> str:
    """List what other models give."""
    listed = "; ".join(f"{place(r)} {write(r)}" for r in rows[:MAX_LISTED])
    more = f"; and {len(rows) - MAX_LISTED} more" if len(rows) > MAX_LISTED else ""
    return f" For comparison: {listed}{more}." if rows else ""


def _with_chance(row: Row) -> str:
    return f"{estimate(row)}, chance {number(row['chance'], 2)}" if present(row.get("chance")) else estimate(row)


def _response_ratio(table: pd.DataFrame, results: Sequence[Result]) -> str:
    rows = records(table)
    if not any(map(readable, rows)):
        return _no_ratio(rows, "units", target_names(results[0]))
    own, *others = last_layers(table[table["model"] != ""]) if any(table["model"]) else last_layers(table)
    units = "units" if own["target"] in ("", MEAN_OF_UNITS) else f"units of {own['target']}"
    return (
        f"In {place(own)}, {units} respond {estimate(own)} times as strongly to {target_names(results[0])} as to "
        f"other sounds.{_beware(own)}{_left_out(rows)}{_besides(others)}"
    )


def _no_ratio(rows: Sequence[Row], units: str, names: str) -> str:
    """Say why no ratio is quoted."""
    return f"How many times as strongly {units} respond to {names} as to other sounds cannot be said: {_noted(rows)}."


def _left_out(rows: Sequence[Row]) -> str:
    """Name the rows whose ratio cannot be read as one."""
    beyond = [r for r in rows if not readable(r)]
    return f" Not quoted: {_noted(beyond)}." if beyond else ""


def _noted(rows: Sequence[Row]) -> str:
    more = f"; and {len(rows) - MAX_LISTED} more" if len(rows) > MAX_LISTED else ""
    return "; ".join(f"{place(r)} ({r['note']})" for r in rows[:MAX_LISTED]) + more


def _beware(row: Row) -> str:
    return f" Beware: {row['note']}." if row["note"] else ""


def _selective_ratio(table: pd.DataFrame, results: Sequence[Result]) -> str:
    rows = records(table[table["target"] == SELECTED])
    if not any(map(readable, rows)):
        return _no_ratio(rows, "selected units", target_names(results[0])) if rows else ""
    own, *others = last_layers(table[table["target"] == SELECTED])
    same = (table["model"] == own["model"]) & (table["layer"] == own["layer"]) & (table["target"] == OTHER)
    beside = [f"; other units {estimate(r)}" for r in records(table[same]) if readable(r)]
    return (
        f"In {place(own)}, selected units respond {estimate(own)} times as strongly to {target_names(results[0])} as "
        f"to other sounds, on sounds that did not select them{''.join(beside)}.{_beware(own)}{_left_out(rows)}"
        f"{_besides(others)}"
    )


def _selective_profile(table: pd.DataFrame, results: Sequence[Result]) -> str:
    table = table[table["units"] == SELECTED]
    own = last_layers(table)[0]
    same = records(table[(table["model"] == own["model"]) & (table["layer"] == own["layer"])])
    top = highest(same) or own
    return (
        f"The mean response of the selected units in {place(top)} is most like that of {top['target']}: Pearson "
        f"correlation {estimate(top)}, the highest of {len(same)}."
    )


def _unit_table(table: pd.DataFrame, results: Sequence[Result]) -> str:
    tested = table[(table["model"] != "") & table["p_fdr"].notna()]
    if tested.empty:
        return ""
    own = last_layers(tested)[0]
    units = table[(table["model"] == own["model"]) & (table["layer"] == own["layer"])]
    prefer = (units["p_fdr"] <= FDR) & (units["effect_size"] > 0.5)
    return (
        f"Of {len(units)} units in {place(own)} that respond to the sounds, {int(prefer.sum())} prefer "
        f"{target_names(results[0])} (permutation, false discovery rate {FDR:g}); this describes the sounds, and is no "
        f"test on others."
    )


def _readout(table: pd.DataFrame, results: Sequence[Result]) -> str:
    own, *others = last_layers(table[(table["target"] == TARGETS) & (table["units"] == "all")])
    return (
        f"From all units in {place(own)}, {target_names(results[0])} can be told from other sounds with an average "
        f"precision of {_with_chance(own)}.{_besides(others)}"
    )


def _segregation(table: pd.DataFrame, results: Sequence[Result]) -> str:
    own, *others = last_layers(table)
    return (
        f"In {place(own)}, {target_names(results[0])} lie apart from other sounds with a segregation index of "
        f"{_with_chance(own)}.{_besides(others, _with_chance)}"
    )


def _ablation(table: pd.DataFrame, results: Sequence[Result]) -> str:
    model = table["model"].iloc[0]
    rows = table[table["model"] == model]
    means = {r["ablated"]: r for r in records(rows[rows["statistic"] == "mAP"])}
    differences = records(rows[rows["statistic"] == "mAP_difference"])
    if "top" not in means:
        return ""
    than = "; ".join(f"{r['ablated'].removesuffix(' - top')} {estimate(r)}" for r in differences)
    return (
        f"With the top units of {place(means['top'])} silenced, the mean average precision of {means['top']['n']} "
        f"{means['top']['n_of']} is {estimate(means['top'])}, intact {number(means['none']['value'], 2)}. Silencing "
        f"other units instead makes this difference to it: {than}."
    )


def _level_sweep(table: pd.DataFrame, results: Sequence[Result]) -> str:
    table = table[(table["target"] == SELECTED) & (table["sounds"] == "normalised")]
    table = table.sort_values("power_ratio", ascending=False, kind="stable")
    equal, *others = last_layers(table[table["power_ratio"] == table["power_ratio"].max()])
    same = (table["model"] == equal["model"]) & (table["layer"] == equal["layer"])
    low = records(table[same])[-1]
    names = target_names(results[0])
    loud = "all sounds equally loud" if equal["power_ratio"] == 1 else f"{names} at {_power(equal)}"
    return (
        f"With {loud}, selected units in {place(equal)} respond {estimate(equal)} times as strongly to {names} as to "
        f"other sounds; with {names} at {_power(low)}, {estimate(low)} times.{_besides(others)}"
    )


def _power(row: Row) -> str:
    ratio = float(row["power_ratio"])
    share = f"1/{number(1 / ratio, 3)}" if ratio < 1 else number(ratio, 3)
    return f"{share} of the power of the others"


def _quilt_sweep(table: pd.DataFrame, results: Sequence[Result]) -> str:
    table = table[(table["statistic"] == "ratio_to_original") & (table["target"] == SELECTED)]
    table = table[table["segment_ms"] == table["segment_ms"].min()]
    own, *others = last_layers(table[table["sounds"] == TARGETS])
    same = (table["model"] == own["model"]) & (table["layer"] == own["layer"]) & (table["sounds"] == REST)
    beside = [f"; to quilts of other sounds {estimate(r)}" for r in records(table[same])]
    return (
        f"Selected units in {place(own)} respond to quilts of {target_names(results[0])} with segments of "
        f"{own['segment_ms']:g} ms {estimate(own)} times as strongly as to the originals{''.join(beside)}."
        f"{_besides(others)}"
    )


def _voxel_encoding(table: pd.DataFrame, results: Sequence[Result]) -> str:
    rows = headline_rows(table[table["target"] == "all units"])
    tops = [highest(records(own)) for _, own in rows.groupby("model", sort=False)]
    best, *others = sorted((r for r in tops if r), key=lambda r: -float(r["value"]))
    layers = table[(table["model"] == best["model"]) & (table["target"] == "all units") & (table["layer"] != "chosen")]
    top = highest(records(layers)) or best
    inside = "layer chosen inside the training sounds; highest layer on the test sounds"
    how = inside if best["layer"] == "chosen" else "layer"
    alike = [r["model"] for r in others if r["value"] == best["value"]]
    who = f"{join([best['model'], *alike])} alike predict" if alike else f"{best['model']} predicts"
    return (
        f"{f'Of {len(tops)} models, ' if others else ''}{who} the voxels best: median over voxels, "
        f"mean over {best['n']} {best['n_of']}, of {best['statistic']} on held-out sounds {estimate(best)} ({how} "
        f"{top['layer']}).{_besides([{**r, 'layer': ''} for r in others])}"
    )


def _compare_models(table: pd.DataFrame, results: Sequence[Result]) -> str:
    is_pair = table["statistic"].str.startswith("difference")
    pairs = records(table[is_pair])
    ranked = sorted(records(table[~is_pair]), key=lambda r: -float(r["value"]))
    best = ranked[0]
    text = f"Of {counted(len(ranked), 'candidate')}, {place(best)} is most like the brain: "
    text += f"{best['statistic']} {estimate(best)}"
    if present(best["ceiling_lower"]):
        low, high = (best[f"ceiling_{end}"] for end in ("lower", "upper"))
        text += f", noise ceiling {' to '.join(scores({'value': low, 'ci_low': low, 'ci_high': high})[1:])}"
    tested = {
        (r[f"model{a}"], r[f"layer{a}"], r[f"model{b}"], r[f"layer{b}"]): r
        for r in pairs
        for a, b in (("", "_2"), ("_2", ""))
    }
    for other in ranked[1:]:
        pair = tested.get((best["model"], best["layer"], other["model"], other["layer"]))
        if pair:
            p = f"{p_words(pair['p'])}, {p_words(pair['p_adjusted'], 'adjusted p')}" if present(pair["p"]) else "no p"
            text += f". The difference to the next, {place(other)}, is {number(abs(pair['value']), 2)} ({p})"
            break
    return f"{text}."


def _similarity(table: pd.DataFrame, results: Sequence[Result]) -> str:
    lower = results[0].settings.get("more_alike") == "lower"
    sign = -1 if lower else 1
    best = max(records(table), key=lambda r: sign * float(r["value"]))
    return (
        f"{_among(table)}{place(best)} is most like the brain: "
        f"{best['statistic']} {_with_chance(best)}{' (a distance: lower is more alike)' if lower else ''}."
    )


def _among(table: pd.DataFrame) -> str:
    return f"Of {counted(len(table), 'layer')} of {counted(table['model'].nunique(), 'model')}, "


def _rsa(table: pd.DataFrame, results: Sequence[Result]) -> str:
    best = max(records(table), key=lambda r: float(r["value"]))
    return (
        f"{_among(table)}{place(best)} has the RDM most like the brain’s: {str(best['statistic']).capitalize()} "
        f"correlation {score(best)}."
    )


def _depth_profile(table: pd.DataFrame, results: Sequence[Result]) -> str:
    own = table[table["model"] == table["model"].iloc[0]]
    stages = records(own[own["statistic"] == "relative_best_stage"])
    differences = records(own[own["statistic"] == "difference"])
    if not stages:
        return ""
    listed = "; ".join(f"{r['target']} {score(r)}" for r in stages[:MAX_LISTED])
    text = (
        f"The layer of {own['model'].iloc[0]} that predicts a voxel best lies, from first (0) to last (1), at: {listed}"
    )
    if differences:
        listed = "; ".join(f"{r['target']} {estimate({**r, 'p': r['p_holm']})}" for r in differences[:MAX_LISTED])
        text += f". Differences, p after Holm: {listed}"
    return text + ("; the table has the others." if len(stages) > MAX_LISTED else ".")


def _variance_partition(table: pd.DataFrame, results: Sequence[Result]) -> str:
    # The set of all spaces comes last among the sets of a target.
    sets = table[table["statistic"] == "R2"]
    whole = max(records(sets[sets["model"] == sets["model"].iloc[-1]]), key=lambda r: float(r["value"]))
    rows = table[table["target"] == whole["target"]]
    alone = "; ".join(f"{place(r)} {estimate(r)}" for r in records(rows[rows["statistic"] == "unique"]))
    shared = "; ".join(f"{r['model']} {score(r)}" for r in records(rows[rows["statistic"] == "shared"]))
    n = table["target"].nunique()
    what = f"{whole['target']}, the best explained of {n} targets" if n > 1 else str(whole["target"])
    return f"Of the variance of {what}, on new sounds, only one space explains: {alone}. Shared: {shared}."


def _dimensionality(table: pd.DataFrame, results: Sequence[Result]) -> str:
    own, *others = last_layers(table)
    return (
        f"The responses in {place(own)} spread over {score(own)} effective dimensions, of {own['maximum']} at most."
        f"{_besides(others, score)}"
    )


#: A sentence for each measure, from the rows that have a value and the results.
SENTENCES: dict[str, Callable[[pd.DataFrame, Sequence[Result]], str]] = {
    "response-ratio": _response_ratio,
    "selective-ratio": _selective_ratio,
    "selective-profile": _selective_profile,
    "unit-table": _unit_table,
    "readout": _readout,
    "segregation": _segregation,
    "ablation": _ablation,
    "level-sweep": _level_sweep,
    "quilt-sweep": _quilt_sweep,
    "voxel-encoding": _voxel_encoding,
    "compare-models": _compare_models,
    "similarity": _similarity,
    "rsa": _rsa,
    "depth-profile": _depth_profile,
    "variance-partition": _variance_partition,
    "dimensionality": _dimensionality,
    "component-match": component_match_answer,
    "witness-agreement": witness_agreement_answer,
    "decoding": decoding_answer,
    "encoding-map": encoding_map_answer,
    "reconstruction": reconstruction_answer,
    "reliability": reliability_answer,
}
