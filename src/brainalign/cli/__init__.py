"""The command line: parses, calls, prints."""

from __future__ import annotations

import signal
import sys
import warnings
from pathlib import Path
from typing import Annotated

import typer

from brainalign.cli import brain, cache, decode, models, planning, replicate, stimuli
from brainalign.errors import BrainalignError

app = typer.Typer(
    name="brainalign",
    help="Compare audio models with the human auditory cortex.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)

Out = Annotated[Path | None, typer.Option("--out", help="Results folder; it must not exist yet.")]
Seed = Annotated[int | None, typer.Option("--seed", min=0, help="Seed of all random draws; replaces the recipe's.")]
Jobs = Annotated[int, typer.Option("--jobs", min=1, help="Processes that compute side by side.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an existing results folder.")]
NoCache = Annotated[bool, typer.Option("--no-cache", help="Neither read nor write the cache of activations.")]
NoAudio = Annotated[bool, typer.Option("--no-audio", help="Leave the sounds out of the page of the results.")]


def _version(show: bool) -> None:
    if show:
        import brainalign

        typer.echo(f"brainalign {brainalign.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Compare audio models with the human auditory cortex."""


@app.command()
def demo(
    out: Out = None, seed: Seed = None, jobs: Jobs = 1, overwrite: Overwrite = False, no_cache: NoCache = False,
    no_audio: NoAudio = False,
) -> None:  # fmt: skip
    """Run the main job on synthesised sounds and a simulated brain; needs no data and no network.

    Example: brainalign demo --out results/demo
    """
    _run("demo", out or Path("results/demo"), seed, jobs, overwrite, no_cache, no_audio)


@app.command()
def run(
    recipe: Annotated[str | None, typer.Argument(help="A TOML file, or the name of a recipe that ships.")] = None,
    out: Out = None,
    seed: Seed = None,
    jobs: Jobs = 1,
    overwrite: Overwrite = False,
    no_cache: NoCache = False,
    no_audio: NoAudio = False,
    show_list: Annotated[bool, typer.Option("--list", help="List the recipes that ship.")] = False,
) -> None:
    """Run a recipe: extract activations, compare them with the brain, write a results folder.

    Examples: brainalign run kim2024/natsound165 --out results/natsound165

    brainalign run my-study.toml --jobs 2
    """
    from brainalign.errors import RecipeError
    from brainalign.recipes import shipped_recipes

    if show_list:
        for name in shipped_recipes():
            typer.echo(name)
        return
    if recipe is None:
        raise RecipeError("which recipe? give a TOML file or one of: " + ", ".join(shipped_recipes()))
    _run(recipe, out or Path("results") / Path(recipe).stem, seed, jobs, overwrite, no_cache, no_audio)


def _run(recipe: str, out: Path, seed: int | None, jobs: int, overwrite: bool, no_cache: bool, no_audio: bool) -> None:
    from brainalign.models.cache import cache_folder
    from brainalign.report.folder import run_recipe

    cache = None if no_cache else cache_folder()
    folder = run_recipe(
        recipe, out, seed=seed, jobs=jobs, overwrite=overwrite, cache=cache, progress=True, audio=not no_audio
    )
    typer.echo(f"results: {folder / 'results.csv'}")
    typer.echo(f"page:    {(folder / 'report.html').resolve()}")


@app.command()
def train(
    recipe: Annotated[str, typer.Argument(help="A TOML file, or kim2024/train-no-music and the like.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for the result; an interrupted training in it goes on.")
    ] = None,
    seed: Seed = None,
    data: Annotated[str | None, typer.Option("--data", help="Folder of sounds; replaces the recipe's.")] = None,
    epochs: Annotated[int | None, typer.Option("--epochs", min=1, help="Replaces the recipe's.")] = None,
) -> None:
    """Train a network, or go on with a training that was interrupted: the same command.

    What a folder of sounds must hold, and all keys of a recipe: docs/training.md.

    Example: brainalign train kim2024/train-no-music --out trained/no-music-0
    """
    from brainalign.recipes.schema import find_recipe
    from brainalign.training import train as train_network

    options = {"seed": seed, "data": data, "epochs": epochs}
    path = find_recipe(recipe, "training")
    network = train_network(
        path,
        out or Path("trained") / path.stem,
        progress=True,
        **{name: value for name, value in options.items() if value is not None},
    )
    typer.echo(f"weights: {network.weights}")
    typer.echo(f"listen:  kim2024-cnn:{network.weights}")


@app.command()
def fetch(
    name: Annotated[str, typer.Argument(help="A data set, for instance natsound165, or a model, for instance yamnet.")],
    source: Annotated[
        Path | None, typer.Option("--from", help="Take the same files from this folder instead of downloading them.")
    ] = None,
) -> None:
    """Fetch a public data set, or take it from a folder, and check every file by its digest.

    The published arrays of a model (yamnet, musicnn) are converted.

    Examples: brainalign fetch natsound165

    brainalign fetch yamnet --from downloads/yamnet
    """
    from brainalign.models.weights_files import CONVERTERS, install_weights
    from brainalign.stimuli.fetch import fetch as fetch_files

    if name in CONVERTERS:
        for path in install_weights(name, source):
            typer.echo(f"weights: {path}")
        return
    if name == "tuckute2023":
        from brainalign.brain.tuckute2023 import take_tuckute2023

        folder = take_tuckute2023(source)
    else:
        folder = fetch_files(name, source, progress=True)
    typer.echo(f"{name} is complete in {folder}")


@app.command()
def doctor() -> None:
    """Say what is installed, what is broken and how to mend it."""
    from brainalign.doctor import examine

    findings = examine()
    for finding in findings:
        typer.echo(f"{finding.state:<8} {finding.what}: {finding.found}")
        if finding.remedy:
            typer.echo(f"         -> {finding.remedy}")
    broken = sum(f.state == "broken" for f in findings)
    typer.echo(f"{broken} broken" if broken else "all that brainalign needs works")
    if broken:
        raise typer.Exit(1)


app.command()(models.extract)
app.command()(planning.power)
app.command()(planning.choose)
app.command()(replicate.replicate)
app.add_typer(stimuli.app, name="stimuli")
app.add_typer(models.app, name="models")
app.add_typer(brain.app, name="brain")
app.add_typer(decode.app, name="decode")
app.add_typer(cache.app, name="cache")


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    typer.echo(f"brainalign: warning: {' '.join(str(message).split())}", err=True)


def main() -> None:
    """Run the command line; bad input is one line on standard error and exit code 2."""
    # Batch systems end jobs by SIGTERM; leaving by an exception tidies up.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    warnings.showwarning = _show_warning
    try:
        app()
    except BrainalignError as why:
        if "--debug" in sys.argv:
            raise
        typer.echo(f"brainalign: {' '.join(str(why).split())}", err=True)
        sys.exit(2)
