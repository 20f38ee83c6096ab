"""Every layer of any module is found, with its axes; models and layers are described without guesswork."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import brainalign as ba
from brainalign.errors import ModelError
from brainalign.models import (
    MODELS,
    HookedModel,
    describe_layers,
    describe_models,
    list_models,
    load_model,
    select_layers,
)
from brainalign.models.discovery import discover_layers, infer_layout
from brainalign.models.layers import stages

RATE = 1_000


def seeded(build: Any) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build()


class Net(nn.Module):
    """Front end, convolutions with a residual block, a recurrent layer, dropout, a head; and an unused head."""

    def __init__(self) -> None:
        super().__init__()
        self.front = nn.Sequential(nn.Conv1d(1, 6, 20, stride=5), nn.BatchNorm1d(6), nn.ReLU(inplace=True))
        self.image = nn.Conv2d(1, 3, 3)
        self.recurrent = nn.GRU(12, 7, batch_first=True)
        self.dropout = nn.Dropout(0.1)
        self.head = nn.Linear(7, 4)
        self.unused = nn.Linear(2, 2)

    def forward(self, waveforms: Tensor) -> Tensor:
        x = self.image(self.front(waveforms[:, None])[:, None])
        sequence, _ = self.recurrent(x.flatten(1, 2).transpose(1, 2))
        return self.head(self.dropout(sequence.mean(dim=1)))


class TestLayouts:
    def test_all_layers_of_a_network(self) -> None:
        found = discover_layers(seeded(Net), RATE)
        assert found.layouts == {
            "front.0": "BCT",
            "front.1": "BCT",
            "front": "BCT",
            "image": "BCFT",
            "recurrent.0": "BTC",
            "recurrent.1": "BCF",
            "dropout": "BC",
            "head": "BC",
        }
        assert found.batch_axes == {"recurrent.1": 1}
        assert found.left_out == {
            "front.2": "it gives the tensor that 'front' gives",
            "output": "it gives the tensor that 'head' gives",
            "unused": "it is not called as a module",
        }

    def test_what_is_found_is_what_is_given(self) -> None:
        model = HookedModel.from_module(seeded(Net), sample_rate=RATE)
        samples = torch.randn(2, 500, generator=torch.Generator().manual_seed(1))
        given = model.activations(samples, list(model.layouts))
        front = model.module.front(samples[:, None])
        sequence, last = model.module.recurrent(model.module.image(front[:, None]).flatten(1, 2).transpose(1, 2))
        torch.testing.assert_close(given["front"], front)
        torch.testing.assert_close(given["recurrent.0"], sequence)
        torch.testing.assert_close(given["recurrent.1"], last.transpose(0, 1))
        torch.testing.assert_close(given["head"], model.module(samples))

    def test_three_lines(self) -> None:
        sounds = ba.load_stimuli("demo")
        sounds = sounds.select(sounds.ids[:3])
        model = HookedModel.from_module(seeded(Net), sample_rate=RATE)
        responses = ba.extract(model, sounds)
        waveform = torch.from_numpy(sounds.waveform(sounds.ids[1], RATE)[0])[None]
        with torch.inference_mode():
            expected = model.module(waveform)[0]
        np.testing.assert_allclose(responses.values[1, responses["layer"].values == "head"], expected, atol=1e-5)
        assert set(responses["layer"].values) == set(model.layouts)

    @pytest.mark.parametrize(
        ("few", "more", "longer", "expected"),
        [
            ((2, 8, 5, 10), (3, 8, 5, 10), (2, 8, 5, 15), ("BCFT", 0)),
            ((2, 10, 8), (3, 10, 8), (2, 15, 8), ("BTC", 0)),
            ((10, 2, 8), (10, 3, 8), (15, 2, 8), ("BTC", 1)),
            ((2, 5, 10), (3, 5, 10), (2, 5, 15), ("BCT", 0)),
            ((2, 10, 4, 6), (3, 10, 4, 6), (2, 15, 4, 6), ("BTCF", 0)),
            ((2, 10), (3, 10), (2, 15), ("BT", 0)),
            ((2,), (3,), (2,), ("B", 0)),
            ((2, 8), (3, 8), (2, 8), ("BC", 0)),
            ((4, 2, 8), (4, 3, 8), (4, 2, 8), ("BCF", 1)),
            ((2, 3, 3), (3, 3, 3), (2, 3, 3), ("BCF", 0)),
        ],
    )
    def test_axes_from_shapes(self, few: Any, more: Any, longer: Any, expected: tuple[str, int]) -> None:
        assert infer_layout(few, more, longer) == (*expected, "")

    @pytest.mark.parametrize(
        ("few", "more", "longer", "why"),
        [
            ((7, 8), (7, 8), (7, 8), "no axis of sounds"),
            ((10, 8), (10, 8), (15, 8), "no axis of sounds"),
            ((8, 10, 10), (12, 10, 10), (8, 15, 15), "merges sounds"),
            ((4, 8), (6, 8), (6, 8), "merges sounds"),
            ((2, 4, 10, 10), (3, 4, 10, 10), (2, 4, 15, 15), "attention map"),
            ((2, 10), (3, 10), (2, 10, 1), "number of axes"),
        ],
    )
    def test_no_layers(self, few: Any, more: Any, longer: Any, why: str) -> None:
        assert why in infer_layout(few, more, longer)[2]

    def test_attention_maps_are_left_out_unless_asked_for(self) -> None:
        class Attending(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.frames = nn.Conv1d(1, 8, 100, stride=100)
                self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

            def forward(self, waveforms: Tensor) -> Tensor:
                x = self.frames(waveforms[:, None]).transpose(1, 2)
                return self.attention(x, x, x)[0]

        module = seeded(Attending)
        found = discover_layers(module, RATE)
        assert found.layouts == {"frames": "BCT", "attention.0": "BTC"}
        assert "attention map" in found.left_out["attention.1"]
        assert discover_layers(module, RATE, attention_maps=True).layouts["attention.1"] == "BTS"

    def test_inner_layers_of_torchs_fused_transformer(self) -> None:
        """Without hooks torch runs the block as one operation; the layers inside must be there, and agree."""
        layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.3, batch_first=True)

        class Encoder(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.frames = nn.Conv1d(1, 8, 100, stride=100)
                self.blocks = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

            def forward(self, waveforms: Tensor) -> Tensor:
                return self.blocks(self.frames(waveforms[:, None]).transpose(1, 2))

        model = HookedModel.from_module(seeded(Encoder), RATE)
        expected = {f"blocks.layers.{i}{part}" for i in range(2) for part in ("", ".linear1", ".norm1")}
        assert expected < set(model.layouts)
        samples = torch.randn(2, 700, generator=torch.Generator().manual_seed(0))
        with torch.inference_mode():
            bare = model.module(samples)
        torch.testing.assert_close(model.activations(samples, ["blocks.layers.1"])["blocks.layers.1"], bare)


class TestRules:
    def test_the_same_tensor_is_one_layer(self) -> None:
        class Block(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.inner = nn.Conv1d(2, 2, 1)
                self.rest = nn.Identity()

            def forward(self, x: Tensor) -> Tensor:
                return self.rest(self.inner(x))

        class Deep(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.stem = nn.Sequential(nn.Conv1d(1, 2, 4, stride=4), nn.Dropout(0.5))
                self.blocks = nn.Sequential(Block(), Block())

            def forward(self, waveforms: Tensor) -> Tensor:
                return self.blocks(self.stem(waveforms[:, None]))

        module = seeded(Deep)
        assert list(discover_layers(module, RATE).layouts) == ["stem", "blocks.0", "blocks.1"]
        everything = discover_layers(module, RATE, duplicates=True).layouts
        parts = [f"blocks.{i}{part}" for i in range(2) for part in ("", ".inner", ".rest")]
        assert set(everything) == {"stem.0", "stem.1", "stem", "blocks", "output", *parts}

    def test_equal_values_are_not_the_same_tensor(self) -> None:
        class Dead(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.first, self.second = nn.ReLU(), nn.ReLU()

            def forward(self, waveforms: Tensor) -> Tensor:
                return self.second(self.first(-(waveforms**2)) * 1)

        assert list(discover_layers(Dead(), RATE).layouts) == ["first", "second"]

    def test_calls_that_depend_on_the_sound(self) -> None:
        class Stepping(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.step, self.end = nn.Linear(100, 3), nn.Linear(3, 2)

            def forward(self, waveforms: Tensor) -> Tensor:
                return self.end(torch.stack([self.step(part) for part in waveforms.split(100, dim=1)]).mean(dim=0))

        found = discover_layers(seeded(Stepping), RATE)
        assert found.layouts == {"end": "BC"}
        assert "depends on the sounds" in found.left_out["step:0"]

    def test_integers_and_complex_numbers_are_no_layers(self) -> None:
        class Spectrum(nn.Module):
            def forward(self, x: Tensor) -> Tensor:
                return torch.fft.rfft(x.unfold(1, 100, 100))

        class Peak(nn.Module):
            def forward(self, x: Tensor) -> Tensor:
                return x.abs().argmax(dim=2)

        found = discover_layers(nn.Sequential(Spectrum(), Peak(), nn.Embedding(51, 2)), RATE)
        assert found.layouts == {"2": "BTC"}
        assert found.left_out["0"] == found.left_out["1"] == "it gives no real numbers"

    def test_sounds_of_one_channel(self) -> None:
        model = HookedModel.from_module(seeded(lambda: nn.Sequential(nn.Conv1d(1, 3, 4), nn.ReLU())), RATE)
        assert model.record["input"] == "(n_sounds, 1, n_samples)"
        samples = torch.randn(2, 50, generator=torch.Generator().manual_seed(0))
        torch.testing.assert_close(model.activations(samples, ["0"])["0"], model.module[0](samples[:, None]))
        assert model.with_random_weights(0).activations(samples, ["1"])["1"].shape == (2, 3, 47)

    def test_what_takes_no_waveform(self) -> None:
        with pytest.raises(
            ModelError, match=r"Linear takes no waveforms of 2000 and 3000 samples at 1000 Hz; tried \(n_so"
        ):
            HookedModel.from_module(nn.Linear(7, 2), RATE)
        with pytest.raises(ModelError, match="lengths of the probes must be positive and grow"):
            discover_layers(nn.Identity(), RATE, lengths=(5, 5))

    def test_the_shortest_sound(self) -> None:
        model = HookedModel.from_module(seeded(Net), RATE)
        assert model.minimum_samples == 5 * 2 + 20  # three frames of the front end
        model.activations(torch.zeros(1, model.minimum_samples), list(model.layouts))
        with pytest.raises(RuntimeError):
            model.module(torch.zeros(1, model.minimum_samples - 1))

    def test_a_layer_that_was_left_out_says_why(self) -> None:
        model = HookedModel.from_module(seeded(Net), RATE)
        for ask in (
            lambda: model.activations(torch.zeros(1, 99), ["front.2"]),
            lambda: select_layers(model, "front.2"),
        ):
            with pytest.raises(ModelError, match=r"'front.2'; it was left out: it gives the tensor that 'front' gives"):
                ask()


class TestReceptiveFields:
    def test_closed_forms(self) -> None:
        """Araujo, Norris & Sim 2019 (doi:10.23915/distill.00021): r = 1 + sum (k - 1) x product of earlier strides."""

        def build() -> nn.Module:
            return nn.Sequential(
                nn.Conv1d(1, 4, 10, stride=5),
                nn.ReLU(),
                nn.Conv1d(4, 4, 3, stride=2, padding=1),
                nn.MaxPool1d(2, 2),
                nn.Conv1d(4, 4, 3, dilation=4),
                nn.AdaptiveAvgPool1d(1),
            )

        table = describe_layers(HookedModel.from_module(seeded(build), RATE)).set_index("layer")
        milliseconds = {"0": (10, 5), "1": (10, 5), "2": (20, 10), "3": (30, 20), "4": (190, 20)}
        for layer, expected in milliseconds.items():
            assert tuple(table.loc[layer, ["receptive_field_ms", "hop_ms"]]) == expected, layer
        assert np.isnan(table.loc["5", "receptive_field_ms"])

    def test_kim2024(self) -> None:
        """The network takes 121 frames of 551 samples, 275 apart, for one frame of conv4."""
        table = describe_layers(load_model("kim2024-cnn@random:0")).set_index("layer")
        conv4 = table.loc["conv4"]
        assert conv4["receptive_field_ms"] * 22.05 == pytest.approx(551 + 120 * 275)
        assert conv4["hop_ms"] * 22.05 == pytest.approx(4 * 2 * 275)
        assert table["parameters"].tolist() == [864, 0, 51328, 0, 205056, 0, 819712, 0, 65792, 527 * 257]
        assert table["n_units"].tolist() == [960, 480, 704, 640, 768, 640, 256, 256, 256, 527]

    def test_what_rests_on_all_of_the_sound(self) -> None:
        class Wide(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.frames = nn.Conv1d(1, 8, 10, stride=10)
                self.norm = nn.GroupNorm(1, 8)
                self.recurrent = nn.GRU(8, 3, batch_first=True)

            def forward(self, waveforms: Tensor) -> Tensor:
                return self.recurrent(self.norm(self.frames(waveforms[:, None])).transpose(1, 2))[0]

        table = describe_layers(HookedModel.from_module(seeded(Wide), RATE)).set_index("layer")
        assert tuple(table.loc["frames", ["receptive_field_ms", "hop_ms"]]) == (10, 10)
        assert tuple(table.loc["norm", ["receptive_field_ms", "hop_ms"]]) == (np.inf, 10)
        assert np.isinf(table.loc["recurrent.0", "receptive_field_ms"])

    def test_a_field_that_does_not_fit_is_empty(self) -> None:
        model = HookedModel.from_module(seeded(lambda: nn.Sequential(nn.Conv1d(1, 1, 1_000), nn.ReLU())), RATE)
        assert describe_layers(model, duration_s=3.0)["receptive_field_ms"].tolist() == [1_000, 1_000]
        padded = HookedModel.from_module(seeded(lambda: nn.Sequential(nn.Conv1d(1, 1, 1_501, padding=750))), RATE)
        assert describe_layers(padded, duration_s=1.0)["receptive_field_ms"].isna().all()

    def test_a_sound_that_is_too_short(self) -> None:
        with pytest.raises(ModelError, match=r"takes at least 1.497 s, asked for 1.0 s"):
            describe_layers(load_model("kim2024-cnn@random:0"), duration_s=1.0)


def of_layers(*layers: str) -> Any:
    return SimpleNamespace(name="net", layouts=dict.fromkeys(layers, "BC"), record={})


class TestSelection:
    model = of_layers("stem", "blocks.0.conv", "blocks.0", "blocks.1.conv", "blocks.1", "shared:0", "head[x]", "head")

    @pytest.mark.parametrize(
        ("patterns", "expected"),
        [
            (None, [0, 1, 2, 3, 4, 5, 6, 7]),
            ("stem", [0]),
            ("blocks.?", [2, 4]),
            (["head", "stem"], [0, 7]),
            ("#3", [3]),
            ("#-1", [7]),
            ("#1:3", [1, 2]),
            ("#-2:", [6, 7]),
            ("#:2", [0, 1]),
            ("stage:0", [0]),
            ("stage:1", [1, 2]),
            ("stage:last", [7]),
            ("stage:first", [0]),
            (["stage:2", "#0"], [0, 3, 4]),
            ("head[x]", [6]),
            ("shared:0", [5]),
            (["*conv", "blocks.0.conv"], [1, 3]),
        ],
    )
    def test_forms(self, patterns: Any, expected: list[int]) -> None:
        names = list(self.model.layouts)
        assert select_layers(self.model, patterns) == [names[i] for i in expected]

    @pytest.mark.parametrize(
        ("pattern", "message"),
        [
            ("#8", r"net has no layer '#8': it has 8 layers, 0 to 7 or -1 to -8 from the end"),
            ("#-9", r"it has 8 layers"),
            ("stage:6", r"net has no 'stage:6': it has 6 stages, 0 to 5"),
            ("#5:5", r"net has no layer '#5:5'"),
            ("blocks.0.con", r"did you mean 'blocks.0.conv'"),
            ("stage:middle", r"net has no layer 'stage:middle'"),
            ([], r"no layer of net is named"),
        ],
    )
    def test_misses(self, pattern: Any, message: str) -> None:
        with pytest.raises(ModelError, match=message):
            select_layers(self.model, pattern)

    @pytest.mark.parametrize(
        ("layers", "expected"),
        [
            (["conv1.0", "conv1.1", "conv1", "pool1", "conv2.0"], [0, 0, 0, 1, 2]),
            (["model.encoder.layers.0.ff", "model.encoder.layers.1.ff", "model.norm"], [0, 1, 2]),
            (["layer1.0.conv", "layer1.0", "layer1.1.conv", "layer2.0.conv"], [0, 0, 1, 2]),
            (["features.0", "features.1", "head"], [0, 0, 1]),
            (["shared:0", "shared:1"], [0, 0]),
            (["logmel"], [0]),
        ],
    )
    def test_stages(self, layers: list[str], expected: list[int]) -> None:
        assert stages(layers) == expected


class TestModelTable:
    def test_every_registered_model_has_a_card(self) -> None:
        cards = {card.name: card for card in list_models()}
        assert list(cards) == MODELS.names()
        assert all(card.licence and card.citation and card.what for card in cards.values())
        assert describe_models()["name"].tolist() == MODELS.names()

    def test_networks_that_ship_are_named(self) -> None:
        card = next(card for card in list_models() if card.name == "kim2024-cnn")
        assert {"no-music/0", "all/3"} <= set(card.variants)
        assert (card.weights, card.needs) == ("ship", "")

    def test_variants_of_models_without_weights_load(self) -> None:
        named = {f"{card.name}:{v}" for card in list_models() for v in card.variants if card.weights == "none"}
        fixed = {name for name in named if not name.split(":")[1].isupper() and "." not in name}
        assert {"gbfb:16khz", "gbfb:64bands"} <= fixed
        for name in fixed:
            assert load_model(name).layouts, name

    def test_weights_that_are_not_there_say_where_from(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("BRAINALIGN_DATA", str(tmp_path))
        missing = next(card for card in list_models() if card.name == "yamnet")
        assert missing.weights == "missing"
        assert missing.needs.startswith("yamnet.safetensors from github.com/tensorflow/models")
        (tmp_path / "weights" / "yamnet").mkdir(parents=True)
        (tmp_path / "weights" / "yamnet" / "yamnet.safetensors").touch()
        there = next(card for card in list_models() if card.name == "yamnet")
        assert (there.weights, there.needs) == ("there", "")

    def test_models_of_other_packages_are_listed_without_being_imported(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(MODELS._registered, "labs-own", lambda: 1 / 0)
        card = next(card for card in list_models() if card.name == "labs-own")
        assert card.what == "registered by another package"

    def test_listing_is_light(self) -> None:
        code = (
            "import sys; from brainalign.models import list_models; list_models(); "
            "print([m for m in ('torch', 'pandas', 'scipy', 'transformers', 'onnxruntime') if m in sys.modules])"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "[]"


NETS = """
import torch
from torch import nn

class Small(nn.Module):
    sample_rate = 2000
    def __init__(self, pretrained=True):
        super().__init__()
        self.layer = nn.Conv1d(1, 3, 8, stride=4)
        if pretrained:
            nn.init.ones_(self.layer.weight)
    def forward(self, x):
        return self.layer(x[:, None])

class Bare(nn.Module):
    def forward(self, x):
        return 2 * x.unfold(1, 10, 10)

ready = Small()
bare = Bare()
class space:
    inner = ready
number = 3

def needy(size):
    return Small()

class Listening:
    name, sample_rate, minimum_samples, record = "own", 5, 1, {}
    layouts = {"a": "BC"}
    def activations(self, waveforms, layers):
        return {"a": waveforms[:, :1]}
"""


@pytest.fixture
def nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "lab_nets_for_test.py"
    path.write_text(NETS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "lab_nets_for_test", raising=False)
    return path


class TestPythonModels:
    @pytest.mark.parametrize("attribute", ["Small", "ready", "space.inner"])
    def test_a_module_a_class_an_attribute(self, nets: Path, attribute: str) -> None:
        model = load_model(f"python:lab_nets_for_test:{attribute}")
        assert (model.sample_rate, model.layouts) == (2000, {"layer": "BCT"})
        assert model.name == f"python:lab_nets_for_test:{attribute}"
        samples = torch.ones(1, 16)
        given = model.activations(samples, ["layer"])["layer"]
        bias = model.module.layer.bias
        torch.testing.assert_close(given, (8 + bias)[None, :, None].expand(1, 3, 3))

    def test_a_file(self, nets: Path) -> None:
        assert load_model(f"python:{nets}:Small").layouts == {"layer": "BCT"}

    def test_a_rate_in_the_name(self, nets: Path) -> None:
        model = load_model("python:lab_nets_for_test:bare?sample_rate=100")
        assert (model.sample_rate, model.layouts) == (100, {"output": "BTC"})
        assert model.name == "python:lab_nets_for_test:bare?sample_rate=100"

    def test_an_audio_model_as_it_is(self, nets: Path) -> None:
        assert load_model("python:lab_nets_for_test:Listening").name == "own"
        with pytest.raises(ModelError, match="has no weights to replace, so there is no random control"):
            load_model("python:lab_nets_for_test:Listening@random:0")

    def test_controls(self, nets: Path) -> None:
        model = load_model("python:lab_nets_for_test:Small@random:3")
        assert model.name == "python:lab_nets_for_test:Small@random:3"
        generator = torch.Generator().manual_seed(3)
        bound = 1 / np.sqrt(8)
        expected = torch.empty(3, 1, 8).uniform_(-bound, bound, generator=generator)
        torch.testing.assert_close(model.module.layer.weight.detach(), expected)
        permuted = load_model("python:lab_nets_for_test:ready@permuted:0")
        assert torch.equal(
            permuted.module.layer.bias.sort().values,
            load_model("python:lab_nets_for_test:ready").module.layer.bias.sort().values,
        )

    def test_loading_is_repeatable_and_leaves_the_generator_alone(self, nets: Path) -> None:
        state = torch.random.get_rng_state()
        first = load_model("python:lab_nets_for_test:Small").record["weights_sha256"]
        assert torch.equal(torch.random.get_rng_state(), state)
        torch.rand(3)
        assert load_model("python:lab_nets_for_test:Small").record["weights_sha256"] == first

    @pytest.mark.parametrize(
        ("variant", "message"),
        [
            ("lab_nets_for_test", r"is not of the form python:MODULE:ATTRIBUTE"),
            ("no_such_module_here:net", r"module 'no_such_module_here' cannot be imported: .*name the file"),
            ("./nowhere.py:net", r"no file ./nowhere.py"),
            ("lab_nets_for_test:redy", r"has no 'redy'; did you mean 'ready'"),
            ("lab_nets_for_test:number", r"is a int, expected an nn.Module"),
            ("lab_nets_for_test:needy", r"cannot be called without arguments: missing a required argument: 'size'"),
            ("lab_nets_for_test:bare", r"does not say its sample rate: .*bare\?sample_rate=16000'"),
            ("lab_nets_for_test:ready?sample_rate=9", r"two sample rates are named, 9 and 2000 Hz"),
            ("lab_nets_for_test:bare?sample_rate=fast", r"must be a number of samples per second, found 'fast'"),
            ("lab_nets_for_test:bare?rate=9", r"has no option 'rate'; "),
            ("lab_nets_for_test:bare?sample_rate", r"'sample_rate' is not of the form KEY=VALUE"),
            ("lab_nets_for_test:Listening?sample_rate=9", r"has its own sample_rate; leave it out"),
        ],
    )  # fmt: skip
    def test_bad_names(self, nets: Path, variant: str, message: str) -> None:
        with pytest.raises(ModelError, match=message):
            load_model(f"python:{variant}")
