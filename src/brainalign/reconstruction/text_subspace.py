"""From the embedding of music to that of the text that describes it: a linear map, fitted on captioned clips.

Joint models place a clip and its caption near each other, but the two in different subspaces. Generators that were
trained with embeddings of texts give better music from an embedding that was brought there first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brainalign.errors import ReconstructionError
from brainalign.responses import Responses, align, make_responses

Array = NDArray[np.float64]
#: Relative to the mean eigenvalue of the embeddings' covariance.
PENALTIES = tuple(np.logspace(-6, 3, 19).tolist())


@dataclass(frozen=True)
class TextSubspaceMap:
    """A linear map from embeddings of music to embeddings of texts.

    Attributes
    ----------
    weights : ndarray, shape (n_music, n_text)
        The map.
    music_mean, text_mean : ndarray
        What is taken away before and added after.
    penalty : float
        Of the ridge regression, relative to the mean eigenvalue.
    """

    weights: Array
    music_mean: Array
    text_mean: Array
    penalty: float

    def __call__(self, embeddings: Responses) -> Responses:
        """Map embeddings of music, and bring them to length 1.

        Parameters
        ----------
        embeddings : Responses, dims (stimulus, unit)
            Measured or decoded; brought to length 1 first, as those of the fit.

        Returns
        -------
        Responses
            As many units as a text embedding has; what is known of the stimuli stays.

        Raises
        ------
        ReconstructionError
            If they have another width than those of the fit, or one is zero.
        """
        values = _unit_rows(embeddings.values)
        if values.shape[1] != len(self.weights):
            raise ReconstructionError(
                f"the map takes embeddings of width {len(self.weights)}, found {values.shape[1]} units"
            )
        mapped = _unit_rows((values - self.music_mean) @ self.weights + self.text_mean)
        info = {str(c): embeddings[c].values for c in embeddings.coords if embeddings[c].dims == ("stimulus",)}
        info.pop("stimulus")
        return make_responses(
            mapped, embeddings["stimulus"].values.tolist(), stimulus_info=info, attrs=dict(embeddings.attrs)
        )


def fit_text_subspace(
    music: Responses, text: Responses, *, penalties: Sequence[float] = PENALTIES, n_folds: int = 5, seed: int = 0
) -> TextSubspaceMap:
    """Fit the map on clips with captions by ridge regression.

    The penalty is the one whose predictions of left-out clips are nearest to their captions by mean cosine.

    Parameters
    ----------
    music, text : Responses, dims (stimulus, unit)
        Embeddings of clips and of their captions; rows are brought to length 1. Matched by stimulus id. No clip of them
        may be a test clip of what is generated later.
    penalties : sequence of float
        Relative to the mean eigenvalue of the covariance of the clips' embeddings.
    n_folds : int
        Parts into which the clips are divided.
    seed : int
        Of the division.

    Returns
    -------
    TextSubspaceMap
        Fitted on all clips.

    Raises
    ------
    ReconstructionError
        If there are fewer clips than folds, or fewer than two folds, a penalty is not positive, or a row is zero.
    ResponseError
        If the two are not about the same clips.
    """
    music, text = align(music, text)
    x, y = _unit_rows(music.values), _unit_rows(text.values)
    if not 2 <= n_folds <= len(x):
        raise ReconstructionError(f"{n_folds} folds of {len(x)} clips; expected 2 folds or more, of a clip at least")
    if not penalties or min(penalties) <= 0:
        raise ReconstructionError("penalties must be positive numbers")
    # Sorted by id, so that the division does not depend on the order of clips.
    fold = np.empty(len(x), dtype=np.intp)
    fold[np.argsort(music["stimulus"].values.astype(str))] = np.random.default_rng(seed).permutation(len(x)) % n_folds
    cosines = np.zeros(len(penalties))
    for k in range(n_folds):
        train, test = fold != k, fold == k
        maps = _ridge(x[train], y[train], penalties)
        for i, fitted in enumerate(maps):
            predicted = (x[test] - fitted.music_mean) @ fitted.weights + fitted.text_mean
            cosines[i] += (_unit_rows(predicted) * y[test]).sum()
    return _ridge(x, y, [penalties[int(np.argmax(cosines))]])[0]


def _ridge(x: Array, y: Array, penalties: Sequence[float]) -> list[TextSubspaceMap]:
    x_mean, y_mean = x.mean(axis=0), y.mean(axis=0)
    u, s, vt = np.linalg.svd(x - x_mean, full_matrices=False)
    targets = u.T @ (y - y_mean)
    scale = (s**2).sum() / x.shape[1]
    return [TextSubspaceMap(vt.T @ ((s / (s**2 + a * scale))[:, None] * targets), x_mean, y_mean, a) for a in penalties]


def _unit_rows(values: NDArray[np.floating]) -> Array:
    rows = np.asarray(values, dtype=np.float64)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    if not (np.isfinite(lengths).all() and lengths.all()):
        raise ReconstructionError("an embedding is zero or not finite: it has no direction")
    unit: Array = rows / lengths
    return unit
