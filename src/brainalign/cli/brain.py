"""``brainalign brain``: what brain data there are, and responses out of a lab's own images."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from brainalign.cli import _complete
from brainalign.cli._shared import Json, Overwrite, finite, print_json

if TYPE_CHECKING:
    from brainalign.brain import BrainData

app = typer.Typer(
    help="What is measured: the data sets that are known, and responses out of your own images.",
    no_args_is_help=True,
)

Out = Annotated[Path, typer.Option("--out", help="The file to write, ending in .nc.")]
Mask = Annotated[
    str | None, typer.Option(help="Image of the voxels to read; {subject} in its name stands for the subject.")
]
Atlas = Annotated[str | None, typer.Option(help="Image of numbered regions.")]
SkipBroken = Annotated[
    bool, typer.Option("--skip-broken", help="Leave out subjects whose files are broken, and say so.")
]
More = Annotated[list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Further options, as in a recipe.")]


@app.command("list")
def show_all(as_json: Json = False) -> None:
    """List the data sets that are registered, what is missing, and how to get it.

    Example: brainalign brain list
    """
    from brainalign.brain import BRAINS

    rows = []
    for name in BRAINS.names():
        loader = BRAINS.get(name)
        what = (inspect.getdoc(loader) or "").splitlines()[:1]
        state, how = _state(name, loader)
        rows.append({"name": name, "state": state, "what": what[0] if what else "", "how": how})
    if as_json:
        print_json(rows)
        return
    for row in rows:
        typer.echo(f"{row['name']:<20} {row['state']:<9} {row['what']}")
        if row["how"]:
            typer.echo(f"{'':<20} -> {row['how']}")


def _state(name: str, loader: Callable[..., Any]) -> tuple[str, str]:
    """Say whether a data set is here and, if not, how to get it."""
    from brainalign._files import data_folder
    from brainalign.errors import BrainalignError

    needed = [p.name for p in inspect.signature(loader).parameters.values() if p.default is p.empty]
    if needed:
        return "yours", f"give {', '.join(f'{n}=' for n in needed)}; brainalign brain show {name} {needed[0]}=..."
    if not loader.__module__.startswith("brainalign.") or loader.__module__.endswith((".simulation", ".cortex")):
        return "ready", ""
    if name == "ds003720":
        from brainalign.brain.ds003720 import HOW_TO_GET

        folder = data_folder() / name
        images = (f for f in folder.glob("sub-*/func/*_bold.nii*") if f.is_file())
        if next(images, None) is not None:
            return "ready", ""
        only = "its events are here, but no images: " if next(folder.glob("sub-*/func/*_events.tsv"), None) else ""
        return "not here", only + HOW_TO_GET
    try:
        loader()
    except BrainalignError as why:
        return "not here", " ".join(str(why).split())
    return "ready", ""


@app.command()
def show(
    name: Annotated[
        str, typer.Argument(help="A data set, or a .nc or .csv file of responses.", autocompletion=_complete.brains)
    ],
    options: More = None,
    as_json: Json = False,
) -> None:
    """Show brain data: stimuli, subjects, regions, reliability, whom to cite.

    Examples: brainalign brain show nh2015-components

    brainalign brain show my-voxels.nc
    """
    facts = _facts(_load(name, options))
    if as_json:
        print_json(facts)
        return
    for key, value in facts.items():
        for line in [_line(value)] if key != "warnings" else value:
            typer.echo(f"{key:<12} {line}")


@app.command()
def save(
    name: Annotated[str, typer.Argument(help="A data set.", autocompletion=_complete.brains)],
    out: Out,
    options: More = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Write the responses of a data set into a netCDF file, so that recipes need not read its images again.

    Example: brainalign brain save ds003720 --out s1.nc 'path="ds003720"' 'mask="{subject}.nii.gz"' window_s=10
    """
    _check_out(out, overwrite)
    _write(_load(name, options), out, as_json)


@app.command("from-bids")
def from_bids(
    folder: Annotated[Path, typer.Argument(help="A BIDS folder, raw or of derivatives.")],
    out: Out,
    task: Annotated[list[str] | None, typer.Option(help="Only this task; can be given several times.")] = None,
    subject: Annotated[list[str] | None, typer.Option(help="Only this subject; can be given several times.")] = None,
    derivatives: Annotated[str | None, typer.Option(help="Images from derivatives/NAME, such as fmriprep.")] = None,
    space: Annotated[str | None, typer.Option(help="Images of this space.")] = None,
    mask: Mask = None,
    atlas: Atlas = None,
    stimulus: Annotated[
        str | None, typer.Option(help="Column that names the stimulus, or a template: '{genre}.{track:05d}'.")
    ] = None,
    ignore: Annotated[list[str] | None, typer.Option(help="A condition that is no stimulus, such as rest.")] = None,
    category: Annotated[str | None, typer.Option(help="Column of the events that holds the category.")] = None,
    design: Annotated[str, typer.Option(help="glm, separate, block or windows.")] = "glm",
    delay_s: Annotated[
        float | None,
        typer.Option(min=0, callback=finite, help="Haemodynamic delay of blocks and windows, in s; 4.5 if not given."),
    ] = None,
    window_s: Annotated[
        float | None, typer.Option(min=0.01, callback=finite, help="Length of the windows, in s.")
    ] = None,
    repetitions: Annotated[str, typer.Option(help="auto, keep or average.")] = "auto",
    skip_broken: SkipBroken = False,
    overwrite: Overwrite = False,
    more: More = None,
    as_json: Json = False,
) -> None:
    """Estimate responses to stimuli from the functional images of a BIDS folder, and write them.

    Examples: brainalign brain from-bids lab --out lab.nc --task listen --mask masks/auditory.nii.gz

    brainalign brain from-bids lab --out lab.nc --derivatives fmriprep --space T1w --design block
    'estimation={silence="rest", acquisitions=[2, 5]}'
    """
    from brainalign.brain.bids import load_bids

    named = {
        "path": str(folder),
        "task": task or None,
        "subjects": subject or None,
        "derivatives": derivatives,
        "space": space,
        "mask": mask,
        "atlas": atlas,
        "stimulus": stimulus,
        "ignore": ignore or [],
        "design": design,
        "delay_s": delay_s,
        "window_s": window_s,
        "repetitions": repetitions,
        "on_error": "skip" if skip_broken else "raise",
    }
    _check_out(out, overwrite)
    further = _options(load_bids, more, named)
    if category is not None:
        further["stimulus_info"] = {"category": category, **further.get("stimulus_info", {})}
    with _options_by_their_names_here():
        brain = load_bids(**named, **further)  # type: ignore[arg-type]
    _write(brain, out, as_json)


@app.command("from-images")
def from_images(
    table: Annotated[Path, typer.Argument(help="CSV: stimulus_id, file, and subject, repetition ... where needed.")],
    out: Out,
    mask: Mask = None,
    atlas: Atlas = None,
    skip_broken: SkipBroken = False,
    overwrite: Overwrite = False,
    more: More = None,
    as_json: Json = False,
) -> None:
    """Read responses out of one map per stimulus (betas, contrasts), and write them.

    Examples: brainalign brain from-images betas.csv --out betas.nc --mask auditory.nii.gz

    brainalign brain from-images betas.csv --out betas.nc --atlas atlas.nii.gz 'reading={average_regions=true}'
    """
    from brainalign.brain.from_images import load_images

    named = {"path": str(table), "mask": mask, "atlas": atlas, "on_error": "skip" if skip_broken else "raise"}
    _check_out(out, overwrite)
    further = _options(load_images, more, named)
    with _options_by_their_names_here():
        brain = load_images(**named, **further)  # type: ignore[arg-type]
    _write(brain, out, as_json)


def _load(name: str, options: Sequence[str] | None) -> BrainData:
    from brainalign.brain import BRAINS, load_brain

    if name not in BRAINS.names() and (Path(name).suffix or Path(name).is_file()):
        name, options = "table", [f"path={json.dumps(name)}", *(options or [])]
    return load_brain(name, **_options(BRAINS.get(name), options, {}))


def _options(function: Callable[..., Any], given: Sequence[str] | None, named: Mapping[str, Any]) -> dict[str, Any]:
    """Read options as TOML, and check their names against those that the loader has."""
    import tomllib

    from brainalign.errors import BrainError, did_you_mean

    try:
        options = tomllib.loads("\n".join(given or []))
    except tomllib.TOMLDecodeError as why:
        raise BrainError(
            f"{' '.join(given or [])!r} is not KEY=VALUE as in TOML: {why}; put quotes around text: 'space=\"T1w\"'"
        ) from why
    known = inspect.signature(function).parameters
    for key in options:
        if key in named:
            raise BrainError(f"{key} has an option of its own: see --help")
        if key not in known:
            raise BrainError(f"no option {key!r}; {did_you_mean(key, known)}")
    for key, parameter in known.items():
        if parameter.default is parameter.empty and key not in {*options, *named}:
            raise BrainError(f"the option {key}= is needed")
    return options


def _check_out(out: Path, overwrite: bool) -> None:
    """Raise before anything is computed if the file cannot be written."""
    from brainalign.errors import BrainError

    if out.suffix != ".nc":
        raise BrainError(f"{str(out)!r}: responses are written as netCDF, to a name that ends in .nc")
    if out.exists() and not overwrite:
        raise BrainError(f"{out} is there already; give another name, or --overwrite")


@contextmanager
def _options_by_their_names_here() -> Iterator[None]:
    """Let messages name options as the command line and TOML do."""
    from brainalign.errors import BrainalignError, BrainError

    try:
        yield
    except BrainalignError as why:
        text = str(why).replace("on_error='skip'", "--skip-broken").replace("=True", "=true")
        text = re.sub(r"\bsubjects=(?=[\s,;)]|$)", "--subject", text)
        text = re.sub(r"\b(ignore|stimulus|task|mask|atlas)=(?=[\s,;)]|$)", r"--\1", text)
        raise BrainError(text) from why


def _write(brain: BrainData, out: Path, as_json: bool) -> None:
    from brainalign.brain.table import save_brain

    path = save_brain(brain, out)
    facts = _facts(brain)
    if as_json:
        print_json({"responses": str(path), **facts})
        return
    plural = {"repetition": "repetitions", "stimulus": "stimuli", "unit": "units"}
    sizes = " x ".join(f"{n} {plural[dim]}" for dim, n in facts["sizes"].items())
    typer.echo(f"{path}: {sizes}")
    for key in ("subjects", "regions", "reliability"):
        if key in facts:
            typer.echo(f"{key}: {_line(facts[key])}")
    for warning in brain.warnings:
        typer.echo(f"note: {warning}")
    typer.echo(f'in a recipe: [brain] name = "table", path = "{path}"')


def _facts(brain: BrainData) -> dict[str, Any]:
    responses = brain.responses
    facts: dict[str, Any] = {
        "name": brain.name,
        "version": brain.version,
        "citation": brain.citation,
        "licence": brain.licence,
        "sizes": {str(d): int(n) for d, n in responses.sizes.items()},
    }
    for key, coordinate in (("categories", "category"), ("subjects", "subject"), ("regions", "region")):
        if coordinate in responses.coords:
            facts[key] = {str(k): int(n) for k, n in responses[coordinate].to_series().value_counts(sort=False).items()}
    if responses.sizes.get("repetition", 1) > 1:
        from brainalign.brain.reliability import unit_reliability

        halves = unit_reliability(responses)["split_half"]
        low, middle, high = (float(q) for q in halves.quantile([0.05, 0.5, 0.95], skipna=True))
        facts["reliability"] = f"split-half r {middle:.3f} (median of units; 5 to 95 %: {low:.3f} to {high:.3f})"
    return facts | {"warnings": list(brain.warnings)}


def _line(value: Any) -> str:
    from brainalign.errors import name_some

    return name_some((f"{k} {n}" for k, n in value.items()), 20) if isinstance(value, dict) else str(value)
