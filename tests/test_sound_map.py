"""Maps of the sounds show what they are made from, and say how much of it; the page samples, packs and says so."""

from __future__ import annotations

import base64
import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy.spatial.distance import pdist, squareform
from scipy.stats import spearmanr
from test_listening import make_content, page_of
from test_report import Reader, encoding_result

from brainalign.errors import MeasureError
from brainalign.report import figures
from brainalign.report._draw import new_figure
from brainalign.report._embed import packed_steps, script_json
from brainalign.report.colours import category_colours
from brainalign.report.component_table import component_table, kind_of
from brainalign.report.matrices import rdm_order
from brainalign.report.page import write_report
from brainalign.report.sampling import sample_evenly
from brainalign.report.sound_map import aligned, category_markers, map_table, plot_sound_map, sound_map, words_of


def rdm_of(points, ids=None) -> xr.DataArray:
    ids = ids if ids is not None else [f"s{i}" for i in range(len(points))]
    along = {"stimulus": ids, "stimulus_2": ids}
    return xr.DataArray(squareform(pdist(points)), dims=("stimulus", "stimulus_2"), coords=along)


@pytest.fixture(scope="module")
def flat():
    return np.random.default_rng(0).normal(size=(30, 2)) * [3, 1]


@pytest.fixture(scope="module")
def deep():
    """Sounds in six dimensions, of which no map can show all."""
    return rdm_of(np.random.default_rng(1).normal(size=(40, 6)))


# --- the map ----------------------------------------------------------------------------------------------------------


def test_points_of_a_plane_come_back_with_their_distances(flat):
    found = sound_map(rdm_of(flat))
    assert pdist(found.points) == pytest.approx(pdist(flat), rel=1e-3)
    assert found.stress < 1e-3
    assert found.rank_correlation > 0.9999
    assert found.points.mean().to_numpy() == pytest.approx([0, 0], abs=1e-9)


def test_stress_and_rank_correlation_are_those_of_the_map(deep):
    found = sound_map(deep)
    ids = found.points.index
    wanted = [float(deep.sel(stimulus=a, stimulus_2=b)) for i, a in enumerate(ids) for b in ids[i + 1 :]]
    distances = pdist(found.points)
    assert found.stress == pytest.approx(np.sqrt(((distances - wanted) ** 2).sum() / np.square(wanted).sum()))
    assert found.rank_correlation == pytest.approx(spearmanr(distances, wanted).statistic)
    assert 0.1 < found.stress < 0.5
    assert words_of(found) == (
        f"rank correlation of distances with dissimilarities {found.rank_correlation:.2f}, stress {found.stress:.2f}"
    )


def test_scaling_is_no_worse_than_the_best_of_many_random_starts(deep):
    from sklearn.manifold import smacof

    matrix = deep.to_numpy()
    best = smacof(matrix, n_components=2, n_init=8, random_state=0, normalized_stress=False)[1]
    ours = sound_map(deep).stress ** 2 * np.square(matrix[np.triu_indices(40, 1)]).sum()
    assert ours < 1.15 * best


def test_the_same_rdm_gives_the_same_map_and_another_order_the_same_distances(deep):
    first, again = sound_map(deep), sound_map(deep)
    assert first.points.equals(again.points)
    turned = deep.isel(stimulus=slice(None, None, -1))
    assert sound_map(turned).points.index[0] == "s39"
    distances = rdm_of(sound_map(turned).points.loc[first.points.index], list(first.points.index))
    assert distances.to_numpy() == pytest.approx(rdm_of(first.points).to_numpy(), abs=0.05)


def test_a_map_is_turned_and_mirrored_to_lie_like_another(flat):
    first = sound_map(rdm_of(flat))
    angle = 2.1
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) @ np.diag([1, -1])
    moved = replace(first, points=(first.points @ turn).set_axis(["x", "y"], axis=1).iloc[::-1])
    back = aligned(moved, first)
    assert back.points.loc[first.points.index].to_numpy() == pytest.approx(first.points.to_numpy())
    with pytest.raises(MeasureError, match="different sounds"):
        aligned(replace(first, points=first.points.iloc[1:]), first)


def test_tsne_keeps_neighbours_and_is_taken_for_many_sounds(monkeypatch):
    rng = np.random.default_rng(2)
    group = np.repeat(np.arange(5), 24)
    rdm = rdm_of(8 * np.eye(5)[group] @ rng.normal(size=(5, 12)) + rng.normal(size=(120, 12)))
    monkeypatch.setattr("brainalign.report.sound_map.MANY_SOUNDS", 100)
    found = sound_map(rdm)
    assert found.method == "tsne"
    assert np.isnan(found.stress)
    assert "stress" not in words_of(found)
    near = squareform(pdist(found.points)) + np.diag([np.inf] * 120)
    assert np.mean(group[near.argmin(axis=1)] == group) > 0.95
    assert found.points.equals(sound_map(rdm).points)


def test_what_cannot_be_mapped_is_named(deep):
    with pytest.raises(MeasureError, match="at least 4 sounds, found 3"):
        sound_map(deep[:3, :3])
    torn = deep.copy()
    torn[2, 5] = torn[5, 2] = np.nan
    with pytest.raises(MeasureError, match="1 dissimilarities are not defined, the first that of 's2' and 's5'"):
        sound_map(torn)
    with pytest.raises(MeasureError, match="all sounds would lie on one point"):
        sound_map(deep * 0)
    with pytest.raises(MeasureError, match=r"'mdss'.*'mds'"):
        sound_map(deep, method="mdss")


def test_dissimilarities_below_zero_are_counted(deep):
    torn = deep.copy()
    torn[2, 5] = torn[5, 2] = -0.1
    assert sound_map(torn).n_raised == 1
    assert "1 dissimilarities below 0 taken as 0" in words_of(sound_map(torn))


def test_points_stand_where_the_map_says_in_the_colour_and_shape_of_their_category(flat):
    found = sound_map(rdm_of(flat))
    category = pd.Series(["Music", "Nature", "Song"] * 10, index=found.points.index)
    ax = plot_sound_map(new_figure(4, 4).subplots(), found, category)
    points = {line.get_gid(): line for line in ax.lines}
    assert len(points) == 30
    for stimulus, kind in category.items():
        line = points[f"{stimulus} ({kind})"]
        assert line.get_xydata()[0] == pytest.approx(found.points.loc[stimulus].to_numpy())
        assert line.get_color() == category_colours(category)[kind]
        assert line.get_marker() == category_markers(category)[kind]
    table = map_table({"brain": found}, category).set_index("stimulus_id")
    assert table.loc["s7", ["map", "category"]].tolist() == ["brain", "Nature"]
    assert table.loc["s7", "x"] == found.points.loc["s7", "x"]
    with pytest.raises(MeasureError, match="no category for the sounds"):
        plot_sound_map(ax, found, category.iloc[1:])


def test_eleven_categories_have_eleven_shapes():
    assert len(set(category_markers(f"kind {i}" for i in range(11)).values())) == 11


# --- samples and packed values ----------------------------------------------------------------------------------------


def test_a_sample_is_even_over_categories_and_keeps_the_order():
    category = pd.Series(["a"] * 90 + ["b"] * 50 + ["c"] * 4, index=[f"s{i}" for i in range(144)])
    few = sample_evenly(category, 34)
    assert Counter(category.loc[few]) == {"a": 15, "b": 15, "c": 4}
    assert few == [i for i in category.index if i in set(few)]
    assert sample_evenly(category, 144) == list(category.index)


def test_packed_values_come_back_within_half_a_step():
    values = np.random.default_rng(0).normal(size=500)
    values[7] = np.nan
    content = json.loads(script_json([packed_steps(values)]))[0]
    steps = np.frombuffer(base64.b64decode(content["packed"]), "<u2")
    assert steps[7] == 65535
    back = content["low"] + content["step"] * steps
    there = np.arange(500) != 7
    assert np.abs(back - values)[there].max() <= np.ptp(values[there]) / 131068 + 1e-12
    assert json.loads(script_json(packed_steps(np.ones(3))))["low"] == 1
    assert "<" not in script_json(["</script><!--\u2028"])


# --- the page ---------------------------------------------------------------------------------------------------------


def with_random_rdms(content):
    rng = np.random.default_rng(3)
    rsa = content.results[1]
    arrays = {}
    for name, array in rsa.arrays.items():
        values = rng.random(array.shape)
        values = values + np.swapaxes(values, -1, -2)
        values[..., np.arange(values.shape[-1]), np.arange(values.shape[-1])] = 0
        arrays[name] = array.copy(data=values)
    return replace(content, results=[content.results[0], replace(rsa, arrays=arrays)])


def packed_of(html: str) -> list[dict]:
    start = html.index('<script type="application/json">[') + len('<script type="application/json">')
    return json.loads(html[start : html.index("</script>", start)])


def test_a_matrix_carries_its_values_in_the_order_in_which_it_is_drawn(tmp_path):
    content = with_random_rdms(make_content())
    arrays = content.results[1].arrays
    brain, layer = packed_of(page_of(content, tmp_path))
    order = rdm_order(arrays["brain_rdm"], content.stimuli.table["category"])
    for found, rdm in ((brain, arrays["brain_rdm"]), (layer, arrays["rdms"].sel(rdm="fc"))):
        wanted = rdm.sel(stimulus=order, stimulus_2=order).to_numpy()[np.triu_indices(len(order), 1)]
        values = found["low"] + found["step"] * np.frombuffer(base64.b64decode(found["packed"]), "<u2")
        assert values == pytest.approx(wanted, abs=2e-5)


def test_of_many_sounds_a_sample_is_drawn_and_the_page_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr("brainalign.report.sound_panels.MAX_SOUNDS", 9)
    content = with_random_rdms(make_content())
    path = write_report(content, tmp_path / "report.html", figures_folder=tmp_path / "figures")
    html = path.read_text(encoding="utf-8")
    # In two captions, and in the descriptions of the two figures.
    assert html.count("Drawn are 9 of the 12 sounds, sampled evenly over the categories") == 4
    pairs = pd.read_csv(tmp_path / "figures" / "rdms-net.csv")
    assert len(pairs) == 36
    category = content.stimuli.table["category"]
    drawn = set(pairs["stimulus"]) | set(pairs["stimulus_2"])
    assert Counter(category.loc[sorted(drawn)]) == {"Music": 3, "Nature": 3, "EngSpeech": 3}
    rdm = content.results[1].arrays["brain_rdm"]
    for row in pairs.to_dict("records"):
        assert row["brain"] == pytest.approx(float(rdm.sel(stimulus=row["stimulus"], stimulus_2=row["stimulus_2"])))
    mapped = pd.read_csv(tmp_path / "figures" / "map-net.csv")
    assert set(mapped["stimulus_id"]) == drawn
    assert set(mapped["map"]) == {"brain", "net fc"}
    for kind in ("svg", "pdf"):
        assert (tmp_path / "figures" / f"map-net.{kind}").stat().st_size > 2000


def test_values_that_do_not_fit_are_left_out_and_said(tmp_path, monkeypatch):
    monkeypatch.setattr("brainalign.report.panels.MAX_VALUES", 300)
    html = page_of(make_content(), tmp_path)
    assert "the pointer reads names here and no values; the CSV has them" in html
    assert "data-sounds" in html


def test_a_result_without_its_arrays_is_said_and_the_page_is_written(tmp_path):
    content = make_content()
    bare = [replace(r, arrays={}) for r in content.results]
    bare.append(encoding_result({"net": {"a": 0.2, "b": 0.3}}))
    page = Reader(page_of(replace(content, results=bare), tmp_path))
    assert "RDMs and map of net: the result of rsa holds no matrices." in page.visible
    assert "Profiles of net: the result of component-encoding holds no predictions." in page.visible
    assert page.open == []


def test_a_map_that_cannot_be_made_is_said_and_the_matrices_are_drawn(tmp_path):
    content = make_content()
    rsa = content.results[1]
    torn = rsa.arrays["brain_rdm"].copy()
    torn[0, 1] = torn[1, 0] = np.nan
    html = page_of(replace(content, results=[replace(rsa, arrays={**rsa.arrays, "brain_rdm": torn})]), tmp_path)
    assert "Map of the sounds, net: 1 dissimilarities are not defined" in html
    assert 'id="rdms"' in html
    assert 'id="map"' not in html


# --- components by models ---------------------------------------------------------------------------------------------


def test_kinds_of_models():
    assert kind_of("kim2024-cnn:no-music/0") == "trained"
    assert kind_of("kim2024-cnn@random:0") == "random weights"
    assert kind_of("hf:wav2vec2-base@permuted:3") == "permuted weights"
    assert kind_of("spectrotemporal") == "acoustic baseline"
    assert kind_of("mine", baselines=["mine"]) == "acoustic baseline"


def test_the_table_of_components_holds_trained_permuted_random_and_acoustic_in_this_order():
    models = {"logmel": {"a": 0.1}, "net@random:0": {"a": 0.2, "b": 0.15, "chosen": 0.18},
              "net@permuted:0": {"a": 0.3, "chosen": 0.25}, "net": {"a": 0.5, "b": 0.6, "chosen": 0.45}}  # fmt: skip
    table = component_table([encoding_result(models)], ["music"])
    assert [kind for _, kind in table.columns] == [
        "trained", "permuted weights", "random weights", "acoustic baseline"]  # fmt: skip
    ((target, cells),) = table.rows
    assert target == "music"
    assert [cell.value for cell in cells] == ["0.45", "0.25", "0.18", "0.10"]
    assert [cell.highest for cell in cells] == [True, False, False, False]
    assert table.note == ""
    fewer = component_table([encoding_result({"net": models["net"]})], ["music"])
    assert fewer.note == (
        "Not run beside these: one with permuted weights, one with random weights and an acoustic baseline."
    )
    assert component_table([], []) is None


def test_a_profile_of_thousands_of_sounds_has_each_bar_in_its_place():
    ids = [f"s{i}" for i in range(5000)]
    values = pd.Series(np.sin(np.arange(5000.0)), index=ids)
    category = pd.Series(["Music", "Nature"] * 2500, index=ids)
    ax = figures.plot_profile(new_figure(6, 2).subplots(), values, category)
    (bars,) = ax.collections
    order = values.sort_values(ascending=False, kind="stable").index
    for place in (0, 1777, 4999):
        box = bars.get_paths()[place].get_extents()
        assert (box.x0, box.x1) == pytest.approx((place - 0.5, place + 0.5))
        assert max(box.y1, -box.y0) == pytest.approx(abs(values[order[place]]))
