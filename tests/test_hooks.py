"""What is recorded is what the layer gave, whatever the module does: one trap of frontends.md section 4 per test."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from brainalign.errors import ModelError
from brainalign.models import HookedModel, load_model
from brainalign.models.hooked import ablating
from brainalign.models.hooks import Target, parse_layer, recording, replace_item, tensors_in

Pair = namedtuple("Pair", ["state", "rest"])


def noise(n_samples: int, n_sounds: int = 1, seed: int = 0) -> Tensor:
    return 0.1 * torch.randn(n_sounds, n_samples, generator=torch.Generator().manual_seed(seed))


@dataclass
class Stages:
    hidden: Tensor
    pooled: Tensor
    note: str = "no tensor"


class Toy(nn.Module):
    """Has an in-place ReLU after its batch normalisation, a layer with two outputs, and one that is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(1, 4, 5)
        self.normalisation = nn.BatchNorm1d(4)
        self.relu = nn.ReLU(inplace=True)
        self.recurrent = nn.GRU(4, 3, batch_first=True)
        self.shared = nn.Linear(3, 3)
        self.unused = nn.Linear(2, 2)
        self.dropout = nn.Dropout(0.5)

    def forward(self, waveforms: Tensor) -> Tensor:
        x = self.relu(self.normalisation(self.convolution(waveforms[:, None])))
        sequence, _ = self.recurrent(x.transpose(1, 2))
        return self.dropout(self.shared(self.shared(sequence)))


def toy(**layouts: str) -> HookedModel:
    return named({"normalisation": "BCT", "relu": "BCT"} | layouts)


def named(layouts: dict[str, str], **fields: Any) -> HookedModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return HookedModel("toy", Toy(), 8_000, layouts, 5, **fields)


def n_hooks(module: nn.Module) -> int:
    return sum(len(part._forward_hooks) for part in module.modules())


class TestTraps:
    def test_in_place_operations_do_not_change_what_is_recorded(self) -> None:
        """pytorch#95617, #61519: a tensor stored by reference came back rectified."""
        model = toy()
        given = model.activations(noise(100, 2), ["normalisation", "relu"])
        assert (given["normalisation"] < 0).any()
        torch.testing.assert_close(given["relu"], given["normalisation"].clamp(min=0), rtol=0, atol=0)

    def test_what_is_given_has_memory_of_its_own(self) -> None:
        model = toy()
        given = model.activations(noise(100), ["normalisation", "relu"])
        before = given["relu"].clone()
        with torch.inference_mode():
            given["normalisation"].zero_()
        assert torch.equal(given["relu"], before)

    def test_a_module_that_is_called_twice(self) -> None:
        """torch-scan#24, openai/CLIP#239, open_clip#78, tangermeme#54: the second call overwrote the first."""
        model = named({"recurrent.0": "BTC", "shared:0": "BTC", "shared:1": "BTC"})
        given = model.activations(noise(100, 2), list(model.layouts))
        once = model.module.shared(given["recurrent.0"])
        torch.testing.assert_close(given["shared:0"], once)
        torch.testing.assert_close(given["shared:1"], model.module.shared(once))
        assert not torch.allclose(given["shared:0"], given["shared:1"])

    def test_a_call_must_be_named_where_there_are_two(self) -> None:
        with pytest.raises(
            ModelError, match=r"'shared' 2 times in one pass, expected once; name one: 'shared:0' to 'sha"
        ):
            toy(shared="BTC").activations(noise(100), ["shared"])
        with pytest.raises(ModelError, match="calls the layer 'shared:2' 0 times"):
            named({"shared:2": "BTC"}).activations(noise(100), ["shared:2"])

    def test_a_module_that_is_not_called(self) -> None:
        with pytest.raises(ModelError, match="calls the layer 'unused' 0 times"):
            toy(unused="BC").activations(noise(100), ["unused"])

    def test_tuples(self) -> None:
        """bdpy#76, thingsvision#109: tuples were a TypeError, or only their first item was seen."""
        model = named({"relu": "BCT", "recurrent.0": "BTC", "recurrent.1": "BTC"}, batch_axes={"recurrent.1": 1})
        given = model.activations(noise(100, 2), list(model.layouts))
        sequence, last = model.module.recurrent(given["relu"].transpose(1, 2))
        torch.testing.assert_close(given["recurrent.0"], sequence)
        torch.testing.assert_close(given["recurrent.1"], last.transpose(0, 1))
        with pytest.raises(ModelError, match=r"'recurrent' gives a tuple of 2 tensors; name one: 'recurrent.0', 'rec"):
            toy(recurrent="BTC").activations(noise(100), ["recurrent"])
        with pytest.raises(ModelError, match=r"output of layer 'recurrent.7' has no item '7'; '0', '1'"):
            named({"recurrent.7": "BTC"}).activations(noise(100), ["recurrent.7"])

    def test_train_mode(self) -> None:
        """A model built from a config is in training mode: dropout made two passes differ."""
        model = toy(dropout="BTC")
        assert not any(part.training for part in model.module.modules())
        model.module.train()
        first, second = (model.activations(noise(100), ["dropout"])["dropout"] for _ in range(2))
        assert torch.equal(first, second)
        assert (first != 0).all()

    def test_no_gradient_is_kept(self) -> None:
        given = toy().activations(noise(100), ["relu"])["relu"]
        assert given.is_inference()
        assert not given.requires_grad

    def test_hooks_go_after_an_error_in_the_model(self) -> None:
        """bdpy#91, and thingsvision's hooks that only success removed."""
        model = toy()
        with pytest.raises(RuntimeError):
            model.activations(noise(2), ["relu"])
        assert n_hooks(model.module) == 0
        assert model.activations(noise(100), ["relu"])["relu"].shape == (1, 4, 96)

    def test_hooks_go_after_an_error_in_a_hook(self) -> None:
        model = toy(recurrent="BTC")
        with pytest.raises(ModelError):
            model.activations(noise(100), ["relu", "recurrent"])
        with pytest.raises(ModelError), ablating(model, {"relu": [99]}):
            model.activations(noise(100), ["relu"])
        assert n_hooks(model.module) == 0

    def test_hooks_of_others_stay(self) -> None:
        model = toy()
        calls: list[int] = []
        model.module.relu.register_forward_hook(lambda *_: calls.append(1))
        model.activations(noise(100), ["relu"])
        model.activations(noise(100), ["relu"])
        assert len(calls) == 2
        assert n_hooks(model.module) == 1

    def test_rows_that_are_not_sounds(self) -> None:
        """thingsvision raises where the first axis is not the batch; so does this, by name."""
        with pytest.raises(ModelError, match=r"layer 'recurrent.1': an output of shape \(1, 2, 3\) for 2 sounds"):
            named({"recurrent.1": "BTC"}).activations(noise(100, 2), ["recurrent.1"])
        with pytest.raises(ModelError, match=r"does not fit the layout 'BC'"):
            named({"relu": "BC"}).activations(noise(100, 2), ["relu"])

    def test_frames_of_padding_are_cut(self) -> None:
        """transformers#25744, ultravox#146: a fixed window was averaged together with its silence."""

        class Padding(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.frames = nn.AvgPool1d(10, 10)

            def forward(self, waveforms: Tensor) -> Tensor:
                return self.frames(nn.functional.pad(waveforms, (0, 100 - waveforms.shape[1]))[:, None])

        model = HookedModel("window", Padding(), 100, {"frames": "BCT"}, valid_frames={"frames": lambda n: n // 10})
        samples = noise(40, 2)
        expected = samples.view(2, 1, 4, 10).mean(dim=3)
        torch.testing.assert_close(model.activations(samples, ["frames"])["frames"], expected)
        with pytest.raises(ModelError, match=r"0 of 10 frames rest on a sound of 9 samples"):
            model.activations(noise(9), ["frames"])

    def test_the_whole_batch_shares_no_statistics(self) -> None:
        """fairseq#5609, speechbrain#1247: a sound in a batch is the sound alone."""
        model = toy(dropout="BTC")
        samples = noise(200, 4)
        together = model.activations(samples, ["dropout"])["dropout"]
        alone = torch.cat([model.activations(s[None], ["dropout"])["dropout"] for s in samples])
        torch.testing.assert_close(together, alone, rtol=0, atol=1e-6)


class TestNames:
    @pytest.mark.parametrize(
        ("layer", "target"),
        [
            ("relu", Target("relu")),
            ("shared:1", Target("shared", 1)),
            ("recurrent.0", Target("recurrent", None, "0")),
            ("recurrent:2.1.0", Target("recurrent", 2, "1.0")),
            ("output", Target("")),
            ("output.hidden", Target("", None, "hidden")),
            ("output:1", Target("", 1)),
        ],
    )
    def test_grammar(self, layer: str, target: Target) -> None:
        assert parse_layer(Toy(), layer) == target

    def test_a_submodule_comes_before_an_item(self) -> None:
        block = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
        assert parse_layer(nn.ModuleDict({"block": block}), "block.0") == Target("block.0")
        assert parse_layer(nn.ModuleDict({"output": block}), "output") == Target("output")

    def test_near_misses(self) -> None:
        with pytest.raises(ModelError, match="'toy' has no layer 'relu6'; did you mean 'relu'"):
            toy(relu6="BCT")
        with pytest.raises(ModelError, match="'toy' has no layer 'rel'; did you mean 'relu'"):
            toy().activations(noise(100), ["relu", "rel"])

    @pytest.mark.parametrize("layout", ["CBT", "BCC", "", "TBC"])
    def test_layouts_begin_with_the_batch(self, layout: str) -> None:
        with pytest.raises(ModelError, match=r"a layout begins with 'B' and names each axis once"):
            named({"relu": layout})


class TestOutputs:
    x, y, z = (torch.full((2,), float(i)) for i in range(3))

    @pytest.mark.parametrize(
        ("output", "keys"),
        [
            (x, [""]),
            ((x, y), ["0", "1"]),
            ((x, (y, [z])), ["0", "1.0", "1.1.0"]),
            ({"a": x, "b": None, "c": {"d": y}}, ["a", "c.d"]),
            (OrderedDict(last=x, hidden_states=(y, z)), ["last", "hidden_states.0", "hidden_states.1"]),
            (Stages(x, y), ["hidden", "pooled"]),
            (Pair(x, (y, None)), ["state", "rest.0"]),
            ("nothing", []),
            ((x, None), ["0"]),
        ],
    )  # fmt: skip
    def test_flattened_and_replaced(self, output: Any, keys: list[str]) -> None:
        found = tensors_in(output)
        assert list(found) == keys
        for key in keys:
            changed = replace_item(output, key, lambda t: t + 10)
            assert type(changed) is type(output)
            expected = {k: v + 10 if k == key else v for k, v in found.items()}
            after = tensors_in(changed)
            assert all(torch.equal(after[k], v) for k, v in expected.items())
            assert all(torch.equal(tensors_in(output)[k], v) for k, v in found.items())

    def test_one_tensor_in_a_container_needs_no_item(self) -> None:
        """WavLM's layers give (state, None) when they hand no position bias on."""

        class Block(nn.Module):
            def forward(self, x: Tensor) -> tuple[Tensor, None]:
                return 2 * x, None

        model = HookedModel("block", nn.Sequential(Block()), 8_000, {"0": "BT"})
        samples = noise(10, 2)
        assert torch.equal(model.activations(samples, ["0"])["0"], 2 * samples)

    def test_a_module_without_tensors(self) -> None:
        class Silent(nn.Module):
            def forward(self, x: Tensor) -> str:
                return "none"

        with pytest.raises(ModelError, match="layer '0' gives a str without tensors"):
            HookedModel("silent", nn.Sequential(Silent()), 8_000, {"0": "BT"}).activations(noise(10), ["0"])

    def test_one_entry_per_call(self) -> None:
        module = Toy().eval()
        with recording(module, ["shared", "shared:1", "unused"]) as outputs:
            module(noise(50))
        assert [len(outputs[layer]) for layer in outputs] == [2, 1, 0]
        assert torch.equal(outputs["shared"][1], outputs["shared:1"][0])


class TestAblation:
    def test_one_call_of_two(self) -> None:
        model = named({"shared:0": "BTC", "shared:1": "BTC"})
        samples = noise(100, 2)
        layers = list(model.layouts)
        intact = model.activations(samples, layers)
        with ablating(model, {"shared:0": [1]}):
            silenced = model.activations(samples, layers)
        expected = intact["shared:0"].clone()
        expected[..., 1] = 0
        assert torch.equal(silenced["shared:0"], expected)
        torch.testing.assert_close(silenced["shared:1"], model.module.shared(expected))

    def test_an_item_of_a_tuple_whose_batch_is_not_first(self) -> None:
        class Last(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.recurrent = nn.GRU(1, 4)
                self.after = nn.Identity()

            def forward(self, waveforms: Tensor) -> Tensor:
                return self.after(self.recurrent(waveforms.T[..., None])[0])

        layouts = {"recurrent.0": "BTC", "after": "BTC"}
        model = HookedModel("last", Last(), 8_000, layouts, batch_axes={"recurrent.0": 1, "after": 1})
        samples = noise(20, 3)
        intact = model.activations(samples, ["after"])["after"]
        assert intact.shape == (3, 20, 4)
        with ablating(model, {"recurrent.0": [0, 3]}):
            silenced = model.activations(samples, ["after"])["after"]
        expected = intact.clone()
        expected[..., [0, 3]] = 0
        assert torch.equal(silenced, expected)


class TestControls:
    def test_weights_that_a_reset_does_not_reach(self) -> None:
        """Weight normalisation holds the weights elsewhere than reset_parameters writes them."""
        with pytest.warns(FutureWarning):
            module = nn.Sequential(nn.utils.weight_norm(nn.Conv1d(1, 2, 3)))
        model = HookedModel.from_module(module, 100)
        with pytest.raises(ModelError, match=r"Conv1d '0' cannot draw its weights afresh \(weight_g, weight_v\)"):
            model.with_random_weights(0)
        new = HookedModel.from_module(nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Conv1d(1, 2, 3))), 100)
        with pytest.raises(ModelError, match=r"cannot draw its weights afresh \(original0, original1\)"):
            new.with_random_weights(0)

    def test_a_builder_draws_what_resets_cannot(self) -> None:
        class Gain(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.gain = nn.Parameter(torch.randn(3))

            def forward(self, x: Tensor) -> Tensor:
                return self.gain * x[:, None, :3]

        trained = Gain()
        with pytest.raises(ModelError, match=r"Gain '' cannot draw its weights afresh \(gain\)"):
            HookedModel("gain", trained, 8_000, {"output": "BCT"}).with_random_weights(0)
        model = HookedModel("gain", trained, 8_000, {"output": "BCT"}, untrained=Gain)
        state = torch.random.get_rng_state()
        first, again, other = (model.with_random_weights(seed).module.gain for seed in (0, 0, 1))
        assert torch.equal(torch.random.get_rng_state(), state)
        assert torch.equal(first, torch.randn(3, generator=torch.Generator().manual_seed(0)))
        assert torch.equal(first, again)
        assert not torch.equal(first, other)

    def test_what_was_never_learned_stays(self) -> None:
        network = nn.Sequential(nn.Conv1d(1, 8, 16), nn.Conv1d(8, 8, 3))
        model = HookedModel("bank", network, 8_000, {"1": "BCT"}, fixed=["0.*"])
        for control in (model.with_random_weights(0), model.with_permuted_weights(0)):
            assert torch.equal(control.module[0].weight, network[0].weight)
            assert torch.equal(control.module[0].bias, network[0].bias)
            assert not torch.equal(control.module[1].weight, network[1].weight)

    def test_transformers_of_torch_can_be_drawn(self) -> None:
        network = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2)
        model = HookedModel("encoder", network, 8_000, {"layers.1": "BTC"})
        fresh = model.with_random_weights(0).module.state_dict()
        same = [k for k, v in network.state_dict().items() if torch.equal(v, fresh[k]) and "weight" in k]
        assert all("norm" in name for name in same)
        assert torch.equal(
            fresh["layers.0.linear1.weight"], model.with_random_weights(0).module.layers[0].linear1.weight
        )

    def test_names_with_an_at_sign_in_a_folder(self) -> None:
        with pytest.raises(ModelError, match=r"no ONNX file /drive-me@lab.org/x.onnx"):
            load_model("onnx:/drive-me@lab.org/x.onnx?sample_rate=1")
        with pytest.raises(ModelError, match=r"is not of the form NAME"):
            load_model("onnx:x.onnx@random")


def test_a_layer_whose_units_lie_otherwise_than_its_layout_cannot_be_ablated():
    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.tokens = nn.Linear(4, 6)

        def forward(self, waveforms):
            return self.tokens(waveforms.unfold(1, 4, 4)).flatten(1)

    model = HookedModel(name="tokens", module=Tokens(), sample_rate=8000, layouts={"tokens": "BCFT"})
    with ablating(model, {"tokens": [0]}) as silenced, pytest.raises(ModelError, match="cannot be ablated"):
        silenced.module(torch.zeros(2, 16))
