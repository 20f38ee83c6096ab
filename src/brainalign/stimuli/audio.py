"""Audio in and out: any file that libsndfile reads, mono, at the rate asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainalign._files import write_then_rename
from brainalign._reading import check_unpacked
from brainalign.errors import StimulusError

Waveform = NDArray[np.float32]

_SAMPLE_BYTES = 4
#: Speech at 8 kbit/s is a 192nd of its samples.
_PACKED_TIMES = 200
#: Sounds are resampled to more samples than these only up to so many times their own number: a header with 1 Hz would
#: otherwise fill the memory.
_MAXIMUM_UPSAMPLED, _MAXIMUM_UPSAMPLING = 2**26, 16


def read_audio(path: Path) -> tuple[Waveform, int]:
    """Read a sound file as one channel.

    Parameters
    ----------
    path : Path
        A file in a format of libsndfile (wav, flac, ogg, mp3 ...).

    Returns
    -------
    waveform : ndarray, shape (n_samples,)
        Samples in units of full scale, float32; several channels are averaged.
    sample_rate : int
        Samples per second.

    Raises
    ------
    StimulusError
        If the file is missing, cannot be read, holds no samples, or holds NaN or infinite ones.
    """
    samples, sample_rate = read_channels(path)
    return samples.mean(axis=1, dtype=np.float32), sample_rate


def read_channels(path: Path) -> tuple[Waveform, int]:
    """Read a sound file with its channels apart.

    Parameters
    ----------
    path : Path
        A file in a format of libsndfile.

    Returns
    -------
    samples : ndarray, shape (n_samples, n_channels)
        In units of full scale, float32.
    sample_rate : int
        Samples per second.

    Raises
    ------
    StimulusError
        As :func:`read_audio` does.
    """
    import soundfile

    if not path.is_file():
        raise StimulusError(f"sound file {path.name!r} is not there (looked in {path.parent})")
    try:
        header = soundfile.info(path)
        check_unpacked(path, max(header.frames, 0) * header.channels * _SAMPLE_BYTES, StimulusError, _PACKED_TIMES)
        samples, sample_rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, RuntimeError, ValueError, TypeError, MemoryError, AssertionError) as why:
        raise StimulusError(
            f"sound file {path.name!r} cannot be read as audio ({path.stat().st_size} bytes): {_reason(why)}"
        ) from why
    _check_whole(path)
    if len(samples) == 0:
        raise StimulusError(f"sound file {path.name!r} is empty: it holds no samples")
    if not np.isfinite(samples).all():
        raise StimulusError(f"sound file {path.name!r} holds NaN or infinite samples")
    return samples, int(sample_rate)


def _check_whole(path: Path) -> None:
    """Raise if a wav file is shorter than its header says; libsndfile would read what is left without a word."""
    with path.open("rb") as stream:
        if stream.read(4) != b"RIFF":
            return
        stream.seek(12)
        while len(head := stream.read(8)) == 8:
            size = int.from_bytes(head[4:], "little")
            if head[:4] == b"data":
                left = path.stat().st_size - stream.tell()
                # Programs that write to a pipe leave the largest number, or 0, for a size that they did not know.
                if left < size < 0xFFFFFF00:
                    raise StimulusError(
                        f"sound file {path.name!r} is cut short: it holds {left} of the {size} bytes of sound that its "
                        f"header announces; copy it again"
                    )
                return
            stream.seek(size + size % 2, 1)


def _reason(why: Exception) -> str:
    return str(getattr(why, "error_string", None) or why).strip().rstrip(".")


def resample(waveform: Waveform, from_rate: int, to_rate: int) -> Waveform:
    """Resample with soxr at high quality (alias residue below -140 dB).

    Parameters
    ----------
    waveform : ndarray, shape (n_samples,)
        The samples.
    from_rate, to_rate : int
        Rates in Hz.

    Returns
    -------
    ndarray, shape (n_samples * to_rate / from_rate,)
        The resampled waveform, its length rounded (half a sample up); the input itself if the rates agree.

    Raises
    ------
    StimulusError
        If a rate is not positive, or the result would be out of all proportion.
    """
    if min(from_rate, to_rate) <= 0:
        raise StimulusError(f"cannot resample from {from_rate} to {to_rate} Hz: sample rates are positive")
    if to_rate > _MAXIMUM_UPSAMPLING * from_rate and len(waveform) * to_rate > _MAXIMUM_UPSAMPLED * from_rate:
        raise StimulusError(
            f"{len(waveform)} samples at {from_rate} Hz would be {len(waveform) * to_rate // from_rate:,} at {to_rate} "
            f"Hz; is the sample rate in the header right?"
        )
    if from_rate == to_rate:
        return waveform
    import soxr

    resampled: Waveform = soxr.resample(waveform, from_rate, to_rate, quality="HQ")
    return resampled


def rms(waveform: NDArray[Any]) -> float:
    """Return the root mean square of a waveform, computed in double precision."""
    return float(np.sqrt(np.mean(np.square(waveform, dtype=np.float64))))


def write_audio(path: Path, waveform: Waveform, sample_rate: int, *, bits: int = 16) -> None:
    """Write a mono waveform as PCM; the format follows the suffix.

    Parameters
    ----------
    path : Path
        Where to; ``.wav`` or ``.flac``.
    waveform : ndarray, shape (n_samples,)
        Samples in units of full scale.
    sample_rate : int
        Rate in Hz.
    bits : {16, 24}
        Bits per sample.

    Raises
    ------
    StimulusError
        If samples exceed full scale (clipping would change the sound) or are not finite, if there are none, or if
        the format is another.
    """
    import soundfile

    if path.suffix.lower() not in (".wav", ".flac"):
        raise StimulusError(f"sounds are written as '.wav' or '.flac', not {path.name!r}")
    if bits not in (16, 24):
        raise StimulusError(f"sounds are written with 16 or 24 bits per sample, not {bits}")
    if not len(waveform) or not np.isfinite(waveform).all():
        raise StimulusError(f"{path.name!r} is not written: the sound holds no samples, or NaN or infinite ones")
    peak = float(np.max(np.abs(waveform)))
    if peak > 1:
        raise StimulusError(f"{path.name!r} would clip: peak {peak:.3g} of full scale; lower the level first")
    with write_then_rename(path) as temporary:
        soundfile.write(temporary, waveform, sample_rate, subtype=f"PCM_{bits}")
