"""The modulation power spectrum: ripples, closed forms and Parseval's theorem."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.signal import ShortTimeFFT

from brainalign.errors import ModelError
from brainalign.models import load_model
from brainalign.models.extraction import extract
from brainalign.models.modulation_spectrum import (
    BANDWIDTH_HZ,
    MINIMUM_SAMPLES,
    SAMPLE_RATE,
    LogSpectrogram,
    ModulationPower,
    load_modulation_spectrum,
    modulation_axes,
    modulation_power,
)
from brainalign.stimuli import StimulusSet, load_stimuli

rates, densities = modulation_axes()


def ripple(rate_hz: float, density: float, *, duration_s: float = 1.6, depth_db: float = 10.0) -> torch.Tensor:
    """Make tones every 20 Hz whose levels are cos(2 pi (rate t + density f)): downward where both are positive."""
    rng = np.random.default_rng(0)
    t = np.arange(int(duration_s * SAMPLE_RATE)) / SAMPLE_RATE
    sound = np.zeros_like(t)
    for f in np.arange(40, 8_000, 20.0):
        level = depth_db * np.cos(2 * np.pi * (rate_hz * t + density * f / 1000))
        sound += 10 ** (level / 20) * np.cos(2 * np.pi * f * t + rng.uniform(0, 2 * np.pi))
    return torch.tensor(sound / np.abs(sound).max() / 2, dtype=torch.float32)[None]


def power_of(spectrogram: np.ndarray) -> torch.Tensor:
    return ModulationPower()(torch.tensor(spectrogram, dtype=torch.float32)[None])[0]


def grid(n_frames: int = 250) -> tuple[np.ndarray, np.ndarray]:
    """Give the frequency in kHz of each bin and the time in s of each frame."""
    return np.arange(256)[:, None] / 32, np.arange(n_frames)[None] / 250


class TestRipples:
    @pytest.mark.parametrize(("rate", "density"), [(8, 0.5), (-8, 0.5), (4, 2), (-16, 1), (0, 3), (6, 0)])
    def test_a_ripple_lands_where_it_belongs(self, rate: int, density: float) -> None:
        model = load_modulation_spectrum()
        out = model.activations(ripple(rate, density), ["power", "decibels"])
        power = out["power"][0].mean(dim=1)
        top = power.argmax()
        assert (rates[top], densities[top]) == (rate, density)
        assert out["decibels"][0].argmax() == top
        # A 10-dB cosine has a variance of 50 dB squared, of which a Hann window leaves 2/3 in one bin; the Gaussian
        # analysis window smooths the ripple, over a density as over a rate.
        assert 25 < power[top] < 50 * 2 / 3
        if rate and density:
            mirrored = power[(rates == -rate) & (densities == density)]
            assert mirrored < 1e-4 * power[top], "the other direction"

    def test_the_pitch_of_harmonics(self) -> None:
        t = np.arange(2 * SAMPLE_RATE) / SAMPLE_RATE
        tones = sum(np.cos(2 * np.pi * 250 * h * t + h**2) for h in range(1, 32))
        out = load_modulation_spectrum().activations(torch.tensor(tones, dtype=torch.float32)[None] / 40, ["power"])
        power = out["power"][0].mean(dim=1)
        above = densities > 2
        top = torch.where(above, power, 0).argmax()
        assert (rates[top], densities[top]) == (0, 1000 / 250)


class TestPower:
    @pytest.mark.parametrize(("rate", "density"), [(5, 0.25), (-5, 0.25), (32, 12), (-32, 12), (3, 0), (0, 1)])
    def test_closed_form_of_a_cosine(self, rate: int, density: float) -> None:
        f, t = grid()
        power = power_of(-30 + 7 * np.cos(2 * np.pi * (rate * t + density * f) + 0.3))[:, 0]
        # A Hann window leaves (sum h)^2 / (n sum h^2) = 2/3 in the middle and a quarter of that on either side.
        own = (rates == rate) & (densities == density)
        assert power[own].item() == pytest.approx(49 / 2 * 2 / 3, rel=1e-3)
        if rate not in (0, 32, -32):
            beside = (rates == rate + 1) & (densities == density)
            assert power[beside].item() == pytest.approx(49 / 2 / 6, rel=1e-3)
        elsewhere = (rates - rate).abs() > 1
        assert power[elsewhere & (densities != density)].max() < 1e-6

    def test_parseval(self) -> None:
        rng = np.random.default_rng(0)
        windows, taper = rng.normal(-40, 9, (3, 64, 50)), np.hanning(52)[1:-1]
        power = modulation_power(torch.tensor(windows), torch.tensor(taper)).numpy()
        for window, p in zip(windows, power, strict=True):
            mean = np.average(window, weights=np.broadcast_to(taper, window.shape))
            variance = np.average((window - mean) ** 2, weights=np.broadcast_to(taper**2, window.shape))
            assert p.sum() == pytest.approx(variance, rel=1e-10)
            assert p[0, 0] < 1e-20, "the mean is taken away"

    def test_units_hold_all_of_the_power_of_slow_and_coarse_modulations(self) -> None:
        rng = np.random.default_rng(0)
        f, t = grid()
        values = np.zeros((256, 250))
        for rate, density in zip(rng.integers(-30, 31, 40), rng.integers(0, 90, 40) / 8, strict=True):
            values += np.cos(2 * np.pi * (rate * t + density * f) + rng.uniform(0, 6))
        taper = torch.hann_window(250).double()
        whole = modulation_power(torch.tensor(values), taper).sum()
        assert power_of(values).sum().item() == pytest.approx(whole.item(), rel=1e-4)

    def test_noise_spreads_evenly(self) -> None:
        noise = np.random.default_rng(0).normal(0, 1, (256, 250 + 125 * 30))
        power = power_of(noise).mean(dim=1)
        # Of unit variance, all 256 x 250 modulations hold the same; each unit holds two.
        assert power.mean().item() == pytest.approx(2 / (256 * 250), rel=0.01)

    def test_number_of_windows_and_units(self) -> None:
        for n_frames, n_windows in ((250, 1), (374, 1), (375, 2), (1000, 7)):
            assert power_of(np.random.default_rng(0).normal(size=(256, n_frames))).shape == (6272, n_windows)
        assert len(rates) == len(densities) == 6272
        assert len({(r, d) for r, d in zip(rates.tolist(), densities.tolist(), strict=True)}) == 6272


class TestLogSpectrogram:
    def test_scipy_gives_the_same(self) -> None:
        sound = np.random.default_rng(0).normal(0, 0.1, SAMPLE_RATE)
        front = LogSpectrogram()
        out = front(torch.tensor(sound, dtype=torch.float32)[None])[0].numpy()
        window = front.window.double().numpy()
        stft = ShortTimeFFT(window, hop=64, fs=SAMPLE_RATE, fft_mode="onesided")
        # Its slice p is centred on sample 64 p; the first frame here is centred on sample 256.
        expected = 20 * np.log10(np.abs(stft.stft(sound))[:256, 4 - stft.p_min :][:, : out.shape[1]])
        np.testing.assert_allclose(out, np.maximum(expected, expected.max() - 50), atol=2e-3)

    def test_the_window_has_the_stated_bandwidth(self) -> None:
        response = np.abs(np.fft.rfft(LogSpectrogram().window.double().numpy(), 16_000))
        hz = np.arange(len(response))
        assert response[round(BANDWIDTH_HZ)] / response[0] == pytest.approx(np.exp(-0.5), abs=0.005)
        assert response[hz > 6 * BANDWIDTH_HZ].max() < 0.01 * response[0]

    def test_floor_and_silence(self) -> None:
        front = LogSpectrogram()
        out = front(torch.sin(torch.arange(16_000) * 0.4)[None])
        assert out.max() - out.min() == pytest.approx(50)
        assert front(torch.zeros(1, 16_000)).std() == 0


class TestModel:
    def test_level_does_not_matter(self) -> None:
        model, sound = load_model("modulation-spectrum"), ripple(3, 1, duration_s=1.2)
        loud, soft = (model.activations(sound * g, ["power"])["power"] for g in (1.0, 0.01))
        torch.testing.assert_close(loud, soft, atol=1e-4, rtol=1e-3)

    def test_any_duration_gives_the_same_units(self) -> None:
        demo = load_stimuli("demo").select(load_stimuli("demo").ids[::13])
        longer = StimulusSet(demo.manifest, demo.table, lambda i: (np.tile(demo.source(i)[0], 2), demo.source(i)[1]))
        model = load_modulation_spectrum()
        a, b = extract(model, demo), extract(model, longer)
        assert a.sizes == b.sizes == {"stimulus": 6, "unit": 2 * 6272}
        decibels = a["layer"].values == "decibels"
        same = [np.corrcoef(x, y)[0, 1] for x, y in zip(a.values[:, decibels], b.values[:, decibels], strict=True)]
        other = [np.corrcoef(x, y)[0, 1] for x, y in zip(a.values[1:, decibels], b.values[:-1, decibels], strict=True)]
        assert min(same) > 0.9
        assert np.mean(same) > np.mean(other)

    def test_short_and_silent_sounds(self) -> None:
        demo = load_stimuli("demo").select(categories="Tone")
        short = StimulusSet(demo.manifest, demo.table, lambda i: (demo.source(i)[0][:20_000], 22_050))
        with pytest.raises(ModelError, match="too short for modulation-spectrum"):
            extract(load_modulation_spectrum(), short)
        out = load_modulation_spectrum().activations(torch.zeros(1, MINIMUM_SAMPLES), ["power", "decibels"])
        assert (out["power"] == 0).all()
        assert (out["decibels"] == -60).all()

    def test_what_it_has_not(self) -> None:
        with pytest.raises(ModelError, match="has no variant 'octave'"):
            load_model("modulation-spectrum:octave")
        with pytest.raises(ModelError, match="has no weights"):
            load_model("modulation-spectrum@random:1")
