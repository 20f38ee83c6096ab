"""How sure we are: rank tests, effect sizes, resampling and permutation. Imports no other room."""

from brainalign.stats.ceilings import (
    correct_score,
    critical_r,
    ncsnr,
    ncsnr_reliability,
    pairwise_correlations,
    spearman_brown,
    split_half_reliability,
    tuckute2023_divisor,
)
from brainalign.stats.effects import auc, cohens_d, d_prime, welch_t
from brainalign.stats.hierarchical import hierarchical_bootstrap, within_subject_sem
from brainalign.stats.mixed import mixed_model
from brainalign.stats.multiple import adjust_p
from brainalign.stats.permutation import permutation_p, permute_labels
from brainalign.stats.rank_nulls import p_from_rank_sum, p_from_signed_rank
from brainalign.stats.rank_tests import (
    RankSumTest,
    SignedRankTest,
    rank_sum,
    signed_rank,
)
from brainalign.stats.resampling import (
    BootstrapInterval,
    bca_limits,
    bootstrap_counts,
    bootstrap_interval,
    shifted_percentile_limits,
)

__all__ = [
    "BootstrapInterval",
    "RankSumTest",
    "SignedRankTest",
    "adjust_p",
    "auc",
    "bca_limits",
    "bootstrap_counts",
    "bootstrap_interval",
    "cohens_d",
    "correct_score",
    "critical_r",
    "d_prime",
    "hierarchical_bootstrap",
    "mixed_model",
    "ncsnr",
    "ncsnr_reliability",
    "p_from_rank_sum",
    "p_from_signed_rank",
    "pairwise_correlations",
    "permutation_p",
    "permute_labels",
    "rank_sum",
    "shifted_percentile_limits",
    "signed_rank",
    "spearman_brown",
    "split_half_reliability",
    "tuckute2023_divisor",
    "welch_t",
    "within_subject_sem",
]
