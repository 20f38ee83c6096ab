"""YAMNet in torch is the published network: against its definition, and against its scores of real clips."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from scipy.signal import resample_poly
from torch import Tensor

from brainalign import load_model
from brainalign.errors import ModelError
from brainalign.models import yamnet
from brainalign.models.hooked import ablating
from brainalign.models.tagger import Tagger
from brainalign.models.weights_files import install_weights, weights_folder

STRIDES = (2, 1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)
CHANNELS = (32, 64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)


def noise(n_samples: int, n_sounds: int = 1, seed: int = 0, level: float = 0.1) -> Tensor:
    return level * torch.randn(n_sounds, n_samples, generator=torch.Generator().manual_seed(seed))


def published_like(seed: int = 0) -> dict[str, np.ndarray]:
    """Give arrays with the names and shapes of the published ones, of other values."""
    rng = np.random.default_rng(seed)
    arrays: dict[str, np.ndarray] = {}
    number, n_in = 0, 1
    for i, n_out in enumerate(CHANNELS):
        kernels = [("kernel", (3, 3, 1, n_out))] if i == 0 else []
        kernels += [("depthwise_kernel", (3, 3, n_in, 1)), ("kernel", (1, 1, n_in, n_out))] if i else []
        for kind, shape in kernels:
            arrays[f"{number}.{kind}"] = rng.normal(size=shape) * (0.5 if shape[0] == 3 else 1.5 / np.sqrt(n_in))
            width = shape[2] if kind == "depthwise_kernel" else shape[3]
            arrays[f"{number + 1}.beta"] = rng.normal(size=width)
            arrays[f"{number + 1}.moving_mean"] = rng.normal(size=width)
            arrays[f"{number + 1}.moving_variance"] = 0.5 + rng.random(width)
            number += 2
        n_in = n_out
    arrays[f"{number}.kernel"] = rng.normal(size=(1024, 521)) / 32
    arrays[f"{number}.bias"] = rng.normal(size=521)
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def write_source(folder: Path, arrays: dict[str, np.ndarray]) -> Path:
    folder.mkdir(exist_ok=True)
    np.savez(folder / "yamnet_float32.npz", **arrays)
    rows = "\n".join(f'{i},/m/{i},"Class {i}, so called"' for i in range(521))
    (folder / "yamnet_class_map.csv").write_text(f"index,mid,display_name\n{rows}\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def arrays() -> dict[str, np.ndarray]:
    return published_like()


@pytest.fixture
def converted(tmp_path: Path, arrays: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch) -> Tagger:
    """Convert arrays of our own and load them as if they were the published ones."""
    monkeypatch.setenv("BRAINALIGN_DATA", str(tmp_path / "data"))
    monkeypatch.setattr("brainalign.models.weights_files._is_published", lambda *_: True)
    install_weights("yamnet", write_source(tmp_path / "source", arrays))
    model = load_model("yamnet")
    assert isinstance(model, Tagger)
    return model


def spectrogram(samples: np.ndarray) -> np.ndarray:
    """Compute log(mel + 0.001) in double precision from the published parameters: (n_frames, 64)."""
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    frames = np.stack([samples[i : i + 400] * window for i in range(0, len(samples) - 399, 160)])
    magnitudes = np.abs(np.fft.rfft(frames, 512))
    edges = np.linspace(*(1127 * np.log(1 + np.array([125, 7500]) / 700)), 66)
    mel = 1127 * np.log(1 + np.arange(257) * 16_000 / 512 / 700)
    filters = np.zeros((257, 64))
    for band in range(64):
        low, centre, high = edges[band : band + 3]
        filters[:, band] = np.maximum(0, np.minimum((mel - low) / (centre - low), (high - mel) / (high - centre)))
    filters[0] = 0
    return np.log(magnitudes @ filters + 0.001)


def network(patch: np.ndarray, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Run the published definition, in TensorFlow's conventions and double precision, on a patch (96, 64)."""

    def padded(x: np.ndarray, stride: int) -> np.ndarray:
        before = [max((-(-n // stride) - 1) * stride + 3 - n, 0) // 2 for n in x.shape[:2]]
        after = [max((-(-n // stride) - 1) * stride + 3 - n, 0) - b for n, b in zip(x.shape[:2], before, strict=True)]
        return np.pad(x, [(before[0], after[0]), (before[1], after[1]), (0, 0)])

    def taps(x: np.ndarray, stride: int):
        x = padded(x, stride)
        for i in range(3):
            for j in range(3):
                yield i, j, x[i : x.shape[0] - 2 + i : stride, j : x.shape[1] - 2 + j : stride]

    def normalised(x: np.ndarray, n: int) -> np.ndarray:
        x = (x - a[f"{n}.moving_mean"]) / np.sqrt(a[f"{n}.moving_variance"] + 1e-4) + a[f"{n}.beta"]
        return np.maximum(x, 0)

    a = {name: array.astype(np.float64) for name, array in arrays.items()}
    x, outputs = patch[:, :, None], {}
    for layer, stride in enumerate(STRIDES):
        n = 0 if layer == 0 else 4 * layer - 2
        if layer == 0:
            x = sum(tap @ a["0.kernel"][i, j] for i, j, tap in taps(x, stride))
        else:
            x = sum(tap * a[f"{n}.depthwise_kernel"][i, j, :, 0] for i, j, tap in taps(x, stride))
            n += 2
            x = normalised(x, n - 1) @ a[f"{n}.kernel"][0, 0]
        x = normalised(x, n + 1)
        outputs[f"layer{layer + 1}"] = x
    outputs["embedding"] = x.mean(axis=(0, 1))
    outputs["logits"] = outputs["embedding"] @ a["54.kernel"] + a["54.bias"]
    return outputs


class TestTheNetwork:
    @pytest.mark.parametrize("level", [1e-4, 0.1])
    def test_the_front_end(self, level: float) -> None:
        samples = noise(16_000, level=level)
        found = yamnet.YamnetLogMel()(samples)[0, 0].numpy()
        np.testing.assert_allclose(found.T, spectrogram(samples[0].double().numpy()), atol=2e-4)

    def test_every_layer_is_as_defined(self, converted: Tagger, arrays: dict[str, np.ndarray]) -> None:
        samples = noise(15_600 + 7_680 + 100, seed=3)
        found = converted.activations(samples, list(converted.layouts))
        frames = spectrogram(samples[0].double().numpy())
        for p in range(2):
            expected = network(frames[48 * p : 48 * p + 96], arrays)
            for i in range(len(STRIDES)):
                layer = f"layer{i + 1}"
                n_frames = len(expected[layer])
                patch = found[layer][0, :, :, p * n_frames : (p + 1) * n_frames].permute(2, 1, 0).double().numpy()
                assert np.abs(patch - expected[layer]).max() < 1e-3 * np.abs(expected[layer]).max(), layer
            for layer in ("embedding", "logits"):
                np.testing.assert_allclose(found[layer][0, p], expected[layer], rtol=1e-3, atol=1e-3)
        assert found["embedding"].shape == (1, 2, 1024)

    def test_patches_are_heard_one_by_one(self, converted: Tagger) -> None:
        samples = noise(15_600 + 2 * 7_680, n_sounds=2, seed=1)
        together = converted.activations(samples, ["layer5", "embedding"])
        for p in range(3):
            alone = converted.activations(samples[:, 7_680 * p : 7_680 * p + 15_600], ["layer5", "embedding"])
            torch.testing.assert_close(together["embedding"][:, p : p + 1], alone["embedding"], rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(
                together["layer5"][..., 12 * p : 12 * p + 12], alone["layer5"], rtol=1e-4, atol=1e-4
            )

    def test_what_fills_no_patch_is_not_heard(self, converted: Tagger) -> None:
        samples = noise(15_600 + 7_679)
        changed = samples.clone()
        changed[:, 15_600:] = 0
        a, b = (converted.activations(x, ["logits"])["logits"] for x in (samples, changed))
        assert torch.equal(a, b)
        assert a.shape == (1, 1, 521)
        assert converted.minimum_samples == 15_600

    def test_scores(self, converted: Tagger) -> None:
        samples = noise(40_000, n_sounds=2)
        logits = converted.activations(samples, ["logits"])["logits"]
        torch.testing.assert_close(converted.scores(samples), torch.sigmoid(logits).mean(dim=1))
        assert converted.class_names[7] == "Class 7, so called"
        short = torch.nn.functional.pad(samples[:, :5_000], (0, 10_600))
        assert torch.equal(converted.scores(samples[:, :5_000]), converted.scores(short))

    def test_units_can_be_ablated(self, converted: Tagger) -> None:
        samples = noise(25_000)
        # Unit 5 of layer 14: channel 2, second of the two bands.
        with ablating(converted, {"layer14": [5]}):
            silent = converted.activations(samples, ["layer14", "embedding"])
        before = converted.activations(samples, ["layer14", "embedding"])
        assert torch.all(silent["layer14"][:, 2, 1] == 0)
        assert torch.equal(silent["layer14"][:, 2, 0], before["layer14"][:, 2, 0])
        changed = (silent["embedding"] != before["embedding"]).any(dim=1)[0]
        assert changed.nonzero().flatten().tolist() in ([2], [])
        expected = before["layer14"][:, 2, 0].reshape(1, 2, 3).mean(dim=2) / 2
        torch.testing.assert_close(silent["embedding"][..., 2], expected)


class TestWeights:
    def test_missing_ones_say_where_they_come_from(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("BRAINALIGN_DATA", str(tmp_path))
        with pytest.raises(ModelError, match=r"no file .*yamnet\.safetensors.*tensorflow/models.*fetch yamnet --from"):
            load_model("yamnet")

    def test_a_file_of_ones_own(self, tmp_path: Path) -> None:
        own = yamnet.Yamnet()
        save_file(own.state_dict(), tmp_path / "mine.safetensors")
        model = load_model(f"yamnet:{tmp_path}/mine.safetensors")
        assert model.name == f"yamnet:{tmp_path}/mine.safetensors"
        assert "weights_licence" not in model.record
        with pytest.raises(ModelError, match="stand for no class"):
            model.scores(noise(16_000))

    @pytest.mark.parametrize("names", ['["a", "b"]', "[", "{}"])
    def test_class_names_that_do_not_fit(self, tmp_path: Path, names: str) -> None:
        save_file(yamnet.Yamnet().state_dict(), tmp_path / "x.safetensors", metadata={"class_names": names})
        with pytest.raises(ModelError, match=r"the class_names in the header of x\.safetensors are not"):
            load_model(f"yamnet:{tmp_path}/x.safetensors")

    @pytest.mark.parametrize("name", ["yamnet:big", "yamnet:x.h5"])
    def test_other_variants(self, name: str) -> None:
        with pytest.raises(ModelError, match="has no variant"):
            load_model(name)

    def test_arrays_that_are_not_the_published_ones(self, tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
        with pytest.raises(ModelError, match="are not the published ones"):
            yamnet.convert_yamnet(write_source(tmp_path / "s", arrays), tmp_path / "t")
        assert not list((tmp_path / "t").glob("*"))

    def test_arrays_of_another_network(self, tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
        other = {k: v for k, v in arrays.items() if k != "0.kernel"} | {"99.kernel": np.zeros(1)}
        with pytest.raises(ModelError, match=r"another network: 0\.kernel is missing, 99\.kernel is unknown"):
            yamnet.convert_yamnet(write_source(tmp_path / "s", other), tmp_path / "t")
        other = arrays | {"54.bias": np.zeros(7, np.float32)}
        with pytest.raises(ModelError, match=r"another shape: logits\.bias is \(7,\), expected \(521,\)"):
            yamnet.convert_yamnet(write_source(tmp_path / "s", other), tmp_path / "t")

    def test_pickles_are_refused(self, tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
        source = write_source(tmp_path / "s", arrays | {"0.kernel": np.array([object()], dtype=object)})
        with pytest.raises(ModelError, match=r"0\.kernel\.npy holds Python objects"):
            yamnet.convert_yamnet(source, tmp_path / "t")

    def test_files_that_are_missing(self, tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
        with pytest.raises(ModelError, match=r"no file yamnet_class_map\.csv"):
            yamnet.convert_yamnet(tmp_path, tmp_path / "t")
        (write_source(tmp_path / "s", arrays) / "yamnet_float32.npz").unlink()
        with pytest.raises(ModelError, match=r"no file yamnet_float32\.npz"):
            yamnet.convert_yamnet(tmp_path / "s", tmp_path / "t")
        with pytest.raises(ModelError, match="no weights of 'yament' can be converted; did you mean 'yamnet'"):
            install_weights("yament", tmp_path)

    def test_controls_stand_for_no_class(self, converted: Tagger) -> None:
        for name in ("yamnet@random:0", "yamnet@permuted:0"):
            control = load_model(name)
            assert isinstance(control, Tagger)
            assert control.class_names == ()
            assert control.record["weights_sha256"] != converted.record["weights_sha256"]
            with pytest.raises(ModelError, match="stand for no class"):
                control.scores(noise(16_000))


@pytest.mark.realdata
class TestPublished:
    @pytest.fixture
    def model(self, shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tagger:
        monkeypatch.setenv("BRAINALIGN_DATA", str(tmp_path))
        (path,) = install_weights("yamnet", shared_data / "weights" / "yamnet")
        assert path == weights_folder("yamnet") / "yamnet.safetensors"
        model = load_model("yamnet")
        assert isinstance(model, Tagger)
        return model

    def test_scores_of_real_clips(self, model: Tagger, shared_data: Path) -> None:
        """The scores were computed elsewhere, with scipy's resampling, and stored in half precision."""
        import soundfile

        folder = shared_data / "minisounds"
        with np.load(folder / "yamnet_scores_f16.npz") as file:
            known, names = file["scores"].astype(np.float64), tuple(file["names"])
        assert model.class_names == names
        with (folder / "metadata.csv").open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
        chosen = np.random.default_rng(0).choice(len(rows), 30, replace=False)
        heard, short = 0, 0
        for i in chosen:
            samples, rate = soundfile.read(folder / "audio" / rows[i]["file"], dtype="float32")
            assert rate == 22_050
            clip = torch.from_numpy(resample_poly(samples, 320, 441).astype(np.float32))[None]
            scores = model.scores(clip)[0].double().numpy()
            assert np.abs(scores - known[i]).max() < 5e-4, rows[i]["file"]
            heard += known[i].max() > 0.5
            short += clip.shape[1] < model.minimum_samples
        assert heard > 15
        assert short

    def test_what_its_authors_test(self, model: Tagger) -> None:
        time = np.arange(0, 3, 1 / 16_000)
        sounds = {
            "Silence": np.zeros(48_000),
            "White noise": np.random.default_rng(51773).uniform(-1, 1, 48_000),
            "Sine wave": np.sin(2 * np.pi * 440 * time),
        }
        for name, samples in sounds.items():
            scores = model.scores(torch.from_numpy(samples.astype(np.float32))[None])[0]
            best = [model.class_names[i] for i in scores.topk(10).indices]
            assert name in best, name
        assert model.record["weights_licence"] == "Apache-2.0"
