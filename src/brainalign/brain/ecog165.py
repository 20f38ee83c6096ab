"""ECoG responses to the 165 natural sounds (Norman-Haignere et al. 2022, Current Biology 32:1470).

The same sounds as the fMRI components of 2015, in 15 other people and at 25 or 100 Hz: a second witness.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from brainalign._files import sha256, shipped
from brainalign._reading import read_npz
from brainalign.brain.checks import file_in
from brainalign.brain.data import BrainData
from brainalign.errors import BrainError, did_you_mean, name_some
from brainalign.responses import make_responses
from brainalign.stimuli.fetch import check_fetched, published_digests

Array = NDArray[np.float64]
Over = Literal["time-average", "windows", "time"]

NAME = "ecog165"
FILE = "ecog165.npz"
_OVER = ("time-average", "windows", "time")
_SOUNDS = ("stim_names", "category", "category_labels")
_COMPONENTS = (*_SOUNDS, "components", "t", "weights", "elec_ras", "elec_subject", "elec_vert")
_ELECTRODES = (*_SOUNDS, "electrodes", "electrode_names", "t_electrodes")


def load_ecog165_components(
    path: str | Path | None = None,
    *,
    over: Over = "time-average",
    window_s: Sequence[float] | None = None,
    width_s: float = 0.5,
) -> BrainData:
    """Load the 15 response components of 272 electrodes in 15 patients.

    They were inferred by a decomposition that keeps responses and weights from being negative; component 11 is the
    song-selective one of the paper. There is one response per sound and time: no repetitions.

    Parameters
    ----------
    path : path-like, optional
        An ``ecog165.npz``, or a folder that holds it; the fetched one if not given.
    over : {'time-average', 'windows', 'time'}
        One unit per component (the mean over the window), per component and stretch of `width_s`, or per component and
        sample (25 Hz).
    window_s : sequence of two floats, optional
        From and until when after sound onset (s; the end is not included), within 0 to 3 s; everything if not given.
        Sounds last 2 s.
    width_s : float
        Width of the stretches for ``over="windows"`` (s); the last may be shorter.

    Returns
    -------
    BrainData
        ``ecog165-components``, dims ``(stimulus, unit)``, stimuli in the order of ``natsound165`` with its ``category``
        and the authors' own ``category_2022``, which calls three sounds sound effects (SfX). Along ``unit``:
        ``component`` (1 to 15), ``start_s``, ``end_s``. ``arrays["weights"]`` (component, electrode) with ``subject``,
        ``hemisphere``, ``vertex`` (of fsaverage, from 0) and ``x, y, z`` (mm, on the inflated surface) of the
        electrodes.

    Raises
    ------
    BrainError
        If the file is not the published one, cannot be read, lacks an array or has other sounds, or the window holds no
        sample or reaches beyond those that there are.
    DownloadError
        If it has not been fetched.
    """
    path, content = _read(path, _COMPONENTS)
    units = [f"component-{c + 1:02d}" for c in range(content["components"].shape[2])]
    info = {"component": np.arange(len(units)) + 1}
    values = np.moveaxis(content["components"], 2, 1)
    brain = _brain("ecog165-components", path, content, values, content["t"], units, info, over, window_s, width_s)
    return replace(brain, arrays={"weights": _weights(content, units)})


def load_ecog165_electrodes(
    path: str | Path | None = None,
    *,
    over: Over = "time-average",
    window_s: Sequence[float] | None = None,
    width_s: float = 0.5,
    averages: bool = False,
) -> BrainData:
    """Load the single electrodes that the paper shows for their selectivity: 11 for music, 7 for song, 15 for speech.

    Parameters
    ----------
    path, over, window_s, width_s
        See :func:`load_ecog165_components`; samples are at 100 Hz.
    averages : bool
        Keep the three averages too: of the 11 and the 7 electrodes, and of speech-selective ones that are not all here.

    Returns
    -------
    BrainData
        ``ecog165-electrodes``, high-gamma responses, dims ``(stimulus, unit)``; ``selectivity`` along ``unit`` says
        what an electrode was chosen for. Their places and subjects are not released. A warning says that they were
        chosen.

    Raises
    ------
    BrainError, DownloadError
        As :func:`load_ecog165_components`.
    """
    path, content = _read(path, _ELECTRODES)
    names = content["electrode_names"].tolist()
    keep = [i for i, n in enumerate(names) if averages or not n.endswith("-average")]
    units = [names[i] for i in keep]
    values = content["electrodes"][keep].swapaxes(0, 1)
    info = {"selectivity": np.array([n.split("-")[0] for n in units])}
    warnings = ("the electrodes of ecog165 were chosen by the authors because they respond to music, song or speech",)
    return _brain(
        "ecog165-electrodes",
        path,
        content,
        values,
        content["t_electrodes"],
        units,
        info,
        over,
        window_s,
        width_s,
        warnings,
    )


def _read(path: str | Path | None, fields: tuple[str, ...]) -> tuple[Path, dict[str, NDArray[Any]]]:
    if path is None:
        path = check_fetched(NAME, [FILE]) / FILE
        if sha256(path) != published_digests(NAME)[FILE]:
            raise BrainError(f"{path} is not the published file; do: brainalign fetch {NAME} --from FOLDER")
    path = file_in(path, FILE)
    if not path.is_file():
        raise BrainError(f"no file {path}")
    content = read_npz(path, BrainError)
    lacking = [f for f in fields if f not in content]
    if lacking:
        raise BrainError(f"{path.name} lacks {name_some(lacking)}; it holds {name_some(content, 10)}")
    return path, {f: content[f] for f in fields}


def _brain(
    name: str,
    path: Path,
    content: dict[str, NDArray[Any]],
    values: NDArray[Any],
    times: NDArray[Any],
    units: list[str],
    info: dict[str, NDArray[Any]],
    over: str,
    window_s: Sequence[float] | None,
    width_s: float,
    warnings: tuple[str, ...] = (),
) -> BrainData:
    """Make BrainData of responses (stimulus, unit, time)."""
    sounds = [str(s).removesuffix(".wav") for s in content["stim_names"]]
    table = pd.read_csv(shipped("stimuli") / "natsound165" / "stimuli.csv", dtype=str)
    ids = table["stimulus_id"].tolist()
    if sorted(sounds) != sorted(ids):
        raise BrainError(f"{path.name} has other sounds than natsound165: it lacks {name_some(set(ids) - set(sounds))}")
    order = [sounds.index(i) for i in ids]
    own = content["category_labels"][content["category"].astype(int) - 1]
    stretches = _stretches(times, over, window_s, width_s)
    averaged = np.stack([values[order][:, :, s].mean(axis=2, dtype=np.float64) for s in stretches], axis=2)
    step = times[1] - times[0]
    bounds = [(float(times[s[0]]), float(times[s[-1]] + step)) for s in stretches]
    names = [f"{u}_{a:.2f}-{b:.2f}s" for u in units for a, b in bounds] if over != "time-average" else units
    unit_info = {c: np.repeat(v, len(bounds)) for c, v in info.items()}
    unit_info |= {
        "start_s": np.tile([a for a, _ in bounds], len(units)),
        "end_s": np.tile([b for _, b in bounds], len(units)),
    }
    responses = make_responses(
        averaged.reshape(len(ids), -1),
        ids,
        names,
        stimulus_info={"category": table["category"].to_numpy(), "category_2022": own[order]},
        unit_info=unit_info,
        allow_constant=True,
    )
    origin = tomllib.loads((shipped("stimuli") / NAME / "brain_data.toml").read_text(encoding="utf-8"))
    digest = sha256(path)
    published = digest == published_digests(NAME)[FILE]
    version = origin["version"] if published else f"file with SHA-256 {digest}"
    return BrainData(name, responses, version, origin["citation"], origin["licence"], {}, warnings)


def _stretches(
    times: NDArray[Any], over: str, window_s: Sequence[float] | None, width_s: float
) -> list[NDArray[np.intp]]:
    """Return the samples that each unit is the mean of."""
    if over not in _OVER:
        raise BrainError(f"over is {over!r}; {did_you_mean(over, _OVER)}")
    # Half a sample of slack: times are multiples of 0.04 or 0.01 s to rounding.
    step = times[1] - times[0]
    first, last = float(times[0]), round(float(times[-1] + step), 6)
    start, end = (first, last) if window_s is None else _checked_window(window_s, first, last)
    inside = np.flatnonzero((times >= start - step / 2) & (times < end - step / 2))
    if not len(inside):
        raise BrainError(f"no sample from {start} to {end} s; there are samples from {times[0]} to {times[-1]:g} s")
    if over == "time-average":
        return [inside]
    if over == "time":
        return [np.array([i]) for i in inside]
    if not width_s >= step:
        raise BrainError(f"width_s is {width_s}, expected at least a sample, {step:g} s")
    number = np.floor((times[inside] - times[inside[0]] + step / 2) / width_s).astype(int)
    return [inside[number == n] for n in np.unique(number)]


def _checked_window(window_s: object, first: float, last: float) -> tuple[float, float]:
    ends = list(window_s) if isinstance(window_s, Sequence | np.ndarray) and not isinstance(window_s, str) else []
    if len(ends) != 2 or not all(isinstance(e, int | float | np.number) and not isinstance(e, bool) for e in ends):
        raise BrainError(f"window_s is {window_s!r}, expected from and until when, two numbers of seconds")
    start, end = (float(e) for e in ends)
    if not first <= start < end <= last:
        raise BrainError(f"window_s is {window_s!r}, expected from and until when within {first:g} to {last:g} s")
    return start, end


def _weights(content: dict[str, NDArray[Any]], components: list[str]) -> xr.DataArray:
    x = content["elec_ras"]
    coords = {
        "component": components,
        "subject": ("electrode", np.array([f"sub-{int(s):02d}" for s in content["elec_subject"]])),
        # The inflated surface shows its outer side at negative x on the left, at positive x on the right.
        "hemisphere": ("electrode", np.where(x[:, 0] < 0, "left", "right")),
        "vertex": ("electrode", content["elec_vert"].astype(np.int64) - 1),
        **{axis: ("electrode", x[:, i]) for i, axis in enumerate("xyz")},
    }
    attrs = {"space": "fsaverage", "surface": "inflated"}
    return xr.DataArray(content["weights"].astype(np.float64), coords, ("component", "electrode"), attrs=attrs)
