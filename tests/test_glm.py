"""Time series and general linear models: equal to scipy's and nilearn's, and planted responses come back."""

from __future__ import annotations

import warnings

import nibabel
import numpy as np
import pandas as pd
import pytest
from nilearn.glm.first_level import FirstLevelModel, compute_regressor
from nilearn.signal import clean
from scipy.ndimage import median_filter

from brainalign.brain.glm import block_means, stimulus_betas
from brainalign.brain.timeseries import drop_volumes, remove_drift, standardize
from brainalign.errors import BrainError

TR = 1.5


def noisy(n_volumes: int = 120, n_units: int = 27, seed: int = 0) -> np.ndarray:
    """Make autocorrelated series around 1000 with slow drifts."""
    rng = np.random.default_rng(seed)
    series = rng.normal(0, 5, (n_volumes, n_units))
    for t in range(1, n_volumes):
        series[t] += 0.4 * series[t - 1]
    time = np.linspace(-1, 1, n_volumes)[:, None]
    return 1000 + 20 * time * rng.normal(size=n_units) + 10 * time**2 + series


def some_events() -> pd.DataFrame:
    onsets = np.arange(8) * 18.0 + 3
    names = ["dog", "rain", "song", "dog", "song", "rain", "bell", "dog"]
    return pd.DataFrame({"onset": onsets, "duration": [2.0, 4.5] * 4, "trial_type": names})


def as_image(bold: np.ndarray) -> tuple[nibabel.Nifti1Image, nibabel.Nifti1Image]:
    mask = nibabel.Nifti1Image(np.ones((3, 3, 3), np.uint8), np.eye(4))
    return nibabel.Nifti1Image(bold.T.reshape(3, 3, 3, -1), np.eye(4)), mask


def first_level(bold: np.ndarray, events: pd.DataFrame, conditions: list[str], **options: object) -> np.ndarray:
    """Give the betas of nilearn's model, in units of percent."""
    image, mask = as_image(bold)
    settings = {"t_r": TR, "high_pass": 1 / 128, "mask_img": mask, "minimize_memory": False, **options}
    confounds = settings.pop("confounds", None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # It says that it takes the mask it was given.
        model = FirstLevelModel(**settings).fit(image, events=events, confounds=confounds)
    maps = [model.compute_contrast(c, output_type="effect_size").get_fdata().ravel() for c in conditions]
    return np.array(maps)


class TestDrift:
    def test_cosines_are_those_of_nilearn(self) -> None:
        bold = noisy()
        expected = clean(
            bold, detrend=False, standardize=None, filter="cosine", high_pass=1 / 90, t_r=TR, ensure_finite=False
        )
        cleaned = remove_drift(bold, TR, "cosine", cutoff_s=90)
        np.testing.assert_allclose(cleaned - cleaned.mean(axis=0), expected - expected.mean(axis=0), atol=1e-9)
        np.testing.assert_allclose(cleaned.mean(axis=0), bold.mean(axis=0), rtol=1e-12)

    def test_polynomials_are_those_of_numpy(self) -> None:
        bold = noisy()
        t = np.arange(len(bold))
        fitted = np.stack([np.polyval(np.polyfit(t, y, 3), t) for y in bold.T], axis=1)
        np.testing.assert_allclose(
            remove_drift(bold, TR, "polynomial", order=3), bold - fitted + bold.mean(axis=0), atol=1e-7
        )

    def test_a_cosine_goes_and_a_fast_one_stays(self) -> None:
        n = 200
        t = np.arange(n) + 0.5
        slow, fast = np.cos(np.pi * 2 * t / n), np.cos(np.pi * 40 * t / n)
        cleaned = remove_drift((100 + 5 * slow + 3 * fast)[:, None], TR, "cosine", cutoff_s=128)
        np.testing.assert_allclose(cleaned[:, 0], 100 + 3 * fast, atol=1e-9)

    def test_the_running_median_by_brute_force(self) -> None:
        bold = noisy(90, 3)
        half = round((30 / TR - 1) / 2)
        padded = np.concatenate([bold[:half][::-1], bold, bold[-half:][::-1]])
        medians = np.array([np.median(padded[t : t + 2 * half + 1], axis=0) for t in range(len(bold))])
        cleaned = remove_drift(bold, TR, "median", window_s=30)
        np.testing.assert_allclose(cleaned, bold - medians + bold.mean(axis=0), atol=1e-9)
        np.testing.assert_allclose(medians, median_filter(bold, size=(2 * half + 1, 1), mode="reflect"))

    def test_the_median_forgets_a_step(self) -> None:
        steps = np.r_[np.zeros(200), np.full(200, 50.0)][:, None] + 100
        cleaned = remove_drift(steps, TR, "median", window_s=60)
        np.testing.assert_allclose(cleaned, steps.mean())

    @pytest.mark.parametrize("method", ["cosine", "polynomial", None])
    def test_confounds_and_drift_go_together(self, method: str | None) -> None:
        rng = np.random.default_rng(3)
        motion = np.cumsum(rng.normal(size=(120, 2)), axis=0)
        bold = noisy() + motion @ rng.normal(size=(2, 27)) * 10
        cleaned = remove_drift(bold, TR, method, confounds=motion)
        assert np.abs(np.corrcoef(cleaned.T, motion.T)[:27, 27:]).max() < 1e-9
        if method == "cosine":
            assert np.abs(np.corrcoef(cleaned.T, np.cos(np.pi * (np.arange(120) + 0.5) / 120))[-1, :-1]).max() < 1e-9

    def test_precision_is_kept(self) -> None:
        assert remove_drift(noisy().astype(np.float32), TR).dtype == np.float32
        assert remove_drift(noisy().astype(np.float32), TR, "median", window_s=60).dtype == np.float32

    def test_bad_input(self) -> None:
        bold = noisy()
        with pytest.raises(BrainError, match="did you mean 'cosine'"):
            remove_drift(bold, TR, "cosin")
        with pytest.raises(BrainError, match="longer than twice the run of 120 volumes"):
            remove_drift(bold, TR, "median", window_s=600)
        with pytest.raises(BrainError, match=r"shape \(119, 1\), expected one row for each of 120"):
            remove_drift(bold, TR, confounds=np.ones((119, 1)))
        with pytest.raises(BrainError, match="confounds trans_y are NaN"):
            remove_drift(bold, TR, confounds=pd.DataFrame({"trans_x": np.ones(120), "trans_y": [np.nan] * 120}))
        with pytest.raises(BrainError, match="repetition_time_s must be positive"):
            remove_drift(bold, 0)
        with pytest.raises(BrainError, match="for 6 volumes"):
            remove_drift(bold[:6], TR, confounds=np.random.default_rng(0).normal(size=(6, 5)))
        bold[3, 4] = np.nan
        with pytest.raises(BrainError, match="finite"):
            remove_drift(bold, TR)


class TestScales:
    def test_z_scores(self) -> None:
        bold = noisy()
        np.testing.assert_allclose(standardize(bold, "zscore"), clean(bold, detrend=False, standardize="zscore_sample"))

    def test_percent(self) -> None:
        bold = noisy()
        np.testing.assert_allclose(standardize(bold, "percent"), clean(bold, detrend=False, standardize="psc"))

    def test_units_without_a_scale(self) -> None:
        bold = noisy()
        bold[:, 5] = 3
        with pytest.raises(BrainError, match=r"1 units are constant .* unit 5"):
            standardize(bold, "zscore")
        with pytest.raises(BrainError, match="27 of 27 units have a baseline that is not positive"):
            standardize(bold - 2000, "percent")
        with pytest.raises(BrainError, match="did you mean 'zscore'"):
            standardize(bold, "z-score")

    def test_dummy_volumes(self) -> None:
        bold = noisy()
        np.testing.assert_array_equal(drop_volumes(bold, 10), bold[10:])
        for n in (-1, 120):
            with pytest.raises(BrainError, match="of 120 volumes"):
                drop_volumes(bold, n)


@pytest.mark.filterwarnings(
    "ignore::UserWarning:nilearn", "ignore::DeprecationWarning", "ignore::RuntimeWarning:nilearn"
)
class TestBetas:
    @pytest.mark.parametrize(
        ("ours", "theirs"),
        [
            ({}, {}),
            ({"noise_model": "ols", "hrf": "spm"}, {"noise_model": "ols", "hrf_model": "spm"}),
            ({"hrf": None, "slice_time_ref": 0.5}, {"hrf_model": None, "slice_time_ref": 0.5}),
            ({"drift": "polynomial", "order": 3}, {"drift_model": "polynomial", "drift_order": 3}),
            ({"drift": None, "scaling": None}, {"drift_model": None, "signal_scaling": False}),
        ],
    )
    def test_they_are_those_of_the_first_level_model(self, ours: dict, theirs: dict) -> None:
        bold, events = noisy(), some_events()
        betas = stimulus_betas(bold, events, TR, **ours)
        assert betas.stimulus == ("dog", "rain", "song", "bell")
        expected = first_level(bold, events, list(betas.stimulus), **theirs)
        np.testing.assert_allclose(betas.values, expected, rtol=1e-6, atol=1e-9)

    def test_with_confounds(self) -> None:
        bold, events = noisy(), some_events()
        motion = pd.DataFrame(np.random.default_rng(3).normal(size=(120, 2)), columns=["x", "y"])
        betas = stimulus_betas(bold, events, TR, confounds=motion)
        expected = first_level(bold, events, list(betas.stimulus), confounds=motion)
        np.testing.assert_allclose(betas.values, expected, rtol=1e-6, atol=1e-9)

    def test_one_per_occurrence(self) -> None:
        bold, events = noisy(), some_events()
        betas = stimulus_betas(bold, events, TR, per="occurrence")
        assert betas.stimulus == tuple(events["trial_type"])
        assert betas.occurrence.tolist() == [0, 0, 0, 1, 1, 1, 0, 2]
        named = events.assign(trial_type=[f"e{i}" for i in range(8)])
        expected = first_level(bold, named, [f"e{i}" for i in range(8)])
        np.testing.assert_allclose(betas.values, expected, rtol=1e-6, atol=1e-9)

    @pytest.mark.parametrize("noise_model", ["ar1", "ols"])
    def test_least_squares_separate_by_a_loop_of_models(self, noise_model: str) -> None:
        bold, events = noisy(), some_events()
        betas = stimulus_betas(bold, events, TR, separate=True, per="occurrence", noise_model=noise_model)
        for i in range(len(events)):
            split = events.assign(trial_type=["this" if j == i else "others" for j in range(len(events))])
            expected = first_level(bold, split, ["this"], noise_model=noise_model)
            np.testing.assert_allclose(betas.values[i], expected[0], rtol=1e-6, atol=1e-9)
        whole = stimulus_betas(bold, events, TR, separate=True, noise_model=noise_model)
        split = events.assign(trial_type=np.where(events["trial_type"] == "song", "this", "others"))
        expected = first_level(bold, split, ["this"], noise_model=noise_model)
        np.testing.assert_allclose(whole.values[whole.stimulus.index("song")], expected[0], rtol=1e-6, atol=1e-9)

    def test_planted_responses_come_back(self) -> None:
        events = some_events()
        rng = np.random.default_rng(5)
        planted = dict(zip(["dog", "rain", "song", "bell"], rng.normal(0, 2, (4, 27)), strict=True))
        frames = np.arange(120) * TR
        signal = np.zeros((120, 27))
        for onset, duration, name in events.itertuples(index=False):
            regressor = compute_regressor(np.array([[onset], [duration], [1.0]]), "glover", frames)[0]
            signal += regressor * planted[name]
        drift = 3 * np.cos(np.pi * (np.arange(120) + 0.5) / 120)[:, None]
        bold = 500 * (1 + (signal - signal.mean(axis=0) + drift) / 100)
        betas = stimulus_betas(bold, events, TR, noise_model="ols")
        np.testing.assert_allclose(betas.values, [planted[s] for s in betas.stimulus], atol=1e-8)
        separate = stimulus_betas(bold + rng.normal(0, 0.5, bold.shape), events, TR, separate=True)
        assert np.corrcoef(separate.values.ravel(), betas.values.ravel())[0, 1] > 0.98

    def test_separate_has_less_noise_for_close_events(self) -> None:
        """As in Mumford et al. 2012; and the spread over units of white noise is what the designs predict."""
        names = [f"s{i}" for i in range(40)]
        events = pd.DataFrame({"onset": np.arange(40) * 3.0 + 3, "duration": 1.0, "trial_type": names})
        bold = 100 + np.random.default_rng(0).normal(size=(100, 400))
        frames = np.arange(100) * TR
        all_events = np.hstack(
            [compute_regressor(np.array([[o], [1.0], [1.0]]), "glover", frames)[0] for o in events["onset"]]
        )
        total, constant = all_events.sum(axis=1), np.ones(100)
        pairs = [np.column_stack([own, total - own, constant]) for own in all_events.T]
        together = np.column_stack([all_events, constant])
        predicted = {
            False: np.sqrt(np.linalg.inv(together.T @ together).diagonal()[:40].mean()),
            True: np.sqrt(np.mean([np.linalg.inv(x.T @ x)[0, 0] for x in pairs])),
        }
        assert predicted[True] < 0.6 * predicted[False]
        for separate, spread in predicted.items():
            betas = stimulus_betas(
                bold, events, TR, separate=separate, noise_model="ols", drift=None, scaling=None
            ).values
            np.testing.assert_allclose(np.sqrt((betas - betas.mean(axis=1, keepdims=True)).var()), spread, rtol=0.03)

    def test_bad_events(self) -> None:
        bold, events = noisy(), some_events()
        late = pd.concat([events, pd.DataFrame({"onset": [179.0], "duration": [5.0], "trial_type": ["owl"]})])
        with pytest.raises(BrainError, match=r"1 events lie outside the run of 120 volumes \(180 s\).*'owl', 179 s"):
            stimulus_betas(bold, late, TR)
        with pytest.raises(BrainError, match="the run ends before the response to 'owl'"):
            stimulus_betas(bold, late.assign(duration=0.5), TR)
        with pytest.raises(BrainError, match="events lie outside"):
            stimulus_betas(bold[:60], events, TR)
        with pytest.raises(BrainError, match="events lie outside"):
            stimulus_betas(bold, events.assign(onset=events["onset"] - 10), TR)
        with pytest.raises(BrainError, match="events lie outside"):
            stimulus_betas(bold, events.assign(duration=np.nan), TR)
        with pytest.raises(BrainError, match="lacking: trial_type"):
            stimulus_betas(bold, events.drop(columns="trial_type"), TR)
        with pytest.raises(BrainError, match="lacking: rows"):
            stimulus_betas(bold, events.iloc[:0], TR)
        with pytest.raises(BrainError, match="trial_type is empty in row 2"):
            stimulus_betas(bold, events.assign(trial_type=["a", None, *"bcdefg"]), TR)

    def test_designs_that_cannot_be_solved(self) -> None:
        bold, events = noisy(), some_events()
        twins = pd.concat([events, events.iloc[:1].assign(trial_type="twin")])
        twins.loc[twins["trial_type"] == "dog", "trial_type"] = [f"dog{i}" for i in range(3)]
        with pytest.raises(BrainError, match="cannot be told apart in 120 volumes; use separate=True"):
            stimulus_betas(bold, twins, TR)
        with pytest.raises(BrainError, match="cannot be told apart"):
            stimulus_betas(bold, events, TR, confounds=np.ones((120, 1)))
        with pytest.raises(BrainError, match="baseline that is not positive"):
            stimulus_betas(bold - bold.mean(axis=0), events, TR)

    def test_unknown_options(self) -> None:
        bold, events = noisy(), some_events()
        with pytest.raises(BrainError, match="did you mean 'glover'"):
            stimulus_betas(bold, events, TR, hrf="gloverr")
        with pytest.raises(BrainError, match="did you mean 'ar1'"):
            stimulus_betas(bold, events, TR, noise_model="ar")
        with pytest.raises(BrainError, match="per must be"):
            stimulus_betas(bold, events, TR, per="event")
        with pytest.raises(BrainError, match="between 0 and 1"):
            stimulus_betas(bold, events, TR, slice_time_ref=2)


class TestBlocks:
    def blocks(self) -> tuple[np.ndarray, pd.DataFrame]:
        """Make a run as in Norman-Haignere et al. 2015: blocks of five acquisitions, silences between."""
        names = ["silence", "dog", "song", "silence", "rain", "dog", "silence"]
        levels = {"silence": 200.0, "dog": 210.0, "song": 202.0, "rain": 199.0}
        bold = np.repeat([levels[n] for n in names], 5)[:, None] * np.array([1.0, 2.0])
        bold[::5] += 50  # The first acquisition of a block does not count.
        events = pd.DataFrame({"onset": np.arange(7) * 17.0, "duration": 17.0, "trial_type": names})
        return bold, events

    def test_the_protocol_of_2015(self) -> None:
        bold, events = self.blocks()
        means = block_means(bold, events, 3.4, acquisitions=(2, 5))
        assert means.stimulus == ("dog", "song", "rain")
        np.testing.assert_allclose(means.values, np.outer([5.0, 1.0, -0.5], [1, 1]), atol=1e-12)
        all_five = block_means(bold, events, 3.4)
        np.testing.assert_allclose(all_five.values[0, 0], 100 * 10 / 210)

    def test_each_occurrence(self) -> None:
        bold, events = self.blocks()
        bold[25:30] += [[4.0, 8.0]]
        means = block_means(bold, events, 3.4, acquisitions=(2, 5), per="occurrence")
        assert means.stimulus == ("dog", "song", "rain", "dog")
        assert means.occurrence.tolist() == [0, 0, 0, 1]
        np.testing.assert_allclose(means.values[:, 0], [5, 1, -0.5, 7], atol=1e-12)
        averaged = block_means(bold, events, 3.4, acquisitions=(2, 5))
        np.testing.assert_allclose(averaged.values[0, 0], 6)

    def test_sparse_scanning(self) -> None:
        bold, events = self.blocks()
        # Sounds fill the 2.4 s before each acquisition: those of a block are measured within its 17 s.
        within = block_means(bold, events, 3.4, acquisitions=(2, 5), acquisition_offset_s=2.4)
        np.testing.assert_allclose(within.values[:, 0], [5, 1, -0.5], atol=1e-12)
        # Onsets counted from the first acquisition lie 2.4 s earlier.
        moved = events.assign(onset=events["onset"] + 2.4)
        later = block_means(bold, moved.iloc[:-1], 3.4, acquisitions=(2, 5), acquisition_offset_s=2.4)
        np.testing.assert_allclose(later.values[:, 0], [5, 1, -0.5], atol=1e-12)

    def test_a_delay_and_no_baseline(self) -> None:
        bold = np.arange(40.0)[:, None]
        events = pd.DataFrame({"onset": [3.0, 15.0], "duration": [6.0, 6.0], "trial_type": ["a", "b"]})
        means = block_means(bold, events, 1.5, delay_s=4.5, silence=None)
        np.testing.assert_allclose(means.values[:, 0], [np.mean([5, 6, 7, 8]), np.mean([13, 14, 15, 16])])

    def test_onsets_that_are_no_binary_fractions(self) -> None:
        bold = np.arange(100.0)[:, None]
        for k in range(90):
            events = pd.DataFrame({"onset": [k * 0.1], "duration": [0.3], "trial_type": ["a"]})
            values = block_means(bold, events, 0.1, silence=None).values
            assert values[0, 0] == k + 1

    def test_bad_blocks(self) -> None:
        bold, events = self.blocks()
        with pytest.raises(BrainError, match="no blocks of 'rest' beside stimuli: known: 'dog', 'rain', 'silence'"):
            block_means(bold, events, 3.4, silence="rest")
        with pytest.raises(BrainError, match="'silence' at 0 s has 5 acquisitions, expected 6"):
            block_means(bold, events, 3.4, acquisitions=(2, 6))
        with pytest.raises(BrainError, match="'silence' at 102 s needs volume 37, but the run has 35"):
            block_means(bold, events, 3.4, delay_s=6)
        with pytest.raises(BrainError, match=r"from 1, found \(0, 3\)"):
            block_means(bold, events, 3.4, acquisitions=(0, 3))
        with pytest.raises(BrainError, match="baseline that is not positive"):
            block_means(bold - bold.mean(axis=0) * 2, events, 3.4)
        with pytest.raises(BrainError, match="events lie outside the run of 30 volumes"):
            block_means(bold[:30], events, 3.4)
