"""Reliability and noise correction, against ANOVA, brute force, published constants and simulated truth."""

from itertools import combinations

import numpy as np
import pytest
from scipy.stats import f as f_distribution
from scipy.stats import pearsonr

from brainalign.errors import MeasureError
from brainalign.stats.ceilings import (
    correct_score,
    critical_r,
    halvings,
    ncsnr,
    ncsnr_reliability,
    pairwise_correlations,
    spearman_brown,
    split_half_reliability,
    tuckute2023_divisor,
)


def measured(snr=0.5, n_repetitions=3, n_stimuli=165, n_units=2000, seed=0):
    """Return a model's prediction that explains half of the signal, the signal, and noisy repetitions of it."""
    rng = np.random.default_rng(seed)
    explained, other = rng.standard_normal((2, n_stimuli, n_units))
    signal = np.sqrt(snr / 2) * (explained + other)
    return explained, signal, signal + rng.standard_normal((n_repetitions, n_stimuli, n_units))


def correlate(a, b):
    return pearsonr(a, b, axis=0).statistic


class TestSpearmanBrown:
    def test_closed_form(self):
        assert spearman_brown(0.5, 2) == pytest.approx(2 / 3)
        np.testing.assert_allclose(spearman_brown([0.2, 0.6, -0.3], 3), [3 / 7, 9 / 11, -2.25])
        assert spearman_brown(spearman_brown(0.4, 3), 1 / 3) == pytest.approx(0.4)
        assert np.isnan(spearman_brown(np.nan, 3))

    def test_never_above_one_beyond_its_pole(self):
        """Three repetitions with a median correlation of -0.6: the formula says 9, a reliability above 1."""
        released = 3 * -0.6 / (1 + 2 * -0.6)
        assert released == pytest.approx(9)
        assert spearman_brown(-0.6, 3) == -np.inf
        assert spearman_brown(-0.5, 3) == -np.inf
        r = np.linspace(-1, 1, 1001)
        assert (np.diff(spearman_brown(r, 3)[r > -0.5]) > 0).all()

    @pytest.mark.parametrize("factor", [0, -1, np.nan])
    def test_factor_out_of_range(self, factor):
        with pytest.raises(MeasureError, match="expected a positive number"):
            spearman_brown(0.5, factor)


class TestReliability:
    def test_pairs_are_correlations(self):
        runs = measured(n_units=4)[2]
        pairs = pairwise_correlations(runs)
        for p, (i, j) in enumerate(combinations(range(3), 2)):
            np.testing.assert_allclose(pairs[p], correlate(runs[i], runs[j]))

    def test_tiny_and_constant_repetitions(self):
        runs = measured(n_units=2)[2]
        np.testing.assert_allclose(pairwise_correlations(runs * 1e-200), pairwise_correlations(runs))
        runs[1, :, 0] = 0.1
        assert np.isnan(pairwise_correlations(runs)[:, 0]).tolist() == [True, False, True]

    @pytest.mark.parametrize(("n", "half"), [(2, 1), (3, 1), (4, 2), (5, 2), (6, 3)])
    def test_all_halvings_by_brute_force(self, n, half):
        runs = measured(n_repetitions=n, n_units=3, n_stimuli=40)[2]
        every = {
            frozenset([a, b])
            for a in combinations(range(n), half)
            for b in combinations(range(n), half)
            if not set(a) & set(b)
        }
        r = np.mean([correlate(*(runs[list(h)].mean(axis=0) for h in pair)) for pair in every], axis=0)
        factor = n / half
        np.testing.assert_allclose(split_half_reliability(runs), factor * r / (1 + (factor - 1) * r))

    def test_random_halves_are_disjoint_and_of_the_size_asked_for(self):
        pairs = halvings(10, 3, max_splits=60, seed=0)
        assert len(pairs) == 60
        assert all(len(a) == len(b) == 3 and len({*a, *b}) == 6 for a, b in pairs)

    def test_many_repetitions_by_random_halves(self):
        runs = measured(n_repetitions=10, n_units=50, n_stimuli=60)[2]
        every, some, again = (split_half_reliability(runs, max_splits=m, seed=1) for m in (126, 60, 60))
        np.testing.assert_array_equal(some, again)
        assert 0 < np.abs(every - some).max() < 0.02

    @pytest.mark.parametrize(("n", "snr"), [(2, 0.5), (3, 0.5), (3, 0.1), (5, 1.0)])
    def test_both_ways_recover_the_truth(self, n, snr):
        """Signal and noise variance are known: reliability of the mean is n snr / (1 + n snr)."""
        runs = measured(snr, n)[2]
        truth = n * snr / (1 + n * snr)
        assert np.median(split_half_reliability(runs)) == pytest.approx(truth, abs=0.02)
        assert np.median(ncsnr_reliability(ncsnr(runs), n)) == pytest.approx(truth, abs=0.02)

    def test_ncsnr_is_the_intraclass_correlation(self):
        """Its share of signal is ICC(3, k) = 1 - 1 / F of a two-way ANOVA (Shrout & Fleiss), stimuli by repetitions."""
        runs = measured(n_units=6, n_stimuli=30)[2] + np.array([0.0, 5.0, -40.0])[:, None, None]
        for unit in range(6):
            values = runs[:, :, unit]
            mean = values.mean()
            rows, columns = values.mean(axis=0) - mean, values.mean(axis=1, keepdims=True) - mean
            residual = ((values - mean - rows - columns) ** 2).sum() / (2 * 29)
            f = 3 * (rows**2).sum() / 29 / residual
            assert ncsnr_reliability(ncsnr(runs), 3)[unit] == pytest.approx(max(0, 1 - 1 / f))

    def test_ncsnr_does_not_see_the_level_of_a_repetition(self):
        runs = measured(n_units=8, n_stimuli=40)[2]
        shifted = runs + np.random.default_rng(1).normal(scale=20, size=(3, 1, 8))
        np.testing.assert_allclose(ncsnr(shifted), ncsnr(runs), rtol=1e-9)
        np.testing.assert_allclose(ncsnr(runs + 1e6 * np.arange(8)), ncsnr(runs), rtol=1e-7)

    @pytest.mark.parametrize("level_sd", [0.0, 3.0])
    @pytest.mark.parametrize("n_repetitions", [2, 3])
    def test_both_variances_are_unbiased(self, level_sd, n_repetitions):
        """Over many small studies of known variances, with and without offsets of repetitions: ratio^2 noise = signal.

        With 8 stimuli, dividing by the number of stimuli and not by one less would miss by an eighth. E[F] of the
        F distribution that the ratio of the two mean squares follows is the closed form.
        """
        n_units, n_stimuli, snr = 40_000, 8, 4.0
        rng = np.random.default_rng(3)
        signal = np.sqrt(snr) * rng.standard_normal((n_stimuli, n_units))
        noise = rng.standard_normal((n_repetitions, n_stimuli, n_units))
        levels = level_sd * rng.standard_normal((n_repetitions, 1, n_units))
        found = ncsnr(signal + noise + levels) ** 2
        # ratio^2 = (F - 1) / n_repetitions, F / (1 + n_repetitions snr) is F distributed; its median has no tails.
        degrees = (n_stimuli - 1, (n_stimuli - 1) * (n_repetitions - 1))
        expected = (f_distribution.ppf([0.25, 0.5, 0.75], *degrees) * (1 + n_repetitions * snr) - 1) / n_repetitions
        np.testing.assert_allclose(np.quantile(found, [0.25, 0.5, 0.75]), expected, rtol=0.02)

    def test_ncsnr_of_weights_is_that_of_copies(self):
        rng = np.random.default_rng(2)
        runs = rng.normal(size=(3, 9, 4)) + 2 * rng.normal(size=(9, 4)) + rng.normal(size=(3, 1, 1))
        counts = rng.multinomial(9, np.full(9, 1 / 9), size=5)
        for row, found in zip(counts, ncsnr(runs, counts), strict=True):
            np.testing.assert_allclose(found, ncsnr(np.repeat(runs, row, axis=1)))

    def test_ncsnr_of_noise_and_of_no_noise(self):
        signal = np.random.default_rng(0).standard_normal((20, 2))
        assert np.isinf(ncsnr(np.stack([signal, signal]))).all()
        assert ncsnr_reliability(np.inf, 2) == 1
        assert (ncsnr(np.stack([signal, -signal])) == 0).all()

    @pytest.mark.parametrize("shape", [(1, 10, 2), (3, 1, 2), (10, 2)])
    def test_nothing_to_compare(self, shape):
        with pytest.raises(MeasureError, match="at least 2 repetitions"):
            split_half_reliability(np.zeros(shape))

    def test_missing_values(self):
        with pytest.raises(MeasureError, match="NaN"):
            ncsnr(np.full((2, 5, 1), np.nan))


class TestCorrection:
    def test_critical_r_is_that_of_the_t_distribution(self):
        """0.182 and 0.183 are published for 83 and 82 sounds, 0.128 (Kell et al. 2018) for 165."""
        assert [round(critical_r(n), 3) for n in (83, 82, 165)] == [0.182, 0.183, 0.128]
        x = np.random.default_rng(0).standard_normal((2, 25))
        x = x - x.mean(axis=1, keepdims=True)
        x[1] -= x[0] * (x[0] @ x[1]) / (x[0] @ x[0])
        x /= np.linalg.norm(x, axis=1, keepdims=True)
        r = critical_r(25)
        assert pearsonr(x[0], r * x[0] + np.sqrt(1 - r**2) * x[1], alternative="greater").pvalue == pytest.approx(0.05)
        with pytest.raises(MeasureError, match="at least 3"):
            critical_r(2)

    def test_a_perfect_model_scores_one(self):
        """Trap 16: r2 / reliability 1.01 is right; (r / reliability)^2 = 1.68 and r / reliability = 1.30 are not."""
        _, signal, runs = measured(snr=0.5)
        reliability, r = split_half_reliability(runs), correlate(signal, runs.mean(axis=0))
        assert np.median(correct_score(r**2, reliability, squared=True)) == pytest.approx(1.01, abs=0.01)
        assert np.median(correct_score(r, reliability, squared=False)) == pytest.approx(1.0, abs=0.01)
        assert np.median((r / reliability) ** 2) == pytest.approx(1.68, abs=0.02)
        assert np.median(r / reliability) == pytest.approx(1.30, abs=0.02)

    def test_low_reliability_breaks_means_and_not_medians(self):
        """Trap 16: at SNR 0.1 (truth 0.707) 3 % have no reliability, mean 0.80, median 0.718; single ones explode."""
        explained, _, runs = measured(snr=0.1, n_units=4000)
        reliability, r = split_half_reliability(runs), correlate(explained, runs.mean(axis=0))
        corrected = correct_score(r, reliability, squared=False)
        assert np.isnan(corrected).mean() == pytest.approx(0.03, abs=0.01)
        np.testing.assert_array_equal(np.isnan(corrected), reliability <= 0)
        assert np.nanmedian(corrected) == pytest.approx(0.718, abs=0.015)
        assert np.nanmean(corrected) == pytest.approx(0.80, abs=0.03)
        assert np.nanmax(corrected) > 5

    def test_hardly_reliable_units(self):
        """Trap 16: at SNR 0.02 a third has no positive reliability, and a floor makes the rest too small (0.48)."""
        explained, _, runs = measured(snr=0.02, n_units=4000)
        reliability, r = split_half_reliability(runs), correlate(explained, runs.mean(axis=0))
        assert (reliability <= 0).mean() == pytest.approx(0.33, abs=0.02)
        floored = r / np.sqrt(np.maximum(reliability, critical_r(165)))
        assert floored.mean() == pytest.approx(0.48, abs=0.06)

    def test_selection_by_least_reliability(self):
        score, reliability = np.full(4, 0.09), np.array([-0.2, 0.1, 0.25, np.nan])
        np.testing.assert_allclose(correct_score(score, reliability, squared=True), [np.nan, 0.9, 0.36, np.nan])
        np.testing.assert_allclose(
            correct_score(score, reliability, squared=False, least=0.2), [np.nan, np.nan, 0.18, np.nan]
        )

    def test_published_formula_by_loop(self):
        runs = measured(snr=0.2, n_units=20, n_stimuli=83)[2]
        single = measured(snr=0.3, n_units=20, n_stimuli=82, seed=1)[2]
        single[0, :, 3] = 0.5  # one constant prediction: its pairs are left out
        single[:, :, 4] = 0.5  # all constant: the floor
        for unit in range(20):
            expected = 1.0
            for data, floor in ((runs, 0.182), (single, 0.183)):
                pairs = [
                    pearsonr(data[i, :, unit], data[j, :, unit]).statistic
                    for i, j in combinations(range(3), 2)
                    if np.ptp(data[i, :, unit]) and np.ptp(data[j, :, unit])
                ]
                r = np.median(pairs) if pairs else np.nan
                expected *= np.nanmax([3 * r / (1 + 2 * r), floor])
            got = tuckute2023_divisor(runs[:, :, [unit]], single[:, :, [unit]], repaired=False)
            assert got == pytest.approx(expected, rel=1e-9)

    @pytest.mark.parametrize("repaired", [True, False])
    def test_published_formula_unit_by_unit(self, repaired):
        runs = measured(snr=0.2, n_units=20, n_stimuli=83)[2]
        single = measured(snr=0.3, n_units=20, n_stimuli=82, seed=1)[2]
        single[0, :, 3] = single[:, :, 4] = 0.5  # some pairs of one unit, and all of another, are undefined
        alone = [tuckute2023_divisor(runs[..., [u]], single[..., [u]], repaired=repaired)[0] for u in range(20)]
        together = tuckute2023_divisor(runs, single, repaired=repaired)
        np.testing.assert_allclose(together, alone, rtol=1e-9)

    def test_the_slip_at_the_pole_is_repaired(self):
        """Three repetitions that disagree (median -0.6) have no reliability; the released code gives them 9."""
        angle = 2 * np.pi / 3
        basis = np.linalg.qr(np.random.default_rng(0).standard_normal((40, 3)))[0]
        basis -= basis.mean(axis=0)
        basis = np.linalg.qr(basis)[0][:, :2]
        against = np.stack(
            [np.cos(k * 1.15 * angle) * basis[:, :1] + np.sin(k * 1.15 * angle) * basis[:, 1:] for k in range(3)]
        )
        r = np.median(pairwise_correlations(against))
        assert r < -0.5
        agreeing = np.tile(basis[None, :, :1], (3, 1, 1))
        floor = round(critical_r(40), 3)
        assert tuckute2023_divisor(against, agreeing) == pytest.approx(floor)
        assert tuckute2023_divisor(against, agreeing, repaired=False) == pytest.approx(3 * r / (1 + 2 * r))
