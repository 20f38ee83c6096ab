"""Component match: how well units, layers and models correspond to a component of the brain, such as the music one.

Two profiles over sounds stand for a set of units: its ridge prediction of the component, and its best single unit.
Both are made on training sounds and compared with the component on others: sound by sound, by means of categories, and
within the categories asked about, where a model that knows the categories only has nothing to offer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from brainalign.brain.data import BrainData
from brainalign.errors import MeasureError, did_you_mean
from brainalign.measures.component_estimates import (
    Draws,
    Estimate,
    Focus,
    Head,
    baseline_rows,
    profile_estimates,
    specificity_rows,
    unit_estimates,
)
from brainalign.measures.component_predictors import (
    Design,
    Profiles,
    best_unit_profiles,
    encoding_profiles,
    unit_correlations,
)
from brainalign.measures.encoding import CHOSEN
from brainalign.measures.resampling import Count, Level, Resamples, Seed, check_seed, draw_counts, draw_orders
from brainalign.measures.result import Result, result_table
from brainalign.measures.ridge import decompose_splits
from brainalign.measures.selectivity import selectivity
from brainalign.measures.splits import Split, SplitCount, Splits, split_responses
from brainalign.measures.targets import Targets, find_targets
from brainalign.responses import Responses, align, average_repetitions, check_responses, units_by_layer

Array = NDArray[np.float64]

ENCODING, BEST_UNIT = "encoding", "best unit"
#: More components than a table of every layer can hold; voxels are targets of voxel-encoding.
MAX_COMPONENTS = 64
#: Test sounds of the categories asked about, beyond the number of these categories, that a split needs; categories.
LEAST_WITHIN, LEAST_CATEGORIES = 3, 3


def component_match(
    all_responses: Mapping[str, Responses],
    brain: BrainData | Responses,
    *,
    categories: Sequence[str],
    component: str | None = None,
    baselines: list[str] | None = None,
    group: str | None = None,
    splits: Splits = "tuckute2023",
    n_splits: SplitCount = 10,
    n_permutations: Count = 1000,
    n_bootstrap: Resamples = 1000,
    level: Level = 0.95,
    seed: Seed = 0,
) -> Result:
    """Compare units, layers and models with the components of a brain, and the models with acoustic baselines.

    Parameters
    ----------
    all_responses : mapping of str to Responses
        The models by name, or other data sets (voxels, electrodes, another lab's components). Stimuli are matched by
        id, repetitions are averaged.
    brain : BrainData or Responses
        The components, with the coordinate ``category`` along stimulus.
    categories : sequence of str
        Those that the component asked about prefers, for instance ``["Music", "Song"]``. Sounds with labels of these
        and of others (separated by ``|``) are left out.
    component : str, optional
        The unit of the brain that is asked about. If not given, each split asks about the component that is most
        selective for `categories` (Welch's t) on its training sounds: the rule for data sets without names.
    baselines : list of str, optional
        Models that hear acoustics only; every other model is compared with each of them.
    group : str, optional
        A coordinate along unit (``region``, ``subject``, ``selective``): units that share its value are a set of their
        own, beside all units of a layer. What selects units must be other sounds than these.
    splits, n_splits
        As for :func:`~brainalign.measures.encoding.component_encoding`.
    n_permutations : int
        Permutations for each p. 0 leaves p empty.
    n_bootstrap : int
        Resamples of sounds for the intervals. 0 leaves them empty.
    level : float
        Coverage of the intervals.
    seed : int
        Seed of splits, permutations and resamples.

    Returns
    -------
    Result
        Rows for each set of units (``layer``, ``group``), component (``target``) and column ``predictor``:
        ``encoding`` (ridge prediction), ``best unit`` (of highest correlation on the training sounds), ``mean over
        units`` (mean of the correlations of single units, all sounds; its distribution in ``unit_p5``, ``unit_median``,
        ``unit_p95``). Layer ``chosen``: that which fits the training sounds best, for each split and target.

        Statistics are means over splits, on test sounds. ``r``: Pearson correlation. ``r of category means``: over the
        means of the categories. ``r within categories``: over the sounds of `categories` alone, profile and component
        both relative to the mean of the sound's own category; the fit is to all training sounds. ``auc``: share of
        pairs in which a sound of `categories` has a higher value in the profile than another sound; the component's own
        stands in ``component_auc``. None is squared or corrected for noise.

        p: one-sided, the brain's sounds permuted and all fits and choices repeated; ``r within categories``: only the
        sounds of `categories`, each within its category. ``null_p95``: the 95th percentile of that null.

        Differences, of the layer ``chosen`` (the only one, where there is one): ``difference in r`` and ``difference in
        r within categories`` between a model and a baseline (``model_2``); ``difference in r`` between the component
        asked about and others, each predicted for itself (``target`` ``music - speech``); ``specificity``: how much
        more the very profile made for the component asked about correlates with it than with another. p: two-sided,
        signs of the sounds' contributions flipped.

        Intervals: BCa bootstrap over sounds, unstratified, drawn by id, the same draws for all rows. What is resampled
        are the contributions of single sounds (jackknife pseudo-values, on Fisher's z scale but for differences): each
        sound is left out of the fits as of the tests, with penalties, best units and layers held fixed.

        ``n_leading``: how many sounds make half of the variance of an estimate; ``leading_sounds`` names the first
        three. With few of them the number is about these sounds rather than about the category.

        Arrays: ``profiles`` (profile, stimulus, target), of the encoding of each model's layer ``chosen``, mean over
        the splits that tested the sound; ``observed`` (stimulus, target) alike; ``unit_r`` (unit, target);
        ``contributions`` (estimate, stimulus) of the rows without differences, from which the interval of any
        difference follows.

    Raises
    ------
    ResponseError
        If the stimuli differ, or values are missing.
    MeasureError
        If a category, component, baseline or group is unknown or named twice, a seed is negative, a model is no
        Responses, a component is constant, or the splits test too few sounds of the categories.
    """
    check_seed(seed)
    _check_kinds(all_responses, brain)
    targets, models = _align(all_responses, brain, categories)
    _check_names(models, baselines or [], group)
    parts = split_responses(splits, [targets.responses], n_splits=n_splits, seed=seed)
    rng = np.random.default_rng(seed)
    design, focus = _design(targets, component, categories, parts, n_permutations, rng)
    draws = Draws(
        draw_counts(len(targets.ids), n_bootstrap, rng, ids=targets.ids),
        rng.choice([-1.0, 1.0], size=(n_permutations, len(targets.ids)))[:, np.argsort(np.argsort(targets.ids))],
        level,
        targets.ids,
    )
    estimates: list[Estimate] = []
    heads: dict[str, Head] = {}
    unit_r = []
    for model, own in models.items():
        for name, units in _groups(own, group).items():
            found, head, each = _measure(own.isel(unit=units), design, focus, draws)
            estimates += [e.of({"model": model, "group": name}) for e in found]
            if not name:
                heads[model] = head
                unit_r.append(each.assign_coords(model=("unit", np.repeat(model, each.sizes["unit"]))))
    compared = [*baseline_rows(heads, baselines or [], focus, draws), *specificity_rows(heads, focus, draws)]
    about = {"measure": "component-match", "brain": targets.responses.attrs.get("source", "")}
    about |= {"n": len(targets.ids), "n_of": "stimuli"}
    return Result(
        measure="component-match",
        table=result_table(about | row for row in [*(e.row for e in estimates), *compared]),
        arrays={
            **_arrays(heads, estimates, design, focus, targets.responses),
            "unit_r": xr.concat(unit_r, "unit"),
        },
        settings={
            "categories": list(categories),
            "component": focus.name,
            "baselines": list(baselines or []),
            "group": group or "",
            "splits": splits if isinstance(splits, str) else "given",
            "n_splits": len(parts),
            "n_permutations": n_permutations,
            "n_bootstrap": n_bootstrap,
            "level": level,
            "seed": seed,
            "score": "Pearson r on test stimuli, mean over splits, no noise correction",
            "test": "one-sided permutation of the brain's stimuli, fits and choices repeated; within categories: of "
            "the stimuli of the categories asked about, within each; differences: two-sided flips of the signs of the "
            "stimuli's contributions",
            "interval": "BCa bootstrap over stimuli of their contributions (each left out of fits and tests), "
            "unstratified; penalties, best units and layers held fixed",
            "penalty": "per target, by leave-one-out error on the training stimuli",
        },
        warnings=[*(brain.warnings if isinstance(brain, BrainData) else ()), *targets.warnings(), *focus.warnings],
    )


def _check_kinds(all_responses: object, brain: object) -> None:
    """Raise if what was given is of another kind than it should be."""
    if not isinstance(brain, BrainData | xr.DataArray):
        raise MeasureError(f"brain must be BrainData or Responses, found {type(brain).__name__}")
    if not isinstance(all_responses, Mapping):
        raise MeasureError(
            f'the models must be a mapping of names to Responses, such as {{"my-net": responses}}; found '
            f"{type(all_responses).__name__}"
        )
    for name, own in all_responses.items():
        if not isinstance(own, xr.DataArray):
            hint = "; give its responses: brain.responses" if isinstance(own, BrainData) else ""
            raise MeasureError(f"the model {name!r} must be Responses, found {type(own).__name__}{hint}")


def _align(
    all_responses: Mapping[str, Responses], brain: BrainData | Responses, categories: Sequence[str]
) -> tuple[Targets, dict[str, Responses]]:
    """Match all sides by stimulus id and leave mixed sounds out."""
    if not all_responses:
        raise MeasureError("no model to compare with the components")
    observed = average_repetitions(brain.responses if isinstance(brain, BrainData) else brain)
    observed, *models = align(observed, *(average_repetitions(r) for r in all_responses.values()))
    for own in models:
        check_responses(own, allow_constant=True)
    targets = find_targets(observed, categories)
    if targets.responses.sizes["unit"] > MAX_COMPONENTS:
        raise MeasureError(
            f"{targets.responses.sizes['unit']} units are more than a comparison with components is for (at most "
            f"{MAX_COMPONENTS}); name some with select_units, or use voxel-encoding"
        )
    flat = np.ptp(targets.responses.values, axis=0) == 0
    if flat.any():
        raise MeasureError(
            f"the component {str(targets.responses['unit'].values[flat][0])!r} is the same for all sounds"
        )
    kept = [own.sel(stimulus=targets.ids) for own in models]
    return targets, dict(zip(all_responses, kept, strict=True))


def _check_names(models: Mapping[str, Responses], baselines: Sequence[str], group: str | None) -> None:
    twice = [name for name in baselines if list(baselines).count(name) > 1]
    if twice:
        raise MeasureError(f"baselines: {twice[0]!r} is named twice")
    for name in baselines:
        if name not in models:
            raise MeasureError(f"baselines: no model {name!r}; {did_you_mean(name, models)}")
    there = {str(c) for own in models.values() for c in own.coords if own[c].dims == ("unit",)}
    if group is not None and group not in there:
        raise MeasureError(f"the units of no model have a coordinate {group!r}; {did_you_mean(group, there)}")


def _design(
    targets: Targets,
    component: str | None,
    categories: Sequence[str],
    parts: Sequence[Split],
    n_permutations: int,
    rng: np.random.Generator,
) -> tuple[Design, Focus]:
    observed = np.asarray(targets.responses.values, dtype=np.float64)
    labels = targets.responses["category"].values.astype(str)
    index = {s: i for i, s in enumerate(targets.ids)}
    positions = [([index[s] for s in p.train], [index[s] for s in p.test]) for p in parts]
    for train, test in positions:
        _check_split(labels, targets.is_target, train, test)
    columns, focus = _focus(targets, component, categories, [train for train, _ in positions])
    orders = np.stack(
        [
            draw_orders(len(labels), n_permutations, rng, targets.ids),
            _draw_within(labels, targets.is_target, n_permutations, rng, targets.ids),
        ]
    )
    codes = np.unique(labels, return_inverse=True)[1]
    return Design(observed, columns, positions, codes, targets.is_target, focus.column, orders), focus


def _focus(
    targets: Targets, component: str | None, categories: Sequence[str], trains: Sequence[Sequence[int]]
) -> tuple[NDArray[np.intp], Focus]:
    """Return which component each target is in each split, (n_splits, n_targets), and the one asked about."""
    names = [str(t) for t in targets.responses["unit"].values]
    columns = np.tile(np.arange(len(names), dtype=np.intp), (len(trains), 1))
    if component is not None:
        if component not in names:
            raise MeasureError(f"the brain has no component {component!r}; {did_you_mean(component, names)}")
        own = names.index(component)
        return columns, Focus(names, own, np.eye(len(names))[own], [])
    values = targets.responses.values.astype(np.float64)
    chosen = np.array(
        [selectivity(values[train], targets.is_target[train]).argmax() for train in trains], dtype=np.intp
    )
    share = np.bincount(chosen, minlength=len(names)) / len(chosen)
    listed = ", ".join(f"{names[k]} in {(chosen == k).sum()} of {len(chosen)}" for k in np.argsort(-share) if share[k])
    warning = f"the component asked about is the most selective on the training sounds of a split: {listed}"
    names.append(f"selective for {' and '.join(categories)}")
    return np.column_stack([columns, chosen]), Focus(names, len(names) - 1, share, [warning])


def _check_split(
    labels: NDArray[np.str_], is_target: NDArray[np.bool_], train: Sequence[int], test: Sequence[int]
) -> None:
    own = labels[test][is_target[test]]
    least = len(np.unique(own)) + LEAST_WITHIN
    if len(own) < least or len(np.unique(labels[test])) <= LEAST_CATEGORIES or is_target[test].all():
        raise MeasureError(
            f"a split tests {len(own)} sounds of the categories asked about and {len(np.unique(labels[test]))} "
            f"categories in all; at least {max(least, LEAST_WITHIN + 1)} and {LEAST_CATEGORIES + 1} are needed: choose "
            f"'stratified-halves', or fewer folds"
        )
    if is_target[train].sum() < 2:
        raise MeasureError("a split trains on fewer than 2 sounds of the categories asked about; choose other splits")


def _draw_within(
    labels: NDArray[np.str_],
    is_target: NDArray[np.bool_],
    n_permutations: int,
    rng: np.random.Generator,
    ids: list[str],
) -> NDArray[np.intp]:
    """Return orders that permute target sounds within their category and leave all other sounds in place."""
    orders = np.tile(np.arange(len(labels), dtype=np.intp), (1 + n_permutations, 1))
    by_id = np.argsort(ids, kind="stable")
    for name in np.unique(labels[is_target]):
        members = by_id[labels[by_id] == name]
        orders[1:, members] = rng.permuted(np.tile(members, (n_permutations, 1)), axis=1)
    return orders


def _groups(responses: Responses, group: str | None) -> dict[str, NDArray[np.intp]]:
    """Return the units of the whole model (``""``) and of each group."""
    found = {"": np.arange(responses.sizes["unit"])}
    if group is not None and group in responses.coords:
        labels = responses[group].values.astype(str)
        found |= {str(name): np.flatnonzero(labels == name) for name in dict.fromkeys(labels.tolist()) if name}
    return found


def _measure(
    responses: Responses, design: Design, focus: Focus, draws: Draws
) -> tuple[list[Estimate], Head, xr.DataArray]:
    """Return the estimates of all layers, the profiles of the chosen one, and the correlations of the units."""
    layers = units_by_layer(responses)
    estimates: list[Estimate] = []
    best: dict[str, Profiles] = {}
    each = []
    for layer, units in layers.items():
        values = responses.values[:, units]
        found = {
            ENCODING: encoding_profiles(decompose_splits(values, design.positions), design),
            BEST_UNIT: best_unit_profiles(values, design),
        }
        estimates += profile_estimates(layer, found, design, focus, draws)
        units_r = unit_correlations(values, design.observed, design.orders[0, 1:])
        own, without, null = (focus.extend(x) for x in (units_r.each, units_r.without, units_r.null))
        estimates += unit_estimates(layer, own, without, null, focus, draws)
        each.append(own)
        for predictor, profiles in found.items():
            if predictor in best:
                best[predictor].take_better(profiles, design.focus)
            else:
                best[predictor] = profiles
    if len(layers) > 1:
        estimates += profile_estimates(CHOSEN, best, design, focus, draws)
    order = np.concatenate(list(layers.values()))
    unit: dict[str, Any] = {"unit": responses["unit"].values[order], "target": focus.names}
    unit["layer"] = ("unit", np.repeat(list(layers), [len(u) for u in layers.values()]))
    head = Head(CHOSEN if len(layers) > 1 else next(iter(layers)), best)
    return estimates, head, xr.DataArray(np.concatenate(each), dims=("unit", "target"), coords=unit)


def _arrays(
    heads: Mapping[str, Head], estimates: Sequence[Estimate], design: Design, focus: Focus, targets: Responses
) -> dict[str, xr.DataArray]:
    """Collect what lies behind the table, but for the correlations of single units."""
    along: dict[str, Any] = {"stimulus": targets["stimulus"].values}
    described = {**along, "category": ("stimulus", targets["category"].values), "target": focus.names}
    measured = [design.targets(split, test)[:, 0] for split, (_, test) in enumerate(design.positions)]
    profiles = np.stack([_over_splits(design, head.profiles[ENCODING].tested) for head in heads.values()])
    columns = ("model", "layer", "group", "predictor", "statistic", "target")
    about = {c: ("estimate", [str(e.row[c]) for e in estimates]) for c in columns}
    return {
        "profiles": xr.DataArray(
            profiles, dims=("profile", "stimulus", "target"), coords={**described, "profile": list(heads)}
        ),
        "observed": xr.DataArray(_over_splits(design, measured), dims=("stimulus", "target"), coords=described),
        "contributions": xr.DataArray(
            np.stack([e.contributions for e in estimates]),
            dims=("estimate", "stimulus"),
            coords={**along, **about, "value": ("estimate", [e.row["value"] for e in estimates])},
        ),
    }


def _over_splits(design: Design, tested: Sequence[Array]) -> Array:
    """Return the mean over the splits that tested a sound, NaN for one that none tested: (n_stimuli, n_targets)."""
    total, n = np.zeros((len(design.observed), tested[0].shape[1])), np.zeros((len(design.observed), 1))
    for values, (_, test) in zip(tested, design.positions, strict=True):
        total[list(test)] += values
        n[list(test)] += 1
    return np.asarray(np.divide(total, n, out=np.full(total.shape, np.nan), where=n > 0))
