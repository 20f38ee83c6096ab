"""The demo set: 66 sounds that the package makes itself, the same on every machine.

Seven categories, each with variety inside and with neighbours in the acoustics: tones and animal
calls have a pitch as melodies have, machines have a beat as drums have, speech has the voice of
song. Sounds are made in double precision from seeds that derive from their ids, and rounded to
16-bit steps.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from brainalign._files import write_then_rename
from brainalign.errors import StimulusError
from brainalign.stimuli import _parts as parts
from brainalign.stimuli import _scenes as scenes
from brainalign.stimuli._parts import RATE, Draws, Signal
from brainalign.stimuli._voices import sing, speak
from brainalign.stimuli.audio import Waveform, rms, write_audio
from brainalign.stimuli.sets import Manifest, StimulusSet

SEED = 2015
# RMS of the files. A crest factor of 20 still fits below half of full scale, up to which 16-bit
# files give back the samples exactly.
LEVEL = 0.025
# Heard in a small room; animals and textures are heard outdoors, tones come straight from their source.
INDOORS = ("Music", "Song", "Speech", "Mechanical")

MANIFEST = Manifest(
    name="demo",
    version="1",
    citation="brainalign demo set (synthesised)",
    licence="CC0-1.0",
    sample_rate=RATE,
    target_rms=0.01,
)


class Recipe(NamedTuple):
    """How one sound is made, and what is said of it."""

    name: str
    description: str
    make: Callable[[Draws], Signal]
    f0_hz: float = np.nan


def _played(instrument: parts.Instrument, beat_s: float, score: str, strum_s: float = 0.0) -> Callable[[Draws], Signal]:
    return lambda d: parts.play(instrument, score, beat_s, d, strum_s)


def _sung(beat_s: float, score: str, **voice: Any) -> Callable[[Draws], Signal]:
    return lambda d: sing(d, score, beat_s, **voice)


def _spoken(f0: float, **voice: Any) -> Callable[[Draws], Signal]:
    return lambda d: speak(d, f0, **voice)


def _beat(step_s: float, **pattern: str) -> Callable[[Draws], Signal]:
    """Play drums, a line of text each: every sign other than a dot is a stroke."""

    def strokes(d: Draws) -> Signal:
        hit = {
            "kick": lambda: parts.kick(d),
            "snare": lambda: parts.snare(d),
            "hat": lambda: parts.hat(d),
            "low": lambda: parts.hand_drum(110, d),
            "high": lambda: parts.hand_drum(220, d),
        }
        return parts.mix(
            [
                (0.02 + i * step_s, d.one(0.8, 1) * hit[drum]())
                for drum, line in pattern.items()
                for i, sign in enumerate(line)
                if sign != "."
            ]
        )

    return strokes


def _together(*players: tuple[float, Callable[[Draws], Signal]]) -> Callable[[Draws], Signal]:
    """Play at the same time, each with a gain."""
    return lambda d: np.sum([gain * player(d) for gain, player in players], axis=0)


_POP_BAND = _together(
    (1, _played(parts.saw, 0.48, "36 36:0.5 43:0.5 41 41:0.5 43:0.5")),
    (0.7, _played(parts.piano, 0.48, "60+64+67:2 60+65+69:2")),
    (0.5, _beat(0.24, kick="x...x...", snare="..x...x.", hat="xxxxxxxx")),
)
_STRING_QUARTET = _together(
    *[
        (1, _played(parts.violin, 0.39, line))
        for line in ("45:2 50 52:2", "57:2 57 56:2", "64:2 62 64:2", "72:2 74 71:2")
    ]
)
_SYNTH_ARPEGGIO = _together(
    (1, _played(parts.saw, 0.125, "57 64 69 72 69 64 53 60 65 69 65 60 55 62 67 71")),
    (0.8, _beat(0.125, kick="x...x...x...x...")),
)
_CHOIR = _together(
    *[
        (1, _sung(0.39, line, vowels=("a", "o"), size=size * twin, dip=0.2))
        for line, size in (("43:3 48:2", 0.95), ("55:5", 1.0), ("59:3 60:2", 1.15), ("67:3 64:2", 1.2))
        for twin in (0.98, 1.02)
    ]
)
_SONG_WITH_GUITAR = _together(
    (1, _sung(0.39, "64 67 69 67:0.5 64:0.5 62", vowels=("a", "e", "o", "i"), dip=0.7)),
    (0.35, _played(parts.pluck, 0.39, "48+55+60+64:2 45+52+57+60:2 43+50+55+59", 0.02)),
)
_DIALOGUE = _together(
    (1, _spoken(210, size=1.17, fall=-0.3, span=(0.04, 0.95))),
    (1, _spoken(110, rate_hz=4.5, fall=0.3, span=(1.1, 1.95))),
)


def _on_telephone(d: Draws) -> Signal:
    return parts.band(speak(d, 120, fall=0.2), 350, 3300)


def _humming(d: Draws) -> Signal:
    hummed = sing(d, "50 53 57:1.5 55:0.5 53:2", 0.32, vowels=("u",), size=0.95)
    return parts.band(hummed, None, 700)


# fmt: off
_RECIPES = {
    "Music": [
        Recipe("plucked_melody", "a melody on a guitar", _played(parts.pluck, 0.28, "64 67 69 67:0.5 64:0.5 62 60:2")),
        Recipe("organ_chords", "a cadence on an organ",
               _played(parts.organ, 0.48, "48+60+64+67 53+60+65+69 55+59+62+67 48+60+64+67")),
        Recipe("violin_melody", "a melody on a violin", _played(parts.violin, 0.275, "69:2 72 71 69 76:2")),
        Recipe("drum_kit", "a rock beat on a drum kit",
               _beat(0.122, kick="x..x..x.x..x..x.", snare="....x.......x..x", hat="x.x.x.x.x.x.x.x.")),
        Recipe("pop_band", "bass, chords and drums", _POP_BAND),
        Recipe("piano_waltz", "a waltz on a piano",
               _played(parts.piano, 0.32, "43+71 59+62+74 59+62 45+72 60+64+69 60+64")),
        Recipe("flute_melody", "a melody on a flute", _played(parts.flute, 0.28, "74:1.5 76:0.5 78 74 81:1.5 79:1.5")),
        Recipe("marimba_pattern", "a pattern on a marimba",
               _played(parts.marimba, 0.135, "60 67 64 72 67 64 60 67 65 69 72 69 65 60")),
        Recipe("brass_fanfare", "a fanfare of trumpets",
               _played(parts.brass, 0.235, "67 67:0.5 67:0.5 64+72:2 60+67 64+67+76:3")),
        Recipe("string_quartet", "slow chords of a string quartet, in minor", _STRING_QUARTET),
        Recipe("guitar_strums", "chords strummed on a guitar",
               _played(parts.pluck, 0.33, "40+47+52+56+59+64:1.5 45+52+57+61+64 45+52+57+61+64:0.5 "
                       "47+54+59+63+66:1.5 40+47+52+56+59+64:1.5", 0.012)),
        Recipe("music_box", "a music box", _played(parts.bell, 0.27, "84 88 91 96 95:0.5 91:0.5 88 84+91")),
        Recipe("hand_drums", "a rhythm on hand drums", _beat(0.121, low="x..x..x.x..x..x.", high="..x.xx...xx.x.xx")),
        Recipe("synth_arpeggio", "a synthesiser arpeggio over a bass drum", _SYNTH_ARPEGGIO),
    ],
    "Song": [
        Recipe("woman_ah", "a woman sings a tune on 'ah'", _sung(0.275, "67 69 71 74 71 67:2")),
        Recipe("man_legato", "a man sings slowly, legato",
               _sung(0.32, "48:2 52 50 55:2", vowels=("o", "a"), size=1.0, dip=0.15)),
        Recipe("child_tune", "a child sings a nursery tune",
               _sung(0.24, "72 72 79 79 81 81 79:2", vowels=("a", "ae", "e"), size=1.3, vibrato=0.006, dip=0.9)),
        Recipe("choir", "a choir of eight holds two chords", _CHOIR),
        Recipe("humming", "a man hums a tune", _humming),
        Recipe("opera_soprano", "a soprano with strong vibrato",
               _sung(0.3, "76:1.5 79:0.5 81:2 84:2.5", vibrato=0.035, dip=0.2)),
        Recipe("song_with_guitar", "a woman sings with a guitar", _SONG_WITH_GUITAR),
        Recipe("scat", "a man sings quick syllables, with rests",
               _sung(0.245, "58 61:0.5 -:0.5 63 64:0.5 63:0.5 -:0.5 61:0.5 58 56:0.5 58:1.5",
                     vowels=("u", "a", "i", "ae"), size=1.0, vibrato=0.008, dip=1.0)),
    ],
    "Speech": [
        Recipe("man_calm", "a man speaks calmly", _spoken(110, rate_hz=4.5), 110),
        Recipe("woman", "a woman speaks", _spoken(205, size=1.17), 205),
        Recipe("child", "a child speaks", _spoken(290, rate_hz=4.3, size=1.3, fall=0.15), 290),
        Recipe("old_man_slow", "an old man speaks slowly, hoarse",
               _spoken(92, rate_hz=3.6, size=0.96, breath=0.15, phrase=3), 92),
        Recipe("woman_fast", "a woman speaks fast", _spoken(225, rate_hz=5.8, size=1.15, fall=0.3, phrase=9), 225),
        Recipe("man_question", "a man asks, his pitch rises", _spoken(125, fall=-0.35, phrase=8), 125),
        Recipe("whisper", "somebody whispers", _spoken(150, rate_hz=4.5, size=1.1, breath=1.0)),
        Recipe("woman_excited", "a woman speaks with a high, lively voice",
               _spoken(270, rate_hz=5.3, size=1.18, fall=0.5, phrase=4), 270),
        Recipe("dialogue", "a woman asks, a man answers", _DIALOGUE),
        Recipe("telephone_voice", "a man speaks through a telephone", _on_telephone, 120),
    ],
    "Animal": [
        Recipe("bird_chirps", "a sparrow chirps", scenes.bird_chirps),
        Recipe("bird_song", "a songbird sings", scenes.bird_song),
        Recipe("dog_barks", "a dog barks", scenes.dog_barks),
        Recipe("wolf_howl", "a wolf howls", scenes.wolf_howl),
        Recipe("crickets", "crickets trill", scenes.crickets),
        Recipe("frog_croaks", "a frog croaks", scenes.frog_croaks),
        Recipe("cat_meow", "a cat meows", scenes.cat_meow),
        Recipe("cow_moo", "a cow moos", scenes.cow_moo),
        Recipe("owl_hoots", "an owl hoots", scenes.owl_hoots, 371),
    ],
    "Texture": [
        Recipe("rain", "rain", scenes.rain),
        Recipe("wind", "gusts of wind", scenes.wind),
        Recipe("fire", "a fire crackles", scenes.fire),
        Recipe("stream", "a stream bubbles", scenes.stream),
        Recipe("applause", "applause", scenes.applause),
        Recipe("ocean_wave", "a wave breaks", scenes.ocean_wave),
        Recipe("thunder", "thunder", scenes.thunder),
        Recipe("gravel_steps", "footsteps on gravel", scenes.gravel_steps),
        Recipe("steam", "puffs of steam", scenes.steam),
    ],
    "Mechanical": [
        Recipe("engine_idle", "a car engine idles", scenes.engine_idle),
        Recipe("motorcycle", "a motorcycle revs up", scenes.motorcycle),
        Recipe("clock", "a clock ticks", scenes.clock),
        Recipe("hand_saw", "somebody saws wood", scenes.hand_saw),
        Recipe("printer", "a dot-matrix printer", scenes.printer),
        Recipe("fan", "a fan hums", scenes.fan, 92),
        Recipe("helicopter", "a helicopter", scenes.helicopter),
        Recipe("typewriter", "a typewriter with its bell", scenes.typewriter),
    ],
    "Tone": [
        Recipe("low_tone", "a low pure tone", lambda _: scenes.tone(220), 220),
        Recipe("middle_tone", "a pure tone", lambda _: scenes.tone(880), 880),
        Recipe("high_tone", "a high pure tone", lambda _: scenes.tone(3000), 3000),
        Recipe("rising_sweep", "a tone that rises", lambda _: scenes.rising_sweep()),
        Recipe("siren", "a siren", lambda _: scenes.siren()),
        Recipe("alarm_clock", "an alarm clock beeps", lambda _: scenes.alarm_clock()),
        Recipe("phone_ring", "an old telephone rings", scenes.phone_ring),
        Recipe("dialling", "a telephone number is dialled", lambda _: scenes.dialling()),
    ],
}
# fmt: on

_BY_ID = {
    f"{category.lower()}{i:02d}_{recipe.name}": (category, recipe)
    for category, recipes in _RECIPES.items()
    for i, recipe in enumerate(recipes, start=1)
}


@cache
def _synthesise(stimulus_id: str) -> Waveform:
    """Make one sound: no offset, faded at both ends, at RMS `LEVEL`, in 16-bit steps."""
    key = int.from_bytes(hashlib.sha256(stimulus_id.encode()).digest()[:8], "big")
    draws = Draws(SEED, key)
    category, recipe = _BY_ID[stimulus_id]
    signal = recipe.make(draws)
    if category in INDOORS:
        signal = parts.in_room(signal, Draws(SEED))
    signal = parts.ramped(signal, 0.01, 0.02)
    # Noise 54 dB below the sound: recordings have no digital silence, whose log is infinite.
    signal += rms(signal) * 10 ** (-54 / 20) * draws.normal(len(signal))
    signal -= signal.mean()
    # Adding 0 turns -0, which integers lack, into 0: a digest sees the difference.
    steps = np.round(signal * (LEVEL / rms(signal)) * 2**15) + 0.0
    waveform = (steps / 2**15).astype(np.float32)
    waveform.flags.writeable = False
    return waveform


def load_demo() -> StimulusSet:
    """Load the demo set: 66 synthesised sounds of two seconds at 22,050 Hz in seven categories.

    The categories are Music, Song, Speech, Animal, Texture, Mechanical and Tone, with 8 to 14 sounds
    each. Sounds are made when asked for, without any file, and are the same on every machine.

    Returns
    -------
    StimulusSet
        Its table has the further columns ``description`` and ``f0_hz``: the fundamental frequency
        (Hz) of a steady sound, or the middle of a speaker's range; NaN where that means nothing.
    """
    table = pd.DataFrame(
        {
            "file": [f"{i}.wav" for i in _BY_ID],
            "category": [category for category, _ in _BY_ID.values()],
            "description": [recipe.description for _, recipe in _BY_ID.values()],
            "f0_hz": [recipe.f0_hz for _, recipe in _BY_ID.values()],
        },
        index=pd.Index(_BY_ID, name="stimulus_id"),
    )
    return StimulusSet(MANIFEST, table, lambda i: (_synthesise(i), RATE))


def write_demo(folder: Path | str) -> Path:
    """Write the demo set as an ordinary folder, to listen to it or to start a set from.

    ``load_stimuli(folder)`` reads the same waveforms back, to the sample.

    Parameters
    ----------
    folder : path-like
        Is made; must be empty if it is there.

    Returns
    -------
    Path
        The folder, with ``stimuli.csv``, ``stimulus_set.toml`` and the wav files.

    Raises
    ------
    StimulusError
        If the folder holds something already.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise StimulusError(f"{folder} is there and not empty; name a new folder for the demo set")
    demo = load_demo()
    for stimulus_id, file in demo.table["file"].items():
        waveform, rate = demo.source(str(stimulus_id))
        write_audio(folder / str(file), waveform, rate)
    with write_then_rename(folder / "stimuli.csv") as path:
        demo.table.to_csv(path)
    manifest = demo.manifest.model_dump(exclude_none=True)
    with write_then_rename(folder / "stimulus_set.toml") as path:
        # A JSON string or number is also one of TOML.
        path.write_text("".join(f"{k} = {json.dumps(v)}\n" for k, v in manifest.items()), "utf-8")
    return folder
