"""Splits of stimuli into training and test parts, as data: lists of ids, never positions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Annotated, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from brainalign.errors import MeasureError, did_you_mean, name_some
from brainalign.responses import Responses


class Split(NamedTuple):
    """Stimulus ids to fit on and to test on."""

    train: list[str]
    test: list[str]


#: Named ways to split; `make_splits` takes these.
SPLITS = ("tuckute2023", "kfold", "grouped-kfold", "leave-one-category-out", "stratified-halves", "stratified-kfold")
#: Of these, the ones that go by a label of each stimulus.
LABELLED = SPLITS[2:]
#: Fewer test stimuli have no correlation, fewer stimuli no halves to fit on.
LEAST_TEST, LEAST_STIMULI = 3, 8
#: Fewer training stimuli cannot be left out one by one.
LEAST_TRAIN = 3


def _known_way(splits: object) -> object:
    """Refuse an unknown name, before anything is computed."""
    if not isinstance(splits, Sequence) or (isinstance(splits, str) and splits not in SPLITS):
        hint = did_you_mean(splits, SPLITS)
        raise PydanticCustomError("expected", "{words}", {"words": f"the name of a way to split; {hint}"})
    return splits


#: Types of options that measures share, as those of ``resampling``. TOML can write names alone.
Splits = Annotated[
    str | Sequence[Split], BeforeValidator(_known_way), WithJsonSchema({"type": "string", "enum": list(SPLITS)})
]
SplitCount = Annotated[int, Field(ge=1)]


def split_responses(
    splits: str | Sequence[Split],
    sides: Sequence[Responses],
    *,
    n_splits: int = 10,
    seed: int = 0,
    groups: Mapping[str, str] | None = None,
    least_test: int = LEAST_TEST,
) -> list[Split]:
    """Split the stimuli of responses in a named way, or check splits that are given.

    Parameters
    ----------
    splits : str or sequence of Split
        A name, see :func:`make_splits`, or the splits themselves.
    sides : sequence of Responses
        Responses to the same stimuli. Ways that go by a category take it from the first side that has one.
    n_splits : int
        How many, if `splits` is a name.
    seed : int
        Seed of the draw.
    groups : mapping of str to str, optional
        Groups of stimuli that must stay on one side: of ``"grouped-kfold"``, and of any other way, which must not tear
        them apart.
    least_test : int
        Stimuli that every split must test; 3 have a correlation.

    Returns
    -------
    list of Split
        One at least.

    Raises
    ------
    MeasureError
        If a split names unknown stimuli, has one twice or on both sides, has too few, or tears a group apart.
    """
    ids = [str(s) for s in sides[0]["stimulus"].values]
    if isinstance(splits, str):
        labels = groups if splits == "grouped-kfold" else None
        if splits in LABELLED and splits != "grouped-kfold":
            labels = stimulus_labels("category", sides)
        parts = make_splits(ids, splits, n_splits=n_splits, seed=seed, labels=labels)
    else:
        parts = [Split(list(p.train), list(p.test)) for p in splits]
    if not parts:
        raise MeasureError("no splits are given")
    known = set(ids)
    for train, test in parts:
        if unknown := [s for s in (*train, *test) if s not in known]:
            raise MeasureError(f"the splits name stimuli that there are no responses to: {name_some(unknown)}")
        if both := sorted(set(train) & set(test)):
            raise MeasureError(f"a split has {name_some(both)} on both sides")
        if twice := sorted({s for side in (train, test) for s in side if side.count(s) > 1}):
            raise MeasureError(f"a split names {name_some(twice)} twice on one side")
        if len(train) < LEAST_TRAIN or len(test) < least_test:
            raise MeasureError(
                f"a split fits {len(train)} and tests {len(test)} stimuli; "
                f"at least {LEAST_TRAIN} and {least_test} are needed"
            )
        if torn := {groups[s] for s in train} & {groups[s] for s in test} if groups else set():
            raise MeasureError(
                f"the splits ({splits if isinstance(splits, str) else 'given'}) tear {len(torn)} groups apart, for "
                f"instance {min(torn)!r}; choose 'grouped-kfold'"
            )
    return parts


def stimulus_labels(coordinate: str, sides: Sequence[Responses]) -> dict[str, str]:
    """Return the value of a stimulus coordinate by stimulus id.

    Parameters
    ----------
    coordinate : str
        Such as ``"category"``.
    sides : sequence of Responses
        Where to look; the first that has it counts.

    Returns
    -------
    dict of str to str
        By stimulus id.

    Raises
    ------
    MeasureError
        If no side has it.
    """
    for side in sides:
        if coordinate in side.coords and side[coordinate].dims == ("stimulus",):
            values = zip(side["stimulus"].values, side[coordinate].values, strict=True)
            return {str(stimulus): str(value) for stimulus, value in values}
    there = {str(name) for side in sides for name, c in side.coords.items() if c.dims == ("stimulus",)}
    raise MeasureError(f"neither side has a stimulus coordinate {coordinate!r}; {did_you_mean(coordinate, there)}")


def make_splits(
    stimulus: Sequence[str],
    name: str,
    *,
    n_splits: int = 10,
    seed: int = 0,
    labels: Mapping[str, str] | Sequence[str] | None = None,
) -> list[Split]:
    """Split stimuli in a named way.

    The ids are sorted before anything is drawn, so a split depends on which stimuli there are, not on their order.

    Parameters
    ----------
    stimulus : sequence of str
        Stimulus ids.
    name : str
        - ``tuckute2023``: independent random halves (83 and 82 of 165), drawn as in the code released with Tuckute
          et al. 2023 (PLoS Biology, e3002366), which for ``seed=0`` and the 165 natural sounds gives their ten
          splits; a sound may be tested more or less often than another.
        - ``kfold``: shuffled folds; every sound is tested once.
        - ``grouped-kfold``: folds of whole groups, all sounds of a label on one side; every sound is tested once.
        - ``leave-one-category-out``: one split for each label, whose sounds are tested. Nothing is drawn.
        - ``stratified-halves``: independent random halves of every label; of a label with an odd number of sounds,
          either side may get one more.
        - ``stratified-kfold``: shuffled folds, the sounds of each label dealt out evenly.
    n_splits : int
        How many; `leave-one-category-out` makes as many as there are labels.
    seed : int
        Seed of the draw.
    labels : mapping of str to str, or sequence of str, optional
        The group or category of each stimulus, by id or in the order of `stimulus`. The last four ways need it.

    Returns
    -------
    list of Split
        Train and test are disjoint in each.

    Raises
    ------
    MeasureError
        If the name is unknown, labels are missing, an id stands twice, or the stimuli are too few: the message says
        how many are needed.
    """
    ids = sorted(stimulus)
    twice = [a for a, b in pairwise(ids) if a == b]
    if twice:
        raise MeasureError(f"the stimulus {name_some(twice)} stands twice; a split needs ids that differ")
    if n_splits < 1:
        raise MeasureError(f"n_splits is {n_splits}, expected at least 1")
    if name not in SPLITS:
        raise MeasureError(f"no way to split named {name!r}; {did_you_mean(name, SPLITS)}")
    n = len(ids)
    if name in ("tuckute2023", "stratified-halves") and n < LEAST_STIMULI:
        raise MeasureError(f"random halves of {n} stimuli are too small to fit on; at least {LEAST_STIMULI} are needed")
    if name.endswith("kfold") and not 2 <= n_splits <= n // LEAST_TEST:
        raise MeasureError(
            f"{n_splits} folds of {n} stimuli: a correlation needs at least {LEAST_TEST} test stimuli a fold, that is "
            f"{max(n_splits, 2) * LEAST_TEST} stimuli; choose 2 to {n // LEAST_TEST} folds"
        )
    if name == "tuckute2023":
        return _published_halves(ids, n_splits, seed)
    rng = np.random.default_rng(seed)
    if name == "kfold":
        order = rng.permutation(n)
        return [_split(ids, np.isin(np.arange(n), fold)) for fold in np.array_split(order, n_splits)]
    members = _members(stimulus, ids, labels, name)
    if name == "leave-one-category-out":
        return _one_label_out(ids, members)
    if name == "stratified-halves":
        return [_split(ids, _stratified_half(members, n, rng)) for _ in range(n_splits)]
    folds = (_grouped_folds if name == "grouped-kfold" else _stratified_folds)(members, n, n_splits, rng)
    return [_split(ids, folds == k) for k in range(n_splits)]


def _split(ids: list[str], tested: NDArray[np.bool_]) -> Split:
    return Split(
        [i for i, t in zip(ids, tested, strict=True) if not t], [i for i, t in zip(ids, tested, strict=True) if t]
    )


def _published_halves(ids: list[str], n_splits: int, seed: int) -> list[Split]:
    # The legacy generator, because the published splits were drawn with it.
    rng = np.random.RandomState(seed)
    n, n_train = len(ids), (len(ids) + 1) // 2
    splits = []
    for _ in range(n_splits):
        train = rng.choice(n, n_train, replace=False)
        rest = list(set(range(n)) - set(train.tolist()))
        # The published code drew the order of the test half too, which moves the generator on.
        rng.choice(rest, n - n_train, replace=False)
        splits.append(_split(ids, ~np.isin(np.arange(n), train)))
    return splits


def _members(
    stimulus: Sequence[str], ids: list[str], labels: Mapping[str, str] | Sequence[str] | None, name: str
) -> dict[str, NDArray[np.intp]]:
    """Return the positions among the sorted ids that each label has, labels in sorted order."""
    if labels is None:
        raise MeasureError(f"{name!r} needs the group or category of each stimulus; give labels")
    if not isinstance(labels, Mapping):
        if len(labels) != len(ids):
            raise MeasureError(f"{len(labels)} labels for {len(ids)} stimuli, expected one each")
        labels = dict(zip(stimulus, labels, strict=True))
    missing = [i for i in ids if not labels.get(i)]
    if missing:
        raise MeasureError(f"{name!r} needs a label of each stimulus; there is none for {name_some(missing)}")
    own = np.array([str(labels[i]) for i in ids])
    return {str(label): np.flatnonzero(own == label) for label in np.unique(own)}


def _one_label_out(ids: list[str], members: dict[str, NDArray[np.intp]]) -> list[Split]:
    n = len(ids)
    if len(members) < 2:
        raise MeasureError(f"all {n} stimuli are of one category, {next(iter(members))!r}; at least 2 are needed")
    small = {label: len(own) for label, own in members.items() if len(own) < LEAST_TEST}
    if small:
        raise MeasureError(
            f"a correlation needs at least {LEAST_TEST} test stimuli; too few are of category "
            f"{name_some(f'{label!r} ({count})' for label, count in small.items())}"
        )
    return [_split(ids, np.isin(np.arange(n), own)) for own in members.values()]


def _stratified_half(members: dict[str, NDArray[np.intp]], n: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    single = [label for label, own in members.items() if len(own) < 2]
    if single:
        raise MeasureError(
            f"halves of a category need at least 2 stimuli of it; there is 1 of category {name_some(map(repr, single))}"
        )
    odd = rng.permutation([label for label, own in members.items() if len(own) % 2])
    # Half of the odd ones have their extra sound tested, so that the training half has as many or one more.
    generous = set(odd[: len(odd) // 2].tolist())
    tested = np.zeros(n, dtype=bool)
    for label, own in members.items():
        tested[rng.permutation(own)[: len(own) // 2 + (label in generous)]] = True
    return tested


def _grouped_folds(
    members: dict[str, NDArray[np.intp]], n: int, n_splits: int, rng: np.random.Generator
) -> NDArray[np.intp]:
    if len(members) < n_splits:
        raise MeasureError(
            f"{n_splits} folds need at least {n_splits} groups, found {len(members)}; choose fewer folds"
        )
    folds, sizes = np.empty(n, dtype=np.intp), np.zeros(n_splits, dtype=int)
    # The largest groups first, each to the smallest fold; chance decides between groups of equal size.
    shuffled = [list(members.values())[k] for k in rng.permutation(len(members))]
    for own in sorted(shuffled, key=len, reverse=True):
        smallest = int(sizes.argmin())
        folds[own] = smallest
        sizes[smallest] += len(own)
    if sizes.min() < LEAST_TEST:
        raise MeasureError(
            f"{n_splits} folds of {len(members)} groups leave {sizes.min()} test stimuli in one fold, at least "
            f"{LEAST_TEST} are needed; choose fewer folds"
        )
    return folds


def _stratified_folds(
    members: dict[str, NDArray[np.intp]], n: int, n_splits: int, rng: np.random.Generator
) -> NDArray[np.intp]:
    small = {label: len(own) for label, own in members.items() if len(own) < n_splits}
    if small:
        raise MeasureError(
            f"{n_splits} folds need at least {n_splits} stimuli of every category; too few are of category "
            f"{name_some(f'{label!r} ({count})' for label, count in small.items())}; choose at most "
            f"{min(small.values())} folds"
        )
    dealt = np.concatenate([rng.permutation(own) for own in members.values()])
    folds = np.empty(n, dtype=np.intp)
    folds[dealt] = np.arange(n) % n_splits
    return folds
