"""Brain data: Responses with what belongs to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import xarray as xr

from brainalign._html import html_card, html_list
from brainalign._reading import check_names
from brainalign.errors import BrainError
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
        check_names([self.name], "the name of the brain data", BrainError)
        object.__setattr__(self, "responses", self.responses.assign_attrs(source=self.name))

    def __repr__(self) -> str:
        sizes = " x ".join(f"{n} {d}" for d, n in self.responses.sizes.items())
        return f"<BrainData {self.name} {self.version}: {sizes}>"

    def _repr_html_(self) -> str:
        responses = self.responses
        counts = {
            plural: responses[name].to_series().value_counts(sort=False).to_dict()
            for name, plural in (("category", "categories"), ("subject", "subjects"), ("region", "regions"))
            if name in responses.coords and responses[name].ndim == 1
        }
        facts = {
            "size": " x ".join(f"{n} {d}" for d, n in responses.sizes.items()),
            **counts,
            "arrays": list(self.arrays),
            "citation": self.citation,
            "licence": self.licence,
        }
        return html_card(f"{self.name} {self.version}", facts, html_list("warnings", self.warnings))
