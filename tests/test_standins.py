"""Stand-ins for the clips of ds003720: which piece of music is where, and how the clips are put together."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from brainalign._files import shipped
from brainalign.errors import DownloadError, StimulusError
from brainalign.stimuli import STIMULI, load_stimuli
from brainalign.stimuli.audio import write_audio
from brainalign.stimuli.standins import load_ds003720_standins, load_ds003720_standins_library

RATE = 22_050
PIECE_S = 4.0


def tone(frequency: float) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * frequency * np.arange(round(PIECE_S * RATE)) / RATE)).astype(np.float32)


def make_music(data: Path, *, n_tracks: int = 180, n_pieces: int = 7, seed: int | None = None) -> pd.DataFrame:
    """Write a table of tracks and files that are empty; what a test plays it writes itself."""
    audio = data / "minisounds" / "audio"
    audio.mkdir(parents=True)
    rows = [
        {
            "file": f"{n_pieces * t + p:05d}.wav",
            "source": f"source-{t // 12:02d}",
            "licence": "CC0",
            "group": f"source-{t // 12:02d}:track_{t:03d}",
            "has_music": 1,
        }
        for t in range(n_tracks)
        for p in range(n_pieces)
    ]
    for row in rows:
        (audio / row["file"]).touch()
    silence = {"file": "speech.wav", "source": "speech", "licence": "CC0", "group": "speech:1", "has_music": 0}
    table = pd.DataFrame([*rows, silence])
    if seed is not None:
        table = table.sample(frac=1, random_state=seed)
    table.to_csv(data / "minisounds" / "metadata.csv", index=False)
    return table


@pytest.fixture
def music(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    make_music(tmp_path)
    monkeypatch.setenv("BRAINALIGN_DATA", str(tmp_path))
    return tmp_path


def check_deal(clips: pd.DataFrame, library: pd.DataFrame) -> None:
    published = pd.read_csv(shipped("stimuli") / "ds003720" / "stimuli.csv", index_col="stimulus_id")
    assert clips.index.tolist() == published.index.tolist()
    assert clips["category"].tolist() == published["category"].tolist()
    assert clips["split"].tolist() == published["split"].tolist()
    tracks = {split: own["track"].tolist() for split, own in clips.groupby("split")}
    assert not set(tracks["train"]) & set(tracks["test"])
    assert len(set(tracks["test"])) == 60
    assert not set(library["track"]) & set(clips["track"])
    assert library["track"].nunique() == 40
    pieces = Counter(f for files in [*clips["file"], *library["file"]] for f in files.split())
    assert set(pieces.values()) == {1}


def test_no_track_is_in_two_splits_and_no_piece_in_two_clips(music: Path) -> None:
    clips, library = load_ds003720_standins().table, load_ds003720_standins_library().table
    check_deal(clips, library)
    assert "speech" not in set(clips["source"])
    # 8 tracks of a genre share its 48 training clips; each of the 4 in the library has 7 pieces, up to 3 a clip.
    assert set(clips[clips["split"] == "train"].groupby("track").size()) == {6}
    assert set(library.groupby("track").size()) == {3}
    assert set(library["category"]) == set(clips["category"])


def test_neighbours_in_the_row_of_sources_share_a_genre(music: Path) -> None:
    table = load_ds003720_standins().table
    first = table.groupby("category")["source"].agg(["min", "max"]).sort_index()
    # 15 sources of 12 tracks in ten parts of 18: each genre has two or three neighbours.
    assert first["min"].tolist() == sorted(first["min"])
    assert all(int(row["max"][-2:]) - int(row["min"][-2:]) <= 2 for _, row in first.iterrows())


def test_the_deal_does_not_depend_on_the_order_of_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tables = []
    for i, seed in enumerate((None, 5)):
        make_music(tmp_path / str(i), seed=seed)
        monkeypatch.setenv("BRAINALIGN_DATA", str(tmp_path / str(i)))
        tables.append(load_ds003720_standins().table)
    pd.testing.assert_frame_equal(*tables)


def write_tones(data: Path, files: str, frequencies: list[float], rate: int = RATE) -> None:
    for file, frequency in zip(files.split(), frequencies, strict=True):
        n = round(PIECE_S * rate)
        sound = 0.5 * np.sin(2 * np.pi * frequency * np.arange(n) / rate)
        write_audio(data / "minisounds" / "audio" / file, sound.astype(np.float32), rate)


def loudest(sound: np.ndarray) -> float:
    return float(np.abs(np.fft.rfft(sound * np.hanning(len(sound)))).argmax() * RATE / len(sound))


@pytest.mark.parametrize("rate", [RATE, 32_000])
def test_pieces_follow_one_another_and_begin_again(music: Path, rate: int) -> None:
    stimuli = load_ds003720_standins()
    test_clip = stimuli.table[stimuli.table["split"] == "test"].iloc[0]
    frequencies = [400.0, 700.0, 1100.0]
    write_tones(music, str(test_clip["file"]), frequencies, rate)
    sound, sound_rate = stimuli.waveform(str(test_clip.name))
    assert sound_rate == RATE
    assert len(sound) == 15 * RATE
    assert np.sqrt(np.mean(sound.astype(float) ** 2)) == pytest.approx(0.1, rel=1e-5)
    # A piece and the next share a third of a second, so that one begins every 11/3 s.
    for k, frequency in enumerate([*frequencies, frequencies[0]]):
        begin = 11 / 3 * k + (0.4 if k else 2.0)
        part = sound[round(begin * RATE) : round((11 / 3 * (k + 1) - 0.05) * RATE)]
        assert loudest(part) == pytest.approx(frequency, abs=2)
    # Tones of different pitch add up in power: a cross-fade of constant power keeps the level.
    levels = [np.std(sound[round(t * RATE) : round((t + 1 / 3) * RATE)]) for t in (3.0, 11 / 3, 5.0, 22 / 3)]
    assert max(levels) / min(levels) == pytest.approx(1, abs=0.03)
    # Two seconds of fade at both ends: a quarter of the power in their middle for a raised cosine's half amplitude.
    middle = np.std(sound[round(0.98 * RATE) : round(1.02 * RATE)])
    assert middle / levels[0] == pytest.approx(0.5, abs=0.03)
    assert abs(sound[0]) < 1e-6


def test_the_title_names_track_and_source(music: Path) -> None:
    row = load_ds003720_standins_library().table.iloc[0]
    assert row["title"] == f"{row['track'].split(':')[1].replace('_', ' ')} ({row['source']})"
    assert row["licence"] == "CC0"
    assert row["split"] == "library"


def test_both_are_known_by_name(music: Path) -> None:
    assert {"ds003720-standins", "ds003720-standins-library"} <= set(STIMULI.names())
    assert load_stimuli("ds003720-standins").name == "ds003720-standins"


class TestBadInput:
    def test_no_music(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("BRAINALIGN_DATA", str(tmp_path))
        with pytest.raises(DownloadError, match=r"there is no .*metadata\.csv.*set BRAINALIGN_DATA"):
            load_ds003720_standins()

    def test_a_column_or_a_file_is_missing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("BRAINALIGN_DATA", str(tmp_path))
        table = make_music(tmp_path)
        (tmp_path / "minisounds" / "audio" / "00007.wav").unlink()
        with pytest.raises(StimulusError, match=r"lacks 1 of 1260 pieces: 00007\.wav"):
            load_ds003720_standins()
        table.drop(columns="licence").to_csv(tmp_path / "minisounds" / "metadata.csv", index=False)
        with pytest.raises(StimulusError, match="lacks the column licence"):
            load_ds003720_standins()

    @pytest.mark.parametrize(
        ("n_tracks", "n_pieces", "message"),
        [(100, 7, "10 tracks for a genre"), (180, 5, "40 pieces for 48 clips"), (5, 200, "1 tracks for a genre")],
    )
    def test_too_little_music(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_tracks: int, n_pieces: int, message: str
    ) -> None:
        monkeypatch.setenv("BRAINALIGN_DATA", str(tmp_path))
        make_music(tmp_path, n_tracks=n_tracks, n_pieces=n_pieces)
        with pytest.raises(StimulusError, match=f"too little music.*{message}"):
            load_ds003720_standins()

    def test_a_piece_that_is_too_short(self, music: Path) -> None:
        stimuli = load_ds003720_standins()
        files = str(stimuli.table["file"].iloc[0]).split()
        for file in files:
            write_audio(music / "minisounds" / "audio" / file, tone(440)[: RATE // 2], RATE)
        with pytest.raises(StimulusError, match=r"a piece of 0\.5 s is too short"):
            stimuli.waveform(stimuli.ids[0])


@pytest.mark.realdata
class TestRealMusic:
    def test_every_clip_has_music_of_its_own(self) -> None:
        check_deal(load_ds003720_standins().table, load_ds003720_standins_library().table)

    def test_a_genre_hangs_together(self) -> None:
        """The nearest mean spectrum of other tracks is of the same genre more often than chance, 0.1."""
        stimuli = load_ds003720_standins()
        test = stimuli.table[stimuli.table["split"] == "test"]
        train = stimuli.table[stimuli.table["split"] == "train"].drop_duplicates("track").groupby("category").head(10)

        def spectra(ids: pd.Index) -> np.ndarray:
            edges = np.geomspace(60, 8000, 21)
            rows = []
            for i in ids:
                sound, rate = stimuli.waveform(str(i))
                power = np.abs(np.fft.rfft(sound)) ** 2
                place = np.searchsorted(np.fft.rfftfreq(len(sound), 1 / rate), edges)
                rows.append(np.log(np.add.reduceat(power, place)[:-1]))
            return np.array(rows)

        known, asked = spectra(train.index), spectra(test.index)
        genres = sorted(set(train["category"]))
        centres = np.array([known[(train["category"] == g).to_numpy()].mean(axis=0) for g in genres])
        nearest = np.linalg.norm(asked[:, None] - centres, axis=2).argmin(axis=1)
        hits = np.mean([genres[n] == g for n, g in zip(nearest, test["category"], strict=True)])
        # Guessing gives 0.1 with a standard deviation of 0.039.
        assert hits > 0.1 + 3 * 0.039
