"""How alike two RDMs are.

Most comparisons are inner products of RDMs that were brought to unit size: *embedded*. Pearson's correlation embeds an
RDM as its standardised distances, Spearman's as the standardised ranks; the whitened ones as the double-centred matrix,
so that neither they nor anything else here inverts a matrix of pairs by pairs. Kendall's tau-a is counted.
"""

from __future__ import annotations

import math
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from brainalign.errors import MeasureError, did_you_mean, name_some
from brainalign.measures.rdm_tau import tau_a

Array = NDArray[np.float64]
Comparison = Literal["pearson", "spearman", "rho-a", "tau-a", "cosine", "whitened-pearson", "whitened-cosine"]
#: Those with a partial form: cosines of an angle, of which a part can be taken out.
ANGLES = ("pearson", "spearman", "cosine", "whitened-pearson", "whitened-cosine")


def compare_rdms(
    first: Array,
    second: Array,
    comparison: Comparison = "spearman",
    *,
    controls: Array | None = None,
    sigma_k: Array | None = None,
) -> Array:
    """Compare each RDM of one set with each of another.

    Parameters
    ----------
    first, second : ndarray, shape (n_first, n_pairs) and (n_second, n_pairs)
        Distances, see :func:`~brainalign.measures.rdm.pair_values`.
    comparison : str
        ``"pearson"`` and ``"spearman"`` correlations; ``"rho-a"`` and ``"tau-a"``, Spearman's and Kendall's
        coefficient without a correction for ties, which does not favour models that predict ties; ``"cosine"``, which
        has a meaningful 0 only for distances whose 0 is meaningful (crossnobis); ``"whitened-cosine"`` and
        ``"whitened-pearson"``, which account for the covariance that distances share by common stimuli. All lie between
        -1 and 1, more alike is larger.
    controls : ndarray, shape (n_controls, n_pairs), optional
        RDMs to take out of both sides: the comparison is partial.
    sigma_k : ndarray, shape (n_stimuli, n_stimuli), optional
        Covariance of the noise of the patterns between stimuli, for the whitened comparisons; independent noise of one
        size if not given, in which case the whitened cosine is linear CKA (Kornblith et al. 2019).

    Returns
    -------
    ndarray, shape (n_first, n_second)
        The comparisons; NaN for an RDM without differences.

    Raises
    ------
    MeasureError
        If the comparison is unknown, sizes differ, or there is no partial form.

    References
    ----------
    Nili, H. et al. (2014). PLoS Comput. Biol. 10, e1003553; Diedrichsen, J. et al. (2021). Comparing representational
    geometries using whitened unbiased-distance-matrix similarity. Neurons Behav. Data Anal. Theory 5(3); Schütt, H. H.
    et al. (2023). eLife 12, e82566, for rho-a.
    """
    check_comparison(comparison, partial=controls is not None)
    first, second = np.atleast_2d(first), np.atleast_2d(second)
    if first.shape[1] != second.shape[1]:
        raise MeasureError(f"the RDMs have {first.shape[1]} and {second.shape[1]} pairs of stimuli, expected the same")
    if comparison == "tau-a":
        return tau_a(first, second)
    one, two = embed(first, comparison, sigma_k), embed(second, comparison, sigma_k)
    if controls is not None:
        taken = embed(np.atleast_2d(controls), comparison, sigma_k)
        one, two = residual(one, taken), residual(two, taken)
    size = (len(first), len(second))
    result: Array = one.reshape(size[0], -1) @ two.reshape(size[1], -1).T
    return result


def check_comparison(comparison: str, *, partial: bool = False) -> None:
    """Raise if there is no such comparison, or no partial form of it."""
    known = ANGLES if partial else get_args(Comparison)
    if comparison not in known:
        what = "partial comparison" if partial else "comparison"
        raise MeasureError(f"no {what} {comparison!r}; {did_you_mean(comparison, known)}")


def check_varied(rdms: Array, names: list[str]) -> None:
    """Raise if an RDM holds one distance only, which no comparison can use; the RDMs are named."""
    flat = [name for name, row in zip(names, rdms, strict=True) if np.ptp(row) <= 1e-12 * np.abs(row).max(initial=0.0)]
    if flat:
        raise MeasureError(f"all distances are the same in the RDM of {name_some(flat)}: there is nothing to compare")


def embed(rdms: Array, comparison: Comparison, sigma_k: Array | None = None) -> Array:
    """Return matrices whose products, summed over all entries, are the comparison.

    Parameters
    ----------
    rdms : ndarray, shape (n_rdms, n_pairs)
        Distances.
    comparison : str
        See :func:`compare_rdms`; not ``"tau-a"``.
    sigma_k : ndarray, shape (n_stimuli, n_stimuli), optional
        See :func:`compare_rdms`.

    Returns
    -------
    ndarray, shape (n_rdms, n_stimuli, n_stimuli)
        A permutation of stimuli permutes rows and columns (without `sigma_k`).
    """
    rdms = np.asarray(rdms, dtype=np.float64)
    if comparison in ("spearman", "rho-a"):
        from scipy.stats import rankdata

        rdms = rankdata(rdms, axis=1)
    if "cosine" not in comparison:
        rdms = rdms - rdms.mean(axis=1, keepdims=True)
    matrices = square(rdms)
    if comparison.startswith("whitened"):
        matrices = centred(matrices, sigma_k)
    if comparison == "rho-a":
        n = float(rdms.shape[1])
        scaled: Array = matrices * np.sqrt(6 / (n**3 - n))
        return scaled
    return _unit_size(matrices)


def square(pairs: NDArray[Any]) -> NDArray[Any]:
    """Return the symmetric matrices of pair values; the inverse of ``pair_values``."""
    n = n_stimuli(pairs.shape[-1])
    first, second = np.triu_indices(n, 1)
    matrices = np.zeros((*pairs.shape[:-1], n, n), dtype=pairs.dtype)
    matrices[..., first, second] = pairs
    matrices[..., second, first] = pairs
    return matrices


def n_stimuli(n_pairs: int) -> int:
    """Return how many stimuli have so many pairs."""
    n = (1 + math.isqrt(1 + 8 * n_pairs)) // 2
    if n * (n - 1) // 2 != n_pairs:
        raise MeasureError(f"{n_pairs} distances are not those of all pairs of some stimuli")
    return n


def residual(embedded: Array, controls: Array) -> Array:
    """Return what of embedded RDMs is not in the span of others, at unit size.

    Parameters
    ----------
    embedded, controls : ndarray, shape (n, n_stimuli, n_stimuli) and (n_controls, n_stimuli, n_stimuli)
        Matrices from :func:`embed`.

    Returns
    -------
    ndarray, shape of embedded
        NaN for one that the controls explain wholly.
    """
    flat = embedded.reshape(len(embedded), -1)
    # By singular vectors: controls that say the same twice count once.
    _, strength, basis = np.linalg.svd(controls.reshape(len(controls), -1), full_matrices=False)
    basis = basis[strength > 1e-10 * strength.max()]
    left = flat - (flat @ basis.T) @ basis
    left[np.linalg.norm(left, axis=1) < 1e-8] = 0
    return _unit_size(left.reshape(embedded.shape))


def centred(matrices: Array, sigma_k: Array | None = None) -> Array:
    """Return -1/2 J D J, or K' D K where the noise covariance S of stimuli is given.

    With V the covariance of distances under Gaussian noise, d' V^-1 d is the squared norm of this matrix: V maps the
    weights of a graph over the stimuli, by its Laplacian L, to the squared distances of S L S; so its inverse takes a
    Gram matrix G to P G P with P = S^-1 - S^-1 1 1' S^-1 / (1' S^-1 1), and K is a root of P.

    Parameters
    ----------
    matrices : ndarray, shape (n_rdms, n_stimuli, n_stimuli)
        Distances, or other symmetric values with a zero diagonal.
    sigma_k : ndarray, shape (n_stimuli, n_stimuli), optional
        See :func:`compare_rdms`.

    Returns
    -------
    ndarray, shape of matrices
        The centred, and if asked whitened, matrices.
    """
    n = matrices.shape[-1]
    if sigma_k is None:
        rows = matrices.mean(axis=-1, keepdims=True)
        centred: Array = -0.5 * (matrices - rows - rows.swapaxes(-1, -2) + rows.mean(axis=-2, keepdims=True))
        return centred
    if sigma_k.shape != (n, n):
        raise MeasureError(f"sigma_k has shape {sigma_k.shape}, expected ({n}, {n}), one row for each stimulus")
    precision = np.linalg.inv(sigma_k)
    weight = precision.sum(axis=0)
    values, vectors = np.linalg.eigh(precision - np.outer(weight, weight) / weight.sum())
    root = vectors * np.sqrt(np.maximum(values, 0))
    whitened: Array = -0.5 * root.T @ matrices @ root
    return whitened


def _unit_size(matrices: Array) -> Array:
    norm = np.linalg.norm(matrices, axis=(1, 2))[:, None, None]
    with np.errstate(invalid="ignore"):
        scaled: Array = matrices / np.where(norm > 0, norm, np.nan)
    return scaled
