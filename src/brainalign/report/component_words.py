"""What a component match found, as a sentence and as a caption."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from brainalign.measures.component_estimates import DIFFERENCE
from brainalign.measures.component_match import BEST_UNIT, ENCODING
from brainalign.measures.component_predictors import WITHIN, R
from brainalign.measures.result import Result
from brainalign.measures.witnesses import AGREEMENT
from brainalign.report.component_figures import heads
from brainalign.report.words import Row, estimate, join, present, records, score


def component_match_answer(table: pd.DataFrame, results: Sequence[Result]) -> str:
    """Say how well the first model matches the component asked about, and whether acoustics do as well.

    Parameters
    ----------
    table : DataFrame
        Rows of ``component-match`` that have a value.
    results : sequence of Result
        Of which the first is quoted.

    Returns
    -------
    str
        Two or three sentences.
    """
    settings = results[0].settings
    component, baselines = str(settings["component"]), list(settings["baselines"])
    scores = heads(table[(table["target"] == component) & (table["group"] == "")])
    models = [m for m in dict.fromkeys(table["model"]) if m not in baselines] or list(dict.fromkeys(table["model"]))
    own = {(r["predictor"], r["statistic"]): r for r in records(scores[scores["model"] == models[0]]) if _plain(r)}
    if (ENCODING, R) not in own:
        return ""
    text = f"{models[0]} predicts the component {component} with r = {estimate(own[ENCODING, R])} on new sounds"
    if (BEST_UNIT, R) in own:
        text += f", its best single unit with r = {estimate(own[BEST_UNIT, R])}"
    if (ENCODING, WITHIN) in own:
        within = own[ENCODING, WITHIN]
        text += f"; among {join(settings['categories'])} alone, relative to their category, r = {estimate(within)}"
        if present(within.get("n_leading")) and within["n_leading"] <= 3:
            text += f", which hangs on few sounds ({within['leading_sounds']})"
    rows = records(scores[(scores["model"] == models[0]) & (scores["statistic"] == f"{DIFFERENCE}{R}")])
    rows = [r for r in rows if r["predictor"] == ENCODING and present(r["model_2"])]
    if rows:
        closest = min(rows, key=lambda r: float(r["value"]))
        text += f". The difference to the closest baseline, {closest['model_2']}, is {estimate(closest)}"
    return f"{text}."


def component_match_caption(whose: str, result: Result) -> str:
    """Say what the matrix of layers and components shows.

    Parameters
    ----------
    whose : str
        Which models.
    result : Result
        Of ``component-match``.

    Returns
    -------
    str
        Two sentences.
    """
    component = str(result.settings["component"])
    table = result.table
    table = heads(table[(table["predictor"] == ENCODING) & (table["statistic"] == R) & (table["group"] == "")])
    rows = records(table[table["target"] == component])
    listed = "; ".join(f"{r['model']} {estimate(r)}" for r in rows)
    return (
        f"Pearson correlation of the ridge prediction from each layer of {whose} with each component, on new sounds; "
        f"dots: p ≤ .05 against permuted sounds, not corrected for the number of cells. {component}, layer chosen "
        f"inside the training sounds: {listed}."
    )


def witness_agreement_answer(table: pd.DataFrame, results: Sequence[Result]) -> str:
    """Say how far two brains agree.

    Parameters
    ----------
    table : DataFrame
        Rows of ``witness-agreement`` that have a value.
    results : sequence of Result
        Of which the first is quoted.

    Returns
    -------
    str
        One sentence.
    """
    rows = {(r["predictor"], r["score"]): r for r in records(table[table["statistic"] == AGREEMENT])}
    if (ENCODING, R) not in rows:
        return ""
    row = rows[ENCODING, R]
    brains, components = results[0].settings["brains"], results[0].settings["components"]
    which = join(f"the component {c} of {b}" for c, b in zip(components, brains, strict=True))
    text = f"{which[0].upper()}{which[1:]} rank {row['n']} layers alike: Spearman correlation {score(row)}"
    if (ENCODING, WITHIN) in rows:
        text += f"; by the match within categories {score(rows[ENCODING, WITHIN])}"
    return f"{text}."


def witness_agreement_caption(whose: str, result: Result) -> str:
    """Say what the figure of two brains shows.

    Parameters
    ----------
    whose : str
        Which models.
    result : Result
        Of ``witness-agreement``.

    Returns
    -------
    str
        Two sentences.
    """
    answer = witness_agreement_answer(result.table, [result])
    return (
        f"Correlation of the ridge prediction from each layer of {whose} with a component of one brain, and of the "
        f"other, on new sounds; bars are intervals over sounds. {answer}"
    )


def _plain(row: Row) -> bool:
    return not present(row.get("model_2"))
