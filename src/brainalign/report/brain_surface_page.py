"""The part of a page that shows the brain: figures of units, and the cortex that turns under the pointer.

The viewer is a small script of our own (``surface.js``) on a plain canvas. Plotly, which nilearn's ``view_surf``
embeds, is 4.8 MB of script; both hemispheres of fsaverage5 are a third of a MB here, and a map is as large as the
vertices that have a value.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from brainalign.brain.data import BrainData
from brainalign.brain.geometry import HEMISPHERES, fsaverage5_mesh
from brainalign.errors import BrainalignError, BrainError
from brainalign.measures.result import Result
from brainalign.report._embed import packed, script_json
from brainalign.report.brain_figures import UnitMaps, figures_of, unit_maps
from brainalign.report.brain_maps import colour_scale, fsaverage5_maps, layout_of, sulcal_depth
from brainalign.report.panels import Gallery, Shown

#: Most bytes of maps in the viewer of a page, as base64; what goes beyond is named.
MAX_BYTES = 3_000_000
#: What drawing raises on data that cannot be drawn.
_NOT_DRAWN = (BrainalignError, ValueError)
#: Steps of a millimetre at which coordinates are stored.
PER_MM = 100


@dataclass(frozen=True)
class BrainSection:
    """What the template shows of the brain.

    Attributes
    ----------
    shown : list of Shown
        The figures.
    viewer : Markup
        The cortex that turns; empty if no unit lies on it.
    notes : list of str
        What could not be drawn, and why; a page is not lost for a picture.
    """

    shown: list[Shown]
    viewer: Markup
    notes: list[str]


def brain_section(gallery: Gallery) -> BrainSection:
    """Draw the units of the results and of the brain data of a page where they lie.

    Parameters
    ----------
    gallery : Gallery
        Takes the figures.

    Returns
    -------
    BrainSection
        Empty if there are no brain data, or units have neither place nor subject nor region.
    """
    shown: list[Shown] = []
    on_surface: dict[str, UnitMaps] = {}
    notes: list[str] = []
    for whose, maps in _maps_of(gallery.content.results, gallery.content.brains, notes):
        title = " ".join([*whose, maps.name.replace("-", " ")])
        try:
            pictures = figures_of(maps)
        except _NOT_DRAWN as why:
            notes.append(f"{title} is not drawn: {why}")
            continue
        on_surface[title] = maps
        for name, picture in pictures.items():
            caption, label = picture.caption, " ".join([*whose, picture.title])
            shown.append(gallery.add("-".join([*whose, name]), picture.figure, picture.data, caption, label=label))
    try:
        viewer = surface_viewer(on_surface)
    except _NOT_DRAWN as why:
        viewer = Markup("")
        notes.append(f"the cortex that turns is not drawn: {why}")
    return BrainSection(shown, viewer, notes)


def _maps_of(
    results: Sequence[Result], brains: Sequence[BrainData], notes: list[str]
) -> Iterator[tuple[list[str], UnitMaps]]:
    """Give the maps of each brain's results and its own, with whose they are: model, and brain if there are several.

    What cannot be gathered goes into the notes.
    """
    for brain in brains:
        about = [brain.name] if len(brains) > 1 else []
        for result in results:
            if (result.table["brain"] == brain.name).any():
                models = [str(m) for m in result.table["model"] if m]
                for maps in _gathered(result, brain, notes):
                    yield [*models[:1], *about], maps
        for maps in _gathered(None, brain, notes):
            yield about, maps


def _gathered(result: Result | None, brain: BrainData, notes: list[str]) -> list[UnitMaps]:
    try:
        return unit_maps(result, brain)
    except _NOT_DRAWN as why:
        notes.append(f"{result.measure if result else brain.name} is not drawn: {why}")
        return []


def surface_viewer(named: Mapping[str, UnitMaps]) -> Markup:
    """Return the element of a page with the cortex that turns, and what it draws.

    Parameters
    ----------
    named : mapping of str to UnitMaps
        Maps by name; those whose units lie on no surface are left out.

    Returns
    -------
    Markup
        Empty if no map is left. It is hidden until :func:`viewer_script` has run, and stands in a page once.

    Raises
    ------
    BrainError
        If units lie on a mesh that is not fsaverage5 and does not contain it.
    """
    entries: list[dict[str, Any]] = []
    left_out, size = [], 0
    for name, maps in named.items():
        if layout_of(maps.units) != "surface":
            continue
        for column, values in maps.columns.items():
            if not np.isfinite(values).any():
                continue
            entry = _entry(f"{name}: {column}" if column else name, maps, values)
            size += len(json.dumps(entry))
            if size > MAX_BYTES and entries:
                left_out.append(entry["name"])
            else:
                entries.append(entry)
    if not entries:
        return Markup("")
    drawn = {"maps": entries, "colours": {signed: _colours(signed == "signed") for signed in ("signed", "plain")}}
    cut = f" To keep the page small, {len(left_out)} further maps are in the figures alone." if left_out else ""
    return Markup(_VIEWER).format(mesh=script_json(_mesh()), data=script_json(drawn), cut=cut)


def viewer_script() -> Markup:
    """Return the script that makes the viewers of a page turn."""
    return Markup(files("brainalign.report").joinpath("surface.js").read_text(encoding="utf-8"))


_VIEWER = """<script type="application/json" id="surface-mesh">{mesh}</script>
<div class="surface" role="group" aria-label="Cortex that turns" hidden>
<script type="application/json">{data}</script>
<p class="surface-controls"><label>Map <select></select></label>
<span><button type="button" value="lateral">lateral</button><button type="button" value="medial">medial</button>
<button type="button" value="ventral">ventral</button><button type="button" value="dorsal">dorsal</button>
<button type="button" value="anterior">anterior</button><button type="button" value="posterior">posterior</button>
<button type="button" value="1.25" aria-label="larger">+</button>
<button type="button" value="0.8" aria-label="smaller">−</button></span></p>
<p class="surface-names" aria-hidden="true"><span>left hemisphere</span><span>right hemisphere</span></p>
<canvas tabindex="0" role="img"
aria-label="Inflated left and right hemisphere with the chosen map; arrow keys turn them, + and − size them"></canvas>
<p class="surface-bar"><span></span> <b></b><i></i><b></b> <output></output></p>
<p class="surface-help">Drag, or use the arrow keys, to turn both hemispheres as mirror images; point at the cortex to
read a vertex. Every vertex has the colour of its own value; grey ones have none.{cut}</p>
</div>
"""


def _entry(name: str, maps: UnitMaps, values: NDArray[np.float64]) -> dict[str, Any]:
    """Return a map as the script takes it: the vertices that have a value, and the values."""
    on_surface = fsaverage5_maps(maps.units, values)
    scale = maps.scale
    entry: dict[str, Any] = {"name": name, "label": maps.label, "low": scale.low, "high": scale.high,
                             "extend": scale.extend, "colours": "signed" if scale.signed else "plain"}  # fmt: skip
    for hemisphere in HEMISPHERES:
        vertices = np.flatnonzero(np.isfinite(on_surface[hemisphere]))
        entry[hemisphere] = {
            "vertices": packed(vertices, "<u2"),
            "values": packed(on_surface[hemisphere][vertices], "<f4"),
        }
    return entry


def _mesh() -> dict[str, Any]:
    mesh, depth = fsaverage5_mesh("inflated"), sulcal_depth()
    faces = {h: mesh[h][1] for h in HEMISPHERES}
    if not np.array_equal(faces["left"], faces["right"]):
        raise BrainError("the hemispheres of fsaverage5 have different faces in this version of nilearn; report this")
    sides = {
        h: {
            "coordinates": packed(np.round(mesh[h][0] * PER_MM), "<i2"),
            "sulcal_depth": packed(np.where(depth[h] > 0, 255, 0), "u1"),
        }
        for h in HEMISPHERES
    }
    return {"per_mm": PER_MM, "faces": packed(faces["left"], "<u2"), **sides}


def _colours(signed: bool) -> str:
    mappable = colour_scale([0.0, 1.0], signed=signed, limits=(0, 1)).mappable()
    return packed(mappable.to_rgba(np.arange(256) / 255, bytes=True)[:, :3], "u1")
