"""What determines the numbers of a measure: the key of the store of finished tasks.

Responses are digested by their values, so it does not matter where they come from; functions by their sources, so that
no result of code that has changed since is taken for one of today's.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Mapping
from typing import Any

import xarray as xr

from brainalign.brain import BrainData
from brainalign.engine import fingerprint
from brainalign.engine.codec import digest_of
from brainalign.engine.sources import source_digest
from brainalign.stimuli import StimulusSet


class Digests:
    """Digests of what measures are given; each thing is read once, however many measures take it."""

    def __init__(self) -> None:
        # The thing is kept beside its digest, so that its id stays its own.
        self._known: dict[int, tuple[Any, str | None]] = {}

    def identity(
        self, measure: str, function: Callable[..., Any], options: Mapping[str, Any], given: Mapping[str, Any]
    ) -> dict[str, Any] | None:
        """Collect what determines the result of a measure.

        Parameters
        ----------
        measure : str
            Its registered name.
        function : callable
            What computes it.
        options : mapping
            As the function takes them, the seed included.
        given : mapping
            Responses, brain data, model, stimuli.

        Returns
        -------
        dict or None
            Ready for JSON; None if the code of the function or of a model cannot be read (a notebook, a shell), as
            nobody could tell then whether it is still the same.
        """
        source = source_digest(function)
        parts = {name: self.of(value) for name, value in sorted(given.items())}
        if source is None or None in parts.values():
            return None
        return {
            "measure": measure,
            "options": json.loads(json.dumps(dict(options), sort_keys=True, default=str)),
            "given": parts,
            "source": source,
            "environment": {**fingerprint(), "machine": platform.machine()},
        }

    def of(self, value: Any) -> str | None:
        """Return the digest of one thing that a measure is given.

        Parameters
        ----------
        value : object
            Responses, a mapping of them, brain data, a model, stimuli, or None.

        Returns
        -------
        str or None
            Hexadecimal; None if its code cannot be read, or it holds what has no digest.
        """
        if id(value) not in self._known:
            try:
                self._known[id(value)] = (value, self._digest(value))
            except TypeError:  # a lab's own object among coordinates or attributes
                self._known[id(value)] = (value, None)
        return self._known[id(value)][1]

    def _digest(self, value: Any) -> str | None:
        if value is None or isinstance(value, xr.DataArray):
            return digest_of(value)
        if isinstance(value, Mapping):
            parts = [[str(name), self.of(part)] for name, part in value.items()]
            return None if any(part is None for _, part in parts) else digest_of(parts)
        if isinstance(value, BrainData):
            facts = [value.name, value.version, value.citation, value.licence, list(value.warnings)]
            arrays = [[name, digest_of(array)] for name, array in value.arrays.items()]
            return digest_of([facts, digest_of(value.responses), arrays])
        if isinstance(value, StimulusSet):
            return digest_of(
                [value.manifest.model_dump(mode="json"), value.table, [value.digest(i) for i in value.ids]]
            )
        return _model_digest(value)


def _model_digest(model: Any) -> str | None:
    """Digest a model by its record, its weights as they are now, and the code of its class."""
    module: Any = getattr(model, "module", None)
    sources = [source_digest(type(part)) for part in (model, module) if part is not None]
    if None in sources:
        return None
    weights = None
    if hasattr(module, "state_dict"):
        from brainalign.models.hooked import weights_digest

        weights = weights_digest(module)
    record = json.dumps(dict(model.record), sort_keys=True, default=str)
    return digest_of([model.name, model.sample_rate, dict(model.layouts), record, weights, sources])
