"""The check of a stimulus set as one page, to be read beside the sounds and sent to a colleague."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd

from brainalign._files import write_then_rename
from brainalign.stimuli.checks import StimulusReport
from brainalign.stimuli.sound_measures import FEATURE_NAMES, confound_features

_SOUND_COLUMNS = {
    "category": "category",
    "format": "format",
    "subtype": "samples",
    "sample_rate": "rate, Hz",
    "channels": "channels",
    "duration_s": "duration, s",
    "rms_db": "RMS, dB",
    "peak_db": "peak, dB",
    "clipped_runs": "clipped runs",
    "dc": "DC / RMS",
    "leading_silence_s": "leading silence, s",
    "trailing_silence_s": "trailing silence, s",
    "cutoff_hz": "ends abruptly at, Hz",
    "centroid_hz": "centre, Hz",
}


def write_check_page(report: StimulusReport, path: Path) -> None:
    """Write the report as an HTML file that needs nothing beside it.

    Parameters
    ----------
    report : StimulusReport
        What the check found.
    path : Path
        Where to; replaced if it is there.
    """
    import jinja2

    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    template = environment.from_string(Path(__file__).with_name("checks.html.j2").read_text(encoding="utf-8"))
    flagged = {i for finding in report.findings for i in finding.stimuli}
    columns = {c: words for c, words in _SOUND_COLUMNS.items() if c in report.sounds}
    sounds = [
        (str(i), str(i) in flagged, [_text(row[c]) for c in columns]) for i, row in report.sounds[[*columns]].iterrows()
    ]
    text = template.render(
        manifest=report.stimuli.manifest,
        n_sounds=len(report.sounds),
        levels=[(level, report.of_level(level)) for level in ("error", "warning")],
        columns=list(columns.values()),
        sounds=sounds,
        medians=_medians(report),
    )
    with write_then_rename(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _medians(report: StimulusReport) -> list[dict[str, object]]:
    """Return, for each feature, medians by category with a shade of -1 (lowest) to 1 (highest), and the test."""
    if report.differences.empty:
        return []
    usable = report.sounds[report.sounds["duration_s"].notna()]
    features = confound_features(usable, report.stimuli.manifest.target_rms)[[*report.differences.index]]
    medians = features.groupby(usable["category"], sort=False).median()
    rows: list[dict[str, object]] = []
    for feature, test in report.differences.iterrows():
        values = medians[feature]
        spread = (values - values.median()) / ((values - values.median()).abs().max() or 1.0)
        rows.append(
            {
                "feature": FEATURE_NAMES[str(feature)],
                "cells": [(str(c), _text(values[c]), float(spread[c])) for c in values.index],
                "effect_size": f"{test['effect_size']:.2f}",
                "p": f"{test['p']:.2g}",
            }
        )
    return rows


def _text(value: object) -> str:
    if isinstance(value, float):
        if math.isnan(value):
            return ""
        return f"{value:.4g}" if abs(value) < 1e4 else f"{value:.0f}"
    return "" if pd.isna(value) else str(value)  # type: ignore[call-overload]
