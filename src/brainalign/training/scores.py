"""Average precision of a network's outputs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def micro_average_precision(targets: NDArray[np.bool_], logits: NDArray[np.float32]) -> float:
    """Return the average precision over all pairs of clip and label.

    The released notebook of Kim et al. 2024 averages this over batches, which depends on their size; here it is taken
    over all clips at once.

    Parameters
    ----------
    targets : ndarray of bool, shape (n_clips, n_classes)
        Which clip carries which label.
    logits : ndarray, shape (n_clips, n_classes)
        Outputs; any monotonic function of them gives the same.

    Returns
    -------
    float
        Between 0 and 1; chance is the share of true pairs.
    """
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(targets.ravel(), logits.ravel()))


def mean_average_precision(
    targets: NDArray[np.bool_], logits: NDArray[np.float32], among: NDArray[np.bool_] | None = None
) -> dict[str, float]:
    """Return the mean over labels of the average precision over clips.

    Parameters
    ----------
    targets : ndarray of bool, shape (n_clips, n_classes)
        Which clip carries which label.
    logits : ndarray, shape (n_clips, n_classes)
        Outputs.
    among : ndarray of bool, shape (n_classes,), optional
        Which labels count; all if not given. Labels that no clip carries have no precision and never count.

    Returns
    -------
    dict
        ``map``, its ``chance`` (mean share of clips per label) and ``n_labels``; empty if no label counts.
    """
    from sklearn.metrics import average_precision_score

    counted = targets.any(axis=0) if among is None else targets.any(axis=0) & among
    columns = np.flatnonzero(counted)
    if not len(columns):
        return {}
    precisions = [average_precision_score(targets[:, i], logits[:, i]) for i in columns]
    return {
        "map": float(np.mean(precisions)),
        "chance": float(targets[:, columns].mean()),
        "n_labels": len(columns),
    }
