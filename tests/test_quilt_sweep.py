"""Responses to quilts by segment length: of one network, of several, and of a brain."""

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure
from scipy.stats import pearsonr, wilcoxon

from brainalign.errors import MeasureError
from brainalign.measures.quilt_conditions import quilt_conditions
from brainalign.measures.quilt_networks import combine_quilt_sweeps, compare_quilt_sweeps
from brainalign.measures.quilt_sweep import correlations, quilt_sweep
from brainalign.measures.result import Result, result_table
from brainalign.measures.selective import OTHER, SELECTED
from brainalign.models import HookedModel, extract, load_model
from brainalign.report.quilt_figures import plot_quilt_conditions, plot_quilt_sweep
from brainalign.responses import make_responses
from brainalign.stimuli import load_stimuli
from brainalign.stimuli.quilting import SEGMENTS_MS, quilted
from brainalign.stimuli.sets import Manifest, StimulusSet

RATE = 8000
N = 24


def beats(n=N, prefix="s", seconds=1.5):
    """Music: noise that rises over half a second, again and again; the rest: the same energy, faded at random."""
    ids = [f"{prefix}{i:02d}" for i in range(n)]
    category = ["Music" if i % 2 == 0 else "Nature" for i in range(n)]
    table = pd.DataFrame({"file": "-", "category": category}, index=pd.Index(ids, name="stimulus_id"))

    def source(stimulus_id):
        i = ids.index(stimulus_id)
        rng = np.random.default_rng([i, ord(prefix)])
        time = np.arange(round(seconds * RATE)) / RATE + rng.uniform(0, 0.5)
        gain = time % 0.5 + 0.05 if i % 2 == 0 else rng.uniform(0.2, 0.3)
        return (0.2 * gain * rng.standard_normal(len(time))).astype(np.float32), RATE

    return StimulusSet(Manifest(name="beats", version="1", citation="", licence=""), table, source)


class Listener(torch.nn.Module):
    """Units of the first half hear slow changes of level, of the second half the level; each has its gain."""

    def __init__(self):
        super().__init__()
        self.units = torch.nn.Identity()

    def forward(self, waveforms):
        level = waveforms[:, : waveforms.shape[1] // 400 * 400].unflatten(1, (-1, 400)).square().mean(dim=2).sqrt()
        changes = torch.nn.functional.avg_pool1d(level.unsqueeze(1), 4, 1).squeeze(1).std(dim=1)
        gains = torch.linspace(1, 2, 4)
        heard = torch.cat([changes[:, None] * gains, level.mean(dim=1, keepdim=True) * gains], dim=1)
        return self.units(heard)


def listener():
    return HookedModel("listener", Listener(), RATE, {"units": "BC"})


@pytest.fixture(scope="module")
def swept():
    sounds, other, net = beats(), beats(prefix="t"), listener()
    result = quilt_sweep(
        extract(net, sounds),
        net,
        sounds,
        selection=extract(net, other),
        categories=["Music"],
        fraction=0.5,
        order="random",
        n_bootstrap=200,
    )
    return sounds, other, net, result


def pick(result, **about):
    table = result.table
    for column, entry in about.items():
        table = table[table[column] == entry]
    return table


def test_values_and_tests_are_those_of_quilts_made_beforehand(swept):
    sounds, _, net, result = swept
    lengths = [15, 30, 60, 120, 240, 480]
    assert result.settings["segments_ms"] == lengths
    music = sounds.select(categories="Music").ids
    original = extract(net, quilted(sounds, 15, order="original", same_length_as=lengths)).sel(stimulus=music)
    original = original.values[:, :4].mean(axis=1, dtype=float)
    assert pick(result, target=SELECTED, sounds="targets", statistic="response")["value"].iloc[0] == pytest.approx(
        original.mean()
    )
    per_sound = []
    for ms in lengths:
        made = quilted(sounds, ms, order="random", same_length_as=lengths)
        heard = extract(net, made).sel(stimulus=music).values[:, :4]
        per_sound.append(heard.mean(axis=1, dtype=float))
        row = pick(result, target=SELECTED, sounds="targets", statistic="ratio_to_original", segment_ms=ms).iloc[0]
        assert row["value"] == pytest.approx(per_sound[-1].mean() / original.mean())
        # A quilt of three segments may by chance be the original.
        changed = np.count_nonzero(original != per_sound[-1])
        method = "exact" if changed == 12 else "asymptotic"
        expected = wilcoxon(original, per_sound[-1], alternative="greater", method=method)
        assert row["p"] == pytest.approx(expected.pvalue)
        assert row["effect_size"] == pytest.approx(expected.statistic / (changed * (changed + 1) / 2))
        assert row["n"] == 12
        assert row["ci_low"] < row["value"] < row["ci_high"]
    r = pick(result, target=SELECTED, sounds="targets", statistic="log_length_r").iloc[0]
    assert r["value"] == pytest.approx(pearsonr(np.log2(lengths), np.mean(per_sound, axis=1)).statistic)
    slopes = np.polyfit(np.log2(lengths), np.array(per_sound), 1)[0]
    assert r["p"] == pytest.approx(wilcoxon(slopes, method="exact").pvalue)


def test_units_that_need_structure_lose_their_response_to_short_segments(swept):
    """Units that hear changes over half a second respond less to short segments in random order; level units do not."""
    result = swept[3]
    changes = pick(result, target=SELECTED, sounds="targets", statistic="ratio_to_original")
    assert changes["value"].iloc[0] < 0.7
    assert changes["p"].iloc[0] < 0.001
    assert pick(result, target=SELECTED, sounds="targets", statistic="log_length_r")["value"].item() > 0.7
    level = pick(result, target=OTHER, sounds="rest", statistic="ratio_to_original")
    np.testing.assert_allclose(level["value"], 1, atol=0.12)
    assert result.arrays["quilts"].sizes == {"group": 2, "segment_ms": 6, "stimulus": N}
    assert set(result.arrays["roles"].values.ravel()) == {"select", "test"}


def test_halves_select_for_each_other(swept):
    sounds, _, net, _ = swept
    options = {"categories": ["Music"], "fraction": 0.5, "n_bootstrap": 0, "segments_ms": [120, 30]}
    result = quilt_sweep(extract(net, sounds), net, sounds, **options)
    assert result.settings["segments_ms"] == [30, 120]
    assert (pick(result, statistic="response")["n"] == N // 2).all()
    assert {"select", "test"} == set(result.arrays["roles"].values.ravel())
    again = quilt_sweep(extract(net, sounds), net, sounds, **options)
    pd.testing.assert_frame_equal(result.table, again.table)
    p = pick(result, statistic="ratio_to_original")["p"]
    assert p.between(0, 1).all()


def test_arrays_are_in_the_order_of_the_set(swept):
    sounds, _, net, with_selection = swept
    ids = sounds.ids[::-1]
    shuffled = sounds.select(ids)
    assert shuffled.ids == ids
    options = {"categories": ["Music"], "fraction": 0.5, "n_bootstrap": 0, "segments_ms": [30, 120]}
    arrays = quilt_sweep(extract(net, sounds), net, shuffled, **options).arrays
    for name in ("originals", "quilts", "roles"):
        assert arrays[name]["stimulus"].values.tolist() == ids
    is_music = sounds.table.loc[ids, "category"].eq("Music").tolist()
    assert arrays["originals"]["is_target"].values.tolist() == is_music
    # Both halves hear the same sound: what stands beside an id is the response to it.
    heard = extract(net, quilted(sounds, 30, order="original", same_length_as=[30, 120]))
    levels = heard.sel(stimulus=ids).values[:, 4:].mean(axis=1)
    np.testing.assert_allclose(arrays["originals"].sel(group=1).values, levels, rtol=1e-5)
    roles = with_selection.arrays["roles"]
    assert roles["stimulus"].values.tolist()[: len(ids)] == sounds.ids
    assert (roles.values[0] == ["test"] * len(ids) + ["select"] * (roles.sizes["stimulus"] - len(ids))).all()


def test_p_is_uniform_where_order_does_not_matter():
    """Stationary noise, units that hear its level: quilts in original order against the original give no difference."""
    sounds, net = beats(), listener()
    heard = extract(net, sounds)
    options = {"categories": ["Music"], "fraction": 0.5, "n_bootstrap": 0, "segments_ms": [30, 120]}
    result = quilt_sweep(heard, net, sounds, order="original", **options)
    ratios = pick(result, statistic="ratio_to_original")
    np.testing.assert_allclose(ratios["value"], 1)
    assert (ratios["p"] == 1).all()
    assert (ratios["effect_size"] == 0.5).all()
    assert pick(result, statistic="log_length_r")["value"].isna().all()
    assert pick(result, statistic="log_length_r")["note"].str.contains("same to all lengths").all()


def test_impossible_sweeps():
    sounds, net = beats(), listener()
    heard = extract(net, sounds)
    for lengths, message in (
        ([60], "two or more different ones"),
        ([60, 60], "two or more different ones"),
        ([60, 0], "expected positive ones"),
        ([], "expected positive ones"),
    ):
        with pytest.raises(MeasureError, match=message):
            quilt_sweep(heard, net, sounds, categories=["Music"], segments_ms=lengths)
    with pytest.raises(Exception, match="too short for a quilt of 960-ms segments"):
        quilt_sweep(heard, net, sounds, categories=["Music"], segments_ms=[60, 960])


def test_demo_sounds_and_a_trained_network():
    every = load_stimuli("demo")
    sounds, net = every.select(every.ids[::3]), load_model("kim2024-cnn:no-music/0")
    heard = extract(net, sounds, layers=["avgpool"])
    result = quilt_sweep(heard, net, sounds, categories=["Music", "Song"], segments_ms=[60, 960], n_bootstrap=50)
    assert len(result.table) == 2 * 2 * (3 + 2 + 1)
    assert result.table["value"].notna().all()
    assert (result.table["model"] == "kim2024-cnn:no-music/0").all()
    ax = result_axes(plot_quilt_sweep, result)
    drawn = np.concatenate([np.asarray(line.get_ydata(), dtype=float) for line in ax.lines])
    for value in pick(result, statistic="response")["value"]:
        assert np.isclose(drawn, value).any()
    assert [t.get_text() for t in ax.get_xticklabels()] == ["60", "960", "original"]
    with pytest.raises(MeasureError, match="did you mean 'avgpool'"):
        plot_quilt_sweep(Figure().subplots(), result, layer="avgpol")


def result_axes(plot, result):
    ax = plot(Figure().subplots(), result)
    ax.figure.canvas.draw()
    return ax


# Signed ranks of five networks with these W+: the differences original - quilt.
DIFFERENCES = {
    15: (1, 2, 3, 4, 5),
    8: (-1, -2, 3, -4, 5),
    0: (-1, -2, -3, -4, -5),
    1: (1, -2, -3, -4, -5),
    2: (-1, 2, -3, -4, -5),
    3: (1, 2, -3, -4, -5),
    5: (1, -2, -3, 4, -5),
    7: (-1, -2, 3, 4, -5),
    9: (-1, -2, -3, 4, 5),
    4: (-1, -2, -3, 4, -5),
}
#: Kim et al. 2024: U = W+ for 50 to 1600 ms, and the p and effect sizes as printed.
PUBLISHED = {
    (SELECTED, "targets"): ((15, 15, 15, 8, 0, 1), (0.031, 0.031, 0.031, 0.500, 1, 0.969), (1, 1, 1, 0.533, 0, 0.067)),
    (SELECTED, "rest"): ((15, 15, 15, 0, 0, 0), (0.031, 0.031, 0.031, 1, 1, 1), (1, 1, 1, 0, 0, 0)),
    (OTHER, "targets"): (
        (2, 3, 9, 7, 2, 9),
        (0.938, 0.906, 0.406, 0.594, 0.938, 0.406),
        (0.133, 0.2, 0.6, 0.467, 0.133, 0.6),
    ),
    (OTHER, "rest"): (
        (3, 2, 5, 1, 1, 4),
        (0.906, 0.938, 0.781, 0.969, 0.969, 0.844),
        (0.2, 0.133, 0.333, 0.067, 0.067, 0.267),
    ),
}


def network(k, curves, original=1.0, name="net"):
    """A sweep with these responses to quilts, by group and kind."""
    rows = []
    for (target, sounds), quilts in curves.items():
        about = {"measure": "quilt-sweep", "model": f"{name}/{k}", "layer": "avgpool", "target": target}
        for ms, value in zip([np.nan, *SEGMENTS_MS["kim2024"]], [original, *quilts], strict=True):
            rows.append(about | {"sounds": sounds, "statistic": "response", "value": value, "segment_ms": ms})
    settings = {"segments_ms": list(SEGMENTS_MS["kim2024"]), "protocol": "kim2024"}
    return Result("quilt-sweep", result_table(rows), settings=settings)


def test_tests_over_five_networks_are_the_published_ones():
    networks = [
        network(k, {key: [1 - 0.01 * DIFFERENCES[w][k] for w in ranks] for key, (ranks, *_) in PUBLISHED.items()})
        for k in range(5)
    ]
    combined = combine_quilt_sweeps(networks, name="no music")
    for (target, sounds), (ranks, p, effects) in PUBLISHED.items():
        rows = pick(combined, target=target, sounds=sounds, statistic="ratio_to_original")
        assert rows["segment_ms"].tolist() == list(SEGMENTS_MS["kim2024"])
        assert rows["w_plus"].tolist() == list(ranks)
        np.testing.assert_allclose(rows["p"], p, atol=6e-4)
        np.testing.assert_allclose(rows["effect_size"], effects, atol=6e-4)
        assert (rows["n"] == 5).all()
        assert (rows["n_of"] == "networks").all()


def test_means_and_correlations_over_networks():
    rng = np.random.default_rng(0)
    curves = rng.normal(size=(5, 6)) * 0.05 + np.linspace(0.6, 0.77, 6)
    networks = [network(k, {(SELECTED, "targets"): c}, original=0.75 + 0.01 * k) for k, c in enumerate(curves)]
    combined = combine_quilt_sweeps(networks, name="five")
    x = np.log2(SEGMENTS_MS["kim2024"])
    pooled = pearsonr(np.tile(x, 5), curves.ravel())
    row = pick(combined, statistic="pooled_log_length_r").iloc[0]
    assert (row["value"], row["p"]) == pytest.approx((pooled.statistic, pooled.pvalue))
    assert (row["n"], row["n_of"]) == (30, "lengths x networks")
    own = [pearsonr(x, c).statistic for c in curves]
    row = pick(combined, statistic="log_length_r").iloc[0]
    assert row["value"] == pytest.approx(np.mean(own))
    assert row["p"] == pytest.approx(wilcoxon(own, method="exact").pvalue)
    responses = pick(combined, statistic="response")
    assert responses["segment_ms"].isna().tolist() == [True] + 6 * [False]
    np.testing.assert_allclose(responses["value"], [0.77, *curves.mean(axis=0)])
    np.testing.assert_allclose(responses["sd"].iloc[1:], curves.std(axis=0, ddof=1))
    ratios = curves / (0.75 + 0.01 * np.arange(5))[:, None]
    np.testing.assert_allclose(pick(combined, statistic="ratio_to_original")["value"], ratios.mean(axis=0))
    assert len(result_axes(plot_quilt_sweep, combined).lines) == 2


def test_the_published_correlation_has_the_published_p():
    """r = .601 over 6 lengths and 5 networks: p = 4.447e-4; made exact by construction."""
    x = np.tile(np.log2(SEGMENTS_MS["kim2024"]), 5)
    noise = np.random.default_rng(1).normal(size=30)
    z = (x - x.mean()) / np.linalg.norm(x - x.mean())
    noise -= noise.mean() + z * (z @ noise)
    y = (0.601 * z + np.sqrt(1 - 0.601**2) * noise / np.linalg.norm(noise)).reshape(5, 6)
    combined = combine_quilt_sweeps(
        [network(k, {(SELECTED, "targets"): c + 1}) for k, c in enumerate(y)], name="no music"
    )
    row = pick(combined, statistic="pooled_log_length_r").iloc[0]
    assert row["value"] == pytest.approx(0.601)
    assert row["p"] == pytest.approx(4.447e-4, rel=1e-3)


def test_two_kinds_of_networks_are_compared_as_published():
    """Memorising against generalising networks: U = 25, 25, 17, 14, 10, 15 of 25."""
    u = [25, 25, 17, 14, 10, 15]
    ranks = np.arange(5) * 5.0
    generalise = [network(k, {(SELECTED, "targets"): 1 + np.full(6, ranks[k])}, 2.0, "g") for k in range(5)]
    # Above the first j of the others: a network adds j to U.
    shares = [[5] * (n // 5) + [n % 5] + [0] * (4 - n // 5) if n < 25 else [5] * 5 for n in u]
    values = np.array([[1 + 5 * j - 2.5 + 0.1 * k for k, j in enumerate(s)] for s in shares])
    memorise = [network(k, {(SELECTED, "targets"): values[:, k]}, 2.0, "m") for k in range(5)]
    compared = compare_quilt_sweeps(
        memorise, generalise, names=("memorise", "generalise"), alternative="greater", method="asymptotic"
    )
    assert compared.table["u"].tolist() == u
    np.testing.assert_allclose(compared.table["p"], [0.006, 0.006, 0.202, 0.417, 0.735, 0.338], atol=6e-4)
    np.testing.assert_allclose(compared.table["effect_size"], [1, 1, 0.68, 0.56, 0.4, 0.6])
    expected = (values.mean(axis=1) - (1 + ranks.mean())) / 2
    np.testing.assert_allclose(compared.table["value"], expected)


def test_networks_that_do_not_belong_together():
    one, two = (network(k, {(SELECTED, "targets"): np.ones(6)}) for k in range(2))
    with pytest.raises(MeasureError, match="found 1 quilt sweeps"):
        combine_quilt_sweeps([one], name="n")
    with pytest.raises(MeasureError, match="net/0 are there twice"):
        combine_quilt_sweeps([one, one], name="n")
    other = network(2, {(SELECTED, "targets"): np.ones(6)})
    other.settings["protocol"] = "overath2015"
    with pytest.raises(MeasureError, match="differ in protocol: kim2024 and overath2015"):
        combine_quilt_sweeps([one, two, other], name="n")
    more = network(3, {(SELECTED, "targets"): np.ones(6), (OTHER, "rest"): np.ones(6)})
    with pytest.raises(MeasureError, match="do not both have avgpool / other units / rest"):
        combine_quilt_sweeps([one, more], name="n")
    with pytest.raises(MeasureError, match="expected results of quilt-sweep"):
        combine_quilt_sweeps([one, Result("rsa", one.table)], name="n")


def test_correlations_of_rows():
    rows = np.vstack([np.random.default_rng(0).normal(size=(3, 6)), np.ones(6)])
    x = np.arange(6.0) ** 2
    np.testing.assert_allclose(correlations(rows, x)[:3], [pearsonr(r, x).statistic for r in rows[:3]])
    assert np.isnan(correlations(rows, x)[3])


def scanned(n_sources=8, seed=0):
    """Voxels: one grows with segment length (for speech only), one is noise, one is constant; with originals."""
    rng = np.random.default_rng(seed)
    rows = [
        (f"{kind}{s}-{ms}", kind, ms, f"{kind}{s}", offset)
        for kind in ("speech", "music")
        for s, offset in enumerate(rng.normal(size=n_sources))
        for ms in (30.0, 60, 120, 240, 480, 960, np.nan)
    ]
    ids, kinds, lengths, sources, offsets = (np.array(c) for c in zip(*rows, strict=True))
    lengths, offsets = lengths.astype(float), offsets.astype(float)
    growth = np.where(kinds == "speech", np.nan_to_num(np.log2(lengths / 30), nan=5), 0)
    noise = rng.normal(size=(len(ids), 2))
    values = np.column_stack([growth + offsets + 0.5 * noise[:, 0], offsets + noise[:, 1], np.ones(len(ids))])
    info = {"category": kinds, "segment_ms": lengths, "source": sources}
    return make_responses(values, ids, ["sts", "noise", "flat"], stimulus_info=info, attrs={"source": "quilt fMRI"})


def test_brain_responses_that_grow_with_segment_length():
    responses = scanned()
    result = quilt_conditions(responses, within="source", n_permutations=200, n_bootstrap=200)
    assert len(result.table) == 2 * 3 * (7 + 1)
    r = pick(result, statistic="log_length_r").set_index(["target", "sounds"])
    quilts = (responses["category"] == "speech") & responses["segment_ms"].notnull()
    own = responses.isel(stimulus=quilts.values).sel(unit="sts")
    assert r.loc[("sts", "speech"), "value"] == pytest.approx(
        pearsonr(np.log2(own["segment_ms"]), own.values).statistic
    )
    assert r.loc[("sts", "speech"), "p"] == pytest.approx(2 / 201)
    assert r.loc[("sts", "music"), "p"] > 0.05
    assert r.loc[("noise", "speech"), "p"] > 0.05
    assert np.isnan(r.loc[("flat", "speech"), "value"])
    assert r.loc[("flat", "speech"), "note"] == "responds alike to all quilts"
    mean = pick(result, statistic="response", target="sts", sounds="speech")
    assert mean["segment_ms"].isna().tolist() == [True] + 6 * [False]
    at_60 = (responses["segment_ms"] == 60) & (responses["category"] == "speech")
    assert mean[mean["segment_ms"] == 60]["value"].item() == pytest.approx(
        responses.isel(stimulus=at_60.values).sel(unit="sts").mean().item()
    )
    assert (mean["ci_low"] < mean["value"]).all()
    assert (result.table["brain"] == "quilt fMRI").all()
    ax = result_axes(plot_quilt_conditions, result)
    assert len(ax.lines) == 4
    with pytest.raises(MeasureError, match="did you mean 'noise'"):
        plot_quilt_conditions(Figure().subplots(), result, target="noisy")


@pytest.mark.slow
def test_permutation_p_is_uniform_on_noise():
    p = []
    for seed in range(60):
        responses = scanned(seed=seed).sel(unit=["noise"])
        table = quilt_conditions(
            responses, categories=["music"], within="source", n_permutations=99, n_bootstrap=0, seed=seed
        ).table
        p.append(table[table["statistic"] == "log_length_r"]["p"].item())
    assert 0.35 < np.mean(p) < 0.65
    assert np.mean(np.array(p) <= 0.1) < 0.25


def test_conditions_that_do_not_suffice():
    responses = scanned()
    with pytest.raises(MeasureError, match="did you mean 'segment_ms'"):
        quilt_conditions(responses, segment_column="segments_ms")
    with pytest.raises(MeasureError, match="no stimulus has the category 'Speech'"):
        quilt_conditions(responses, categories=["Speech"])
    with pytest.raises(MeasureError, match="expected positive lengths"):
        quilt_conditions(responses.assign_coords(segment_ms=("stimulus", np.zeros(responses.sizes["stimulus"]))))
    one = responses.isel(stimulus=(responses["segment_ms"] == 60).values)
    with pytest.raises(MeasureError, match="8 quilts of 1 segment lengths"):
        quilt_conditions(one)


@pytest.mark.realdata
def test_natural_sounds():
    """Two seconds: segments of 15 to 960 ms, for a network on some of the 165 sounds."""
    every = load_stimuli("natsound165")
    sounds, net = every.select(every.ids[::6]), load_model("kim2024-cnn:no-music/0")
    heard = extract(net, sounds, layers=["avgpool"])
    result = quilt_sweep(heard, net, sounds, categories=["Music", "Song"], n_bootstrap=0, segments_ms=[15, 120, 960])
    assert result.table[result.table["statistic"] != "log_length_r"]["value"].notna().all()
