"""``brainalign cite``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from brainalign.cli import _complete
from brainalign.cli._shared import Json, Unchecked, print_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from brainalign.report.citations import Citation
    from brainalign.report.references import Reference


def cite(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="Results folders, or names of sounds, brain data, models, measures, methods, packages.",
            autocompletion=_complete.citable,
        ),
    ] = None,
    bibtex: Annotated[bool, typer.Option("--bibtex", help="Print BibTeX.")] = False,
    unchecked: Unchecked = False,
    as_json: Json = False,
) -> None:
    """Say how to cite brainalign, and the data, models, stimuli, measures and methods of a run.

    Examples: brainalign cite

    brainalign cite natsound165 kim2024-cnn rsa

    brainalign cite results/demo --bibtex > references.bib
    """
    from brainalign.errors import ResultsError
    from brainalign.report.citations import citations_of_names, citations_of_run, references_of
    from brainalign.report.references import bibtex as as_bibtex
    from brainalign.report.saved import load_run

    if bibtex and as_json:
        raise ResultsError("--bibtex and --json are two forms of the same; choose one")
    citations: list[Citation] = []
    provenance = None
    for name in names or ["brainalign"]:
        if (Path(name) / "provenance.json").is_file():
            run = load_run(name, check=not unchecked)
            provenance = run.provenance
            citations += citations_of_run(run.provenance, run.results)
        else:
            citations += citations_of_names([name])
    citations = list(dict.fromkeys(citations))
    chosen = references_of(citations, provenance)
    if bibtex:
        typer.echo(as_bibtex(chosen), nl=False)
    elif as_json:
        entries = [{**asdict(r), "citation": r.short, "text": r.text, "bibtex": r.bibtex} for r in chosen]
        print_json({"uses": [asdict(c) for c in citations], "references": entries})
    else:
        _print(citations, chosen)


def _print(citations: Sequence[Citation], chosen: Sequence[Reference]) -> None:
    short = {r.key: r.short for r in chosen}
    for citation in citations:
        what = "; ".join([*(short[key] for key in citation.keys), *([citation.note] if citation.note else [])])
        typer.echo(f"{citation.kind} {citation.name}: {what}")
    typer.echo("")
    for reference in chosen:
        typer.echo(reference.text)
