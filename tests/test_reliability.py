"""Reliability is what simulations put in, formulae agree with brute force, and units are chosen on other data."""

from __future__ import annotations

from itertools import combinations, permutations
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from scipy.special import beta
from scipy.stats import pearsonr

from brainalign.brain.data import BrainData
from brainalign.brain.reliability import nh2015_reliability, select_reliable, sound_over_silence, unit_reliability
from brainalign.brain.simulation import simulate_brain
from brainalign.errors import BrainError, MeasureError
from brainalign.measures import MEASURES
from brainalign.measures.reliability import reliability
from brainalign.measures.resampling import draw_counts
from brainalign.report.words import cautions
from brainalign.responses import Responses, load_responses, make_responses, save_responses
from brainalign.stimuli import load_stimuli


def truth(n: int, seed: int = 0) -> Responses:
    rng = np.random.default_rng(seed)
    return make_responses(rng.gamma(2, size=(n, 6)), [f"s{i:04d}" for i in range(n)], list("abcdef"))


def simulated(n: int = 200, n_repetitions: int = 3, noise_sd: float = 0.5, n_voxels: int = 60) -> BrainData:
    return simulate_brain(truth(n), n_subjects=2, n_voxels=n_voxels, n_repetitions=n_repetitions, noise_sd=noise_sd)


def brain_of(values: np.ndarray, **unit_info: list[str]) -> BrainData:
    ids = [f"s{i}" for i in range(values.shape[-2])]
    responses = make_responses(values, ids, unit_info=unit_info, allow_constant=True)
    return BrainData("lab", responses, "1", "none", "none")


class TestNH2015:
    def test_brute_force_by_projection(self) -> None:
        rng = np.random.default_rng(0)
        v1, v2 = rng.normal(1, 1, size=(2, 30, 5))
        for u, found in enumerate(nh2015_reliability(v1, v2)):
            a, b = v1[:, u], v2[:, u]
            projection = (a @ b) / (b @ b) * b
            assert found == pytest.approx(1 - np.linalg.norm(a - projection) / np.linalg.norm(a))
        np.testing.assert_allclose(nh2015_reliability(v1, v2), nh2015_reliability(v2, v1))

    def test_ends_and_sign(self) -> None:
        v = np.array([[1.0, 1, 1, 0], [2.0, 2, -1, 0]])
        w = np.array([[3.0, -1, 1, 1], [6.0, -2, 1, 1]])
        np.testing.assert_allclose(nh2015_reliability(v, w), [1, 1, 0, np.nan], atol=1e-12)

    def test_it_is_above_0_for_noise_by_what_the_beta_distribution_says(self) -> None:
        """c^2 of two random directions in n dimensions follows Beta(1/2, (n - 1)/2)."""
        n = 12
        v1, v2 = np.random.default_rng(1).normal(size=(2, n, 40_000))
        expected = 1 - beta(n / 2, 0.5) / beta((n - 1) / 2, 0.5)
        found = nh2015_reliability(v1, v2)
        assert found.mean() == pytest.approx(expected, abs=5 * found.std() / 200)
        assert expected > 0.04

    def test_weights_are_copies(self) -> None:
        rng = np.random.default_rng(2)
        v1, v2 = rng.normal(size=(2, 7, 3))
        counts = np.array([[0, 2, 1, 1, 3, 0, 0], [1, 1, 1, 1, 1, 1, 1]])
        for row, found in zip(counts, nh2015_reliability(v1, v2, counts), strict=True):
            np.testing.assert_allclose(
                found, nh2015_reliability(np.repeat(v1, row, axis=0), np.repeat(v2, row, axis=0))
            )

    def test_shapes(self) -> None:
        with pytest.raises(BrainError, match=r"found shapes \(3, 2\) and \(4, 2\)"):
            nh2015_reliability(np.ones((3, 2)), np.ones((4, 2)))


class TestUnits:
    def test_simulated_reliability_comes_back(self) -> None:
        """Split-half and noise ceiling of the mean over k repetitions: k r / (1 + (k - 1) r) of the known r."""
        brain = simulated(n=3_000, n_repetitions=4, noise_sd=0.6)
        r = brain.arrays["reliability"].values
        expected = 4 * r / (1 + 3 * r)
        found = unit_reliability(brain.responses)
        np.testing.assert_allclose(found["split_half"], expected, atol=0.04)
        np.testing.assert_allclose(found["noise_ceiling"], expected, atol=0.04)
        assert np.abs((found["split_half"] - expected).mean()) < 0.003
        assert np.abs((found["noise_ceiling"] - expected).mean()) < 0.003
        np.testing.assert_allclose(found["ncsnr"] ** 2, r / (1 - r), rtol=0.25)
        assert found["subject"].values.tolist() == brain.responses["subject"].values.tolist()

    def test_pure_noise_has_none(self) -> None:
        values = np.random.default_rng(3).normal(size=(3, 100, 2_000))
        found = unit_reliability(brain_of(values).responses)
        pairs = np.array(
            [[pearsonr(values[a, :, u], values[b, :, u])[0] for a, b in ((0, 1), (0, 2), (1, 2))] for u in range(50)]
        )
        mean = pairs.mean(axis=1)
        np.testing.assert_allclose(found["split_half"][:50], 3 * mean / (1 + 2 * mean))
        assert abs(float(found["split_half"].median())) < 0.02
        assert float(found["noise_ceiling"].median()) < 0.05

    def test_given_halves(self) -> None:
        values = np.random.default_rng(4).normal(size=(5, 20, 3)) + np.random.default_rng(5).normal(size=(20, 3))
        found = unit_reliability(brain_of(values).responses, halves=((0, 3), (1, 4)))
        first, second = values[[0, 3]].mean(axis=0), values[[1, 4]].mean(axis=0)
        for u in range(3):
            r = pearsonr(first[:, u], second[:, u])[0]
            assert float(found["split_half"][u]) == pytest.approx(2 * r / (1 + r))
        np.testing.assert_allclose(found["nh2015"], nh2015_reliability(first, second))

    def test_nh2015_by_default_is_that_of_the_release(self) -> None:
        """Mean of scans 1 and 2 against scan 3, as in the reliabilities released with Tuckute et al. 2023."""
        values = np.random.default_rng(6).normal(1, 1, size=(3, 20, 4))
        found = unit_reliability(brain_of(values).responses)["nh2015"]
        np.testing.assert_allclose(found, nh2015_reliability(values[:2].mean(axis=0), values[2]))

    @pytest.mark.parametrize("halves", [((0,), (0,)), ((0, 1), (2,)), ((), ()), ((0,), (3,))])
    def test_halves_that_are_none(self, halves: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
        with pytest.raises(BrainError, match="must be equally many of the repetitions 0 to 2, each once"):
            unit_reliability(simulated(n=20).responses, halves=halves)

    def test_without_repetitions(self) -> None:
        responses = simulated(n=20).responses
        for given in (responses.isel(repetition=0, drop=True), responses.isel(repetition=[0])):
            with pytest.raises(BrainError, match="simulated-voxels have no repetitions"):
                unit_reliability(given)


class TestSilence:
    def test_no_more_than_alpha_of_silent_units_pass(self) -> None:
        rng = np.random.default_rng(7)
        sounds, silence = brain_of(rng.normal(size=(2, 60, 4_000))), brain_of(rng.normal(size=(2, 12, 4_000)))
        p = sound_over_silence(sounds.responses, silence.responses).values
        assert (p < 0.05).mean() == pytest.approx(0.05, abs=0.015)
        louder = sounds.responses + 1.5
        assert (sound_over_silence(louder, silence.responses) < 0.001).mean() > 0.9
        assert (sound_over_silence(sounds.responses - 1.5, silence.responses) > 0.5).all()

    def test_units_are_matched_by_id(self) -> None:
        rng = np.random.default_rng(8)
        values = rng.normal(size=(2, 30, 3)) + np.array([0.0, 3.0, 0.0])
        sounds, silence = brain_of(values).responses, brain_of(rng.normal(size=(2, 10, 3))).responses
        expected = sound_over_silence(sounds, silence)
        np.testing.assert_array_equal(sound_over_silence(sounds, silence.isel(unit=[2, 0, 1])), expected)
        with pytest.raises(BrainError, match="there is no silence for 1 units: 2"):
            sound_over_silence(sounds, silence.isel(unit=[0, 1]))
        with pytest.raises(BrainError, match="at least 2 blocks of it, found 1"):
            sound_over_silence(sounds, silence.isel(repetition=[0], stimulus=[0]))


class TestSelection:
    def test_repetitions_that_choose_are_not_returned(self) -> None:
        brain = simulated(n_repetitions=4)
        chosen = select_reliable(brain, 0.8, repetitions=[0, 2])
        expected = unit_reliability(brain.responses.isel(repetition=[0, 2]))["split_half"].values >= 0.8
        assert 0 < expected.sum() < len(expected)
        np.testing.assert_array_equal(chosen.responses.values, brain.responses.values[[1, 3]][:, :, expected])
        assert chosen.responses["unit"].values.tolist() == brain.responses["unit"].values[expected].tolist()
        assert chosen.arrays["weights"]["unit"].values.tolist() == chosen.responses["unit"].values.tolist()
        assert chosen.arrays["components"].identical(brain.arrays["components"])
        assert chosen.warnings == ()
        assert chosen.responses.attrs["selected_by"] == "split-half >= 0.8 in 2 repetitions of 200 stimuli"
        assert chosen.responses.attrs["selected_from"] == f"{expected.sum()} of 120 units"

    def test_stimuli_that_choose_are_not_returned(self, tmp_path: Path) -> None:
        brain = simulated()
        ids = brain.responses["stimulus"].values.tolist()
        chosen = select_reliable(brain, 0.3, criterion="nh2015", stimuli=ids[::2])
        expected = unit_reliability(brain.responses.isel(stimulus=slice(None, None, 2)))["nh2015"].values >= 0.3
        assert chosen.responses["stimulus"].values.tolist() == ids[1::2]
        assert chosen.responses.sizes == {"repetition": 3, "stimulus": 100, "unit": expected.sum()}
        assert load_responses(save_responses(chosen.responses, tmp_path / "r.nc")).attrs == chosen.responses.attrs

    def test_the_same_data_are_warned_of_and_do_inflate(self) -> None:
        """Of pure noise, units that are chosen on the data look reliable in them, and not in other repetitions."""
        brain = brain_of(np.random.default_rng(9).normal(size=(4, 40, 2_000)))
        same = select_reliable(brain, 0.4)
        assert "on the same data that are scored" in same.warnings[0]
        apart = select_reliable(brain, 0.4, repetitions=[0, 1])
        assert float(unit_reliability(same.responses)["split_half"].median()) > 0.4
        assert abs(float(unit_reliability(apart.responses)["split_half"].median())) < 0.1

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"repetitions": [0, 1, 2]}, r"repetitions \[0, 1, 2\] must be some, not all, of 0 to 2"),
            ({"repetitions": [0, 0]}, r"repetitions \[0, 0\] must be some"),
            ({"repetitions": [0]}, "have no repetitions"),
            ({"repetitions": [0, 7]}, "of 0 to 2"),
            ({"criterion": "split_half"}, "no criterion 'split_half'; did you mean 'split-half'"),
            ({"minimum": 1.5}, r"no unit of simulated-voxels has split-half of at least 1\.5; the highest is 0\.9"),
        ],
    )
    def test_bad_options(self, options: dict[str, object], message: str) -> None:
        with pytest.raises(BrainError, match=message):
            select_reliable(simulated(), **{"minimum": 0.3, **options})  # type: ignore[arg-type]

    def test_no_stimulus_is_left(self) -> None:
        brain = simulated(n=20)
        with pytest.raises(BrainError, match="none is left to score on"):
            select_reliable(brain, 0.1, stimuli=brain.responses["stimulus"].values.tolist())


class TestMeasure:
    def test_rows_are_medians_of_units(self) -> None:
        brain = simulated(n_repetitions=4)
        statistics = ("split-half", "nh2015", "ncsnr", "noise-ceiling")
        result = reliability(brain, statistics=statistics, n_bootstrap=40)
        units = unit_reliability(brain.responses)
        subject, region = (brain.responses[c].values for c in ("subject", "region"))
        assert len(result.table) == 2 * 4 * (1 + len(set(region)))
        for row in result.table.itertuples():
            own = (subject == row.subject) & ((region == row.target) | (row.target == "all units"))
            expected = np.median(units[row.statistic.replace("-", "_")].values[own])
            assert row.value == pytest.approx(expected, rel=1e-9)
            assert row.ci_low < row.value < row.ci_high
            assert (row.n_units, row.n, row.n_repetitions) == (own.sum(), 200, 4)
        assert set(result.arrays) == set(statistics)
        assert result.table["p"].isna().all()

    def test_the_interval_is_that_of_halves_of_the_stimuli(self) -> None:
        """Weights give what leaving out stimuli gives; the halves are all that there are, or random ones of them."""
        values = np.random.default_rng(10).normal(1, 1, size=(3, 10, 3)) + 2 * np.arange(10)[:, None]
        halves = [unit_reliability(brain_of(values[:, list(h)]).responses) for h in combinations(range(10), 5)]
        statistics = ("split-half", "nh2015", "ncsnr", "noise-ceiling")
        table = reliability(brain_of(values), statistics=statistics, n_bootstrap=4_000).table.set_index("statistic")
        for statistic in statistics:
            # 252 halves; 4,000 draws give their standard deviation to some per cent.
            error = np.std([float(h[statistic.replace("-", "_")].median()) for h in halves])
            value, low, high = table.loc[statistic, ["value", "ci_low", "ci_high"]]
            assert value - low == pytest.approx(1.96 * error, rel=0.1)
            highest = np.inf if statistic == "ncsnr" else 1.0
            assert high == pytest.approx(min(value + 1.96 * error, highest), abs=0.2 * error)

    def test_a_median_over_mostly_empty_units_lies_within_its_interval(self) -> None:
        """Copies of sounds add noise to every unit: percentiles of a bootstrap lay above their own value here."""
        rng = np.random.default_rng(15)
        weights = rng.normal(size=(4, 400)) * (np.arange(400) < 140)
        values = rng.normal(size=(165, 4)) @ weights + rng.normal(size=(2, 165, 400))
        counts = draw_counts(165, 100, np.random.default_rng(0))
        copied = [unit_reliability(brain_of(np.repeat(values, c, axis=1)).responses) for c in counts]
        table = reliability(brain_of(values), n_bootstrap=100).table
        for row in table.itertuples():
            medians = [float(c[row.statistic.replace("-", "_")].median()) for c in copied]
            assert np.quantile(medians, 0.025) > row.value
            assert row.ci_low < row.value < row.ci_high

    def test_limits_stay_within_the_range_of_the_statistic(self) -> None:
        noise = brain_of(np.random.default_rng(16).normal(size=(3, 40, 50)))
        copies = np.random.default_rng(17).normal(size=(40, 5)) + 1e-3 * np.random.default_rng(18).normal(
            size=(3, 40, 5)
        )
        low = reliability(noise, statistics=("noise-ceiling",), n_bootstrap=50).table.iloc[0]
        assert low["ci_low"] == 0
        assert reliability(brain_of(copies), n_bootstrap=50).table["ci_high"].max() <= 1

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("n", "n_units", "n_reliable", "n_repetitions"), [(60, 15, 15, 3), (165, 400, 140, 2), (60, 300, 60, 3)]
    )
    def test_intervals_cover_what_other_sounds_give(
        self, n: int, n_units: int, n_reliable: int, n_repetitions: int
    ) -> None:
        """In 150 simulated studies of the same voxels, 95 % intervals hold the mean of all values."""
        rng = np.random.default_rng(11)
        weights = rng.normal(size=(4, n_units)) * (np.arange(n_units) < n_reliable)
        statistics = ("split-half", "noise-ceiling")
        tables = []
        for _ in range(150):
            values = rng.normal(size=(n, 4)) @ weights + rng.normal(size=(n_repetitions, n, n_units))
            tables.append(reliability(brain_of(values), statistics=statistics, n_bootstrap=100).table)
        for s in range(len(statistics)):
            low, high, value = (np.array([t[c].iloc[s] for t in tables]) for c in ("ci_low", "ci_high", "value"))
            assert np.mean((low <= value.mean()) & (value.mean() <= high)) >= 0.91
            assert np.mean(high - low) < 5 * value.std()

    def test_order_of_stimuli_and_seed(self) -> None:
        brain = simulated(n=40, n_voxels=8)
        shuffled = brain.responses.isel(stimulus=np.random.default_rng(0).permutation(40))
        one, two = (reliability(r, n_bootstrap=50).table for r in (brain.responses, shuffled))
        np.testing.assert_allclose(one[["value", "ci_low", "ci_high"]], two[["value", "ci_low", "ci_high"]], rtol=1e-9)
        other = reliability(brain, n_bootstrap=50, seed=1).table
        assert (other["ci_low"] != one["ci_low"]).any()
        assert reliability(brain, n_bootstrap=0).table["ci_low"].isna().all()

    def test_warnings_of_the_brain_are_not_said_twice(self) -> None:
        """A page shows those of the brain data themselves."""
        chosen = select_reliable(simulated(n=40, n_voxels=8), 0.1)
        assert len(chosen.warnings) == 1
        result = reliability(chosen, n_bootstrap=0)
        set_ = load_stimuli("demo")
        assert sum(chosen.warnings[0] in c for c in cautions([result], set_, [chosen])) == 1

    def test_constant_units_are_left_out_and_counted(self) -> None:
        values = np.random.default_rng(12).normal(size=(2, 30, 4)) + np.random.default_rng(13).normal(size=(30, 4))
        values[:, :, 2] = 1.0
        row = reliability(brain_of(values), n_bootstrap=20).table.iloc[0]
        assert row["note"] == "1 constant units left out"
        assert row["n_units"] == 3
        without = reliability(brain_of(np.delete(values, 2, axis=2)), n_bootstrap=20).table.iloc[0]
        assert row["value"] == without["value"]

    def test_all_orders_of_repetitions_give_the_same_split_half(self) -> None:
        values = np.random.default_rng(14).normal(size=(3, 30, 4))
        found = {
            round(float(reliability(brain_of(values[list(o)]), n_bootstrap=0).table["value"].iloc[0]), 10)
            for o in permutations(range(3))
        }
        assert len(found) == 1

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            (np.ones((30, 2)), "lab hold each stimulus once; reliability needs repetitions"),
            (np.ones((1, 30, 2)), "lab hold each stimulus once"),
            (np.random.default_rng(0).normal(size=(3, 9, 2)), "at least 10 stimuli, found 9"),
            (np.repeat(np.random.default_rng(0).normal(size=(1, 30, 2)), 3, axis=0), "are the same: copies"),
            (np.stack([np.zeros((30, 1)), np.ones((30, 1))]), "no noise, or no variance"),
        ],
        ids=["no repetitions", "one repetition", "few stimuli", "copies", "shifts"],
    )
    def test_data_without_an_answer(self, values: np.ndarray, message: str) -> None:
        with pytest.raises(MeasureError, match=message):
            reliability(brain_of(values), n_bootstrap=20)

    def test_level(self) -> None:
        with pytest.raises(MeasureError, match="level is 95, expected a share"):
            reliability(simulated(n=20), level=95)

    def test_names(self) -> None:
        assert MEASURES.get("reliability") is reliability
        with pytest.raises(MeasureError, match="no statistic 'ncnsr'; did you mean 'ncsnr'"):
            reliability(simulated(n=20), statistics=("ncnsr",))  # type: ignore[arg-type]
        with pytest.raises(MeasureError, match="no statistic is named"):
            reliability(simulated(n=20), statistics=())

    def test_arrays_are_by_unit(self) -> None:
        brain = simulated(n=30, n_voxels=6)
        array = reliability(brain, n_bootstrap=0).arrays["split-half"]
        assert isinstance(array, xr.DataArray)
        assert array["unit"].values.tolist() == brain.responses["unit"].values.tolist()
