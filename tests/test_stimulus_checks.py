"""Checks of a set: measures against closed forms, tests against scipy and chance, every fault found and named."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, kruskal

from brainalign.stimuli import StimulusSet, load_stimuli, read_stimulus_set
from brainalign.stimuli.audio import resample
from brainalign.stimuli.checks import StimulusReport, check_stimuli
from brainalign.stimuli.checks_page import write_check_page
from brainalign.stimuli.confounds import category_differences
from brainalign.stimuli.duplicates import near_duplicates
from brainalign.stimuli.sets import Manifest
from brainalign.stimuli.sound_measures import OCTAVES, measure_sound, silences

RATE = 16_000


def noise(seed: int, n: int = RATE, level: float = 0.05) -> np.ndarray:
    return (level * np.random.default_rng(seed).normal(size=n)).astype(np.float32)


def tone(frequency: float, rate: int = RATE, amplitude: float = 0.5, duration_s: float = 1.0) -> np.ndarray:
    return (amplitude * np.sin(2 * np.pi * frequency * np.arange(int(rate * duration_s)) / rate)).astype(np.float32)


def measure(samples: np.ndarray, rate: int = RATE, subtype: str = "PCM_16") -> dict[str, float]:
    return measure_sound(samples[:, None] if samples.ndim == 1 else samples, rate, subtype)


class TestMeasures:
    def test_levels_of_a_sine(self) -> None:
        found = measure(tone(1_000))
        assert found["rms_db"] == pytest.approx(20 * np.log10(0.5 / np.sqrt(2)), abs=1e-4)
        assert found["peak_db"] == pytest.approx(20 * np.log10(0.5), abs=1e-4)
        assert found["duration_s"] == 1
        assert found["centroid_hz"] == pytest.approx(1_000, rel=1e-3)
        assert found["dc"] < 1e-6

    def test_a_mean_is_measured_against_the_rms(self) -> None:
        assert measure(noise(0) * 0 + np.float32(0.1))["dc"] == pytest.approx(1, rel=1e-6)
        expected = 0.3 / np.sqrt(0.3**2 + 0.5**2 / 2)
        assert measure(tone(1_000) + np.float32(0.3))["dc"] == pytest.approx(expected, rel=1e-5)

    @pytest.mark.parametrize(("subtype", "bits"), [("PCM_U8", 8), ("PCM_16", 16), ("PCM_24", 24)])
    @pytest.mark.parametrize("sign", [1, -1])
    def test_runs_at_full_scale_are_counted(self, tmp_path: Path, subtype: str, bits: int, sign: int) -> None:
        samples = tone(440, amplitude=0.2)
        for start, length in ((100, 3), (500, 40), (900, 2), (1_200, 1)):
            samples[start : start + length] = sign
        soundfile.write(tmp_path / "x.wav", samples, RATE, subtype=subtype)
        stored = soundfile.read(tmp_path / "x.wav", dtype="float32")[0]
        assert np.abs(stored).max() == pytest.approx(1, abs=2.0 ** (1 - bits))
        assert measure(stored, subtype=subtype)["clipped_runs"] == 2

    def test_a_sound_that_nearly_reaches_full_scale_is_not_clipped(self) -> None:
        assert measure(tone(50, amplitude=0.999))["clipped_runs"] == 0
        assert measure(np.clip(tone(50, amplitude=1.3), -1, 1))["clipped_runs"] == 100

    def test_what_averaging_the_channels_costs(self) -> None:
        a, b = noise(0), noise(1)
        assert measure(np.stack([a, a], axis=1))["mono_loss_db"] == pytest.approx(0, abs=1e-5)
        assert measure(np.stack([a, b], axis=1))["mono_loss_db"] == pytest.approx(10 * np.log10(2), abs=0.1)
        assert measure(np.stack([a, -a + b / 100], axis=1))["mono_loss_db"] > 30

    @given(st.integers(0, 3_000), st.integers(0, 3_000), st.integers(200, 2_000))
    def test_silence_before_and_after(self, before: int, after: int, n: int) -> None:
        samples = np.pad(noise(3, n), (before, after))
        leading, trailing = silences(samples, RATE)
        assert 0 <= before / RATE - leading < 0.005 + 1e-9
        assert 0 <= after / RATE - trailing < 0.005 + 1e-9

    def test_white_noise_fills_octaves_by_their_width(self) -> None:
        found = measure(noise(1, 20 * 44_100), 44_100)
        for centre in OCTAVES:
            expected = 10 * np.log10(centre / np.sqrt(2) / 22_050)
            assert found[f"band_{int(centre)}_db"] == pytest.approx(expected, abs=0.8)

    @pytest.mark.parametrize("source_rate", [8_000, 11_025, 16_000, 22_050, 32_000])
    @pytest.mark.parametrize("seed", range(3))
    def test_an_upsampled_sound_ends_at_its_old_limit(self, source_rate: int, seed: int) -> None:
        samples = resample(noise(seed, source_rate), source_rate, 44_100)
        # The filter of the resampler passes 0.91 of the band and is down at its end.
        assert 0.91 < measure(samples, 44_100)["cutoff_hz"] / (source_rate / 2) < 1.02

    @pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 192_000])
    def test_other_spectra_have_no_such_edge(self, rate: int) -> None:
        white = noise(0, rate)
        assert np.isnan(measure(white, rate)["cutoff_hz"])
        assert np.isnan(measure(np.cumsum(white) / 100, rate)["cutoff_hz"])
        assert np.isnan(measure(tone(3_500, rate), rate)["cutoff_hz"])
        assert np.isnan(measure(tone(3_500, rate)[:50], rate)["cutoff_hz"])

    def test_a_sound_that_was_made_by_resampling_down_has_its_whole_band(self) -> None:
        assert np.isnan(measure(resample(noise(0, 44_100), 44_100, RATE))["cutoff_hz"])


class TestCategoryDifferences:
    @settings(max_examples=25)
    @given(st.integers(0, 10_000), st.integers(2, 5), st.booleans())
    def test_the_statistic_is_that_of_scipy(self, seed: int, n_groups: int, ties: bool) -> None:
        rng = np.random.default_rng(seed)
        categories = np.concatenate([np.arange(n_groups), rng.integers(n_groups, size=20)]).astype(str)
        values = rng.normal(size=len(categories)) + (categories == "1")
        values = values.round(0) if ties else values
        found = category_differences(pd.DataFrame({"x": values}), list(categories), n_permutations=10)
        if np.ptp(values) == 0:
            assert found.empty
            return
        expected = kruskal(*(values[categories == c] for c in np.unique(categories))).statistic
        assert found.loc["x", "h"] == pytest.approx(expected, rel=1e-9)
        n = len(values)
        assert found.loc["x", "effect_size"] == pytest.approx((expected - n_groups + 1) / (n - n_groups), rel=1e-9)

    def test_complete_separation_is_one_and_chance_is_zero_on_average(self) -> None:
        categories = ["a"] * 10 + ["b"] * 10 + ["c"] * 5
        apart = pd.DataFrame({"x": [1.0] * 10 + [2.0] * 10 + [3.0] * 5})
        assert category_differences(apart, categories).loc["x", "effect_size"] == pytest.approx(1)
        rng = np.random.default_rng(0)
        chance = pd.DataFrame(rng.normal(size=(25, 2_000)))
        effects = category_differences(chance, categories, n_permutations=1)["effect_size"]
        assert abs(effects.mean()) < 3 * effects.std() / np.sqrt(2_000)

    def test_the_exact_p_of_a_small_set(self) -> None:
        # Of the 20 ways to call three of six sounds "a", two give a separation as complete as this one.
        found = category_differences(pd.DataFrame({"x": range(6)}), list("aaabbb"), n_permutations=20_000)
        assert found.loc["x", "p"] == pytest.approx(0.1, abs=0.007)
        assert kruskal([0, 1, 2], [3, 4, 5]).pvalue < 0.05  # what chi-squared would say

    def test_false_alarms_among_all_features_are_as_rare_as_p_says(self) -> None:
        rng = np.random.default_rng(1)
        categories = ["a"] * 7 + ["b"] * 5 + ["c"] * 4
        alarms = 0
        for seed in range(150):
            features = pd.DataFrame(rng.normal(size=(16, 12)))
            features[1] = features[0] + 0.1 * features[1]
            alarms += category_differences(features, categories, n_permutations=99, seed=seed)["p"].min() <= 0.05
        assert binomtest(alarms, 150, 0.05).pvalue > 0.001

    def test_a_difference_is_found_and_described(self) -> None:
        features = pd.DataFrame({"x": [*range(10), *range(20, 30)], "same": 1.0})
        found = category_differences(features, ["low"] * 10 + ["high"] * 10)
        assert list(found.index) == ["x"]
        assert dict(found.loc["x", ["lowest", "low", "highest", "high"]]) == {
            "lowest": "low", "low": 4.5, "highest": "high", "high": 24.5}  # fmt: skip
        assert found.loc["x", "p"] < 0.001

    @pytest.mark.parametrize("categories", [["a"] * 4, ["a", "b", "c", "d"]])
    def test_nothing_can_be_said(self, categories: list[str]) -> None:
        assert category_differences(pd.DataFrame({"x": range(4)}), categories).empty


def as_mp3(x: np.ndarray) -> np.ndarray:
    stream = io.BytesIO()
    soundfile.write(stream, x, 8_000, format="MP3", compression_level=0.0)
    return soundfile.read(io.BytesIO(stream.getvalue()), dtype="float32")[0]


COPIES = {
    "level": lambda x: x * np.float32(0.1),
    "polarity": lambda x: -x,
    "later": lambda x: x[1_234:],
    "excerpt": lambda x: x[4_000:10_000],
    "silence before": lambda x: np.pad(x, (5_000, 0)),
    "noise at 15 dB": lambda x: x + noise(99, len(x), float(np.sqrt(np.mean(x**2))) * 10 ** (-15 / 20)),
    "lossy": as_mp3,
}


class TestNearDuplicates:
    def some_sounds(self, n: int, n_samples: int) -> dict[str, np.ndarray]:
        """Noise whose level and colour change, so that it is no easier than natural sounds."""
        rng = np.random.default_rng(0)
        sounds = {}
        for i in range(n):
            walk = np.repeat(np.exp(rng.normal(size=n_samples // 400 + 1)), 400)[:n_samples]
            white = rng.normal(size=n_samples) * walk
            sounds[f"s{i}"] = (0.02 * np.convolve(white, rng.normal(size=5), "same")).astype(np.float32)
        return sounds

    @pytest.mark.parametrize("copy", COPIES)
    def test_copies_are_found_and_nothing_else(self, copy: str) -> None:
        sounds = self.some_sounds(30, 16_000)
        sounds |= {f"{i}*": COPIES[copy](x).astype(np.float32) for i, x in list(sounds.items())[:10]}
        found = {(d.first, d.second) for d in near_duplicates(list(sounds), sounds.__getitem__)}
        assert found <= {(f"s{i}", f"s{i}*") for i in range(10)}
        # Of noise, a lossy codec keeps the spectrum rather than the waveform.
        assert len(found) >= (8 if copy == "lossy" else 10)

    @given(st.integers(0, 6_000))
    @settings(max_examples=10)
    def test_the_shift_is_exact(self, shift: int) -> None:
        sounds = {"a": noise(5, 16_000), "b": noise(5, 16_000)[shift:]}
        (found,) = near_duplicates(["a", "b"], sounds.__getitem__)
        assert found.shift_s == pytest.approx(shift / 8_000)
        assert found.correlation == pytest.approx(1, abs=1e-6)

    def test_short_bursts(self) -> None:
        sounds = {f"s{i}": noise(i, 800) for i in range(20)} | {"copy": noise(7, 800) / 2}
        assert [(d.first, d.second) for d in near_duplicates(list(sounds), sounds.__getitem__)] == [("s7", "copy")]

    def test_different_tones_and_silence_are_no_copies(self) -> None:
        sounds = {f"t{f:.0f}": tone(f, 8_000, duration_s=0.5) for f in np.geomspace(200, 3_000, 30)}
        sounds |= {"silence": np.zeros(4_000, np.float32), "more": np.zeros(4_000, np.float32)}
        assert near_duplicates(list(sounds), sounds.__getitem__) == []

    @pytest.mark.realdata
    def test_natural_sounds(self) -> None:
        stimuli = load_stimuli("natsound165")
        sounds = {i: stimuli.waveform(i, 8_000)[0] for i in stimuli.ids}
        assert near_duplicates(list(sounds), sounds.__getitem__) == []
        both = sounds | {f"{i}*": -0.3 * x[:8_000] for i, x in sounds.items()}
        found = {(d.first, d.second) for d in near_duplicates(list(both), both.__getitem__)}
        assert found == {(i, f"{i}*") for i in sounds}


MANIFEST = 'name = "lab"\nversion = "1"\ncitation = "Us 2024"\nlicence = "CC0"\n'


def write(folder: Path, sounds: dict[str, np.ndarray | bytes], rate: int = RATE, **options: str) -> Path:
    """Write a set; the category of a sound is the first letter of its id."""
    (folder / "audio").mkdir(parents=True)
    (folder / "stimulus_set.toml").write_text(MANIFEST, encoding="utf-8")
    rows = "".join(f"{i},audio/{i}.wav,{i[0]}\n" for i in sounds)
    (folder / "stimuli.csv").write_text("stimulus_id,file,category\n" + rows, encoding="utf-8")
    for i, content in sounds.items():
        if isinstance(content, bytes):
            (folder / "audio" / f"{i}.wav").write_bytes(content)
        else:
            soundfile.write(folder / "audio" / f"{i}.wav", content, rate, **options)
    return folder


CLEAN = {f"{c}{k}": noise(10 * n + k) for n, c in enumerate("MS") for k in range(6)}


def check(folder: Path) -> StimulusReport:
    return check_stimuli(read_stimulus_set(folder))


def found(report: StimulusReport) -> set[tuple[str, str]]:
    return {(f.level, f.check) for f in report.findings}


class TestReport:
    def test_a_clean_set_has_no_finding(self, tmp_path: Path) -> None:
        report = check(write(tmp_path / "lab", CLEAN))
        assert report.findings == []
        assert report.sounds["format"].eq("WAV").all()
        assert report.sounds["subtype"].eq("PCM_16").all()
        assert report.sounds["category"].tolist() == ["M"] * 6 + ["S"] * 6

    @pytest.mark.parametrize(
        ("samples", "level", "kind", "message"),
        [
            (b"", "error", "unusable", r"M1: sound file 'M1\.wav' cannot be read as audio \(0 bytes\)"),
            (np.zeros(RATE), "error", "silent", "M1 is silent throughout"),
            (np.stack([noise(1), -noise(1)], axis=1), "error", "silent", "M1 is silent once its channels are averaged"),
            (np.stack([noise(1), noise(2)], axis=1), "warning", "channels", r"1 of 12 .* several channels.*M1$"),
            (np.stack([noise(1), noise(2) / 3 - noise(1)], axis=1), "warning", "cancelling-channels", "M1$"),
            (np.clip(40 * noise(1), -1, 1), "warning", "clipping", r"1 of 12 sounds are clipped.*: M1$"),
            (noise(1) + 0.1, "warning", "dc", "M1$"),
            (np.pad(noise(1), (4_000, 0)), "warning", "leading-silence", "M1$"),
            (np.pad(noise(1), (0, 4_000)), "warning", "trailing-silence", "M1$"),
            (resample(noise(1, 8_000), 8_000, RATE), "warning", "bandwidth", r"lowest: 3[4-9]\d\d Hz.*M1$"),
            (noise(1, 799), "error", "duration", r"1 of 12 sounds are shorter than 50 ms: M1$"),
            (noise(1, 800), "warning", "duration", r"less than half or more than twice .* median \(1 s\): M1$"),
            (noise(1, 2 * RATE + 1), "warning", "duration", r"1 of 12 .*: M1$"),
            (noise(10) / 2, "warning", "near-duplicates", r"M1 and S0 \(r 1\.00\)"),
        ],
    )  # fmt: skip
    def test_one_bad_sound_is_found_and_named(
        self, tmp_path: Path, samples: np.ndarray | bytes, level: str, kind: str, message: str
    ) -> None:
        report = check(write(tmp_path / "lab", CLEAN | {"M1": samples}))
        (finding,) = (f for f in report.findings if f.check == kind)
        assert finding.level == level
        assert "M1" in finding.stimuli
        assert re.search(message, finding.message)
        assert [f for f in report.of_level("error") if f.check != kind] == []

    @pytest.mark.parametrize(
        ("options", "samples", "kind"),
        [
            ({"subtype": "PCM_U8"}, noise(1), ("warning", "bit-depth")),
            ({"subtype": "FLOAT"}, noise(1) * 40, ("warning", "full-scale")),
            ({"subtype": "FLOAT"}, np.where(np.arange(RATE) == 9, np.nan, noise(1)), ("error", "unusable")),
            ({"subtype": "FLOAT"}, np.where(np.arange(RATE) == 9, np.inf, noise(1)), ("error", "unusable")),
        ],
    )
    def test_sample_formats(
        self, tmp_path: Path, options: dict[str, str], samples: np.ndarray, kind: tuple[str, str]
    ) -> None:
        folder = write(tmp_path / "lab", CLEAN)
        soundfile.write(folder / "audio" / "M1.wav", samples, RATE, **options)
        assert kind in found(check(folder))

    def test_rates_of_192_khz_and_others(self, tmp_path: Path) -> None:
        folder = write(tmp_path / "lab", CLEAN)
        soundfile.write(folder / "audio" / "M1.wav", noise(1, 192_000), 192_000)
        report = check(folder)
        assert report.sounds.loc["M1", "sample_rate"] == 192_000
        assert found(report) == {("warning", "sample-rate")}
        (folder / "stimulus_set.toml").write_text(MANIFEST + "sample_rate = 16000\n")
        assert ("error", "sample-rate") in found(check(folder))

    def test_a_lossy_file_among_others(self, tmp_path: Path) -> None:
        folder = write(tmp_path / "lab", CLEAN)
        soundfile.write(folder / "audio" / "M1.mp3", noise(1), RATE)
        table = (folder / "stimuli.csv").read_text().replace("audio/M1.wav", "audio/M1.mp3")
        (folder / "stimuli.csv").write_text(table)
        assert ("warning", "lossy-format") in found(check(folder))

    @pytest.mark.parametrize(
        ("change", "feature"),
        [
            (lambda x: x * np.float32(2), "rms_db"),
            (lambda x: x[: RATE // 2], "duration_s"),
            (lambda x: np.diff(x, prepend=np.float32(0)), "centroid_hz"),
            (lambda x: np.pad(x, (1_000, 0)), "leading_silence_s"),
            (lambda x: resample(resample(x, RATE, 8_000), 8_000, RATE), "upper_limit_hz"),
        ],
    )
    def test_confounds_of_category(self, tmp_path: Path, change: object, feature: str) -> None:
        sounds = {i: change(x) if i[0] == "M" else x for i, x in CLEAN.items()}  # type: ignore[operator]
        report = check(write(tmp_path / "lab", sounds))
        assert ("warning", f"confound:{feature}") in found(report)
        assert report.differences.loc[feature, "p"] < 0.05
        assert report.of_level("error") == []

    def test_a_set_that_is_played_at_one_level_has_no_confound_of_level(self, tmp_path: Path) -> None:
        sounds = {i: x * np.float32(2) if i[0] == "M" else x for i, x in CLEAN.items()}
        folder = write(tmp_path / "lab", sounds)
        (folder / "stimulus_set.toml").write_text(MANIFEST + "target_rms = 0.05\n")
        assert check(folder).findings == []

    def test_categories_and_licence(self, tmp_path: Path) -> None:
        folder = write(tmp_path / "lab", CLEAN | {"Lonely": noise(77)})
        (folder / "stimulus_set.toml").write_text(
            'name = "lab"\nversion = "1"\ncitation = "how to cite these sounds"\nlicence = " "\n'
        )
        report = check(folder)
        assert found(report) == {("warning", c) for c in ("category-size", "citation", "licence")}
        assert any(
            "1 categories have one sound only" in f.message and f.message.endswith(": L") for f in report.findings
        )

    @pytest.mark.parametrize("n", [RATE // 2, 2 * RATE])
    def test_half_and_twice_the_median_is_no_odd_duration(self, tmp_path: Path, n: int) -> None:
        assert check(write(tmp_path / "lab", CLEAN | {"M1": noise(1, n)})).findings == []

    def test_sounds_that_no_row_names(self, tmp_path: Path) -> None:
        folder = write(tmp_path / "lab", CLEAN)
        (folder / "audio" / "new.flac").write_bytes(b"x")
        (folder / "audio" / "._M0.wav").write_bytes(b"x")
        for stimuli in (read_stimulus_set(folder), read_stimulus_set(folder).select(categories="M")):
            (finding,) = (f for f in check_stimuli(stimuli).findings if f.check == "unlisted")
            assert finding.message.startswith("1 sound files in the folder are in no row of stimuli.csv")
            assert finding.message.endswith(": audio/new.flac")

    def test_every_sound_is_bad(self, tmp_path: Path) -> None:
        report = check(write(tmp_path / "lab", {"M1": b"", "S1": b"x"}))
        assert [f.check for f in report.of_level("error")] == ["unusable", "unusable"]
        json.dumps(report.to_dict(), allow_nan=False)
        write_check_page(report, tmp_path / "page.html")

    def test_sounds_that_are_made_not_read(self) -> None:
        manifest = Manifest(name="made", version="1", citation="c", licence="l")
        table = pd.DataFrame({"file": "", "category": [i[0] for i in CLEAN]}, index=pd.Index(CLEAN, name="stimulus_id"))
        report = check_stimuli(StimulusSet(manifest, table, lambda i: (CLEAN[i], RATE)))
        assert report.findings == []
        assert report.sounds["channels"].eq(1).all()

    def test_the_same_twice(self, tmp_path: Path) -> None:
        folder = write(tmp_path / "lab", {i: x * np.float32(1 + (i[0] == "M")) for i, x in CLEAN.items()})
        pd.testing.assert_frame_equal(check(folder).differences, check(folder).differences)

    @pytest.mark.realdata
    def test_what_natural_sounds_are_known_for(self) -> None:
        report = check_stimuli(load_stimuli("natsound165"))
        assert report.of_level("error") == []
        # All were cut to 2 s and brought to one RMS; many were recorded or coded with less than the full band.
        assert report.sounds["duration_s"].sub(2).abs().max() < 0.001
        assert np.ptp(report.sounds["rms_db"]) < 1.5
        assert {"bandwidth", "confound:centroid_hz", "category-size"} <= {f.check for f in report.findings}


class TestPage:
    def test_it_holds_every_sound_and_finding_and_nothing_active(self, tmp_path: Path) -> None:
        sounds = {i: x * np.float32(2) if i[0] == "M" else x for i, x in CLEAN.items()}
        folder = write(tmp_path / "lab", sounds)
        (folder / "stimulus_set.toml").write_text(MANIFEST.replace("Us 2024", "<script>alert(1)</script> & us"))
        report = check(folder)
        write_check_page(report, tmp_path / "page.html")
        page = (tmp_path / "page.html").read_text(encoding="utf-8")
        assert "<script" not in page
        assert "&lt;script&gt;" in page
        assert "http" not in page
        for stimulus_id in CLEAN:
            assert f"<td>{stimulus_id}</td>" in page
        for finding in report.findings:
            assert f"<b>{finding.check}</b>" in page
        assert "Warnings: 1" in page
        assert "Errors: none" in page
        assert "level, dB re full scale" in page
        assert "nan" not in page

    def test_json_is_strict(self, tmp_path: Path) -> None:
        report = check(write(tmp_path / "lab", CLEAN | {"M1": b""}))
        plain = json.loads(json.dumps(report.to_dict(), allow_nan=False))
        assert plain["categories"] == {"M": 6, "S": 6}
        assert plain["sounds"][1]["rms_db"] is None
        assert [e["stimuli"] for e in plain["errors"]] == [["M1"]]
