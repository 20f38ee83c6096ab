"""RDMs and noise covariances against scipy, scikit-learn, rsatoolbox, brute force, and expectation on noise."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist, pdist, squareform

from brainalign.errors import MeasureError, ResponseError
from brainalign.measures.rdm import align_rdms, check_rdms, compute_rdm, compute_rdms, make_rdms, pair_values
from brainalign.measures.rdm_noise import noise_covariance
from brainalign.responses import make_responses


def ids(n):
    return [f"s{i}" for i in range(n)]


def responses(n=12, n_units=7, repetitions=None, seed=0, **kwargs):
    rng = np.random.default_rng(seed)
    shape = (n, n_units) if repetitions is None else (repetitions, n, n_units)
    return make_responses(rng.standard_normal(shape) * rng.uniform(0.5, 2, n_units) + 1, ids(n), **kwargs)


@pytest.mark.parametrize(
    ("distance", "metric"),
    [
        ("correlation", "correlation"),
        ("euclidean", "euclidean"),
        ("squared-euclidean", "sqeuclidean"),
        ("cosine", "cosine"),
    ],
)
def test_distances_are_those_of_scipy(distance, metric):
    data = responses()
    np.testing.assert_allclose(compute_rdm(data, distance), squareform(pdist(data.values, metric)), atol=1e-12)


def test_equal_patterns_have_no_distance():
    """A matrix product would give the root of a rounding error, some 1e-7."""
    values = responses().values * 1e3
    values[4] = values[7]
    assert compute_rdm(make_responses(values, ids(12)), "euclidean")[4, 7] == 0


@pytest.mark.parametrize("shrinkage", ["ledoit-wolf", "diagonal", "none"])
def test_mahalanobis_is_that_of_scipy(shrinkage):
    data = responses(repetitions=3)
    mean = data.values.mean(axis=0)
    precision = np.linalg.inv(noise_covariance(data, shrinkage).matrix())
    expected = cdist(mean, mean, "mahalanobis", VI=precision)
    np.testing.assert_allclose(compute_rdm(data, "mahalanobis", shrinkage=shrinkage), expected, atol=1e-10)


@pytest.mark.parametrize("repetitions", [2, 4])
def test_crossnobis_is_that_of_rsatoolbox(repetitions):
    """Number by number, given the noise of the other stimuli."""
    import rsatoolbox

    data = responses(9, 3, repetitions)
    found = compute_rdm(data, "crossnobis", shrinkage="none")
    for i, j in ((0, 1), (2, 7), (8, 4)):
        others = data.drop_isel(stimulus=[i, j])
        precision = np.linalg.inv(noise_covariance(others, "none").matrix())
        dataset = rsatoolbox.data.Dataset(
            data.values[:, [i, j]].reshape(-1, 3),
            obs_descriptors={"stimulus": ["a", "b"] * repetitions, "run": np.repeat(np.arange(repetitions), 2)},
        )
        peer = rsatoolbox.rdm.calc_rdm(
            dataset, "crossnobis", descriptor="stimulus", noise=precision, cv_descriptor="run"
        )
        assert found[i, j] == pytest.approx(peer.dissimilarities.item(), abs=1e-12)
        assert found[j, i] == found[i, j]


@pytest.mark.parametrize("shrinkage", ["ledoit-wolf", "diagonal"])
def test_crossnobis_takes_the_noise_of_the_other_stimuli(shrinkage):
    """By brute force: shrinkage as estimated from all stimuli, residuals of the others."""
    data = responses(8, 12, 3)
    noise = noise_covariance(data, shrinkage)
    residuals = data.values - data.values.mean(axis=0)
    found = compute_rdm(data, "crossnobis", shrinkage=shrinkage)
    for i, j in ((0, 1), (2, 6)):
        others = np.delete(residuals, [i, j], axis=1).reshape(-1, 12)
        covariance = np.diag(noise.diagonal) + (1 - noise.shrinkage) * others.T @ others / 12
        delta = data.values[:, i] - data.values[:, j]
        crossed = delta @ np.linalg.solve(covariance, delta.T)
        assert found[i, j] == pytest.approx((crossed.sum() - np.trace(crossed)) / 6 / 12, abs=1e-12)


def test_crossnobis_trains_on_the_other_repetitions():
    """Trap 9: with two repetitions a train mean of the wrong sign is the test data, and the distance not crossed."""
    data = responses(repetitions=2)
    found = compute_rdm(data, "crossnobis", shrinkage="none")
    for i, j in ((0, 1), (5, 9)):
        noise = noise_covariance(data.drop_isel(stimulus=[i, j]), "none").matrix()
        one, two = data.values[:, i] - data.values[:, j]
        assert found[i, j] == pytest.approx(one @ np.linalg.solve(noise, two) / 7, abs=1e-12)
        within = (one @ np.linalg.solve(noise, one) + two @ np.linalg.solve(noise, two)) / 14
        assert within - found[i, j] > 0.5


def test_crossnobis_of_noise_is_zero_on_average_and_keeps_its_negative_values():
    """Trap 8: what a euclidean RDM of noise never is. With residuals of the two stimuli the mean would be 0.12."""
    for shrinkage, slack in (("ledoit-wolf", 0), ("none", 0), ("diagonal", 1 / 60)):
        found = np.array(
            [
                pair_values(compute_rdm(responses(20, 20, 4, seed=s), "crossnobis", shrinkage=shrinkage))
                for s in range(80)
            ]
        )
        standard_error = found.mean(axis=1).std() / np.sqrt(80)
        # With the diagonal one over the degrees of freedom is left: variances of single units are of all stimuli.
        assert abs(found.mean()) < 3 * standard_error + slack < 0.04
        assert 0.45 < (found < 0).mean() < 0.6
    assert pair_values(compute_rdm(responses(20, 30, 4), "mahalanobis")).mean() > 2


def test_crossnobis_finds_the_true_distance():
    rng = np.random.default_rng(0)
    truth = rng.standard_normal((6, 5))
    mixing = np.linalg.cholesky(0.5 * np.eye(5) + 0.5)
    found = [
        compute_rdm(
            make_responses(truth + rng.standard_normal((4, 6, 5)) @ mixing.T, ids(6)), "crossnobis", shrinkage="none"
        )
        for _ in range(800)
    ]
    whitened = np.linalg.solve(mixing, truth.T).T
    # The inverse of a covariance estimated with d degrees of freedom is too large by d / (d - n_units - 1).
    expected = squareform(pdist(whitened, "sqeuclidean")) / 5 * 12 / (12 - 5 - 1)
    error = np.std(found, axis=0) / np.sqrt(800)
    assert np.abs(np.mean(found, axis=0) - expected).max() < 4 * error.max()


def test_ledoit_wolf_is_that_of_scikit_learn():
    from sklearn.covariance import ledoit_wolf

    for n_units in (5, 40):
        data = responses(8, n_units, 3)
        residuals = (data.values - data.values.mean(axis=0)).reshape(-1, n_units)
        expected, share = ledoit_wolf(residuals, assume_centered=True)
        found = noise_covariance(data, "ledoit-wolf")
        assert found.shrinkage == pytest.approx(share, abs=1e-12)
        np.testing.assert_allclose(found.matrix(), expected * 24 / 16, atol=1e-12)


def test_diagonal_shrinkage_is_that_of_schaefer_and_strimmer():
    """By the sums of the paper, entry by entry."""
    data = responses(30, 6, 2)
    residuals = (data.values - data.values.mean(axis=0)).reshape(-1, 6)
    n, dof = 60, 30
    z = residuals / np.sqrt((residuals**2).sum(axis=0) / dof)
    variance = squares = 0.0
    for i in range(6):
        for j in range(6):
            if i != j:
                w = z[:, i] * z[:, j]
                variance += n / dof**3 * np.sum((w - w.mean()) ** 2)
                squares += (w.sum() / dof) ** 2
    found = noise_covariance(data, "diagonal")
    assert found.shrinkage == pytest.approx(min(1, variance / squares), abs=1e-12)
    sample = residuals.T @ residuals / dof
    expected = (1 - found.shrinkage) * sample + found.shrinkage * np.diag(np.diag(sample))
    np.testing.assert_allclose(found.matrix(), expected, atol=1e-12)


@pytest.mark.parametrize("shrinkage", ["ledoit-wolf", "diagonal"])
def test_the_inverse_needs_no_matrix_of_units(shrinkage):
    data = responses(6, 50, 2)
    noise = noise_covariance(data, shrinkage)
    patterns = data.values[0]
    np.testing.assert_allclose(
        noise.kernel(patterns, patterns), patterns @ np.linalg.solve(noise.matrix(), patterns.T), rtol=1e-9
    )


def test_one_rdm_for_each_subject_in_order_of_appearance():
    data = responses(n_units=6, unit_info={"subject": ["s9", "s10", "s9", "s10", "s9", "s10"]})
    rdms = compute_rdms(data, "euclidean", by="subject")
    assert rdms["rdm"].values.tolist() == ["s9", "s10"]
    np.testing.assert_allclose(rdms.sel(rdm="s10").values, squareform(pdist(data.values[:, 1::2])))
    with pytest.raises(MeasureError, match="no coordinate 'subjects'; did you mean 'subject'"):
        compute_rdms(data, by="subjects")


def test_rdms_keep_the_source_the_names_and_the_categories():
    data = responses(stimulus_info={"category": list("aabbccddeeff")}, attrs={"source": "net"})
    rdms = compute_rdms(data, "euclidean")
    assert rdms["rdm"].values.tolist() == ["net"]
    assert rdms["category"].values.tolist() == list("aabbccddeeff")
    assert rdms["category"].dtype.kind == "U"
    assert compute_rdms(responses(), "euclidean")["rdm"].values.tolist() == [""]
    assert "category" not in compute_rdms(responses()).coords


def test_an_impossible_rdm_of_one_layer_names_the_layer():
    data = responses(n_units=3, unit_info={"layer": ["a", "a", "b"]}, attrs={"source": "net"})
    with pytest.raises(
        MeasureError, match=r"^layer b: net \(12 stimuli x 1 units\): a correlation distance needs at least 2 units"
    ):
        compute_rdms(data, by="layer")


def test_distances_below_one():
    data = responses(n_units=1, repetitions=3)
    mean = data.values.mean(axis=0)
    expected = np.abs(mean - mean.T) / np.sqrt(data.values.var(axis=0, ddof=1).mean())
    assert (expected < 0.9).sum() > 20
    np.testing.assert_allclose(compute_rdm(data, "mahalanobis", shrinkage="none"), expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(compute_rdm(data * 1e-3, "euclidean"), 1e-3 * np.abs(mean - mean.T), atol=1e-15)


def test_undefined_distances_name_the_stimulus():
    flat = responses().copy()
    flat.values[3] = 0
    with pytest.raises(MeasureError, match="alike to s3, so the correlation"):
        compute_rdm(flat)
    with pytest.raises(MeasureError, match="no unit responds to s3"):
        compute_rdm(flat, "cosine")
    missing = responses(repetitions=3)
    missing.values[1, 5, 2] = np.nan
    with pytest.raises(ResponseError, match="stimuli s5"):
        compute_rdm(missing, "euclidean")
    with pytest.raises(MeasureError, match="at least 2 repetitions, found 1"):
        compute_rdm(responses(), "crossnobis")
    silent = responses(repetitions=3)
    silent.values[:, :, 4] = silent.values[:1, :, 4]
    with pytest.raises(MeasureError, match="answer all repetitions alike, such as 4"):
        compute_rdm(silent, "mahalanobis")
    with pytest.raises(MeasureError, match="do not give the noise covariance of 30 units"):
        compute_rdm(responses(12, 30, 2), "crossnobis", shrinkage="none")
    with pytest.raises(MeasureError, match="without two stimuli, 10 degrees of freedom are left"):
        compute_rdm(responses(12, 11, 2), "crossnobis", shrinkage="none")
    with pytest.raises(MeasureError, match="no distance 'euclid'; did you mean 'euclidean'"):
        compute_rdm(responses(), "euclid")
    with pytest.raises(MeasureError, match="no shrinkage 'ledoit'"):
        compute_rdm(responses(repetitions=2), "crossnobis", shrinkage="ledoit")


def test_faulty_rdms_are_named():
    good = squareform(pdist(responses().values))
    rdms = make_rdms(np.stack([good, good]), ids(12), ["a", "b"])
    gap = rdms.copy()
    gap.values[:, 2] = gap.values[:, :, 2] = np.nan
    with pytest.raises(MeasureError, match="for the stimuli s2;"):
        check_rdms(gap)
    skewed = rdms.copy()
    skewed.values[1, 0, 1] += 1
    with pytest.raises(MeasureError, match="the RDM 'b' is not symmetric"):
        check_rdms(skewed)
    with pytest.raises(MeasureError, match="the RDM '0' is not zero on the diagonal"):
        make_rdms(1 - good, ids(12))
    with pytest.raises(MeasureError, match="names that occur once"):
        make_rdms(good, ["s0", *ids(11)])
    with pytest.raises(MeasureError, match="1 matrices of 11 x 11"):
        make_rdms(good, ids(11))
    with pytest.raises(MeasureError, match="the net lacks 's11'"):
        align_rdms(rdms, make_rdms(good[:11, :11], ids(11)), "the net")


def test_alignment_goes_by_id():
    good = squareform(pdist(responses().values))
    order = np.random.default_rng(1).permutation(12)
    shuffled = make_rdms(good[np.ix_(order, order)], [ids(12)[i] for i in order])
    np.testing.assert_array_equal(align_rdms(make_rdms(good, ids(12)), shuffled, "x").values[0], good)
