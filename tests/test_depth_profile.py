"""Depth profile: a planted gradient, every step by hand, scipy's test, and the limits."""

import numpy as np
import pytest
from scipy.stats import PermutationMethod, wilcoxon

from brainalign.errors import MeasureError
from brainalign.measures.depth_profile import depth_profile, depth_profile_of, relative_best_stage
from brainalign.measures.encoding import CHOSEN
from brainalign.measures.voxel_encoding import voxel_encoding
from brainalign.responses import make_responses
from brainalign.stats import adjust_p, signed_rank
from brainalign.stats.hierarchical import within_subject_sem

REGIONS = ("Primary", "Lateral", "Anterior", "Posterior")


def planted(stages, n=80, n_layers=5, n_subjects=8, n_voxels=6, noise=0.5, seed=0):
    """Return a model and voxels of which those of a region follow the layer that `stages` names for it."""
    rng = np.random.default_rng(seed)
    ids = [f"s{i}" for i in range(n)]
    layers = rng.standard_normal((n_layers, n, 6))
    values, subject, region = [], [], []
    for s in range(n_subjects):
        for name, stage in stages.items():
            for _ in range(n_voxels):
                own = int(np.clip(stage + rng.choice([-1, 0, 0, 1]), 0, n_layers - 1))
                signal = layers[own] @ rng.standard_normal(6)
                values.append(signal / signal.std() + noise * rng.standard_normal(n))
                subject.append(f"sub-{s}")
                region.append(name)
    model = make_responses(
        np.hstack(layers), ids, unit_info={"layer": np.repeat([f"l{k}" for k in range(n_layers)], 6)},
        attrs={"source": "net"},
    )  # fmt: skip
    brain = make_responses(
        np.array(values).T, ids, unit_info={"subject": subject, "region": region}, attrs={"source": "brain"}
    )
    return model, brain


def test_a_planted_gradient_is_found():
    model, brain = planted(dict(zip(REGIONS, (1, 3, 3, 1), strict=True)))
    table = depth_profile(model, brain, n_bootstrap=200).table
    stage = table.query("statistic == 'relative_best_stage'").set_index("target")["value"]
    np.testing.assert_allclose(stage[list(REGIONS)], [0.25, 0.75, 0.75, 0.25], atol=0.1)
    difference = table.query("statistic == 'difference'").set_index("target")
    assert list(difference.index) == ["Lateral - Primary", "Anterior - Primary", "Posterior - Primary"]
    assert (difference["p_holm"][:2] < 0.05).all()
    assert difference["p"].iloc[2] > 0.05
    assert ((table["ci_low"] <= table["value"]) & (table["value"] <= table["ci_high"])).all()


def test_every_step_by_hand():
    model, brain = planted(dict(zip(REGIONS, (1, 3, 2, 2), strict=True)), noise=3.0)
    encoding = voxel_encoding(model, brain, n_permutations=0, n_bootstrap=0)
    result = depth_profile_of(encoding, n_bootstrap=0)
    scores = encoding.arrays["scores"].sel(layer=[f"l{k}" for k in range(5)]).values
    by_subject = np.empty((8, 4))
    for s in range(8):
        for t, region in enumerate(REGIONS):
            units = np.flatnonzero((brain["subject"] == f"sub-{s}") & (brain["region"] == region))
            best = [np.argmax(scores[:, v]) / 4 for v in units if scores[:, v].max() > 0]
            by_subject[s, t] = np.median(best)
    np.testing.assert_allclose(result.arrays["subject_stages"].sel(target=list(REGIONS)), by_subject)
    table = result.table.set_index("target")
    np.testing.assert_allclose(table.loc[list(REGIONS), "value"], by_subject.mean(axis=0))
    np.testing.assert_allclose(table.loc[list(REGIONS), "sem_within"], within_subject_sem(by_subject))
    p = []
    for t, region in enumerate(REGIONS[1:], 1):
        row = table.loc[f"{region} - Primary"]
        difference = by_subject[:, t] - by_subject[:, 0]
        difference = difference[difference != 0]
        peer = wilcoxon(difference, method=PermutationMethod(n_resamples=2**8))  # all signs
        assert row["p"] == pytest.approx(peer.pvalue)
        assert row["value"] == pytest.approx((by_subject[:, t] - by_subject[:, 0]).mean())
        assert row["n"] == 8
        p.append(row["p"])
    np.testing.assert_allclose(table["p_holm"].dropna(), adjust_p(p, "holm"))
    assert table["ci_low"].isna().all()


def test_the_measure_is_that_of_its_encoding():
    model, brain = planted({"Primary": 0, "Lateral": 4}, n_subjects=3)
    direct = depth_profile(model, brain, statistic="r", n_splits=3, n_bootstrap=50, seed=4)
    encoding = voxel_encoding(model, brain, statistic="r", n_splits=3, n_permutations=5, n_bootstrap=20, seed=4)
    other = depth_profile_of(encoding, reference="PRIMARY", n_bootstrap=50, seed=4)
    assert direct.table.equals(other.table)
    assert CHOSEN in encoding.arrays["scores"]["layer"].values
    assert direct.settings["layers"] == ["l0", "l1", "l2", "l3", "l4"]


def test_relative_best_stage():
    nan = np.nan
    scores = np.array(
        [[0.1, 0.5, 0.0, 0.3, nan, -1.0], [0.2, 0.1, 0.0, 0.3, nan, -2.0], [0.9, 0.2, 0.0, 0.1, nan, -3.0]]
    )
    np.testing.assert_array_equal(relative_best_stage(scores), [1, 0, nan, 0.25, nan, nan])
    with pytest.raises(MeasureError, match="at least 2 layers"):
        relative_best_stage(scores[:1])


def test_voxels_that_no_layer_predicts_are_left_out_and_counted():
    """Among noise the first layer would win every tie at 0, and regions of noise would look shallow."""
    model, brain = planted({"Primary": 4, "Lateral": 4}, n_subjects=3)
    noise = np.random.default_rng(0).standard_normal(brain.shape)
    bad = np.arange(brain.sizes["unit"]) % 2 == 0
    result = depth_profile(model, brain.copy(data=np.where(bad, noise, brain.values)), statistic="R2", n_bootstrap=0)
    n = int(np.isnan(result.arrays["best_stage"]).sum())
    assert 0 < n <= bad.sum()
    assert result.table["n_dropped"].sum() == n
    assert any(f"{n} of 36 units are predicted by no layer" in w for w in result.warnings)


def test_subjects_who_lack_a_region_are_not_compared():
    model, brain = planted({"Primary": 1, "Lateral": 3}, n_subjects=4)
    part = brain.isel(unit=np.flatnonzero(~((brain["subject"] == "sub-2") & (brain["region"] == "Lateral"))))
    table = depth_profile(model, part, n_bootstrap=50).table.set_index("target")
    assert table["n"].to_dict() == {"Primary": 4, "Lateral": 3, "Lateral - Primary": 3}


def test_one_subject():
    model, brain = planted({"Primary": 1, "Lateral": 3}, n_subjects=1)
    table = depth_profile(model, brain).table
    assert table["note"].eq("one subject: no interval, no test").all()
    assert table[["ci_low", "ci_high", "p", "p_holm"]].isna().all(axis=None)
    assert table["value"].notna().all()


def test_what_cannot_be_compared():
    model, brain = planted({"Primary": 1, "Lateral": 3}, n_subjects=2)
    with pytest.raises(MeasureError, match="no coordinate 'region'"):
        depth_profile(model, brain.drop_vars("region"))
    with pytest.raises(MeasureError, match="no region 'core' to compare with; known: 'Lateral', 'Primary'"):
        depth_profile(model, brain, reference="core")
    with pytest.raises(MeasureError, match="has one layer, a depth profile needs at least 2"):
        depth_profile(model.drop_vars("layer"), brain)


def test_p_rejects_no_difference_at_its_level():
    """Voxels of both regions prefer layers at random: 5 % of p are at most .05 in 2,000 groups of 12 subjects."""
    rng = np.random.default_rng(0)
    stage = relative_best_stage(rng.standard_normal((20, 2 * 12 * 2000 * 8)))
    by_subject = np.median(stage.reshape(2, 12, 2000, 8), axis=-1)
    p = signed_rank(by_subject[0], by_subject[1]).p
    assert 0.03 < (p <= 0.05).mean() < 0.07
