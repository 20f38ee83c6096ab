"""The Gabor filter bank: published counts, closed forms, direct convolution, and numbers of the reference code."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.signal import convolve2d

from brainalign.auditory.gabor import (
    GaborSettings,
    boundary_gain,
    gabor_filter,
    gabor_filter_bank,
    hann,
    modulation_frequencies,
    representative_channels,
)
from brainalign.errors import ModelError
from brainalign.models import load_model
from brainalign.models.gbfb import KIM2024, GaborFeatures, ReferenceLogMel, load_gbfb, reference_settings

REFERENCE_31 = reference_settings(31)


def spectrogram(n_bands: int, n_frames: int = 120) -> np.ndarray:
    f, t = np.mgrid[0:n_bands, 0:n_frames]
    waves = 20 * np.sin(0.3 * f + 0.2 * t) + 10 * np.cos(0.11 * f**2 / n_bands - 0.05 * t) + 5 * np.sin(f * t / 50)
    return np.asarray(60 + waves)


def chirps(sample_rate: int) -> torch.Tensor:
    t = np.arange(sample_rate) / sample_rate
    tone, sweep = 0.1 * np.sin(2 * np.pi * 440 * t), 0.05 * np.sin(2 * np.pi * 1000 * t**2)
    beat = 0.02 * np.sin(2 * np.pi * 50 * t) * np.sin(2 * np.pi * 2999 * t)
    return torch.tensor(tone + sweep + beat, dtype=torch.float32)[None]


def apply(features: GaborFeatures, values: np.ndarray) -> np.ndarray:
    return features(torch.tensor(values, dtype=torch.float32)[None, None])[0].numpy()


class TestCounts:
    @pytest.mark.parametrize(
        ("variant", "n_filters", "n_features"),
        [("", 263, 263), ("8khz", 41, 311), ("16khz", 41, 455), ("24khz", 41, 509), ("64bands", 50, 923)],
    )
    def test_published_numbers_of_filters_and_features(self, variant: str, n_filters: int, n_features: int) -> None:
        model = load_gbfb(variant)
        assert len(model.module.gbfb.kernels) == n_filters
        activations = model.activations(torch.randn(2, model.sample_rate // 2) * 0.1, list(model.layouts))
        assert activations["gbfb"].shape[:2] == (2, n_features)

    def test_kim_has_15_spectral_and_18_temporal_frequencies(self) -> None:
        bank = gabor_filter_bank(KIM2024)
        spectral, temporal = sorted({f.omega_k for f in bank}), sorted({f.omega_n for f in bank})
        assert (len(spectral), len(temporal), len(bank)) == (15, 18, 15 * 18 - 7)
        per_second = 22_050 / 275
        assert temporal[1] * per_second / (2 * np.pi) == pytest.approx(1.93, abs=0.005)
        assert temporal[-1] * per_second / (2 * np.pi) == pytest.approx(10.0, abs=0.03)
        assert spectral[8] / (2 * np.pi) == pytest.approx(0.0315, abs=5e-5)
        assert spectral[-1] / (2 * np.pi) == pytest.approx(0.125)

    @pytest.mark.parametrize("height", [56, 64, 69])
    @pytest.mark.parametrize("width", [73, 80])
    def test_the_stated_range_of_sizes_gives_kims_count_and_others_do_not(self, height: int, width: int) -> None:
        def count(size: tuple[float, float]) -> int:
            return len(gabor_filter_bank(GaborSettings(KIM2024.omega_max, size, KIM2024.distance)))

        assert count((height, width)) == 263
        assert count((55, width)) != 263
        assert count((70, width)) != 263
        assert count((height, 72)) != 263
        assert count((height, 81)) != 263

    def test_reference_centre_frequencies(self) -> None:
        bank = gabor_filter_bank(REFERENCE_31)
        temporal = np.array(sorted({f.omega_n for f in bank})) * 100 / (2 * np.pi)
        spectral = np.array(sorted({f.omega_k for f in bank if f.omega_k >= 0})) / (2 * np.pi)
        np.testing.assert_allclose(temporal, [0, 6.19, 9.86, 15.7, 25], atol=0.02)
        np.testing.assert_allclose(spectral, [0, 0.0293, 0.0599, 0.1223, 0.25], atol=5e-5)

    def test_the_frequencies_stop_where_the_envelope_would_be_too_wide(self) -> None:
        omegas = modulation_frequencies(math.pi / 2, 40, 0.2, 3.5)
        assert (math.pi * 3.5 / omegas < 40).all()
        assert math.pi * 3.5 / (omegas[0] * omegas[0] / omegas[1]) >= 40
        assert modulation_frequencies(math.pi / 2, 2, 0.2, 3.5) == pytest.approx(math.pi / 2), (
            "the highest always stays"
        )

    def test_order_temporal_frequency_outside_spectral_inside(self) -> None:
        order = [(f.omega_n, f.omega_k) for f in gabor_filter_bank(REFERENCE_31)]
        assert order == sorted(order)
        assert order[0] == (0.0, 0.0)


class TestFilters:
    @pytest.mark.parametrize("settings", [KIM2024, REFERENCE_31], ids=["kim2024", "reference"])
    def test_gain_mean_and_centre(self, settings: GaborSettings) -> None:
        for f in gabor_filter_bank(settings):
            height, width = f.kernel.shape
            assert height % 2 == width % 2 == 1
            assert np.abs(np.fft.fft2(f.kernel)).max() == pytest.approx(1)
            mean = f.kernel.sum()
            if f.omega_k or f.omega_n:
                assert abs(mean) < 1e-12
            else:
                assert mean == pytest.approx((1 + 1j) / np.sqrt(2))
            assert f.kernel[height // 2, width // 2].real == np.abs(f.kernel.real).max()

    def test_one_filter_written_out(self) -> None:
        omega_k, omega_n = 0.5, -0.9
        f = gabor_filter(omega_k, omega_n, REFERENCE_31)
        half_k, half_n = np.pi * 3.5 / 0.5 / 2, np.pi * 3.5 / 0.9 / 2
        expected = {}
        for k in range(-40, 41):
            for n in range(-40, 41):
                if abs(k) < half_k and abs(n) < half_n:
                    envelope = np.cos(np.pi * k / (2 * half_k)) ** 2 * np.cos(np.pi * n / (2 * half_n)) ** 2
                    expected[k, n] = (envelope, envelope * np.exp(1j * (omega_k * k + omega_n * n)))
        share = sum(c for _, c in expected.values()) / sum(e for e, _ in expected.values())
        taps = np.array([c - e * share for e, c in expected.values()]).reshape(f.kernel.shape)
        np.testing.assert_allclose(f.kernel, taps / np.abs(np.fft.fft2(taps)).max(), atol=1e-14)

    def test_upward_and_downward_filters_are_mirror_images(self) -> None:
        bank = {(f.omega_k, f.omega_n): f.kernel for f in gabor_filter_bank(KIM2024)}
        pairs = [(k, n) for k, n in bank if k > 0 and n > 0]
        assert len(pairs) == 7 * 17
        for k, n in pairs:
            np.testing.assert_allclose(bank[-k, n], bank[k, n][::-1], atol=1e-14)

    def test_a_downward_ripple_excites_the_downward_filter(self) -> None:
        bank = gabor_filter_bank(REFERENCE_31)
        down = next(f for f in bank if f.omega_k > 0.5 and f.omega_n > 0.5)
        f, t = np.mgrid[0:31, 0:200]
        # A crest lies where omega_k f + omega_n t is constant: f falls as t grows.
        ripple = 10 * np.cos(down.omega_k * f + down.omega_n * t)
        out = apply(GaborFeatures(REFERENCE_31, 31, keep="mean"), ripple)
        i = bank.index(down)
        j = next(j for j, g in enumerate(bank) if (g.omega_k, g.omega_n) == (-down.omega_k, down.omega_n))
        assert out.argmax() == i
        assert out[j] < 0.1 * out[i]

    @pytest.mark.parametrize("width", [3.0, 7.3, 14.0, 80.0])
    def test_hann_window_of_real_width(self, width: float) -> None:
        window = hann(width)
        steps = np.arange(len(window)) - len(window) // 2
        assert (np.abs(steps) < width / 2).all()
        assert len(window) // 2 + 1 >= width / 2
        np.testing.assert_allclose(window, np.cos(np.pi * steps / width) ** 2, atol=1e-15)

    @pytest.mark.parametrize(("n_bands", "height"), [(31, 1), (31, 13), (23, 69), (64, 21)])
    def test_representative_channels_hold_the_middle_one(self, n_bands: int, height: int) -> None:
        channels = representative_channels(n_bands, height)
        assert n_bands // 2 in channels
        assert set(np.diff(channels)) <= {max(1, height // 4)}
        assert channels[0] < max(1, height // 4)
        assert n_bands - channels[-1] <= max(1, height // 4)


class TestFeatures:
    def direct(self, values: np.ndarray, kernel: np.ndarray, correct: bool) -> np.ndarray:
        context = 20
        wide = np.pad(values, ((0, 0), (context, context)), mode="edge")
        rows, columns = (s // 2 for s in kernel.shape)

        def same(x: np.ndarray, k: np.ndarray) -> np.ndarray:
            return convolve2d(x, k)[rows : rows + x.shape[0], columns : columns + x.shape[1]]

        out = same(wide, kernel)
        if correct:
            magnitude, ones = np.abs(kernel) / np.abs(kernel).sum(), np.ones_like(wide)
            out = out - same(wide, magnitude) / same(ones, magnitude) * same(ones, kernel)
        return out.real[:, context:-context]

    @pytest.mark.parametrize("correct", [True, False])
    def test_direct_convolution(self, correct: bool) -> None:
        values = np.random.default_rng(0).normal(50, 10, (31, 12))
        features = GaborFeatures(REFERENCE_31, 31, keep="channels", boundary_correction=correct)
        expected = []
        for f in gabor_filter_bank(REFERENCE_31):
            maps = self.direct(values, f.kernel, correct and (f.omega_k, f.omega_n) != (0, 0))
            expected.append(maps[representative_channels(31, len(f.kernel))])
        np.testing.assert_allclose(apply(features, values), np.concatenate(expected), atol=5e-5)

    def test_mean_of_the_rectified_map(self) -> None:
        values = np.random.default_rng(0).normal(-40, 10, (31, 12))
        out = apply(GaborFeatures(REFERENCE_31, 31, keep="mean"), values)
        for i, f in enumerate(gabor_filter_bank(REFERENCE_31)):
            maps = self.direct(values, f.kernel, (f.omega_k, f.omega_n) != (0, 0))
            assert out[i] == pytest.approx(np.maximum(maps, 0).mean(), abs=2e-5)

    @pytest.mark.parametrize(
        ("correct", "values", "squares"),
        [
            (True, [29.1760885, -2.20730229, -0.126505938, -0.467463088, 0.0541850076], 126793.9733),
            (False, [29.1760885, 0.875522678, -0.126505938, 0.14848372, 0.695135925], 194723.9127),
        ],
    )
    def test_numbers_of_the_reference_code(self, correct: bool, values: list[float], squares: float) -> None:
        # Computed once in Octave 7.3 with gbfb.m v3.0, the condition for the boundary correction on real parts.
        features = GaborFeatures(REFERENCE_31, 31, keep="channels", boundary_correction=correct)
        out = apply(features, spectrogram(31))
        where = [(0, 0), (3, 7), (60, 60), (200, 119), (454, 33)]
        np.testing.assert_allclose([out[w] for w in where], values, atol=2e-5)
        assert np.square(out, dtype=np.float64).sum() == pytest.approx(squares, rel=1e-6)

    @pytest.mark.parametrize(
        ("correct", "values", "total"),
        [
            (True, [36.1539445, 0.723761944, 0.372726781, 0.154584308, 0.550642829], 250.7396885),
            (False, [36.1539445, 3.91173092, 1.66066154, 0.211314041, 0.593299568], 282.1877798),
        ],
    )
    def test_numbers_of_the_reference_code_in_kims_setting(
        self, correct: bool, values: list[float], total: float
    ) -> None:
        out = apply(GaborFeatures(KIM2024, 64, keep="mean", boundary_correction=correct), spectrogram(64))
        np.testing.assert_allclose(out[[0, 1, 5, 100, 262]], values, atol=2e-5)
        assert out.sum(dtype=np.float64) == pytest.approx(total, rel=1e-6)

    @pytest.mark.parametrize("n_frames", [1, 37, 161])
    def test_a_constant_spectrogram_gives_nothing_but_its_mean(self, n_frames: int) -> None:
        constant = np.full((64, n_frames), -80.0)
        corrected = GaborFeatures(reference_settings(64), 64, keep="channels")
        out = apply(corrected, constant)
        n_mean = len(corrected.channels[0])
        assert np.abs(out[n_mean:]).max() < 1e-4
        assert (out[:n_mean] < -10).all(), "the filter that passes the mean is not corrected"
        uncorrected = apply(
            GaborFeatures(reference_settings(64), 64, keep="channels", boundary_correction=False), constant
        )
        assert np.abs(uncorrected[n_mean:]).max() > 1, "over the edges the mean gets through"

    def test_the_mean_gets_through_at_edges_only(self) -> None:
        narrow = next(f for f in gabor_filter_bank(REFERENCE_31) if f.omega_k > 1.5)
        passed, share = boundary_gain(narrow.kernel, 31).T
        reach = len(narrow.kernel) // 2
        np.testing.assert_allclose(share[reach:-reach], 1)
        np.testing.assert_allclose(passed[reach:-reach], 0, atol=1e-12)
        assert (share[[0, -1]] < 0.8).all()
        assert (np.abs(passed[[0, -1]]) > 0.01).all()

    def test_the_same_later_is_the_same_later(self) -> None:
        rng = np.random.default_rng(1)
        values = np.zeros((31, 150))
        values[:, 40:80] = rng.normal(0, 10, (31, 40))
        features = GaborFeatures(REFERENCE_31, 31, keep="channels")
        early, late = apply(features, values), apply(features, np.roll(values, 27, axis=1))
        np.testing.assert_allclose(np.roll(early, 27, axis=1), late, atol=1e-4)

    def test_linear_and_independent_of_the_batch(self) -> None:
        features = GaborFeatures(REFERENCE_31, 31, keep="channels")
        x = torch.randn(3, 1, 31, 50)
        out = features(x)
        torch.testing.assert_close(features(2 * x[:1] - x[1:2]), 2 * out[:1] - out[1:2], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(features(x[2:]), out[2:], atol=1e-6, rtol=1e-5)


class TestReferenceLogMel:
    @pytest.mark.parametrize(("sample_rate", "n_bands"), [(8_000, 23), (16_000, 31), (24_000, 36), (48_000, 36)])
    def test_number_of_bands(self, sample_rate: int, n_bands: int) -> None:
        assert ReferenceLogMel(sample_rate).n_bands == n_bands

    @pytest.mark.parametrize(
        ("released", "values"),
        [
            (True, [84.7353861, 104.47042, 54.3201613, 61.8918452]),
            (False, [70.0819284, 99.4687351, 53.7115558, 61.865663]),
        ],
    )
    def test_numbers_of_the_reference_code(self, released: bool, values: list[float]) -> None:
        # Computed once in Octave 7.3 with log_mel_spectrogram.m v1.1, as it is and with bins counted from 0.
        out = ReferenceLogMel(16_000, released_bins=released)(chirps(16_000))[0, 0]
        assert out.shape == (31, 98)
        np.testing.assert_allclose([out[w] for w in [(0, 0), (5, 10), (15, 50), (30, 97)]], values, atol=2e-3)

    def test_a_tone_excites_the_band_of_its_frequency(self) -> None:
        # Centres lie a 24th of the way from 64 to 4,000 Hz apart on the mel scale.
        mels = 2595 * np.log10(1 + np.array([64.0, 4000.0]) / 700)
        centres = 700 * (10 ** ((mels[0] + (mels[1] - mels[0]) * np.arange(1, 32) / 24) / 2595) - 1)
        t = torch.arange(16_000) / 16_000
        for band in (4, 15, 28):
            tone = 0.1 * torch.sin(2 * torch.pi * float(centres[band]) * t)
            assert ReferenceLogMel(16_000)(tone[None])[0, 0].mean(dim=1).argmax() == band

    def test_limits(self) -> None:
        assert (ReferenceLogMel(8_000)(torch.zeros(1, 800)) == -20).all()
        assert ReferenceLogMel(8_000)(torch.randn(1, 800) * 1e4).max() == 130


class TestModel:
    def test_layers(self) -> None:
        model = load_model("gbfb:16khz")
        out = model.activations(chirps(16_000), ["gbfb", "rectified"])
        torch.testing.assert_close(out["rectified"], out["gbfb"].clamp(min=0))
        assert model.layouts == {"gbfb": "BCT", "rectified": "BCT"}
        assert load_model("gbfb").layouts == {"gbfb": "BC"}

    def test_the_level_moves_only_the_mean_in_kims_setting(self) -> None:
        model, sound = load_gbfb(), torch.randn(1, 22_050, generator=torch.Generator().manual_seed(0)) * 0.1
        loud, soft = (model.activations(sound * g, ["gbfb"])["gbfb"][0] for g in (1.0, 0.1))
        torch.testing.assert_close(loud[1:], soft[1:], atol=1e-4, rtol=1e-3)
        uncorrected = load_gbfb("kim2024/uncorrected")
        loud, soft = (uncorrected.activations(sound * g, ["gbfb"])["gbfb"][0] for g in (1.0, 0.1))
        assert (loud[1:] - soft[1:]).abs().max() > 0.3

    def test_options_are_recorded(self) -> None:
        assert load_gbfb().record["boundary_correction"] is True
        model = load_gbfb("8khz/uncorrected/released-bins")
        assert model.name == "gbfb:8khz/uncorrected/released-bins"
        assert model.record["boundary_correction"] is False
        assert model.record["mel_filters"] == "as released"
        assert model.record["filters"]["size_max"] == (69, 40)

    def test_the_shortest_sound(self) -> None:
        for variant in ("", "16khz"):
            model = load_gbfb(variant)
            sound = torch.randn(1, model.minimum_samples) * 0.1
            assert torch.isfinite(model.activations(sound, ["gbfb"])["gbfb"]).all()

    @pytest.mark.parametrize(
        ("variant", "message"),
        [
            ("24kHz", r"has no variant '24kHz'; did you mean '24khz'"),
            ("16khz/uncorected", r"'gbfb:16khz' has no option 'uncorected'; did you mean 'uncorrected'"),
            ("kim2024/released-bins", r"has no option 'released-bins'; known: 'uncorrected'"),
        ],
    )
    def test_unknown_variants(self, variant: str, message: str) -> None:
        with pytest.raises(ModelError, match=message):
            load_gbfb(variant)

    def test_no_random_control(self) -> None:
        with pytest.raises(ModelError, match="'gbfb' has no weights"):
            load_model("gbfb@random:0")
