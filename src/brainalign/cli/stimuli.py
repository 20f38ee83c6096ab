"""``brainalign stimuli``: a lab's own set, and the sets that are known."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from brainalign.cli import _complete
from brainalign.cli._shared import Json, print_json, print_table

app = typer.Typer(
    help="What is played: make a set of your own, check it, prepare it; list the sets that are known.",
    no_args_is_help=True,
)

Set = Annotated[str, typer.Argument(help="A known set or a folder.", autocompletion=_complete.stimuli)]

NewSet = Annotated[Path, typer.Option("--out", help="Folder of the new set; it is not there yet.")]


@app.command()
def new(
    folder: Annotated[Path, typer.Argument(help="The set to be; it is not there yet, or holds the sounds.")],
    source: Annotated[Path, typer.Option("--from", help="Folder of sounds; they are copied, never moved.")],
    table: Annotated[
        Path | None, typer.Option(help="CSV with category, and file or stimulus_id. Else sub-folders are categories.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the set; that of the folder if not given.")] = None,
    citation: Annotated[str | None, typer.Option(help="How to cite the sounds.")] = None,
    licence: Annotated[str | None, typer.Option(help="On what terms they may be used.")] = None,
    as_json: Json = False,
) -> None:
    """Make a stimulus set of a folder of sounds.

    Example: brainalign stimuli new my-sounds --from recordings --table recordings.csv
    """
    from brainalign.errors import name_some
    from brainalign.stimuli.create import create_stimulus_set, is_hidden, other_files

    stimuli = create_stimulus_set(folder, source, table, name=name, citation=citation, licence=licence)
    left = [] if source.resolve() == folder.resolve() else other_files(source)
    counts = {str(c): int(n) for c, n in stimuli.table["category"].value_counts(sort=False).items()}
    if as_json:
        print_json(
            {"folder": str(folder), "n_sounds": len(stimuli), "categories": counts, "left_out": list(map(str, left))}
        )
        return
    sizes = ", ".join(f"{c} {n}" for c, n in counts.items())
    typer.echo(f"{folder}: {len(stimuli)} sounds ({sizes})")
    for why, files in (
        ("they are not sounds", [f for f in left if not is_hidden(f)]),
        ("they are hidden (a name begins with a dot)", [f for f in left if is_hidden(f)]),
    ):
        if files:
            typer.echo(f"left out, because {why}: {name_some(files)}")
    typer.echo(f"fill in {folder / 'stimulus_set.toml'}, then: brainalign stimuli check {folder}")


@app.command()
def check(
    stimuli: Set,
    page: Annotated[Path | None, typer.Option("--page", help="Also write the report as an HTML page.")] = None,
    as_json: Json = False,
) -> None:
    """Check every sound and the set as a whole; exit code 1 if there are errors.

    Example: brainalign stimuli check my-sounds --page check.html
    """
    from brainalign.stimuli import load_stimuli
    from brainalign.stimuli.checks import check_stimuli

    report = check_stimuli(load_stimuli(stimuli))
    if page is not None:
        from brainalign.stimuli.checks_page import write_check_page

        write_check_page(report, page)
    errors, warnings = report.of_level("error"), report.of_level("warning")
    if as_json:
        print_json(report.to_dict())
    else:
        for finding in [*errors, *warnings]:
            typer.echo(f"{finding.level:<8} {finding.check}: {finding.message}")
        name = report.stimuli.name
        typer.echo(f"{name}: {len(report.sounds)} sounds, {len(errors)} errors, {len(warnings)} warnings")
        if page is not None:
            typer.echo(f"page: {page.resolve()}")
    if errors:
        raise typer.Exit(1)


@app.command()
def prepare(
    stimuli: Set,
    out: NewSet,
    sample_rate: Annotated[int | None, typer.Option(help="Resample to this rate, in Hz.")] = None,
    trim_silence: Annotated[bool, typer.Option("--trim-silence", help="Cut silence before and after.")] = False,
    duration_s: Annotated[float | None, typer.Option(help="Cut at the end, or add silence, to this duration.")] = None,
    ramp_ms: Annotated[float, typer.Option(help="Raised-cosine rise and fall, in ms.")] = 0.0,
    target_rms: Annotated[float | None, typer.Option(help="Bring every sound to this RMS (of full scale).")] = None,
    bits: Annotated[int, typer.Option(help="Bits per sample: 16 or 24.")] = 16,
    as_json: Json = False,
) -> None:
    """Write a copy of a set that is ready to be played: mono, one rate, level and duration, soft edges.

    Example: brainalign stimuli prepare sounds --out ready --duration-s 2 --ramp-ms 10 --target-rms 0.05
    """
    from brainalign.stimuli import load_stimuli
    from brainalign.stimuli.prepare import Preparation, prepare_stimuli

    preparation = Preparation(sample_rate, trim_silence, duration_s, ramp_ms, target_rms, bits)
    prepared, steps = prepare_stimuli(load_stimuli(stimuli), out, preparation)
    if as_json:
        print_json({"folder": str(out), "n_sounds": len(prepared), "steps": steps})
        return
    for stimulus_id, done in steps.items():
        typer.echo(f"{stimulus_id}: {done}")
    typer.echo(f"{out}: {len(prepared)} sounds; the source is as it was")


def _show_manipulations(wanted: bool) -> None:
    if not wanted:
        return
    import inspect

    from brainalign.stimuli.manipulations import MANIPULATIONS

    for name in MANIPULATIONS.names():
        known = list(inspect.signature(MANIPULATIONS.get(name)).parameters.values())[1:]
        needed = [p.name for p in known if p.default is p.empty]
        others = [p.name if p.default is None else f"{p.name}={p.default!r}" for p in known if p.name not in needed]
        typer.echo(f"{name:<26}{', '.join([*(f'{n} (needed)' for n in needed), *others]) or 'no parameters'}")
    raise typer.Exit


@app.command()
def manipulate(
    stimuli: Set,
    out: NewSet,
    by: Annotated[
        str,
        typer.Argument(
            metavar="MANIPULATION", help="Such as quilt; --list lists them all.", autocompletion=_complete.manipulations
        ),
    ],
    parameters: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Its parameters, as in a recipe.")
    ] = None,
    _list: Annotated[
        bool,
        typer.Option("--list", is_eager=True, callback=_show_manipulations, help="List names and parameters, and end."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Write a set of manipulated sounds: quilts, scrambled or filtered sounds, matched noise, and others.

    Examples: brainalign stimuli manipulate natsound165 quilt segment_ms=60 seed=1 --out quilts-60

    brainalign stimuli manipulate demo add-noise snr_db=6 'spectrum="pink"' --out noisy
    """
    import tomllib

    from brainalign.errors import StimulusError
    from brainalign.stimuli import load_stimuli
    from brainalign.stimuli.manipulations import manipulate as alter
    from brainalign.stimuli.writing import write_set

    try:
        options = tomllib.loads("\n".join(parameters or []))
    except tomllib.TOMLDecodeError as why:
        raise StimulusError(
            f"the parameters {' '.join(parameters or [])!r} are not KEY=VALUE as in TOML: {why}; "
            f"put quotes around text: 'spectrum=\"pink\"'"
        ) from why
    folder = write_set(alter(load_stimuli(stimuli), by, **options), out)
    if as_json:
        print_json({"folder": str(folder), "manipulation": by, "parameters": options})
        return
    typer.echo(f"{folder}: the sounds, their table, and how they were made (manipulations.json)")


@app.command("list")
def show_all(as_json: Json = False) -> None:
    """List the sets that are known, and whether their sounds are here.

    Example: brainalign stimuli list
    """
    from brainalign.stimuli import STIMULI
    from brainalign.stimuli.known import known_sets

    known = {k.manifest.name: k for k in known_sets()}
    others = [n for n in STIMULI.names() if n not in known]
    if as_json:
        rows = [{"name": n, "n_sounds": k.n_sounds or None, "what": k.what, "state": k.state} for n, k in known.items()]
        rows += [{"name": n, "n_sounds": None, "what": "registered by a package", "state": "ready"} for n in others]
        print_json(sorted(rows, key=lambda r: str(r["name"])))
        return
    described = {n: (k.state, k.what) for n, k in known.items()}
    described |= dict.fromkeys(others, ("ready", "made, or from a package"))
    print_table(("set", "state", "what"), [(n, *described[n]) for n in sorted(described)])
    typer.echo("a folder of your own: brainalign stimuli new FOLDER --from SOUNDS")


@app.command()
def show(stimuli: Set, as_json: Json = False) -> None:
    """Show a set: its sounds by category, whom to cite, the licence, and how to get it.

    Example: brainalign stimuli show esc50
    """
    from brainalign.stimuli import load_stimuli
    from brainalign.stimuli.known import known_sets

    known = next((k for k in known_sets() if k.manifest.name == stimuli), None)
    loaded = load_stimuli(stimuli) if known is None or known.state == "ready" else None
    facts: dict[str, object] = {}
    for described in (known, loaded):
        if described is not None:
            facts |= {k: v for k, v in described.manifest.model_dump().items() if v is not None}
    if known is not None:
        facts |= {k: v for k, v in asdict(known).items() if k != "manifest"}
    if loaded is not None:
        facts["n_sounds"] = len(loaded)
        facts["categories"] = {str(c): int(n) for c, n in loaded.table["category"].value_counts(sort=False).items()}
    if as_json:
        print_json(facts)
        return
    for key, value in facts.items():
        if isinstance(value, dict):
            value = ", ".join(f"{c} {n}" for c, n in value.items())
        typer.echo(f"{key:<12} {value}")
