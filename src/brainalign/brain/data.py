"""Brain data: Responses with what belongs to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import xarray as xr

from brainalign.responses import Responses


@dataclass(frozen=True)
class BrainData:
    """Responses of a brain and their context.

    Attributes
    ----------
    name : str
        Identifier of the data set.
    responses : Responses
        Dims ``(stimulus, unit)`` or ``(repetition, stimulus, unit)``; units are voxels, electrodes or components.
    version : str
        Raised whenever scores against these data would change.
    citation, licence : str
        How to cite, and on what terms the data may be used.
    arrays : mapping of str to DataArray
        What belongs to the units, for instance component weights over voxels, or, in a simulation, the truth.
    warnings : tuple of str
        What a reader of scores against these data must know, for instance that a subject was left out.
    """

    name: str
    responses: Responses
    version: str
    citation: str
    licence: str
    arrays: Mapping[str, xr.DataArray] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Name the responses after the data set, as tables and messages show them."""
        object.__setattr__(self, "responses", self.responses.assign_attrs(source=self.name))

    def __repr__(self) -> str:
        sizes = " x ".join(f"{n} {d}" for d, n in self.responses.sizes.items())
        return f"<BrainData {self.name} {self.version}: {sizes}>"
