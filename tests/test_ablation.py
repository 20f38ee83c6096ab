"""Ablation: what the hooks silence, which units are taken, and what it costs."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import PermutationMethod, wilcoxon
from sklearn.metrics import average_precision_score

from brainalign.errors import MeasureError, ModelError
from brainalign.measures.ablation import ablation, pool_ablations
from brainalign.measures.readout import fit_scores
from brainalign.measures.selectivity import selectivity
from brainalign.measures.targets import make_parts
from brainalign.models import HookedModel, extract, load_model
from brainalign.models.hooked import ablating
from brainalign.models.labels import class_labels
from brainalign.responses import make_responses, select_units
from brainalign.stimuli import load_stimuli

TARGETS = ["Music", "Song"]
LAYERS = ["pool3", "avgpool", "fc2"]


class Net(torch.nn.Module):
    """A 1-d convolution over time and a sum, whose outputs can be written down."""

    def __init__(self):
        super().__init__()
        self.bands = torch.nn.Conv1d(1, 4, 1, bias=False)
        self.sum = torch.nn.Linear(4, 1, bias=False)
        with torch.no_grad():
            self.bands.weight[:, 0, 0] = torch.tensor([1.0, 2, 3, 4])
            self.sum.weight[:] = 1

    def forward(self, waveforms):
        return self.sum(self.bands(waveforms[:, None]).mean(dim=2))


def net():
    return HookedModel("net", Net(), 8000, {"bands": "BCT", "sum": "BC"})


@pytest.fixture(scope="module")
def sounds():
    return load_stimuli("demo")


@pytest.fixture(scope="module")
def network():
    return load_model("kim2024-cnn:all/0")


@pytest.fixture(scope="module")
def heard(network, sounds):
    return extract(network, sounds, layers=LAYERS)


def test_silent_units_are_zero_and_later_layers_lack_their_share():
    model, waveforms = net(), torch.ones(2, 5)
    with ablating(model, {"bands": [1, 3]}):
        found = model.activations(waveforms, ["bands", "sum"])
    expected = torch.tensor([1.0, 0, 3, 0])[None, :, None].expand(2, 4, 5)
    torch.testing.assert_close(found["bands"], expected)
    torch.testing.assert_close(found["sum"], torch.full((2, 1), 4.0))
    torch.testing.assert_close(model.activations(waveforms, ["sum"])["sum"], torch.full((2, 1), 10.0))


def test_units_of_a_convolution_are_counted_as_extraction_counts_them(network, sounds):
    some = sounds.select(sounds.ids[:3])
    before = extract(network, some, layers=["pool3"])
    silent = np.flatnonzero(before.values.all(axis=0))[::20].tolist()
    with ablating(network, {"pool3": silent}):
        after = extract(network, some, layers=["pool3"])
    assert len(silent) > 3
    np.testing.assert_array_equal(after.values[:, silent], 0)
    kept = np.setdiff1d(np.arange(640), silent)
    np.testing.assert_allclose(after.values[:, kept], before.values[:, kept], rtol=1e-5)
    np.testing.assert_allclose(extract(network, some, layers=["pool3"]), before)


def test_hooks_go_also_after_an_error():
    model = net()
    with pytest.raises(ModelError, match="4 units, there is no unit 4"), ablating(model, {"bands": [4]}):
        model.activations(torch.ones(1, 5), ["sum"])
    assert model.activations(torch.ones(1, 5), ["sum"])["sum"].item() == 10
    with pytest.raises(ModelError, match="did you mean 'bands'"), ablating(model, {"band": [0]}):
        pass


def test_labels_of_the_outputs(network):
    labels = class_labels(network)
    assert len(labels) == network.module.fc2.out_features
    assert "Music" in labels
    assert class_labels(load_model("kim2024-cnn@random:0")) == ()
    assert class_labels(load_model("kim2024-cnn:all/0@permuted:0")) == ()
    assert class_labels(load_model("logmel")) == ()


def groups_by_hand(select, protocol):
    index = np.argsort(selectivity(select.responses.values.astype(float), select.is_target), kind="stable")
    size = np.argsort(np.abs(select.responses.values).mean(axis=0), kind="stable")
    top = slice(223, 255) if protocol == "kim2024" else slice(224, 256)
    return {"top": index[top], "middle": index[112:144], "bottom": index[:32], "top L1": size[top]}


@pytest.mark.parametrize("protocol", ["brainalign", "kim2024"])
def test_outputs_of_the_network_by_hand(network, sounds, heard, protocol):
    """Baseline and every group: the layer after the silenced one computed by plain matrix products."""
    exclude = [*TARGETS, "Mechanical", "Texture", "Tone"]
    result = ablation(
        heard,
        network,
        sounds,
        layer="avgpool",
        categories=TARGETS,
        exclude=exclude,
        output="network",
        protocol=protocol,
    )
    assert result.settings["scored_by"] == "its own outputs"
    table = result.table.set_index(["ablated", "target"])["value"]
    labels = class_labels(network)
    parts = make_parts(select_units(heard, layer="avgpool"), None, TARGETS).parts
    for group in ("none", "top", "middle", "bottom", "top L1"):
        for category in ("Animal", "Speech"):
            ap = []
            for part in parts:
                values = part.test.responses.values.copy()
                if group != "none":
                    values[:, groups_by_hand(part.select, protocol)[group]] = 0
                with torch.no_grad():
                    logits = network.module.fc2(network.module.fc1(torch.from_numpy(values))).numpy()
                positive = part.test.responses["category"].values == category
                ap.append(average_precision_score(positive, logits[:, labels.index(category)]))
            assert table[group, category] == pytest.approx(np.mean(ap), abs=1e-6)
    assert set(result.table["target"]) == {"Animal", "Speech", "mean of categories"}


def by_scipy(gaps):
    """Over all signs of the differences that are not zero."""
    gaps = gaps[gaps != 0]
    return wilcoxon(gaps, alternative="greater", method=PermutationMethod(n_resamples=2 ** len(gaps)))


def test_read_out_by_hand_and_signed_rank(network, sounds, heard):
    result = ablation(heard, network, sounds, layer="avgpool", categories=TARGETS, exclude=TARGETS)
    assert "refitted" in result.settings["scored_by"]
    wide = result.table[result.table["statistic"] == "average_precision"].pivot(
        index="target", columns="ablated", values="value"
    )
    parts = make_parts(select_units(heard, layer="avgpool"), None, TARGETS).parts
    ap = []
    for part in parts:
        left = np.setdiff1d(np.arange(256), groups_by_hand(part.select, "brainalign")["bottom"])
        train, test = (t.responses.values[:, left].astype(float) for t in (part.select, part.test))
        scores = fit_scores(train, part.select.responses["category"].values == "Tone", test)
        ap.append(average_precision_score(part.test.responses["category"].values == "Tone", scores))
    # A unit that is silenced and one that is not there are the same to a read-out.
    assert wide.loc["Tone", "bottom"] == pytest.approx(np.mean(ap))
    means = result.table[result.table["statistic"] == "mAP"].set_index("ablated")
    for group in ("top", "middle", "bottom", "top L1"):
        assert means.loc[group, "value"] == pytest.approx(wide[group].mean())
        peer = by_scipy(wide["none"] - wide[group])
        assert means.loc[group, "p"] == pytest.approx(peer.pvalue)
        n = (wide["none"] != wide[group]).sum()
        assert means.loc[group, "effect_size"] == pytest.approx(peer.statistic / (n * (n + 1) / 2))
    difference = result.table[result.table["ablated"] == "top L1 - top"].iloc[0]
    assert difference["value"] == pytest.approx((wide["top L1"] - wide["top"]).mean())


def test_silencing_what_carries_a_category_costs_it():
    """Two units carry two categories: without its unit a category falls to chance, the other stays."""
    rng = np.random.default_rng(0)
    category = np.repeat(["Music", "Speech", "Nature"], 40)
    values = rng.normal(size=(120, 8))
    values[category == "Music", 0] += 20
    values[category == "Speech", 1] += 20
    data = make_responses(
        values,
        [f"s{i}" for i in range(120)],
        stimulus_info={"category": category},
        unit_info={"layer": ["bands"] * 8},
        attrs={"source": "net"},
    )
    table = ablation(
        data, net(), load_stimuli("demo"), layer="bands", categories=["Music"], units={"speech": [1]}
    ).table
    ap = table[table["statistic"] == "average_precision"].set_index(["ablated", "target"])["value"]
    assert ap["none", "Music"] > 0.99
    assert ap["top", "Music"] < 0.6
    assert ap["top", "Speech"] > 0.99
    assert ap["speech", "Speech"] < 0.6
    assert ap["speech", "Music"] > 0.99


def test_pooled_over_networks(network, sounds, heard):
    def one(name, responses):
        named = responses.copy()
        named.attrs["source"] = name
        called = replace(network, name=name)
        return ablation(named, called, sounds, layer="avgpool", categories=TARGETS, exclude=TARGETS)

    rng = np.random.default_rng(0)
    results = [one("a", heard), one("b", heard + rng.gamma(1, 0.1, heard.shape))]
    pooled = pool_ablations(results).table.set_index("ablated")
    wide = [
        r.table[r.table["statistic"] == "average_precision"].pivot(index="target", columns="ablated", values="value")
        for r in results
    ]
    gaps = np.concatenate([(w["none"] - w["bottom"]).to_numpy() for w in wide])
    peer = by_scipy(gaps)
    assert pooled.loc["bottom", "n"] == 10
    assert pooled.loc["bottom", "p"] == pytest.approx(peer.pvalue)
    with pytest.raises(MeasureError, match="the same network stands twice: a"):
        pool_ablations([results[0], results[0]])
    other = ablation(heard, network, sounds, layer="avgpool", categories=TARGETS, exclude=[*TARGETS, "Tone"])
    with pytest.raises(MeasureError, match="only one of them has the category 'Tone'"):
        pool_ablations([results[0], other])


def test_mistakes_are_named(network, sounds, heard):
    options = {"layer": "avgpool", "categories": TARGETS}
    with pytest.raises(MeasureError, match="no output for 3 of 5 categories: Mechanical, Texture, Tone"):
        ablation(heard, network, sounds, output="network", exclude=TARGETS, **options)
    with pytest.raises(MeasureError, match="did you mean 'Music'"):
        ablation(heard, network, sounds, exclude=["Musik"], **options)
    with pytest.raises(MeasureError, match="there is no unit 256"):
        ablation(heard, network, sounds, units={"mine": [256]}, **options)
    with pytest.raises(MeasureError, match="the name 'top' of a group of units is taken"):
        ablation(heard, network, sounds, units={"top": [2]}, **options)
    with pytest.raises(MeasureError, match="no protocol 'kim'"):
        ablation(heard, network, sounds, protocol="kim", **options)
    rare = heard.assign_coords(
        category=("stimulus", np.where(heard["stimulus"] == "tone03_high_tone", "Beep", heard["category"]))
    )
    with pytest.raises(MeasureError, match=r"categories Beep have fewer than 2 sounds .* exclude = \['Beep'\]"):
        ablation(rare, network, sounds, **options)
    everything = sorted(set(heard["category"].values))
    with pytest.raises(MeasureError, match="all categories are excluded"):
        ablation(heard, network, sounds, exclude=everything, **options)


def test_responses_of_another_model_are_refused(network, sounds, heard):
    other = heard.assign_attrs(source="another")
    with pytest.raises(MeasureError, match="responses are those of another, but the model is"):
        ablation(other, network, sounds, layer="avgpool", categories=TARGETS, exclude=TARGETS)
