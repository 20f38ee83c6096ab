"""Comparisons of RDMs against rsatoolbox, dense algebra, brute force by copying stimuli, and closed forms."""

import numpy as np
import pytest
import rsatoolbox
from rsatoolbox.inference.noise_ceiling import boot_noise_ceiling
from rsatoolbox.util.inference_util import extract_variances
from scipy.optimize import nnls
from scipy.spatial.distance import pdist, squareform
from scipy.stats import rankdata, spearmanr

from brainalign.errors import MeasureError
from brainalign.measures.rdm_ceiling import noise_ceiling, pool_rdms
from brainalign.measures.rdm_compare import compare_rdms
from brainalign.measures.rdm_inference import dual_variance, permuted_scores, weighted_partial, weighted_scores
from brainalign.measures.rdm_regression import regression_rsa
from brainalign.measures.rdm_tau import inversions, tau_a

#: Ours and rsatoolbox's names.
COMPARISONS = {
    "pearson": "corr",
    "spearman": "spearman",
    "rho-a": "rho-a",
    "tau-a": "tau-a",
    "cosine": "cosine",
    "whitened-pearson": "corr_cov",
    "whitened-cosine": "cosine_cov",
}
ANGLES = ["pearson", "spearman", "cosine", "whitened-pearson", "whitened-cosine"]


def rdms(k, n=14, seed=0, ties=False):
    """Related RDMs, in few steps if there are to be ties."""
    rng = np.random.default_rng(seed)
    common = np.random.default_rng(99).standard_normal((n, 5))
    values = np.array([pdist(common + rng.standard_normal((n, 5))) for _ in range(k)])
    return np.round(values) if ties else values


def peer(values):
    return rsatoolbox.rdm.RDMs(np.array(values))


def draws(n, size, seed=0):
    return np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=size)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("comparison", COMPARISONS)
def test_comparisons_are_those_of_rsatoolbox(comparison, ties):
    one, two = rdms(4, ties=ties), rdms(3, seed=1, ties=ties)
    expected = rsatoolbox.rdm.compare(peer(one), peer(two), COMPARISONS[comparison])
    np.testing.assert_allclose(compare_rdms(one, two, comparison), expected, atol=1e-12)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("comparison", COMPARISONS)
def test_weights_are_copies(comparison, ties):
    """Traps 1 and 2: rsatoolbox copies stimuli, and leaves out the distances of copies."""
    one, two, counts = rdms(3, ties=ties), rdms(2, seed=1, ties=ties), draws(14, 12)
    found = weighted_scores(one, two, counts, comparison)
    for c, own in zip(counts, found, strict=True):
        drawn = np.repeat(np.arange(14), c)
        copied = [peer(side).subsample_pattern("index", drawn) for side in (one, two)]
        np.testing.assert_allclose(own, rsatoolbox.rdm.compare(*copied, COMPARISONS[comparison]), atol=1e-12)
    even = weighted_scores(one, two, np.ones((1, 14)), comparison)[0]
    np.testing.assert_allclose(even, compare_rdms(one, two, comparison), atol=1e-12)


@pytest.mark.parametrize("comparison", COMPARISONS)
def test_mixtures_are_means_over_subjects(comparison):
    one, two, counts = rdms(3), rdms(4, seed=1), draws(14, 6)
    mixtures = np.random.default_rng(0).random((6, 2, 4))
    mixtures[:, :, 1] = 0
    every = weighted_scores(one, two, counts, comparison)
    expected = np.einsum("bms,bgs->bmg", every, mixtures)
    np.testing.assert_allclose(weighted_scores(one, two, counts, comparison, mixtures), expected, atol=1e-12)


def test_copies_that_meet_would_make_unrelated_rdms_alike():
    """Trap 1: 0.076 with the zeros of copies, 0.004 without them."""
    rng = np.random.default_rng(0)
    with_zeros, without = [], []
    for _ in range(60):
        one, two = (pdist(rng.standard_normal((40, 5))) for _ in range(2))
        drawn = rng.integers(40, size=40)
        copied = [squareform(r)[np.ix_(drawn, drawn)][np.triu_indices(40, 1)] for r in (one, two)]
        with_zeros.append(spearmanr(*copied).statistic)
        without.append(weighted_scores(one[None], two[None], np.bincount(drawn, minlength=40)[None]).item())
    assert np.mean(with_zeros) == pytest.approx(0.076, abs=0.03)
    assert abs(np.mean(without)) < 0.03


def test_ties_lower_rho_a_and_tau_a():
    """Trap 6: two and three stimuli of two categories; the model compared with itself."""
    category = np.array([0, 0, 1, 1, 1])
    model = pdist(category[:, None].astype(float))[None]
    found = {c: compare_rdms(model, model, c).item() for c in ("spearman", "rho-a", "tau-a")}
    assert found == pytest.approx({"spearman": 1, "rho-a": 60 * 12 / 990, "tau-a": 2 * 4 * 6 / 90})
    assert [round(v, 2) for v in found.values()] == [1, 0.73, 0.53]


def covariance_of_distances(sigma):
    """The covariance of squared distances, pairs by pairs, up to a factor."""
    n = len(sigma)
    contrasts = np.zeros((n * (n - 1) // 2, n))
    for row, (i, j) in zip(contrasts, zip(*np.triu_indices(n, 1), strict=True), strict=True):
        row[i], row[j] = 1, -1
    return (contrasts @ sigma @ contrasts.T) ** 2


@pytest.mark.parametrize("comparison", ["whitened-cosine", "whitened-pearson"])
def test_whitening_is_that_of_the_full_covariance(comparison):
    """Trap 7. rsatoolbox solves the same system by conjugate gradients, to about 1e-5."""
    one, two = rdms(3), rdms(2, seed=1)
    half = np.random.default_rng(0).standard_normal((14, 30))
    sigma = half @ half.T / 30
    inverse = np.linalg.inv(covariance_of_distances(sigma))
    centred = [r - r.mean(axis=1, keepdims=True) if comparison == "whitened-pearson" else r for r in (one, two)]
    size = [np.sqrt(np.einsum("kp,pq,kq->k", r, inverse, r)) for r in centred]
    expected = centred[0] @ inverse @ centred[1].T / np.outer(*size)
    found = compare_rdms(one, two, comparison, sigma_k=sigma)
    np.testing.assert_allclose(found, expected, atol=1e-10)
    theirs = rsatoolbox.rdm.compare(peer(one), peer(two), COMPARISONS[comparison], sigma_k=sigma)
    np.testing.assert_allclose(found, theirs, atol=1e-4)


def test_the_whitened_cosine_is_linear_cka():
    """Trap 7: with equal independent noise."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((20, 8)), rng.standard_normal((20, 30))
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    cka = np.linalg.norm(x.T @ y) ** 2 / (np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y))
    found = compare_rdms(pdist(x, "sqeuclidean"), pdist(y, "sqeuclidean"), "whitened-cosine").item()
    assert found == pytest.approx(cka, abs=1e-14)


def test_a_cosine_of_distances_has_no_zero():
    """Trap 8: means over unrelated RDMs are far from 0 for cosines and at 0 for correlations."""
    found = {c: [] for c in ANGLES}
    for seed in range(40):
        rng = np.random.default_rng(seed)
        one, two = (pdist(rng.standard_normal((20, 10)), "sqeuclidean") for _ in range(2))
        for c, values in found.items():
            values.append(compare_rdms(one, two, c).item())
    mean = {c: np.mean(v) for c, v in found.items()}
    assert mean["cosine"] > 0.8
    assert mean["whitened-cosine"] > 0.25
    for c in ("pearson", "spearman", "whitened-pearson"):
        assert abs(mean[c]) < 3 * np.std(found[c]) / np.sqrt(40)


@pytest.mark.parametrize("counted", [False, True])
def test_tau_a_by_brute_force(counted):
    rng = np.random.default_rng(0)
    for n, steps in ((2, 9), (15, 1000), (40, 4), (200, 1000)):
        one, two = np.round(rng.random((2, n)) * steps), np.round(rng.random((3, n)) * steps)
        counts = rng.integers(0, 4, n) + (n == 2) if counted else np.ones(n, dtype=int)
        a, b = np.repeat(one, counts, axis=1), np.repeat(two, counts, axis=1)
        m = a.shape[1]
        expected = [[np.sum(np.sign(x[:, None] - x) * np.sign(y[:, None] - y)) / (m * (m - 1)) for y in b] for x in a]
        np.testing.assert_allclose(tau_a(one, two, counts if counted else None), expected, atol=1e-14)


def test_tau_a_of_many_values_and_its_limits():
    values = np.random.default_rng(0).permutation(40_000)[None]
    assert tau_a(values, values).item() == 1
    assert tau_a(values, -values).item() == -1
    assert inversions(np.array([[3, 2, 1, 0], [0, 1, 2, 3]])).tolist() == [6, 0]
    assert np.isnan(tau_a(np.zeros((1, 1)), np.zeros((1, 1)))).all()
    with pytest.raises(MeasureError, match="whole numbers"):
        weighted_scores(rdms(1), rdms(1), np.full((1, 14), 0.5), "tau-a")


def left_over(x, controls):
    return x - controls @ np.linalg.lstsq(controls, x, rcond=None)[0]


@pytest.mark.parametrize("comparison", ["pearson", "spearman", "cosine"])
def test_partial_comparisons_are_those_of_residuals(comparison):
    one, two, controls = rdms(2), rdms(3, seed=1), rdms(2, seed=2)
    columns = [np.array([rankdata(r) for r in x]) if comparison == "spearman" else x for x in (one, two, controls)]
    taken = columns[2].T if comparison == "cosine" else np.column_stack([columns[2].T, np.ones(91)])
    left = [np.array([left_over(r, taken) for r in x]) for x in columns[:2]]
    left = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in left]
    found = compare_rdms(one, two, comparison, controls=controls)
    np.testing.assert_allclose(found, left[0] @ left[1].T, atol=1e-12)
    # A control that is named twice counts once.
    twice = compare_rdms(one, two, comparison, controls=np.vstack([controls, controls[:1]]))
    np.testing.assert_allclose(twice, found, atol=1e-10)


@pytest.mark.parametrize("comparison", ["pearson", "spearman"])
def test_weighted_partial_comparisons_are_those_of_copies(comparison):
    one, two, controls, counts = rdms(2), rdms(3, seed=1), rdms(2, seed=2), draws(14, 6)
    alone = np.broadcast_to(np.eye(3), (6, 3, 3))
    found = weighted_partial(one, two, controls, counts, comparison, alone)
    i, j = np.triu_indices(14, 1)
    for c, own in zip(counts, found, strict=True):
        copies = np.repeat(np.arange(91), c[i] * c[j])
        expected = compare_columns(*(x[:, copies] for x in (one, two, controls)), comparison)
        np.testing.assert_allclose(own, expected, atol=1e-10)
    even = weighted_partial(one, two, controls, np.ones((1, 14)), comparison, alone[:1])[0]
    np.testing.assert_allclose(even, compare_rdms(one, two, comparison, controls=controls), atol=1e-12)


def compare_columns(one, two, controls, comparison):
    if comparison == "spearman":
        one, two, controls = (rankdata(x, axis=1) for x in (one, two, controls))
    taken = np.column_stack([controls.T, np.ones(controls.shape[1])])
    return [[np.corrcoef(left_over(x, taken), left_over(y, taken))[0, 1] for y in two] for x in one]


def test_what_the_controls_explain_wholly_has_no_partial_comparison():
    one, two = rdms(2), rdms(1, seed=1)
    found = compare_rdms(one, two, "pearson", controls=one[:1])
    assert np.isnan(found[0])
    assert np.isfinite(found[1])
    with pytest.raises(MeasureError, match="no partial comparison 'tau-a'"):
        compare_rdms(one, two, "tau-a", controls=one)


@pytest.mark.parametrize("comparison", COMPARISONS)
def test_permuted_labels(comparison):
    one, two = rdms(2, ties=True), rdms(3, seed=1)
    orders = np.array([np.random.default_rng(s).permutation(14) for s in range(4)])
    i, j = np.triu_indices(14, 1)
    expected = [
        compare_rdms(one, np.array([squareform(r)[np.ix_(o, o)][i, j] for r in two]), comparison).mean(axis=1)
        for o in orders
    ]
    np.testing.assert_allclose(permuted_scores(one, two, orders, comparison), expected, atol=1e-12)


class TestCeiling:
    @pytest.mark.parametrize("comparison", COMPARISONS)
    def test_is_that_of_rsatoolbox(self, comparison):
        """But for whitened ones, whose RDMs rsatoolbox pools by unwhitened norms: its upper ceiling can be exceeded."""
        brains = rdms(5, n=10) * np.array([1, 1, 1, 1, 3])[:, None]
        lower, upper = noise_ceiling(brains, comparison)
        expected = boot_noise_ceiling(peer(brains), method=COMPARISONS[comparison], rdm_descriptor="index")
        assert (lower, upper) == pytest.approx(expected, abs=2e-3 if "whitened" in comparison else 1e-12)
        if "whitened" in comparison:
            assert upper > expected[1]

    @pytest.mark.parametrize("comparison", ANGLES)
    def test_nothing_exceeds_the_upper_one(self, comparison):
        brains, rng = rdms(5), np.random.default_rng(0)
        upper = noise_ceiling(brains, comparison)[1]
        pooled = pool_rdms(brains, comparison)
        for size in (0.01, 0.1, 1):
            near = pooled + size * pooled.std() * rng.standard_normal((200, len(pooled)))
            assert compare_rdms(near, brains, comparison).mean(axis=1).max() <= upper + 1e-12

    def test_no_subject_rules_by_its_gain(self):
        """Trap 18: a mean of raw RDMs is ruled by the loudest subject."""
        brains = rdms(5)
        loud = brains * np.array([20, 1, 1, 1, 1])[:, None]
        assert noise_ceiling(loud, "pearson") == pytest.approx(noise_ceiling(brains, "pearson"), abs=1e-12)
        assert compare_rdms(loud.mean(axis=0), loud, "pearson").mean() < noise_ceiling(loud, "pearson")[1] - 0.02

    def test_one_subject_has_none(self):
        """Trap 10: rsatoolbox gives [1, 1] without a word."""
        with pytest.raises(MeasureError, match="at least 2 subjects, found 1"):
            noise_ceiling(rdms(1), "pearson")


def test_dual_variance_is_that_of_rsatoolbox():
    """Trap 11: three bootstraps, factors n / (n - 1), bounded below by each single one and above by the double one."""
    rng = np.random.default_rng(0)
    subjects, stimuli = rng.random((2, 60))
    both = subjects + stimuli + rng.uniform(-1, 1, 60)
    both = np.maximum(both, 0.01)
    found = dual_variance(both, subjects, stimuli, 6, 20)
    covariances = np.stack([np.diag(v) for v in (both, subjects, stimuli)])
    expected = extract_variances(covariances, nc_included=False, n_rdm=6, n_pattern=20)[0]
    np.testing.assert_allclose(found, expected, atol=1e-15)
    assert (found == both).any()
    assert np.isclose(found, subjects * 6 / 5).any()
    assert np.isclose(found, stimuli * 20 / 19).any()


class TestRegression:
    def test_weights_are_those_of_least_squares(self):
        models, brain = rdms(3), rdms(1, seed=1)[0]
        z = (models - models.mean(axis=1, keepdims=True)) / models.std(axis=1, keepdims=True)
        target = (brain - brain.mean()) / brain.std()
        plain, positive = (regression_rsa(models, brain, n_folds=3, nonnegative=p) for p in (False, True))
        np.testing.assert_allclose(plain.weights, np.linalg.lstsq(z.T, target, rcond=None)[0], atol=1e-12)
        np.testing.assert_allclose(positive.weights, nnls(z.T, target)[0], atol=1e-12)

    def test_finds_the_mixture_and_keeps_weights_positive(self):
        models = rdms(3, n=30)
        brain = 2 * models[0] - models[2]
        found = regression_rsa(models, brain)
        assert found.score == pytest.approx(1)
        spread = models.std(axis=1) / brain.std()
        np.testing.assert_allclose(found.weights, [2 * spread[0], 0, -spread[2]], atol=1e-10)
        assert regression_rsa(models, brain, nonnegative=True).weights.min() == 0

    def test_stimuli_of_a_fold_do_not_fit_it(self):
        """Distances of test stimuli to others change nothing in how the fold is predicted, but for its own pairs."""
        models, brain = rdms(2, n=20), rdms(1, n=20, seed=1)[0]
        first = regression_rsa(models, brain, n_folds=4)
        i, j = np.triu_indices(20, 1)
        mixed = (first.folds[i] == 0) != (first.folds[j] == 0)
        changed = np.where(mixed, brain + 10, brain)
        assert regression_rsa(models, changed, n_folds=4).fold_scores[0] == pytest.approx(
            first.fold_scores[0], abs=1e-12
        )

    def test_noise_predicts_nothing(self):
        scores = [
            regression_rsa(
                np.array([pdist(np.random.default_rng([s, m]).standard_normal((24, 4))) for m in range(6)]),
                pdist(np.random.default_rng([s, 9]).standard_normal((24, 4))),
                seed=s,
            ).score
            for s in range(100)
        ]
        assert np.mean(scores) < 2.5 * np.std(scores) / 10

    def test_bad_input(self):
        with pytest.raises(MeasureError, match="n_folds is 2 to 3 here"):
            regression_rsa(rdms(2), rdms(1)[0], n_folds=5)
        with pytest.raises(MeasureError, match="7 stimuli are too few"):
            regression_rsa(rdms(2, n=7), rdms(1, n=7)[0])
        with pytest.raises(MeasureError, match="all distances are the same in the RDM of model 1"):
            regression_rsa(np.vstack([rdms(1), np.ones((1, 91))]), rdms(1)[0], n_folds=2)


def test_bad_input():
    with pytest.raises(MeasureError, match="no comparison 'kendall'; known: 'cosine'"):
        compare_rdms(rdms(1), rdms(1), "kendall")
    with pytest.raises(MeasureError, match="91 and 78 pairs"):
        compare_rdms(rdms(1), rdms(1, n=13))
    with pytest.raises(MeasureError, match=r"sigma_k has shape \(3, 3\), expected \(14, 14\)"):
        compare_rdms(rdms(1), rdms(1), "whitened-cosine", sigma_k=np.eye(3))
    with pytest.raises(MeasureError, match="90 distances are not those of all pairs"):
        compare_rdms(rdms(1)[:, 1:], rdms(1)[:, 1:], "pearson")
