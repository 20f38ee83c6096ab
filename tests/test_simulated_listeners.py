"""Simulated listeners of ds003720: the acoustics that are planted, and the way from images to responses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.signal import spectrogram

from brainalign.brain import BRAINS, BrainData, load_brain
from brainalign.brain.simulated_listeners import acoustic_windows, load_simulated_ds003720
from brainalign.errors import BrainError
from brainalign.stimuli import StimulusSet, load_stimuli
from brainalign.stimuli.audio import write_audio
from brainalign.stimuli.manipulations import manipulate

RATE = 16_000
GENRES = ("blues", "disco", "jazz", "metal")
CLIP_S = 3.0


class TestAcoustics:
    def test_band_power_is_that_of_scipys_spectrogram(self) -> None:
        rng = np.random.default_rng(0)
        noise = rng.standard_normal(3 * RATE) * 0.1
        ours = acoustic_windows(noise, RATE)
        assert ours.shape == (2, 48)

        padded = np.pad(noise, (0, 512))
        frequency, _, power = spectrogram(
            padded, RATE, window=np.hanning(512), noverlap=512 - 160, detrend=False, scaling="spectrum"
        )
        # One-sided: all but the ends stand for two frequencies.
        two_sided = power[:, :300].T / np.where((frequency > 0) & (frequency < RATE / 2), 2, 1)
        mel = np.linspace(1127 * np.log1p(60 / 700), 1127 * np.log1p(7500 / 700), 26)
        edges = 700 * np.expm1(mel / 1127)
        triangles = np.array([np.interp(frequency, edges[k : k + 3], [0, 1, 0]) for k in range(24)])
        expected = np.log(two_sided @ triangles.T + 1e-8).reshape(2, 150, 24).mean(axis=1)
        np.testing.assert_allclose(ours[:, :24], expected, atol=2e-3)

    def test_twice_the_amplitude_is_four_times_the_power(self) -> None:
        noise = np.random.default_rng(1).standard_normal(3 * RATE) * 0.1
        change = acoustic_windows(2 * noise, RATE) - acoustic_windows(noise, RATE)
        np.testing.assert_allclose(change[:, :24], np.log(4), atol=1e-3)
        # What a log spectrum does over time does not depend on the level.
        np.testing.assert_allclose(change[:, 24:], 0, atol=1e-3)

    @pytest.mark.parametrize(("modulation_hz", "expected"), [(2.0, 0), (5.0, 1), (12.0, 2)])
    def test_modulation_is_found_at_its_rate(self, modulation_hz: float, expected: int) -> None:
        t = np.arange(3 * RATE) / RATE
        rng = np.random.default_rng(2)
        still = rng.standard_normal(len(t)) * 0.1
        found = acoustic_windows(still * (1 + 0.9 * np.sin(2 * np.pi * modulation_hz * t)), RATE)
        gain = (found - acoustic_windows(still, RATE))[:, 24:].reshape(2, 3, 8).mean(axis=(0, 2))
        assert gain.argmax() == expected

    @pytest.mark.parametrize("rate", [16_000, 22_050, 44_100])
    def test_the_rate_does_not_matter(self, rate: int) -> None:
        t = np.arange(round(1.5 * rate)) / rate
        chord = 0.1 * sum(np.sin(2 * np.pi * f * t) for f in (220.0, 554.0, 1318.0))
        spectrum = acoustic_windows(chord, rate)[0, :24]
        t = np.arange(round(1.5 * RATE)) / RATE
        same = acoustic_windows(0.1 * sum(np.sin(2 * np.pi * f * t) for f in (220.0, 554.0, 1318.0)), RATE)[0, :24]
        loud = same > same.max() - 5
        # Bins lie elsewhere, so that the bands see the tones a little differently.
        shift = spectrum[loud] - same[loud]
        assert np.ptp(shift) < 1.0

    @pytest.mark.parametrize(("seconds", "rate"), [(1.4, 16_000), (3.0, 8_000)])
    def test_bad_sounds(self, seconds: float, rate: int) -> None:
        with pytest.raises(BrainError, match=r"acoustics need a rate of 15000 Hz or more and a window"):
            acoustic_windows(np.zeros(round(seconds * rate)), rate)


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write noises of different spectra: 30 training and 6 test clips a genre."""
    folder = tmp_path_factory.mktemp("sounds")
    rng = np.random.default_rng(3)
    rows = []
    for genre in GENRES:
        for track in range(36):
            n = round(CLIP_S * RATE)
            shape = np.interp(np.fft.rfftfreq(n, 1 / RATE), np.geomspace(50, 8000, 6), rng.uniform(0.02, 1, 6))
            noise = np.fft.irfft(np.fft.rfft(rng.standard_normal(n)) * shape)
            file = f"{genre}.{track:05d}.wav"
            write_audio(folder / file, (0.1 * noise / noise.std()).astype(np.float32), RATE)
            split = "train" if track < 30 else "test"
            rows.append({"stimulus_id": file[:-4], "file": file, "category": genre, "split": split})
    pd.DataFrame(rows).to_csv(folder / "stimuli.csv", index=False)
    (folder / "stimulus_set.toml").write_text('name = "noises"\nversion = "1"\ncitation = ""\nlicence = "CC0"\n')
    return folder


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRAINALIGN_DATA", str(tmp_path))


SMALL = {"n_subjects": 1, "n_training_clips": 10, "n_test_clips": 4, "grid": [8, 8, 6], "snr": 3.0}


def identified(brain: BrainData, stimuli: StimulusSet) -> float:
    """Predict spectra of test clips by ridge regression; how often is the own nearer than another's?"""
    responses = brain.responses
    own = np.stack([np.log(np.abs(np.fft.rfft(stimuli.waveform(i)[0])[:8000]).reshape(40, -1).mean(axis=1))
                    for i in responses["stimulus"].values])  # fmt: skip
    train = (responses["split"] == "train").values
    auditory = np.char.find(responses["region"].values.astype(str), "auditory") > 0
    X = responses.values[:, auditory]
    X, Y = X - X[train].mean(axis=0), own - own[train].mean(axis=0)
    predicted = X[~train] @ X[train].T @ np.linalg.solve(X[train] @ X[train].T + 10 * np.eye(train.sum()), Y[train])
    distance = np.linalg.norm(predicted[:, None] - Y[~train], axis=2)
    n = len(distance)
    return float((np.diag(distance)[:, None] < distance).sum() / (n * (n - 1)))


@pytest.fixture(scope="module")
def brain(sounds: Path, tmp_path_factory: pytest.TempPathFactory) -> BrainData:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BRAINALIGN_DATA", str(tmp_path_factory.mktemp("nothing")))
        return load_simulated_ds003720(str(sounds), **SMALL)


@pytest.mark.usefixtures("nowhere")
class TestListeners:
    def test_clips_are_identified_and_not_without_the_signal(self, sounds: Path, brain: BrainData) -> None:
        stimuli = load_stimuli(sounds)
        empty = load_simulated_ds003720(str(sounds), **SMALL, signal=0.0)
        assert brain.responses.sizes["stimulus"] == len(stimuli) == 144
        assert identified(brain, stimuli) > 0.7
        # 24 clips: the standard deviation under the null is about 0.06.
        assert 0.35 < identified(empty, stimuli) < 0.65
        # Where nothing is planted the two are the same, so that the signal is all that was taken away.
        deaf = np.char.find(brain.responses["region"].values.astype(str), "auditory") < 0
        assert 0 < deaf.sum() < len(deaf)
        np.testing.assert_array_equal(brain.responses.values[:, deaf], empty.responses.values[:, deaf])
        assert not np.allclose(brain.responses.values[:, ~deaf], empty.responses.values[:, ~deaf])

    def test_splits_are_those_of_the_set(self, sounds: Path, brain: BrainData) -> None:
        stimuli = load_stimuli(sounds)
        found = dict(zip(brain.responses["stimulus"].values, brain.responses["split"].values, strict=True))
        assert found == stimuli.table["split"].to_dict()
        assert any("holds no events: clips were dealt" in w for w in brain.warnings)
        assert brain.name == brain.responses.attrs["source"] == "simulated-ds003720"

    def test_windows_have_the_ids_of_windowed_clips(self, sounds: Path) -> None:
        cut = {"window_s": 7.5, "step_s": 7.5}
        brain = load_brain("simulated-ds003720", stimuli=str(sounds), **SMALL, **cut, n_training_runs=3)
        windows = manipulate(load_stimuli(sounds), "windows", **cut)
        assert set(brain.responses["stimulus"].values) < set(windows.ids)
        assert brain.responses.sizes["stimulus"] == 2 * (3 * 10 + 6 * 4)

    def test_images_stay_where_they_are_asked_to(self, sounds: Path, brain: BrainData, tmp_path: Path) -> None:
        folder = tmp_path / "images"
        kept = load_simulated_ds003720(str(sounds), **SMALL, n_training_runs=2, n_test_runs=1, folder=str(folder))
        assert len([*folder.glob("sub-001/func/*_bold.nii.gz")]) == 3
        again = load_brain(
            "ds003720",
            path=str(folder),
            mask=str(next(folder.rglob("*_mask.nii.gz"))),
            atlas=str(next(folder.rglob("*_dseg.nii.gz"))),
        )
        np.testing.assert_array_equal(again.responses.values, kept.responses.values)
        # Another study of fewer runs plays the first of the same runs.
        assert set(kept.responses["stimulus"].values) < set(brain.responses["stimulus"].values)

    def test_seeds(self, sounds: Path) -> None:
        options = {**SMALL, "n_training_runs": 1, "n_test_runs": 1}
        one, same, other = (load_simulated_ds003720(str(sounds), **options, seed=s).responses for s in (0, 0, 1))
        np.testing.assert_array_equal(one.values, same.values)
        assert one.shape == other.shape
        assert not np.array_equal(one.values, other.values)

    def test_bad_options(self, sounds: Path, tmp_path: Path) -> None:
        with pytest.raises(BrainError, match="the grid must be three numbers of voxels, found"):
            load_simulated_ds003720(str(sounds), **{**SMALL, "grid": [8, 8]})
        with pytest.raises(BrainError, match="n_training_runs must be 1 to 12, found 13"):
            load_simulated_ds003720(str(sounds), **SMALL, n_training_runs=13)
        with pytest.raises(BrainError, match=r"holds no events"):
            load_simulated_ds003720(str(sounds), **SMALL, events=str(tmp_path))


def test_it_is_known_by_name() -> None:
    assert "simulated-ds003720" in BRAINS.names()


@pytest.mark.realdata
def test_a_clip_of_the_real_events_that_is_not_in_the_set_is_named(sounds: Path, shared_data: Path) -> None:
    with pytest.raises(BrainError, match=r"noises lacks \d+ clips that the events name: "):
        load_simulated_ds003720(str(sounds), events=str(shared_data / "ds003720"), n_subjects=1)
