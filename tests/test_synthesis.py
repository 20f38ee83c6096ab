"""The demo set: the same everywhere, and each sound is what it is said to be."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from scipy.signal import hilbert
from scipy.stats import kstest, mannwhitneyu

from brainalign import load_stimuli
from brainalign.errors import StimulusError
from brainalign.stimuli import StimulusSet, _acoustics, _parts, _voices
from brainalign.stimuli.synthesis import _synthesise, load_demo, write_demo

RATE = 22_050


@pytest.fixture(scope="module")
def demo() -> StimulusSet:
    return load_demo()


def waves(demo: StimulusSet, *categories: str) -> Iterator[np.ndarray]:
    for stimulus_id in demo.ids:
        if not categories or demo.table.loc[stimulus_id, "category"] in categories:
            yield demo.source(stimulus_id)[0].astype(np.float64)


def spectrum_peak(wave: np.ndarray) -> float:
    power = np.abs(np.fft.rfft(wave * np.hanning(len(wave)), 4 * len(wave)))
    return float(np.argmax(power) * RATE / (4 * len(wave)))


def centroid(wave: np.ndarray) -> float:
    power = np.abs(np.fft.rfft(wave)) ** 2
    return float((np.fft.rfftfreq(len(wave), 1 / RATE) * power).sum() / power.sum())


def yin(frame: np.ndarray, low: float = 60, high: float = 500) -> float:
    """Fundamental of a frame by YIN (de Cheveigné & Kawahara 2002), NaN where it is not periodic."""
    longest, n = int(RATE / low), len(frame) // 2
    difference = np.array([np.sum((frame[:n] - frame[lag : lag + n]) ** 2) for lag in range(longest)])
    normalised = difference[1:] * np.arange(1, longest) / np.maximum(np.cumsum(difference[1:]), 1e-12)
    for lag in range(int(RATE / high), longest - 2):
        if normalised[lag - 1] < 0.15 and normalised[lag] >= normalised[lag - 1]:
            return RATE / lag
    return float("nan")


def test_set_is_as_described(demo: StimulusSet) -> None:
    assert demo.table["category"].value_counts().to_dict() == {
        "Music": 14,
        "Speech": 10,
        "Animal": 9,
        "Texture": 9,
        "Song": 8,
        "Mechanical": 8,
        "Tone": 8,
    }
    assert demo.table.index.is_unique
    assert demo.table["description"].is_unique
    assert (demo.table["file"] == demo.table.index + ".wav").all()
    assert demo.manifest.licence == "CC0-1.0"
    assert load_stimuli("demo").ids == demo.ids


def test_level_length_and_steps(demo: StimulusSet) -> None:
    for wave in waves(demo):
        assert len(wave) == 2 * RATE
        assert np.sqrt(np.mean(wave**2)) == pytest.approx(0.025, rel=1e-4)
        assert np.abs(wave).max() < 0.5
        assert np.array_equal(wave * 2**15, np.round(wave * 2**15))
        assert abs(wave.mean()) < 2**-16
    for stimulus_id in demo.ids:
        played, _ = demo.waveform(stimulus_id)
        assert np.sqrt(np.mean(played.astype(float) ** 2)) == pytest.approx(0.01, rel=1e-5)


def test_sounds_have_no_digital_silence_and_no_click_at_the_ends(demo: StimulusSet) -> None:
    for wave in waves(demo):
        loud = np.sqrt((wave[: len(wave) // 441 * 441].reshape(-1, 441) ** 2).mean(axis=1))
        assert loud.min() > 10 ** (-60 / 20) * 0.025
        assert max(abs(wave[0]), abs(wave[-1])) < 0.05 * np.abs(wave).max()


def test_same_samples_when_made_again(demo: StimulusSet) -> None:
    first = [demo.digest(i) for i in demo.ids]
    _synthesise.cache_clear()
    # In another order: no sound depends on which were made before.
    second = {i: load_demo().digest(i) for i in reversed(demo.ids)}
    assert first == [second[i] for i in demo.ids]
    assert len(set(first)) == len(first)


def test_waveform_cannot_be_changed_by_a_caller(demo: StimulusSet) -> None:
    wave, _ = demo.source("tone01_low_tone")
    with pytest.raises(ValueError, match="read-only"):
        wave[0] = 1


# Centroid (Hz), peak over RMS, and the sample at one second in 16-bit steps, as first released.
SUMMARIES = {
    "music01_plucked_melody": (772.44, 5.590, 55),
    "song04_choir": (734.00, 3.850, 104),
    "speech02_woman": (666.01, 8.273, -168),
    "texture01_rain": (4542.83, 7.642, 1420),
}


@pytest.mark.parametrize("stimulus_id", SUMMARIES)
def test_sounds_are_those_of_the_release(demo: StimulusSet, stimulus_id: str) -> None:
    wave = demo.source(stimulus_id)[0].astype(np.float64)
    middle, crest, sample = SUMMARIES[stimulus_id]
    assert centroid(wave) == pytest.approx(middle, rel=1e-4)
    assert np.abs(wave).max() / 0.025 == pytest.approx(crest, rel=1e-3)
    assert abs(wave[RATE] * 2**15 - sample) <= 1


def test_draws_are_uniform_and_normal() -> None:
    # The raw bits are PCG64's; a Generator on the same bits is an independent reading of them.
    draws, theirs = _parts.Draws(7, 11), np.random.Generator(np.random.PCG64(np.random.SeedSequence((7, 11))))
    assert np.allclose(draws.uniform(0, 1, 1000), theirs.random(1000), rtol=0, atol=2**-53)
    assert kstest(draws.normal(20_000), "norm").pvalue > 0.001
    assert np.isfinite(draws.normal(20_000)).all()


def test_steady_sounds_have_their_f0(demo: StimulusSet) -> None:
    steady = demo.table.query("f0_hz.notna() and category != 'Speech'")["f0_hz"]
    assert len(steady) >= 5
    for stimulus_id, f0 in steady.items():
        assert spectrum_peak(demo.source(stimulus_id)[0]) == pytest.approx(f0, rel=0.03), stimulus_id


def test_speakers_have_their_f0_and_it_falls(demo: StimulusSet) -> None:
    speakers = demo.table.query("f0_hz.notna() and category == 'Speech'")["f0_hz"]
    slopes = {}
    for stimulus_id, f0 in speakers.items():
        wave = demo.source(stimulus_id)[0].astype(np.float64)
        starts = np.arange(0, len(wave) - 1500, 220)
        found = np.array([yin(wave[s : s + 1500]) for s in starts])
        loud = np.array([np.sqrt(np.mean(wave[s : s + 1500] ** 2)) for s in starts]) > 0.3 * 0.025
        good = np.isfinite(found) & loud & (np.abs(np.log2(found / f0)) < 0.6)
        assert good.sum() > 20, stimulus_id
        assert np.nanmedian(found[loud]) == pytest.approx(f0, rel=0.12), stimulus_id
        slopes[stimulus_id] = np.polyfit(starts[good] / RATE, np.log(found[good]), 1)[0]
    assert slopes.pop("speech06_man_question") > 0.05
    assert max(slopes.values()) < 0
    assert len(slopes) == 7


def test_tones_of_a_melody_are_the_notes_written() -> None:
    score = "60 64:0.5 -:0.5 60+67:2"
    assert _parts.read_score(score) == [([60], 1.0), ([64], 0.5), ([], 0.5), ([60, 67], 2.0)]
    wave = _parts.play(_parts.organ, score, 0.5, _parts.Draws(1))
    # C4, E4, rest, C4 + G4 in equal temperament: 261.63, 329.63, 392.00 Hz.
    assert spectrum_peak(wave[1000:10_000]) == pytest.approx(261.63, rel=0.01)
    assert spectrum_peak(wave[12_000:16_000]) == pytest.approx(329.63, rel=0.01)
    assert np.abs(wave[17_000:22_000]).max() == 0
    power = np.abs(np.fft.rfft(wave[23_000:43_000] * np.hanning(20_000)))
    hertz = np.fft.rfftfreq(20_000, 1 / RATE)
    for note in (261.63, 392.0):
        assert power[np.abs(hertz - note) < 2].max() > 100 * power[np.abs(hertz - 329.63) < 2].max()


def test_harmonics_stop_below_the_nyquist_frequency() -> None:
    # A glide through the limit: each harmonic is heard while it is below and not above.
    f0 = np.linspace(2000, 4000, RATE)
    power = np.abs(np.fft.rfft(_parts.harmonics(f0, np.ones(6)) * np.hanning(RATE))) ** 2
    hertz = np.fft.rfftfreq(RATE, 1 / RATE)
    assert power[hertz > 0.46 * RATE].sum() < 1e-3 * power.sum()
    assert power[hertz < 1900].sum() < 1e-3 * power.sum()


def test_vowels_have_their_formants() -> None:
    """The peaks of the spectral envelope are where Peterson and Barney found them."""
    impulse = np.zeros(_parts.N_SAMPLES)
    impulse[RATE] = 1
    for vowel, expected in _voices.VOWELS.items():
        formants = _voices.vocal_formants([(0.0, vowel), (2.0, vowel)], 1.0)
        response = np.abs(np.fft.rfft(_parts.resonate(impulse, formants)))
        hertz = np.fft.rfftfreq(_parts.N_SAMPLES, 1 / RATE)
        # The closed form of the cascade, without frames: the frames must change nothing.
        cascade = np.ones(len(hertz), dtype=complex)
        for centre in formants[0]:
            cascade *= centre**2 / (centre**2 - hertz**2 + 1j * (50 + centre / 24) * hertz)
        speech = hertz < 4000
        assert np.corrcoef(response[speech], np.abs(cascade)[speech])[0, 1] > 0.99
        near = np.abs(hertz - expected[0]) < 150
        assert hertz[near][np.argmax(response[near])] == pytest.approx(expected[0], abs=60), vowel


def envelope_spectrum(wave: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    envelope = np.abs(hilbert(wave))[: len(wave) // 210 * 210].reshape(-1, 210).mean(axis=1)
    power = np.abs(np.fft.rfft((envelope - envelope.mean()) * np.hanning(len(envelope)), 1050)) ** 2
    return np.fft.rfftfreq(1050, 210 / RATE), power / power.sum()


def test_speech_has_the_rhythm_of_syllables(demo: StimulusSet) -> None:
    spectra = {c: [envelope_spectrum(w) for w in waves(demo, c)] for c in ("Speech", "Texture")}
    rate = spectra["Speech"][0][0]
    mean = np.mean([power for _, power in spectra["Speech"]], axis=0)
    smoothed = np.convolve(mean, np.hanning(21) / np.hanning(21).sum(), mode="same")
    range_ = (rate > 1.5) & (rate < 20)
    assert 3 <= rate[range_][np.argmax(smoothed[range_])] <= 7
    share = {c: [p[(rate >= 3) & (rate <= 7)].sum() for _, p in found] for c, found in spectra.items()}
    n_pairs = len(share["Speech"]) * len(share["Texture"])
    assert mannwhitneyu(share["Speech"], share["Texture"]).statistic / n_pairs > 0.9


def test_clock_ticks_four_times_a_second(demo: StimulusSet) -> None:
    rate, power = envelope_spectrum(demo.source("mechanical03_clock")[0].astype(np.float64))
    comb = [power[np.argmin(np.abs(rate - f))] for f in (4, 8, 12)]
    between = [power[np.argmin(np.abs(rate - f))] for f in (6, 10, 14)]
    assert min(comb) > 10 * max(between)


def test_siren_sweeps_as_written(demo: StimulusSet) -> None:
    wave = demo.source("tone05_siren")[0].astype(np.float64)
    lowest, highest = spectrum_peak(wave[: RATE // 40]), spectrum_peak(wave[RATE // 2 - 275 : RATE // 2 + 276])
    assert lowest == pytest.approx(550, rel=0.05)
    assert highest == pytest.approx(1250, rel=0.05)


def test_auditory_filters_have_the_bandwidth_of_glasberg_and_moore() -> None:
    """The equivalent rectangular bandwidth is the area under a filter of unit height."""
    hertz = np.arange(0, 20_000, 0.5)
    centres = np.array([200.0, 1000.0, 4000.0])
    area = _acoustics._erb_weights(hertz, centres).sum(axis=1) * 0.5
    assert area == pytest.approx(24.7 * (4.37 * centres / 1000 + 1), rel=0.01)
    # One filter each unit of the ERB-number scale: 1 kHz lies at 15.6 (Glasberg & Moore 1990).
    spaced = _acoustics._erb_spaced(0.0, 1000.0, 2)
    assert spaced == pytest.approx([0, 1000])


def test_acoustic_features_on_signals_with_known_answers() -> None:
    rng = np.random.default_rng(0)
    t = np.arange(2 * RATE) / RATE
    noise = _acoustics.acoustic_features(rng.standard_normal(2 * RATE), RATE)
    complex_tone = sum(np.sin(2 * np.pi * 200 * k * t) for k in range(1, 25))
    tone = _acoustics.acoustic_features(complex_tone, RATE)
    # Power of noise in a bin is exponential, whose geometric mean is exp(-gamma) of its mean. A filter
    # holds a finite number of bins, which lifts this a little.
    assert np.exp(-np.euler_gamma) < noise["flatness"] < np.exp(-np.euler_gamma) + 0.04
    assert tone["flatness"] < 0.05
    assert tone["pitch"] > 0.9
    assert noise["pitch"] < 0.15
    beating = (1 + np.sin(2 * np.pi * 5 * t)) * rng.standard_normal(2 * RATE)
    buzzing = (1 + np.sin(2 * np.pi * 20 * t)) * rng.standard_normal(2 * RATE)
    assert _acoustics.acoustic_features(beating, RATE)["syllables"] > 0.9
    assert _acoustics.acoustic_features(buzzing, RATE)["syllables"] < 0.1
    for feature in (noise, tone):
        assert all(0 <= value <= 1 for value in feature.values())
    louder = _acoustics.acoustic_features(10 * complex_tone, RATE)
    assert louder == pytest.approx(tone, rel=1e-6)


@pytest.mark.parametrize(("n_samples", "rate"), [(2000, 22_050), (16_000, 8000), (0, 22_050)])
def test_sounds_too_short_or_too_dull_for_features_are_refused(n_samples: int, rate: int) -> None:
    with pytest.raises(StimulusError, match=rf"found .* s at {rate} Hz"):
        _acoustics.acoustic_features(np.ones(n_samples), rate)


def test_silence_has_no_features() -> None:
    with pytest.raises(StimulusError, match="peak 0"):
        _acoustics.acoustic_features(np.zeros(RATE), RATE)


def test_written_folder_reads_back_to_the_sample(demo: StimulusSet, tmp_path) -> None:
    folder = write_demo(tmp_path / "demo")
    read = load_stimuli(folder)
    assert read.manifest == demo.manifest
    assert read.ids == demo.ids
    for column in ("file", "category", "description"):
        assert read.table[column].tolist() == demo.table[column].tolist()
    for stimulus_id in demo.ids:
        ours, theirs = demo.source(stimulus_id), read.source(stimulus_id)
        assert theirs[1] == ours[1]
        assert np.array_equal(theirs[0], ours[0])
        assert read.digest(stimulus_id) == demo.digest(stimulus_id)
    assert len(list(folder.iterdir())) == len(demo) + 2


def test_folder_in_use_is_left_alone(tmp_path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(StimulusError, match="not empty"):
        write_demo(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]
