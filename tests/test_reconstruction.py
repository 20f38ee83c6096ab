"""From decoded embeddings to retrieved and generated music, and what is said of it."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from brainalign.errors import RecipeError, ReconstructionError
from brainalign.measures.decoding import decoding
from brainalign.measures.tag_agreement import TAG_GROUPS
from brainalign.models import extract, load_model
from brainalign.recipes import read_recipe
from brainalign.reconstruction.steps import ITSELF, ORACLE, OTHER_PART, Wanted, reconstruct
from brainalign.reconstruction.tags import as_clips, clip_tags
from brainalign.report.folder import run_recipe
from brainalign.responses import make_responses
from brainalign.stimuli.sets import Manifest, StimulusSet
from brainalign.stimuli.windows import windowed
from brainalign.stimuli.writing import write_set

RATE = 16_000
LABELS = tuple(label for group in TAG_GROUPS.values() for label in group.labels)


def music(n, seed, prefix, duration_s=1.5):
    """Tones of random pitch and brightness: sounds that a log-mel spectrogram tells apart."""
    rng = np.random.default_rng(seed)
    ids = [f"{prefix}{i:02d}" for i in range(n)]
    pitch, tilt = rng.uniform(120, 1200, n), rng.uniform(0.3, 1.0, n)
    t = np.arange(round(duration_s * RATE)) / RATE

    def source(i):
        k = ids.index(i)
        harmonics = [tilt[k] ** h * np.sin(2 * np.pi * pitch[k] * h * t) for h in range(1, 7)]
        return (0.1 * np.sum(harmonics, axis=0)).astype(np.float32), RATE

    category = ["low" if p < 500 else "high" for p in pitch]
    split = ["test" if k % 3 == 0 else "train" for k in range(n)]
    table = pd.DataFrame(
        {"file": "-", "category": category, "split": split, "title": [f"Tone {p:.0f} Hz" for p in pitch]},
        index=pd.Index(ids, name="stimulus_id"),
    )
    return StimulusSet(Manifest(name=prefix, version="1", citation="who", licence="CC0"), table, source)


class Tagger:
    """Names a pitch by the class of a music genre."""

    name, sample_rate, minimum_samples, class_names = "pitch-tagger", RATE, 1000, LABELS

    def scores(self, waveforms):
        spectrum = torch.fft.rfft(waveforms).abs()
        pitch = spectrum.argmax(dim=1) * RATE / waveforms.shape[1]
        centres = torch.linspace(np.log2(100), np.log2(1400), len(LABELS)).roll(3)
        return torch.exp(-((torch.log2(pitch)[:, None] - centres) ** 2))


class Echo:
    """A generator that plays a tone whose pitch the embedding decides."""

    name, sample_rate, record = "echo", RATE, {"version": 1}

    def __init__(self, width):
        self.width = width

    def generate(self, embedding, seed, duration_s):
        t = np.arange(round(duration_s * RATE)) / RATE
        return (0.1 * np.sin(2 * np.pi * (200 + 20 * np.argmax(embedding)) * t + seed % 7)).astype(np.float32)


@pytest.fixture(scope="module")
def study():
    clips = windowed(music(48, 1, "clip"), 0.5, 0.5, 1.5)
    model = load_model("logmel")
    responses = extract(model, clips)
    rng = np.random.default_rng(0)
    basis = responses.values - responses.values.mean(axis=0)
    subjects = [np.hstack([basis @ rng.standard_normal((basis.shape[1], 40))]) for _ in range(3)]
    voxels = np.hstack([s + 0.3 * s.std() * rng.standard_normal(s.shape) for s in subjects])
    voxels[:, 80:] = rng.standard_normal((len(voxels), 40))  # the third subject heard nothing
    brain = make_responses(
        voxels, clips.ids, unit_info={"subject": np.repeat(["sub-01", "sub-02", "sub-03"], 40)}, attrs={"source": "lab"}
    )
    return clips, model, responses, brain


@pytest.fixture(scope="module")
def decoded(study):
    _, _, responses, brain = study
    return decoding(responses, brain, n_permutations=50, n_bootstrap=50)


def run(study, decoded, tmp_path, **options):
    clips, model, responses, _ = study
    wanted = Wanted(n_permutations=50, n_bootstrap=50, **options)
    return reconstruct([decoded], model, responses, clips, wanted, folder=tmp_path)


@pytest.fixture(scope="module")
def made(study, decoded, tmp_path_factory):
    return run(study, decoded, tmp_path_factory.mktemp("made"), library=music(60, 2, "track"), tagger=Tagger())


class TestRetrieval:
    def test_the_nearest_track_is_the_nearest(self, made, study, decoded):
        model = study[1]
        library = music(60, 2, "track")
        heard = extract(model, windowed(library, 0.5, 0.5, 1.5)).groupby("clip").mean().sel(clip=library.ids).values
        heard = heard / np.linalg.norm(heard, axis=1, keepdims=True)
        predicted = decoded.arrays["predictions"].sel(subject="sub-01").groupby("clip").mean()
        queries = predicted.transpose("clip", "unit").values
        queries = queries / np.linalg.norm(queries, axis=1, keepdims=True)
        a, b = queries - heard.mean(axis=0), heard - heard.mean(axis=0)
        cosine = (a / np.linalg.norm(a, axis=1)[:, None]) @ (b / np.linalg.norm(b, axis=1)[:, None]).T
        expected = [library.ids[k] for k in cosine.argmax(axis=1)]
        found = made.result.arrays["retrieved"].sel(brain="lab", subject="sub-01")
        assert found["clip"].values.tolist() == predicted["clip"].values.tolist()
        assert found.values.tolist() == expected

    def test_subjects_who_heard_are_retrieved_and_the_other_is_not(self, made):
        table = made.result.table
        accuracy = table[(table["statistic"] == "identification_accuracy") & (table["category"] == "")]
        by = accuracy.set_index(["kind", "target"])["value"]
        assert by["retrieved", "sub-01"] > 0.75
        assert by["retrieved", "sub-02"] > 0.75
        assert abs(by["retrieved", "sub-03"] - 0.5) < 0.25
        assert by[ORACLE, ITSELF] >= by["retrieved", "sub-01"] - 0.05
        np.testing.assert_allclose(
            by["retrieved", "all subjects"], by["retrieved"].drop("all subjects").mean(), rtol=1e-12
        )

    def test_the_decoded_rows_are_those_of_the_decoding(self, made, decoded):
        own = made.result.table.query("kind == 'decoded' and statistic == 'identification_accuracy' and category == ''")
        expected = decoded.table.query(
            "evaluated == 'test' and statistic == 'identification_accuracy' and category == ''"
        )
        np.testing.assert_array_equal(own["value"], expected["value"])
        np.testing.assert_array_equal(own["ci_low"], expected["ci_low"])
        assert set(own["brain"]) == {"lab"}

    def test_tags_agree_where_the_pitch_was_found(self, made):
        tags = made.result.table.query("tags == 'genre' and category == ''").set_index(["kind", "target"])["value"]
        assert tags[ORACLE, ITSELF] > 0.5
        assert tags["retrieved", "sub-01"] > tags["retrieved", "sub-03"]
        # Steady tones have the same tags in every part.
        assert tags[OTHER_PART, ITSELF] > 0.9

    def test_examples_are_one_clip_of_each_category(self, made):
        heard = pd.DataFrame([(e.kind, e.clip, e.subject, e.title) for e in made.examples], columns=list("kcst"))
        assert set(heard["k"]) == {"original", "retrieved", "oracle"}
        assert heard.query("k == 'original'")["c"].nunique() == 2
        assert heard.query("k == 'retrieved'").groupby("c")["s"].nunique().eq(2).all()
        assert heard.query("k == 'retrieved'")["t"].str.startswith("Tone ").all()
        assert all(np.isfinite(e.waveform).all() and len(e.waveform) == round(1.5 * RATE) for e in made.examples)

    def test_a_library_that_holds_the_clips_is_refused(self, study, decoded, tmp_path):
        with pytest.raises(ReconstructionError, match="holds clips that are tested: clip00"):
            run(study, decoded, tmp_path, library=music(48, 1, "clip"))

    def test_a_tested_clip_under_another_name_is_a_warning(self, study, decoded, tmp_path):
        clips, tracks = music(48, 1, "clip"), music(60, 2, "track")
        table = pd.concat([tracks.table, clips.table.rename(index=lambda i: f"copy-of-{i}")])
        both = StimulusSet(
            tracks.manifest,
            table,
            lambda i: clips.source(i[8:]) if i.startswith("copy-of-") else tracks.source(i),
        )
        (warning,) = run(study, decoded, tmp_path, library=both).result.warnings
        assert "16 of the tested clips (copy-of-clip00" in warning

    def test_no_warning_for_other_music(self, made):
        assert made.result.warnings == []
        assert made.result.settings["heard_s"] == 1.5

    def test_the_published_numbers_stand_beside_the_means(self, study, decoded, tmp_path):
        table = run(study, decoded, tmp_path, stands_for="MuLan music").result.table
        published = table.dropna(subset=["published"])
        assert published["target"].eq("all subjects").all()
        assert dict(zip(published["statistic"], published["published"], strict=True)) == {
            "identification_accuracy": 0.876, "correlation": 0.307
        }  # fmt: skip
        with pytest.raises(ReconstructionError, match="did you mean 'MuLan music'"):
            run(study, decoded, tmp_path, stands_for="MuLan musik")


class TestGeneration:
    def test_generated_music_is_heard_by_the_same_model(self, study, decoded, tmp_path):
        width = study[2].sizes["unit"]
        echoed = run(study, decoded, tmp_path, generator=Echo(width), tagger=Tagger(), n_samples=2)
        table = echoed.result.table
        rows = table[(table["kind"] == "generated") & (table["statistic"] == "identification_accuracy")]
        assert set(rows["target"]) == {"all subjects", "sub-01", "sub-02", "sub-03"}
        assert rows["value"].between(0, 1).all()
        folders = list((tmp_path / "generated").iterdir())
        assert len(folders) == 3
        assert all(len(pd.read_csv(f / "stimuli.csv")) == 2 * 16 for f in folders)
        assert {e.kind for e in echoed.examples} == {"original", "generated"}

    def test_captions_bring_the_embedding_into_the_space_of_texts(self, study, decoded, tmp_path):
        responses = study[2]
        rng = np.random.default_rng(0)
        text = responses.isel(unit=slice(0, 5)).copy(
            data=responses.values @ rng.standard_normal((responses.sizes["unit"], 5))
        )
        mapped = run(study, decoded, tmp_path, generator=Echo(5), text=text)
        assert (mapped.result.table["kind"] == "generated").any()
        assert mapped.result.settings["text_subspace"]

    def test_another_width_is_refused(self, study, decoded, tmp_path):
        with pytest.raises(ReconstructionError, match="width 7"):
            run(study, decoded, tmp_path, generator=Echo(7))


class TestTags:
    def test_a_sound_is_heard_once_and_given_to_every_clip(self):
        library, calls = music(3, 0, "t"), []

        class Counting(Tagger):
            def scores(self, waveforms):
                calls.append(waveforms.shape[1])
                return super().scores(waveforms)

        tags = clip_tags(Counting(), library, ["t01", "t00", "t01"], duration_s=0.5)
        assert calls == [RATE // 2] * 2
        own = as_clips(tags, ["t01", "t00", "t01"], ["a", "b", "c"])
        np.testing.assert_array_equal(own.sel(stimulus="a"), own.sel(stimulus="c"))

    def test_a_model_without_classes(self):
        with pytest.raises(ReconstructionError, match="names no classes"):
            clip_tags(load_model("logmel"), music(2, 0, "t"), ["t00"], duration_s=1)

    @pytest.mark.parametrize(("start", "duration", "message"), [(9.0, 1.0, "ends before"), (0.0, 0.01, "too short")])
    def test_parts_that_are_not_there(self, start, duration, message):
        with pytest.raises(ReconstructionError, match=message):
            clip_tags(Tagger(), music(2, 0, "t"), ["t00"], duration_s=duration, start_s=start)


RECIPE = """
title = "Decode and retrieve"
[stimuli]
set = "clips"
in_brain = true
[[models]]
name = "logmel"
[[brain]]
name = "table"
path = "voxels.nc"
[[measures]]
name = "decoding"
n_permutations = 20
n_bootstrap = 20
[reconstruction]
model = "logmel"
library = "tracks"
"""


class TestRecipe:
    @pytest.fixture
    def folder(self, tmp_path):
        from brainalign.responses import save_responses

        clips = music(30, 1, "clip")
        write_set(clips, tmp_path / "clips")
        write_set(music(20, 2, "track"), tmp_path / "tracks")
        heard = extract(load_model("logmel"), clips).values[:-2]
        weights = np.random.default_rng(0).standard_normal((heard.shape[1], 20))
        save_responses(make_responses(heard @ weights, clips.ids[:-2]), tmp_path / "voxels.nc")
        (tmp_path / "study.toml").write_text(RECIPE)
        return tmp_path

    def test_one_command_from_responses_to_music(self, folder):
        out = run_recipe(folder / "study.toml", folder / "out", cache=folder / "cache")
        table = pd.read_csv(out / "results.csv")
        assert {"decoded", "retrieved", ORACLE} <= set(table["kind"].dropna())
        page = (out / "report.html").read_text()
        assert "2 of the 30 sounds of clip have no response and are left out" in page
        record = json.loads((out / "provenance.json").read_text())
        assert record["recipe"]["reconstruction"]["library"] == "tracks"

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (('model = "logmel"\nlib', 'model = "logmal"\nlib'), "reconstruction.model: .* did you mean 'logmel'"),
            (('library = "tracks"', 'library = "trucks"'), "reconstruction.library: no known set"),
            (('library = "tracks"', ""), "give a library"),
            (('library = "tracks"', 'library = "tracks"\ntagger = "yamnat"'), "did you mean 'yamnet'"),
            (('library = "tracks"', 'library = "tracks"\nmeasure = "decode"'), "no measure decoding called 'decode'"),
            (('library = "tracks"', 'library = "tracks"\ndurations = 1.5'), "did you mean 'duration_s'"),
        ],
    )
    def test_mistakes_are_named_before_anything_is_computed(self, folder, change, message):
        (folder / "study.toml").write_text(RECIPE.replace(*change))
        with pytest.raises(RecipeError, match=message):
            read_recipe(folder / "study.toml")


class TestReport:
    def test_the_figure_holds_the_values(self, made):
        from matplotlib.figure import Figure

        from brainalign.report.reconstruction_figures import plot_reconstruction

        figure = Figure()
        ax = plot_reconstruction(figure.subplots(), made.result)
        table = made.result.table.query("statistic == 'identification_accuracy' and category == ''")
        means = table[table["target"].isin(["all subjects", ITSELF])].drop_duplicates(["kind"])["value"]
        drawn = [line.get_ydata()[0] for line in ax.get_lines()]
        assert sorted(drawn) == pytest.approx(sorted(means))
        assert [t.get_text() for t in ax.get_xticklabels()] == ["decoded", "retrieved", "true embedding"]
        (tags,) = [other for other in figure.axes if other is not ax]
        assert len(tags.get_xticklabels()) == 3 * 3

    def test_the_answer_says_the_numbers(self, made):
        from brainalign.report.reconstruction_figures import reconstruction_answer, reconstruction_caption

        text = reconstruction_answer(made.result.table, [made.result])
        whole = made.result.table.query("statistic == 'identification_accuracy' and category == ''")
        row = whole.query("kind == 'retrieved' and target == 'all subjects'").iloc[0]
        assert f"{100 * row['value']:.3g}%" in text
        assert "retrieved, lab" in text
        assert "Crosses" not in reconstruction_caption("logmel", made.result)
