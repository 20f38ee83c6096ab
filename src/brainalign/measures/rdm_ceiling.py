"""How well any model could do, given how much the RDMs of subjects differ."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from brainalign.errors import MeasureError
from brainalign.measures.rdm_compare import Comparison, centred, compare_rdms, square

Array = NDArray[np.float64]


def noise_ceiling(brains: Array, comparison: Comparison, controls: Array | None = None) -> tuple[float, float]:
    """Return how well any model could do, given how much subjects differ, in the measure of the score.

    Parameters
    ----------
    brains : ndarray, shape (n_subjects, n_pairs)
        One RDM per subject.
    comparison : str
        See :func:`~brainalign.measures.rdm_compare.compare_rdms`.
    controls : ndarray, shape (n_controls, n_pairs), optional
        RDMs that are taken out of both sides.

    Returns
    -------
    lower, upper : float
        Mean comparison of each subject's RDM with the pooled RDM of the others (lower) and of all subjects (upper; what
        no model can exceed, but for tau-a, where the pooled RDM is only about the best one).

    Raises
    ------
    MeasureError
        If there is one subject only.

    References
    ----------
    Nili, H. et al. (2014). A toolbox for representational similarity analysis. PLoS Comput. Biol. 10, e1003553.
    """
    if len(brains) < 2:
        raise MeasureError(
            "a noise ceiling needs at least 2 subjects, found 1: nothing says how much of its RDM is noise"
        )
    sized = _to_one_size(brains, comparison)
    everyone = sized.mean(axis=0)[None]
    others = (sized.sum(axis=0) - sized) / (len(brains) - 1)
    upper = compare_rdms(everyone, brains, comparison, controls=controls).mean()
    lower = np.diag(compare_rdms(others, brains, comparison, controls=controls)).mean()
    return float(lower), float(upper)


def pool_rdms(rdms: Array, comparison: Comparison) -> Array:
    """Return the RDM that is most like all of a set, by their mean after each was brought to one size.

    Parameters
    ----------
    rdms : ndarray, shape (n_rdms, n_pairs)
        Distances, one RDM per subject.
    comparison : str
        See :func:`compare_rdms`. Pearson averages standardised distances, cosine those of unit norm, the whitened ones
        those of unit whitened norm: the pooled RDM is then the best possible. The rank measures average ranks, which is
        the best possible for Spearman's and only about so for tau-a.

    Returns
    -------
    ndarray, shape (n_pairs,)
        The pooled RDM.
    """
    pooled: Array = _to_one_size(rdms, comparison).mean(axis=0)
    return pooled


def _to_one_size(rdms: Array, comparison: Comparison) -> Array:
    if comparison in ("spearman", "rho-a", "tau-a"):
        from scipy.stats import rankdata

        ranks: Array = rankdata(rdms, axis=1)
        return ranks
    if "cosine" not in comparison:
        rdms = rdms - rdms.mean(axis=1, keepdims=True)
    matrices = square(rdms)
    if comparison.startswith("whitened"):
        matrices = centred(matrices)
    sized: Array = rdms / np.linalg.norm(matrices, axis=(1, 2))[:, None]
    return sized
