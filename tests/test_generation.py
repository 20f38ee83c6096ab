"""Generation, on tiny networks with random weights: the real code from embedding to wav."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from sklearn.linear_model import Ridge

from brainalign.errors import ReconstructionError
from brainalign.reconstruction.generator import generate_set, load_generator
from brainalign.reconstruction.text_subspace import fit_text_subspace
from brainalign.responses import make_responses

diffusers = pytest.importorskip("diffusers")
transformers = pytest.importorskip("transformers")

WIDTH = 12
UNET = {
    "sample_size": 8, "in_channels": 4, "out_channels": 4, "block_out_channels": (8, 16), "norm_num_groups": 8,
    "layers_per_block": 1, "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"), "cross_attention_dim": (8, 16), "attention_head_dim": 2,
    "class_embed_type": "simple_projection", "projection_class_embeddings_input_dim": WIDTH,
    "class_embeddings_concat": True,
}  # fmt: skip
VAE = {
    "in_channels": 1, "out_channels": 1, "latent_channels": 4, "block_out_channels": (8, 16), "norm_num_groups": 8,
    "down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2,
}  # fmt: skip
VOCODER = {
    "model_in_dim": 8, "sampling_rate": 16_000, "upsample_initial_channel": 16, "upsample_rates": [2, 2],
    "upsample_kernel_sizes": [4, 4], "resblock_kernel_sizes": [3, 7], "resblock_dilation_sizes": [[1, 3], [1, 3]],
    "normalize_before": False,
}  # fmt: skip
SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
TEXT = {**SMALL, "vocab_size": 40, "max_position_embeddings": 16, "projection_dim": WIDTH, "pad_token_id": 1,
        "bos_token_id": 0, "eos_token_id": 2}  # fmt: skip
AUDIO = {"patch_embeds_hidden_size": 8, "depths": [1, 1], "num_attention_heads": [1, 2], "num_hidden_layers": 2,
         "hidden_size": 16, "projection_dim": WIDTH}  # fmt: skip
DURATION_S = 0.02


def draw(network):
    """Give every parameter a weight that matters: the initial ones are small or zero where it counts here."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.default_generator.manual_seed(3)
        for parameter in network.parameters():
            parameter += 0.1 * torch.randn(parameter.shape)
    return network.eval()


def write_tokenizer(folder: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = ["<s>", "<pad>", "</s>", "<unk>", *"abcdefghijklmnopqrstuvwxyz", "Ġ"]
    tokenizer = Tokenizer(models.BPE({w: i for i, w in enumerate(words)}, [], unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>"
    ).save_pretrained(folder)


@pytest.fixture(scope="module")
def musicldm(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights") / "musicldm"
    draw(diffusers.UNet2DConditionModel(**UNET)).save_pretrained(folder / "unet")
    draw(diffusers.AutoencoderKL(**VAE)).save_pretrained(folder / "vae")
    draw(transformers.SpeechT5HifiGan(transformers.SpeechT5HifiGanConfig(**VOCODER))).save_pretrained(
        folder / "vocoder"
    )
    diffusers.DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=False
    ).save_pretrained(folder / "scheduler")
    config = transformers.ClapConfig(text_config=TEXT, audio_config=AUDIO, projection_dim=WIDTH)
    draw(transformers.ClapModel(config)).save_pretrained(folder / "text_encoder")
    write_tokenizer(folder / "tokenizer")
    return folder


@pytest.fixture(scope="module")
def musicgen(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights") / "musicgen"
    codec = {"model_type": "encodec", "sampling_rate": 16_000, "target_bandwidths": [8.0], "hidden_size": 16,
             "num_filters": 4, "num_residual_layers": 1, "upsampling_ratios": [8, 4], "codebook_size": 16,
             "codebook_dim": 16, "num_lstm_layers": 1}  # fmt: skip
    decoder = {"model_type": "musicgen_decoder", "vocab_size": 16, "num_hidden_layers": 1, "ffn_dim": 32,
               "num_attention_heads": 2, "hidden_size": 16, "num_codebooks": 4, "pad_token_id": 16,
               "bos_token_id": 16}  # fmt: skip
    text = {
        "model_type": "t5",
        "d_model": WIDTH,
        "d_ff": 16,
        "num_layers": 1,
        "num_heads": 2,
        "d_kv": 8,
        "vocab_size": 40,
    }
    config = transformers.MusicgenConfig(text_encoder=text, audio_encoder=codec, decoder=decoder)
    network = draw(transformers.MusicgenForConditionalGeneration(config))
    with torch.no_grad():
        for layer in network.audio_encoder.quantizer.layers:
            layer.codebook.embed.normal_(generator=torch.Generator().manual_seed(4))
    network.generation_config.decoder_start_token_id = 16
    network.generation_config.pad_token_id = 16
    network.save_pretrained(folder)
    write_tokenizer(folder)
    return folder


def embeddings(n=2, seed=0, width=WIDTH):
    rows = np.random.default_rng(seed).standard_normal((n, width))
    return make_responses(rows, [f"clip.{i}" for i in range(n)], stimulus_info={"category": ["jazz"] * n})


class TestLatentDiffusion:
    @pytest.mark.parametrize("guidance", [1.0, 2.5])
    def test_it_is_the_published_pipeline(self, musicldm, guidance, monkeypatch):
        generator = load_generator(f"musicldm:{musicldm}", n_steps=3, guidance=guidance)
        embedding = np.random.default_rng(1).standard_normal(WIDTH)
        waveform = generator.generate(embedding, 5, DURATION_S)
        pipeline = diffusers.MusicLDMPipeline(
            vae=generator.vae, text_encoder=transformers.ClapModel.from_pretrained(musicldm / "text_encoder"),
            tokenizer=None, feature_extractor=None, unet=generator.unet, scheduler=generator.scheduler,
            vocoder=generator.vocoder,
        )  # fmt: skip
        pipeline.set_progress_bar_config(disable=True)
        empty = {} if guidance == 1 else {"negative_prompt_embeds": generator.unconditional[None]}
        expected = pipeline(
            prompt_embeds=torch.as_tensor(embedding / np.linalg.norm(embedding), dtype=torch.float32)[None],
            audio_length_in_s=DURATION_S, num_inference_steps=3, guidance_scale=guidance,
            generator=torch.Generator().manual_seed(5), output_type="np", **empty,
        ).audios[0]  # fmt: skip
        assert len(waveform) == round(DURATION_S * 16_000)
        np.testing.assert_allclose(waveform, expected, atol=1e-5 * np.abs(expected).max())

    def test_the_embedding_changes_what_the_unet_gives(self, musicldm):
        generator = load_generator(f"musicldm:{musicldm}", n_steps=2)
        latent, step = torch.randn(1, 4, 8, 4, generator=torch.Generator().manual_seed(0)), torch.tensor(500)
        rows = np.random.default_rng(0).standard_normal((2, WIDTH))
        with torch.inference_mode():
            first, second = (generator.predicted_noise(latent, step, generator.condition(row)) for row in rows)
            longer = generator.predicted_noise(latent, step, generator.condition(7 * rows[0]))
        assert (first - second).abs().max() > 0.01 * first.abs().max()
        torch.testing.assert_close(longer, first)

    def test_the_seed_decides(self, musicldm):
        generator = load_generator(f"musicldm:{musicldm}", n_steps=2)
        row = np.ones(WIDTH)
        first, same, other = (generator.generate(row, seed, DURATION_S) for seed in (1, 1, 2))
        np.testing.assert_array_equal(first, same)
        assert np.abs(first - other).max() > 0.01 * np.abs(first).max()

    def test_the_empty_text_is_embedded_at_unit_length(self, musicldm):
        empty = load_generator(f"musicldm:{musicldm}").unconditional
        assert empty.shape == (WIDTH,)
        assert float(empty.norm()) == pytest.approx(1, abs=1e-6)

    def test_without_a_text_encoder_there_is_no_guidance(self, musicldm, tmp_path):
        for part in ("unet", "vae", "vocoder", "scheduler"):
            (tmp_path / part).symlink_to(musicldm / part)
        with pytest.raises(ReconstructionError, match="use guidance = 1"):
            load_generator(f"musicldm:{tmp_path}")
        assert load_generator(f"musicldm:{tmp_path}", guidance=1.0, n_steps=1).generate(np.ones(WIDTH), 0, 0.01).any()

    @pytest.mark.parametrize("row", [np.ones(WIDTH + 1), np.zeros(WIDTH), np.full(WIDTH, np.nan)])
    def test_embeddings_that_it_cannot_take(self, musicldm, row):
        with pytest.raises(ReconstructionError, match=r"width 12|zero or not finite"):
            load_generator(f"musicldm:{musicldm}", n_steps=1).generate(row, 0, DURATION_S)


class TestFolder:
    @pytest.mark.parametrize("name", ["musicldm", "audioldm", "musicgen"])
    def test_no_folder(self, name):
        with pytest.raises(ReconstructionError, match=r"name the folder|name that of the weights"):
            load_generator(name)

    def test_a_part_is_missing(self, musicldm, tmp_path):
        (tmp_path / "unet").symlink_to(musicldm / "unet")
        with pytest.raises(ReconstructionError, match="lacks vae, vocoder, scheduler"):
            load_generator(f"musicldm:{tmp_path}")

    def test_a_pickle_is_not_read(self, musicldm, tmp_path):
        for part in ("vae", "vocoder", "scheduler"):
            (tmp_path / part).symlink_to(musicldm / part)
        (tmp_path / "unet").mkdir()
        (tmp_path / "unet" / "config.json").write_text((musicldm / "unet/config.json").read_text())
        torch.save({"a": torch.ones(1)}, tmp_path / "unet" / "diffusion_pytorch_model.bin")
        with pytest.raises(ReconstructionError, match="cannot be loaded"):
            load_generator(f"musicldm:{tmp_path}", guidance=1.0)

    @pytest.mark.parametrize("name", ["DiffusionPipeline", "randn_tensor", "NoSuchScheduler"])
    def test_only_a_scheduler_is_a_scheduler(self, musicldm, tmp_path, name):
        for part in ("unet", "vae", "vocoder"):
            (tmp_path / part).symlink_to(musicldm / part)
        (tmp_path / "scheduler").mkdir()
        (tmp_path / "scheduler" / "scheduler_config.json").write_text(json.dumps({"_class_name": name}))
        with pytest.raises(ReconstructionError, match=f"no scheduler '{name}'"):
            load_generator(f"musicldm:{tmp_path}", guidance=1.0)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"steps": 3}, "did you mean 'n_steps'"),
            ({"n_steps": 5000}, "expected 1 to 1000"),
            ({"guidance": float("nan")}, "expected a finite number from 1"),
            ({"guidance": -1.0}, "expected a finite number from 1"),
        ],
    )
    def test_options_that_do_not_exist_or_make_no_sense(self, musicldm, options, message):
        with pytest.raises(ReconstructionError, match=message):
            load_generator(f"musicldm:{musicldm}", **options)

    def test_unknown_generator(self):
        with pytest.raises(ReconstructionError, match="did you mean 'musicldm'"):
            load_generator("musicldn:folder")


class TestMusicGen:
    def test_sound_of_the_length_asked_for_and_by_the_seed(self, musicgen):
        generator = load_generator(f"musicgen:{musicgen}")
        state = torch.get_rng_state()
        first, same, other = (generator.generate(np.ones(WIDTH), seed, DURATION_S) for seed in (1, 1, 2))
        assert torch.equal(torch.get_rng_state(), state)
        assert len(first) == round(DURATION_S * generator.sample_rate)
        np.testing.assert_array_equal(first, same)
        assert not np.array_equal(first, other)

    def test_the_embedding_changes_the_scores_of_tokens(self, musicgen):
        generator = load_generator(f"musicgen:{musicgen}")
        rows = generator.embed_texts(["abc", "xyz zyx"])
        assert rows.shape == (2, WIDTH)
        logits = []
        for row in rows:
            with torch.inference_mode():
                out = generator.network(
                    encoder_outputs=transformers.modeling_outputs.BaseModelOutput(torch.as_tensor(row)[None, None]),
                    attention_mask=torch.ones(1, 1, dtype=torch.long), decoder_input_ids=torch.full((4, 1), 3),
                )  # fmt: skip
            logits.append(out.logits)
        assert (logits[0] - logits[1]).abs().max() > 1e-3 * logits[0].abs().max()

    def test_a_text_is_the_mean_over_its_tokens(self, musicgen):
        generator = load_generator(f"musicgen:{musicgen}")
        tokens = generator.tokenizer(["abc"], return_tensors="pt")["input_ids"]
        states = generator.network.text_encoder(input_ids=tokens).last_hidden_state.detach()
        np.testing.assert_allclose(generator.embed_texts(["abc"])[0], states[0].mean(0).numpy(), atol=1e-6)

    def test_width(self, musicgen):
        with pytest.raises(ReconstructionError, match="width 12"):
            load_generator(f"musicgen:{musicgen}").generate(np.ones(3), 0, DURATION_S)


class Tone:
    """A generator whose output says what it was given."""

    name, width, sample_rate, record = "tone", WIDTH, 8_000, {"version": 1}

    def __init__(self, level=0.5):
        self.level, self.calls = level, []

    def generate(self, embedding, seed, duration_s):
        self.calls.append(seed)
        return np.full(round(duration_s * 8_000), self.level, np.float32)


class TestSet:
    def test_real_networks_give_a_set_that_loads(self, musicldm, tmp_path):
        generator = load_generator(f"musicldm:{musicldm}", n_steps=1)
        made = generate_set(generator, embeddings(), tmp_path / "made", n_samples=2, duration_s=DURATION_S)
        assert made.ids == ["clip.0~00", "clip.0~01", "clip.1~00", "clip.1~01"]
        assert made.categories == ["jazz"]
        waveform, rate = made.waveform("clip.1~01")
        assert (rate, len(waveform)) == (16_000, 320)
        assert np.abs(waveform).max() <= 0.99 + 2**-15

    def test_what_is_there_is_not_generated_again(self, tmp_path):
        tone = Tone()
        generate_set(tone, embeddings(), tmp_path, n_samples=2, duration_s=0.01)
        generate_set(tone, embeddings(3), tmp_path, n_samples=2, duration_s=0.01)
        assert len(tone.calls) == 6  # the first two of three embeddings are the same
        before = len(tone.calls)
        generate_set(tone, embeddings(3)[::-1], tmp_path, n_samples=2, duration_s=0.01)
        assert len(tone.calls) == before
        generate_set(tone, embeddings(3), tmp_path, n_samples=2, duration_s=0.01, seed=1)
        generate_set(tone, embeddings(3, seed=7), tmp_path, n_samples=2, duration_s=0.01)
        assert len(tone.calls) == before + 12

    def test_draws_belong_to_the_clip(self, tmp_path):
        some, more = Tone(), Tone()
        generate_set(some, embeddings(2), tmp_path / "a", duration_s=0.01)
        generate_set(more, embeddings(5)[::-1], tmp_path / "b", duration_s=0.01)
        assert some.calls == more.calls[::-1][:2]
        assert len(set(more.calls)) == 5

    def test_a_loud_sound_is_brought_down_and_the_table_says_by_how_much(self, tmp_path):
        generate_set(Tone(1.98), embeddings(1), tmp_path, duration_s=0.01)
        table = pd.read_csv(tmp_path / "stimuli.csv")
        assert table["gain_db"][0] == pytest.approx(20 * np.log10(0.5), abs=1e-3)
        assert soundfile.read(tmp_path / table["file"][0])[0].max() == pytest.approx(0.99, abs=1e-4)

    @pytest.mark.parametrize("level", [0.0, np.nan, np.inf])
    def test_silence_and_infinity_are_named(self, tmp_path, level):
        with pytest.raises(ReconstructionError, match=r"for 'clip\.0'"):
            generate_set(Tone(level), embeddings(1), tmp_path, duration_s=0.01)

    def test_another_stimulus_set_is_not_overwritten(self, tmp_path):
        from brainalign.stimuli import load_stimuli
        from brainalign.stimuli.writing import write_set

        demo = load_stimuli("demo")
        folder = write_set(demo.select(demo.ids[:2]), tmp_path / "mine")
        before = (folder / "stimuli.csv").read_text()
        with pytest.raises(ReconstructionError, match="holds the stimulus set 'demo'"):
            generate_set(Tone(), embeddings(), folder, duration_s=0.01)
        assert (folder / "stimuli.csv").read_text() == before
        with pytest.raises(ReconstructionError, match="is a file"):
            generate_set(Tone(), embeddings(), folder / "stimuli.csv", duration_s=0.01)

    def test_another_width(self, tmp_path):
        with pytest.raises(ReconstructionError, match="width 12, found 11 units"):
            generate_set(Tone(), embeddings(width=11), tmp_path)


class TestTextSubspace:
    def pairs(self, n=80, noise=0.0, seed=0):
        rng = np.random.default_rng(seed)
        music = rng.standard_normal((n, 6))
        music /= np.linalg.norm(music, axis=1, keepdims=True)
        text = music @ rng.standard_normal((6, 4)) + 0.5 + noise * rng.standard_normal((n, 4))
        ids = [f"c{i}" for i in range(n)]
        return make_responses(music, ids), make_responses(text, ids)

    def test_it_is_the_ridge_of_scikit_learn(self):
        music, text = self.pairs(noise=0.3)
        fitted = fit_text_subspace(music, text, penalties=[0.2])
        x, y = (r.values / np.linalg.norm(r.values, axis=1, keepdims=True) for r in (music, text))
        peer = Ridge(alpha=0.2 * ((x - x.mean(0)) ** 2).sum() / x.shape[1]).fit(x, y)
        expected = peer.predict(x)
        expected /= np.linalg.norm(expected, axis=1, keepdims=True)
        np.testing.assert_allclose(fitted(music).values, expected, atol=1e-8)

    def test_a_planted_map_is_found_for_new_clips(self):
        music, text = self.pairs(200)
        fitted = fit_text_subspace(music[:150], text[:150])
        target = text[150:].values / np.linalg.norm(text[150:].values, axis=1, keepdims=True)
        assert (fitted(music[150:]).values * target).sum(axis=1).mean() > 0.99

    def test_noise_asks_for_a_larger_penalty(self):
        clean, noisy = (fit_text_subspace(*self.pairs(noise=level)).penalty for level in (0.0, 5.0))
        assert noisy > clean

    def test_the_order_of_clips_does_not_matter(self):
        music, text = self.pairs(noise=0.5)
        first, second = fit_text_subspace(music, text), fit_text_subspace(music[::-1], text)
        assert first.penalty == second.penalty
        np.testing.assert_allclose(first.weights, second.weights, atol=1e-10)

    def test_bad_input(self):
        music, text = self.pairs()
        with pytest.raises(ReconstructionError, match="expected 2 folds"):
            fit_text_subspace(music, text, n_folds=1)
        with pytest.raises(ReconstructionError, match="penalties must be"):
            fit_text_subspace(music, text, penalties=[0.0])
        with pytest.raises(ReconstructionError, match="width 6, found 4"):
            fit_text_subspace(music, text)(text)
