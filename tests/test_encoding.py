"""Component encoding: the published numbers, planted truth, and expectation on noise."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import pearsonr

from brainalign.errors import MeasureError, ResponseError
from brainalign.measures.encoding import CHOSEN, component_encoding
from brainalign.measures.layer_fits import Penalties, choose_layer, fit_layer
from brainalign.measures.resampling import draw_orders
from brainalign.measures.ridge import decompose, decompose_splits, relative_alphas, ridge_predict
from brainalign.measures.scores import score
from brainalign.measures.splits import Split, make_splits
from brainalign.responses import make_responses


def simulated(n=60, widths=(5, 80), n_targets=4, signal=1.0, seed=0):
    """Return a model of several layers, of which the first drives the targets, and the targets."""
    rng = np.random.default_rng(seed)
    ids = [f"s{i}" for i in rng.permutation(n)]
    layers = [rng.standard_normal((n, w)) for w in widths]
    y = signal * layers[0] @ rng.standard_normal((widths[0], n_targets)) + rng.standard_normal((n, n_targets))
    names = [f"l{k}" for k, w in enumerate(widths) for _ in range(w)]
    model = make_responses(np.hstack(layers), ids, unit_info={"layer": names}, attrs={"source": "net"})
    return model, make_responses(y, ids, [f"c{t}" for t in range(n_targets)], attrs={"source": "brain"})


@pytest.mark.realdata
@pytest.mark.parametrize(("kind", "target_key"), [("comp", "comp_R"), ("vox", "voxel_data")])
def test_published_code_of_tuckute_2023(shared_data, kind, target_key):
    """The released code, run on the same input (regression.md section 1).

    Compared where its own result does not depend on the number of threads. Of those, the voxels for which it took a
    penalty above 1e12 and still varied are left out: there all penalties tie in leave-one-out to rounding, rounding
    picks one, and that one decides whether the prediction vanishes beside the offset.
    """
    with np.load(shared_data / "oracles" / "tuckute_oracle.npz", allow_pickle=False) as oracle:
        ids = oracle["stim_names"].tolist()
        features, targets = oracle["X"], oracle[target_key]
        expected, stable = oracle[f"{kind}_r2_test"], oracle[f"{kind}_stable_r2"]
        alphas, constant = oracle[f"{kind}_alphas"], oracle[f"{kind}_warning_constant_mean"] > 0
    if targets.ndim == 3:
        targets = targets.mean(axis=2)
    model = make_responses(features, ids, attrs={"source": "X"})
    result = component_encoding(
        model, make_responses(targets, ids), protocol="tuckute2023", n_permutations=0, n_bootstrap=0
    )
    scores = result.arrays["scores"].values[0].T
    undecided = (alphas > 1e12) & ~constant
    agree = np.abs(scores - expected) < 1e-6
    assert agree[stable & ~undecided].all()
    assert (stable & ~undecided).sum() >= 0.97 * stable.sum()
    # Beyond that, all but a handful of the rounding-decided ones agree too.
    assert (~agree[stable]).sum() <= 8


def test_planted_layer_and_targets_are_found():
    model, brain = simulated(n=120)
    result = component_encoding(model, brain, n_permutations=99, n_bootstrap=200)
    table = result.table.set_index(["layer", "target"])
    # A linear readout of 5 features with unit noise: r2 tends to the explained share of variance.
    share = 1 - 1 / np.var(brain.values, axis=0)
    np.testing.assert_allclose(table.loc["l0", "value"], share, atol=0.12)
    assert (table.loc["l0", "p"] == 0.01).all()
    assert (table.loc["l1", "value"] < 0.2).all()
    np.testing.assert_allclose(table.loc[CHOSEN, "value"], table.loc["l0", "value"])
    assert ((table["ci_low"] <= table["value"]) & (table["value"] <= table["ci_high"])).all()


def test_scores_equal_a_loop_over_splits_with_scikit_learn():
    from sklearn.linear_model import RidgeCV

    model, brain = simulated(n=40, widths=(12,))
    result = component_encoding(model, brain, n_splits=4, n_permutations=0, n_bootstrap=0, protocol="tuckute2023")
    index = {s: i for i, s in enumerate(model["stimulus"].values)}
    for s, split in enumerate(make_splits(list(index), "tuckute2023", n_splits=4)):
        train, test = ([index[i] for i in part] for part in split)
        for t in range(brain.sizes["unit"]):
            y = brain.values[:, t]
            peer = RidgeCV(alphas=10.0 ** np.arange(-8, 9)).fit(model.values[train], y[train])
            r = pearsonr(peer.predict(model.values[test]), y[test]).statistic
            assert result.arrays["scores"].values[0, s, t] == pytest.approx(max(r, 0) ** 2, abs=1e-6)


def test_stimuli_are_matched_by_id_not_by_position():
    model, brain = simulated()
    shuffled = brain.isel(stimulus=np.random.default_rng(1).permutation(brain.sizes["stimulus"]))
    one, two = (component_encoding(model, b, n_permutations=19, n_bootstrap=50).table for b in (brain, shuffled))
    # The draws follow the order of the brain; the scores do not.
    pd.testing.assert_series_equal(one["value"], two["value"])


def test_other_stimuli_are_named():
    model, brain = simulated()
    with pytest.raises(ResponseError, match="lacks 's"):
        component_encoding(model.isel(stimulus=slice(1, None)), brain)


def test_repetitions_are_averaged():
    model, brain = simulated()
    rng = np.random.default_rng(2)
    noise = rng.standard_normal((2, *brain.shape))
    repeated = make_responses(
        brain.values + np.concatenate([noise, -noise]), brain["stimulus"].values, brain["unit"].values
    )
    one, two = (component_encoding(model, b, n_permutations=0, n_bootstrap=0).table for b in (brain, repeated))
    np.testing.assert_allclose(one["value"], two["value"])


def test_permuted_orders_are_the_regression_of_permuted_targets():
    model, brain = simulated(n=30, widths=(10,))
    orders = draw_orders(30, 6, np.random.default_rng(0))
    positions = [(list(range(15)), list(range(15, 30))), (list(range(10, 30)), list(range(10)))]
    at_once = fit_layer(model.values, brain.values, positions, orders)
    for k, order in enumerate(orders):
        alone = fit_layer(model.values, brain.values[order], positions, orders[:1])
        np.testing.assert_allclose(at_once.scores[:, k], alone.scores[:, 0], rtol=1e-8)
        np.testing.assert_allclose(at_once.loo_r2[:, k], alone.loo_r2[:, 0], rtol=1e-8)


def test_layer_choice_uses_the_training_part_only():
    """Choosing the best of many layers does not lift the score of noise (trap 13: 0.163 if chosen on the test part)."""
    scores = []
    for seed in range(40):
        model, brain = simulated(n=40, widths=(10,) * 8, n_targets=3, signal=0, seed=seed)
        positions = [(list(range(0, 40, 2)), list(range(1, 40, 2)))]
        fits = [
            fit_layer(model.values[:, k * 10 : k * 10 + 10], brain.values, positions, np.arange(40)[None])
            for k in range(8)
        ]
        chosen = choose_layer(fits)
        r = [
            np.corrcoef(chosen.predictions[0][:, t], brain.values[1::2, t])[0, 1]
            for t in range(3)
            if np.ptp(chosen.predictions[0][:, t]) > 0
        ]
        scores.append(np.mean(r))
        best = np.argmax([f.loo_r2[0, 0] for f in fits], axis=0)
        for t, k in enumerate(best):
            np.testing.assert_array_equal(chosen.predictions[0][:, t], fits[k].predictions[0][:, t])
    assert abs(np.mean(scores)) < 3 * np.std(scores) / np.sqrt(len(scores))


@pytest.mark.slow
def test_p_rejects_noise_at_its_level():
    """Under the null 5 % of p are below .05, for single layers and for the chosen one."""
    p = []
    for seed in range(400):
        model, brain = simulated(n=24, widths=(6, 30), n_targets=1, signal=0, seed=seed)
        table = component_encoding(model, brain, n_splits=3, n_permutations=39, n_bootstrap=0, seed=seed).table
        p.append(table["p"].to_numpy())
    rejected = (np.array(p) <= 0.05).mean(axis=0)
    assert (np.abs(rejected - 0.05) < 3 * np.sqrt(0.05 * 0.95 / 400)).all(), rejected


def test_given_splits_and_a_fold_too_small():
    model, brain = simulated(n=20)
    ids = model["stimulus"].values.tolist()
    result = component_encoding(model, brain, splits=[Split(ids[:12], ids[12:])], n_permutations=0, n_bootstrap=0)
    assert result.table["n_test"].eq(8).all()
    tested = result.arrays["predictions"].notnull().all(["layer", "target"])
    assert set(tested["stimulus"].values[tested.values]) == set(ids[12:])


def test_a_constant_target_is_named():
    model, brain = simulated()
    brain = brain.copy(data=np.where(brain["unit"].values == "c2", 1.0, brain.values))
    with pytest.raises(MeasureError, match="'c2'"):
        component_encoding(model, brain)


def test_result_says_how_it_came_about():
    model, brain = simulated()
    result = component_encoding(model, brain, n_permutations=0, n_bootstrap=0, seed=5)
    assert result.settings["seed"] == 5
    assert result.table["n"].eq(60).all()
    assert result.table["n_of"].eq("stimuli").all()
    assert result.table["p"].isna().all()


def test_too_few_stimuli_say_how_many_are_needed():
    model, brain = simulated(n=7)
    with pytest.raises(MeasureError, match="at least 8 stimuli, found 7"):
        component_encoding(model, brain)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_permutations": -1}, "n_permutations is -1"),
        ({"n_bootstrap": 5}, "n_bootstrap is 5, expected 0"),
        ({"protocol": "tuckute"}, "no protocol 'tuckute'; did you mean 'tuckute2023'"),
        ({"penalty": "share"}, "no penalty 'share'; did you mean 'shared'"),
        ({"dtype": "float16"}, "no dtype 'float16'"),
    ],
)
def test_options_out_of_range(options, message):
    model, brain = simulated()
    with pytest.raises(MeasureError, match=message):
        component_encoding(model, brain, **options)


def test_jackknife_in_blocks_is_the_jackknife_at_once(monkeypatch):
    from brainalign.measures import resampling

    rng = np.random.default_rng(0)
    x = rng.gamma(2, 1, (50, 3))
    counts = resampling.draw_counts(50, 200, rng)

    def mean(weights):
        return weights @ x / weights.sum(axis=1, keepdims=True)

    at_once = resampling.interval(x.mean(axis=0), counts, mean, 0.95)
    monkeypatch.setattr(resampling, "BLOCK", 7)
    in_blocks = resampling.interval(x.mean(axis=0), counts, mean, 0.95)
    np.testing.assert_allclose(in_blocks[:2], at_once[:2], rtol=1e-12)


@pytest.mark.realdata
@pytest.mark.parametrize("model", ["kim2024-cnn:no-music/0", "kim2024-cnn@random:0"])
def test_numbers_printed_in_the_readme(shared_data, model):
    """The README's table of the claim holds what this code computes from the networks that ship."""
    import brainalign as ba
    from brainalign.measures.selective import selective_profile, selective_ratio

    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    cells = next(line for line in readme.splitlines() if line.startswith(f"| {model} |")).split("|")
    brain = ba.load_brain("nh2015-components")
    responses = ba.extract(ba.load_model(model), ba.load_stimuli("natsound165"), layers=["avgpool"])
    ratio = selective_ratio(responses, categories=["Music", "Song"], n_bootstrap=0).table.iloc[0]
    assert cells[2].split()[0] == f"{ratio['value']:.2f}"
    assert cells[3].strip() == f"{ratio['effect_size']:.2f}"
    profile = selective_profile(
        responses, brain, categories=["Music", "Song"], n_bootstrap=0, n_permutations=0
    ).table.query("units == 'selected units'")
    assert cells[4].strip() == f"{profile.set_index('target').loc['music', 'value']:.2f}"
    encoding = component_encoding(responses, brain, n_permutations=0, n_bootstrap=0).table.set_index("target")
    assert cells[6].strip() == f"{encoding.loc['music', 'value']:.2f}"


@pytest.mark.parametrize("columns", [1, 12, 10_000])
def test_permutations_are_counted_as_they_come(monkeypatch, columns):
    """In blocks of any size, the p of the scores of all permutations at once, choice of a layer included."""
    from brainalign.measures import layer_fits
    from brainalign.stats import permutation_p

    model, brain = simulated(n=24, widths=(4, 12, 40), n_targets=3, signal=0.3)
    orders = draw_orders(24, 39, np.random.default_rng(3))
    positions = [(list(range(0, 24, 2)), list(range(1, 24, 2))), (list(range(12)), list(range(12, 24)))]
    layers = {"a": slice(0, 4), "b": slice(4, 16), "c": slice(16, None)}
    bases = {k: decompose_splits(model.values[:, units], positions) for k, units in layers.items()}
    fits = {k: fit_layer(own, brain.values, positions, orders) for k, own in bases.items()}
    fits[CHOSEN] = choose_layer(list(fits.values()))
    medians = {k: np.median(fit.scores, axis=0) for k, fit in fits.items()}
    monkeypatch.setattr(layer_fits, "COLUMNS", columns)
    p = layer_fits.permuted_p(
        bases, {k: m[0] for k, m in medians.items()}, brain.values, positions, orders[1:], layer_fits.Penalties()
    )
    for k, m in medians.items():
        np.testing.assert_allclose(p[k], permutation_p(m[0], m[1:]))
    assert len({tuple(x) for x in p.values()}) > 1


def grouped(n_groups=20, size=3, seed=0, informative=False):
    """Return a model and a brain that share nothing but the recording a sound was cut from, unless informative."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(n_groups), size)
    ids = [f"s{i:03d}" for i in range(len(group))]
    info = {"recording": [f"r{g}" for g in group], "category": [f"c{g % 4}" for g in group]}
    x = rng.standard_normal((n_groups, 30))[group] + 0.1 * rng.standard_normal((len(group), 30))
    y = (x[:, :4] if informative else rng.standard_normal((n_groups, 4))[group]) + 0.1 * rng.standard_normal(
        (len(group), 4)
    )
    return make_responses(x, ids, stimulus_info=info), make_responses(y, ids)


def test_groups_are_kept_together_outside_and_inside():
    """Cuts of one recording on both sides let a model that knows nothing score; whole recordings left out do not."""
    options = {"n_permutations": 0, "n_bootstrap": 0, "n_splits": 5}
    model, brain = grouped()
    torn = component_encoding(model, brain, splits="kfold", **options).table["value"]
    whole = component_encoding(model, brain, splits="grouped-kfold", groups="recording", **options)
    assert torn.min() > 0.5
    assert whole.table["value"].max() < 0.25
    assert "leave-one-recording-out" in whole.settings["penalty"]
    model, brain = grouped(n_groups=60, informative=True)
    known = component_encoding(model, brain, splits="grouped-kfold", groups="recording", n_inner_folds=4, **options)
    assert known.table["value"].min() > 0.9


def test_groups_that_splits_would_tear_are_named():
    model, brain = grouped()
    with pytest.raises(
        MeasureError, match=r"\(tuckute2023\) tear 14 groups apart, for instance 'r0'; choose 'grouped-kfold'"
    ):
        component_encoding(model, brain, groups="recording", n_permutations=0, n_bootstrap=0)
    with pytest.raises(MeasureError, match="'recordings'; did you mean 'recording'"):
        component_encoding(model, brain, splits="grouped-kfold", groups="recordings")


@pytest.mark.parametrize("splits", ["leave-one-category-out", "stratified-halves", "stratified-kfold"])
def test_splits_by_category_take_it_from_either_side(splits):
    model, brain = grouped(n_groups=24, informative=True)
    category = model["category"].values
    one = component_encoding(model, brain, splits=splits, n_splits=4, n_permutations=0, n_bootstrap=0)
    moved = brain.assign_coords(category=("stimulus", category))
    other = component_encoding(
        model.drop_vars("category"), moved, splits=splits, n_splits=4, n_permutations=0, n_bootstrap=0
    )
    pd.testing.assert_frame_equal(one.table, other.table)
    assert one.table["n_splits"].eq(4).all()
    with pytest.raises(MeasureError, match="neither side has a stimulus coordinate 'category'"):
        component_encoding(model.drop_vars("category"), brain, splits=splits)


def test_one_penalty_for_all_targets_is_drawn_anew_in_each_permutation():
    model, brain = simulated(n=40, widths=(30,), n_targets=3)
    orders = draw_orders(40, 4, np.random.default_rng(0))
    positions = [(list(range(20)), list(range(20, 40)))]
    at_once = fit_layer(model.values, brain.values, positions, orders, Penalties(per_target=False))
    for k, order in enumerate(orders):
        basis = decompose_splits(model.values, positions)[0]
        y = brain.values[order]
        fit = ridge_predict(basis, y[:20], share=np.zeros(3, dtype=int))
        assert len(set(fit.alphas)) == 1
        np.testing.assert_allclose(at_once.scores[0, k], score(fit.predictions, y[20:]), rtol=1e-8)


def test_options_of_the_search_change_little_where_there_is_signal():
    model, brain = simulated(n=80)
    values = [
        component_encoding(model, brain, n_permutations=0, n_bootstrap=0, **options).table["value"].to_numpy()
        for options in ({}, {"dtype": "float32"}, {"n_inner_folds": 5}, {"penalty": "shared"}, {"device": "cpu"})
    ]
    np.testing.assert_allclose(values[4], values[0], rtol=1e-7)
    for other in values[1:4]:
        np.testing.assert_allclose(other[:4], values[0][:4], atol=0.05)
    assert not np.array_equal(values[2], values[0])


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [(slice(0, 12), slice(11, 20), "on both sides"), (slice(0, 12), ["s0", "elsewhere"], "no responses to: elsewhere")],
)
def test_given_splits_that_cannot_be(train, test, message):
    model, brain = simulated(n=20)
    ids = sorted(model["stimulus"].values.tolist())
    split = Split(ids[train], ids[test] if isinstance(test, slice) else test)
    with pytest.raises(MeasureError, match=message):
        component_encoding(model, brain, splits=[split])


def test_intervals_of_many_targets_are_made_in_blocks(monkeypatch):
    from brainalign.measures import encoding

    model, brain = simulated(n=40, widths=(5,), n_targets=7)
    at_once = component_encoding(model, brain, n_permutations=0, n_bootstrap=50).table
    monkeypatch.setattr(encoding, "TARGETS", 3)
    pd.testing.assert_frame_equal(component_encoding(model, brain, n_permutations=0, n_bootstrap=50).table, at_once)


def test_penalties_at_the_edge_are_counted():
    model, brain = simulated(n=40, widths=(10,), signal=0)
    splits = make_splits(model["stimulus"].values.tolist(), "tuckute2023")
    warned = component_encoding(model, brain, n_permutations=0, n_bootstrap=0).warnings
    count = 0
    for train, test in splits:
        x, x_test = (model.sel(stimulus=part).values for part in (train, test))
        basis = decompose(x, x_test)
        alphas = ridge_predict(basis, brain.sel(stimulus=train).values).alphas
        grid = relative_alphas(basis.eigenvalues, len(train))
        count += np.isclose(alphas[:, None], grid[[0, -1]]).sum()
    assert 10 < count < 40
    assert [w.split(" of ")[0] for w in warned] == [f"net: in {count}"]
    model, brain = simulated(n=120, widths=(20,))
    assert not component_encoding(model, brain, n_permutations=0, n_bootstrap=0).warnings
