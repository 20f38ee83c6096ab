"""Encoding maps: whole chains by scikit-learn, planted voxels, nulls that hold their size and one that does not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import false_discovery_control, kstest, pearsonr
from sklearn.linear_model import RidgeCV

from brainalign.errors import MeasureError
from brainalign.measures.encoding_map import encoding_map
from brainalign.measures.encoding_map_parts import ClipRows, gaussian_p, permute_clips
from brainalign.measures.region_decoder import clip_folds
from brainalign.measures.ridge import decompose, ridge_predict
from brainalign.measures.splits import make_splits
from brainalign.responses import Responses, make_responses
from brainalign.stats import bootstrap_counts

QUICK: dict[str, Any] = {"n_permutations": 50, "n_bootstrap": 0, "n_folds": 3}
GENRES = ("blues", "disco", "jazz", "metal")


def smooth(rng: np.random.Generator, n_clips: int, windows: int, n: int, overlap: int = 1) -> np.ndarray:
    """Return noise by windows, means over `overlap` seconds of which neighbours share all but one."""
    raw = rng.standard_normal((n_clips, windows + overlap - 1, n))
    kernel = np.stack([raw[:, k : k + windows] for k in range(overlap)]).mean(axis=0)
    return (kernel * np.sqrt(overlap)).reshape(n_clips * windows, n)


def study(
    n_train: int = 30,
    n_test: int = 16,
    windows: int = 3,
    d: tuple[int, int] = (5, 4),
    sizes: tuple[int, int, int] = (6, 6, 9),
    n_subjects: int = 2,
    signal: float = 1.0,
    seed: int = 0,
    overlap: int = 1,
) -> tuple[dict[str, Responses], Responses]:
    """Return two embeddings, and voxels of which region A follows the first, B the second, and C none."""
    rng = np.random.default_rng(seed)
    n = n_train + n_test
    spaces = [smooth(rng, n, windows, k, overlap) for k in d]
    blocks, info = [], {"subject": [], "region": []}
    for s in range(n_subjects):
        for name, size, source in zip("ABC", sizes, (spaces[0], spaces[1], None), strict=True):
            block = smooth(rng, n, windows, size, overlap)
            if source is not None:
                block += signal * source @ rng.standard_normal((source.shape[1], size))
            blocks.append(block)
            info["subject"] += [f"sub-{s + 1:02d}"] * size
            info["region"] += [name] * size
    of = {
        "clip": [f"clip-{i:03d}" for i in range(n) for _ in range(windows)],
        "split": ["train" if i < n_train else "test" for i in range(n) for _ in range(windows)],
        "category": [GENRES[i % len(GENRES)] for i in range(n) for _ in range(windows)],
    }
    ids = [f"{c}@{k % windows:02d}" for k, c in enumerate(of["clip"])]
    order = rng.permutation(len(ids))
    models = {
        name: make_responses(
            values[order],
            [ids[i] for i in order],
            stimulus_info={k: [v[i] for i in order] for k, v in of.items()},
            unit_info={"layer": ["embedding"] * values.shape[1]},
            attrs={"source": name},
        )
        for name, values in zip(("audio", "text"), spaces, strict=True)
    }
    brain = make_responses(np.hstack(blocks), ids, unit_info=info, attrs={"source": "scanner"})
    return models, brain


def row(result: Any, statistic: str, model: str = "audio", target: str = "all units", subject: str = "all subjects",
        null: str | None = None) -> Any:  # fmt: skip
    t = result.table
    rows = t[
        (t["statistic"] == statistic) & (t["model"] == model) & (t["target"] == target) & (t["subject"] == subject)
    ]
    rows = rows if null is None else rows[rows["null"] == null]
    assert len(rows) == 1
    return rows.iloc[0]


@pytest.fixture(scope="module")
def data() -> tuple[dict[str, Responses], Responses]:
    return study()


@pytest.fixture(scope="module")
def result(data: Any) -> Any:
    return encoding_map(*data, n_permutations=200, n_bootstrap=100, n_folds=3)


def rows_of(responses: Responses, split: str) -> Responses:
    return responses.isel(stimulus=(responses["split"] == split).values).sortby("stimulus")


@pytest.fixture(scope="module")
def by_hand(data: Any) -> dict[str, Any]:
    models, brain = data
    train, test = (rows_of(models["audio"], part) for part in ("train", "test"))
    y_train, y_test = (brain.sel(stimulus=part["stimulus"].values).values for part in (train, test))
    variance = train.values.var(axis=0).sum()
    folds = clip_folds(train["clip"].values.tolist(), 3, 0)
    inner = [(np.flatnonzero(folds != k), np.flatnonzero(folds == k)) for k in range(3)]
    mean = y_train.mean(axis=0)
    predicted = np.stack(
        [
            RidgeCV(alphas=len(train) * variance * np.logspace(-6, 3, 5), cv=inner, scoring="neg_mean_squared_error")
            .fit(train.values, y)
            .predict(test.values)
            for y in y_train.T
        ],
        axis=1,
    )
    return {"predicted": predicted, "test": y_test, "mean": mean}


class TestBruteForce:
    """scikit-learn's RidgeCV, voxel by voxel, over folds of whole clips."""

    def test_correlations(self, data: Any, by_hand: Any) -> None:
        # Penalties are relative to eigenvalues of X X' / n, scikit-learn's to those of X X'.
        models, brain = data
        got = encoding_map(models, brain, spaces=["audio"], alphas=np.logspace(-6, 3, 5) * 90, **QUICK)
        expected = [pearsonr(a, b)[0] for a, b in zip(by_hand["predicted"].T, by_hand["test"].T, strict=True)]
        np.testing.assert_allclose(got.arrays["r"].sel(model="audio"), expected, atol=1e-8)
        assert row(got, "r_median", subject="sub-02")["value"] == pytest.approx(np.median(expected[21:]))
        assert row(got, "r_mean", target="B")["value"] == pytest.approx(np.mean(expected[6:12] + expected[27:33]))

    def test_gaussian_null_is_that_of_pearsonr(self, data: Any, by_hand: Any) -> None:
        models, brain = data
        got = encoding_map(models, brain, spaces=["audio"], alphas=np.logspace(-6, 3, 5) * 90, null="gaussian", **QUICK)
        pairs = zip(by_hand["predicted"].T, by_hand["test"].T, strict=True)
        expected = np.array([pearsonr(a, b, alternative="greater").pvalue for a, b in pairs])
        np.testing.assert_allclose(got.arrays["p"].sel(model="audio"), expected, rtol=1e-6, atol=1e-12)
        for subject in (slice(0, 21), slice(21, 42)):
            adjusted = false_discovery_control(expected[subject])
            np.testing.assert_allclose(got.arrays["p_fdr"][0, subject], adjusted, rtol=1e-6, atol=1e-12)
            np.testing.assert_array_equal(got.arrays["significant"][0, subject], adjusted <= 0.05)
        assert any("takes the windows of a clip for independent" in w for w in got.warnings)

    def test_unique_variance(self, data: Any) -> None:
        """R2 of the sets by ridge regression on features side by side; the best set in training is taken."""
        models, brain = data
        train, test = ({name: rows_of(own, part) for name, own in models.items()} for part in ("train", "test"))
        y_train, y_test = (brain.sel(stimulus=part["audio"]["stimulus"].values).values for part in (train, test))
        folds = clip_folds(train["audio"]["clip"].values.tolist(), 3, 0)
        centred = y_train - y_train.mean(axis=0)
        r2, left_out = {}, {}
        for names in (("audio",), ("text",), ("audio", "text")):
            scale = {n: np.sqrt(train[n].values.var(axis=0).sum()) for n in names}
            x = [np.hstack([part[n].values / scale[n] for n in names]) for part in (train, test)]
            fit = ridge_predict(decompose(*x), centred, folds=folds)
            errors = (y_test - y_train.mean(axis=0) - fit.predictions) ** 2
            r2[names] = 1 - errors.sum(axis=0) / ((y_test - y_train.mean(axis=0)) ** 2).sum(axis=0)
            left_out[names] = fit.loo_r2
        order = [("audio",), ("text",), ("audio", "text")]
        best = np.stack([left_out[s] for s in order]).argmax(axis=0)
        full = np.choose(best, [r2[s] for s in order])
        got = encoding_map(models, brain, **QUICK)
        np.testing.assert_allclose(got.arrays["R2"], full, atol=1e-5)
        np.testing.assert_allclose(got.arrays["unique"].sel(model="audio"), full - r2["text",], atol=1e-5)
        np.testing.assert_allclose(got.arrays["unique"].sel(model="text"), full - r2["audio",], atol=1e-5)
        first = row(got, "unique", subject="sub-01")["value"]
        assert first == pytest.approx((full - r2["text",])[:21].mean(), abs=1e-5)


class TestPermutation:
    def make(self, n_clips: int, windows: int, overlap: int, n: int, seed: int) -> Any:
        rng = np.random.default_rng(seed)
        x, y = (smooth(rng, n_clips, windows, n, overlap) for _ in range(2))
        clips = np.repeat([f"c{i:02d}" for i in range(n_clips)], windows)
        starts = np.arange(n_clips) * windows
        zeros = np.zeros(n_clips, dtype=np.intp)
        rows = ClipRows(np.arange(len(clips)), np.unique(clips), starts, zeros, zeros)
        return rows.centred(x), rows.centred(y), rows, rng

    def test_by_hand(self) -> None:
        x, y, rows, rng = self.make(8, 3, 2, 4, 1)
        y += 0.3 * x
        y = rows.centred(y)
        orders = np.stack([rng.permutation(8) for _ in range(60)])
        members = np.array([[1, 0], [1, 1], [1, 0], [1, 1.0]])
        got = permute_clips(x, y, rows, orders, members)
        places = (orders[:, :, None] * 3 + np.arange(3)).reshape(60, -1)
        null = np.array([[pearsonr(x[o, v], y[:, v])[0] for v in range(4)] for o in places])
        np.testing.assert_allclose(got.sums, np.stack([null.sum(axis=1), null[:, 1] + null[:, 3]], axis=1), atol=1e-10)
        reached = (null >= (x * y).sum(axis=0) - 1e-12).sum(axis=0)
        counted = reached >= 10
        assert counted.sum() > 0
        np.testing.assert_allclose(got.p[counted], ((reached + 1) / 61)[counted])

    def test_no_p_below_one_by_the_number_of_orders(self) -> None:
        x, _, rows, rng = self.make(5, 3, 1, 40, 2)
        y = rows.centred(x + 0.05 * rng.standard_normal(x.shape))
        orders = np.stack([rng.permutation(5) for _ in range(2000)])
        got = permute_clips(x, y, rows, orders, np.ones((40, 1)))
        assert got.p.min() >= 1 / 120 - 1e-12

    @pytest.mark.parametrize(("n_clips", "strength"), [(60, 0.3), (20, 0.5)])
    def test_tails_are_those_of_many_permutations(self, n_clips: int, strength: float) -> None:
        """p that 1,000 permutations cannot count, beside a count of 100,000."""
        n, n_many = 30, 100_000
        x, y, rows, rng = self.make(n_clips, 4, 5, n, 3)
        y = rows.centred(y + strength * np.linspace(0.3, 1.1, n) * x)
        few = np.stack([rng.permutation(n_clips) for _ in range(1000)])
        got = permute_clips(x, y, rows, few, np.ones((n, 1))).p
        pairs = np.einsum("iwv,jwv->vij", x.reshape(n_clips, 4, n), y.reshape(n_clips, 4, n))
        r, reached = np.trace(pairs, axis1=1, axis2=2), np.zeros(n)
        for _ in range(n_many // 2000):
            many = rng.permuted(np.tile(np.arange(n_clips), (2000, 1)), axis=1)
            reached += [
                (pair[many, np.arange(n_clips)].sum(axis=1) >= v).sum() for pair, v in zip(pairs, r, strict=True)
            ]
        p = (reached + 1) / (n_many + 1)
        small = (p > 5e-5) & (p < 0.01)
        assert small.sum() >= 8
        error = np.log10(got[small] / p[small])
        assert abs(error.mean()) < 0.1
        assert np.abs(error).max() < np.log10(3)

    def test_gaussian_p(self) -> None:
        rng = np.random.default_rng(0)
        for n in (10, 240):
            x, y = rng.standard_normal((2, n))
            assert gaussian_p(np.array(pearsonr(x, y)[0]), n) == pytest.approx(
                pearsonr(x, y, alternative="greater").pvalue, rel=1e-9
            )


class TestPlanted:
    def test_each_region_by_its_embedding(self, result: Any) -> None:
        for model, own, other in (("audio", "A", "B"), ("text", "B", "A")):
            assert row(result, "share_significant", model, own)["value"] == 1
            assert row(result, "r_mean", model, own)["value"] > 0.7
            assert row(result, "r_mean", model, own)["p"] == pytest.approx(1 / 201)
            assert row(result, "share_significant", model, other)["value"] < 0.2
            assert row(result, "unique", model, own)["value"] > 0.5
            assert abs(row(result, "unique", model, other)["value"]) < 0.05
        assert row(result, "share_significant", target="C")["value"] < 0.1

    def test_intervals_and_subjects(self, result: Any) -> None:
        for statistic in ("r_mean", "r_median", "unique", "share_significant"):
            null = "permutation" if statistic == "share_significant" else None
            mean = row(result, statistic, null=null)
            each = [row(result, statistic, subject=f"sub-0{s}", null=null)["value"] for s in (1, 2)]
            assert mean["value"] == pytest.approx(np.mean(each))
            assert mean["sd"] == pytest.approx(np.std(each, ddof=1))
            assert (mean["n"], mean["n_of"], mean["n_clips"], mean["n_units"]) == (2, "subjects", 16, 42)
            if statistic in ("r_mean", "unique"):
                assert mean["ci_low"] < mean["value"] < mean["ci_high"]

    def test_resampled_correlations(self, data: Any, result: Any) -> None:
        """Weights of clips are copies of clips: the interval of a subject from copies, by hand."""
        models, brain = data
        test = rows_of(models["audio"], "test")
        r = result.arrays["r"].sel(model="audio").values[:21]
        train = rows_of(models["audio"], "train")
        y_train, y = (brain.sel(stimulus=p["stimulus"].values).values[:, :21] for p in (train, test))
        folds = clip_folds(train["clip"].values.tolist(), 3, 0)
        predicted = ridge_predict(decompose(train.values, test.values), y_train, folds=folds).predictions
        counts = bootstrap_counts(16, 100, np.random.default_rng([0, 1]))
        samples = []
        for count in counts:
            copies = np.repeat(np.arange(48), np.repeat(count, 3))
            samples.append(np.mean([pearsonr(predicted[copies, v], y[copies, v])[0] for v in range(21)]))
        assert np.mean([pearsonr(predicted[:, v], y[:, v])[0] for v in range(21)]) == pytest.approx(r.mean())
        found = row(result, "r_mean", subject="sub-01")
        # BCa limits are quantiles of these samples.
        assert min(samples) - 1e-6 <= found["ci_low"] < np.median(samples) < found["ci_high"] <= max(samples) + 1e-6
        spread = found["ci_high"] - found["ci_low"]
        assert spread == pytest.approx(np.diff(np.quantile(samples, [0.025, 0.975]))[0], rel=0.25)

    def test_overlap(self, result: Any) -> None:
        significant = result.arrays["significant"]
        values = {"jaccard": [], "audio": [], "text": []}
        for subject in ("sub-01", "sub-02"):
            own = significant.sel(unit=significant["subject"].values == subject)
            a, b = (set(own["unit"].values[own.sel(model=m).values]) for m in ("audio", "text"))
            values["jaccard"].append(len(a & b) / len(a | b))
            values["audio"].append(len(a & b) / len(a))
            values["text"].append(len(a & b) / len(b))
        for name, statistic, expected in (("audio & text", "jaccard", values["jaccard"]),
                                          ("audio in text", "share_shared", values["audio"]),
                                          ("text in audio", "share_shared", values["text"])):  # fmt: skip
            assert row(result, statistic, name)["value"] == pytest.approx(np.mean(expected))
        # By chance as many voxels of A are among those of B as there are among all.
        share = significant.sel(model="text").values[:21].mean()
        assert row(result, "share_shared", "audio in text", subject="sub-01")["chance"] == pytest.approx(share)

    def test_arrays(self, data: Any, result: Any) -> None:
        brain, arrays = data[1], result.arrays
        assert arrays["r"].dims == ("model", "unit")
        assert arrays["r"]["unit"].values.tolist() == brain["unit"].values.tolist()
        assert arrays["significant"]["region"].values.tolist() == brain["region"].values.tolist()
        one = arrays["r"].sel(model="text").values[21:27].mean()
        assert arrays["region_r"].sel(model="text", subject="sub-02", target="A").item() == pytest.approx(one)
        assert set(np.unique(arrays["roles"])) == {"train", "test"}

    def test_order_of_stimuli_and_repetitions_do_not_matter(self, data: Any, result: Any) -> None:
        import xarray as xr

        models, brain = data
        order = np.random.default_rng(5).permutation(brain.sizes["stimulus"])
        noise = np.random.default_rng(6).standard_normal(brain.shape)
        twice = xr.concat([brain + noise, brain - noise], dim="repetition").isel(stimulus=order)
        again = encoding_map(models, twice, **{**QUICK, "n_permutations": 200})
        np.testing.assert_allclose(again.arrays["r"], result.arrays["r"], atol=1e-9)
        np.testing.assert_allclose(again.arrays["p"], result.arrays["p"], rtol=1e-6)


class TestPlans:
    def test_kfold_correlates_deviations_from_the_mean_of_the_fold(self, data: Any) -> None:
        models, brain = data
        x = models["audio"].sel(stimulus=brain["stimulus"])
        clips, y = x["clip"].values, brain.values
        predicted, observed = [], []
        for fold in make_splits(sorted(set(clips)), "kfold", n_splits=4, seed=0):
            train, test = np.isin(clips, fold.train), np.isin(clips, fold.test)
            folds = clip_folds(clips[train].tolist(), 3, 0)
            own = ridge_predict(decompose(x.values[train], x.values[test]), y[train], folds=folds).predictions
            predicted.append(own - own.mean(axis=0))
            observed.append(y[test] - y[test].mean(axis=0))
        got = encoding_map(models, brain, split="kfold", n_splits=4, **QUICK)
        pairs = zip(np.concatenate(predicted).T, np.concatenate(observed).T, strict=True)
        np.testing.assert_allclose(got.arrays["r"].sel(model="audio"), [pearsonr(a, b)[0] for a, b in pairs], atol=1e-8)
        roles = got.arrays["roles"]
        assert (roles == "test").sum("part").values.tolist() == [1] * brain.sizes["stimulus"]
        assert any("shares training clips" in w for w in got.warnings)

    def test_unseen_genres_are_predicted_by_others(self, data: Any) -> None:
        models, brain = data
        got = encoding_map(models, brain, unseen="category", **QUICK)
        category = models["audio"].sel(stimulus=brain["stimulus"])["category"].values
        for part, name in zip(got.arrays["roles"].values, sorted(GENRES), strict=True):
            assert set(category[part == "test"]) == {name}
            assert name not in category[part == "train"]
        assert row(got, "r_mean", target="A")["value"] > 0.6

    def test_blocks_of_voxels_change_nothing(self, data: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        whole = encoding_map(*data, **QUICK)
        monkeypatch.setattr("brainalign.measures.encoding_map_parts.BLOCK", 5)
        monkeypatch.setattr("brainalign.measures.encoding_map_parts.TABLE_ENTRIES", 700)
        blocks = encoding_map(*data, **QUICK)
        for name in ("r", "p", "unique"):
            np.testing.assert_allclose(blocks.arrays[name], whole.arrays[name], rtol=1e-6, atol=1e-9)
        for column in ("value", "p"):
            np.testing.assert_allclose(blocks.table[column], whole.table[column], rtol=1e-6, atol=1e-9)


class TestBadInput:
    def test_more_spaces_than_all_sets_can_be_fitted_of(self, data: Any) -> None:
        models, brain = data
        four = {**models, "third": models["audio"] ** 2, "fourth": models["text"] ** 2}
        got = encoding_map(four, brain, **QUICK)
        assert any("at most 3 spaces, here are 4" in w for w in got.warnings)
        assert "unique" not in set(got.table["statistic"])
        assert (got.table["statistic"] == "jaccard").sum() == 6 * 3

    def test_options(self, data: Any) -> None:
        with pytest.raises(MeasureError, match="no null 'gausian'; did you mean 'gaussian'"):
            encoding_map(*data, null="gausian")  # type: ignore[arg-type]
        with pytest.raises(MeasureError, match="n_permutations is 5, expected 20"):
            encoding_map(*data, n_permutations=5)
        with pytest.raises(MeasureError, match="penalties must be positive"):
            encoding_map(*data, alphas=[0.0])
        with pytest.raises(MeasureError, match="no model for the feature space 'aduio'; did you mean 'audio'"):
            encoding_map(*data, spaces=["aduio"])
        with pytest.raises(MeasureError, match="unique variance is for 2 to 3 spaces, found 1"):
            encoding_map(*data, spaces=["audio"], unique=True)

    def test_a_rate_beyond_one_and_a_space_twice(self, data: Any) -> None:
        with pytest.raises(MeasureError, match=r"q is 2\.0, expected a false discovery rate between 0 and 1"):
            encoding_map(*data, q=2.0)
        models, brain = data
        with pytest.raises(MeasureError, match="'audio' and 'copy' hold the same values"):
            encoding_map({**models, "copy": models["audio"]}, brain)

    def test_constant_voxels_and_spaces(self, data: Any) -> None:
        models, brain = data
        flat = brain.copy(deep=True)
        flat[:, 3] = 2.0
        with pytest.raises(MeasureError, match="respond alike to all stimuli, for instance 3;"):
            encoding_map(models, flat, **QUICK)
        still = models["text"].copy(deep=True)
        still[(still["split"] == "train").values] = 1.0
        with pytest.raises(MeasureError, match="text does not differ between the training stimuli"):
            encoding_map({**models, "text": still}, brain, **QUICK)

    def test_clips_of_different_lengths(self, data: Any) -> None:
        models, brain = data
        keep = brain["stimulus"].values != "clip-040@02"
        shorter = {name: own.sel(stimulus=brain["stimulus"].values[keep]) for name, own in models.items()}
        with pytest.raises(MeasureError, match="test clips have 2 to 3 windows"):
            encoding_map(shorter, brain[keep], **QUICK)
        encoding_map(shorter, brain[keep], null="gaussian", **QUICK)


@pytest.mark.slow
class TestSize:
    """What the paper's null promises, and what it holds where windows overlap."""

    def shares(self, overlap: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        data = study(60, 40, 6, (4, 3), (1, 1, 400), 1, 0.0, seed, overlap)
        p = {
            null: encoding_map(*data, spaces=["audio"], null=null, n_permutations=400, n_bootstrap=0, n_folds=3)
            .arrays["p"].values[0] for null in ("permutation", "gaussian")
        }  # fmt: skip
        return p["permutation"], p["gaussian"]

    def test_windows_that_do_not_overlap(self) -> None:
        """Voxels without signal: one in twenty has a p below 0.05, whichever the null."""
        p = np.array([self.shares(1, seed) for seed in range(8)]).transpose(1, 0, 2)
        for own in p:
            assert (own.ravel() < 0.05).mean() == pytest.approx(0.05, abs=0.015)
            assert kstest(own.ravel(), "uniform").statistic < 0.04

    def test_windows_that_overlap(self) -> None:
        """Windows of 6 steps, one step apart: the published null finds signals where there are none."""
        p = np.array([self.shares(6, seed) for seed in range(8)]).transpose(1, 0, 2)
        permutation, gaussian = (own.ravel() for own in p)
        assert (permutation < 0.05).mean() == pytest.approx(0.05, abs=0.015)
        assert kstest(permutation, "uniform").statistic < 0.04
        assert (gaussian < 0.05).mean() > 0.12
        assert (gaussian < 0.001).mean() > 10 * 0.001
