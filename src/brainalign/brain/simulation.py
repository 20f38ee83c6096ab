"""A simulated brain, whose truth is known: six components, voxels that mix them, and noise.

The components stand for those that Norman-Haignere, Kanwisher and McDermott (2015, Neuron) found in
human auditory cortex: low frequencies, high frequencies, a texture-like one, pitch, speech, music.
Nothing here was fitted to a brain; the simulation is there to try an analysis where the right
answer is known.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.special import gammaincinv, ndtr

from brainalign.brain.data import BrainData
from brainalign.brain.decomposition import infer_profiles
from brainalign.errors import BrainError, name_some
from brainalign.responses import Responses, make_responses
from brainalign.stimuli._acoustics import acoustic_features
from brainalign.stimuli.sets import StimulusSet
from brainalign.stimuli.synthesis import load_demo

Array = NDArray[np.float64]

PATCH_MM = (40.0, 30.0)
SMOOTHNESS_MM = 4.0
COMPONENTS = ("lowfreq", "highfreq", "texture", "pitch", "speech", "music")
SPEECH_LEVELS = {"Speech": 1.0, "Song": 0.5}
MUSIC_LEVELS = {"Music": 1.0, "Song": 0.85}
VERSION = "1"
CITATION = "brainalign simulated brain (no measured data)"
LICENCE = "CC0-1.0"


def simulate_components(
    stimuli: StimulusSet,
    *,
    speech_levels: Mapping[str, float] = SPEECH_LEVELS,
    music_levels: Mapping[str, float] = MUSIC_LEVELS,
    seed: int = 0,
) -> Responses:
    """Simulate the responses of six components to the sounds of a set.

    ``lowfreq``, ``highfreq``, ``pitch`` and ``texture`` (flatness and change in equal parts) follow from
    :func:`~brainalign.stimuli._acoustics.acoustic_features`, brought to the range 0.2 to 1 over the set. ``speech`` and
    ``music`` follow from the category: a sound's level times 0.75 to 1, half of which variation is
    acoustic (syllables, pitch) and half its own, plus 0.1 times the acoustic feature. Categories
    without a level get one between 0 and 0.15, sound by sound. Levels of song are about those of the
    published components (half of speech, a little below music).

    Parameters
    ----------
    stimuli : StimulusSet
        The sounds.
    speech_levels, music_levels : mapping of str to float
        Level of the categories that drive ``speech`` and ``music``.
    seed : int
        Of what is a sound's own; it depends on the stimulus id and not on the other sounds.

    Returns
    -------
    Responses
        Dims ``(stimulus, unit)``, units named after the components, each with maximum 1;
        ``category`` along ``stimulus``.

    Raises
    ------
    BrainError
        If the set has none of the categories of `speech_levels` or of `music_levels`, or if a feature
        is the same for all sounds.
    """
    for name, levels in (("speech_levels", speech_levels), ("music_levels", music_levels)):
        if not set(levels) & set(stimuli.categories):
            raise BrainError(
                f"{stimuli.name} has none of the categories {name_some(levels)} of {name}; "
                f"it has {name_some(stimuli.categories, 20)}"
            )
    measured = [acoustic_features(*stimuli.waveform(i)) for i in stimuli.ids]
    features = {name: _unit_range(name, [m[name] for m in measured]) for name in measured[0]}
    features["texture"] = _unit_range("texture", features["flatness"] + features["change"])
    profiles = {c: 0.2 + 0.8 * features[c] for c in ("lowfreq", "highfreq", "texture", "pitch")}
    own = np.array([_own_draws(i, seed) for i in stimuli.ids])
    for i, (component, acoustic, levels) in enumerate(
        [("speech", "syllables", speech_levels), ("music", "pitch", music_levels)]
    ):
        spill = 0.15 * own[:, 2 * i]
        level = [levels.get(c, s) for c, s in zip(stimuli.table["category"], spill, strict=True)]
        graded = 0.75 + 0.125 * (features[acoustic] + own[:, 2 * i + 1])
        raw = np.array(level) * graded + 0.1 * features[acoustic]
        profiles[component] = raw / raw.max()
    return make_responses(
        np.column_stack([profiles[c] for c in COMPONENTS]),
        stimuli.ids,
        COMPONENTS,
        stimulus_info=stimuli.table[["category"]],
        attrs={"source": f"simulated components of {stimuli.name}"},
    )


def _unit_range(name: str, values: list[float] | Array) -> Array:
    """Bring values to the range 0 to 1."""
    array = np.asarray(values)
    if np.ptp(array) == 0:
        raise BrainError(f"the feature {name} is the same for all {len(array)} sounds: nothing to simulate")
    scaled: Array = (array - array.min()) / np.ptp(array)
    return scaled


def _own_draws(stimulus_id: str, seed: int) -> Array:
    """Return four uniform draws that belong to a stimulus, whichever others there are."""
    key = int.from_bytes(hashlib.sha256(stimulus_id.encode()).digest()[:8], "big")
    return np.random.default_rng([seed, key]).uniform(size=4)


def simulate_brain(
    truth: Responses,
    *,
    n_subjects: int = 4,
    n_voxels: int = 120,
    n_repetitions: int = 3,
    noise_sd: float = 0.5,
    seed: int = 0,
    noise_seed: int = 0,
    name: str = "simulated-voxels",
) -> BrainData:
    """Simulate voxels that mix components linearly, measured several times with noise.

    Responses are ``components @ weights + noise``. Voxels lie at random on a patch of 40 x 30 mm in
    each hemisphere. The weights of a component over a patch are a smooth Gaussian field (squared
    exponential covariance, 4 mm; half of the variance is common to all subjects) whose values are
    mapped to a gamma distribution of shape 0.5 and scale 1: most weights are near 0, a few are
    large, and none is negative. Noise is Gaussian and independent over voxels, stimuli and repetitions.

    Parameters
    ----------
    truth : Responses, dims (stimulus, unit)
        The components, as :func:`simulate_components` gives them.
    n_subjects : int
        Number of subjects.
    n_voxels : int
        Voxels of each subject; the odd one goes to the left hemisphere.
    n_repetitions : int
        How often each stimulus is measured.
    noise_sd : float
        Standard deviation of the noise of one repetition, in units of the components' responses; that of
        a voxel is 0.7 to 1.3 times this.
    seed : int
        Of positions, weights and noise levels.
    noise_seed : int
        Of the noise alone. A repetition of a subject keeps its noise when subjects or repetitions are added.
    name : str
        Name of the data.

    Returns
    -------
    BrainData
        Responses ``(repetition, stimulus, unit)``; along ``unit`` ``subject``, ``hemisphere``, ``x`` and ``y`` (mm; x
        from posterior to anterior, y to the side) and ``region`` (the middle of the patch is called primary, what lies
        around it anterior, lateral and posterior; weights do not depend on it). Its arrays are the truth:
        ``components`` (stimulus, component), ``weights`` (component, unit), ``noise_sd`` (unit) and ``reliability``
        (unit), the correlation that two repetitions are expected to have, s^2 / (s^2 + noise_sd^2) with s^2 the
        variance of the voxel's noiseless response over stimuli.

    Raises
    ------
    BrainError
        If a number is out of range or `truth` has repetitions.
    """
    counts = {"n_subjects": n_subjects, "n_voxels": n_voxels, "n_repetitions": n_repetitions}
    for what, count in counts.items():
        if count < 1:
            raise BrainError(f"{what} must be at least 1, found {count}")
    if not (np.isfinite(noise_sd) and noise_sd >= 0):
        raise BrainError(f"noise_sd must be finite and not negative, found {noise_sd}")
    if truth.dims != ("stimulus", "unit"):
        raise BrainError(f"the true components must have dims ('stimulus', 'unit'), found {truth.dims}")

    subjects = range(n_subjects)
    heads = [_simulate_head(subject, n_voxels, truth.sizes["unit"], seed) for subject in subjects]
    ids, places, loadings, levels = zip(*heads, strict=True)
    units = [unit for head in ids for unit in head]
    info = {key: np.concatenate([place[key] for place in places]) for key in places[0]}
    weights, spread = np.concatenate(loadings, axis=1), noise_sd * np.concatenate(levels)
    signal = truth.values @ weights
    shape = (len(signal), n_voxels)
    noise = [
        np.concatenate([_noise(subject, repetition, shape, noise_seed) for subject in subjects], axis=1)
        for repetition in range(n_repetitions)
    ]
    responses = make_responses(
        signal + spread * np.stack(noise),
        truth["stimulus"].values.tolist(),
        units,
        stimulus_info=_stimulus_info(truth),
        unit_info=info,
        attrs={"source": name},
    )
    variance = signal.var(axis=0, ddof=1)
    components = truth.rename(unit="component")
    arrays = {
        "components": components,
        "weights": xr.DataArray(
            weights, {"component": components["component"].values, "unit": units}, ("component", "unit")
        ),
        "noise_sd": xr.DataArray(spread, {"unit": units}),
        "reliability": xr.DataArray(variance / (variance + spread**2), {"unit": units}),
    }
    return BrainData(name, responses, VERSION, CITATION, LICENCE, arrays)


def _stimulus_info(responses: Responses) -> dict[str, NDArray[np.generic]]:
    return {
        str(c): responses[c].values for c in responses.coords if responses[c].dims == ("stimulus",) and c != "stimulus"
    }


def _noise(subject: int, repetition: int, shape: tuple[int, int], noise_seed: int) -> Array:
    return np.random.default_rng([noise_seed, 3, subject, repetition]).standard_normal(shape)


def _simulate_head(
    subject: int, n_voxels: int, n_components: int, seed: int
) -> tuple[list[str], dict[str, NDArray[np.generic]], Array, Array]:
    """Return unit ids, unit coordinates, weights (component, unit) and relative noise of one subject."""
    # Components of all subjects share the group's fields; each subject has fields of its own besides.
    group, own = np.random.default_rng([seed, 1]), np.random.default_rng([seed, 2, subject])
    position = own.uniform(size=(n_voxels, 2)) * PATCH_MM
    left = np.arange(n_voxels) < (n_voxels + 1) // 2
    weights = np.empty((n_components, n_voxels))
    for component in range(n_components):
        for here in (left, ~left):
            shared, private = _smooth_field(position, group), _smooth_field(position, own)
            field = np.sqrt(0.5) * (shared + private)
            weights[component, here] = gammaincinv(0.5, ndtr(field))[here]
    info = {
        "subject": np.full(n_voxels, f"sub-{subject + 1:02d}"),
        "hemisphere": np.where(left, "left", "right"),
        "x": position[:, 0],
        "y": position[:, 1],
        "region": _region(position),
    }
    units = [f"sub-{subject + 1:02d}_voxel-{v + 1:03d}" for v in range(n_voxels)]
    return units, info, weights, own.uniform(0.7, 1.3, n_voxels)


def _region(position: Array) -> NDArray[np.str_]:
    """Name the part of the patch: primary within 9 mm of its middle, around it sectors of 120 degrees."""
    x, y = (position - np.asarray(PATCH_MM) / 2).T
    degrees = np.degrees(np.arctan2(y, x))
    sector = np.select([np.abs(degrees) < 60, degrees >= 60], ["anterior", "lateral"], "posterior")
    return np.where(np.hypot(x, y) < 9, "primary", sector)


def _smooth_field(position: Array, rng: np.random.Generator) -> Array:
    """Evaluate a random smooth function of mean 0 and variance 1 at positions (mm).

    A sum of 200 random plane waves approximates a Gaussian process with squared exponential
    covariance (random Fourier features, Rahimi & Recht 2007).
    """
    waves = rng.standard_normal((2, 200)) / SMOOTHNESS_MM
    phases = rng.uniform(0, 2 * np.pi, 200)
    field: Array = np.cos(position @ waves + phases).sum(axis=1) * np.sqrt(2 / 200)
    return field


@cache
def demo_truth() -> Responses:
    """Return the components that answer to the demo set: one array for all callers, so copy it before a change."""
    return simulate_components(load_demo())


def load_demo_voxels() -> BrainData:
    """Load simulated voxels that answer to the demo set: 4 subjects, 120 voxels each, 3 repetitions.

    Returns
    -------
    BrainData
        ``demo-voxels``, as :func:`simulate_brain` makes it by default.
    """
    return simulate_brain(demo_truth().copy(deep=True), name="demo-voxels")


def load_demo_components() -> BrainData:
    """Load the six components that are estimated from the voxels of the demo, in 3 repetitions.

    Returns
    -------
    BrainData
        ``demo-components``: ``(repetition, stimulus, unit)``, units named after the components;
        ``arrays["truth"]`` (stimulus, unit) holds what was simulated.
    """
    voxels = load_demo_voxels()
    estimated = infer_profiles(voxels.responses, voxels.arrays["weights"])
    truth = voxels.arrays["components"].rename(component="unit")
    return BrainData("demo-components", estimated, VERSION, CITATION, LICENCE, {"truth": truth})
