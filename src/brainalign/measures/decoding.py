"""Decoding: which sound was heard, by predicting its embedding from the brain.

The protocol of Denk et al. 2023 (Brain2Music, arXiv 2307.11078): ridge regression from the voxels of each region to the
embedding of (windows of) each clip, the best regions averaged, and the test clips identified by the correlation of what
was predicted with their embeddings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, get_args

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from pydantic import Field

from brainalign.brain.data import BrainData
from brainalign.errors import MeasureError, did_you_mean, name_some
from brainalign.measures.decoding_plan import (
    KFOLD,
    Plan,
    constant_dimensions,
    labels_of,
    make_plan,
    region_members,
    unnamed_windows,
)
from brainalign.measures.decoding_rows import (
    FITTED,
    LEFT_OUT,
    Draws,
    category_rows,
    rows_of,
    score_clips,
    training_rows,
)
from brainalign.measures.decoding_scores import (
    average_clips,
    correlation_table,
    identification_accuracy,
    rank_candidates,
)
from brainalign.measures.region_decoder import PUBLISHED_REGIONS, RegionDecoder
from brainalign.measures.region_penalties import FoldScore
from brainalign.measures.resampling import Count, Level, Resamples, Seed, draw_counts
from brainalign.measures.result import Result, result_table
from brainalign.responses import Responses, align, average_repetitions, check_responses, units_by_layer
from brainalign.stats import permute_labels

Array = NDArray[np.float64]
Index = NDArray[np.intp]

#: Regions were chosen by the correlation on left-out clips, which of noise reaches .18 to .31: it is not reported.
TRAINING_STATISTICS = {LEFT_OUT: ("identification_accuracy",), FITTED: ("identification_accuracy", "correlation")}
TRAINING_NOTES = {
    LEFT_OUT: "penalties and regions were chosen by these clips",
    FITTED: "the fit saw these clips: the score says nothing about others",
}


def decoding(
    responses: Responses,
    brain: BrainData | Responses,
    *,
    split: str = "split",
    n_splits: Annotated[int, Field(ge=2)] = 5,
    clip: str = "clip",
    unseen: str | None = None,
    one_mean: bool = True,
    regions: str | None = "region",
    n_regions: Annotated[int, Field(ge=1)] | None = PUBLISHED_REGIONS,
    n_folds: Annotated[int, Field(ge=2)] = 5,
    alphas: Sequence[float] | None = None,
    score: FoldScore = "l2",
    n_way: Annotated[int, Field(ge=2)] | None = None,
    top_k: Sequence[int] = (1, 5),
    n_permutations: Count = 1000,
    n_bootstrap: Resamples = 1000,
    level: Level = 0.95,
    seed: Seed = 0,
) -> Result:
    """Predict the embedding of each test clip from the brain, and identify the clip by it.

    Parameters
    ----------
    responses : Responses
        Embeddings of the stimuli, which are clips or windows of clips; each ``layer`` is decoded by itself, from
        regions of its own.
    brain : BrainData or Responses
        Responses to the same stimuli, matched by id; repetitions are averaged. Each ``subject`` is decoded by itself.
        Units are centred by the training stimuli and not scaled: bring them to one scale beforehand.
    split : str
        Name of a coordinate along ``stimulus`` that says ``train`` or ``test``; or ``kfold``, for folds of whole clips,
        of which each is tested once.
    n_splits : int
        How many folds for ``kfold``.
    clip : str
        Name of the coordinate that says which clip a stimulus is a window of: windows of one clip are never torn apart,
        and their predictions are averaged. Each stimulus is a clip of its own where there is no ``clip``.
    unseen : str, optional
        Name of a coordinate such as ``category``: the test clips of each of its values are decoded by a fit to training
        clips of all other values.
    one_mean : bool
        With `unseen`, give the predictions of all its fits the same mean, see the notes.
    regions : str or None
        Name of the unit coordinate that holds regions; where it is empty a unit is left out. All units are one region
        where there is no ``region``, or for None.
    n_regions : int or None
        Regions whose predictions are averaged: those that predict left-out training clips best. None for all.
    n_folds : int
        Folds of the training clips, which choose penalties and regions.
    alphas : sequence of float, optional
        Penalties, in squared units of the brain data; by default sixteen, from 1e-9 to 1e6 times the summed variance of
        the voxels of a region. The paper does not give its own.
    score : {'l2', 'r2', 'r'}
        By what a penalty is chosen, see :func:`~brainalign.measures.region_penalties.choose_penalties`.
    n_way : int, optional
        Candidates of the top-k accuracy; all test clips, if not given.
    top_k : sequence of int
        Which; those that leave nothing to miss are passed over.
    n_permutations : int
        Permutations of the test clips for the p. 0 leaves it empty.
    n_bootstrap : int
        Resamples of subjects and test clips for the interval. 0 leaves it empty.
    level : float
        Coverage of the interval.
    seed : int
        Seed of folds, permutations and resamples.

    Returns
    -------
    Result
        For each layer the mean over subjects (with ``sd`` over them, and the 95th percentile of the null in
        ``null_p95``) and each subject. Statistics, all of clips (means over windows of predictions and of embeddings):
        ``identification_accuracy`` (pairwise, chance 0.5; ties count half), ``correlation`` (of each dimension over
        clips, mean over dimensions that differ between test clips; a constant prediction counts as 0), ``cosine``, and
        ``top_K_of_N``. The interval is from the bootstrap over subjects and test clips, fits held fixed; p from
        predictions that are given to other test clips. The column ``evaluated`` says which clips were scored: ``test``,
        ``training, left out`` (by the inner folds that also chose: 0.50 to 0.52 of noise, and no ``correlation``, which
        would be far too high), or ``training, fitted`` (which says nothing about other clips). Rows with a ``category``
        are of its test clips, ranked among all; fewer than 5 clips have no interval. Arrays: ``predictions``
        (subject, stimulus, unit), ``identification`` (layer, subject, clip), ``region_correlation`` and
        ``chosen_regions`` (part, layer, subject, region), ``roles`` (part, stimulus).

    Raises
    ------
    ResponseError
        If the stimuli of both sides differ, or values are missing.
    MeasureError
        If a clip is torn apart, a coordinate is missing, clips are too few, or a region is constant.

    Notes
    -----
    Fits to different clips are biased against the clips that each leaves out: the mean of what is fitted lies on the
    other side of the common mean. With ``kfold`` clips therefore compete within their fold. With `unseen` a category
    may have too few, and clips compete with all test clips; the predictions of each fit are moved by the difference of
    its training mean from the average of these means, a constant that tells nothing about which clip was heard. Without
    that (``one_mean=False``) chance gives an accuracy well below 0.5, and the test is far too strict: 0.37 in
    simulations where half the variance of the embeddings was between categories.
    """
    voxels, responses = align(
        average_repetitions(brain.responses if isinstance(brain, BrainData) else brain), average_repetitions(responses)
    )
    check_responses(voxels, allow_constant=True)
    check_responses(responses, allow_constant=True)
    layers = units_by_layer(responses)
    if single := [layer for layer, units in layers.items() if len(units) < 2]:
        raise MeasureError(f"identification correlates over dimensions; {name_some(map(repr, single))} has only one")
    if score not in get_args(FoldScore):
        raise MeasureError(f"no score {score!r}; {did_you_mean(score, get_args(FoldScore))}")
    plan = make_plan((responses, voxels), split, n_splits, clip, unseen, seed)
    subjects, members = region_members(voxels, regions)
    decoder = RegionDecoder(n_regions, alphas=alphas, n_folds=n_folds, score=score, seed=seed)
    fitted = [
        _decode(decoder, voxels.values, responses, layers, own, plan, one_mean and unseen is not None)
        for own in members
    ]

    names, inverse = np.unique(plan.clips[plan.tested], return_inverse=True)
    first = np.array([np.flatnonzero(inverse == k)[0] for k in range(len(names))])
    groups = plan.compete[plan.tested][first]
    draws = Draws(
        permute_labels(len(names), n_permutations, np.random.default_rng([seed, 0]), strata=groups)
        if n_permutations
        else np.empty((0, len(names)), dtype=np.intp),
        draw_counts(len(names), n_bootstrap, np.random.default_rng([seed, 2])),
        level,
        seed,
    )
    categories = _categories((responses, voxels), plan, first)
    fewest = int(np.unique(groups, return_counts=True)[1].min())
    ways = [(n_way, k) for k in top_k if k < (n_way or fewest)]
    rows, accuracies = [], []
    for layer, units in layers.items():
        about = {
            "measure": "decoding",
            "model": responses.attrs.get("source", ""),
            "layer": layer,
            "brain": voxels.attrs.get("source", ""),
        }
        tested = plan.clips[plan.tested].tolist()
        truth = average_clips(responses.values[plan.tested][:, units], tested)[1]
        predicted = [average_clips(f.predictions[:, units], tested)[1] for f in fitted]
        scored, ranks = score_clips(predicted, truth, groups, ways)
        accuracies.append([identification_accuracy(r) for r in ranks])
        own = [row for one in scored for row in rows_of(one, subjects, draws)]
        if categories is not None:
            own += category_rows(scored[0], categories, draws)
        for evaluated, note in TRAINING_NOTES.items():
            values = {
                s: np.array([f.training[layer, evaluated, s] for f in fitted]) for s in TRAINING_STATISTICS[evaluated]
            }
            own += training_rows(values, subjects, evaluated, note)
        rows += [about | row for row in own]
    return Result(
        measure="decoding",
        table=result_table(rows),
        arrays=_arrays(fitted, np.array(accuracies), responses, list(layers), subjects, plan, names, categories),
        settings={
            "split": split,
            "n_parts": len(plan.parts),
            "clip": clip,
            "unseen": unseen or "",
            "one_mean": one_mean and unseen is not None,
            "n_train": len(plan.parts[0][0]),
            "n_test": len(plan.tested),
            "n_test_clips": len(names),
            "stimuli": "training stimuli choose penalties and regions and are fitted, test stimuli are scored only; "
            "the array roles names them",
            "regions": regions or "",
            "n_regions": n_regions,
            "penalty": f"one per dimension and region, by {score} over {n_folds} folds of the training clips",
            "alphas": "1e-9 to 1e6 times the summed variance of the region" if alphas is None else list(alphas),
            "n_permutations": n_permutations,
            "n_bootstrap": n_bootstrap,
            "level": level,
            "seed": seed,
            "identification": "share of other clips whose embedding correlates less with the prediction; ties half",
            "candidates": "the clips of the same fold" if split == KFOLD and unseen is None else "all test clips",
            "test": "one-sided permutation of the test clips, fits held fixed",
            "interval": "bootstrap over subjects and test clips, fits held fixed",
        },
        warnings=_warnings(voxels, responses, plan, regions, n_regions, members, fitted),
    )


@dataclass(frozen=True)
class _Decoded:
    """What is kept of a subject: predictions of the tested rows, scores on training clips, and of the regions."""

    predictions: Array
    training: dict[tuple[str, str, str], float]
    regions: list[str]
    correlation: list[Array]
    chosen: list[NDArray[np.bool_]]
    at_edge: float


def _decode(
    decoder: RegionDecoder,
    voxels: NDArray[np.floating[Any]],
    responses: Responses,
    layers: Mapping[str, Index],
    members: dict[str, Index],
    plan: Plan,
    one_mean: bool,
) -> _Decoded:
    values = responses.values
    means = np.stack([values[train].mean(axis=0, dtype=np.float64) for train, _ in plan.parts])
    shifts = means.mean(axis=0) - means if one_mean else np.zeros(means.shape)
    own_layer = np.empty(values.shape[1], dtype=np.intp)
    for k, units in enumerate(layers.values()):
        own_layer[units] = k
    predictions = np.empty((len(plan.tested), values.shape[1]))
    training: dict[tuple[str, str, str], list[float]] = {}
    correlation, chosen, at_edge = [], [], []
    for (train, test), shift in zip(plan.parts, shifts, strict=True):
        decoder.fit(voxels, values, members, clips=plan.clips.tolist(), groups=own_layer, rows=train)
        predictions[np.searchsorted(plan.tested, test)] = decoder.predict(voxels, test) + shift
        inner = dict(zip(plan.clips[train].tolist(), decoder.folds_.tolist(), strict=True))
        for evaluated, predicted in (
            (LEFT_OUT, decoder.predict_left_out(voxels, values, train)),
            (FITTED, decoder.predict(voxels, train)),
        ):
            for layer, units in layers.items():
                names, decoded = average_clips(predicted[:, units], plan.clips[train].tolist())
                truth = average_clips(values[train][:, units], plan.clips[train].tolist())[1]
                compete = np.array([inner[n] for n in names]) if evaluated == LEFT_OUT else np.zeros(len(names))
                accuracy = identification_accuracy(rank_candidates(decoded, truth, compete)).mean()
                training.setdefault((layer, evaluated, "identification_accuracy"), []).append(float(accuracy))
                if evaluated == FITTED:
                    r = np.diagonal(correlation_table(decoded, truth)).mean()
                    training.setdefault((layer, evaluated, "correlation"), []).append(float(r))
        correlation.append(decoder.correlation_)
        chosen.append(decoder.chosen_)
        at_edge.append(decoder.at_edge_[decoder.chosen_[:, own_layer]].mean())
    scores = {key: float(np.mean(parts)) for key, parts in training.items()}
    return _Decoded(predictions, scores, list(members), correlation, chosen, float(np.mean(at_edge)))


def _categories(sides: Sequence[Responses], plan: Plan, first: Index) -> NDArray[np.str_] | None:
    """Return the category of each tested clip, if there is one."""
    if not any("category" in side.coords for side in sides):
        return None
    return labels_of("category", sides)[plan.tested][first]


def _arrays(
    fitted: list[_Decoded],
    accuracies: Array,
    responses: Responses,
    layers: list[str],
    subjects: list[str],
    plan: Plan,
    names: NDArray[np.str_],
    categories: NDArray[np.str_] | None,
) -> dict[str, xr.DataArray]:
    regions = list(dict.fromkeys(r for f in fitted for r in f.regions))
    shape = (len(plan.parts), len(layers), len(subjects), len(regions))
    correlation, chosen = np.full(shape, np.nan), np.zeros(shape, dtype=bool)
    roles = np.full((len(plan.parts), len(plan.clips)), "", dtype="<U5")
    for k, (train, test) in enumerate(plan.parts):
        roles[k, train], roles[k, test] = "train", "test"
        for s, f in enumerate(fitted):
            place = [regions.index(r) for r in f.regions]
            correlation[k, :, s, place] = f.correlation[k]
            chosen[k, :, s, place] = f.chosen[k]
    unit = {str(c): ("unit", v.values) for c, v in responses.coords.items() if v.dims == ("unit",)}
    stimulus = responses["stimulus"].values
    along = {"stimulus": stimulus[plan.tested], "clip": ("stimulus", plan.clips[plan.tested]), **unit}
    of_clips = {} if categories is None else {"category": ("clip", categories)}
    by_region = {"layer": layers, "subject": subjects, "region": regions}
    dims = ("part", "layer", "subject", "region")
    return {
        "predictions": xr.DataArray(
            np.stack([f.predictions for f in fitted]),
            dims=("subject", "stimulus", "unit"),
            coords={"subject": subjects, **along},
        ),
        "identification": xr.DataArray(
            accuracies,
            dims=("layer", "subject", "clip"),
            coords={"layer": layers, "subject": subjects, "clip": names, **of_clips},
        ),
        "region_correlation": xr.DataArray(correlation, dims=dims, coords=by_region),
        "chosen_regions": xr.DataArray(chosen, dims=dims, coords=by_region),
        "roles": xr.DataArray(roles, dims=("part", "stimulus"), coords={"stimulus": stimulus}),
    }


def _warnings(
    voxels: Responses,
    responses: Responses,
    plan: Plan,
    regions: str | None,
    n_regions: int | None,
    members: list[dict[str, Index]],
    fitted: list[_Decoded],
) -> list[str]:
    found = unnamed_windows(plan, (responses, voxels))
    if constant := constant_dimensions(responses.values, plan):
        found.append(
            f"{constant} of {responses.sizes['unit']} dimensions are constant over the test clips; they do "
            f"not count in correlation"
        )
    if "subject" not in voxels.coords:
        found.append("the units have no coordinate 'subject': all are taken as one subject's")
    if regions is not None and regions not in voxels.coords:
        found.append(f"the units have no coordinate {regions!r}: all are taken as one region")
    elif n_regions is not None and (few := min(map(len, members))) < n_regions:
        found.append(f"a subject has {few} regions only, all of which are averaged; {n_regions} were asked for")
    n_used = sum(len(columns) for own in members for columns in own.values())
    if n_used < voxels.sizes["unit"]:
        found.append(f"{voxels.sizes['unit'] - n_used} of {voxels.sizes['unit']} units are in no region and left out")
    at_edge = float(np.mean([f.at_edge for f in fitted]))
    if round(at_edge, 2) > 0:  # "0%" is no caution
        found.append(
            f"in {at_edge:.0%} of the fits of chosen regions the penalty is the first or last of the grid; at the "
            f"upper end a dimension cannot be predicted from a region at all"
        )
    return found
