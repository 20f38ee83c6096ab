"""Voxel encoding: how well a layer predicts the voxels of a group of subjects, corrected for noise.

The protocol is that of Tuckute, Feather, Boebinger & McDermott 2023 (PLoS Biology, e3002366): cross-validated ridge
regression, the median over splits of each voxel, the median over the voxels of each subject, the mean over subjects.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from pydantic import Field

from brainalign.brain.data import BrainData
from brainalign.errors import MeasureError, did_you_mean, name_some
from brainalign.measures.encoding import CHOSEN, MINIMUM_STIMULI, PUBLISHED_ALPHAS
from brainalign.measures.resampling import (
    NO_BCA,
    Count,
    Level,
    Resamples,
    Seed,
    check_permutations,
    check_resamples,
    draw_orders,
)
from brainalign.measures.result import Result, result_table
from brainalign.measures.ridge import Decomposition, decompose_splits
from brainalign.measures.scores import FoldRule, Statistic, aggregate_folds, check_statistic
from brainalign.measures.splits import SplitCount, Splits, split_responses
from brainalign.measures.voxel_fits import (
    BestLayer,
    ChooseBy,
    Correction,
    LayerScores,
    Scoring,
    Setup,
    fit_layer_scores,
    group_units,
    null_scores,
    resampled_medians,
    split_divisors,
    unit_labels,
)
from brainalign.responses import Responses, align, average_repetitions, check_responses, units_by_layer
from brainalign.stats.ceilings import critical_r, split_half_reliability
from brainalign.stats.hierarchical import HierarchicalInterval, hierarchical_bootstrap, within_subject_sem

Array = NDArray[np.float64]

_CORRECTIONS = ("none", "reliability", "tuckute2023", "tuckute2023-unbounded")


def voxel_encoding(
    responses: Responses,
    brain: BrainData | Responses,
    *,
    splits: Splits = "tuckute2023",
    n_splits: SplitCount = 10,
    protocol: Literal["brainalign", "tuckute2023"] = "brainalign",
    statistic: Statistic = "r2",
    correction: Correction = "none",
    min_reliability: Annotated[float, Field(ge=0, lt=1)] | None = None,
    folds: FoldRule = "median",
    choose_by: ChooseBy = "voxel",
    n_permutations: Count = 100,
    n_bootstrap: Resamples = 1000,
    level: Level = 0.95,
    seed: Seed = 0,
) -> Result:
    """Predict every voxel from each layer, and summarise voxels by subject and region, subjects by their mean.

    Parameters
    ----------
    responses : Responses
        Of a model; each value of the unit coordinate ``layer`` is one set of features, in order of depth.
    brain : BrainData or Responses
        The voxels, best with repetitions, whose mean is predicted. Unit coordinates ``subject`` and ``region`` are used
        where they are there. Stimuli are matched by id.
    splits : str or sequence of Split
        Which sounds are fitted and which tested, see :func:`~brainalign.measures.splits.make_splits`; ways that go
        by a label take the sounds' ``category``.
    n_splits : int
        How many, if `splits` is a name.
    protocol : {'brainalign', 'tuckute2023'}
        Grid of penalties, as in :func:`~brainalign.measures.encoding.component_encoding`.
    statistic : {'r2', 'r', 'R2'}
        Score of a split, see :func:`~brainalign.measures.scores.score`.
    correction : {'none', 'reliability', 'tuckute2023', 'tuckute2023-unbounded'}
        For noise in the measurements, by repetitions. ``reliability``: r2 and R2 are divided by the split-half
        reliability of the mean over repetitions on the training sounds, r by its root. ``tuckute2023``: the
        published formula (:func:`~brainalign.stats.ceilings.tuckute2023_divisor`), with the slip at very negative
        correlations repaired and scores above 1 counted as 1; in simulations it is biased upward, where
        ``reliability`` is not. ``tuckute2023-unbounded``: as released.
    min_reliability : float, optional
        A voxel counts in the splits on whose training sounds its mean over repetitions is at least so reliable,
        and is left out if there are none: the sounds that score a split never select its voxels. By default, for
        ``reliability``, the correlation that noise exceeds with a probability of 5 %; else all voxels count.
    folds : {'median', 'mean'}
        How the splits of a voxel are put together.
    choose_by : {'voxel', 'subject', 'region'}
        Who chooses a layer for the rows ``chosen``, in each split by leave-one-out on the training sounds: each
        voxel, the voxels of a subject by their median, or those of each region of a subject.
    n_permutations : int
        Permutations of stimulus labels for the p; each repeats all fits. 0 leaves p empty.
    n_bootstrap : int
        Resamples of subjects and stimuli for the interval. 0 leaves it empty.
    level : float
        Coverage of the interval.
    seed : int
        Seed of splits, permutations and resamples.

    Returns
    -------
    Result
        One row for each layer, and for ``chosen``, and each target (``all units`` and the regions): the median over
        voxels of each subject, then the mean over subjects. The interval is from the hierarchical bootstrap over
        subjects and test stimuli, fits and reliabilities held fixed; with one subject, over stimuli alone. p: share of
        label permutations that reach the *uncorrected* score, one-sided; dividing by a ceiling does not change whether
        there is anything to predict. Further columns: ``sem_within`` (standard error over subjects without the
        differences between them that all layers share, Morey-corrected), ``n_units`` and ``n_dropped`` (voxels that
        count, and that are left out as unreliable), ``n_above_one`` (corrected scores above 1). Arrays: ``scores``
        (layer, unit), ``split_scores`` (layer, split, unit; corrected, never bounded), ``subject_scores`` (layer,
        subject, target), ``p`` (layer, unit) if there are permutations, ``chosen_layer`` (split, unit), and
        ``reliability`` (unit; of the mean over repetitions, on all sounds) where there are repetitions.

    Raises
    ------
    ResponseError
        If the stimuli of both sides differ, or values are missing.
    MeasureError
        If the splits are impossible, a voxel is constant, a correction needs repetitions that are not there or
        another statistic, or no voxel is reliable.
    """
    repeated = brain.responses if isinstance(brain, BrainData) else brain
    voxels, responses = align(repeated, average_repetitions(responses))
    _check(voxels, responses)
    _check_options(voxels, protocol, statistic, correction, min_reliability, choose_by, n_bootstrap, n_permutations)
    ids = [str(s) for s in voxels["stimulus"].values]
    parts = split_responses(splits, (voxels, responses), n_splits=n_splits, seed=seed)
    index = {s: i for i, s in enumerate(ids)}
    positions = [([index[s] for s in p.train], [index[s] for s in p.test]) for p in parts]
    if correction == "reliability" and min_reliability is None:
        min_reliability = critical_r(min(len(p.train) for p in parts))
    setup = Setup(
        y=np.asarray(average_repetitions(voxels).values, dtype=np.float64),
        runs=np.asarray(voxels.values, dtype=np.float64) if "repetition" in voxels.dims else None,
        positions=positions,
        scoring=Scoring(statistic, correction, min_reliability, folds),
        alphas=PUBLISHED_ALPHAS if protocol == "tuckute2023" else None,
        groups=group_units(voxels),
        voters=_voters(voxels, choose_by),
    )
    layers = units_by_layer(responses)
    decomposed = (decompose_splits(responses.values[:, units], positions) for units in layers.values())
    # Permutations come back to every layer; without them each is let go when it is fitted.
    kept = list(decomposed) if n_permutations else []
    fitted, chosen_layer = _fit_layers(kept or decomposed, list(layers), setup, n_bootstrap, level, seed)
    orders = draw_orders(len(ids), n_permutations, np.random.default_rng([seed, 0]), ids)[1:]
    p = _permute(kept, setup, list(fitted.values()), orders) if kept else None
    about = {"model": responses.attrs.get("source", ""), "brain": voxels.attrs.get("source", "")}
    counts = {"n_splits": len(parts), "n_train": len(parts[0].train), "n_test": len(parts[0].test)}
    return Result(
        measure="voxel-encoding",
        table=result_table(_rows(fitted, setup, p, {**about, "statistic": statistic}, counts)),
        arrays=_arrays(fitted, setup, voxels, p, chosen_layer),
        settings={
            "protocol": protocol,
            "splits": splits if isinstance(splits, str) else "given",
            "n_splits": len(parts),
            "statistic": statistic,
            "correction": correction,
            "min_reliability": min_reliability,
            "folds": folds,
            "choose_by": choose_by,
            "n_permutations": n_permutations,
            "n_bootstrap": n_bootstrap,
            "level": level,
            "seed": seed,
            "score": f"{statistic} on test stimuli, {folds} over splits, median over voxels, mean over subjects",
            "test": "one-sided permutation of stimulus labels, all fits repeated, of the uncorrected score",
            "interval": "hierarchical bootstrap over subjects and test stimuli, fits and reliabilities held fixed",
            "selection": "reliability on the training stimuli of each split",
            "layer_choice": f"least leave-one-out error on the training stimuli of each split, by {choose_by}",
        },
        warnings=_warnings(fitted, setup, voxels, about["model"] or "the model"),
    )


@dataclass(frozen=True)
class _Fitted:
    """What is kept of a layer: all but its predictions.

    Scores are (unit,), over splits: corrected but not bounded, and not corrected; `split_scores` (split, unit) are
    corrected.
    """

    scores: Array
    uncorrected: Array
    split_scores: Array
    interval: HierarchicalInterval | None
    n_at_edge: int


def _fit_layers(
    bases: Iterable[list[Decomposition]], layers: list[str], setup: Setup, n_bootstrap: int, level: float, seed: int
) -> tuple[dict[str, _Fitted], NDArray[np.str_]]:
    """Fit layer by layer, so that only one layer's predictions and the chosen ones are in memory."""
    divisors = split_divisors(setup)
    counted = ~np.isnan(divisors)
    if not counted.any():
        raise MeasureError(
            f"no unit reaches a reliability of {setup.scoring.least:.3g} on the training stimuli of any split; "
            f"lower min_reliability, or score without it"
        )
    best, fitted = BestLayer(setup.voters), {}
    for k, (layer, own_bases) in enumerate(zip(layers, bases, strict=True)):
        fit = fit_layer_scores(own_bases, divisors, setup, keep_predictions=n_bootstrap > 0)
        fitted[layer] = _summarise(fit, setup, n_bootstrap, level, seed)
        # Of a single layer there is nothing to choose, and its predictions are not kept twice.
        own = (fit.scores, fit.divisors, fit.loo_r2, fit.at_edge, fit.predictions) if len(layers) > 1 else ()
        best.offer(k, np.where(counted, fit.loo_r2, np.nan), *own)
    if len(layers) > 1:
        scores, chosen_divisors, loo_r2, at_edge = (np.stack(a) for a in best.kept[:4])
        chosen = LayerScores(scores, chosen_divisors, loo_r2, at_edge, best.kept[4])
        fitted[CHOSEN] = _summarise(chosen, setup, n_bootstrap, level, seed)
    return fitted, np.array(layers)[best.layer]


def _summarise(fit: LayerScores, setup: Setup, n_bootstrap: int, level: float, seed: int) -> _Fitted:
    scoring = setup.scoring
    scores = scoring.together(fit.scores, fit.divisors)
    interval = None
    if n_bootstrap:
        present = ~np.isnan(setup.groups.medians(scores)).all(axis=0)

        def statistic(weights: Array) -> Array:
            return resampled_medians(weights, fit, setup)[..., present]

        # The same draws for every layer, so that layers stay comparable.
        interval = hierarchical_bootstrap(
            statistic, len(setup.y), n_bootstrap, np.random.default_rng([seed, 1]), level=level
        )
    uncorrected = scoring.together(fit.scores, np.where(np.isnan(fit.divisors), np.nan, 1))
    return _Fitted(scores, uncorrected, fit.scores / fit.divisors, interval, int(fit.at_edge.sum()))


def _permute(
    bases: list[list[Decomposition]], setup: Setup, fitted: list[_Fitted], orders: NDArray[np.intp]
) -> tuple[Array, Array]:
    """Return p of units, (layer, unit), and of means over subjects, (layer, target), by running counts.

    Where reliability selects, an order of the labels counts only if it leaves the unit in, as the measured one did.
    """
    units = np.stack([f.uncorrected for f in fitted])
    observed = units, _subject_mean(setup.groups.medians(units))
    reached, drawn = ([np.ones(values.shape) for values in observed] for _ in range(2))
    for null in null_scores(bases, setup, orders):
        for k, values in enumerate((null, _subject_mean(setup.groups.medians(null)))):
            slack = 1e-12 * np.abs(observed[k])
            reached[k] += (values >= (observed[k] - slack)[:, None]).sum(axis=1)
            drawn[k] += (~np.isnan(values)).sum(axis=1)
    p_units, p_targets = (
        np.where(np.isnan(values), np.nan, count / total)
        for values, count, total in zip(observed, reached, drawn, strict=True)
    )
    return p_units, p_targets


def _subject_mean(medians: Array) -> Array:
    """Return means over the subjects that have a value, (..., subject, target) -> (..., target)."""
    return aggregate_folds(medians, "mean", axis=-2)


def _rows(
    fitted: dict[str, _Fitted],
    setup: Setup,
    p: tuple[Array, Array] | None,
    about: dict[str, str],
    counts: dict[str, int],
) -> list[dict[str, Any]]:
    groups, scoring = setup.groups, setup.scoring
    by_subject = np.stack([groups.medians(scoring.bounded(f.scores)) for f in fitted.values()])
    value = _subject_mean(by_subject)
    dropped = np.isnan(next(iter(fitted.values())).scores)
    present = ~np.isnan(by_subject[0])
    position = np.cumsum(present.any(axis=0)) - 1
    rows = []
    for t, target in enumerate(groups.targets):
        units = np.concatenate([u for (_, own), u in groups.members.items() if own == t])
        subjects = np.flatnonzero(present[:, t])
        sem = within_subject_sem(by_subject[:, subjects, t].T)
        note = {0: "no unit is reliable enough", 1: "one subject: the interval is over stimuli alone"}.get(
            len(subjects), ""
        )
        for k, (layer, fit) in enumerate(fitted.items()):
            row = {
                "measure": "voxel-encoding",
                **about,
                "layer": layer,
                "target": target,
                "value": value[k, t],
                "p": np.nan if p is None else p[1][k, t],
                "effect_size": value[k, t],
                "n": len(subjects),
                "n_of": "subjects",
                "note": note,
                "sem_within": sem[k],
                "n_units": int((~dropped[units]).sum()),
                "n_dropped": int(dropped[units].sum()),
                "n_above_one": int((fit.scores[units] > 1).sum()),
                **counts,
            }
            if fit.interval is not None and len(subjects):
                i = position[t]
                row |= {"ci_low": fit.interval.low[i], "ci_high": fit.interval.high[i]}
                if fit.interval.method[i] != "bca":
                    row["note"] = "; ".join(filter(None, [note, NO_BCA]))
            rows.append(row)
    return rows


def _arrays(
    fitted: dict[str, _Fitted],
    setup: Setup,
    voxels: Responses,
    p: tuple[Array, Array] | None,
    chosen_layer: NDArray[np.str_],
) -> dict[str, xr.DataArray]:
    scoring, groups = setup.scoring, setup.groups
    unit = {str(c): ("unit", v.values) for c, v in voxels.coords.items() if v.dims == ("unit",)}
    along = {**unit, "layer": list(fitted)}
    scores = np.stack([scoring.bounded(f.scores) for f in fitted.values()])
    arrays = {
        "scores": xr.DataArray(scores, dims=("layer", "unit"), coords=along),
        "split_scores": xr.DataArray(
            np.stack([f.split_scores for f in fitted.values()]), dims=("layer", "split", "unit"), coords=along
        ),
        "subject_scores": xr.DataArray(
            groups.medians(scores),
            dims=("layer", "subject", "target"),
            coords={"layer": list(fitted), "subject": groups.subjects, "target": groups.targets},
        ),
        "chosen_layer": xr.DataArray(chosen_layer, dims=("split", "unit"), coords=unit),
    }
    if p is not None:
        arrays["p"] = xr.DataArray(p[0], dims=("layer", "unit"), coords=along)
    if setup.runs is not None and len(setup.runs) > 1:
        arrays["reliability"] = xr.DataArray(split_half_reliability(setup.runs), dims="unit", coords=unit)
    return arrays


def _warnings(fitted: dict[str, _Fitted], setup: Setup, voxels: Responses, source: str) -> list[str]:
    found, names = [], voxels["unit"].values
    layers = [f for name, f in fitted.items() if name != CHOSEN]
    n_units, n_splits = len(names), len(setup.positions)
    if "subject" not in voxels.coords:
        found.append("the units have no coordinate 'subject': all are taken as one subject's")
    n_splits_in = (~np.isnan(layers[0].split_scores)).sum(axis=0)
    if (out := n_splits_in == 0).any():
        found.append(
            f"{int(out.sum())} of {n_units} units are left out: their reliability on the training stimuli is below "
            f"{setup.scoring.least:.3g} in every split: {name_some(names[out])}"
        )
    if (some := (n_splits_in > 0) & (n_splits_in < n_splits)).any():
        found.append(f"{int(some.sum())} of {n_units} units count only in the splits in which they are reliable enough")
    lacking = [
        f"{setup.groups.subjects[s]} ({setup.groups.targets[t]})"
        for (s, t), units in setup.groups.members.items()
        if out[units].all()
    ]
    if lacking:
        found.append(f"subjects without a reliable unit do not count: {name_some(lacking)}")
    above = sum(int((f.scores > 1).sum()) for f in layers)
    if above and setup.scoring.correction != "none":
        what = "count as 1" if setup.scoring.correction == "tuckute2023" else "stand as they are"
        found.append(f"{source}: {above} of {len(layers) * n_units} corrected scores exceed 1 and {what}")
    at_edge = sum(f.n_at_edge for f in layers)
    if at_edge:
        found.append(
            f"{source}: in {at_edge} of {len(layers) * n_splits * n_units} fits the penalty is the first or last of "
            f"the grid; at the upper end a unit cannot be predicted at all"
        )
    return found


def _voters(voxels: Responses, choose_by: ChooseBy) -> NDArray[np.intp]:
    """Return the number of the group with which each unit chooses its layer."""
    if choose_by == "voxel":
        return np.arange(voxels.sizes["unit"])
    names = unit_labels(voxels, "subject").astype(object)
    if choose_by == "region":
        if "region" not in voxels.coords:
            raise MeasureError("the units have no coordinate 'region' to choose layers by; use choose_by='subject'")
        names = names + "\0" + unit_labels(voxels, "region").astype(object)
    return np.asarray(np.unique(names.astype(str), return_inverse=True)[1], dtype=np.intp)


def _check(voxels: Responses, responses: Responses) -> None:
    check_responses(voxels, allow_constant=True)
    check_responses(responses, allow_constant=True)
    n = voxels.sizes["stimulus"]
    if n < MINIMUM_STIMULI:
        raise MeasureError(f"encoding needs at least {MINIMUM_STIMULI} stimuli, found {n}")
    mean = average_repetitions(voxels)
    constant = [str(u) for u in mean["unit"].values[np.ptp(mean.values, axis=0) == 0]]
    if constant:
        raise MeasureError(
            f"{len(constant)} units respond alike to all stimuli: {name_some(constant)}; "
            f"leave them out with select_units"
        )


def _check_options(
    voxels: Responses,
    protocol: str,
    statistic: str,
    correction: str,
    min_reliability: float | None,
    choose_by: str,
    n_bootstrap: int,
    n_permutations: int,
) -> None:
    check_statistic(statistic)
    for name, value, known in (
        ("protocol", protocol, ("brainalign", "tuckute2023")),
        ("correction", correction, _CORRECTIONS),
        ("way to choose_by", choose_by, ("voxel", "subject", "region")),
    ):
        if value not in known:
            raise MeasureError(f"no {name} {value!r}; {did_you_mean(value, known)}")
    if correction.startswith("tuckute2023") and statistic != "r2":
        raise MeasureError(f"the correction {correction!r} is of r2, not of {statistic}; use correction='reliability'")
    check_resamples(n_bootstrap)
    check_permutations(n_permutations)
    if (correction != "none" or min_reliability is not None) and voxels.sizes.get("repetition", 1) < 2:
        raise MeasureError(
            f"{voxels.attrs.get('source') or 'the brain'} has no repetitions, from which reliability is estimated; "
            f"use correction='none' without min_reliability"
        )
    if min_reliability is not None and not 0 <= min_reliability < 1:
        raise MeasureError(f"min_reliability is {min_reliability}, expected at least 0 and less than 1")
