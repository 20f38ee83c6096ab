"""Where a simulated auditory cortex lies: a patch of fsaverage5 around Heschl's gyrus, its parts, distances along it.

The landmarks were placed by hand on the bundled fsaverage5 surface where the literature sees these parts and components
(Norman-Haignere, Kanwisher & McDermott 2015, Neuron, Fig. 2: low frequencies on Heschl's gyrus, high frequencies on
both sides of it, pitch before it, speech beside it on the superior temporal gyrus, music before and behind it). They
are plausible, and they are no measurement.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import dijkstra

from brainalign.brain.geometry import HEMISPHERES, fsaverage5_mesh

Array = NDArray[np.float64]
Position = tuple[float, float, float]

#: Middle of each part of auditory cortex: mm in the left hemisphere of fsaverage; x is mirrored for the right one.
LANDMARKS: dict[str, Position] = {
    "primary": (-46, -21, 8),
    "lateral": (-60, -20, 2),
    "anterior": (-51, -5, -4),
    "posterior": (-55, -36, 13),
}
SURROUND = "surround"
#: Vertices farther than this from all landmarks are called the surround; responses fade there.
AUDITORY_MM = 18.0
#: Middles of the patches of known components, in the same coordinates.
CENTRES: dict[str, tuple[Position, ...]] = {
    "lowfreq": ((-51, -17, 6),),
    "highfreq": ((-45, -14, 0), (-40, -31, 12)),
    "texture": ((-41, -28, 11),),
    "envsounds": ((-41, -28, 11),),
    "pitch": ((-52, -10, 1),),
    "speech": ((-60, -20, 2),),
    "music": ((-50, -4, -7), (-56, -36, 14)),
}


@dataclass(frozen=True)
class Patch:
    """The vertices of one hemisphere that are simulated.

    Attributes
    ----------
    hemisphere : {'left', 'right'}
        Which.
    vertex : ndarray of int, shape (n_vertices,)
        Numbers of the vertices in fsaverage5.
    position : ndarray, shape (n_vertices, 3)
        mm, midway between white and pial surface.
    region : ndarray of str, shape (n_vertices,)
        The nearest landmark along the surface, or ``"surround"``.
    to_landmark : ndarray, shape (n_vertices,)
        Distance to that landmark, mm.
    distance : ndarray, shape (n_vertices, n_vertices)
        Distances along the patch, mm.
    """

    hemisphere: str
    vertex: NDArray[np.int64]
    position: Array
    region: NDArray[np.str_]
    to_landmark: Array
    distance: Array

    def distance_to(self, places: Sequence[Position]) -> Array:
        """Return the distance of each vertex to the nearest of some places, along the surface.

        Parameters
        ----------
        places : sequence of (x, y, z)
            mm in the left hemisphere; mirrored for the right one, and moved to the nearest vertex.

        Returns
        -------
        ndarray, shape (n_vertices,)
            mm.
        """
        nearest: Array = _distances_from(self.hemisphere, tuple(places))[:, self.vertex].min(axis=0)
        return nearest


@cache
def auditory_patch(hemisphere: str, extent_mm: float = 48.0) -> Patch:
    """Return auditory cortex and what lies around it: all vertices within a distance of Heschl's gyrus.

    Parameters
    ----------
    hemisphere : {'left', 'right'}
        Which.
    extent_mm : float
        Largest distance along the surface, from the landmark of the primary part.

    Returns
    -------
    Patch
        At 48 mm, about 1,000 vertices.
    """
    to_landmarks = _distances_from(hemisphere, tuple(LANDMARKS.values()))
    vertex = np.flatnonzero(to_landmarks[0] <= extent_mm)
    nearest = to_landmarks[:, vertex].min(axis=0)
    names = np.array(list(LANDMARKS))[to_landmarks[:, vertex].argmin(axis=0)]
    position, graph = _surface(hemisphere)
    patch = Patch(
        hemisphere,
        vertex,
        position[vertex],
        np.where(nearest <= AUDITORY_MM, names, SURROUND),
        nearest,
        dijkstra(graph[vertex][:, vertex], directed=False),
    )
    for array in (patch.vertex, patch.position, patch.region, patch.to_landmark, patch.distance):
        array.flags.writeable = False
    return patch


@cache
def _distances_from(hemisphere: str, places: tuple[Position, ...]) -> Array:
    """Return the distance of every vertex of the hemisphere from each place, (place, vertex)."""
    position, graph = _surface(hemisphere)
    mirrored = np.array(places) * ([1, 1, 1] if hemisphere == HEMISPHERES[0] else [-1, 1, 1])
    start = np.linalg.norm(position - mirrored[:, None], axis=2).argmin(axis=1)
    distances: Array = dijkstra(graph, directed=False, indices=start)
    return distances


@cache
def _surface(hemisphere: str) -> tuple[Array, csr_array]:
    """Return the surface midway between white and pial, and its graph."""
    (white, faces), (pial, _) = (fsaverage5_mesh(surface)[hemisphere] for surface in ("white", "pial"))
    position = (white + pial) / 2
    return position, mesh_graph(position, faces)


def mesh_graph(coordinates: Array, faces: NDArray[np.int64]) -> csr_array:
    """Return the graph whose shortest paths approximate the shortest ways over a triangle mesh.

    Its edges are those of the triangles, and for each two triangles that share an edge the straight line
    between their far corners, once both are unfolded into a plane, if it crosses the shared edge. With these
    diagonals a path can leave a vertex in twelve directions instead of six: on a mesh of equilateral triangles it is at
    most 1 / cos(15 degrees) = 1.035 times too long, without them 1.155 times.

    Parameters
    ----------
    coordinates : ndarray, shape (n_vertices, 3)
        mm.
    faces : ndarray of int, shape (n_faces, 3)
        Corners of the triangles.

    Returns
    -------
    scipy.sparse.csr_array, shape (n_vertices, n_vertices)
        Symmetric; lengths in mm.
    """
    corners = np.concatenate([faces[:, [0, 1, 2]], faces[:, [1, 2, 0]], faces[:, [2, 0, 1]]])
    corners[:, :2].sort(axis=1)
    corners = corners[np.lexsort((corners[:, 1], corners[:, 0]))]
    starts = np.r_[True, (corners[1:, :2] != corners[:-1, :2]).any(axis=1)]
    first, second = corners[starts][:, :2].T
    length = np.linalg.norm(coordinates[first] - coordinates[second], axis=1)

    shared = np.flatnonzero(~starts)
    a, b, one, other = corners[shared, 0], corners[shared, 1], corners[shared - 1, 2], corners[shared, 2]
    edge = coordinates[b] - coordinates[a]
    edge_length = np.linalg.norm(edge, axis=1)
    along, across = np.empty((2, 2, len(shared)))
    for i, corner in enumerate((one, other)):
        side = coordinates[corner] - coordinates[a]
        along[i] = (side * edge).sum(axis=1) / edge_length
        across[i] = np.sqrt(np.maximum((side**2).sum(axis=1) - along[i] ** 2, 0))
    crossing = along[0] + (along[1] - along[0]) * across[0] / across.sum(axis=0)
    straight = (crossing > 0) & (crossing < edge_length)
    diagonal = np.hypot(along[1] - along[0], across.sum(axis=0))[straight]

    rows, columns = np.r_[first, one[straight]], np.r_[second, other[straight]]
    values = np.r_[length, diagonal]
    both = (np.r_[values, values], (np.r_[rows, columns], np.r_[columns, rows]))
    return csr_array(coo_array(both, shape=(len(coordinates),) * 2))
