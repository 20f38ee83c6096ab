"""The command line: parses, calls, prints."""

from __future__ import annotations

import os
import signal
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from brainalign.cli import (
    _complete,
    brain,
    cache,
    cite,
    decode,
    models,
    planning,
    recipe,
    replicate,
    report,
    stimuli,
)
from brainalign.cli._shared import (
    Cache,
    Cluster,
    Debug,
    Jobs,
    Json,
    Out,
    Overwrite,
    Progress,
    Seed,
    asked,
    offer_debug,
    print_json,
)
from brainalign.errors import BrainalignError

if TYPE_CHECKING:
    from brainalign.recipes.repeat import Source

app = typer.Typer(
    name="brainalign",
    help="Compare audio models with the human auditory cortex.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

#: How ``--help`` groups the commands.
RUN, PARTS, STUDY, RESULTS, KEEP = (
    "Run an analysis",
    "Sounds, models, brain data",
    "Plan, extract, train, decode",
    "Results",
    "This installation",
)

#: Sentences of the answer of a run that the command line shows.
SHOWN = 2

NoAudio = Annotated[bool, typer.Option("--no-audio", help="Leave the sounds out of the page of the results.")]


def _version(show: bool) -> None:
    if show:
        import brainalign

        typer.echo(f"brainalign {brainalign.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    debug: Debug = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Compare audio models with the human auditory cortex."""


@app.command(rich_help_panel=RUN)
def demo(
    out: Out = None, seed: Seed = None, jobs: Jobs = 1, cluster: Cluster = None, overwrite: Overwrite = False,
    cache: Cache = True, no_audio: NoAudio = False, progress: Progress = True, as_json: Json = False,
) -> None:  # fmt: skip
    """Run the main job on synthesised sounds and a simulated brain; needs no data and no network.

    Example: brainalign demo --out results/demo
    """
    _run("demo", out or Path("results/demo"), seed, jobs, cluster, overwrite, cache, no_audio, progress, as_json)


@app.command(rich_help_panel=RUN)
def run(
    recipe: Annotated[
        str | None,
        typer.Argument(help="A TOML file, or the name of a recipe that ships.", autocompletion=_complete.recipes),
    ] = None,
    out: Out = None,
    record: Annotated[
        Path | None,
        typer.Option("--from", help="Repeat a run from its results folder or provenance.json, instead of a recipe."),
    ] = None,
    folder: Annotated[
        Path | None, typer.Option("--folder", help="With --from: where the recipe's own files are, if they have moved.")
    ] = None,
    seed: Seed = None,
    jobs: Jobs = 1,
    cluster: Cluster = None,
    overwrite: Overwrite = False,
    cache: Cache = True,
    no_audio: NoAudio = False,
    progress: Progress = True,
    show_list: Annotated[bool, typer.Option("--list", help="List the recipes that ship.")] = False,
    as_json: Json = False,
) -> None:
    """Run a recipe: extract activations, compare them with the brain, write a results folder.

    Examples: brainalign run kim2024/natsound165 --out results/natsound165

    brainalign run my-study.toml --jobs 2

    brainalign run --from results/my-study --out results/again
    """
    from brainalign.errors import RecipeError
    from brainalign.recipes.shipped import shipped_recipes

    if show_list:
        extra = recipe or record or folder
        if extra:
            raise RecipeError(f"--list lists all recipes that ship; leave {str(extra)!r} out, or leave --list out")
        if as_json:
            print_json(list(shipped_recipes()))
        else:
            typer.echo("\n".join(shipped_recipes()))
        return
    from brainalign.recipes.repeat import read_record

    if (recipe is None) == (record is None) or (folder is not None and record is None):
        if recipe is not None:
            raise RecipeError("give a recipe, or --from (and with it --folder), not both")
        raise RecipeError("which recipe? give a TOML file or one of: " + ", ".join(shipped_recipes()))
    source: str | Source = recipe if recipe is not None else read_record(record or Path(), folder)
    name = source if isinstance(source, str) else f"{Path(source.name).stem}-again"
    out = out or Path("results") / Path(name).stem
    _run(source, out, seed, jobs, cluster, overwrite, cache, no_audio, progress, as_json)


def _run(
    recipe: str | Source, out: Path, seed: int | None, jobs: int, cluster: str | None, overwrite: bool, cache: bool,
    no_audio: bool, progress: bool, as_json: bool,
) -> None:  # fmt: skip
    from brainalign.models.cache import cache_folder
    from brainalign.report.folder import run_recipe

    kept = cache_folder() if cache else None
    folder = run_recipe(
        recipe, out, seed=seed, jobs=jobs, cluster=cluster, overwrite=overwrite, cache=kept, progress=progress,
        audio=not no_audio,
    )  # fmt: skip
    if as_json:
        print_json(_summary(folder))
        return
    typer.echo(f"results: {folder / 'results.csv'}")
    typer.echo(f"page:    {(folder / 'report.html').resolve()}")
    answer = _answer(folder)
    if answer:
        more = " (more on the page)" if len(answer) > SHOWN else ""
        typer.echo(f"answer:  {' '.join(answer[:SHOWN])}{more}")
    if not isinstance(recipe, str) and recipe.same_results(folder / "results.csv"):
        typer.echo("same:    results.csv is byte for byte that of the run that is repeated")


def _summary(folder: Path) -> dict[str, Any]:
    """Say where the results are and what they are about."""
    import csv

    with (folder / "results.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    paths = {"folder": ".", "results": "results.csv", "page": "report.html", "provenance": "provenance.json"}
    about = {f"{c}s": list(dict.fromkeys(r[c] for r in rows if r[c])) for c in ("measure", "model", "brain")}
    found = {name: str((folder / file).resolve()) for name, file in paths.items()}
    return found | {"n_estimates": len(rows)} | about | {"answer": " ".join(_answer(folder))}


def _answer(folder: Path) -> tuple[str, ...]:
    """Give the answer of a run in sentences, as its page begins with it; none if there is none."""
    from brainalign.report.saved import load_run

    return load_run(folder, check=False).answer


@app.command(rich_help_panel=STUDY)
def train(
    recipe: Annotated[
        str,
        typer.Argument(help="A TOML file, or kim2024/train-no-music and the like.", autocompletion=_complete.trainings),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for the result; an interrupted training in it goes on.")
    ] = None,
    seed: Seed = None,
    data: Annotated[str | None, typer.Option("--data", help="Folder of sounds; replaces the recipe's.")] = None,
    epochs: Annotated[int | None, typer.Option("--epochs", min=1, help="Replaces the recipe's.")] = None,
    progress: Progress = True,
    as_json: Json = False,
) -> None:
    """Train a network, or go on with a training that was interrupted: the same command.

    What a folder of sounds must hold, and all keys of a recipe: docs/training.md.

    Example: brainalign train kim2024/train-no-music --out trained/no-music-0
    """
    from brainalign.recipes.shipped import find_recipe
    from brainalign.training import train as train_network

    options = {"seed": seed, "data": data, "epochs": epochs}
    path = find_recipe(recipe, "training")
    network = train_network(
        path,
        out or Path("trained") / path.stem,
        progress=progress,
        **{name: value for name, value in options.items() if value is not None},
    )
    if as_json:
        print_json({"weights": str(network.weights), "model": f"kim2024-cnn:{network.weights}", "card": network.card})
        return
    typer.echo(f"weights: {network.weights}")
    typer.echo(f"listen:  kim2024-cnn:{network.weights}")


@app.command(rich_help_panel=PARTS)
def fetch(
    name: Annotated[
        str,
        typer.Argument(
            help="A data set, for instance natsound165, or a model, for instance yamnet.",
            autocompletion=_complete.fetched,
        ),
    ],
    source: Annotated[
        Path | None, typer.Option("--from", help="Take the same files from this folder instead of downloading them.")
    ] = None,
    progress: Progress = True,
    as_json: Json = False,
) -> None:
    """Fetch a public data set, or take it from a folder, and check every file by its digest.

    The published arrays of a model (yamnet, musicnn) are converted.

    Examples: brainalign fetch natsound165

    brainalign fetch yamnet --from downloads/yamnet
    """
    from brainalign.models.weights_files import CONVERTERS, install_weights
    from brainalign.stimuli.fetch import fetch as fetch_files

    if name in CONVERTERS:
        weights = [str(path) for path in install_weights(name, source)]
        if as_json:
            print_json({"name": name, "weights": weights})
            return
        for path in weights:
            typer.echo(f"weights: {path}")
        return
    if name == "tuckute2023":
        from brainalign.brain.tuckute2023 import take_tuckute2023

        folder = take_tuckute2023(source)
    else:
        folder = fetch_files(name, source, progress=progress)
    if as_json:
        print_json({"name": name, "folder": str(folder)})
        return
    typer.echo(f"{name} is complete in {folder}")


@app.command(rich_help_panel=KEEP)
def doctor(as_json: Json = False) -> None:
    """Say what is installed, what is broken and how to mend it; exit code 1 if something is broken.

    Example: brainalign doctor
    """
    from brainalign.doctor import examine

    findings = examine()
    broken = sum(f.state == "broken" for f in findings)
    if as_json:
        print_json({"broken": broken, "findings": [f._asdict() for f in findings]})
        raise typer.Exit(1 if broken else 0)
    for finding in findings:
        typer.echo(f"{finding.state:<8} {finding.what}: {finding.found}")
        if finding.remedy:
            typer.echo(f"         -> {finding.remedy}")
    typer.echo(f"{broken} broken" if broken else "all that brainalign needs works")
    if broken:
        raise typer.Exit(1)


app.add_typer(recipe.app, name="recipe", rich_help_panel=RUN)
app.add_typer(stimuli.app, name="stimuli", rich_help_panel=PARTS)
app.add_typer(models.app, name="models", rich_help_panel=PARTS)
app.add_typer(brain.app, name="brain", rich_help_panel=PARTS)
app.command(rich_help_panel=STUDY)(models.extract)
app.command(rich_help_panel=STUDY)(planning.power)
app.command(rich_help_panel=STUDY)(planning.choose)
app.add_typer(decode.app, name="decode", rich_help_panel=STUDY)
app.command(rich_help_panel=RESULTS)(report.report)
app.command(rich_help_panel=RESULTS)(cite.cite)
app.command(rich_help_panel=RESULTS)(replicate.replicate)
app.add_typer(cache.app, name="cache", rich_help_panel=KEEP)
offer_debug(app)


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    typer.echo(f"brainalign: warning: {' '.join(str(message).split())}", err=True)


def main() -> None:
    """Run the command line; bad input is one line on standard error and exit code 2."""
    # Batch systems end jobs by SIGTERM; leaving by an exception tidies up.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    for stream in (sys.stdout, sys.stderr):
        # A name that the terminal has no characters for is no reason to stop.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    warnings.showwarning = _show_warning
    try:
        status = _perform()
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader has seen enough (| head); nothing may be written to it when Python ends either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 1
    sys.exit(status)


def _perform() -> int:
    """Run what is asked for and return the exit code."""
    try:
        status = app(standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        status = 130
    except BrokenPipeError:
        raise
    except Exception as why:
        # What is wrong with the line itself knows how to say so; the class has no public name.
        of_the_line = hasattr(why, "format_message")
        if asked.traceback or not (of_the_line or isinstance(why, BrainalignError | OSError)):
            raise
        message = _about_the_line(why) if of_the_line else " ".join(str(why).split())
        if message:
            typer.echo(f"brainalign: {message}", err=True)
        return 2
    if status == 130:
        typer.echo("brainalign: interrupted", err=True)
    return status if isinstance(status, int) else 0


def _about_the_line(why: Any) -> str:
    """Say in one line what is wrong with the command line, and where its help is."""
    message = " ".join(why.format_message().split())
    context = getattr(why, "ctx", None)
    return f"{message} See: {context.command_path} --help" if message and context is not None else message
