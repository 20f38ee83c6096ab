"""How known data sets are given out: from their folder to the rows of a stimulus set."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pandas as pd

from brainalign._files import shipped
from brainalign.errors import StimulusError, name_some
from brainalign.stimuli.create import find_sounds
from brainalign.stimuli.sets import read_text_table

GENRES = ("blues", "classical", "country", "disco", "hiphop", "jazz", "metal", "pop", "reggae", "rock")
#: The five groups of ESC-50, ten categories each, in the order of the column ``target`` (Piczak 2015, table 1).
ESC50_GROUPS = ("animals", "natural soundscapes and water", "human, not speech", "interior", "exterior")


def read_esc50(source: Path) -> pd.DataFrame:
    """Read ESC-50 as its repository gives it out.

    Parameters
    ----------
    source : Path
        Holds ``meta/esc50.csv`` and ``audio/``.

    Returns
    -------
    DataFrame
        2,000 rows: ``stimulus_id`` (``"1-100032-A-0"``), ``file``, ``category`` (one of 50), ``group`` (one of five),
        ``fold``, ``esc10`` and ``src_file`` (the recording that a clip was cut from).

    Raises
    ------
    StimulusError
        If the table is not that of ESC-50, or files are missing.
    """
    path = source / "meta" / "esc50.csv"
    table = read_text_table(path)
    lacking = {"filename", "fold", "target", "category", "esc10", "src_file"} - {*table.columns}
    if lacking or len(table) != 2000 or set(table["target"]) != {str(i) for i in range(50)}:
        raise StimulusError(
            f"{path} is not the table of ESC-50: expected 2000 clips with targets 0 to 49, found {len(table)} clips"
            + (f", without the columns {name_some(sorted(lacking))}" if lacking else "")
        )
    rows = pd.DataFrame(
        {
            "stimulus_id": [PurePosixPath(f).stem for f in table["filename"]],
            "file": "audio/" + table["filename"],
            "category": table["category"],
            "group": [ESC50_GROUPS[int(t) // 10] for t in table["target"]],
            **{column: table[column] for column in ("fold", "esc10", "src_file")},
        }
    )
    return _with_all_files(source, rows)


def read_gtzan(source: Path) -> pd.DataFrame:
    """Read GTZAN as it is given out.

    Parameters
    ----------
    source : Path
        Holds, at any depth, the folders of the ten genres with 100 tracks each, ``blues/blues.00000.wav`` or ``.au``.

    Returns
    -------
    DataFrame
        1,000 rows: ``stimulus_id`` (``"blues.00000"``), ``file`` and ``category`` (the genre).

    Raises
    ------
    StimulusError
        If tracks are missing, or are there twice.
    """
    ids = [f"{genre}.{track:05d}" for genre in GENRES for track in range(100)]
    files: dict[str, str] = {}
    for file in find_sounds(source):
        path = PurePosixPath(file)
        if path.stem in files and path.parent.name == path.stem.split(".")[0]:
            raise StimulusError(f"the track {path.stem} is there twice: {files[path.stem]} and {file}; keep one")
        if path.parent.name == path.stem.split(".")[0]:
            files[path.stem] = file
    missing = [i for i in ids if i not in files]
    if missing:
        raise StimulusError(f"{source} lacks {len(missing)} of the 1000 tracks of GTZAN: {name_some(missing)}")
    genres = [i.split(".")[0] for i in ids]
    return pd.DataFrame({"stimulus_id": ids, "file": [files[i] for i in ids], "category": genres})


def read_boebinger2021(source: Path) -> pd.DataFrame:
    """Read the 192 sounds of Boebinger et al. 2021, which their authors give out on request.

    No list of the 27 further sounds is public, so what is checked is the number of sounds and that all of natsound165
    are among them, by name; categories of the others come from the user.

    Parameters
    ----------
    source : Path
        Holds the sounds, and ``categories.csv`` with the columns ``stimulus_id`` and ``category``.

    Returns
    -------
    DataFrame
        192 rows: ``stimulus_id``, ``file``, ``category`` and ``in_natsound165`` (0 or 1).

    Raises
    ------
    StimulusError
        If there are not 192 sounds, some of natsound165 are missing, or a sound has no category.
    """
    files = {PurePosixPath(f).stem: f for f in find_sounds(source)}
    known = read_text_table(shipped("stimuli") / "natsound165" / "stimuli.csv").set_index("stimulus_id")["category"]
    missing = [i for i in known.index if i not in files]
    if missing or len(files) != 192:
        raise StimulusError(
            f"{source} holds {len(files)} sounds, expected the 192 of Boebinger et al. 2021"
            + (f"; {len(missing)} of natsound165 are not among them: {name_some(missing)}" if missing else "")
        )
    table = read_text_table(source / "categories.csv")
    if not {"stimulus_id", "category"} <= {*table.columns}:
        raise StimulusError(f"{source / 'categories.csv'} needs the columns stimulus_id and category")
    categories = {**dict(zip(table["stimulus_id"], table["category"], strict=True)), **known.to_dict()}
    without = [i for i in files if not categories.get(i, "").strip()]
    if without:
        raise StimulusError(
            f"{source / 'categories.csv'} gives no category to {len(without)} sounds: {name_some(without)}"
        )
    return pd.DataFrame(
        {
            "stimulus_id": list(files),
            "file": list(files.values()),
            "category": [categories[i] for i in files],
            "in_natsound165": [int(i in known.index) for i in files],
        }
    )


def _with_all_files(source: Path, rows: pd.DataFrame) -> pd.DataFrame:
    outside = [f for f in rows["file"] if PurePosixPath(f).is_absolute() or ".." in PurePosixPath(f).parts]
    if outside:  # sounds are copied to where their names say
        raise StimulusError(f"the table of {source} names files outside it: {name_some(map(repr, outside))}")
    missing = [f for f in rows["file"] if not (source / f).is_file()]
    if missing:
        raise StimulusError(f"{source} lacks {len(missing)} of {len(rows)} sounds: {name_some(missing)}")
    return rows
