"""Principal components of the log-mel spectrogram: the linear acoustic baseline of Kim, Kim & Jeong 2024.

The paper takes the first 256 components (explained variance 0.965 on their clips) and says neither what they were
fitted on nor how a spectrogram became a vector. Here a spectrogram is cut into windows of fixed duration, each
flattened to one vector, so that one fit takes sounds of any duration: the scores of a sound are a time series, one
step per window, and their mean over time is what extraction keeps. A window as long as the sounds gives what
fitting on whole sounds gives.

Scores are deviations from the mean of the training sounds, of either sign: they can be decoded, encoded and compared,
but ratios of them mean nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from brainalign._files import write_then_rename
from brainalign._reading import read_json_object
from brainalign.errors import ModelError, StimulusError, did_you_mean
from brainalign.models.hooked import HookedModel, load_weights, weights_digest
from brainalign.models.logmel import HOP_SAMPLES, N_MELS, SAMPLE_RATE, LogMel

if TYPE_CHECKING:
    from brainalign.stimuli import StimulusSet

CITATION = "Kim, Kim & Jeong 2024, doi:10.1038/s41467-023-44516-0"
#: Windows that are decomposed at a time. Up to twice as many are decomposed at once, which is exact.
_BATCH = 1024


class Projection(nn.Module):
    """Scores of the windows of a spectrogram.

    Parameters
    ----------
    n_components : int
        Components that are kept.
    n_frames : int
        Frames of a window; windows begin every quarter of it.
    """

    mean: Tensor
    components: Tensor
    explained_variance_ratio: Tensor

    def __init__(self, n_components: int, n_frames: int) -> None:
        super().__init__()
        self.n_frames = n_frames
        self.register_buffer("mean", torch.zeros(N_MELS * n_frames))
        self.register_buffer("components", torch.zeros(n_components, N_MELS * n_frames))
        self.register_buffer("explained_variance_ratio", torch.zeros(n_components))

    def forward(self, spectrograms: Tensor) -> Tensor:
        """Return the scores.

        Parameters
        ----------
        spectrograms : Tensor, shape (n_sounds, 1, 64, n_frames)
            In dB.

        Returns
        -------
        Tensor, shape (n_sounds, n_components, n_windows)
            What is left behind the last whole window is not used.
        """
        return (cut_windows(spectrograms, self.n_frames) - self.mean).matmul(self.components.T).transpose(1, 2)


def cut_windows(spectrograms: Tensor, n_frames: int) -> Tensor:
    """Return the windows of spectrograms as vectors, one beginning every quarter of a window.

    Parameters
    ----------
    spectrograms : Tensor, shape (n_sounds, 1, n_bands, n_all_frames)
        Of at least `n_frames` frames.
    n_frames : int
        Frames of a window.

    Returns
    -------
    Tensor, shape (n_sounds, n_windows, n_bands * n_frames)
        Band-major.
    """
    windows = spectrograms.squeeze(1).unfold(-1, n_frames, max(1, n_frames // 4))
    return windows.transpose(1, 2).flatten(start_dim=2)


class _LogMelPCAModel(nn.Module):
    """Front end and components."""

    def __init__(self, pca: Projection) -> None:
        super().__init__()
        self.logmel = LogMel()
        self.pca = pca

    def forward(self, waveforms: Tensor) -> Tensor:
        scores: Tensor = self.pca(self.logmel(waveforms))
        return scores


def fit_logmel_pca(
    stimuli: StimulusSet,
    *,
    n_components: int = 256,
    duration_s: float = 1.0,
    windows_per_sound: int = 5,
    seed: int = 0,
) -> HookedModel:
    """Fit the principal components of the log-mel spectrogram to a stimulus set.

    Parameters
    ----------
    stimuli : StimulusSet
        The training sounds, each at least `duration_s` long. Where they are also the sounds of an analysis, the
        components have seen them (though not their labels, nor the brain).
    n_components : int
        Components that are kept.
    duration_s : float
        Duration of a window, rounded to frames of 12.47 ms. Temporal detail is kept within windows only.
    windows_per_sound : int
        At most so many windows of each sound are used, drawn by `seed` where there are more, so that long sounds do
        not outweigh others. Windows begin every quarter of their duration: a sound of two seconds has five of one.
    seed : int
        Seed of that draw.

    Returns
    -------
    HookedModel
        One layer ``pca``, (batch, component, window). Its `record` names the training set, counts its sounds and
        windows, and gives the explained variance of all components together, as a share of the whole variance.

    Raises
    ------
    ModelError
        If there are too few windows for so many components, or they vary in fewer directions.
    StimulusError
        If a sound is shorter than a window or cannot be read.

    Notes
    -----
    Up to 2,048 windows are decomposed at once; more of them in batches of 1,024 (scikit-learn's IncrementalPCA,
    Ross et al. 2008), with twice as many components carried along as are kept, in memory that does not
    grow with the number of sounds.
    """
    n_frames = round(duration_s * SAMPLE_RATE / HOP_SAMPLES)
    if n_components < 1 or n_frames < 1 or windows_per_sound < 1:
        raise ModelError(
            f"logmel-pca needs at least one component, one frame and one window per sound, "
            f"found {n_components}, {n_frames} ({duration_s} s) and {windows_per_sound}"
        )
    digest = hashlib.sha256()
    windows = _training_windows(stimuli, n_frames, windows_per_sound, np.random.default_rng(seed), digest)
    pca = _decompose(windows, n_components, f"{stimuli.name}, {n_frames} frames per window")
    projection = Projection(n_components, n_frames)
    for name, values in (
        ("mean", pca.mean_),
        ("components", pca.components_[:n_components]),
        ("explained_variance_ratio", pca.explained_variance_ratio_[:n_components]),
    ):
        getattr(projection, name).copy_(torch.from_numpy(values))
    record = {
        "training_set": f"{stimuli.name} {stimuli.manifest.version}",
        "training_sounds": len(stimuli),
        "training_sounds_sha256": digest.hexdigest(),
        "training_windows": int(pca.n_samples_seen_),
        "windows_per_sound": windows_per_sound,
        "window_s": n_frames * HOP_SAMPLES / SAMPLE_RATE,
        "window_frames": n_frames,
        "n_components": n_components,
        "explained_variance": float(projection.explained_variance_ratio.sum()),
        "seed": seed,
        "weights_sha256": weights_digest(projection),
    }
    return _model(f"logmel-pca:{stimuli.name}", projection, record)


def _training_windows(
    stimuli: StimulusSet, n_frames: int, per_sound: int, rng: np.random.Generator, digest: hashlib._Hash
) -> Iterator[NDArray[np.float64]]:
    """Give the windows of each sound, and add the sound to the digest."""
    logmel, shortest = LogMel(), _minimum_samples(n_frames)
    for stimulus_id in stimuli.ids:
        waveform, _ = stimuli.waveform(stimulus_id, SAMPLE_RATE)
        if len(waveform) < shortest:
            raise StimulusError(
                f"stimulus {stimulus_id!r} of {stimuli.name} is too short to fit logmel-pca on: "
                f"{len(waveform) / SAMPLE_RATE:.3f} s, the windows take {shortest / SAMPLE_RATE:.3f} s; leave it "
                f"out by name, or choose a smaller duration_s"
            )
        digest.update(stimulus_id.encode() + np.ascontiguousarray(waveform, dtype="<f4").tobytes())
        with torch.inference_mode():
            windows = cut_windows(logmel(torch.from_numpy(waveform)[None]), n_frames)[0].double().numpy()
        if len(windows) > per_sound:
            windows = windows[np.sort(rng.choice(len(windows), per_sound, replace=False))]
        yield windows


def _decompose(windows: Iterator[NDArray[np.float64]], n_components: int, source: str) -> Any:
    """Return scikit-learn's IncrementalPCA of windows that come a few at a time."""
    from sklearn.decomposition import IncrementalPCA

    pca: Any = None
    waiting: list[NDArray[np.float64]] = []
    batch = max(_BATCH, 2 * n_components)
    for few in windows:
        waiting.append(few)
        if sum(map(len, waiting)) >= 2 * batch:
            pca = pca or IncrementalPCA(2 * n_components)
            held = np.concatenate(waiting)
            pca.partial_fit(held[:batch])
            waiting = [held[batch:]]
    held = np.concatenate(waiting)
    if pca is None:
        # Of n windows less their mean, n - 1 are independent.
        if min(len(held) - 1, held.shape[1]) < n_components:
            raise ModelError(
                f"logmel-pca: {len(held)} windows of {held.shape[1]} values ({source}) give at most "
                f"{min(len(held) - 1, held.shape[1])} components, {n_components} are asked for; "
                f"use more sounds, shorter windows or fewer components"
            )
        pca = IncrementalPCA(n_components)
    pca.partial_fit(held)
    variances = pca.explained_variance_
    n_real = int((variances > 1e-12 * max(variances[0], 1e-300)).sum())
    if n_real < n_components:
        raise ModelError(
            f"logmel-pca: the windows ({source}) vary in {n_real} directions only, {n_components} components are asked "
            f"for; are sounds there several times?"
        )
    return pca


def _minimum_samples(n_frames: int) -> int:
    """Return the length of the shortest sound that has so many frames; centred frames need more than half a window."""
    return max((n_frames - 1) * HOP_SAMPLES + 1, HOP_SAMPLES + 1)


def save_logmel_pca(model: HookedModel, path: Path | str) -> None:
    """Write fitted components to a safetensors file, and their record to a JSON card beside it.

    Parameters
    ----------
    model : HookedModel
        As :func:`fit_logmel_pca` gives it.
    path : path-like
        Ends in ``.safetensors``; loaded as ``"logmel-pca:PATH"``.

    Raises
    ------
    ModelError
        If the path ends in something else, or the model is another one.
    """
    from safetensors.torch import save_file

    path = Path(path)
    if path.suffix != ".safetensors":
        raise ModelError(f"components are written to a .safetensors file, not {path.name!r}")
    if not isinstance(model.module, _LogMelPCAModel):
        raise ModelError(f"model {model.name!r} is no logmel-pca")
    tensors = {k: v.detach().cpu().contiguous() for k, v in model.module.pca.state_dict().items()}
    with write_then_rename(path) as temporary:
        save_file(tensors, temporary)
    with write_then_rename(path.with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps(dict(model.record), indent=2) + "\n", encoding="utf-8")


def load_logmel_pca(variant: str = "", *, pretrained: bool = True) -> HookedModel:
    """Load principal components of the log-mel spectrogram, or fit them.

    Parameters
    ----------
    variant : str
        A file that :func:`save_logmel_pca` wrote (``FILE.safetensors``, its card beside it), or a stimulus set, by
        its registered name or folder, on which 256 components of one-second windows are then fitted.
    pretrained : bool
        False asks for random weights, which it cannot have.

    Returns
    -------
    HookedModel
        One layer ``pca``, (batch, component, window).

    Raises
    ------
    ModelError
        If nothing is named, the file and its card do not fit, random weights are asked for, or the set is too small.
    StimulusError
        If there is no such set, or a sound of it cannot be used.
    """
    from brainalign.stimuli import STIMULI, load_stimuli

    if not pretrained:
        raise ModelError("model 'logmel-pca' is fitted, not trained: there is no random control of it")
    if not variant:
        raise ModelError(
            "model 'logmel-pca' names no training set; use 'logmel-pca:SET' with a stimulus set or its folder "
            f"({did_you_mean('', STIMULI.names())}), or 'logmel-pca:FILE.safetensors'"
        )
    if variant.endswith(".safetensors"):
        return _load_file(Path(variant))
    return fit_logmel_pca(load_stimuli(variant))


def _load_file(path: Path) -> HookedModel:
    if not path.is_file():
        raise ModelError(f"no file of components {path}")
    card = path.with_suffix(".json")
    if not card.is_file():
        raise ModelError(f"{path.name} has no card {card.name} beside it, which says what it was fitted on")
    try:
        record = read_json_object(card, "a card of logmel-pca", ModelError)
        projection = Projection(int(record["n_components"]), int(record["window_frames"]))
        expected = record["weights_sha256"]
    except (ValueError, KeyError, TypeError) as why:
        raise ModelError(f"{card} is no card of logmel-pca: {type(why).__name__}: {why}") from why
    load_weights(projection, path)
    if weights_digest(projection) != expected:
        raise ModelError(f"{path.name} and its card {card.name} do not belong together; write both again")
    return _model(f"logmel-pca:{path.stem}", projection, record)


def _model(name: str, projection: Projection, record: Mapping[str, Any]) -> HookedModel:
    return HookedModel(
        name=name,
        module=_LogMelPCAModel(projection),
        sample_rate=SAMPLE_RATE,
        layouts={"pca": "BCT"},
        minimum_samples=_minimum_samples(projection.n_frames),
        record={"front_end": "kim2024", "citation": CITATION, **record},
    )
