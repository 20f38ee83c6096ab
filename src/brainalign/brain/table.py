"""A lab's own responses: a table with one row per sound, or a netCDF file of Responses."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from brainalign._files import sha256
from brainalign.brain.data import BrainData
from brainalign.errors import BrainError
from brainalign.responses import from_table, load_responses


def load_table(
    path: str, *, stimulus_column: str = "stimulus_id", citation: str = "unpublished", licence: str = "not stated"
) -> BrainData:
    """Load responses from a CSV table or from netCDF.

    Parameters
    ----------
    path : str
        A ``.csv`` file with a column of stimulus ids and one column per unit (voxel, electrode, component, region), or
        a ``.nc`` file that :func:`~brainalign.responses.save_responses` wrote, which can hold repetitions too.
    stimulus_column : str
        The column with the ids.
    citation, licence : str
        What the report says of the data.

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
    if file.suffix == ".nc":
        responses = load_responses(file)
    else:
        try:
            table = pd.read_csv(file, dtype={stimulus_column: str}, encoding="utf-8-sig")
        except (ValueError, UnicodeDecodeError) as why:
            raise BrainError(f"{file.name} cannot be read as a table: {why}") from why
        responses = from_table(table, stimulus_column=stimulus_column)
    return BrainData(file.stem, responses, f"SHA-256 {sha256(file)[:16]}", citation, licence)
