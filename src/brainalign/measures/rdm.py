"""Representational dissimilarity matrices (RDMs)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from brainalign.errors import MeasureError, name_some
from brainalign.responses import Responses, constant_stimuli, describe

Array = NDArray[np.float64]


def correlation_rdm(responses: Responses) -> Array:
    """Return the correlation distance, 1 - Pearson r, between the response patterns of all stimuli.

    Parameters
    ----------
    responses : Responses
        Dims ``(stimulus, unit)``, at least two units.

    Returns
    -------
    ndarray, shape (n_stimuli, n_stimuli)
        Symmetric, zero diagonal, between 0 and 2.

    Raises
    ------
    MeasureError
        If there is one unit only, or a stimulus whose pattern is constant; the message names it.
    """
    if responses.sizes["unit"] < 2:
        raise MeasureError(
            f"{describe(responses)}: a correlation distance needs at least 2 units; a single unit has no pattern"
        )
    constant = constant_stimuli(responses)
    if constant:
        raise MeasureError(
            f"{describe(responses)}: all units respond alike to {name_some(constant)}, so the correlation distance is "
            f"not defined; leave these stimuli out by name"
        )
    patterns = responses.values.astype(np.float64)
    patterns = patterns - patterns.mean(axis=1, keepdims=True)
    patterns /= np.sqrt(np.einsum("ij,ij->i", patterns, patterns))[:, None]
    rdm: Array = 1 - np.clip(patterns @ patterns.T, -1, 1)
    np.fill_diagonal(rdm, 0)
    return rdm
