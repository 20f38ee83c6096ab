"""From decoded embeddings to music: retrieval, generation, and how near they come to what was heard."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from shutil import copytree
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from brainalign.errors import ReconstructionError, did_you_mean, name_some
from brainalign.measures.decoding_scores import average_clips
from brainalign.measures.result import Result, result_table
from brainalign.reconstruction.evaluation import Evaluation, decoded_rows, labelled
from brainalign.reconstruction.examples import Example
from brainalign.reconstruction.generator import Generator, generate_set
from brainalign.reconstruction.index import MusicIndex, build_index, describe_tracks, sounds_key
from brainalign.reconstruction.tags import as_clips, clip_tags
from brainalign.reconstruction.text_subspace import fit_text_subspace
from brainalign.responses import Responses, make_responses
from brainalign.stimuli.manipulations import ManipulatedSet
from brainalign.stimuli.sets import StimulusSet
from brainalign.stimuli.windows import windowed

if TYPE_CHECKING:
    from brainalign.models.base import AudioModel

Array = NDArray[np.float64]
Rows = list[dict[str, Any]]
MEASURE = "reconstruction"
#: Whose music is played in a report, one clip of each category.
SUBJECTS_HEARD = 2
#: What the same path gives for the embedding of the clip itself, and what another part of the clip gives.
ORACLE, OTHER_PART = "retrieved by the true embedding", "another part of the clip"
ITSELF = "the clip itself"
#: Cosine from which two sounds are taken for the same recording.
SAME = 0.999


@dataclass(frozen=True)
class Wanted:
    """What is asked for.

    Attributes
    ----------
    layer : str or None
        The embedding; the only layer of the model if None.
    library : StimulusSet or None
        Music to retrieve from.
    centre : bool
        Take the mean of the library from embeddings before cosines are computed; Denk et al. 2023 do not.
    generator : Generator or None
        What makes music from the decoded embedding.
    text : Responses or None
        Embeddings of the captions of the clips, into whose space decoded embeddings are brought before generation.
    tagger : AudioModel or None
        What names genres, instruments and moods.
    n_samples : int
        Sounds that are generated for each clip.
    duration_s : float or None
        Length of generated sounds in s; that of the clips if not given.
    stands_for : str or None
        Which embedding of Denk et al. 2023 the model takes the place of, for their numbers beside ours.
    n_bootstrap, n_permutations : int
        Resamples and permutations of clips.
    seed : int
        Of all that is drawn.
    """

    layer: str | None = None
    library: StimulusSet | None = None
    centre: bool = True
    generator: Generator | None = None
    text: Responses | None = None
    tagger: AudioModel | None = None
    n_samples: int = 1
    duration_s: float | None = None
    stands_for: str | None = None
    n_bootstrap: int = 1000
    n_permutations: int = 1000
    seed: int = 0


@dataclass(frozen=True)
class Reconstruction:
    """What was reconstructed.

    Attributes
    ----------
    result : Result
        Its rows; see :func:`reconstruct`.
    examples : list of Example
        Sounds to listen to.
    """

    result: Result
    examples: list[Example] = field(default_factory=list)


def reconstruct(
    decoded: Sequence[Result],
    model: AudioModel,
    responses: Responses,
    stimuli: StimulusSet,
    wanted: Wanted,
    *,
    folder: Path,
    cache: Path | None = None,
    progress: bool = False,
) -> Reconstruction:
    """Retrieve and generate music for decoded embeddings, and compare it with what was heard.

    The embedding of a clip is the mean over its windows. Retrieved is the track of the library whose embedding is
    nearest; generated is what the generator makes of the decoded embedding.

    Parameters
    ----------
    decoded : sequence of Result
        Of the measure ``decoding``, of one model, one for each brain.
    model : AudioModel
        Whose embedding was decoded.
    responses : Responses
        What it gave for `stimuli`.
    stimuli : StimulusSet
        Clips, or windows of clips (:func:`~brainalign.stimuli.windows.windowed`).
    wanted : Wanted
        What to do.
    folder : Path
        Where generated sounds go, and the index of the library where there is no cache.
    cache : Path, optional
        Of activations; the index of the library is kept there too.
    progress : bool
        Show progress bars.

    Returns
    -------
    Reconstruction
        The result has the columns ``kind`` (``decoded``, ``retrieved``, ``generated``, ``retrieved by the true
        embedding``, ``another part of the clip``), ``category``, ``tags`` and, where `stands_for` says so,
        ``published`` and ``published_sd``. Statistics are those of the measures ``decoding`` (the embedding of the
        reconstruction in the place of the decoded one) and ``tag-agreement``. Arrays ``retrieved`` and ``similarity``
        (brain, subject, clip); the brain ``""`` is the true embedding.

    Raises
    ------
    ReconstructionError
        If the layer is not known or is not one, brains were tested on different clips, the embedding has another width
        than the generator wants, or the library holds a clip that was tested.
    BrainalignError
        If sounds cannot be read or models cannot be used.
    """
    study = _Study(list(decoded), model, responses, stimuli, wanted, folder, cache, progress)
    rows = [row for d in decoded for row in study.decoded_rows(d)]
    examples, arrays = study.originals(), dict[str, xr.DataArray]()
    rows += study.other_part()
    if wanted.library is not None:
        own, arrays, heard = study.retrieve(study.index(wanted.library), wanted.library)
        rows, examples = rows + own, examples + heard
    if wanted.generator is not None:
        own, heard = study.generate(wanted.generator)
        rows, examples = rows + own, examples + heard
    about = {"measure": MEASURE, "model": model.name, "layer": study.layer}
    return Reconstruction(
        Result(
            MEASURE,
            result_table({**row, **about} for row in rows),
            arrays,
            study.settings(),
            _same_recordings(arrays) if arrays else [],
        ),
        examples,
    )


def _same_recordings(arrays: dict[str, xr.DataArray]) -> list[str]:
    """Warn of tracks that sound like a tested clip: retrieval would only have to find the clip itself."""
    own = arrays["similarity"].sel(brain="", subject=ITSELF)
    same = own > SAME
    if not same.any():
        return []
    tracks = arrays["retrieved"].sel(brain="", subject=ITSELF).values[same.values]
    return [
        f"the library holds tracks that sound like {int(same.sum())} of the tested clips ({name_some(tracks)}): "
        f"the same recordings under another name? leave them out"
    ]


@dataclass(frozen=True)
class _Study:
    """What the steps share; see :func:`reconstruct`."""

    decoded: list[Result]
    model: AudioModel
    responses: Responses
    stimuli: StimulusSet
    wanted: Wanted
    folder: Path
    cache: Path | None
    progress: bool

    @cached_property
    def layer(self) -> str:
        """The layer whose embedding is reconstructed."""
        layers = list(dict.fromkeys(self.responses["layer"].values.astype(str).tolist()))
        if self.wanted.layer is None and len(layers) > 1:
            raise ReconstructionError(f"which embedding of {self.model.name}? name a layer: {name_some(layers, 10)}")
        layer = self.wanted.layer or layers[0]
        if layer not in layers:
            raise ReconstructionError(f"{self.model.name} was not decoded in {layer!r}; {did_you_mean(layer, layers)}")
        return layer

    @cached_property
    def embeddings(self) -> Responses:
        """The embedding of every stimulus."""
        return self.responses.isel(unit=np.flatnonzero(self.responses["layer"].values == self.layer))

    @cached_property
    def predicted(self) -> dict[str, dict[str, Array]]:
        """Decoded embeddings of the tested clips, by brain and subject; clips are sorted."""
        found = {}
        for result in self.decoded:
            array = result.arrays["predictions"]
            array = array.isel(unit=np.flatnonzero(array["layer"].values == self.layer))
            own = {
                str(s): average_clips(array.sel(subject=s).values, array["clip"].values)
                for s in array["subject"].values
            }
            names = next(iter(own.values()))[0]
            if names != self.clips:
                raise ReconstructionError(
                    "the brain data were tested on different clips; give each a recipe of its own"
                )
            found[str(result.table["brain"].iloc[0])] = {s: means for s, (_, means) in own.items()}
        return found

    @cached_property
    def clips(self) -> list[str]:
        """The tested clips, sorted."""
        return sorted(set(self.decoded[0].arrays["predictions"]["clip"].values.astype(str).tolist()))

    @cached_property
    def sounds(self) -> StimulusSet:
        """The whole clips."""
        stimuli = self.stimuli
        if isinstance(stimuli, ManipulatedSet) and stimuli.manipulation == "windows" and stimuli.parent is not None:
            return stimuli.parent
        return stimuli

    @cached_property
    def windows(self) -> dict[str, float]:
        """How clips were cut: window, step and clip in s; one window where they were not."""
        if isinstance(self.stimuli, ManipulatedSet) and self.stimuli.manipulation == "windows":
            return dict(self.stimuli.parameters)
        return {"window_s": self.clip_s, "step_s": self.clip_s, "clip_s": self.clip_s}

    @property
    def made_s(self) -> float:
        """Length of generated sounds, in s."""
        return self.wanted.duration_s or self.clip_s

    @cached_property
    def clip_s(self) -> float:
        """How much of a clip was heard, in s: as long as windows were cut from it, or the shortest clip."""
        if isinstance(self.stimuli, ManipulatedSet) and self.stimuli.manipulation == "windows":
            return float(self.stimuli.parameters["clip_s"])
        lengths = (len(waveform) / rate for waveform, rate in map(self.sounds.waveform, self.clips))
        return min(lengths)

    @cached_property
    def evaluation(self) -> Evaluation:
        """What reconstructions are compared with."""
        w = self.wanted
        column = "clip" if "clip" in self.embeddings.coords else "stimulus"
        names, truth = average_clips(self.embeddings.values, self.embeddings[column].values)
        rows = [names.index(c) for c in self.clips]
        category = self.sounds.table["category"].astype(str)
        tags = None
        if w.tagger is not None:
            tags = clip_tags(w.tagger, self.sounds, self.clips, duration_s=self.clip_s, progress=self.progress)
        return Evaluation(
            self.clips,
            truth[rows],
            tags,
            np.array([category[c] for c in self.clips]),
            w.n_permutations,
            w.n_bootstrap,
            w.seed,
        )

    def decoded_rows(self, result: Result) -> Rows:
        """Return the rows of the decoded embeddings of one brain."""
        own = result.table[result.table["layer"] == self.layer]
        return labelled(decoded_rows(own, self.wanted.stands_for), "decoded", str(own["brain"].iloc[0]))

    def other_part(self) -> Rows:
        """Compare the first two thirds of each clip with the last: what agreement could be at most."""
        w = self.wanted
        if w.tagger is None:
            return []
        parts = [
            clip_tags(
                w.tagger,
                self.sounds,
                self.clips,
                duration_s=self.clip_s * 2 / 3,
                start_s=start,
                progress=self.progress,
            )
            for start in (0.0, self.clip_s / 3)
        ]
        first = Evaluation(**{**vars(self.evaluation), "tags": parts[0]})
        return labelled(first.agreement({ITSELF: parts[1]}), OTHER_PART)

    def originals(self) -> list[Example]:
        """Return the clips to listen to: the first of each category."""
        return [Example(c, self._category(c), "original", c, *self._beginning(self.sounds, c)) for c in self._played()]

    def index(self, library: StimulusSet) -> MusicIndex:
        """Build or open the index of the library."""
        if same := sorted(set(library.ids) & set(self.clips)):
            raise ReconstructionError(f"the library {library.name} holds clips that are tested: {name_some(same)}")
        key = [
            library.name,
            library.manifest.version,
            library.ids,
            self.model.name,
            dict(self.model.record),
            self.layer,
        ]
        key += [self.windows, self._pooling(), sounds_key(library)]
        name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
        return build_index(
            library,
            self.model,
            (self.cache or self.folder) / "indices" / name,
            layer=self.layer,
            pooling=self._pooling(),
            cache=self.cache,
            progress=self.progress,
            **self.windows,
        )

    def retrieve(self, index: MusicIndex, library: StimulusSet) -> tuple[Rows, dict[str, xr.DataArray], list[Example]]:
        """Find the nearest track for every decoded embedding, and for every true one."""
        centre = index.embeddings.mean(axis=0) if self.wanted.centre else None
        truth = {"": {ITSELF: self.evaluation.truth}}
        found = {
            brain: {s: index.search(rows, centre=centre) for s, rows in by_subject.items()}
            for brain, by_subject in {**truth, **self.predicted}.items()
        }
        tracks = {brain: {s: ids[:, 0].tolist() for s, (ids, _) in own.items()} for brain, own in found.items()}
        tags = None
        if self.wanted.tagger is not None:
            every = [t for own in tracks.values() for ids in own.values() for t in ids]
            tags = clip_tags(self.wanted.tagger, library, every, duration_s=self.clip_s, progress=self.progress)
        place = {str(t): i for i, t in enumerate(index.tracks.index)}
        rows: Rows = []
        examples = []
        for brain, own in tracks.items():
            kind = "retrieved" if brain else ORACLE
            embedded = {s: np.asarray(index.embeddings[[place[t] for t in ids]], np.float64) for s, ids in own.items()}
            about = self.evaluation.embeddings(embedded)
            if tags is not None:
                about += self.evaluation.agreement({s: as_clips(tags, ids, self.clips) for s, ids in own.items()})
            rows += labelled(about, kind, brain)
            for s in list(own)[:SUBJECTS_HEARD]:
                titles, cosine = describe_tracks(index, own[s]), found[brain][s][1][:, 0]
                examples += [
                    Example(
                        c, self._category(c), "retrieved" if brain else "oracle", titles[i],
                        *self._beginning(library, own[s][i]), brain, s if brain else "", float(cosine[i]),
                    )
                    for i, c in enumerate(self.clips) if c in self._played()
                ]  # fmt: skip
        subjects = list(dict.fromkeys(s for own in tracks.values() for s in own))
        none = [np.nan] * len(self.clips)
        coords = {"brain": list(tracks), "subject": subjects, "clip": self.clips}
        arrays = {
            "retrieved": [[own.get(s, [""] * len(self.clips)) for s in subjects] for own in tracks.values()],
            "similarity": [[own[s][1][:, 0] if s in own else none for s in subjects] for own in found.values()],
        }
        named = {name: xr.DataArray(np.array(a), coords, ["brain", "subject", "clip"]) for name, a in arrays.items()}
        return rows, named, examples

    def generate(self, generator: Generator) -> tuple[Rows, list[Example]]:
        """Generate music from every decoded embedding, listen to it by the same model, and compare."""
        w, rows, examples = self.wanted, list[dict[str, Any]](), list[Example]()
        to_text = None if w.text is None else fit_text_subspace(*self._captioned(w.text), seed=w.seed)
        for brain, by_subject in self.predicted.items():
            embedded, tags = {}, {}
            for s, predicted in by_subject.items():
                given = make_responses(predicted, self.clips, stimulus_info={"category": self.evaluation.categories})
                made = generate_set(
                    generator,
                    given if to_text is None else to_text(given),
                    self._place(brain, s),
                    n_samples=w.n_samples,
                    duration_s=self.made_s,
                    seed=w.seed,
                    progress=self.progress,
                )
                if self.cache is not None:
                    copytree(made.folder or "", self.folder / "generated" / self._place(brain, s).name)
                embedded[s] = self._embed(made)
                if w.tagger is not None:
                    scores = clip_tags(w.tagger, made, made.ids, duration_s=self.made_s, progress=self.progress)
                    tags[s] = as_clips(scores, made.ids, self.clips, w.n_samples)
                if s in list(by_subject)[:SUBJECTS_HEARD]:
                    examples += [
                        Example(
                            c, self._category(c), "generated", f"by {generator.name}",
                            *self._beginning(made, f"{c}~00"), brain, s,
                        )
                        for c in self._played()
                    ]  # fmt: skip
            rows += labelled(self.evaluation.embeddings(embedded), "generated", brain)
            rows += labelled(self.evaluation.agreement(tags), "generated", brain) if tags else []
        return rows, examples

    def _place(self, brain: str, subject: str) -> Path:
        """Return where the sounds of a subject are made: in the cache, where a run that was killed finds them again."""
        parts = [self.stimuli.name, self.model.name, self.layer, brain, subject, *self._wanted_sounds()]
        name = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
        return (self.cache or self.folder) / "generated" / name

    def _wanted_sounds(self) -> list[Any]:
        """Return what determines a generated sound beside the embedding."""
        w = self.wanted
        record = {} if w.generator is None else {"name": w.generator.name, **w.generator.record}
        return [record, w.n_samples, self.made_s, w.text is not None, w.seed]

    def _embed(self, made: StimulusSet) -> Array:
        """Return the mean embedding of what was generated for each clip, cut as clips are."""
        from brainalign.models.extraction import extract

        cut = {**self.windows, "clip_s": min(self.made_s, self.clip_s)}
        heard = extract(self.model, windowed(made, **cut), layers=[self.layer], pooling=self._pooling())
        return average_clips(heard.values, heard["of_clip"].values)[1]

    def _captioned(self, text: Responses) -> tuple[Responses, Responses]:
        """Return embeddings of the clips that were not tested, and of their captions."""
        sides = []
        for side in (self.embeddings, text):
            column = "clip" if "clip" in side.coords else "stimulus"
            names, means = average_clips(side.values, side[column].values)
            kept = [i for i, name in enumerate(names) if name not in self.clips]
            sides.append(make_responses(means[kept], [names[i] for i in kept]))
        return sides[0], sides[1]

    def _played(self) -> list[str]:
        """Return the clips that are played: the first of each category."""
        return list({self._category(c): c for c in reversed(self.clips)}.values())[::-1]

    def _category(self, clip: str) -> str:
        return str(self.evaluation.categories[self.clips.index(clip)])

    def _beginning(self, sounds: StimulusSet, stimulus_id: str) -> tuple[NDArray[np.float32], int]:
        waveform, rate = sounds.waveform(stimulus_id)
        return waveform[: round(max(self.clip_s, self.made_s) * rate)], rate

    def _pooling(self) -> str:
        return str(self.responses.attrs.get("pooling", "mean"))

    def settings(self) -> dict[str, Any]:
        """Say how it was done."""
        w = self.wanted
        return {
            "layer": self.layer,
            "n_clips": len(self.clips),
            "heard_s": self.clip_s,
            "windows": ", ".join(f"{k} {v:g}" for k, v in self.windows.items()),
            "library": ""
            if w.library is None
            else f"{w.library.name} {w.library.manifest.version}: {len(w.library)} tracks",
            "centre": w.centre,
            "nearest": "by cosine" + (", the mean of the library taken away" if w.centre else ""),
            "generator": "" if w.generator is None else w.generator.name,
            "text_subspace": w.text is not None,
            "tagger": "" if w.tagger is None else w.tagger.name,
            "stands_for": w.stands_for or "",
            "n_permutations": w.n_permutations,
            "n_bootstrap": w.n_bootstrap,
            "seed": w.seed,
            "test": "one-sided permutation of the clips",
            "interval": "bootstrap over subjects and clips (tags: over clips)",
            "stimuli": "all are test clips; neither decoding nor the text map was fitted to them",
        }
