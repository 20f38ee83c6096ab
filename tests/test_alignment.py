"""Alignment against brute force, scipy, scikit-learn, statsmodels, rsatoolbox, netrep's formula and noise."""

import warnings
from itertools import permutations

import numpy as np
import pytest
from scipy.linalg import orthogonal_procrustes, sqrtm
from scipy.spatial import procrustes
from scipy.spatial.distance import pdist, squareform
from scipy.stats import ortho_group

from brainalign.errors import MeasureError
from brainalign.measures.alignment import (
    angular_distance,
    canonical_correlations,
    cca,
    cka,
    procrustes_distance,
    pwcca,
    rv_coefficient,
    svcca,
)
from brainalign.measures.representation import reduce_units


def pair(n=30, p=6, q=4, seed=0, shared=1.0):
    rng = np.random.default_rng(seed)
    latent = rng.standard_normal((n, 3))
    x = shared * latent @ rng.standard_normal((3, p)) + rng.standard_normal((n, p)) + 2
    y = shared * latent @ rng.standard_normal((3, q)) + rng.standard_normal((n, q)) - 1
    return x, y


def rbf(x, bandwidth):
    d = squareform(pdist(x))
    sigma = bandwidth * np.median(d[np.triu_indices(len(x), 1)])
    return np.exp(-(d**2) / (2 * sigma**2))


def unbiased_hsic(k, m):
    """The definition: kernel values of different stimuli only, over all ordered choices of four (Song et al. 2012)."""
    terms = [k[i, j] * (m[i, j] + m[r, s] - 2 * m[i, r]) for i, j, r, s in permutations(range(len(k)), 4)]
    return np.mean(terms)


class TestKernelAlignment:
    @pytest.mark.parametrize(("p", "q"), [(6, 4), (50, 4), (50, 80)])
    def test_biased_linear_is_the_formula_over_units(self, p, q):
        x, y = pair(p=p, q=q)
        a, b = x - x.mean(0), y - y.mean(0)
        norm = np.linalg.norm
        expected = norm(b.T @ a) ** 2 / (norm(a.T @ a) * norm(b.T @ b))
        assert cka(x, y, debiased=False) == pytest.approx(expected, abs=1e-12)

    def test_rv_is_the_formula_of_traces_of_covariances(self):
        x, y = pair()
        joint = np.cov(x.T, y.T)
        xx, xy, yy = joint[:6, :6], joint[:6, 6:], joint[6:, 6:]
        expected = np.trace(xy @ xy.T) / np.sqrt(np.trace(xx @ xx) * np.trace(yy @ yy))
        assert rv_coefficient(x, y) == pytest.approx(expected, abs=1e-12)

    @pytest.mark.parametrize("kernel", ["linear", "rbf"])
    def test_debiased_is_the_sum_over_all_choices_of_four_stimuli(self, kernel):
        x, y = pair(n=8, p=12)
        k, m = (x @ x.T, y @ y.T) if kernel == "linear" else (rbf(x, 0.7), rbf(y, 0.7))
        expected = unbiased_hsic(k, m) / np.sqrt(unbiased_hsic(k, k) * unbiased_hsic(m, m))
        assert cka(x, y, kernel=kernel, bandwidth=0.7) == pytest.approx(expected, abs=1e-12)

    def test_biased_rbf_is_the_trace_formula(self):
        x, y = pair()
        h = np.eye(30) - 1 / 30
        k, m = (h @ rbf(z, 1.3) @ h for z in (x, y))
        expected = np.trace(k @ m) / np.sqrt(np.trace(k @ k) * np.trace(m @ m))
        assert cka(x, y, kernel="rbf", bandwidth=1.3, debiased=False) == pytest.approx(expected, abs=1e-12)

    def test_biased_linear_is_the_whitened_cosine_of_rsatoolbox(self):
        """Trap 7: comparing squared distances whitened for equal noise is linear CKA."""
        import rsatoolbox

        x, y = pair()
        rdms = [rsatoolbox.rdm.RDMs(pdist(z, "sqeuclidean")[None]) for z in (x, y)]
        expected = rsatoolbox.rdm.compare(*rdms, method="cosine_cov").item()
        assert cka(x, y, debiased=False) == pytest.approx(expected, abs=1e-10)

    def test_many_units_make_noise_alike_unless_debiased(self):
        """Trap 12: the table for 165 stimuli and p units on both sides."""
        rng = np.random.default_rng(0)
        for p, known in [(50, 0.23), (165, 0.50), (512, 0.76), (2000, 0.92), (10_000, 0.98)]:
            x, y = rng.standard_normal((2, 165, p))
            assert cka(x, y, debiased=False) == pytest.approx(known, abs=0.012)
            assert cka(x, y, debiased=False) == pytest.approx(p / (p + 164), abs=0.01)
            # The standard deviation under independence is about the square root of 2, over n: 0.0086.
            assert abs(cka(x, y)) < 0.025

    @pytest.mark.parametrize("kernel", ["linear", "rbf"])
    def test_debiased_is_zero_on_average_and_negative_half_of_the_time(self, kernel):
        rng = np.random.default_rng(1)
        values = np.array([cka(*rng.standard_normal((2, 20, 40)), kernel=kernel) for _ in range(600)])
        assert abs(values.mean()) < 4 * values.std() / np.sqrt(600)
        assert 0.35 < (values < 0).mean() < 0.65

    def test_a_wide_rbf_kernel_is_linear(self):
        """exp(-d^2 / 2s^2) tends to 1 - d^2 / 2s^2."""
        x, y = pair()
        for debiased in (True, False):
            linear = cka(x, y, debiased=debiased)
            assert cka(x, y, kernel="rbf", bandwidth=300, debiased=debiased) == pytest.approx(linear, abs=1e-4)


class TestShapes:
    @pytest.mark.parametrize(("p", "q"), [(6, 6), (6, 4), (50, 4), (50, 80)])
    def test_distance_is_what_the_best_rotation_leaves(self, p, q):
        x, y = pair(p=p, q=q)
        width = max(p, q)
        a, b = (np.pad(z - z.mean(0), ((0, 0), (0, width - z.shape[1]))) for z in (x, y))
        a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)
        rotation, _ = orthogonal_procrustes(a, b)
        assert procrustes_distance(x, y) == pytest.approx(np.linalg.norm(a @ rotation - b), abs=1e-8)
        # netrep's LinearMetric: the angle between the aligned, centred representations.
        angle = np.arccos(np.vdot(a @ rotation, b) / (np.linalg.norm(a) * np.linalg.norm(b)))
        assert angular_distance(x, y) == pytest.approx(angle, abs=1e-8)

    def test_disparity_of_scipy(self):
        """scipy scales the second shape as well, which leaves 1 - s^2 where we have 2 - 2s."""
        x, y = pair(q=6)
        s = np.cos(angular_distance(x, y))
        assert procrustes(x, y)[2] == pytest.approx(1 - s**2, abs=1e-12)
        assert procrustes_distance(x, y) == pytest.approx(np.sqrt(2 - 2 * s), abs=1e-12)

    def test_both_are_metrics(self):
        rng = np.random.default_rng(0)
        for _ in range(200):
            x, y, z = (rng.standard_normal((7, p)) ** 3 for p in rng.integers(1, 9, size=3))
            for distance in (procrustes_distance, angular_distance):
                assert distance(x, y) == pytest.approx(distance(y, x), abs=1e-9)
                assert distance(x, z) <= distance(x, y) + distance(y, z) + 1e-9

    def test_ends_of_the_range(self):
        x = np.eye(8)[:, :2] - np.eye(8)[:, 2:4]
        y = np.eye(8)[:, 4:6] - np.eye(8)[:, 6:8]
        assert procrustes_distance(x, y) == pytest.approx(np.sqrt(2))
        assert angular_distance(x, y) == pytest.approx(np.pi / 2)
        assert procrustes_distance(x, -3 * x + 1) == pytest.approx(0, abs=1e-7)


class TestCanonicalCorrelations:
    def test_against_statsmodels_and_scikit_learn(self):
        from sklearn.cross_decomposition import CCA
        from statsmodels.multivariate.cancorr import CanCorr

        x, y = pair(n=60)
        found = canonical_correlations(x, y)
        np.testing.assert_allclose(found, CanCorr(x, y).cancorr, atol=1e-10)
        scores = CCA(n_components=4, scale=False, max_iter=10_000, tol=1e-12).fit_transform(x, y)
        peer = [np.corrcoef(a, b)[0, 1] for a, b in zip(scores[0].T, scores[1].T, strict=True)]
        np.testing.assert_allclose(found, peer, atol=1e-4)
        assert cca(x, y) == pytest.approx(np.mean(CanCorr(x, y).cancorr))

    def test_svcca_is_cca_of_principal_components(self):
        from sklearn.decomposition import PCA
        from statsmodels.multivariate.cancorr import CanCorr

        x, y = pair(n=60, p=20, q=12)
        parts = [PCA(n_components=0.9, svd_solver="full").fit_transform(z) for z in (x, y)]
        assert parts[0].shape[1] < 20
        assert svcca(x, y, variance=0.9) == pytest.approx(np.mean(CanCorr(*parts).cancorr), abs=1e-10)
        assert svcca(x, y, variance=1.0) == pytest.approx(cca(x, y), abs=1e-12)

    def test_pwcca_from_whitened_covariances(self):
        x, y = pair(n=60)
        a, b = x - x.mean(0), y - y.mean(0)
        whiten = [np.linalg.inv(sqrtm(z.T @ z)) for z in (a, b)]
        u, rho, _ = np.linalg.svd(whiten[0] @ a.T @ b @ whiten[1], full_matrices=False)
        canonical = a @ whiten[0] @ u
        alpha = np.array([sum(abs(h @ unit) for unit in a.T) for h in canonical.T])
        assert pwcca(x, y) == pytest.approx(alpha @ rho / alpha.sum(), abs=1e-10)
        assert pwcca(x, y) != pytest.approx(pwcca(y, x), abs=1e-3)

    @pytest.mark.parametrize("measure", [canonical_correlations, cca, pwcca])
    def test_everything_is_alike_with_as_many_units_as_stimuli(self, measure):
        rng = np.random.default_rng(0)
        x, y = rng.standard_normal((20, 19)), rng.standard_normal((20, 3))
        with pytest.warns(UserWarning, match="3 of 3 canonical correlations are 1 for any data: 20 stimuli leave 19"):
            np.testing.assert_allclose(measure(x, y), 1)

    def test_a_part_is_forced_before_that(self):
        rng = np.random.default_rng(0)
        x, y = rng.standard_normal((20, 12)), rng.standard_normal((20, 10))
        with pytest.warns(UserWarning, match="3 of 10 ") as caught:
            found = canonical_correlations(x, y)
        assert caught[0].filename == __file__
        np.testing.assert_allclose(found[:3], 1)
        assert found[3] < 0.999

    def test_room_enough_gives_no_warning(self):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            x, y = pair()
            assert 0 < cca(x, y) < 1

    def test_dependent_units_add_no_dimension(self):
        x, y = pair()
        doubled = np.hstack([x, x @ np.ones((6, 2)), 3 * x])
        assert cca(doubled, y) == pytest.approx(cca(x, y), abs=1e-10)


#: What each keeps: rotation of x, of y, a linear map of x, of y.
INVARIANCES = [
    (cka, True, True, False, False),
    (lambda x, y: cka(x, y, debiased=False), True, True, False, False),
    (lambda x, y: cka(x, y, kernel="rbf"), True, True, False, False),
    (rv_coefficient, True, True, False, False),
    (procrustes_distance, True, True, False, False),
    (angular_distance, True, True, False, False),
    (cca, True, True, True, True),
    (lambda x, y: svcca(x, y, variance=0.9), True, True, False, False),
    (pwcca, False, True, False, True),
]


@pytest.mark.parametrize(("measure", *"abcd"), INVARIANCES)
def test_invariances_are_those_that_are_documented(measure, a, b, c, d):
    x, y = pair()
    value = measure(x, y)
    order = np.random.default_rng(0).permutation(30)
    same = pytest.approx(value, abs=1e-9)
    assert measure(x[order], y[order]) == same
    assert measure(-5 * x + 3, 0.1 * y - np.arange(4)) == same
    assert measure(x[:, ::-1], y) == same
    turns = ortho_group.rvs(6, random_state=0), ortho_group.rvs(4, random_state=0)
    maps = np.random.default_rng(1).standard_normal((6, 6)), np.random.default_rng(2).standard_normal((4, 4))
    for kept, changed in zip(
        (a, b, c, d), ((x @ turns[0], y), (x, y @ turns[1]), (x @ maps[0], y), (x, y @ maps[1])), strict=True
    ):
        assert (abs(measure(*changed) - value) < 1e-9) == kept


@pytest.mark.parametrize("measure", [m[0] for m in INVARIANCES[:6]])
def test_wide_data_need_no_matrix_of_units(measure):
    """200,000 x 200,000 numbers would be 320 GB."""
    rng = np.random.default_rng(0)
    narrow = rng.standard_normal((12, 5))
    embedding = np.linalg.qr(rng.standard_normal((200_000, 5)))[0]
    y = rng.standard_normal((12, 4))
    assert measure(narrow @ embedding.T, y) == pytest.approx(measure(narrow, y), abs=1e-8)


def test_reduced_units_keep_all_inner_products():
    x = pair(n=12, p=70)[0]
    reduced = reduce_units(x)
    assert reduced.shape == (12, 12)
    np.testing.assert_allclose(reduced @ reduced.T, (x - x.mean(0)) @ (x - x.mean(0)).T, atol=1e-10)


class TestBadInput:
    def test_what_does_not_fit(self):
        x, y = pair()
        with pytest.raises(MeasureError, match="30 stimuli on one side and 29 on the other"):
            cka(x, y[:29])
        with pytest.raises(MeasureError, match=r"\(n_stimuli, n_units\), found an array of shape \(30,\)"):
            cca(x[:, 0], y)
        with pytest.raises(MeasureError, match="1 of 30 stimuli have NaN or infinite responses, the first in row 7"):
            cka(np.where(np.arange(30)[:, None] == 7, np.nan, x), y)
        with pytest.raises(MeasureError, match="all 6 units respond alike to all 30 stimuli"):
            procrustes_distance(np.full_like(x, 0.1), y)
        with pytest.raises(MeasureError, match="at least 4 stimuli are needed, found 3"):
            cka(x[:3], y[:3])

    def test_options(self):
        x, y = pair()
        with pytest.raises(MeasureError, match="no kernel 'rbff'; did you mean 'rbf'"):
            cka(x, y, kernel="rbff")
        with pytest.raises(MeasureError, match="bandwidth is 0"):
            cka(x, y, kernel="rbf", bandwidth=0)
        with pytest.raises(MeasureError, match="variance is 1"):
            svcca(x, y, variance=1.5)

    def test_geometry_without_differences(self):
        with pytest.raises(MeasureError, match="equally far"):
            cka(np.eye(8), pair(n=8)[1])
        with pytest.raises(MeasureError, match="half of all pairs"):
            cka(np.repeat([[0.0], [1.0]], [9, 1], axis=0), pair(n=10)[1], kernel="rbf")
