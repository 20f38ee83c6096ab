"""Effective dimensionality against known spectra, the released formula and simulated coverage."""

import numpy as np
import pytest
from scipy.stats import ortho_group

from brainalign.errors import MeasureError, ResponseError
from brainalign.measures.dimensionality import dimensionality, effective_dimensionality
from brainalign.recipes.options import check_options
from brainalign.responses import make_responses


def released(x, zscore=False):
    """The formula of Tuckute et al. (2023) as they ran it: np.cov of (stimuli, units) takes stimuli for variables."""
    x = x - x.mean(axis=0)
    if zscore:
        x = x / x.std(axis=0)
    values = np.linalg.eigvals(np.cov(x)).real
    return values.sum() ** 2 / (values**2).sum()


def sample(n=40, p=12, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, p)) * np.linspace(3, 0.3, p) + 5 + rng.standard_normal((n, 1))


class TestParticipationRatio:
    @pytest.mark.parametrize("p", [12, 300])
    def test_is_that_of_the_covariance_over_stimuli(self, p):
        x = sample(p=p)
        values = np.linalg.eigvalsh(np.cov(x.T))
        assert effective_dimensionality(x) == pytest.approx(values.sum() ** 2 / (values**2).sum(), abs=1e-10)

    @pytest.mark.parametrize("dims", [1, 2, 7])
    def test_counts_equal_dimensions(self, dims):
        rng = np.random.default_rng(0)
        scores = np.linalg.qr(np.hstack([np.ones((30, 1)), rng.standard_normal((30, dims))]))[0][:, 1:]
        x = scores @ ortho_group.rvs(9, random_state=0)[:dims] + 4
        assert effective_dimensionality(x) == pytest.approx(dims, abs=1e-10)

    def test_independent_units_give_the_ratio_of_a_wishart_spectrum(self):
        """For n - 1 degrees of freedom and p unit variances: about p (n - 1) / (p + n)."""
        rng = np.random.default_rng(0)
        for n, p in [(165, 50), (165, 512), (60, 60)]:
            values = [effective_dimensionality(rng.standard_normal((n, p))) for _ in range(20)]
            assert np.mean(values) == pytest.approx(p * (n - 1) / (p + n), rel=0.01)

    @pytest.mark.parametrize("zscore", [False, True])
    def test_the_released_protocol_centres_twice(self, zscore):
        for p in (12, 300):
            x = sample(p=p)
            found = effective_dimensionality(x, protocol="tuckute2023", zscore=zscore)
            assert found == pytest.approx(released(x, zscore), abs=1e-9)
            assert abs(found - effective_dimensionality(x, zscore=zscore)) > 1e-3

    def test_invariances(self):
        x = sample()
        value = pytest.approx(effective_dimensionality(x), abs=1e-10)
        turn = ortho_group.rvs(12, random_state=0)
        assert effective_dimensionality(-2 * x @ turn + np.arange(12)) == value
        assert effective_dimensionality(x[np.random.default_rng(0).permutation(40)]) == value
        assert effective_dimensionality(x * np.arange(1, 13)) != value
        scaled = effective_dimensionality(x * np.arange(1, 13), zscore=True)
        assert scaled == pytest.approx(effective_dimensionality(x, zscore=True))

    def test_silent_units_count_for_nothing(self):
        x = np.hstack([sample(), np.full((40, 3), 0.1)])
        assert effective_dimensionality(x) == pytest.approx(effective_dimensionality(sample()))
        assert effective_dimensionality(x, zscore=True) == pytest.approx(
            effective_dimensionality(sample(), zscore=True)
        )

    def test_bad_input(self):
        with pytest.raises(MeasureError, match="no protocol 'tuckute'; did you mean 'tuckute2023'"):
            effective_dimensionality(sample(), protocol="tuckute")
        with pytest.raises(MeasureError, match="all units respond in the same way"):
            effective_dimensionality(sample()[:, [0, 0]], protocol="tuckute2023")
        with pytest.raises(MeasureError, match="all 2 units respond alike"):
            effective_dimensionality(np.full((5, 2), 0.1))

    @pytest.mark.realdata
    def test_real_activations(self, shared_data):
        """Features of a network for the 165 sounds: the released formula, and what it takes away."""
        x = np.load(shared_data / "oracles" / "tuckute_oracle.npz")["X"].astype(np.float64)
        alive = x[:, x.std(axis=0) > 0]
        assert effective_dimensionality(x, protocol="tuckute2023") == pytest.approx(released(x), rel=1e-9)
        assert effective_dimensionality(alive, protocol="tuckute2023", zscore=True) == pytest.approx(
            released(alive, zscore=True), rel=1e-9
        )
        values = np.linalg.eigvalsh(np.cov(x.T))
        assert effective_dimensionality(x) == pytest.approx(values.sum() ** 2 / (values**2).sum(), rel=1e-9)


def responses(sizes=(12, 40), n=40, **kwargs):
    values = np.hstack([sample(n, p, seed=p) for p in sizes])
    names = [f"layer{i}" for i, p in enumerate(sizes) for _ in range(p)]
    return make_responses(values, [f"s{i}" for i in range(n)], unit_info={"layer": names}, **kwargs)


class TestMeasure:
    @pytest.mark.parametrize("options", [{}, {"protocol": "tuckute2023"}, {"zscore": True}])
    def test_each_layer_by_itself(self, options):
        data = responses(attrs={"source": "net"})
        found = dimensionality(data, **options)
        for i, row in found.table.iterrows():
            own = data.values[:, data["layer"].values == f"layer{i}"]
            assert row["value"] == pytest.approx(effective_dimensionality(own, **options))
            assert 1 < row["ci_low"] < row["value"] < row["ci_high"] < row["maximum"]
        assert list(found.table["maximum"]) == [12, 39]
        assert set(found.table["model"]) == {"net"}
        shares = found.arrays["explained_variance"]
        np.testing.assert_allclose(shares.sum("component"), 1)
        np.testing.assert_allclose(1 / (shares**2).sum("component"), found.table["value"])

    def test_interval_is_a_jackknife(self):
        data = responses((12,))
        row = dimensionality(data, level=0.9).table.iloc[0]

        def logit(value):
            return np.log((value - 1) / (12 - value))

        without = [logit(effective_dimensionality(np.delete(data.values, i, axis=0))) for i in range(40)]
        error = np.sqrt(39 / 40 * np.sum((without - np.mean(without)) ** 2))
        # The 95th percentile of t with 39 degrees of freedom.
        assert (logit(row["ci_high"]) - logit(row["ci_low"])) / 2 == pytest.approx(1.684875 * error, rel=1e-5)

    def test_a_brain_and_a_single_unit(self):
        brain = make_responses(sample(), [f"s{i}" for i in range(40)], attrs={"source": "voxels"})
        row = dimensionality(brain).table.iloc[0]
        assert (row["brain"], row["model"], row["layer"]) == ("voxels", "", "")
        row = dimensionality(brain.isel(unit=[0])).table.iloc[0]
        assert [row[c] for c in ("value", "ci_low", "ci_high", "maximum")] == pytest.approx([1, 1, 1, 1])

    def test_bad_input_is_named(self):
        data = responses()
        with pytest.raises(MeasureError, match="at least 4 stimuli, found 3"):
            dimensionality(data.isel(stimulus=slice(3)))
        late = data["layer"].values == "layer1"
        with pytest.raises(MeasureError, match="layer1: all 40 units respond alike"):
            dimensionality(data.copy(data=np.where(late, 0.1, data.values)))
        others = data["stimulus"].values[:, None] != "s3"
        with pytest.raises(MeasureError, match="layer1: only the stimulus 's3' differs"):
            dimensionality(data.copy(data=np.where(late & others, 0.1, data.values)))
        with pytest.raises(ResponseError, match="s3"):
            dimensionality(data.where(others))

    def test_recipes_may_use_all_options(self):
        check_options(dimensionality, {"protocol": "tuckute2023", "zscore": True, "level": 0.9}, "measures[0]")


@pytest.mark.slow
def test_interval_covers_the_mean_over_sets_of_as_many_stimuli():
    rng = np.random.default_rng(0)

    def draw():
        values = rng.standard_normal((30, 10)) * np.linspace(3, 0.3, 10)
        return make_responses(values, [f"s{i}" for i in range(30)])

    truth = np.mean([effective_dimensionality(draw().values) for _ in range(5000)])
    tables = [dimensionality(draw()).table.iloc[0] for _ in range(400)]
    covered = np.mean([t["ci_low"] <= truth <= t["ci_high"] for t in tables])
    assert covered > 0.95 - 3 * np.sqrt(0.95 * 0.05 / 400), covered
