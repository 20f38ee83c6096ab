"""A lab's own responses: a table with one row per sound, or a netCDF file, and keeping brain data in such a file."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from brainalign._files import sha256
from brainalign.brain.data import BrainData
from brainalign.errors import BrainError
from brainalign.responses import from_table, load_responses, save_responses


def save_brain(brain: BrainData, path: str | Path) -> Path:
    """Write brain data as netCDF-4, for :func:`load_table`.

    Parameters
    ----------
    brain : BrainData
        Its responses are kept, with citation, licence and warnings as attributes; its other arrays are not.
    path : path-like
        The file, ending in ``.nc``.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    ResponseError
        As :func:`~brainalign.responses.save_responses` does.
    """
    facts = {"citation": brain.citation, "licence": brain.licence, "warnings": json.dumps(brain.warnings)}
    return save_responses(brain.responses.assign_attrs(facts), path)


def load_table(
    path: str, *, stimulus_column: str = "stimulus_id", citation: str | None = None, licence: str | None = None
) -> BrainData:
    """Load responses from a CSV table or from netCDF.

    Parameters
    ----------
    path : str
        A ``.csv`` file with a column of stimulus ids and one column per unit (voxel, electrode, component, region), or
        a ``.nc`` file that :func:`save_brain` or :func:`~brainalign.responses.save_responses` wrote, which can hold
        repetitions too.
    stimulus_column : str
        The column with the ids.
    citation, licence : str
        What the report says of the data; if not given, what the netCDF file says, or "unpublished" and "not stated".

    Returns
    -------
    BrainData
        Named after the file; its version is the file's digest.

    Raises
    ------
    BrainError
        If the file is missing or is no table.
    ResponseError
        If ids are missing or twice, or values are missing or no numbers.
    """
    file = Path(path)
    if not file.is_file():
        raise BrainError(f"no file {path!r} with responses")
    if file.suffix.lower() not in (".csv", ".nc"):
        raise BrainError(
            f"{file.name} is no table of responses (.csv) and no netCDF file (.nc); responses out of images: "
            f"brainalign brain from-images (a map for each stimulus) or from-bids (time series)"
        )
    if file.suffix == ".nc":
        responses = load_responses(file)
    else:
        try:
            table = pd.read_csv(file, dtype={stimulus_column: str}, encoding="utf-8-sig")
        except (ValueError, UnicodeDecodeError) as why:
            raise BrainError(f"{file.name} cannot be read as a table: {why}") from why
        responses = from_table(table, stimulus_column=stimulus_column)
    facts = responses.attrs
    return BrainData(
        file.stem,
        responses,
        f"SHA-256 {sha256(file)[:16]}",
        citation or str(facts.get("citation", "unpublished")),
        licence or str(facts.get("licence", "not stated")),
        warnings=_warnings(file, str(facts.get("warnings", "[]"))),
    )


def _warnings(file: Path, text: str) -> tuple[str, ...]:
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, list) or not all(isinstance(w, str) for w in found):
        raise BrainError(f"{file.name}: its attribute 'warnings' is {text[:40]!r}, expected a JSON list of strings")
    return tuple(found)
