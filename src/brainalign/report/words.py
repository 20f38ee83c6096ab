"""Numbers in words, what to beware of, and the methods."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from brainalign.brain.data import BrainData
from brainalign.measures.ratio import NEGATIVE
from brainalign.measures.result import COLUMNS, Result
from brainalign.stimuli.sets import StimulusSet

#: One estimate: a row of a result table.
Row: TypeAlias = Mapping[str, Any]

#: Measures with a p for each row that is of that row alone, and columns of p that are adjusted for all rows.
_P_OF_ROW = frozenset({
    "component-encoding", "voxel-encoding", "rsa", "response-ratio", "similarity", "decoding", "compare-models",
    "unit-table", "depth-profile",
})  # fmt: skip
_ADJUSTED = ("p_adjusted", "p_fdr", "p_holm")
#: Measures whose scores a noise ceiling bounds.
_BOUNDED = frozenset({"component-encoding", "voxel-encoding", "rsa", "similarity", "compare-models", "encoding-map"})
#: Columns that are outcomes or counts, and never tell rows apart.
_OUTCOMES = ("n_", "p_", "ci_", "null_", "chance", "ceiling")
#: Most notes of one measure that are written out.
MAX_NOTES = 8
#: Fewer than this make an interval or a test hard to trust.
SMALL_N = 10
#: Tails of distributions below this come out as 0.
SMALLEST_P = 1e-300


def number(value: Any, digits: int = 3, *, trailing: bool = False) -> str:
    """Write a number with `digits` significant digits; an en dash for one that is missing."""
    if not present(value):
        return "–"
    value = float(value)
    if (not trailing and abs(value) < 1e6 and value == round(value)) or 10**digits <= abs(value) < 1e6:
        return _minus(f"{value:.0f}")
    text = f"{value:#.{digits}g}".rstrip(".") if trailing else f"{value:.{digits}g}"
    return _minus(text)


def p_words(value: float, name: str = "p") -> str:
    """Write a p: ``p = 0.004``; one too small for a number of 64 bits is not 0: ``p < 1e-300``."""
    return f"{name} < {SMALLEST_P}" if value < SMALLEST_P else f"{name} = {number(value, 2)}"


def score(row: Row) -> str:
    """Write the value of a row and its interval with the same decimals: ``0.53 (0.41 to 0.62)``."""
    value, low, high = scores(row)
    return f"{value} ({low} to {high})" if low else f"{value} (no interval)"


def estimate(row: Row) -> str:
    """Write the value of a row, its interval and its p: ``0.53 (0.41 to 0.62; p = 0.004)``; what is absent is named."""
    value, low, high = scores(row)
    p = p_words(row["p"]) if present(row["p"]) else "no p"
    return f"{value} ({f'{low} to {high}' if low else 'no interval'}; {p})"


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


def readable(row: Row) -> bool:
    """Tell whether a ratio may be quoted: it turns round where most responses are negative, as its note counts."""
    found = NEGATIVE.search(row["note"])
    return found is None or (row["value"] > 0 and 2 * int(found[1]) <= int(found[2]))


def counted(n: int, noun: str) -> str:
    """Write a number and its noun, which takes an s where there is not one: ``1 layer``, ``2 layers``."""
    return f"{n} {noun}{'' if n == 1 else 's'}"


def telling_columns(table: pd.DataFrame, shown: Sequence[str]) -> list[str]:
    """Choose further columns that tell the rows of a measure apart where those shown do not.

    Parameters
    ----------
    table : DataFrame
        Rows of one measure.
    shown : sequence of str
        Columns that name a row already.

    Returns
    -------
    list of str
        As few as tell most; conditions in words come before those in numbers, and outcomes are none of them.
    """
    keys = [c for c in shown if c in table]
    free = [
        str(c)
        for c in table
        if c not in keys
        and c not in COLUMNS[COLUMNS.index("value") :]
        and not str(c).startswith(_OUTCOMES)
        and "|" not in str(c)
    ]
    numbers = [c for c in free if pd.api.types.is_numeric_dtype(table[c])]
    words = [c for c in free if c not in numbers]
    numbers.sort(key=lambda c: len(set(table[c])))
    found: list[str] = []
    for column in [*words, *numbers]:
        doubled = int(table.duplicated([*keys, *found]).sum())
        if not doubled:
            break
        if int(table.duplicated([*keys, *found, column]).sum()) < doubled:
            found.append(column)
    return found


def told_apart(row: Row, columns: Iterable[str]) -> list[str]:
    """Write what tells a row apart: ``subject 3``; columns without a value in this row are left out."""
    cells = [(c, row[c]) for c in columns if present(row[c]) and row[c] != ""]
    return [f"{c} {f'{v:g}' if isinstance(v, float) else v}" for c, v in cells]


def of_kind(results: Sequence[Result], kind: str) -> list[Result]:
    """Return the results of a measure that have one name: its own or, where a recipe labels all, the first label.

    Parameters
    ----------
    results : sequence of Result
        Of all measures.
    kind : str
        Registered name.

    Returns
    -------
    list of Result
        Figures of all models have one value for a model, layer and target, and two labels would give two.
    """
    names = names_of(results, kind)
    return [r for r in results if r.kind == kind and r.measure == names[0]]


def names_of(results: Sequence[Result], kind: str) -> list[str]:
    """Return what a recipe calls the results of a measure; its own name leads."""
    return sorted(dict.fromkeys(r.measure for r in results if r.kind == kind), key=lambda name: name != kind)


def table_of(results: Sequence[Result], measure: str, statistic: str) -> pd.DataFrame:
    """Return the rows of one statistic from the results of a measure that are drawn, see :func:`of_kind`."""
    tables = [r.table for r in of_kind(results, measure)]
    if not tables:
        return pd.DataFrame(columns=["model", "layer", "target", "value"])
    table = pd.concat(tables, ignore_index=True)
    return table[table["statistic"] == statistic].reset_index(drop=True)


def _grouped(warnings: Iterable[str]) -> list[str]:
    """Keep of warnings that differ in their numbers alone the first, and say how many there are."""
    alike: dict[str, list[str]] = {}
    for warning in dict.fromkeys(warnings):
        alike.setdefault(re.sub(r"\d+", "0", warning), []).append(warning)
    more = {
        key: f" (and {len(own) - 1} more like this, with other numbers)" for key, own in alike.items() if len(own) > 1
    }
    return [own[0] + more.get(key, "") for key, own in alike.items()]


def about_p(results: Sequence[Result]) -> list[str]:
    """Say what the p values of a measure are not corrected for, and which is the smallest that permutations can give.

    Parameters
    ----------
    results : sequence of Result
        Of one measure.

    Returns
    -------
    list of str
        Sentences; of measures that are not known, and of one row, none about correction.
    """
    table = pd.concat([r.table for r in results], ignore_index=True)
    p, said = table["p"].dropna(), []
    if len(p) > 1 and results[0].kind in _P_OF_ROW:
        adjusted = [c for c in _ADJUSTED if c in table and table[c].notna().any()]
        but = f"; {adjusted[0]} is adjusted" if adjusted else ""
        said.append(f"p values are not corrected for the number of rows{but}.")
    for result in results:
        n = result.settings.get("n_permutations")
        if isinstance(n, int) and n > 0 and np.isclose(result.table["p"].min(), 1 / (n + 1), rtol=1e-9, atol=0):
            said.append(f"The smallest p that {n:,} permutations can give is 1 / ({n:,} + 1) = {number(1 / (n + 1))}.")
    return list(dict.fromkeys(said))


def _about_intervals(results: Sequence[Result]) -> list[str]:
    how = re.compile(r"fits( and \w+)? held fixed")
    fixed = [r.measure for r in results if how.search(str(r.settings.get("interval", "")))]
    if not fixed:
        return []
    return [
        f"{join(dict.fromkeys(fixed))}: the intervals hold the fits and the splits fixed; another draw of the splits "
        f"into training and test sounds would move these numbers, and the intervals do not cover that"
    ]


def _about_ceilings(results: Sequence[Result], brains: Sequence[BrainData]) -> list[str]:
    """Say for which brain data no noise ceiling was computed, and whether it could have been."""
    found = []
    for brain in brains:
        own = [r for r in results if brain.name in set(r.table["brain"])]
        bounded = list(dict.fromkeys(r.measure for r in own if r.kind in _BOUNDED))
        if not bounded or any(_has_ceiling(r) for r in own):
            continue
        n = brain.responses.sizes.get("repetition", 1)
        why = (
            f"{brain.name} has {n} repetitions, but neither the measure reliability nor voxel-encoding with a "
            f"correction was run"
            if n > 1
            else f"{brain.name} holds no repetitions to compute one from"
        )
        found.append(f"{join(bounded)}: no noise ceiling, so how high a perfect model would score is not known: {why}")
    return found


def _about_same_numbers(results: Sequence[Result]) -> list[str]:
    """Name models that have the same numbers in all rows of a measure: a control may be the network itself."""
    found: dict[tuple[str, ...], list[str]] = {}
    for measure in dict.fromkeys(r.measure for r in results):
        table = pd.concat([r.table for r in results if r.measure == measure], ignore_index=True)
        same: dict[tuple[tuple[Any, ...], ...], list[str]] = {}
        for model, own in table[table["model"] != ""].groupby("model", sort=False):
            about = [c for c in ("layer", "brain", "target", "statistic") if c in own]
            own = own[own["model_2"].isin(["", np.nan])] if "model_2" in own else own
            own = own.dropna(subset="value")
            # Scores that reach the end of their scale are often the same.
            if not own["value"].isin([0.0, 1.0]).all():
                same.setdefault(tuple(own[[*about, "value"]].itertuples(index=False, name=None)), []).append(str(model))
        for models in same.values():
            if len(models) > 1:
                found.setdefault(tuple(models), []).append(measure)
    return [
        f"{join(measures)}: {join(models)} have the same numbers everywhere: are they the same network?"
        for models, measures in found.items()
    ]


def _has_ceiling(result: Result) -> bool:
    corrected = result.kind == "voxel-encoding" and result.settings.get("correction", "none") != "none"
    ceilings = [c for c in result.table if "ceiling" in str(c)]
    return corrected or result.kind == "reliability" or bool(result.table[ceilings].notna().any(axis=None))


def cautions(results: Sequence[Result], stimuli: StimulusSet, brains: Sequence[BrainData] = ()) -> list[str]:
    """Collect what a reader must know: warnings, notes of rows, small n.

    Parameters
    ----------
    results : sequence of Result
        Of all measures.
    stimuli : StimulusSet
        The sounds, whose small categories are named.
    brains : sequence of BrainData
        What was measured.

    Returns
    -------
    list of str
        Each once: models with the same numbers, what intervals and scores leave out, warnings, then notes.
    """
    found = [*_about_same_numbers(results), *_about_intervals(results), *_about_ceilings(results, brains)]
    found += [f"{brain.name}: {w}" for brain in brains for w in brain.warnings]
    if len(brains) > 1:
        found.append(
            f"figures and the answer are of {brains[0].name}, but for decoding, which shows all; tables are of all "
            f"{len(brains)} brain data sets"
        )
    for kind in ("component-encoding", "rsa", "response-ratio"):
        if len(names := names_of(results, kind)) > 1:
            found.append(
                f"{kind} stands in the recipe {len(names)} times: figures and the answer are of {names[0]!r}, tables "
                f"are of {join(map(repr, names[1:]))} too"
            )
    # Measures hand the warnings of brain data on, for those who have no page.
    known = {text for brain in brains for w in brain.warnings for text in (w, f"{brain.name}: {w}")}
    found += _grouped(f"{r.measure}: {w}" for r in results for w in r.warnings if w not in known)
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
        if (n := len(by_note) - MAX_NOTES) > 0:
            found.append(f"{measure}: {counted(n, 'further note')} in the table")
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
