"""The simulated brain: its truth is what it says, and its noise is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy.special import gammainc, ndtri
from scipy.stats import kstest, mannwhitneyu, spearmanr

from brainalign import load_brain
from brainalign.brain import BrainData
from brainalign.brain.decomposition import infer_profiles
from brainalign.brain.simulation import (
    COMPONENTS,
    SMOOTHNESS_MM,
    load_demo_components,
    load_demo_voxels,
    simulate_brain,
    simulate_components,
)
from brainalign.errors import BrainError
from brainalign.responses import Responses, average_repetitions, check_responses
from brainalign.stimuli import StimulusSet
from brainalign.stimuli.synthesis import load_demo


@pytest.fixture(scope="module")
def demo() -> StimulusSet:
    return load_demo()


@pytest.fixture(scope="module")
def truth(demo: StimulusSet) -> Responses:
    return simulate_components(demo)


@pytest.fixture(scope="module")
def brain(truth: Responses) -> BrainData:
    return simulate_brain(truth)


def auc(profile: xr.DataArray, high: list[str], low: list[str]) -> float:
    category = profile["category"].values
    first, second = profile.values[np.isin(category, high)], profile.values[np.isin(category, low)]
    return float(mannwhitneyu(first, second).statistic / (len(first) * len(second)))


def matched(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Correlate each column of the first with each of the second."""
    n = first.shape[1]
    return np.corrcoef(first.T, second.T)[:n, n:]


# The components


def test_components_have_one_maximum_and_name_their_category(truth: Responses, demo: StimulusSet) -> None:
    check_responses(truth)
    assert truth["unit"].values.tolist() == list(COMPONENTS)
    assert truth["stimulus"].values.tolist() == demo.ids
    assert truth["category"].values.tolist() == demo.table["category"].tolist()
    assert truth.max("stimulus").values == pytest.approx(np.ones(6))
    assert float(truth.min()) >= 0
    assert np.linalg.matrix_rank(truth.values) == 6


def test_frequency_components_follow_the_energy_of_the_sounds(truth: Responses, demo: StimulusSet) -> None:
    below, above = [], []
    for stimulus_id in demo.ids:
        wave, rate = demo.waveform(stimulus_id)
        power = np.abs(np.fft.rfft(wave.astype(float))) ** 2
        hertz = np.fft.rfftfreq(len(wave), 1 / rate)
        below.append(power[hertz < 400].sum() / power.sum())
        above.append(power[hertz > 2000].sum() / power.sum())
    assert spearmanr(truth.sel(unit="lowfreq"), below).statistic > 0.9
    assert spearmanr(truth.sel(unit="highfreq"), above).statistic > 0.9
    tones = truth.sel(stimulus=["tone01_low_tone", "tone02_middle_tone", "tone03_high_tone"])
    assert int(np.argmax(tones.sel(unit="lowfreq").values)) == 0
    assert int(np.argmax(tones.sel(unit="highfreq").values)) == 2


def test_pitch_and_texture_part_tones_from_noises(truth: Responses) -> None:
    assert auc(truth.sel(unit="pitch"), ["Tone", "Music", "Song"], ["Texture"]) > 0.95
    assert auc(truth.sel(unit="texture"), ["Texture"], ["Tone", "Music", "Song"]) > 0.95
    # Pitch is not music: tones and voices have it too.
    assert auc(truth.sel(unit="pitch"), ["Music", "Song"], ["Tone", "Speech"]) < 0.6


def test_speech_and_music_follow_the_category(truth: Responses) -> None:
    mean = truth.groupby("category").mean().to_pandas()
    assert 0.4 < mean.loc["Song", "speech"] / mean.loc["Speech", "speech"] < 0.6
    assert 0.7 < mean.loc["Song", "music"] / mean.loc["Music", "music"] < 1
    others = ["Animal", "Texture", "Mechanical", "Tone"]
    assert auc(truth.sel(unit="music"), ["Music", "Song"], [*others, "Speech"]) == 1
    assert auc(truth.sel(unit="speech"), ["Speech"], ["Song"]) == 1
    assert auc(truth.sel(unit="speech"), ["Song"], [*others, "Music"]) == 1
    # Graded inside the category, not a label.
    inside = truth.groupby("category").std().to_pandas()
    assert inside.loc["Speech", "speech"] > 0.02
    assert inside.loc["Music", "music"] > 0.02


def test_what_is_a_sounds_own_depends_on_the_seed_and_not_on_the_others(demo: StimulusSet, truth: Responses) -> None:
    again, other = simulate_components(demo), simulate_components(demo, seed=1)
    xr.testing.assert_identical(again, truth)
    acoustic = ["lowfreq", "highfreq", "texture", "pitch"]
    xr.testing.assert_identical(other.sel(unit=acoustic), truth.sel(unit=acoustic))
    assert not np.allclose(other.sel(unit="music"), truth.sel(unit="music"))
    backwards = simulate_components(demo.select(demo.ids[::-1]))
    np.testing.assert_allclose(backwards.sel(stimulus=demo.ids).values, truth.values, rtol=1e-12)


def test_set_without_the_categories_is_refused(demo: StimulusSet) -> None:
    with pytest.raises(BrainError, match=r"none of the categories Music, Song of music_levels; it has Tone"):
        simulate_components(demo.select(categories=["Tone"]), speech_levels={"Tone": 1.0})


# The voxels


def test_without_noise_voxels_are_components_times_weights(truth: Responses) -> None:
    brain = simulate_brain(truth, noise_sd=0)
    expected = truth.values @ brain.arrays["weights"].values
    for repetition in brain.responses.values:
        assert np.array_equal(repetition, expected)
    assert (brain.arrays["reliability"] == 1).all()
    estimated = infer_profiles(brain.responses, brain.arrays["weights"])
    np.testing.assert_allclose(estimated.isel(repetition=1), truth, atol=1e-12)


def test_units_are_described(brain: BrainData) -> None:
    units = brain.responses.coords.to_dataset()[["subject", "hemisphere", "x", "y"]].to_dataframe()
    assert units.groupby(["subject", "hemisphere"]).size().to_dict() == {
        (f"sub-0{s}", h): 60 for s in range(1, 5) for h in ("left", "right")
    }
    assert units["x"].between(0, 40).all()
    assert units["y"].between(0, 30).all()
    assert brain.responses.sizes == {"repetition": 3, "stimulus": 66, "unit": 480}
    for name in ("weights", "noise_sd", "reliability"):
        assert brain.arrays[name]["unit"].values.tolist() == brain.responses["unit"].values.tolist()


def test_noise_is_gaussian_and_independent(truth: Responses) -> None:
    brain = simulate_brain(truth, n_repetitions=4)
    signal = truth.values @ brain.arrays["weights"].values
    noise = (brain.responses.values - signal) / brain.arrays["noise_sd"].values
    assert kstest(noise.ravel(), "norm").pvalue > 0.001
    n = noise[0].size
    between = np.corrcoef(noise.reshape(4, n))[np.triu_indices(4, 1)]
    assert np.abs(between).max() < 4 / np.sqrt(n)
    subjects = noise.reshape(4, 66, 4, 120).transpose(2, 0, 1, 3).reshape(4, -1)
    assert np.abs(np.corrcoef(subjects)[np.triu_indices(4, 1)]).max() < 4 / np.sqrt(subjects.shape[1])


def test_reliability_is_the_closed_form(truth: Responses) -> None:
    """Correlate 60 repetitions of each voxel, and means of them with what is true."""
    brain = simulate_brain(truth, n_repetitions=60)
    expected = brain.arrays["reliability"].values
    values = brain.responses.values - brain.responses.values.mean(axis=1, keepdims=True)
    unit = values / np.linalg.norm(values, axis=1, keepdims=True)
    # The mean of all off-diagonal correlations, from the norm of the sum of unit vectors.
    found = (np.sum(unit.sum(axis=0) ** 2, axis=0) - 60) / (60 * 59)
    # Standard error over voxels, and the small-sample bias of r, at most 0.385 / (2 n_stimuli).
    assert abs((found - expected).mean()) < 4 * (found - expected).std() / np.sqrt(480) + 0.385 / 132
    assert np.corrcoef(found, expected)[0, 1] > 0.995
    assert 0.05 < np.quantile(expected, 0.1) < np.quantile(expected, 0.9) < 0.95

    # Spearman-Brown: the mean of k repetitions correlates with the truth as sqrt(k r / (1 + (k-1) r)).
    signal = truth.values @ brain.arrays["weights"].values
    for k in (1, 4):
        means = brain.responses.values.reshape(60 // k, k, 66, 480).mean(axis=1)
        r = [np.mean([np.corrcoef(m[:, v], signal[:, v])[0, 1] for m in means]) for v in range(0, 480, 8)]
        closed = np.sqrt(k * expected / (1 + (k - 1) * expected))[::8]
        assert np.mean(r) == pytest.approx(closed.mean(), abs=0.01)


def test_seeds_change_what_they_say(truth: Responses, brain: BrainData) -> None:
    again = simulate_brain(truth)
    xr.testing.assert_identical(again.responses, brain.responses)
    noisy = simulate_brain(truth, noise_seed=1)
    for name in brain.arrays:
        xr.testing.assert_identical(noisy.arrays[name], brain.arrays[name])
    assert not np.allclose(noisy.responses, brain.responses)
    signal = truth.values @ brain.arrays["weights"].values
    residuals = [(b.responses.values - signal).ravel() for b in (brain, noisy)]
    assert abs(np.corrcoef(residuals)[0, 1]) < 4 / np.sqrt(len(residuals[0]))
    elsewhere = simulate_brain(truth, seed=1)
    assert not np.allclose(elsewhere.arrays["weights"], brain.arrays["weights"])
    xr.testing.assert_identical(elsewhere.arrays["components"], brain.arrays["components"])


def test_more_subjects_and_repetitions_keep_the_first(truth: Responses, brain: BrainData) -> None:
    more = simulate_brain(truth, n_subjects=6, n_repetitions=5)
    first = more.responses.isel(repetition=slice(3), unit=slice(480))
    xr.testing.assert_allclose(first, brain.responses, rtol=1e-12)


def test_weights_are_sparse_smooth_and_shared(truth: Responses) -> None:
    """Gamma of shape 0.5 in their distribution; squared exponential in space; half shared by subjects."""
    few = truth.isel(stimulus=slice(3))
    moments, apart, other_head = [], [], []
    for seed in range(40):
        brain = simulate_brain(few, n_subjects=2, n_repetitions=1, seed=seed)
        weights, units = brain.arrays["weights"].values, brain.responses
        assert (weights >= 0).all()
        moments.append([weights.mean(), (weights < 0.1).mean()])
        field = ndtri(gammainc(0.5, weights))
        place = np.column_stack([units["x"].values, units["y"].values])
        squared = ((place[:, None] - place) ** 2).sum(axis=2)
        product = field.T @ field / len(field)
        upper = np.triu(np.ones_like(squared, dtype=bool), 1)
        near = upper & (squared < 36) & (units["hemisphere"].values[:, None] == units["hemisphere"].values)
        same = units["subject"].values[:, None] == units["subject"].values
        excess = product - np.where(same, 1, 0.5) * np.exp(-squared / (2 * SMOOTHNESS_MM**2))
        apart.append(excess[near & same].mean())
        other_head.append(excess[near & ~same].mean())
    standard_error = np.std(moments, axis=0) / np.sqrt(40)
    assert (np.abs(np.mean(moments, axis=0) - [0.5, gammainc(0.5, 0.1)]) < 4 * standard_error).all()
    for excess in (apart, other_head):
        assert abs(np.mean(excess)) < 4 * np.std(excess) / np.sqrt(40)
        assert np.std(excess) / np.sqrt(40) < 0.05


# The way back to the components


def test_components_are_recovered(truth: Responses, brain: BrainData) -> None:
    estimated = infer_profiles(brain.responses, brain.arrays["weights"])
    assert estimated["unit"].values.tolist() == list(COMPONENTS)
    for repetition in estimated.values:
        assert np.diag(matched(truth.values, repetition)).min() > 0.9
    averaged = np.diag(matched(truth.values, average_repetitions(estimated).values))
    single = np.mean([np.diag(matched(truth.values, r)) for r in estimated.values], axis=0)
    assert (averaged > single).all()


def test_error_of_the_estimate_is_that_of_least_squares(truth: Responses) -> None:
    """The covariance of the estimate is pinv(W)' diag(noise variance) pinv(W)."""
    brain = simulate_brain(truth, n_subjects=2, n_repetitions=40)
    error = (infer_profiles(brain.responses, brain.arrays["weights"]).values - truth.values).reshape(-1, 6)
    inverse = np.linalg.pinv(brain.arrays["weights"].values)
    expected = inverse.T @ np.diag(brain.arrays["noise_sd"].values ** 2) @ inverse
    assert np.cov(error.T) == pytest.approx(expected, abs=0.1 * np.diag(expected).max())
    assert np.abs(error.mean(axis=0)).max() < 4 * np.sqrt(np.diag(expected).max() / len(error))


def test_permuted_weights_recover_nothing(truth: Responses, brain: BrainData) -> None:
    rng, weights = np.random.default_rng(0), brain.arrays["weights"]
    averaged = average_repetitions(brain.responses)
    advantage = []
    for _ in range(100):
        permuted = weights.copy(data=weights.values[:, rng.permutation(weights.sizes["unit"])])
        r = matched(truth.values, infer_profiles(averaged, permuted).values)
        advantage.append(np.diag(r).mean() - r[~np.eye(6, dtype=bool)].mean())
    assert abs(np.mean(advantage)) < 4 * np.std(advantage) / 10
    right = matched(truth.values, infer_profiles(averaged, weights).values)
    assert np.diag(right).mean() - right[~np.eye(6, dtype=bool)].mean() > 0.8


def test_units_are_matched_by_id(brain: BrainData) -> None:
    shuffled = brain.responses.isel(unit=np.random.default_rng(0).permutation(480))
    expected = infer_profiles(brain.responses, brain.arrays["weights"])
    xr.testing.assert_allclose(infer_profiles(shuffled, brain.arrays["weights"]), expected)
    with pytest.raises(BrainError, match="no weights for the units sub-01_voxel-001"):
        infer_profiles(brain.responses, brain.arrays["weights"].isel(unit=slice(1, None)))
    few = brain.arrays["weights"].isel(unit=slice(5))
    with pytest.raises(BrainError, match="rank 5 do not determine 6"):
        infer_profiles(brain.responses.isel(unit=slice(5)), few)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_subjects": 0}, "n_subjects must be at least 1, found 0"),
        ({"n_voxels": 0}, "n_voxels must be at least 1"),
        ({"n_repetitions": 0}, "n_repetitions must be at least 1"),
        ({"noise_sd": -1.0}, "noise_sd must be finite and not negative, found -1"),
        ({"noise_sd": float("nan")}, "noise_sd must be finite"),
    ],
)
def test_numbers_out_of_range_are_refused(truth: Responses, options: dict[str, float], message: str) -> None:
    with pytest.raises(BrainError, match=message):
        simulate_brain(truth, **options)


def test_components_with_repetitions_are_refused(truth: Responses) -> None:
    with pytest.raises(BrainError, match=r"must have dims \('stimulus', 'unit'\)"):
        simulate_brain(truth.expand_dims(repetition=2))


# What the registry offers


def test_demo_voxels(truth: Responses) -> None:
    brain = load_brain("demo-voxels")
    assert brain.name == "demo-voxels"
    check_responses(brain.responses)
    xr.testing.assert_identical(brain.responses, load_demo_voxels().responses)
    assert brain.responses["category"].values.tolist() == truth["category"].values.tolist()
    np.testing.assert_array_equal(brain.arrays["components"].values, truth.values)


def test_demo_components(truth: Responses) -> None:
    brain = load_brain("demo-components")
    assert brain.responses.dims == ("repetition", "stimulus", "unit")
    assert brain.responses["unit"].values.tolist() == list(COMPONENTS)
    check_responses(brain.responses)
    xr.testing.assert_identical(brain.responses, load_demo_components().responses)
    xr.testing.assert_equal(brain.arrays["truth"], truth)
    table = average_repetitions(brain.responses).to_pandas()
    top = table["music"].sort_values(ascending=False).index[:22]
    assert pd.Series(truth["category"], index=truth["stimulus"].values)[top].isin(["Music", "Song"]).all()


def test_demo_cannot_be_changed_by_a_caller() -> None:
    before = load_demo_components().arrays["truth"].values.copy()
    load_demo_voxels().arrays["components"].values[:] = 0
    np.testing.assert_array_equal(load_demo_components().arrays["truth"].values, before)


def test_regions_surround_the_middle_of_the_patch():
    units = load_demo_voxels().responses
    x, y, region = (units[c].values for c in ("x", "y", "region"))
    distance = np.hypot(x - 20, y - 15)
    assert set(region) == {"primary", "anterior", "lateral", "posterior"}
    np.testing.assert_array_equal(region == "primary", distance < 9)
    assert x[region == "anterior"].min() > 20
    assert y[region == "posterior"].max() < 15 < y[region == "lateral"].min()
