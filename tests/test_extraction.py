"""A model hears each sound as if alone: order kept, nothing padded, everything named."""

from __future__ import annotations

import json
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from brainalign import extract, load_model, load_stimuli
from brainalign.errors import ModelError, ResponseError, StimulusError
from brainalign.models import HookedModel
from brainalign.models.layers import select_layers
from brainalign.responses import select_units
from brainalign.stimuli import StimulusSet
from brainalign.stimuli.sets import Manifest

RATE = 8_000


def sounds_of(lengths: Mapping[str, int], rate: int = RATE, **replaced: np.ndarray) -> StimulusSet:
    """Make a set of noises; ids in the order given."""
    waveforms = {
        i: replaced.get(i, np.random.default_rng(k).normal(0, 0.1, n).astype(np.float32))
        for k, (i, n) in enumerate(lengths.items())
    }
    table = pd.DataFrame(
        {"file": "", "category": [("Music", "Speech")[k % 2] for k in range(len(lengths))]},
        index=pd.Index(list(lengths), name="stimulus_id"),
    )
    manifest = Manifest(name="noises", version="2", citation="c", licence="l")
    return StimulusSet(manifest, table, lambda i: (waveforms[i], rate))


class Network(nn.Module):
    """Three layers, one for each kind of layout."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(1, 3, 5)
        self.image = nn.Conv2d(1, 2, (2, 3))
        self.sequence = nn.Linear(4, 5)
        self.pooled = nn.Sequential(nn.AdaptiveAvgPool1d(1), nn.Flatten())

    def forward(self, waveforms: Tensor) -> Tensor:
        x = torch.relu(self.convolution(waveforms[:, None]))
        y = self.image(x[:, None])  # (sound, 2 channels, 2 frequencies, time)
        z = self.sequence(y.flatten(1, 2).transpose(1, 2))
        return self.pooled(z.transpose(1, 2))


@pytest.fixture(scope="module")
def network() -> HookedModel:
    layouts = {"convolution": "BCT", "image": "BCFT", "sequence": "BTC", "pooled": "BC"}
    return HookedModel("net", Network(), RATE, layouts, 7, {"front_end": "none"}).with_random_weights(0)


LENGTHS = {"s10": 400, "s9": 300, "a": 400, "s2": 7, "B": 300, "s1": 400, "s100": 350}


class TestOrder:
    def test_the_order_of_the_set_is_kept_whatever_the_lengths(self, network: HookedModel) -> None:
        responses = extract(network, sounds_of(LENGTHS), batch_size=2)
        assert responses["stimulus"].values.tolist() == list(LENGTHS)
        assert responses["category"].values.tolist() == sounds_of(LENGTHS).table["category"].tolist()

    @settings(max_examples=15)
    @given(st.integers(1, 9), st.permutations(list(LENGTHS)))
    def test_any_batch_size_and_order_gives_the_same_numbers(
        self, network: HookedModel, batch_size: int, order: list[str]
    ) -> None:
        together = extract(network, sounds_of(LENGTHS).select(order), batch_size=batch_size)
        assert together["stimulus"].values.tolist() == order
        for stimulus_id in order:
            alone = extract(network, sounds_of(LENGTHS).select([stimulus_id]))
            np.testing.assert_allclose(together.sel(stimulus=[stimulus_id]).values, alone.values, rtol=1e-5, atol=1e-6)

    def test_the_network_of_kim_hears_each_sound_as_if_alone(self) -> None:
        model = load_model("kim2024-cnn@random:0")
        lengths = {"long": 44_100, "short": 33_001, "other": 44_100, "third": 40_000, "last": 33_001}
        sounds = sounds_of(lengths, rate=22_050)
        together = extract(model, sounds)
        for stimulus_id, n_samples in lengths.items():
            waveform = torch.from_numpy(sounds.waveform(stimulus_id)[0])[None]
            assert waveform.shape == (1, n_samples)
            for layer, values in model.activations(waveform, list(model.layouts)).items():
                mean = values.mean(dim=-1) if model.layouts[layer].endswith("T") else values
                heard = select_units(together.sel(stimulus=[stimulus_id]), layer=layer)
                np.testing.assert_allclose(heard.values.ravel(), mean.numpy().ravel(), rtol=1e-4, atol=1e-5)


class TestPooling:
    def test_the_mean_is_over_time_and_nothing_else(self, network: HookedModel) -> None:
        sounds = sounds_of(LENGTHS)
        responses = extract(network, sounds)
        for stimulus_id in LENGTHS:
            given_alone = network.activations(
                torch.from_numpy(sounds.waveform(stimulus_id)[0])[None], list(network.layouts)
            )
            axes = {"convolution": 1, "image": 2, "sequence": 0, "pooled": None}
            for layer, axis in axes.items():
                values = given_alone[layer][0].numpy().astype(np.float64)
                expected = values if axis is None else values.mean(axis=axis)
                heard = select_units(responses.sel(stimulus=[stimulus_id]), layer=layer).values[0]
                np.testing.assert_allclose(heard, expected.ravel(), rtol=1e-5, atol=1e-6)

    def test_units_are_counted_channel_by_channel(self, network: HookedModel) -> None:
        responses = extract(network, sounds_of(LENGTHS))
        assert responses.dtype == np.float32
        assert responses["unit"].values.tolist() == [
            f"{layer}:{i}"
            for layer, n in (("convolution", 3), ("image", 4), ("sequence", 5), ("pooled", 5))
            for i in range(n)
        ]
        assert responses["layer"].values.tolist() == [u.split(":")[0] for u in responses["unit"].values]
        assert responses["channel"].values.tolist() == [int(u.split(":")[1]) for u in responses["unit"].values]
        waveform = torch.from_numpy(sounds_of(LENGTHS).waveform("s9")[0])[None]
        image = network.activations(waveform, ["image"])["image"][0].mean(dim=-1)  # (channel, frequency)
        for channel in range(2):
            for frequency in range(2):
                unit = responses.sel(stimulus="s9", unit=f"image:{channel * 2 + frequency}")
                assert float(unit) == pytest.approx(float(image[channel, frequency]), rel=1e-5, abs=1e-6)

    def test_sounds_are_resampled_to_the_rate_of_the_model(self, network: HookedModel) -> None:
        sounds = sounds_of({"x": 4_000, "y": 5_000}, rate=44_100)
        responses = extract(network, sounds, layers=["pooled"])
        waveform, rate = sounds.waveform("y", RATE)
        assert rate == RATE
        expected = network.activations(torch.from_numpy(waveform)[None], ["pooled"])["pooled"][0]
        np.testing.assert_allclose(responses.sel(stimulus="y").values, expected.numpy(), rtol=1e-5, atol=1e-6)

    def test_what_made_the_numbers_is_recorded(self, network: HookedModel) -> None:
        attrs = extract(network, sounds_of(LENGTHS)).attrs
        assert attrs["source"] == "net@random:0"
        assert attrs["stimulus_set"] == "noises 2"
        assert attrs["sample_rate"] == RATE
        assert json.loads(attrs["model_record"]) == dict(network.record)


class TestLayers:
    def test_globs_and_names_in_order_of_depth(self, network: HookedModel) -> None:
        assert select_layers(network, None) == ["convolution", "image", "sequence", "pooled"]
        assert select_layers(network, ["pooled", "*o?v*", "convolution"]) == ["convolution", "pooled"]
        assert select_layers(network, "image") == ["image"]
        responses = extract(network, sounds_of(LENGTHS), layers=["pooled", "i*"])
        assert list(dict.fromkeys(responses["layer"].values)) == ["image", "pooled"]

    def test_layers_alone_are_as_among_others(self, network: HookedModel) -> None:
        sounds = sounds_of(LENGTHS)
        alone = extract(network, sounds, layers="image")
        np.testing.assert_array_equal(alone.values, select_units(extract(network, sounds), layer="image").values)

    @pytest.mark.parametrize(
        ("layers", "message"),
        [
            (["imag"], r"net@random:0 has no layer 'imag'; did you mean 'image'"),
            (["image", "fc*"], r"has no layer 'fc\*'; known: 'convolution', 'image'"),
            ([], "no layer of net@random:0 is named"),
            ("", "no layer of net@random:0 is named"),
        ],
    )
    def test_misses(self, network: HookedModel, layers: Sequence[str], message: str) -> None:
        with pytest.raises(ModelError, match=message):
            extract(network, sounds_of(LENGTHS), layers=layers)


class Odd:
    """An AudioModel that no torch module stands behind, and that does what it is told."""

    name = "odd"
    sample_rate = RATE
    minimum_samples = 1
    record: Mapping[str, Any] = {}

    def __init__(self, answer: Any, layouts: Mapping[str, str]) -> None:
        self.answer = answer
        self.layouts = layouts

    def activations(self, waveforms: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        given: dict[str, Tensor] = self.answer(waveforms)
        return given


class TestOtherPoolings:
    def test_units_and_numbers(self, network: HookedModel) -> None:
        sounds = sounds_of({"x": 40, "y": 40, "z": 31})
        responses = extract(network, sounds, layers=["convolution", "pooled"], pooling="mean-sd")
        assert responses.attrs["pooling"] == "mean-sd"
        assert responses["statistic"].values.tolist() == ["mean"] * 3 + ["sd"] * 3 + ["value"] * 5
        assert responses["channel"].values.tolist() == [0, 1, 2, 0, 1, 2, 0, 1, 2, 3, 4]
        for stimulus_id in ("x", "y", "z"):
            waveform = torch.from_numpy(sounds.waveform(stimulus_id)[0])[None]
            frames = network.activations(waveform, ["convolution"])["convolution"][0].numpy()
            np.testing.assert_allclose(
                responses.sel(stimulus=stimulus_id).values[:6],
                np.concatenate([frames.mean(axis=1), frames.std(axis=1)]),
                rtol=1e-4,
                atol=1e-6,
            )

    def test_every_frame_of_sounds_of_one_length(self, network: HookedModel) -> None:
        sounds = sounds_of({"x": 40, "y": 40})
        responses = extract(network, sounds, layers="sequence", pooling="none")
        waveform = torch.from_numpy(sounds.waveform("y")[0])[None]
        frames = network.activations(waveform, ["sequence"])["sequence"][0].numpy()
        heard = responses.sel(stimulus="y").values.reshape(frames.shape)
        np.testing.assert_allclose(heard, frames, rtol=1e-4, atol=1e-6)
        assert responses["frame"].values.tolist() == [k for k in range(len(frames)) for _ in range(5)]
        with pytest.raises(ModelError, match=r"takes sounds of one length: 'x' has 40 samples, 'z' has 41"):
            extract(network, sounds_of({"x": 40, "y": 40, "z": 41}), pooling="none")

    def test_the_memory_is_told_before_it_is_taken(self, network: HookedModel) -> None:
        n = 200_000
        silent = np.full(n, 0.1, np.float32)
        sounds = sounds_of({f"s{k}": 1 for k in range(10_000)})
        long = StimulusSet(sounds.manifest, sounds.table, lambda i: (silent, RATE))
        # 10,000 sounds x 3 channels x 199,996 frames x 4 bytes
        with pytest.raises(ModelError, match=r"10000 sounds x 599988 units would take 22\.35 GiB of memory, more than"):
            extract(network, long, layers="convolution", pooling="none", batch_size=2)

    def test_fewer_frames_than_segments(self, network: HookedModel) -> None:
        sounds = sounds_of({"x": 40, "short": 10})
        assert extract(network, sounds, layers="convolution", pooling="segments:6").shape == (2, 18)
        with pytest.raises(ModelError, match=r"layer 'convolution': 6 frames for stimulus 'short', fewer than pooling"):
            extract(network, sounds, layers="convolution", pooling="segments:7")

    def test_a_pooling_that_does_not_exist(self, network: HookedModel) -> None:
        with pytest.raises(ModelError, match="no pooling 'median'"):
            extract(network, sounds_of(LENGTHS), pooling="median")


class TestMemoryOfTheDevice:
    def small(self, most: int, seen: list[int]) -> Odd:
        def answer(waveforms: Tensor) -> dict[str, Tensor]:
            seen.append(len(waveforms))
            if len(waveforms) > most:
                raise torch.cuda.OutOfMemoryError("CUDA out of memory.")
            return {"layer": waveforms[:, :3]}

        return Odd(answer, {"layer": "BC"})

    def test_the_batch_is_halved_until_it_fits_and_stays_so(self) -> None:
        sounds = sounds_of({f"s{k}": 50 for k in range(23)})
        seen: list[int] = []
        with pytest.warns(UserWarning, match="ran out of memory with") as told:
            responses = extract(self.small(3, seen), sounds, batch_size=16)
        assert seen[:4] == [16, 8, 4, 2]
        assert set(seen[3:]) <= {1, 2}
        assert [str(w.message)[-8:] for w in told] == ["n with 8", "n with 4", "n with 2"]
        assert responses.identical(extract(self.small(99, []), sounds))

    def test_one_sound_that_does_not_fit_is_named(self) -> None:
        sounds = sounds_of({"s": 50, "long": 8_000})
        with pytest.raises(ModelError, match=r"cpu has not enough memory for odd and stimulus 's' alone \(0\.0 s\)"):
            extract(self.small(0, []), sounds)


class TestWaiting:
    def test_sounds_of_many_lengths_do_not_pile_up(self, monkeypatch: pytest.MonkeyPatch) -> None:
        alive: set[str] = set()
        most = 0
        lengths = {f"s{k}": 20 + k for k in range(200)}
        sounds = sounds_of(lengths)

        class Tracked(np.ndarray):
            pass

        def source(stimulus_id: str) -> tuple[np.ndarray, int]:
            nonlocal most
            waveform = sounds.source(stimulus_id)[0].copy().view(Tracked)
            alive.add(stimulus_id)
            weakref.finalize(waveform, alive.discard, stimulus_id)
            most = max(most, len(alive))
            return waveform, RATE

        model = Odd(lambda w: {"layer": w[:, :3]}, {"layer": "BC"})
        tracked = StimulusSet(sounds.manifest, sounds.table, source)
        responses = extract(model, tracked, batch_size=4)
        # Eight batches wait, and one is read ahead.
        assert most <= 8 * 4 + 4 + 3
        assert responses.identical(extract(model, sounds))

    def test_long_sounds_wait_no_longer_than_memory_allows(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("brainalign.models._shards.WAITING_SAMPLES", 1_000)
        seen: list[tuple[int, ...]] = []

        def answer(waveforms: Tensor) -> dict[str, Tensor]:
            seen.append(tuple(waveforms.shape))
            return {"layer": waveforms[:, :3]}

        extract(Odd(answer, {"layer": "BC"}), sounds_of({f"s{k}": 400 for k in range(7)}))
        assert seen == [(3, 400), (3, 400), (1, 400)]

    def test_a_record_that_no_file_can_hold_is_found_first(self) -> None:
        model = Odd(lambda w: pytest.fail("it listened"), {"layer": "BC"})
        model.record = {"weights": np.zeros(3)}
        with pytest.raises(ModelError, match="the record of odd must be numbers and text"):
            extract(model, sounds_of(LENGTHS))


class TestBadInput:
    @pytest.mark.parametrize("bad", [float("nan"), float("inf")])
    def test_activations_that_are_no_numbers_name_the_stimulus(self, bad: float) -> None:
        sounds = sounds_of(LENGTHS)
        first = sounds.waveform("s1")[0][0]

        def answer(waveforms: Tensor) -> dict[str, Tensor]:
            values = waveforms[:, :3].clone()
            values[waveforms[:, 0] == first, 1] = bad
            return {"good": waveforms[:, :2], "layer": values}

        model = Odd(answer, {"good": "BC", "layer": "BC"})
        with pytest.raises(ModelError, match="odd, layer 'layer': activations of stimulus 's1' are NaN or infinite"):
            extract(model, sounds)
        assert extract(model, sounds.select(["s10", "s9"])).shape == (2, 5)

    def test_no_frames_at_all_name_the_stimulus(self) -> None:
        model = Odd(lambda w: {"layer": w[:, None, :0]}, {"layer": "BCT"})
        with pytest.raises(ModelError, match="stimulus 's10' are NaN"):
            extract(model, sounds_of({"s10": 10}))

    @pytest.mark.parametrize("name", ["kim2024-cnn@random:0", "logmel"])
    def test_a_sound_that_is_too_short_is_named_before_the_model_fails(self, name: str) -> None:
        model = load_model(name)
        shortest = model.minimum_samples
        sounds = sounds_of({"long": 44_100, "just": shortest, "short": shortest - 1}, rate=model.sample_rate)
        assert extract(model, sounds.select(["long", "just"])).sizes["stimulus"] == 2
        expected = (
            rf"stimulus 'short' is too short for {name}: {(shortest - 1) / 22_050:.3f} s, "
            rf"it takes at least {shortest / 22_050:.3f} s"
        )
        with pytest.raises(ModelError, match=expected):
            extract(model, sounds)

    def test_silence_has_no_pattern_and_is_named(self) -> None:
        sounds = sounds_of({"x": 5_000, "quiet": 5_000}, rate=22_050, quiet=np.zeros(5_000, np.float32))
        with pytest.raises(ResponseError, match="all units respond alike to quiet"):
            extract(load_model("logmel"), sounds)

    def test_a_sound_that_cannot_be_read_is_named(self, network: HookedModel) -> None:
        sounds = sounds_of(LENGTHS)

        def source(stimulus_id: str) -> tuple[np.ndarray, int]:
            if stimulus_id == "B":
                raise StimulusError("sound file 'b.wav' is empty")
            return sounds.source(stimulus_id)

        broken = StimulusSet(sounds.manifest, sounds.table, source)
        with pytest.raises(StimulusError, match=r"stimulus 'B' of noises: sound file 'b\.wav' is empty"):
            extract(network, broken)

    @pytest.mark.parametrize(
        ("answer", "layout", "message"),
        [
            (lambda w: {"layer": w[:, :3]}, "BCT", r"shape \(1, 3\) for 1 sounds do not fit the layout 'BCT'"),
            (lambda w: {"layer": w[:, :3].T}, "BC", r"shape \(3, 1\) for 1 sounds do not fit the layout 'BC'"),
            (lambda w: {"other": w[:, :3]}, "BC", "odd gave no activations of the layer 'layer'"),
            (lambda w: {"layer": w}, "BC", r"300 units for stimulus 's9', 400 for 's10'; is its layout 'BC'\?"),
        ],
    )
    def test_activations_that_do_not_fit(self, answer: Any, layout: str, message: str) -> None:
        with pytest.raises(ModelError, match=message):
            extract(Odd(answer, {"layer": layout}), sounds_of({"s10": 400, "s9": 300}))

    @pytest.mark.parametrize("batch_size", [0, -1])
    def test_batches_hold_at_least_one_sound(self, network: HookedModel, batch_size: int) -> None:
        with pytest.raises(ModelError, match="batch_size must be at least 1"):
            extract(network, sounds_of(LENGTHS), batch_size=batch_size)


def test_batches_hold_sounds_of_one_length_and_no_more_than_asked_for() -> None:
    seen: list[tuple[int, ...]] = []

    def answer(waveforms: Tensor) -> dict[str, Tensor]:
        seen.append(tuple(waveforms.shape))
        return {"layer": waveforms[:, :3]}

    extract(Odd(answer, {"layer": "BC"}), sounds_of(LENGTHS), batch_size=2)
    assert sorted(seen) == sorted([(2, 400), (1, 400), (2, 300), (1, 7), (1, 350)])


@pytest.mark.parametrize("device", ["foo", "cuda:99"])
def test_a_device_that_is_not_there_is_named_before_a_sound_is_played(device, tmp_path):
    with pytest.raises(ModelError, match=f"the device '{device}' cannot be used"):
        extract(load_model("logmel"), load_stimuli("demo"), device=device, cache=tmp_path / "cache")
    assert not (tmp_path / "cache").exists()
