"""What a BIDS folder holds: the runs, and the events, sidecars, masks and confounds that belong to each.

Raw data and derivatives are read alike. Events and sidecars are found by the inheritance principle (BIDS
specification, "The Inheritance Principle"). Files that are links, as DataLad and git-annex make them, may lead out of
the folder; nothing that is written in a file is taken for a path.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from brainalign._reading import read_json_object, read_text
from brainalign.errors import BrainError, did_you_mean, name_some

#: Files of one acquisition. Of CIFTI, time series; of GIFTI, one file for each hemisphere.
EXTENSIONS = (".nii.gz", ".dtseries.nii", ".nii", ".func.gii")
_RUN_ENTITIES = ("sub", "ses", "task", "acq", "ce", "rec", "dir", "run")


@dataclass(frozen=True)
class BoldRun:
    """One functional run and the files that belong to it.

    Attributes
    ----------
    subject : str
        Such as ``"sub-01"``.
    entities : mapping of str to str
        What the file name says: ``{"sub": "01", "task": "music", "run": "1"}``.
    bold : tuple of Path
        The image; left and right where each hemisphere has its own.
    sidecar : mapping
        The JSON sidecars that apply, merged.
    events, mask, confounds : Path or None
        The tables and the brain mask, if there are any.
    """

    subject: str
    entities: Mapping[str, str]
    bold: tuple[Path, ...]
    sidecar: Mapping[str, Any] = field(default_factory=dict)
    events: Path | None = None
    mask: Path | None = None
    confounds: Path | None = None

    @property
    def name(self) -> str:
        """Name for messages: ``"sub-01_task-music_run-1"``."""
        return _join(self.entities, *_RUN_ENTITIES)

    @property
    def kind(self) -> str:
        """Whether the image is a ``"volume"``, a ``"surface"`` (GIFTI) or ``"cifti"``."""
        name = self.bold[0].name
        return "surface" if name.endswith(".gii") else "cifti" if name.endswith(".dtseries.nii") else "volume"

    @property
    def source(self) -> Path | dict[str, Path]:
        """What to read: the image, or that of each hemisphere."""
        if self.kind != "surface":
            return self.bold[0]
        names = {"L": "left", "R": "right"}
        return {names.get(parse_entities(f).get("hemi", ""), f.name): f for f in self.bold}

    @property
    def repetition_time(self) -> float:
        """Repetition time in seconds; an error if the sidecars do not say."""
        tr = self.sidecar.get("RepetitionTime")
        if not isinstance(tr, int | float) or isinstance(tr, bool) or not 0 < tr < 60:
            raise BrainError(f"{self.name}: its sidecar says RepetitionTime = {tr!r}, expected seconds per volume")
        return float(tr)


@dataclass(frozen=True)
class BidsFolder:
    """A BIDS folder and the runs that were asked for.

    Attributes
    ----------
    path : Path
        The folder.
    description : mapping
        ``dataset_description.json``.
    subjects : mapping of str to tuple of BoldRun
        The runs of each subject, in order of session, task and run.
    broken : mapping of str to BrainError
        Subjects whose files contradict each other, and how; they are not among `subjects`.
    chosen : bool
        Whether subjects were chosen by name.
    """

    path: Path
    description: Mapping[str, Any]
    subjects: Mapping[str, tuple[BoldRun, ...]]
    broken: Mapping[str, BrainError]
    chosen: bool = False


def parse_entities(path: Path) -> dict[str, str]:
    """Return the entities in a BIDS file name, in their order: ``{"sub": "01", "task": "music"}``."""
    return dict(part.split("-", 1) for part in path.name.split("_") if "-" in part and "." not in part.split("-", 1)[0])


def read_bids(
    path: str | Path,
    *,
    subjects: Sequence[str] | None = None,
    task: str | Sequence[str] | None = None,
    derivatives: str | None = None,
    **entities: str | None,
) -> BidsFolder:
    """Find the functional runs of a BIDS folder.

    Parameters
    ----------
    path : path-like
        The folder, raw or of derivatives.
    subjects : sequence of str, optional
        Only these; with or without ``sub-``.
    task : str or sequence of str, optional
        Only this task; needed where there are several.
    derivatives : str, optional
        Take images, masks and confounds from ``derivatives/NAME`` (``"fmriprep"``), or from such a folder elsewhere;
        events and sidecars that it does not have come from `path`.
    **entities
        Further parts of the file names that are wanted, for instance ``space="MNI152NLin2009cAsym"`` or
        ``desc="preproc"``; None for any.

    Returns
    -------
    BidsFolder
        The runs that fit; images are not opened. A subject with events for a run whose image is missing is broken.

    Raises
    ------
    BrainError
        If there is no such folder, subject or task, or no image fits.
    """
    root = Path(path)
    if not root.is_dir():
        raise BrainError(f"no folder {str(path)!r}")
    images = _derivatives(root, derivatives) if derivatives else root
    wanted = {k: v for k, v in entities.items() if v is not None}
    found = _bold_files(images)
    if not found:
        raise BrainError(
            f"{images} holds no functional images: looked for sub-*/[ses-*/]func/*_bold with {name_some(EXTENSIONS)}"
        )
    allowed = _allowed(found, subjects, task, wanted, images)
    fitting = _choose(found, allowed, images)
    if nameless := [f for f in fitting if "sub" not in parse_entities(f)]:
        raise BrainError(f"{nameless[0].name} does not say of which subject it is; BIDS names begin with sub-")
    groups: dict[tuple[tuple[str, str], ...], list[Path]] = {}
    for file in fitting:
        groups.setdefault(_run_key(file), []).append(file)
    roots = (images,) if images == root else (images, root)
    runs: dict[str, list[BoldRun]] = {}
    broken: dict[str, BrainError] = {}
    for key in sorted(groups, key=lambda k: [(e, v.zfill(6)) for e, v in k]):
        subject = subject_name(dict(key)["sub"])
        try:
            runs.setdefault(subject, []).append(_run(groups[key], roots))
        except BrainError as why:
            broken.setdefault(subject, why)
    for subject, no_image in _without_images(roots, found, fitting, allowed):
        broken.setdefault(subject, no_image)
    whole = {s: tuple(r) for s, r in runs.items() if s not in broken}
    return BidsFolder(root, _json(root / "dataset_description.json"), whole, broken, subjects is not None)


def participants(root: Path) -> list[str]:
    """Return the subjects that ``participants.tsv`` lists; none if there is no such file."""
    table = root / "participants.tsv"
    if not table.is_file():
        return []
    lines = read_text(table, "a table of participants", BrainError).splitlines()
    if not lines or lines[0].split("\t")[0] != "participant_id":
        raise BrainError("participants.tsv has no first column 'participant_id'")
    return [subject_name(line.split("\t")[0]) for line in lines[1:] if line.strip()]


def subject_name(subject: str) -> str:
    """Return a subject's name in the form ``"sub-01"``."""
    return subject if subject.startswith("sub-") else f"sub-{subject}"


def _derivatives(root: Path, name: str) -> Path:
    folder = next((f for f in (root / "derivatives" / name, Path(name)) if f.is_dir()), None)
    if folder is None:
        there = [f.name for f in sorted((root / "derivatives").glob("*")) if f.is_dir()]
        raise BrainError(f"{root} has no derivatives {name!r}; {did_you_mean(name, there)}")
    return folder


def _bold_files(root: Path) -> list[Path]:
    places = [*root.glob("sub-*/func/*_bold.*"), *root.glob("sub-*/ses-*/func/*_bold.*")]
    return sorted(f for f in places if f.name.endswith(EXTENSIONS) and not f.name.startswith("."))


def _allowed(
    files: Sequence[Path],
    subjects: Sequence[str] | None,
    task: str | Sequence[str] | None,
    wanted: Mapping[str, str],
    images: Path,
) -> dict[str, list[str]]:
    """Return the values that entities may have; one that no file has is an error that says what there is."""
    tasks = [task] if isinstance(task, str) else task
    allowed: dict[str, list[str]] = {k: [v] for k, v in wanted.items()}
    if subjects is not None:
        allowed["sub"] = [subject_name(s).removeprefix("sub-") for s in subjects]
    if tasks is not None:
        allowed["task"] = list(tasks)
    for entity, values in allowed.items():
        there = {parse_entities(f).get(entity, "") for f in files} - {""}
        for value in values:
            if value not in there:
                raise BrainError(f"{images} has no images with {entity}-{value}; {did_you_mean(value, there)}")
    return allowed


def _choose(files: Sequence[Path], allowed: Mapping[str, Sequence[str]], images: Path) -> list[Path]:
    """Return the files that fit what was asked for; that none fits is an error."""
    fitting = [f for f in files if all(parse_entities(f).get(e) in v for e, v in allowed.items())]
    if not fitting:
        asked = ", ".join(f"{e}-{'|'.join(v)}" for e, v in allowed.items())
        raise BrainError(f"{images} has no images with {asked} together")
    several = sorted({parse_entities(f).get("task", "") for f in fitting})
    if "task" not in allowed and len(several) > 1:
        raise BrainError(f"{images} has several tasks: say task= one or more of {name_some(map(repr, several), 20)}")
    return fitting


def _without_images(
    roots: Sequence[Path], found: Sequence[Path], fitting: Sequence[Path], allowed: Mapping[str, Sequence[str]]
) -> Iterator[tuple[str, BrainError]]:
    """Give the subjects who have events of a run that was asked for, but no image that fits."""
    chosen = [parse_entities(f).items() for f in fitting]
    others = [parse_entities(f) for f in found if f not in set(fitting)]
    by_run = {e: v for e, v in allowed.items() if e in _RUN_ENTITIES}
    levels = ("sub-*", "sub-*/func", "sub-*/ses-*", "sub-*/ses-*/func")
    for file in sorted(f for root in roots for level in levels for f in root.glob(f"{level}/*_events.tsv")):
        own = parse_entities(file)
        asked = all(own.get(e) in (None, *v) for e, v in by_run.items())
        if file.name.startswith(".") or not asked or any(own.items() <= e for e in chosen):
            continue
        # Its images may be of runs that were not asked for, by an entity that the events do not name.
        if any(own.items() <= e.items() and any(e.get(k) not in v for k, v in by_run.items()) for e in others):
            continue
        message = (
            f"{_join(own, *_RUN_ENTITIES)} has events but no image that fits in {roots[0]}; get the image, or choose "
            f"by task=, subjects= or entities= what is to be read"
        )
        yield subject_name(own.get("sub", "")), BrainError(message)


def _run_key(file: Path) -> tuple[tuple[str, str], ...]:
    return tuple((e, v) for e, v in parse_entities(file).items() if e in _RUN_ENTITIES)


def _run(files: Sequence[Path], roots: tuple[Path, ...]) -> BoldRun:
    """Gather what belongs to the image of a run, or to its two images of a surface."""
    entities = parse_entities(files[0])
    if lost := [f.name for f in files if not f.exists()]:
        raise BrainError(
            f"{lost[0]} is a link to content that is not here; get it, for instance by 'datalad get' or 'git annex get'"
        )
    others = [e for f in files for e, v in parse_entities(f).items() if entities.get(e) != v]
    differ = sorted({*others, *(e for f in files for e in entities if e not in parse_entities(f))})
    if len(files) > 1 and (differ != ["hemi"] or len(files) > 2):
        values = sorted({f"{e}-{parse_entities(f).get(e, '')}" for f in files for e in differ})
        choice = (
            f"choose by {name_some((f'{e}=' for e in differ), 20)} ({name_some(values, 20)})" if differ else "keep one"
        )
        raise BrainError(f"{len(files)} images of one run fit: {name_some(f.name for f in files)}; {choice}")
    # Each hemisphere of a surface may have a sidecar of its own.
    sidecars = [_sidecar(roots, f) for f in files]
    if len(times := {str(s.get("RepetitionTime")) for s in sidecars}) > 1:
        raise BrainError(f"the sidecars of {name_some(f.name for f in files)} say RepetitionTime {' and '.join(times)}")
    entities.pop("hemi", None)
    folder = files[0].parent
    confounds = folder / f"{_join(entities, *_RUN_ENTITIES)}_desc-confounds_timeseries.tsv"
    mask = f"{_join(entities, *_RUN_ENTITIES, 'space', 'res')}_desc-brain_mask.nii"
    events = [f for root in reversed(roots) for f in _inherited(root, files[0], "events", ".tsv", entities)]
    return BoldRun(
        subject=subject_name(entities["sub"]),
        entities=entities,
        bold=tuple(files),
        sidecar={k: v for s in sidecars for k, v in s.items()},
        events=events[-1] if events else None,
        mask=next((folder / n for n in (f"{mask}.gz", mask) if (folder / n).exists()), None),
        confounds=confounds if confounds.exists() else None,
    )


def _sidecar(roots: tuple[Path, ...], bold: Path) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for root in reversed(roots):
        for path in _inherited(root, bold, "bold", ".json", parse_entities(bold)):
            merged |= _json(path)
    return merged


def _join(entities: Mapping[str, str], *names: str) -> str:
    return "_".join(f"{e}-{v}" for e, v in entities.items() if e in names)


def _inherited(root: Path, bold: Path, suffix: str, extension: str, entities: Mapping[str, str]) -> list[Path]:
    """Return the files that apply to an image, from the top of the folder down; the last one is nearest."""
    levels = [root, root / f"sub-{entities['sub']}"]
    if "ses" in entities:
        levels.append(levels[-1] / f"ses-{entities['ses']}")
    levels.append(levels[-1] / "func")
    applying = []
    for level in levels:
        here = [
            f
            for f in sorted([*level.glob(f"*_{suffix}{extension}"), *level.glob(f"{suffix}{extension}")])
            if parse_entities(f).items() <= entities.items()
        ]
        most = sorted(here, key=lambda f: len(parse_entities(f)))
        if extension == ".tsv" and len(most) > 1 and len(parse_entities(most[-2])) == len(parse_entities(most[-1])):
            raise BrainError(f"several {suffix} files fit {bold.name}: {most[-2].name} and {most[-1].name}")
        applying += most
    return applying


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    return read_json_object(path, "a JSON object", BrainError)
