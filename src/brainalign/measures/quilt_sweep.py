"""Quilt sweep: how responses to quilts of sounds depend on the length of their segments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from brainalign.errors import MeasureError
from brainalign.measures.ratio import negative_note
from brainalign.measures.resampling import Level, Resamples, Seed, Share, draw_counts
from brainalign.measures.result import Result, result_table
from brainalign.measures.selective import (
    CONDITIONAL,
    OTHER,
    SELECTED,
    about_row,
    finite_interval,
    selected_units,
    weighted_mean,
)
from brainalign.measures.selectivity import FRACTION, Index
from brainalign.measures.targets import Parts, make_parts
from brainalign.models.base import AudioModel
from brainalign.responses import Responses, average_repetitions, units_by_layer
from brainalign.stats import signed_rank
from brainalign.stats.rank_nulls import Alternative
from brainalign.stimuli import StimulusSet
from brainalign.stimuli.quilting import Order, QuiltProtocol, fitting_segments, quilted

Array = NDArray[np.float64]
TARGETS, REST = "targets", "rest"
SIGNED_RANK = (
    "ratio_to_original: Wilcoxon signed rank over test sounds, original against quilt; log_length_r: of the slopes of "
    "single sounds, two-sided; when cross-fitted, twice the mean p of the two directions"
)


def quilt_sweep(
    responses: Responses,
    model: AudioModel,
    stimuli: StimulusSet,
    *,
    selection: Responses | None = None,
    categories: Sequence[str],
    column: str = "category",
    segments_ms: Sequence[float] | None = None,
    protocol: QuiltProtocol = "overath2015",
    order: Order = "matched",
    index: Index = "welch-t",
    fraction: Share = FRACTION,
    allow_overlap: bool = False,
    alternative: Alternative = "greater",
    n_bootstrap: Resamples = 1000,
    level: Level = 0.95,
    seed: Seed = 0,
) -> Result:
    """Measure responses to quilts of target sounds and of the rest, by segment length.

    Units are selected by the original sounds and kept. Quilts of all lengths, and the originals that they are compared
    with, are cut to the length of the shortest, so that they differ in order only.

    Parameters
    ----------
    responses : Responses
        Of `model` to the original test sounds.
    model : AudioModel
        What listens to the quilts, at the layers of `responses`.
    stimuli : StimulusSet
        The test sounds; those of `responses` are played.
    selection, categories, column, index, fraction, allow_overlap, n_bootstrap, level
        See :func:`~brainalign.measures.selective.selective_ratio`.
    segments_ms : sequence of float, optional
        Segment lengths, two at least. If not given, the octaves that the shortest sound has room for: from 15 to
        960 ms, with ``kim2024`` from 50 to 1600 ms.
    protocol, order
        See :func:`~brainalign.stimuli.quilting.quilt`.
    alternative : {'greater', 'two-sided', 'less'}
        Of the signed-rank tests; ``greater``: the original drives units more than the quilt.
    seed : int
        Seed of halves, resamples and quilts.

    Returns
    -------
    Result
        For each layer, the selected and the other units (``target``) and the two kinds of ``sounds`` (``targets``,
        ``rest``): statistic ``response`` to the original (``segment_ms`` empty) and to quilts; ``ratio_to_original`` by
        ``segment_ms``, with the p and effect size W+ / (n (n + 1) / 2) of original against quilt; and ``log_length_r``,
        the correlation over lengths of the mean response with the logarithm of the length, its p from the slopes of
        single sounds, two-sided. When cross-fitted, values and effect sizes are means over both directions, and p is
        twice the mean p of both (Vovk & Wang 2020, doi:10.1093/biomet/asaa027); a two-sided one is twice the smaller of
        the two one-sided p that are combined so. Arrays: ``quilts`` (group, segment_ms, stimulus) and ``originals``
        (group, stimulus), mean responses of groups of units, and ``roles`` (part, stimulus), all in the order of
        `stimuli`; sounds that only selected and are not of `stimuli` come last in ``roles``.

    Raises
    ------
    MeasureError
        As :func:`~brainalign.measures.selective.selective_ratio`, or if there are fewer than two lengths.
    ModelError, StimulusError
        If a sound cannot be quilted or played.

    See Also
    --------
    brainalign.measures.quilt_networks.combine_quilt_sweeps : Several networks, tested over networks.
    """
    responses = average_repetitions(responses)
    parts = make_parts(responses, selection, categories, column=column, allow_overlap=allow_overlap, seed=seed)
    layers = list(units_by_layer(responses))
    tested = stimuli.select(list(dict.fromkeys(i for p in parts.parts for i in p.test.ids)))
    lengths = _lengths(tested, segments_ms, protocol)
    make = partial(quilted, tested, protocol=protocol, same_length_as=lengths, seed=seed)
    heard = [_listen(model, layers, make(lengths[0], order="original"))]
    heard += [_listen(model, layers, make(ms, order=order)) for ms in lengths]
    rng = np.random.default_rng(seed)
    counts = draw_counts(len(parts.is_target), n_bootstrap, rng, strata=parts.strata)
    rows, groups = [], []
    for layer, units in units_by_layer(responses).items():
        masks = selected_units(parts, units, index, fraction)
        for group in (SELECTED, OTHER):
            chosen = [units[m] if group == SELECTED else units[~m] for m in masks]
            if not all(len(u) for u in chosen):
                continue
            means = _means(parts, heard, chosen)
            groups.append((layer, group, np.concatenate(means, axis=1)))
            about = about_row("quilt-sweep", responses, layer, group)
            for sounds in (TARGETS, REST):
                curve = _Curve(parts, means, sounds == TARGETS, np.log2(lengths), counts, level, alternative)
                rows += [about | {"sounds": sounds} | row for row in curve.rows(lengths)]
    return Result(
        measure="quilt-sweep",
        table=result_table(rows),
        arrays=_arrays(parts, groups, lengths, stimuli.ids),
        settings={
            "categories": list(categories),
            "column": column,
            "segments_ms": lengths,
            "protocol": protocol,
            "order": order,
            "units": "selected by the original sounds, and kept",
            "index": index,
            "fraction": fraction,
            **parts.settings(),
            "n_bootstrap": n_bootstrap,
            "level": level,
            "seed": seed,
            "test": f"{SIGNED_RANK}; {alternative}",
            "alternative": alternative,
            "interval": CONDITIONAL,
        },
        warnings=parts.warnings(),
    )


def _lengths(stimuli: StimulusSet, segments_ms: Sequence[float] | None, protocol: QuiltProtocol) -> list[float]:
    if segments_ms is not None:
        lengths = [float(ms) for ms in segments_ms]
        if not lengths or min(lengths) <= 0:
            raise MeasureError(f"the segment lengths are {lengths} ms, expected positive ones, such as 60 and 120")
    else:
        lengths = fitting_segments(min(len(w) / rate for w, rate in map(stimuli.waveform, stimuli.ids)), protocol)
    if len(lengths) < 2 or len(set(lengths)) < len(lengths):
        raise MeasureError(
            f"the segment lengths are {lengths} ms, expected two or more different ones; "
            f"give segments_ms, or sounds with room for them"
        )
    return sorted(lengths)


def _listen(model: AudioModel, layers: list[str], stimuli: StimulusSet) -> Responses:
    from brainalign.models.extraction import extract

    return extract(model, stimuli, layers=layers)


def _means(parts: Parts, heard: list[Responses], units: list[NDArray[np.intp]]) -> list[Array]:
    """Return for each part the mean response of its units, (condition, test sound)."""
    return [
        np.stack([h.sel(stimulus=p.test.ids).values[:, u].mean(axis=1, dtype=np.float64) for h in heard])
        for p, u in zip(parts.parts, units, strict=True)
    ]


@dataclass(frozen=True)
class _Curve:
    """Mean responses of one group of units to the originals (condition 0) and quilts of one kind of sounds."""

    parts: Parts
    means: list[Array]
    of_targets: bool
    log_lengths: Array
    counts: NDArray[np.int64]
    level: float
    alternative: Alternative

    def rows(self, lengths: Sequence[float]) -> list[dict[str, Any]]:
        """Return the rows of the table."""
        own = self._own()
        about = {"n": sum(values.shape[1] for values in own), "n_of": "stimuli"}
        rows: list[dict[str, Any]] = []
        for ms, numbers in zip([np.nan, *lengths], self._estimates(lambda m: m), strict=True):
            rows.append(about | numbers | {"statistic": "response", "segment_ms": ms})
        note = negative_note(np.concatenate([values.ravel() for values in own]))
        ratios = self._estimates(lambda m: m[:, 1:] / m[:, :1])
        for i, (ms, numbers) in enumerate(zip(lengths, ratios, strict=True), start=1):
            p, effect = _combined_signed_rank([values[0] - values[i] for values in own], self.alternative)
            row = numbers | {"p": p, "effect_size": effect, "note": "; ".join(filter(None, (note, numbers["note"])))}
            rows.append(about | row | {"statistic": "ratio_to_original", "segment_ms": ms})
        p, effect = _combined_signed_rank([(centred(self.log_lengths) @ values[1:]) for values in own], "two-sided")
        numbers = self._estimates(lambda m: correlations(m[:, 1:], self.log_lengths)[:, None])[0]
        rows.append(about | numbers | {"statistic": "log_length_r", "p": p, "effect_size": effect})
        return rows

    def _own(self) -> list[Array]:
        """Return the responses to sounds of this kind, (condition, sound), by part."""
        return [m[:, p.test.is_target == self.of_targets] for m, p in zip(self.means, self.parts.parts, strict=True)]

    def _estimates(self, statistic: Callable[[Array], Array]) -> list[dict[str, Any]]:
        """Return value and interval of statistics of the mean responses, (n_resamples, condition)."""

        def resampled(weights: Array) -> Array:
            one = []
            for means, w, part in zip(self.means, self.parts.split(weights), self.parts.parts, strict=True):
                kind = part.test.is_target == self.of_targets
                one.append(statistic(np.stack([weighted_mean(m, w, kind) for m in means], axis=1)))
            return np.asarray(np.mean(one, axis=0))

        with np.errstate(divide="ignore", invalid="ignore"):
            values = resampled(np.ones((1, len(self.parts.is_target))))[0]
        if not np.isfinite(values).all():
            return [{"note": "not defined: no response to the originals, or the same to all lengths"} for _ in values]
        low, high, notes = finite_interval(values, self.counts, resampled, self.level, self.parts.strata)
        return [
            {"value": v, "ci_low": a, "ci_high": b, "note": note}
            for v, a, b, note in zip(values, low, high, notes, strict=True)
        ]


def centred(values: Array) -> Array:
    """Return values less their mean."""
    return np.asarray(values - values.mean())


def correlations(rows: Array, values: Array) -> Array:
    """Return the Pearson correlation of each row with values; NaN for a constant row.

    Parameters
    ----------
    rows : ndarray, shape (n_rows, n)
        Several variables.
    values : ndarray, shape (n,)
        Another.

    Returns
    -------
    ndarray, shape (n_rows,)
        The correlations.
    """
    own, other = rows - rows.mean(axis=1, keepdims=True), centred(values)
    spread = np.linalg.norm(own, axis=1)
    spread[spread <= 1e-12 * np.linalg.norm(rows, axis=1)] = np.nan
    return np.asarray(own @ other / (spread * np.linalg.norm(other)))


def _combined_signed_rank(differences: Sequence[Array], alternative: Alternative) -> tuple[float, float]:
    """Test differences of one part, or of two that may depend on each other: twice the mean p (Vovk & Wang 2020)."""
    tests = [signed_rank(d, alternative=alternative) for d in differences]
    effect = float(np.mean([t.effect_size for t in tests]))
    if len(tests) == 1:
        return float(tests[0].p), effect
    if alternative == "two-sided":
        # Both directions must point the same way: each one-sided p is combined, and the smaller doubled.
        one_sided = (_combined_signed_rank(differences, side)[0] for side in ("greater", "less"))
        return min(1.0, 2 * min(one_sided)), effect
    return min(1.0, 2 * float(np.mean([t.p for t in tests]))), effect


def _arrays(
    parts: Parts, groups: list[tuple[str, str, Array]], lengths: Sequence[float], in_order: Sequence[str]
) -> dict[str, xr.DataArray]:
    """Label the mean responses of groups of units, (condition, stimulus), and the roles, in one order of stimuli."""
    ids = [i for p in parts.parts for i in p.test.ids]
    values = np.stack([v for *_, v in groups]) if groups else np.empty((0, 1 + len(lengths), len(ids)))
    coords = {
        "stimulus": ids,
        "is_target": ("stimulus", parts.is_target),
        "layer": ("group", [layer for layer, *_ in groups]),
        "target": ("group", [group for _, group, _ in groups]),
    }
    quilts = xr.DataArray(
        values[:, 1:], dims=("group", "segment_ms", "stimulus"), coords=coords | {"segment_ms": list(lengths)}
    )
    arrays = {
        "originals": xr.DataArray(values[:, 0], dims=("group", "stimulus"), coords=coords),
        "quilts": quilts,
        "roles": parts.roles(),
    }
    places = {i: k for k, i in enumerate(in_order)}
    # Sounds that only selected need not be of the set; they come last, in their own order.
    return {
        name: array.sel(stimulus=sorted(array["stimulus"].values.tolist(), key=lambda i: places.get(i, len(places))))
        for name, array in arrays.items()
    }
