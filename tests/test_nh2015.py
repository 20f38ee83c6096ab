"""The components of Norman-Haignere et al. 2015 are the published ones, and nothing else is taken for them."""

from __future__ import annotations

import csv
import pickle
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from scipy.io import loadmat, savemat
from scipy.stats import kurtosis, mannwhitneyu, skew

from brainalign import BrainData, load_brain, load_stimuli
from brainalign._files import shipped
from brainalign.brain.nh2015 import COMPONENTS, load_nh2015_components
from brainalign.errors import BrainError, ResponseError
from brainalign.stimuli.audio import rms

#: Mean response (x 1000) of each component to each category, as computed from the published file.
CATEGORY_MEANS = {
    "EngSpeech": (15.4, 11.0, 12.3, 11.8, 14.8, 1.5),
    "ForSpeech": (17.7, 13.5, 11.8, 10.5, 17.7, 4.3),
    "HumVoc": (12.0, 10.9, 12.9, 13.5, 3.1, 2.6),
    "HumNonVoc": (7.2, 14.7, 14.4, 4.2, -2.8, 3.8),
    "AniVoc": (10.7, 11.1, 14.0, 12.7, 2.2, 4.9),
    "AniNonVoc": (7.9, 15.0, 12.1, 8.8, -1.3, 4.5),
    "Nature": (11.7, 10.7, 11.1, 6.5, -2.6, 0.9),
    "Mechanical": (9.7, 11.1, 11.1, 10.2, -2.3, 3.7),
    "Song": (16.5, 9.3, 10.2, 15.9, 8.4, 14.1),
    "Music": (15.3, 9.5, 10.1, 15.0, -0.5, 13.8),
    "EnvSound": (7.9, 14.6, 12.3, 7.1, -3.0, 2.2),
}
COUNTS = {
    "EngSpeech": 10, "ForSpeech": 7, "HumVoc": 13, "HumNonVoc": 15, "AniVoc": 10, "AniNonVoc": 5, "Nature": 4,
    "Mechanical": 39, "Song": 11, "Music": 24, "EnvSound": 27,
}  # fmt: skip


def as_printed(values: Any, printed: Any, decimals: int) -> None:
    np.testing.assert_allclose(values, printed, rtol=0, atol=0.5 * 10.0**-decimals + 1e-9)


@pytest.fixture(scope="module")
def brain(shared_data: Path) -> BrainData:
    return load_nh2015_components(shared_data / "natsound165" / "data" / "components.mat")


@pytest.fixture(scope="module")
def profiles(brain: BrainData) -> np.ndarray:
    return brain.responses.values


@pytest.fixture(scope="module")
def weights(brain: BrainData) -> np.ndarray:
    return brain.arrays["weights"].values


@pytest.fixture(scope="module")
def category(brain: BrainData) -> np.ndarray:
    return brain.responses["category"].values


@pytest.fixture(scope="module")
def musical(category: np.ndarray) -> np.ndarray:
    return np.isin(category, ["Music", "Song"])


@pytest.mark.realdata
class TestComponents:
    def test_form(self, brain: BrainData, profiles: np.ndarray, weights: np.ndarray) -> None:
        assert profiles.shape == (165, 6)
        assert weights.shape == (6, 11_065)
        assert brain.responses["unit"].values.tolist() == list(COMPONENTS)
        assert brain.arrays["weights"]["component"].values.tolist() == list(COMPONENTS)
        assert COMPONENTS == ("lowfreq", "highfreq", "envsounds", "pitch", "speech", "music")
        np.testing.assert_allclose(profiles.max(axis=0), 0.01909912, rtol=0, atol=5e-9)

    def test_the_numbers_are_those_of_the_file(self, brain: BrainData, shared_data: Path) -> None:
        content = loadmat(shared_data / "natsound165" / "data" / "components.mat")
        np.testing.assert_array_equal(brain.responses.values, content["R"])
        np.testing.assert_array_equal(brain.arrays["weights"].values, content["W"])
        assert brain.responses["stimulus"].values.tolist() == [str(n[0]) for n in content["stim_names"].ravel()]

    def test_number_of_sounds_per_category(self, category: np.ndarray) -> None:
        assert Counter(category.tolist()) == COUNTS

    @pytest.mark.parametrize("name", CATEGORY_MEANS)
    def test_mean_per_category(self, profiles: np.ndarray, category: np.ndarray, name: str) -> None:
        as_printed(1_000 * profiles[category == name].mean(axis=0), CATEGORY_MEANS[name], 1)

    def test_ratios(self, profiles: np.ndarray, category: np.ndarray, musical: np.ndarray) -> None:
        both = profiles[musical].mean(axis=0) / profiles[~musical].mean(axis=0)
        as_printed(both, (1.537, 0.756, 0.820, 1.636, 2.816, 4.405), 3)
        music = category == "Music"
        only = profiles[music].mean(axis=0) / profiles[~music].mean(axis=0)
        as_printed(only, (1.433, 0.778, 0.828, 1.524, -0.382, 3.445), 3)
        rest = profiles[~musical, 5].mean()
        as_printed(profiles[category == "Song", 5].mean() / rest, 4.47, 2)
        as_printed(profiles[music, 5].mean() / rest, 4.38, 2)

    def test_auc(self, profiles: np.ndarray, musical: np.ndarray) -> None:
        auc = mannwhitneyu(profiles[musical], profiles[~musical]).statistic / (35 * 130)
        as_printed(auc, (0.857, 0.256, 0.233, 0.889, 0.668, 0.955), 3)

    def test_variance_that_the_category_explains(self, profiles: np.ndarray, category: np.ndarray) -> None:
        between = sum(
            n * (profiles[category == c].mean(axis=0) - profiles.mean(axis=0)) ** 2 for c, n in COUNTS.items()
        )
        total = ((profiles - profiles.mean(axis=0)) ** 2).sum(axis=0)
        as_printed(between / total, (0.554, 0.280, 0.279, 0.605, 0.898, 0.664), 3)

    def test_correlations_of_responses(self, profiles: np.ndarray) -> None:
        printed = (
            -0.389, -0.215, 0.581, 0.610, 0.456, 0.406, -0.454, -0.163, -0.284, -0.368, -0.007, -0.168, 0.399, 0.634,
            0.143,
        )  # fmt: skip
        as_printed(np.corrcoef(profiles.T)[np.triu_indices(6, 1)], printed, 3)

    def test_the_sounds_that_drive_the_music_component(self, brain: BrainData, musical: np.ndarray) -> None:
        order = np.argsort(-brain.responses.sel(unit="music").values)
        names = brain.responses["stimulus"].values[order]
        assert musical[order][:25].all()
        assert names[25] == "stim78_chimes_in_the_wind"
        assert musical[order][:35].sum() == 31
        late = [int(rank) + 1 for rank in np.flatnonzero(musical[order]) if rank >= 35]
        assert late == [36, 66, 91, 133]
        assert names[35] == "stim82_church_bells"

    def test_the_sounds_that_drive_the_speech_component(self, profiles: np.ndarray, category: np.ndarray) -> None:
        order = np.argsort(-profiles[:, 4])
        speech = np.isin(category, ["EngSpeech", "ForSpeech"])
        assert speech[order][:16].all()
        assert (category[order][16:20] == "Song").all()
        as_printed(profiles[category == "Song", 4].mean() / profiles[speech, 4].mean(), 0.53, 2)

    def test_weights(self, weights: np.ndarray) -> None:
        as_printed(weights.mean(axis=1), (0.127, 0.139, 0.281, 0.229, 0.149, 0.075), 3)
        as_printed(weights.std(axis=1), (0.263, 0.250, 0.213, 0.270, 0.259, 0.137), 3)
        as_printed(skew(weights, axis=1), (3.41, 2.38, 0.79, 1.12, 1.45, 0.73), 2)
        as_printed(kurtosis(weights, axis=1), (17.94, 12.61, 1.54, 2.46, 2.89, 1.26), 2)
        as_printed((weights < 0).mean(axis=1), (0.281, 0.270, 0.065, 0.155, 0.304, 0.307), 3)
        assert np.abs(np.corrcoef(weights) - np.eye(6)).max() < 0.0005

    def test_music_selectivity_is_weak_in_single_voxels(
        self, profiles: np.ndarray, weights: np.ndarray, musical: np.ndarray
    ) -> None:
        voxels = profiles @ weights
        as_printed(np.median(voxels[musical].mean(axis=0) / voxels[~musical].mean(axis=0)), 1.19, 2)

    def test_by_name(self, brain: BrainData) -> None:
        loaded = load_brain("nh2015-components")
        assert repr(loaded) == "<BrainData nh2015-components neuron2015-b41b99f: 165 stimulus x 6 unit>"
        np.testing.assert_array_equal(loaded.responses.values, brain.responses.values)


@pytest.mark.realdata
class TestSounds:
    def test_files(self) -> None:
        sounds = load_stimuli("natsound165")
        assert len(sounds) == 165
        assert sounds.folder is not None
        for stimulus_id, file in sounds.table["file"].items():
            info = soundfile.info(sounds.folder / file)
            form = (info.samplerate, info.channels, info.subtype, info.frames)
            assert form == (44_100, 1, "PCM_16", 88_200), stimulus_id
            samples, _ = soundfile.read(sounds.folder / file)
            as_printed(rms(samples), 0.01, 4)
            assert rms(sounds.waveform(str(stimulus_id))[0]) == pytest.approx(0.01, rel=1e-6)

    def test_labels_of_the_sounds_are_those_of_the_components(self, brain: BrainData, shared_data: Path) -> None:
        with (shared_data / "natsound165" / "sounds" / "category_labels.csv").open(newline="") as stream:
            labels = [tuple(row) for row in csv.reader(stream)]
        ours = zip(brain.responses["stimulus"].values, brain.responses["category"].values, strict=True)
        assert [(str(s), str(c)) for s, c in ours] == labels

    def test_the_set_is_in_the_published_order(self, brain: BrainData) -> None:
        sounds = load_stimuli("natsound165")
        assert sounds.ids == brain.responses["stimulus"].values.tolist()
        assert sounds.table["category"].tolist() == brain.responses["category"].values.tolist()
        assert all(Path(file).stem == i for i, file in sounds.table["file"].items())


def test_the_manifest_that_ships_holds_eleven_categories() -> None:
    with (shipped("stimuli") / "natsound165" / "stimuli.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert Counter(row["category"] for row in rows) == COUNTS
    assert len({row["stimulus_id"] for row in rows}) == 165


def cells(*names: str) -> np.ndarray:
    column = np.empty((len(names), 1), dtype=object)
    column[:, 0] = names
    return column


@pytest.fixture
def content() -> dict[str, Any]:
    """Make a small file of the same form."""
    rng = np.random.default_rng(0)
    return {
        "R": rng.normal(size=(4, 6)),
        "W": rng.normal(size=(6, 10)),
        "stim_names": cells("s10", "s9", "s2", "s1").T,
        "component_names": cells(*COMPONENTS),
        "category_labels": cells("Music", "Song", "Music", "Nature").T,
    }


class TestBadFiles:
    def test_a_file_of_this_form_is_read(self, tmp_path: Path, content: dict[str, Any]) -> None:
        savemat(tmp_path / "c.mat", content)
        brain = load_nh2015_components(tmp_path / "c.mat")
        assert brain.responses["stimulus"].values.tolist() == ["s10", "s9", "s2", "s1"]
        assert brain.responses["category"].values.tolist() == ["Music", "Song", "Music", "Nature"]
        np.testing.assert_array_equal(brain.responses.values, content["R"])

    @pytest.mark.parametrize("field", ["R", "W", "stim_names", "component_names", "category_labels"])
    def test_a_lacking_field_is_named(self, tmp_path: Path, content: dict[str, Any], field: str) -> None:
        del content[field]
        savemat(tmp_path / "c.mat", content)
        with pytest.raises(BrainError, match=rf"c\.mat lacks {field}; it holds "):
            load_nh2015_components(tmp_path / "c.mat")

    @pytest.mark.parametrize(
        ("field", "value", "message"),
        [
            ("component_names", cells("a", "b"), r"holds the components a, b, expected lowfreq, highfreq, .*music$"),
            (
                "component_names",
                cells(*reversed(COMPONENTS)),
                "holds the components music, .* expected lowfreq",
            ),
            ("component_names", np.zeros((6, 1)), "holds the components 0"),
            ("R", np.ones((6, 4)), r"R is \(6, 4\) and W is \(6, 10\) for 4 stimuli and 6 components"),
            ("W", np.ones((5, 10)), r"R is \(4, 6\) and W is \(5, 10\)"),
            ("R", "text", "R is not a matrix of finite real numbers"),
            ("W", np.full((6, 10), np.nan), "W is not a matrix of finite real numbers"),
            ("R", np.ones((4, 6)) * 1j, "R is not a matrix of finite real numbers"),
            ("stim_names", cells("s10", "s9", "s2").T, "for 3 stimuli"),
            ("stim_names", np.array([[np.zeros(3), 1]], dtype=object), "stim_names is not a cell array of strings"),
        ],
    )
    def test_another_content_is_named(
        self, tmp_path: Path, content: dict[str, Any], field: str, value: Any, message: str
    ) -> None:
        savemat(tmp_path / "c.mat", content | {field: value})
        with pytest.raises(BrainError, match=rf"c\.mat.* {message}|c\.mat: {message}"):
            load_nh2015_components(tmp_path / "c.mat")

    def test_duplicate_stimuli_and_lacking_categories(self, tmp_path: Path, content: dict[str, Any]) -> None:
        savemat(tmp_path / "c.mat", content | {"stim_names": cells("s10", "s9", "s10", "s1").T})
        with pytest.raises(ResponseError, match=r"duplicate stimulus ids: s10$"):
            load_nh2015_components(tmp_path / "c.mat")
        savemat(tmp_path / "c.mat", content | {"category_labels": cells("Music").T})
        with pytest.raises(ResponseError, match="'category' has 1 entries for 4 stimulus ids"):
            load_nh2015_components(tmp_path / "c.mat")

    @pytest.mark.parametrize(
        "written",
        [
            b"",
            b"\0",
            b"a,b\n1,2\n" * 100,
            b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM" + bytes(500),
            pickle.dumps({"R": [1.0]}),
            b"PK\x03\x04" + bytes(200),
        ],
        ids=["empty", "one byte", "text", "v7.3", "pickle", "zip"],
    )
    def test_another_format_is_named(self, tmp_path: Path, written: bytes) -> None:
        (tmp_path / "c.mat").write_bytes(written)
        with pytest.raises(BrainError, match=r"c\.mat cannot be read as a MATLAB file: "):
            load_nh2015_components(tmp_path / "c.mat")

    def test_a_damaged_file_is_never_a_traceback(self, tmp_path: Path, content: dict[str, Any]) -> None:
        path = tmp_path / "c.mat"
        savemat(path, content, do_compression=True)
        whole = path.read_bytes()
        rng = np.random.default_rng(0)
        for _ in range(60):
            damaged = bytearray(whole[: rng.integers(len(whole))])
            for place in rng.integers(0, len(damaged), 5) if damaged else []:
                damaged[place] = rng.integers(256)
            path.write_bytes(damaged)
            with pytest.raises((BrainError, ResponseError)):
                load_nh2015_components(path)

    def test_a_folder_will_do(self, tmp_path: Path, content: dict[str, Any]) -> None:
        with pytest.raises(BrainError, match=r"holds no data/components\.mat; name the file or its folder"):
            load_nh2015_components(tmp_path)
        savemat(tmp_path / "components.mat", content)
        found = load_nh2015_components(tmp_path).responses
        np.testing.assert_array_equal(found, load_nh2015_components(tmp_path / "components.mat").responses)
        (tmp_path / "data").mkdir()
        (tmp_path / "components.mat").rename(tmp_path / "data" / "components.mat")
        np.testing.assert_array_equal(load_nh2015_components(tmp_path).responses, found)

    def test_no_file(self, tmp_path: Path) -> None:
        with pytest.raises(BrainError, match=r"no components file .*nowhere\.mat"):
            load_nh2015_components(tmp_path / "nowhere.mat")


@pytest.mark.realdata
def test_a_changed_file_in_the_place_of_the_fetched_one_is_refused(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = {k: v for k, v in loadmat(shared_data / "natsound165/data/components.mat").items() if k[0] != "_"}
    content["stim_names"] = content["stim_names"][:, ::-1]
    changed = tmp_path / "natsound165/data/components.mat"
    changed.parent.mkdir(parents=True)
    savemat(changed, content)
    monkeypatch.setenv("BRAINALIGN_DATA", str(tmp_path))
    with pytest.raises(BrainError, match="is not the published file; do: brainalign fetch natsound165"):
        load_nh2015_components()
    assert load_nh2015_components(changed).version.startswith("file with SHA-256 ")
