"""What generates music from an embedding: the form that every generator has, and the set of sounds that it gives."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from brainalign._files import write_then_rename
from brainalign.errors import MissingExtraError, ReconstructionError
from brainalign.registry import Registry
from brainalign.responses import Responses
from brainalign.stimuli.audio import write_audio
from brainalign.stimuli.create import write_set_files
from brainalign.stimuli.sets import Manifest, StimulusSet, read_stimulus_set

GENERATORS = Registry("generator", "brainalign.generators", ReconstructionError)
#: A generated sound that exceeds this share of full scale is brought down to it; the table says by how much.
PEAK = 0.99


@runtime_checkable
class Generator(Protocol):
    """Turns an embedding into sound.

    Attributes
    ----------
    name : str
        Identifier, as in tables.
    width : int
        Dimensions of the embedding on which it is conditioned.
    sample_rate : int
        Of what it gives, in Hz.
    record : mapping
        What determines its output beyond the name; ready for JSON.
    """

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def width(self) -> int: ...  # noqa: D102
    @property
    def sample_rate(self) -> int: ...  # noqa: D102
    @property
    def record(self) -> Mapping[str, Any]: ...  # noqa: D102

    def generate(self, embedding: NDArray[np.float64], seed: int, duration_s: float) -> NDArray[np.float32]:
        """Generate one sound.

        Parameters
        ----------
        embedding : ndarray, shape (width,)
            What to condition on.
        seed : int
            Of all that is drawn.
        duration_s : float
            Length of the sound in s.

        Returns
        -------
        ndarray, shape (n_samples,)
            Mono, float32, finite; may exceed full scale.
        """
        ...


def load_generator(name: str, **options: Any) -> Generator:
    """Load a generator by its registered name.

    Parameters
    ----------
    name : str
        Such as ``"musicldm:/PATH/TO/FOLDER"``: a registered name and where its weights are.
    **options
        What its loader takes, for instance ``n_steps``.

    Returns
    -------
    Generator
        Ready to generate.

    Raises
    ------
    ReconstructionError
        If there is no such generator, or its weights cannot be used.
    """
    base, _, variant = name.partition(":")
    generator: Generator = GENERATORS.get(base)(variant, **options)
    return generator


def optional(package: str) -> Any:
    """Import a package of the extra ``generate``.

    Parameters
    ----------
    package : str
        Its name.

    Returns
    -------
    module
        The package.

    Raises
    ------
    MissingExtraError
        If it is not installed.
    """
    try:
        return import_module(package)
    except ImportError as why:
        raise MissingExtraError(package, "generate") from why


def generate_set(
    generator: Generator,
    embeddings: Responses,
    folder: Path | str,
    *,
    n_samples: int = 1,
    duration_s: float = 15.0,
    seed: int = 0,
    progress: bool = False,
) -> StimulusSet:
    """Generate music for each embedding and write it as a stimulus set.

    What is drawn belongs to the id of the stimulus and the number of the sample: other stimuli do not change it. Sounds
    that are there already, of the same generator, embedding and seed, are not generated again, so that a run that was
    cut off goes on where it stopped.

    Parameters
    ----------
    generator : Generator
        What generates.
    embeddings : Responses, dims (stimulus, unit)
        As many units as the generator is wide. ``category`` along stimulus is kept.
    folder : path-like
        Where wav files, ``stimuli.csv`` and ``stimulus_set.toml`` go.
    n_samples : int
        Sounds for each embedding.
    duration_s : float
        Length of the sounds in s.
    seed : int
        Of all that is drawn.
    progress : bool
        Show a progress bar.

    Returns
    -------
    StimulusSet
        Ids are ``CLIP~00`` and on; columns ``of_clip``, ``sample`` and ``gain_db`` (0, or how much a sound was brought
        down so that it fits into full scale).

    Raises
    ------
    ReconstructionError
        If the embeddings have another width than the generator, `n_samples` is below 1, or a sound is not finite or
        silent.
    """
    width = embeddings.sizes["unit"]
    if embeddings.dims != ("stimulus", "unit") or width != generator.width:
        raise ReconstructionError(
            f"{generator.name} is conditioned on embeddings of width {generator.width}, found {embeddings.dims} of "
            f"{width} units; decode the embedding that it was trained with"
        )
    if n_samples < 1 or not duration_s > 0:
        raise ReconstructionError(f"n_samples is {n_samples} and duration_s {duration_s:g}; both must be positive")
    from tqdm.auto import tqdm

    folder = Path(folder)
    tasks = [(str(clip), sample) for clip in embeddings["stimulus"].values for sample in range(n_samples)]
    rows = []
    for clip, sample in tqdm(tasks, desc=generator.name, unit="sound", disable=not progress):
        embedding = np.asarray(embeddings.sel(stimulus=clip).values, dtype=np.float64)
        rows.append(_sound(generator, embedding, folder, clip, sample, duration_s, seed))
    table = pd.DataFrame(rows)
    if "category" in embeddings.coords:
        category = dict(zip(embeddings["stimulus"].values.astype(str), embeddings["category"].values, strict=True))
        table["category"] = table["of_clip"].map(category)
    manifest = Manifest(
        name=f"generated by {generator.name}",
        version=_digest(generator.record)[:12],
        citation=f"generated by {generator.name}; cite its authors and brainalign",
        licence="that of the generator's weights",
        sample_rate=generator.sample_rate,
    )
    write_set_files(folder, manifest, table)
    return read_stimulus_set(folder)


def _sound(
    generator: Generator,
    embedding: NDArray[np.float64],
    folder: Path,
    clip: str,
    sample: int,
    duration_s: float,
    seed: int,
) -> dict[str, Any]:
    """Generate one sound unless it is there, and return its row of the table."""
    key = {
        "generator": generator.name,
        "record": dict(generator.record),
        "embedding": hashlib.sha256(embedding.astype("<f8").tobytes()).hexdigest(),
        "duration_s": duration_s,
        "seed": seed,
    }
    row = {
        "stimulus_id": f"{clip}~{sample:02d}",
        "file": "",
        "category": "generated",
        "of_clip": clip,
        "sample": sample,
    }
    stem = _digest([clip, sample])[:16]
    wav, record = folder / f"{stem}.wav", folder / f"{stem}.json"
    row["file"] = wav.name
    if wav.is_file() and record.is_file():
        known = json.loads(record.read_text(encoding="utf-8"))
        if known["key"] == json.loads(json.dumps(key)):
            return {**row, "gain_db": known["gain_db"]}
    own_seed = int.from_bytes(hashlib.sha256(f"{seed}\n{clip}\n{sample}".encode()).digest()[:7], "big")
    waveform = generator.generate(embedding, own_seed, duration_s)
    peak = float(np.abs(waveform).max(initial=0.0))
    if not np.isfinite(peak) or peak == 0:
        raise ReconstructionError(
            f"{generator.name} gave {'silence' if peak == 0 else 'infinite samples'} for {clip!r}"
        )
    gain = min(1.0, PEAK / peak)
    record.unlink(missing_ok=True)
    with write_then_rename(wav) as temporary:
        write_audio(temporary, (gain * waveform).astype(np.float32), generator.sample_rate)
    gain_db = float(20 * np.log10(gain))
    with write_then_rename(record) as temporary:
        temporary.write_text(json.dumps({"key": key, "gain_db": gain_db}), encoding="utf-8")
    return {**row, "gain_db": gain_db}


def _digest(content: Mapping[str, Any] | Sequence[Any]) -> str:
    plain = dict(content) if isinstance(content, Mapping) else list(content)
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()
