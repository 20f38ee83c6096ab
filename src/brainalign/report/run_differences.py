"""What differs between runs: recipe, seed, versions, sounds, models, brain data, settings of results."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from brainalign.report.saved import SavedRun
from brainalign.report.words import setting

#: Written where a run does not have something.
ABSENT = "–"
_THERE = "is there"
#: What a list of tables is told apart by.
_NAMED_BY = ("label", "measure", "name")


@dataclass(frozen=True)
class Difference:
    """One thing in which runs differ.

    Attributes
    ----------
    part : str
        Where: "recipe", "seed", "versions", "sounds", "models", "brain data", "settings".
    what : str
        Which key, as a path.
    values : tuple of str
        One per run; `ABSENT` where a run does not have it.
    """

    part: str
    what: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class Differences:
    """What differs between runs, and how much is the same.

    Attributes
    ----------
    rows : list of Difference
        In the order of the parts.
    n_same : int
        How many things are recorded in all runs and are the same.
    sounds, brains, seeds, recipes, versions, models : bool
        Whether all runs have the same ones; recipes without their seeds, titles and questions.
    """

    rows: list[Difference]
    n_same: int
    sounds: bool
    brains: bool
    seeds: bool
    recipes: bool
    versions: bool
    models: bool


def differences(runs: Sequence[SavedRun]) -> Differences:
    """Compare what determined the numbers of runs.

    Parameters
    ----------
    runs : sequence of SavedRun
        Two or more.

    Returns
    -------
    Differences
        Lists of models, measures and brain data are matched by name, so their order does not matter.
    """
    facts = [{part: dict(_flat(content)) for part, content in _parts(run).items()} for run in runs]
    rows, n_same = [], 0
    same: dict[str, bool] = {}
    for part in facts[0]:
        own = [f[part] for f in facts]
        if part == "settings" and not all(own):
            continue  # older runs do not record them
        keys = list(dict.fromkeys(key for one in own for key in one))
        differing = [key for key in keys if len({one.get(key, ABSENT) for one in own}) > 1]
        n_same += len(keys) - len(differing)
        same[part] = not differing
        # Of what a run does not have at all, details are not said; nor that it is lacking where the recipe says it.
        alone = [key for key in differing if any(one.get(key) == _THERE for one in own)]
        differing = [key for key in differing if not key.startswith(tuple(f"{a}." for a in alone))]
        differing = [key for key in differing if key not in alone or part not in ("models", "settings")]
        rows += [Difference(part, key, tuple(one.get(key, ABSENT) for one in own)) for key in differing]
    sounds = same["sounds"] and _same_sounds(runs)
    rows += [] if _same_sounds(runs) else _sound_rows(runs)
    return Differences(
        rows,
        n_same,
        sounds=sounds,
        brains=same["brain data"],
        seeds=same["seed"],
        recipes=same["recipe"],
        versions=same["versions"],
        models=same["models"],
    )


def _parts(run: SavedRun) -> dict[str, dict[str, Any]]:
    record = run.provenance
    recipe = {k: v for k, v in run.recipe.items() if k not in ("seed", "title", "question")}
    if isinstance(recipe.get("brain"), dict):  # format 0 had one brain
        recipe["brain"] = [recipe["brain"]]
    sounds = {
        part: {k: v for k, v in record[part].items() if k != "sha256"}
        for part in ("stimuli", "selection")
        if isinstance(record.get(part), dict)
    }
    return {
        "seed": {"seed": record.get("seed", ABSENT)},
        "recipe": recipe,
        "sounds": sounds,
        "brain data": {"": [{k: b.get(k) for k in ("name", "version")} for b in record.get("brains", [])]},
        "models": {"": record.get("models", [])},
        "versions": record.get("versions", {}),
        "settings": _settings(run),
    }


def _settings(run: SavedRun) -> dict[str, Any]:
    """Return the settings of each measure; seeds that are the run's own are not said again."""
    found: dict[str, dict[str, list[str]]] = {}
    for result in run.results:
        for key, value in result.settings.items():
            if key != "seed" or value != run.provenance.get("seed"):
                found.setdefault(result.measure, {}).setdefault(str(key), []).append(setting(value))
    tables = [
        {"measure": measure, **{k: " or ".join(dict.fromkeys(v)) for k, v in own.items() if any(v)}}
        for measure, own in found.items()
    ]
    return {"": tables} if tables else {}


def _flat(content: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Give the leaves of nested tables by path; lists of named tables by name, other lists as one value."""
    if isinstance(content, Mapping):
        for key, value in content.items():
            yield from _flat(value, f"{path}.{key}".strip(".") if key else path)
    elif isinstance(content, list) and content and all(isinstance(v, Mapping) for v in content):
        for place, value in enumerate(content):
            name = next((str(value[key]) for key in _NAMED_BY if value.get(key)), str(place))
            yield f"{path}[{name}]", _THERE
            yield from _flat({k: v for k, v in value.items() if str(v) != name}, f"{path}[{name}]")
    elif content not in (None, [], {}):
        yield path, setting(content)


def _digests(run: SavedRun) -> dict[str, str]:
    sounds = run.provenance.get("stimuli", {}).get("sha256", {})
    return sounds if isinstance(sounds, dict) else {}


def _same_sounds(runs: Sequence[SavedRun]) -> bool:
    first = _digests(runs[0])
    return all(_digests(run) == first for run in runs[1:])


def _sound_rows(runs: Sequence[SavedRun]) -> list[Difference]:
    """Say how the sounds of runs differ: how many, how many of their own, how many of one id and other samples."""
    own = [_digests(run) for run in runs]
    everywhere = set.intersection(*(set(d) for d in own))
    changed = {i for i in everywhere if len({d[i] for d in own}) > 1}
    rows = {
        "number of sounds": [str(len(d)) for d in own],
        "sounds that not all runs have": [str(len(set(d) - everywhere)) for d in own],
        "sounds of one id with other samples": [str(len(changed))] * len(own),
    }
    return [Difference("sounds", what, tuple(values)) for what, values in rows.items() if set(values) != {"0"}]
