"""The network and its front end are the published ones; hooks, weights and controls keep their word."""

from __future__ import annotations

import hashlib
import json
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from brainalign import load_model
from brainalign.errors import ModelError
from brainalign.models import MODELS, AudioModel, HookedModel
from brainalign.models.hooked import load_weights, weights_digest
from brainalign.models.kim2024 import LAYOUTS, Kim2024CNN
from brainalign.models.logmel import LogMel

RATE = 22_050


def noise(n_samples: int, n_sounds: int = 1, seed: int = 0, level: float = 0.1) -> Tensor:
    return level * torch.randn(n_sounds, n_samples, generator=torch.Generator().manual_seed(seed))


def unlike_fresh(module: nn.Module, seed: int = 0) -> None:
    """Give batch normalisation statistics as after training: fresh ones would hide that they are used."""
    generator = torch.Generator().manual_seed(seed)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            n = part.num_features
            part.running_mean.copy_(torch.randn(n, generator=generator))
            part.running_var.copy_(0.5 + torch.rand(n, generator=generator))
            with torch.no_grad():
                part.weight.copy_(0.5 + torch.rand(n, generator=generator))
                part.bias.copy_(torch.randn(n, generator=generator))


@pytest.fixture(scope="module")
def kim() -> HookedModel:
    model = load_model("kim2024-cnn@random:0")
    assert isinstance(model, HookedModel)
    unlike_fresh(model.module)
    return model


class TestLogMel:
    @staticmethod
    def formula(samples: np.ndarray) -> np.ndarray:
        """Compute the spectrogram in double precision from its definition.

        torchaudio, with which the authors made theirs, spreads the 276 bins of the spectrum evenly from 0 to
        11,025 Hz, although with a window of odd length the last of them lies at 11,005 Hz; so does this.
        """
        window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(551) / 551)
        padded = np.pad(samples.astype(np.float64), 275, mode="reflect")
        frames = np.stack([padded[i : i + 551] * window for i in range(0, len(padded) - 550, 275)])
        power = np.abs(np.fft.rfft(frames)) ** 2
        bins = np.linspace(0, 11_025, 276)
        edges = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + 8_000 / 700), 66) / 2595) - 1)
        low, centre, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
        filters = np.clip(np.minimum((bins - low) / (centre - low), (high - bins) / (high - centre)), 0, None)
        return 10 * np.log10(np.maximum(filters @ power.T, 1e-10))

    @pytest.mark.parametrize("level", [1e-4, 0.01, 1.0])
    @pytest.mark.parametrize("n_samples", [276, 1_000, 44_100])
    def test_the_formula(self, n_samples: int, level: float) -> None:
        samples = noise(n_samples, seed=n_samples, level=level)
        with torch.inference_mode():
            computed = LogMel()(samples)[0, 0].numpy()
        np.testing.assert_allclose(computed, self.formula(samples[0].numpy()), rtol=0, atol=1e-3)

    def test_a_tone_lies_in_its_band(self) -> None:
        samples = np.sin(2 * np.pi * 1_000 * np.arange(RATE) / RATE)
        mean = LogMel()(torch.tensor(samples, dtype=torch.float32)[None])[0, 0].mean(dim=1)
        centres = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + 8_000 / 700), 66)[1:-1] / 2595) - 1)
        assert int(mean.argmax()) == int(np.argmin(np.abs(centres - 1_000)))

    @pytest.mark.parametrize(("n_samples", "n_frames"), [(220_500, 802), (44_100, 161), (276, 2), (33_001, 121)])
    def test_frames(self, n_samples: int, n_frames: int) -> None:
        spectrogram = LogMel()(noise(n_samples, 2))
        assert spectrogram.shape == (2, 1, 64, n_frames)
        assert n_frames == 1 + (n_samples - 1) // 275

    def test_silence_is_minus_100_db(self) -> None:
        assert torch.all(LogMel()(torch.zeros(1, 5_000)) == -100)

    def test_twice_the_amplitude_is_6_db(self) -> None:
        samples = noise(5_000)
        difference = LogMel()(2 * samples) - LogMel()(samples)
        torch.testing.assert_close(difference, torch.full_like(difference, 20 * np.log10(2)), rtol=0, atol=1e-3)

    def test_as_a_model(self) -> None:
        model = load_model("logmel")
        assert isinstance(model, AudioModel)
        samples = noise(3_000, 2)
        given = model.activations(samples, ["logmel"])["logmel"]
        torch.testing.assert_close(given, LogMel()(samples), rtol=0, atol=0)
        assert (model.layouts, model.sample_rate) == ({"logmel": "BCFT"}, RATE)

    @pytest.mark.parametrize("name", ["logmel:large", "logmel@random:0", "logmel:a@random:0"])
    def test_it_has_neither_variants_nor_weights(self, name: str) -> None:
        with pytest.raises(ModelError, match=r"model 'logmel' has no (variant 'large'|weights|variant 'a')"):
            load_model(name)


class TestKim2024:
    def test_number_of_parameters(self, kim: HookedModel) -> None:
        assert sum(p.numel() for p in kim.module.parameters()) == 1_278_191

    @pytest.mark.parametrize(
        ("n_samples", "times"),
        [
            (220_500, (200, 100, 96, 95, 91, 90, 86)),
            (44_100, (40, 20, 16, 15, 11, 10, 6)),
            (33_001, (30, 15, 11, 10, 6, 5, 1)),
        ],
    )
    def test_shape_of_every_layer(self, kim: HookedModel, n_samples: int, times: tuple[int, ...]) -> None:
        given = kim.activations(noise(n_samples, 2), list(kim.layouts))
        layers = ("conv1", "pool1", "conv2", "pool2", "conv3", "pool3", "conv4")
        maps = ((32, 30), (32, 15), (64, 11), (64, 10), (128, 6), (128, 5), (256, 1))
        expected = {layer: (2, *size, n) for layer, size, n in zip(layers, maps, times, strict=True)}
        expected |= {"avgpool": (2, 256), "fc1": (2, 256), "fc2": (2, 527)}
        assert {layer: tuple(values.shape) for layer, values in given.items()} == expected
        assert list(kim.layouts) == list(expected)
        assert all(len(kim.layouts[layer]) == len(shape) for layer, shape in expected.items())

    def test_every_layer_agrees_with_the_network_written_out(self, kim: HookedModel) -> None:
        samples = noise(44_100, 3)
        given = kim.activations(samples, list(kim.layouts))
        w = kim.module.state_dict()

        def convolved(x: Tensor, name: str, stride: tuple[int, int] = (1, 1)) -> Tensor:
            x = functional.conv2d(x, w[f"{name}.0.weight"], stride=stride)
            mean, variance, gain, shift = (
                w[f"{name}.1.{part}"][:, None, None] for part in ("running_mean", "running_var", "weight", "bias")
            )
            return torch.clamp((x - mean) / torch.sqrt(variance + 1e-5) * gain + shift, min=0)

        expected: dict[str, Tensor] = {}
        with torch.inference_mode():
            spectrogram = torch.tensor(np.stack([TestLogMel.formula(s.numpy()) for s in samples]), dtype=torch.float32)
            expected["conv1"] = convolved(spectrogram[:, None], "conv1", (2, 4))
            expected["pool1"] = functional.max_pool2d(expected["conv1"], 2, 2)
            expected["conv2"] = convolved(expected["pool1"], "conv2")
            expected["pool2"] = functional.max_pool2d(expected["conv2"], 2, 1)
            expected["conv3"] = convolved(expected["pool2"], "conv3")
            expected["pool3"] = functional.max_pool2d(expected["conv3"], 2, 1)
            expected["conv4"] = convolved(expected["pool3"], "conv4")
            expected["avgpool"] = expected["conv4"].mean(dim=(2, 3))
            expected["fc1"] = torch.relu(expected["avgpool"] @ w["fc1.0.weight"].T + w["fc1.0.bias"])
            expected["fc2"] = expected["fc1"] @ w["fc2.weight"].T + w["fc2.bias"]
        assert list(given) == list(expected)
        for layer, values in expected.items():
            assert float((values != 0).float().mean()) > 0.01, f"{layer} is dead: the comparison would say nothing"
            torch.testing.assert_close(given[layer], values, rtol=1e-3, atol=1e-3, msg=layer)

    def test_evaluation_mode_without_dropout(self, kim: HookedModel) -> None:
        samples = noise(44_100)
        assert not any(part.training for part in kim.module.modules())
        first, second = (kim.activations(samples, ["fc2"])["fc2"] for _ in range(2))
        assert torch.equal(first, second)

    def test_evaluation_mode_also_after_training(self) -> None:
        model = load_model("kim2024-cnn@random:0")
        samples = noise(44_100)
        before = model.activations(samples, ["fc2"])["fc2"]
        model.module.train()
        assert torch.equal(model.activations(samples, ["fc2"])["fc2"], before)

    def test_no_weights_are_made_up(self) -> None:
        with pytest.raises(ModelError, match=r"'kim2024-cnn' names no weights; .*kim2024-cnn@random:0"):
            load_model("kim2024-cnn")
        with pytest.raises(ModelError, match=r"leave the variant 'x.safetensors' out"):
            load_model("kim2024-cnn:x.safetensors@random:0")


@pytest.mark.parametrize("name", ["logmel", "kim2024-cnn@random:0"])
def test_the_shortest_sound_is_exact(name: str) -> None:
    model = load_model(name)
    assert isinstance(model, HookedModel)
    given = model.activations(noise(model.minimum_samples), list(model.layouts))
    assert all(values.numel() for values in given.values())
    with pytest.raises(RuntimeError):
        model.module(noise(model.minimum_samples - 1))


class TestNames:
    @pytest.mark.parametrize(
        "name", ["", ":x", "kim2024-cnn@", "kim2024-cnn@random", "kim2024-cnn@random:", "kim2024-cnn@random:-1",
                 "kim2024-cnn@random:1.5", "kim2024-cnn@Random:0", "kim2024-cnn@random:0@permuted:1", "kim2024-cnn:"],
    )  # fmt: skip
    def test_malformed(self, name: str) -> None:
        with pytest.raises(ModelError, match=f"model name '{re.escape(name)}' is not of the form NAME"):
            load_model(name)

    def test_an_unknown_control(self) -> None:
        with pytest.raises(ModelError, match="unknown control 'shuffled'; known: 'random', 'permuted'"):
            load_model("kim2024-cnn@shuffled:0")

    def test_names_and_records_of_controls(self) -> None:
        model = load_model("kim2024-cnn@random:12")
        assert model.name == "kim2024-cnn@random:12"
        assert model.record["control"] == "random weights, seed 12"
        assert model.record["weights_sha256"] == weights_digest(model.module)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_model_goes_where_the_sound_is() -> None:
    model = load_model("kim2024-cnn@random:0")
    here = model.activations(noise(44_100), ["avgpool"])["avgpool"]
    there = model.activations(noise(44_100).to("cuda"), ["avgpool"])["avgpool"]
    assert there.device.type == "cuda"
    torch.testing.assert_close(there.cpu(), here, rtol=1e-3, atol=1e-3)
    again = model.with_random_weights(0)
    assert weights_digest(again.module) == weights_digest(load_model("kim2024-cnn@random:0").module)


def tensors(model: AudioModel) -> dict[str, Tensor]:
    assert isinstance(model, HookedModel)
    return {k: v.clone() for k, v in model.module.state_dict().items()}


class TestRandomWeights:
    def test_a_seed_says_it_all(self) -> None:
        first, again, other = (load_model(f"kim2024-cnn@random:{seed}") for seed in (1, 1, 2))
        a, b, c = tensors(first), tensors(again), tensors(other)
        assert all(torch.equal(a[k], b[k]) for k in a)
        drawn = [k for k in a if re.fullmatch(r"conv\d\.0\.weight|fc\d.*\.(weight|bias)", k)]
        assert len(drawn) == 8
        assert all((a[k] != c[k]).float().mean() > 0.99 for k in drawn)
        assert all(torch.equal(a[k], c[k]) for k in a if k.startswith("logmel."))

    def test_the_draw_does_not_depend_on_what_was_drawn_before(self) -> None:
        expected = tensors(load_model("kim2024-cnn@random:1"))
        torch.rand(17)
        drawn = tensors(load_model("kim2024-cnn@random:1").with_random_weights(5).with_random_weights(1))
        assert all(torch.equal(drawn[k], expected[k]) for k in expected)

    def test_the_global_generator_is_left_alone(self) -> None:
        model = load_model("kim2024-cnn@random:0")
        state, numpy_state = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
        model.with_random_weights(7)
        model.with_permuted_weights(7)
        assert torch.equal(torch.random.get_rng_state(), state)
        assert np.array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002

    def test_the_original_is_left_alone(self) -> None:
        model = load_model("kim2024-cnn@random:0")
        before = tensors(model)
        model.with_random_weights(7)
        model.with_permuted_weights(7)
        assert all(torch.equal(v, before[k]) for k, v in tensors(model).items())

    def test_nothing_learned_is_left(self, kim: HookedModel) -> None:
        fresh = tensors(kim.with_random_weights(4))
        assert all(torch.equal(v, fresh[k]) for k, v in tensors(load_model("kim2024-cnn@random:4")).items())
        assert torch.all(fresh["conv2.1.running_mean"] == 0)
        assert torch.all(fresh["conv2.1.running_var"] == 1)

    def test_weights_that_cannot_be_drawn_are_an_error(self) -> None:
        class Scaled(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.linear = nn.Linear(2, 2)
                self.gain = nn.Parameter(torch.full((2,), 5.0))

            def forward(self, x: Tensor) -> Tensor:
                return self.gain * self.linear(x)

        model = HookedModel("lab", nn.Sequential(Scaled()), 8_000, {"0": "BC"})
        state = torch.random.get_rng_state()
        with pytest.raises(ModelError, match=r"'lab': Scaled '0' cannot draw its weights afresh \(gain\)"):
            model.with_random_weights(0)
        assert torch.equal(torch.random.get_rng_state(), state)


class TestPermutedWeights:
    def test_each_tensor_keeps_its_values_in_another_order(self, kim: HookedModel) -> None:
        before, after = tensors(kim), tensors(kim.with_permuted_weights(0))
        for name, values in before.items():
            learned = re.match(r"conv|fc", name) and not name.endswith("num_batches_tracked")
            assert torch.equal(after[name].flatten().sort().values, values.flatten().sort().values), name
            moved = float((after[name] != values).float().mean())
            assert (moved > 0.9) if learned else (moved == 0), name

    def test_a_seed_says_it_all(self, kim: HookedModel) -> None:
        a, b, c = (tensors(kim.with_permuted_weights(seed)) for seed in (1, 1, 2))
        assert all(torch.equal(a[k], b[k]) for k in a)
        assert not torch.equal(a["conv3.0.weight"], c["conv3.0.weight"])

    def test_the_front_end_still_hears(self, kim: HookedModel) -> None:
        samples = noise(44_100)
        with torch.inference_mode():
            heard = kim.with_permuted_weights(0).module.logmel(samples)
        torch.testing.assert_close(heard, LogMel()(samples), rtol=0, atol=0)

    def test_weights_that_are_shared_stay_shared(self) -> None:
        class Tied(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.first = nn.Linear(8, 8, bias=False)
                self.second = nn.Linear(8, 8, bias=False)
                self.second.weight = self.first.weight

            def forward(self, x: Tensor) -> Tensor:
                return self.second(self.first(x))

        model = HookedModel("tied", Tied(), 8_000, {"first": "BC"})
        after = model.with_permuted_weights(0).module
        assert after.first.weight is after.second.weight
        expected = model.module.first.weight.flatten()[torch.randperm(64, generator=torch.Generator().manual_seed(0))]
        assert torch.equal(after.first.weight.flatten(), expected)


class TestWeightsFiles:
    @pytest.mark.parametrize("n_classes", [527, 36])
    def test_round_trip(self, tmp_path: Path, n_classes: int) -> None:
        network = Kim2024CNN(n_classes)
        unlike_fresh(network)
        path = tmp_path / "my net.safetensors"
        save_file(network.state_dict(), path)
        model = load_model(f"kim2024-cnn:{path}")
        assert model.name == f"kim2024-cnn:{path}"
        loaded = tensors(model)
        assert all(torch.equal(v, loaded[k]) for k, v in network.state_dict().items())
        assert model.record["weights_sha256"] == weights_digest(network)
        samples = noise(44_100)
        with torch.inference_mode():
            expected = network.eval()(samples)
        assert torch.equal(model.activations(samples, ["fc2"])["fc2"], expected)
        assert expected.shape == (1, n_classes)

    def test_half_precision_is_read_as_single(self, tmp_path: Path) -> None:
        network = Kim2024CNN()
        unlike_fresh(network)
        halved = {k: v.half() if v.is_floating_point() else v for k, v in network.state_dict().items()}
        save_file(halved, tmp_path / "half.safetensors")
        loaded = tensors(load_model(f"kim2024-cnn:{tmp_path}/half.safetensors"))
        assert all(v.dtype == network.state_dict()[k].dtype for k, v in loaded.items())
        assert all(torch.equal(v, halved[k].to(v.dtype)) for k, v in loaded.items())
        assert not torch.equal(loaded["conv1.0.weight"], network.state_dict()["conv1.0.weight"])

    def test_a_control_of_a_trained_network(self, tmp_path: Path) -> None:
        save_file(Kim2024CNN(9).state_dict(), tmp_path / "x.safetensors")
        model = load_model(f"kim2024-cnn:{tmp_path}/x.safetensors@permuted:3")
        assert model.name == f"kim2024-cnn:{tmp_path}/x.safetensors@permuted:3"
        assert tensors(model)["fc2.bias"].shape == (9,)

    def test_a_card_beside_the_file_that_fits(self, tmp_path: Path) -> None:
        path = tmp_path / "x.safetensors"
        save_file(Kim2024CNN(9).state_dict(), path)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        card = {"weights_sha256": digest, "labels": list("abcdefghi"), "licence": "CC0"}
        (tmp_path / "x.json").write_text(json.dumps(card))
        assert load_model(f"kim2024-cnn:{path}").record["weights_licence"] == "CC0"
        (tmp_path / "x.json").unlink()
        assert "weights_licence" not in load_model(f"kim2024-cnn:{path}").record

    @pytest.mark.parametrize(
        ("card", "message"),
        [
            ("[no card", r"x\.json is not JSON, expected the card of x\.safetensors: Expecting"),
            (b"\xff\xfe", r"x\.json cannot be read as the card of x\.safetensors: .*decode"),
            ("[]", "is not a JSON object"),
            ('{"weights_sha256": "abc"}', r"x\.json is the card of other weights: it says weights_sha256 'abc'"),
            ('{"weights_sha256": null}', "is the card of other weights"),
            ('{"labels": ["Dog", "Cat"]}', r"names 2 labels, x\.safetensors has 9 outputs"),
            ('{"labels": "DogDogDog"}', r"names no list of labels, x\.safetensors has 9 outputs"),
        ],
    )
    def test_a_card_that_does_not_fit(self, tmp_path: Path, card: str | bytes, message: str) -> None:
        save_file(Kim2024CNN(9).state_dict(), tmp_path / "x.safetensors")
        (tmp_path / "x.json").write_bytes(card if isinstance(card, bytes) else card.encode())
        with pytest.raises(ModelError, match=message):
            load_model(f"kim2024-cnn:{tmp_path}/x.safetensors")

    def test_the_card_of_another_training(self, tmp_path: Path) -> None:
        """Swapping the weights of two networks with as many classes changes no shape; the card tells."""
        for name in ("a", "b"):
            network = Kim2024CNN(9)
            save_file(network.state_dict(), tmp_path / f"{name}.safetensors")
            digest = hashlib.sha256((tmp_path / f"{name}.safetensors").read_bytes()).hexdigest()
            (tmp_path / f"{name}.json").write_text(json.dumps({"weights_sha256": digest}))
            load_model(f"kim2024-cnn:{tmp_path}/{name}.safetensors")
        (tmp_path / "a.safetensors").replace(tmp_path / "b.safetensors")
        with pytest.raises(ModelError, match=r"b\.json is the card of other weights"):
            load_model(f"kim2024-cnn:{tmp_path}/b.safetensors")

    def test_another_architecture_names_tensors(self, tmp_path: Path) -> None:
        path = tmp_path / "x.safetensors"
        weights = dict(Kim2024CNN().state_dict())
        del weights["conv1.0.weight"]
        weights["conv2.0.weight"] = torch.zeros(64, 32, 3, 3)
        weights["extra"] = torch.zeros(1)
        save_file(weights, path)
        expected = (
            r"x\.safetensors holds weights of another architecture: conv1\.0\.weight is missing, extra is unknown, "
            r"conv2\.0\.weight is \(64, 32, 3, 3\), expected \(64, 32, 5, 5\)$"
        )
        with pytest.raises(ModelError, match=expected):
            load_model(f"kim2024-cnn:{path}")
        save_file({"a": torch.zeros(1)}, path)
        with pytest.raises(ModelError, match=r"another architecture: .* is missing, .* and \d+ more"):
            load_model(f"kim2024-cnn:{path}")

    def test_a_failed_load_changes_nothing(self, tmp_path: Path) -> None:
        network = Kim2024CNN()
        before = weights_digest(network)
        save_file({**Kim2024CNN().state_dict(), "extra": torch.zeros(1)}, tmp_path / "x.safetensors")
        with pytest.raises(ModelError):
            load_weights(network, tmp_path / "x.safetensors")
        assert weights_digest(network) == before

    def test_a_pickle_is_refused_and_not_run(self, tmp_path: Path) -> None:
        path = tmp_path / "x.safetensors"
        for content in (pickle.dumps(_Payload(tmp_path / "ran")), None):
            if content is None:
                torch.save(Kim2024CNN().state_dict(), path)
            else:
                path.write_bytes(content)
            with pytest.raises(ModelError, match=r"x\.safetensors cannot be read as a safetensors file"):
                load_model(f"kim2024-cnn:{path}")
            with pytest.raises(ModelError, match=r"x\.safetensors cannot be read as a safetensors file"):
                load_weights(Kim2024CNN(), path)
        assert not (tmp_path / "ran").exists()

    @pytest.mark.parametrize("content", [b"", b"text", b"\xff" * 100])
    def test_other_files_are_refused(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "x.safetensors").write_bytes(content)
        with pytest.raises(ModelError, match="cannot be read as a safetensors file"):
            load_model(f"kim2024-cnn:{tmp_path}/x.safetensors")

    def test_a_truncated_file_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "x.safetensors"
        save_file(Kim2024CNN().state_dict(), path)
        path.write_bytes(path.read_bytes()[:-1])
        with pytest.raises(ModelError, match="cannot be read as a safetensors file"):
            load_model(f"kim2024-cnn:{path}")

    def test_a_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(ModelError, match=r"no weights file .*nowhere\.safetensors"):
            load_model(f"kim2024-cnn:{tmp_path}/nowhere.safetensors")

    @pytest.mark.parametrize("name", ["x.pt", "ck/h.pth", "x.ckpt"])
    def test_other_formats_are_refused_by_name(self, name: str) -> None:
        with pytest.raises(ModelError, match=rf"from \.safetensors files only, not from '{name}'.*save_file"):
            load_model(f"kim2024-cnn:{name}")

    def test_an_unknown_condition_is_no_file(self) -> None:
        with pytest.raises(ModelError, match="kim2024-cnn' has no trained network 'no-such-condition/0'"):
            load_model("kim2024-cnn:no-such-condition/0")

    def test_the_digest_is_of_names_and_values(self) -> None:
        first, second = nn.Linear(2, 2), nn.Linear(2, 2)
        second.load_state_dict(first.state_dict())
        assert weights_digest(first) == weights_digest(second)
        with torch.no_grad():
            second.bias[0] += 1e-6
        assert weights_digest(first) != weights_digest(second)
        assert weights_digest(nn.Sequential(first)) != weights_digest(first)


class _Payload:
    """Leaves a mark when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


def test_networks_that_ship_load_and_differ_from_random_ones() -> None:
    from brainalign.models.kim2024 import trained_networks

    trained = trained_networks()
    assert trained
    digests = set()
    for name, path in trained.items():
        model = load_model(f"kim2024-cnn:{name}")
        assert model.name == f"kim2024-cnn:{name}"
        assert model.record["weights_licence"]
        assert all(torch.isfinite(v).all() for v in load_file(path).values())
        digests.add(model.record["weights_sha256"])
    assert len(digests) == len(trained)
    assert list(LAYOUTS) == list(model.layouts)


@pytest.mark.parametrize("name", ["kim2024-cnn:no-music/0", "kim2024-cnn@random:3"])
def test_loading_leaves_the_global_generator_alone(name: str) -> None:
    before = torch.random.get_rng_state()
    load_model(name)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_loader_of_another_signature_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODELS._registered, "bare", lambda: None)
    with pytest.raises(ModelError, match=r"loader of model 'bare' must take \(variant: str, \*, pretrained: bool\)"):
        load_model("bare")


def test_a_seed_that_torch_cannot_take() -> None:
    with pytest.raises(ModelError, match=r"the seed is not below 2\^63"):
        load_model(f"kim2024-cnn@random:{2**63}")


@pytest.mark.parametrize("name", ["logmel", "gbfb", "modulation-spectrum"])
def test_what_has_no_weights_has_no_permuted_control(name):
    with pytest.raises(ModelError, match="has no weights"):
        load_model(f"{name}@permuted:0")
