"""What decoding fits and tests: rows of training and test stimuli, and the units of each region of each subject."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brainalign.errors import MeasureError, did_you_mean, name_some
from brainalign.measures.splits import LEAST_TEST, make_splits, stimulus_labels
from brainalign.measures.voxel_fits import unit_labels
from brainalign.responses import Responses, describe

Index = NDArray[np.intp]

#: The way to split that deals clips out to folds, each tested once.
KFOLD = "kfold"
#: The region of all units where regions are not known.
ALL_UNITS = "all units"
#: Decimal seconds differ by rounding.
WINDOW_TOLERANCE_S = 1e-3


@dataclass(frozen=True)
class Plan:
    """Which rows are fitted and tested.

    Attributes
    ----------
    parts : list of (train, test)
        Row numbers; no row is tested twice.
    clips : ndarray of str, shape (n_rows,)
        The clip of each row.
    compete : ndarray, shape (n_rows,)
        Test clips of one label compete.
    tested : ndarray of int
        All rows that are tested, ascending.
    """

    parts: list[tuple[Index, Index]]
    clips: NDArray[np.str_]
    compete: NDArray[np.generic]
    tested: Index


def make_plan(sides: Sequence[Responses], split: str, n_splits: int, clip: str, unseen: str | None, seed: int) -> Plan:
    """Say which rows are fitted and which tested, and check that no clip is torn apart.

    Parameters
    ----------
    sides : sequence of Responses
        In the same order of stimuli.
    split, n_splits, clip, unseen, seed
        See :func:`~brainalign.measures.decoding.decoding`.

    Returns
    -------
    Plan
        At least one part.

    Raises
    ------
    MeasureError
        If a coordinate is missing, differs between the sides or tears a clip apart, windows are of different stretches
        of their clips, or clips are too few.
    """
    if differ := window_difference(sides, [describe(side) for side in sides]):
        raise MeasureError(differ)
    ids = sides[0]["stimulus"].values.astype(str)
    has_clip = clip != "clip" or any(clip in side.coords for side in sides)
    clips = labels_of(clip, sides) if has_clip else ids
    compete: NDArray[np.generic] = np.zeros(len(ids), dtype=int)
    everything = np.arange(len(ids))
    if split != KFOLD:
        if not any(split in side.coords for side in sides):
            raise MeasureError(
                f"the stimuli have no coordinate {split!r} that says which to train and which to test; "
                f"add one, or use split={KFOLD!r}"
            )
        role = labels_of(split, sides)
        if unknown := sorted(set(role.tolist()) - {"train", "test"}):
            raise MeasureError(
                f"the coordinate {split!r} says {name_some(map(repr, unknown))}; expected 'train' or 'test'"
            )
        parts = [(np.flatnonzero(role == "train"), np.flatnonzero(role == "test"))]
        if torn := set(clips[parts[0][0]].tolist()) & set(clips[parts[0][1]].tolist()):
            more = f" (and those of {len(torn) - 1} more)" if len(torn) > 1 else ""
            raise MeasureError(
                f"windows of the clip {min(torn)!r}{more} are both trained and tested; {split!r} must say the same of "
                f"all windows of a clip"
            )
    elif unseen is not None:
        parts = [(everything, everything)]
    else:
        of = dict(zip(ids.tolist(), clips.tolist(), strict=True))
        folds = make_splits(sorted(set(of.values())), "kfold", n_splits=n_splits, seed=seed)
        parts = [(np.flatnonzero(np.isin(clips, f.train)), np.flatnonzero(np.isin(clips, f.test))) for f in folds]
        for k, (_, test) in enumerate(parts):
            compete[test] = k
    if unseen is not None:
        label = labels_of(unseen, sides)
        train, test = parts[0]
        parts = [(train[label[train] != name], test[label[test] == name]) for name in np.unique(label[test])]
        clip_labels = set(zip(clips.tolist(), label.tolist(), strict=True))
        if len(clip_labels) > len(set(clips)):
            several = Counter(c for c, _ in clip_labels).most_common(1)[0][0]
            raise MeasureError(f"windows of one clip differ in {unseen!r}, for instance of the clip {several!r}")
    tested = np.sort(np.concatenate([np.empty(0, dtype=np.intp), *(test for _, test in parts)]))
    n_tested, fewest = len(set(clips[tested])), min((len(set(clips[train])) for train, _ in parts), default=0)
    if n_tested < LEAST_TEST or fewest < 2 * LEAST_TEST:
        raise MeasureError(
            f"{n_tested} test clips and as few as {fewest} training clips; at least {LEAST_TEST} are needed for a "
            f"correlation, and {2 * LEAST_TEST} for two folds"
        )
    return Plan(parts, clips, compete, tested)


def labels_of(name: str, sides: Sequence[Responses]) -> NDArray[np.str_]:
    """Return a coordinate of the stimuli, which must not differ between the sides."""
    found = stimulus_labels(name, sides)
    labels = np.array([found[s] for s in sides[0]["stimulus"].values.astype(str)])
    for side in sides:
        if name in side.coords and (other := side[name].values.astype(str) != labels).any():
            stimulus = str(side["stimulus"].values[other][0])
            raise MeasureError(f"the two sides differ in {name!r}, for instance for the stimulus {stimulus!r}")
    return labels


def window_difference(sides: Sequence[Responses], names: Sequence[str]) -> str:
    """Say how windows of one id differ between sides: in where they begin, or in length.

    Parameters
    ----------
    sides : sequence of Responses
        In the same order of stimuli; compared are those with the coordinates ``window_start_s`` and ``window_s``.
    names : sequence of str
        What to call them.

    Returns
    -------
    str
        Names both of them; empty where they agree.
    """
    for coordinate, does in (("window_s", "lasts"), ("window_start_s", "begins at")):
        known = [(name, side) for name, side in zip(names, sides, strict=True) if coordinate in side.coords]
        for name, side in known[1:]:
            first, values = (s[coordinate].values.astype(float) for s in (known[0][1], side))
            if (other := np.abs(first - values) > WINDOW_TOLERANCE_S).any():
                k = int(np.flatnonzero(other)[0])
                return (
                    f"the windows differ: {str(side['stimulus'].values[k])!r} {does} {first[k]:g} s in {known[0][0]}, "
                    f"and {values[k]:g} s in {name}; cut both with one window_s and step_s"
                )
    return ""


def constant_dimensions(values: NDArray[np.floating], plan: Plan) -> int:
    """Return how many columns do not differ between the tested rows of any label that competes."""
    labels = plan.compete[plan.tested]
    varies = [np.ptp(values[plan.tested[labels == name]], axis=0) > 0 for name in np.unique(labels)]
    return int((~np.any(varies, axis=0)).sum())


def unnamed_windows(plan: Plan, sides: Sequence[Responses]) -> list[str]:
    """Warn of stimuli that are called as windows are, while nothing says of which clip."""
    ids = sides[0]["stimulus"].values.astype(str)
    windows = [i for i in ids.tolist() if re.search(r".@\d{2,}$", i)]
    one_each = len({i.rpartition("@")[0] for i in windows}) == len(windows)
    if one_each or not (plan.clips == ids).all():
        return []
    return [
        f"{len(windows)} stimuli are called as windows of clips are ({windows[0]!r}), but no coordinate 'clip' says "
        f"of which clip: each counts as a clip of its own, and windows of one clip may be trained and tested"
    ]


def region_members(voxels: Responses, regions: str | None) -> tuple[list[str], list[dict[str, Index]]]:
    """Return the subjects and, for each, the units of its regions."""
    if regions not in (None, "region") and regions not in voxels.coords:
        known = [str(c) for c in voxels.coords if voxels[c].dims == ("unit",)]
        raise MeasureError(f"units have no coordinate {regions!r}; {did_you_mean(str(regions), known)}")
    subject = unit_labels(voxels, "subject")
    known_regions = regions is not None and regions in voxels.coords
    region = unit_labels(voxels, str(regions)) if known_regions else np.full(len(subject), ALL_UNITS)
    subjects = list(dict.fromkeys(subject.tolist()))
    members = []
    for name in subjects:
        own = np.flatnonzero(subject == name)
        there = [r for r in dict.fromkeys(region[own].tolist()) if r]
        if not there:
            raise MeasureError(f"no unit of subject {name!r} is in a region")
        members.append({r: own[region[own] == r] for r in there})
    return [name or "all" for name in subjects], members
