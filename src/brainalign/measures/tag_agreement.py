"""Do two sounds get the same tags? Overlap of the highest-ranked AudioSet classes of a group (Denk et al. 2023).

Brain2Music compares a reconstruction with the clip that was heard by the classes that a classifier ranks highest among
25 genres (the two highest), 18 instruments (two) and 6 moods (one). The formula of the overlap is not printed; taken is
the share of the highest-ranked classes of one that are among those of the other, which has the printed values for
uniformly random tags: .08, .111 and .167.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from brainalign.errors import MeasureError, did_you_mean, name_some
from brainalign.measures.decoding_rows import ALL_SUBJECTS
from brainalign.measures.resampling import Count, Level, Resamples, Seed, draw_counts, draw_orders, interval
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
    reconstructed: Mapping[str, Responses],
    *,
    groups: Sequence[str] = tuple(TAG_GROUPS),
    by: str | None = None,
    n_bootstrap: Resamples = 1000,
    n_permutations: Count = 1000,
    level: Level = 0.95,
    seed: Seed = 0,
) -> Result:
    """Compare the tags of reconstructions with those of the clips that were heard.

    Parameters
    ----------
    original : Responses, dims (stimulus, unit)
        Scores of a tagger for the clips; units are named after its classes.
    reconstructed : mapping of str to Responses
        For each subject the same of what was retrieved or generated; ``stimulus`` is the clip that it stands for.
    groups : sequence of str
        Of `TAG_GROUPS`.
    by : str, optional
        A coordinate of `original` along stimulus, such as ``"category"``; each of its values gets a row too.
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
        For each group the mean over subjects (with ``sd`` over them), then each subject, statistic ``overlap of top
        N``: the mean over clips. The column ``chance`` is that of uniformly random tags, ``chance_of_pairing`` the mean
        over random pairings, which the p is about: a tag that all music gets is no agreement. Rows with a ``category``
        are of its clips. Array ``overlap`` (group, subject, stimulus).

    Raises
    ------
    MeasureError
        If there is no subject, a group is unknown or a class of it has no score, or a coordinate is unknown.
    ResponseError
        If the two are not about the same clips.
    """
    if not reconstructed:
        raise MeasureError("there are no reconstructions to compare with the clips")
    original, *others = align(original, *reconstructed.values())
    unknown = [g for g in groups if g not in TAG_GROUPS]
    if unknown:
        raise MeasureError(f"no group of tags {unknown[0]!r}; {did_you_mean(unknown[0], TAG_GROUPS)}")
    ids = [str(s) for s in original["stimulus"].values]
    rng = np.random.default_rng(seed)
    orders = draw_orders(len(ids), n_permutations, rng, ids)
    counts = draw_counts(len(ids), n_bootstrap, rng, ids=ids)
    parts = _parts(original, by)
    rows, overlaps = [], []
    for name in groups:
        group = TAG_GROUPS[name]
        # Of every clip with every reconstruction: a part keeps its clips and meets the reconstructions of all others.
        tables = [_top(original, group) @ _top(other, group).T / group.n_top for other in others]
        paired = np.stack([table[np.arange(len(ids)), orders] for table in tables])
        overlaps.append(paired[:, 0])
        shared = {"statistic": f"overlap of top {group.n_top}", "tags": name, "chance": group.chance, "category": ""}
        mean = _row(paired.mean(axis=0), counts, level) | {"target": ALL_SUBJECTS, "sd": _sd(paired[:, 0].mean(axis=1))}
        rows.append(shared | mean)
        rows += [shared | _row(p, counts, level) | {"target": s} for s, p in zip(reconstructed, paired, strict=True)]
        for part, members in parts.items():
            of_part = paired[:, :, members]
            row = _row(of_part.mean(axis=0), counts[:0, members], level)
            sd = _sd(of_part[:, 0].mean(axis=1))
            rows.append(shared | row | {"target": ALL_SUBJECTS, "category": part, "sd": sd})
    about = ("group", "subject", "stimulus")
    coords = {"group": list(groups), "subject": list(reconstructed), "stimulus": ids}
    return Result(
        measure="tag-agreement",
        table=result_table({"measure": "tag-agreement"} | row for row in rows),
        arrays={"overlap": xr.DataArray(np.array(overlaps), coords, about)},
        settings={
            "groups": {g: f"{TAG_GROUPS[g].n_top} of {len(TAG_GROUPS[g].labels)} classes" for g in groups},
            "tagger": str(original.attrs.get("source", "")),
            "by": by or "",
            "n_bootstrap": n_bootstrap,
            "n_permutations": n_permutations,
            "level": level,
            "seed": seed,
            "test": "permutation of the pairs of clip and reconstruction, one-sided: above random pairs",
            "interval": "BCa bootstrap over clips, the same for all subjects",
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


def _row(paired: Array, counts: NDArray[np.int64], level: float) -> dict[str, Any]:
    """Return a row from overlaps (1 + n_permutations, n_clips), the measured pairing first."""
    overlap, null = paired[0], paired[1:].mean(axis=1)
    value = np.array([overlap.mean()])
    low, high, notes = interval(value, counts, lambda w: (w @ overlap / w.sum(axis=1))[:, None], level)
    return {
        "value": value[0],
        "ci_low": low[0],
        "ci_high": high[0],
        "p": float(permutation_p(value[0], null)) if len(null) else np.nan,
        "n": len(overlap),
        "n_of": "clips",
        "note": notes[0],
        "chance_of_pairing": null.mean() if len(null) else np.nan,
    }


def _sd(values: Array) -> float:
    return float(values.std(ddof=1)) if len(values) > 1 else np.nan
