"""The simulated cortex against closed forms: distances on known surfaces, weights, noise and reliability."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from scipy.ndimage import gaussian_filter1d
from scipy.sparse.csgraph import dijkstra
from scipy.stats import kstest

from brainalign.brain import BrainData, load_brain
from brainalign.brain.cortex import FADE_MM, PATCH_SD_MM, VARIATION, load_simulated_cortex, simulate_cortex
from brainalign.brain.cortex_maps import AUDITORY_MM, CENTRES, LANDMARKS, auditory_patch, mesh_graph
from brainalign.brain.cortex_noise import FWHM_PER_SD, presentation_correlation, smoothing_factor, visible_variance
from brainalign.brain.decomposition import infer_profiles
from brainalign.brain.geometry import fsaverage5_mesh, surface_maps
from brainalign.brain.reliability import unit_reliability
from brainalign.brain.simulation import COMPONENTS, demo_truth
from brainalign.errors import BrainError
from brainalign.responses import Responses, average_repetitions, load_responses, make_responses, save_responses

HEMISPHERES = ("left", "right")


def components(n_stimuli: int, names: tuple[str, ...] = COMPONENTS) -> Responses:
    values = np.random.default_rng(1).uniform(size=(n_stimuli, len(names)))
    return make_responses(values, [f"s{i:03d}" for i in range(n_stimuli)], names)


@pytest.fixture(scope="module")
def truth() -> Responses:
    return components(60)


@pytest.fixture(scope="module")
def cortex(truth: Responses) -> BrainData:
    return simulate_cortex(truth, n_subjects=2, n_repetitions=2, extent_mm=30)


# Distances and places


def test_paths_on_equilateral_triangles_are_as_long_as_twelve_directions_allow() -> None:
    n = 25
    row, column = np.divmod(np.arange(n * n), n)
    flat = np.column_stack([column + row / 2, row * np.sqrt(3) / 2, np.zeros(n * n)])
    corner = np.arange(n * n).reshape(n, n)
    lower = np.stack([corner[:-1, :-1], corner[:-1, 1:], corner[1:, :-1]], axis=-1).reshape(-1, 3)
    upper = np.stack([corner[:-1, 1:], corner[1:, 1:], corner[1:, :-1]], axis=-1).reshape(-1, 3)
    graph = mesh_graph(flat, np.concatenate([lower, upper]))
    middle = corner[12, 12]
    found = dijkstra(graph, indices=middle)
    straight = np.linalg.norm(flat - flat[middle], axis=1)
    # A hexagon around the middle, whose paths do not touch the border.
    near = (straight > 0) & (straight < 9)
    ratio = found[near] / straight[near]
    angle = np.degrees(np.arctan2(*(flat[near] - flat[middle]).T[[1, 0]])) % 30
    off = np.minimum(angle, 30 - angle)
    np.testing.assert_allclose(ratio[off < 1e-6], 1, rtol=1e-12)
    # A way between two directions 30 degrees apart: the sum of its two legs, by the law of sines.
    expected = (np.sin(np.radians(30 - off)) + np.sin(np.radians(off))) / np.sin(np.radians(30))
    np.testing.assert_allclose(ratio, expected, rtol=1e-12)
    assert ratio.max() <= 1 / np.cos(np.radians(15)) + 1e-12


def test_paths_on_the_sphere_are_great_circles() -> None:
    vertices, faces = fsaverage5_mesh("sphere")["left"]
    start = np.arange(0, len(vertices), 1000)
    found = dijkstra(mesh_graph(vertices, faces), indices=start)
    unit = vertices / np.linalg.norm(vertices, axis=1, keepdims=True)
    circle = 100 * np.arccos(np.clip(unit[start] @ unit.T, -1, 1))
    ratio = (found / np.where(circle > 10, circle, np.nan))[circle > 10]
    # Chords are a little shorter than the arc, paths along edges a little longer.
    assert ratio.min() > 0.999
    assert ratio.mean() < 1.02
    assert ratio.max() < 1.06


@pytest.mark.parametrize("hemisphere", HEMISPHERES)
def test_the_patch_lies_around_heschls_gyrus(hemisphere: str) -> None:
    patch = auditory_patch(hemisphere)
    assert 900 < len(patch.vertex) < 1100
    white, pial = (fsaverage5_mesh(s)[hemisphere][0] for s in ("white", "pial"))
    np.testing.assert_array_equal(patch.position, (white + pial)[patch.vertex] / 2)
    assert (np.sign(patch.position[:, 0]) == (-1 if hemisphere == "left" else 1)).all()
    middle = {
        r: patch.position[patch.region == r].mean(axis=0) * [-1 if hemisphere == "left" else 1, 1, 1] for r in LANDMARKS
    }
    assert middle["anterior"][1] > middle["primary"][1] > middle["posterior"][1]
    assert middle["lateral"][0] > middle["primary"][0] + 10
    # No landmark fell on another bank of a fold: as far along the surface as this part of the brain is large.
    for name, place in LANDMARKS.items():
        assert patch.distance_to([place])[patch.distance_to([LANDMARKS["primary"]]).argmin()] < 30, name
    for name, places in CENTRES.items():
        for place in places:
            assert patch.region[patch.distance_to([place]).argmin()] != "surround", name


# The factors of the noise


def test_a_smoothing_factor_is_the_gaussian_filter_with_its_variance_kept() -> None:
    distance = 2.0 * np.abs(np.subtract.outer(np.arange(41), np.arange(41)))
    factor = smoothing_factor(distance, 7.0)
    np.testing.assert_allclose(np.linalg.norm(factor, axis=1), 1, rtol=1e-12)
    sd = 7.0 / FWHM_PER_SD
    kernel = gaussian_filter1d(np.eye(41)[20], sd / 2.0, radius=int(4 * sd / 2.0), mode="constant")
    np.testing.assert_allclose(factor[20], kernel / np.linalg.norm(kernel), atol=1e-12)
    closed = np.exp(-(distance[20] ** 2) / (4 * sd**2))
    np.testing.assert_allclose((factor @ factor.T)[20], closed, atol=1e-3)
    assert np.exp(-((7.0 / 2) ** 2) / (2 * sd**2)) == pytest.approx(0.5)
    np.testing.assert_array_equal(smoothing_factor(distance, 0), np.eye(41))


def test_correlation_of_presentations_is_that_of_the_process() -> None:
    """Against the process itself: an AR(1) recursion and an offset in each run."""
    rng, lengths, phi, share = np.random.default_rng(0), (5, 4), 0.6, 0.3
    runs = []
    for length in lengths:
        e = np.empty((length, 100_000))
        e[0] = rng.standard_normal(e.shape[1])
        for t in range(1, length):
            e[t] = phi * e[t - 1] + np.sqrt(1 - phi**2) * rng.standard_normal(e.shape[1])
        runs.append(np.sqrt(1 - share) * e + np.sqrt(share) * rng.standard_normal(e.shape[1]))
    noise = np.concatenate(runs)
    expected = presentation_correlation(lengths, phi, share)
    np.testing.assert_allclose(np.cov(noise), expected, atol=5 * np.sqrt(2 / 100_000))
    assert noise.var(axis=0, ddof=1).mean() == pytest.approx(visible_variance(expected), rel=0.01)
    assert visible_variance(np.eye(9)) == pytest.approx(1)


# The simulation


def test_without_noise_vertices_are_components_times_weights(truth: Responses) -> None:
    brain = simulate_cortex(truth, n_subjects=2, n_repetitions=2, reliability=None, noise_sd=0, extent_mm=30)
    expected = truth.values @ brain.arrays["weights"].values
    for repetition in brain.responses.values:
        np.testing.assert_allclose(repetition, expected, rtol=1e-12, atol=1e-14)
    assert (brain.arrays["reliability"] == 1).all()
    estimated = infer_profiles(brain.responses, brain.arrays["weights"])
    np.testing.assert_allclose(estimated.isel(repetition=1), truth, atol=1e-10)


def test_units_are_vertices(cortex: BrainData, tmp_path: Path) -> None:
    units = cortex.responses
    one = units.sel(unit=units["subject"] == "sub-02")
    assert one["unit"].values[0] == f"sub-02_L_v{int(one['vertex'][0]):05d}"
    for hemisphere in HEMISPHERES:
        patch, here = auditory_patch(hemisphere, 30.0), one["hemisphere"].values == hemisphere
        np.testing.assert_array_equal(one["vertex"].values[here], patch.vertex)
        np.testing.assert_array_equal(np.column_stack([one[c].values[here] for c in "xyz"]), patch.position)
        np.testing.assert_array_equal(one["region"].values[here], patch.region)
    weights = cortex.arrays["weights"].sel(component="music", unit=one["unit"]).values
    save_responses(one, tmp_path / "one.nc")
    maps = surface_maps(load_responses(tmp_path / "one.nc"), weights)
    assert maps["left"].shape == (10242,)
    left = auditory_patch("left", 30.0).vertex
    np.testing.assert_array_equal(maps["left"][left], weights[: len(left)])
    assert np.isnan(np.delete(maps["left"], left)).all()


def test_weights_are_patches_plus_a_field_that_subjects_share_in_part() -> None:
    few, seeds = components(3, ("music", "speech")), 60
    brains = [
        simulate_cortex(few, n_subjects=2, n_repetitions=1, extent_mm=30, individual_share=0.3, seed=s)
        for s in range(seeds)
    ]
    weights = np.stack([b.arrays["weights"].values.reshape(2, 2, -1) for b in brains])
    patches = [auditory_patch(h, 30.0) for h in HEMISPHERES]
    bumps = np.concatenate(
        [
            [np.exp(-(p.distance_to(CENTRES[c]) ** 2) / (2 * PATCH_SD_MM**2)) for c in ("music", "speech")]
            for p in patches
        ],
        axis=1,
    )
    fade = np.concatenate(
        [np.exp(-(np.maximum(p.to_landmark - AUDITORY_MM, 0) ** 2) / (2 * FADE_MM**2)) for p in patches]
    )
    field = (weights / fade - bumps[:, None]) / VARIATION
    assert np.abs(field.mean(axis=(0, 1, 2))).max() < 5 * np.sqrt(1 / (2 * seeds))
    assert (field**2).mean() == pytest.approx(1, abs=0.03)
    shared = (field[:, :, 0] * field[:, :, 1]).mean(axis=(1, 2))
    assert abs(shared.mean() - 0.7) < 4 * shared.std() / np.sqrt(seeds)
    assert shared.std() / np.sqrt(seeds) < 0.02
    across = (field[:, 0] * field[:, 1]).mean(axis=(1, 2))
    assert abs(across.mean()) < 4 * across.std() / np.sqrt(seeds)


def test_components_have_their_places() -> None:
    brain = simulate_cortex(components(10), n_subjects=4, n_repetitions=1)
    mean = (
        brain.arrays["weights"]
        .groupby(xr.DataArray(brain.responses["region"].values, dims="unit", name="region"))
        .mean()
    )
    table = mean.to_pandas()
    assert table.loc[["lowfreq", "highfreq", "texture"]].idxmax(axis=1).tolist() == ["primary"] * 3
    assert table.loc["speech"].idxmax() == "lateral"
    assert table.loc["music", ["anterior", "posterior"]].min() > 2 * table.loc["music", ["primary", "lateral"]].max()
    assert table["surround"].abs().max() < 0.05


def test_unknown_components_get_a_place_of_their_own() -> None:
    few = components(5, ("texture", "envsounds", "music"))
    seeds = [simulate_cortex(few, n_subjects=4, n_repetitions=1, extent_mm=30, seed=s) for s in range(5)]
    # The published component of environmental sounds is the one that is called texture here.
    r = np.corrcoef(np.mean([b.arrays["weights"].values for b in seeds], axis=0))
    assert r[0, 1] > 0.85 > 0 > r[0, 2]
    peaks = set()
    for seed in range(4):
        brain = simulate_cortex(components(5, ("one", "two")), n_subjects=20, n_repetitions=1, extent_mm=30, seed=seed)
        mean = brain.arrays["weights"].values.reshape(2, 20, -1).mean(axis=1)
        region = brain.responses["region"].values[: mean.shape[1]]
        assert (region[mean.argmax(axis=1)] != "surround").all()
        peaks |= set(mean.argmax(axis=1).tolist())
    assert len(peaks) > 4


def standard_noise(brain: BrainData) -> np.ndarray:
    """Return noise of variance 1 in the order of presentation, (repetition, subject, presentation, vertex)."""
    signal = brain.arrays["components"].values @ brain.arrays["weights"].values
    noise = (brain.responses.values - signal) / brain.arrays["noise_sd"].values
    place = brain.arrays["presentation"].values
    noise = noise.reshape(*noise.shape[:2], place.shape[1], -1).swapaxes(1, 2)
    return np.take_along_axis(noise, np.argsort(place, axis=2)[..., None], axis=2)


def test_noise_has_the_correlations_that_were_asked_for(truth: Responses) -> None:
    options = {"noise_smoothness_mm": 8.0, "noise_autocorrelation": 0.5, "n_runs": 4, "run_share": 0.2}
    brain = simulate_cortex(truth, n_subjects=2, n_repetitions=40, extent_mm=30, **options)
    noise = standard_noise(brain)
    order = np.sort(brain.arrays["presentation"].values, axis=2)
    assert (order == np.arange(60)).all()
    sessions = noise.reshape(80, 60, -1)
    assert kstest(sessions[:, 0, ::200].ravel(), "norm").pvalue > 0.001

    def close(estimates: np.ndarray, expected: np.ndarray | float, resolution: float) -> None:
        error = (estimates - expected).mean(axis=0)
        standard_error = (estimates - expected).std(axis=0) / np.sqrt(len(estimates))
        assert (np.abs(error) < 5 * standard_error).all()
        assert standard_error.max() < resolution

    close((sessions**2).mean(axis=(1, 2)), 1.0, 0.02)
    over_time = presentation_correlation([15] * 4, 0.5, 0.2)
    lags = [(0, 1), (0, 5), (3, 14), (14, 15), (0, 59)]
    products = np.stack([(sessions[:, i] * sessions[:, j]).mean(axis=1) for i, j in lags], axis=1)
    close(products, np.array([over_time[i, j] for i, j in lags]), 0.05)

    left = auditory_patch("left", 30.0)
    n = len(left.vertex)
    factor = smoothing_factor(left.distance, 8.0)
    within = np.einsum("spi,spj->sij", sessions[:, ::5, :n], sessions[:, ::5, :n]) / 12
    exact = factor @ factor.T
    for low, high in ((0.1, 4), (4, 8), (8, 12), (12, 60)):
        pairs = (left.distance > low) & (left.distance <= high)
        close(within[:, pairs].mean(axis=1), exact[pairs].mean(), 0.02)
    # On an even sheet it would be exp(-d^2 / (4 sd^2)); the mesh is not quite even.
    closed = np.exp(-(left.distance**2) / (4 * (8.0 / FWHM_PER_SD) ** 2))
    inner = left.distance_to([LANDMARKS["primary"]]) < 20
    assert np.abs(exact - closed)[np.ix_(inner, inner)].mean() < 0.02
    # Independent between hemispheres, subjects and repetitions.
    close((sessions[:, :, :n].mean(axis=2) * sessions[:, :, n:].mean(axis=2)).mean(axis=1), 0.0, 0.01)
    close((noise[:, 0] * noise[:, 1]).mean(axis=(1, 2)), 0.0, 0.01)
    close((noise[:-1] * noise[1:]).mean(axis=(1, 2, 3)), 0.0, 0.01)


def test_reliability_is_the_closed_form(truth: Responses) -> None:
    """The covariance of repetitions over their variance, over 60 repetitions; and the mean of their correlations."""
    brain = simulate_cortex(
        truth,
        n_subjects=1,
        n_repetitions=60,
        reliability=0.4,
        noise_smoothness_mm=0,
        noise_autocorrelation=0.8,
        n_runs=3,
        run_share=0.3,
    )
    expected, noise_sd = brain.arrays["reliability"].values, brain.arrays["noise_sd"].values
    values = brain.responses.values - brain.responses.values.mean(axis=1, keepdims=True)
    variance = (values**2).sum(axis=1).mean(axis=0)
    covariance = ((values.sum(axis=0) ** 2).sum(axis=0) - (values**2).sum(axis=(0, 1))) / (60 * 59)
    found = covariance / variance
    auditory = brain.responses["region"].values != "surround"
    error = (found - expected)[auditory]
    tolerance = 4 * error.std() / np.sqrt(auditory.sum())
    assert abs(error.mean()) < tolerance < 0.005
    # What noise of the same size would give if it were white: clearly less.
    signal = (truth.values @ brain.arrays["weights"].values).var(axis=0, ddof=1)
    white = signal / (signal + noise_sd**2)
    assert (expected - white)[auditory].mean() > 5 * tolerance

    unit = values / np.linalg.norm(values, axis=1, keepdims=True)
    r = (np.sum(unit.sum(axis=0) ** 2, axis=0) - 60) / (60 * 59)
    assert r[auditory].mean() == pytest.approx(expected[auditory].mean(), abs=0.02)
    assert np.corrcoef(r, expected)[0, 1] > 0.99


@pytest.mark.parametrize("reliability", [0.1, 0.3, 0.8])
def test_the_median_reliability_is_the_one_that_was_asked_for(truth: Responses, reliability: float) -> None:
    brain = simulate_cortex(truth, n_subjects=3, n_repetitions=1, reliability=reliability, extent_mm=30, n_runs=2)
    auditory = brain.responses["region"].values != "surround"
    for subject in ("sub-01", "sub-02", "sub-03"):
        own = auditory & (brain.responses["subject"].values == subject)
        assert np.median(brain.arrays["reliability"].values[own]) == pytest.approx(reliability, abs=0.002)
    assert (brain.arrays["reliability"].values[~auditory] < reliability).mean() > 0.9


def test_the_noise_ceiling_is_the_true_one_whatever_the_runs_add(truth: Responses) -> None:
    """With one run for each repetition its offset shifts all stimuli alike, and neither truth nor estimate see it."""
    for run_share in (0.0, 0.6):
        brain = simulate_cortex(truth, n_subjects=2, n_repetitions=3, run_share=run_share, extent_mm=30)
        r = brain.arrays["reliability"].values
        found = unit_reliability(brain.responses)["noise_ceiling"].values
        assert np.median(found - 3 * r / (1 + 2 * r)) == pytest.approx(0, abs=0.03)


def test_seeds_change_what_they_say_and_more_data_keep_the_first(truth: Responses, cortex: BrainData) -> None:
    options = {"n_subjects": 2, "n_repetitions": 2, "extent_mm": 30}
    xr.testing.assert_identical(simulate_cortex(truth, **options).responses, cortex.responses)
    noisy = simulate_cortex(truth, noise_seed=1, **options)
    for name in ("components", "weights", "noise_sd", "reliability"):
        xr.testing.assert_identical(noisy.arrays[name], cortex.arrays[name])
    one, other = (standard_noise(b).ravel() for b in (cortex, noisy))
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.02
    assert not np.allclose(simulate_cortex(truth, seed=1, **options).arrays["weights"], cortex.arrays["weights"])
    more = simulate_cortex(truth, n_subjects=3, n_repetitions=3, extent_mm=30)
    first = more.responses.isel(repetition=slice(2), unit=slice(cortex.responses.sizes["unit"]))
    xr.testing.assert_allclose(first, cortex.responses, rtol=1e-10)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_subjects": 0}, "n_subjects must be a whole number of at least 1, found 0"),
        ({"n_subjects": 1.5}, "n_subjects must be a whole number of at least 1, found 1.5"),
        ({"n_repetitions": 0}, "n_repetitions must be a whole number of at least 1"),
        ({"seed": -1}, "seed must be a whole number of at least 0, found -1"),
        ({"noise_seed": -1}, "noise_seed must be a whole number of at least 0, found -1"),
        ({"reliability": 1.5}, r"reliability must be 0.001 to 1, found 1.5"),
        ({"noise_sd": 0.5}, "give one of reliability and noise_sd"),
        ({"reliability": None}, "give one of reliability and noise_sd"),
        ({"reliability": None, "noise_sd": float("nan")}, "noise_sd must be finite"),
        ({"noise_autocorrelation": 1.0}, "noise_autocorrelation must be 0 to 0.99"),
        ({"n_runs": 61}, "n_runs must be 1 to 60, found 61"),
        ({"extent_mm": 10}, "extent_mm must be 30 to 80"),
    ],
)
def test_numbers_out_of_range_are_refused(truth: Responses, options: dict[str, float], message: str) -> None:
    with pytest.raises(BrainError, match=message):
        simulate_cortex(truth, **options)


def test_unfit_components_are_refused(truth: Responses) -> None:
    with pytest.raises(BrainError, match=r"must have dims \('stimulus', 'unit'\)"):
        simulate_cortex(truth.expand_dims(repetition=2))
    constant = truth.copy(deep=True)
    constant.loc[{"unit": "pitch"}] = 1
    with pytest.raises(BrainError, match="the components pitch are the same for all stimuli"):
        simulate_cortex(constant)


# What the registry offers


def test_simulated_cortex_answers_to_the_demo_set() -> None:
    brain = load_brain("simulated-cortex", n_subjects=2, reliability=0.5)
    again = load_simulated_cortex(n_subjects=2, reliability=0.5)
    xr.testing.assert_identical(brain.responses, again.responses)
    np.testing.assert_array_equal(brain.responses["category"].values, demo_truth()["category"].values)
    np.testing.assert_array_equal(brain.arrays["components"].values, demo_truth().values)
    estimated = average_repetitions(infer_profiles(brain.responses, brain.arrays["weights"])).values
    assert min(np.corrcoef(estimated[:, c], demo_truth().values[:, c])[0, 1] for c in range(6)) > 0.95
    brain.arrays["components"].values[:] = 0
    assert (demo_truth().values > 0).any()
