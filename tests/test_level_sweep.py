"""Manipulations of level, and response ratios under them."""

import numpy as np
import pandas as pd
import pytest
import torch

from brainalign.errors import MeasureError, StimulusError
from brainalign.measures.level_sweep import level_sweep
from brainalign.measures.selective import selective_ratio
from brainalign.models import HookedModel, extract
from brainalign.stimuli.audio import rms
from brainalign.stimuli.manipulations import ManipulatedSet, attenuate, normalise_level
from brainalign.stimuli.sets import Manifest, StimulusSet

RATE = 8000
N = 24


def loud_and_soft(n=N, prefix="s"):
    """Noise: music is 4 times as strong as the rest."""
    ids = [f"{prefix}{i:02d}" for i in range(n)]
    category = ["Music" if i % 3 == 0 else "Speech" if i % 3 == 1 else "Nature" for i in range(n)]
    table = pd.DataFrame({"file": "-", "category": category}, index=pd.Index(ids, name="stimulus_id"))

    def source(stimulus_id):
        i = ids.index(stimulus_id)
        rng = np.random.default_rng([i, len(prefix), ord(prefix[0])])
        gain = (0.2 if i % 3 == 0 else 0.05) * rng.uniform(0.8, 1.2)
        return (gain * rng.standard_normal(4000)).astype(np.float32), RATE

    return StimulusSet(Manifest(name="noise", version="1", citation="", licence=""), table, source)


class Gains(torch.nn.Module):
    """Units that measure the RMS, each with its gain: their ratio is that of levels."""

    def __init__(self):
        super().__init__()
        self.units = torch.nn.Linear(1, 8, bias=False)
        with torch.no_grad():
            self.units.weight[:, 0] = torch.arange(1.0, 9)

    def forward(self, waveforms):
        return self.units(waveforms.square().mean(dim=1, keepdim=True).sqrt())


def model():
    return HookedModel("gains", Gains(), RATE, {"units": "BC"})


def test_one_level_for_all():
    sounds = loud_and_soft()
    even = normalise_level(sounds, 0.1)
    assert [rms(even.waveform(i)[0]) for i in sounds.ids] == pytest.approx([0.1] * N, rel=1e-5)
    own, changed = sounds.waveform("s05")[0], even.waveform("s05")[0]
    np.testing.assert_allclose(changed / own, np.full(4000, 0.1 / rms(own)), rtol=1e-4)
    mean = np.mean([rms(sounds.waveform(i)[0]) for i in sounds.ids])
    assert rms(normalise_level(sounds).waveform("s00")[0]) == pytest.approx(mean, rel=1e-5)


def test_power_ratio_is_the_square_of_the_ratio_of_rms():
    sounds = loud_and_soft()
    softer = attenuate(sounds, 1 / 64, ["Music"])
    for i in sounds.ids:
        factor = 1 / 8 if sounds.table.loc[i, "category"] == "Music" else 1
        np.testing.assert_allclose(softer.waveform(i)[0], factor * sounds.waveform(i)[0], rtol=1e-6)
    assert rms(attenuate(sounds, 0.25).waveform("s01")[0]) == pytest.approx(rms(sounds.waveform("s01")[0]) / 2)


def test_a_manipulated_set_remembers_and_is_made_when_played():
    sounds = loud_and_soft()
    played = []

    def listening(stimulus_id):
        played.append(stimulus_id)
        return sounds.source(stimulus_id)

    watched = StimulusSet(sounds.manifest, sounds.table, listening)
    even = normalise_level(watched, 0.1)
    both = attenuate(even, 0.5, ["Music"])
    assert played == []
    both.waveform("s03")
    assert played == ["s03"]
    assert both.parent is even
    assert even.parent is watched
    assert both.history == [
        ("normalise_level", {"rms": 0.1}),
        ("attenuate", {"power_ratio": 0.5, "categories": ["Music"]}),
    ]
    some = both.select(["s03", "s00"])
    assert isinstance(some, ManipulatedSet)
    assert some.ids == ["s03", "s00"]
    assert some.history == both.history
    assert some.name == "noise > normalise_level(rms=0.1) > attenuate(power_ratio=0.5, categories=['Music'])"
    assert even.digest("s03") != watched.digest("s03")


def test_the_level_of_the_parent_is_kept():
    sounds = loud_and_soft()
    levelled = StimulusSet(sounds.manifest.model_copy(update={"target_rms": 0.2}), sounds.table, sounds.source)
    assert rms(attenuate(levelled, 0.25).waveform("s01")[0]) == pytest.approx(0.1, rel=1e-5)


def test_impossible_levels():
    sounds = loud_and_soft()
    silent = StimulusSet(sounds.manifest, sounds.table, lambda _: (np.zeros(100, np.float32), RATE))
    with pytest.raises(StimulusError, match="'s00' is silent"):
        normalise_level(silent, 0.1).waveform("s00")
    with pytest.raises(StimulusError, match="expected a positive one"):
        normalise_level(sounds, 0)
    with pytest.raises(StimulusError, match="the power ratio is -1"):
        attenuate(sounds, -1)
    with pytest.raises(StimulusError, match="did you mean 'Music'"):
        attenuate(sounds, 0.5, ["Musik"])


def test_units_that_measure_level_are_unmasked():
    """Their ratio is 4 originally, 1 when all sounds are equally loud, and follows the attenuation exactly."""
    sounds, net = loud_and_soft(), model()
    heard = extract(net, sounds)
    table = level_sweep(heard, net, sounds, categories=["Music"], fraction=0.5, n_bootstrap=50).table
    own = table[table["target"] == "selected units"]
    original = own[own["sounds"] == "original"]["value"].item()
    assert original == pytest.approx(
        selective_ratio(heard, categories=["Music"], fraction=0.5, n_bootstrap=0).table["value"][0]
    )
    assert 3.5 < original < 4.5
    normalised = own[own["sounds"] == "normalised"]
    assert normalised["power_ratio"].tolist() == [1, 1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32, 1 / 64]
    np.testing.assert_allclose(normalised["value"], np.sqrt(normalised["power_ratio"]), rtol=1e-4)


def test_units_are_selected_by_the_original_sounds():
    """Selected by other sounds: ratios equal those of these units on sounds that were manipulated beforehand."""
    sounds, other, net = loud_and_soft(), loud_and_soft(prefix="t"), model()
    heard, selection = extract(net, sounds), extract(net, other)
    options = {"categories": ["Music"], "fraction": 0.25, "n_bootstrap": 0}
    table = level_sweep(heard, net, sounds, selection=selection, power_ratios=[0.25], level_rms=0.1, **options).table
    softer = extract(net, attenuate(normalise_level(sounds, 0.1), 0.25, ["Music"]))
    expected = selective_ratio(softer, selection=selection, **options).table
    found = table[table["sounds"] == "normalised"]
    np.testing.assert_allclose(found["value"], expected["value"], rtol=1e-6)
    with pytest.raises(MeasureError, match="sounds select and test"):
        level_sweep(heard, net, sounds, selection=heard, **options)


def test_impossible_power_ratios():
    sounds, net = loud_and_soft(), model()
    with pytest.raises(MeasureError, match="expected positive ones"):
        level_sweep(extract(net, sounds), net, sounds, categories=["Music"], power_ratios=[1, 0])
