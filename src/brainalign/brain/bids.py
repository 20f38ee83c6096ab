"""Responses to stimuli out of a BIDS folder of functional images."""

from __future__ import annotations

import hashlib
import inspect
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from brainalign.brain.bids_layout import BidsFolder, BoldRun, participants, read_bids
from brainalign.brain.cifti import open_cifti_reader
from brainalign.brain.data import BrainData
from brainalign.brain.estimation import Design, DesignKind, Reader, count_volumes, estimate_run
from brainalign.brain.events import check_events, read_events
from brainalign.brain.images import open_reader, quiet_masking
from brainalign.brain.runs import (
    Estimates,
    Repetitions,
    SubjectResponses,
    common_stimuli,
    join_runs,
    join_subjects,
    stimulus_table,
)
from brainalign.brain.surfaces import open_surface_reader
from brainalign.brain.timeseries import Drift, Scaling
from brainalign.errors import BrainalignError, BrainError, did_you_mean, name_some
from brainalign.responses import Responses

OnError = Literal["raise", "skip"]
#: Events of each run, by the name of the run, of each subject.
Events = dict[str, dict[str, pd.DataFrame]]


def load_bids(
    path: str,
    *,
    subjects: Sequence[str] | None = None,
    task: str | Sequence[str] | None = None,
    derivatives: str | None = None,
    space: str | None = None,
    desc: str | None = None,
    entities: Mapping[str, str] | None = None,
    mask: str | None = None,
    atlas: str | None = None,
    reading: Mapping[str, Any] | None = None,
    stimulus: str | None = None,
    ignore: Sequence[str] = (),
    stimuli: Sequence[str] | None = None,
    stimulus_set: Sequence[str] | None = None,
    stimulus_info: Mapping[str, str] | None = None,
    allow_overlap: bool = False,
    allow_missing_volumes: bool = False,
    design: DesignKind = "glm",
    drift: Drift | Literal["none"] | None = "cosine",
    scaling: Scaling | Literal["auto", "none"] | None = "auto",
    delay_s: float | None = None,
    window_s: float | None = None,
    estimation: Mapping[str, Any] | None = None,
    repetitions: Repetitions = "auto",
    on_error: OnError = "raise",
) -> BrainData:
    """Load responses to stimuli from a BIDS folder.

    Parameters
    ----------
    path : str
        The folder, raw or of derivatives.
    subjects : sequence of str, optional
        Only these subjects.
    task : str or sequence of str, optional
        Only these tasks; needed where there are several.
    derivatives : str, optional
        Take the images from ``derivatives/NAME`` (``"fmriprep"``); events stay those of `path`.
    space, desc : str, optional
        Which images, by these parts of their names; needed where several fit.
    entities : mapping of str to str, optional
        The same for other parts: ``{"acq": "music"}``.
    mask : str, optional
        Voxels to read: an image, with ``{subject}`` in its name where each subject has its own, looked for as given and
        in the folder; ``"compute-epi"``; or ``"brain"``, the brain masks of the derivatives, voxels that are in all of
        them. By default ``"brain"`` where there are such masks and nothing else says what to read.
    atlas : str, optional
        Image of numbered regions; ``{subject}`` as in `mask`.
    reading : mapping, optional
        Further options of :func:`~brainalign.brain.images.open_reader`: ``labels``, ``regions``, ``average_regions``,
        ``spheres``, ``radius_mm``, ``resample``; for images on surfaces those of
        :func:`~brainalign.brain.surfaces.open_surface_reader` (GIFTI; its mask is ``vertex_mask`` here) or
        :func:`~brainalign.brain.cifti.open_cifti_reader`. Files are looked for as `mask` is.
    stimulus : str, optional
        What names the stimulus in the events: a column, or a template such as ``"{genre}.{track:05d}"``
        (:func:`~brainalign.brain.events.read_events`).
    ignore : sequence of str
        Conditions that are no stimuli, such as ``"rest"``; one that no events hold is an error.
    stimuli : sequence of str, optional
        Ids of the stimuli there are; a condition that is none of them is an error.
    stimulus_set : sequence of str, optional
        Ids of the sounds that are compared, as a recipe gives them: a condition that is none of them may be there if
        all subjects have it, else the subjects who have it are in error.
    stimulus_info : mapping of str to str, optional
        What travels along: new name to column of the events, for instance ``{"category": "genre"}``.
    allow_overlap : bool
        Accept stimuli that overlap in time.
    allow_missing_volumes : bool
        Accept runs with fewer volumes than others with as long events, as long as all events lie within them.
    design : {'glm', 'separate', 'block', 'windows'}
        ``"glm"``: one beta for each stimulus in each run; ``"separate"``: one for each presentation, least squares
        separate; ``"block"``: means of the volumes during the stimulus; ``"windows"``: means of volumes in sliding
        windows of the stimulus, ids ``"clip@03"``.
    drift, scaling, delay_s, window_s
        See :class:`~brainalign.brain.estimation.Design`; ``"none"`` is None, which a recipe cannot say.
    estimation : mapping, optional
        Further fields of it, such as ``{"hrf": "spm", "confounds": ["trans_x"]}``.
    repetitions : {'auto', 'keep', 'average'}
        Keep presentations of a stimulus apart along ``repetition``, or average them; ``"auto"`` keeps them where all
        stimuli have the same number.
    on_error : {'raise', 'skip'}
        What to do with a subject whose files are broken: stop, or go on with the others and say in ``warnings`` who is
        left out and why.

    Returns
    -------
    BrainData
        Dims ``(stimulus, unit)``, or ``(repetition, stimulus, unit)``; the units of all subjects, with ``subject`` and
        their place as coordinates.

    Raises
    ------
    BrainError
        If files are missing, damaged or contradict each other; the message names subject and run.
    """
    how = make_design(
        {"kind": design, "drift": drift, "scaling": scaling, "delay_s": delay_s, "window_s": window_s},
        estimation or {},
    )
    choice = reading_choice(mask, atlas, reading)
    folder = read_bids(
        path, subjects=subjects, task=task, derivatives=derivatives, space=space, desc=desc, **(entities or {})
    )
    silence = [how.silence] if how.silence else []
    events, broken = read_all_events(
        folder,
        lambda run: read_events(_events_file(run), stimulus=stimulus, ignore=ignore),
        stimuli=None if stimuli is None else [*stimuli, *silence],
        allow_overlap=allow_overlap,
        allow_missing_volumes=allow_missing_volumes,
    )
    if stimulus_set is not None:
        broken |= _outside(events, [*stimulus_set, *silence])
        events = {s: t for s, t in events.items() if s not in broken}
    stop_at_broken(broken, on_error, others=bool(events))
    _check_ignored(events, ignore, whole=not broken)
    responses, warnings = respond(
        folder,
        events,
        broken,
        how,
        choice,
        stimulus_info=stimulus_info or {},
        repetitions=repetitions,
        on_error=on_error,
    )
    name, citation, licence = _origin(folder)
    return BrainData(name, responses, digest_of(responses), citation, licence, warnings=tuple(warnings))


_NAMED = ("mask", "atlas", "space", "reference")


def reading_choice(mask: str | None, atlas: str | None, reading: Mapping[str, Any] | None) -> dict[str, Any]:
    """Gather what is to be read out of images; options are checked by name."""
    readers = (open_reader, open_surface_reader, open_cifti_reader)
    known = {p for opener in readers for p in inspect.signature(opener).parameters} - set(_NAMED) | {"vertex_mask"}
    return {"mask": mask, "atlas": atlas, **_known_options(reading or {}, "reading", known)}


def make_design(named: Mapping[str, Any], further: Mapping[str, Any]) -> Design:
    """Build a design of options that are named and further ones, which are checked by name."""
    own = [f.name for f in fields(Design) if f.name not in named]
    said: dict[str, Any] = {name: None if value == "none" else value for name, value in named.items()}
    return Design(**said, **_known_options(further, "estimation", own))


def _known_options(options: Mapping[str, Any], what: str, known: Collection[str]) -> dict[str, Any]:
    for name in options:
        if name not in known:
            raise BrainError(f"{what}: no option {name!r}; {did_you_mean(name, known)}")
    return dict(options)


def _events_file(run: BoldRun) -> Path:
    if run.events is None:
        raise BrainError("there is no events file for it")
    return run.events


def read_all_events(
    folder: BidsFolder,
    read: Callable[[BoldRun], pd.DataFrame],
    *,
    stimuli: Sequence[str] | None = None,
    allow_overlap: bool = False,
    allow_missing_volumes: bool = False,
) -> tuple[Events, dict[str, BrainError]]:
    """Read the events of all runs and check them against the images, before any image is read.

    Parameters
    ----------
    folder : BidsFolder
        The runs.
    read : callable
        Gives the events of a run.
    stimuli, allow_overlap, allow_missing_volumes
        As :func:`load_bids` takes them.

    Returns
    -------
    events : dict
        Events of each run of each subject.
    broken : dict of str to BrainError
        Subjects whose runs do not fit, and why.
    """
    events: Events = {}
    broken = dict(folder.broken)
    lengths: dict[tuple[Any, ...], list[tuple[str, str, int]]] = {}
    for subject, runs in folder.subjects.items():
        events[subject] = {}
        for run in runs:
            try:
                table, n_volumes = read(run), count_volumes(run)
                duration_s = n_volumes * run.repetition_time
                check_events(table, duration_s=duration_s, known=stimuli, allow_overlap=allow_overlap)
            except BrainError as why:
                broken.setdefault(subject, BrainError(f"{run.name}: {str(why).removeprefix(f'{run.name}: ')}"))
                continue
            events[subject][run.name] = table
            end_s = round(float((table["onset"] + table["duration"]).max()), 3)
            lengths.setdefault((run.entities.get("task"), end_s), []).append((subject, run.name, n_volumes))
    for (_, end_s), runs_alike in lengths.items() if not allow_missing_volumes else ():
        counts = Counter(n for _, _, n in runs_alike)
        usual = max(counts, key=lambda n: (counts[n], n))
        for subject, name, n_volumes in runs_alike:
            if n_volumes < usual:
                message = (
                    f"{name}: {n_volumes} volumes, but runs whose events end at {end_s:g} s too have {usual}; if no "
                    f"volume is missing before that, pass allow_missing_volumes=True"
                )
                broken.setdefault(subject, BrainError(message))
    return {s: t for s, t in events.items() if s not in broken}, broken


def _outside(events: Events, ids: Collection[str]) -> dict[str, BrainError]:
    """Name the subjects with a condition that is not in the stimulus set and that not all subjects have."""
    heard = {s: {str(i) for t in runs.values() for i in t["stimulus_id"]} for s, runs in events.items()}
    shared = set.intersection(*heard.values()) if heard else set()
    odd = {s: sorted(own - shared - set(ids)) for s, own in heard.items()}
    return {
        s: BrainError(
            f"{s}: its events name the condition {name_some(map(repr, own))}, which is not in the stimulus set "
            f"({did_you_mean(own[0], ids)}), nor among the events of all subjects; name with ignore= what is no "
            f"stimulus"
        )
        for s, own in odd.items()
        if own
    }


def _check_ignored(events: Events, ignore: Sequence[str], *, whole: bool) -> None:
    """Raise for a condition to be ignored that is nowhere; it may have been in events that are left out."""
    tables = [t for runs in events.values() for t in runs.values()]
    ignored = {name for t in tables for name in t.attrs["ignored"]}
    if whole and (absent := [name for name in ignore if name not in ignored]):
        conditions = ignored.union(*(t["stimulus_id"] for t in tables))
        raise BrainError(f"ignore names {absent[0]!r}, which no events hold; {did_you_mean(absent[0], conditions)}")


def stop_at_broken(broken: Mapping[str, BrainError], on_error: OnError, *, others: bool) -> None:
    """Raise the first of what is broken, unless it is to be passed over.

    Parameters
    ----------
    broken : mapping of str to BrainError
        What is wrong with subjects.
    on_error : {'raise', 'skip'}
        As :func:`load_bids` takes it.
    others : bool
        Whether there are subjects in whom the same goes well, so that passing over this one helps.

    Raises
    ------
    BrainError
        If a subject is broken and `on_error` is ``"raise"``.
    """
    if on_error not in ("raise", "skip"):
        raise BrainError(f"on_error must be 'raise' or 'skip', found {on_error!r}")
    for why in broken.values():
        if on_error == "raise":
            raise BrainError(f"{why}; on_error='skip' goes on without this subject" if others else str(why))


def respond(
    folder: BidsFolder,
    events: Events,
    broken: dict[str, BrainError],
    design: Design,
    choice: Mapping[str, Any],
    *,
    stimulus_info: Mapping[str, str],
    repetitions: Repetitions,
    on_error: OnError,
) -> tuple[Responses, list[str]]:
    """Read the images of all subjects and estimate their responses.

    Parameters
    ----------
    folder : BidsFolder
        The runs.
    events : dict
        As :func:`read_all_events` gives them.
    broken : dict of str to BrainError
        Subjects that are left out already; more may come.
    design : Design
        How responses are estimated.
    choice : mapping
        What to read: ``mask``, ``atlas`` and further options of :func:`~brainalign.brain.images.open_reader`.
    stimulus_info, repetitions, on_error
        As :func:`load_bids` takes them.

    Returns
    -------
    responses : Responses
        Of all subjects.
    warnings : list of str
        What a reader must know.

    Raises
    ------
    BrainError
        If a subject is broken and `on_error` is ``"raise"``, or none is left.
    """
    done: dict[str, tuple[SubjectResponses, list[Estimates]]] = {}
    for subject in events:
        try:
            done[subject] = _respond_subject(folder, subject, events[subject], design, choice)
        except BrainalignError as why:
            broken[subject] = BrainError(str(why))
            stop_at_broken(broken, on_error, others=bool(done))
    stimuli, odd = common_stimuli([s for s, _ in done.values()]) if done else ([], {})
    broken |= odd
    stop_at_broken(broken, on_error, others=True)
    whole = {s: d for s, d in done.items() if s not in broken}
    if not whole:
        raise BrainError("no subject is left: " + "; ".join(list(dict.fromkeys(map(str, broken.values())))[:3]))
    estimates = [e for _, runs in whole.values() for e in runs]
    said = stimulus_table(estimates, [t for s in whole for t in events[s].values()], stimulus_info)
    responses, notes = join_subjects([s for s, _ in whole.values()], said.loc[stimuli], repetitions=repetitions)
    left_out = [f"{s} is left out: {str(why).removeprefix(f'{s}: ')}" for s, why in sorted(broken.items())]
    return responses, [*left_out, *_fewer_runs(folder, list(whole)), *notes]


def _respond_subject(
    folder: BidsFolder, subject: str, events: Mapping[str, pd.DataFrame], design: Design, choice: Mapping[str, Any]
) -> tuple[SubjectResponses, list[Estimates]]:
    runs = folder.subjects[subject]
    reader = _reader(folder, subject, choice)
    estimates = [estimate_run(run, events[run.name], reader, design) for run in runs]
    info = reader.unit_info.set_axis(pd.Index(reader.units))
    return join_runs(subject, estimates, info, reader.attrs), estimates


def _reader(folder: BidsFolder, subject: str, choice: Mapping[str, Any]) -> Reader:
    """Open what is to be read of one subject."""
    runs = folder.subjects[subject]
    space = runs[0].entities.get("space")
    options = {name: _find(folder, subject, value) if name in _FILES else value for name, value in choice.items()}
    if runs[0].kind != "volume":
        if any(options.pop(name) is not None for name in ("mask", "atlas")):
            raise BrainError(
                "mask and atlas are for volumes; of surfaces, choose by reading={vertex_mask={left=..., right=...}}, "
                "reading={labels=..., regions=[...]} or, of CIFTI, reading={structures=[...]}"
            )
        if runs[0].kind == "cifti":
            return open_cifti_reader(runs[0].bold[0], space=space, **_options_of(open_cifti_reader, options))
        mask = options.pop("vertex_mask", None)
        return open_surface_reader(space or "fsaverage5", mask=mask, **_options_of(open_surface_reader, options))
    if options["mask"] is None and options["atlas"] is None and options.get("spheres") is None:
        if not any(r.mask for r in runs):
            raise BrainError(
                f"{subject}: say which voxels to read: mask= an image or 'compute-epi', or atlas=; there are no brain "
                f"masks beside the images"
            )
        options["mask"] = "brain"
    if options["mask"] == "brain":
        options["mask"] = _brain_mask(runs)
    return open_reader(**_options_of(open_reader, options), space=space, reference=runs[0].bold[0])


_FILES = ("mask", "atlas", "labels", "vertex_mask")


def _find(folder: BidsFolder, subject: str, given: Any) -> Any:
    """Return the file that is meant, as given or in the folder; of hemispheres, each."""
    if isinstance(given, Mapping):
        files = {"left", "right"} & set(given)
        return {k: _find(folder, subject, v) if k in files else v for k, v in given.items()}
    if not isinstance(given, str) or given in ("brain", "compute-epi"):
        return given
    file = Path(given.replace("{subject}", subject))
    inside = folder.path / file
    return inside if not file.is_file() and inside.is_file() else file


def _options_of(opener: Callable[..., Any], options: Mapping[str, Any]) -> dict[str, Any]:
    return _known_options(options, "reading", inspect.signature(opener).parameters)


def _brain_mask(runs: Sequence[BoldRun]) -> Any:
    """Return the voxels that are in the brain masks of all runs."""
    from nilearn.masking import intersect_masks

    if lacking := [r.name for r in runs if r.mask is None]:
        raise BrainError(f"mask='brain', but there is no *_desc-brain_mask beside the image of {name_some(lacking)}")
    try:
        with quiet_masking():
            return intersect_masks([str(r.mask) for r in runs], threshold=1, connected=False)
    except ValueError as why:
        raise BrainError(f"{runs[0].subject}: the brain masks of its runs do not fit together: {why}") from why


def _fewer_runs(folder: BidsFolder, subjects: Sequence[str]) -> list[str]:
    """Note who has fewer runs than others, and who is listed but has no images."""
    counts = {s: len(folder.subjects[s]) for s in subjects}
    most = max(counts.values())
    notes = [f"{s} has {n} runs, others {most}" for s, n in counts.items() if n < most]
    found = {*folder.subjects, *folder.broken}
    if not folder.chosen:
        notes += [f"{s} is in participants.tsv, but has no images" for s in participants(folder.path) if s not in found]
    return notes


def _origin(folder: BidsFolder) -> tuple[str, str, str]:
    """Return name, citation and licence, as dataset_description.json states them."""
    said = folder.description
    authors = said.get("Authors")
    parts = [
        ", ".join(map(str, authors)) if isinstance(authors, list) else "",
        said.get("Name"),
        said.get("DatasetDOI"),
    ]
    citation = said.get("HowToAcknowledge") or ". ".join(str(p) for p in parts if p)
    name = folder.path.resolve().name
    return name, str(citation or "unpublished"), str(said.get("License") or "not stated")


def digest_of(responses: Responses) -> str:
    """Return a version for data that carry none: it changes with any value or id."""
    digest = hashlib.sha256(np.ascontiguousarray(responses.values).data)
    for dim in ("stimulus", "unit"):
        digest.update("\0".join(map(str, responses[dim].values)).encode())
    return f"SHA-256 of values {digest.hexdigest()[:16]}"
