"""How alike two representations of the same stimuli are: kernel alignment, shape distances, canonical correlations.

All functions take two arrays (n_stimuli, n_units), the same stimuli in the same rows, any number of units on either
side, and none changes when a constant is added to a unit or all units of one side are scaled together. Wide data are
first turned into n_stimuli dimensions (``representation.reduce_units``), so that nothing of n_units x n_units is ever
made.

What each number keeps of its data, and whether it is 0 for data that have nothing to do with each other:

======================  ==========  ============================  ==================================================
function                range       more alike                    same for
======================  ==========  ============================  ==================================================
`cka`, debiased         -1 to 1     higher; 0 expected of noise   rotations and reflections of the units
`cka`, biased           0 to 1      higher; noise is above 0      rotations and reflections of the units
`rv_coefficient`        0 to 1      higher; noise is above 0      rotations and reflections of the units
`procrustes_distance`   0 to 2^0.5  lower                         rotations and reflections of the units
`angular_distance`      0 to pi/2   lower                         rotations and reflections of the units
`cca`                   0 to 1      higher; noise is above 0      any invertible linear map of either side
`svcca`                 0 to 1      higher; noise is above 0      rotations and reflections of the units
`pwcca`                 0 to 1      higher; noise is above 0      any invertible linear map of the second side only
======================  ==========  ============================  ==================================================
"""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainalign.errors import MeasureError
from brainalign.measures.representation import (
    Kernel,
    checked_array,
    orthonormal_basis,
    reduce_units,
    unit_gram,
    unit_shape,
)

Array = NDArray[np.float64]


def cka(
    x: ArrayLike, y: ArrayLike, *, kernel: Kernel = "linear", debiased: bool = True, bandwidth: float = 1.0
) -> float:
    """Return the centred kernel alignment (CKA): the cosine between two centred matrices of kernel values.

    Parameters
    ----------
    x, y : array_like, shape (n_stimuli, n_units)
        The representations.
    kernel : {'linear', 'rbf'}
        The inner product, or ``exp(-d**2 / (2 * s**2))`` of the euclidean distance d.
    debiased : bool
        Centre so that the expectation for independent data is 0 (U-centring; needs at least 4 stimuli). Without it
        many units make anything alike: linear CKA of independent noise is about p / (p + n - 1) for n stimuli and p
        units on both sides.
    bandwidth : float
        Of the RBF kernel: s in units of the median distance between two different stimuli.

    Returns
    -------
    float
        Higher is more alike. Biased 0 to 1; debiased at most 1, about 0 for independent data and hence often below 0.
        Unchanged by rotations, reflections and shifts, and by one scale for all units of a side; changed by scales of
        single units and other linear maps.

    Raises
    ------
    MeasureError
        For arrays that do not fit together, NaN, a side without differences between stimuli, or too few stimuli.

    References
    ----------
    Kornblith, S. et al. (2019). Similarity of neural network representations revisited. ICML. Murphy, A. et al. (2024).
    Correcting biased centered kernel alignment measures in biological and artificial neural networks. ICLR workshop
    Re-Align. Song, L. et al. (2012). Feature selection via dependence maximization. JMLR 13, 1393-1434: the unbiased
    HSIC, here in the form of Székely, G. J. & Rizzo, M. L. (2014). Partial distance correlation with methods for
    dissimilarities. Ann. Stat. 42, 2382-2412 (U-centring).
    """
    a, b = _checked_pair(x, y, least=4 if debiased else 2)
    return float(np.vdot(unit_gram(a, kernel, debiased, bandwidth), unit_gram(b, kernel, debiased, bandwidth)))


def rv_coefficient(x: ArrayLike, y: ArrayLike) -> float:
    """Return the RV coefficient, a squared correlation of two sets of variables.

    Parameters
    ----------
    x, y : array_like, shape (n_stimuli, n_units)
        The representations.

    Returns
    -------
    float
        0 to 1, higher is more alike. The same number as the biased linear :func:`cka`, by its older name, with its
        invariances and its bias.

    Raises
    ------
    MeasureError
        As :func:`cka`.

    References
    ----------
    Robert, P. & Escoufier, Y. (1976). A unifying tool for linear multivariate statistical methods: the RV-coefficient.
    J. R. Stat. Soc. C 25, 257-265.
    """
    return cka(x, y, debiased=False)


def procrustes_distance(x: ArrayLike, y: ArrayLike) -> float:
    """Return the Procrustes distance: what is left between two shapes after the best rotation.

    Parameters
    ----------
    x, y : array_like, shape (n_stimuli, n_units)
        The representations. Units are centred and each side is scaled to norm 1; the narrower side counts as if padded
        with units that do not respond.

    Returns
    -------
    float
        0 (the same shape) to the square root of 2 (no common dimension); lower is more alike. A metric. Unchanged by
        rotations, reflections, shifts and one scale for all units of a side. It has no fixed value for independent
        data: with more units than stimuli, anything comes close to anything. Exact to about 1e-8, where it is 0.

    Raises
    ------
    MeasureError
        For arrays that do not fit together, NaN, or a side without differences between stimuli.

    References
    ----------
    Williams, A. H. et al. (2021). Generalized shape metrics on neural representations. NeurIPS. The minimum is
    2 - 2 times the nuclear norm of the cross-product: Schönemann, P. H. (1966). Psychometrika 31, 1-10.
    """
    return shape_distance(*map(unit_shape, _checked_pair(x, y)))


def angular_distance(x: ArrayLike, y: ArrayLike) -> float:
    """Return the angular (Riemannian) shape distance: the angle between two shapes after the best rotation.

    Parameters
    ----------
    x, y : array_like, shape (n_stimuli, n_units)
        The representations, centred and scaled as for :func:`procrustes_distance`.

    Returns
    -------
    float
        In radians, 0 (the same shape) to pi / 2; lower is more alike. A metric, with the invariances of
        :func:`procrustes_distance`, d, of which it is ``2 * arcsin(d / 2)``.

    Raises
    ------
    MeasureError
        As :func:`procrustes_distance`.

    References
    ----------
    Williams, A. H. et al. (2021). Generalized shape metrics on neural representations. NeurIPS.
    """
    return shape_angle(*map(unit_shape, _checked_pair(x, y)))


def canonical_correlations(x: ArrayLike, y: ArrayLike) -> Array:
    """Return the canonical correlations: those of the best matched pairs of linear read-outs.

    Parameters
    ----------
    x, y : array_like, shape (n_stimuli, n_units)
        The representations.

    Returns
    -------
    ndarray, shape (min(rank of x, rank of y),)
        0 to 1, falling. Unchanged by any invertible linear map of either side.

    Raises
    ------
    MeasureError
        As :func:`procrustes_distance`.

    Warns
    -----
    UserWarning
        If the dimensions of both sides together exceed n_stimuli - 1: then as many correlations as there are
        dimensions too many are 1 for any data; with n_stimuli - 1 dimensions on either side, all are.

    References
    ----------
    Björck, Å. & Golub, G. H. (1973). Numerical methods for computing angles between linear subspaces. Math. Comput. 27,
    579-594.
    """
    return canonical_cosines(*_bases(x, y))


def cca(x: ArrayLike, y: ArrayLike) -> float:
    """Return the mean canonical correlation.

    Parameters
    ----------
    x, y : array_like, shape (n_stimuli, n_units)
        The representations.

    Returns
    -------
    float
        0 to 1, higher is more alike. Unchanged by any invertible linear map of either side. Above 0 for independent
        data, and 1 for any data once a side has n_stimuli - 1 dimensions; see :func:`canonical_correlations` for this
        warning.

    Raises
    ------
    MeasureError
        As :func:`procrustes_distance`.

    References
    ----------
    Raghu, M. et al. (2017). SVCCA: singular vector canonical correlation analysis for deep learning dynamics and
    interpretability. NeurIPS.
    """
    return float(canonical_cosines(*_bases(x, y)).mean())


def svcca(x: ArrayLike, y: ArrayLike, *, variance: float = 0.99) -> float:
    """Return the mean canonical correlation of the leading principal components (SVCCA).

    Parameters
    ----------
    x, y : array_like, shape (n_stimuli, n_units)
        The representations.
    variance : float
        Each side keeps the fewest components that explain this share of its variance.

    Returns
    -------
    float
        0 to 1, higher is more alike. Unchanged by rotations, reflections, shifts and one scale for all units of a side;
        not by other linear maps, which change the components. For independent data as :func:`cca`, with the number of
        components in place of that of units.

    Raises
    ------
    MeasureError
        As :func:`procrustes_distance`, or for a share that is not above 0 and at most 1.

    References
    ----------
    Raghu, M. et al. (2017). SVCCA: singular vector canonical correlation analysis for deep learning dynamics and
    interpretability. NeurIPS.
    """
    return float(canonical_cosines(*_bases(x, y, variance)).mean())


def pwcca(x: ArrayLike, y: ArrayLike) -> float:
    """Return the projection-weighted mean of canonical correlations (PWCCA).

    Parameters
    ----------
    x : array_like, shape (n_stimuli, n_units)
        The representation that gives the weights: a canonical variable weighs the sum, over the units of `x`, of the
        absolute inner products with it.
    y : array_like, shape (n_stimuli, n_units)
        The other representation.

    Returns
    -------
    float
        0 to 1, higher is more alike. Not symmetric in x and y. Unchanged by any invertible linear map of `y`; for `x`
        by order, signs and one common scale of its units only, not by rotations. For independent data as :func:`cca`.

    Raises
    ------
    MeasureError
        As :func:`procrustes_distance`.

    References
    ----------
    Morcos, A. S. et al. (2018). Insights on representational similarity in neural networks with canonical correlation.
    NeurIPS.
    """
    a, b = _bases(x, y)
    return projection_weighted(a, a.T @ checked_array(x), b)


def shape_distance(a: Array, b: Array) -> float:
    """Return the Procrustes distance of two outputs of :func:`~brainalign.measures.representation.unit_shape`."""
    return 2 * float(np.sin(shape_angle(a, b) / 2))


def shape_angle(a: Array, b: Array) -> float:
    """Return the angular distance of two outputs of :func:`~brainalign.measures.representation.unit_shape`."""
    overlap = np.linalg.svd(a.T @ b, compute_uv=False).sum()
    return float(np.arccos(min(overlap, 1.0)))


def canonical_cosines(a: Array, b: Array) -> Array:
    """Return the canonical correlations of two orthonormal bases."""
    cosines: Array = np.minimum(np.linalg.svd(a.T @ b, compute_uv=False), 1.0)
    return cosines


def projection_weighted(a: Array, loadings: Array, b: Array) -> float:
    """Return the PWCCA of two orthonormal bases; `loadings` are the units of the first in its basis."""
    directions, correlations, _ = np.linalg.svd(a.T @ b, full_matrices=False)
    weights = np.abs(directions.T @ loadings).sum(axis=1)
    return float(weights @ np.minimum(correlations, 1.0) / weights.sum())


def n_forced(a: Array, b: Array) -> int:
    """Return how many canonical correlations of two orthonormal bases are 1 whatever the data are.

    Parameters
    ----------
    a, b : ndarray, shape (n_stimuli, n_components)
        Bases of centred data, which live in n_stimuli - 1 dimensions.

    Returns
    -------
    int
        The dimensions that both must share for lack of room.
    """
    n_dimensions: int = a.shape[1] + b.shape[1]
    return max(0, n_dimensions - (len(a) - 1))


def _bases(x: ArrayLike, y: ArrayLike, variance: float = 1.0) -> tuple[Array, Array]:
    """Return orthonormal bases of both sides, with a warning where they lack room."""
    a, b = (orthonormal_basis(side, variance) for side in _checked_pair(x, y))
    forced, of = n_forced(a, b), min(a.shape[1], b.shape[1])
    if forced:
        warnings.warn(
            f"{forced} of {of} canonical correlations are 1 for any data: {len(a)} stimuli leave {len(a) - 1} "
            f"dimensions, and the sides have {a.shape[1]} and {b.shape[1]}; use more stimuli, fewer components or CKA",
            stacklevel=3,
        )
    return a, b


def _checked_pair(x: ArrayLike, y: ArrayLike, least: int = 2) -> tuple[Array, Array]:
    a, b = checked_array(x), checked_array(y)
    if len(a) != len(b):
        raise MeasureError(f"{len(a)} stimuli on one side and {len(b)} on the other; give both the same stimuli")
    if len(a) < least:
        raise MeasureError(f"at least {least} stimuli are needed, found {len(a)}")
    return reduce_units(a), reduce_units(b)
