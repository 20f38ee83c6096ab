"""Encoders of torchaudio.pipelines, with tiny random networks in the place of the published ones."""

from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torchaudio import pipelines

from brainalign import load_model
from brainalign.errors import ModelError
from brainalign.models import torchaudio_bundles
from brainalign.models.hooked import weights_digest
from brainalign.models.prepared import PreparedModel, receptive_field

CONVOLUTIONS = [(16, 10, 5), (16, 3, 2), (16, 3, 2), (16, 2, 2)]
TINY = {
    "extractor_conv_layer_config": CONVOLUTIONS,
    "extractor_conv_bias": False,
    "encoder_embed_dim": 16,
    "encoder_num_layers": 3,
    "encoder_num_heads": 2,
    "encoder_ff_interm_features": 32,
    "encoder_layer_drop": 0.5,
    "aux_num_out": None,
}


def noise(n_samples: int, n_sounds: int = 1, seed: int = 0, level: float = 0.1) -> Tensor:
    return level * torch.randn(n_sounds, n_samples, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Shrink the bundles: base models (group normalisation, post-norm) and large ones (pre-norm, normalised)."""
    known = torchaudio_bundles.bundles()
    base, large = known["WAV2VEC2_BASE"], known["WAV2VEC2_LARGE_LV60K"]
    wavlm, recogniser = known["WAVLM_BASE"], known["WAV2VEC2_ASR_BASE_960H"]
    shrunk = {}
    for name, bundle, extra in (
        ("BASE", base, {}),
        ("LARGE", large, {}),
        ("WAVLM", wavlm, {}),
        ("ASR", recogniser, {"aux_num_out": 5}),
    ):
        params = {k: v for k, v in bundle._params.items() if k not in TINY} | TINY | extra
        params |= {"encoder_pos_conv_kernel": 8, "encoder_pos_conv_groups": 2}
        if bundle._model_type == "WavLM":
            params |= {"encoder_num_buckets": 8, "encoder_max_distance": 16}
        shrunk[name] = dataclasses.replace(bundle, _path=f"tiny_{name}.pth", _params=params)
    monkeypatch.setattr(torchaudio_bundles, "bundles", lambda: shrunk)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))


def load(name: str) -> PreparedModel:
    model = load_model(name)
    assert isinstance(model, PreparedModel)
    return model


class TestListening:
    @pytest.mark.parametrize(("name", "state"), [("BASE", ""), ("LARGE", ""), ("WAVLM", ".0"), ("ASR", "")])
    def test_layers_are_those_of_torchaudio(self, name: str, state: str) -> None:
        model = load(f"torchaudio:{name}@random:0")
        samples = noise(4_000)
        heard = torch.nn.functional.layer_norm(samples, samples.shape) if name == "LARGE" else samples
        with torch.inference_mode():
            expected, _ = model.module.extract_features(heard)
            convolved, _ = model.module.feature_extractor(heard, None)
        found = model.activations(samples, list(model.layouts))
        for i in range(3):
            values = found[f"encoder.transformer.layers.{i}{state}"]
            torch.testing.assert_close(values, expected[i], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(found["feature_extractor"], convolved)

    def test_the_last_state_and_the_last_block(self) -> None:
        """Pre-norm models normalise after the last block; post-norm ones do not, so they have no such layer."""
        large, base = load("torchaudio:LARGE@random:0"), load("torchaudio:BASE@random:0")
        found = large.activations(noise(4_000), list(large.layouts))
        last = found["encoder.transformer.layers.2"]
        norm = large.module.encoder.transformer.layer_norm
        with torch.inference_mode():
            torch.testing.assert_close(found["encoder.transformer"], norm(last))
        assert not torch.allclose(found["encoder.transformer"], last)
        assert "encoder.transformer" not in base.layouts
        assert "final normalisation" in large.record["hidden_states"]
        assert "final normalisation" not in base.record["hidden_states"]

    def test_normalisation_is_clip_by_clip(self) -> None:
        """fairseq#5609, speechbrain#1247: torchaudio's own wrapper lets a loud clip of the batch change a soft one."""
        model = load("torchaudio:LARGE@random:0")
        both = torch.cat([noise(4_000, seed=1), 20 * noise(4_000, seed=2)])
        layer = ["encoder.transformer.layers.2"]
        together = model.activations(both, layer)[layer[0]]
        alone = torch.cat([model.activations(clip[None], layer)[layer[0]] for clip in both])
        torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)
        with torch.inference_mode():
            whole_batch, _ = model.module.extract_features(torch.nn.functional.layer_norm(both, both.shape))
        assert (whole_batch[2] - alone).abs().max() > 0.05
        louder = model.activations(10 * both[:1], layer)[layer[0]]
        torch.testing.assert_close(louder, alone[:1], rtol=1e-3, atol=1e-3)
        assert load("torchaudio:BASE@random:0").record["normaliser"] == "none"

    def test_sounds_of_one_length_do_not_touch_each_other(self) -> None:
        """pytorch/audio#2242: padding leaks through group normalisation; a clip in a batch is as it is alone."""
        model = load("torchaudio:BASE@random:0")
        both, layer = noise(3_000, n_sounds=4), "encoder.transformer.layers.2"
        together = model.activations(both, [layer])[layer]
        alone = torch.cat([model.activations(clip[None], [layer])[layer] for clip in both])
        torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)
        padded = model.activations(torch.nn.functional.pad(both[:1], (0, 3_000)), [layer])[layer]
        assert (padded[:, : alone.shape[1]] - alone[:1]).abs().max() > 0.01

    def test_two_passes_agree(self) -> None:
        """s3prl#350: with layer drop in training mode, passes differ and blocks are missing."""
        model = load("torchaudio:BASE@random:0")
        model.module.train()
        first, second = (model.activations(noise(3_000), list(model.layouts)) for _ in range(2))
        assert all(torch.equal(first[layer], second[layer]) for layer in first)

    def test_the_shortest_sound(self) -> None:
        model = load("torchaudio:BASE@random:0")
        field, stride = receptive_field((kernel, step) for _, kernel, step in CONVOLUTIONS)
        assert (field, stride) == (10 + 2 * 5 + 2 * 10 + 20, 40)
        assert model.minimum_samples == field
        assert model.activations(noise(field), ["feature_extractor"])["feature_extractor"].shape == (1, 1, 16)
        assert model.activations(noise(field + 39), ["feature_extractor"])["feature_extractor"].shape[1] == 1
        with pytest.raises(ModelError, match=r"takes at least 0\.004 s, found 0\.004 s"):
            model.activations(noise(field - 1), ["feature_extractor"])

    def test_stereo_is_not_taken_for_a_batch(self) -> None:
        with pytest.raises(ModelError, match=r"takes mono sounds, shape \(n_sounds, n_samples\), found \(1, 2, 3000\)"):
            load("torchaudio:BASE@random:0").activations(noise(3_000, 2)[None], ["feature_extractor"])

    def test_a_seed_says_it_all(self) -> None:
        before = torch.random.get_rng_state()
        first, again, other = (load(f"torchaudio:BASE@random:{seed}") for seed in (3, 3, 4))
        assert torch.equal(torch.random.get_rng_state(), before)
        digests = [weights_digest(m.module) for m in (first, again, other)]
        assert digests[0] == digests[1] != digests[2]


class TestWeights:
    @pytest.fixture
    def weights(self) -> dict[str, Tensor]:
        return {k: v.clone() for k, v in load("torchaudio:BASE@random:9").module.state_dict().items()}

    def test_missing_ones_say_where_they_come_from(self, tmp_path: Path) -> None:
        expected = (
            r"weights of 'torchaudio:BASE' are not there: no file .*hub/checkpoints/tiny_BASE\.pth\. They come from "
            r"https://download\.pytorch\.org/torchaudio/models/tiny_BASE\.pth.*'torchaudio:BASE:FILE'"
        )
        with pytest.raises(ModelError, match=expected):
            load_model("torchaudio:BASE")
        with pytest.raises(ModelError, match=r"no weights file .*nowhere\.pth"):
            load_model(f"torchaudio:BASE:{tmp_path}/nowhere.pth")

    def test_the_hub_cache(self, tmp_path: Path, weights: dict[str, Tensor]) -> None:
        (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
        torch.save(weights, tmp_path / "hub" / "checkpoints" / "tiny_BASE.pth")
        model = load("torchaudio:BASE")
        assert model.record["weights"] == "tiny_BASE.pth"
        assert all(torch.equal(v, weights[k]) for k, v in model.module.state_dict().items())

    @pytest.mark.parametrize("suffix", ["pth", "safetensors"])
    def test_a_local_file(self, tmp_path: Path, weights: dict[str, Tensor], suffix: str) -> None:
        path = tmp_path / f"mine.{suffix}"
        torch.save(weights, path) if suffix == "pth" else save_file(weights, path)
        model = load(f"torchaudio:BASE:{path}")
        assert model.name == f"torchaudio:BASE:{path}"
        assert all(torch.equal(v, weights[k]) for k, v in model.module.state_dict().items())

    @pytest.mark.parametrize("suffix", ["pth", "safetensors"])
    def test_another_architecture_names_tensors(self, tmp_path: Path, weights: dict[str, Tensor], suffix: str) -> None:
        del weights["encoder.transformer.layers.2.final_layer_norm.bias"]
        weights["extra"] = torch.zeros(1)
        path = tmp_path / f"x.{suffix}"
        torch.save(weights, path) if suffix == "pth" else save_file(weights, path)
        with pytest.raises(
            ModelError, match=r"another architecture: .*final_layer_norm\.bias is missing, extra is unkn"
        ):
            load_model(f"torchaudio:BASE:{path}")

    def test_a_pickle_with_code_is_not_run(self, tmp_path: Path) -> None:
        (tmp_path / "x.pth").write_bytes(pickle.dumps(_Payload(tmp_path / "ran")))
        with pytest.raises(ModelError, match=r"x\.pth cannot be read as tensors alone"):
            load_model(f"torchaudio:BASE:{tmp_path}/x.pth")
        assert not (tmp_path / "ran").exists()

    def test_unused_outputs_of_released_recognisers(self, tmp_path: Path) -> None:
        weights = {k: v.clone() for k, v in load("torchaudio:ASR@random:1").module.state_dict().items()}
        released = dict(weights)
        for key in ("aux.weight", "aux.bias"):
            row = torch.full_like(weights[key][:1], 7.0)
            released[key] = torch.cat([weights[key][:1], row, row, row, weights[key][1:]])
        torch.save(released, tmp_path / "asr.pth")
        loaded = load(f"torchaudio:ASR:{tmp_path}/asr.pth").module.state_dict()
        assert all(torch.equal(loaded[k], v) for k, v in weights.items())

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("torchaudio:BSE", "no bundle 'BSE'; did you mean 'BASE'"),
            ("torchaudio:BASE:x.pth@random:0", "leave the file 'x.pth' out"),
        ],
    )
    def test_names(self, name: str, message: str) -> None:
        with pytest.raises(ModelError, match=message):
            load_model(name)


def test_bundles_are_those_of_torchaudio(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    known = torchaudio_bundles.bundles()
    assert {"WAV2VEC2_BASE", "HUBERT_BASE", "WAVLM_LARGE", "WAV2VEC2_XLSR_300M"} <= set(known)
    assert "TACOTRON2_WAVERNN_CHAR_LJSPEECH" not in known
    for bundle in known.values():
        assert int(bundle.sample_rate) == 16_000
        assert "encoder_layer_norm_first" in bundle._params
    assert isinstance(known["HUBERT_BASE"], pipelines.Wav2Vec2Bundle)


class _Payload:
    """Leaves a mark when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)
