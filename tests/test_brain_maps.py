"""Pictures of the brain draw the values they are given, where they belong, and say what they cannot draw."""

from __future__ import annotations

import base64
import html as escapes
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from brainalign.brain.data import BrainData
from brainalign.brain.geometry import fsaverage5_mesh
from brainalign.errors import BrainError, MeasureError, ResultsError
from brainalign.measures.depth_profile import depth_profile_of
from brainalign.measures.result import Result
from brainalign.measures.voxel_encoding import voxel_encoding
from brainalign.report import brain_maps, response_profiles
from brainalign.report._draw import style
from brainalign.report.brain_figures import (
    brain_figures,
    brain_map_figures,
    plot_brain_map,
    plot_unit_histograms,
    unit_maps,
)
from brainalign.report.brain_surface_page import surface_viewer, viewer_script
from brainalign.report.brain_volumes import project
from brainalign.report.page import ReportContent, write_report
from brainalign.report.svg import Drawing
from brainalign.responses import make_responses
from brainalign.stimuli.sets import Manifest, StimulusSet

N = 10242
CHROMIUM = shutil.which("chromium")


@pytest.fixture(autouse=True)
def _report_style():
    with style():
        yield


def make_units(places, attrs=None, **info):
    """Responses of units at (subject, hemisphere, vertex)."""
    subject, hemisphere, vertex = zip(*places, strict=True)
    rng = np.random.default_rng(0)
    info = {"subject": subject, "hemisphere": hemisphere, "vertex": vertex, **info}
    names = [f"{s}_{h}_v{v}" for s, h, v in places]
    return make_responses(
        rng.normal(size=(4, len(names))),
        [f"s{i}" for i in range(4)],
        names,
        unit_info=info,
        attrs=attrs or {"space": "fsaverage5"},
    )


def expected_colours(values, hemisphere, scale):
    """Colour of each face by brute force: mean of its vertices that have a value, else gyrus or sulcus."""
    _, faces = fsaverage5_mesh()[hemisphere]
    depth, value = brain_maps.sulcal_depth()[hemisphere].tolist(), np.asarray(values, float).tolist()
    means, greys = [], []
    for face in faces.tolist():
        there = [value[v] for v in face if value[v] == value[v]]
        means.append(sum(there) / len(there) if there else np.nan)
        greys.append(to_rgba(brain_maps.SULCUS if sum(depth[v] for v in face) > 0 else brain_maps.GYRUS))
    colours = scale.mappable().to_rgba(np.array(means))
    return np.where(np.isnan(means)[:, None], greys, colours)


def drawn_faces(ax, hemisphere, view):
    """Numbers of the faces in the order they are drawn, found again by their corners."""
    coordinates, faces = fsaverage5_mesh()[hemisphere]
    right, up, _ = brain_maps._axes(hemisphere, view)
    flat = np.stack([coordinates @ right, coordinates @ up], axis=1)[faces].mean(axis=1).round(6)
    number = {tuple(c): i for i, c in enumerate(flat.tolist())}
    (collection,) = ax.collections
    return [number[tuple(p.vertices[:3].mean(axis=0).round(6).tolist())] for p in collection.get_paths()], collection


@pytest.mark.parametrize(("hemisphere", "view"), [("left", "lateral"), ("right", "medial"), ("left", "ventral")])
def test_faces_have_the_colours_of_their_values_and_nearer_ones_lie_on_top(hemisphere, view):
    values = np.random.default_rng(1).normal(size=N)
    values[np.random.default_rng(2).random(N) < 0.6] = np.nan
    scale = brain_maps.colour_scale(values, signed=True)
    ax = brain_maps.plot_hemisphere(Figure().subplots(), values, hemisphere, view, scale)
    numbers, collection = drawn_faces(ax, hemisphere, view)
    wanted = expected_colours(values, hemisphere, scale)
    np.testing.assert_allclose(collection.get_facecolors(), wanted[numbers], atol=1e-12)
    assert len({tuple(c) for c in wanted[numbers]} & {to_rgba(brain_maps.GYRUS), to_rgba(brain_maps.SULCUS)}) == 2
    coordinates, faces = fsaverage5_mesh()[hemisphere]
    away = {"lateral": [-1, 0, 0], "medial": [1, 0, 0], "ventral": [0, 0, -1]}[view]
    nearness = coordinates @ (np.array(away) * (-1 if hemisphere == "right" and view != "ventral" else 1))
    assert (np.diff(nearness[faces[numbers]].mean(axis=1)) >= -1e-9).all()
    corners = coordinates[faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    toward = np.array(away) * (-1 if hemisphere == "right" and view != "ventral" else 1)
    assert set(numbers) == set(np.flatnonzero(normals @ toward > 0))
    assert collection.get_rasterized()


@pytest.mark.parametrize(
    ("hemisphere", "view", "anterior"),
    [("left", "lateral", "left"), ("left", "medial", "right"), ("left", "ventral", "left"),
     ("right", "lateral", "right"), ("right", "medial", "left"), ("right", "ventral", "right")],
)  # fmt: skip
def test_front_and_back_are_where_the_letters_say(hemisphere, view, anterior):
    coordinates, _ = fsaverage5_mesh()[hemisphere]
    right, up, _ = brain_maps._axes(hemisphere, view)
    foremost = coordinates[coordinates[:, 1].argmax()] @ right
    assert (foremost < 0) == (anterior == "left")
    # In ventral views the lateral side is up, else the top of the head.
    lateral = -1 if hemisphere == "left" else 1
    assert up.tolist() == ([lateral, 0, 0] if view == "ventral" else [0, 0, 1])
    maps = {h: np.where(np.arange(N) < 99, 1.0, np.nan) for h in ("left", "right")}
    figure = brain_maps.plot_surface_map(maps)
    titled = {ax.get_title(loc="left"): ax for ax in figure.axes}
    ax = titled[f"{hemisphere} hemisphere, {view}"]
    letters = {t.get_text(): t.get_position()[0] for t in ax.texts}
    assert (letters["A"] < letters["P"]) == (anterior == "left")


def test_subjects_are_averaged_over_those_who_have_a_value():
    units = make_units([("sub-01", "left", 5), ("sub-02", "left", 5), ("sub-01", "right", 7), ("sub-02", "right", 7)])
    maps = brain_maps.fsaverage5_maps(units, [1.0, 3.0, np.nan, 0.25])
    assert maps["left"][5] == 2
    assert maps["right"][7] == 0.25
    assert np.isnan(maps["left"]).sum() == np.isnan(maps["right"]).sum() == N - 1


def test_finer_meshes_give_the_vertices_they_share():
    units = make_units([("sub-01", "left", 5), ("sub-01", "left", 90_000), ("sub-01", "right", 10_241)],
                       {"space": "fsaverage"})  # fmt: skip
    maps = brain_maps.fsaverage5_maps(units, [1.0, 2.0, 3.0])
    assert np.flatnonzero(np.isfinite(maps["left"])).tolist() == [5]
    assert maps["right"][10_241] == 3
    repeated = xr.concat([units, 2 * units + units**2], dim="repetition").transpose("repetition", "stimulus", "unit")
    brain = BrainData("fine", repeated, "1", "c", "l")
    assert "1 units lie on no vertex of fsaverage5" in brain_figures(None, brain)["reliability-map"].caption


def test_another_mesh_is_an_error_that_names_the_sizes():
    units = make_units([("sub-01", "left", 5)], {"space": "fsLR-32k"})
    with pytest.raises(BrainError, match=r"\(32492,\).*10242, 40962, 163842 vertices"):
        plot_brain_map(units, [1.0])
    with pytest.raises(BrainError, match=r"10242 vertices, but there is a unit on vertex 20000"):
        plot_brain_map(make_units([("sub-01", "left", 20_000)]), [1.0])
    with pytest.raises(BrainError, match=r"shape \(2,\), expected one for each of 1 units"):
        plot_brain_map(make_units([("sub-01", "left", 5)]), [1.0, 2.0])
    with pytest.raises(BrainError, match="none of 1 values is finite"):
        plot_brain_map(make_units([("sub-01", "left", 5)]), [np.nan])
    with pytest.raises(BrainError, match="no place to be drawn at"):
        plot_brain_map(make_units([("sub-01", "left", 5)]).drop_vars("vertex"), [1.0])


def test_scales():
    scale = brain_maps.colour_scale(np.arange(101.0))
    assert (scale.low, scale.high, scale.extend) == (0, 99, "max")
    signed = brain_maps.colour_scale([-2.0, 1.0, np.nan], signed=True)
    assert (signed.low, signed.high) == (-signed.high, pytest.approx(1.99))
    assert signed.extend == "min"
    assert brain_maps.colour_scale([-5.0, -1.0]).extend == "min"
    assert brain_maps.colour_scale([0.2, 0.9], limits=(0, 1)).extend == "neither"
    with pytest.raises(BrainError, match="limits of the colours are 1 and 0"):
        brain_maps.colour_scale([1.0], limits=(1, 0))


def test_rows_of_maps_leave_out_the_views_in_which_nothing_is_seen():
    coordinates, _ = fsaverage5_mesh()["left"]
    outer = np.where(coordinates[:, 0] < -25, 1.0, np.nan)
    maps = {"left": outer, "right": np.full(N, np.nan)}
    figure = brain_maps.plot_surface_maps({"music": maps, "speech": maps})
    assert [len(ax.collections) for ax in figure.axes[:4]] == [1] * 4
    assert [t.get_text() for ax in figure.axes[:4] for t in ax.texts if "," in t.get_text()] == [
        "left, lateral", "right, lateral"] * 2  # fmt: skip
    everywhere = {h: np.ones(N) for h in ("left", "right")}
    texts = [t.get_text() for ax in brain_maps.plot_surface_maps({"all": everywhere}).axes for t in ax.texts]
    assert {"left, lateral", "left, medial", "left, ventral"} <= set(texts)


def make_volume(space, n_subjects=1, slant=0.0, left_mm=-12.0):
    rng = np.random.default_rng(3)
    ijk = np.argwhere(np.ones((4, 5, 6)))
    affine = np.array([[8.0, 0, 0, left_mm], [0, 8, 0, -16], [slant, 0, 8, -20], [0, 0, 0, 1]])
    ijk = np.tile(ijk, (n_subjects, 1))
    xyz = ijk @ affine[:3, :3].T + affine[:3, 3]
    info = dict(zip("ijkxyz", [*ijk.T, *xyz.T], strict=True))
    info["subject"] = np.repeat([f"sub-{i + 1:02d}" for i in range(n_subjects)], 120)
    attrs = {"space": space, "affine": affine.ravel().tolist(), "grid": [4, 5, 6]}
    n = len(ijk)
    units = make_responses(
        rng.normal(size=(3, n)), list("abc"), [f"v{i}" for i in range(n)], unit_info=info, attrs=attrs
    )
    return units, rng.normal(size=n)


def test_glass_brain_shows_the_value_furthest_from_zero_on_each_line_and_keeps_zeros():
    units, values = make_volume("MNI152")
    grid = values.reshape(4, 5, 6)
    grid[:, 0, 0] = 0
    grid[:, 1, 1] = np.nan
    figure = plot_brain_map(units, grid.ravel(), signed=True)
    drawn = [np.ma.filled(ax.images[0].get_array(), np.nan) for ax in figure.axes if ax.images]
    halves = [grid[:2], grid, grid[2:], grid]
    for image, cells, axis in zip(drawn, halves, (0, 1, 0, 2), strict=True):
        brute = np.empty([n for a, n in enumerate(cells.shape) if a != axis])
        for place in np.ndindex(*brute.shape):
            line = np.take(cells, range(cells.shape[axis]), axis=axis)[
                tuple(np.insert(np.array(place, dtype=object), axis, slice(None)))
            ]
            line = line[np.isfinite(line)]
            brute[place] = line[np.abs(line).argmax()] if len(line) else np.nan
        np.testing.assert_allclose(image.T, brute, rtol=1e-6)
    assert drawn[0][0, 0] == 0
    assert np.isnan(drawn[0][1, 1])


@pytest.mark.parametrize(("left_mm", "sagittal"), [(-60.0, 0), (20.0, 1)])
def test_a_grid_on_one_side_of_the_midline_leaves_the_other_half_an_outline(left_mm, sagittal):
    units, values = make_volume("MNI152", left_mm=left_mm)
    figure = plot_brain_map(units, values)
    # Views from the left, behind, the right, above: of the one half all cells are seen, of the other none.
    drawn = [np.ma.filled(ax.images[0].get_array(), np.nan) for ax in figure.axes if ax.images]
    assert len(drawn) == 3
    grid = values.reshape(4, 5, 6)
    furthest = np.take_along_axis(grid, np.abs(grid).argmax(axis=0)[None], 0)[0]
    np.testing.assert_allclose(drawn[sagittal].T, furthest, rtol=1e-6)


def test_projection_is_nan_where_a_line_is_empty():
    values = np.full((2, 2, 1), np.nan)
    values[:, 0, 0] = [-3, 2]
    np.testing.assert_array_equal(project(values, 0), [[-3], [np.nan]])


def test_other_spaces_are_drawn_as_slices_of_each_subject_and_say_so():
    units, values = make_volume("T1w", n_subjects=2)
    figure = plot_brain_map(units, values)
    titles = [ax.get_title(loc="left") for ax in figure.axes]
    assert titles[0] == "sub-01: slices in T1w space"
    assert titles[3] == "sub-02: slices in T1w space"
    sagittal = np.ma.filled(figure.axes[3].images[0].get_array(), np.nan)
    np.testing.assert_allclose(sagittal.T, values[120:].reshape(4, 5, 6)[0], rtol=1e-6)
    assert figure.axes[3].get_xlabel() == "y (mm), x = −12 mm"
    units, values = make_volume("T1w", left_mm=-1.5)
    assert plot_brain_map(units, values).axes[0].get_xlabel() == "y (mm), x = −1.5 mm"


def test_a_slanted_grid_keeps_its_values():
    units, values = make_volume("MNI152", slant=1.5)
    drawn = plot_brain_map(units, values + 10).axes
    image = next(np.ma.filled(ax.images[0].get_array(), np.nan) for ax in drawn if ax.images)
    assert np.isin(image[np.isfinite(image)], (values + 10).astype(np.float32)).all()


def test_flat_patch_has_a_point_for_each_unit():
    units = make_units([("sub-01", "left", -1)] * 1 + [("sub-01", "left", -2), ("sub-01", "right", -3)],
                       x=[1.0, 2.0, 3.0], y=[4.0, 5.0, 6.0])  # fmt: skip
    figure = plot_brain_map(units, [0.5, np.nan, 0.7])
    left, right = figure.axes[:2]
    ring, dot = left.collections
    assert ring.get_offsets().tolist() == [[2, 5]]
    assert dot.get_offsets().tolist() == [[1, 4]]
    assert right.collections[1].get_array().tolist() == [0.7]


def test_histograms_count_every_unit():
    rng = np.random.default_rng(0)
    values, ceiling = rng.normal(size=200), rng.uniform(0.2, 1, 200)
    values[:5] = np.nan
    region = np.where(np.arange(200) < 50, "primary", "lateral")
    figure = plot_unit_histograms(values, {"region": region}, label="r2", ceiling=ceiling)
    every, lateral, primary = figure.axes
    assert [ax.get_title(loc="left") for ax in (lateral, primary)] == [
        "region lateral, n = 150",
        "region primary, n = 45",
    ]
    for ax, own in ((every, values), (lateral, values[50:]), (primary, values[:50])):
        heights = np.array([p.get_height() for p in ax.patches if hasattr(p, "get_height")])
        edges = [p.get_x() for p in ax.patches if hasattr(p, "get_x")]
        np.testing.assert_array_equal(heights, np.histogram(own[np.isfinite(own)], [*edges, np.inf])[0])
        assert ax.lines[0].get_xdata()[0] == np.nanmedian(own)
    outline = next(p for p in every.patches if not hasattr(p, "get_height")).get_xy()
    assert np.diff(outline[:, 0]).clip(0) @ outline[1:, 1] == pytest.approx(200 * np.diff(edges)[0])


@pytest.fixture(scope="module")
def study():
    """Units around Heschl's gyrus of two subjects, of which `near` answers to layer a, and the results."""
    rng = np.random.default_rng(5)
    coordinates = {h: fsaverage5_mesh("pial")[h][0] for h in ("left", "right")}
    places = [
        (subject, hemisphere, int(v))
        for subject in ("sub-01", "sub-02")
        for hemisphere, x in (("left", -50), ("right", 50))
        for v in np.flatnonzero(np.linalg.norm(coordinates[hemisphere] - [x, -18, 6], axis=1) < 11)
    ]
    ids, category = [f"s{i:02d}" for i in range(30)], ["Music", "Speech", "Nature"] * 10
    signal, n = rng.normal(size=(30, 2)), len(places)
    near = rng.random(n) < 0.5
    values = signal[:, near.astype(int)] + 0.8 * rng.normal(size=(3, 30, n))
    info = dict(zip(("subject", "hemisphere", "vertex"), map(np.array, zip(*places, strict=True)), strict=True))
    names = [f"{s}_{h[0].upper()}_v{v:05d}" for s, h, v in places]
    voxels = make_responses(values, ids, names, stimulus_info={"category": category},
                            unit_info={**info, "region": np.where(near, "primary", "<b>lateral")},
                            attrs={"space": "fsaverage5"})  # fmt: skip
    weights = xr.DataArray(np.stack([near - 0.5, rng.normal(size=n)]), {"component": ["</script>", "b"], "unit": names},
                           ("component", "unit"))  # fmt: skip
    brain = BrainData("cortex", voxels, "1", "Cited.", "CC0", {"weights": weights})
    layers = np.repeat(["a", "b"], 3)
    features = make_responses(signal[:, [0, 0, 0, 1, 1, 1]] + 0.1 * rng.normal(size=(30, 6)), ids,
                              unit_info={"layer": layers}, attrs={"source": "net"})  # fmt: skip
    encoding = voxel_encoding(features, brain, n_splits=3, n_permutations=0, n_bootstrap=0)
    table = pd.DataFrame({"file": ids, "category": category}, index=pd.Index(ids, name="stimulus_id"))
    stimuli = StimulusSet(Manifest(name="toy", version="1", citation="c", licence="l"), table,
                          lambda _: (np.zeros(4, np.float32), 8000))  # fmt: skip
    return brain, encoding, stimuli


def test_pictures_of_a_result_hold_its_values(study):
    brain, encoding, _ = study
    pictures = brain_figures(encoding, brain)
    assert set(brain_map_figures(encoding, brain)) == set(pictures) == {"score-map", "score-histogram"}
    data = pictures["score-map"].data.set_index("unit")
    scores = encoding.arrays["scores"].sel(layer="chosen")
    np.testing.assert_array_equal(data.loc[scores["unit"].values, "score"], scores.values)
    np.testing.assert_array_equal(
        data.loc[scores["unit"].values, "noise_ceiling"], np.clip(encoding.arrays["reliability"].values, 0, 1)
    )
    assert {"subject", "hemisphere", "vertex", "region"} <= set(data)
    assert f"Median {np.median(scores.values):.2f}" in pictures["score-map"].caption
    stages = depth_profile_of(encoding, reference="primary", n_bootstrap=0)
    (maps,) = unit_maps(stages, brain)
    np.testing.assert_array_equal(maps.columns[""], stages.arrays["best_stage"].values)
    assert (maps.scale.low, maps.scale.high, maps.scale.extend) == (0, 1, "neither")


def test_the_ceiling_of_r_is_the_root_and_of_corrected_scores_one(study):
    brain, encoding, _ = study
    reliability = np.clip(encoding.arrays["reliability"].values, 0, 1)
    for settings, ceiling in (({"statistic": "r"}, np.sqrt(reliability)), ({"correction": "reliability"}, 1)):
        result = Result(encoding.measure, encoding.table, encoding.arrays, encoding.settings | settings)
        (maps,) = unit_maps(result, brain)
        np.testing.assert_allclose(maps.ceiling, np.broadcast_to(ceiling, reliability.shape))


def test_pictures_of_brain_data_alone(study):
    brain, encoding, _ = study
    reliability, weights = unit_maps(None, brain)
    np.testing.assert_allclose(reliability.columns[""], encoding.arrays["reliability"].values)
    assert weights.signed
    np.testing.assert_array_equal(weights.columns["b"], brain.arrays["weights"].sel(component="b").values)


def test_a_caption_explains_reliability_below_minus_one():
    """Two repetitions that are nearly opposite: r of -0.8 becomes -8."""
    rng = np.random.default_rng(0)
    signal, noise = rng.normal(size=(2, 50, 6))
    for sign, told in ((-1, True), (1, False)):
        responses = make_responses(np.stack([signal, sign * signal + 0.3 * noise]), [f"s{i}" for i in range(50)])
        responses = responses.assign_coords(region=("unit", list("aabbcc")))
        picture = brain_figures(None, BrainData("lab", responses, "1", "c", "l"))["reliability-histogram"]
        assert (picture.data["reliability"].min() < -1) == told
        assert ("Values far below 0 are of halves that correlate negatively" in picture.caption) == told


def test_what_cannot_be_drawn_says_why(study):
    brain = study[0]
    values = np.arange(brain.responses.sizes["unit"], dtype=float)
    for units in (brain, brain.responses):
        assert [type(c) for c in plot_brain_map(units, values).axes[0].collections]
    with pytest.raises(BrainError, match="the values of units must be numbers, found <U1"):
        plot_brain_map(brain, ["a"] * len(values))
    with pytest.raises(BrainError, match="units must be Responses or BrainData, found ndarray"):
        plot_brain_map(values, values)
    with pytest.raises(BrainError, match="brain must be BrainData, see load_brain; found NoneType"):
        brain_map_figures(None, None)
    renamed = np.where(brain.responses["hemisphere"] == "left", "lh", "rh")
    for own in (
        brain.responses,
        brain.responses.drop_vars("vertex").assign_coords(x=("unit", values), y=("unit", values)),
    ):
        with pytest.raises(BrainError, match=r"hemisphere is 'lh' for .* units, expected 'left' or 'right'"):
            plot_brain_map(own.assign_coords(hemisphere=("unit", renamed)), values)


def test_units_of_another_brain_are_named(study):
    brain, encoding, _ = study
    other = BrainData("other", brain.responses.isel(unit=slice(3, None)), "1", "c", "l")
    with pytest.raises(ResultsError, match=rf"{brain.responses.sizes['unit']} units, of which other .* lacks sub-01_L"):
        brain_map_figures(encoding, other)


def test_components_without_a_place_have_no_pictures():
    responses = make_responses(np.random.default_rng(0).normal(size=(2, 5, 3)), list("abcde"), list("xyz"))
    assert brain_map_figures(None, BrainData("components", responses, "1", "c", "l")) == {}


def test_text_stays_text_and_faces_are_one_image(study, tmp_path):
    brain, encoding, _ = study
    scores = encoding.arrays["scores"].sel(layer="chosen").values
    figure = plot_brain_map(brain.responses, scores, label="held-out r2")
    Drawing(figure).save(pd.DataFrame({"a": [1]}), tmp_path, "map")
    svg = (tmp_path / "map.svg").read_text(encoding="utf-8")
    assert "left hemisphere, lateral</text>" in svg
    assert "held-out r2</text>" in svg
    assert not re.search(r'id="DejaVu|<use[^>]*DejaVu', svg)
    assert svg.count("<image") >= 6
    assert len(svg) < 600_000
    pdf = (tmp_path / "map.pdf").read_bytes()
    assert b"/Type3" not in pdf
    assert b"/FontFile2" in pdf


@pytest.fixture(scope="module")
def page(study, tmp_path_factory):
    brain, encoding, stimuli = study
    folder = tmp_path_factory.mktemp("page")
    content = ReportContent("T", "Q?", stimuli, (brain,), [encoding], {})
    return write_report(content, folder / "report.html", figures_folder=folder / "figures")


def test_a_page_is_not_lost_for_a_map_of_another_mesh(study, tmp_path):
    brain, _, stimuli = study
    other = BrainData("b", brain.responses.assign_attrs(space="fsLR-32k"), "1", "c", "l")
    path = write_report(ReportContent("T", "Q?", stimuli, (other,), [], {}), tmp_path / "r.html", figures_folder=None)
    text = escapes.unescape(path.read_text(encoding="utf-8"))
    assert "reliability is not drawn: a map of shape (32492,) cannot be drawn on fsaverage5" in text
    assert '<div class="surface"' not in text


@pytest.mark.parametrize("where", ["figures_of", "surface_viewer", "unit_maps"])
def test_a_page_is_not_lost_for_an_error_of_drawing(study, tmp_path, monkeypatch, where):
    def fail(*_):
        raise ValueError("zero-size array")

    brain, _, stimuli = study
    monkeypatch.setattr(f"brainalign.report.brain_surface_page.{where}", fail)
    path = write_report(ReportContent("T", "Q?", stimuli, (brain,), [], {}), tmp_path / "r.html", figures_folder=None)
    assert "is not drawn: zero-size array" in escapes.unescape(path.read_text(encoding="utf-8"))


def unpack(text, kind):
    return np.frombuffer(base64.b64decode(text), kind)


def test_the_page_of_a_run_shows_the_maps_with_their_values(page, study):
    brain, encoding, _ = study
    text = page.read_text(encoding="utf-8")
    assert '<section id="brain"' in text
    assert text.count('<div class="surface"') == 1
    names = {p.stem for p in (page.parent / "figures").glob("*.csv")}
    assert {"net-score-map", "net-score-histogram", "reliability-map", "weights-map"} <= names
    csv = pd.read_csv(page.parent / "figures" / "net-score-map.csv").set_index("unit")["score"]
    np.testing.assert_allclose(csv, encoding.arrays["scores"].sel(layer="chosen").values)
    data = json.loads(re.search(r'hidden>\s*<script type="application/json">(.*?)</script>', text, re.S)[1])
    assert [m["name"] for m in data["maps"]] == ["net score", "reliability", "weights: </script>", "weights: b"]
    maps = brain_maps.fsaverage5_maps(brain.responses, encoding.arrays["scores"].sel(layer="chosen").values)
    for hemisphere in ("left", "right"):
        vertices = unpack(data["maps"][0][hemisphere]["vertices"], "<u2")
        np.testing.assert_array_equal(vertices, np.flatnonzero(np.isfinite(maps[hemisphere])))
        values = unpack(data["maps"][0][hemisphere]["values"], "<f4")
        np.testing.assert_allclose(values, maps[hemisphere][vertices], rtol=1e-6)
    assert "<b>lateral" not in text
    assert not re.search(r'(src|href)="(https?:)?//', text)
    assert len(text) < 2_500_000


def test_the_mesh_of_the_page_is_fsaverage5(page):
    mesh = json.loads(re.search(r'id="surface-mesh">(.*?)</script>', page.read_text(encoding="utf-8"), re.S)[1])
    for hemisphere, (coordinates, faces) in fsaverage5_mesh().items():
        np.testing.assert_array_equal(unpack(mesh["faces"], "<u2").reshape(-1, 3), faces)
        stored = unpack(mesh[hemisphere]["coordinates"], "<i2").reshape(-1, 3) / mesh["per_mm"]
        np.testing.assert_allclose(stored, coordinates, atol=0.0051)


def test_what_does_not_fit_the_page_is_counted(study, monkeypatch):
    brain, *_ = study
    monkeypatch.setattr("brainalign.report.brain_surface_page.MAX_BYTES", 10)
    viewer = surface_viewer({m.name: m for m in unit_maps(None, brain)})
    assert "2 further maps are in the figures alone" in viewer
    assert surface_viewer({}) == ""


PROBE = """
<pre id="found"></pre><script>
// A frame is drawn when the machine has time for it: look again until the picture is there, and another one.
const when = (ready, then) => ready() ? then() : setTimeout(when, 100, ready, then);
addEventListener("load", () => {
  const canvas = document.querySelector("canvas"), out = document.querySelector("output"), found = { spots: [] };
  const picture = () => canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.join();
  const empty = () => !/[1-9]/.test(picture());
  const probe = (view) => {
    const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
    for (let x = 20; x < canvas.clientWidth; x += 23) for (let y = 20; y < canvas.clientHeight; y += 23) {
      const event = new PointerEvent("pointermove", { clientX: x, clientY: y });
      Object.defineProperty(event, "offsetX", { value: x });
      Object.defineProperty(event, "offsetY", { value: y });
      canvas.dispatchEvent(event);
      const row = Math.floor(y * canvas.height / canvas.clientHeight);
      const column = Math.floor(x * canvas.width / canvas.clientWidth);
      const at = 4 * (row * canvas.width + column);
      found.spots.push([view, x, y, out.textContent, ...pixels.slice(at, at + 4)]);
    }
  };
  when(() => !empty(), () => {
    probe("lateral");
    const before = picture();
    document.querySelector("button[value=medial]").click();
    when(() => picture() !== before, () => {
      probe("medial");
      found.size = [canvas.clientWidth, canvas.clientHeight];
      found.requests = performance.getEntriesByType("resource").length;
      found.errors = window.errors;
      found.options = [...document.querySelectorAll("option")].map((o) => o.textContent);
      document.getElementById("found").textContent = JSON.stringify(found);
    });
  });
});
</script>"""


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_in_a_browser_the_cortex_turns_and_tells_the_values_under_the_pointer(tmp_path: Path):
    values = {h: np.where(np.arange(N) % 3 > 0, np.linspace(0, 1, N), np.nan) for h in ("left", "right")}
    places = [("sub-01", h, v) for h in values for v in np.flatnonzero(np.isfinite(values[h]))]
    units = make_units([(s, h, int(v)) for s, h, v in places])
    brain = BrainData("b", units, "1", "c", "l", {"weights": xr.DataArray(
        np.concatenate([v[np.isfinite(v)] for v in values.values()])[None],
        {"component": ["<i>all</i>"], "unit": units["unit"].values}, ("component", "unit"))})  # fmt: skip
    viewer = surface_viewer({"w": unit_maps(None, brain)[0]})
    (tmp_path / "page.html").write_text(
        "<!DOCTYPE html><meta charset=utf-8><style>canvas{display:block;width:800px;height:288px}</style><script>"
        "window.errors=[];window.onerror=(m)=>window.errors.push(m)</script>"
        f"{viewer}<script>{viewer_script()}</script>{PROBE}", encoding="utf-8",
    )  # fmt: skip
    done = subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
         f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=60000", "--timeout=60000", "--dump-dom",
         (tmp_path / "page.html").as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    found = json.loads(escapes.unescape(re.search(r'<pre id="found">(.*?)</pre>', done.stdout, re.S)[1]))
    assert found["errors"] == []
    assert found["requests"] == 0
    assert found["options"] == ["w: <i>all</i>"]
    assert found["size"] == [800, 288]
    scale = brain_maps.colour_scale(np.concatenate(list(values.values())))
    seen = {"lateral": set(), "medial": set()}
    for view, x, y, text, *colour in found["spots"]:
        if not text:
            assert colour[3] == 0
            continue
        side, vertex, told = re.fullmatch(r"(left|right) hemisphere, vertex (\d+): (.+)", text).groups()
        value, (coordinates, _) = values[side][int(vertex)], fsaverage5_mesh()[side]
        assert side == ("left" if x < 400 else "right")
        # The vertex lies where it was pointed at: a view is 400 pixels wide, 112 mm are half of a hemisphere.
        right, up, away = brain_maps._axes(side, view)
        mm = np.array([(x + 0.5 - (200 if side == "left" else 600)), 144 - y - 0.5]) * 112 / min(200, 288 / 1.5)
        place = np.array([coordinates[int(vertex)] @ right, coordinates[int(vertex)] @ up])
        assert np.abs(place - mm).max() < 6
        assert coordinates[int(vertex)] @ away < 25
        if np.isnan(value):
            assert told == "no value"
            assert colour[0] == colour[1] == colour[2]
        else:
            assert float(told) == pytest.approx(value, rel=0.006)
            wanted = 255 * np.array(scale.mappable().to_rgba(value)[:3])
            np.testing.assert_allclose(colour[:3], wanted, atol=4)
        seen[view].add((side, int(vertex)))
    assert min(map(len, seen.values())) > 100
    assert not seen["lateral"] & seen["medial"]


def profile(name, values, categories):
    ids = [f"s{i}" for i in range(len(values))]
    array = xr.DataArray(np.array(values, float)[:, None], {"stimulus": ids, "target": [name]}, ("stimulus", "target"))
    return array, pd.Series(categories, index=ids)


def test_response_profiles_are_sorted_and_coloured_and_means_have_their_errors():
    brain, category = profile("music", [3, 9, 1, 7, 2, 8], ["Music", "Music", "Nature", "Nature", "Song", "Song"])
    model = brain.copy(data=[[5.0], [1], [6], [2], [4], [3]])
    figure = response_profiles.plot_response_profiles({"brain": brain, "net": model}, category)
    bars, means, theirs, their_means = figure.axes
    assert [p.get_gid().split()[0] for p in bars.patches] == ["s1", "s5", "s3", "s0", "s4", "s2"]
    assert [p.get_height() for p in theirs.patches] == [6, 5, 4, 3, 2, 1]
    assert [t.get_text() for t in means.get_yticklabels()] == ["Music", "Song", "Nature"]
    assert [p.get_width() for p in their_means.patches] == [3, 3.5, 4]
    assert bars.get_title(loc="left") == "music, brain"
    same = response_profiles.plot_response_profiles({"brain": brain, "net": model}, category, order="first")
    assert [p.get_height() for p in same.axes[2].patches] == [1, 3, 2, 5, 4, 6]
    grouped = response_profiles.plot_response_profiles({"brain": brain}, category, order="category")
    assert [p.get_height() for p in grouped.axes[0].patches] == [9, 3, 8, 2, 7, 1]
    grid = response_profiles.plot_category_grid({"brain": brain, "net": model}, category)
    assert [p.get_height() for p in grid.axes[0].patches] == [6, 5, 4]
    assert [p.get_height() for p in grid.axes[1].patches] == [3, 3.5, 4]
    segments = grid.axes[0].collections[0].get_segments()
    assert [s[1][1] - s[0][1] for s in segments] == pytest.approx([6, 6, 6])
    table = response_profiles.category_table({"brain": brain, "net": model}, category)
    assert table.query("whose == 'net' and category == 'Song'")[["mean", "sem", "n"]].to_numpy().tolist() == [
        [3.5, 0.5, 2]
    ]


def test_response_profiles_of_different_targets():
    music, category = profile("music", [1, 2], ["Music", "Song"])
    speech, _ = profile("speech", [1, 2], ["Music", "Song"])
    with pytest.raises(MeasureError, match="targets of net and brain differ in music, speech"):
        response_profiles.plot_response_profiles({"brain": music, "net": speech}, category)
    with pytest.raises(MeasureError, match="no order 'resp'; did you mean 'response'"):
        response_profiles.plot_response_profiles({"brain": music}, category, order="resp")


@pytest.mark.realdata
def test_published_maps_are_drawn_from_fsaverage(shared_data):
    from brainalign.brain.nh2015_maps import load_nh2015_maps

    significance = load_nh2015_maps(shared_data / "natsound165")["significance"].sel(component="music")
    maps = {h: significance.sel(hemisphere=h).values for h in ("left", "right")}
    figure = brain_maps.plot_surface_map(maps, scale=brain_maps.colour_scale(significance.values, signed=True))
    numbers, collection = drawn_faces(figure.axes[0], "left", "lateral")
    scale = brain_maps.colour_scale(significance.values, signed=True)
    wanted = expected_colours(maps["left"][:N], "left", scale)
    np.testing.assert_allclose(collection.get_facecolors(), wanted[numbers], atol=1e-6)
