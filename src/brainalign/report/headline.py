"""The answer of a run in a few sentences, with its own numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from brainalign.measures.encoding import CHOSEN
from brainalign.measures.result import Result
from brainalign.report.answers import answers
from brainalign.report.estimates import headline_rows
from brainalign.report.words import (
    Row,
    highest,
    join,
    of_kind,
    present,
    readable,
    records,
    score,
    scores,
    table_of,
)

#: Families of models that hear acoustics only: what a network has to beat.
ACOUSTIC_BASELINES = ("logmel", "log-mel", "cochleagram", "gabor", "gbfb", "spectrotemporal", "modulation")


@dataclass(frozen=True)
class Headline:
    """The answer of a run.

    Attributes
    ----------
    target : str
        The component or unit group that the answer is about; empty if there is none.
    sentences : tuple of str
        At most three.
    best, baseline, ratio : mapping or None
        The rows of the tables that the sentences quote.
    best_layer : str
        Layer with the highest value of the best model, on all splits.
    """

    target: str
    sentences: tuple[str, ...]
    best: Row | None = None
    baseline: Row | None = None
    ratio: Row | None = None
    best_layer: str = ""


def headline(results: Sequence[Result], baselines: Sequence[str] | None = None) -> Headline:
    """Answer the question of a run with its own numbers.

    Parameters
    ----------
    results : sequence of Result
        Of all measures.
    baselines : sequence of str, optional
        Models that are acoustic baselines; those of a known family if not given.

    Returns
    -------
    Headline
        About the component named music if there is one, else the one with the highest response ratio, else about the
        median over targets; without encoding and the brain's ratios, what :func:`brainalign.report.answers.answers`
        says of the measures that there are.
    """
    encoding = table_of(results, "component-encoding", "r2")
    ratios = records(table_of(results, "response-ratio", "ratio"))
    brain = [r for r in ratios if not r["model"]]
    target = _focus([str(t) for t in encoding["target"]], brain)
    if not target and len(encoding):
        return Headline("", (_median_sentence(encoding, baselines),))
    sentences = []
    best, baseline, layer = _best(encoding[encoding["target"] == target], baselines)
    if best is not None:
        rows = records(headline_rows(encoding[encoding["target"] == target]))
        sentences.append(_encoding_sentence(target, best, baseline, layer, rows))
        sentences += _control_sentence(rows, best)
    ratio = next((r for r in brain if r["target"] == target), None)
    if ratio is not None:
        sentences.append(_ratio_sentence(ratio, _target_categories(results)))
    if not sentences:
        sentences = answers(results)
    return Headline(target, tuple(sentences), best, baseline, ratio, layer)


def is_baseline(model: str, named: Sequence[str] | None) -> bool:
    """Tell whether a model is an acoustic baseline: one of `named`, or of a known family if None."""
    if named is not None:
        return model in named
    return model.split(":")[0].casefold().startswith(ACOUSTIC_BASELINES)


def _focus(encoded: Sequence[str], brain: Sequence[Row]) -> str:
    """Choose the target that the answer is about; none if there are many and nothing singles one out."""
    names = list(dict.fromkeys([*encoded, *(str(r["target"]) for r in brain)]))
    music = [n for n in names if "music" in n.casefold()]
    exact = [n for n in music if n.casefold() == "music"]
    strongest = highest(r for r in brain if readable(r)) or highest(brain)
    if music or strongest is None:
        return next(iter([*exact, *music, *(names if len(names) == 1 else [])]), "")
    return str(strongest["target"])


def _best(table: pd.DataFrame, baselines: Sequence[str] | None) -> tuple[Row | None, Row | None, str]:
    """Return the row of the best model, that of the best acoustic baseline, and the best model's layer."""
    rows = records(headline_rows(table))
    acoustic = [r for r in rows if is_baseline(r["model"], baselines)]
    best = highest([r for r in rows if r not in acoustic]) or highest(rows)
    if best is None:
        return None, None, ""
    layers = [r for r in records(table) if r["model"] == best["model"] and r["layer"] != CHOSEN]
    top = highest(layers)
    baseline = highest(r for r in acoustic if r["model"] != best["model"])
    return best, baseline, str(top["layer"]) if top else ""


def _encoding_sentence(target: str, best: Row, baseline: Row | None, layer: str, rows: Sequence[Row]) -> str:
    beats = baseline is None or best["value"] > baseline["value"]
    others = [r for r in rows if r["model"] != best["model"] and r is not baseline]
    alike = list(dict.fromkeys(r["model"] for r in others if r["value"] == best["value"]))
    n_models = len({r["model"] for r in rows})
    text = f"{best['model'] or 'The model'} predicts the {target} component"
    if alike:
        text = f"{join([best['model'], *alike])} alike predict the {target} component"
    if beats and n_models > 1:
        text = f"Of {n_models} models, {text} best"
    text += f": r² = {score(best)} on held-out sounds"
    if best["layer"] == CHOSEN:
        text += f" with the layer chosen inside the training sounds ({layer} is its highest layer on the test sounds)"
    elif layer:
        text += f" from its layer {layer}"
    if baseline is None:
        return f"{text}; no acoustic baseline was run beside it."
    text += f", {'more' if beats else 'no more'} than the acoustic baseline {baseline['model']}: "
    text += score(baseline)
    if baseline["ci_high"] >= best["ci_low"] and best["ci_high"] >= baseline["ci_low"]:
        text += "; the intervals overlap"
    return f"{text}."


def _control_sentence(rows: Sequence[Row], best: Row) -> list[str]:
    """Say what the best network without learned weights reaches, which the best model must be held against."""
    control = highest(r for r in rows if "@" in r["model"] and r["model"] != best["model"])
    if control is None:
        return []
    overlap = control["ci_high"] >= best["ci_low"] and best["ci_high"] >= control["ci_low"]
    text = f"The best control without learned weights, {control['model']}, reaches {score(control)}"
    return [f"{text}; the intervals overlap." if overlap else f"{text}."]


def _median_sentence(encoding: pd.DataFrame, baselines: Sequence[str] | None) -> str:
    """Compare models by the median over targets, the acoustic baselines last."""
    rows = []
    for name, part in headline_rows(encoding).groupby("model", sort=False):
        low, middle, high = part["value"].quantile([0.25, 0.5, 0.75])
        model = str(name)
        acoustic = is_baseline(model, baselines)
        label = f"{model or 'the model'}{' (acoustic baseline)' if acoustic else ''}"
        text = score({"value": middle, "ci_low": low, "ci_high": high})
        rows.append((acoustic, -middle, f"{label} {text}"))
    listed = "; ".join(text for _, _, text in sorted(rows))
    return f"Median held-out r² over {encoding['target'].nunique()} targets, with quartiles: {listed}."


def _ratio_sentence(row: Row, categories: Sequence[str]) -> str:
    wanted = join(categories) if categories else "the target categories"
    value, low, high = scores(row)
    ends = f"{low} to {high}" if low else "no interval"
    text = f"The brain’s {row['target']} component responds {value} times as strongly to {wanted} as to the other "
    text += f"sounds ({ends})"
    if not readable(row):
        text = f"How many times as strongly the brain’s {row['target']} component responds to {wanted} as to the other "
        text += f"sounds cannot be said: {row['note']}"
    if present(row["effect_size"]):
        text += (
            f"; a sound of {wanted} draws the larger response in {100 * row['effect_size']:.1f}% of pairs "
            f"(common-language effect size {row['effect_size']:.3f})"
        )
    return f"{text}. Beware: {row['note']}." if row["note"] and readable(row) else f"{text}."


def _target_categories(results: Sequence[Result]) -> list[str]:
    for result in of_kind(results, "response-ratio"):
        named = result.settings.get("categories")
        if named:
            return [named] if isinstance(named, str) else [str(c) for c in named]
    return []
