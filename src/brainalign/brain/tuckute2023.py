"""Voxels of two fMRI experiments with the 165 natural sounds, in the layout released with Tuckute et al. 2023.

NH2015 are those of Norman-Haignere, Kanwisher & McDermott 2015, B2021 those of Boebinger, Norman-Haignere, McDermott &
Kanwisher 2021. The release is a folder ``neural/`` with numpy arrays and pickled tables; arrays are read without
pickle, tables by :func:`~brainalign.brain.restricted_pickle.read_pickled_table` or, where there is one, from the CSV
file of the same name.
"""

from __future__ import annotations

import shutil
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from brainalign._files import data_folder, sha256, shipped, write_then_rename
from brainalign._reading import read_npy, reading
from brainalign.brain._mat import read_mat
from brainalign.brain.data import BrainData
from brainalign.brain.restricted_pickle import read_pickled_table
from brainalign.errors import BrainError, DownloadError, name_some
from brainalign.responses import make_responses
from brainalign.stats.ceilings import pairwise_correlations

NAME = "tuckute2023"
#: What is read of each experiment; of the table, the pickle or a CSV file.
FILES = {
    "NH2015": ("voxel_features_array.npy", "voxel_features_meta.npy", "neural_stim_meta.npy"),
    "B2021": ("voxel_features_array.npy", "voxel_features_meta.npy", "stim_info_v4.mat"),
}
TABLE = "df_roi_meta"
#: Sounds, voxels, scans and subjects of the release, after voxels with fewer scans are left out.
PUBLISHED = {"NH2015": (165, 7_694, 3, 8), "B2021": (192, 26_792, 3, 20)}
N_SCANS = 3
_FUNCTIONAL = ("tonotopic", "pitch", "music", "speech")
_RELIABILITY = {"kell_r_reliability": "reliability_nh2015", "pearson_r_reliability": "reliability_pearson"}
_HEMISPHERES = {"lh": "left", "rh": "right"}


def load_nh2015_voxels(path: str | Path | None = None, *, published: bool = True) -> BrainData:
    """Load the voxels of Norman-Haignere et al. 2015 that were measured in three scans.

    Parameters
    ----------
    path : path-like, optional
        The folder that holds ``neural/`` or ``data/neural/``; the one that ``brainalign fetch tuckute2023 --from``
        filled if not given.
    published : bool
        Ask for the published counts: 7,694 voxels of 8 subjects. Without it, a part of the data is accepted.

    Returns
    -------
    BrainData
        ``nh2015-voxels``, dims ``(repetition, stimulus, unit)``: 3 scans, the 165 sounds in the order of the set
        ``natsound165`` with its ``category``, in percent signal change. Along ``unit``: ``subject``, ``hemisphere``,
        ``x`` and ``y`` (released as x_ras and y_ras: the place on a flattened cortex that all subjects share),
        ``voxel_id``, ``region`` (Primary, Lateral, Anterior, Posterior, empty elsewhere), ``region_detail`` (Glasser),
        ``roi_tonotopic``, ``roi_pitch``, ``roi_music``, ``roi_speech`` (functional regions, 1 or 0), and the released
        ``reliability_nh2015`` (mean of scans 1 and 2 against scan 3) and ``reliability_pearson`` (median over pairs of
        scans). Voxels with fewer scans are left out, as published; a warning counts them.

    Raises
    ------
    BrainError
        If a file is missing, cannot be read without running code, holds NaN, other sounds or, with `published`, other
        counts, or if array and table do not speak of the same voxels.
    """
    folder = _find(path, "NH2015")
    sounds = _nh2015_sounds(folder)
    meta, everything = _array(folder, "voxel_features_meta.npy"), _array(folder, "voxel_features_array.npy")
    lacking = [f for f in ("subj_idx", "voxel_id", "n_reps") if f not in (meta.dtype.names or ())]
    if lacking:
        raise BrainError(f"voxel_features_meta.npy has no field {name_some(lacking)}, found {meta.dtype.names}")
    _check_shape(everything, len(sounds), len(meta))
    complete = meta["n_reps"] == N_SCANS
    table = _table(folder)
    _same_voxels(table, meta[complete])
    warnings = []
    if n_left := int((~complete).sum()):
        warnings.append(f"{n_left} of {len(meta)} voxels with fewer than {N_SCANS} scans are left out, as published")
    return _brain("NH2015", everything[:, complete], sounds, table, folder, published, warnings)


def load_b2021_voxels(path: str | Path | None = None, *, published: bool = True, all_sounds: bool = False) -> BrainData:
    """Load the voxels of Boebinger et al. 2021, three scans each.

    Parameters
    ----------
    path : path-like, optional
        As :func:`load_nh2015_voxels`.
    published : bool
        Ask for the published counts: 26,792 voxels of 20 subjects. Without it, a part of the data is accepted.
    all_sounds : bool
        Keep all 192 sounds, without ``category``; otherwise the first 165, which are ``natsound165``, as published.

    Returns
    -------
    BrainData
        ``b2021-voxels``, as :func:`load_nh2015_voxels` gives them; there are no functional regions.

    Raises
    ------
    BrainError
        As :func:`load_nh2015_voxels`.
    """
    folder = _find(path, "B2021")
    sounds, values = _b2021_sounds(folder), _array(folder, "voxel_features_array.npy")
    ids = _array(folder, "voxel_features_meta.npy")
    _check_shape(values, len(sounds), len(ids))
    brain = _brain("B2021", values, sounds, _table(folder), folder, published, [])
    if all_sounds:
        return brain
    responses = brain.responses.sel(stimulus=list(_categories()))
    info = {"category": ("stimulus", list(_categories().values()))}
    return replace(brain, responses=responses.assign_coords(info))


def take_tuckute2023(source: Path | None) -> Path:
    """Copy the experiments that a folder holds into the data folder, after loading them.

    Parameters
    ----------
    source : Path or None
        The unpacked release: it holds ``neural/`` or ``data/neural/``, with NH2015, B2021 or both.

    Returns
    -------
    Path
        ``BRAINALIGN_DATA/tuckute2023``, or in the user's cache.

    Raises
    ------
    DownloadError
        If there is no folder: the data are not downloaded for you, since no digests are published.
    BrainError
        If it holds neither experiment, or one that cannot be loaded; nothing is copied of that one.
    """
    if source is None:
        raise DownloadError(f"{NAME} is not downloaded for you: {_origin()['how']}; it lies at {_origin()['url']}")
    target = data_folder() / NAME
    found = [e for e in FILES if any((s / e).is_dir() for s in _places(source))]
    if not found:
        raise BrainError(f"{source} holds neither neural/NH2015 nor neural/B2021; {_origin()['how']}")
    for experiment in found:
        {"NH2015": load_nh2015_voxels, "B2021": load_b2021_voxels}[experiment](source)
        folder = _find(source, experiment)
        for file in [
            *FILES[experiment],
            *(f"{TABLE}.{s}" for s in ("pkl", "csv") if (folder / f"{TABLE}.{s}").is_file()),
        ]:
            with write_then_rename(target / "neural" / experiment / file) as temporary:
                shutil.copyfile(folder / file, temporary)
    return target


def _origin() -> dict[str, Any]:
    return tomllib.loads((shipped("stimuli") / NAME / "brain_data.toml").read_text(encoding="utf-8"))


def _places(folder: Path) -> list[Path]:
    return [folder / "neural", folder / "data" / "neural", folder]


def _find(path: str | Path | None, experiment: str) -> Path:
    """Return the folder of an experiment after checking that its files are there."""
    base = data_folder() / NAME if path is None else Path(path)
    folder = next((p / experiment for p in _places(base) if (p / experiment).is_dir()), None)
    if folder is None:
        raise BrainError(f"{base} holds no neural/{experiment}: {_origin()['how']}")
    missing = [f for f in FILES[experiment] if not (folder / f).is_file()]
    if missing:
        raise BrainError(f"{folder} lacks {name_some(missing)}; {_origin()['how']}")
    return folder


def _array(folder: Path, file: str) -> NDArray[Any]:
    return read_npy(folder / file, BrainError)


def _table(folder: Path) -> pd.DataFrame:
    """Read the table of voxels: from CSV where there is one, else from the pickle."""
    path = folder / f"{TABLE}.csv"
    if not path.is_file():
        return read_pickled_table(folder / f"{TABLE}.pkl")
    with reading(path, "a table", BrainError):
        return pd.read_csv(path)


def _categories() -> dict[str, str]:
    """Return the category of each sound of natsound165, in its order."""
    table = pd.read_csv(shipped("stimuli") / "natsound165" / "stimuli.csv", dtype=str)
    return dict(zip(table["stimulus_id"], table["category"], strict=True))


def _nh2015_sounds(folder: Path) -> list[str]:
    table = _array(folder, "neural_stim_meta.npy")
    if not table.dtype.names:
        raise BrainError(f"neural_stim_meta.npy has dtype {table.dtype}, expected fields, the file name first")
    first = table[table.dtype.names[0]]
    names = [n.decode("utf-8") if isinstance(n, bytes) else str(n) for n in first.tolist()]
    return _checked_sounds([n.removesuffix(".wav") for n in names], "neural_stim_meta.npy")


def _b2021_sounds(folder: Path) -> list[str]:
    file = "stim_info_v4.mat"
    content = read_mat(folder / file)
    with reading(folder / file, "a list of sounds: it gives no stim_info.stim_names", BrainError):
        cells = content["stim_info"]["stim_names"][0, 0]
        names = [str(np.asarray(cell).item()) for cell in np.asarray(cells).ravel()]
    return _checked_sounds(names, file)


def _checked_sounds(names: list[str], file: str) -> list[str]:
    lacking = [i for i in _categories() if i not in names]
    if lacking or len(set(names)) < len(names):
        raise BrainError(
            f"{file} names {len(names)} sounds, {len(set(names))} different ones; of natsound165 it lacks "
            f"{name_some(lacking) or 'none'}"
        )
    return names


def _check_shape(values: NDArray[Any], n_sounds: int, n_voxels: int) -> None:
    if values.shape != (n_sounds, n_voxels, N_SCANS) or values.dtype.kind not in "iuf":
        raise BrainError(
            f"voxel_features_array.npy is {values.shape} of {values.dtype}, expected numbers of shape "
            f"({n_sounds} sounds, {n_voxels} voxels, {N_SCANS} scans)"
        )


def _same_voxels(table: pd.DataFrame, meta: NDArray[Any]) -> None:
    if len(table) != len(meta):
        raise BrainError(f"{TABLE} has {len(table)} rows for the {len(meta)} voxels with {N_SCANS} scans")
    for field in ("voxel_id", "subj_idx"):
        different = np.flatnonzero(_column(table, field) != meta[field])
        if len(different):
            raise BrainError(
                f"{TABLE} and voxel_features_meta.npy differ in {field} for {len(different)} of {len(table)} voxels, "
                f"first in row {different[0] + 1}: {table[field].iloc[different[0]]} and {meta[field][different[0]]}"
            )


def _column(table: pd.DataFrame, name: str) -> NDArray[Any]:
    if name not in table:
        raise BrainError(f"{TABLE} has no column {name!r}; it has {name_some(table.columns, 20)}")
    return np.asarray(table[name])


def _brain(
    experiment: str,
    values: NDArray[Any],
    sounds: list[str],
    table: pd.DataFrame,
    folder: Path,
    published: bool,
    warnings: list[str],
) -> BrainData:
    units, info = _unit_info(table)
    if len(units) != values.shape[1]:
        raise BrainError(f"{TABLE} has {len(units)} rows for {values.shape[1]} voxels")
    found = (*values.shape, len(set(info["subject"])))
    if published and found != PUBLISHED[experiment]:
        raise BrainError(
            f"{folder} holds {_counts(found)}, published are {_counts(PUBLISHED[experiment])}; pass published=False to "
            "use a part"
        )
    gaps = np.flatnonzero(~np.isfinite(values).all(axis=(0, 2)))
    if len(gaps):
        raise BrainError(f"{len(gaps)} voxels with {N_SCANS} scans hold NaN: {name_some([units[g] for g in gaps])}")
    repeated = np.moveaxis(values, 2, 0)
    warnings += _reliability_warning(repeated, info["reliability_pearson"])
    own = list(_categories())
    order = [sounds.index(i) for i in [*own, *(s for s in sounds if s not in own)]]
    name, origin = f"{experiment.lower()}-voxels", _origin()
    responses = make_responses(
        repeated[:, order],
        [sounds[i] for i in order],
        units,
        stimulus_info={"category": list(_categories().values())} if len(own) == len(sounds) else None,
        unit_info=info,
        attrs={"source": name, "space": "flattened cortex"},
    )
    digest = sha256(folder / "voxel_features_array.npy")[:16]
    version = f"{origin['version']}, array with SHA-256 {digest}"
    return BrainData(name, responses, version, origin["citation"][experiment], origin["licence"], {}, tuple(warnings))


def _counts(found: tuple[int, ...]) -> str:
    return "{} sounds, {} voxels, {} scans, {} subjects".format(*found)


def _unit_info(table: pd.DataFrame) -> tuple[list[str], dict[str, NDArray[Any]]]:
    subject = np.array([f"sub-{int(s):02d}" for s in _column(table, "subj_idx")])
    number = _column(table, "voxel_id").astype(np.int64)
    hemisphere = _column(table, "hemi")
    odd = sorted({str(h) for h in hemisphere} - set(_HEMISPHERES))
    if odd:
        raise BrainError(f"{TABLE} names the hemispheres {name_some(odd)}, expected lh and rh")
    info: dict[str, NDArray[Any]] = {
        "subject": subject,
        "hemisphere": np.array([_HEMISPHERES[str(h)] for h in hemisphere]),
        "x": _column(table, "x_ras").astype(np.float64),
        "y": _column(table, "y_ras").astype(np.float64),
        "voxel_id": number,
    }
    for name, column in (("region", "roi_label_general"), ("region_detail", "roi_label_specific")):
        labels = _column(table, column)
        info[name] = np.where(pd.isna(labels), "", labels).astype(str)
    info |= {f"roi_{n}": _column(table, n).astype(np.int64) for n in _FUNCTIONAL if n in table}
    info |= {ours: _column(table, theirs).astype(np.float64) for theirs, ours in _RELIABILITY.items()}
    return [f"{s}_v{n:05d}" for s, n in zip(subject, number, strict=True)], info


def _reliability_warning(repeated: NDArray[Any], released: NDArray[np.float64]) -> list[str]:
    """Say so if the table's reliabilities are not those of the responses: rows may be out of order."""
    own = np.median(pairwise_correlations(repeated), axis=0)
    different = int((np.abs(own - released) > 1e-3).sum())
    if not different:
        return []
    return [
        f"the median correlation of scans differs from that in {TABLE} for {different} of {len(own)} voxels: "
        "regions and responses may not belong together"
    ]
