"""Looking up music by its embedding."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import NearestNeighbors

from brainalign.errors import ReconstructionError, StimulusError
from brainalign.models import extract, load_model
from brainalign.reconstruction import index as music_index
from brainalign.reconstruction.index import MusicIndex, build_index, describe_tracks, open_index
from brainalign.stimuli import load_stimuli
from brainalign.stimuli.windows import windowed


@pytest.fixture(scope="module")
def tracks():
    demo = load_stimuli("demo")
    return demo.select(demo.ids[::8])


@pytest.fixture(scope="module")
def model():
    return load_model("logmel")


@pytest.fixture(scope="module")
def layer(model):
    return next(iter(model.layouts))


@pytest.fixture
def built(tracks, model, layer, tmp_path):
    return build_index(tracks, model, tmp_path / "index", layer=layer, clip_s=1.0)


def an_index(embeddings):
    rows = np.asarray(embeddings, np.float32)
    table = pd.DataFrame(index=pd.Index([f"t{i:05d}" for i in range(len(rows))], name="stimulus_id"))
    return MusicIndex(Path("made"), table, rows, {"model": "m", "model_record": {}, "layer": "l", "pooling": "mean"})


class TestSearch:
    @pytest.mark.parametrize("k", [1, 3, 40])
    @pytest.mark.parametrize("rows_at_once", [7, 2**16])
    def test_neighbours_are_those_of_scikit_learn(self, k, rows_at_once, monkeypatch):
        monkeypatch.setattr(music_index, "ROWS_AT_ONCE", rows_at_once)
        rng = np.random.default_rng(0)
        rows, queries = rng.standard_normal((40, 12)), rng.standard_normal((9, 12))
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        ids, similarities = an_index(rows).search(queries, k)
        distances, expected = NearestNeighbors(n_neighbors=k, metric="cosine").fit(rows).kneighbors(queries)
        np.testing.assert_array_equal(ids, np.char.mod("t%05d", expected))
        np.testing.assert_allclose(similarities, 1 - distances, atol=1e-6)

    def test_a_centre_is_taken_away_from_both(self):
        rng = np.random.default_rng(0)
        rows, queries = 3 + rng.standard_normal((30, 8)), 3 + rng.standard_normal((5, 8))
        rows, queries = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (rows, queries))
        centre = rows.mean(axis=0)
        ids, similarities = an_index(rows).search(7 * queries, 4, centre=centre)
        peer = NearestNeighbors(n_neighbors=4, metric="cosine").fit(rows - centre)
        distances, expected = peer.kneighbors(queries - centre)
        np.testing.assert_array_equal(ids, np.char.mod("t%05d", expected))
        np.testing.assert_allclose(similarities, 1 - distances, atol=1e-5)

    @given(st.integers(1, 30), st.integers(1, 8), st.integers(0, 2**32 - 1))
    @settings(deadline=None)
    def test_among_equals_the_first_comes_first(self, n, k, seed):
        # Few directions and many tracks: nearly all similarities occur several times.
        rows = np.eye(3)[np.random.default_rng(seed).integers(0, 3, n)]
        k = min(k, n)
        ids, similarities = an_index(rows).search([3, 2, 1], k)
        brute = sorted(range(n), key=lambda i: (-(rows[i] @ [3, 2, 1]), i))[:k]
        assert ids[0].tolist() == [f"t{i:05d}" for i in brute]
        assert (np.diff(similarities[0]) <= 0).all()

    def test_the_length_of_a_query_does_not_matter(self):
        rows = np.eye(4)
        query = [0.1, 0.2, 0.3, -0.4]
        near, far = (an_index(rows).search(np.multiply(s, query), 4)[1] for s in (1e-6, 1e6))
        np.testing.assert_allclose(near, far, rtol=1e-6)

    @pytest.mark.parametrize(
        ("query", "k", "message"),
        [
            (np.ones(5), 1, "embeddings of width 4"),
            (np.zeros(4), 1, "zero or not finite"),
            (np.full(4, np.nan), 1, "zero or not finite"),
            (np.ones(4), 5, "holds 4 tracks"),
            (np.ones(4), 0, "k is 0"),
        ],
    )
    def test_bad_queries(self, query, k, message):
        with pytest.raises(ReconstructionError, match=message):
            an_index(np.eye(4)).search(query, k)


class TestBuild:
    def test_every_track_finds_itself(self, built, tracks, model, layer):
        heard = extract(model, windowed(tracks, 1.0, clip_s=1.0), layers=[layer])
        ids, similarities = built.search(heard.values)
        assert ids[:, 0].tolist() == tracks.ids
        np.testing.assert_allclose(similarities, 1, atol=1e-6)
        built.check_model(heard)

    def test_a_track_is_the_mean_over_its_windows(self, tracks, model, layer, tmp_path):
        index = build_index(tracks, model, tmp_path / "i", layer=layer, clip_s=1.0, window_s=0.4, step_s=0.3)
        heard = extract(model, windowed(tracks, 0.4, 0.3, 1.0), layers=[layer])
        means = heard.groupby("clip").mean().sel(clip=tracks.ids).values
        means /= np.linalg.norm(means, axis=1, keepdims=True)
        np.testing.assert_allclose(index.embeddings, means, atol=1e-5)

    def test_shards_do_not_show(self, built, tracks, model, layer, tmp_path, monkeypatch):
        monkeypatch.setattr(music_index, "TRACKS_AT_ONCE", 2)
        again = build_index(tracks, model, tmp_path / "again", layer=layer, clip_s=1.0)
        np.testing.assert_allclose(again.embeddings, built.embeddings, atol=1e-6)

    def test_a_whole_index_is_opened_and_not_built_again(self, built, tracks, model, layer, monkeypatch):
        monkeypatch.setattr(music_index, "_embed", None)
        again = build_index(tracks, model, built.folder, layer=layer, clip_s=1.0)
        np.testing.assert_array_equal(again.embeddings, built.embeddings)

    def test_a_killed_build_goes_on_with_the_cache(self, tracks, model, layer, tmp_path, monkeypatch):
        monkeypatch.setattr(music_index, "TRACKS_AT_ONCE", 3)
        played = []
        counted = type(tracks)(tracks.manifest, tracks.table, lambda i: (played.append(i), tracks.source(i))[1])
        listen = type(model).activations
        calls = []

        def fails_later(self, waveforms, layers):
            calls.append(len(waveforms))
            if len(calls) == 2:
                raise KeyboardInterrupt
            return listen(self, waveforms, layers)

        monkeypatch.setattr(type(model), "activations", fails_later)
        with pytest.raises(KeyboardInterrupt):
            build_index(counted, model, tmp_path / "i", layer=layer, clip_s=1.0, cache=tmp_path / "cache")
        assert not (tmp_path / "i").exists()
        calls[:] = [0, 0]
        build_index(counted, model, tmp_path / "i", layer=layer, clip_s=1.0, cache=tmp_path / "cache")
        # Of the first shard only the one sound is heard anew by which the cache checks the model.
        assert sum(calls) == len(tracks) - 3 + 1

    def test_another_model_or_other_tracks_do_not_overwrite_it(self, built, tracks, model, layer):
        with pytest.raises(ReconstructionError, match=r"clip_s is '1\.0' in the one and '0\.5'"):
            build_index(tracks, model, built.folder, layer=layer, clip_s=0.5)
        with pytest.raises(ReconstructionError, match="not of these 2"):
            build_index(tracks.select(tracks.ids[:2]), model, built.folder, layer=layer, clip_s=1.0)

    def test_embeddings_of_another_model_are_refused(self, built, tracks):
        other = extract(load_model("modulation-spectrum"), tracks)
        with pytest.raises(ReconstructionError, match="model is 'logmel' in the one and 'modulation-spectrum"):
            built.check_model(other)

    def test_a_window_that_does_not_fit_is_said_before_anything_is_heard(self, tracks, model, layer, tmp_path):
        with pytest.raises(StimulusError, match="does not fit"):
            build_index(tracks, model, tmp_path / "i", layer=layer, clip_s=1.0, window_s=2.0)


class TestOpen:
    def test_a_folder_without_an_index(self, tmp_path):
        with pytest.raises(ReconstructionError, match="holds no whole index"):
            open_index(tmp_path)
        with pytest.raises(ReconstructionError, match="no folder"):
            open_index(tmp_path / "nowhere")

    @pytest.mark.parametrize("file", ["tracks.csv", "embeddings.npy"])
    def test_a_changed_file_is_noticed(self, built, file):
        if file == "tracks.csv":
            lines = (built.folder / file).read_text().splitlines()
            (built.folder / file).write_text("\n".join([lines[0], *lines[:0:-1]]))
        else:
            np.save(built.folder / file, np.full(built.embeddings.shape, np.nan, np.float32))
        with pytest.raises(ReconstructionError, match=f"{file} of .* is not the one"):
            open_index(built.folder)

    @pytest.mark.parametrize("file", ["index.json", "tracks.csv", "embeddings.npy"])
    def test_what_a_killed_build_left_is_built_again(self, built, tracks, model, layer, file):
        (built.folder / "index.json").unlink()
        (built.folder / file).unlink(missing_ok=True)
        again = build_index(tracks, model, built.folder, layer=layer, clip_s=1.0)
        np.testing.assert_array_equal(again.embeddings, built.embeddings)

    def test_another_folder_is_left_alone(self, tracks, model, layer, tmp_path):
        (tmp_path / "notes.txt").write_text("mine")
        with pytest.raises(ReconstructionError, match=r"holds notes\.txt and is no index"):
            build_index(tracks, model, tmp_path, layer=layer, clip_s=1.0)
        with pytest.raises(ReconstructionError, match="is a file"):
            build_index(tracks, model, tmp_path / "notes.txt", layer=layer, clip_s=1.0)

    def test_files_that_were_changed_are_noticed(self, tracks, model, layer, tmp_path):
        from brainalign.stimuli import load_stimuli as load
        from brainalign.stimuli.writing import write_set

        folder = write_set(tracks, tmp_path / "set")
        build_index(load(folder), model, tmp_path / "i", layer=layer, clip_s=1.0)
        file = folder / load(folder).table["file"].iloc[0]
        file.write_bytes(file.read_bytes() + b"\0")
        with pytest.raises(ReconstructionError, match="their files were changed since"):
            build_index(load(folder), model, tmp_path / "i", layer=layer, clip_s=1.0)

    def test_the_difference_of_two_models_is_named(self, built, tracks, model):
        heard = extract(model, tracks)
        record = json.loads(heard.attrs["model_record"])
        key = next(iter(record))
        other = heard.assign_attrs(model_record=json.dumps({**record, key: "another"}))
        with pytest.raises(ReconstructionError, match=f"model_record: {key} is .* in the one and 'another'"):
            built.check_model(other)

    def test_a_pickle_in_place_of_the_embeddings_is_not_run(self, built):
        np.save(built.folder / "embeddings.npy", np.array([object()]), allow_pickle=True)
        with pytest.raises(ReconstructionError, match="cannot be read"):
            open_index(built.folder)

    def test_embeddings_that_do_not_fit_the_tracks(self, built):
        np.save(built.folder / "embeddings.npy", np.eye(3, dtype=np.float32))
        with pytest.raises(ReconstructionError, match=r"float32 of shape \(3, 3\)"):
            open_index(built.folder)

    @pytest.mark.parametrize("text", ["{", "[]", '{"model": "m"}'])
    def test_a_damaged_record(self, built, text):
        (built.folder / "index.json").write_text(text)
        with pytest.raises(ReconstructionError, match=r"is not JSON|holds no JSON object|does not say"):
            open_index(built.folder)

    def test_names_for_people(self, built):
        index = MusicIndex(
            built.folder,
            built.tracks.assign(title="Air", artist=[None] + ["Bach"] * (len(built) - 1)),
            built.embeddings,
            {},
        )
        assert describe_tracks(index, built.tracks.index[:2]) == ["Air", "Bach: Air"]
        first = built.tracks.index[0]
        assert describe_tracks(built, [first]) == [first]

    def test_the_record_is_json_that_people_can_read(self, built):
        assert json.loads((built.folder / "index.json").read_text())["model"] == "logmel"
