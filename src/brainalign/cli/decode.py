"""``brainalign decode``: an index of music, looking up in it, and generating."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from brainalign.cli import _complete
from brainalign.cli._shared import MOST_SEED, Cache, Json, Progress, finite, print_json

app = typer.Typer(
    help="From embeddings to music: index a folder of music, find the nearest, generate. Recipes do all of it: "
    "brainalign run brain2music/simulated.",
    no_args_is_help=True,
)

Model = Annotated[
    str,
    typer.Option(
        "--model",
        help="As in recipes, for instance yamnet or hf:laion/larger_clap_music.",
        autocompletion=_complete.models,
    ),
]
Layer = Annotated[str, typer.Option("--layer", help="The embedding.")]


@app.command()
def index(
    tracks: Annotated[str, typer.Argument(help="Music: a known set or a folder (brainalign stimuli new makes one).")],
    model: Model,
    layer: Layer,
    out: Annotated[Path, typer.Option("--out", help="Folder for the index.")],
    clip_s: Annotated[
        float,
        typer.Option(min=0.01, callback=finite, help="How much of each track is heard, from its beginning, in s."),
    ] = 15.0,
    window_s: Annotated[
        float | None, typer.Option(min=0.01, callback=finite, help="Windows that are averaged; one if not given.")
    ] = None,
    step_s: Annotated[float, typer.Option(min=0.01, callback=finite, help="From one window to the next, in s.")] = 1.5,
    pooling: Annotated[str, typer.Option(help="Of frames, as for extract.")] = "mean",
    cache: Cache = True,
    progress: Progress = True,
    as_json: Json = False,
) -> None:
    """Embed the beginning of every track and write an index; a build that was killed goes on where it stopped.

    Example: brainalign decode index my-music --model yamnet --layer embedding --out my-music.index
    """
    from brainalign.models import cache_folder, load_model
    from brainalign.reconstruction.index import build_index
    from brainalign.stimuli import load_stimuli

    built = build_index(
        load_stimuli(tracks),
        load_model(model),
        out,
        layer=layer,
        pooling=pooling,
        clip_s=clip_s,
        window_s=window_s,
        step_s=step_s,
        cache=cache_folder() if cache else None,
        progress=progress,
    )
    if as_json:
        print_json({"index": str(out), "n_tracks": len(built), "n_dimensions": int(built.embeddings.shape[1])})
        return
    typer.echo(f"index: {out} ({len(built)} tracks x {built.embeddings.shape[1]} dimensions)")


@app.command()
def search(
    folder: Annotated[Path, typer.Argument(help="An index.")],
    queries: Annotated[
        Path, typer.Argument(help="Embeddings, one row each: netCDF of responses, as extract writes it.")
    ],
    k: Annotated[int, typer.Option("-k", min=1, help="How many of the nearest.")] = 5,
    centre: Annotated[bool, typer.Option(help="Take the mean of the index away first.")] = False,
    as_json: Json = False,
) -> None:
    """Find the tracks whose embeddings are nearest by cosine.

    Example: brainalign decode search my-music.index clips.nc -k 3
    """
    from brainalign.reconstruction.index import describe_tracks, open_index
    from brainalign.responses import load_responses

    opened, responses = open_index(folder), load_responses(queries)
    if "model_record" in responses.attrs:
        opened.check_model(responses)
    mean = opened.embeddings.mean(axis=0) if centre else None
    ids, similarities = opened.search(responses.values, k, centre=mean)
    found = [
        {"query": str(query), "rank": rank + 1, "track": str(i), "title": title, "cosine": round(float(cosine), 4)}
        for query, row, cosines in zip(responses["stimulus"].values, ids, similarities, strict=True)
        for rank, (i, title, cosine) in enumerate(zip(row, describe_tracks(opened, row.tolist()), cosines, strict=True))
    ]
    if as_json:
        print_json(found)
        return
    for one in found:
        typer.echo(f"{one['query']:<24} {one['rank']:>3} {one['cosine']:>7.3f}  {one['track']}  {one['title']}")


@app.command()
def generate(
    generator: Annotated[
        str, typer.Argument(help="Such as musicldm:/PATH/TO/FOLDER.", autocompletion=_complete.generators)
    ],
    embeddings: Annotated[Path, typer.Argument(help="One row each: netCDF of responses.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the sounds: a stimulus set.")],
    n_samples: Annotated[int, typer.Option(min=1, help="Sounds for each embedding.")] = 1,
    duration_s: Annotated[float, typer.Option(min=0.01, callback=finite, help="Length of each, in s.")] = 10.0,
    seed: Annotated[int, typer.Option(min=0, max=MOST_SEED, help="Of all that is drawn.")] = 0,
    n_steps: Annotated[int | None, typer.Option(min=1, help="Steps of denoising (musicldm, audioldm).")] = None,
    guidance: Annotated[
        float | None, typer.Option(min=0, callback=finite, help="Weight of guidance; 1 is none.")
    ] = None,
    progress: Progress = True,
    as_json: Json = False,
) -> None:
    """Generate music for embeddings; what is there already is not made again.

    Example: brainalign decode generate musicldm:weights/musicldm decoded.nc --out generated
    """
    from brainalign.reconstruction.generator import generate_set, load_generator
    from brainalign.responses import load_responses

    options = {"n_steps": n_steps, "guidance": guidance}
    made = generate_set(
        load_generator(generator, **{k: v for k, v in options.items() if v is not None}),
        load_responses(embeddings),
        out,
        n_samples=n_samples,
        duration_s=duration_s,
        seed=seed,
        progress=progress,
    )
    if as_json:
        print_json({"folder": str(out), "n_sounds": len(made)})
        return
    typer.echo(f"{len(made)} sounds: {out}")
