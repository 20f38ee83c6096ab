"""musicnn in torch is the published network: against its definition, written out in TensorFlow's conventions."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.lib.stride_tricks import sliding_window_view
from torch import Tensor

from brainalign import load_model
from brainalign.errors import ModelError
from brainalign.models import musicnn
from brainalign.models.tagger import Tagger
from brainalign.models.weights_files import install_weights

#: Variables of the published networks: kernels (frames, bands or channels, 1, out).
KERNELS = [(7, 38, 204), (7, 67, 204), (128, 1, 51), (64, 1, 51), (32, 1, 51), (7, 561, 64), (7, 64, 64), (7, 64, 64)]
WIDTHS = [1, 204, 204, 51, 51, 51, 64, 64, 64, 1506, 200]


def noise(n_samples: int, n_sounds: int = 1, seed: int = 0, level: float = 0.1) -> Tensor:
    return level * torch.randn(n_sounds, n_samples, generator=torch.Generator().manual_seed(seed))


def numbered(stem: str, i: int, kind: str) -> str:
    return f"{stem}_{i}.{kind}" if i else f"{stem}.{kind}"


def published_like(seed: int) -> dict[str, np.ndarray]:
    """Give arrays with the names and shapes of the published ones, of other values."""
    rng = np.random.default_rng(seed)
    arrays: dict[str, np.ndarray] = {}
    for i, (height, width, n_out) in enumerate(KERNELS):
        arrays[numbered("conv2d", i, "kernel")] = rng.normal(size=(height, width, 1, n_out)) / np.sqrt(height * width)
        arrays[numbered("conv2d", i, "bias")] = rng.normal(size=n_out)
    for i, width in enumerate(WIDTHS):
        for kind in ("gamma", "beta", "moving_mean"):
            arrays[numbered("batch_normalization", i, kind)] = rng.normal(size=width)
        arrays[numbered("batch_normalization", i, "moving_variance")] = 0.5 + rng.random(width)
    for i, shape in enumerate([(1506, 200), (200, 50)]):
        arrays[numbered("dense", i, "kernel")] = rng.normal(size=shape) / np.sqrt(shape[0])
        arrays[numbered("dense", i, "bias")] = rng.normal(size=shape[1])
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def write_source(folder: Path) -> Path:
    folder.mkdir()
    for seed, trained in enumerate(("MTT", "MSD")):
        np.savez(folder / f"{trained}_musicnn.npz", **published_like(seed))
    return folder


@pytest.fixture
def converted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Tagger]:
    monkeypatch.setenv("BRAINALIGN_DATA", str(tmp_path / "data"))
    monkeypatch.setattr("brainalign.models.weights_files._is_published", lambda *_: True)
    install_weights("musicnn", write_source(tmp_path / "source"))
    models = {trained: load_model(f"musicnn:{trained}") for trained in ("MTT", "MSD")}
    assert all(isinstance(model, Tagger) for model in models.values())
    return models


def spectrogram(samples: np.ndarray) -> np.ndarray:
    """Compute log10(1 + 10000 mel) in double precision: Slaney's mel scale and area normalisation, (n_frames, 96)."""

    def to_mel(hertz: np.ndarray) -> np.ndarray:
        return np.where(hertz < 1000, hertz / (200 / 3), 15 + 27 * np.log(np.maximum(hertz, 1) / 1000) / np.log(6.4))

    def to_hertz(mel: np.ndarray) -> np.ndarray:
        return np.where(mel < 15, mel * 200 / 3, 1000 * np.exp(np.log(6.4) / 27 * (mel - 15)))

    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(512) / 512)
    padded = np.pad(samples, 256, mode="reflect")
    frames = np.stack([padded[i : i + 512] * window for i in range(0, len(padded) - 511, 256)])
    power = np.abs(np.fft.rfft(frames)) ** 2
    bins = np.arange(257) * 16_000 / 512
    edges = to_hertz(np.linspace(0, to_mel(np.array(8_000.0)), 98))
    filters = np.zeros((257, 96))
    for band in range(96):
        low, centre, high = edges[band : band + 3]
        triangle = np.minimum((bins - low) / (centre - low), (high - bins) / (high - centre))
        filters[:, band] = np.maximum(0, triangle) * 2 / (high - low)
    return np.log10(1 + 10_000 * power @ filters)


def network(patch: np.ndarray, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Run the published definition in double precision on a patch (n_frames, 96)."""
    a = {name: array.astype(np.float64) for name, array in arrays.items()}

    def normalised(x: np.ndarray, i: int) -> np.ndarray:
        gamma, beta, mean, var = (
            a[numbered("batch_normalization", i, k)] for k in ("gamma", "beta", "moving_mean", "moving_variance")
        )
        return gamma * (x - mean) / np.sqrt(var + 1e-3) + beta

    def convolved(x: np.ndarray, i: int, norm: int) -> np.ndarray:
        """Pad over time as TensorFlow's 'same', not over bands; give (n_frames, bands, out)."""
        kernel = a[numbered("conv2d", i, "kernel")][:, :, 0]
        before = (len(kernel) - 1) // 2
        padded = np.pad(x, [(before, len(kernel) - 1 - before), (0, 0)])
        windows = sliding_window_view(padded, kernel.shape[:2])
        y = np.tensordot(windows, kernel, axes=2) + a[numbered("conv2d", i, "bias")]
        return normalised(np.maximum(y, 0), norm)

    x = normalised(patch[:, :, None], 0)[:, :, 0]
    front = [convolved(x, i, i + 1).max(axis=1) for i in range(5)]
    out = {"timbral": np.hstack(front[:2]), "temporal": np.hstack(front[2:])}
    out["cnn1"] = convolved(np.hstack(front), 5, 6)[:, 0]
    out["cnn2"] = convolved(out["cnn1"], 6, 7)[:, 0] + out["cnn1"]
    out["cnn3"] = convolved(out["cnn2"], 7, 8)[:, 0] + out["cnn2"]
    features = np.hstack([*front, out["cnn1"], out["cnn2"], out["cnn3"]])
    out["max_pool"], out["mean_pool"] = features.max(axis=0), features.mean(axis=0)
    # TensorFlow flattens (channels, [maximum, mean]).
    pooled = normalised(np.stack([out["max_pool"], out["mean_pool"]], axis=1).reshape(-1), 9)
    out["penultimate"] = normalised(np.maximum(pooled @ a["dense.kernel"] + a["dense.bias"], 0), 10)
    out["logits"] = out["penultimate"] @ a["dense_1.kernel"] + a["dense_1.bias"]
    return out


def check(model: Tagger, samples: Tensor, arrays: dict[str, np.ndarray], length: int) -> int:
    """Compare every layer with the definition; give the number of patches."""
    found = model.activations(samples, list(model.layouts))
    frames = spectrogram(samples[0].double().numpy())
    np.testing.assert_allclose(found["logmel"][0, 0].T, frames, atol=1e-3)
    n_patches = len(frames) // length
    for p in range(n_patches):
        expected = network(frames[length * p : length * (p + 1)], arrays)
        for layer, values in expected.items():
            ours = found[layer][0, length * p : length * (p + 1)] if values.ndim == 2 else found[layer][0, p]
            np.testing.assert_allclose(ours, values, rtol=1e-3, atol=2e-3 * np.abs(values).max(), err_msg=layer)
    assert found["logits"].shape[1] == n_patches
    return n_patches


class TestTheNetwork:
    def test_every_layer_is_as_defined(self, converted: dict[str, Tagger]) -> None:
        samples = noise(256 * 400, seed=2)
        assert check(converted["MTT"], samples, published_like(0), 187) == 2
        assert check(converted["MSD"], samples, published_like(1), 187) == 2

    def test_a_sound_shorter_than_a_patch_is_one(self, converted: dict[str, Tagger]) -> None:
        assert check(converted["MTT"], noise(32_000), published_like(0), 126) == 1
        assert converted["MTT"].minimum_samples == 16_000

    def test_tags_and_scores(self, converted: dict[str, Tagger]) -> None:
        for trained, first, last in (("MTT", "guitar", "choral"), ("MSD", "rock", "happy")):
            model = converted[trained]
            assert (model.class_names[0], model.class_names[-1], len(set(model.class_names))) == (first, last, 50)
            samples = noise(100_000, n_sounds=2)
            logits = model.activations(samples, ["logits"])["logits"]
            torch.testing.assert_close(model.scores(samples), torch.sigmoid(logits).mean(dim=1))

    def test_the_default_is_magnatagatune(self, converted: dict[str, Tagger]) -> None:
        assert load_model("musicnn").record["weights_sha256"] == converted["MTT"].record["weights_sha256"]
        assert converted["MTT"].record["weights_sha256"] != converted["MSD"].record["weights_sha256"]


class TestWeights:
    def test_missing_ones_say_where_they_come_from(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("BRAINALIGN_DATA", str(tmp_path))
        with pytest.raises(ModelError, match=r"no file .*MSD\.safetensors.*jordipons/musicnn.*fetch musicnn --from"):
            load_model("musicnn:MSD")

    def test_other_variants(self) -> None:
        with pytest.raises(ModelError, match="has no variant 'MTD'; did you mean"):
            load_model("musicnn:MTD")

    def test_arrays_that_are_not_the_published_ones(self, tmp_path: Path) -> None:
        with pytest.raises(ModelError, match=r"MTT\.safetensors are not the published ones"):
            musicnn.convert_musicnn(write_source(tmp_path / "s"), tmp_path / "t")

    def test_random_weights(self) -> None:
        model = load_model("musicnn@random:1")
        assert isinstance(model, Tagger)
        assert model.class_names == ()
        again = load_model("musicnn@random:1").activations(noise(20_000), ["penultimate"])["penultimate"]
        assert torch.equal(model.activations(noise(20_000), ["penultimate"])["penultimate"], again)


@pytest.mark.realdata
class TestPublished:
    @pytest.fixture
    def installed(self, shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setenv("BRAINALIGN_DATA", str(tmp_path))
        install_weights("musicnn", shared_data / "weights" / "musicnn")
        return shared_data

    @pytest.mark.parametrize("trained", ["MTT", "MSD"])
    def test_the_published_arrays(self, installed: Path, trained: str) -> None:
        with np.load(installed / "weights" / "musicnn" / f"{trained}_musicnn.npz") as file:
            arrays = dict(file)
        model = load_model(f"musicnn:{trained}")
        assert isinstance(model, Tagger)
        assert check(model, noise(256 * 186, seed=5), arrays, 187) == 1
        assert model.record["weights_licence"] == "ISC"

    @pytest.mark.parametrize(
        ("variant", "tag", "positive", "negative"),
        [("MTT", "classical", "orchestral", "rock_metal"), ("MSD", "metal", "metal", "orchestral")],
    )
    def test_tags_fit_labels(self, installed: Path, variant: str, tag: str, positive: str, negative: str) -> None:
        """No outputs for known clips are published; but a tag must tell apart two kinds of music, beyond chance."""
        import soundfile
        import soxr
        from scipy.stats import mannwhitneyu

        folder = installed / "minisounds"
        with (folder / "metadata.csv").open(encoding="utf-8", newline="") as stream:
            rows = [r for r in csv.DictReader(stream) if float(r["dur"]) >= 3.1]
        model = load_model(f"musicnn:{variant}")
        assert isinstance(model, Tagger)
        scores: dict[str, list[float]] = {positive: [], negative: []}
        for label, values in scores.items():
            clips = [r["file"] for r in rows if label in r["labels"].split("|")]
            for file in clips[:: max(1, len(clips) // 20)][:20]:
                samples, rate = soundfile.read(folder / "audio" / file, dtype="float32")
                clip = torch.from_numpy(soxr.resample(samples, rate, 16_000))[None]
                values.append(float(model.scores(clip)[0, model.class_names.index(tag)]))
        assert mannwhitneyu(scores[positive], scores[negative], alternative="greater").pvalue < 0.001
