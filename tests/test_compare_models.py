"""Inference through one door: against rsatoolbox on the same samples, and by its error rates under the null."""

import numpy as np
import pytest
import rsatoolbox
from rsatoolbox.inference import evaluate
from rsatoolbox.util.inference_util import extract_variances, t_tests
from scipy.spatial.distance import pdist, squareform
from scipy.stats import pearsonr, spearmanr, t

from brainalign.errors import MeasureError, ResponseError
from brainalign.measures.compare_models import compare_models
from brainalign.measures.rdm import compute_rdms, make_rdms, pair_values
from brainalign.measures.rdm_compare import compare_rdms
from brainalign.measures.resampling import draw_counts, draw_orders
from brainalign.measures.result import COLUMNS
from brainalign.measures.score_inference import infer_scores
from brainalign.responses import make_responses
from brainalign.stats import adjust_p


def ids(n):
    return [f"s{i:02d}" for i in range(n)]


def study(n=16, n_subjects=4, seed=0):
    """Three models that share features with four subjects, the first more than the others."""
    rng = np.random.default_rng(seed)
    latent = rng.standard_normal((n, 6))

    def view(noise):
        return latent @ rng.standard_normal((6, 8)) + noise * rng.standard_normal((n, 8))

    models = {
        name: make_responses(
            np.hstack([view(x), view(2 * x)]), ids(n), unit_info={"layer": ["early"] * 8 + ["late"] * 8}
        )
        for name, x in (("good", 0.5), ("fair", 3.0))
    }
    models["flat"] = make_responses(view(4.0), ids(n))
    subjects = np.repeat([f"p{i}" for i in range(n_subjects)], 8)
    brain = make_responses(
        np.hstack([view(1.0) for _ in range(n_subjects)]),
        ids(n),
        unit_info={"subject": subjects},
        attrs={"source": "a brain"},
    )
    return models, brain


def scores(result):
    return result.table[~result.table["statistic"].str.startswith("difference")].reset_index(drop=True)


def differences(result):
    return result.table[result.table["statistic"].str.startswith("difference")].reset_index(drop=True)


class Recorded:
    """Lets rsatoolbox draw from given counts."""

    def __init__(self, monkeypatch, stimuli=None, subjects=None):
        self.draws = iter(zip(*(x for x in (subjects, stimuli) if x is not None), strict=True))
        both = stimuli is not None and subjects is not None

        def sample(data, *args, **kwargs):
            drawn = [np.repeat(np.arange(len(c)), c) for c in next(self.draws)]
            if subjects is not None:
                data = data.subsample("index", drawn[0])
            if stimuli is not None:
                data = data.subsample_pattern("index", drawn[-1])
            return data, *drawn

        name = "bootstrap_sample" if both else "bootstrap_sample_" + ("rdm" if stimuli is None else "pattern")
        monkeypatch.setattr(evaluate, name, sample)


def peers(models, brains):
    fixed = [rsatoolbox.model.ModelFixed(str(i), rsatoolbox.rdm.RDMs(m[None])) for i, m in enumerate(models)]
    return fixed, rsatoolbox.rdm.RDMs(brains)


@pytest.mark.parametrize(
    ("comparison", "name"), [("pearson", "corr"), ("spearman", "spearman"), ("whitened-cosine", "cosine_cov")]
)
@pytest.mark.parametrize("bootstrap", ["stimuli", "subjects", "both"])
def test_standard_errors_and_tests_are_those_of_rsatoolbox(bootstrap, comparison, name, monkeypatch):
    """On the same samples, but for its slips: means of samples as values (trap 3), p of exactly 0 (trap 10)."""
    models, brain = study()
    rdms = np.vstack(
        [pair_values(compute_rdms(m, by="layer" if "layer" in m.coords else None)) for m in models.values()]
    )
    brains = pair_values(compute_rdms(brain, by="subject"))
    rng = np.random.default_rng(3)
    draw_orders(16, 0, rng)
    stimuli = draw_counts(16, 60, rng) if bootstrap != "subjects" else None
    subjects = draw_counts(4, 60, rng) if bootstrap != "stimuli" else None
    Recorded(monkeypatch, stimuli, subjects)
    fixed, data = peers(rdms, brains)
    if bootstrap == "both":
        peer = evaluate.eval_dual_bootstrap(fixed, data, method=name, N=60)
    else:
        run = evaluate.eval_bootstrap_pattern if bootstrap == "stimuli" else evaluate.eval_bootstrap_rdm
        peer = run(fixed, data, method=name, N=60, boot_noise_ceil=bootstrap == "stimuli")
    found = compare_models(
        models, brain, comparison=comparison, bootstrap=bootstrap, n_bootstrap=60, n_permutations=0, seed=3
    )
    variance, between, _ = extract_variances(
        peer.variances,
        nc_included=bootstrap != "subjects",
        n_rdm=None if bootstrap == "stimuli" else 4,
        n_pattern=None if bootstrap == "subjects" else 16,
    )
    np.testing.assert_allclose(scores(found)["standard_error"] ** 2, variance, rtol=1e-10)
    order = [(i, j) for i in range(5) for j in range(i + 1, 5)]
    kept = [k for k, pair in enumerate(order) if pair not in ((0, 1), (2, 3))]
    table = differences(found)
    np.testing.assert_allclose(table["standard_error"] ** 2, between[kept], rtol=1e-10)
    # Their test, given the values of the data.
    values = compare_rdms(rdms, brains, comparison).mean(axis=1)
    theirs = t_tests(values[None], between, dof=15 if bootstrap == "stimuli" else 3)
    np.testing.assert_allclose(table["p"], [theirs[order[k]] for k in kept], atol=1e-12)
    np.testing.assert_allclose(table["value"], [values[i] - values[j] for i, j in (order[k] for k in kept)], atol=1e-12)


def test_values_are_of_the_data():
    """Trap 3: not the mean of bootstrap samples, which ties make smaller."""
    models, brain = study()
    found = scores(compare_models(models, brain, n_bootstrap=50, n_permutations=0))
    rdms = compute_rdms(models["fair"], by="layer")
    expected = compare_rdms(pair_values(rdms), pair_values(compute_rdms(brain, by="subject"))).mean(axis=1)
    np.testing.assert_allclose(found["value"][2:4], expected, atol=1e-12)
    assert list(found["layer"]) == ["early", "late", "early", "late", ""]


def test_the_table():
    models, brain = study()
    found = compare_models(models, brain, n_bootstrap=100, n_permutations=99)
    assert list(found.table.columns[: len(COLUMNS)]) == list(COLUMNS)
    one, two = scores(found), differences(found)
    assert len(one) == 5
    assert len(two) == 8  # pairs of different models
    assert not (two["model"] == two["model_2"]).any()
    assert one.loc[one["value"].idxmax(), "model"] == "good"
    np.testing.assert_allclose(one["p_adjusted"], adjust_p(one["p"]))
    np.testing.assert_allclose(two["p_adjusted"], adjust_p(two["p"]))
    assert one["p"].min() == 0.01
    assert (one["ceiling_lower"] < one["ceiling_upper"]).all()
    assert two["ceiling_lower"].isna().all()
    assert one["chance"].abs().max() < 0.1
    half = t.ppf(0.975, 15) * one["standard_error"]
    np.testing.assert_allclose(one["ci_high"] - one["value"], half)
    assert set(one["n_of"]) == {"stimuli"}
    assert found.arrays["subject_scores"].sizes == {"rdm": 5, "subject": 4}
    assert "one-sided permutation" in found.settings["test_of_scores"]
    assert "equally good over new stimuli" in found.settings["test_of_differences"]
    assert found.warnings == []
    again = compare_models(models, brain, n_bootstrap=100, n_permutations=99)
    assert found.table.equals(again.table)


def test_order_of_stimuli_does_not_matter():
    models, brain = study()
    shuffled = {n: m.isel(stimulus=np.random.default_rng(0).permutation(16)) for n, m in models.items()}
    one, two = (compare_models(m, brain, n_bootstrap=30, n_permutations=30).table for m in (models, shuffled))
    np.testing.assert_allclose(one[["value", "ci_low"]], two[["value", "ci_low"]], atol=1e-12)


def test_rdms_do_as_well_as_responses():
    models, brain = study()
    given = {name: compute_rdms(m, by="layer" if "layer" in m.coords else None) for name, m in models.items()}
    one = compare_models(models, brain, n_bootstrap=30, n_permutations=30).table
    two = compare_models(given, compute_rdms(brain, by="subject"), n_bootstrap=30, n_permutations=30).table
    assert one.drop(columns="brain").equals(two.drop(columns="brain"))
    stacked = compare_models(given["good"], compute_rdms(brain, by="subject"), n_bootstrap=0, n_permutations=0).table
    assert stacked["model"].tolist() == ["early", "late", "early"]


def test_layers_and_controls():
    models, brain = study()
    found = compare_models(models, brain, layers={"good": "late", "fair": "late"}, n_bootstrap=30, n_permutations=30)
    assert scores(found)["layer"].tolist() == ["late", "late", ""]
    partial = compare_models(models, brain, controls=["flat"], n_bootstrap=100, n_permutations=30)
    rows = scores(partial)
    control = pair_values(compute_rdms(models["flat"]))
    own, brains = pair_values(compute_rdms(models["good"], by="layer")), pair_values(compute_rdms(brain, by="subject"))
    np.testing.assert_allclose(
        rows["value"][:2], compare_rdms(own, brains, "spearman", controls=control).mean(axis=1), atol=1e-12
    )
    assert "flat" not in set(rows["model"])
    assert rows["standard_error"].between(0.005, 0.3).all()
    alone = compare_models({"good": models["good"]}, brain, n_bootstrap=30, n_permutations=0)
    assert differences(alone)["layer_2"].tolist() == ["late"]


def test_crossnobis_beside_a_model_without_noise():
    rng = np.random.default_rng(0)
    latent = rng.standard_normal((12, 5))
    brain = make_responses(latent + 0.5 * rng.standard_normal((3, 12, 5)), ids(12))
    model = make_responses(latent, ids(12))
    found = compare_models(
        {"m": model}, brain, distance="crossnobis", comparison="whitened-cosine", n_bootstrap=30, n_permutations=99
    )
    assert found.settings["distance_of_models"] == "squared-euclidean"
    assert scores(found)["value"].item() > 0.8
    assert scores(found)["p"].item() == 0.01


def test_one_subject_has_no_ceiling_and_it_is_said():
    """Trap 10."""
    models, brain = study(n_subjects=1)
    found = compare_models(models, brain.drop_vars("subject"), n_bootstrap=30, n_permutations=0)
    assert found.table["ceiling_upper"].isna().all()
    assert "there is no noise ceiling" in found.warnings[0]
    with pytest.raises(MeasureError, match="at least 2 subjects, found 1; use bootstrap='stimuli'"):
        compare_models(models, brain, bootstrap="both")


def test_equal_models_do_not_differ():
    models, brain = study()
    twin = {"a": models["good"], "b": 3 * models["good"]}
    table = differences(compare_models(twin, brain, layers={"a": "late", "b": "late"}, n_bootstrap=30))
    assert table["p"].item() == 1
    assert table["value"].item() == pytest.approx(0, abs=1e-12)


def test_samples_without_differences_are_counted():
    """A model of two categories is constant where a sample has one of them only."""
    rng = np.random.default_rng(0)
    category = np.repeat([0.0, 1.0], [1, 7])[:, None]
    model = make_rdms(squareform(pdist(category)), ids(8), ["categories"])
    brain = make_rdms(squareform(pdist(np.hstack([category, rng.standard_normal((8, 3))]))), ids(8))
    found = compare_models(model, brain, n_bootstrap=200, n_permutations=0)
    assert "bootstrap samples left an RDM without differences" in found.warnings[1]
    assert np.isfinite(found.table["standard_error"]).all()


def test_bad_input():
    models, brain = study()
    with pytest.raises(MeasureError, match="good lacks 's15'"):
        compare_models({"good": models["good"].isel(stimulus=slice(15))}, brain)
    with pytest.raises(MeasureError, match="at least 6 stimuli, found 5"):
        compare_models(models, brain.isel(stimulus=slice(5)))
    with pytest.raises(MeasureError, match="no model 'fiar' to control for; did you mean 'fair'"):
        compare_models(models, brain, controls=["fiar"])
    with pytest.raises(MeasureError, match="all models are controls"):
        compare_models({"fair": models["fair"]}, brain, controls=["fair"])
    with pytest.raises(MeasureError, match="which is no model; did you mean 'good'"):
        compare_models(models, brain, layers={"goood": "late"})
    with pytest.raises(ResponseError, match="no unit has layer = 'last'"):
        compare_models(models, brain, layers={"good": "last"})
    with pytest.raises(MeasureError, match="no bootstrap 'stimulus'; did you mean 'stimuli'"):
        compare_models(models, brain, bootstrap="stimulus")
    with pytest.raises(MeasureError, match="there is no model to compare"):
        compare_models({}, brain)
    with pytest.raises(MeasureError, match="the controls leave nothing of the RDM of a/early, a/late, or of"):
        compare_models({"a": models["good"], "b": 2 * models["good"]}, brain, controls=["b"], n_bootstrap=0)
    even = make_rdms(1 - np.eye(16), ids(16), ["even"])
    with pytest.raises(MeasureError, match="all distances are the same in the RDM of even"):
        compare_models(even, brain)
    flat = brain.copy(data=np.where(brain["stimulus"].values[:, None] == "s04", 2.0, brain.values))
    with pytest.raises(MeasureError, match=r"subject p0: .* alike to s04"):
        compare_models(models, flat)


N_SIMULATIONS = 2000


def rejected(p):
    """Say whether p at 5 % rejects between 3 and 7 %."""
    share = float((np.asarray(p) <= 0.05).mean())
    assert 0.03 <= share <= 0.07, share


def null_pair(seed, bootstrap, n, n_subjects):
    """Two models that are equally good over what is resampled: each knows one half of what the brain represents."""
    rng = np.random.default_rng(seed)
    if bootstrap == "subjects":
        # The second half is the first with the stimuli exchanged: equally good for these very stimuli.
        left = rng.standard_normal((n // 2, 8))
        features = np.vstack([left, left[:, [4, 5, 6, 7, 0, 1, 2, 3]]])
    else:
        features = rng.standard_normal((n, 8))
    brains = []
    for _ in range(n_subjects):
        gain = 1.0 if bootstrap == "stimuli" else np.exp(0.5 * rng.standard_normal())
        scale = np.repeat([np.sqrt(gain), 1 / np.sqrt(gain)], 4)
        brains.append(pdist(np.hstack([features * scale, np.zeros((n, 8))]) + rng.standard_normal((n, 16))))
    return np.array([pdist(features[:, :4]), pdist(features[:, 4:])]), np.array(brains)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("bootstrap", "comparison", "n", "n_subjects"),
    [
        ("stimuli", "pearson", 30, 3),
        ("stimuli", "spearman", 30, 3),
        ("stimuli", "whitened-pearson", 30, 3),
        ("subjects", "pearson", 20, 8),
        ("both", "pearson", 30, 16),
    ],
)
def test_differences_reject_equal_models_at_their_level(bootstrap, comparison, n, n_subjects):
    rejected(
        [
            infer_scores(
                *null_pair(seed, bootstrap, n, n_subjects),
                comparison,
                pairs=[(0, 1)],
                bootstrap=bootstrap,
                n_bootstrap=200,
                n_permutations=0,
                seed=seed,
            ).p[2]
            for seed in range(N_SIMULATIONS)
        ]
    )


@pytest.mark.slow
@pytest.mark.parametrize("comparison", ["pearson", "spearman", "rho-a", "cosine", "whitened-cosine", "tau-a"])
def test_scores_reject_unrelated_models_at_their_level(comparison):
    """Trap 8: also for a cosine, whose chance is far from 0."""
    p = []
    for seed in range(N_SIMULATIONS):
        rng = np.random.default_rng(seed)
        model, *brains = (pdist(rng.standard_normal((12, 3))) for _ in range(3))
        p.append(
            infer_scores(model[None], np.array(brains), comparison, n_bootstrap=0, n_permutations=39, seed=seed).p[0]
        )
    rejected(p)


@pytest.mark.slow
def test_partial_scores_reject_models_that_know_the_control_only():
    p, plain = [], []
    for seed in range(N_SIMULATIONS):
        rng = np.random.default_rng(seed)
        control = rng.standard_normal((20, 4))
        model, brain = (pdist(np.hstack([control, rng.standard_normal((20, 4))]))[None] for _ in range(2))
        one = {"n_bootstrap": 0, "n_permutations": 39, "seed": seed}
        p.append(infer_scores(model, brain, "pearson", controls=pdist(control)[None], **one).p[0])
        if seed < 100:
            plain.append(infer_scores(model, brain, "pearson", **one).p[0])
    assert (np.array(plain) <= 0.05).mean() > 0.5
    rejected(p)


@pytest.mark.slow
def test_pairs_are_not_independent():
    """Trap 4: a p from the 435 pairs of 30 stimuli rejects 31 % of null cases."""
    p = []
    for seed in range(500):
        rng = np.random.default_rng(seed)
        one, two = (pdist(rng.standard_normal((30, 3))) for _ in range(2))
        p.append(spearmanr(one, two).pvalue)
    assert (np.array(p) <= 0.05).mean() == pytest.approx(0.31, abs=0.07)


@pytest.mark.slow
def test_bootstrap_finds_the_spread_of_scores():
    """Trap 4: the spread over draws of stimuli, which 1 / sqrt(pairs) makes half as large."""
    values, errors = [], []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        one, two = (pdist(rng.standard_normal((30, 3)))[None] for _ in range(2))
        values.append(pearsonr(one[0], two[0]).statistic)
        errors.append(infer_scores(one, two, "pearson", n_bootstrap=100, n_permutations=0, seed=seed).error[0])
    true = np.std(values)
    assert np.mean(errors) == pytest.approx(true, rel=0.15)
    assert 1 / np.sqrt(435) < 0.6 * true
