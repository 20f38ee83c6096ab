"""Do categories differ in acoustics? Such differences can pass for effects of category."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd


def category_differences(
    features: pd.DataFrame, categories: Sequence[str], *, n_permutations: int = 4999, seed: int = 0
) -> pd.DataFrame:
    """Test each acoustic feature for differences between categories.

    The statistic is that of Kruskal & Wallis (1952), with the correction for ties. Its p is found by permuting the
    categories, all features together, and comparing with the largest statistic of each permutation (Westfall & Young
    1993), so the chance of any false alarm among all features is the p that is read off; it is valid for small
    categories, too. The effect size is eta squared (Tomczak & Tomczak 2014), the share of the variance of the ranks
    that lies between categories, without what chance alone gives: (H - k + 1) / (n - k); about 0 without a
    difference, 1 if categories do not overlap and are homogeneous.

    Parameters
    ----------
    features : DataFrame, shape (n_sounds, n_features)
        One column per feature, without NaN. Those that are the same for all sounds are left out.
    categories : sequence of str, length n_sounds
        The category of each sound.
    n_permutations : int
        How many.
    seed : int
        Seed of the permutations.

    Returns
    -------
    DataFrame
        Indexed by feature: ``h``, ``effect_size``, ``p``, ``lowest`` and ``highest`` (the categories with the lowest
        and highest median), ``low`` and ``high`` (those medians). Empty if there are fewer than two categories, no more
        sounds than categories, or no feature.
    """
    columns = ["h", "effect_size", "p", "lowest", "low", "highest", "high"]
    features = features.loc[:, features.nunique() > 1]
    groups, codes = np.unique(np.asarray(categories, dtype=str), return_inverse=True)
    n, k = len(codes), len(groups)
    if k < 2 or n <= k or features.empty:
        return pd.DataFrame(columns=columns, index=pd.Index([], name="feature"))
    order = np.argsort(codes, kind="stable")
    counts = np.bincount(codes)
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    ranks = features.rank().to_numpy(dtype=np.float64) - (n + 1) / 2
    total = np.square(ranks).sum(axis=0)

    def statistic(sounds: np.ndarray) -> np.ndarray:
        sums = np.add.reduceat(ranks[sounds], starts, axis=0)
        between = (np.square(sums) / counts[:, None]).sum(axis=0)
        h: np.ndarray = (n - 1) * np.divide(between, total, out=np.zeros_like(total), where=total > 0)
        return h

    observed = statistic(order)
    rng = np.random.default_rng(seed)
    largest = np.array([statistic(rng.permutation(n)).max() for _ in range(n_permutations)])
    exceeded = (largest[:, None] >= observed * (1 - 1e-12)).sum(axis=0)
    medians = features.groupby(np.asarray(categories, dtype=str)).median()
    return pd.DataFrame(
        {
            "h": observed,
            "effect_size": (observed - k + 1) / (n - k),
            "p": (1 + exceeded) / (1 + n_permutations),
            "lowest": medians.idxmin().to_numpy(),
            "low": medians.min().to_numpy(),
            "highest": medians.idxmax().to_numpy(),
            "high": medians.max().to_numpy(),
        },
        index=pd.Index(features.columns, name="feature"),
    )[columns]
