"""Sounds that a page brings along: compressed snippets, the grid of all of them, and reconstructions side by side.

Snippets are MP3, which every browser plays, in mono at no more than 24 kHz and with a variable rate of some 40 kbit/s:
to hear what a sound is, not to measure it. The same sound gives the same bytes.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files

import numpy as np
from markupsafe import Markup

from brainalign.errors import StimulusError, name_some
from brainalign.reconstruction.examples import KINDS, Example
from brainalign.report.colours import category_colours
from brainalign.report.sampling import evenly, in_turn
from brainalign.stimuli.audio import Waveform, resample
from brainalign.stimuli.sets import StimulusSet

#: Most characters of audio in a page: of the stimuli, and of reconstructions.
MAX_STIMULI, MAX_EXAMPLES = 6_000_000, 4_000_000
#: What is longer is cut, in s.
MAX_SECONDS = 10.0
#: Most rows of the list of reconstructions that are named and not played.
MAX_NAMED = 500
#: Rates in Hz at which MP3 is written; a sound is brought to the next higher one, and one above them to the last.
RATES = (8000, 11025, 12000, 16000, 22050, 24000)


@dataclass(frozen=True)
class Snippet:
    """A sound as a page carries it.

    Attributes
    ----------
    uri : str
        The sound as a data URI.
    cut : bool
        Whether it goes on after :data:`MAX_SECONDS`.
    lowered : bool
        Whether its peak was above full scale, so that it had to be lowered.
    """

    uri: str
    cut: bool
    lowered: bool


@dataclass(frozen=True)
class Sound:
    """A sound of the page: the id by which figures find it, what is written on its button, and its data URI."""

    stimulus: str
    label: str
    uri: str


@dataclass(frozen=True)
class Group:
    """The sounds of a category that can be heard, the colour of the category, and how many sounds it has in all."""

    category: str
    colour: str
    n_all: int
    sounds: list[Sound]


@dataclass(frozen=True)
class Listening:
    """What the template shows of the stimuli: groups, and sentences about what cannot be heard as it was played."""

    groups: list[Group]
    notes: list[str]


@dataclass(frozen=True)
class Cell:
    """A cell of the table of reconstructions: its sounds with their similarities, and the value that sorts."""

    sounds: list[tuple[Sound, str]]
    key: str


@dataclass(frozen=True)
class Reconstructions:
    """What the template shows of reconstructions: columns, rows (clip, category, cells), those not played, notes."""

    columns: list[str]
    rows: list[tuple[str, str, list[Cell]]]
    named: list[tuple[str, ...]]
    notes: list[str]


def snippet(waveform: Waveform, sample_rate: int) -> Snippet:
    """Compress a sound for a page.

    Parameters
    ----------
    waveform : ndarray, shape (n_samples,)
        Mono, units of full scale.
    sample_rate : int
        Its rate in Hz.

    Returns
    -------
    Snippet
        At the level of `waveform`, unless it would clip.
    """
    import soundfile

    n_most = round(MAX_SECONDS * sample_rate)
    rate = next((r for r in RATES if r >= sample_rate), RATES[-1])
    heard = resample(np.asarray(waveform[:n_most], np.float32), sample_rate, rate)
    peak = float(np.max(np.abs(heard), initial=0))
    stream = io.BytesIO()
    if peak > 1:
        # Decoded samples differ a little from these; what fills full scale exactly would clip there.
        heard = heard * np.float32(0.95 / peak)
    soundfile.write(stream, heard, rate, format="MP3", subtype="MPEG_LAYER_III",
                    bitrate_mode="VARIABLE", compression_level=0.5)  # fmt: skip
    uri = "data:audio/mpeg;base64," + base64.b64encode(stream.getvalue()).decode("ascii")
    return Snippet(uri, len(waveform) > n_most, peak > 1)


def listen_section(stimuli: StimulusSet, max_size: int = MAX_STIMULI) -> Listening:
    """Gather the sounds of a set as a page plays them.

    Parameters
    ----------
    stimuli : StimulusSet
        The sounds, as the models heard them.
    max_size : int
        Most characters of audio; a larger set is sampled evenly over its categories and within each of them.

    Returns
    -------
    Listening
        Groups in the order of :func:`brainalign.report.colours.category_order`; within them the order of the set.
    """
    category = stimuli.table["category"].astype(str)
    colours = category_colours(category)
    members = {kind: [str(i) for i in category.index[category == kind]] for kind in colours}
    unread: list[str] = []

    def read(stimulus: str) -> Snippet | None:
        try:
            return snippet(*stimuli.waveform(stimulus))
        except StimulusError as why:
            unread.append(str(why))
            return None

    taken = _within(evenly(list(members.values())), read, max_size)
    notes = _notes(taken)
    if len(taken) + len(unread) < len(stimuli):
        notes.insert(0, f"To keep the page small, {len(taken)} of the {len(stimuli)} sounds are here, sampled evenly "
                        "over the categories.")  # fmt: skip
    if unread:
        notes.append(f"{len(unread)} sounds cannot be played: {name_some(unread, 3)}.")
    groups = [
        Group(kind, colour, len(members[kind]), [Sound(i, i, taken[i].uri) for i in members[kind] if i in taken])
        for kind, colour in colours.items()
    ]
    return Listening(groups, notes)


def reconstruction_section(examples: Sequence[Example], max_size: int = MAX_EXAMPLES) -> Reconstructions:
    """Put originals and reconstructions side by side.

    Clips are taken in the order in which they come, one of each category and then the next, and not by how well they
    were reconstructed; of each brain, what was decoded from its first subject.

    Parameters
    ----------
    examples : sequence of Example
        In any number; those of one clip share its id.
    max_size : int
        Most characters of audio. Clips beyond it are named with their similarities, and not played.

    Returns
    -------
    Reconstructions
        One row per clip: the original, and for each brain what was retrieved and what was generated; columns name
        subject and brain. The notes say which clips and subjects these are.
    """
    first: dict[str, str] = {}
    for example in examples:
        first.setdefault(example.brain, example.subject)
    shown = [e for e in examples if e.subject == first[e.brain]]
    clips = {e.clip: e.category for e in examples}
    by_category: dict[str, list[str]] = {}
    for clip, category in clips.items():
        by_category.setdefault(category, []).append(clip)
    places = sorted(dict.fromkeys((e.kind, e.brain) for e in shown), key=lambda p: _place(p, list(first)))

    taken: dict[Example, Snippet] = {}
    for clip in in_turn(list(by_category.values())):
        of_clip = {e: snippet(e.waveform, e.sample_rate) for e in shown if e.clip == clip}
        if taken and _size([*taken.values(), *of_clip.values()]) > max_size:
            break
        taken |= of_clip

    played = [clip for clip in clips if any(e.clip == clip for e in taken)]
    rows = [
        (clip, clips[clip], [_cell([e for e in taken if e.clip == clip and (e.kind, e.brain) == p], taken)
                             for p in places])
        for clip in played
    ]  # fmt: skip
    rest = [e for e in examples if e not in taken]
    notes = [
        _which(played, clips, any(first.values())),
        *_notes({f"{e.title} ({e.kind}, {e.clip})": s for e, s in taken.items()}),
    ]
    others = list(dict.fromkeys(e.subject for e in rest if e.subject != first[e.brain]))
    if others:
        notes.append(f"What came of {name_some(others)} is named below the table, and not played.")
    if len(rest) > MAX_NAMED:
        notes.append(f"The list names the first {MAX_NAMED} of {len(rest)} further reconstructions.")
    named: list[tuple[str, ...]] = [
        (e.clip, e.category, e.kind, e.brain, e.subject, e.title, _similarity(e)) for e in rest[:MAX_NAMED]
    ]
    columns = [", ".join(filter(None, (kind, first[brain], brain))) for kind, brain in places]
    return Reconstructions(columns, rows, named, notes)


def listening_script(audio: bool = True) -> Markup:
    """Return the script by which a page names its sounds under the pointer, and plays them.

    Parameters
    ----------
    audio : bool
        Whether there are sounds to play.

    Returns
    -------
    Markup
        The script.
    """
    names = [*(["listening.js"] if audio else []), "sound_figures.js"]
    return Markup("\n".join(files("brainalign.report").joinpath(n).read_text(encoding="utf-8") for n in names))


def _place(place: tuple[str, str], brains: list[str]) -> tuple[bool, int, int]:
    """Sort a column: the original, brain by brain what came of it, and the oracle last."""
    kind, brain = place
    return kind == "oracle", brains.index(brain) if kind not in ("original", "oracle") else -1, KINDS.index(kind)


def _which(played: Sequence[str], clips: dict[str, str], subjects: bool) -> str:
    """Say which clips can be heard, and of whom."""
    one_each = len(played) == len(set(clips.values()))
    which = "one clip of each category" if one_each else f"{len(played)} clips"
    further = len(clips) - len(played)
    rest = f" {further} further clips are named below the table." if further else ""
    who = " Of each brain the first subject is heard, whom the header names." if subjects else ""
    return f"Examples: {which}; those that come first, not those that were reconstructed best.{rest}{who}"


def _cell(examples: Sequence[Example], taken: dict[Example, Snippet]) -> Cell:
    sounds = [(Sound("", e.title, taken[e].uri), _similarity(e)) for e in examples]
    return Cell(sounds, str(next((e.similarity for e in examples if e.similarity is not None), "")))


def _similarity(example: Example) -> str:
    return "" if example.similarity is None else f"{example.similarity:.2f}".replace("-", "−")


def _within(ids: Iterable[str], read: Callable[[str], Snippet | None], max_size: int) -> dict[str, Snippet]:
    """Read sounds until they are as large as the page may carry."""
    taken: dict[str, Snippet] = {}
    size = 0
    for i in ids:
        if (one := read(i)) is None:
            continue
        size += len(one.uri)
        if size > max_size:
            break
        taken[i] = one
    return taken


def _size(snippets: Iterable[Snippet]) -> int:
    return sum(len(s.uri) for s in snippets)


def _notes(taken: dict[str, Snippet]) -> list[str]:
    cut = sum(s.cut for s in taken.values())
    lowered = [i for i, s in taken.items() if s.lowered]
    notes = []
    if cut:
        notes.append(f"Of {cut} sounds that are longer, the first {MAX_SECONDS:g} s are here.")
    if lowered:
        notes.append(f"{len(lowered)} sounds exceed full scale and are lowered, so that they do not clip: "
                     f"{name_some(lowered)}.")  # fmt: skip
    return notes
