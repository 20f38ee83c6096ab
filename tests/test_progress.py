"""Progress: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import io
import re
import sys
import threading
import time
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
        "conv: 10/30 sounds, 10 s, 20 s left",
        "conv: 20/30 sounds, 20 s, 10 s left",
        "conv: 30/30 sounds, 30 s",
    ]


def test_what_is_short_says_nothing(capsys):
    assert write_log(capsys, 1000, 0.001) == []


def test_a_long_run_writes_few_lines(capsys):
    lines = write_log(capsys, 50_000, 10.0)
    assert len(lines) < 90
    numbers = [int(re.match(r"conv: (\d+)/", line)[1]) for line in lines]
    assert numbers == sorted(set(numbers))
    assert lines[-1] == "conv: 50000/50000 sounds, 138 h 53 min"


def test_an_earlier_run_is_counted_but_not_timed(capsys):
    assert write_log(capsys, 30, 1.0, done=10)[0] == "conv: 20/30 sounds, 10 s, 10 s left"


def test_a_number_that_is_not_known(capsys):
    clock = Clock()
    with LogLines("files", None, "file", clock=clock) as bar:
        clock.now = 12
        bar.update(3)
    assert capsys.readouterr().err.splitlines()[0] == "files: 3 files, 12 s"


def watchers() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name.startswith("progress of ")]


def test_lines_come_also_while_nothing_is_finished(monkeypatch, capsys):
    monkeypatch.setattr(_progress, "BETWEEN_S", 0.05)
    with LogLines("measures", 3, "measure"):
        assert [t.daemon for t in watchers()] == [True]
        lines: list[str] = []
        deadline = time.monotonic() + 30
        while len(lines) < 2 and time.monotonic() < deadline:
            time.sleep(0.02)
            lines += capsys.readouterr().err.splitlines()
    assert lines[:2] == ["measures: 0/3 measures, 0 s"] * 2
    assert watchers() == []
    assert capsys.readouterr().out == ""


def test_nothing_watches_after_an_error_or_where_nothing_is_shown():
    with pytest.raises(ValueError, match="mine"), LogLines("measures", 3, "measure"):
        raise ValueError("mine")
    assert watchers() == []
    abandoned = track([1, 2], "numbers", unit="number")
    next(abandoned)
    assert len(watchers()) == 1
    abandoned.close()
    assert watchers() == []
    with progress_bar("measures", 3, unit="measure", show=False):
        assert watchers() == []


@pytest.mark.parametrize(
    ("n", "total", "unit", "words"),
    [
        (1, None, "figure", "1 figure,"),
        (4, None, "figure", "4 figures,"),
        (0, 1, "measure", "0/1 measure,"),
        (1, 2, "study", "1/2 studies,"),
        (2, 3, "thousand tracks", "2/3 thousand tracks,"),
    ],
)
def test_what_is_counted_is_in_the_plural(capsys, n, total, unit, words):
    clock = Clock()
    with LogLines("them", total, unit, clock=clock) as bar:
        bar.update(n)
        clock.now = 3
    assert capsys.readouterr().err.startswith(f"them: {words} 3 s")


def test_track_gives_the_items_and_counts_them(monkeypatch, capsys):
    monkeypatch.setattr(_progress, "QUIET_S", 0.0)
    assert list(track(iter("abc"), "letters", unit="letter", total=3)) == ["a", "b", "c"]
    assert capsys.readouterr().err == "letters: 3/3 letters, 0 s\n"
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
