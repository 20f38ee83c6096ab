"""Is a stimulus set fit for a study? Errors stop one; warnings are what a reviewer would ask about."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from brainalign.errors import StimulusError, name_some
from brainalign.stimuli.audio import Waveform, read_channels, resample
from brainalign.stimuli.confounds import category_differences
from brainalign.stimuli.create import PLACEHOLDERS, UNCATEGORISED, sound_files
from brainalign.stimuli.duplicates import RATE, NearDuplicate, near_duplicates
from brainalign.stimuli.sets import StimulusSet, read_text_table
from brainalign.stimuli.sound_measures import FEATURE_NAMES, confound_features, describe_file, measure_sound

#: A warning of a difference between categories needs this p and this effect size ("medium" in Cohen's 1988 words).
CONFOUND_P, CONFOUND_EFFECT = 0.05, 0.06
#: Silence before or after a sound is worth a warning from here on, in seconds.
LONG_SILENCE_S = 0.1
#: Shorter sounds hold next to nothing for a network or a listener, in seconds.
SHORTEST_S = 0.05
#: A sound is much longer or shorter than the others from this factor of their median on.
DURATION_FACTOR = 2.0
#: A mean of a tenth of the RMS is 1 % of the power.
LARGE_DC = 0.1
#: Averaging two unrelated channels costs 3 dB; more means that they cancel.
LARGE_MONO_LOSS_DB = 3.5
#: Opposite channels cancel up to rounding; a loss like this leaves nothing of the sound.
SILENCING_LOSS_DB = 40.0


@dataclass(frozen=True)
class Finding:
    """One thing that the check found.

    Attributes
    ----------
    level : {'error', 'warning'}
        Errors keep a study from running, or from meaning anything; warnings are to be judged.
    check : str
        Which check, for instance ``"clipping"``.
    stimuli : tuple of str
        The sounds that it is about; empty if it is about the set.
    message : str
        What was found, and what to do.
    """

    level: Literal["error", "warning"]
    check: str
    stimuli: tuple[str, ...]
    message: str


@dataclass(frozen=True)
class StimulusReport:
    """What :func:`check_stimuli` found.

    Attributes
    ----------
    stimuli : StimulusSet
        The set.
    sounds : DataFrame
        One row per stimulus: ``category``, ``format``, ``subtype`` and the measures of
        :func:`brainalign.stimuli.sound_measures.measure_sound`; NaN where a sound could not be used.
    differences : DataFrame
        Differences between categories: see :func:`brainalign.stimuli.confounds.category_differences`.
    duplicates : list of NearDuplicate
        Pairs of sounds that share a recording.
    findings : list of Finding
        Errors first.
    """

    stimuli: StimulusSet
    sounds: pd.DataFrame
    differences: pd.DataFrame
    duplicates: list[NearDuplicate]
    findings: list[Finding]

    def of_level(self, level: Literal["error", "warning"]) -> list[Finding]:
        """Return the findings of one level.

        Parameters
        ----------
        level : {'error', 'warning'}
            Which.

        Returns
        -------
        list of Finding
            In the order of the report.
        """
        return [f for f in self.findings if f.level == level]

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain data, for JSON; what is not a number is None."""
        manifest = self.stimuli.manifest.model_dump()
        return {
            "set": {key: manifest[key] for key in ("name", "version", "licence", "citation")},
            "errors": [asdict(f) for f in self.of_level("error")],
            "warnings": [asdict(f) for f in self.of_level("warning")],
            "categories": {str(c): int(n) for c, n in self.sounds["category"].value_counts(sort=False).items()},
            "differences": _records(self.differences.reset_index()),
            "duplicates": [asdict(d) for d in self.duplicates],
            "sounds": _records(self.sounds.reset_index()),
        }


def check_stimuli(stimuli: StimulusSet, *, seed: int = 0) -> StimulusReport:
    """Check every sound of a set, and the set as a whole.

    Sounds that come from files are measured as they lie on disk, before a target RMS and with their channels apart.

    Parameters
    ----------
    stimuli : StimulusSet
        The set.
    seed : int
        Seed of the permutations behind the differences between categories.

    Returns
    -------
    StimulusReport
        Measures and findings; a sound that cannot be used is a finding, not an exception.
    """
    rows: dict[str, dict[str, Any]] = {i: {} for i in stimuli.ids}
    problems: list[Finding] = []
    for stimulus_id in stimuli.ids:
        try:
            samples, rate, kind = _read(stimuli, stimulus_id)
        except StimulusError as why:
            problems.append(Finding("error", "unusable", (stimulus_id,), f"{stimulus_id}: {why}"))
            continue
        measures = measure_sound(samples, rate, kind[1])
        if np.isfinite(measures["peak_db"]) and measures["mono_loss_db"] < SILENCING_LOSS_DB:
            rows[stimulus_id] = {"format": kind[0], "subtype": kind[1], **measures}
        else:
            cause = "once its channels are averaged: they cancel" if samples.any() else "throughout"
            problems.append(Finding("error", "silent", (stimulus_id,), f"{stimulus_id} is silent {cause}"))
    usable = [i for i in stimuli.ids if rows[i]]
    table = pd.DataFrame.from_dict(rows, orient="index").reindex(stimuli.ids)
    sounds = pd.concat([stimuli.table["category"], table], axis=1).rename_axis("stimulus_id")
    findings = [*problems, *_of_categories(sounds["category"]), *_of_manifest(stimuli), *_of_folder(stimuli)]
    differences, duplicates = category_differences(pd.DataFrame(), []), []
    if usable:
        measured = sounds.loc[usable]
        features = confound_features(measured, stimuli.manifest.target_rms)
        differences = category_differences(features, list(measured["category"]), seed=seed)
        duplicates = near_duplicates(usable, lambda i: _at_comparison_rate(stimuli, i))
        findings += _of_sounds(measured, stimuli.manifest.sample_rate)
        findings += [*_of_duplicates(duplicates), *_of_differences(differences)]
    findings.sort(key=lambda f: f.level != "error")
    return StimulusReport(stimuli, sounds, differences, duplicates, findings)


def _at_comparison_rate(stimuli: StimulusSet, stimulus_id: str) -> Waveform:
    samples, rate, _ = _read(stimuli, stimulus_id)
    return resample(samples.mean(axis=1, dtype=np.float32), rate, RATE)


def _read(stimuli: StimulusSet, stimulus_id: str) -> tuple[Waveform, int, tuple[str, str]]:
    if stimuli.folder is None:
        waveform, rate = stimuli.waveform(stimulus_id)
        return waveform[:, None], rate, ("", "")
    path = stimuli.folder / str(stimuli.table.loc[stimulus_id, "file"])
    samples, rate = read_channels(path)
    return samples, rate, describe_file(path)


def _of_sounds(sounds: pd.DataFrame, sample_rate: int | None) -> Iterable[Finding]:
    """Give what is odd about single sounds, one finding for all sounds with one oddity."""

    def about(level: Literal["error", "warning"], check: str, odd: pd.Series, text: str) -> Iterable[Finding]:
        ids = tuple(map(str, sounds.index[odd]))
        if ids:
            yield Finding(level, check, ids, f"{len(ids)} of {len(sounds)} sounds {text}: {name_some(ids)}")

    if sample_rate is not None:
        other = sounds["sample_rate"] != sample_rate
        yield from about("error", "sample-rate", other, f"do not have the {sample_rate} Hz of stimulus_set.toml")
    rates = sounds["sample_rate"].astype(int).value_counts()
    rare = sounds["sample_rate"] != rates.index[0]
    if sample_rate is None:
        yield from about("warning", "sample-rate", rare, f"do not have the {rates.index[0]} Hz of most")
    short = sounds["duration_s"] < SHORTEST_S
    yield from about("error", "duration", short, f"are shorter than {1000 * SHORTEST_S:g} ms")
    median = sounds["duration_s"].median()
    odd = ~short & ~sounds["duration_s"].between(median / DURATION_FACTOR, median * DURATION_FACTOR)
    text = f"are less than half or more than twice as long as the median ({median:.3g} s)"
    yield from about("warning", "duration", odd, text)
    channels = sounds["channels"] > 1
    yield from about("warning", "channels", channels, "have several channels, which are averaged when they are played")
    cancel = sounds["mono_loss_db"] > LARGE_MONO_LOSS_DB
    yield from about("warning", "cancelling-channels", cancel, "lose more than 3.5 dB when their channels are averaged")
    eight = sounds["subtype"].isin(["PCM_U8", "PCM_S8", "ULAW", "ALAW"])
    yield from about("warning", "bit-depth", eight, "have 8 bits per sample, so audible quantisation noise")
    coded = sounds["format"].isin(["MP3", "OGG", "MPEG"])
    if not coded.all():
        yield from about("warning", "lossy-format", coded, "are in a lossy format, others are not")
    yield from about("warning", "clipping", sounds["clipped_runs"] > 0, "are clipped (3 or more samples at full scale)")
    over = (sounds["peak_db"] > 0) & sounds["subtype"].isin(["FLOAT", "DOUBLE", ""])
    yield from about("warning", "full-scale", over, "exceed full scale and would clip on a sound card")
    yield from about("warning", "dc", sounds["dc"] > LARGE_DC, "have a mean (DC) of more than a tenth of their RMS")
    for where in ("leading", "trailing"):
        long = sounds[f"{where}_silence_s"] > LONG_SILENCE_S
        yield from about("warning", f"{where}-silence", long, f"have more than {LONG_SILENCE_S} s of {where} silence")
    cut = sounds["cutoff_hz"].notna()
    low = f"{sounds['cutoff_hz'].min():.0f}" if cut.any() else ""
    text = f"have a spectrum that ends abruptly (lowest: {low} Hz), as after upsampling, lossy coding or a filter"
    yield from about("warning", "bandwidth", cut, text)


def _of_duplicates(duplicates: list[NearDuplicate]) -> Iterable[Finding]:
    if duplicates:
        pairs = [f"{d.first} and {d.second} (r {d.correlation:.2f})" for d in duplicates]
        ids = tuple(sorted({i for d in duplicates for i in (d.first, d.second)}))
        text = "share a recording, so one may train and the other test a model"
        yield Finding("warning", "near-duplicates", ids, f"{len(pairs)} pairs of sounds {text}: {name_some(pairs)}")


def _of_categories(categories: pd.Series) -> Iterable[Finding]:
    sizes = categories.value_counts(sort=False)
    missing = tuple(map(str, categories.index[categories == UNCATEGORISED]))
    if missing:
        yield Finding("warning", "categories", missing, f"{len(missing)} sounds have no category: {name_some(missing)}")
    if len(sizes) == 1:
        yield Finding("warning", "categories", (), "all sounds are of one category: measures that compare need two")
        return
    single = [str(c) for c in sizes.index[sizes == 1]]
    if single:
        text = "have one sound only, so nothing can be said about them in general"
        yield Finding("warning", "category-size", (), f"{len(single)} categories {text}: {name_some(single)}")
    if sizes.max() > 2 * sizes.min():
        extremes = f"{sizes.idxmax()} {sizes.max()}, {sizes.idxmin()} {sizes.min()}"
        yield Finding(
            "warning", "category-size", (), f"categories differ in size by more than a factor of 2: {extremes}"
        )


def _of_differences(differences: pd.DataFrame) -> Iterable[Finding]:
    large = differences[(differences["p"] < CONFOUND_P) & (differences["effect_size"] >= CONFOUND_EFFECT)]
    for feature, row in large.sort_values("effect_size", ascending=False).iterrows():
        what = FEATURE_NAMES[str(feature)]
        yield Finding(
            "warning",
            f"confound:{feature}",
            (),
            f"categories differ in {what}: median {_number(row['low'])} for {row['lowest']}, "
            f"{_number(row['high'])} for {row['highest']} "
            f"(eta squared {row['effect_size']:.2f}, p {row['p']:.2g}); an effect of category may be one of "
            f"{what.split(',')[0]}",
        )


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _of_manifest(stimuli: StimulusSet) -> Iterable[Finding]:
    for key, placeholder in PLACEHOLDERS.items():
        text = getattr(stimuli.manifest, key).strip()
        if not text or text.removeprefix("TODO: ") == placeholder.removeprefix("TODO: "):
            yield Finding("warning", key, (), f"stimulus_set.toml does not say {placeholder.removeprefix('TODO: ')}")


def _of_folder(stimuli: StimulusSet) -> Iterable[Finding]:
    if stimuli.folder is None or not (stimuli.folder / "stimuli.csv").is_file():
        return
    # Of the whole set: `stimuli` may be a part of it.
    files = read_text_table(stimuli.folder / "stimuli.csv")["file"]
    listed = {(stimuli.folder / file).resolve() for file in files}
    unlisted = [f for f in sound_files(stimuli.folder) if (stimuli.folder / f).resolve() not in listed]
    if unlisted:
        text = "in the folder are in no row of stimuli.csv, so they are no part of the set"
        yield Finding("warning", "unlisted", (), f"{len(unlisted)} sound files {text}: {name_some(unlisted)}")


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    # JSON has neither NaN nor infinity.
    plain = table.astype(object).where(table.notna() & ~table.isin([np.inf, -np.inf]), None)
    return [
        {str(k): v.item() if isinstance(v, np.generic) else v for k, v in r.items()} for r in plain.to_dict("records")
    ]
