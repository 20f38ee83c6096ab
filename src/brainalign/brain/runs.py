"""From the runs of subjects to Responses: estimates of each run, repetitions of a stimulus, subjects side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from brainalign.brain.geometry import combine_geometry
from brainalign.errors import BrainError, did_you_mean, name_some
from brainalign.responses import Responses, make_responses

Repetitions = Literal["auto", "keep", "average"]
Floats = NDArray[np.floating[Any]]

#: What travels along with windows.
WINDOW_COLUMNS = ("clip", "window", "window_start_s", "window_s")


@dataclass(frozen=True)
class Estimates:
    """Responses to the events of one run.

    Attributes
    ----------
    run : str
        Name of the run, for messages.
    table : DataFrame
        One row per estimate: ``stimulus_id``; of windows, also ``clip``, ``window`` and ``n_volumes``.
    values : ndarray, shape (n_rows, n_units)
        The estimates; a row of NaN has no data, a column of NaN is a unit that is NaN or constant in this run.
    """

    run: str
    table: pd.DataFrame
    values: Floats


@dataclass(frozen=True)
class SubjectResponses:
    """Responses of one subject: every presentation of every stimulus.

    Attributes
    ----------
    subject : str
        Such as ``"sub-01"``.
    stimuli : list of str
        Ids in order of first presentation.
    row_of : ndarray of int, shape (n_presentations,)
        Which stimulus each row of `values` is of, as a position in `stimuli`.
    values : ndarray, shape (n_presentations, n_units)
        In order of time.
    unit_info : DataFrame
        One row per unit.
    attrs : mapping
        Geometry.
    notes : tuple of str
        What a reader must know.
    """

    subject: str
    stimuli: list[str]
    row_of: NDArray[np.intp]
    values: Floats
    unit_info: pd.DataFrame
    attrs: Mapping[str, Any]
    notes: tuple[str, ...] = ()

    @property
    def counts(self) -> NDArray[np.intp]:
        """How often each stimulus was presented."""
        return np.bincount(self.row_of, minlength=len(self.stimuli))


def join_runs(
    subject: str,
    runs: Sequence[Estimates],
    unit_info: pd.DataFrame,
    attrs: Mapping[str, Any],
    notes: Sequence[str] = (),
) -> SubjectResponses:
    """Gather the presentations of each stimulus over the runs of a subject.

    Parameters
    ----------
    subject : str
        Such as ``"sub-01"``.
    runs : sequence of Estimates
        In order of time.
    unit_info : DataFrame
        One row per unit.
    attrs : mapping
        Geometry of the units.
    notes : sequence of str
        What is known already.

    Returns
    -------
    SubjectResponses
        Presentations without data are left out, as are units that are NaN in a run; `notes` says which stimuli lost all
        presentations, and how many units.

    Raises
    ------
    BrainError
        If no presentation or no unit is left.
    """
    ids = np.concatenate([r.table["stimulus_id"].to_numpy(dtype=str) for r in runs])
    values = np.concatenate([r.values for r in runs])
    there = ~np.isnan(values).all(axis=1)
    stimuli = list(dict.fromkeys(ids[there].tolist()))
    if not stimuli:
        raise BrainError(f"{subject}: no presentation of a stimulus has data")
    if lost := list(dict.fromkeys(s for s in ids[~there].tolist() if s not in set(stimuli))):
        notes = [*notes, f"{len(lost)} stimuli have no volumes in any run and are left out: {name_some(lost)}"]
    values = values[there]
    usable = ~np.isnan(values).any(axis=0)
    if not usable.any():
        raise BrainError(f"{subject}: every unit is NaN or constant in one of the runs")
    if not usable.all():
        notes = [*notes, f"{(~usable).sum()} of {len(usable)} units are NaN or constant in a run and are left out"]
        values = values[:, usable]
    position = {s: i for i, s in enumerate(stimuli)}
    row_of = np.array([position[s] for s in ids[there]], dtype=np.intp)
    return SubjectResponses(subject, stimuli, row_of, values, unit_info[usable], attrs, tuple(notes))


def common_stimuli(subjects: Sequence[SubjectResponses]) -> tuple[list[str], dict[str, BrainError]]:
    """Return the stimuli that most subjects heard, and for each other subject what is different.

    Parameters
    ----------
    subjects : sequence of SubjectResponses
        All subjects.

    Returns
    -------
    stimuli : list of str
        In the order of the first subject that heard them.
    odd : dict of str to BrainError
        Why a subject does not fit.

    Raises
    ------
    BrainError
        If no set of stimuli is that of more subjects than any other: who is odd cannot be told.
    """
    sets = [frozenset(s.stimuli) for s in subjects]
    (usual, most), *others = Counter(sets).most_common(2)
    if others and others[0][1] == most:
        names = {heard: [s.subject for s, own in zip(subjects, sets, strict=True) if own == heard] for heard in sets}
        rival = others[0][0]
        only = "; ".join(
            f"{name_some(names[one])} alone: {name_some(map(repr, sorted(one - other))) or 'none'}"
            for one, other in ((usual, rival), (rival, usual))
        )
        raise BrainError(
            f"the subjects' stimuli differ, and no majority tells which are right: {only}; say with stimuli= which ids "
            f"there are, with ignore= what is no stimulus, or with subjects= who is to be read"
        )
    odd = {}
    for subject, heard in zip(subjects, sets, strict=True):
        parts = [
            f"{verb} {name_some(sorted(ids))}"
            for verb, ids in (("lacks", usual - heard), ("has only here", heard - usual))
            if ids
        ]
        if parts:
            odd[subject.subject] = BrainError(
                f"{subject.subject}: its stimuli are not those of the others: it {' and '.join(parts)}"
            )
    return next(s.stimuli for s, heard in zip(subjects, sets, strict=True) if heard == usual), odd


def join_subjects(
    subjects: Sequence[SubjectResponses], stimulus_info: pd.DataFrame, *, repetitions: Repetitions = "auto"
) -> tuple[Responses, list[str]]:
    """Put subjects side by side along ``unit``.

    Parameters
    ----------
    subjects : sequence of SubjectResponses
        All with the same stimuli.
    stimulus_info : DataFrame
        Indexed by stimulus id: what travels along; its order is that of the result.
    repetitions : {'auto', 'keep', 'average'}
        Keep presentations apart along ``repetition``, or average them; ``"auto"`` keeps them where all stimuli have
        the same number in all subjects.

    Returns
    -------
    responses : Responses
        Unit ids are ``SUBJECT_UNIT``; the coordinate ``subject`` says whose they are.
    notes : list of str
        What was averaged, and notes of the subjects.

    Raises
    ------
    BrainError
        If repetitions are to be kept and their numbers differ, or subjects are described by different columns.
    """
    if repetitions not in get_args(Repetitions):
        raise BrainError(f"no way with repetitions {repetitions!r}; {did_you_mean(repetitions, get_args(Repetitions))}")
    counts = sorted({int(n) for s in subjects for n in s.counts})
    if repetitions == "keep" and len(counts) > 1:
        raise BrainError(
            f"stimuli were presented {name_some(counts, 20)} times, so repetitions cannot be kept apart; choose "
            f"tasks or stimuli with one number of repetitions, or repetitions='average'"
        )
    order = stimulus_info.index.tolist()
    keep = len(counts) == 1 and counts[0] > 1 and repetitions != "average"
    notes = [f"{s.subject}: {n}" for s in subjects for n in s.notes]
    if len(counts) > 1 and repetitions == "auto":
        notes.append(f"stimuli were presented {counts[0]} to {counts[-1]} times: repetitions are averaged")
    blocks = [_presentations(s, order, counts[0]) if keep else _means(s, order) for s in subjects]
    averaged = {} if keep or counts == [1] else {"n_repetitions": counts if len(counts) > 1 else counts[0]}
    if len({frozenset(s.unit_info.columns) for s in subjects}) > 1:
        raise BrainError("the subjects' units are described by different columns: read them with one kind of mask")
    units = pd.concat([s.unit_info.assign(subject=s.subject) for s in subjects])
    responses = make_responses(
        np.concatenate(blocks, axis=-1),
        order,
        [f"{s.subject}_{u}" for s in subjects for u in s.unit_info.index],
        stimulus_info=stimulus_info,
        unit_info={str(c): units[c].to_numpy() for c in units},
        attrs=combine_geometry({s.subject: s.attrs for s in subjects}) | averaged,
        allow_constant=True,
    )
    return responses, notes


def _means(subject: SubjectResponses, order: Sequence[str]) -> Floats:
    sums = np.zeros((len(subject.stimuli), subject.values.shape[1]), dtype=subject.values.dtype)
    np.add.at(sums, subject.row_of, subject.values)
    sums /= subject.counts[:, None]
    return sums[_positions(subject, order)]


def _presentations(subject: SubjectResponses, order: Sequence[str], n: int) -> Floats:
    """Return (repetition, stimulus, unit), repetitions in order of time."""
    rows = np.argsort(subject.row_of, kind="stable").reshape(len(subject.stimuli), n)
    return subject.values[rows[_positions(subject, order)].T]


def _positions(subject: SubjectResponses, order: Sequence[str]) -> list[int]:
    position = {s: i for i, s in enumerate(subject.stimuli)}
    return [position[s] for s in order]


def stimulus_table(
    estimates: Sequence[Estimates], events: Sequence[pd.DataFrame], columns: Mapping[str, str]
) -> pd.DataFrame:
    """Describe each stimulus by what the events say of it, and each window by its clip.

    Parameters
    ----------
    estimates : sequence of Estimates
        Of all runs of all subjects.
    events : sequence of DataFrame
        Of the same runs.
    columns : mapping of str to str
        New name to column of the events: ``{"category": "genre"}``.

    Returns
    -------
    DataFrame
        Indexed by stimulus id, in order of first presentation; of windows, also ``clip``, ``window``,
        ``window_start_s`` and ``window_s``.

    Raises
    ------
    BrainError
        If a column is missing, or says different things of one stimulus.
    """
    for table in events:
        if lacking := [c for c in columns.values() if c not in table]:
            raise BrainError(
                f"{table.attrs.get('file', 'the events')} has no column {name_some(map(repr, lacking))}; "
                f"{did_you_mean(lacking[0], table.columns)}"
            )
    said = pd.concat([t[["stimulus_id", *columns.values()]] for t in events]).drop_duplicates()
    twice = said.loc[said["stimulus_id"].duplicated(), "stimulus_id"]
    if len(twice):
        rows = said[said["stimulus_id"] == twice.iloc[0]]
        column = next(c for c in columns.values() if rows[c].nunique() > 1)
        raise BrainError(
            f"the events say different things of {twice.iloc[0]!r}: {column} is {name_some(map(repr, rows[column]))}"
        )
    about = said.set_index("stimulus_id")[list(columns.values())].set_axis(list(columns), axis=1)
    rows = pd.concat([e.table for e in estimates]).drop_duplicates("stimulus_id").set_index("stimulus_id")
    if "window" not in rows or rows.index.equals(pd.Index(rows["clip"])):
        return about.loc[rows.index]
    return about.loc[rows["clip"]].set_axis(rows.index).assign(**{c: rows[c] for c in WINDOW_COLUMNS})
