"""Do two sounds get the same tags? Overlap of the highest-ranked AudioSet classes of a group (Denk et al. 2023).

Brain2Music compares a reconstruction with the clip that was heard by the classes that a classifier ranks highest among
25 genres (the two highest), 18 instruments (two) and 6 moods (one). The formula of the overlap is not printed; taken is
the share of the highest-ranked classes of one that are among those of the other, which has the printed values for
uniformly random tags: .08, .111 and .167.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from brainalign.errors import MeasureError, did_you_mean, name_some
from brainalign.measures.resampling import Count, Level, Seed, draw_counts, draw_orders, interval
from brainalign.measures.result import Result, result_table
from brainalign.responses import Responses, align
from brainalign.stats import permutation_p

Array = NDArray[np.float64]


@dataclass(frozen=True)
class TagGroup:
    """Classes that are ranked together.

    Attributes
    ----------
    labels : tuple of str
        Display names of AudioSet classes.
    n_top : int
        How many of the highest-ranked count.
    """

    labels: tuple[str, ...]
    n_top: int

    @property
    def chance(self) -> float:
        """Expected overlap of uniformly random rankings."""
        return self.n_top / len(self.labels)


#: Denk et al. 2023, section 3.4: children of "Music genre", "Musical instrument" and "Music mood" of the ontology that
#: are classes, without "Funny music".
TAG_GROUPS = MappingProxyType({
    "genre": TagGroup((
        "Pop music", "Hip hop music", "Rock music", "Rhythm and blues", "Soul music", "Reggae", "Country", "Funk",
        "Folk music", "Middle Eastern music", "Jazz", "Disco", "Classical music", "Electronic music",
        "Music of Latin America", "Blues", "Music for children", "New-age music", "Vocal music", "Music of Africa",
        "Christian music", "Music of Asia", "Ska", "Traditional music", "Independent music",
    ), 2),
    "instrument": TagGroup((
        "Plucked string instrument", "Keyboard (musical)", "Percussion", "Orchestra", "Brass instrument",
        "Bowed string instrument", "Wind instrument, woodwind instrument", "Harp", "Choir", "Bell", "Harmonica",
        "Accordion", "Bagpipes", "Didgeridoo", "Shofar", "Theremin", "Singing bowl",
        "Scratching (performance technique)",
    ), 2),
    "mood": TagGroup(
        ("Happy music", "Sad music", "Tender music", "Exciting music", "Angry music", "Scary music"), 1
    ),
})  # fmt: skip


def tag_agreement(
    original: Responses,
    reconstructed: Responses,
    *,
    groups: Sequence[str] = tuple(TAG_GROUPS),
    by: str | None = None,
    n_bootstrap: Count = 1000,
    n_permutations: Count = 1000,
    level: Level = 0.95,
    seed: Seed = 0,
) -> Result:
    """Compare the tags of reconstructions with those of the clips that were heard.

    Parameters
    ----------
    original : Responses, dims (stimulus, unit)
        Scores of a tagger for the clips; units are named after its classes.
    reconstructed : Responses, dims (stimulus, unit)
        The same for what was retrieved or generated; ``stimulus`` is the clip that it stands for. Its attribute
        ``source`` names the reconstruction in the table.
    groups : sequence of str
        Of `TAG_GROUPS`.
    by : str, optional
        A coordinate of `original` along stimulus, such as ``"category"``; each of its values gets rows too.
    n_bootstrap : int
        Resamples of clips for the interval; 0 leaves it empty.
    n_permutations : int
        Random pairings of clips and reconstructions for p; 0 leaves it empty.
    level : float
        Coverage of the interval.
    seed : int
        Of resamples and pairings.

    Returns
    -------
    Result
        One row per group (and value of `by`), statistic ``overlap of top N``: the mean over clips; the column
        ``chance`` is that of uniformly random tags, ``chance_of_pairing`` the mean over random pairings, which the p is
        about.
        Array ``overlap`` (group, stimulus).

    Raises
    ------
    MeasureError
        If a group is unknown or a class of it has no score, or a coordinate is unknown.
    ResponseError
        If the two are not about the same clips.
    """
    original, reconstructed = align(original, reconstructed)
    unknown = [g for g in groups if g not in TAG_GROUPS]
    if unknown:
        raise MeasureError(f"no group of tags {unknown[0]!r}; {did_you_mean(unknown[0], TAG_GROUPS)}")
    parts = {"": np.arange(original.sizes["stimulus"])} | _parts(original, by)
    ids = [str(s) for s in original["stimulus"].values]
    rng = np.random.default_rng(seed)
    orders = draw_orders(len(ids), n_permutations, rng, ids)
    rows, overlaps = [], []
    for name in groups:
        group = TAG_GROUPS[name]
        shared = _top(original, group) @ _top(reconstructed, group).T / group.n_top
        overlap = np.diagonal(shared)
        overlaps.append(overlap)
        # Every pairing of a clip with a reconstruction, so that a part keeps its clips and meets those of all others.
        paired = shared[np.arange(len(ids)), orders]
        for part, members in parts.items():
            own = [ids[m] for m in members]
            counts = draw_counts(len(members), n_bootstrap if len(members) > 1 else 0, rng, ids=own)
            rows.append(_row(overlap[members], paired[:, members].mean(axis=1), counts, level) | {
                "model": str(reconstructed.attrs.get("source", "")),
                "target": f"{name} of {part}" if part else name,
                "statistic": f"overlap of top {group.n_top}",
                "chance": group.chance,
            })  # fmt: skip
    return Result(
        measure="tag-agreement",
        table=result_table(rows),
        arrays={
            "overlap": xr.DataArray(np.array(overlaps), {"group": list(groups), "stimulus": ids}, ["group", "stimulus"])
        },
        settings={
            "groups": {g: f"{TAG_GROUPS[g].n_top} of {len(TAG_GROUPS[g].labels)} classes" for g in groups},
            "tagger": str(original.attrs.get("tagger", original.attrs.get("source", ""))),
            "by": by,
            "n_bootstrap": n_bootstrap,
            "n_permutations": n_permutations,
            "level": level,
            "seed": seed,
            "test": "permutation of the pairs of clip and reconstruction, one-sided: above random pairs",
            "interval": "BCa bootstrap over clips",
        },
    )


def _parts(responses: Responses, by: str | None) -> dict[str, NDArray[np.intp]]:
    if by is None:
        return {}
    along = [str(c) for c in responses.coords if responses[c].dims == ("stimulus",)]
    if by not in along:
        raise MeasureError(f"clips have no coordinate {by!r}; {did_you_mean(by, along)}")
    values = responses[by].values.astype(str)
    return {str(v): np.flatnonzero(values == v) for v in dict.fromkeys(values)}


def _top(scores: Responses, group: TagGroup) -> Array:
    """Mark the highest-ranked classes of each clip by 1, (clip, class); of equal scores the first listed."""
    known = scores.indexes["unit"]
    missing = [label for label in group.labels if label not in known]
    if missing:
        raise MeasureError(
            f"{scores.attrs.get('source', 'the tagger')} has no score for {name_some(map(repr, missing))}; "
            f"expected the classes of AudioSet, such as those of yamnet"
        )
    values = scores.sel(unit=list(group.labels)).transpose("stimulus", "unit").values
    order = np.argsort(-values, axis=1, kind="stable")[:, : group.n_top]
    marked = np.zeros(values.shape)
    np.put_along_axis(marked, order, 1.0, axis=1)
    return marked


def _row(overlap: Array, paired: Array, counts: NDArray[np.int64], level: float) -> dict[str, Any]:
    value = np.array([overlap.mean()])
    low, high, notes = interval(value, counts, lambda w: (w @ overlap / w.sum(axis=1))[:, None], level)
    null = paired[1:]
    return {
        "measure": "tag-agreement",
        "value": value[0],
        "ci_low": low[0],
        "ci_high": high[0],
        "p": float(permutation_p(paired[0], null)) if len(null) else np.nan,
        "n": len(overlap),
        "n_of": "clips",
        "note": notes[0],
        "chance_of_pairing": null.mean() if len(null) else np.nan,
    }
