"""Text embeddings of captions: what people wrote about each clip, by CLAP or by counts of words.

The table of music-caption-brain2music (Nakai and Nishimoto; Denk et al. 2023, Brain2Music, arXiv:2307.11078, section 3)
has the columns ``ID`` (the clip, with ``_15s`` at its end) and ``DescEN``; a lab's own has ``stimulus_id`` and
``caption``. A clip may have several rows.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from brainalign._files import sha256
from brainalign.errors import ModelError, StimulusError, did_you_mean, name_some
from brainalign.models._names import split_options
from brainalign.models.base import ShownModel
from brainalign.models.descriptions import table_responses
from brainalign.responses import Responses
from brainalign.stimuli.sets import read_text_table

if TYPE_CHECKING:
    from brainalign.stimuli import StimulusSet

#: The columns of a caption table, and what stands at the end of an id.
LAYOUTS = (("ID", "DescEN", "_15s"), ("stimulus_id", "caption", ""))
#: Slips in the published table.
KNOWN_TYPOS = {"disco.000011": "disco.00011"}
#: Text models that count words, and the class of scikit-learn that does so.
COUNTS = {"bag-of-words": "CountVectorizer", "tfidf": "TfidfVectorizer"}
CLAP = "hf:"


@dataclass(frozen=True)
class CaptionModel(ShownModel):
    """Embeddings of the captions of each clip, averaged where it has several.

    Attributes
    ----------
    name : str
        As the model was asked for.
    captions : mapping of str to sequence of str
        By clip.
    text : str
        ``tfidf``, ``bag-of-words`` or ``hf:SOURCE``.
    record : mapping
        Digest of the table, and the text model.
    ignore_others : bool
        Pass over captions of clips that are not in the set.
    """

    name: str
    captions: Mapping[str, Sequence[str]] = field(repr=False)
    text: str
    record: Mapping[str, Any]
    ignore_others: bool = False
    sample_rate: None = None

    @property
    def layouts(self) -> Mapping[str, str]:
        """The one layer, ``text``."""
        return {"text": "BC"}

    def describe(self, stimuli: StimulusSet) -> Responses:
        """Return the embedding of the captions of every stimulus.

        Parameters
        ----------
        stimuli : StimulusSet
            Clips, or windows whose column ``clip`` says of which. Where there is a column ``split``, words are counted
            (and weighed) by the captions of ``train`` alone: words of test captions only are not known.

        Returns
        -------
        Responses
            Windows of a clip are alike.

        Raises
        ------
        ModelError
            If clips and captions do not match, or a caption has no known word.
        """
        table = stimuli.table
        clip_of = [str(c) for c in table["clip"]] if "clip" in table else stimuli.ids
        clips = list(dict.fromkeys(clip_of))
        self.check(clips, stimuli)
        texts = [text for clip in clips for text in self.captions[clip]]
        owner = np.repeat(np.arange(len(clips)), [len(self.captions[clip]) for clip in clips])
        labels: list[str] | None = None
        if self.text.startswith(CLAP):
            from brainalign.models.hf_text import clap_text_embeddings

            rows = clap_text_embeddings(self.text.removeprefix(CLAP), texts).numpy().astype(np.float64)
        else:
            known = set(clip_of)
            if "split" in table:
                known = {clip for clip, part in zip(clip_of, table["split"], strict=True) if part == "train"}
            if not known:
                raise ModelError(f"{self.name}: no clip of {stimuli.name} has split 'train', to learn words from")
            rows, labels = _count_words(self.text, texts, np.array([clips[k] in known for k in owner]))
        mean = np.zeros((len(clips), rows.shape[1]))
        np.add.at(mean, owner, rows)
        mean /= np.bincount(owner)[:, None]
        if unread := [clip for clip, row in zip(clips, mean, strict=True) if not row.any()]:
            raise ModelError(
                f"{self.name}: no word of the captions of {name_some(unread)} is in captions of training clips; "
                f"use a text model that knows more words, such as text=hf:FOLDER"
            )
        place = {clip: k for k, clip in enumerate(clips)}
        return table_responses(mean[[place[clip] for clip in clip_of]], self, stimuli, labels)

    def check(self, clips: Sequence[str], known: StimulusSet) -> None:
        """Raise if captions and clips do not match.

        Parameters
        ----------
        clips : sequence of str
            Each must have a caption.
        known : StimulusSet
            Captions of other clips than its own, or than those of the sets that it was made from, are errors.

        Raises
        ------
        ModelError
            Naming the clips.
        """
        others = sorted(set(self.captions) - {*clips, *_clips_of(known)})
        if lacking := [clip for clip in clips if clip not in self.captions]:
            hint = f"; {did_you_mean(lacking[0], others)}" if others else ""
            raise ModelError(
                f"{self.name}: no caption for {len(lacking)} of {len(clips)} clips of {known.name}: "
                f"{name_some(lacking)}{hint}"
            )
        if others and not self.ignore_others:
            n_clips = "1 clip" if len(others) == 1 else f"{len(others)} clips"
            raise ModelError(
                f"{self.name}: captions of {n_clips} that {known.name} does not have: {name_some(others)}; "
                f"mend the ids, or pass over them, '...&others=ignore'"
            )


def _clips_of(stimuli: StimulusSet) -> set[str]:
    """Return the clips of a set and of those that it was made from."""
    parent = getattr(stimuli, "parent", None)
    own = stimuli.table.get("clip", stimuli.ids)
    return {str(c) for c in own} | (set() if parent is None else _clips_of(parent))


def load_captions(variant: str = "", *, pretrained: bool = True) -> CaptionModel:
    """Load the model that stands for the captions of a table.

    Parameters
    ----------
    variant : str
        ``FILE.csv?text=TEXT``, the text model being ``hf:SOURCE`` (a CLAP model in the local cache, or its folder),
        ``tfidf`` or ``bag-of-words`` (counts of words, weighed by how rare they are or not, by scikit-learn with its
        own defaults). Add ``&others=ignore`` if the table holds captions of clips that are not played.
    pretrained : bool
        Makes no difference: a text model is used as it is.

    Returns
    -------
    CaptionModel
        Ready to describe; of a CLAP model, only that it is there has been checked.

    Raises
    ------
    ModelError
        If there is no such table or text model, or a caption is empty.
    """
    file, options = split_options("captions", variant, ("text", "others"))
    text, others = options.get("text", ""), options.get("others", "")
    if not file or (text not in COUNTS and not text.startswith(CLAP)):
        wrong = f"has no text model {text!r}" if file and text else f"names no {'text model' if file else 'table'}"
        raise ModelError(
            f"model 'captions:{variant}' {wrong}; expected 'captions:FILE.csv?text=TEXT', TEXT being "
            f"{', '.join(map(repr, sorted(COUNTS)))} or, for CLAP, 'hf:FOLDER'"
        )
    if others not in ("", "ignore"):
        raise ModelError(f"model 'captions:{variant}': others can be 'ignore' only, found {others!r}")
    path = Path(file).expanduser()
    captions = read_captions(path)
    record = {"captions": path.name, "captions_sha256": sha256(path), "text": text, **_text_record(text)}
    return CaptionModel(f"captions:{variant}", captions, text, record, ignore_others=bool(others))


def read_captions(path: Path) -> dict[str, list[str]]:
    """Read a table of captions.

    Parameters
    ----------
    path : Path
        CSV with the columns ``ID`` and ``DescEN``, or ``stimulus_id`` and ``caption``.

    Returns
    -------
    dict of str to list of str
        The captions of each clip. ``_15s`` at the end of a published id is taken off; its known typo is mended, with
        a warning.

    Raises
    ------
    ModelError
        If the table cannot be read, has other columns, or an id or caption is empty.
    """
    if not path.is_file():
        raise ModelError(
            f"no table of captions {path.name!r}: there is no {path.absolute()}; of a recipe it is looked for beside "
            f"the recipe, else where brainalign was started"
        )
    try:
        table = read_text_table(path)
    except StimulusError as why:
        raise ModelError(str(why)) from why
    layout = next((names for names in LAYOUTS if {*names[:2]} <= set(table.columns)), None)
    if layout is None:
        wanted = " or ".join(f"{a!r} and {b!r}" for a, b, _ in LAYOUTS)
        raise ModelError(f"{path} must have the columns {wanted}; it has {name_some(map(repr, table.columns), 20)}")
    id_column, text_column, suffix = layout
    captions: dict[str, list[str]] = {}
    for row, (name, text) in enumerate(zip(table[id_column], table[text_column], strict=True), start=1):
        clip = name.strip().removesuffix(suffix)
        if not clip or not text.strip():
            raise ModelError(f"{path}, row {row}: {id_column if not clip else f'the caption of {clip!r}'} is empty")
        if clip in KNOWN_TYPOS:
            warnings.warn(f"{path.name}: {clip!r} is read as {KNOWN_TYPOS[clip]!r}, a known slip", stacklevel=2)
            clip = KNOWN_TYPOS[clip]
        captions.setdefault(clip, []).append(text.strip())
    if not captions:
        raise ModelError(f"{path} has no caption")
    return captions


def _text_record(text: str) -> dict[str, Any]:
    """Say what determines the text model; that a CLAP model is there is seen now, and not after an hour of others."""
    if not text.startswith(CLAP):
        import sklearn

        return {"scikit-learn": sklearn.__version__}
    try:
        import transformers
    except ImportError as why:
        raise ModelError("text embeddings of CLAP need transformers: pip install 'brainalign[hf]'") from why
    from brainalign.models.huggingface import ModelFiles

    source = text.removeprefix(CLAP)
    config = ModelFiles(source, trusted=False).read("AutoConfig")
    if config.model_type != "clap":
        raise ModelError(f"'hf:{source}' is of the type {config.model_type!r}, which embeds no texts; expected 'clap'")
    folder = Path(source).expanduser()
    if folder.is_dir():
        weights: Any = {p.name: sha256(p) for p in sorted(folder.glob("*.safetensors"))}
    else:
        weights = getattr(config, "_commit_hash", None)
    return {"transformers": transformers.__version__, "text_weights": weights}


def _count_words(text_model: str, texts: list[str], known: NDArray[np.bool_]) -> tuple[NDArray[np.float64], list[str]]:
    """Return counts of words, those of known texts; and the words."""
    from sklearn.feature_extraction import text as counting

    vectorizer = getattr(counting, COUNTS[text_model])()
    try:
        vectorizer.fit([t for t, k in zip(texts, known, strict=True) if k])
    except ValueError as why:
        raise ModelError(f"the captions have no words of two letters or more: {why}") from why
    return vectorizer.transform(texts).toarray().astype(np.float64), vectorizer.get_feature_names_out().tolist()
