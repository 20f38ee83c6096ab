"""What a run used, and what is to be cited for it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from brainalign.errors import ResultsError, did_you_mean
from brainalign.measures.result import Result
from brainalign.report.references import (
    KINDS,
    Reference,
    bibliography,
    known_names,
    methods_in,
    references,
    uses_of,
)

#: How each kind is called where one thing is meant.
SINGULAR = {
    "stimuli": "stimulus set", "manipulations": "manipulation", "brains": "brain data", "models": "model",
    "generators": "generator", "measures": "measure", "methods": "method", "software": "software",
}  # fmt: skip


@dataclass(frozen=True)
class Citation:
    """What to cite for one thing that was used.

    Attributes
    ----------
    kind : str
        What it is: "stimulus set", "model" and so on.
    name : str
        Its name.
    keys : tuple of str
        Of references.
    note : str
        What else to cite, or why there is nothing.
    """

    kind: str
    name: str
    keys: tuple[str, ...]
    note: str = ""


def citations_of_names(names: Iterable[str]) -> list[Citation]:
    """Find what to cite for names.

    Parameters
    ----------
    names : iterable of str
        Registered names of any kind, with or without a variant; names of methods (``"bca"``) and packages; keys of
        references; ``"brainalign"``.

    Returns
    -------
    list of Citation
        A name that stands for several things (``"ds003720"`` is a stimulus set and brain data) gives one for each.

    Raises
    ------
    ResultsError
        If a name is not known.
    """
    found = []
    for name in names:
        own = [_citation(kind, name) for kind in KINDS if _is_known(kind, name)]
        if not own and name in references():
            own = [Citation("reference", name, (name,))]
        if not own:
            known = {n for kind in KINDS for n in known_names(kind)} | set(references())
            raise ResultsError(
                f"nothing to cite is called {name!r}, and it is no results folder; {did_you_mean(name, known)}"
            )
        found += own
    return found


def citations_of_run(provenance: Mapping[str, Any], results: Sequence[Result]) -> list[Citation]:
    """Find what to cite for a run: brainalign, sounds, brain data, models, measures, methods and packages.

    Parameters
    ----------
    provenance : mapping
        Of the run; recipes of older formats are read as far as they go.
    results : sequence of Result
        Their kinds and settings say which measures and methods were used.

    Returns
    -------
    list of Citation
        Each thing once; those for which this project has no reference carry a note: their own citation, as the run
        recorded it.
    """
    recipe = provenance.get("recipe", {})
    found = [Citation("software", "brainalign", ("brainalign",))]
    for part in ("stimuli", "selection"):
        if wanted := recipe.get(part):
            found.append(_or_recorded("stimuli", str(wanted["set"]), provenance.get(part, {})))
            found += [_citation("manipulations", str(m["name"])) for m in wanted.get("manipulate", ())]
    brains = recipe.get("brain", [])
    recorded = provenance.get("brains", [])
    for i, part in enumerate(brains if isinstance(brains, list) else [brains]):
        found.append(_or_recorded("brains", str(part["name"]), recorded[i] if i < len(recorded) else {}))
    records = {str(m.get("name")): m.get("record", {}) for m in provenance.get("models", [])}
    found += [_or_recorded("models", str(m["name"]), records.get(m["name"], {})) for m in recipe.get("models", ())]
    if rebuilt := recipe.get("reconstruction"):
        for kind, key in (("stimuli", "library"), ("generators", "generator"), ("models", "tagger")):
            found += [_citation(kind, str(rebuilt[key]))] if rebuilt.get(key) else []
    found += [_citation("measures", kind) for kind in dict.fromkeys(r.kind for r in results)]
    found += [_citation("methods", name) for name in methods_of(results)]
    found += [_citation("software", name) for name in provenance.get("versions", {}) if _is_known("software", name)]
    return list(dict.fromkeys(found))


def methods_of(results: Sequence[Result]) -> list[str]:
    """Return the statistical methods that the settings and columns of results name."""
    said = [json.dumps(r.settings, default=str, ensure_ascii=False) for r in results]
    return methods_in("\n".join(said))


def references_of(citations: Iterable[Citation], provenance: Mapping[str, Any] | None = None) -> list[Reference]:
    """Return the references of citations, each once, sorted; brainalign in the version of the run, if there is one."""
    version = (provenance or {}).get("versions", {}).get("brainalign", "")
    return bibliography((key for citation in citations for key in citation.keys), version)


def _is_known(kind: str, name: str) -> bool:
    return uses_of(kind, name) is not None


def _citation(kind: str, name: str) -> Citation:
    uses = uses_of(kind, name)
    if uses is None:
        return Citation(SINGULAR[kind], name, (), "no reference is known here: cite whoever offers it")
    return Citation(SINGULAR[kind], name, uses.keys, uses.none)


def _or_recorded(kind: str, name: str, record: Mapping[str, Any]) -> Citation:
    """Give what the run recorded as the citation of something for which there is no reference."""
    found = _citation(kind, name)
    said = str(record.get("citation", ""))
    return found if found.keys or not said else Citation(found.kind, name, (), said)
