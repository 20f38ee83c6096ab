"""Leaderboards: many models on benchmarks, ranked by a test of every pair.

A benchmark is a measure, brain data and targets; the score of a model on it is held out. Where a model has several
layers, the layer ``chosen`` counts, which each split picks on its training stimuli: the best of the layers on the test
stimuli would be the luckiest one. The score shown is the measure's own, the median over splits in component-encoding;
intervals, differences and their tests are of means over splits, as in Nadeau & Bengio (2003).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from brainalign.brain.data import BrainData
from brainalign.errors import MeasureError, name_some
from brainalign.measures.benchmarks import RANKING, Benchmark, asked_results, gather_benchmarks
from brainalign.measures.result import Result
from brainalign.measures.score_difference import (
    Population,
    SplitScores,
    contrast_scores,
    pair_contrasts,
    rank_models,
)
from brainalign.measures.scores import aggregate_folds
from brainalign.stats.multiple import AdjustMethod

Array = NDArray[np.float64]
#: Columns of costs that add up, and those of which the largest counts.
_SUMS, _PEAKS = ("seconds", "cpu_s"), ("peak_mb", "n_parameters")


@dataclass(frozen=True)
class Leaderboard:
    """Models ranked on benchmarks.

    Attributes
    ----------
    table : DataFrame
        One row per benchmark and model, best score first: ``benchmark, model, layer, score, ci_low, ci_high, ceiling,
        of_ceiling`` (score over ceiling), ``rank`` (1 + how many models are better by the test), ``rank_high`` (the
        worst rank that the tests leave open), ``n, n_of, n_splits, seconds, cpu_s, peak_mb, n_parameters, note``. For
        encoding, `score` is the measure's own (the median over splits), `ci_low` and `ci_high` the t interval around
        the mean over splits. `peak_mb` is NaN where no task needed more memory than an earlier one.
    pairs : DataFrame
        One row per benchmark and pair of models: ``benchmark, model, model_2, difference, ci_low, ci_high, p,
        p_adjusted``, the first less the second; for encoding, `difference` is of the means over splits, so it is not
        quite that of the scores.
    benchmarks : DataFrame
        One row per benchmark: ``benchmark, measure, brain, version, citation, targets, statistic, n_models,
        n_stimuli, n_subjects, generalises_to, splits, ceiling_low, ceiling``.
    settings : dict
        The options that gave the ranks.
    notes : list of str
        What a reader must know.
    """

    table: pd.DataFrame
    pairs: pd.DataFrame
    benchmarks: pd.DataFrame
    settings: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def leaderboard(
    results: Sequence[Result],
    brains: Sequence[BrainData] = (),
    *,
    measures: Sequence[str] | None = None,
    targets: Sequence[str] | None = None,
    per_target: bool = False,
    generalise_to: Population | None = None,
    alpha: float = 0.05,
    correction: AdjustMethod = "holm",
    costs: pd.DataFrame | None = None,
) -> Leaderboard:
    """Rank the models of a run by their held-out scores.

    Parameters
    ----------
    results : sequence of Result
        Of all measures; those of ``component-encoding``, ``voxel-encoding`` and ``compare-models`` rank models.
    brains : sequence of BrainData
        What was measured: versions, citations, and repetitions for a ceiling.
    measures : sequence of str, optional
        Labels of the measures that count; all that can.
    targets : sequence of str, optional
        Targets that count; ``"all units"`` if there is such a target, else all. Scores of several are averaged,
        each with the same weight.
    per_target : bool
        Make every target a benchmark of its own.
    generalise_to : {'stimuli', 'subjects', 'both'}, optional
        What the tests of encoding speak about, see :func:`~brainalign.measures.score_difference.contrast_scores`.
    alpha : float
        Level of the tests, for all pairs of a benchmark together; intervals cover 1 - `alpha`.
    correction : str
        For the number of pairs, see :func:`~brainalign.stats.adjust_p`.
    costs : DataFrame, optional
        What each task cost: ``model, measure, brain, seconds, cpu_s, peak_mb, n_parameters``; tasks without a measure
        (extraction) count for every benchmark of their model.

    Returns
    -------
    Leaderboard
        The benchmarks in the order of the measures, after them their mean if it can be tested: if all have the same
        statistic and the same splits.

    Raises
    ------
    MeasureError
        If these are no results, nothing ranks models, or a label or target is unknown.
    """
    _check_results(results)
    found, notes = gather_benchmarks(results, brains, measures, targets, per_target)
    boards = [_rank(b, generalise_to, alpha, correction) for b in found]
    compared = [r for r in asked_results(results, measures) if r.kind == "compare-models"]
    for result in compared:
        board, note = _rank_compared(result, brains, alpha, correction)
        boards += board
        notes += note
    if not boards:
        raise MeasureError(
            f"no result ranks models; a leaderboard needs one of {', '.join(RANKING)}"
            + "".join(f"; {n}" for n in notes)
        )
    if len(boards) > 1:
        mean, why = (None, _NO_MEAN) if compared else _mean(found)
        boards += [_rank(mean, "stimuli", alpha, correction)] if mean else []
        notes += [why] if why else []
    table, pairs, facts = (pd.concat(parts, ignore_index=True) for parts in zip(*boards, strict=True))
    return Leaderboard(
        table=_with_costs(table, facts, costs),
        pairs=pairs,
        benchmarks=facts,
        settings={"alpha": alpha, "correction": correction, "generalise_to": generalise_to, "per_target": per_target},
        notes=[*notes, *_absences(facts, table)],
    )


def _check_results(results: object) -> None:
    """Raise for what is easily taken for a list of results: one alone, or a mapping of them."""
    if isinstance(results, Mapping | Result) or not isinstance(results, Iterable):
        hint = "; give its values" if isinstance(results, Mapping) else ""
        raise MeasureError(f"results is a {type(results).__name__}, expected a list of Result{hint}")
    for i, result in enumerate(results):
        if not isinstance(result, Result):
            raise MeasureError(f"results[{i}] is a {type(result).__name__}, expected a Result, as measures return it")


_Board = tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]


def _rank(b: Benchmark, generalise_to: Population | None, alpha: float, correction: AdjustMethod) -> _Board:
    n_models, n_splits, n_subjects = b.scores.splits.shape
    population: Population = generalise_to or ("both" if n_subjects > 1 else "stimuli")
    own = contrast_scores(b.scores, np.eye(n_models), population, 1 - alpha)
    pairs, contrasts = pair_contrasts(n_models)
    between = contrast_scores(b.scores, contrasts, population, 1 - alpha)
    best, worst, adjusted = rank_models(pairs, between.value, between.p, n_models, alpha=alpha, correction=correction)
    table = pd.DataFrame(
        {
            "benchmark": b.name,
            "model": b.models,
            "layer": b.layers,
            "score": b.score,
            "ci_low": own.low,
            "ci_high": own.high,
            "ceiling": b.ceiling[1],
            "rank": best,
            "rank_high": worst,
            "n": n_subjects if population == "subjects" else b.facts["n_stimuli"],
            "n_of": "subjects" if population == "subjects" else "stimuli",
            "n_splits": n_splits,
        }
    )
    differences = pd.DataFrame(
        {
            "benchmark": b.name,
            "model": [b.models[i] for i, _ in pairs],
            "model_2": [b.models[j] for _, j in pairs],
            "difference": between.value,
            "ci_low": between.low,
            "ci_high": between.high,
            "p": between.p,
            "p_adjusted": adjusted,
        }
    )
    return _sorted(table), differences, _facts(b.name, b.facts, n_models, population, b.ceiling)


def _facts(
    name: str, facts: dict[str, Any], n_models: int, population: str, ceiling: tuple[float, float]
) -> pd.DataFrame:
    new = "new stimuli and new subjects" if population == "both" else f"new {population}"
    known = {"n_models": n_models, "generalises_to": new, "ceiling_low": ceiling[0], "ceiling": ceiling[1]}
    return pd.DataFrame([{"benchmark": name, **facts, **known}])


def _sorted(table: pd.DataFrame) -> pd.DataFrame:
    table = table.assign(of_ceiling=table["score"] / table["ceiling"].where(table["ceiling"] > 0))
    return table.sort_values("score", ascending=False, kind="stable", ignore_index=True)


_NO_MEAN = "the benchmarks have no mean: their statistics or splits differ"


def _mean(found: list[Benchmark]) -> tuple[Benchmark | None, str]:
    """Average the benchmarks: targets of one brain weigh the same, and so do brains; or say why there is no mean."""
    if len({b.key for b in found}) > 1:
        return None, _NO_MEAN
    common = [m for m in found[0].models if all(m in b.models for b in found)]
    if not common:
        return None, "the benchmarks have no mean: no model has a score on all of them"
    total = sum(b.weight for b in found)

    def average(pick: Callable[[Benchmark], Array]) -> Array:
        rows = ((b, [b.models.index(m) for m in common]) for b in found)
        return np.asarray(np.sum([pick(b)[order] * b.weight / total for b, order in rows], axis=0))

    scores = SplitScores(
        average(lambda b: aggregate_folds(b.scores.splits, "mean", axis=2)[:, :, None]),
        found[0].scores.n_train,
        found[0].scores.n_test,
    )
    ceiling = sum(b.ceiling[1] * b.weight / total for b in found)
    facts = dict.fromkeys(("measure", "brain", "version", "citation", "targets"), "") | {
        k: found[0].facts[k] for k in ("statistic", "n_stimuli", "splits")
    }
    name = f"mean of {len(found)} benchmarks"
    score = average(lambda b: b.score)
    mean = Benchmark(name, facts, common, [""] * len(common), score, scores, (ceiling, ceiling), 1.0, found[0].key)
    return mean, ""


def _rank_compared(
    result: Result, brains: Sequence[BrainData], alpha: float, correction: AdjustMethod
) -> tuple[list[_Board], list[str]]:
    """Rank by the tests of ``compare-models``; every model must stand in it with one layer."""
    rows = result.table[result.table["model_2"] == ""]
    pairs = result.table[result.table["model_2"] != ""]
    brain = str(rows["brain"].iloc[0])
    several = sorted(set(rows["model"][rows["model"].duplicated()]))
    if several:
        return [], [
            f"{result.measure} of {brain} does not rank: it has several layers of {name_some(several)}, and the best "
            f'of them is the luckiest; name one of each in its layers, {{"{several[0]}" = "..."}}'
        ]
    if not np.isfinite(pairs["p"].to_numpy(float)).all():
        return [], [f"{result.measure} of {brain} does not rank: its differences have no p; give it an n_bootstrap"]
    models, name = [str(m) for m in rows["model"]], f"{brain} · {result.measure}"
    index = [
        (models.index(str(a)), models.index(str(b))) for a, b in zip(pairs["model"], pairs["model_2"], strict=True)
    ]
    best, worst, adjusted = rank_models(
        index, pairs["value"].to_numpy(float), pairs["p"].to_numpy(float), len(models), alpha=alpha,
        correction=correction,
    )  # fmt: skip
    kept = rows[["model", "layer", "ci_low", "ci_high", "n", "n_of"]]
    table = kept.assign(benchmark=name, score=rows["value"], ceiling=rows["ceiling_upper"], rank=best, rank_high=worst)
    differences = pairs[["model", "model_2", "ci_low", "ci_high", "p"]].assign(
        benchmark=name, difference=pairs["value"], p_adjusted=adjusted
    )
    data = next((b for b in brains if b.name == brain), None)
    first = rows.iloc[0]
    facts = {
        "measure": result.measure,
        "brain": brain,
        "version": data.version if data else "",
        "citation": data.citation if data else "",
        "targets": first["target"],
        "statistic": first["statistic"],
        "n_stimuli": int(first["n_stimuli"]),
        "n_subjects": int(first["n_subjects"]) if first["n_subjects"] > 1 else pd.NA,
        "splits": "",
    }
    ceiling = (float(first["ceiling_lower"]), float(first["ceiling_upper"]))
    order = ["benchmark", "model", "model_2", "difference", "ci_low", "ci_high", "p", "p_adjusted"]
    board = _facts(name, facts, len(models), str(result.settings["bootstrap"]), ceiling)
    return [(_sorted(table), differences[order], board)], []


def _with_costs(table: pd.DataFrame, facts: pd.DataFrame, costs: pd.DataFrame | None) -> pd.DataFrame:
    about = facts.set_index("benchmark")[["measure", "brain"]]
    rows = []
    for benchmark, model in zip(table["benchmark"], table["model"], strict=True):
        row: dict[str, Any] = dict.fromkeys((*_SUMS, *_PEAKS), np.nan)
        if costs is not None:
            own = costs[costs["model"] == model]
            if measure := about.loc[benchmark, "measure"]:
                own = own[own["measure"].isin(["", measure]) & own["brain"].isin(["", about.loc[benchmark, "brain"]])]
            row |= {c: own[c].sum(min_count=1) for c in _SUMS} | {c: own[c].max() for c in _PEAKS}
        rows.append(row)
    table = table.join(pd.DataFrame(rows)).astype({"n_parameters": "Int64", "n": "Int64"})
    table["note"] = np.where(table["of_ceiling"] > 1, "above the ceiling", "")
    return table[[c for c in _COLUMNS if c in table]]


_COLUMNS = (
    "benchmark", "model", "layer", "score", "ci_low", "ci_high", "ceiling", "of_ceiling", "rank", "rank_high",
    "n", "n_of", "n_splits", "seconds", "cpu_s", "peak_mb", "n_parameters", "note",
)  # fmt: skip


def _absences(facts: pd.DataFrame, table: pd.DataFrame) -> Iterator[str]:
    """Say what a reader would miss: ceilings, and models that were not scored on all benchmarks."""
    unknown = [str(b) for b in facts["benchmark"][facts["ceiling"].isna()]]
    if unknown:
        which = "any benchmark" if len(unknown) == len(facts) else name_some(unknown)
        yield f"no noise ceiling is known for {which}: there are no repetitions, or one subject"
    everyone = list(dict.fromkeys(table["model"]))
    for benchmark, own in table.groupby("benchmark", sort=False):
        lacking = [m for m in everyone if m not in set(own["model"])]
        if lacking:
            yield f"{benchmark} has no score of {name_some(lacking)}"
