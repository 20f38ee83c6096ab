"""``brainalign power`` and ``brainalign choose``: before a study is run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from brainalign.cli._shared import MOST_SEED, Json, Overwrite, Progress, print_json

if TYPE_CHECKING:
    from brainalign.responses import Responses

Seed = Annotated[int, typer.Option("--seed", min=0, max=MOST_SEED, help="Seed of all random draws.")]
LayerHelp = "Layer of a model, in the order of the models; needed where a file holds several."


def power(
    first: Annotated[Path, typer.Argument(help="Responses of a model, as brainalign extract writes them.")],
    second: Annotated[Path, typer.Argument(help="Responses of another model to the same sounds.")],
    out: Annotated[Path, typer.Option("--out", help="The page (.html); a table (.csv) goes beside it.")],
    layer: Annotated[list[str] | None, typer.Option("--layer", help=LayerHelp)] = None,
    stimuli: Annotated[
        Path | None, typer.Option("--stimuli", help="Use these sounds only: CSV with stimulus_id, as choose writes it.")
    ] = None,
    subjects: Annotated[str, typer.Option("--subjects", help="Numbers to try.")] = "5,10,20",
    repetitions: Annotated[str, typer.Option("--repetitions", help="Numbers to try.")] = "1,3",
    sounds: Annotated[str | None, typer.Option("--sounds", help="Numbers to try; all if not given.")] = None,
    reliability: Annotated[float, typer.Option("--reliability", help="Of a voxel in one repetition.")] = 0.2,
    brain: Annotated[
        Path | None, typer.Option("--brain", help="Measured responses with repetitions; replaces --reliability.")
    ] = None,
    share: Annotated[float, typer.Option("--share", help="Of the right model in the signal, above 0.5.")] = 0.75,
    share_sd: Annotated[float, typer.Option("--share-sd", help="SD over subjects, in log odds.")] = 0.5,
    voxels: Annotated[int, typer.Option("--voxels", help="Independent voxels per subject.")] = 50,
    measure: Annotated[list[str] | None, typer.Option("--measure", help="rsa or encoding; both by default.")] = None,
    inference: Annotated[str, typer.Option("--inference", help="To new subjects, stimuli, or both.")] = "subjects",
    simulations: Annotated[int, typer.Option("--simulations", help="Studies per number.")] = 200,
    alpha: Annotated[float, typer.Option("--alpha", help="Level of the test.")] = 0.05,
    seed: Seed = 0,
    overwrite: Overwrite = False,
    progress: Progress = True,
    as_json: Json = False,
) -> None:
    """Say how many subjects, repetitions and sounds tell two models apart, by simulated studies.

    Example: brainalign power a.nc b.nc --subjects 8,16,24 --sounds 60,120 --brain pilot.nc --out power.html
    """
    import pandas as pd

    from brainalign._files import write_then_rename
    from brainalign.measures.power import power as simulate
    from brainalign.report.power_page import write_power_page
    from brainalign.report.svg import safe_csv
    from brainalign.responses import load_responses, select_stimuli

    page, table = _new(out, ".html", overwrite), _new(out.with_suffix(".csv"), ".csv", overwrite)
    models = list(_load([first, second], layer).values())
    if stimuli is not None:
        ids = _ids(stimuli, {str(s) for s in models[0].indexes["stimulus"]})
        models = [select_stimuli(model, ids) for model in models]
    options = {
        "n_subjects": _numbers("--subjects", subjects),
        "n_repetitions": _numbers("--repetitions", repetitions),
        "n_stimuli": None if sounds is None else _numbers("--sounds", sounds),
        "reliability": reliability if brain is None else load_responses(brain),
        "share": share,
        "share_sd": share_sd,
        "n_voxels": voxels,
        "measures": measure or ["rsa", "encoding"],
        "inference": inference,
        "n_simulations": simulations,
        "alpha": alpha,
        "seed": seed,
    }
    results = [simulate(*pair, **options, progress=progress) for pair in (models, models[::-1])]  # type: ignore[arg-type]
    if stimuli is not None:
        for result in results:
            result.settings["stimuli"] = f"those listed in {stimuli.name}"
    write_power_page(results, page)
    with write_then_rename(table) as temporary:
        temporary.write_text(safe_csv(pd.concat([r.table for r in results])), encoding="utf-8")
    if as_json:
        rows = pd.concat([r.table for r in results]).to_json(orient="records")
        print_json({"page": str(page.resolve()), "table": str(table), "estimates": json.loads(rows)})
        return
    typer.echo(f"page:  {page.resolve()}")
    typer.echo(f"table: {table}")


def choose(
    models: Annotated[list[Path], typer.Argument(help="Responses of two or more models to the sounds of the pool.")],
    n: Annotated[int, typer.Option("--n", help="How many sounds.")],
    out: Annotated[Path, typer.Option("--out", help="Chosen sounds (.csv); settings (.json) go beside them.")],
    layer: Annotated[list[str] | None, typer.Option("--layer", help=LayerHelp)] = None,
    components: Annotated[
        Path | None, typer.Option("--components", help="Measured components: differ in their predictions, not in RDMs.")
    ] = None,
    balance: Annotated[str, typer.Option("--balance", help="Categories: pool, equal or none.")] = "pool",
    starts: Annotated[int, typer.Option("--starts", help="Starts of the search.")] = 5,
    seed: Seed = 0,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Choose the sounds of a pool on which models can best be told apart.

    Example: brainalign choose a.nc b.nc --n 40 --out chosen.csv
    """
    import brainalign
    from brainalign._files import write_then_rename
    from brainalign.measures.stimulus_choice import choose_stimuli
    from brainalign.report.svg import safe_csv
    from brainalign.responses import load_responses

    table, record = _new(out, ".csv", overwrite), _new(out.with_suffix(".json"), ".json", overwrite)
    chosen = choose_stimuli(
        _load(models, layer),
        n,
        components=None if components is None else load_responses(components),
        balance=balance,  # type: ignore[arg-type]
        n_starts=starts,
        seed=seed,
    )
    facts = {"brainalign": brainalign.__version__, "components": None if components is None else str(components)}
    with write_then_rename(record) as temporary:
        temporary.write_text(json.dumps(facts | chosen.to_dict(), indent=1, ensure_ascii=False), encoding="utf-8")
    with write_then_rename(table) as temporary:
        temporary.write_text(safe_csv(chosen.table), encoding="utf-8")
    if as_json:
        print_json({"table": str(table), "settings": str(record), **chosen.to_dict()})
        return
    typer.echo(repr(chosen).strip("<>"))
    typer.echo(f"random choices as good: {100 * chosen.share_as_good:.3g} % of {len(chosen.random)}")
    typer.echo(f"table:    {table}")
    typer.echo(f"settings: {record}")


def _new(path: Path, suffix: str, overwrite: bool) -> Path:
    from brainalign.errors import ResultsError

    if path.suffix != suffix:
        raise ResultsError(f"--out is {path}, expected a name that ends in {suffix}")
    if path.exists() and not overwrite:
        raise ResultsError(f"{path} exists already; choose another name, or replace it with --overwrite")
    return path


def _load(paths: list[Path], layers: list[str] | None) -> dict[str, Responses]:
    """Read the responses of models, by the name of the file, and take the layer that is asked for."""
    from brainalign.errors import MeasureError
    from brainalign.responses import load_responses, select_units

    if layers and len(layers) != len(paths):
        raise MeasureError(f"--layer is given {len(layers)} times for {len(paths)} models, expected once for each")
    loaded = {}
    for path, layer in zip(paths, layers or [""] * len(paths), strict=True):
        responses = load_responses(path)
        name = f"{path}:{layer}" if layer else str(path)
        loaded[name] = select_units(responses, layer=layer) if layer else responses
    if len(loaded) < len(paths):
        raise MeasureError("the same responses are given twice; a model does not differ from itself")
    return loaded


def _ids(path: Path, known: set[str]) -> list[str]:
    """Read the ids of sounds; an apostrophe that guards one from being taken for a formula comes off."""
    from brainalign.errors import StimulusError, name_some
    from brainalign.stimuli.sets import read_text_table

    table = read_text_table(path)
    if "stimulus_id" not in table:
        raise StimulusError(f"{path} lacks the column stimulus_id; it has {name_some(table.columns)}")
    if table.empty:
        raise StimulusError(f"{path} lists no stimulus")
    return [s if s in known else s.removeprefix("'") for s in table["stimulus_id"]]


def _numbers(option: str, text: str) -> list[int]:
    from brainalign.errors import MeasureError

    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise MeasureError(
            f"{option} is {text!r}, expected whole numbers with commas between, such as 5,10,20"
        ) from None
