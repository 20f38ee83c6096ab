"""Sound quilts: segments of a sound in a new order, whose structure is natural up to the length of a segment.

The algorithm is that of Overath, McDermott, Zarate & Poeppel 2015 (Nature Neuroscience 18, 903, doi:10.1038/nn.4021).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from brainalign.errors import StimulusError, did_you_mean
from brainalign.stimuli._quilt_borders import BorderFeatures, Borders, CochleagramBorders, MelBorders
from brainalign.stimuli._quilt_joins import JoinRule, join_segments
from brainalign.stimuli.audio import Waveform
from brainalign.stimuli.manipulations.base import ManipulatedSet, check_seed, manipulated
from brainalign.stimuli.sets import StimulusSet

Array = NDArray[np.float64]
Order = Literal["matched", "random", "original"]
QuiltProtocol = Literal["overath2015", "kim2024"]
#: Segment lengths of a sweep, in octaves.
SEGMENTS_MS: dict[QuiltProtocol, tuple[float, ...]] = {
    "overath2015": (15, 30, 60, 120, 240, 480, 960),
    "kim2024": (50, 100, 200, 400, 800, 1600),
}
BORDER_MS = RAMP_MS = 30.0
MAX_SHIFT_MS = 15.0
KIM_WINDOW_MS = 25.0
#: All pairs of borders are compared: 0.5 GB.
MAX_SEGMENTS = 8192


@dataclass(frozen=True)
class Quilt:
    """A quilt and how it was made.

    Attributes
    ----------
    waveform : ndarray, shape (n_segments * segment_samples,)
        Float32, units of full scale.
    sample_rate : int
        In Hz.
    segment_samples : int
        Length of a segment.
    order : ndarray of int, shape (n_segments,)
        Which segment of the source stands at each place.
    shifts : ndarray of int, shape (n_segments,)
        By how many samples later (or, if negative, earlier) each was taken from the source than where it begins there.
    source_changes : ndarray, shape (n_source_segments - 1,)
        Change from each segment of the source to the next.
    quilt_changes : ndarray, shape (n_segments - 1,)
        Change at each join of the quilt.
    """

    waveform: Waveform
    sample_rate: int
    segment_samples: int
    order: NDArray[np.intp]
    shifts: NDArray[np.intp]
    source_changes: Array
    quilt_changes: Array


def quilt(
    waveform: Waveform | Array,
    sample_rate: int,
    segment_ms: float,
    *,
    protocol: QuiltProtocol = "overath2015",
    order: Order | Sequence[int] = "matched",
    seed: int | Sequence[int] = 0,
) -> Quilt:
    """Cut a sound into segments of one length and join them in another order.

    Parameters
    ----------
    waveform : ndarray, shape (n_samples,)
        The sound, floating point; computed in single precision, correlations in double.
    sample_rate : int
        In Hz.
    segment_ms : float
        Length of a segment, rounded to samples. What is left of the sound after the last whole segment is not used.
    protocol : {'overath2015', 'kim2024'}
        How segments are chosen and joined, see Notes.
    order : {'matched', 'random', 'original'} or sequence of int
        ``matched``: by the rule of the protocol; ``random``: any but that of the source; ``original``: the sound
        itself, cut to the length of its quilt. Or which segment of the source stands at each place.
    seed : int or sequence of int
        Seed of the first segment, and of a random order.

    Returns
    -------
    Quilt
        The quilt, with the order, the shifts and the changes.

    Raises
    ------
    StimulusError
        If the sound is shorter than two segments, silent, not one channel of finite floating-point samples, or an
        option is unknown.

    See Also
    --------
    quilts : Several lengths at once, faster.
    quilted : Quilts of a stimulus set.

    Notes
    -----
    ``overath2015``: the change from one segment to another is the L2 distance between the cochleagram of the last
    30 ms of the one and that of the first 30 ms of the other: compressed envelopes (power 0.3) of 30 bands, 20 to
    10,000 Hz, each averaged over the 30 ms. The first segment is drawn at random (of two, it is the second); the
    next is the unused one to which the change is closest to that in the source, from the present segment to its own
    successor. This successor is not a candidate while there is another, as it would give the sound back. The last
    segment of the source has no successor; what comes after it is drawn at random. Each segment is shifted by up to
    15 ms in the source, to where the normalised correlation of the 30 ms around the join with the segment before is
    highest; of equal shifts the smallest. Both are cross-faded there over 30 ms (raised cosine, weights that add up
    to 1). In segments shorter than 30 ms, border and cross-fade are as long as the segment, and shifts at most half
    of it. Next to its ends the source is mirrored.

    ``kim2024`` is the released variant of Kim et al. 2024: segments of two or more windows of 25 ms (551 samples at
    22,050 Hz), the last of which is never used; a change is the squared distance of the two log-mel frames on either
    side. The next segment is the unused one whose *own* change in the source is nearest to that of the present one:
    the join that results is not looked at. Shifts are up to 12.5 ms and maximise the correlation of the faded tail
    (faded twice) with the next segment, without normalisation; the cross-fade takes 25 ms. Three slips of index in the
    released code, which move segments by one sample or wrap the first segment to the end of the clip, are not repeated.
    """
    return quilts(waveform, sample_rate, [segment_ms], protocol=protocol, order=order, seed=seed)[0]


def quilts(
    waveform: Waveform | Array,
    sample_rate: int,
    segments_ms: Sequence[float],
    *,
    protocol: QuiltProtocol = "overath2015",
    order: Order | Sequence[int] = "matched",
    seed: int | Sequence[int] = 0,
) -> list[Quilt]:
    """Make quilts of several segment lengths; what they share is computed once.

    Parameters
    ----------
    waveform, sample_rate, protocol, order, seed
        See :func:`quilt`.
    segments_ms : sequence of float
        Lengths of a segment.

    Returns
    -------
    list of Quilt
        One per length, the same as :func:`quilt` makes.

    Raises
    ------
    StimulusError
        As :func:`quilt`.
    """
    _check_choice("protocol", protocol, get_args(QuiltProtocol))
    if isinstance(order, str):
        _check_choice("order", order, get_args(Order))
    for number in seed if isinstance(seed, Sequence) else [seed]:
        check_seed(number)
    waveform = _checked(waveform)
    layouts = [_layout(len(waveform), sample_rate, ms, protocol) for ms in segments_ms]
    features: BorderFeatures
    if protocol == "kim2024":
        features = MelBorders(waveform, sample_rate, _kim_window(sample_rate))
    else:
        features = CochleagramBorders(waveform, sample_rate, BORDER_MS)
    borders = [features.borders(layout.segment_samples, layout.n_segments) for layout in layouts]
    chosen = [
        _choose_order(order, layout, beside, protocol, np.random.default_rng(seed))
        for layout, beside in zip(layouts, borders, strict=True)
    ]
    as_is = isinstance(order, str) and order == "original"
    joined = _join(waveform, layouts, chosen, protocol, as_is=as_is)
    return [
        Quilt(
            waveform=samples.copy() if as_is else samples,
            sample_rate=sample_rate,
            segment_samples=layout.segment_samples,
            order=places,
            shifts=shifts,
            source_changes=_changes(beside, np.arange(layout.n_segments), protocol),
            quilt_changes=_changes(beside, places, protocol),
        )
        for layout, beside, places, (samples, shifts) in zip(layouts, borders, chosen, joined, strict=True)
    ]


def _join(
    waveform: Waveform, layouts: list[_Layout], orders: list[NDArray[np.intp]], protocol: QuiltProtocol, *, as_is: bool
) -> list[tuple[Waveform, NDArray[np.intp]]]:
    """Join the segments of several quilts, together those of which the rule is the same."""
    if as_is:
        return [(waveform[: o.n_used * o.segment_samples], np.zeros(o.n_used, dtype=np.intp)) for o in layouts]
    rules = [
        JoinRule(min(o.ramp, o.segment_samples), min(o.max_shift, o.segment_samples // 2), protocol != "kim2024")
        for o in layouts
    ]
    joined: dict[int, tuple[Waveform, NDArray[np.intp]]] = {}
    for rule in dict.fromkeys(rules):
        alike = [i for i, other in enumerate(rules) if other == rule]
        lengths = [layouts[i].segment_samples for i in alike]
        joined |= zip(alike, join_segments(waveform, [orders[i] for i in alike], lengths, rule), strict=True)
    return [joined[i] for i in range(len(layouts))]


def quilted(
    stimuli: StimulusSet,
    segment_ms: float,
    *,
    protocol: QuiltProtocol = "overath2015",
    order: Order = "matched",
    same_length_as: Sequence[float] = (),
    seed: int = 0,
) -> ManipulatedSet:
    """Make a quilt of every sound.

    Parameters
    ----------
    stimuli : StimulusSet
        The sounds, each of two segments at least.
    segment_ms : float
        Length of a segment.
    protocol, order
        See :func:`quilt`. With ``kim2024`` silence fills quilts, and originals cut to their length, up to the length of
        the source: in the paper 8 s of sound and 2 s of silence.
    same_length_as : sequence of float
        Further segment lengths in ms: quilts are cut to the shortest that these would have, so that those of all
        lengths last equally long.
    seed : int
        Each sound has a seed of its own, from this and its id: its quilt is the same in any subset.

    Returns
    -------
    ManipulatedSet
        The same ids; the column ``segment_ms`` is added.

    Raises
    ------
    StimulusError
        If an option is unknown or a segment length impossible; when a sound is played, if it cannot be quilted.
    """
    _check_choice("protocol", protocol, get_args(QuiltProtocol))
    _check_choice("order", order, get_args(Order))
    check_seed(seed)
    for ms in (segment_ms, *same_length_as):
        _check_segment(ms, protocol)

    def alter(signal: Array, rate: int, stimulus_id: str) -> Array:
        one = quilt(signal, rate, segment_ms, protocol=protocol, order=order, seed=sound_seed(seed, stimulus_id))
        lengths = [_layout(len(signal), rate, ms, protocol) for ms in (segment_ms, *same_length_as)]
        kept = one.waveform[: min(n.n_used * n.segment_samples for n in lengths)].astype(np.float64)
        return np.pad(kept, (0, len(signal) - len(kept))) if protocol == "kim2024" else kept

    parameters: dict[str, Any] = {
        "segment_ms": float(segment_ms),
        "protocol": protocol,
        "order": order,
        "same_length_as": [float(ms) for ms in same_length_as],
        "seed": seed,
    }
    table = stimuli.table.assign(segment_ms=float("nan") if order == "original" else float(segment_ms))
    return replace(manipulated(stimuli, "quilt", parameters, alter), table=table)


def sound_seed(seed: int, stimulus_id: str) -> list[int]:
    """Return the seed of a sound.

    Parameters
    ----------
    seed : int
        Of the set.
    stimulus_id : str
        Which sound.

    Returns
    -------
    list of int
        For :func:`quilt`.
    """
    return [seed, int.from_bytes(hashlib.sha256(stimulus_id.encode()).digest()[:8], "little")]


def fitting_segments(duration_s: float, protocol: QuiltProtocol = "overath2015") -> list[float]:
    """Return the usual segment lengths that a sound is long enough for.

    Parameters
    ----------
    duration_s : float
        Length of the sound.
    protocol : {'overath2015', 'kim2024'}
        Octaves from 15 to 960 ms, or from 50 to 1600 ms.

    Returns
    -------
    list of float
        Those of which the sound holds two segments (of ``kim2024`` three, as the last is never used), in ms.
    """
    least = 3 if protocol == "kim2024" else 2
    return [ms for ms in SEGMENTS_MS[protocol] if ms * least <= duration_s * 1000]


@dataclass(frozen=True)
class _Layout:
    """Lengths in samples, how many segments the source has, and how many of them a quilt."""

    segment_samples: int
    n_segments: int
    n_used: int
    ramp: int
    max_shift: int


def _check_segment(segment_ms: float, protocol: QuiltProtocol) -> None:
    if not (segment_ms > 0 and np.isfinite(segment_ms)):
        raise StimulusError(f"the segment length is {segment_ms} ms, expected a positive one, such as 60")
    windows = segment_ms / KIM_WINDOW_MS
    if protocol == "kim2024" and (windows < MelBorders.N_FRAMES or windows != round(windows)):
        raise StimulusError(
            f"segments of {segment_ms:g} ms: protocol 'kim2024' needs a multiple of 25 ms from 50 ms on; "
            f"take one, or protocol 'overath2015'"
        )


def _layout(n_samples: int, sample_rate: int, segment_ms: float, protocol: QuiltProtocol) -> _Layout:
    _check_segment(segment_ms, protocol)
    if protocol == "kim2024":
        ramp = _kim_window(sample_rate)
        length, max_shift, unused = round(segment_ms / KIM_WINDOW_MS) * ramp, ramp // 2, 1
    else:
        length, ramp, max_shift, unused = (
            round(ms * sample_rate / 1000) for ms in (segment_ms, RAMP_MS, MAX_SHIFT_MS, 0)
        )
    n_segments = n_samples // max(length, 1)
    if length < 2 or n_segments - unused < 2:
        raise StimulusError(
            f"a sound of {n_samples / sample_rate:g} s is too short for a quilt of {segment_ms:g}-ms segments: "
            f"{n_segments} fit into it, expected {2 + unused} at least; take shorter segments or a longer sound"
            if length >= 2
            else f"segments of {segment_ms:g} ms have {length} samples at {sample_rate} Hz; take longer ones"
        )
    if n_segments > MAX_SEGMENTS:
        raise StimulusError(
            f"a sound of {n_samples / sample_rate:g} s has {n_segments} segments of {segment_ms:g} ms, at most "
            f"{MAX_SEGMENTS} can be compared with each other; take longer segments or a part of the sound"
        )
    return _Layout(length, n_segments, n_segments - unused, ramp, max_shift)


def _kim_window(sample_rate: int) -> int:
    return int(KIM_WINDOW_MS * sample_rate / 1000)


def _choose_order(
    order: Order | Sequence[int], layout: _Layout, borders: Borders, protocol: QuiltProtocol, rng: np.random.Generator
) -> NDArray[np.intp]:
    n = layout.n_used
    if not isinstance(order, str):
        given = np.asarray(order, dtype=np.intp)
        if given.ndim != 1 or len(given) < 2 or len(set(given.tolist())) < len(given):
            raise StimulusError(f"the order of {given.size} segments names one twice, or fewer than two")
        if given.min() < 0 or given.max() >= layout.n_segments:
            raise StimulusError(f"the order names segments {given.min()} to {given.max()} of {layout.n_segments}")
        return given
    if order == "original":
        return np.arange(n)
    if order == "random":
        while (drawn := rng.permutation(n)).tolist() == list(range(n)):
            pass
        return drawn
    # Of two segments only the second can begin a quilt that is not the source.
    first = int(rng.integers(n)) if n > 2 else 1
    if protocol == "kim2024":
        own = _changes(borders, np.arange(layout.n_segments), protocol)
        return _chain(np.abs(own[:, None] - own), first)
    mismatch = _distances(borders)
    own = np.diagonal(mismatch, offset=1).copy()
    np.abs(np.subtract(mismatch[:-1], own[:, None], out=mismatch[:-1]), out=mismatch[:-1])
    mismatch[-1] = rng.random(n)
    # Last resort, yet before a segment that is used.
    mismatch[np.arange(n - 1), np.arange(1, n)] = np.finfo(np.float64).max
    return _chain(mismatch, first)


def _distances(borders: Borders) -> Array:
    """Return the L2 distance from the end of each segment (rows) to the beginning of each (columns)."""
    squared = [(side**2).sum(axis=1) for side in (borders.right, borders.left)]
    distances = squared[0][:, None] + squared[1] - 2 * (borders.right @ borders.left.T)
    np.maximum(distances, 0, out=distances)
    return np.asarray(np.sqrt(distances, out=distances))


def _chain(mismatch: Array, first: int) -> NDArray[np.intp]:
    """Go from segment to segment, each time to the unused one of the smallest mismatch; changes `mismatch`."""
    order = np.empty(len(mismatch), dtype=np.intp)
    order[0] = first
    for place in range(1, len(order)):
        mismatch[:, order[place - 1]] = np.inf
        order[place] = mismatch[order[place - 1]].argmin()
    return order


def _changes(borders: Borders, order: NDArray[np.intp], protocol: QuiltProtocol) -> Array:
    squared = ((borders.right[order[:-1]] - borders.left[order[1:]]) ** 2).sum(axis=1)
    return np.asarray(squared if protocol == "kim2024" else np.sqrt(squared))


def _check_choice(what: str, given: str, known: Sequence[str]) -> None:
    if given not in known:
        raise StimulusError(f"no {what} {given!r} of quilts; {did_you_mean(given, known)}")


def _checked(waveform: Waveform | Array) -> Waveform:
    """Return a sound in single precision, if it can be quilted."""
    if np.ndim(waveform) != 1 or not np.issubdtype(np.asarray(waveform).dtype, np.floating):
        raise StimulusError(
            f"a quilt is made of one channel of floating-point samples, found shape {np.shape(waveform)} and type "
            f"{np.asarray(waveform).dtype}; average the channels, and divide integers by full scale"
        )
    if not np.isfinite(waveform).all():
        raise StimulusError("the sound holds NaN or infinite samples: it cannot be quilted")
    if not waveform.any():
        raise StimulusError("the sound is silent: all its quilts are the same; leave it out by name")
    return waveform.astype(np.float32, copy=False)
