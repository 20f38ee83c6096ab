"""Manipulations, by what physics says of them."""

import inspect
import json
import re
import shlex
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import butter, sosfreqz

from brainalign.errors import StimulusError
from brainalign.stimuli import load_stimuli
from brainalign.stimuli.audio import rms
from brainalign.stimuli.manipulations import (
    MANIPULATIONS,
    ManipulatedSet,
    add_noise,
    attenuate,
    change_pitch,
    change_tempo,
    high_pass,
    low_pass,
    manipulate,
    normalise_level,
    phase_randomise,
    reverberate,
    scramble,
    time_reverse,
)
from brainalign.stimuli.sets import Manifest, StimulusSet
from brainalign.stimuli.writing import write_set

RATE = 16_000
#: One call of each, with parameters that change the sound.
CALLS = {
    "add-noise": {"snr_db": 10.0},
    "attenuate": {"power_ratio": 0.5},
    "change-pitch": {"semitones": 3.0},
    "change-tempo": {"factor": 1.5},
    "high-pass": {"cutoff_hz": 500.0},
    "low-pass": {"cutoff_hz": 500.0},
    "modulation-matched-noise": {"n_iterations": 1},
    "normalise-level": {"rms": 0.05},
    "phase-randomise": {},
    "reverberate": {"rt60_s": 0.5},
    "scramble": {"window_ms": 30.0},
    "spectrally-matched-noise": {},
    "time-reverse": {},
}
SEEDED = [name for name in CALLS if "seed" in inspect.signature(MANIPULATIONS.get(name)).parameters]


def a_set(*waveforms, rate=RATE):
    ids = [f"s{i}" for i in range(len(waveforms))]
    table = pd.DataFrame({"file": "-", "category": "Noise"}, index=pd.Index(ids, name="stimulus_id"))
    given = {i: np.asarray(w, np.float32) for i, w in zip(ids, waveforms, strict=True)}
    manifest = Manifest(name="sounds", version="1", citation="who", licence="CC0")
    return StimulusSet(manifest, table, lambda i: (given[i], rate))


def noise(n=8000, seed=0, level=0.1):
    return level * np.random.default_rng(seed).standard_normal(n)


def tone(frequency, n=RATE, rate=RATE, level=0.3):
    return level * np.sin(2 * np.pi * frequency * np.arange(n) / rate)


def played(stimuli, stimulus_id="s0"):
    waveform, rate = stimuli.waveform(stimulus_id)
    assert rate == RATE
    assert waveform.dtype == np.float32
    return waveform.astype(np.float64)


def frequency_of(signal, rate=RATE):
    """Return the frequency of a tone from the middle half of the sound, by the slope of its phase."""
    from scipy.signal import hilbert

    middle = slice(len(signal) // 4, 3 * len(signal) // 4)
    phase = np.unwrap(np.angle(hilbert(signal)))[middle]
    return np.polyfit(np.arange(len(phase)), phase, 1)[0] * rate / (2 * np.pi)


class TestAll:
    def test_the_table_holds_them_all(self):
        ours = [n for n in MANIPULATIONS.names() if "manipulations" in MANIPULATIONS.get(n).__module__]
        assert ours == sorted(CALLS)

    @pytest.mark.parametrize("name", CALLS)
    def test_repeatable_and_recorded(self, name):
        sounds = a_set(noise(4800), noise(4800, seed=1))
        made = manipulate(sounds, name, **CALLS[name])
        first = played(made, "s1")
        assert np.isfinite(first).all()
        assert rms(first) > 0
        assert not (len(first) == 4800 and np.array_equal(first, played(sounds, "s1")))
        # Alone, the sound is the same; and what the set remembers makes it again.
        np.testing.assert_array_equal(played(made.select("s1"), "s1"), first)
        (called, parameters), parent = made.history[0], made.parent
        np.testing.assert_array_equal(played(manipulate(parent, called, **parameters), "s1"), first)
        assert called == name.replace("-", "_")
        assert parameters.items() >= CALLS[name].items()
        assert parent is sounds
        json.dumps(parameters)

    @pytest.mark.parametrize("name", SEEDED)
    def test_seed_and_sound_decide(self, name):
        same = a_set(noise(4800), noise(4800))
        zero, one = (manipulate(same, name, **CALLS[name], seed=s) for s in (0, 1))
        assert zero.parameters["seed"] == 0
        assert not np.allclose(played(zero, "s0"), played(one, "s0"), atol=1e-3)
        assert not np.allclose(played(zero, "s0"), played(zero, "s1"), atol=1e-3)
        with pytest.raises(StimulusError, match="the seed is -1"):
            MANIPULATIONS.get(name)(same, **CALLS[name], seed=-1)

    @pytest.mark.parametrize("name", [n for n in CALLS if n != "change-tempo"])
    def test_lengths_stay(self, name):
        for n in (4799, 4800):
            assert len(played(manipulate(a_set(noise(n)), name, **CALLS[name]))) == n

    @pytest.mark.parametrize("name", CALLS)
    def test_bad_sounds_are_named(self, name):
        broken = noise()
        broken[17] = np.nan
        sounds = a_set(np.zeros(8000), broken, np.zeros(0))
        made = manipulate(sounds, name, **CALLS[name])
        for stimulus_id, what in {"s0": "is silent", "s1": "holds NaN", "s2": "holds no samples"}.items():
            with pytest.raises(StimulusError, match=f"stimulus '{stimulus_id}' {what}"):
                made.waveform(stimulus_id)

    @pytest.mark.parametrize(
        "name", ["add-noise", "change-pitch", "change-tempo", "modulation-matched-noise", "phase-randomise", "scramble",
                 "spectrally-matched-noise"],
    )  # fmt: skip
    def test_sounds_that_are_too_short_are_named(self, name):
        with pytest.raises(StimulusError, match=r"stimulus 's0' of sounds .* too short, 0.0625 ms; .* needs at least"):
            manipulate(a_set([0.1]), name, **CALLS[name]).waveform("s0")

    def test_the_same_seed_gives_two_manipulations_different_noise(self):
        """Else the noise that is added to matched noise would be the very noise that was shaped."""
        sounds = a_set(noise(), noise())
        base = manipulate(sounds, "spectrally-matched-noise")
        added = played(add_noise(base, 0.0)) - played(base)
        assert abs(np.corrcoef(added, played(base))[0, 1]) < 4 / np.sqrt(8000)


class TestByName:
    def test_what_is_unknown_lacking_or_wrong(self):
        sounds = a_set(noise())
        for name, parameters, message in [
            ("scrambel", {}, "no manipulation named 'scrambel'; did you mean 'scramble'"),
            ("scramble", {"window": 3.0}, "has no parameter 'window'; did you mean 'window_ms'"),
            ("scramble", {}, "needs the parameter 'window_ms'"),
            ("scramble", {"window_ms": "30"}, "parameter window_ms: .* valid number, found '30'"),
            ("scramble", {"window_ms": 30, "seed": 0.5}, "parameter seed: .* valid integer, found 0.5"),
            ("add-noise", {"snr_db": 3, "spectrum": "brown"}, "parameter spectrum: .*'white', 'pink' or 'matched'"),
        ]:
            with pytest.raises(StimulusError, match=message):
                manipulate(sounds, name, **parameters)

    @pytest.mark.parametrize(
        ("name", "parameters"),
        [
            ("add-noise", {"snr_db": np.inf}),
            ("change-pitch", {"semitones": 25.0}),
            ("change-tempo", {"factor": 0.0}),
            ("change-tempo", {"factor": 5.0}),
            ("high-pass", {"cutoff_hz": np.nan}),
            ("low-pass", {"cutoff_hz": 100.0, "order": 0}),
            ("modulation-matched-noise", {"n_iterations": 0}),
            ("reverberate", {"rt60_s": 0.0}),
            ("reverberate", {"rt60_s": 1.0, "tail_s": -1.0}),
            ("scramble", {"window_ms": 0.0}),
            ("scramble", {"window_ms": 5.0, "fade_ms": 6.0}),
        ],
    )
    def test_impossible_values_fail_before_a_sound_is_played(self, name, parameters):
        def never(_):
            raise AssertionError("played")

        sounds = a_set(noise())
        with pytest.raises(StimulusError):
            manipulate(StimulusSet(sounds.manifest, sounds.table, never), name, **parameters)

    @pytest.mark.parametrize("semitones", [30.0, -24.5, np.nan, np.inf])
    def test_an_interval_is_refused_in_semitones(self, semitones):
        with pytest.raises(StimulusError, match=rf"{semitones:g} semitones; expected -24 to 24"):
            manipulate(a_set(noise()), "change-pitch", semitones=semitones)

    def test_a_chain_replays(self):
        sounds = a_set(noise())
        made = normalise_level(time_reverse(scramble(sounds, 30, seed=3)))
        again = sounds
        for name, parameters in made.history:
            again = manipulate(again, name, **parameters)
        assert again.digest("s0") == made.digest("s0")
        assert [name for name, _ in made.history] == ["scramble", "time_reverse", "normalise_level"]


class TestOrder:
    def test_backwards_twice_is_forwards(self):
        sounds = a_set(noise(801))
        np.testing.assert_array_equal(played(time_reverse(sounds)), played(sounds)[::-1])
        np.testing.assert_array_equal(played(time_reverse(time_reverse(sounds))), played(sounds))

    @given(n=st.integers(33, 400), window=st.integers(1, 16), seed=st.integers(0, 1000))
    def test_hard_joins_permute_windows(self, n, window, seed):
        signal = np.arange(1, n + 1) / 1024
        out = played(scramble(a_set(signal), window * 1000 / RATE, fade_ms=0, seed=seed))
        samples = np.round(out * 1024).astype(int)
        assert sorted(samples) == list(range(1, n + 1))
        assert (np.diff(samples) != 1).any()
        starts = np.flatnonzero(np.diff(samples, prepend=-1) != 1)
        assert ((samples[starts] - 1) % window == 0).all()

    @given(n=st.integers(400, 900), window=st.integers(20, 150), fade=st.integers(0, 20), seed=st.integers(0, 100))
    def test_cross_fades_add_up_to_one(self, n, window, fade, seed):
        """A constant stays one within, but where an end of the sound, with nothing beyond it, meets a join."""
        out = played(scramble(a_set(np.ones(n)), window * 1000 / RATE, fade_ms=fade * 1000 / RATE, seed=seed))
        assert out.max() <= 1 + 1e-6
        assert out.min() >= 0
        # Each of the two ends of the original, and of the new sound, costs a fade at most.
        assert (out < 1 - 1e-6).sum() <= 4 * max(fade, 1)

    def test_a_tone_has_no_clicks(self):
        """Joins in the fade: what lies two octaves above a tone is weaker than with hard joins by 20 dB and more."""
        sounds = a_set(tone(447.0))
        power = [
            np.sum(np.abs(np.fft.rfft(played(scramble(sounds, 50, fade_ms=fade))))[2000:] ** 2) for fade in (0, 10)
        ]
        assert 10 * np.log10(power[0] / power[1]) > 20

    def test_two_windows_always_change_places(self):
        signal = np.repeat([0.1, 0.2], 100)
        for seed in range(8):
            out = played(scramble(a_set(signal), 100 * 1000 / RATE, fade_ms=0, seed=seed))
            np.testing.assert_allclose(out, np.repeat([0.2, 0.1], 100), rtol=1e-6)


class TestSpectrum:
    @given(n=st.integers(3, 3000), seed=st.integers(0, 100))
    def test_random_phases_keep_the_magnitudes(self, n, seed):
        sounds = a_set(noise(n, seed) + 0.01)
        before, after = (np.fft.rfft(played(s)) for s in (sounds, phase_randomise(sounds, seed=seed)))
        assert np.abs(np.abs(after) - np.abs(before)).max() <= 1e-6 * np.abs(before).max()
        assert after[0].real == pytest.approx(before[0].real, abs=1e-6 * np.abs(before).max())

    def test_random_phases_are_uniform_and_spread_a_click(self):
        click = np.zeros(20_001)
        click[300] = 1.0
        out = played(phase_randomise(a_set(click)))
        phases = np.angle(np.fft.rfft(out))[1:]
        # Rayleigh: the mean of n random unit vectors is longer than 3.7 / sqrt(n) once in a million.
        assert abs(np.exp(1j * phases).mean()) < 3.7 / np.sqrt(len(phases))
        assert abs(np.exp(2j * phases).mean()) < 3.7 / np.sqrt(len(phases))
        assert np.abs(out).max() < 0.05
        assert rms(out) == pytest.approx(rms(click), rel=1e-6)

    @pytest.mark.parametrize("order", [2, 4, 8])
    @pytest.mark.parametrize("kind", [low_pass, high_pass])
    def test_gains_are_those_of_butterworth(self, kind, order):
        cutoff = 1000.0
        click = np.zeros(8192)
        click[4096] = 0.5
        out = np.fft.rfft(played(kind(a_set(click), cutoff, order=order)))
        frequencies = np.fft.rfftfreq(8192, 1 / RATE)
        at = (frequencies > 300) & (frequencies < 3500)
        sign = 1 if kind is low_pass else -1
        expected = -10 * np.log10(1 + (frequencies[at] / cutoff) ** (2 * order * sign))
        got = 20 * np.log10(np.abs(out[at]) / 0.5)
        heard = expected > -90
        np.testing.assert_allclose(got[heard], expected[heard], atol=0.1)
        # An independent judge: the digital filter, whose frequency axis is warped little this far below Nyquist.
        sos = butter(order, cutoff, "lowpass" if kind is low_pass else "highpass", fs=RATE * 16, output="sos")
        judge = 20 * np.log10(np.abs(sosfreqz(sos, frequencies[at], fs=RATE * 16)[1]))
        np.testing.assert_allclose(got[heard], judge[heard], atol=0.5)

    def test_a_tone_in_the_pass_band_keeps_its_phase(self):
        signal = tone(500.0) * np.hanning(RATE)
        np.testing.assert_allclose(played(low_pass(a_set(signal), 4000.0)), signal, atol=1e-6)
        assert np.abs(played(high_pass(a_set(signal), 4000.0))).max() < 1e-6

    def test_a_filter_does_not_reach_around(self):
        signal = np.zeros(4000)
        signal[-20:] = 1.0
        assert np.abs(played(low_pass(a_set(signal), 500.0))[:2000]).max() < 1e-6

    def test_a_cutoff_beyond_the_sound_names_it(self):
        with pytest.raises(StimulusError, match=r"stimulus 's0' .* does not lie below 8000 Hz"):
            low_pass(a_set(noise()), 9000.0).waveform("s0")


class TestLevelOfNoise:
    @pytest.mark.parametrize("spectrum", ["white", "pink", "matched"])
    @pytest.mark.parametrize("snr_db", [-12.0, 0.0, 20.0])
    def test_power_ratio(self, spectrum, snr_db):
        sounds = a_set(tone(440.0, level=0.02) + noise(RATE, level=0.004))
        added = played(add_noise(sounds, snr_db, spectrum=spectrum)) - played(sounds)
        assert 20 * np.log10(rms(played(sounds)) / rms(added)) == pytest.approx(snr_db, abs=1e-3)

    def test_white_and_pink(self):
        """Octaves of white noise gain 3.01 dB each, those of pink noise none."""
        sounds = a_set(np.full(2**17, 0.1))
        for spectrum, slope in {"white": 2.0, "pink": 1.0}.items():
            power = np.abs(np.fft.rfft(played(add_noise(sounds, 0.0, spectrum=spectrum)) - 0.1)) ** 2
            frequencies = np.fft.rfftfreq(2**17, 1 / RATE)
            octaves = [power[(frequencies >= f) & (frequencies < 2 * f)].sum() for f in (250, 500, 1000, 2000, 4000)]
            # 2,000 lines in the lowest octave: a standard error of 2.2 %.
            np.testing.assert_allclose(np.divide(octaves[1:], octaves[:-1]), slope, rtol=0.1)

    def test_nothing_is_clipped(self):
        loud = played(add_noise(normalise_level(a_set(noise()), 0.9), -20.0))
        assert np.abs(loud).max() > 10


class TestReverberation:
    @pytest.mark.parametrize("rt60_s", [0.3, 1.2])
    def test_decay_time(self, rt60_s):
        """Schroeder's backward integral of the response to a click falls by 60 dB in this time (T30, ISO 3382)."""
        click = np.zeros(160)
        click[0] = 1.0
        out = played(reverberate(a_set(click), rt60_s, direct_to_reverberant_db=-10.0, tail_s=2 * rt60_s))
        assert len(out) == 160 + round(2 * rt60_s * RATE)
        left = np.cumsum(out[:0:-1] ** 2)[::-1]
        level = 10 * np.log10(left[left > 0] / left[0])
        at = np.flatnonzero((level < -5) & (level > -35))
        slope = np.polyfit(at / RATE, level[at], 1)[0]
        assert -60 / slope == pytest.approx(rt60_s, rel=0.03)

    def test_energies_and_length(self):
        click = np.zeros(RATE)
        click[0] = 0.5
        out = played(reverberate(a_set(click), 0.3, direct_to_reverberant_db=6.0))
        assert len(out) == RATE
        assert out[0] == pytest.approx(0.5, rel=1e-6)
        assert 10 * np.log10(0.25 / np.sum(out[1:] ** 2)) == pytest.approx(6.0, abs=1e-3)

    def test_convolution_does_not_wrap(self):
        signal = np.zeros(1000)
        signal[-1] = 0.5
        np.testing.assert_allclose(played(reverberate(a_set(signal), 0.5)), signal, atol=1e-7)


class TestTempoAndPitch:
    @pytest.mark.parametrize("factor", [0.25, 0.8, 1.0, 1.37, 4.0])
    @pytest.mark.parametrize("frequency", [220.0, 1234.5])
    def test_tempo_keeps_the_frequency(self, factor, frequency):
        out = played(change_tempo(a_set(tone(frequency)), factor))
        assert len(out) == round(RATE / factor)
        assert frequency_of(out) == pytest.approx(frequency, rel=1e-3)
        assert rms(out[len(out) // 4 : 3 * len(out) // 4]) == pytest.approx(0.3 / np.sqrt(2), rel=0.02)

    def test_tempo_of_one_changes_nothing(self):
        sounds = a_set(noise(9001))
        np.testing.assert_allclose(played(change_tempo(sounds, 1.0)), played(sounds), atol=1e-6)

    @pytest.mark.parametrize("factor", [0.5, 1.6])
    def test_onsets_move(self, factor):
        """Bursts every 250 ms come every 250 ms / factor, to half a frame."""
        signal = np.zeros(2 * RATE)
        for k in range(8):
            signal[k * 4000 + 1000 : k * 4000 + 1800] = tone(880.0, 800)
        out = played(change_tempo(a_set(signal), factor))
        for k in range(8):
            start, stop = round(k * 4000 / factor), round((k + 1) * 4000 / factor)
            energy = out[start:stop] ** 2
            centre = np.sum(energy * np.arange(len(energy))) / energy.sum()
            assert centre == pytest.approx(1400 / factor, abs=0.015 * RATE)

    @pytest.mark.parametrize("semitones", [-12.0, -3.0, 0.0, 4.0, 7.0, 24.0])
    def test_pitch_moves_a_tone_by_the_ratio(self, semitones):
        out = played(change_pitch(a_set(tone(330.0)), semitones))
        assert len(out) == RATE
        assert frequency_of(out) == pytest.approx(330.0 * 2 ** (semitones / 12), rel=1e-3)
        assert rms(out[4000:12000]) == pytest.approx(0.3 / np.sqrt(2), rel=0.02)

    def test_pitch_keeps_harmonics_harmonic(self):
        signal = sum(tone(f, level=0.1) for f in (200.0, 400.0, 600.0, 800.0))
        out = played(change_pitch(a_set(signal), 5.0))[4000:12000]
        spectrum = np.abs(np.fft.rfft(out * np.hanning(8000)))
        lines = np.array([200.0, 400.0, 600.0, 800.0]) * 2 ** (5 / 12)
        near = np.min(np.abs(np.fft.rfftfreq(8000, 1 / RATE)[:, None] - lines), axis=1) < 10
        assert 10 * np.log10(np.sum(spectrum[near] ** 2) / np.sum(spectrum[~near] ** 2)) > 20


class TestWriting:
    def test_a_written_set_loads_again(self, tmp_path):
        demo = load_stimuli("demo").select(categories=["Tone", "Song"])
        made = scramble(attenuate(demo, 0.5, ["Tone"]), 200, seed=5)
        folder = write_set(made, tmp_path / "new" / "set")
        again = load_stimuli(folder)
        assert again.name == made.name
        assert again.manifest == made.manifest.model_copy(update={"sample_rate": 22_050})
        assert again.ids == made.ids
        pd.testing.assert_frame_equal(again.table.drop(columns="file"), demo.table.drop(columns="file"))
        for i in made.ids:
            np.testing.assert_allclose(again.waveform(i)[0], made.waveform(i)[0], rtol=0, atol=0.6 / 2**23)
        record = json.loads((folder / "manipulations.json").read_text("utf-8"))
        assert record["parent"] == "demo"
        remade = demo
        for step in record["manipulations"]:
            remade = manipulate(remade, step["name"], **step["parameters"])
        assert remade.digest(made.ids[0]) == made.digest(made.ids[0])

    def test_too_loud(self, tmp_path):
        sounds = a_set(noise(level=0.1), 2.0 * tone(100.0, level=1.0), 3.0 * tone(100.0, level=1.0))
        with pytest.raises(StimulusError, match=r"2 of 3 .* clip: s1, s2; attenuate the set by 9.6 dB"):
            write_set(sounds, tmp_path / "set")
        assert list(tmp_path.iterdir()) == []
        write_set(attenuate(sounds, 10**-0.96), tmp_path / "set")
        assert len(load_stimuli(tmp_path / "set")) == 3

    def test_a_set_within_its_source(self, tmp_path):
        source = load_stimuli(write_set(a_set(noise()), tmp_path / "source"))
        with pytest.raises(StimulusError, match=r"lies within .*source, the set that it would be made from"):
            write_set(time_reverse(time_reverse(source)), source.folder / "x")
        assert not (source.folder / "x").exists()

    def test_strange_ids(self, tmp_path):
        sounds = a_set(noise(100), noise(100, 1), noise(100, 2), noise(100, 3))
        table = sounds.table.set_axis(pd.Index(["../up", "a b", "a/b", "\u00e9\u6f22"], name="stimulus_id"))
        inner = dict(zip(table.index, sounds.ids, strict=True))
        strange = StimulusSet(sounds.manifest, table, lambda i: sounds.source(inner[i]))
        again = load_stimuli(write_set(strange, tmp_path / "set"))
        assert again.ids == list(table.index)
        for i in again.ids:
            np.testing.assert_allclose(again.waveform(i)[0], strange.waveform(i)[0], rtol=0, atol=0.6 / 2**23)
        assert {p.parent for p in (tmp_path / "set").iterdir()} == {tmp_path / "set"}
        assert not (tmp_path / "up.wav").exists()

    def test_nothing_is_overwritten_or_left_half_done(self, tmp_path):
        (tmp_path / "set").mkdir()
        (tmp_path / "set" / "mine.txt").write_text("x")
        with pytest.raises(StimulusError, match="not empty"):
            write_set(a_set(noise()), tmp_path / "set")
        with pytest.raises(StimulusError, match="'s1' is silent"):
            write_set(time_reverse(a_set(noise(), np.zeros(100))), tmp_path / "other")
        assert [p.name for p in tmp_path.iterdir()] == ["set"]

    def test_a_plain_set_has_no_record(self, tmp_path):
        folder = write_set(a_set(noise()), tmp_path / "set")
        assert sorted(p.name for p in folder.iterdir()) == ["s0.wav", "stimuli.csv", "stimulus_set.toml"]
        assert not isinstance(load_stimuli(folder), ManipulatedSet)


PAGE = Path(__file__).parents[1] / "docs" / "manipulations.md"


@pytest.mark.skipif(not PAGE.is_file(), reason="runs from an installed package, not from a checkout")
class TestPage:
    @pytest.mark.parametrize("name", MANIPULATIONS.names())
    def test_every_manipulation_has_a_row_with_all_its_parameters_and_defaults(self, name):
        row = next(line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith(f"| `{name}` |"))
        stated = dict(re.findall(r"`(\w+)(?: = ([^`]*))?`", row))
        known = list(inspect.signature(MANIPULATIONS.get(name)).parameters.values())[1:]
        for parameter in known:
            value = stated[parameter.name]
            if parameter.default in (inspect.Parameter.empty, None):
                assert value == ""
            else:
                default = parameter.default
                assert tomllib.loads(f"x = {value}")["x"] == (list(default) if isinstance(default, tuple) else default)

    def test_its_recipes_and_commands_can_be_used(self):
        text = PAGE.read_text(encoding="utf-8")
        demo = load_stimuli("demo")
        recipes = [tomllib.loads(block)["stimuli"] for block in re.findall(r"```toml\n(.*?)```", text, re.DOTALL)]
        steps = [dict(step) for recipe in recipes for step in recipe["manipulate"]]
        for line in re.findall(r"^brainalign stimuli manipulate demo .*$", text, re.MULTILINE):
            name, *parameters = shlex.split(line.partition(" --out ")[0])[4:]
            steps.append({"name": name} | tomllib.loads("\n".join(parameters)))
        assert len(steps) == 6
        for step in steps:
            name = step.pop("name")
            assert len(manipulate(demo, name, **step).waveform(demo.ids[0])[0]) > 0
