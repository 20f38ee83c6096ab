"""The cochleagram and the spectrotemporal model as models, against the published code of Tuckute et al. 2023."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
import torch
from torch import Tensor

from brainalign.auditory.cochlea import NORMAN_HAIGNERE2018, TUCKUTE2023, cochleagram
from brainalign.auditory.modulation import NORMAN_HAIGNERE2018 as NORMAN_HAIGNERE2018_BANK
from brainalign.auditory.modulation import TUCKUTE2023 as TUCKUTE2023_BANK
from brainalign.auditory.modulation import modulate
from brainalign.errors import ModelError, StimulusError
from brainalign.models import AudioModel, load_model
from brainalign.models.hooked import HookedModel
from brainalign.models.spectrotemporal import modulation_power, modulation_spread

RATE = 20_000
NAMES = ["cochleagram", "cochleagram:nhm2018", "spectrotemporal", "spectrotemporal:nhm2018"]


def noise(n_samples: int, n_sounds: int = 1, seed: int = 0) -> Tensor:
    return 0.1 * torch.randn(n_sounds, n_samples, generator=torch.Generator().manual_seed(seed))


def features(name: str, sounds: Tensor) -> Tensor:
    model = load_model(name)
    (layer,) = model.layouts
    return model.activations(sounds, [layer])[layer]


class TestPublished:
    @pytest.mark.realdata
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_features_are_those_of_the_released_code(self, shared_data: Path, dtype: torch.dtype) -> None:
        oracle = np.load(shared_data / "oracles" / "cochleagram_oracle.npz")
        sounds = []
        for stimulus_id in oracle["stimulus_id"]:
            (path,) = (shared_data / "natsound165" / "sounds" / "wav").glob(f"{stimulus_id}*.wav")
            waveform, rate = soundfile.read(path)
            sound = soxr.resample(waveform, rate, RATE, "VHQ")[:40_000]
            sound = sound - sound.mean()
            sounds.append(0.1 * sound / np.sqrt((sound**2).mean()))
        given = features("spectrotemporal", torch.tensor(np.array(sounds), dtype=dtype))
        expected = oracle["spectrotemporal_power"].reshape(3, -1)
        assert given.shape == (3, 23_421)
        # Of features near 0, which the oracle too has in single precision, only the size is known.
        np.testing.assert_allclose(given, expected, rtol=0, atol=1e-5)
        off = abs(given.numpy() / expected - 1)
        assert np.quantile(off, 0.99) < 3e-4
        assert np.median(off) < 1e-6

    def test_power_is_the_clamped_mean_square(self) -> None:
        generator = torch.Generator().manual_seed(0)
        values = 4e-6 * torch.rand(211, 12, generator=generator, dtype=torch.float64)
        filters = TUCKUTE2023_BANK.filters_for(values)
        expected = [(r.numpy() ** 2).clip(1e-8).mean(-1) for r in modulate(100 * values, filters)]
        given = modulation_power(values, filters)
        np.testing.assert_allclose(given, expected)
        at_least = given <= 1e-8 * (1 + 1e-12)
        assert at_least.any()
        assert not at_least.all()

    def test_spread_is_the_mean_and_the_standard_deviations(self) -> None:
        values = torch.rand(217, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        filters = replace(NORMAN_HAIGNERE2018_BANK, frame_padding=(1, 0)).filters_for(values)
        given = modulation_spread(values, filters).numpy()
        spread = dict(
            zip(filters.modulations, (r.numpy().std(-1, ddof=1) for r in modulate(values, filters)), strict=True)
        )
        assert given.shape == (80, 217)
        np.testing.assert_allclose(given[0], values.mean(dim=1))
        np.testing.assert_allclose(given[1], spread[0.5, None])
        np.testing.assert_allclose(given[10], spread[None, 0])
        np.testing.assert_allclose(given[17], spread[-0.5, 0])
        np.testing.assert_allclose(given[-1], (spread[-128, 8] + spread[128, 8]) / 2)


class TestModels:
    @pytest.mark.parametrize(
        ("name", "n_samples", "shape"),
        [
            ("cochleagram", 40_000, (211, 390)),
            ("cochleagram", 12_345, (211, 114)),
            ("cochleagram:nhm2018", 20_000, (217, 400)),
            ("spectrotemporal", 40_000, (23_421,)),
            ("spectrotemporal", 12_345, (23_421,)),
            ("spectrotemporal", 61_000, (23_421,)),
            ("spectrotemporal:nhm2018", 5_000, (17_360,)),
        ],
    )
    def test_sounds_of_any_length(self, name: str, n_samples: int, shape: tuple[int, ...]) -> None:
        given = features(name, noise(n_samples))
        assert given.shape == (1, *shape)
        assert torch.isfinite(given).all()

    @pytest.mark.parametrize("name", NAMES)
    def test_the_shortest_sound_is_exact(self, name: str) -> None:
        model = load_model(name)
        assert isinstance(model, HookedModel)
        assert torch.isfinite(features(name, noise(model.minimum_samples))).all()
        if model.minimum_samples > 1:
            with pytest.raises(StimulusError, match="too short"):
                features(name, noise(model.minimum_samples - 1))

    def test_cochleagrams_are_those_of_the_cochlea(self) -> None:
        sounds = noise(8_000, 2)
        for name, cochlea in (("cochleagram", TUCKUTE2023), ("cochleagram:nhm2018", NORMAN_HAIGNERE2018)):
            expected = cochleagram(sounds, cochlea, cochlea.filters_for(sounds))
            torch.testing.assert_close(features(name, sounds), expected, rtol=0, atol=0)

    @pytest.mark.parametrize("name", [*NAMES[:3], pytest.param(NAMES[3], marks=pytest.mark.slow)])
    def test_features_do_not_depend_on_the_batch_or_on_what_came_before(self, name: str) -> None:
        model = load_model(name)
        (layer,) = model.layouts
        sounds = noise(4_000, 2)
        together = model.activations(sounds, [layer])[layer]
        model.activations(noise(2_000), [layer])
        alone = model.activations(sounds[1:2], [layer])[layer]
        torch.testing.assert_close(alone, together[1:2], rtol=0, atol=0)

    def test_modulated_noise_drives_the_filter_of_its_rate(self) -> None:
        sound = noise(40_000) * (1 + torch.sin(2 * torch.pi * 8 * torch.arange(40_000) / RATE))
        power = features("spectrotemporal", sound).view(111, 211).mean(dim=1)
        flat = features("spectrotemporal", noise(40_000)).view(111, 211).mean(dim=1)
        rates = TUCKUTE2023_BANK.rates
        assert rates[int((power / flat)[: len(rates)].argmax())] == 8

    @pytest.mark.parametrize("name", NAMES)
    def test_what_a_model_tells(self, name: str) -> None:
        model = load_model(name)
        assert isinstance(model, AudioModel)
        assert (model.name, model.sample_rate) == (name, RATE)
        assert "doi:10.1371/journal.pbio" in model.record["citation"]

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("cochleagram:tuckute", "'cochleagram' has no variant 'tuckute'; did you mean 'tuckute2023'"),
            ("spectrotemporal:large", "'spectrotemporal' has no variant 'large'; known: 'nhm2018', 'tuckute2023'"),
            ("cochleagram@random:0", "'cochleagram' has no weights"),
            ("spectrotemporal:nhm2018@random:0", "'spectrotemporal' has no weights"),
        ],
    )
    def test_what_there_is_not(self, name: str, message: str) -> None:
        with pytest.raises(ModelError, match=message):
            load_model(name)

    @pytest.mark.slow
    @pytest.mark.parametrize(("name", "n_sounds"), [("spectrotemporal", 16), ("spectrotemporal:nhm2018", 2)])
    def test_memory_stays_below_a_gigabyte(self, name: str, n_sounds: int) -> None:
        code = (
            "import resource, torch; from brainalign.models import load_model; "
            f"model = load_model({name!r}); torch.fft.rfft(torch.zeros(8)); "
            "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss; before = peak(); "
            f"model.activations(torch.randn({n_sounds}, 40_000), ['spectrotemporal']); print(peak() - before)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert int(done.stdout) * 1024 < 1e9
