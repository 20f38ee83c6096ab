"""From the image of one run to its responses: cleaning the time series, then betas, block means or windows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from brainalign._reading import reading
from brainalign.brain.bids_layout import BoldRun
from brainalign.brain.cifti import CiftiReader
from brainalign.brain.events import TOLERANCE_S
from brainalign.brain.glm import block_means, stimulus_betas
from brainalign.brain.image_files import bad_units, open_image
from brainalign.brain.images import ImageReader
from brainalign.brain.runs import Estimates
from brainalign.brain.surfaces import SurfaceReader
from brainalign.brain.timeseries import Drift, Scaling, remove_drift, standardize
from brainalign.brain.volume_windows import Incomplete, average_windows
from brainalign.errors import BrainError, did_you_mean

Reader = ImageReader | SurfaceReader | CiftiReader
DesignKind = Literal["glm", "separate", "block", "windows"]


@dataclass(frozen=True)
class Design:
    """How responses are estimated from the time series of a run.

    Attributes
    ----------
    kind : {'glm', 'separate', 'block', 'windows'}
        See :func:`~brainalign.brain.bids.load_bids`.
    discard : int
        Volumes at the beginning that are not used; an event that ends with them is not used either.
    drift : {'cosine', 'polynomial', 'median'}, optional
        How slow drifts are removed; the median not within a GLM.
    cutoff_s : float
        Period of the fastest cosine.
    scaling : {'auto', 'zscore', 'percent'}, optional
        Scale of the time series of each run: percent of the mean for a GLM and for blocks against silence, else
        z-scores.
    confounds : sequence of str
        Columns of the confounds table that are regressed out.
    confounds_na : {'error', 'zero'}
        What to do with an ``n/a`` in the first row, where derivatives (``trans_x_derivative1``,
        ``framewise_displacement``) have no value: stop, or take 0. One in any other row is an error.
    hrf : {'glover', 'spm'}
        Haemodynamic response of a GLM.
    noise_model : {'ar1', 'ols'}
        Of a GLM.
    delay_s : float
        Haemodynamic delay of blocks and windows, in s; by default 4.5.
    window_s, step_s : float
        Length of a window (by default the whole stimulus, under its own id), and from one window to the next, in s.
    incomplete : {'error', 'shorten'}
        What to do where the delay pushes a window beyond the end of the run.
    silence : str, optional
        Blocks: the condition that is the baseline.
    acquisitions : (int, int), optional
        Blocks: first and last acquisition that count.
    acquisition_offset_s : float
        Blocks: when within the repetition time a volume is measured (sparse scanning).
    """

    kind: DesignKind = "glm"
    discard: int = 0
    drift: Drift | None = "cosine"
    cutoff_s: float = 128.0
    scaling: Scaling | Literal["auto"] | None = "auto"
    confounds: Sequence[str] = ()
    confounds_na: Literal["error", "zero"] = "error"
    hrf: Literal["glover", "spm"] = "glover"
    noise_model: Literal["ar1", "ols"] = "ar1"
    delay_s: float | None = None
    window_s: float | None = None
    step_s: float = 1.5
    incomplete: Incomplete = "error"
    silence: str | None = None
    acquisitions: tuple[int, int] | None = None
    acquisition_offset_s: float = 0.0

    def __post_init__(self) -> None:
        """Raise if there is no such design, or an option is no number or has no effect in it."""
        for what, value, known in (
            ("design", self.kind, get_args(DesignKind)),
            ("drift", self.drift, (*get_args(Drift), None)),
            ("scaling", self.scaling, ("auto", *get_args(Scaling), None)),
            ("way with confounds_na", self.confounds_na, ("error", "zero")),
        ):
            if value not in known:
                raise BrainError(f"no {what} {value!r}; {did_you_mean(value, filter(None, known))}")
        for option in fields(self):
            kinds = _ONLY.get(option.name, get_args(DesignKind))
            if self.kind not in kinds and getattr(self, option.name) != option.default:
                designs = " or ".join(repr(k) for k in kinds)
                raise BrainError(f"{option.name} is an option of design={designs}, not of {self.kind!r}")
        for name, least in _SECONDS.items():
            value = getattr(self, name)
            if value is None and name in ("delay_s", "window_s"):
                continue
            number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
            if not number or value < 0 or (least == "above" and value == 0):
                raise BrainError(f"{name} must be a number of seconds, {least} 0, found {value!r}")
        if self.drift == "median" and self.kind in ("glm", "separate"):
            raise BrainError("a GLM has regressors for drifts: drift must be 'cosine', 'polynomial' or None")
        if isinstance(self.discard, bool) or not isinstance(self.discard, int) or self.discard < 0:
            raise BrainError(f"discard must not be negative, and a whole number of volumes; found {self.discard!r}")

    @property
    def delay(self) -> float:
        """Haemodynamic delay in s: what was asked for, or 4.5."""
        return 4.5 if self.delay_s is None else self.delay_s

    @property
    def series_scaling(self) -> Scaling | None:
        """Scale of the time series: what ``"auto"`` stands for, or what was asked for."""
        if self.scaling != "auto":
            return self.scaling
        return "percent" if self.kind in ("glm", "separate") or self.silence is not None else "zscore"


#: The designs in which an option has an effect, where not in all.
_ONLY: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("hrf", "noise_model"), ("glm", "separate")),
    **dict.fromkeys(("silence", "acquisitions", "acquisition_offset_s"), ("block",)),
    **dict.fromkeys(("window_s", "step_s", "incomplete"), ("windows",)),
    "delay_s": ("block", "windows"),
}
#: Options in seconds, and whether 0 is allowed.
_SECONDS = {
    "cutoff_s": "above",
    "delay_s": "at least",
    "window_s": "above",
    "step_s": "above",
    "acquisition_offset_s": "at least",
}


def count_volumes(run: BoldRun) -> int:
    """Return how many volumes the image of a run has; its data are not read."""
    image = open_image(run.bold[0])
    if run.kind == "surface":
        return len(image.darrays)
    if run.kind == "cifti":
        return int(image.shape[0])
    if image.ndim != 4:
        raise BrainError(f"{run.bold[0].name} has {image.ndim} dimensions, expected 4: x, y, z, time")
    seconds = float(image.header.get_zooms()[3])
    units = image.header.get_xyzt_units()[1]
    # Many converters leave 0 or 1 there, which says nothing.
    if units == "sec" and seconds not in (0.0, 1.0) and abs(seconds - run.repetition_time) > 0.01 * seconds:
        raise BrainError(
            f"{run.name}: the image has a volume every {seconds:g} s, its sidecar says RepetitionTime = "
            f"{run.repetition_time:g} s; correct the one that is wrong"
        )
    return int(image.shape[3])


def estimate_run(run: BoldRun, events: pd.DataFrame, reader: Reader, design: Design) -> Estimates:
    """Estimate the responses to the events of a run.

    Parameters
    ----------
    run : BoldRun
        The run.
    events : DataFrame
        As :func:`~brainalign.brain.events.read_events` returns them; times count from the first volume of the image.
    reader : ImageReader, SurfaceReader or CiftiReader
        What to read out of the image.
    design : Design
        How.

    Returns
    -------
    Estimates
        One row per stimulus (``"glm"``), presentation (``"separate"``, ``"block"``) or window; units that are NaN or
        constant in this run are NaN.

    Raises
    ------
    BrainError
        If the image cannot be read, or nothing is left to estimate; the message begins with the name of the run.
    """
    try:
        bold = reader.read(run.source, allow_bad=True)  # type: ignore[arg-type]
        events = without_discarded(events, design.discard * run.repetition_time)
        bold = bold[design.discard :]
        good = ~bad_units(bold)
        if not good.any():
            raise BrainError(f"all {len(good)} units are NaN or constant")
        confounds = _confounds(run, design)
        table, values = _estimate(bold[:, good], events, run, confounds, design)
    except BrainError as why:
        raise BrainError(f"{run.name}: {why}") from why
    full = np.full((len(values), len(good)), np.nan, dtype=np.float32)
    full[:, good] = values
    return Estimates(run.name, table, full)


def _confounds(run: BoldRun, design: Design) -> pd.DataFrame | None:
    if not design.confounds:
        return None
    if run.confounds is None:
        raise BrainError("confounds are asked for, but there is no *_desc-confounds_timeseries.tsv beside the image")
    with reading(run.confounds, "a table of confounds", BrainError):
        table = pd.read_csv(run.confounds, sep="\t", na_values="n/a")
    for name in design.confounds:
        if name not in table:
            raise BrainError(f"{run.confounds.name} has no column {name!r}; {did_you_mean(name, table.columns)}")
    chosen = table[list(design.confounds)]
    if design.confounds_na == "zero":
        chosen = pd.concat([chosen.iloc[:1].fillna(0), chosen.iloc[1:]])
    return chosen.iloc[design.discard :]


def without_discarded(events: pd.DataFrame, start_s: float) -> pd.DataFrame:
    """Return the events that are left when the first volumes are discarded, with onsets from the first that is used.

    Parameters
    ----------
    events : DataFrame
        With ``onset`` and ``duration``.
    start_s : float
        How much is discarded, in s.

    Returns
    -------
    DataFrame
        Without events that have ended by then.

    Raises
    ------
    BrainError
        If an event has begun but not ended by then, or no event is left.
    """
    left = events[events["onset"] + events["duration"] > start_s + TOLERANCE_S]
    if left.empty:
        raise BrainError(f"no event is left after the first {start_s:g} s")
    if (cut := left["onset"] < start_s - TOLERANCE_S).any():
        first = left[cut].iloc[0]
        raise BrainError(
            f"{first['stimulus_id']!r} is played from {first['onset']:g} s on, partly in the {start_s:g} s at the "
            f"beginning that are discarded; discard fewer or more volumes"
        )
    return left.assign(onset=left["onset"] - start_s)


def _estimate(
    bold: NDArray[np.float32], events: pd.DataFrame, run: BoldRun, confounds: pd.DataFrame | None, design: Design
) -> tuple[pd.DataFrame, NDArray[Any]]:
    """Return a table with one row per estimate, and the estimates."""
    tr = run.repetition_time
    percent = design.series_scaling == "percent"
    named = events[["onset", "duration"]].assign(trial_type=events["stimulus_id"])
    if design.kind in ("glm", "separate"):
        if design.series_scaling == "zscore":
            bold = standardize(bold, "zscore")
        betas = stimulus_betas(
            bold,
            named,
            tr,
            hrf=design.hrf,
            drift=design.drift,  # type: ignore[arg-type]
            cutoff_s=design.cutoff_s,
            separate=design.kind == "separate",
            per="stimulus" if design.kind == "glm" else "occurrence",
            noise_model=design.noise_model,
            confounds=confounds,
            scaling="percent" if percent else None,
            slice_time_ref=float(run.sidecar.get("StartTime", 0.0)) / tr,
        )
        return pd.DataFrame({"stimulus_id": betas.stimulus}), betas.values
    bold = remove_drift(bold, tr, design.drift, cutoff_s=design.cutoff_s, confounds=confounds)
    if design.series_scaling is not None and design.silence is None:
        bold = standardize(bold, design.series_scaling)
    if design.kind == "block":
        blocks = block_means(
            bold,
            named,
            tr,
            acquisitions=design.acquisitions,
            delay_s=design.delay,
            acquisition_offset_s=design.acquisition_offset_s,
            silence=design.silence,
            per="occurrence",
        )
        return pd.DataFrame({"stimulus_id": blocks.stimulus}), blocks.values
    windows = average_windows(
        bold,
        events[["stimulus_id", "onset", "duration"]],
        repetition_time=tr,
        window_s=design.window_s,
        step_s=design.step_s,
        delay_s=design.delay,
        incomplete=design.incomplete,
    )
    return windows.table, windows.values
