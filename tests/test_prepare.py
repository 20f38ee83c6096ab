"""Sounds ready to be played: each step against its closed form, the source untouched, nothing clipped."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from brainalign import __version__
from brainalign._files import sha256
from brainalign.errors import StimulusError
from brainalign.stimuli import StimulusSet, read_stimulus_set
from brainalign.stimuli.audio import read_audio, rms
from brainalign.stimuli.prepare import Preparation, prepare_stimuli, with_ramps

RATE = 16_000


def tone(amplitude: float = 0.1, rate: int = RATE, duration_s: float = 1.0, frequency: float = 500.0) -> np.ndarray:
    return amplitude * np.sin(2 * np.pi * frequency * np.arange(round(rate * duration_s)) / rate)


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    """Make a set of a tone, a stereo sound of 44.1 kHz and a short one; give its folder."""
    folder = tmp_path / "lab"
    folder.mkdir()
    soundfile.write(folder / "a.wav", tone(), RATE)
    soundfile.write(folder / "b.wav", np.stack([tone(0.4, 44_100), 0 * tone(0.4, 44_100)], axis=1), 44_100, "PCM_24")
    soundfile.write(folder / "c.flac", tone(0.2, duration_s=0.5), RATE)
    (folder / "stimuli.csv").write_text(
        "stimulus_id,file,category,note\na,a.wav,Tone,first\nü: b/2?,b.wav,Tone,\n007,c.flac,Short,last\n"
    )
    (folder / "stimulus_set.toml").write_text('name = "lab"\nversion = "3"\ncitation = "c"\nlicence = "l"\n')
    return folder


def prepare(lab: Path, **options: float) -> tuple[StimulusSet, dict[str, str]]:
    prepared, steps = prepare_stimuli(read_stimulus_set(lab), lab.parent / "out", Preparation(**options))  # type: ignore[arg-type]
    return prepared, steps.to_dict()


class TestSteps:
    def test_all_together(self, lab: Path) -> None:
        before = {p.name: (sha256(p), p.stat().st_mtime_ns) for p in lab.iterdir()}
        prepared, steps = prepare(lab, sample_rate=22_050, duration_s=0.8, ramp_ms=20, target_rms=0.05)
        assert {p.name: (sha256(p), p.stat().st_mtime_ns) for p in lab.iterdir()} == before
        assert prepared.ids == ["a", "ü: b/2?", "007"]
        assert prepared.table["category"].tolist() == ["Tone", "Tone", "Short"]
        assert prepared.table["note"].tolist() == ["first", "", "last"]
        assert prepared.manifest.model_dump(exclude_none=True) == {
            "name": "lab-prepared", "version": "3", "citation": "c", "licence": "l", "sample_rate": 22_050,
        }  # fmt: skip
        for stimulus_id in prepared.ids:
            info = soundfile.info(prepared.folder / prepared.table.loc[stimulus_id, "file"])
            assert (info.samplerate, info.channels, info.frames, info.subtype) == (22_050, 1, 17_640, "PCM_16")
        n_short = 11_025
        assert rms(prepared.waveform("a")[0]) == pytest.approx(0.05, rel=1e-3)
        assert rms(prepared.waveform("007")[0][:n_short]) == pytest.approx(0.05, rel=1e-3)
        assert not prepared.waveform("007")[0][n_short:].any()
        # The mean power of a raised-cosine ramp is 3/8.
        change = 20 * np.log10(0.05 / (0.1 / np.sqrt(2) * np.sqrt(1 - 2 * 0.020 / 0.8 * 5 / 8)))
        assert steps["a"] == (
            "resampled from 16000 to 22050 Hz; 0.200 s cut from the end; ramps of 20 ms; "
            f"level changed by {change:+.1f} dB"
        )
        assert steps["ü: b/2?"].startswith("2 channels averaged; resampled from 44100 to 22050 Hz; 0.200 s cut")
        assert steps["007"].endswith("0.300 s of silence added at the end")

    def test_without_options_sounds_stay_as_they_are_played(self, lab: Path) -> None:
        prepared, steps = prepare(lab)
        source = read_stimulus_set(lab)
        for stimulus_id in source.ids:
            expected, rate = source.waveform(stimulus_id)
            found, found_rate = prepared.waveform(stimulus_id)
            assert found_rate == rate
            np.testing.assert_allclose(found, expected, rtol=0, atol=2**-15)
        assert steps == {
            "a": "as it was",
            "ü: b/2?": "2 channels averaged; 24-bit samples written with 16 bits",
            "007": "as it was",
        }
        assert prepared.manifest.sample_rate is None

    def test_the_level_at_which_a_set_is_played_is_written(self, lab: Path) -> None:
        manifest = lab / "stimulus_set.toml"
        manifest.write_text(manifest.read_text() + "target_rms = 0.02\n")
        prepared, _ = prepare(lab, duration_s=2.0)
        assert prepared.manifest.target_rms is None
        waveform, rate = prepared.waveform("a")
        assert rms(waveform[:rate]) == pytest.approx(0.02, rel=1e-3)
        assert rms(waveform) == pytest.approx(0.02 / np.sqrt(2), rel=1e-3)

    def test_silence_is_trimmed(self, lab: Path) -> None:
        soundfile.write(lab / "a.wav", np.pad(tone(), (800, 1_600)), RATE)
        prepared, steps = prepare(lab, trim_silence=True)
        assert len(prepared.waveform("a")[0]) == RATE
        np.testing.assert_allclose(prepared.waveform("a")[0], tone(), rtol=0, atol=2**-14)
        assert steps["a"] == "0.050 s of silence cut from the beginning, 0.100 s from the end"
        assert steps["007"] == "as it was"

    def test_silence_is_trimmed_from_a_recording_with_an_offset(self, lab: Path) -> None:
        soundfile.write(lab / "a.wav", np.pad(tone(), (800, 1_600)) + 0.2, RATE)
        prepared, steps = prepare(lab, trim_silence=True, bits=24)
        np.testing.assert_allclose(prepared.waveform("a")[0], tone(), rtol=0, atol=2**-14)
        cut = "0.050 s of silence cut from the beginning, 0.100 s from the end"
        assert steps["a"] == f"{cut}; mean (DC) of +0.2 removed"

    def test_the_mean_does_not_count_for_level(self, lab: Path) -> None:
        # An offset of twice the RMS would make the sound softer by 10 log10(1 + 4) = 7.0 dB.
        soundfile.write(lab / "a.wav", tone() + 2 * 0.1 / np.sqrt(2), RATE, subtype="PCM_24")
        prepared, steps = prepare(lab, target_rms=0.05, bits=24)
        waveform = prepared.waveform("a")[0]
        np.testing.assert_allclose(waveform, 0.05 * np.sqrt(2) * tone(1.0), rtol=0, atol=1e-5)
        assert steps["a"] == "mean (DC) of +0.14 removed; level changed by -3.0 dB"

    def test_24_bits_keep_more(self, lab: Path) -> None:
        prepared, _ = prepare(lab, bits=24)
        assert soundfile.info(prepared.folder / prepared.table.loc["a", "file"]).subtype == "PCM_24"
        np.testing.assert_allclose(prepared.waveform("ü: b/2?")[0], tone(0.2, 44_100), rtol=0, atol=2**-22)

    def test_192_khz_8_bits_and_float(self, lab: Path) -> None:
        soundfile.write(lab / "a.wav", tone(rate=192_000), 192_000, subtype="FLOAT")
        soundfile.write(lab / "b.wav", tone(), RATE, subtype="PCM_U8")
        prepared, steps = prepare(lab, sample_rate=RATE)
        middle = slice(1_000, 15_000)
        np.testing.assert_allclose(prepared.waveform("a")[0][middle], tone()[middle], rtol=0, atol=2**-14)
        np.testing.assert_allclose(prepared.waveform("ü: b/2?")[0], tone(), rtol=0, atol=2**-6)
        assert steps["a"] == "resampled from 192000 to 16000 Hz; 32-bit float samples written with 16 bits"

    def test_the_record_says_what_was_done(self, lab: Path) -> None:
        prepared, steps = prepare(lab, target_rms=0.05)
        record = json.loads((prepared.folder / "preparation.json").read_text(encoding="utf-8"))
        assert record["source"] == {"name": "lab", "version": "3"}
        assert record["steps"] == steps
        assert record["brainalign"] == __version__
        assert record["options"] == {"sample_rate": None, "trim_silence": False, "duration_s": None, "ramp_ms": 0.0,
                                     "target_rms": 0.05, "bits": 16}  # fmt: skip

    def test_file_names_are_plain(self, lab: Path) -> None:
        prepared, _ = prepare(lab)
        assert prepared.table["file"].tolist() == ["audio/1_a.wav", "audio/2____b_2_.wav", "audio/3_007.wav"]


class TestRamps:
    @given(st.integers(0, 200))
    def test_closed_form(self, n: int) -> None:
        ramped = with_ramps(np.ones(400, np.float32), n, "x")
        expected = np.sin(np.pi / 2 * (np.arange(n) + 0.5) / max(n, 1)) ** 2
        np.testing.assert_allclose(ramped[:n], expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(ramped[::-1], ramped, rtol=1e-6)
        assert (ramped[n : 400 - n] == 1).all()

    def test_rise_and_fall_add_to_one(self) -> None:
        ramped = with_ramps(np.ones(400, np.float32), 100, "x")
        np.testing.assert_allclose(ramped[:100] + ramped[300:], 1, atol=1e-6)

    def test_a_sound_that_is_too_short(self, lab: Path) -> None:
        with pytest.raises(StimulusError, match=r"'007' has 8000 samples, fewer than its two ramps of 4160; shorten"):
            prepare(lab, ramp_ms=260)


class TestRefusals:
    def test_nothing_is_clipped_and_nothing_written(self, lab: Path) -> None:
        with pytest.raises(StimulusError, match=r"3 of 3 sounds would clip.*highest RMS at which none does is 0\.70"):
            prepare(lab, target_rms=0.9)
        assert [p.name for p in lab.parent.iterdir()] == ["lab"]

    def test_the_level_that_is_named_does_not_clip(self, lab: Path) -> None:
        soundfile.write(lab / "a.wav", np.where(np.arange(RATE) == 5, 0.9, tone()), RATE)
        with pytest.raises(StimulusError, match=r"1 of 3 sounds would clip, most of all 'a'") as why:
            prepare(lab, target_rms=0.2)
        prepared, _ = prepare(lab, target_rms=float(str(why.value).split()[-1]))
        assert 0.99 < np.abs(prepared.waveform("a")[0]).max() <= 1

    def test_float_files_beyond_full_scale(self, lab: Path) -> None:
        soundfile.write(lab / "a.wav", tone(1.7), RATE, subtype="FLOAT")
        with pytest.raises(StimulusError, match=r"1 of 3 .* 'a' \(peak 1\.7\): a; ask for a target RMS that is lower"):
            prepare(lab)
        step = prepare(lab, target_rms=0.1)[1]["a"]
        assert step == "level changed by -21.6 dB; 32-bit float samples written with 16 bits"

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"", r"stimulus 'a' of lab: sound file 'a\.wav' cannot be read as audio \(0 bytes\)"),
            (np.zeros(100), "stimulus 'a' is silent; take it out"),
            (np.array([0.1, np.nan]), r"stimulus 'a' of lab: sound file 'a\.wav' holds NaN"),
        ],
    )
    def test_sounds_that_cannot_be_used(self, lab: Path, content: bytes | np.ndarray, message: str) -> None:
        if isinstance(content, bytes):
            (lab / "a.wav").write_bytes(content)
        else:
            soundfile.write(lab / "a.wav", content, RATE, subtype="FLOAT")
        with pytest.raises(StimulusError, match=message):
            prepare(lab)
        assert [p.name for p in lab.parent.iterdir()] == ["lab"]

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"sample_rate": 0}, "sample_rate is 0, expected a positive"),
            ({"duration_s": -1.0}, r"duration_s is -1\.0"),
            ({"duration_s": float("nan")}, "duration_s is nan"),
            ({"target_rms": 0.0}, r"target_rms is 0\.0"),
            ({"ramp_ms": -1.0}, r"ramp_ms is -1\.0, expected 0 or more"),
            ({"bits": 12}, "16 or 24 bits per sample, not 12"),
        ],
    )
    def test_options(self, lab: Path, options: dict[str, float], message: str) -> None:
        with pytest.raises(StimulusError, match=message):
            prepare(lab, **options)

    def test_a_folder_that_holds_something(self, lab: Path) -> None:
        (lab.parent / "out").mkdir()
        (lab.parent / "out" / "thesis.txt").write_text("x")
        with pytest.raises(StimulusError, match="out is not empty; choose a folder that is not there yet"):
            prepare(lab)
        assert [p.name for p in (lab.parent / "out").iterdir()] == ["thesis.txt"]

    def test_samples_that_vanish_at_the_rate(self, lab: Path) -> None:
        soundfile.write(lab / "a.wav", [0.5], RATE)
        with pytest.raises(StimulusError, match=r"'a' has 1 samples \(0\.0625 ms\), of which none is left at 100 Hz"):
            prepare(lab, sample_rate=100)
        with pytest.raises(StimulusError, match=r"'007' has 8000 samples .* none is left at 16000 Hz"):
            prepare_stimuli(read_stimulus_set(lab).select(["007"]), lab.parent / "out", Preparation(duration_s=1e-6))

    def test_an_offset_alone_is_silence(self, lab: Path) -> None:
        soundfile.write(lab / "a.wav", np.full(1_000, 0.3), RATE, subtype="FLOAT")
        with pytest.raises(StimulusError, match="stimulus 'a' is silent"):
            prepare(lab, target_rms=0.05)

    def test_a_set_within_its_source(self, lab: Path) -> None:
        with pytest.raises(StimulusError, match=r"lies within .*lab, the set that it would be made from"):
            prepare_stimuli(read_stimulus_set(lab), lab / "ready" / "x", Preparation())
        assert not (lab / "ready").exists()

    def test_the_source_itself_is_not_overwritten(self, lab: Path) -> None:
        with pytest.raises(StimulusError, match="lab is not empty"):
            prepare_stimuli(read_stimulus_set(lab), lab, Preparation())
        assert len(read_audio(lab / "a.wav")[0]) == RATE
