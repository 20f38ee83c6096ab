"""Progress: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

import pytest

import brainalign
from brainalign import _progress
from brainalign._progress import LogLines, duration, progress_bar, track


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def write_log(capsys: pytest.CaptureFixture[str], n: int, seconds_each: float, **options) -> list[str]:
    clock = Clock()
    with LogLines("conv", n, "sound", clock=clock, **options) as bar:
        for _ in range(n - options.get("done", 0)):
            clock.now += seconds_each
            bar.update()
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "\r" not in captured.err
    return captured.err.splitlines()


def test_a_line_every_ten_seconds_with_the_time_left(capsys):
    assert write_log(capsys, 30, 1.0) == [
        "conv: 10/30 sound, 10 s, 20 s left",
        "conv: 20/30 sound, 20 s, 10 s left",
        "conv: 30/30 sound, 30 s",
    ]


def test_what_is_short_says_nothing(capsys):
    assert write_log(capsys, 1000, 0.001) == []


def test_a_long_run_writes_few_lines(capsys):
    lines = write_log(capsys, 50_000, 10.0)
    assert len(lines) < 90
    numbers = [int(re.match(r"conv: (\d+)/", line)[1]) for line in lines]
    assert numbers == sorted(set(numbers))
    assert lines[-1] == "conv: 50000/50000 sound, 138 h 53 min"


def test_an_earlier_run_is_counted_but_not_timed(capsys):
    assert write_log(capsys, 30, 1.0, done=10)[0] == "conv: 20/30 sound, 10 s, 10 s left"


def test_a_number_that_is_not_known(capsys):
    clock = Clock()
    with LogLines("files", None, "file", clock=clock) as bar:
        clock.now = 12
        bar.update(3)
    assert capsys.readouterr().err.splitlines()[0] == "files: 3 file, 12 s"


def test_track_gives_the_items_and_counts_them(monkeypatch, capsys):
    monkeypatch.setattr(_progress, "QUIET_S", 0.0)
    assert list(track(iter("abc"), "letters", unit="letter", total=3)) == ["a", "b", "c"]
    assert capsys.readouterr().err == "letters: 3/3 letter, 0 s\n"
    assert list(track([1, 2], "numbers", unit="number", show=False)) == [1, 2]
    assert capsys.readouterr().err == ""


def test_a_terminal_gets_a_bar(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(_progress, "QUIET_S", 0.0)
    with progress_bar("conv", 2, unit="sound") as bar:
        bar.update(2)
    assert "2/2" in terminal.getvalue()
    assert "\r" in terminal.getvalue()
    monkeypatch.setenv("TERM", "dumb")
    assert isinstance(progress_bar("conv", 2, unit="sound"), LogLines)


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.2, "0 s"), (59.6, "1 min 00 s"), (185, "3 min 05 s"), (7800, "2 h 10 min")]
)
def test_durations(seconds, words):
    assert duration(seconds) == words


def test_there_is_one_way_to_show_progress():
    source = Path(brainalign.__file__).parent
    others = [p.name for p in source.rglob("*.py") if "import tqdm" in p.read_text(encoding="utf-8")]
    assert others == ["_progress.py"]
