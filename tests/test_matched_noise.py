"""Noise that shares the spectrum, or the modulations, of a sound."""

from functools import cache
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import butter, hilbert, sosfiltfilt, stft

from brainalign.auditory.cochlea import erb_filters, erb_number
from brainalign.errors import StimulusError
from brainalign.stimuli import load_stimuli
from brainalign.stimuli.audio import resample, rms
from brainalign.stimuli.manipulations import modulation_matched_noise
from brainalign.stimuli.matched_noise import (
    LOWEST_HZ,
    _Listener,
    match_modulations,
    match_spectrum,
    modulation_statistics,
)

RATE = 8000


def white(n, seed=0):
    return np.random.default_rng(seed).standard_normal(n)


def demo(stimulus_id, rate=RATE, seconds=2.0):
    waveform, own = load_stimuli("demo").waveform(stimulus_id)
    return resample(waveform, own, rate)[: round(seconds * rate)].astype(np.float64)


def third_octaves(waveform, rate=RATE):
    """Return the power in dB of bands cut out of the spectrum, with no filter of ours."""
    power = np.abs(np.fft.rfft(waveform)) ** 2
    frequencies = np.fft.rfftfreq(len(waveform), 1 / rate)
    edges = 80 * 2 ** (np.arange(17) / 3)
    return 10 * np.log10([power[(frequencies >= a) & (frequencies < b)].sum() for a, b in pairwise(edges)])


class TestSpectrum:
    @given(n=st.integers(800, 3000), seed=st.integers(0, 100), rate=st.sampled_from([8000, 22_050, 44_100]))
    def test_noise_matches_itself(self, n, seed, rate):
        noise = 0.3 * white(n, seed)
        np.testing.assert_allclose(match_spectrum(noise, noise, rate), noise, atol=1e-9)

    @pytest.mark.parametrize("stimulus_id", ["texture01_rain", "speech01_man_calm", "texture02_wind"])
    def test_third_octaves(self, stimulus_id):
        """Bands that are not ours agree where the sound is near its peak; they share no slope with the filters."""
        sound = demo(stimulus_id)
        have, want = (third_octaves(x) for x in (match_spectrum(white(len(sound)), sound, RATE), sound))
        # Up from 500 Hz, where a third of an octave is wider than an ERB.
        loud = (want > want.max() - 30) & (np.arange(len(want)) >= 8)
        assert loud.sum() >= 5
        assert np.abs(have - want)[loud].mean() < 1
        assert np.abs(have - want)[loud].max() < 3

    def test_powers_of_the_bands_are_exact(self):
        """Also for another tilt than that of the noise, 12 dB per octave."""
        n = 16_000
        sound = np.cumsum(white(n, 1))
        sound = np.diff(sound, prepend=0) + np.fft.irfft(
            np.fft.rfft(white(n, 2)) / np.maximum(np.fft.rfftfreq(n, 1 / RATE), 50) ** 2 * 2500, n
        )
        n_bands = round(float(np.diff(erb_number([LOWEST_HZ, RATE / 2]))[0])) - 1
        filters = erb_filters(RATE, n, n_bands=n_bands, low_hz=LOWEST_HZ, high_hz=RATE / 2, dtype=torch.float64)
        gains = filters.transfer.numpy() ** 2
        have, want = (gains @ np.abs(np.fft.rfft(x)) ** 2 for x in (match_spectrum(white(n), sound, RATE), sound))
        np.testing.assert_allclose(have, want, rtol=0.01)

    def test_what_it_gives_is_noise(self):
        """A click train becomes Gaussian and steady: no kurtosis, envelopes of Rayleigh."""
        sound = np.zeros(16_000)
        sound[::800] = 1.0
        noise = match_spectrum(white(16_000), sound, RATE)
        assert np.mean(sound**4) / np.mean(sound**2) ** 2 > 100
        assert np.mean(noise**4) / np.mean(noise**2) ** 2 == pytest.approx(3.0, abs=0.3)
        halves = rms(noise[:8000]) / rms(noise[8000:])
        assert halves == pytest.approx(1.0, abs=0.1)
        assert rms(noise) == pytest.approx(rms(sound), rel=1e-6)

    def test_a_tone_becomes_a_narrow_band(self):
        tone = np.sin(2 * np.pi * 1000 * np.arange(16_000) / RATE)
        noise = match_spectrum(white(16_000), tone, RATE)
        power = np.abs(np.fft.rfft(noise)) ** 2
        frequencies = np.fft.rfftfreq(16_000, 1 / RATE)
        assert rms(noise) == pytest.approx(rms(tone), rel=1e-6)
        # Two ERB (133 Hz each) to either side.
        assert power[np.abs(frequencies - 1000) < 270].sum() / power.sum() > 0.95
        assert power.max() / power.sum() < 0.1


def errors(made, sound, rate=RATE):
    """Return what is left of the differences of standard deviations: relative power; and their correlation."""
    have, want = (modulation_statistics(x, rate) for x in (made, sound))
    power = np.sum((have.modulation_sd - want.modulation_sd) ** 2) / np.sum(want.modulation_sd**2)
    return power, np.corrcoef(have.modulation_sd.ravel(), want.modulation_sd.ravel())[0, 1], have, want


@cache
def ripple(direction):
    """Return noise under a ripple of 1 cycle per octave and 8 Hz, down (1) or up (-1), 1 s."""
    n = RATE
    t, out = np.arange(n) / RATE, np.zeros(n)
    rng = np.random.default_rng(3)
    for octave in np.arange(0, 5, 1 / 40):
        envelope = 1 + 0.9 * np.cos(2 * np.pi * (8 * t + direction * octave))
        out += envelope * np.sin(2 * np.pi * (100 * 2**octave * t + rng.uniform()))
    return 0.1 * out / rms(out)


@cache
def matched(direction, n_iterations=5):
    return match_modulations(white(RATE), ripple(direction), RATE, n_iterations=n_iterations)


def directions(waveform):
    """Return the power at 8 Hz of ripples with 0.5 to 2 cycles per octave, down and up: of a plain spectrogram."""
    frequencies, _, z = stft(waveform, RATE, nperseg=320, noverlap=280, nfft=1600)
    octaves = np.arange(np.log2(200), np.log2(3000), 1 / 12)
    levels = np.log(np.stack([np.interp(np.exp2(octaves), frequencies, np.abs(c)) for c in z.T], axis=1) + 1e-6)
    spectrum = np.abs(np.fft.fft2((levels - levels.mean()) * np.hanning(levels.shape[1]))) ** 2
    scale = np.fft.fftfreq(levels.shape[0], 1 / 12)[:, None]
    rate = np.fft.fftfreq(levels.shape[1], 40 / RATE)[None]
    near = (np.abs(np.abs(rate) - 8) < 2) & (np.abs(scale) > 0.5) & (np.abs(scale) < 2)
    return spectrum[near & (rate * scale > 0)].sum(), spectrum[near & (rate * scale < 0)].sum()


class TestModulations:
    @pytest.mark.parametrize("direction", [1, -1])
    def test_ripples_keep_their_direction(self, direction):
        """An independent judge, the two-dimensional spectrum of a spectrogram, tells up from down."""

        def ratio(waveform):
            down, up = directions(waveform)
            return 10 * np.log10(down / up) * direction

        assert ratio(ripple(direction)) > 15
        assert ratio(matched(direction, 3)) > 6
        assert abs(ratio(match_spectrum(white(RATE), ripple(direction), RATE))) < 4

    def test_statistics_agree_better_than_after_matching_the_spectrum_alone(self):
        sound = ripple(1)
        spectral, few, many = (
            errors(x, sound) for x in (match_spectrum(white(RATE), sound, RATE), matched(1, 1), matched(1))
        )
        assert many[0] < few[0] < spectral[0]
        assert many[0] < spectral[0] / 3
        assert many[0] < 0.06
        assert many[1] > 0.95
        have, want = many[2:]
        # Where the sound is; in the other channels is what leaks into them.
        heard = (want.frequencies_hz > 100) & (want.frequencies_hz < 3000)
        for what in ("envelope_mean", "envelope_sd"):
            np.testing.assert_allclose(getattr(have, what)[heard], getattr(want, what)[heard], rtol=0.1)

    def test_it_is_another_sound(self):
        """Statistics agree, waveforms and what happens when do not."""
        sound = ripple(1)
        assert abs(np.corrcoef(matched(1), sound)[0, 1]) < 0.1
        envelopes = [np.abs(hilbert(sosfiltfilt(butter(2, (400, 800), "bandpass", fs=RATE, output="sos"), x)))
                     for x in (matched(1), sound)]  # fmt: skip
        assert np.corrcoef(*envelopes)[0, 1] < 0.8

    def test_level_length_and_seed(self):
        assert len(matched(1)) == RATE
        assert rms(matched(1)) == pytest.approx(rms(ripple(1)), rel=0.01)

    def test_a_sound_is_left_alone_by_its_own_statistics(self):
        """The fixed point: modulations that agree change nothing, and envelopes that stay give the sound back."""
        sound = torch.as_tensor(ripple(1), dtype=torch.float32)
        listener = _Listener(RATE, RATE)
        analytic, heard = listener.cochleagram(sound)
        own = [response.sort(dim=-1).values for response in listener.modulations(heard)]
        np.testing.assert_allclose(listener.with_modulations(heard, own), heard, atol=1e-5)
        again = listener.waveform(analytic, heard).numpy()
        inner = slice(400, -400)
        assert rms(again[inner] - ripple(1)[inner]) < 0.1 * rms(ripple(1))

    def test_the_way_back_divides_by_the_right_gains(self):
        """Responses half as large again come from a cochleagram whose deviations from its mean are: closed form."""
        listener = _Listener(RATE, RATE)
        _, heard = listener.cochleagram(torch.as_tensor(ripple(1), dtype=torch.float32))
        goals = [1.5 * response.sort(dim=-1).values for response in listener.modulations(heard)]
        change = listener.with_modulations(heard, goals) - heard
        octaves = listener.to_octaves @ heard
        expected = listener.to_bands @ (0.5 * (octaves - octaves.mean()))
        # Away from the ends, over which filters reach into the padding, and less the means over time, of which much of
        # the responses lies there; envelopes get their own means afterwards.
        inside = (listener.filters.centres > 100) & (listener.filters.centres < 3000)
        change, expected = (x[inside][:, 40:-40] for x in (change, expected))
        change, expected = ((x - x.mean(dim=1, keepdim=True)).numpy().ravel() for x in (change, expected))
        assert np.corrcoef(change, expected)[0, 1] > 0.99
        assert np.dot(change, expected) / np.dot(expected, expected) == pytest.approx(1.0, abs=0.03)

    def test_without_gradients_too(self):
        sound = ripple(1)[:1600]
        plain = match_modulations(white(1600), sound, RATE, n_iterations=1)
        with torch.inference_mode():
            np.testing.assert_array_equal(match_modulations(white(1600), sound, RATE, n_iterations=1), plain)

    def test_other_rates(self):
        """44.1 kHz: the length stays, and there is nothing above 10 kHz."""
        sound = 0.1 * white(8821, 4)
        made = match_modulations(white(8821), sound, 44_100, n_iterations=1)
        assert len(made) == 8821
        power = np.abs(np.fft.rfft(made * np.hanning(8821))) ** 2
        assert power[np.fft.rfftfreq(8821, 1 / 44_100) > 10_500].sum() < 1e-6 * power.sum()

    def test_a_rate_that_is_too_low(self):
        with pytest.raises(StimulusError, match="a sound at 2000 Hz"):
            match_modulations(white(2000), white(2000, 1), 2000, n_iterations=1)

    @pytest.mark.slow
    def test_speech(self):
        """10 iterations: 133 filters in 219 channels, of 2 s of speech at 22.05 kHz."""
        speech = load_stimuli("demo").select("speech01_man_calm")
        sound, rate = speech.waveform("speech01_man_calm")
        made, _ = modulation_matched_noise(speech, n_iterations=10).waveform("speech01_man_calm")
        power, correlation, have, want = errors(made.astype(np.float64), sound.astype(np.float64), rate)
        assert have.modulation_sd.shape == (133, 219)
        assert power < 0.05
        assert correlation > 0.97
        assert np.median(np.abs(20 * np.log10(have.modulation_sd / want.modulation_sd))) < 2
        for what in ("envelope_mean", "envelope_sd"):
            a, b = getattr(have, what), getattr(want, what)
            assert np.sum((a - b) ** 2) < 0.005 * np.sum(b**2)
