"""Modulation filters, against closed forms and against the whole filter applied to a 2-D Fourier transform."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from brainalign.auditory.modulation import (
    NORMAN_HAIGNERE2018,
    TUCKUTE2023,
    Modulation,
    ModulationBank,
    modulate,
    spectral_filter,
    temporal_filter,
)
from brainalign.errors import ModelError, StimulusError

#: The filters of Norman-Haignere & McDermott 2018 with less padding.
NEAR = replace(NORMAN_HAIGNERE2018, frame_padding=(0, 90), channel_padding=(0, 17))


def cochleagrams(n_channels: int, n_frames: int, n_sounds: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(n_sounds, n_channels, n_frames, generator=generator, dtype=torch.float64)


def responses(values: Tensor, bank: ModulationBank) -> Tensor:
    return torch.stack(list(modulate(values, bank.filters_for(values))), dim=-3)


def brute_force(values: NDArray[np.float64], bank: ModulationBank, modulation: Modulation) -> NDArray[np.float64]:
    """Multiply the transform of a padded cochleagram by a whole filter, built from the formulae bin by bin."""
    rate, scale = modulation
    n_channels, n_frames = values.shape
    more_channels = bank.channel_padding[0] * n_channels + bank.channel_padding[1]
    more_frames = bank.frame_padding[0] * n_frames + bank.frame_padding[1]
    # The padding comes first, as in the code of Norman-Haignere: the circle has no beginning.
    filler = values.mean() if bank.pad_with_mean else 0.0
    padded = np.pad(values, ((more_channels, 0), (more_frames, 0)), constant_values=filler)
    height, width = padded.shape
    whole = np.ones((height, width), dtype=complex)
    ft, fs = np.fft.fftfreq(width), np.fft.fftfreq(height)
    if rate is not None:
        u = np.arange(n_frames if bank.short_responses else width) / bank.frame_rate * abs(rate)
        h = np.sin(2 * np.pi * u) * u**2 * np.exp(-3.5 * u)
        if bank.short_responses:
            h = np.pad(h - h.mean(), (0, width - n_frames))
        transfer = np.fft.fft(h) / np.abs(np.fft.fft(h)).max() if rate else np.eye(width)[0].astype(complex)
        if bank.highest_pass and abs(rate) == max(bank.rates):
            best = abs(ft[np.abs(transfer).argmax()])
            transfer = np.where(abs(ft) >= best, np.exp(1j * np.angle(transfer)), transfer)
        whole *= transfer
    if scale is not None:
        squared = (fs * bank.channel_rate / scale) ** 2 if scale else np.zeros(height)
        gain = squared * np.exp(-squared) if scale else np.eye(height)[0]
        gain = gain / gain.max()
        if bank.highest_pass and scale == max(bank.scales):
            gain = np.where(abs(fs) >= abs(fs[gain.argmax()]), 1.0, gain)
        whole *= gain[:, np.newaxis]
    if rate is not None and scale is not None:
        sign_t, sign_s = np.sign(ft), np.sign(fs)
        sign_t[abs(ft) == 0.5] = 0
        sign_s[abs(fs) == 0.5] = 0
        whole[np.outer(sign_s, sign_t) == (-1 if rate > 0 else 1)] = 0
    filtered = np.fft.ifft2(np.fft.fft2(padded) * whole)
    assert abs(filtered.imag).max() < 1e-12
    return filtered.real[more_channels:, more_frames:]


class TestTemporalFilter:
    @pytest.mark.parametrize("rate", [0.5, 4.0, 64.0])
    def test_it_is_the_transform_of_its_impulse_response(self, rate: float) -> None:
        frequency = np.arange(100_001) / 200_000 * 20_000
        ratio = frequency / rate
        a = 3.5

        def half(sign: int) -> NDArray[np.complex128]:
            return 2 / (a + 2j * np.pi * (ratio - sign)) ** 3

        expected = (half(1) - half(-1)) / 2j
        given = temporal_filter(rate, 20_000, 200_000)
        np.testing.assert_allclose(given, expected / abs(expected).max(), atol=2e-3)
        assert abs(given).max() == pytest.approx(1)

    def test_low_pass(self) -> None:
        given = temporal_filter(4.0, 20_000, 200_000, form="lowpass")
        ratio = np.arange(100_001) / 200_000 * 20_000 / 4
        np.testing.assert_allclose(given, 1 / (1 + 2j * np.pi * ratio / 3.5) ** 3, atol=2e-3)

    def test_high_pass(self) -> None:
        band, high = (temporal_filter(64.0, 200, 1_170, form=form, n_taps=390) for form in ("bandpass", "highpass"))
        best = int(abs(band).argmax())
        np.testing.assert_allclose(abs(high[best:]), 1)
        np.testing.assert_allclose(np.angle(high), np.angle(band), atol=1e-9)
        np.testing.assert_allclose(high[:best], band[:best], atol=0)
        assert best / 1_170 * 200 == pytest.approx(64, rel=0.1)

    def test_one_cut_short_has_no_mean(self) -> None:
        assert abs(temporal_filter(0.5, 200, 1_170, n_taps=390)[0]) < 1e-12
        assert abs(temporal_filter(0.5, 200, 1_170)[0]) > 1e-3

    def test_rate_0_is_the_mean(self) -> None:
        values = cochleagrams(1, 50)[0, 0].numpy()
        filtered = np.fft.irfft(np.fft.rfft(values) * temporal_filter(0, 200, 50), 50)
        np.testing.assert_allclose(filtered, values.mean())

    @pytest.mark.parametrize("rate", [100.0, -1.0])
    def test_rates_that_cannot_be(self, rate: float) -> None:
        with pytest.raises(ModelError, match=rf"modulation rate {rate:g} does not lie from 0 to below 100"):
            temporal_filter(rate, 200, 390)


class TestSpectralFilter:
    def test_mexican_hat(self) -> None:
        given = spectral_filter(1.0, 24, 240)
        assert given[[0, 10, 20, 30, 230]] == pytest.approx([0, 1, 4 * np.exp(-3), 9 * np.exp(-8), 1])

    def test_low_pass(self) -> None:
        given = spectral_filter(1.0, 24, 240, form="lowpass")
        assert given[[0, 10, 20]] == pytest.approx([1, np.exp(-(np.pi**2) / 4), np.exp(-(np.pi**2))])

    @pytest.mark.parametrize("n", [422, 421])
    def test_high_pass(self, n: int) -> None:
        band, high = spectral_filter(2.0, 6, n), spectral_filter(2.0, 6, n, form="highpass")
        best = int(band.argmax())
        np.testing.assert_allclose(high[best : n - best + 1], 1)
        np.testing.assert_allclose(high[:best], band[:best])
        np.testing.assert_allclose(high[1:], high[:0:-1])

    def test_scales_that_cannot_be(self) -> None:
        with pytest.raises(ModelError, match="modulation scale 3 does not lie from 0 to below 3"):
            spectral_filter(3.0, 6, 422)


class TestBank:
    def test_filters_of_tuckute(self) -> None:
        found = TUCKUTE2023.modulations
        assert len(found) == len(set(found)) == 111
        assert found[:3] == ((0, 0), (-0.5, 0), (-1, 0))
        assert found[9:11] == ((0, 0.0625), (-0.5, 0.0625))
        assert found[63:65] == ((0.5, 0.0625), (1, 0.0625))
        assert found[-1] == (64, 2)

    def test_filters_of_norman_haignere(self) -> None:
        found = NORMAN_HAIGNERE2018.modulations
        assert len(found) == len(set(found)) == 9 + 7 + 9 * 7 + 9 * 6
        assert found[0] == (0.5, None)
        assert found[9] == (None, 0)

    @pytest.mark.parametrize("bank", [TUCKUTE2023, NEAR])
    @pytest.mark.parametrize("size", [(20, 30), (21, 31), (20, 31), (21, 30)])
    def test_each_is_the_whole_filter(self, bank: ModulationBank, size: tuple[int, int]) -> None:
        values = cochleagrams(*size, 2)
        given = responses(values, bank)
        for sound, filtered in zip(values.numpy(), given.numpy(), strict=True):
            for modulation, response in zip(bank.modulations, filtered, strict=True):
                expected = brute_force(sound, bank, modulation)
                if bank.pad_with_mean:  # what the mean leaves is the same in all frames
                    expected = expected - expected.mean(axis=1, keepdims=True)
                    response = response - response.mean(axis=1, keepdims=True)
                np.testing.assert_allclose(response, expected, atol=1e-12)

    @pytest.mark.parametrize(("rate", "scale"), [(2, 0.25), (-2, 0.25), (8, 0.5), (-8, 0.5), (-16, 1), (16, 0.125)])
    def test_a_ripple_drives_its_filter_and_direction(self, rate: float, scale: float) -> None:
        frames, channels = torch.arange(390) / 200, torch.arange(211) / 6
        # Along a crest rate x time + scale x channel is constant: it moves down if both have one sign.
        ripple = torch.cos(2 * torch.pi * (rate * frames + scale * channels[:, None])).double()
        squared = responses(ripple, TUCKUTE2023).square()
        power = squared.mean(dim=(1, 2)).tolist()
        by_modulation = dict(zip(TUCKUTE2023.modulations, power, strict=True))
        assert max(by_modulation, key=by_modulation.__getitem__) == (rate, scale)
        assert by_modulation[-rate, scale] < 0.05 * by_modulation[rate, scale]
        away_from_edges = squared[TUCKUTE2023.modulations.index((rate, scale)), 70:140, 200:]
        assert away_from_edges.mean().item() == pytest.approx(0.5, rel=0.1)  # of a cosine

    def test_it_does_not_depend_on_the_batch(self) -> None:
        values = cochleagrams(20, 30, 4)
        torch.testing.assert_close(responses(values, NEAR)[2], responses(values[2], NEAR), rtol=0, atol=1e-15)

    @pytest.mark.parametrize("bank", [TUCKUTE2023, NEAR])
    def test_single_precision(self, bank: ModulationBank) -> None:
        values = cochleagrams(211, 60)
        single = responses(values.float(), bank)
        assert single.dtype == torch.float32
        torch.testing.assert_close(single.double(), responses(values, bank), rtol=0, atol=1e-6)

    def test_filters_suit_one_size(self) -> None:
        values = cochleagrams(20, 30)
        filters = TUCKUTE2023.filters_for(values)
        assert filters.suit(cochleagrams(20, 30, 3))
        assert not filters.suit(cochleagrams(20, 31))
        assert not filters.suit(values.float())
        with pytest.raises(
            StimulusError, match="cochleagrams of 20 x 31 channels and frames do not fit filters designed"
        ):
            next(modulate(cochleagrams(20, 31), filters))
        with pytest.raises(StimulusError, match="needs 2 frames at least, found 1"):
            TUCKUTE2023.filters_for(cochleagrams(20, 1))
