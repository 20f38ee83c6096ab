"""Embeddings that are read and not heard: one-hot columns, captions of clips, and windows that share them."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer

from brainalign import extract, load_model
from brainalign.errors import ModelError
from brainalign.models import MODELS
from brainalign.models.captions import load_captions, read_captions
from brainalign.models.descriptions import TableModel, load_one_hot
from brainalign.models.extraction import extract_layers
from brainalign.models.layers import select_layers
from brainalign.models.logmel import load_logmel
from brainalign.stimuli.sets import Manifest, StimulusSet
from brainalign.stimuli.windows import window_starts, windowed

GENRES = ["jazz", "blues", "jazz", "disco", "blues", "rock"]
CLIPS = ["jazz.00001", "blues.00002", "jazz.00003", "disco.00011", "blues.00005", "rock.00006"]
SPLIT = ["train", "train", "test", "train", "train", "test"]
WORDS = {
    "jazz.00001": "a slow saxophone in a smoky bar",
    "blues.00002": "guitar and a sad voice",
    "jazz.00003": "the piano swings, a saxophone answers",
    "disco.00011": "strings, a steady drum and a happy voice",
    "blues.00005": "slow guitar; somebody complains",
    "rock.00006": "loud guitar and a drum",
}


def no_sound(stimulus_id: str) -> Any:
    raise AssertionError(f"{stimulus_id} was played")


@pytest.fixture
def clips() -> StimulusSet:
    table = pd.DataFrame(
        {"file": [f"{c}.wav" for c in CLIPS], "category": GENRES, "split": SPLIT, "tempo": [90, 60, 120, 120, 60, 140]},
        index=pd.Index(CLIPS, name="stimulus_id"),
    )
    return StimulusSet(Manifest(name="clips", version="1", citation="x", licence="CC0"), table, no_sound)


def write(path: Path, rows: list[tuple[str, str]], columns: tuple[str, str] = ("ID", "DescEN")) -> Path:
    pd.DataFrame(rows, columns=list(columns)).to_csv(path, index=False)
    return path


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return write(tmp_path / "captions.csv", [(f"{clip}_15s", text) for clip, text in reversed(WORDS.items())])


class TestOneHot:
    def test_units_are_values(self, clips: StimulusSet) -> None:
        responses = extract(load_one_hot(), clips)
        expected = pd.get_dummies(pd.Series(GENRES)).astype(float)  # columns sorted, as the units are
        np.testing.assert_array_equal(responses.values, expected.to_numpy())
        assert responses["unit"].values.tolist() == [f"category:{g}" for g in expected.columns]
        assert responses["stimulus"].values.tolist() == CLIPS
        assert set(responses["layer"].values) == {"category"}
        assert responses["split"].values.tolist() == SPLIT
        assert responses.attrs["source"] == "one-hot:category"

    def test_numbers_are_values_too(self, clips: StimulusSet) -> None:
        responses = extract(load_one_hot("tempo"), clips)
        assert responses["unit"].values.tolist() == ["tempo:120", "tempo:140", "tempo:60", "tempo:90"]
        np.testing.assert_array_equal(responses.sum("unit"), np.ones(6))

    def test_windows_have_what_their_clip_has(self, clips: StimulusSet) -> None:
        windows = windowed(clips, 10.0)
        of_windows, of_clips = extract(load_one_hot(), windows), extract(load_one_hot(), clips)
        np.testing.assert_array_equal(of_windows.values, of_clips.values.repeat(4, axis=0))
        assert of_windows["stimulus"].values.tolist() == windows.ids

    def test_alike_from_outside(self, clips: StimulusSet) -> None:
        model = load_one_hot()
        assert isinstance(model, TableModel)
        assert not isinstance(load_logmel(), TableModel)
        (layer,) = extract_layers(model, clips, layers="categ*", pooling="mean-sd")
        np.testing.assert_array_equal(layer.values, extract(model, clips).values)
        json.dumps(dict(model.record))
        with pytest.raises(ModelError, match="no layer 'conv1'"):
            extract(model, clips, layers=["conv1"])
        with pytest.raises(ModelError, match="no pooling 'means'"):
            extract(model, clips, pooling="means")

    def test_bad_tables(self, clips: StimulusSet) -> None:
        with pytest.raises(ModelError, match=r"clips has no column 'categry'; did you mean 'category'\?"):
            extract(load_one_hot("categry"), clips)
        clips.table.loc["disco.00011", "category"] = " "
        with pytest.raises(ModelError, match=r"has no entry for disco\.00011$"):
            extract(load_one_hot(), clips)
        with pytest.raises(ModelError, match="all 2 stimuli of clips have the category 'jazz'"):
            extract(load_one_hot(), clips.select(["jazz.00001", "jazz.00003"]))


class TestCaptions:
    def test_words_of_training_clips_only(self, clips: StimulusSet, table: Path) -> None:
        train = [WORDS[c] for c, s in zip(CLIPS, SPLIT, strict=True) if s == "train"]
        for name, judge in (("tfidf", TfidfVectorizer()), ("bag-of-words", CountVectorizer())):
            expected = judge.fit(train).transform([WORDS[c] for c in CLIPS]).toarray()
            responses = extract(load_captions(f"{table}?text={name}"), clips)
            np.testing.assert_allclose(responses.values, expected, rtol=1e-6)
            assert responses["unit"].values.tolist() == [f"text:{w}" for w in judge.get_feature_names_out()]
        assert "text:saxophone" in responses["unit"].values
        assert "text:piano" not in responses["unit"].values  # in a test caption only

    def test_all_words_without_a_split(self, clips: StimulusSet, table: Path) -> None:
        del clips.table["split"]
        responses = extract(load_captions(f"{table}?text=tfidf"), clips)
        expected = TfidfVectorizer().fit_transform([WORDS[c] for c in CLIPS]).toarray()
        np.testing.assert_allclose(responses.values, expected, rtol=1e-6)

    def test_several_captions_are_averaged_and_windows_share_them(self, clips: StimulusSet, tmp_path: Path) -> None:
        rows = [(f"{c}_15s", t) for c, t in WORDS.items()]
        table = write(tmp_path / "two.csv", [*rows, ("disco.00011_15s", "guitar and drum")])
        responses = extract(load_captions(f"{table}?text=bag-of-words"), windowed(clips, 5.0))
        assert responses.sizes["stimulus"] == 6 * 7
        one = responses.sel(stimulus="disco.00011@03")
        assert one.sel(unit="text:drum").item() == 1.0
        assert one.sel(unit="text:guitar").item() == 0.5
        assert (responses.values[21:28] == responses.values[21]).all()

    def test_the_known_typo_is_mended_and_said(self, clips: StimulusSet, tmp_path: Path) -> None:
        rows = [(f"{c}_15s", t) for c, t in WORDS.items()]
        rows[3] = ("disco.000011_15s", rows[3][1])
        table = write(tmp_path / "typo.csv", rows)
        with pytest.warns(UserWarning, match=r"typo\.csv: 'disco\.000011' is read as 'disco\.00011'"):
            model = load_captions(f"{table}?text=tfidf")
        assert extract(model, clips).sel(stimulus="disco.00011", unit="text:drum").item() > 0

    def test_other_ids_are_errors(self, clips: StimulusSet, tmp_path: Path) -> None:
        rows = [(f"{c}_15s", t) for c, t in WORDS.items()]
        unknown = write(tmp_path / "unknown.csv", [*rows, ("jazz.00099_15s", "a trumpet")])
        with pytest.raises(ModelError, match=r"captions of 1 clip that clips does not have: jazz\.00099; mend"):
            extract(load_captions(f"{unknown}?text=tfidf"), clips)
        known = extract(load_captions(f"{unknown}?text=tfidf&others=ignore"), clips)
        assert "text:trumpet" not in known["unit"].values
        rows[0] = ("jazz.000001_15s", rows[0][1])
        with pytest.raises(ModelError, match=r"no caption for 1 of 6 clips .*jazz\.00001; did you mean 'jazz\.000001'"):
            extract(load_captions(f"{write(tmp_path / 'm.csv', rows)}?text=tfidf&others=ignore"), clips)

    def test_clips_that_were_cut_before_are_no_unknown_ones(self, clips: StimulusSet, table: Path) -> None:
        few = windowed(clips, 7.5).select([f"{c}@00" for c in CLIPS[:3]])
        found = extract(load_captions(f"{table}?text=tfidf"), few)
        assert found["stimulus"].values.tolist() == few.ids
        with pytest.raises(ModelError, match=r"captions of 3 clips that clips does not have"):
            extract(load_captions(f"{table}?text=tfidf"), clips.select(CLIPS[:3]))

    def test_where_a_table_was_looked_for(self, tmp_path: Path) -> None:
        with pytest.raises(ModelError, match=re.escape(f"there is no {tmp_path / 'no.csv'}; of a recipe it is looked")):
            load_captions(f"{tmp_path / 'no.csv'}?text=tfidf")

    def test_a_caption_of_unknown_words(self, clips: StimulusSet, tmp_path: Path) -> None:
        rows = [(c, "xylophone" if c == "rock.00006" else t) for c, t in WORDS.items()]
        table = write(tmp_path / "own.csv", rows, ("stimulus_id", "caption"))
        with pytest.raises(ModelError, match=r"no word of the captions of rock\.00006 is in captions of training"):
            extract(load_captions(f"{table}?text=tfidf"), clips)

    def test_bad_tables_and_names(self, tmp_path: Path, table: Path) -> None:
        for variant, wrong in (
            ("", "names no table"),
            (f"{table}", "names no text model"),
            (f"{table}?text=word2vec", "has no text model 'word2vec'"),
            (f"{table}?others=ignore", "names no text model"),
        ):
            with pytest.raises(ModelError, match=f"{wrong}; expected 'captions:FILE"):
                load_captions(variant)
        with pytest.raises(ModelError, match="has no option 'txt'"):
            load_captions(f"{table}?txt=tfidf")
        with pytest.raises(ModelError, match="others can be 'ignore' only, found 'drop'"):
            load_captions(f"{table}?text=tfidf&others=drop")
        with pytest.raises(ModelError, match="no table of captions"):
            load_captions(f"{tmp_path}/none.csv?text=tfidf")
        with pytest.raises(ModelError, match="must have the columns 'ID' and 'DescEN' or 'stimulus_id' and 'caption'"):
            read_captions(write(tmp_path / "c.csv", [("a", "b")], ("id", "text")))
        with pytest.raises(ModelError, match="row 2: the caption of 'b' is empty"):
            read_captions(write(tmp_path / "e.csv", [("a_15s", "x"), ("b_15s", " ")]))

    def test_beside_the_recipe_and_called_as_asked_for(
        self, clips: StimulusSet, table: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(MODELS._registered, "captions", load_captions)
        model: Any = load_model("captions:captions.csv?text=tfidf", folder=table.parent)
        assert extract(model, clips).attrs["source"] == "captions:captions.csv?text=tfidf"
        assert model.record["captions"] == "captions.csv"
        assert len(model.record["captions_sha256"]) == 64
        with pytest.raises(ModelError, match="has no weights to replace"):
            load_model("captions:captions.csv?text=tfidf@random:0", folder=table.parent)


class TestClap:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        transformers = pytest.importorskip("transformers")
        import torch
        from tokenizers import Tokenizer, models, pre_tokenizers, processors

        words = ["<s>", "<pad>", "</s>", "<unk>", *"abcdefghijklmnopqrstuvwxyz", "Ġ"]
        roberta = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
                   "vocab_size": 40, "max_position_embeddings": 64, "projection_dim": 12, "pad_token_id": 1,
                   "bos_token_id": 0, "eos_token_id": 2}  # fmt: skip
        swin = {"patch_embeds_hidden_size": 8, "depths": [1, 1], "num_attention_heads": [1, 2], "num_hidden_layers": 2,
                "hidden_size": 16, "projection_dim": 12}  # fmt: skip
        config = transformers.AutoConfig.for_model("clap", audio_config=swin, text_config=roberta, projection_dim=12)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            transformers.ClapModel(config).save_pretrained(tmp_path / "clap")
        tokenizer = Tokenizer(models.BPE({w: i for i, w in enumerate(words)}, [], unk_token="<unk>"))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
        transformers.PreTrainedTokenizerFast(
            tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>"
        ).save_pretrained(tmp_path / "clap")
        return tmp_path / "clap"

    def test_captions_go_where_clap_puts_texts(self, clips: StimulusSet, table: Path, folder: Path) -> None:
        from brainalign.models.hf_text import clap_text_embeddings

        model = load_captions(f"{table}?text=hf:{folder}")
        assert model.record["text_weights"].keys() == {"model.safetensors"}
        expected = clap_text_embeddings(str(folder), [WORDS[c] for c in CLIPS]).numpy()
        np.testing.assert_allclose(extract(model, clips).values, expected, atol=1e-6)
        np.testing.assert_allclose(np.linalg.norm(expected, axis=1), 1, rtol=1e-5)

    def test_files_are_looked_for_before_anything_is_computed(self, table: Path) -> None:
        pytest.importorskip("transformers")
        with pytest.raises(ModelError, match="files of 'hf:lab/none' are not there"):
            load_captions(f"{table}?text=hf:lab/none")


#: Networks of the types that the page names, small enough to draw.
TINY: dict[str, tuple[str, dict[str, Any], int]] = {
    "hf:laion/larger_clap_music": ("clap", {"projection_dim": 12, "audio_config": {
        "patch_embeds_hidden_size": 8, "depths": [1, 1], "num_attention_heads": [1, 2], "num_hidden_layers": 2,
        "hidden_size": 16, "projection_dim": 12}, "text_config": {"hidden_size": 16, "num_hidden_layers": 1,
        "num_attention_heads": 2, "intermediate_size": 16, "vocab_size": 40, "projection_dim": 12}}, 12),
    "hf:facebook/w2v-bert-2.0": ("wav2vec2-bert", {
        "hidden_size": 16, "num_hidden_layers": 18, "num_attention_heads": 2, "intermediate_size": 32,
        "feature_projection_input_dim": 160}, 16),
    "hf:facebook/encodec_24khz": ("encodec", {
        "num_filters": 4, "hidden_size": 8, "codebook_size": 16, "codebook_dim": 8, "upsampling_ratios": [4, 4, 2],
        "num_lstm_layers": 1}, 8),
}  # fmt: skip


class TestPage:
    """docs/brain2music-embeddings.md: its table, and every recipe line on a tiny network of the same type."""

    PAGE = Path(__file__).parents[1] / "docs" / "brain2music-embeddings.md"

    def recipes(self) -> list[dict[str, Any]]:
        return [tomllib.loads(text) for text in re.findall(r"```toml\n(.*?)```", self.PAGE.read_text(), re.DOTALL)]

    def table(self) -> dict[str, list[str]]:
        """Give the cells of each row, by the name of the model."""
        rows = [
            [cell.strip() for cell in line.strip("|").split("|")]
            for line in self.PAGE.read_text().splitlines()
            if line.startswith("| ")
        ]
        return {re.findall(r"`([^`]+)`", cells[1])[0]: cells for cells in rows[2:] if "`" in cells[1]}

    def test_windows(self) -> None:
        counts = {cells[2]: cells[3] for cells in self.table().values() if cells[2].strip()}
        assert counts == {f"{w:g}": str(len(window_starts(15, w))) for w in (10, 5, 1.5)}
        for recipe in self.recipes():
            for model in recipe["models"] if "measures" not in recipe else []:
                cells = self.table().get(model["name"])
                if cells and cells[2].strip():
                    window = recipe["stimuli"]["manipulate"][0]["window_s"]
                    assert f"{window:g}" == cells[2]
                    assert model["layers"][0] in cells[4]

    @pytest.mark.parametrize("name", TINY)
    def test_networks(self, name: str, tmp_path: Path) -> None:
        transformers = pytest.importorskip("transformers")
        import torch

        from brainalign.models.huggingface import FAMILIES

        kind, options, width = TINY[name]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            network = transformers.AutoModel.from_config(transformers.AutoConfig.for_model(kind, **options))
        network.save_pretrained(tmp_path)
        if FAMILIES[kind].extractor:
            mode = {"truncation": "rand_trunc"} if kind == "clap" else {}
            getattr(transformers, FAMILIES[kind].extractor)(**mode).save_pretrained(tmp_path)
        model = load_model(f"hf:{tmp_path}")
        rng = np.random.default_rng(0)
        table = pd.DataFrame(
            {"file": ["a", "b"], "category": ["x", "y"]}, index=pd.Index(["a", "b"], name="stimulus_id")
        )
        sounds = StimulusSet(
            Manifest(name="noise", version="1", citation="x", licence="CC0"),
            table,
            lambda i: (rng.normal(0, 0.1, 24_000).astype(np.float32), 24_000),
        )
        lines = [m for recipe in self.recipes() for m in recipe["models"] if m["name"] == name]
        assert lines
        for line in lines:
            assert select_layers(model, line["layers"]) == line["layers"]
            responses = extract(model, sounds, layers=line["layers"], pooling=line.get("pooling", "mean"))
            assert responses.shape == (2, width * len(line["layers"]))

    def test_published_widths(self) -> None:
        """Of the standard configurations, which are those of the networks that are named."""
        transformers = pytest.importorskip("transformers")
        for name, attribute in (("hf:laion/larger_clap_music", "projection_dim"),
                                ("hf:facebook/w2v-bert-2.0", "hidden_size"),
                                ("hf:facebook/encodec_24khz", "hidden_size")):  # fmt: skip
            config = transformers.AutoConfig.for_model(TINY[name][0])
            assert self.table()[name][6] == str(getattr(config, attribute))

    def test_captions_and_columns(self, clips: StimulusSet, table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(MODELS._registered, "captions", load_captions)
        monkeypatch.setitem(MODELS._registered, "one-hot", load_one_hot)
        names = {m["name"] for recipe in self.recipes() for m in recipe["models"]} - set(TINY)
        assert names == {
            "one-hot:category",
            "captions:captions.csv?text=tfidf",
            "captions:captions.csv?text=hf:laion/larger_clap_music",
        }
        for name in names:
            if "laion" not in name:
                assert extract(load_model(name, folder=table.parent), clips).sizes["stimulus"] == 6
