"""Embeddings that are not heard: what the table of a stimulus set says of its sounds, in the form of a model's answer.

A model that reads and does not listen has a name, a layer and a record as every model has, so recipes, measures and
:func:`~brainalign.models.extraction.extract` take it alike. Windows of a clip have what their clip has: the embedding
of a clip is repeated at the rate of the windows, as in Denk et al. 2023 (Brain2Music, arXiv:2307.11078).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from brainalign.errors import ModelError, did_you_mean, name_some
from brainalign.models.base import ShownModel
from brainalign.responses import Responses, make_responses, with_columns

if TYPE_CHECKING:
    from brainalign.stimuli import StimulusSet


@runtime_checkable
class TableModel(Protocol):
    """Turns the table of a stimulus set into embeddings; no sound is played.

    Attributes
    ----------
    name : str
        Identifier, as in tables.
    sample_rate : None
        It takes no sound.
    layouts : mapping of str to str
        Its one layer, without an axis of time: ``"BC"``.
    record : mapping
        What determines its output beyond the name. Goes into the provenance.
    """

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def sample_rate(self) -> None: ...  # noqa: D102
    @property
    def layouts(self) -> Mapping[str, str]: ...  # noqa: D102
    @property
    def record(self) -> Mapping[str, Any]: ...  # noqa: D102

    def describe(self, stimuli: StimulusSet) -> Responses:
        """Return the embedding of every stimulus.

        Parameters
        ----------
        stimuli : StimulusSet
            Of which the table is read.

        Returns
        -------
        Responses
            Dims ``(stimulus, unit)``, stimuli in the order of the set; unit coordinates ``layer`` and ``channel``.
        """
        ...


@dataclass(frozen=True)
class OneHot(ShownModel):
    """One unit for each value of a column of the stimulus table: 1 for stimuli that have it, 0 for others.

    Attributes
    ----------
    column : str
        Of the table.
    name : str
        As the model was asked for.
    """

    column: str
    name: str
    sample_rate: None = None

    @property
    def layouts(self) -> Mapping[str, str]:
        """The one layer, called as the column."""
        return {self.column: "BC"}

    @property
    def record(self) -> Mapping[str, Any]:
        """What is read."""
        return {"reads": f"column {self.column!r} of the stimulus table"}

    def describe(self, stimuli: StimulusSet) -> Responses:
        """Return one unit for each value, values sorted.

        Parameters
        ----------
        stimuli : StimulusSet
            With that column.

        Returns
        -------
        Responses
            Unit ids are ``COLUMN:VALUE``.

        Raises
        ------
        ModelError
            If there is no such column, an entry is empty, or all are alike.
        """
        table = stimuli.table
        if self.column not in table:
            raise ModelError(
                f"{self.name}: {stimuli.name} has no column {self.column!r}; "
                f"{did_you_mean(self.column, map(str, table.columns))}"
            )
        column = table[self.column]
        empty = column.isna() | (column.astype(str).str.strip() == "")
        if empty.any():
            raise ModelError(
                f"{self.name}: the column {self.column!r} of {stimuli.name} has no entry for "
                f"{name_some(column.index[empty])}"
            )
        values, codes = np.unique(column.to_numpy().astype(str), return_inverse=True)
        if len(values) < 2:
            raise ModelError(
                f"{self.name}: all {len(stimuli)} stimuli of {stimuli.name} have the {self.column} {str(values[0])!r}; "
                f"at least 2 values are needed to tell stimuli apart"
            )
        return table_responses(np.eye(len(values))[codes], self, stimuli, values.tolist())


def load_one_hot(variant: str = "", *, pretrained: bool = True) -> OneHot:
    """Load the model that stands for a column of the stimulus table, such as the genre.

    Parameters
    ----------
    variant : str
        Name of the column; ``category`` if empty.
    pretrained : bool
        Makes no difference: there are no weights.

    Returns
    -------
    OneHot
        The model.
    """
    return OneHot(variant or "category", f"one-hot:{variant or 'category'}")


def table_responses(
    values: NDArray[Any], model: TableModel, stimuli: StimulusSet, labels: Sequence[str] | None = None
) -> Responses:
    """Give embeddings the form of a model's responses.

    Parameters
    ----------
    values : ndarray, shape (n_stimuli, n_units)
        Embeddings, in the order of the set.
    model : TableModel
        Of one layer.
    stimuli : StimulusSet
        What they are of.
    labels : sequence of str, length n_units, optional
        What each unit stands for, in its id; numbers if not given.

    Returns
    -------
    Responses
        float32, with the columns of the table along stimulus.

    Raises
    ------
    ResponseError
        If values are not finite, or all units are alike for a stimulus.
    """
    (layer,) = model.layouts
    channel = np.arange(values.shape[1])
    responses = make_responses(
        values.astype(np.float32),
        stimuli.ids,
        [f"{layer}:{label}" for label in (channel if labels is None else labels)],
        unit_info=pd.DataFrame({"layer": layer, "channel": channel}),
        attrs={
            "source": model.name,
            "stimulus_set": f"{stimuli.name} {stimuli.manifest.version}",
            "model_record": json.dumps(dict(model.record)),
        },
    )
    return with_columns(responses, stimuli.table)
