"""Which sounds are of the target category, which select or fit, and which test.

The rule for sounds with several labels is that of Kim et al. 2024: a sound is a target if all its labels are of the
target categories, one of the rest if none is; mixed sounds are left out and counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from brainalign.errors import MeasureError, did_you_mean, name_some
from brainalign.responses import Responses, average_repetitions, check_responses

#: What separates the labels of a sound.
SEPARATOR = "|"


@dataclass(frozen=True)
class Targets:
    """Responses to target sounds and to the rest, mixed sounds left out.

    Attributes
    ----------
    responses : Responses
        Dims ``(stimulus, unit)``.
    is_target : ndarray of bool, shape (n_stimuli,)
        Target or rest.
    n_mixed : int
        How many mixed sounds were left out.
    """

    responses: Responses
    is_target: NDArray[np.bool_]
    n_mixed: int

    @property
    def ids(self) -> list[str]:
        """Stimulus ids."""
        return [str(s) for s in self.responses["stimulus"].values]

    def warnings(self) -> list[str]:
        """Return what a reader must know about the sounds."""
        return [f"{self.n_mixed} sounds with labels of both kinds are left out by rule"] if self.n_mixed else []

    def take(self, positions: NDArray[np.intp]) -> Targets:
        """Return the part at these positions."""
        return Targets(self.responses.isel(stimulus=positions), self.is_target[positions], self.n_mixed)


@dataclass(frozen=True)
class Part:
    """Sounds that select units or fit, and sounds that test."""

    select: Targets
    test: Targets


@dataclass(frozen=True)
class Parts:
    """One part or, when cross-fitted, two: each half selects for the other.

    Attributes
    ----------
    parts : tuple of Part
        What to compute and to average over.
    how : str
        How selection and test were kept apart.
    """

    parts: tuple[Part, ...]
    how: str

    @property
    def is_target(self) -> NDArray[np.bool_]:
        """Target or rest, of the test sounds of all parts in turn."""
        return np.concatenate([p.test.is_target for p in self.parts])

    @property
    def strata(self) -> NDArray[np.intp]:
        """Part and target or rest, of the test sounds of all parts in turn: what a bootstrap keeps."""
        return np.concatenate([2 * i + p.test.is_target for i, p in enumerate(self.parts)])

    def strata_by(self, *columns: str) -> NDArray[np.intp]:
        """Return finer strata: part, target or rest, and the entries of columns; rare entries go with the commonest."""
        names: list[str] = []
        for i, part in enumerate(self.parts):
            own = [part.test.responses[c].values.astype(str) for c in columns]
            labels = [SEPARATOR.join((str(int(y)), *e)) for y, *e in zip(part.test.is_target, *own, strict=True)]
            counts = Counter(labels)
            commonest = {kind: next(k for k, _ in counts.most_common() if k[0] == kind) for kind in "01"}
            names += [f"{i}{k if counts[k] > 1 else commonest[k[0]]}" for k in labels]
        return np.unique(names, return_inverse=True)[1]

    def split(self, weights: NDArray[np.float64]) -> list[NDArray[np.float64]]:
        """Cut weights of all test sounds, (n_resamples, n_test), into those of each part."""
        edges = np.cumsum([len(p.test.is_target) for p in self.parts])[:-1]
        return np.split(weights, edges, axis=1)

    def roles(self) -> xr.DataArray:
        """Return what each sound was used for: (part, stimulus), ``select``, ``test``, ``both`` or empty."""
        ids = list(dict.fromkeys(i for p in self.parts for i in (*p.select.ids, *p.test.ids)))
        rows = []
        for part in self.parts:
            select, test = set(part.select.ids), set(part.test.ids)
            rows.append([("both" if i in test else "select") if i in select else "test" * (i in test) for i in ids])
        return xr.DataArray(np.array(rows), dims=("part", "stimulus"), coords={"stimulus": ids})

    def settings(self) -> dict[str, Any]:
        """Return how many sounds selected and tested, for Result.settings."""
        first = self.parts[0]
        return {
            "selection_and_test": self.how,
            "n_selection_stimuli": [len(p.select.ids) for p in self.parts],
            "n_test_stimuli": [len(p.test.ids) for p in self.parts],
            "n_mixed_left_out": first.test.n_mixed,
            "stimuli": "array 'roles' lists which sounds selected and which tested",
        }

    def warnings(self) -> list[str]:
        """Return what a reader must know about the sounds."""
        found = []
        if self.how.startswith("overlap"):
            found.append("selection and test share sounds, as asked for: scores are too high, also for noise")
        return found + self.parts[0].test.warnings()


def label_sets(responses: Responses, column: str) -> list[frozenset[str]]:
    """Return the labels of each sound.

    Parameters
    ----------
    responses : Responses
        With the coordinate `column` along stimulus; several labels are separated by ``|``.
    column : str
        Which coordinate.

    Returns
    -------
    list of frozenset of str
        One per stimulus.

    Raises
    ------
    MeasureError
        If there is no such coordinate, or a sound has no label.
    """
    along = [str(c) for c in responses.coords if responses[c].dims == ("stimulus",) and c != "stimulus"]
    if column not in along:
        raise MeasureError(f"stimuli have no column {column!r}; {did_you_mean(column, along)}")
    sets = [
        frozenset(label.strip() for label in str(entry).split(SEPARATOR) if label.strip())
        for entry in responses[column].values
    ]
    bare = [i for i, labels in zip(responses["stimulus"].values, sets, strict=True) if not labels]
    if bare:
        raise MeasureError(
            f"the stimuli {name_some(bare)} have no label in the column {column!r}; leave them out by name"
        )
    return sets


def find_targets(responses: Responses, categories: Sequence[str], column: str = "category") -> Targets:
    """Tell target sounds from the rest and leave mixed ones out.

    Parameters
    ----------
    responses : Responses
        Of a model or a brain; repetitions are averaged.
    categories : sequence of str
        The target categories.
    column : str
        The coordinate along stimulus that holds the category, or several labels separated by ``|``.

    Returns
    -------
    Targets
        At least two sounds of each kind.

    Raises
    ------
    MeasureError
        If a category is unknown or named twice, or fewer than two sounds are of the targets or of the rest.
    ResponseError
        If values are missing.
    """
    if isinstance(categories, str):
        raise MeasureError(f"categories is the text {categories!r}, expected a list: [{categories!r}]")
    twice = [name for name in categories if list(categories).count(name) > 1]
    if twice:
        raise MeasureError(f"categories: {twice[0]!r} is named twice")
    responses = average_repetitions(responses)
    check_responses(responses, allow_constant=True)
    sets = label_sets(responses, column)
    known = frozenset().union(*sets)
    wanted = frozenset(categories)
    for name in sorted(wanted - known):
        raise MeasureError(f"no stimulus has the {column} {name!r}; {did_you_mean(name, known)}")
    is_target = np.array([labels <= wanted for labels in sets])
    mixed = ~is_target & np.array([bool(labels & wanted) for labels in sets])
    targets = Targets(responses.isel(stimulus=~mixed), is_target[~mixed], int(mixed.sum()))
    _check_counts(targets, sorted(wanted), 2, "are needed")
    return targets


def make_parts(
    responses: Responses,
    selection: Responses | None,
    categories: Sequence[str],
    *,
    column: str = "category",
    allow_overlap: bool = False,
    seed: int = 0,
) -> Parts:
    """Keep the sounds that select units, or fit, apart from those that test.

    Parameters
    ----------
    responses : Responses
        To the test sounds.
    selection : Responses or None
        Of the same units to other sounds, which select. Without them `responses` are cross-fitted: random halves,
        drawn within each category over sorted ids, of which each selects for the other.
    categories : sequence of str
        The target categories.
    column : str
        See :func:`find_targets`.
    allow_overlap : bool
        Let sounds select and test; without `selection`, all of them do.
    seed : int
        Seed of the halves.

    Returns
    -------
    Parts
        One part, or two when cross-fitted.

    Raises
    ------
    MeasureError
        If selection and test share sounds without leave, differ in their model or units, or are too few.
    """
    test = find_targets(responses, categories, column)
    if selection is None:
        if allow_overlap:
            return Parts((Part(test, test),), "overlapping: all sounds select and test")
        return _cross_fit(test, sorted(categories), column, seed)
    whose = [r.attrs.get("source", "") for r in (responses, selection)]
    if all(whose) and whose[0] != whose[1]:
        raise MeasureError(
            f"units selected in {whose[1]} are not those tested in {whose[0]}: both must be of one model"
        )
    chosen = find_targets(selection, categories, column)
    own, others = (list(t.responses["unit"].values) for t in (test, chosen))
    if own != others:
        raise MeasureError(
            f"selection and test hold different units ({len(others)} and {len(own)}): both must be of the same model "
            f"and layers"
        )
    both = sorted(set(selection["stimulus"].values) & set(responses["stimulus"].values))
    if both and not allow_overlap:
        raise MeasureError(
            f"{len(both)} sounds select and test ({name_some(both)}): scores would be too high; take other sounds for "
            f"the selection, or pass allow_overlap=True"
        )
    how = f"overlapping: {len(both)} sounds select and test" if both else "other sounds select than test"
    return Parts((Part(chosen, test),), how)


def _cross_fit(targets: Targets, names: list[str], column: str, seed: int) -> Parts:
    """Draw halves, the same share of each combination of labels in both, and let each select for the other."""
    _check_counts(targets, names, 4, "are needed to cross-fit, 2 in each half; or give other sounds for the selection")
    rng = np.random.default_rng(seed)
    labels = targets.responses[column].values.astype(str)
    ids = targets.responses["stimulus"].values.astype(str)
    # Strata one after the other, shuffled within, then every second sound: each half gets its share to within one.
    order = np.lexsort((rng.permutation(len(ids))[np.argsort(np.argsort(ids))], labels, targets.is_target))
    one, two = (targets.take(np.sort(order[start::2])) for start in (0, 1))
    return Parts((Part(one, two), Part(two, one)), f"cross-fitted: halves drawn with seed {seed}, both directions")


def _check_counts(targets: Targets, names: Sequence[str], least: int, why: str) -> None:
    for count, what in (
        (int(targets.is_target.sum()), f"of the target categories ({name_some(names)})"),
        (int((~targets.is_target).sum()), "of other categories"),
    ):
        if count < least:
            raise MeasureError(f"found {count} sounds {what}; at least {least} {why}")
