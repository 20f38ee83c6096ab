"""What was played when: BIDS events files, read strictly and checked against their run."""

from __future__ import annotations

import csv
import math
import re
import string
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd

from brainalign._reading import reading
from brainalign.errors import BrainError, did_you_mean, name_some

NOT_AVAILABLE = "n/a"
#: Rounding of onsets and durations in events files must not look like an overlap.
TOLERANCE_S = 1e-3


def read_events(path: str | Path, *, stimulus: str | None = None, ignore: Sequence[str] = ()) -> pd.DataFrame:
    """Read a BIDS ``events.tsv``: one row per stimulus that was played.

    Parameters
    ----------
    path : path-like
        A tab-separated table with the columns ``onset`` and ``duration`` (seconds from the first volume).
    stimulus : str, optional
        What names the stimulus: a column, or a template of columns such as ``"{genre}.{track:05d}"``. By default
        ``stim_file`` (without folder and extension) where there is one, else ``trial_type``.
    ignore : sequence of str
        Names of conditions that are no stimuli, such as ``"rest"``.

    Returns
    -------
    DataFrame
        In order of onset: ``stimulus_id``, ``onset``, ``duration``, and the other columns as text without quotes. Rows
        whose stimulus is ``n/a`` or in `ignore` are left out; ``attrs["n_ignored"]`` counts them, ``attrs["ignored"]``
        names them, ``attrs["file"]`` is the name of the file.

    Raises
    ------
    BrainError
        If the file is missing or no table, a column is missing, a row has too few or too many cells, a time is no
        number, or no stimulus is named.
    """
    path = Path(path)
    columns, rows = _read_rows(path)
    name_stimulus = _namer(stimulus, columns, path.name)
    events: list[dict[str, Any]] = []
    ignored = set()
    for number, row in rows:
        named = name_stimulus(row, number)
        if named == NOT_AVAILABLE or named in ignore:
            ignored.add(named)
            continue
        times = {c: _seconds(row[c], c, path.name, number) for c in ("onset", "duration")}
        events.append({"stimulus_id": named, **row, **times})
    if not events:
        raise BrainError(f"{path.name} names no stimulus in its {len(rows)} rows; say with stimulus= which column does")
    table = pd.DataFrame(events).sort_values("onset", kind="stable", ignore_index=True)
    table.attrs = {"file": path.name, "n_ignored": len(rows) - len(events), "ignored": sorted(ignored)}
    return table


def _read_rows(path: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """Return the columns and the rows with their line numbers; cells are stripped of blanks and quotes."""
    if not path.is_file():
        raise BrainError(f"no events file {path}")
    with (
        reading(path, "a tab-separated table", BrainError),
        path.open(encoding="utf-8-sig", newline="") as stream,
    ):
        reader = csv.reader(stream, delimiter="\t", strict=True)
        lines = [(reader.line_num, [_plain(c) for c in cells]) for cells in reader if any(cells)]
    columns = lines[0][1] if lines else []
    for needed in ("onset", "duration"):
        if needed not in columns:
            raise BrainError(
                f"{path.name} has no column {needed!r}, found {name_some(map(repr, columns), 20) or 'an empty file'}; "
                f"BIDS events are tab-separated"
            )
    if len(set(columns)) < len(columns):
        raise BrainError(f"{path.name} has a column twice: {name_some(columns, 20)}")
    for number, cells in lines[1:]:
        if len(cells) != len(columns):
            raise BrainError(f"{path.name}, line {number}: {len(cells)} cells for {len(columns)} columns")
    return columns, [(n, dict(zip(columns, cells, strict=True))) for n, cells in lines[1:]]


def _plain(cell: str) -> str:
    """Strip quotes, also where one of a pair is missing, as in three rows of each subject of ds003720."""
    cell = cell.strip()
    for quote in "'\"":
        if cell.count(quote) == 1 or (len(cell) > 1 and cell[0] == cell[-1] == quote):
            cell = cell.removeprefix(quote).removesuffix(quote)
    return cell.strip()


class _Template(string.Formatter):
    """A format string over cells of text; a numeric format such as ``05d`` converts."""

    def format_field(self, value: Any, format_spec: str) -> str:
        if re.search(r"\d{3}", format_spec):
            raise ValueError(f"a width of {format_spec[:20]!r}")
        if format_spec and format_spec[-1] in "dn":
            value = int(value)
        elif format_spec and format_spec[-1] in "eEfFgG%":
            value = float(value)
        return str(super().format_field(value, format_spec))


def _namer(stimulus: str | None, columns: Sequence[str], file: str) -> Any:
    """Return the function that names the stimulus of a row."""
    if stimulus is None:
        stimulus = next((c for c in ("stim_file", "trial_type") if c in columns), None)
        if stimulus is None:
            raise BrainError(
                f"{file} has neither stim_file nor trial_type; name the column of the stimulus, or a template such as "
                f"'{{genre}}.{{track:05d}}', with stimulus=; columns: {name_some(columns, 20)}"
            )
    fields = [f.split(".")[0].split("[")[0] for _, f, _, _ in string.Formatter().parse(stimulus) if f is not None]
    for column in fields or [stimulus]:
        if column not in columns:
            raise BrainError(f"{file} has no column {column!r} to name stimuli; {did_you_mean(column, columns)}")
    template = _Template()

    def name(row: dict[str, str], number: int) -> str:
        parts = [row[c] for c in fields or [stimulus]]
        if NOT_AVAILABLE in parts or "" in parts:
            return NOT_AVAILABLE
        if not fields:
            return _without_extension(parts[0]) if stimulus == "stim_file" else parts[0]
        try:
            return str(template.vformat(stimulus, (), row))
        except (ValueError, AttributeError, TypeError) as why:
            raise BrainError(f"{file}, line {number}: the template {stimulus!r} does not fit {parts}: {why}") from why

    return name


def _without_extension(file: str) -> str:
    """Return the name of a file; ``blues.00017`` has no extension."""
    path = PurePosixPath(file)
    return path.name if path.suffix[1:].isdigit() else path.stem


def _seconds(cell: str, column: str, file: str, number: int) -> float:
    try:
        seconds = float(cell)
    except ValueError:
        seconds = math.nan
    if not math.isfinite(seconds) or (column == "duration" and seconds < 0):
        raise BrainError(f"{file}, line {number}: the {column} {cell!r} is no time in seconds")
    return seconds


def check_events(
    events: pd.DataFrame, *, duration_s: float, known: Iterable[str] | None = None, allow_overlap: bool = False
) -> None:
    """Raise if events do not fit their run.

    Parameters
    ----------
    events : DataFrame
        As :func:`read_events` returns them.
    duration_s : float
        Of the run: volumes times repetition time.
    known : iterable of str, optional
        Ids of the stimuli that there are; any other condition is an error.
    allow_overlap : bool
        Accept stimuli that begin before the one before has ended.

    Raises
    ------
    BrainError
        For events that begin before the run or end after it, overlap, or name an unknown condition.
    """
    file = events.attrs.get("file", "the events")
    if known is not None:
        ids = set(known)
        if unknown := [s for s in dict.fromkeys(events["stimulus_id"]) if s not in ids]:
            raise BrainError(
                f"{file} names the unknown condition {name_some(map(repr, unknown))} "
                f"({did_you_mean(unknown[0], ids)}); name with ignore= what is no stimulus"
            )
    ends = events["onset"] + events["duration"]
    early, late = events["onset"] < -TOLERANCE_S, ends > duration_s + TOLERANCE_S
    if early.any():
        first = events[early].iloc[0]
        raise BrainError(f"{file}: {first['stimulus_id']!r} begins at {first['onset']:g} s, before the first volume")
    if late.any():
        last = int(ends.to_numpy().argmax())
        raise BrainError(
            f"{file}: {int(late.sum())} events lie beyond the end of the run: {events['stimulus_id'].iloc[last]!r} "
            f"ends at {ends.iloc[last]:g} s, the images at {duration_s:g} s; volumes are missing, or the repetition "
            f"time is wrong"
        )
    overlap = events["onset"].to_numpy()[1:] < ends.to_numpy()[:-1] - TOLERANCE_S
    if overlap.any() and not allow_overlap:
        i = int(overlap.argmax())
        raise BrainError(
            f"{file}: {events['stimulus_id'].iloc[i + 1]!r} begins at {events['onset'].iloc[i + 1]:g} s, before "
            f"{events['stimulus_id'].iloc[i]!r} ends at {ends.iloc[i]:g} s; pass allow_overlap=True if that is meant"
        )
