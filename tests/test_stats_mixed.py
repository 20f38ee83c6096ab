"""Mixed models against the analysis of variance, planted effects, and expectation on noise."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats as scipy_stats

from brainalign.errors import MeasureError
from brainalign.stats import mixed_model


def crossed(
    seed: int,
    n_networks: int = 10,
    n_stimuli: int = 30,
    *,
    sd_network: float = 0.5,
    sd_stimulus: float = 0.7,
    category: float = 0.0,
    condition: float = 0.0,
) -> pd.DataFrame:
    """All networks hear all stimuli; half of the stimuli are music, half of the networks music-trained."""
    rng = np.random.default_rng(seed)
    network, stimulus = np.divmod(np.arange(n_networks * n_stimuli), n_stimuli)
    music, trained = stimulus % 2 == 0, network % 2 == 0
    response = (
        2.0
        + category * music
        + condition * trained
        + rng.normal(0, 1, n_networks)[network] * sd_network
        + rng.normal(0, 1, n_stimuli)[stimulus] * sd_stimulus
        + rng.normal(0, 1, n_networks * n_stimuli)
    )
    return pd.DataFrame(
        {
            "response": response,
            "network": [f"net{i}" for i in network],
            "stimulus id": [f"sound{i}" for i in stimulus],
            "music": music.astype(float),
            "trained": trained.astype(float),
            "category": np.where(music, "music", "other"),
        }
    )


def fit(table: pd.DataFrame, formula: str, **options) -> pd.DataFrame:
    options = {"random": ["network", "stimulus id"]} | options
    return mixed_model(table, formula, **options).set_index("term")


def test_balanced_design_equals_analysis_of_variance():
    """With a balanced crossed design REML is the analysis of variance, in closed form."""
    table = crossed(1)
    square = table["response"].to_numpy().reshape(10, 30)
    mean, by_network, by_stimulus = square.mean(), square.mean(1), square.mean(0)
    residual = square - by_network[:, None] - by_stimulus + mean
    ms_residual = (residual**2).sum() / (9 * 29)
    ms_network, ms_stimulus = 30 * by_network.var(ddof=1), 10 * by_stimulus.var(ddof=1)
    found = fit(table, "response ~ 1")
    assert found.loc["residual", "estimate"] == pytest.approx(ms_residual, rel=1e-3)
    assert found.loc["network", "estimate"] == pytest.approx((ms_network - ms_residual) / 30, rel=1e-3)
    assert found.loc["stimulus id", "estimate"] == pytest.approx((ms_stimulus - ms_residual) / 10, rel=1e-3)
    intercept = found.loc["Intercept"]
    se = np.sqrt((ms_network + ms_stimulus - ms_residual) / 300)
    assert intercept.estimate == pytest.approx(mean, rel=1e-9)
    assert intercept.se == pytest.approx(se, rel=1e-3)
    assert intercept.ci_low == pytest.approx(mean - 1.959964 * se, rel=1e-3)
    assert intercept.ci_high == pytest.approx(mean + 1.959964 * se, rel=1e-3)
    narrow = fit(table, "response ~ 1", level=0.8).loc["Intercept"]
    assert (narrow.ci_low, narrow.ci_high) == pytest.approx((mean - 1.281552 * se, mean + 1.281552 * se), rel=1e-3)
    assert found["kind"].tolist() == ["fixed", "variance", "variance", "variance"]
    assert found["n_of"].tolist() == ["rows", "rows", "network", "stimulus id"]
    assert intercept.z == pytest.approx(mean / se, rel=1e-3)
    assert found["n"].to_dict() == {
        "Intercept": 300,
        "residual": 300,
        "network": 10,
        "stimulus id": 30,
    }
    assert found["converged"].all()


def test_an_effect_between_stimuli_is_tested_against_stimuli():
    """Its z is the t of the stimulus means: the networks do not add observations."""
    table = crossed(2, category=1.0)
    by_stimulus = table.groupby("stimulus id")[["response", "music"]].mean()
    music, other = (by_stimulus["response"][by_stimulus["music"] == m] for m in (1, 0))
    row = fit(table, "response ~ music").loc["music"]
    judge = scipy_stats.ttest_ind(music, other)
    assert row.estimate == pytest.approx(music.mean() - other.mean(), rel=1e-9)
    assert row.z == pytest.approx(judge.statistic, rel=1e-3)
    assert row.p == pytest.approx(2 * scipy_stats.norm.sf(judge.statistic), rel=0.02)


@pytest.mark.parametrize("empty", ["sd_network", "sd_stimulus"])
def test_fits_with_a_variance_of_zero_reach_the_optimum(empty):
    """No other pair of variances on a grid has a higher likelihood, and the fit converges."""
    from scipy.stats import multivariate_normal

    table = crossed(6, n_networks=5, n_stimuli=12, **{empty: 0.0})
    found = fit(table, "response ~ 1", reml=False)
    assert found["converged"].all()
    networks, stimuli = (pd.get_dummies(table[c]).to_numpy(float) for c in ("network", "stimulus id"))

    def likelihood(mean, residual, network, stimulus):
        cov = residual * np.eye(60) + network * networks @ networks.T
        cov = cov + stimulus * stimuli @ stimuli.T
        return multivariate_normal(np.full(60, mean), cov).logpdf(table["response"])

    at = found["estimate"]
    best = likelihood(at["Intercept"], at["residual"], at["network"], at["stimulus id"])
    for network in np.linspace(0, 0.8, 9):
        for stimulus in np.linspace(0, 1.6, 9):
            for residual in (0.8, 0.9, 1, 1.1, 1.2):
                residual = residual * at["residual"]
                assert likelihood(at["Intercept"], residual, network, stimulus) < best + 1e-4


def test_planted_effects_are_recovered():
    """Over 40 data sets the mean estimate is the planted one, within its standard error."""
    fits = [fit(crossed(100 + s, category=0.8, condition=-0.4), "response ~ music + trained") for s in range(40)]
    for term, planted in (("music", 0.8), ("trained", -0.4)):
        estimates = np.array([f.loc[term, "estimate"] for f in fits])
        assert abs(estimates.mean() - planted) < 3 * estimates.std(ddof=1) / np.sqrt(40)
    variances = pd.concat([f.loc[["network", "stimulus id", "residual"], "estimate"] for f in fits])
    mean = variances.groupby(level=0).mean()
    assert mean["residual"] == pytest.approx(1, abs=0.05)
    assert mean["stimulus id"] == pytest.approx(0.49, abs=0.08)
    assert mean["network"] == pytest.approx(0.25, abs=0.08)


def test_groups_are_the_same_model_as_one_component():
    table = crossed(3, sd_stimulus=0.0)
    as_groups = fit(table, "response ~ music", random=[], groups="network")
    as_component = fit(table, "response ~ music", random=["network"])
    for column in ("estimate", "se"):
        np.testing.assert_allclose(as_groups[column], as_component.loc[as_groups.index, column], rtol=1e-3)


def test_components_nested_in_groups():
    """Sessions within networks: nested analysis of variance in closed form."""
    network, session, _ = np.indices((12, 4, 5)).reshape(3, -1)
    rng = np.random.default_rng(9)
    response = rng.normal(0, 1, 12)[network] + rng.normal(0, 0.8, 48)[4 * network + session] + rng.normal(size=240)
    # Sessions are named anew in each network.
    table = pd.DataFrame({"response": response, "network": network, "session": session})
    found = fit(table, "response ~ 1", random=["session"], groups="network")["estimate"]
    cells = response.reshape(12, 4, 5)
    ms_residual = cells.var(axis=2, ddof=1).mean()
    ms_session = 5 * cells.mean(2).var(axis=1, ddof=1).mean()
    ms_network = 20 * cells.mean((1, 2)).var(ddof=1)
    assert found["residual"] == pytest.approx(ms_residual, rel=1e-3)
    assert found["session"] == pytest.approx((ms_session - ms_residual) / 5, rel=1e-3)
    assert found["network"] == pytest.approx((ms_network - ms_session) / 20, rel=1e-3)


def test_random_slopes_by_formula():
    """Slopes of music that differ between networks become a component of their own."""
    table = crossed(4, n_networks=30)
    slopes = np.random.default_rng(0).normal(0, 1.5, 30)
    table["response"] += slopes[np.repeat(np.arange(30), 30)] * table["music"]
    random = {
        "network": "0 + C(network)",
        "slope": "0 + C(network):music",
        "sound": "0 + C(Q('stimulus id'))",
    }
    found = fit(table, "response ~ music", random=random)
    assert found.loc["slope", "estimate"] == pytest.approx(slopes.var(ddof=1), rel=0.2)
    assert found.loc["slope", "n"] == 30
    assert found.loc["music", "se"] > np.sqrt(slopes.var(ddof=1) / 30)


def test_rows_with_repeated_labels_are_counted_once():
    """A table put together from parts has an index with repeats."""
    table = crossed(5)
    parts = pd.concat([table.iloc[:100].reset_index(), table.iloc[100:].reset_index()])
    assert not parts.index.is_unique
    pd.testing.assert_frame_equal(fit(parts, "response ~ category"), fit(table, "response ~ category"))


def test_reference_level():
    table = crossed(5, category=1.0)
    found = fit(table, "response ~ C(category, Treatment(reference='other'))")
    assert found.index[1].endswith("[T.music]")
    assert found["estimate"].iloc[1] == pytest.approx(-fit(table, "response ~ category")["estimate"].iloc[1])


def test_a_fit_that_does_not_converge_says_so(monkeypatch):
    """Stop the search after two steps."""
    from statsmodels.regression.mixed_linear_model import MixedLM

    full = MixedLM.fit
    monkeypatch.setattr(MixedLM, "fit", lambda self, reml, method: full(self, reml=reml, method=method, maxiter=2))
    found = fit(crossed(5), "response ~ music")
    assert not found["converged"].any()
    assert found["note"].str.startswith("the fit did not converge").all()


@pytest.mark.parametrize(
    ("formula", "options", "message"),
    [
        ("response ~ musik", {}, "no column 'musik'; did you mean 'music'"),
        ("response ~ Q('stimulus')", {}, "no column 'stimulus'; did you mean 'stimulus id'"),
        ("response ~ music", {"random": ["net"]}, "no column 'net'"),
        ("response ~ music", {"groups": "subject"}, "no column 'subject'"),
        ("response ~ music", {"random": "network"}, "random must be a list"),
        ("response ~ music", {"random": []}, "needs a random effect"),
        ("response ~ holes", {}, "missing values: 2 in 'holes'"),
        ("response ~ (", {}, "cannot be fitted"),
        ("response ~ music + copy", {}, "cannot be fitted: .*[Ss]ingular"),
        ("category ~ music", {}, "cannot be fitted"),
        ("response ~ music", {"level": 95}, "between 0 and 1"),
    ],
)
def test_bad_input_is_an_error_that_says_so(formula, options, message):
    table = crossed(0)
    table["holes"] = table["music"].where(table.index > 1)
    table["copy"] = table["music"]
    with pytest.raises(MeasureError, match=message):
        fit(table, formula, **options)


@pytest.mark.parametrize(
    "term",
    [
        "__import__('os').system('touch {made}')",
        "open('{made}', 'w')",
        "music.to_csv('{made}')",
        "music . to_csv('{made}')",
        "1.0.real",
        "music[0]",
        "(lambda: music)()",
        'C(f"{{open(1)}}")',
        "C(music, 'a\\'b')",
    ],
)
def test_a_formula_cannot_run_code(term, tmp_path):
    """A recipe from elsewhere is data."""
    made = tmp_path / "made"
    table = crossed(0).assign(f=1.0)
    with pytest.raises(MeasureError, match=r"not allowed|no column"):
        fit(table, "response ~ music + " + term.format(made=made.name))
    with pytest.raises(MeasureError, match=r"not allowed|no column"):
        fit(table, "response ~ music", random={"part": term.format(made=made.name)})
    assert not made.exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("term", "df"),
    [("music", 18), ("trained", 8)],
    ids=["between 20 stimuli", "between 10 networks"],
)
def test_null_rejection_is_that_of_a_t_taken_for_z(term, df):
    """Wald's z is the t of the balanced design, so it rejects P(|t| > 1.96) of null cases."""
    n_simulations = 500
    p = [fit(crossed(1000 + s, n_stimuli=20), f"response ~ {term}").loc[term, "p"] for s in range(n_simulations)]
    rejected, expected = np.mean(np.array(p) < 0.05), 2 * scipy_stats.t.sf(1.959964, df)
    assert abs(rejected - expected) < 3 * np.sqrt(expected * (1 - expected) / n_simulations)
