"""ECoG of the 165 sounds: the published file, in the order of the set, and what the paper says of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from brainalign import BrainData, load_brain
from brainalign.brain import ecog165
from brainalign.brain.ecog165 import load_ecog165_components, load_ecog165_electrodes
from brainalign.brain.nh2015 import load_nh2015_components
from brainalign.errors import BrainError, DownloadError
from brainalign.responses import load_responses, save_responses
from brainalign.stimuli.fetch import fetch


@pytest.fixture(scope="module")
def raw(shared_data: Path) -> dict[str, np.ndarray]:
    with np.load(shared_data / "ecog165" / "ecog165.npz", allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


@pytest.fixture
def brain(shared_data: Path) -> BrainData:
    return load_ecog165_components(shared_data / "ecog165" / "ecog165.npz")


def correlation(x: Any, y: Any) -> float:
    return float(np.corrcoef(x, y)[0, 1])


@pytest.mark.realdata
class TestComponents:
    def test_the_order_is_that_of_natsound165(self, brain: BrainData, raw: dict[str, np.ndarray]) -> None:
        """By names here; ``to_nh2015_order`` of the file says the same."""
        order = raw["to_nh2015_order"]
        assert sorted(order.tolist()) == list(range(165))
        ids = [str(n).removesuffix(".wav") for n in raw["stim_names"][order]]
        assert brain.responses["stimulus"].values.tolist() == ids
        assert ids == load_nh2015_components().responses["stimulus"].values.tolist()
        np.testing.assert_allclose(
            brain.responses.values, raw["components"][order].mean(axis=1, dtype=float), rtol=1e-6
        )

    def test_the_fmri_component_in_the_file_is_the_published_one(self, raw: dict[str, np.ndarray]) -> None:
        """Only if the sounds are matched rightly do ``fmri_music`` and ``fmri_speech`` equal components 6 and 5."""
        published = load_nh2015_components().responses
        order = raw["to_nh2015_order"]
        for name in ("music", "speech"):
            assert correlation(raw[f"fmri_{name}"][order], published.sel(unit=name)) == pytest.approx(1, abs=1e-9)
        # Its prediction by ECoG components.
        assert correlation(raw["ecog_pred_music"][order], published.sel(unit="music")) == pytest.approx(
            0.9378, abs=5e-5
        )
        assert correlation(raw["ecog_pred_speech"][order], published.sel(unit="speech")) == pytest.approx(
            0.9748, abs=5e-5
        )

    def test_the_song_component(self, brain: BrainData) -> None:
        """Component 11 answers to song and hardly to speech or instrumental music (title of the paper)."""
        category = brain.responses["category"].values
        means = {c: brain.responses.values[category == c].mean(axis=0) for c in set(category)}
        rest = np.mean([v for c, v in means.items() if c not in ("Song", "Music")], axis=0)
        selectivity = means["Song"] / np.maximum(np.maximum(means["Music"], means["EngSpeech"]), rest)
        assert brain.responses["component"].values[np.argmax(selectivity)] == 11
        assert selectivity.max() > 5
        assert np.sort(selectivity)[-2] < 2

    def test_music_and_speech_components_match_those_of_fmri(self, brain: BrainData) -> None:
        """In other people, by another method: the best match of fMRI speech correlates .90, of fMRI music .78."""
        published = load_nh2015_components().responses
        r = np.corrcoef(brain.responses.values.T, published.values.T)[:15, 15:]
        best = dict(zip(published["unit"].values, zip(r.argmax(axis=0) + 1, r.max(axis=0), strict=True), strict=True))
        assert best["speech"] == (2, pytest.approx(0.90, abs=0.005))
        assert best["music"][1] == pytest.approx(0.78, abs=0.005)
        assert best["music"][0] in (10, 13)

    def test_labels(self, brain: BrainData) -> None:
        category, own = (brain.responses[c].values for c in ("category", "category_2022"))
        different = brain.responses["stimulus"].values[category != own]
        assert set(different) == {"stim136_drum_roll", "stim317_horror_film_sound_effects", "stim360_cymbal_crash"}
        assert set(own[category != own]) == {"SfX"}

    def test_electrodes_lie_where_their_vertices_are(self, brain: BrainData) -> None:
        """The first 10,242 vertices of fsaverage are those of fsaverage5; its inflated surface comes with nilearn."""
        from nilearn import datasets, surface

        weights = brain.arrays["weights"]
        assert weights.sizes == {"component": 15, "electrode": 272}
        assert len(set(weights["subject"].values)) == 15
        assert (weights >= 0).all()
        meshes = datasets.fetch_surf_fsaverage("fsaverage5")
        within = np.flatnonzero(weights["vertex"].values < 10_242)
        assert len(within) > 25
        for i in within:
            one = weights.isel(electrode=int(i))
            mesh = surface.load_surf_mesh(meshes[f"infl_{one['hemisphere'].item()}"])
            place = np.array([one[a].item() for a in "xyz"])
            distance = np.linalg.norm(mesh.coordinates - place, axis=1)
            assert distance.argmin() == one["vertex"].item()
            assert distance.min() < 0.25

    def test_windows_and_time(self, shared_data: Path, raw: dict[str, np.ndarray]) -> None:
        path = shared_data / "ecog165" / "ecog165.npz"
        early = load_ecog165_components(path, window_s=(0.0, 0.52)).responses
        time = load_ecog165_components(path, over="time").responses
        windows = load_ecog165_components(path, over="windows", window_s=(0, 2), width_s=0.48).responses
        order, values = raw["to_nh2015_order"], raw["components"].astype(float)
        # Samples at 0.00, 0.04 ... 0.48 s: the end is not included.
        np.testing.assert_allclose(early.values, values[order, :13].mean(axis=1), rtol=1e-6)
        assert (early["start_s"].values[0], early["end_s"].values[0]) == (0.0, pytest.approx(0.52))
        assert time.sizes["unit"] == 15 * 75
        np.testing.assert_allclose(time.sel(unit="component-11_1.00-1.04s"), values[order, 25, 10], rtol=1e-6)
        assert windows["start_s"].values[:5] == pytest.approx([0, 0.48, 0.96, 1.44, 1.92])
        assert windows["component"].values[:6].tolist() == [1, 1, 1, 1, 1, 2]
        np.testing.assert_allclose(windows.values[:, 6], values[order, 12:24, 1].mean(axis=1), rtol=1e-6)
        # The mean over time of single samples is the time average.
        whole = load_ecog165_components(path).responses
        np.testing.assert_allclose(time.values.reshape(165, 15, 75).mean(axis=2), whole.values)

    def test_registered_and_saved(self, brain: BrainData, tmp_path: Path) -> None:
        loaded = load_brain("ecog165-components")
        assert repr(loaded) == "<BrainData ecog165-components currentbiology2022-03bb41e: 165 stimulus x 15 unit>"
        assert "10.1016/j.cub.2022.01.069" in loaded.citation
        assert load_responses(save_responses(loaded.responses, tmp_path / "r.nc")).identical(loaded.responses)
        assert loaded.responses.identical(brain.responses)


@pytest.mark.realdata
class TestElectrodes:
    def test_single_electrodes(self, shared_data: Path, raw: dict[str, np.ndarray]) -> None:
        brain = load_brain("ecog165-electrodes")
        chosen = brain.responses["selectivity"].values.tolist()
        assert {k: chosen.count(k) for k in ("music", "song", "speech")} == {"music": 11, "song": 7, "speech": 15}
        place = raw["electrode_names"].tolist().index("song-elec3")
        expected = raw["electrodes"][place][raw["to_nh2015_order"]].mean(axis=1, dtype=float)
        np.testing.assert_allclose(brain.responses.sel(unit="song-elec3"), expected, rtol=1e-5, atol=1e-5)
        assert "chosen by the authors" in brain.warnings[0]

    def test_averages_are_of_the_electrodes_that_are_there_but_for_speech(self) -> None:
        r = load_ecog165_electrodes(averages=True, over="time").responses
        assert r.sizes["unit"] == 36 * 300
        values = {
            n: r.values[:, [i for i, u in enumerate(r["unit"].values) if u.startswith(n)]]
            for n in ("music", "song", "speech")
        }
        for name, n in (("music", 11), ("song", 7), ("speech", 15)):
            average, single = np.split(values[name].reshape(165, n + 1, 300), [1], axis=1)
            gap = np.abs(average[:, 0] - single.mean(axis=1)).max()
            assert gap > 1 if name == "speech" else gap < 1e-3

    def test_preferences(self) -> None:
        r = load_ecog165_electrodes(averages=True).responses
        category = r["category"].values
        for name, preferred in (
            ("music", ("Song", "Music")),
            ("song", ("Song",)),
            ("speech", ("ForSpeech", "EngSpeech")),
        ):
            means = {c: float(r.sel(unit=f"{name}-average").values[category == c].mean()) for c in set(category)}
            assert set(sorted(means, key=means.__getitem__)[-len(preferred) :]) == set(preferred)


@pytest.fixture
def small(tmp_path: Path) -> dict[str, Any]:
    """Make arrays of the same form, with two components and three electrodes."""
    import csv

    from brainalign._files import shipped

    with (shipped("stimuli") / "natsound165" / "stimuli.csv").open(newline="", encoding="utf-8") as stream:
        ids = [row["stimulus_id"] for row in csv.DictReader(stream)]
    rng = np.random.default_rng(0)
    return {
        "stim_names": np.array([f"{i}.wav" for i in rng.permutation(ids)]),
        "category": np.ones(165, dtype=np.uint8),
        "category_labels": np.array(["Music"]),
        "components": rng.uniform(size=(165, 5, 2)),
        "t": np.arange(5) * 0.04,
        "weights": rng.uniform(size=(2, 3)),
        "elec_ras": rng.normal(size=(3, 3)),
        "elec_subject": np.array([1, 1, 2], dtype=np.uint8),
        "elec_vert": np.array([1, 2, 3]),
    }


class TestBadInput:
    def test_a_file_of_this_form_is_read_by_name(self, tmp_path: Path, small: dict[str, Any]) -> None:
        np.savez(tmp_path / "e.npz", **small)
        brain = load_ecog165_components(tmp_path / "e.npz")
        for row in (0, 80, 164):
            stimulus = str(small["stim_names"][row]).removesuffix(".wav")
            expected = small["components"][row].mean(axis=0)
            np.testing.assert_allclose(brain.responses.sel(stimulus=stimulus).values, expected)
        assert brain.version.startswith("file with SHA-256 ")
        assert brain.arrays["weights"]["vertex"].values.tolist() == [0, 1, 2]

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"weights": None}, r"e\.npz lacks weights; it holds stim_names"),
            ({"components": np.array([[None]])}, r"e\.npz cannot be read as an npz file without pickle"),
            ({"stim_names": np.array(["a.wav"] * 165)}, "has other sounds than natsound165: it lacks stim"),
        ],
        ids=["lacks an array", "objects", "other sounds"],
    )
    def test_another_content(self, tmp_path: Path, small: dict[str, Any], change: dict[str, Any], message: str) -> None:
        np.savez(tmp_path / "e.npz", **{k: v for k, v in (small | change).items() if v is not None})
        with pytest.raises(BrainError, match=message):
            load_ecog165_components(tmp_path / "e.npz")

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"over": "times"}, "over is 'times'; did you mean 'time'"),
            ({"window_s": (3.0, 4.0)}, r"window_s is \(3\.0, 4\.0\), expected from and until when within 0 to 0\.2 s"),
            ({"window_s": (0, 9)}, r"window_s is \(0, 9\), expected from and until when within 0 to 0\.2 s"),
            ({"window_s": (-1, 0.1)}, r"window_s is \(-1, 0\.1\), expected from and until when within 0 to"),
            ({"window_s": (0.1, 0.1)}, r"window_s is \(0\.1, 0\.1\), expected"),
            ({"window_s": (float("nan"), 0.1)}, "expected from and until when within 0 to"),
            ({"window_s": (0.145, 0.175)}, r"no sample from 0\.145 to 0\.175 s"),
            ({"window_s": 3}, "window_s is 3, expected from and until when, two numbers of seconds"),
            ({"window_s": ("a", "b")}, r"window_s is \('a', 'b'\), expected from and until when, two numbers"),
            ({"window_s": (0, 1, 2)}, "expected from and until when, two numbers"),
            ({"over": "windows", "width_s": 0.0}, r"width_s is 0\.0, expected at least a sample, 0\.04 s"),
        ],
    )
    def test_options(self, tmp_path: Path, small: dict[str, Any], options: dict[str, Any], message: str) -> None:
        np.savez(tmp_path / "e.npz", **small)
        with pytest.raises(BrainError, match=message):
            load_ecog165_components(tmp_path / "e.npz", **options)

    def test_a_folder_and_a_list_will_do(self, tmp_path: Path, small: dict[str, Any]) -> None:
        with pytest.raises(BrainError, match=r"holds no ecog165\.npz; name the file or its folder"):
            load_ecog165_components(tmp_path)
        np.savez(tmp_path / ecog165.FILE, **small)
        expected = load_ecog165_components(tmp_path / ecog165.FILE, window_s=(0, 0.08)).responses
        found = load_ecog165_components(tmp_path, window_s=[0.0, 0.08]).responses
        np.testing.assert_array_equal(found, expected)
        with pytest.raises(BrainError, match="path must name a file or a folder, found 3"):
            load_ecog165_components(3)  # type: ignore[arg-type]

    def test_files_that_are_none(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(BrainError, match="no file "):
            load_ecog165_components(tmp_path / "e.npz")
        (tmp_path / "e.npz").write_bytes(b"PK\x03\x04" + bytes(50))
        with pytest.raises(BrainError, match="cannot be read as an npz file"):
            load_ecog165_electrodes(tmp_path / "e.npz")
        monkeypatch.setenv("BRAINALIGN_DATA", str(tmp_path))
        with pytest.raises(DownloadError, match="1 of 1 files of ecog165 are not in"):
            load_ecog165_components()

    def test_another_file_in_the_place_of_the_fetched_one(
        self, tmp_path: Path, small: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "ecog165").mkdir()
        np.savez(tmp_path / "ecog165" / ecog165.FILE, **small)
        monkeypatch.setenv("BRAINALIGN_DATA", str(tmp_path))
        with pytest.raises(BrainError, match="is not the published file; do: brainalign fetch ecog165 --from FOLDER"):
            load_ecog165_components()


@pytest.mark.realdata
def test_from_a_folder(shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRAINALIGN_DATA", str(tmp_path))
    fetch("ecog165", shared_data / "ecog165")
    assert load_ecog165_components().responses.sizes == {"stimulus": 165, "unit": 15}
