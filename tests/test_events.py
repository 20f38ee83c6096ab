"""BIDS events files: what is read, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from brainalign.brain.events import check_events, read_events
from brainalign.errors import BrainError


def write(folder: Path, text: str) -> Path:
    path = folder / "task-x_events.tsv"
    path.write_text(text.replace(" | ", "\t"), encoding="utf-8")
    return path


def events(*rows: tuple[str, float, float]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=["stimulus_id", "onset", "duration"])
    table.attrs["file"] = "run-1_events.tsv"
    return table


class TestReading:
    def test_columns_by_their_names_and_rows_by_onset(self, tmp_path: Path) -> None:
        path = write(
            tmp_path, '\ufefftrial_type | duration | onset | note\nb | 2 | 3.5 | n/a\na | 2.5 | 0 | "x, y"\n\n'
        )
        table = read_events(path)
        assert table[["stimulus_id", "onset", "duration"]].to_numpy().tolist() == [["a", 0, 2.5], ["b", 3.5, 2]]
        assert table["note"].tolist() == ["x, y", "n/a"]
        assert table.attrs == {"file": "task-x_events.tsv", "n_ignored": 0, "ignored": []}

    def test_stim_file_goes_before_trial_type_and_loses_folder_and_extension(self, tmp_path: Path) -> None:
        path = write(tmp_path, "onset | duration | trial_type | stim_file\n0 | 2 | Music | sounds/blues.00017.wav\n")
        assert read_events(path)["stimulus_id"].tolist() == ["blues.00017"]
        assert read_events(path, stimulus="trial_type")["stimulus_id"].tolist() == ["Music"]

    def test_a_template_joins_columns(self, tmp_path: Path) -> None:
        path = write(
            tmp_path, "onset | duration | genre | track | gain\n0 | 2 | 'disco' | 9 | 0.5\n2 | 2 | metal' | 007 | 1\n"
        )
        assert read_events(path, stimulus="{genre}.{track:05d}")["stimulus_id"].tolist() == [
            "disco.00009",
            "metal.00007",
        ]
        assert read_events(path, stimulus="{genre}-{track}@{gain:.2f}")["stimulus_id"].tolist() == [
            "disco-9@0.50",
            "metal-007@1.00",
        ]

    @pytest.mark.parametrize(
        ("cell", "plain"),
        [("'disco'", "disco"), ('"disco"', "disco"), ("disco'", "disco"), ("'disco", "disco"), ("don't", "don't"),
         ("'t is o' clock", "'t is o' clock"), (" disco ", "disco")],
    )  # fmt: skip
    def test_quotes_are_stripped(self, tmp_path: Path, cell: str, plain: str) -> None:
        path = write(tmp_path, f"onset | duration | trial_type\n0 | 2 | {cell}\n")
        assert read_events(path)["stimulus_id"].tolist() == [plain]

    def test_what_is_no_stimulus_is_counted(self, tmp_path: Path) -> None:
        rows = "onset | duration | trial_type\n0 | 2 | a\n2 | n/a | n/a\n3 | 2 | rest\n5 | 2 | b\n"
        table = read_events(write(tmp_path, rows), ignore=["rest"])
        assert table["stimulus_id"].tolist() == ["a", "b"]
        assert table.attrs["n_ignored"] == 2

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("onset | trial_type\n0 | a\n", "has no column 'duration', found 'onset', 'trial_type'"),
            ("onset,duration,trial_type\n0,1,a\n", "has no column 'onset', found 'onset,duration,trial_type'"),
            ("", "has no column 'onset', found an empty file"),
            ("onset | duration | onset\n0 | 1 | 2\n", "has a column twice"),
            ("onset | duration | trial_type\n0 | 1\n", "line 2: 2 cells for 3 columns"),
            ("onset | duration | trial_type\n0 | 1 | a\n1 | 1 | a | b\n", "line 3: 4 cells for 3 columns"),
            ("onset | duration | trial_type\nx | 1 | a\n", "line 2: the onset 'x' is no time"),
            ("onset | duration | trial_type\n0 | n/a | a\n", "line 2: the duration 'n/a' is no time"),
            ("onset | duration | trial_type\n0 | -1 | a\n", "line 2: the duration '-1' is no time"),
            ("onset | duration | trial_type\ninf | 1 | a\n", "line 2: the onset 'inf' is no time"),
            ('onset | duration | trial_type\n0 | 1 | "a\n', "cannot be read as a tab-separated table"),
            ("onset | duration | trial_type\n0 | 1 | n/a\n", "names no stimulus in its 1 rows"),
            ("onset | duration | genre\n0 | 1 | a\n", "has neither stim_file nor .*: onset, duration, genre"),
        ],
    )  # fmt: skip
    def test_what_is_no_table_of_events(self, tmp_path: Path, text: str, message: str) -> None:
        with pytest.raises(BrainError, match=f"(?s)^task-x_events.tsv.*{message}"):
            read_events(write(tmp_path, text))

    def test_wrong_names(self, tmp_path: Path) -> None:
        path = write(tmp_path, "onset | duration | genre | track\n0 | 2 | disco | nine\n")
        with pytest.raises(BrainError, match=r"no column 'gener' to name stimuli; did you mean 'genre'"):
            read_events(path, stimulus="gener")
        with pytest.raises(BrainError, match=r"no column 'trak' to name stimuli"):
            read_events(path, stimulus="{genre}.{trak}")
        with pytest.raises(
            BrainError, match=r"line 2: the template '{genre}.{track:05d}' does not fit \['disco', 'nine'\]"
        ):
            read_events(path, stimulus="{genre}.{track:05d}")
        with pytest.raises(BrainError, match=r"no events file"):
            read_events(tmp_path / "other.tsv")

    def test_bytes_that_are_no_text(self, tmp_path: Path) -> None:
        path = tmp_path / "x_events.tsv"
        path.write_bytes(b"onset\tduration\n\xff\xfe\x00\t1\n")
        with pytest.raises(BrainError, match=r"cannot be read as a tab-separated table"):
            read_events(path)


class TestChecks:
    def test_events_that_fit(self) -> None:
        check_events(events(("a", 0, 2), ("b", 2, 2), ("a", 4, 2.0004)), duration_s=6, known=["a", "b", "c"])

    def test_beyond_the_end(self) -> None:
        message = "^run-1_events.tsv: 2 events lie beyond .* 'b' ends at 9 s, the images at 6 s; volumes are missing"
        with pytest.raises(BrainError, match=message):
            check_events(events(("a", 0, 2), ("a", 5, 2), ("b", 7, 2)), duration_s=6)

    def test_before_the_first_volume(self) -> None:
        with pytest.raises(BrainError, match=r"'a' begins at -1.5 s, before the first volume"):
            check_events(events(("a", -1.5, 2)), duration_s=6)

    def test_overlap(self) -> None:
        overlapping = events(("a", 0, 2), ("b", 1.5, 2))
        with pytest.raises(BrainError, match=r"'b' begins at 1.5 s, before 'a' ends at 2 s; pass allow_overlap=True"):
            check_events(overlapping, duration_s=6)
        check_events(overlapping, duration_s=6, allow_overlap=True)

    def test_an_unknown_condition(self) -> None:
        with pytest.raises(
            BrainError, match=r"'blues.0001' \(did you mean 'blues.00017'\?\); name with ignore= what is no stimulus$"
        ):
            check_events(events(("blues.0001", 0, 2)), duration_s=6, known=["blues.00017", "pop.00001"])
