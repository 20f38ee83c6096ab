"""Is one model better than another? Tests of a difference in scores, and the power of the simplest of them."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brainalign.errors import MeasureError
from brainalign.measures.rdm_inference import dual_variance
from brainalign.measures.resampling import LEAST_SAMPLES

Array = NDArray[np.float64]
Inference = Literal["subjects", "stimuli", "both"]
#: What a test says something about, and how it is made.
POPULATIONS: dict[Inference, str] = {
    "subjects": "new subjects who hear the same sounds; paired t test over subjects",
    "stimuli": "the same subjects hearing new sounds of the kind; t test with the standard error of a bootstrap over "
    "sounds",
    "both": "new subjects who hear new sounds of the kind; t test with the standard error of the dual bootstrap",
}


def paired_t_power(effect_size: ArrayLike, n_subjects: ArrayLike, alpha: float = 0.05) -> Array:
    """Return the chance that a two-sided paired t test finds a difference in the right direction.

    Parameters
    ----------
    effect_size : array_like
        Expected difference over the standard deviation of differences between subjects.
    n_subjects : array_like
        Subjects, at least 2.
    alpha : float
        Level of the two-sided test.

    Returns
    -------
    ndarray
        Power, from the noncentral t distribution.
    """
    from scipy.stats import nct, t

    d, n = np.asarray(effect_size, dtype=np.float64), np.asarray(n_subjects)
    return np.asarray(nct.sf(t.ppf(1 - alpha / 2, n - 1), n - 1, d * np.sqrt(n)))


def difference_test(
    differences: Array, resampled: Array, inference: Inference, n_stimuli: int, rng: np.random.Generator
) -> tuple[float, float]:
    """Test the mean difference of two models over subjects.

    Parameters
    ----------
    differences : ndarray, shape (n_subjects,)
        Of each subject.
    resampled : ndarray, shape (n_samples, n_subjects)
        The same in bootstrap samples of the stimuli; not used for ``subjects``.
    inference : {'subjects', 'stimuli', 'both'}
        To what the test generalises, see `POPULATIONS`. Over subjects, the bootstrap variance is known without samples,
        and the test is the paired t test.
    n_stimuli : int
        How many stimuli there are.
    rng : numpy Generator
        Draws subjects, for ``both``.

    Returns
    -------
    difference, p : float
        Mean, and two-sided p.

    Raises
    ------
    MeasureError
        If hardly any bootstrap sample leaves the scores defined.
    """
    from scipy.stats import t

    n_subjects, mean = len(differences), float(differences.mean())
    if inference == "subjects":
        variance, n = differences.var(ddof=1) / n_subjects, n_subjects
    else:
        samples = resampled[np.isfinite(resampled).all(axis=1)]
        if len(samples) < LEAST_SAMPLES:
            raise MeasureError(
                f"only {len(samples)} of {len(resampled)} bootstrap samples leave differences in all RDMs, at least "
                f"{LEAST_SAMPLES} needed; {n_stimuli} stimuli are too few for these models"
            )
        by_stimuli = samples.mean(axis=1).var(ddof=1)
        if inference == "stimuli":
            variance, n = by_stimuli * n_stimuli / (n_stimuli - 1), n_stimuli
        else:
            drawn = rng.multinomial(n_subjects, np.full(n_subjects, 1 / n_subjects), size=len(samples)) / n_subjects
            both = (drawn * samples).sum(axis=1).var(ddof=1)
            variance = dual_variance(both, differences.var() / n_subjects, by_stimuli, n_subjects, n_stimuli)
            n = min(n_subjects, n_stimuli)
    # Two models that are the same differ by rounding only.
    if abs(mean) < 1e-12:
        return mean, 1.0
    return mean, float(2 * t.sf(abs(mean) / np.sqrt(variance), n - 1)) if variance > 0 else 0.0
