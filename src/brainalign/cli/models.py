"""``brainalign models`` and ``brainalign extract``."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from brainalign.cli import _complete
from brainalign.cli._shared import Cache, Cluster, Jobs, Json, Overwrite, Progress, finite, print_json

if TYPE_CHECKING:
    import pandas as pd

app = typer.Typer(help="What listens: the models that are known, and their layers.", no_args_is_help=True)

Model = Annotated[
    str,
    typer.Argument(help="As in recipes, for instance kim2024-cnn:no-music/0.", autocompletion=_complete.models),
]


@app.command("list")
def show(as_json: Json = False) -> None:
    """List the models by name, and what each lacks to run.

    Example: brainalign models list
    """
    from brainalign.models import list_models

    cards = list_models()
    if as_json:
        print_json([asdict(card) for card in cards])
        return
    for card in cards:
        typer.echo(f"{card.name:<20} {card.what}")
        if card.variants:
            typer.echo(f"{'':<20} {card.name}:{f'  {card.name}:'.join(card.variants)}")
        if card.needs:
            typer.echo(f"{'':<20} needs {card.needs}")


@app.command()
def layers(
    model: Model,
    duration_s: Annotated[
        float,
        typer.Option(min=0.01, max=600, callback=finite, help="Duration of the sound for which shapes are given."),
    ] = 2.0,
    random_weights: Annotated[bool, typer.Option("--random-weights", help="Without trained weights.")] = False,
    receptive_fields: Annotated[bool, typer.Option(help="Find them by listening; about 45 passes.")] = True,
    as_json: Json = False,
) -> None:
    """List the layers of a model: shape, axes, parameters, receptive field.

    Examples: brainalign models layers kim2024-cnn:no-music/0

    brainalign models layers torchaudio:WAV2VEC2_BASE --random-weights
    """
    from brainalign.models import describe_layers, load_model

    loaded = load_model(f"{model}@random:0" if random_weights else model)
    table = describe_layers(loaded, duration_s=duration_s, receptive_fields=receptive_fields)
    typer.echo(table.to_json(orient="records", indent=2) if as_json else _text(table))


def _text(table: pd.DataFrame) -> str:
    return table.to_string(index=False, na_rep="", float_format=lambda x: f"{x:.4g}")


def extract(
    model: Model,
    stimuli: Annotated[str, typer.Argument(help="A known set or a folder.", autocompletion=_complete.stimuli)],
    out: Annotated[Path, typer.Option("--out", help="File for the responses (netCDF).")],
    layer: Annotated[
        list[str] | None, typer.Option("--layer", help="Name, glob, #INDEX or stage; may be repeated.")
    ] = None,
    pooling: Annotated[str, typer.Option(help="mean, mean-sd, max, last, segments:K or none.")] = "mean",
    batch_size: Annotated[int, typer.Option(min=1, help="Sounds per forward pass.")] = 16,
    device: Annotated[str, typer.Option(help="Torch device.")] = "cpu",
    random_weights: Annotated[bool, typer.Option("--random-weights", help="Without trained weights.")] = False,
    jobs: Jobs = 1,
    cluster: Cluster = None,
    cache: Cache = True,
    overwrite: Overwrite = False,
    progress: Progress = True,
    as_json: Json = False,
) -> None:
    """Extract the activations of a model for a stimulus set, and save them.

    Example: brainalign extract kim2024-cnn:no-music/0 natsound165 --layer 'conv*' --out conv.nc
    """
    from brainalign.engine import open_engine
    from brainalign.errors import ResultsError
    from brainalign.models import cache_folder, load_model
    from brainalign.models import extract as listen
    from brainalign.responses import save_responses
    from brainalign.stimuli import load_stimuli

    if out.exists() and not overwrite:
        raise ResultsError(f"{out} exists already; choose another name, or replace it with --overwrite")
    name = f"{model}@random:0" if random_weights else model
    with open_engine(jobs, cluster) as engine:
        responses = listen(
            load_model(name),
            load_stimuli(stimuli),
            layers=layer,
            pooling=pooling,
            batch_size=batch_size,
            device=device,
            cache=cache_folder() if cache else None,
            progress=progress,
            engine=engine,
            load=partial(load_model, name),
        )
    save_responses(responses, out)
    if as_json:
        print_json({"responses": str(out), "sizes": {str(d): int(n) for d, n in responses.sizes.items()}})
        return
    typer.echo(f"responses: {out} ({responses.sizes['stimulus']} sounds x {responses.sizes['unit']} units)")
