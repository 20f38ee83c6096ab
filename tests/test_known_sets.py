"""Known sets: what is said of them is true, and a user's copy becomes a set only if it is whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from brainalign._files import shipped
from brainalign.errors import DownloadError, StimulusError
from brainalign.stimuli import STIMULI, StimulusSet, known
from brainalign.stimuli.audio import rms
from brainalign.stimuli.fetch import fetch
from brainalign.stimuli.known import known_set, known_sets
from brainalign.stimuli.layouts import ESC50_GROUPS, GENRES

NAMES = ["audioset", "boebinger2021", "ds003720", "esc50", "gtzan", "natsound165"]
LOADERS: dict[str, Callable[[], StimulusSet]] = {
    "boebinger2021": known.load_boebinger2021,
    "ds003720": known.load_ds003720,
    "esc50": known.load_esc50,
    "gtzan": known.load_gtzan,
}


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BRAINALIGN_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def write_many(folder: Path, files: list[str], rate: int = 8_000, n: int = 40) -> None:
    """Write many sounds quickly: one is written, the others are its bytes."""
    one = folder / files[0]
    one.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(one, 0.1 * np.random.default_rng(0).normal(size=n), rate)
    for file in files[1:]:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(one.read_bytes())


def gtzan(folder: Path, suffix: str = ".wav") -> list[str]:
    files = [f"genres/{g}/{g}.{k:05d}{suffix}" for g in GENRES for k in range(100)]
    write_many(folder, files, 22_050)
    return files


def esc50(folder: Path) -> pd.DataFrame:
    """Write a copy of ESC-50's layout: 50 targets with 40 clips each in five folds, named FOLD-SOURCE-TAKE-TARGET."""
    rows = [
        {"filename": f"{k // 8 + 1}-{1000 * t + k}-A-{t}.wav", "fold": k // 8 + 1, "target": t, "category": f"class{t}",
         "esc10": t < 10, "src_file": 1000 * t + k, "take": "A"}
        for t in range(50) for k in range(40)
    ]  # fmt: skip
    table = pd.DataFrame(rows)
    write_many(folder, [f"audio/{f}" for f in table["filename"]], 44_100)
    (folder / "meta").mkdir()
    table.to_csv(folder / "meta" / "esc50.csv", index=False)
    return table


class TestFacts:
    def test_every_set_has_citation_licence_and_a_way_to_get_it(self) -> None:
        assert [k.manifest.name for k in known_sets()] == NAMES
        for k in known_sets():
            assert k.state == "not here"
            assert len(k.manifest.citation) > 40
            assert len(k.manifest.licence) > 20
            assert k.url.startswith("http")
            assert "brainalign" in k.how

    def test_near_misses(self) -> None:
        with pytest.raises(StimulusError, match=r"no stimulus set named 'esc5' is known; did you mean 'esc50'"):
            known_set("esc5")

    def test_all_that_can_be_loaded_are_registered(self) -> None:
        assert {*LOADERS, "natsound165"} <= set(STIMULI.names())
        for name, loader in LOADERS.items():
            assert STIMULI.get(name) is loader

    @pytest.mark.parametrize("name", LOADERS)
    def test_what_is_not_here_says_how_to_get_it(self, name: str) -> None:
        with pytest.raises(DownloadError, match=r"then: brainalign fetch (boebinger2021|esc50|gtzan) --from FOLDER"):
            LOADERS[name]()

    @pytest.mark.parametrize("name", [n for n in NAMES if n != "natsound165"])
    def test_fetching_without_a_copy_says_what_to_do(self, name: str) -> None:
        with pytest.raises(DownloadError, match=f"{name} is not downloaded for you: .*brainalign"):
            fetch(name)


class TestEsc50:
    def test_a_whole_copy_becomes_a_set(self, tmp_path: Path, data: Path) -> None:
        table = esc50(tmp_path / "copy")
        assert fetch("esc50", tmp_path / "copy") == data / "esc50"
        stimuli = known.load_esc50()
        assert known_set("esc50").state == "ready"
        assert stimuli.table["category"].value_counts().eq(40).all()
        assert stimuli.table["group"].value_counts().to_dict() == dict.fromkeys(ESC50_GROUPS, 400)
        assert stimuli.table.groupby("category")["group"].nunique().eq(1).all()
        assert stimuli.table.loc["1-0-A-0", "group"] == "animals"
        assert stimuli.table.loc["5-49039-A-49", "group"] == "exterior"
        assert stimuli.table["fold"].tolist() == table["fold"].tolist()
        assert stimuli.waveform("1-0-A-0")[1] == 44_100

    def test_a_clip_is_missing(self, tmp_path: Path, data: Path) -> None:
        esc50(tmp_path / "copy")
        (tmp_path / "copy" / "audio" / "1-0-A-0.wav").unlink()
        with pytest.raises(StimulusError, match=r"copy lacks 1 of 2000 sounds: audio/1-0-A-0\.wav"):
            fetch("esc50", tmp_path / "copy")
        assert not (data / "esc50").exists()

    def test_the_table_is_another(self, tmp_path: Path) -> None:
        (tmp_path / "meta").mkdir()
        with pytest.raises(StimulusError, match=r"no file .*esc50\.csv, expected a table"):
            fetch("esc50", tmp_path)
        (tmp_path / "meta" / "esc50.csv").write_text("filename,target\na.wav,0\n")
        with pytest.raises(StimulusError, match=r"found 1 clips, without the columns category, esc10, fold, src_file"):
            fetch("esc50", tmp_path)


class TestGtzan:
    @pytest.mark.parametrize("suffix", [".wav", ".au"])
    def test_a_whole_copy_becomes_a_set(self, tmp_path: Path, suffix: str) -> None:
        gtzan(tmp_path / "copy", suffix)
        (tmp_path / "copy" / "genres" / "blues" / "more.wav").write_bytes(b"not a track")
        fetch("gtzan", tmp_path / "copy")
        stimuli = known.load_gtzan()
        assert stimuli.table["category"].value_counts().to_dict() == dict.fromkeys(GENRES, 100)
        assert stimuli.ids[:2] == ["blues.00000", "blues.00001"]
        assert stimuli.waveform("rock.00099")[1] == 22_050

    def test_tracks_are_missing_or_there_twice(self, tmp_path: Path) -> None:
        files = gtzan(tmp_path / "copy")
        track = tmp_path / "copy" / "genres" / "jazz" / "jazz.00054.wav"
        (track.with_suffix(".au")).write_bytes(track.read_bytes())
        with pytest.raises(StimulusError, match=r"the track jazz\.00054 is there twice: .*\.au and .*\.wav; keep one"):
            fetch("gtzan", tmp_path / "copy")
        track.with_suffix(".au").unlink()
        track.unlink()
        with pytest.raises(StimulusError, match=r"lacks 1 of the 1000 tracks of GTZAN: jazz\.00054"):
            fetch("gtzan", tmp_path / "copy")
        assert len(files) == 1000

    def test_taken_once(self, tmp_path: Path, data: Path) -> None:
        gtzan(tmp_path / "copy")
        fetch("gtzan", tmp_path / "copy")
        before = (data / "gtzan" / "stimuli.csv").stat().st_mtime_ns
        fetch("gtzan", tmp_path / "nowhere")
        assert (data / "gtzan" / "stimuli.csv").stat().st_mtime_ns == before


class TestDs003720:
    def test_clips_are_cut_from_the_tracks(self, tmp_path: Path) -> None:
        rate = 22_050
        gtzan(tmp_path / "copy")
        ramp = np.linspace(0.1, 0.9, 30 * rate)
        soundfile.write(tmp_path / "copy" / "genres" / "blues" / "blues.00000.wav", ramp, rate, subtype="FLOAT")
        fetch("gtzan", tmp_path / "copy")
        stimuli = known.load_ds003720()
        waveform, found_rate = stimuli.waveform("blues.00000")
        assert (found_rate, len(waveform)) == (rate, 15 * rate)
        assert rms(waveform) == pytest.approx(0.1, rel=1e-5)
        begin = round(11.42 * rate)
        middle = slice(2 * rate, 13 * rate)
        track = ramp[begin : begin + 15 * rate]
        gain = waveform[middle] / track[middle]
        np.testing.assert_allclose(gain, gain[0], rtol=1e-5)
        fade = waveform[: 2 * rate] / track[: 2 * rate] / gain[0]
        np.testing.assert_allclose(fade, np.sin(np.pi / 2 * (np.arange(2 * rate) + 0.5) / (2 * rate)) ** 2, atol=1e-4)

    def test_a_track_that_is_too_short_is_named(self, tmp_path: Path) -> None:
        gtzan(tmp_path / "copy")
        fetch("gtzan", tmp_path / "copy")
        with pytest.raises(StimulusError, match=r"'blues\.00002' of ds003720: the track has 0\.00 s, too few"):
            known.load_ds003720().waveform("blues.00002")

    def test_the_design_of_nakai_2021(self) -> None:
        table = pd.read_csv(shipped("stimuli") / "ds003720" / "stimuli.csv")
        assert table.groupby(["category", "split"]).size().unstack().to_dict("list") == {
            "test": [6] * 10, "train": [48] * 10}  # fmt: skip
        assert table["stimulus_id"].is_unique

    @pytest.mark.realdata
    def test_the_times_are_those_of_every_subject(self, shared_data: Path) -> None:
        table = pd.read_csv(shipped("stimuli") / "ds003720" / "stimuli.csv")
        listed = set(zip(table["stimulus_id"], table["start_s"], table["end_s"], table["split"], strict=True))
        for subject in range(1, 6):
            played = set()
            for path in (shared_data / "ds003720" / f"sub-{subject:03d}" / "func").glob("*_events.tsv"):
                events = pd.read_csv(path, sep="\t")
                split = "train" if "task-Training" in path.name else "test"
                for genre, track, start, end in events[["genre", "track", "start", "end"]].itertuples(index=False):
                    played.add((f"{genre.strip(chr(39))}.{track:05d}", start, end, split))
            assert played == listed


class TestBoebinger2021:
    def copy(self, folder: Path) -> list[str]:
        names = list(pd.read_csv(shipped("stimuli") / "natsound165" / "stimuli.csv")["stimulus_id"])
        more = [f"more_{k}" for k in range(27)]
        write_many(folder, [f"{n}.wav" for n in names + more])
        (folder / "categories.csv").write_text("stimulus_id,category\n" + "".join(f"{m},Drums\n" for m in more))
        return more

    def test_a_whole_copy_becomes_a_set(self, tmp_path: Path) -> None:
        more = self.copy(tmp_path / "copy")
        fetch("boebinger2021", tmp_path / "copy")
        stimuli = known.load_boebinger2021()
        assert len(stimuli) == 192
        assert stimuli.table["category"].value_counts()["Drums"] == 27
        assert stimuli.table["category"].value_counts()["Music"] == 24
        assert set(stimuli.table.index[stimuli.table["in_natsound165"] == 0]) == set(more)

    def test_a_copy_that_is_not_whole(self, tmp_path: Path) -> None:
        self.copy(tmp_path)
        (tmp_path / "categories.csv").write_text("stimulus_id,category\nmore_0,Drums\n")
        with pytest.raises(StimulusError, match=r"categories\.csv gives no category to 26 sounds: more_1, "):
            fetch("boebinger2021", tmp_path)
        (tmp_path / "stim33_bluegrass.wav").unlink()
        with pytest.raises(StimulusError, match=r"holds 191 sounds.*; 1 of natsound165 .*: stim33_bluegrass$"):
            fetch("boebinger2021", tmp_path)
