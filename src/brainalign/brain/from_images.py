"""Responses out of a lab's own maps: one image, or one volume, per stimulus, listed in a table."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from brainalign._reading import reading
from brainalign.brain.cifti import open_cifti_reader
from brainalign.brain.data import BrainData
from brainalign.brain.geometry import combine_geometry
from brainalign.brain.image_files import bad_units as find_bad_units
from brainalign.brain.images import open_reader
from brainalign.brain.surfaces import open_surface_reader
from brainalign.errors import BrainalignError, BrainError, did_you_mean, name_some
from brainalign.responses import make_responses

_HEMISPHERES = {"left": "left", "right": "right", "l": "left", "r": "right", "lh": "left", "rh": "right"}
_OWN_COLUMNS = ("stimulus_id", "file", "subject", "repetition", "hemisphere", "volume")


@dataclass(frozen=True)
class _Subject:
    """What was read of one subject: values (n_repetitions, n_stimuli, n_units)."""

    name: str
    values: NDArray[np.float32]
    units: list[str]
    unit_info: pd.DataFrame
    attrs: dict[str, Any]
    notes: tuple[str, ...]


def load_images(
    path: str,
    *,
    image: str | None = None,
    folder: str | None = None,
    mask: Any = None,
    atlas: Any = None,
    reading: Mapping[str, Any] | None = None,
    bad_units: Literal["error", "drop"] = "error",
    on_error: Literal["raise", "skip"] = "raise",
    citation: str = "unpublished",
    licence: str = "not stated",
) -> BrainData:
    """Load responses from maps (betas, contrasts, mean responses) that a table lists.

    Parameters
    ----------
    path : str
        A ``.csv`` or ``.tsv`` table, one row per map: ``stimulus_id`` and ``file`` (NIfTI, GIFTI, CIFTI, FreeSurfer).
        Further columns, where needed: ``subject``; ``repetition`` (sorted by number or name); ``hemisphere`` (``left``,
        ``right``), with two rows for each map of a surface; ``volume``, which volume of a 4-D file (from 0). Without
        it, a file named in several rows has one volume for each, in the order of the rows. All other columns
        (``category``) describe the stimulus.
    image : str, optional
        The file of all rows of a table without ``file``: the table then gives the order of the volumes. ``{subject}``
        stands for the subject.
    folder : str, optional
        Where the files lie, and must lie; by default the folder of the table.
    mask, atlas : optional
        What is read, as in :func:`~brainalign.brain.images.open_reader`; for surfaces the mask of each hemisphere as in
        :func:`~brainalign.brain.surfaces.open_surface_reader`. ``{subject}`` in a path stands for the subject.
    reading : mapping, optional
        Further options of these, or of :func:`~brainalign.brain.cifti.open_cifti_reader`: ``labels``, ``regions``,
        ``average_regions``, ``spheres``, ``radius_mm``, ``resample``, ``space``, ``n_vertices``, ``structures``.
    bad_units : {'error', 'drop'}
        What to do with units that are NaN somewhere, or constant over all maps: stop, or leave them out and say in
        ``warnings`` how many.
    on_error : {'raise', 'skip'}
        What to do with a subject who lacks a stimulus or whose files are broken: stop, or go on with the others and say
        in ``warnings`` who is left out and why.
    citation, licence : str
        What the report says of the data.

    Returns
    -------
    BrainData
        Named after the table. Dims ``(stimulus, unit)``, or ``(repetition, stimulus, unit)`` where there are several;
        the units of all subjects, with ``subject`` and their place as coordinates. The version is a digest of the data.

    Raises
    ------
    BrainError
        If the table is incomplete or contradicts itself, or files are missing, damaged or of different grids; the
        message names the subject.
    """
    for option, given, choices in (
        ("bad_units", bad_units, ("error", "drop")),
        ("on_error", on_error, ("raise", "skip")),
    ):
        if given not in choices:
            raise BrainError(f"{option} must be one of {name_some(map(repr, choices))}, found {given!r}")
    table = _read_table(Path(path), image)
    info = _stimulus_info(table)
    options = {"mask": mask, "atlas": atlas, **(reading or {})}
    within = Path(folder) if folder is not None else Path(path).parent
    loaded: list[_Subject] = []
    left_out: list[str] = []
    for subject, rows in table.groupby("subject", sort=False):
        try:
            loaded.append(_read_subject(str(subject), rows, list(info.index), table, within, options, bad_units))
        except BrainalignError as why:
            if on_error == "raise":
                # After another subject was read, the mask and the options are known to do.
                hint = "; on_error='skip' leaves the subject out" if loaded else ""
                raise BrainError(f"{subject}: {why}{hint}") from why
            left_out.append(f"{subject} is left out: {why}")
    if not loaded:
        raise BrainError(f"no subject could be read: {left_out[0]}")
    notes = tuple(note for s in loaded for note in s.notes)
    return _join(loaded, info, Path(path).stem, citation, licence, (*left_out, *notes))


def _read_table(path: Path, image: str | None) -> pd.DataFrame:
    if not path.is_file():
        raise BrainError(f"no table {path} of images")
    with reading(path, "a table", BrainError):
        separator = "\t" if path.suffix == ".tsv" else ","
        table = pd.read_csv(path, sep=separator, dtype=str, encoding="utf-8-sig", compression=None)
    if not isinstance(table.index, pd.RangeIndex):
        raise BrainError(f"{path.name}: the rows have more cells than the header has columns")
    if image is not None:
        if "file" in table:
            raise BrainError(f"{path.name} has a column 'file': give files there, or as image=, not both")
        table["file"] = image
    for column in ("stimulus_id", "file"):
        if column not in table:
            raise BrainError(f"{path.name} has no column {column!r}; {did_you_mean(column, map(str, table.columns))}")
    if not len(table):
        raise BrainError(f"{path.name} has no rows")
    empty = table.isna()
    if empty.to_numpy().any():
        row, column = np.argwhere(empty.to_numpy())[0]
        raise BrainError(f"{path.name} is empty in row {row + 1}, column {table.columns[column]!r}")
    table["subject"] = _subject_names(table["subject"]) if "subject" in table else "sub-01"
    if "hemisphere" in table:
        unknown = [h for h in table["hemisphere"] if h.lower() not in _HEMISPHERES]
        if unknown:
            raise BrainError(f"{path.name}: hemispheres are 'left' and 'right', found {unknown[0]!r}")
        table["hemisphere"] = [_HEMISPHERES[h.lower()] for h in table["hemisphere"]]
    if "volume" in table:
        wrong = [v for v in table["volume"] if not v.isdecimal()]
        if wrong:
            raise BrainError(f"{path.name}: volume is a number from 0, found {wrong[0]!r}")
    keys = [c for c in ("subject", "stimulus_id", "repetition", "hemisphere") if c in table]
    twice = table[table.duplicated(keys)]
    if len(twice):
        what = " ".join(twice.iloc[0][keys])
        raise BrainError(f"{path.name} has two rows for {what}; number them in a column 'repetition'")
    return table


def _subject_names(column: pd.Series[str]) -> list[str]:
    return [s if s.startswith("sub-") else f"sub-{s}" for s in column]


def _stimulus_info(table: pd.DataFrame) -> pd.DataFrame:
    """Give one row per stimulus, in the order of the table, with what describes it."""
    columns = [c for c in table if c not in _OWN_COLUMNS]
    info = table[["stimulus_id", *columns]].drop_duplicates()
    twice = info[info["stimulus_id"].duplicated()]
    if len(twice):
        raise BrainError(
            f"the rows of {twice['stimulus_id'].iloc[0]!r} differ in the columns {name_some(columns)}, which describe "
            f"the stimulus"
        )
    return info.set_index("stimulus_id")


def _read_subject(
    subject: str,
    rows: pd.DataFrame,
    stimuli: Sequence[str],
    table: pd.DataFrame,
    folder: Path,
    options: Mapping[str, Any],
    bad_units: str,
) -> _Subject:
    repetitions = sorted(set(table["repetition"]), key=_by_number) if "repetition" in table else ["0"]
    rows = rows if "repetition" in rows else rows.assign(repetition="0")
    maps: dict[Any, pd.DataFrame] = dict(iter(rows.groupby(["repetition", "stimulus_id"], sort=False)))
    lacking = [(r, s) for r in repetitions for s in stimuli if (r, s) not in maps]
    if lacking:
        which = [f"{s!r} in repetition {r}" if len(repetitions) > 1 else repr(s) for r, s in lacking]
        raise BrainError(f"no map for {name_some(which)}")
    sources = {key: _files(part, subject, folder) for key, part in maps.items()}
    units, unit_info, attrs, read = _open(next(iter(sources.values())), _for_subject(options, subject))
    order = {stimulus: s for s, stimulus in enumerate(stimuli)}
    values = np.empty((len(repetitions), len(stimuli), len(units)), dtype=np.float32)
    for source in dict.fromkeys(sources.values()):
        volumes = read(source)
        of_source = [key for key in maps if sources[key] == source]
        for key, v in zip(of_source, _volumes(maps, of_source, len(volumes), source), strict=True):
            values[repetitions.index(key[0]), order[key[1]]] = volumes[v]
    bad = find_bad_units(values.reshape(-1, len(units)))
    if bad.any():
        found = f"{int(bad.sum())} of {len(units)} units are NaN in some map or constant over all"
        if bad_units == "error" or bad.all():
            some = name_some(np.asarray(units)[bad])
            raise BrainError(f"{found}: {some}; give a mask without them, or bad_units='drop'")
        keep = np.flatnonzero(~bad)
        notes = (f"{subject}: {found}, and left out",)
        return _Subject(subject, values[..., keep], [units[k] for k in keep], unit_info.iloc[keep], attrs, notes)
    return _Subject(subject, values, units, unit_info, attrs, ())


_Source = tuple[tuple[str, Path], ...]


def _by_number(label: str) -> tuple[int, str]:
    return (int(label), "") if label.isdecimal() else (0, label)


def _files(part: pd.DataFrame, subject: str, folder: Path) -> _Source:
    """Give the file of a map, or its files by hemisphere."""
    files = []
    for hemisphere, file in zip(part.get("hemisphere", [""]), part["file"], strict=True):
        path = folder / file.replace("{subject}", subject)
        with reading(path, "an image", BrainError):
            inside = path.resolve().is_relative_to(folder.resolve())  # fails for names that no file can have
        if not inside:
            raise BrainError(f"the file {file} lies outside {folder}; say folder= if that is meant")
        files.append((hemisphere, path))
    return tuple(sorted(files))


def _for_subject(options: Mapping[str, Any], subject: str) -> dict[str, Any]:
    def own(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {k: own(v) for k, v in value.items()}
        return value.replace("{subject}", subject) if isinstance(value, str) else value

    return {name: own(value) for name, value in options.items() if value is not None}


def _open(
    source: _Source, options: dict[str, Any]
) -> tuple[list[str], pd.DataFrame, dict[str, Any], Callable[[_Source], NDArray[np.float32]]]:
    """Open the reader that fits the first file."""
    first = source[0][1]
    reader: Any
    is_cifti = first.name.endswith((".dscalar.nii", ".dtseries.nii"))
    if not source[0][0] and not is_cifti and first.name.endswith((".gii", ".gii.gz")):
        raise BrainError(f"{first.name} is of one hemisphere: name it in a column 'hemisphere'")
    opener: Callable[..., Any] = open_surface_reader if source[0][0] else open_cifti_reader if is_cifti else open_reader
    known = set(inspect.signature(opener).parameters) - {"hemispheres", "reference"}
    for name in options:
        if name not in known:
            raise BrainError(
                f"{name} is no option for files such as {first.name}"
                f"{'; name the hemispheres in the table' if name == 'hemispheres' else ''}; {did_you_mean(name, known)}"
            )
    try:
        if source[0][0]:
            reader = open_surface_reader(**options, hemispheres=[h for h, _ in source])
            return reader.units, reader.unit_info, reader.attrs, lambda s: reader.read(dict(s), allow_bad=True)
        reader = open_cifti_reader(first, **options) if is_cifti else open_reader(**options)
    except (TypeError, AttributeError) as why:
        given = ", ".join(f"{name}={value!r}" for name, value in options.items())
        raise BrainError(f"an option for reading {first.name} has a value of the wrong kind: {given}") from why
    return reader.units, reader.unit_info, reader.attrs, lambda s: reader.read(s[0][1], allow_bad=True)


def _volumes(maps: Mapping[Any, pd.DataFrame], of_source: Sequence[Any], n_volumes: int, source: _Source) -> list[int]:
    """Say which volume of a file each map is."""
    file = source[0][1].name
    if "volume" in next(iter(maps.values())):
        volumes = [int(maps[key]["volume"].iloc[0]) for key in of_source]
        if max(volumes) >= n_volumes:
            raise BrainError(f"{file} has {n_volumes} volumes, but the table asks for volume {max(volumes)} (from 0)")
        return volumes
    if len(of_source) != n_volumes:
        raise BrainError(
            f"{file} has {n_volumes} volumes for {len(of_source)} rows of the table; add a column 'volume'"
        )
    return list(range(n_volumes))


def _join(
    subjects: Sequence[_Subject], info: pd.DataFrame, name: str, citation: str, licence: str, warnings: tuple[str, ...]
) -> BrainData:
    values = np.concatenate([s.values for s in subjects], axis=2)
    units = [f"{s.name}_{u}" for s in subjects for u in s.units]
    unit_info = pd.concat([s.unit_info.assign(subject=s.name) for s in subjects], ignore_index=True)
    digest = hashlib.sha256(values.tobytes() + "\n".join([*units, *info.index]).encode())
    responses = make_responses(
        values[0] if len(values) == 1 else values,
        list(info.index),
        units,
        stimulus_info=info,
        unit_info={str(c): unit_info[c].to_numpy() for c in unit_info},
        attrs=combine_geometry({s.name: s.attrs for s in subjects}),
    )
    return BrainData(
        name, responses, f"SHA-256 of values {digest.hexdigest()[:16]}", citation, licence, warnings=warnings
    )
