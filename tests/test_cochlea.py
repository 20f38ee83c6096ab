"""The cochlea, against closed forms, scipy, and the published code of Tuckute et al. 2023."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.signal
import soundfile
import soxr
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from brainalign.auditory.cochlea import (
    NORMAN_HAIGNERE2018,
    TUCKUTE2023,
    Cochlea,
    CochlearFilters,
    Downsampling,
    analytic_subbands,
    cochleagram,
    collapse,
    downsample,
    erb_filters,
    erb_frequency,
    erb_number,
    subbands,
    with_envelopes,
)
from brainalign.errors import ModelError, StimulusError

#: A small cochlea for sounds of a tenth of a second.
SMALL = Cochlea(
    sample_rate=8_000,
    n_bands=10,
    low_hz=100.0,
    high_hz=4_000.0,
    envelope_rate=200,
    downsampling=Downsampling(n_taps=201),
)


def noise(n_samples: int, n_sounds: int = 1, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return 0.1 * torch.randn(n_sounds, n_samples, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def filters(
    n_samples: int, sample_rate: float = 20_000, density: int = 1, n_edges: int | None = None
) -> CochlearFilters:
    return erb_filters(
        sample_rate,
        n_samples,
        n_bands=30,
        low_hz=20,
        high_hz=min(10_000, sample_rate / 2),
        density=density,
        n_edges=n_edges,
        dtype=torch.float64,
    )


class TestErbScale:
    def test_the_slope_is_one_per_bandwidth(self) -> None:
        frequency = np.array([0.0, 100.0, 1_000.0, 8_000.0])
        slope = (erb_number(frequency + 0.01) - erb_number(frequency)) / 0.01
        np.testing.assert_allclose(1 / slope, 24.7 + frequency / 9.265, rtol=1e-4)

    def test_there_and_back(self) -> None:
        frequency = np.array([0.0, 50.0, 1_000.0, 10_000.0])
        np.testing.assert_allclose(erb_frequency(erb_number(frequency)), frequency, rtol=1e-12)
        assert erb_number(0) == 0


class TestFilters:
    @given(st.integers(3, 3_000), st.sampled_from([8_000.0, 20_000.0, 44_100.0]), st.integers(1, 5), st.integers(1, 40))
    def test_squared_gains_add_up_to_one(self, n: int, rate: float, density: int, n_bands: int) -> None:
        bank = erb_filters(rate, n, n_bands=n_bands, low_hz=50, high_hz=3_900, density=density, dtype=torch.float64)
        np.testing.assert_allclose(bank.transfer.square().sum(0), 1, atol=1e-12)
        assert len(bank.transfer) == len(bank.centres) == density * (n_bands + 1) - 1 + 2 * density

    def test_they_are_half_cosines_of_erb_number(self) -> None:
        bank = filters(400_001)
        numbers = erb_number(np.arange(200_001) * 20_000 / 400_001)
        step = (erb_number(10_000) - erb_number(20)) / 31
        for i in (1, 15, 30):
            assert erb_number(bank.centres[i]) == pytest.approx(erb_number(20) + i * step)
            away = (numbers - erb_number(bank.centres[i])) / step
            expected = np.where(abs(away) < 1, np.cos(away * np.pi / 2), 0)
            np.testing.assert_allclose(bank.transfer[i], expected, atol=1e-9)

    def test_those_at_the_ends_pass_what_lies_beyond(self) -> None:
        bank = filters(20_000)
        assert bank.transfer[0, :20] == pytest.approx(1)
        assert (bank.transfer[0, 80:] == 0).all()
        np.testing.assert_allclose(bank.centres[[0, -1]], [20, 10_000])

    def test_the_innermost_edge_filters_are_kept(self) -> None:
        whole, some = filters(2_000, density=4), filters(2_000, density=4, n_edges=1)
        torch.testing.assert_close(some.transfer, whole.transfer[3:-3], rtol=0, atol=0)
        np.testing.assert_allclose(some.centres[[0, -1]], [20, 10_000])

    def test_density_leaves_the_width(self) -> None:
        one, four = filters(20_000), filters(20_000, density=4, n_edges=0)
        torch.testing.assert_close(four.transfer[3::4] * 2, one.transfer[1:-1])

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"high_hz": 4_001.0}, "from 100 to 4001 Hz do not lie within 0 and 4000 Hz"),
            ({"low_hz": 5_000.0}, "from 5000 to 4000 Hz do not lie"),
            ({"n_bands": 0}, "found 0 bands"),
            ({"density": 0}, "density 0"),
            ({"n_edges": 2}, "of density 1 have 0 to 1 edge filters, found 2"),
            ({"envelope_rate": 300}, "envelope rate 300 Hz does not divide 8000 Hz"),
        ],
    )
    def test_settings_that_cannot_be(self, change: dict[str, float], message: str) -> None:
        with pytest.raises(ModelError, match=message):
            replace(SMALL, **change).filters_for(noise(800))


class TestSubbands:
    @given(st.integers(2, 500), st.integers(1, 4))
    def test_unchanged_they_give_the_sound_back(self, n_samples: int, density: int) -> None:
        sounds, bank = noise(n_samples, 2), filters(n_samples, density=density)
        torch.testing.assert_close(collapse(subbands(sounds, bank), bank), sounds, rtol=0, atol=1e-12)
        analytic = analytic_subbands(sounds, bank)
        again = collapse(with_envelopes(analytic, analytic.abs()), bank)
        torch.testing.assert_close(again, sounds, rtol=0, atol=1e-12)

    @pytest.mark.parametrize("n_samples", [1_000, 1_001])
    def test_analytic_signals_are_those_of_scipy(self, n_samples: int) -> None:
        sounds, bank = noise(n_samples, 2) + 0.05, filters(n_samples)
        expected = scipy.signal.hilbert(subbands(sounds, bank).numpy(), axis=-1)
        np.testing.assert_allclose(analytic_subbands(sounds, bank), expected, atol=1e-14)

    def test_a_tone_has_a_flat_envelope_where_it_lies(self) -> None:
        bank = filters(20_000)
        tone = 0.3 * torch.cos(2 * torch.pi * 1_000 * torch.arange(20_000, dtype=torch.float64) / 20_000)
        envelopes = analytic_subbands(tone, bank).abs()
        np.testing.assert_allclose(envelopes, 0.3 * bank.transfer[:, [1_000]].expand(-1, 20_000), atol=1e-12)

    def test_new_envelopes(self) -> None:
        sounds, bank = noise(1_000, 2), filters(1_000)
        analytic = analytic_subbands(sounds, bank)
        louder = collapse(with_envelopes(analytic, 2 * analytic.abs()), bank)
        torch.testing.assert_close(louder, 2 * sounds)
        ramp = torch.linspace(0, 1, 1_000, dtype=torch.float64)
        given = with_envelopes(analytic, analytic.abs() * ramp)
        torch.testing.assert_close(given, subbands(sounds, bank) * ramp)
        silent = analytic_subbands(torch.zeros(1_000, dtype=torch.float64), bank)
        assert (with_envelopes(silent, torch.ones_like(silent.real)) == 0).all()

    def test_filters_for_another_length(self) -> None:
        bank = filters(1_000)
        for function in (subbands, analytic_subbands, collapse):
            with pytest.raises(StimulusError, match="sounds of 999 samples do not fit filters designed for 1000"):
                function(noise(999), bank)


class TestDownsampling:
    def test_it_is_scipy_s_polyphase_resampling(self) -> None:
        signals = noise(1_999, 3)
        given = downsample(signals, 50, Downsampling())
        expected = scipy.signal.resample_poly(signals.numpy(), 1, 50, axis=-1, window=("kaiser", 5.0))
        np.testing.assert_allclose(given, expected, atol=1e-15)

    @pytest.mark.parametrize("n_samples", [1_001, 1_100, 1_101, 2_345])
    def test_frames_within_the_signal_are_products_with_the_kernel(self, n_samples: int) -> None:
        how = TUCKUTE2023.downsampling
        signals, kernel = noise(n_samples)[0].numpy(), how.kernel(100)
        expected = [signals[start : start + 1_001] @ kernel for start in range(0, n_samples - 1_000, 100)]
        np.testing.assert_allclose(downsample(torch.from_numpy(signals), 100, how), expected, atol=1e-15)

    def test_the_published_kernel(self) -> None:
        times = np.arange(-1_001 / 2, 500)
        expected = scipy.signal.windows.kaiser(1_001, 5) * np.sinc(times / 100) / 100
        np.testing.assert_allclose(TUCKUTE2023.downsampling.kernel(100), expected, atol=1e-16)

    @pytest.mark.parametrize("how", [Downsampling(n_taps=201), Downsampling(n_taps=201, padded=False)])
    @pytest.mark.parametrize("n_frames", [1, 2, 7])
    def test_the_shortest_signal(self, how: Downsampling, n_frames: int) -> None:
        shortest = how.minimum_samples(40, n_frames)
        assert downsample(noise(shortest), 40, how).shape == (1, n_frames)
        with pytest.raises(StimulusError, match="too short for an envelope") if n_frames == 1 else _nothing():
            assert downsample(noise(shortest - 1), 40, how).shape == (1, n_frames - 1)


def _nothing() -> object:
    from contextlib import nullcontext

    return nullcontext()


class TestCochleagram:
    @pytest.mark.realdata
    def test_it_is_the_published_one(self, shared_data: Path) -> None:
        oracle = np.load(shared_data / "oracles" / "cochleagram_oracle.npz")
        for stimulus_id, expected in zip(oracle["stimulus_id"], oracle["cochleagram"], strict=True):
            (path,) = (shared_data / "natsound165" / "sounds" / "wav").glob(f"{stimulus_id}*.wav")
            waveform, rate = soundfile.read(path)
            sound = soxr.resample(waveform, rate, 20_000, "VHQ")[:40_000]
            sound = sound - sound.mean()
            sound = torch.from_numpy(0.1 * sound / np.sqrt((sound**2).mean()))
            given = cochleagram(sound, TUCKUTE2023, TUCKUTE2023.filters_for(sound))
            # The oracle is in single precision, which the power of 0.3 brings out where the envelope is small.
            np.testing.assert_allclose(given, expected, rtol=0, atol=1e-4)
            assert abs(given.numpy() - expected).mean() < 1e-6

    @pytest.mark.parametrize(
        ("cochlea", "n_samples", "shape"),
        [
            (TUCKUTE2023, 40_000, (211, 390)),
            (TUCKUTE2023, 21_001, (211, 201)),
            (NORMAN_HAIGNERE2018, 40_000, (217, 800)),
            (NORMAN_HAIGNERE2018, 9_999, (217, 200)),
        ],
    )
    def test_its_size(self, cochlea: Cochlea, n_samples: int, shape: tuple[int, int]) -> None:
        sound = noise(n_samples, dtype=torch.float32)
        assert cochleagram(sound, cochlea, cochlea.filters_for(sound)).shape == (1, *shape)

    def test_it_is_compressed_envelopes(self) -> None:
        sounds, bank = noise(800, 2), SMALL.filters_for(noise(800))
        envelopes = scipy.signal.hilbert(subbands(sounds, bank).numpy(), axis=-1)
        frames = scipy.signal.resample_poly(abs(envelopes), 1, 40, axis=-1, window=SMALL.downsampling.kernel(40))
        np.testing.assert_allclose(cochleagram(sounds, SMALL, bank), frames.clip(0) ** 0.3, atol=1e-12)
        first = replace(SMALL, compress_first=True)
        frames = scipy.signal.resample_poly(abs(envelopes) ** 0.3, 1, 40, axis=-1, window=first.downsampling.kernel(40))
        np.testing.assert_allclose(cochleagram(sounds, first, bank), frames.clip(0), atol=1e-12)

    def test_one_sided_envelopes_are_half(self) -> None:
        sound, bank = noise(800), SMALL.filters_for(noise(800))
        whole = cochleagram(sound, SMALL, bank)
        half = cochleagram(sound, replace(SMALL, one_sided=True), bank)
        torch.testing.assert_close(half[:, 1:-1], whole[:, 1:-1] * 0.5**0.3)
        # What lies at 0 Hz counts once in both.
        constant = torch.full((1, 800), 0.2, dtype=torch.float64)
        one_sided = replace(SMALL, one_sided=True)
        given = cochleagram(constant, one_sided, bank)
        torch.testing.assert_close(given, cochleagram(constant, SMALL, bank), rtol=0, atol=1e-5)

    def test_silence(self) -> None:
        silence = torch.zeros(1, 2_000)
        given = cochleagram(silence, TUCKUTE2023, TUCKUTE2023.filters_for(silence))
        np.testing.assert_allclose(given, 2e-8**0.3, rtol=1e-3)
        assert (cochleagram(silence, NORMAN_HAIGNERE2018, NORMAN_HAIGNERE2018.filters_for(silence)) == 0).all()

    @pytest.mark.parametrize("frequency", [100.0, 1_000.0, 8_000.0])
    def test_a_tone_lies_at_its_place_on_octaves(self, frequency: float) -> None:
        tone = 0.1 * torch.sin(2 * torch.pi * frequency * torch.arange(20_000, dtype=torch.float64) / 20_000)
        given = cochleagram(tone, NORMAN_HAIGNERE2018, NORMAN_HAIGNERE2018.filters_for(tone)).mean(dim=-1)
        assert abs(int(given.argmax()) - 24 * np.log2(frequency / 20)) <= 2

    @pytest.mark.parametrize("cochlea", [SMALL, replace(SMALL, channels_per_octave=12)])
    def test_it_does_not_depend_on_the_batch(self, cochlea: Cochlea) -> None:
        sounds = noise(800, 6, dtype=torch.float32)
        bank = cochlea.filters_for(sounds)
        together = cochleagram(sounds, cochlea, bank)
        alone = torch.stack([cochleagram(s, cochlea, bank) for s in sounds])
        torch.testing.assert_close(together, alone, rtol=0, atol=0)
        paired = cochleagram(sounds.view(2, 3, 800), cochlea, bank)
        torch.testing.assert_close(paired, together.view(2, 3, *together.shape[1:]), rtol=0, atol=0)

    def test_single_precision(self) -> None:
        sounds = noise(20_000, 2)
        exact = cochleagram(sounds, TUCKUTE2023, TUCKUTE2023.filters_for(sounds))
        single = cochleagram(sounds.float(), TUCKUTE2023, TUCKUTE2023.filters_for(sounds.float()))
        assert (single - exact).abs().max() < 1e-4 * exact.max()

    def test_filters_suit_one_kind_of_sound(self) -> None:
        bank = SMALL.filters_for(noise(800))
        assert bank.suit(noise(800, 5))
        assert not bank.suit(noise(801))
        assert not bank.suit(noise(800).float())
