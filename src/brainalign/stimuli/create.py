"""A lab's own set: from a folder of sounds to a stimulus set, in one step."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from brainalign._files import scratch_folder, write_then_rename
from brainalign.errors import StimulusError, name_some
from brainalign.stimuli.sets import Manifest, StimulusSet, read_stimulus_set, read_text_table

#: What is taken for a sound in a folder, by its suffix.
SOUND_SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".mp3", ".aif", ".aiff", ".au"})
#: What the manifest says until somebody fills it in; the check asks for it.
PLACEHOLDERS = {"citation": "TODO: how to cite these sounds", "licence": "TODO: on what terms they may be used"}
#: The category of sounds for which neither a table nor a sub-folder names one; the check asks for it.
UNCATEGORISED = "uncategorised"


def create_stimulus_set(
    folder: Path | str,
    source: Path | str,
    table: Path | str | None = None,
    *,
    name: str | None = None,
    citation: str | None = None,
    licence: str | None = None,
) -> StimulusSet:
    """Make a stimulus set of a folder of sounds.

    The sounds are copied into ``folder/audio``, unless they lie within `folder` already: a set holds its own sounds,
    so it can be moved and shared, and the source is never touched.

    Parameters
    ----------
    folder : path-like
        The set to be; it is made. If it is there already it must be empty or hold the sounds, but no set.
    source : path-like
        Holds the sounds, at any depth; files with other suffixes (:func:`other_files`) are left where they are.
    table : path-like, optional
        A CSV with the column ``category`` and either ``file`` (relative to `source`) or ``stimulus_id`` (the name of
        the file without its suffix), or both; other columns are kept. It lists each sound once. Without a table, the
        category of a sound is the first sub-folder that it lies in.
    name : str, optional
        Name of the set; that of `folder` if not given.
    citation, licence : str, optional
        For the manifest; if not given it says ``TODO``, and the check asks for them.

    Returns
    -------
    StimulusSet
        The set, as read from `folder`; ids are the names of the files without suffix.

    Raises
    ------
    StimulusError
        If there is a set already, there are no sounds, two sounds have one id, or table and sounds do not match.
    """
    folder, source = Path(folder), Path(source)
    in_place = source.resolve().is_relative_to(folder.resolve())
    if (folder / "stimuli.csv").exists() or (folder / "stimulus_set.toml").exists():
        raise StimulusError(f"{folder} holds a stimulus set already; choose another folder")
    if not in_place and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise StimulusError(f"{folder} is not empty; choose a folder that is not there yet")
    rows = _rows_of_sounds(source) if table is None else _rows_of_table(source, Path(table))
    _check_ids(rows)
    manifest = Manifest(
        name=name or folder.resolve().name,
        version="1",
        citation=citation or PLACEHOLDERS["citation"],
        licence=licence or PLACEHOLDERS["licence"],
    )
    if in_place:
        within = source.resolve().relative_to(folder.resolve()).as_posix()
        rows = rows.assign(file=[str(PurePosixPath(within, f)) for f in rows["file"]])
        with tempfile.TemporaryDirectory() as trial:
            write_set_files(Path(trial), manifest, rows)
            read_stimulus_set(trial, audio_folder=folder)
        write_set_files(folder, manifest, rows)
        return read_stimulus_set(folder)
    with new_folder(folder) as temporary:
        for file in rows["file"]:
            target = temporary / "audio" / file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / file, target)
        write_set_files(temporary, manifest, rows.assign(file="audio/" + rows["file"]))
        read_stimulus_set(temporary)  # what makes no set must not take its place
    return read_stimulus_set(folder)


def find_sounds(source: Path) -> list[str]:
    """Return the sounds beneath a folder, sorted, as POSIX paths relative to it.

    Parameters
    ----------
    source : Path
        The folder.

    Returns
    -------
    list of str
        Files with a suffix of ``SOUND_SUFFIXES`` whose name does not begin with a dot.

    Raises
    ------
    StimulusError
        If there is no such folder, or no sound in it.
    """
    sounds = sound_files(source)
    if not sounds:
        raise StimulusError(f"{source} holds no sounds; expected files that end in {', '.join(sorted(SOUND_SUFFIXES))}")
    return sounds


def sound_files(folder: Path) -> list[str]:
    """Return the sounds beneath a folder as :func:`find_sounds` does, but none where there is none."""
    return [f for f in _files_beneath(folder) if _is_sound(f)]


def is_hidden(file: str) -> bool:
    """Return whether a name in a relative path begins with a dot."""
    # A leading dot is how macOS marks the files that it leaves beside each sound ("._a.wav").
    return any(part.startswith(".") for part in PurePosixPath(file).parts)


def other_files(source: Path) -> list[str]:
    """Return the files beneath a folder that are not taken for sounds, sorted, relative to it."""
    return [f for f in _files_beneath(source) if not _is_sound(f)]


def _files_beneath(source: Path) -> list[str]:
    if not source.is_dir():
        raise StimulusError(f"there is no folder {source} with sounds")
    return sorted(p.relative_to(source).as_posix() for p in source.rglob("*") if p.is_file())


def _is_sound(file: str) -> bool:
    return PurePosixPath(file).suffix.lower() in SOUND_SUFFIXES and not is_hidden(file)


def _rows_of_sounds(source: Path) -> pd.DataFrame:
    files = [PurePosixPath(f) for f in find_sounds(source)]
    categories = [f.parts[0] if len(f.parts) > 1 else UNCATEGORISED for f in files]
    loose = [str(f) for f in files if len(f.parts) == 1]
    if 0 < len(loose) < len(files):
        raise StimulusError(
            f"{source}: {len(files) - len(loose)} sounds lie in sub-folders, which name their categories, but "
            f"{len(loose)} do not: {name_some(loose)}; move them into one, or give a table"
        )
    return pd.DataFrame({"stimulus_id": [f.stem for f in files], "file": map(str, files), "category": categories})


def _rows_of_table(source: Path, path: Path) -> pd.DataFrame:
    """Return the rows of a lab's table, with ``file`` and ``stimulus_id`` both filled in."""
    table = _read_lab_table(path)
    sounds = find_sounds(source)
    if "file" in table:
        files = list(table["file"])
    else:
        by_stem: dict[str, list[str]] = {}
        for sound in sounds:
            by_stem.setdefault(PurePosixPath(sound).stem, []).append(sound)
        several = [f"{i} ({name_some(by_stem[i])})" for i in table["stimulus_id"] if len(by_stem.get(i, ())) > 1]
        if several:
            raise StimulusError(f"{path}: several files fit {name_some(several)}; name the file in a column file")
        files = [by_stem.get(i, [i])[0] for i in table["stimulus_id"]]
    unlisted, absent = sorted({*sounds} - {*files}), sorted({*files} - {*sounds})
    if absent:
        raise StimulusError(f"{path} lists {len(absent)} sounds that are not in {source}: {name_some(absent)}")
    if unlisted:
        raise StimulusError(
            f"{len(unlisted)} sounds in {source} are not in {path}: {name_some(unlisted)}; list them or move them away"
        )
    ids = table.get("stimulus_id", [PurePosixPath(f).stem for f in files])
    rest = table.drop(columns=["file", "stimulus_id"], errors="ignore")
    return pd.concat([pd.DataFrame({"stimulus_id": ids, "file": files}), rest], axis=1)


def _read_lab_table(path: Path) -> pd.DataFrame:
    """Read a lab's table; where a column has a space before its name, as after a comma, its entries may have it too."""
    try:
        table = read_text_table(path)
    except StimulusError as why:
        if isinstance(why.__cause__, UnicodeDecodeError):
            raise StimulusError(f"{why}; save it as UTF-8 (in a spreadsheet: CSV UTF-8)") from why
        raise
    spaced = [c for c in table.columns if c != c.strip()]
    table[spaced] = table[spaced].apply(lambda column: column.str.strip())
    table.columns = table.columns.str.strip()
    if "category" not in table or not {"file", "stimulus_id"} & {*table.columns}:
        separators = [s for s in (";", "\t") if len(table.columns) == 1 and s in table.columns[0]]
        hint = f"; its separator seems to be {separators[0]!r}: save it with commas" if separators else ""
        raise StimulusError(
            f"{path} has the columns {name_some(table.columns, 20)}; it needs category, and file or stimulus_id{hint}"
        )
    twice = table.columns[table.columns.duplicated()]
    if len(twice):
        raise StimulusError(f"{path} has two columns {twice[0]!r}; rename or remove one")
    if table.empty:
        raise StimulusError(f"{path} lists no sound")
    for column in table.columns.intersection(["category", "file", "stimulus_id"]):
        blank = np.flatnonzero(table[column].str.strip() == "")
        if len(blank):
            row = table.iloc[blank[0]]
            which = next((repr(row[c]) for c in ("stimulus_id", "file") if row.get(c, "").strip()), "a sound")
            raise StimulusError(
                f"{path}: {column} is empty for {which} (row {blank[0] + 1} below the header)"
                + (f" and {len(blank) - 1} more" if len(blank) > 1 else "")
            )
    return table


def _check_ids(rows: pd.DataFrame) -> None:
    twice = rows[rows["stimulus_id"].duplicated(keep=False)]
    if len(twice):
        first = twice["stimulus_id"].iloc[0]
        files = twice["file"][twice["stimulus_id"] == first]
        raise StimulusError(
            f"{len(files)} sounds have the id {first!r}: {name_some(files)}; rename them, or give a table with the "
            f"columns file and stimulus_id"
        )


def refuse_within(folder: Path, source: StimulusSet) -> None:
    """Raise a StimulusError if a new set would lie within the folder of the set that it is made from."""
    if source.folder is not None and source.folder.resolve() in folder.resolve().parents:
        raise StimulusError(f"{folder} lies within {source.folder}, the set that it would be made from; go beside it")


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Give a temporary folder beside `folder`, which takes its place when the block ends without an error.

    Parameters
    ----------
    folder : Path
        What is to be; it is not there yet, or empty.

    Yields
    ------
    Path
        Where to write.

    Raises
    ------
    StimulusError
        If `folder` is there and not empty.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise StimulusError(f"{folder} is not empty; choose a folder that is not there yet")
    with scratch_folder(folder) as scratch:
        temporary = scratch / folder.name
        temporary.mkdir()
        yield temporary
        temporary.replace(folder)


def write_set_files(folder: Path, manifest: Manifest, table: pd.DataFrame) -> None:
    """Write the two small files of a set.

    Parameters
    ----------
    folder : Path
        The set; its sounds are there already, or will be.
    manifest : Manifest
        What ``stimulus_set.toml`` says.
    table : DataFrame
        The rows of ``stimuli.csv``; ``stimulus_id`` is a column.
    """
    with write_then_rename(folder / "stimuli.csv") as temporary:
        table.to_csv(temporary, index=False, encoding="utf-8", lineterminator="\n")
    # A JSON string is a basic string of TOML, and a JSON number is a TOML number.
    entries = manifest.model_dump(exclude_none=True).items()
    with write_then_rename(folder / "stimulus_set.toml") as temporary:
        lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in entries]
        temporary.write_text("".join(lines), encoding="utf-8")
