"""RSA against rsatoolbox, scipy, brute-force resampling and expectation on noise."""

import warnings
from functools import partial
from importlib import import_module

import numpy as np
import pytest
from scipy.spatial.distance import pdist, squareform
from scipy.stats import spearmanr

from brainalign.errors import MeasureError, ResponseError
from brainalign.measures.compare_models import compare_models
from brainalign.measures.encoding import component_encoding
from brainalign.measures.rdm import correlation_rdm
from brainalign.measures.rdm_inference import weighted_scores
from brainalign.measures.rsa import rsa
from brainalign.measures.similarity import similarity
from brainalign.measures.voxel_encoding import voxel_encoding
from brainalign.responses import make_responses


def responses(n=20, n_units=12, seed=0, mix=None, share=0.0, **kwargs):
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((n, n_units)) * rng.uniform(0.5, 2, n_units)
    if mix is not None:
        values = (1 - share) * values + share * mix @ rng.standard_normal((mix.shape[1], n_units))
    return make_responses(values, [f"s{i}" for i in range(n)], **kwargs)


class ReachedError(Exception):
    """The computation has begun."""


@pytest.mark.parametrize(("n", "n_bootstrap", "warns"), [(1000, 20, False), (1001, 20, True), (1001, 0, False)])
def test_an_interval_of_many_stimuli_is_warned_of_before_it_is_computed(monkeypatch, n, n_bootstrap, warns):
    def begin(*_: object) -> None:
        raise ReachedError

    monkeypatch.setattr(import_module("brainalign.measures.rsa"), "compute_rdm", begin)
    data = responses(n, 2)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with pytest.raises(ReachedError):
            rsa(data, data, n_bootstrap=n_bootstrap)
    said = "RSA with an interval leaves out each of the 1,001 stimuli in turn, which may take hours; n_bootstrap = 0 "
    assert [str(w.message) for w in caught] == [said + "leaves the interval away"] * warns


def test_rdm_equals_scipy_and_rsatoolbox():
    import rsatoolbox

    data = responses()
    rdm = correlation_rdm(data)
    np.testing.assert_allclose(rdm, squareform(pdist(data.values, "correlation")), atol=1e-12)
    peer = rsatoolbox.rdm.calc_rdm(rsatoolbox.data.Dataset(data.values), method="correlation")
    np.testing.assert_allclose(rdm, peer.get_matrices()[0], atol=1e-12)


def test_rsa_equals_rsatoolbox_and_scipy():
    import rsatoolbox

    brain = responses(seed=1)
    model = responses(seed=2, mix=brain.values, share=0.6)
    value = rsa(model, brain, n_permutations=0, n_bootstrap=0).table["value"].item()
    rdms = [rsatoolbox.rdm.calc_rdm(rsatoolbox.data.Dataset(r.values), method="correlation") for r in (model, brain)]
    assert value == pytest.approx(rsatoolbox.rdm.compare(*rdms, method="spearman").item(), abs=1e-12)
    pairs = [r.get_vectors()[0] for r in rdms]
    assert value == pytest.approx(spearmanr(*pairs).statistic, abs=1e-12)


def test_weighted_ranks_are_ranks_of_copies():
    """Pair weights give the correlation of the resampled RDM without the zero distances of copies (traps 1 and 2)."""
    rng = np.random.default_rng(0)
    n = 12
    # Rounded, so that there are ties.
    rdms = np.round(rng.random((3, n, n)), 1)
    rdms = rdms + rdms.transpose(0, 2, 1)
    pairs = np.triu_indices(n, 1)
    counts = rng.multinomial(n, np.full(n, 1 / n), size=15)
    weighted = weighted_scores(rdms[1:, *pairs], rdms[:1, *pairs], counts)[:, :, 0]
    for c, row in zip(counts, weighted, strict=True):
        drawn = np.repeat(np.arange(n), c)
        i, j = np.triu_indices(n, 1)
        different = drawn[i] != drawn[j]
        i, j = drawn[i[different]], drawn[j[different]]
        expected = [spearmanr(rdms[0][i, j], rdm[i, j]).statistic for rdm in rdms[1:]]
        np.testing.assert_allclose(row, expected, atol=1e-12)


def test_identical_geometry_is_one_and_significant():
    brain = responses()
    model = make_responses(3 * brain.values + 1, brain["stimulus"].values)
    row = rsa(model, brain, n_permutations=99, n_bootstrap=100).table.iloc[0]
    assert row["value"] == pytest.approx(1)
    assert row["p"] == 0.01


def test_each_layer_is_compared_by_itself():
    brain = responses(seed=1)
    near, far = responses(seed=2, mix=brain.values, share=0.9), responses(seed=3)
    model = make_responses(
        np.hstack([far.values, near.values]),
        brain["stimulus"].values,
        unit_info={"layer": ["early"] * 12 + ["late"] * 12},
        attrs={"source": "net"},
    )
    table = rsa(model, brain, n_permutations=199, n_bootstrap=200).table.set_index("layer")
    assert table.loc["late", "value"] > table.loc["early", "value"]
    alone = rsa(near, brain, n_permutations=0, n_bootstrap=0).table["value"].item()
    assert table.loc["late", "value"] == pytest.approx(alone)
    assert ((table["ci_low"] < table["value"]) & (table["value"] < table["ci_high"])).all()


def test_order_of_rows_does_not_matter():
    brain, model = responses(seed=1), responses(seed=2)
    shuffled = model.isel(stimulus=np.random.default_rng(0).permutation(20))
    one, two = (rsa(m, brain, n_permutations=50, n_bootstrap=50).table for m in (model, shuffled))
    np.testing.assert_allclose(one[["value", "p", "ci_low"]], two[["value", "p", "ci_low"]])


@pytest.mark.slow
def test_p_rejects_noise_at_its_level():
    """Few features make pairs dependent: a p from pairs would reject a third of null cases (trap 4)."""
    p = [
        rsa(
            responses(n=16, n_units=3, seed=2 * s),
            responses(n=16, n_units=3, seed=2 * s + 1),
            n_permutations=59,
            n_bootstrap=0,
            seed=s,
        )
        .table["p"]
        .item()
        for s in range(1000)
    ]
    rejected = (np.array(p) <= 0.05).mean()
    assert abs(rejected - 0.05) < 3 * np.sqrt(0.05 * 0.95 / 1000), rejected


@pytest.mark.slow
def test_interval_covers_the_value_of_many_stimuli():
    """The interval from 40 stimuli covers, in about its share of draws, the value of a very large set."""
    rng = np.random.default_rng(0)
    mixing = rng.standard_normal((2, 6, 25))

    def draw(n, rng):
        latent = rng.standard_normal((n, 6))
        ids = [f"s{i}" for i in range(n)]
        return [make_responses(latent @ m + 1.5 * rng.standard_normal((n, 25)), ids) for m in mixing]

    truth = rsa(*draw(1500, rng), n_permutations=0, n_bootstrap=0).table["value"].item()
    tables = [rsa(*draw(40, rng), n_permutations=0, n_bootstrap=300, seed=s).table.iloc[0] for s in range(200)]
    covered = np.mean([t["ci_low"] <= truth <= t["ci_high"] for t in tables])
    # Bootstrapped RDM correlations are known to cover a little less than they say; see the docstring.
    assert 0.88 < covered < 0.99, covered


def test_bad_input_is_named():
    brain = responses()
    with pytest.raises(MeasureError, match="at least 2 units"):
        rsa(brain, brain.isel(unit=[0]))
    with pytest.raises(MeasureError, match="at least 6 stimuli"):
        rsa(brain.isel(stimulus=slice(5)), brain.isel(stimulus=slice(5)))
    with pytest.raises(ResponseError, match="lacks 's19'"):
        rsa(brain.isel(stimulus=slice(19)), brain)
    flat = brain.copy(data=np.where(brain["stimulus"].values[:, None] == "s4", 2.0, brain.values))
    with pytest.raises(MeasureError, match="s4"):
        rsa(flat, brain)


def as_compared(model, brain, **options):
    return compare_models({"net": model}, brain, **options)


def as_similar(model, brain, n_permutations, **_):
    return similarity(model, brain, n_permutations=n_permutations)


def of_voxels(model, brain, n_permutations, n_bootstrap, **folds):
    return voxel_encoding(model, brain, n_permutations=n_permutations, n_bootstrap=0, **folds)


def test_limits_and_p_do_not_depend_on_the_order_of_sounds():
    """Draws belong to the ids of the sounds."""
    rng = np.random.default_rng(4)
    ids = [f"s{i}" for i in range(24)]
    info = {"layer": ["one"] * 5}
    model = make_responses(rng.normal(size=(24, 5)), ids, list("abcde"), unit_info=info)
    brain = make_responses(rng.normal(size=(24, 4)) + model.values[:, :4], ids, list("vwxy"))
    options = {"n_bootstrap": 60, "n_permutations": 50}
    folds = {"splits": "kfold", "n_splits": 3}
    for measure in (partial(component_encoding, **folds), rsa, as_compared, as_similar, partial(of_voxels, **folds)):
        there = measure(model, brain, **options).table
        back = measure(model[::-1], brain[rng.permutation(24)], **options).table
        columns = ["value", "ci_low", "ci_high", "p"]
        np.testing.assert_allclose(there[columns], back[columns], atol=1e-12)
