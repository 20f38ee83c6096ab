"""A simulated auditory cortex on fsaverage5, whose components, weights, noise and reliability are known."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from brainalign.brain.checks import check_whole
from brainalign.brain.cortex_maps import AUDITORY_MM, CENTRES, SURROUND, Patch, Position, auditory_patch
from brainalign.brain.cortex_noise import (
    presentation_correlation,
    smoothing_factor,
    visible_variance,
)
from brainalign.brain.data import BrainData
from brainalign.brain.geometry import HEMISPHERES, N_VERTICES
from brainalign.brain.simulation import LICENCE, demo_truth
from brainalign.errors import BrainError, name_some
from brainalign.responses import Responses, make_responses

Array = NDArray[np.float64]

VERSION = "1"
CITATION = "brainalign simulated cortex (no measured data)"
#: Standard deviation of a component's patch around its middle, mm.
PATCH_SD_MM = 8.0
#: Standard deviation of the random part of the weights, where a patch has 1 in its middle.
VARIATION = 0.2
#: Filter that makes the random part smooth.
VARIATION_FWHM_MM = 10.0
#: How fast weights fade in the surround (standard deviation of a Gaussian).
FADE_MM = 5.0
MESH = "fsaverage5"


def simulate_cortex(
    truth: Responses,
    *,
    n_subjects: int = 8,
    n_repetitions: int = 3,
    reliability: float | None = 0.3,
    noise_sd: float | None = None,
    noise_smoothness_mm: float = 6.0,
    noise_autocorrelation: float = 0.3,
    n_runs: int = 1,
    run_share: float = 0.1,
    individual_share: float = 0.5,
    extent_mm: float = 48.0,
    seed: int = 0,
    noise_seed: int = 0,
    name: str = "simulated-cortex",
) -> BrainData:
    """Simulate the auditory cortex of several subjects: components mixed by maps on fsaverage5, measured with noise.

    Responses are ``components @ weights + noise``.

    *Weights* of a component are Gaussian patches (standard deviation 8 mm along the surface) around its places in
    ``cortex_maps.CENTRES``, or around a place drawn by `seed` if its name is not known there, plus a smooth Gaussian
    field of standard deviation 0.2 (filter of 10 mm FWHM), partly common to all subjects and partly a subject's own.
    In the surround all fade to 0. The maps are plausible, and they are no measurement.

    *Noise* is Gaussian. It is smooth along the surface, autocorrelated over the order of presentation, and has an
    offset in each run. In each repetition each subject hears all stimuli once, in a random order of their own, in
    `n_runs` runs of about equal length.

    Parameters
    ----------
    truth : Responses, dims (stimulus, unit)
        The components, for instance from :func:`~brainalign.brain.simulation.simulate_components`, or published ones.
    n_subjects : int
        Number of subjects.
    n_repetitions : int
        How often each stimulus is measured.
    reliability : float, optional
        The noise is such that the repeat reliability has this median over the auditory vertices (all but the surround)
        of each subject. Give None to set `noise_sd` instead.
    noise_sd : float, optional
        Standard deviation of the noise of one repetition, in units of the components' responses; that of a
        vertex is 0.7 to 1.3 times this.
    noise_smoothness_mm : float
        Full width at half maximum of the Gaussian filter that makes the noise smooth along the surface.
    noise_autocorrelation : float
        Correlation of the noise, less the offset of the run, of one presentation and the next.
    n_runs : int
        Runs in which all stimuli are presented once.
    run_share : float
        Share of the run's offset in the noise variance. With one run it adds the same to all stimuli.
    individual_share : float
        Share of the subject's own field in the variance of the random part of the weights.
    extent_mm : float
        Vertices within this distance of Heschl's gyrus, along the surface, are simulated: at 48 mm about 1,000 in each
        hemisphere.
    seed : int
        Of weights and of relative noise levels.
    noise_seed : int
        Of the noise and the orders of presentation alone. A subject's weights, and each repetition's noise, stay the
        same when subjects or repetitions are added.
    name : str
        Name of the data.

    Returns
    -------
    BrainData
        Responses ``(repetition, stimulus, unit)``; along ``unit`` ``subject``, ``hemisphere``, ``vertex``, ``x``,
        ``y``, ``z`` (mm, midway between white and pial surface) and ``region`` (primary, lateral, anterior, posterior,
        surround). Its arrays are the truth: ``components`` (stimulus, component), ``weights`` (component, unit),
        ``noise_sd`` (unit), ``reliability`` (unit) and ``presentation`` (repetition, subject, stimulus), the place
        of each stimulus in the order of presentation, from 0. Reliability is what the correlation of two repetitions is
        expected to be:
        s^2 / (s^2 + v noise_sd^2), with s^2 the variance of the noiseless response over stimuli and v the
        share of the noise variance that shows within a repetition (1 for white noise).

    Raises
    ------
    BrainError
        If a number is out of range, or `truth` has repetitions or components that are the same for all stimuli.
    """
    _check_truth(truth)
    if (reliability is None) == (noise_sd is None):
        raise BrainError("give one of reliability and noise_sd, and None for the other")
    whole = {"n_subjects": n_subjects, "n_repetitions": n_repetitions, "n_runs": n_runs}
    for what, count in whole.items():
        check_whole(what, count, 1)
    check_whole("seed", seed, 0)
    check_whole("noise_seed", noise_seed, 0)
    _check_numbers(
        reliability=(reliability, 1e-3, 1),
        noise_sd=(noise_sd, 0, np.inf),
        noise_smoothness_mm=(noise_smoothness_mm, 0, 50),
        noise_autocorrelation=(noise_autocorrelation, 0, 0.99),
        n_runs=(n_runs, 1, truth.sizes["stimulus"]),
        run_share=(run_share, 0, 0.99),
        individual_share=(individual_share, 0, 1),
        extent_mm=(extent_mm, 30, 80),
    )
    patches = [auditory_patch(h, float(extent_mm)) for h in HEMISPHERES]
    names = truth["unit"].values.tolist()
    subjects = [f"sub-{s + 1:02d}" for s in range(n_subjects)]
    weights = _weights(patches, names, n_subjects, individual_share, seed)
    signal = truth.values @ weights
    variance = signal.var(axis=1, ddof=1)

    lengths = [len(part) for part in np.array_split(np.arange(truth.sizes["stimulus"]), n_runs)]
    correlation = presentation_correlation(lengths, noise_autocorrelation, run_share)
    visible = visible_variance(correlation)
    spread = np.stack([_relative_levels(weights.shape[2], subject, seed) for subject in range(n_subjects)])
    if noise_sd is not None:
        spread = noise_sd * spread
    elif reliability is not None:
        auditory = np.concatenate([patch.region != SURROUND for patch in patches])
        odds = np.median((variance / spread**2)[:, auditory], axis=1, keepdims=True)
        spread = spread * np.sqrt(odds * (1 / reliability - 1) / visible)
    values, place = _noise(patches, correlation, (n_repetitions, n_subjects), noise_smoothness_mm, noise_seed)
    values *= spread[:, None]
    values += signal

    units, info = _units(patches, subjects)
    responses = make_responses(
        values.swapaxes(1, 2).reshape(n_repetitions, truth.sizes["stimulus"], -1),
        truth["stimulus"].values.tolist(),
        units,
        stimulus_info={
            str(c): truth[c].values for c in truth.coords if truth[c].dims == ("stimulus",) and c != "stimulus"
        },
        unit_info=info,
        attrs={"source": name, "space": MESH, "n_vertices": [N_VERTICES[MESH]] * 2},
    )
    of_unit = {"unit": units}
    arrays = {
        "components": truth.rename(unit="component"),
        "weights": xr.DataArray(
            weights.swapaxes(0, 1).reshape(len(names), -1), {"component": names, **of_unit}, ("component", "unit")
        ),
        "noise_sd": xr.DataArray(spread.ravel(), of_unit, ("unit",)),
        "reliability": xr.DataArray((variance / (variance + visible * spread**2)).ravel(), of_unit, ("unit",)),
        "presentation": xr.DataArray(
            place,
            {"repetition": range(n_repetitions), "subject": subjects, "stimulus": truth["stimulus"].values},
            ("repetition", "subject", "stimulus"),
        ),
    }
    return BrainData(name, responses, VERSION, CITATION, LICENCE, arrays)


def _check_truth(truth: Responses) -> None:
    if truth.dims != ("stimulus", "unit"):
        raise BrainError(f"the true components must have dims ('stimulus', 'unit'), found {truth.dims}")
    constant = truth["unit"].values[np.ptp(truth.values, axis=0) == 0]
    if len(constant):
        raise BrainError(f"the components {name_some(constant)} are the same for all stimuli: nothing to simulate")


def _check_numbers(**given: tuple[float | None, float, float]) -> None:
    for what, (value, low, high) in given.items():
        if value is not None and not (low <= value <= high and np.isfinite(value)):
            span = f"{low} to {high}" if np.isfinite(high) else f"finite and at least {low}"
            raise BrainError(f"{what} must be {span}, found {value}")


def _relative_levels(n_vertices: int, subject: int, seed: int) -> Array:
    """Return the noise of each vertex of a subject, 1 on average."""
    return np.random.default_rng([seed, 3, subject]).uniform(0.7, 1.3, n_vertices)


def _units(patches: Sequence[Patch], subjects: Sequence[str]) -> tuple[list[str], dict[str, NDArray[Any]]]:
    """Return the ids and the coordinates of all vertices of all subjects."""
    one = {
        "hemisphere": np.concatenate([np.full(len(p.vertex), p.hemisphere) for p in patches]),
        "vertex": np.concatenate([p.vertex for p in patches]),
        "region": np.concatenate([p.region for p in patches]),
    }
    one |= dict(zip("xyz", np.concatenate([p.position for p in patches]).T, strict=True))
    places = [f"{h[0].upper()}_v{v:05d}" for h, v in zip(one["hemisphere"], one["vertex"], strict=True)]
    info = {"subject": np.repeat(subjects, len(places))}
    info |= {key: np.tile(column, len(subjects)) for key, column in one.items()}
    return [f"{subject}_{place}" for subject in subjects for place in places], info


def _weights(
    patches: Sequence[Patch], names: Sequence[str], n_subjects: int, individual_share: float, seed: int
) -> Array:
    """Return weights (subject, component, vertex)."""
    halves = []
    for i, patch in enumerate(patches):
        distance = np.stack([patch.distance_to(_centres(name, patches[0], seed)) for name in names])
        smooth = smoothing_factor(patch.distance, VARIATION_FWHM_MM)
        fields = [
            np.random.default_rng([seed, *key, i]).standard_normal(distance.shape) @ smooth.T
            for key in [(1,), *((2, s) for s in range(n_subjects))]
        ]
        varied = np.sqrt(1 - individual_share) * fields[0] + np.sqrt(individual_share) * np.stack(fields[1:])
        fade = np.exp(-(np.maximum(patch.to_landmark - AUDITORY_MM, 0) ** 2) / (2 * FADE_MM**2))
        halves.append(fade * (np.exp(-(distance**2) / (2 * PATCH_SD_MM**2)) + VARIATION * varied))
    return np.concatenate(halves, axis=2)


def _centres(component: str, patch: Patch, seed: int) -> Sequence[Position]:
    """Return where a component sits: its known places, or one auditory vertex that belongs to its name and the seed."""
    if component in CENTRES:
        return CENTRES[component]
    key = int.from_bytes(hashlib.sha256(component.encode()).digest()[:8], "big")
    auditory = patch.position[patch.region != SURROUND]
    x, y, z = auditory[np.random.default_rng([seed, 4, key]).integers(len(auditory))]
    return [(float(x), float(y), float(z))]


def _noise(
    patches: Sequence[Patch], correlation: Array, shape: tuple[int, int], smoothness_mm: float, noise_seed: int
) -> tuple[Array, NDArray[np.int64]]:
    """Return noise of variance 1 (repetition, subject, stimulus, vertex), and each stimulus's place in the order."""
    from scipy.sparse import block_diag, csr_array

    over_time = np.linalg.cholesky(correlation)
    over_places = csr_array(block_diag([smoothing_factor(p.distance, smoothness_mm) for p in patches]))
    n = len(correlation)
    noise, place = np.empty((*shape, n, over_places.shape[0])), np.empty((*shape, n), dtype=np.int64)
    for repetition, subject in np.ndindex(shape):
        rng = np.random.default_rng([noise_seed, 5, subject, repetition])
        place[repetition, subject] = rng.permutation(n)
        presented = over_time @ (over_places @ rng.standard_normal((n, over_places.shape[1])).T).T
        noise[repetition, subject] = presented[place[repetition, subject]]
    return noise, place


def load_simulated_cortex(
    *,
    n_subjects: int = 4,
    n_repetitions: int = 3,
    reliability: float = 0.3,
    noise_smoothness_mm: float = 6.0,
    noise_autocorrelation: float = 0.3,
    n_runs: int = 1,
    extent_mm: float = 48.0,
    seed: int = 0,
    noise_seed: int = 0,
) -> BrainData:
    """Load a simulated auditory cortex that answers to the demo set.

    Parameters
    ----------
    n_subjects, n_repetitions : int
        Subjects, of about 2,000 vertices each (800 of them auditory), and repetitions.
    reliability : float
        Median repeat reliability of the auditory vertices.
    noise_smoothness_mm, noise_autocorrelation, n_runs, extent_mm
        See :func:`simulate_cortex`.
    seed, noise_seed : int
        Of weights and noise levels, and of the noise.

    Returns
    -------
    BrainData
        ``simulated-cortex``, as :func:`simulate_cortex` makes it of the six components of
        :func:`~brainalign.brain.simulation.simulate_components`.

    Raises
    ------
    BrainError
        If a number is out of range.
    """
    return simulate_cortex(
        demo_truth().copy(deep=True),
        n_subjects=n_subjects,
        n_repetitions=n_repetitions,
        reliability=reliability,
        noise_smoothness_mm=noise_smoothness_mm,
        noise_autocorrelation=noise_autocorrelation,
        n_runs=n_runs,
        extent_mm=extent_mm,
        seed=seed,
        noise_seed=noise_seed,
    )
