"""Ablation: what a network loses when some of its units are silenced while it listens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from brainalign.errors import MeasureError, did_you_mean, name_some
from brainalign.measures.readout import average_precision, fit_scores
from brainalign.measures.resampling import Seed, Share
from brainalign.measures.result import Result, result_table
from brainalign.measures.selectivity import FRACTION, Index, n_selected, rank_units
from brainalign.measures.targets import Part, label_sets, make_parts
from brainalign.models.base import AudioModel
from brainalign.models.labels import class_labels
from brainalign.responses import Responses, select_units
from brainalign.stats import signed_rank
from brainalign.stimuli import StimulusSet

Array = NDArray[np.float64]
Protocol = Literal["brainalign", "kim2024"]
Output = Literal["auto", "network", "readout"]
INTACT, TOP = "none", "top"
ALL = "mean of categories"
#: Which units are silenced: by rank of selectivity, and by mean absolute response.
GROUPS = (TOP, "middle", "bottom", "top L1")


def ablation(
    responses: Responses,
    model: AudioModel,
    stimuli: StimulusSet,
    *,
    layer: str,
    categories: Sequence[str],
    selection: Responses | None = None,
    column: str = "category",
    exclude: Sequence[str] = (),
    units: Mapping[str, Sequence[int]] | None = None,
    output: Output = "auto",
    protocol: Protocol = "brainalign",
    index: Index = "welch-t",
    fraction: Share = FRACTION,
    allow_overlap: bool = False,
    seed: Seed = 0,
) -> Result:
    """Silence units of a layer during inference and score each category of sound with and without them.

    Parameters
    ----------
    responses : Responses
        Of `model` to the sounds of `stimuli`, `layer` among the layers.
    model : AudioModel
        A model of torch modules (:class:`~brainalign.models.HookedModel`).
    stimuli : StimulusSet
        The test sounds; those of `responses` are played.
    layer : str
        Whose units are silenced.
    categories : sequence of str
        The target categories, by which units are ranked.
    selection : Responses, optional
        Of the same units to other sounds, which rank the units; without them random halves do so for each other.
    column : str
        The coordinate along stimulus that holds the category, or several labels separated by ``|``.
    exclude : sequence of str
        Categories that are not scored, such as the targets themselves.
    units : mapping of str to sequence of int, optional
        Further groups to silence: a name for each, and the units by their ``channel``.
    output : {'auto', 'network', 'readout'}
        What is scored. ``network``: the model's own outputs, where the label of an output is a category. ``readout``: a
        logistic regression on the silenced layer, refitted for each group on the selection sounds. ``auto``: the
        model's outputs if there is one for every category that is scored, else a read-out.
    protocol : {'brainalign', 'kim2024'}
        ``kim2024``: as the released code of Kim et al. 2024, whose two top groups leave the very first unit out (ranks
        223 to 254 of 0 to 255).
    index : str
        The selectivity index that ranks, see :func:`~brainalign.measures.selectivity.selectivity`.
    fraction : float
        Share of the units of the layer in a group.
    allow_overlap : bool
        Let the same sounds rank, fit and test.
    seed : int
        Seed of the halves.

    Returns
    -------
    Result
        Column ``ablated``: ``none``, ``top``, ``middle``, ``bottom`` (by index), ``top L1`` (by mean absolute response)
        and the groups of `units`. ``average_precision`` for each category, with ``chance``, averaged over both
        directions when cross-fitted. ``mAP`` for each group: p and effect size (W+ / (n (n + 1) / 2)) of the one-sided
        signed-rank test over categories that the intact network scores higher. ``mAP_difference``: another group minus
        ``top``, tested alike. Categories of one network share its sounds; for a test over networks as well see
        :func:`pool_ablations`. Array ``roles`` (part, stimulus).

    Raises
    ------
    MeasureError
        If a category has fewer than two sounds in a part (exclude it by name), an output is lacking, or as
        :func:`~brainalign.measures.selective.selective_ratio`.
    ModelError
        If the model is not made of torch modules or lacks the layer or a unit.
    """
    from brainalign.models.hooked import HookedModel

    for name, value, choices in (("protocol", protocol, Protocol), ("output", output, Output)):
        if value not in get_args(choices):
            raise MeasureError(f"no {name} {value!r}; {did_you_mean(value, get_args(choices))}")
    if not isinstance(model, HookedModel):
        raise MeasureError(f"units of {model.name!r} cannot be silenced: it is no model of torch modules")
    source = responses.attrs.get("source", model.name)
    if source != model.name:
        raise MeasureError(f"the responses are those of {source}, but the model is {model.name}")
    taken = sorted({INTACT, *GROUPS} & set(units or {}))
    if taken:
        raise MeasureError(f"the name {taken[0]!r} of a group of units is taken; choose another")
    parts = make_parts(
        select_units(responses, layer=layer),
        None if selection is None else select_units(selection, layer=layer),
        categories,
        column=column,
        allow_overlap=allow_overlap,
        seed=seed,
    )
    scored = _scored_categories(parts.parts, column, exclude)
    outputs = _outputs(class_labels(model), scored, output)
    _check_counts(parts.parts, scored, column, fitted=outputs is None)
    groups = [_groups(p, index, fraction, protocol) | dict(units or {}) for p in parts.parts]
    network = _Network(model, stimuli, layer, outputs)
    table = pd.DataFrame(
        [
            {"ablated": group, "category": c, "ap": ap, "chance": chance}
            for part, own in zip(parts.parts, groups, strict=True)
            for group, silent in {INTACT: (), **own}.items()
            for c, (ap, chance) in network.scores(part, silent, scored, column).items()
        ]
    )
    mean = table.groupby(["ablated", "category"], sort=False).mean().reset_index()
    source = responses.attrs.get("source", model.name)
    n = {c: int(sum(c in s for p in parts.parts for s in label_sets(p.test.responses, column))) for c in scored}
    about = {"measure": "ablation", "model": source, "layer": layer, "brain": "", "note": ""}
    rows = [
        about | {"target": r.category, "statistic": "average_precision", "value": r.ap, "chance": r.chance}
        | {"ablated": r.ablated, "n": n[str(r.category)], "n_of": "positive stimuli"}
        for r in mean.itertuples()
    ]  # fmt: skip
    rows += _summary(mean, about, "categories")
    return Result(
        measure="ablation",
        table=result_table(rows),
        arrays={"roles": parts.roles()},
        settings={
            "layer": layer,
            "categories": list(categories),
            "column": column,
            "exclude": list(exclude),
            "scored_by": "logistic regression on the silenced layer, refitted"
            if outputs is None
            else "its own outputs",
            "protocol": protocol,
            "index": index,
            "fraction": fraction,
            **parts.settings(),
            "seed": seed,
            "test": "Wilcoxon signed-rank over categories, one-sided: higher than with units silenced",
        },
        warnings=parts.warnings(),
    )


def pool_ablations(results: Sequence[Result]) -> Result:
    """Test ablations over categories and networks together, as Kim et al. 2024 did.

    Parameters
    ----------
    results : sequence of Result
        Of :func:`ablation`, one per network, of the same categories and groups.

    Returns
    -------
    Result
        ``mAP`` and ``mAP_difference`` of each group; n counts categories x networks. Note that categories of one
        network are not independent of each other, nor networks that hear the same sounds.

    Raises
    ------
    MeasureError
        If there is no result, a network stands twice, or networks differ in categories or groups.
    """
    if not results:
        raise MeasureError("there is no ablation to pool")
    tables = [r.table[r.table["statistic"] == "average_precision"] for r in results]
    names = [str(t["model"].iloc[0]) for t in tables]
    if len(set(names)) < len(names):
        raise MeasureError(
            f"the same network stands twice: {name_some(sorted({n for n in names if names.count(n) > 1}))}"
        )
    cells = [set(zip(t["ablated"], t["target"], strict=True)) for t in tables]
    for name, own in zip(names, cells, strict=True):
        if own != cells[0]:
            lacking = sorted(own ^ cells[0])[0]
            raise MeasureError(
                f"{name} and {names[0]} were not scored alike: only one of them has the category {lacking[1]!r} with "
                f"{lacking[0]!r} silenced"
            )
    long = pd.concat(tables).rename(columns={"value": "ap"})
    long["category"] = long["model"] + " " + long["target"]
    layers = sorted(set(long["layer"]))
    about = {
        "measure": "ablation",
        "model": f"{len(names)} networks",
        "layer": ", ".join(layers),
        "brain": "",
        "note": "",
    }
    return Result(
        measure="ablation",
        table=result_table(_summary(long, about, "categories x networks")),
        settings={
            "networks": names,
            "test": "Wilcoxon signed-rank over categories x networks, one-sided: higher than with units silenced",
        },
    )


def _groups(part: Part, index: Index, fraction: float, protocol: Protocol) -> dict[str, NDArray[np.intp]]:
    """Return the units of each group, by index within the layer, from the selection sounds alone."""
    values = part.select.responses.values.astype(np.float64)
    by_index = rank_units(values, part.select.is_target, index).ascending
    by_size = np.argsort(np.abs(values).mean(axis=0), kind="stable")
    n = len(by_index)
    k = n_selected(n, fraction)
    last = n - 1 if protocol == "kim2024" else n
    first = n // 2 - k // 2
    chosen = (
        by_index[max(last - k, 0) : last],
        by_index[first : first + k],
        by_index[:k],
        by_size[max(last - k, 0) : last],
    )
    return dict(zip(GROUPS, chosen, strict=True))


def _scored_categories(parts: Sequence[Part], column: str, exclude: Sequence[str]) -> list[str]:
    """Return the categories of the test sounds that are scored."""
    known = {name for p in parts for labels in label_sets(p.test.responses, column) for name in labels}
    for name in exclude:
        if name not in known:
            raise MeasureError(
                f"no test sound has the {column} {name!r}, which is to be left out; {did_you_mean(name, known)}"
            )
    scored = sorted(known - set(exclude))
    if not scored:
        raise MeasureError("all categories are excluded: there is none to score")
    return scored


def _check_counts(parts: Sequence[Part], scored: Sequence[str], column: str, fitted: bool) -> None:
    """Raise unless there are two sounds of each category, and two others, wherever it is tested or fitted."""
    for part in parts:
        for targets, what in ((part.test, "test"), (part.select, "are fitted"))[: 1 + fitted]:
            sets = label_sets(targets.responses, column)
            rare = [c for c in scored if not 2 <= sum(c in labels for labels in sets) <= len(sets) - 2]
            if rare:
                raise MeasureError(
                    f"the categories {name_some(rare)} have fewer than 2 sounds among the {len(sets)} that {what} (or "
                    f"fewer than 2 others); leave them out by name: exclude = {rare[:3]}"
                )


def _outputs(labels: Sequence[str], scored: Sequence[str], output: Output) -> dict[str, int] | None:
    """Return the output of the network for each category, or None where a read-out scores."""
    if output == "readout":
        return None
    place = {label.casefold(): i for i, label in enumerate(labels)}
    lacking = [c for c in scored if c.casefold() not in place]
    if lacking and output == "network":
        raise MeasureError(
            f"the network has no output for {len(lacking)} of {len(scored)} categories: {name_some(lacking)}; "
            f"leave them out by name with exclude, or use output='readout'"
        )
    return None if lacking else {c: place[c.casefold()] for c in scored}


@dataclass(frozen=True)
class _Network:
    """A model whose units of one layer are silenced, and how categories are scored."""

    model: Any
    stimuli: StimulusSet
    layer: str
    outputs: dict[str, int] | None

    def scores(
        self, part: Part, silent: Sequence[int] | NDArray[np.intp], scored: Sequence[str], column: str
    ) -> dict[str, tuple[float, float]]:
        """Return average precision and chance of each category on the test sounds."""
        test = self._silenced(part.test.responses, silent)
        train = self._silenced(part.select.responses, silent) if self.outputs is None else test
        fitted, tested = (label_sets(t.responses, column) for t in (part.select, part.test))
        found = {}
        for c in scored:
            positive = np.array([c in labels for labels in tested])
            if self.outputs is not None:
                own = test[:, self.outputs[c]]
            else:
                own = fit_scores(train, np.array([c in labels for labels in fitted]), test)
            found[c] = (float(average_precision(positive, own)[0]), float(positive.mean()))
        return found

    def _silenced(self, responses: Responses, silent: Sequence[int] | NDArray[np.intp]) -> Array:
        """Return what is scored: the outputs, or the silenced layer, whose time average over zeros is zero."""
        from brainalign.models.extraction import extract
        from brainalign.models.hooked import ablating

        units = [int(i) for i in silent]
        if self.outputs is None:
            values = responses.values.astype(np.float64)
            wrong = [i for i in units if not 0 <= i < values.shape[1]]
            if wrong:
                raise MeasureError(f"layer {self.layer!r} has {values.shape[1]} units, there is no unit {wrong[0]}")
            values[:, units] = 0
            return values
        sounds = self.stimuli.select([str(i) for i in responses["stimulus"].values])
        with ablating(self.model, {self.layer: units}):
            return np.asarray(extract(self.model, sounds, layers=[list(self.model.layouts)[-1]]).values, np.float64)


def _summary(table: pd.DataFrame, about: Mapping[str, Any], n_of: str) -> list[dict[str, Any]]:
    """Compare groups over categories: `table` has the columns ``ablated``, ``category``, ``ap``, ``chance``."""
    wide = table.pivot(index="category", columns="ablated", values="ap")
    chance = float(table["chance"].mean())
    groups = [g for g in dict.fromkeys(table["ablated"]) if g != INTACT]
    row = {**about, "target": ALL, "n": len(wide), "n_of": n_of, "chance": chance}
    rows = [row | {"ablated": INTACT, "statistic": "mAP", "value": float(wide[INTACT].mean())}]
    rows += [
        row | {"ablated": g, "statistic": "mAP", "value": float(wide[g].mean())} | _signed_rank(wide[INTACT], wide[g])
        for g in groups
    ]
    if TOP in groups:
        for g in groups:
            if g != TOP:
                found = {"ablated": f"{g} - {TOP}", "statistic": "mAP_difference"}
                rows.append(
                    row | found | {"value": float((wide[g] - wide[TOP]).mean())} | _signed_rank(wide[g], wide[TOP])
                )
    return rows


def _signed_rank(higher: pd.Series, lower: pd.Series) -> dict[str, float]:
    test = signed_rank(higher.to_numpy(), lower.to_numpy(), alternative="greater")
    return {"p": float(test.p), "effect_size": float(test.effect_size)}
