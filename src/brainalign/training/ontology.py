"""The ontology of AudioSet: which labels are music, speech, or any other branch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from brainalign._reading import read_json
from brainalign.errors import StimulusError, did_you_mean, name_some

#: Sounds of the human voice that Kim et al. 2024 treat as music although the ontology files them under "Human voice".
SUNG_VOICE = (
    "Singing",
    "Humming",
    "Yodeling",
    "Chant",
    "Male singing",
    "Female singing",
    "Child singing",
    "Synthetic singing",
    "Rapping",
)


@dataclass(frozen=True)
class Ontology:
    """A directed graph of sound categories.

    Attributes
    ----------
    children : mapping of str to tuple of str
        For each category, by its display name, the categories below it.
    """

    children: Mapping[str, tuple[str, ...]]

    def subtree(self, name: str) -> frozenset[str]:
        """Return a category and all below it.

        Parameters
        ----------
        name : str
            Display name of the category, for example ``"Music"``.

        Returns
        -------
        frozenset of str
            Display names.

        Raises
        ------
        StimulusError
            If the ontology has no such category.
        """
        self.check([name])
        found: set[str] = set()
        waiting = [name]
        while waiting:
            category = waiting.pop()
            if category not in found:
                found.add(category)
                waiting += self.children[category]
        return frozenset(found)

    def check(self, labels: Iterable[str], remedy: str = "") -> None:
        """Check that the ontology knows all labels.

        Parameters
        ----------
        labels : iterable of str
            Display names.
        remedy : str
            What to do about unknown ones, for the message.

        Raises
        ------
        StimulusError
            If it does not; all unknown ones are counted.
        """
        unknown = sorted({label for label in labels if label not in self.children})
        if unknown:
            raise StimulusError(
                f"the ontology does not know the label{'s' * (len(unknown) > 1)} {name_some(map(repr, unknown))}; "
                f"{did_you_mean(unknown[0], self.children)}{remedy and '; '}{remedy}"
            )


def read_ontology(path: Path) -> Ontology:
    """Read an ontology in AudioSet's form.

    Parameters
    ----------
    path : Path
        ``ontology.json``: a list of objects with ``id``, ``name`` and ``child_ids``.

    Returns
    -------
    Ontology
        The graph.

    Raises
    ------
    StimulusError
        If the file is missing, is not of this form, or two categories have one name.
    """
    entries = read_json(path, "an ontology in AudioSet's form", StimulusError)
    try:
        names = {entry["id"]: str(entry["name"]) for entry in entries}
        children = {names[entry["id"]]: tuple(names[child] for child in entry["child_ids"]) for entry in entries}
    except (KeyError, TypeError) as why:
        raise StimulusError(
            f"{path} is not an ontology in AudioSet's form ({type(why).__name__}: {why}); expected a JSON list of "
            f"objects with id, name and child_ids, as in github.com/audioset/ontology"
        ) from why
    if len(children) < len(entries):
        raise StimulusError(f"{path}: {len(entries)} categories, but only {len(children)} different names")
    return Ontology(children)


def music_labels(ontology: Ontology) -> frozenset[str]:
    """Return the labels whose clips are kept from a network without music: Kim et al. 2024, Methods.

    Parameters
    ----------
    ontology : Ontology
        AudioSet's.

    Returns
    -------
    frozenset of str
        The subtree "Music" and nine kinds of singing voice: 158 of AudioSet's 527 labels.
    """
    return ontology.subtree("Music") | frozenset(SUNG_VOICE)


def kind_of_clip(labels: Iterable[str], music: frozenset[str]) -> str:
    """Tell music from other sounds by the rule of Kim et al. 2024.

    Parameters
    ----------
    labels : iterable of str
        The labels of one clip, at least one.
    music : frozenset of str
        Which labels are music; the paper uses the subtree "Music".

    Returns
    -------
    {'music', 'non-music', 'mixed'}
        Music if all labels are, non-music if none is.
    """
    are_music = [label in music for label in labels]
    if all(are_music):
        return "music"
    return "mixed" if any(are_music) else "non-music"
