"""Voxel encoding: the published numbers, planted truth, brute force of every aggregate, expectation on noise."""

import numpy as np
import pandas as pd
import pytest

from brainalign.brain.simulation import load_demo_voxels
from brainalign.errors import MeasureError, ResponseError
from brainalign.measures.encoding import CHOSEN, component_encoding
from brainalign.measures.ridge import decompose, ridge_predict
from brainalign.measures.scores import pooled_score
from brainalign.measures.splits import Split, make_splits
from brainalign.measures.voxel_encoding import voxel_encoding
from brainalign.measures.voxel_fits import (
    Scoring,
    Setup,
    fit_layer_scores,
    group_units,
    null_scores,
    resampled_medians,
    split_divisors,
)
from brainalign.responses import average_repetitions, make_responses
from brainalign.stats.ceilings import split_half_reliability
from brainalign.stats.hierarchical import within_subject_sem

QUICK = {"n_permutations": 0, "n_bootstrap": 0}


def simulated(n=60, widths=(5, 30), n_voxels=8, n_subjects=3, n_repetitions=3, noise=1.0, signal=1.0, seed=0):
    """Return a model, and voxels of which even ones follow its first layer, odd ones its last."""
    rng = np.random.default_rng(seed)
    ids = [f"s{i}" for i in rng.permutation(n)]
    layers = [rng.standard_normal((n, w)) for w in widths]
    total = n_voxels * n_subjects
    truth = np.empty((n, total))
    for v in range(total):
        features = layers[0 if v % 2 == 0 else -1][:, :5]
        truth[:, v] = features @ rng.standard_normal(features.shape[1])
    truth *= signal / truth.std(axis=0)
    runs = truth + noise * rng.standard_normal((n_repetitions, n, total))
    model = make_responses(
        np.hstack(layers), ids, unit_info={"layer": [f"l{k}" for k, w in enumerate(widths) for _ in range(w)]},
        attrs={"source": "net"},
    )  # fmt: skip
    info = {
        "subject": [f"sub-{v // n_voxels}" for v in range(total)],
        "region": [("A", "B", "", "A")[v % 4] for v in range(total)],
    }
    return model, make_responses(runs, ids, unit_info=info, attrs={"source": "brain"}), truth


def setup_of(model, voxels, scoring, by_voxel=True):
    ids = voxels["stimulus"].values.tolist()
    index = {s: i for i, s in enumerate(ids)}
    positions = [
        ([index[s] for s in p.train], [index[s] for s in p.test]) for p in make_splits(ids, "tuckute2023", n_splits=4)
    ]
    y = average_repetitions(voxels).values
    voters = np.arange(y.shape[1]) if by_voxel else np.zeros(y.shape[1], dtype=int)
    setup = Setup(y, voxels.values, positions, scoring, None, group_units(voxels), voters)
    x = model.values
    bases = [
        [decompose(x[tr][:, model["layer"] == layer], x[te][:, model["layer"] == layer]) for tr, te in positions]
        for layer in dict.fromkeys(model["layer"].values)
    ]
    return setup, bases


@pytest.mark.realdata
def test_published_noise_correction_of_tuckute_2023(shared_data):
    """The released code, run on the same input: four fits for each voxel and split (regression.md section 1).

    Compared where its own result does not depend on the number of threads, and where none of the four fits took a
    penalty above 1e12: there penalties tie in leave-one-out to rounding, and which one rounding picks decides whether
    the predictions of a single repetition count as constant.
    """
    with np.load(shared_data / "oracles" / "tuckute_oracle.npz", allow_pickle=False) as oracle:
        ids, x, runs = oracle["stim_names"].tolist(), oracle["X"], oracle["voxel_data"].transpose(2, 0, 1)
        expected, stable = oracle["vox_r2_test_c"], oracle["vox_stable_r2_c"]
        published_alphas = oracle["vox_alphas"]
    voxels = make_responses(runs, ids)
    result = voxel_encoding(
        make_responses(x, ids), voxels, protocol="tuckute2023", correction="tuckute2023-unbounded", **QUICK
    )
    agree = np.abs(result.arrays["split_scores"].values[0].T - expected) < 1e-6
    decided = published_alphas <= 1e12
    index = {s: i for i, s in enumerate(ids)}
    for s, split in enumerate(make_splits(ids, "tuckute2023")):
        train, test = ([index[i] for i in part] for part in split)
        basis = decompose(x[train], x[test])
        for y in runs:
            decided[:, s] &= (
                ridge_predict(basis, y[train] - y[train].mean(0), 10.0 ** np.arange(-50, 50)).alphas <= 1e12
            )
    assert agree[stable & decided].all()
    assert (stable & decided).sum() > 1200
    # Beyond that, all but a handful of the rounding-decided ones agree too.
    assert (~agree[stable]).sum() <= 12


def test_without_correction_the_scores_are_those_of_component_encoding():
    model, voxels, _ = simulated()
    one = voxel_encoding(model, voxels, **QUICK)
    two = component_encoding(model, voxels, **QUICK)
    np.testing.assert_allclose(one.arrays["split_scores"].values, two.arrays["scores"].values, rtol=1e-9)
    np.testing.assert_allclose(one.arrays["scores"].values.ravel(), two.table["value"], rtol=1e-9)


@pytest.mark.parametrize("folds", ["median", "mean"])
@pytest.mark.parametrize("statistic", ["r2", "r", "R2"])
def test_aggregates_by_loops(statistic, folds):
    """Splits of a voxel, voxels of a subject and region, subjects: each level by hand."""
    model, voxels, _ = simulated()
    result = voxel_encoding(model, voxels, statistic=statistic, folds=folds, **QUICK)
    together = {"median": np.median, "mean": np.mean}[folds]
    split_scores = result.arrays["split_scores"]
    table = result.table.set_index(["layer", "target"])
    for layer in ("l0", "l1", CHOSEN):
        by_subject = {}
        for target in ("all units", "A", "B"):
            values = []
            for subject in ("sub-0", "sub-1", "sub-2"):
                units = (voxels["subject"] == subject) & ((voxels["region"] == target) | (target == "all units"))
                own = split_scores.sel(layer=layer).isel(unit=np.flatnonzero(units)).values
                values.append(np.median([together(own[:, v]) for v in range(own.shape[1])]))
            assert table.loc[(layer, target), "value"] == pytest.approx(np.mean(values))
            by_subject[target] = values
        got = result.arrays["subject_scores"].sel(layer=layer, target=list(by_subject)).values
        np.testing.assert_allclose(got, np.array(list(by_subject.values())).T)
    sem = within_subject_sem(result.arrays["subject_scores"].sel(target="A").values.T)
    np.testing.assert_allclose(result.table.query("target == 'A'")["sem_within"], sem)
    assert set(result.table["n"]) == {3}
    assert set(result.table["n_of"]) == {"subjects"}
    assert table.loc[("l0", "A"), "n_units"] == 12
    assert table.loc[("l0", "B"), "n_units"] == 6


def test_reliability_correction_by_loop():
    model, voxels, _ = simulated(noise=2.0)
    plain, squared, root = (
        voxel_encoding(model, voxels, n_splits=4, min_reliability=0.3, **QUICK, **options)
        for options in ({}, {"correction": "reliability"}, {"correction": "reliability", "statistic": "r"})
    )
    r = voxel_encoding(model, voxels, n_splits=4, min_reliability=0.3, statistic="r", **QUICK)
    left_out = 0
    for s, split in enumerate(make_splits(voxels["stimulus"].values, "tuckute2023", n_splits=4)):
        reliability = split_half_reliability(voxels.sel(stimulus=split.train).values)
        reliability[reliability < 0.3] = np.nan
        left_out += np.isnan(reliability).sum()
        own = {"split": s, "layer": 0}
        np.testing.assert_allclose(
            squared.arrays["split_scores"].isel(own), plain.arrays["split_scores"].isel(own) / reliability
        )
        np.testing.assert_allclose(
            root.arrays["split_scores"].isel(own), r.arrays["split_scores"].isel(own) / np.sqrt(reliability)
        )
    assert left_out > 0
    np.testing.assert_allclose(
        squared.arrays["scores"].values, np.nanmedian(squared.arrays["split_scores"].values, axis=1)
    )


@pytest.mark.parametrize("correction", ["reliability", "tuckute2023"])
@pytest.mark.parametrize("noise", [0.7, 1.5])
def test_planted_truth_is_recovered_whatever_the_noise(correction, noise):
    """Half of the signal is the model's: corrected r2 is near 0.5, uncorrected falls with the noise."""
    rng = np.random.default_rng(5)
    n, n_units = 400, 120
    x = rng.standard_normal((n, 5))
    explained, other = x @ rng.standard_normal((5, n_units)), rng.standard_normal((n, n_units))
    signal = explained / explained.std(axis=0) + other
    runs = signal + noise * np.sqrt(2) * rng.standard_normal((3, n, n_units))
    ids = [f"s{i}" for i in range(n)]
    model, voxels = make_responses(x, ids), make_responses(runs, ids)
    plain, corrected = (
        voxel_encoding(model, voxels, correction=c, **QUICK).table["value"].iloc[0] for c in ("none", correction)
    )
    reliability = 3 / (3 + noise**2)
    assert plain == pytest.approx(0.5 * reliability, abs=0.04)
    assert corrected == pytest.approx(0.5, abs=0.05)


def test_corrected_scores_of_the_demo_agree_with_its_known_reliability():
    """The simulation says how reliable each voxel is: a model that is the truth reaches that ceiling and no more."""
    brain = load_demo_voxels()
    truth = brain.arrays["components"].rename(component="unit")
    result = voxel_encoding(truth, brain, correction="reliability", n_permutations=0, n_bootstrap=100)
    assert result.table["value"].iloc[0] == pytest.approx(0.95, abs=0.06)
    single = brain.arrays["reliability"].values
    ceiling = 3 * single / (1 + 2 * single)
    np.testing.assert_allclose(np.median(result.arrays["reliability"]), np.median(ceiling), atol=0.03)
    assert len(result.arrays["subject_scores"]["subject"]) == 4
    assert (result.table["ci_low"] <= result.table["value"]).all()
    assert (result.table["value"] <= result.table["ci_high"]).all()


def test_noise_is_never_turned_into_a_good_score():
    """Voxels without signal: the published correction lifts the mean (0.11 from 0.004); reliability leaves them out."""
    model, voxels, _ = simulated(signal=1e-9, n=165, widths=(40,), n_voxels=60)
    released, bounded, reliable = (
        voxel_encoding(model, voxels, correction=c, **QUICK)
        for c in ("tuckute2023-unbounded", "tuckute2023", "reliability")
    )
    assert bounded.arrays["scores"].max() <= 1
    assert np.nanmean(reliable.arrays["split_scores"]) < 0.1
    assert reliable.table["value"].iloc[0] < 0.05
    assert released.table["value"].iloc[0] < 0.05
    n_dropped = reliable.table.query("target == 'all units'")["n_dropped"].iloc[0]
    assert n_dropped == np.isnan(reliable.arrays["scores"].values).sum()
    assert any(f"{n_dropped} of 180 units are left out" in w for w in reliable.warnings)


def test_bounded_scores_are_flagged():
    model, voxels, _ = simulated(n=24, widths=(4,), noise=4.0, seed=3, n_voxels=40)
    released, bounded = (
        voxel_encoding(model, voxels, correction=c, n_splits=3, **QUICK)
        for c in ("tuckute2023-unbounded", "tuckute2023")
    )
    n_above = int((released.arrays["scores"] > 1).sum())
    assert n_above > 0
    assert released.table["n_above_one"].iloc[0] == n_above
    assert any(f"{n_above} of 120 corrected scores exceed 1 and stand as they are" in w for w in released.warnings)
    assert any("exceed 1 and count as 1" in w for w in bounded.warnings)
    assert bounded.arrays["scores"].max() == 1


def test_nothing_of_the_test_sounds_selects_voxels_layers_or_ceilings():
    """Other responses to the test sounds change the scores, but not who counts, by which layer, and what divides."""
    model, voxels, _ = simulated(noise=2.0)
    ids = voxels["stimulus"].values.tolist()
    split = [Split(ids[:35], ids[35:])]
    other = voxels.copy()
    other[:, 35:] = np.random.default_rng(9).standard_normal(other[:, 35:].shape)
    options = {"splits": split, "min_reliability": 0.4, "choose_by": "subject", **QUICK}
    plain, corrected, changed = (
        voxel_encoding(model, v, correction=c, **options).arrays
        for v, c in ((voxels, "none"), (voxels, "reliability"), (other, "reliability"))
    )
    changed_plain = voxel_encoding(model, other, correction="none", **options).arrays
    np.testing.assert_array_equal(changed["chosen_layer"], corrected["chosen_layer"])
    out = np.isnan(corrected["scores"].values)
    assert 0 < out.mean() < 1
    np.testing.assert_array_equal(np.isnan(changed["scores"].values), out)
    assert np.nanmedian(changed["scores"]) < np.nanmedian(corrected["scores"])
    with np.errstate(invalid="ignore"):
        divisors = [a["scores"].values / b["scores"].values for a, b in ((plain, corrected), (changed_plain, changed))]
    both = np.isfinite(divisors).all(axis=0)
    assert both.sum() > 5
    np.testing.assert_allclose(divisors[0][both], divisors[1][both])


def test_penalty_and_layer_are_chosen_within_the_training_part():
    """Trap 13: noise, 10 layers of 512 features, 9 penalties: r 0.163 if the test folds pick the best, else 0."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((10, 165, 512)), rng.standard_normal((165, 200))
    ids = [f"s{i}" for i in range(165)]
    splits = make_splits(ids, "kfold", n_splits=5)
    picked = []
    for features in x:
        for alpha in np.logspace(-1, 7, 9):
            folds = []
            for split in splits:
                train, test = (np.array([ids.index(s) for s in part]) for part in split)
                basis = decompose(features[train], features[test])
                folds.append((ridge_predict(basis, y[train], np.array([alpha])).predictions, y[test]))
            picked.append(pooled_score(*zip(*folds, strict=True), "r"))
    assert np.max(picked, axis=0).mean() == pytest.approx(0.163, abs=0.01)
    model = make_responses(np.hstack(list(x)), ids, unit_info={"layer": np.repeat([f"l{k}" for k in range(10)], 512)})
    result = voxel_encoding(model, make_responses(y, ids), statistic="r", splits=splits, folds="mean", **QUICK)
    assert result.arrays["scores"].sel(layer=CHOSEN).mean() == pytest.approx(0, abs=0.015)


def test_layers_chosen_by_voxel_subject_and_region():
    model, voxels, _ = simulated(noise=0.5)
    arrays = {by: voxel_encoding(model, voxels, choose_by=by, **QUICK).arrays for by in ("voxel", "subject", "region")}
    index = {s: i for i, s in enumerate(model["stimulus"].values)}
    y = average_repetitions(voxels).values
    for s, split in enumerate(make_splits(list(index), "tuckute2023")):
        train, test = ([index[i] for i in part] for part in split)
        loo = np.stack(
            [
                ridge_predict(decompose(x[train], x[test]), y[train]).loo_r2
                for x in (model.values[:, model["layer"] == layer] for layer in ("l0", "l1"))
            ]
        )
        frame = pd.DataFrame(loo.T).assign(subject=voxels["subject"].values, region=voxels["region"].values)
        for by, keys in (("subject", ["subject"]), ("region", ["subject", "region"])):
            best = frame.groupby(keys)[[0, 1]].transform("median").to_numpy().argmax(axis=1)
            np.testing.assert_array_equal(arrays[by]["chosen_layer"].values[s], [f"l{b}" for b in best])
        np.testing.assert_array_equal(arrays["voxel"]["chosen_layer"].values[s], [f"l{b}" for b in loo.argmax(axis=0)])
    for own in arrays.values():
        scores = own["split_scores"]
        picked = scores.sel(layer=own["chosen_layer"]).values
        np.testing.assert_array_equal(scores.sel(layer=CHOSEN).values, picked)
    # Planted: even voxels follow the first layer, odd ones the last.
    share = (arrays["voxel"]["chosen_layer"].values[:, ::2] == "l0").mean()
    assert share > 0.95


def test_the_chosen_layer_is_corrected_by_its_own_ceiling():
    model, voxels, _ = simulated(noise=1.5)
    arrays = voxel_encoding(model, voxels, correction="tuckute2023", **QUICK).arrays
    picked = arrays["split_scores"].sel(layer=arrays["chosen_layer"]).values
    np.testing.assert_array_equal(arrays["split_scores"].sel(layer=CHOSEN).values, picked)


@pytest.mark.parametrize("correction", ["none", "reliability", "tuckute2023"])
def test_blocks_of_units_and_predictions_that_are_not_kept_change_no_score(correction, monkeypatch):
    model, voxels, _ = simulated()
    setup, bases = setup_of(model, voxels, Scoring("r2", correction, 0.1, "median"))
    divisors = split_divisors(setup)
    whole = fit_layer_scores(bases[0], divisors, setup)
    monkeypatch.setattr("brainalign.measures.voxel_fits.COLUMNS", 3)
    cut = fit_layer_scores(bases[0], divisors, setup)
    alone = fit_layer_scores(bases[0], divisors, setup, keep_predictions=False)
    for name in ("scores", "divisors", "loo_r2", "at_edge"):
        np.testing.assert_allclose(getattr(cut, name), getattr(whole, name), rtol=1e-10)
        np.testing.assert_array_equal(getattr(alone, name), getattr(cut, name))
    np.testing.assert_allclose(cut.predictions, whole.predictions, rtol=1e-9, atol=1e-12)
    assert alone.predictions == []


def test_an_interval_and_a_p_change_no_score():
    model, voxels, _ = simulated(n=30)
    with_all = voxel_encoding(model, voxels, n_splits=3, n_bootstrap=20, n_permutations=2)
    scores = voxel_encoding(model, voxels, n_splits=3, n_bootstrap=0, n_permutations=0)
    np.testing.assert_array_equal(scores.table["value"], with_all.table["value"])
    np.testing.assert_array_equal(scores.arrays["split_scores"], with_all.arrays["split_scores"])
    assert scores.table["p"].isna().all()
    assert with_all.table["p"].notna().all()


def test_resampled_medians_are_those_of_copies():
    model, voxels, _ = simulated(n=30)
    setup, bases = setup_of(model, voxels, Scoring("r2", "reliability", 0.1, "median"))
    divisors = split_divisors(setup)
    fit = fit_layer_scores(bases[0], divisors, setup)
    counts = np.random.default_rng(0).multinomial(30, np.full(30, 1 / 30), size=4)
    got = resampled_medians(counts.astype(float), fit, setup)
    for c, medians in zip(counts, got, strict=True):
        scores = []
        for predicted, (_, test), divisor in zip(fit.predictions, setup.positions, divisors, strict=True):
            p = np.repeat(predicted, c[test], axis=0)
            q = np.repeat(setup.y[test], c[test], axis=0)
            r = np.array([np.corrcoef(p[:, v], q[:, v])[0, 1] for v in range(p.shape[1])])
            scores.append(np.maximum(r, 0) ** 2 / divisor)
        values = np.nanmedian(scores, axis=0)
        for s in range(3):
            own = voxels["subject"].values == f"sub-{s}"
            assert medians[s, 0] == pytest.approx(np.nanmedian(values[own]))
            assert medians[s, 2] == pytest.approx(np.nanmedian(values[own & (voxels["region"].values == "B")]))


@pytest.mark.parametrize("by_voxel", [True, False])
def test_permuted_orders_are_the_measure_of_permuted_responses(by_voxel, monkeypatch):
    monkeypatch.setattr("brainalign.measures.voxel_fits.COLUMNS", 60)
    model, voxels, _ = simulated(n=30, noise=2.0)
    scoring = Scoring("r2", "none", 0.2, "median")
    setup, bases = setup_of(model, voxels, scoring, by_voxel)
    orders = np.stack([np.random.default_rng(k).permutation(30) for k in range(5)])
    got = np.concatenate(list(null_scores(bases, setup, orders)), axis=1)
    ids = voxels["stimulus"].values
    for k, order in enumerate(orders):
        permuted = voxels.copy(data=voxels.values[:, order])
        assert permuted["stimulus"].values.tolist() == ids.tolist()
        if not by_voxel:
            permuted = permuted.assign_coords(subject=("unit", ["all"] * 24))
        alone = voxel_encoding(
            model, permuted, n_splits=4, min_reliability=0.2, choose_by="voxel" if by_voxel else "subject", **QUICK
        )
        np.testing.assert_allclose(got[:, k], alone.arrays["scores"].values, rtol=1e-8)


def test_p_counts_the_permutations_that_reach_the_score():
    model, voxels, _ = simulated(noise=0.5)
    result = voxel_encoding(model, voxels, n_permutations=19, n_bootstrap=0)
    assert result.table.query("layer == 'chosen'")["p"].eq(1 / 20).all()
    p = result.arrays["p"]
    assert p.dims == ("layer", "unit")
    assert (p.sel(layer="l0").values[::2] == 1 / 20).all()
    assert p.min() == 1 / 20
    again = voxel_encoding(model, voxels, n_permutations=19, n_bootstrap=0)
    pd.testing.assert_frame_equal(result.table, again.table)


def test_one_subject_has_no_group_interval_and_says_so():
    model, voxels, _ = simulated(n_subjects=1)
    table = voxel_encoding(model, voxels, n_permutations=0, n_bootstrap=50).table
    assert table["n"].eq(1).all()
    assert table["note"].str.contains("one subject: the interval is over stimuli alone").all()
    assert table["sem_within"].isna().all()
    result = voxel_encoding(model, voxels.drop_vars(["subject", "region"]), **QUICK)
    assert any("no coordinate 'subject'" in w for w in result.warnings)
    assert set(result.table["target"]) == {"all units"}


def test_units_and_subjects_that_are_left_out_are_named():
    model, voxels, _ = simulated(noise=0.3)
    noise = np.random.default_rng(1).standard_normal(voxels.shape)
    bad = (voxels["subject"] == "sub-1").values
    voxels = voxels.copy(data=np.where(bad, noise, voxels.values))
    result = voxel_encoding(model, voxels, min_reliability=0.8, n_permutations=9, n_bootstrap=40)
    row = result.table.query("layer == 'l0' and target == 'all units'").iloc[0]
    assert (row["n"], row["n_units"], row["n_dropped"]) == (2, 16, 8)
    assert any("8 of 24 units are left out" in w and "8, 9, 10, 11, 12 and 3 more" in w for w in result.warnings)
    assert any("sub-1 (all units)" in w for w in result.warnings)
    only = voxels.isel(unit=np.flatnonzero(bad | (voxels["region"] == "A").values))
    result = voxel_encoding(model, only, min_reliability=0.8, n_permutations=9, n_bootstrap=40)
    gone = result.table.query("target == 'B'")
    assert gone["value"].isna().all()
    assert gone["p"].isna().all()
    assert gone["note"].eq("no unit is reliable enough").all()
    with pytest.raises(MeasureError, match=r"no unit reaches a reliability of 0\.8"):
        voxel_encoding(model, voxels.isel(unit=np.flatnonzero(bad)), min_reliability=0.8, **QUICK)


def test_stimuli_are_matched_by_id_and_given_splits_are_used():
    model, voxels, _ = simulated()
    order = np.random.default_rng(1).permutation(60)
    one, two = (voxel_encoding(model, v, correction="tuckute2023", **QUICK).table for v in (voxels, voxels[:, order]))
    pd.testing.assert_series_equal(one["value"], two["value"])
    ids = model["stimulus"].values.tolist()
    table = voxel_encoding(model, voxels, splits=[Split(ids[:40], ids[40:])], **QUICK).table
    assert table["n_train"].eq(40).all()
    assert table["n_splits"].eq(1).all()
    labelled = voxels.assign_coords(category=("stimulus", np.repeat(["a", "b", "c"], 20)))
    table = voxel_encoding(model, labelled, splits="leave-one-category-out", **QUICK).table
    assert table[["n_splits", "n_test"]].drop_duplicates().values.tolist() == [[3, 20]]
    with pytest.raises(ResponseError, match="lacks 's"):
        voxel_encoding(model[1:], voxels)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"statistic": "r3"}, "no statistic 'r3'"),
        ({"protocol": "tuckute"}, "no protocol 'tuckute'; did you mean 'tuckute2023'"),
        ({"correction": "tuckute"}, "no correction 'tuckute'"),
        ({"choose_by": "hemisphere"}, "no way to choose_by 'hemisphere'"),
        ({"correction": "tuckute2023", "statistic": "r"}, "is of r2, not of r"),
        ({"n_bootstrap": 5}, "n_bootstrap is 5"),
        ({"n_permutations": -1}, "n_permutations is -1"),
        ({"min_reliability": 1.0}, "expected at least 0 and less than 1"),
        ({"splits": []}, "no splits are given"),
        ({"splits": [Split(["s1", "s2", "x"], ["s4", "s5", "s6"])]}, "no responses to: x"),
        ({"splits": [Split(["s1", "s2", "s3"], ["s3", "s5", "s6"])]}, "a split has s3 on both sides"),
        ({"splits": [Split(["s1", "s2", "s3"], ["s4", "s5"])]}, "fits 3 and tests 2 stimuli; at least 3 and 3"),
        ({"folds": "max"}, "no rule 'max'"),
    ],
)
def test_options_out_of_range(options, message):
    model, voxels, _ = simulated()
    with pytest.raises(MeasureError, match=message):
        voxel_encoding(model, voxels, **options)


def test_voxels_that_cannot_be_used():
    model, voxels, _ = simulated()
    single = voxels[0].drop_vars("repetition")
    assert voxel_encoding(model, single, **QUICK).table["value"].notna().all()
    for options in ({"correction": "reliability"}, {"min_reliability": 0.1}):
        with pytest.raises(MeasureError, match="brain has no repetitions"):
            voxel_encoding(model, single, **options)
    constant = voxels.copy(data=np.where(voxels["unit"].values == "3", 1.0, voxels.values))
    with pytest.raises(MeasureError, match="1 units respond alike to all stimuli: 3;"):
        voxel_encoding(model, constant)
    with pytest.raises(MeasureError, match="no coordinate 'region' to choose"):
        voxel_encoding(model, voxels.drop_vars("region"), choose_by="region")
    with pytest.raises(MeasureError, match="at least 8 stimuli, found 7"):
        voxel_encoding(model[:7], voxels[:, :7])


def test_arrays_can_be_written(tmp_path):
    from brainalign.report.folder import _write_arrays

    model, voxels, _ = simulated()
    _write_arrays(voxel_encoding(model, voxels, n_permutations=9, n_bootstrap=20), tmp_path / "arrays" / "a.nc")


@pytest.mark.slow
@pytest.mark.parametrize("least", [None, 0.1])
def test_p_rejects_noise_at_its_level(least):
    """Under the null 5 % of p are at most .05, for each layer and the chosen one, with selection and without.

    2,000 groups of two subjects, as 50 regions in each of 40 simulations.
    """
    p, p_units = [], []
    for seed in range(40):
        model, voxels, _ = simulated(n=24, widths=(4, 12), n_voxels=100, n_subjects=2, signal=1e-9, seed=seed)
        voxels = voxels.assign_coords(region=("unit", [f"r{v % 50}" for v in range(200)]))
        result = voxel_encoding(
            model, voxels, statistic="r", min_reliability=least, n_splits=3, n_permutations=39, n_bootstrap=0, seed=seed
        )
        regions = result.table.query("target != 'all units'")
        p.append(regions.pivot(index="target", columns="layer", values="p").to_numpy())
        p_units.append(result.arrays["p"].values.T)
    for values in (np.concatenate(p), np.concatenate(p_units)):
        tested = values[~np.isnan(values).any(axis=1)]
        assert len(tested) > 1900
        rejected = (tested <= 0.05).mean(axis=0)
        assert ((rejected > 0.03) & (rejected < 0.07)).all(), rejected
