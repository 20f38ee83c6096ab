"""Benchmarks: what models are ranked by, gathered from the results of encoding measures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from brainalign.brain.data import BrainData
from brainalign.errors import MeasureError, did_you_mean, name_some
from brainalign.measures.layer_fits import CHOSEN
from brainalign.measures.result import Result
from brainalign.measures.score_difference import SplitScores
from brainalign.measures.scores import aggregate_folds
from brainalign.measures.voxel_fits import ALL_UNITS, group_units
from brainalign.stats.ceilings import split_half_reliability

Array = NDArray[np.float64]


class _Scores(NamedTuple):
    """Of one model: values (subject, target) and splits (split, subject, target)."""

    layer: str
    values: xr.DataArray
    splits: xr.DataArray


@dataclass(frozen=True)
class Benchmark:
    """A measure, brain data and targets, with the scores of all models.

    Attributes
    ----------
    name : str
        Identifier: brain, measure and, if it is of one target, that.
    facts : dict
        What it is: see the benchmarks of :class:`~brainalign.measures.leaderboard.Leaderboard`.
    models, layers : list of str
        Who was scored, and by which layer.
    score : ndarray, shape (n_models,)
        What the measure shows: the median over splits unless it was asked for another rule.
    scores : SplitScores
        Of these models, for tests of the mean over splits.
    ceiling : tuple of float
        Lowest and highest score that noise in the measurements allows; NaN where it is not known.
    weight : float
        Share in a mean over benchmarks.
    key : tuple
        Statistic and splits; only benchmarks that share them have a mean.
    """

    name: str
    facts: dict[str, Any]
    models: list[str]
    layers: list[str]
    score: Array
    scores: SplitScores
    ceiling: tuple[float, float]
    weight: float
    key: tuple[object, ...]


def asked_results(results: Sequence[Result], measures: Sequence[str] | None) -> list[Result]:
    """Return the results that rank models.

    Parameters
    ----------
    results : sequence of Result
        Of all measures.
    measures : sequence of str, optional
        Labels of those that count; all that can.

    Returns
    -------
    list of Result
        In the order given.

    Raises
    ------
    MeasureError
        If there is no such label.
    """
    known = list(dict.fromkeys(r.measure for r in results if r.kind in RANKING))
    for name in measures or []:
        if name not in known:
            raise MeasureError(f"no measure {name!r} that ranks models; {did_you_mean(name, known)}")
    return [r for r in results if r.measure in (measures or known)]


def gather_benchmarks(
    results: Sequence[Result],
    brains: Sequence[BrainData],
    measures: Sequence[str] | None,
    targets: Sequence[str] | None,
    per_target: bool,
) -> tuple[list[Benchmark], list[str]]:
    """Gather the held-out scores of all models by benchmark.

    Parameters
    ----------
    results, brains, measures, targets, per_target
        See :func:`~brainalign.measures.leaderboard.leaderboard`.

    Returns
    -------
    benchmarks : list of Benchmark
        Of measures that score splits.
    notes : list of str
        What does not count, and why.

    Raises
    ------
    MeasureError
        If a target is unknown, or models were scored on different splits.
    """
    groups: dict[tuple[str, str], list[Result]] = {}
    for result in asked_results(results, measures):
        if result.kind in _SCORES:
            groups.setdefault((result.measure, str(result.table["brain"].iloc[0])), []).append(result)
    known = dict.fromkeys(str(t) for own in groups.values() for r in own for t in r.table["target"])
    unknown = [t for t in targets or [] if t not in known]
    if unknown and groups:
        raise MeasureError(f"no target {unknown[0]!r} to rank by; {did_you_mean(unknown[0], known)}")
    by_name = {brain.name: brain for brain in brains}
    found, notes = [], []
    for (measure, brain), own in groups.items():
        asked = _targets(own[0], targets)
        if not asked:
            notes.append(f"{measure} of {brain} has none of the targets {name_some(targets or [])} and does not count")
            continue
        parts = [[t] for t in asked] if per_target else [asked]
        for part in parts:
            found.append(_benchmark(own, by_name.get(brain), part, part if per_target else [], 1 / len(parts)))
    return found, notes


def _targets(result: Result, targets: Sequence[str] | None) -> list[str]:
    known = list(dict.fromkeys(map(str, result.table["target"])))
    if targets is not None:
        return [t for t in targets if t in known]
    return [ALL_UNITS] if ALL_UNITS in known else known


def _benchmark(
    results: list[Result], brain: BrainData | None, targets: list[str], named: list[str], weight: float
) -> Benchmark:
    first = results[0]
    own = [_SCORES[first.kind](r) for r in results]
    row = first.table.iloc[0]
    keys = [tuple(r.settings.get(k) or 0 for k in ("splits", "n_splits", "groups", "seed")) for r in results]
    if len(set(keys)) > 1 or len({tuple(r.table[["n_train", "n_test"]].iloc[0]) for r in results}) > 1:
        raise MeasureError(f"{first.measure} of {row['brain']}: the models were scored on different splits of stimuli")
    values = np.stack([aggregate_folds(s.values.sel(target=targets).values, "mean", axis=1) for s in own])
    splits = np.stack([aggregate_folds(s.splits.sel(target=targets).values, "mean", axis=2) for s in own])
    present = ~np.isnan(values).all(axis=0)
    ceiling = _ceiling(first, brain, targets)
    return Benchmark(
        name=" · ".join([str(row["brain"]), first.measure, *named]),
        facts={
            "measure": first.measure,
            "brain": row["brain"],
            "version": brain.version if brain else "",
            "citation": brain.citation if brain else "",
            "targets": ", ".join(targets),
            "statistic": row["statistic"],
            "n_stimuli": int(row["n_train"] + row["n_test"]),
            "n_subjects": int(present.sum()) if present.size > 1 else pd.NA,
            "splits": f"{row['n_splits']} x {first.settings.get('splits', '')}",
        },
        models=[str(r.table["model"].iloc[0]) for r in results],
        layers=[s.layer for s in own],
        score=values[:, present].mean(axis=1),
        scores=SplitScores(splits[:, :, present], int(row["n_train"]), int(row["n_test"])),
        ceiling=(ceiling, ceiling),
        weight=weight,
        key=(row["statistic"], *keys[0]),
    )


def _component_scores(result: Result) -> _Scores:
    scores = result.arrays["scores"]
    layer = _counted(scores)
    rows = result.table[result.table["layer"] == layer].set_index("target")["value"]
    target = scores["target"].values
    values = xr.DataArray(rows.loc[target].to_numpy()[None], dims=("subject", "target"), coords={"target": target})
    return _Scores(layer, values, scores.sel(layer=layer, drop=True).expand_dims("subject", axis=1))


def _voxel_scores(result: Result) -> _Scores:
    values, by_unit = result.arrays["subject_scores"], result.arrays["split_scores"]
    layer = _counted(values)
    by_unit = by_unit.sel(layer=layer, drop=True)
    groups = group_units(by_unit)
    coords = {"subject": groups.subjects, "target": groups.targets}
    splits = xr.DataArray(groups.medians(by_unit.values), dims=("split", "subject", "target"), coords=coords)
    return _Scores(layer, values.sel(layer=layer, drop=True), splits)


_SCORES: dict[str, Callable[[Result], _Scores]] = {
    "component-encoding": _component_scores,
    "voxel-encoding": _voxel_scores,
}
#: Measures that rank models.
RANKING = (*_SCORES, "compare-models")


def _counted(scores: xr.DataArray) -> str:
    layers = [str(layer) for layer in scores["layer"].values]
    return CHOSEN if CHOSEN in layers else layers[0]


def _ceiling(result: Result, brain: BrainData | None, targets: list[str]) -> float:
    """Return the highest score that noise in the measurements allows, NaN where there are no repetitions."""
    statistic = str(result.table["statistic"].iloc[0])
    if result.settings.get("correction", "none") != "none":
        return 1.0
    if "reliability" in result.arrays:
        reliability = result.arrays["reliability"]
        groups = group_units(reliability)
        by_target = aggregate_folds(groups.medians(reliability.values), "mean", axis=0)
        chosen = by_target[[groups.targets.index(t) for t in targets]]
    elif brain is not None and result.kind == "component-encoding" and brain.responses.sizes.get("repetition", 1) > 1:
        chosen = split_half_reliability(brain.responses.sel(unit=targets).values)
    else:
        return float("nan")
    bounded = np.clip(chosen, 0, 1)
    return float(np.mean(np.sqrt(bounded) if statistic == "r" else bounded))
