"""What the outputs of a network stand for."""

from __future__ import annotations

import json

from brainalign.errors import ModelError
from brainalign.models.base import AudioModel


def class_labels(model: AudioModel) -> tuple[str, ...]:
    """Return the labels of the units of a model's last layer.

    Parameters
    ----------
    model : AudioModel
        A model. Those of a trained network that ships stand on the card beside its weights; a tagger carries them.

    Returns
    -------
    tuple of str
        One per unit; empty if the model's outputs stand for nothing that is known, as those of random or permuted
        weights.

    Raises
    ------
    ModelError
        If the card lists no labels.
    """
    if names := getattr(model, "class_names", ()):
        return tuple(names)
    from brainalign.models.kim2024 import trained_networks

    family, _, variant = model.name.partition(":")
    weights = trained_networks().get(variant) if family == "kim2024-cnn" else None
    if weights is None:
        return ()
    card = json.loads(weights.with_suffix(".json").read_text(encoding="utf-8"))
    if not card.get("labels"):
        raise ModelError(f"the card of {model.name!r} lists no labels")
    return tuple(str(label) for label in card["labels"])
