"""AudioSet's own layout, and lists of clips that were removed by hand."""

from __future__ import annotations

import os
import xml.etree.ElementTree as ElementTree
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pandas as pd

from brainalign._reading import reading, reason
from brainalign.errors import StimulusError, name_some
from brainalign.training.corpus import Corpus, read_table

SEGMENTS = {"train": "balanced_train_segments.csv", "test": "eval_segments.csv"}
LABELS = "class_labels_indices.csv"
SUFFIXES = (".wav", ".wav.gz", ".flac")
#: No part of a list of names is larger; a spreadsheet that unpacks to more is not one.
MAXIMUM_PART_BYTES = 50_000_000
_SHEET = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"


def is_audioset(folder: Path) -> bool:
    """Tell whether a folder has AudioSet's layout."""
    return (folder / SEGMENTS["train"]).is_file()


def read_audioset(folder: Path, missing_clips: Literal["error", "leave-out"] = "error") -> Corpus:
    """Read AudioSet as it is distributed.

    Parameters
    ----------
    folder : Path
        Holds ``class_labels_indices.csv``, ``balanced_train_segments.csv`` (training), optionally ``eval_segments.csv``
        (test), and anywhere beneath it (symbolic links are followed) the sounds, as wav, wav.gz or flac, named by
        YouTube id (``ID.wav``) or by id and start (``ID_30.000.wav``).
    missing_clips : {'error', 'leave-out'}
        What to do about clips of the segment lists that are not there.

    Returns
    -------
    Corpus
        Clips are called ``ID_START`` (``"-A0MTi2NMGI_30.000"``); the classes are the 527 labels in AudioSet's order.

    Raises
    ------
    StimulusError
        If a list is malformed, names an unknown label, or names clips that are missing.
    """
    names = read_class_labels(folder / LABELS)
    lists = {split: folder / file for split, file in SEGMENTS.items() if (folder / file).is_file()}
    segments = pd.concat([_read_segments(path, names).assign(split=split) for split, path in lists.items()])
    repeated = segments.index[segments.index.duplicated()]
    if len(repeated):
        raise StimulusError(f"{folder}: clips are listed more than once: {name_some(repeated)}")
    sounds = _sounds(folder)
    pairs = zip(segments.index, segments["youtube"], strict=True)
    files = pd.Series([sounds.get(clip) or sounds.get(youtube) for clip, youtube in pairs], index=segments.index)
    there = files.notna()
    if missing_clips == "error" and not there.all():
        raise StimulusError(
            f"{(~there).sum()} of {len(there)} clips of the segment lists are not in {folder}: "
            f'{name_some(there.index[~there])}; to train without them, say missing_clips = "leave-out"'
        )
    clips = segments.drop(columns="youtube").assign(file=files)[there]
    return Corpus(
        name="AudioSet",
        clips=clips[["file", "labels", "split"]],
        classes=tuple(names.values()),
        left_out={} if there.all() else {"clip is not there": int((~there).sum())},
    )


def read_class_labels(path: Path) -> dict[str, str]:
    """Read the labels of AudioSet.

    Parameters
    ----------
    path : Path
        ``class_labels_indices.csv`` with columns ``index``, ``mid`` and ``display_name``.

    Returns
    -------
    dict of str to str
        Display names by machine id, in AudioSet's order.

    Raises
    ------
    StimulusError
        If the file is missing or not of this form.
    """
    table = read_table(path, ("index", "mid", "display_name"))
    if list(table["index"]) != [str(i) for i in range(len(table))]:
        raise StimulusError(f"{path}: the column 'index' does not count up from 0; is the file whole?")
    return dict(zip(table["mid"], table["display_name"], strict=True))


def _read_segments(path: Path, names: dict[str, str]) -> pd.DataFrame:
    """Return clips by name, with their YouTube id and labels."""
    with reading(path, "a segment list of AudioSet", StimulusError), path.open(encoding="utf-8") as stream:
        head = [stream.readline() for _ in range(3)]
    if not all(line.startswith("#") for line in head):
        raise StimulusError(f"{path} is not a segment list of AudioSet: it should begin with three lines of comment")
    columns = ["youtube", "start", "end", "mids"]
    with reading(path, "a segment list of AudioSet", StimulusError):
        table = pd.read_csv(path, skiprows=3, names=columns, dtype=str, skipinitialspace=True, keep_default_na=False)
        starts = [f"{float(start):.3f}" for start in table["start"]]
    mids = [entry.split(",") for entry in table["mids"]]
    unknown = sorted({mid for entry in mids for mid in entry if mid not in names})
    if unknown:
        raise StimulusError(f"{path} names labels that {LABELS} does not: {name_some(map(repr, unknown))}")
    index = pd.Index([f"{youtube}_{start}" for youtube, start in zip(table["youtube"], starts, strict=True)], name="id")
    labels = [tuple(dict.fromkeys(names[mid] for mid in entry)) for entry in mids]
    return pd.DataFrame({"youtube": table["youtube"].to_numpy(), "labels": labels}, index=index)


def _sounds(folder: Path) -> dict[str, Path]:
    """Return the sound files beneath a folder by their names without suffix."""
    found: dict[str, Path] = {}
    for path in _beneath(folder):
        suffix = next((s for s in SUFFIXES if path.name.endswith(s)), None)
        if suffix is None:
            continue
        name = path.name.removesuffix(suffix)
        if name in found:
            raise StimulusError(f"the clip {name!r} is there twice: {found[name]} and {path}; keep one")
        found[name] = path
    return found


def _beneath(folder: Path) -> Iterator[Path]:
    """Yield the files beneath a folder, through symbolic links too, no folder twice (links may form a ring)."""
    seen: set[str] = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders.sort()
        yield from (Path(place) / name for name in sorted(names))


def read_exclusions(path: Path) -> tuple[str, ...]:
    """Read a list of clips that were removed by hand.

    Parameters
    ----------
    path : Path
        A spreadsheet (.xlsx) with one name per row in its first column, or a text file with one name per line. The
        list of Kim et al. 2024 has no header row, so its first row counts, and its first five rows say ``"Name: "``
        before the name.

    Returns
    -------
    tuple of str
        The names as listed, without ``"Name: "`` and without the suffix ``.wav``: 507 in the published list, of which
        four are there twice.

    Raises
    ------
    StimulusError
        If the file cannot be read or names nothing.
    """
    try:
        rows = _first_column(path) if path.suffix == ".xlsx" else path.read_text(encoding="utf-8").splitlines()
    except Exception as why:  # zipfile, zlib and the parser of XML raise a dozen kinds on damaged files
        raise StimulusError(f"cannot read the list of clips {path}: {type(why).__name__}: {reason(why)}") from why
    names = [row.strip().removeprefix("Name:").strip().removesuffix(".wav") for row in rows]
    names = [name for name in names if name]
    if not names:
        raise StimulusError(f"the list of clips {path} names none")
    return tuple(names)


def _first_column(path: Path) -> list[str]:
    """Return the texts of the first column of the first sheet: all that is needed of a spreadsheet."""
    with zipfile.ZipFile(path) as archive:
        shared = [
            "".join(text.text or "" for text in item.iter(f"{_SHEET}t") if text is not None)
            for item in _xml(archive, "xl/sharedStrings.xml").iter(f"{_SHEET}si")
        ]
        sheet = _xml(archive, "xl/worksheets/sheet1.xml")
    cells = [cell for cell in sheet.iter(f"{_SHEET}c") if cell.get("r", "").rstrip("0123456789") == "A"]
    texts = []
    for cell in cells:
        value = cell.findtext(f"{_SHEET}v") or "".join(t.text or "" for t in cell.iter(f"{_SHEET}t"))
        texts.append(shared[int(value)] if cell.get("t") == "s" else value)
    return texts


def _xml(archive: zipfile.ZipFile, part: str) -> ElementTree.Element:
    """Parse a part of a spreadsheet that may come from anywhere."""
    if archive.getinfo(part).file_size > MAXIMUM_PART_BYTES:
        raise ValueError(f"{part} unpacks to more than {MAXIMUM_PART_BYTES} bytes")
    content = archive.read(part)
    if b"<!DOCTYPE" in content or b"<!ENTITY" in content:  # where XML bombs live; spreadsheets have none
        raise ValueError(f"{part} declares entities")
    return ElementTree.fromstring(content)
