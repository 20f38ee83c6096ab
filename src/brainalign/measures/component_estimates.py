"""Rows of a component match: estimates with interval and p, and differences between models and between components."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainalign.measures.component_predictors import AUC, CROSS, STATISTICS, WITHIN, Design, Profiles, R
from brainalign.measures.resampling import interval
from brainalign.stats import permutation_p

Array = NDArray[np.float64]

UNITS = "mean over units"
#: Differences between a model and a baseline or between components, and of one profile between components.
DIFFERENCE, SPECIFICITY = "difference in ", "specificity"


@dataclass(frozen=True)
class Draws:
    """Bootstrap samples and flips of signs, the same for all rows.

    Attributes
    ----------
    counts : ndarray of int, shape (n_bootstrap, n_stimuli)
        How often each sample draws each sound.
    flips : ndarray, shape (n_permutations, n_stimuli)
        1 or -1.
    level : float
        Coverage of the intervals.
    ids : list of str, length n_stimuli
        The sounds.
    """

    counts: NDArray[np.int64]
    flips: Array
    level: float
    ids: list[str]

    def limits(self, values: Array, contributions: Array) -> tuple[Array, Array, list[str]]:
        """Return the interval of values to which sounds contribute.

        Parameters
        ----------
        values : ndarray, shape (n_values,)
            The statistics of the data.
        contributions : ndarray, shape (n_stimuli, n_values)
            Of each sound, 0 on average, see :func:`contributions_of`.

        Returns
        -------
        low, high : ndarray, shape (n_values,)
            BCa limits.
        notes : list of str, length n_values
            Where there are none.
        """
        return interval(
            values, self.counts, lambda w: values + w @ contributions / w.sum(axis=1, keepdims=True), self.level
        )

    def difference(self, value: float, contributions: Array) -> dict[str, Any]:
        """Return the numbers of a row about a difference.

        Parameters
        ----------
        value : float
            The difference.
        contributions : ndarray, shape (n_stimuli,)
            Difference of the contributions of each sound, 0 on average.

        Returns
        -------
        dict
            Value, interval, and the two-sided p of a test that flips signs: were both sides alike, a sound would
            speak for either side as often.
        """
        low, high, notes = self.limits(np.array([value]), contributions[:, None])
        p = np.nan
        if len(self.flips):
            null = self.flips @ (value + contributions) / len(contributions)
            p = float(permutation_p(value, null, alternative="two-sided"))
        numbers = {"value": value, "effect_size": value, "ci_low": low[0], "ci_high": high[0], "p": p, "note": notes[0]}
        return {**numbers, **self.leading(contributions)}

    def leading(self, contributions: Array) -> dict[str, Any]:
        """Return how many sounds make half of the variance of an estimate, and the first of them, as columns.

        Parameters
        ----------
        contributions : ndarray, shape (n_stimuli,)
            Of each sound, 0 on average.

        Returns
        -------
        dict
            ``n_leading``: an estimate that hangs on one or two sounds is to be read with them in mind;
            ``leading_sounds``: their ids, at most 3, the greatest first.
        """
        order = np.argsort(-(contributions**2), kind="stable")
        share = np.cumsum(contributions[order] ** 2)
        if share[-1] == 0:
            return {}
        n = int(np.searchsorted(share, share[-1] / 2)) + 1
        return {"n_leading": n, "leading_sounds": ", ".join(self.ids[i] for i in order[: min(n, 3)])}


@dataclass(frozen=True)
class Focus:
    """The targets, and the one that is asked about.

    Attributes
    ----------
    names : list of str
        Of all targets; one that training sounds choose is the last.
    column : int
        The one asked about.
    share : ndarray, shape (n_components,)
        How often each component is the one asked about, over splits; 1 for one that is named.
    warnings : list of str
        How it was chosen.
    """

    names: list[str]
    column: int
    share: Array
    warnings: list[str]

    @property
    def name(self) -> str:
        """Name of the target asked about."""
        return self.names[self.column]

    def extend(self, values: Array) -> Array:
        """Add along the last axis, that of components, the target that training sounds choose, if there is one."""
        chosen_by_rule = len(self.names) > len(self.share)
        return np.concatenate([values, values @ self.share[:, None]], axis=-1) if chosen_by_rule else values


@dataclass(frozen=True)
class Estimate:
    """A row of the table, and what each sound contributes to its value, (n_stimuli,)."""

    row: dict[str, Any]
    contributions: Array

    def of(self, what: dict[str, Any]) -> Estimate:
        """Return the estimate with more columns, which come first."""
        return Estimate({**what, **self.row}, self.contributions)


@dataclass(frozen=True)
class Head:
    """The profiles by which a model is compared: those of its chosen layer, by predictor."""

    layer: str
    profiles: dict[str, Profiles]

    def value(self, predictor: str, statistic: str) -> tuple[Array, Array]:
        """Return the values of all targets, and the contributions of sounds, (n_stimuli, n_targets)."""
        own, i = self.profiles[predictor], STATISTICS.index(statistic)
        return own.scores[i, :, 0].mean(axis=0), contributions_of(own.without[i].mean(axis=0))


def contributions_of(without: Array) -> Array:
    """Return what each sound contributes to a statistic, 0 on average.

    Parameters
    ----------
    without : ndarray, shape (n_stimuli, ...)
        A statistic without each sound.

    Returns
    -------
    ndarray, shape (n_stimuli, ...)
        Jackknife pseudo-values less their mean: n - 1 times what the statistic loses without the sound. Their mean
        itself is not used, for it extrapolates the score to infinitely many training sounds.
    """
    return np.asarray((len(without) - 1) * (without.mean(axis=0) - without))


def profile_estimates(
    layer: str, found: Mapping[str, Profiles], design: Design, focus: Focus, draws: Draws
) -> list[Estimate]:
    """Return the estimates of a layer from its profiles.

    Parameters
    ----------
    layer : str
        Its name.
    found : mapping of str to Profiles
        By predictor.
    design, focus, draws
        What is asked, of which targets, and the random draws.

    Returns
    -------
    list of Estimate
        For each predictor, statistic and target.
    """
    estimates = []
    for predictor, profiles in found.items():
        for i, statistic in enumerate(STATISTICS):
            if statistic == CROSS:
                continue
            about = {"layer": layer, "predictor": predictor, "statistic": statistic}
            scores = profiles.scores[i].mean(axis=0)
            own = _estimates(about, scores[0], profiles.without[i].mean(axis=0), scores[1:], focus, draws)
            if statistic == AUC:
                for e, observed in zip(own, design.component_auc(), strict=True):
                    e.row["component_auc"] = observed
            estimates += own
    return estimates


def unit_estimates(layer: str, each: Array, without: Array, null: Array, focus: Focus, draws: Draws) -> list[Estimate]:
    """Return the estimates of the mean over units, with the distribution over units.

    Parameters
    ----------
    layer : str
        Name of the layer.
    each, without, null : ndarray, shape (n_units or n_stimuli or n_permutations, n_targets)
        As in :class:`~brainalign.measures.component_predictors.UnitCorrelations`.
    focus, draws
        Targets and random draws.

    Returns
    -------
    list of Estimate
        One per target.
    """
    about = {"layer": layer, "predictor": UNITS, "statistic": R, "n_units": len(each)}
    estimates = _estimates(about, each.mean(axis=0), without, null, focus, draws)
    for e, spread in zip(estimates, np.quantile(each, [0.05, 0.5, 0.95], axis=0).T, strict=True):
        e.row.update(zip(("unit_p5", "unit_median", "unit_p95"), spread, strict=True))
    return estimates


def _estimates(
    about: dict[str, Any], values: Array, without: Array, null: Array, focus: Focus, draws: Draws
) -> list[Estimate]:
    is_auc = about["statistic"] == AUC
    # An AUC of 0 to 1 becomes Somers' D of -1 to 1, so that both have Fisher's scale.
    z, left = (np.arctanh(np.clip(2 * x - 1 if is_auc else x, -1 + 1e-12, 1 - 1e-12)) for x in (values, without))
    low, high, notes = draws.limits(z, contributions_of(left))
    low, high = ((np.tanh(x) + 1) / 2 if is_auc else np.tanh(x) for x in (low, high))
    p = top = np.full(len(values), np.nan)
    if len(null):
        p = np.atleast_1d(permutation_p(values, null, alternative="greater"))
        top = np.quantile(null, 0.95, axis=0)
    numbers = {"value": values, "effect_size": values, "ci_low": low, "ci_high": high, "p": p, "null_p95": top}
    contributions = contributions_of(without)
    return [
        Estimate(
            {
                **about,
                "target": name,
                "note": notes[t],
                **{k: v[t] for k, v in numbers.items()},
                **draws.leading(contributions[:, t]),
            },
            contributions[:, t],
        )
        for t, name in enumerate(focus.names)
    ]


def baseline_rows(
    heads: Mapping[str, Head], baselines: Sequence[str], focus: Focus, draws: Draws
) -> list[dict[str, Any]]:
    """Compare every model with every baseline, sound by sound.

    Parameters
    ----------
    heads : mapping of str to Head
        All models, baselines included.
    baselines : sequence of str
        Which of them are baselines.
    focus, draws
        Targets and random draws.

    Returns
    -------
    list of dict
        Rows of ``difference in r`` and ``difference in r within categories``.
    """
    rows = []
    for model, head in heads.items():
        for baseline in baselines if model not in baselines else ():
            for predictor in head.profiles:
                for statistic in (R, WITHIN):
                    (a, from_a), (b, from_b) = (h.value(predictor, statistic) for h in (head, heads[baseline]))
                    about = {"model": model, "layer": head.layer, "group": "", "predictor": predictor}
                    about |= {"statistic": f"{DIFFERENCE}{statistic}", "model_2": baseline}
                    for t, name in enumerate(focus.names):
                        numbers = draws.difference(a[t] - b[t], from_a[:, t] - from_b[:, t])
                        rows.append({**about, "target": name, **numbers})
    return rows


def specificity_rows(heads: Mapping[str, Head], focus: Focus, draws: Draws) -> list[dict[str, Any]]:
    """Compare the component asked about with every other that is never it.

    Parameters
    ----------
    heads : mapping of str to Head
        All models.
    focus, draws
        Targets and random draws.

    Returns
    -------
    list of dict
        Rows of ``difference in r``, each component predicted for itself, and of ``specificity``, one profile beside
        both components.
    """
    rows = []
    for model, head in heads.items():
        for predictor in head.profiles:
            for statistic, source in ((f"{DIFFERENCE}{R}", R), (SPECIFICITY, CROSS)):
                values, contributions = head.value(predictor, source)
                about = {"model": model, "layer": head.layer, "group": "", "predictor": predictor}
                for t in np.flatnonzero(focus.share == 0):
                    difference = contributions[:, focus.column] - contributions[:, t]
                    numbers = draws.difference(values[focus.column] - values[t], difference)
                    target = f"{focus.name} - {focus.names[t]}"
                    rows.append({**about, "statistic": statistic, "target": target, **numbers})
    return rows
