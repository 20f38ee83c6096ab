"""What the numbers say: the answer in two sentences, what to beware of, and the methods."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from brainalign.measures.encoding import CHOSEN
from brainalign.measures.result import Result
from brainalign.report.estimates import headline_rows
from brainalign.stimuli.sets import StimulusSet

#: One estimate: a row of a result table.
Row: TypeAlias = Mapping[str, Any]

#: Families of models that hear acoustics only: what a network has to beat.
ACOUSTIC_BASELINES = ("logmel", "log-mel", "cochleagram", "gabor", "gbfb", "spectrotemporal", "modulation")
#: Most notes of one measure that are written out.
MAX_NOTES = 8
#: Fewer than this make an interval or a test hard to trust.
SMALL_N = 10


@dataclass(frozen=True)
class Headline:
    """The answer of a run.

    Attributes
    ----------
    target : str
        The component or unit group that the answer is about; empty if there is none.
    sentences : tuple of str
        At most two.
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


def number(value: Any, digits: int = 3, *, trailing: bool = False) -> str:
    """Write a number with `digits` significant digits; an en dash for one that is missing."""
    if not present(value):
        return "–"
    value = float(value)
    if (not trailing and abs(value) < 1e6 and value == round(value)) or 10**digits <= abs(value) < 1e6:
        return _minus(f"{value:.0f}")
    text = f"{value:#.{digits}g}".rstrip(".") if trailing else f"{value:.{digits}g}"
    return _minus(text)


def score(row: Row) -> str:
    """Write the value of a row and its interval with the same decimals: ``0.53 (0.41 to 0.62)``."""
    value, low, high = scores(row)
    return f"{value} ({low} to {high})" if low else f"{value} (no interval)"


def scores(row: Row) -> tuple[str, str, str]:
    """Write value, lower and upper end of a row; the ends are empty if there is no interval."""
    cells = [row[c] for c in ("value", "ci_low", "ci_high")]
    size = max((abs(float(c)) for c in cells if present(c) and np.isfinite(c)), default=0.0)
    decimals = 2 if 0.05 <= size < 100 else 0 if size >= 100 else 4
    value, low, high = (_minus(f"{float(c):.{decimals}f}") if present(c) else "" for c in cells)
    return (value or "–", low, high) if low and high else (value or "–", "", "")


def _minus(text: str) -> str:
    """Write the minus sign as such, and none before zero."""
    text = text.lstrip("-") if not text.strip("-0.") else text
    return f"−{text[1:]}" if text.startswith("-") else text


def join(names: Iterable[object]) -> str:
    """Join names: ``a, b and c``."""
    parts = [str(n) for n in names]
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def records(table: pd.DataFrame) -> list[Row]:
    """Return the rows of a table, each as a mapping."""
    return [{str(k): v for k, v in row.items()} for row in table.to_dict("records")]


def present(value: Any) -> bool:
    """Tell whether a table cell holds a value."""
    return not (pd.api.types.is_scalar(value) and pd.isna(value))


def highest(rows: Iterable[Row]) -> Row | None:
    """Return the row of the highest value; None if no row has one."""
    return max((r for r in rows if present(r["value"])), key=lambda r: float(r["value"]), default=None)


def table_of(results: Sequence[Result], measure: str, statistic: str) -> pd.DataFrame:
    """Return the rows of one statistic from all results of a measure."""
    tables = [r.table for r in results if r.measure == measure]
    if not tables:
        return pd.DataFrame(columns=["model", "layer", "target", "value"])
    table = pd.concat(tables, ignore_index=True)
    return table[table["statistic"] == statistic].reset_index(drop=True)


def is_baseline(model: str, named: Sequence[str] | None) -> bool:
    """Tell whether a model is an acoustic baseline: one of `named`, or of a known family if None."""
    if named is not None:
        return model in named
    return model.split(":")[0].casefold().startswith(ACOUSTIC_BASELINES)


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
        median over targets.
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
        sentences.append(_encoding_sentence(target, best, baseline, layer, encoding["model"].nunique()))
        sentences += _control_sentence(records(headline_rows(encoding[encoding["target"] == target])), best)
    ratio = next((r for r in brain if r["target"] == target), None)
    if ratio is not None:
        sentences.append(_ratio_sentence(ratio, _target_categories(results)))
    if not sentences:
        sentences = [_other_sentence(results)]
    return Headline(target, tuple(sentences), best, baseline, ratio, layer)


def _focus(encoded: Sequence[str], brain: Sequence[Row]) -> str:
    """Choose the target that the answer is about; none if there are many and nothing singles one out."""
    names = list(dict.fromkeys([*encoded, *(str(r["target"]) for r in brain)]))
    music = [n for n in names if "music" in n.casefold()]
    exact = [n for n in music if n.casefold() == "music"]
    strongest = highest(brain)
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


def _encoding_sentence(target: str, best: Row, baseline: Row | None, layer: str, n_models: int) -> str:
    beats = baseline is None or best["value"] > baseline["value"]
    text = f"{best['model'] or 'The model'} predicts the {target} component"
    if beats and n_models > 1:
        text = f"Of {n_models} models, {text} best"
    text += f": r² = {score(best)} on held-out sounds"
    if best["layer"] == CHOSEN:
        text += f" with the layer chosen inside the training sounds ({layer} is its highest layer)"
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
    text = (
        f"The brain’s {row['target']} component responds {value} times as strongly to {wanted} "
        f"as to the other sounds ({ends})"
    )
    if present(row["effect_size"]):
        text += (
            f"; a sound of {wanted} draws the larger response in {100 * row['effect_size']:.1f}% of pairs "
            f"(common-language effect size {row['effect_size']:.3f})"
        )
    return f"{text}. Beware: {row['note']}." if row["note"] else f"{text}."


def _target_categories(results: Sequence[Result]) -> list[str]:
    for result in results:
        named = result.settings.get("categories") if result.measure == "response-ratio" else None
        if named:
            return [named] if isinstance(named, str) else [str(c) for c in named]
    return []


def _other_sentence(results: Sequence[Result]) -> str:
    """Say what there is when neither encoding nor ratios were asked for."""
    rows = records(table_of(results, "rsa", "spearman"))
    top = highest(rows)
    if top is not None:
        return (
            f"Of {len(rows)} layers of {len({r['model'] for r in rows})} models, {top['layer']} of {top['model']} "
            f"has the RDM most like the brain’s: Spearman correlation {score(top)}."
        )
    n = sum(len(r.table) for r in results)
    return f"This run holds {n} estimates of {join(dict.fromkeys(r.measure for r in results))}."


def cautions(results: Sequence[Result], stimuli: StimulusSet) -> list[str]:
    """Collect what a reader must know: warnings, notes of rows, small n.

    Parameters
    ----------
    results : sequence of Result
        Of all measures.
    stimuli : StimulusSet
        The sounds, whose small categories are named.

    Returns
    -------
    list of str
        Each once, warnings first.
    """
    found = [f"{r.measure}: {w}" for r in results for w in r.warnings]
    notes: dict[str, dict[str, list[str]]] = {}
    small: dict[str, int] = {}
    for result in results:
        for row in records(result.table):
            if row["note"]:
                about = " ".join(str(row[c]) for c in ("model", "layer", "target") if row[c])
                notes.setdefault(result.measure, {}).setdefault(row["note"], []).append(about)
            if present(row["n"]) and row["n"] < SMALL_N:
                key = f"{result.measure}: estimates that rest on fewer than {SMALL_N} {row['n_of']}".rstrip()
                small[key] = small.get(key, 0) + 1
    for measure, by_note in notes.items():
        for note, rows in list(by_note.items())[:MAX_NOTES]:
            more = f"; and {len(rows) - 4} more" if len(rows) > 4 else ""
            found.append(f"{measure}: {note} ({'; '.join(rows[:4])}{more})")
        if len(by_note) > MAX_NOTES:
            found.append(f"{measure}: {len(by_note) - MAX_NOTES} further notes stand in the table")
    found += [f"{key}: {n}" for key, n in small.items()]
    counts = stimuli.table["category"].value_counts(sort=False)
    few = [f"{c} ({n})" for c, n in counts[counts < SMALL_N].items()]
    if few:
        found.append(f"categories of fewer than {SMALL_N} sounds, whose means are uncertain: {join(few)}")
    return list(dict.fromkeys(found))


def methods(results: Sequence[Result]) -> list[tuple[str, str]]:
    """Describe how each measure was computed, from the settings of its results.

    Parameters
    ----------
    results : sequence of Result
        Of all measures.

    Returns
    -------
    list of tuple
        Measure and paragraph. Where results of one measure differ in a setting, each value is given.
    """
    paragraphs = []
    for measure in dict.fromkeys(r.measure for r in results):
        settings: dict[str, list[str]] = {}
        for result in results:
            if result.measure == measure:
                for key, value in result.settings.items():
                    settings.setdefault(str(key), []).append(setting(value))
        clauses = [_clause(key, " or ".join(dict.fromkeys(values))) for key, values in settings.items()]
        text = "; ".join(clauses) or "no settings recorded"
        paragraphs.append((measure, f"{text[0].upper()}{text[1:]}."))
    return paragraphs


def _clause(key: str, value: str) -> str:
    if key == "level":
        return f"level of the intervals {value}"
    what = key.removeprefix("n_").replace("_", " ")
    counted = f"{value} {what}" + (" samples" if what == "bootstrap" else "")
    return counted if key.startswith("n_") else f"{what}: {value}"


def setting(value: Any) -> str:
    """Write the value of a setting in words."""
    if value is None:
        return "none"
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, float | np.floating):
        return number(float(value), 4)
    if isinstance(value, Mapping):
        return "(" + "; ".join(f"{k}: {setting(v)}" for k, v in value.items()) + ")"
    if isinstance(value, list | tuple | set | frozenset | np.ndarray):
        items = [setting(v) for v in value]
        shown = items if len(items) <= 12 else [*items[:10], f"… ({len(items)} in all)"]
        return ", ".join(shown) or "none"
    return str(value)
