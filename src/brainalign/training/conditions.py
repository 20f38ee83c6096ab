"""What a network is kept from: the conditions of Kim et al. 2024."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import numpy as np

from brainalign.errors import StimulusError
from brainalign.training.corpus import Corpus
from brainalign.training.ontology import Ontology, music_labels

CONDITIONS = ("all", "no-music", "no-music-no-speech", "random-labels", "exclude:CATEGORY")


def excluded_labels(condition: str, ontology: Ontology) -> frozenset[str]:
    """Return the labels whose clips a condition keeps from the network.

    Parameters
    ----------
    condition : str
        ``"all"``; ``"no-music"``; ``"no-music-no-speech"``; ``"random-labels"``, which differs from ``"no-music"`` in
        the labels alone; or ``"exclude:CATEGORY"`` for the subtree of any category.
    ontology : Ontology
        AudioSet's.

    Returns
    -------
    frozenset of str
        Display names.

    Raises
    ------
    StimulusError
        If the condition or its category is unknown.
    """
    if condition == "all":
        return frozenset()
    if condition in ("no-music", "random-labels"):
        return music_labels(ontology)
    if condition == "no-music-no-speech":
        return music_labels(ontology) | ontology.subtree("Speech")
    if condition.startswith("exclude:"):
        return ontology.subtree(condition.removeprefix("exclude:").strip())
    raise StimulusError(f"unknown training condition {condition!r}; known: {', '.join(map(repr, CONDITIONS))}")


def apply_condition(
    corpus: Corpus, condition: str, ontology: Ontology, *, seed: int = 0, by_hand: Collection[str] = ()
) -> Corpus:
    """Keep from training and validation what a condition excludes.

    Parameters
    ----------
    corpus : Corpus
        The clips.
    condition : str
        See :func:`excluded_labels`.
    ontology : Ontology
        AudioSet's; it must know all labels of the corpus.
    seed : int
        Seed of ``"random-labels"``.
    by_hand : collection of str
        Ids of clips that were removed by ear; they are removed in every condition that excludes anything.

    Returns
    -------
    Corpus
        Test clips stay, all of them and with their own labels; the classes stay, so that networks of all conditions
        have one architecture.

    Raises
    ------
    StimulusError
        If the condition is unknown, the ontology does not know a label, or no clip is left to train or validate on.
    """
    ontology.check(
        corpus.classes,
        'labels are names of AudioSet, or label_map = "FILE.csv" says what they are called there (docs/training.md)',
    )
    excluded = excluded_labels(condition, ontology)
    clips = corpus.clips
    test = (clips["split"] == "test").to_numpy()
    labelled = np.array([not excluded.isdisjoint(labels) for labels in clips["labels"]]) & ~test
    named = clips.index.isin(list(by_hand)) & ~test & ~labelled if excluded else np.zeros(len(clips), dtype=bool)
    left_out = dict(corpus.left_out)
    left_out |= {f"labels excluded by {condition!r}": int(labelled.sum())} if labelled.any() else {}
    left_out |= {"removed by hand": int(named.sum())} if named.any() else {}
    kept = replace(corpus, clips=clips[~labelled & ~named], left_out=left_out)
    for split in ("train", "val"):
        if not len(kept.of(split)):
            raise StimulusError(
                f"condition {condition!r} leaves no {split} clips of {corpus.name!r} "
                f"({int((clips['split'] == split).sum())} before); left out in all: "
                f"{', '.join(f'{n} ({why})' for why, n in left_out.items()) or 'none'}; "
                f"choose another condition or more data"
            )
    return with_random_labels(kept, seed) if condition == "random-labels" else kept


def with_random_labels(corpus: Corpus, seed: int) -> Corpus:
    """Replace the labels of training and validation clips by random ones.

    The memorisation control of Kim et al. 2024. Each clip keeps its number of labels; they are drawn from all classes
    without replacement (the released code draws with replacement, so a clip may get one label twice, and does not
    seed).

    Parameters
    ----------
    corpus : Corpus
        The clips.
    seed : int
        Seed of the draw.

    Returns
    -------
    Corpus
        Test clips keep their own labels.
    """
    rng = np.random.default_rng(seed)
    labels = [
        tuple(corpus.classes[i] for i in sorted(rng.choice(len(corpus.classes), size=len(own), replace=False)))
        if split != "test"
        else own
        for own, split in zip(corpus.clips["labels"], corpus.clips["split"], strict=True)
    ]
    clips = corpus.clips.copy()
    clips["labels"] = labels
    return replace(corpus, clips=clips)
