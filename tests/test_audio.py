"""Sounds come in as they are, in every format, and are resampled without loss."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from brainalign.errors import StimulusError
from brainalign.stimuli.audio import read_audio, resample, rms, write_audio

RATE = 44_100


def tone(frequency: float = 440.0, amplitude: float = 0.25, rate: int = RATE, duration_s: float = 0.5) -> np.ndarray:
    return (amplitude * np.sin(2 * np.pi * frequency * np.arange(int(rate * duration_s)) / rate)).astype(np.float32)


class TestRead:
    @pytest.mark.parametrize("share", [0.99, 0.5])
    def test_a_wav_that_is_cut_short_is_refused(self, tmp_path: Path, share: float) -> None:
        path = tmp_path / "a.wav"
        soundfile.write(path, tone(), RATE)
        content = path.read_bytes()
        path.write_bytes(content[: int(share * len(content))])
        with pytest.raises(StimulusError, match=r"'a\.wav' is cut short: it holds \d+ of the 44100 bytes"):
            read_audio(path)

    def test_a_wav_from_a_pipe_does_not_know_its_size(self, tmp_path: Path) -> None:
        path = tmp_path / "a.wav"
        soundfile.write(path, tone(), RATE)
        content = path.read_bytes()
        at = content.index(b"data") + 4
        path.write_bytes(content[:at] + b"\xff\xff\xff\xff" + content[at + 4 :])
        assert len(read_audio(path)[0]) == len(tone())

    @pytest.mark.parametrize(
        ("suffix", "subtype", "tolerance"),
        [
            ("wav", "PCM_16", 2**-15),
            ("wav", "PCM_24", 2**-23),
            ("wav", "PCM_U8", 2**-6),
            ("wav", "FLOAT", 0),
            ("flac", "PCM_16", 2**-15),
            ("aiff", "PCM_16", 2**-15),
        ],
    )
    def test_lossless_formats(self, tmp_path: Path, suffix: str, subtype: str, tolerance: float) -> None:
        path = tmp_path / f"x.{suffix}"
        soundfile.write(path, tone(), RATE, subtype=subtype)
        waveform, rate = read_audio(path)
        assert (rate, waveform.dtype, waveform.shape) == (RATE, np.float32, tone().shape)
        np.testing.assert_allclose(waveform, tone(), rtol=0, atol=tolerance)

    @pytest.mark.parametrize("suffix", ["ogg", "mp3"])
    def test_lossy_formats(self, tmp_path: Path, suffix: str) -> None:
        path = tmp_path / f"x.{suffix}"
        soundfile.write(path, tone(), RATE)
        waveform, rate = read_audio(path)
        assert rate == RATE
        # Encoders may pad; the tone itself must be there at its level and frequency.
        assert abs(len(waveform) - len(tone())) < 0.05 * RATE
        middle = waveform[RATE // 10 : RATE // 10 + RATE // 4]
        assert rms(middle) == pytest.approx(0.25 / np.sqrt(2), rel=0.02)
        spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle))))
        assert np.argmax(spectrum) * RATE / len(middle) == pytest.approx(440, abs=4)

    def test_channels_are_averaged(self, tmp_path: Path) -> None:
        path = tmp_path / "x.wav"
        left, right = tone(440), tone(1000, 0.5)
        soundfile.write(path, np.stack([left, right], axis=1), RATE, subtype="FLOAT")
        np.testing.assert_allclose(read_audio(path)[0], (left + right) / 2, rtol=0, atol=1e-7)

    def test_opposite_channels_cancel(self, tmp_path: Path) -> None:
        path = tmp_path / "x.wav"
        soundfile.write(path, np.stack([tone(), -tone()], axis=1), RATE, subtype="FLOAT")
        assert not read_audio(path)[0].any()

    def test_nothing_is_clipped(self, tmp_path: Path) -> None:
        path = tmp_path / "x.wav"
        soundfile.write(path, tone(amplitude=3.0), RATE, subtype="FLOAT")
        assert float(np.abs(read_audio(path)[0]).max()) == pytest.approx(3.0, rel=1e-3)

    def test_names_beyond_ascii(self, tmp_path: Path) -> None:
        path = tmp_path / "Vögel & 鳥 (1) [2].flac"
        write_audio(path, tone(), RATE)
        assert len(read_audio(path)[0]) == len(tone())

    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("zero.wav", b""),
            ("text.wav", b"not a sound"),
            ("header.wav", b"RIFF\x24\x00\x00\x00WAVE"),
            ("text.flac", b"fLaC" + bytes(10)),
            ("text.txt", b"hello"),
            ("headerless.raw", bytes(100)),
            ("no_suffix", b"abc"),
        ],
    )
    def test_what_is_no_sound_is_named_with_its_size(self, tmp_path: Path, name: str, content: bytes) -> None:
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(
            StimulusError, match=rf"'{name}' cannot be read as audio \({len(content)} bytes\): \w"
        ) as why:
            read_audio(path)
        assert "\n" not in str(why.value)
        assert str(tmp_path) not in str(why.value)

    def test_no_samples(self, tmp_path: Path) -> None:
        soundfile.write(tmp_path / "x.wav", np.zeros(0), RATE)
        with pytest.raises(StimulusError, match=r"'x\.wav' is empty: it holds no samples"):
            read_audio(tmp_path / "x.wav")

    @pytest.mark.parametrize("bad", [np.nan, np.inf])
    def test_samples_that_are_no_numbers(self, tmp_path: Path, bad: float) -> None:
        samples = tone()
        samples[100] = bad
        soundfile.write(tmp_path / "x.wav", samples, RATE, subtype="FLOAT")
        with pytest.raises(StimulusError, match=r"'x\.wav' holds NaN or infinite samples"):
            read_audio(tmp_path / "x.wav")

    @pytest.mark.parametrize("name", ["nowhere.wav", "."])
    def test_a_file_that_is_not_there(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(StimulusError, match="is not there"):
            read_audio(tmp_path / name)


class TestResample:
    @given(st.integers(1, 30_000), *[st.sampled_from([8_000, 11_025, 16_000, 22_050, 44_100, 48_000])] * 2)
    def test_length(self, n_samples: int, from_rate: int, to_rate: int) -> None:
        resampled = resample(np.zeros(n_samples, np.float32), from_rate, to_rate)
        assert len(resampled) == int(np.floor(n_samples * to_rate / from_rate + 0.5))

    def test_the_same_rate_gives_the_same_samples(self) -> None:
        samples = tone()
        assert resample(samples, RATE, RATE) is samples

    @pytest.mark.parametrize(("from_rate", "to_rate"), [(44_100, 22_050), (44_100, 16_000), (16_000, 22_050)])
    @pytest.mark.parametrize("frequency", [100.0, 1_000.0, 7_000.0])
    def test_a_tone_stays_the_tone(self, from_rate: int, to_rate: int, frequency: float) -> None:
        resampled = resample(tone(frequency, rate=from_rate), from_rate, to_rate)
        expected = tone(frequency, rate=to_rate)
        middle = slice(to_rate // 10, 4 * to_rate // 10)
        assert resampled.dtype == np.float32
        hundredth_of_a_db = 10 ** (0.01 / 20) - 1  # soxr's filter begins to fall just below 7 of 8 kHz
        tolerance = 0.25 * (hundredth_of_a_db if frequency == 7_000 else 1e-5)
        np.testing.assert_allclose(resampled[middle], expected[middle], rtol=0, atol=tolerance)

    def test_what_lies_above_the_new_limit_is_gone(self) -> None:
        residue = resample(tone(12_000, rate=44_100), 44_100, 22_050)[2_000:-2_000]
        assert 20 * np.log10(rms(residue) / rms(tone(12_000))) < -100

    @pytest.mark.parametrize("rate", [0, -1])
    def test_a_rate_must_be_positive(self, rate: int) -> None:
        with pytest.raises(StimulusError, match=f"from 44100 to {rate} Hz"):
            resample(tone(), RATE, rate)


class TestLevel:
    def test_closed_forms(self) -> None:
        assert rms(np.full(10, -3.0)) == 3.0
        assert rms(tone(441, 0.5, duration_s=1)) == pytest.approx(0.5 / np.sqrt(2), rel=1e-6)

    def test_single_precision_does_not_overflow_or_drift(self) -> None:
        assert rms(np.full(100_000, 1e25, np.float32)) == pytest.approx(1e25, rel=1e-6)
        assert rms(np.full(1_000_000, 1e-4, np.float32)) == pytest.approx(1e-4, rel=1e-6)


class TestWrite:
    @settings(max_examples=10)
    @given(st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=50))
    def test_round_trip(self, tmp_path_factory: pytest.TempPathFactory, samples: list[float]) -> None:
        path = tmp_path_factory.mktemp("write") / "new" / "x.wav"
        write_audio(path, np.array(samples, np.float32), RATE)
        waveform, rate = read_audio(path)
        assert rate == RATE
        np.testing.assert_allclose(waveform, samples, rtol=0, atol=2**-15)
        assert soundfile.info(path).subtype == "PCM_16"

    def test_clipping_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(StimulusError, match=r"'x\.wav' would clip: peak 1\.5 of full scale"):
            write_audio(tmp_path / "x.wav", tone(amplitude=0) + np.float32(-1.5), RATE)
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize("samples", [[], [np.nan, 0.1], [np.inf]])
    def test_what_is_no_sound_is_refused(self, tmp_path: Path, samples: list[float]) -> None:
        with pytest.raises(StimulusError, match=r"'x\.wav' is not written"):
            write_audio(tmp_path / "x.wav", np.array(samples, np.float32), RATE)
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize("name", ["x.mp3", "x.txt", "x"])
    def test_other_formats_are_refused(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(StimulusError, match=rf"'\.wav' or '\.flac', not '{name}'"):
            write_audio(tmp_path / name, tone(), RATE)
