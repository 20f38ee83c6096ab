"""Models of transformers, tiny and random, built from configurations: each family gets its input right."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from brainalign import load_model
from brainalign.errors import ModelError
from brainalign.models.hf_codecs import delay_pattern, draw_codebooks
from brainalign.models.hf_text import clap_text_embeddings
from brainalign.models.huggingface import FAMILIES, load_huggingface
from brainalign.models.prepared import PreparedModel

transformers = pytest.importorskip("transformers")

SMALL = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32}
CONVOLUTIONS = {"conv_dim": (8, 8, 8), "conv_kernel": (10, 4, 4), "conv_stride": (5, 8, 8)}
SPEECH = {**SMALL, **CONVOLUTIONS, "num_feat_extract_layers": 3, "layerdrop": 0.5, "vocab_size": 8,
          "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2}  # fmt: skip
STABLE = {"do_stable_layer_norm": True, "feat_extract_norm": "layer"}
ENCODEC = {"num_filters": 4, "hidden_size": 8, "codebook_size": 16, "codebook_dim": 8, "upsampling_ratios": [4, 4, 2],
           "num_lstm_layers": 1}  # fmt: skip
SWIN = {"patch_embeds_hidden_size": 8, "depths": [1, 1], "num_attention_heads": [1, 2], "num_hidden_layers": 2,
        "hidden_size": 16, "projection_dim": 12}  # fmt: skip
ROBERTA = {**SMALL, "vocab_size": 40, "max_position_embeddings": 16, "projection_dim": 12, "pad_token_id": 1,
           "bos_token_id": 0, "eos_token_id": 2}  # fmt: skip
DECODER = {"vocab_size": 16, "num_hidden_layers": 2, "ffn_dim": 32, "num_attention_heads": 2, "hidden_size": 16,
           "num_codebooks": 4, "pad_token_id": 16, "bos_token_id": 16, "layerdrop": 0.5}  # fmt: skip
# 500 frames per second of 4 bits: four codebooks are 8 kbit/s.
MUSIC_CODEC = {**ENCODEC, "sampling_rate": 16_000, "target_bandwidths": [8.0]}

CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "wav2vec2": ("wav2vec2", SPEECH),
    "wav2vec2-large": ("wav2vec2", SPEECH | STABLE),
    "hubert": ("hubert", SPEECH),
    "hubert-large": ("hubert", SPEECH | STABLE),
    "wavlm": ("wavlm", SPEECH),
    "wavlm-large": ("wavlm", SPEECH | STABLE),
    "unispeech-sat": ("unispeech-sat", SPEECH),
    "data2vec-audio": ("data2vec-audio", SPEECH),
    "wav2vec2-conformer": ("wav2vec2-conformer", SPEECH),
    "wav2vec2-bert": ("wav2vec2-bert", {**SMALL, "feature_projection_input_dim": 160}),
    "ast": ("audio-spectrogram-transformer", SMALL),
    "whisper": ("whisper", {"d_model": 16, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 32,
                            "decoder_layers": 1, "decoder_attention_heads": 2, "decoder_ffn_dim": 32, "vocab_size": 20,
                            "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
                            "decoder_start_token_id": 1, "encoder_layerdrop": 0.5}),
    "clap": ("clap", {"audio_config": SWIN, "text_config": ROBERTA, "projection_dim": 12}),
    "clap-fusion": ("clap", {"audio_config": SWIN | {"enable_fusion": True},
                             "text_config": ROBERTA, "projection_dim": 12}),
    "encodec": ("encodec", ENCODEC),
    "encodec-48": ("encodec", {**ENCODEC, "sampling_rate": 48_000, "audio_channels": 2, "normalize": True,
                               "chunk_length_s": 0.1, "overlap": 0.01}),
    "dac": ("dac", {"encoder_hidden_size": 4, "decoder_hidden_size": 16, "hidden_size": 8, "n_codebooks": 2,
                    "downsampling_ratios": [2, 4], "codebook_size": 8}),
    "musicgen": ("musicgen", {
        "text_encoder": {"model_type": "t5", "d_model": 16, "d_ff": 16, "num_layers": 1, "num_heads": 2, "d_kv": 8,
                         "vocab_size": 20},
        "audio_encoder": {"model_type": "encodec", **MUSIC_CODEC},
        "decoder": {"model_type": "musicgen_decoder", **DECODER}}),
}  # fmt: skip


def noise(n_samples: int, n_sounds: int = 1, seed: int = 0, level: float = 0.1) -> Tensor:
    return level * torch.randn(n_sounds, n_samples, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Write a model's folder, as it would be downloaded, when it is first asked for."""
    root, written = tmp_path_factory.mktemp("hf"), {}

    def folder(name: str) -> Path:
        if name not in written:
            model_type, options = CONFIGS[name]
            config = transformers.AutoConfig.for_model(model_type, **options)
            family = FAMILIES[model_type]
            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(1)
                builder = getattr(transformers, family.model)
                network = builder.from_config(config) if family.model == "AutoModel" else builder(config)
                for parameter in network.parameters():
                    # Constants of initialisation would hide which norm is meant.
                    parameter.data += 0.05 * torch.randn(parameter.shape)
                if model_type == "musicgen":
                    draw_codebooks(network)
            network.save_pretrained(root / name)
            if family.extractor:
                mode = {"truncation": "fusion" if "fusion" in name else "rand_trunc"} if model_type == "clap" else {}
                getattr(transformers, family.extractor)(**mode).save_pretrained(root / name)
            written[name] = root / name
        return written[name]

    return folder


@pytest.fixture(scope="module")
def load(folders: Any) -> Any:
    models: dict[str, PreparedModel] = {}

    def loaded(name: str) -> PreparedModel:
        if name not in models:
            model = load_model(f"hf:{folders(name)}")
            assert isinstance(model, PreparedModel)
            models[name] = model
        return models[name]

    return loaded


def everything(model: PreparedModel, samples: Tensor) -> dict[str, Tensor]:
    return model.activations(samples, list(model.layouts))


SPEECH_NAMES = [n for n, (t, _) in CONFIGS.items() if FAMILIES[t].adapt.endswith("speech_encoder")]


class TestAllFamilies:
    @pytest.mark.parametrize("name", CONFIGS)
    def test_a_clip_in_a_batch_is_as_it_is_alone(self, load: Any, name: str) -> None:
        """Neither normaliser nor padding nor fusion may carry anything from one clip of a batch into another."""
        model = load(name)
        n = round(0.35 * model.sample_rate)
        clips = torch.cat([noise(n, seed=1), noise(n, seed=2, level=1e-3), noise(n, seed=3, level=0.5)])
        together = everything(model, clips)
        for i, clip in enumerate(clips):
            for layer, values in everything(model, clip[None]).items():
                scale = values.abs().max()
                assert (together[layer][i : i + 1] - values).abs().max() <= 2e-4 * scale, (layer, i)
                assert torch.isfinite(values).all()

    @pytest.mark.parametrize("name", CONFIGS)
    def test_two_passes_agree(self, load: Any, name: str) -> None:
        """Layer drop, spec-augment and random crops: a model from a configuration is in training mode."""
        model = load(name)
        model.module.train()
        samples = noise(round(0.3 * model.sample_rate), n_sounds=2)
        first, second = everything(model, samples), everything(model, samples)
        assert all(torch.equal(first[layer], second[layer]) for layer in first)
        assert len(first) == len(model.layouts)

    @pytest.mark.parametrize("name", CONFIGS)
    def test_the_shortest_sound(self, load: Any, name: str) -> None:
        model = load(name)
        for layer, values in everything(model, noise(model.minimum_samples)).items():
            assert values.numel(), layer
            assert torch.isfinite(values).all(), layer
        with pytest.raises(ModelError, match="takes at least"):
            everything(model, noise(model.minimum_samples - 1))

    @pytest.mark.parametrize("name", CONFIGS)
    def test_stereo_is_not_taken_for_a_batch(self, load: Any, name: str) -> None:
        """transformers#47886: feature extractors turn (2, T) into two sounds without a word."""
        model = load(name)
        with pytest.raises(ModelError, match="takes mono sounds"):
            everything(model, noise(8_000, n_sounds=2)[None])

    @pytest.mark.parametrize("name", CONFIGS)
    def test_the_record(self, load: Any, name: str) -> None:
        record = load(name).record
        assert {"front_end", "mono_rule", "normaliser", "padding", "hidden_states", "weights_sha256"} <= set(record)
        json.dumps(dict(record))

    @pytest.mark.parametrize("name", ["wav2vec2", "wavlm", "ast", "clap", "encodec", "dac", "whisper", "musicgen"])
    def test_random_weights(self, folders: Any, name: str) -> None:
        before = torch.random.get_rng_state()
        first, again, other = (load_model(f"hf:{folders(name)}@random:{seed}") for seed in (3, 3, 4))
        assert torch.equal(torch.random.get_rng_state(), before)
        digests = [model.record["weights_sha256"] for model in (first, again, other)]
        assert digests[0] == digests[1] != digests[2]
        assert first.record["control"] == "random weights, seed 3"


class TestSpeechEncoders:
    @pytest.mark.parametrize("name", SPEECH_NAMES)
    def test_layers_are_the_hidden_states(self, load: Any, name: str) -> None:
        """PR 26142: with stable layer normalisation the last hidden state is not that of the last block."""
        model = load(name)
        samples = noise(6_000)
        normed = (samples - samples.mean()) / samples.var(correction=0).add(1e-7).sqrt()
        with torch.inference_mode():
            expected = model.module(normed, output_hidden_states=True)
        found = everything(model, samples)
        states = [v for k, v in found.items() if k.startswith("encoder.layers.")]
        last = list(model.layouts)[-1] == "encoder.layer_norm"
        assert len(states) == 3
        for i, state in enumerate(states if not last else states[:-1]):
            torch.testing.assert_close(state, expected.hidden_states[i + 1], rtol=1e-4, atol=1e-5)
        if last:
            torch.testing.assert_close(found["encoder.layer_norm"], expected.last_hidden_state, rtol=1e-4, atol=1e-5)
            assert not torch.allclose(states[-1], expected.last_hidden_state, atol=1e-2)
        else:
            torch.testing.assert_close(found["encoder.layer_norm"], expected.hidden_states[0], rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(states[-1], expected.last_hidden_state, rtol=1e-4, atol=1e-5)
        assert last == (name.endswith(("large", "conformer")))

    def test_the_normaliser_works_clip_by_clip(self, load: Any) -> None:
        """transformers#13504: level and offset of a clip go, whatever else is in the batch."""
        model, layer = load("wav2vec2"), "encoder.layers.2"
        clip = noise(4_000)
        expected = model.activations(clip, [layer])[layer]
        batch = torch.cat([20 * clip, clip + 0.3, noise(4_000, seed=4)])
        found = model.activations(batch, [layer])[layer][:2]
        torch.testing.assert_close(found, expected.expand(2, -1, -1), rtol=1e-3, atol=1e-3)
        assert "clip by clip" in model.record["normaliser"]

    def test_a_model_that_was_trained_without_normaliser(self, folders: Any, tmp_path: Path) -> None:
        transformers.AutoModel.from_pretrained(folders("hubert")).save_pretrained(tmp_path)
        transformers.Wav2Vec2FeatureExtractor(do_normalize=False, sampling_rate=24_000).save_pretrained(tmp_path)
        model = load_model(f"hf:{tmp_path}")
        assert (model.sample_rate, model.record["normaliser"]) == (24_000, "none")
        samples = 1e-3 * noise(4_000)
        with torch.inference_mode():
            expected = model.module(samples).last_hidden_state
        torch.testing.assert_close(model.activations(samples, ["encoder.layers.2"])["encoder.layers.2"], expected)

    def test_frames_of_an_odd_sound_in_w2v_bert(self, load: Any) -> None:
        """An odd last mel frame is filled up with a frame of padding, which is masked: its state is left out."""
        model, layer = load("wav2vec2-bert"), "encoder.layers.2"
        for n_mel, n_states in ((20, 10), (21, 10), (22, 11)):
            samples = noise(400 + 160 * (n_mel - 1))
            assert model.activations(samples, [layer])[layer].shape[1] == n_states
            expected = model.module(
                **transformers.SeamlessM4TFeatureExtractor()(
                    samples[0].numpy(), sampling_rate=16_000, return_tensors="pt"
                )
            ).last_hidden_state
            torch.testing.assert_close(
                model.activations(samples, [layer])[layer], expected[:, :n_states].detach(), rtol=1e-4, atol=1e-5
            )


class TestSpectrograms:
    def test_ast_tokens_are_frequency_major(self, load: Any) -> None:
        """A change of one time slice moves the patches of that time in all bands, before attention mixes them."""
        model = load("ast")
        samples = noise(16_000 * 4)
        changed = samples.clone()
        # Frames of 10 ms: 100 to 109 and their windows; patches of 16 frames start every 10.
        changed[:, 16_000 : 16_000 + 1_600] += noise(1_600, seed=9)
        a, b = (model.activations(x, ["embeddings"])["embeddings"] for x in (samples, changed))
        moved = (a != b).any(dim=1)[0]
        times = moved.any(dim=0).nonzero().flatten().tolist()
        # The filter bank takes out the mean of a window only, so patches elsewhere are equal to the last bit.
        assert times == [9, 10]
        assert moved[:, 10].all()
        assert a.shape == (1, 16, 12, 1 + (398 - 16) // 10)

    @pytest.mark.parametrize(("n_frames", "n_patches"), [(16, 1), (25, 1), (26, 2), (100, 9), (1024, 101)])
    def test_ast_patches_of_padding_are_left_out(self, load: Any, n_frames: int, n_patches: int) -> None:
        model = load("ast")
        found = model.activations(noise(400 + 160 * (n_frames - 1)), ["layers.2"])["layers.2"]
        assert found.shape == (1, 16, 12, n_patches)

    def test_ast_layers_are_the_hidden_states(self, load: Any) -> None:
        model = load("ast")
        samples = noise(16_000 * 3)
        prepared = transformers.ASTFeatureExtractor()(samples[0].numpy(), sampling_rate=16_000, return_tensors="pt")
        with torch.inference_mode():
            expected = model.module(prepared["input_values"], output_hidden_states=True)
        found = everything(model, samples)
        n = found["layernorm"].shape[-1]
        for layer, tokens in (("layers.0", expected.hidden_states[1]), ("layernorm", expected.last_hidden_state)):
            grid = tokens[0, 2:].T.reshape(16, 12, 101)[:, :, :n]
            torch.testing.assert_close(found[layer][0], grid, rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize(
        ("name", "seconds"), [("ast", 10.3), ("whisper", 30.1), ("clap", 10.1), ("clap-fusion", 10.1)]
    )
    def test_longer_sounds_are_refused(self, load: Any, name: str, seconds: float) -> None:
        """LAION-AI/CLAP#166: CLAP cuts them at random; AST and Whisper drop the rest in silence."""
        model = load(name)
        with pytest.raises(ModelError, match=r"takes at most .* cut the sounds into clips"):
            everything(model, noise(round(seconds * model.sample_rate)))

    def test_whisper_keeps_the_states_of_the_sound(self, load: Any) -> None:
        """transformers#25744: 30 s always give 1,500 states."""
        model = load("whisper")
        samples = noise(16_000)
        found = everything(model, samples)
        assert {k: v.shape[model.layouts[k].index("T")] for k, v in found.items()} == {
            "conv1": 100, "conv2": 50, "layers.0": 50, "layers.1": 50, "layer_norm": 50,
        }  # fmt: skip
        prepared = transformers.WhisperFeatureExtractor()(samples[0].numpy(), sampling_rate=16_000, return_tensors="pt")
        with torch.inference_mode():
            expected = model.module(prepared["input_features"], output_hidden_states=True)
        assert expected.last_hidden_state.shape[1] == 1_500
        torch.testing.assert_close(found["layer_norm"], expected.last_hidden_state[:, :50], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(found["layers.0"], expected.hidden_states[1][:, :50], rtol=1e-4, atol=1e-5)
        assert not torch.allclose(found["layers.1"], found["layer_norm"], atol=1e-2)

    @pytest.mark.parametrize("name", ["clap", "clap-fusion"])
    def test_clap_maps_run_along_time(self, load: Any, name: str) -> None:
        """The image folds time in four; a change of one second moves the frames of that second, in all bands."""
        model, layer = load(name), "audio_model.audio_encoder.patch_embed"
        samples = noise(480_000)
        changed = samples.clone()
        changed[:, 288_000:336_000] += noise(48_000, seed=3)
        a, b = (model.activations(x, [layer])[layer] for x in (samples, changed))
        assert a.shape == (1, 8, 16, 256)
        moved = ((a - b).abs().amax(dim=(0, 1)) > 1e-3).any(dim=0).nonzero().flatten()
        assert moved.numel() >= 24
        # Frames last 10 s / 256; patches and windows reach a little beyond.
        assert 10 * int(moved.min()) / 256 == pytest.approx(6, abs=0.06)
        assert 10 * int(moved.max() + 1) / 256 == pytest.approx(7, abs=0.06)

    @pytest.mark.parametrize("name", ["clap", "clap-fusion"])
    def test_clap_keeps_the_frames_of_the_sound(self, load: Any, name: str) -> None:
        model = load(name)
        root = "audio_model.audio_encoder"
        for seconds, n_frames in ((10.0, 256), (2.5, 64), (0.05, 1)):
            found = everything(model, noise(round(48_000 * seconds)))
            assert found[f"{root}.patch_embed"].shape == (1, 8, 16, n_frames)
            assert found[f"{root}.layers.0.0"].shape == (1, 16, 8, max(1, n_frames // 2))
            assert found[f"{root}.layers.1.0"].shape == (1, 16, 8, max(1, n_frames // 2))
            assert found[f"{root}.avgpool"].shape == (1, 16)
            assert found["audio_projection"].shape == (1, 12)

    def test_clap_stages_are_the_hidden_states(self, load: Any) -> None:
        model = load("clap")
        samples = noise(480_000)
        extractor = transformers.ClapFeatureExtractor(truncation="rand_trunc")
        prepared = extractor(samples[0].numpy(), sampling_rate=48_000, return_tensors="pt")
        with torch.inference_mode():
            output = model.module.get_audio_features(**prepared, output_hidden_states=True)
        found = everything(model, samples)
        for i in (0, 1):
            image = output.hidden_states[i + 1]
            assert image.ndim == 4
            rows = image.reshape(1, 16, 4, 8, 32)
            unfolded = torch.cat([rows[:, :, k] for k in range(4)], dim=-1)
            torch.testing.assert_close(found[f"audio_model.audio_encoder.layers.{i}.0"], unfolded, rtol=1e-4, atol=1e-5)
        joint = torch.nn.functional.normalize(found["audio_projection"], dim=-1)
        torch.testing.assert_close(joint, output.pooler_output, rtol=1e-4, atol=1e-5)

    def test_clap_with_fusion_does_not_draw_lots(self, load: Any) -> None:
        """With fusion transformers declares one short sound of a batch, at random, to be a long one."""
        model = load("clap-fusion")
        clip = noise(48_000)
        found = model.activations(clip.expand(6, -1), ["audio_projection"])["audio_projection"]
        torch.testing.assert_close(found, found[:1].expand(6, -1), rtol=1e-5, atol=1e-6)


class TestCodecs:
    def test_encodec_latents(self, load: Any) -> None:
        model = load("encodec")
        samples = noise(24_000 + 13)
        with torch.inference_mode():
            expected = model.module.encoder(samples[:, None])
        found = everything(model, samples)
        assert model.sample_rate == 24_000
        assert expected.shape == (1, 8, 751)
        torch.testing.assert_close(found["encoder"], expected[..., :750])
        assert found["encoder.layers.0"].shape[-1] == 24_013

    def test_encodec_scales_each_chunk(self, load: Any) -> None:
        """The models of 48 kHz work in chunks that overlap, each scaled to an RMS of one."""
        model = load("encodec-48")
        samples = noise(10_000)
        found = model.activations(samples, ["encoder"])["encoder"]
        with torch.inference_mode():
            expected = []
            for start in range(0, 10_000, 4_752):
                piece = samples[:, None, start : start + 4_800].expand(-1, 2, -1)
                expected.append(model.module.encoder(piece / piece.pow(2).mean().sqrt()))
        torch.testing.assert_close(found, torch.cat(expected, dim=-1), rtol=1e-4, atol=1e-5)
        louder = model.activations(9 * samples, ["encoder"])["encoder"]
        torch.testing.assert_close(found, louder, rtol=1e-3, atol=1e-4)

    @pytest.mark.parametrize(("name", "n_channels"), [("encodec", 1), ("encodec-48", 2)])
    def test_encodec_hears_what_transformers_encodes(self, load: Any, name: str, n_channels: int) -> None:
        model = load(name)
        samples, heard = noise(10_000), []
        handle = model.module.encoder.register_forward_hook(lambda _m, _i, output: heard.append(output))
        with torch.inference_mode():
            model.module.encode(samples[:, None].expand(-1, n_channels, -1))
        handle.remove()
        found = model.activations(samples, ["encoder"])["encoder"]
        torch.testing.assert_close(found, torch.cat(heard, dim=-1)[..., : found.shape[-1]], rtol=1e-4, atol=1e-5)

    def test_dac_latents(self, load: Any) -> None:
        model = load("dac")
        samples = noise(1_600)
        with torch.inference_mode():
            expected = model.module.encoder(samples[:, None])
        assert torch.equal(model.activations(samples, ["encoder"])["encoder"], expected)

    @pytest.mark.parametrize("n_frames", [1, 3, 12])
    def test_the_delay_pattern_is_that_of_generation(self, load: Any, n_frames: int) -> None:
        """transformers applies it for generation only (modeling_musicgen): forward would take codes as they are."""
        decoder = load("musicgen").module.decoder
        codes = torch.randint(0, 16, (2, 4, n_frames), generator=torch.Generator().manual_seed(0))
        found = delay_pattern(codes, 16)
        for k in range(4):
            for t in range(n_frames + 1):
                heard = codes[:, k, t - 1 - k] if t - 1 - k >= 0 else torch.tensor([16, 16])
                assert torch.equal(found[:, k, t], heard)
        start = torch.full((2, 4, 1), 16)
        prompt = torch.cat([start, codes], dim=-1).flatten(0, 1)
        if n_frames > 6:
            mask, _ = decoder.build_delay_pattern_mask(prompt, 16, max_length=n_frames + 8)
            known = mask.reshape(2, 4, -1)
            assert torch.equal(found[..., : known.shape[-1]], known)

    def test_two_channels_share_their_delay(self) -> None:
        codes = torch.arange(1, 13).reshape(1, 4, 3)
        assert delay_pattern(codes, 0, 2)[0].tolist() == [[0, 1, 2, 3], [0, 4, 5, 6], [0, 0, 7, 8], [0, 0, 10, 11]]

    def test_musicgen_listens_frame_by_frame(self, load: Any) -> None:
        """One state per codec frame; a state knows nothing of later frames."""
        model = load("musicgen")
        last = "decoder.model.decoder.layer_norm"
        samples = noise(3_200)
        found = everything(model, samples)
        assert {v.shape[model.layouts[k].index("T")] for k, v in found.items()} == {100}
        with torch.inference_mode():
            codes = model.module.audio_encoder.encode(samples[:, None]).audio_codes[0]
            expected = model.module.decoder.model.decoder(
                delay_pattern(codes, 16).flatten(0, 1), encoder_hidden_states=torch.zeros(1, 1, 16), use_cache=False
            ).last_hidden_state
        torch.testing.assert_close(found[last], expected[:, 1:], rtol=1e-4, atol=1e-5)
        changed = samples.clone()
        changed[:, 2_400:] += noise(800, seed=8)
        later = model.activations(changed, [last])[last]
        first = int((later != found[last]).any(dim=-1)[0].nonzero()[0])
        assert first >= 70

    def test_musicgen_with_random_weights_hears_something(self, folders: Any) -> None:
        """transformers leaves the codebooks of a fresh codec at zero, which gives all sounds the same codes."""
        model = load_model(f"hf:{folders('musicgen')}@random:2")
        codec = model.module.audio_encoder
        with torch.inference_mode():
            codes = codec.encode(noise(16_000, level=1.0)[:, None]).audio_codes[0]
        assert all(len(codes[0, k].unique()) > 4 for k in range(4))
        layer = "decoder.model.decoder.layers.1"
        first, second = (model.activations(noise(3_200, seed=seed), [layer])[layer] for seed in (1, 2))
        assert (first - second).abs().max() > 0.1 * first.abs().max()


class TestText:
    @pytest.fixture
    def folder(self, folders: Any, tmp_path: Path) -> Path:
        transformers.AutoModel.from_pretrained(folders("clap")).save_pretrained(tmp_path)
        words = ["<s>", "<pad>", "</s>", "<unk>", *"abcdefghijklmnopqrstuvwxyz", "Ġ"]
        from tokenizers import Tokenizer, models, pre_tokenizers, processors

        tokenizer = Tokenizer(models.BPE({w: i for i, w in enumerate(words)}, [], unk_token="<unk>"))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
        transformers.PreTrainedTokenizerFast(
            tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>"
        ).save_pretrained(tmp_path)
        return tmp_path

    def test_texts_are_embedded_one_by_one(self, folder: Path) -> None:
        texts = ["jazz", "a slow song", "x"]
        together = clap_text_embeddings(str(folder), texts)
        assert together.shape == (3, 12)
        torch.testing.assert_close(together.norm(dim=1), torch.ones(3))
        alone = torch.cat([clap_text_embeddings(str(folder), [text]) for text in texts])
        torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(
            clap_text_embeddings(str(folder), texts, batch_size=2), together, rtol=1e-4, atol=1e-5
        )

    def test_bad_input(self, folder: Path, folders: Any) -> None:
        with pytest.raises(ModelError, match="no texts"):
            clap_text_embeddings(str(folder), [])
        with pytest.raises(ModelError, match="a text of 22 tokens is too long, at most 14: 'aaaa"):
            clap_text_embeddings(str(folder), ["b", "a" * 20])
        with pytest.raises(ModelError, match="of the type 'wav2vec2', which embeds no texts"):
            clap_text_embeddings(str(folders("wav2vec2")), ["jazz"])


class TestFiles:
    def test_a_repository_that_is_not_there(self) -> None:
        expected = r"files of 'hf:lab/none' are not there: .*huggingface\.co/lab/none.*'hf download lab/none'.*hf:/PATH"
        with pytest.raises(ModelError, match=expected):
            load_model("hf:lab/none")

    def test_a_folder_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(ModelError, match=rf"no folder {tmp_path}/none"):
            load_model(f"hf:{tmp_path}/none")

    @pytest.mark.parametrize("file", ["config.json", "model.safetensors", "preprocessor_config.json"])
    def test_a_file_that_is_missing(self, folders: Any, tmp_path: Path, file: str) -> None:
        for path in folders("hubert").iterdir():
            if path.name != file:
                (tmp_path / path.name).write_bytes(path.read_bytes())
        with pytest.raises(ModelError, match=rf"cannot be read: {file.replace('.', '[.]')} in"):
            load_model(f"hf:{tmp_path}")

    def test_weights_of_another_architecture(self, folders: Any, tmp_path: Path) -> None:
        """transformers only warns, and draws what is missing at random."""
        for path in folders("hubert").iterdir():
            (tmp_path / path.name).write_bytes(path.read_bytes())
        config = json.loads((tmp_path / "config.json").read_text())
        (tmp_path / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 4}))
        with pytest.raises(ModelError, match=r"another architecture: encoder\.layers\.3\..* missing"):
            load_model(f"hf:{tmp_path}")
        (tmp_path / "config.json").write_text(json.dumps(config | {"intermediate_size": 48}))
        with pytest.raises(ModelError):
            load_model(f"hf:{tmp_path}")

    def test_names(self) -> None:
        with pytest.raises(ModelError, match="which model"):
            load_model("hf")
        with pytest.raises(ModelError, match="'wav2vec2' is a type of model and names no weights"):
            load_model("hf:wav2vec2")

    def test_a_type_without_adapter(self, tmp_path: Path) -> None:
        transformers.BertConfig().save_pretrained(tmp_path)
        with pytest.raises(ModelError, match=r"of the type 'bert', which has no adapter"):
            load_model(f"hf:{tmp_path}")

    def test_standard_configurations(self) -> None:
        model = load_huggingface("whisper", pretrained=False)
        assert model.sample_rate == 16_000
        assert model.activations(noise(3_200), ["layer_norm"])["layer_norm"].shape == (1, 10, 384)

    def test_code_of_its_own_runs_only_if_the_user_says_so(
        self, folders: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = tmp_path / "tiny_mert"
        transformers.AutoModel.from_pretrained(folders("hubert")).save_pretrained(folder)
        transformers.Wav2Vec2FeatureExtractor(sampling_rate=24_000).save_pretrained(folder)
        mark = tmp_path / "ran"
        (folder / "modeling_mert.py").write_text(
            "from pathlib import Path\n"
            "from transformers import HubertConfig, HubertModel\n"
            f"Path({str(mark)!r}).touch()\n"
            "class TinyConfig(HubertConfig):\n    model_type = 'mert_model'\n"
            "class TinyModel(HubertModel):\n    config_class = TinyConfig\n"
        )
        config = json.loads((folder / "config.json").read_text())
        names = {"AutoConfig": "modeling_mert.TinyConfig", "AutoModel": "modeling_mert.TinyModel"}
        (folder / "config.json").write_text(json.dumps(config | {"model_type": "mert_model", "auto_map": names}))
        for module in ("dynamic_module_utils", "utils.hub", "utils"):
            monkeypatch.setattr(f"transformers.{module}.HF_MODULES_CACHE", str(tmp_path / "modules"), raising=False)
        with pytest.raises(ModelError, match=r"code of its own.*'hf:.*tiny_mert:trust-remote-code'"):
            load_model(f"hf:{folder}")
        assert not mark.exists()
        model = load_model(f"hf:{folder}:trust-remote-code")
        assert mark.exists()
        assert (model.sample_rate, model.name) == (24_000, f"hf:{folder}:trust-remote-code")
        own = load_model(f"hf:{folders('hubert')}")
        found, expected = (m.activations(noise(4_000), ["encoder.layers.2"]) for m in (model, own))
        assert torch.equal(found["encoder.layers.2"], expected["encoder.layers.2"])


def test_sampling_rate_is_always_passed(load: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Feature extractors that are not told the rate only log it; a wrong one is an error of theirs."""
    told: list[Any] = []
    original = transformers.Wav2Vec2FeatureExtractor.__call__

    def spied(self: Any, *args: Any, **options: Any) -> Any:
        told.append(options.get("sampling_rate"))
        return original(self, *args, **options)

    monkeypatch.setattr(transformers.Wav2Vec2FeatureExtractor, "__call__", spied)
    load("wav2vec2").activations(noise(4_000), ["encoder.layers.0"])
    assert told == [16_000]
