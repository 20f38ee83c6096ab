"""Sounds of a page: what is decoded from it is what was played, in the right place, within the budget, and said so."""

from __future__ import annotations

import base64
import io
import json
import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import soundfile
import xarray as xr
from typer.testing import CliRunner

from brainalign.brain.data import BrainData
from brainalign.cli import app
from brainalign.errors import ReconstructionError, StimulusError
from brainalign.measures.result import Result, result_table
from brainalign.recipes import Run
from brainalign.reconstruction.examples import Example
from brainalign.report._draw import new_figure
from brainalign.report.colours import category_colours, category_order
from brainalign.report.listening import listen_section, reconstruction_section, snippet
from brainalign.report.matrices import plot_rdm, rdm_order
from brainalign.report.page import ReportContent, write_report
from brainalign.responses import make_responses
from brainalign.stimuli.sets import Manifest, StimulusSet

RATE = 16000


def tone(frequency: float, seconds: float = 0.3, level: float = 0.1, rate: int = RATE) -> np.ndarray:
    at = np.arange(round(seconds * rate)) / rate
    return (np.sqrt(2) * level * np.sin(2 * np.pi * frequency * at)).astype(np.float32)


def make_set(category: list[str], seconds: float = 0.3, broken: tuple[int, ...] = ()) -> StimulusSet:
    """Build a set in which the sound of index i is a tone of its own frequency."""
    ids = [f"tone{i:03d}" for i in range(len(category))]
    table = pd.DataFrame({"file": ids, "category": category}, index=pd.Index(ids, name="stimulus_id"))

    def source(stimulus: str) -> tuple[np.ndarray, int]:
        if ids.index(stimulus) in broken:
            raise StimulusError("the file is gone")
        return tone(frequency_of(stimulus), seconds), RATE

    return StimulusSet(Manifest(name="tones", version="1", citation="None.", licence="CC0"), table, source)


def frequency_of(stimulus: str) -> float:
    return 300 + 40 * int(stimulus.removeprefix("tone"))


def decode(uri: str) -> tuple[np.ndarray, int]:
    assert uri.startswith("data:audio/mpeg;base64,")
    return soundfile.read(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


def heard_frequency(uri: str) -> float:
    samples, rate = decode(uri)
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples)), 8 * len(samples)))
    return float(np.argmax(spectrum) * rate / (8 * len(samples)))


class Sounds(HTMLParser):
    """Collects the audio elements of a page, by the id of the sound they stand for."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.uris: dict[str, str] = {}
        self.labels: list[str] = []
        self.rows: list[list[str]] = []
        self._id = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = {key: value or "" for key, value in attributes}
        if found.get("class") == "sound":
            self._id = found.get("data-sound", "")
        if found.get("class") == "canvas" and "data-sounds" in found:
            self.rows.append(json.loads(found["data-sounds"]))
        if tag == "audio":
            assert "controls" in found
            assert found["preload"] == "none"
            self.uris[self._id] = found["src"]
            self.labels.append(found["aria-label"])


# --- snippets ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [8000, 16000, 20000, 44100, 48000])
def test_a_snippet_has_the_level_the_pitch_and_the_length_of_the_sound(rate):
    samples, decoded_rate = decode(snippet(tone(440, 1.0, 0.1, rate), rate).uri)
    assert decoded_rate <= 24000
    assert len(samples) / decoded_rate == pytest.approx(1.0, abs=0.002)
    middle = samples[decoded_rate // 10 : -decoded_rate // 10]
    assert 20 * np.log10(np.sqrt(np.mean(middle**2)) / 0.1) == pytest.approx(0, abs=0.2)
    reference = tone(440, 1.0, 0.1, decoded_rate)[decoded_rate // 10 : -decoded_rate // 10]
    assert np.corrcoef(middle, reference)[0, 1] > 0.99  # in phase: it begins where the sound begins


def test_the_same_sound_gives_the_same_bytes_and_another_one_others():
    noise = np.random.default_rng(0).standard_normal(RATE).astype(np.float32) * 0.1
    assert snippet(noise, RATE).uri == snippet(noise.copy(), RATE).uri
    assert snippet(noise, RATE).uri != snippet(noise[::-1].copy(), RATE).uri


def test_two_seconds_are_some_twelve_kilobytes():
    noise = np.random.default_rng(0).standard_normal(2 * 20000).astype(np.float32) * 0.1
    assert len(snippet(noise, 20000).uri) * 165 < 4e6


def test_long_sounds_are_cut_and_loud_ones_lowered_and_both_say_so():
    long = snippet(tone(440, 12.0), RATE)
    samples, rate = decode(long.uri)
    assert long.cut
    assert len(samples) / rate == pytest.approx(10, abs=0.002)
    loud = snippet(tone(440, 1.0, 2.0), RATE)
    assert loud.lowered
    assert np.abs(decode(loud.uri)[0]).max() < 1
    exact = snippet(tone(440, 10.0), RATE)
    assert not exact.cut
    assert not exact.lowered


@pytest.mark.parametrize("samples", [np.zeros(4, np.float32), np.zeros(RATE, np.float32)])
def test_silence_is_a_sound_too(samples):
    assert not decode(snippet(samples, RATE).uri)[0].any()


# --- the grid of all sounds -------------------------------------------------------------------------------------------

KINDS = ["Music", "Nature", "EngSpeech"] * 4


def test_every_sound_stands_in_its_category_and_is_the_right_one():
    stimuli = make_set(KINDS)
    section = listen_section(stimuli)
    assert [g.category for g in section.groups] == category_order(KINDS) == ["EngSpeech", "Nature", "Music"]
    assert {g.category: g.colour for g in section.groups} == category_colours(KINDS)
    assert section.notes == []
    for group in section.groups:
        expected = stimuli.table.index[stimuli.table["category"] == group.category].tolist()
        assert [s.stimulus for s in group.sounds] == expected
        assert group.n_all == len(expected)
        for sound in group.sounds:
            assert heard_frequency(sound.uri) == pytest.approx(frequency_of(sound.stimulus), abs=8)


def test_the_level_is_that_of_the_set():
    stimuli = make_set(KINDS[:3], seconds=1.0)
    stimuli = replace(stimuli, manifest=stimuli.manifest.model_copy(update={"target_rms": 0.02}))
    for group in listen_section(stimuli).groups:
        samples, rate = decode(group.sounds[0].uri)
        middle = samples[rate // 10 : -rate // 10]
        assert 20 * np.log10(np.sqrt(np.mean(middle**2)) / 0.02) == pytest.approx(0, abs=0.3)


def test_a_large_set_is_sampled_evenly_and_says_so():
    category = ["Music"] * 150 + ["Nature"] * 40 + ["Song"] * 3
    one = len(snippet(tone(1000, 0.05), RATE).uri)
    section = listen_section(make_set(category, 0.05), max_size=40 * one)
    counts = {g.category: len(g.sounds) for g in section.groups}
    n = sum(counts.values())
    assert 30 < n < 50
    assert counts["Song"] == 3
    assert abs(counts["Music"] - counts["Nature"]) <= 1
    assert sum(len(s.uri) for g in section.groups for s in g.sounds) <= 40 * one
    assert section.notes[0].startswith(f"To keep the page small, {n} of the 193 sounds are here")
    music = next(g for g in section.groups if g.category == "Music")
    at = [int(s.stimulus[4:]) for s in music.sounds]
    gaps = np.diff(at)
    assert at == sorted(at)
    assert len(set(gaps)) <= 3  # the three-distance theorem
    assert gaps.max() <= 3 * 150 / len(at)
    assert max(at) > 120


def test_a_set_within_the_budget_is_whole():
    stimuli = make_set(KINDS)
    whole = sum(len(s.uri) for g in listen_section(stimuli).groups for s in g.sounds)
    assert listen_section(stimuli, max_size=whole).notes == []
    assert "11 of the 12 sounds" in listen_section(stimuli, max_size=whole - 1).notes[0]


def test_a_sound_that_cannot_be_read_is_named():
    section = listen_section(make_set(KINDS, broken=(1, 4)))
    assert sum(len(g.sounds) for g in section.groups) == 10
    (note,) = section.notes
    assert note.startswith("2 sounds cannot be played: stimulus 'tone00")
    assert "the file is gone" in note


def test_notes_count_what_was_changed():
    stimuli = make_set(["a", "b"])
    sources = {"tone000": (tone(440, 11), RATE), "tone001": (tone(440, 1, 2.0), RATE)}
    first, second = listen_section(replace(stimuli, source=sources.__getitem__)).notes
    assert first == "Of 1 sounds that are longer, the first 10 s are here."
    assert second.startswith("1 sounds exceed full scale")
    assert "tone001" in second


@pytest.mark.realdata
def test_the_165_natural_sounds_take_less_than_four_megabytes():
    from brainalign.stimuli import load_stimuli

    section = listen_section(load_stimuli("natsound165"))
    assert sum(len(g.sounds) for g in section.groups) == 165
    assert section.notes == []
    assert sum(len(s.uri) for g in section.groups for s in g.sounds) < 4e6


# --- the page ---------------------------------------------------------------------------------------------------------


def make_content(category=tuple(KINDS), rename: str | None = None, **more) -> ReportContent:
    """Build a run with one profile and its RDMs, in another order than the set's."""
    stimuli = make_set(list(category))
    if rename:
        source, table = stimuli.source, stimuli.table.rename(index={"tone000": rename})
        stimuli = replace(stimuli, table=table, source=lambda i: source("tone000" if i == rename else i))
    order = np.random.default_rng(1).permutation(len(stimuli))
    ids = [stimuli.ids[i] for i in order]
    kinds = [str(stimuli.table["category"].iloc[i]) for i in order]
    observed = np.linspace(1, 5, len(ids))[:, None]
    brain = BrainData("brain", make_responses(observed, ids, ("music",)), "1", "None.", "CC0")
    row = {"brain": "brain", "model": "", "layer": "", "n": len(ids), "n_of": "stimuli", "note": "",
           "ci_low": 1.2, "ci_high": 1.8, "p": 0.01, "effect_size": 0.7}  # fmt: skip
    coords = {"stimulus": ids, "category": ("stimulus", kinds), "model": ("profile", [""]), "layer": ("profile", [""]),
              "brain": ("profile", ["brain"]), "target": ("profile", ["music"])}  # fmt: skip
    ratio = Result(
        "response-ratio",
        result_table([{**row, "measure": "response-ratio", "target": "music", "statistic": "ratio", "value": 1.5}]),
        {"profiles": xr.DataArray(observed.T, dims=("profile", "stimulus"), coords=coords)},
        {"categories": ["Music"]},
    )
    same = 1.0 - np.equal.outer(kinds, kinds)
    pair = {"stimulus": ids, "stimulus_2": ids}
    rdm = xr.DataArray(same, dims=("stimulus", "stimulus_2"), coords=pair)
    rsa_row = {**row, "measure": "rsa", "model": "net", "layer": "fc", "target": "all", "statistic": "spearman"}
    rsa = Result(
        "rsa",
        result_table([{**rsa_row, "value": 0.2}]),
        {"brain_rdm": rdm, "rdms": rdm.expand_dims(rdm=["fc"])},
    )
    return ReportContent("Tones", "Which tones?", stimuli, (brain,), [ratio, rsa], {"command": "run"}, **more)


def page_of(content: ReportContent, folder) -> str:
    return write_report(content, folder / "report.html", figures_folder=None).read_text(encoding="utf-8")


def test_the_page_carries_each_sound_once_with_controls(tmp_path):
    html = page_of(make_content(), tmp_path)
    sounds = Sounds(html)
    assert sorted(sounds.uris) == sorted(make_set(KINDS).ids)
    assert html.count("data:audio/") == 12
    for stimulus, uri in sounds.uris.items():
        assert heard_frequency(uri) == pytest.approx(frequency_of(stimulus), abs=8)
    assert "<noscript><style>.sound audio { display: block; }" in html


def test_a_page_without_audio_has_none_of_it(tmp_path):
    (one,) = [Example("tone000", "Music", "original", "t", tone(440), RATE)]
    html = page_of(make_content(audio=False, examples=[one]), tmp_path)
    assert "<audio" not in html
    assert "data:audio" not in html
    assert 'id="listen"' not in html
    assert "new Audio" not in html
    assert "data-sounds" in html  # names under the pointer are there without sounds


def test_names_of_sounds_are_escaped(tmp_path):
    name = '"><img src=x onerror=alert(1)>'
    html = page_of(make_content(rename=name), tmp_path)
    assert "<img" not in html
    sounds = Sounds(html)
    assert name in sounds.uris
    assert name in sounds.labels
    assert name in sounds.rows[0]


def test_cells_of_an_rdm_name_the_sounds_that_they_show(tmp_path):
    content = make_content()
    (order,) = Sounds(page_of(content, tmp_path)).rows
    rng = np.random.default_rng(0)
    rdm = content.results[1].arrays["brain_rdm"].copy(data=rng.random((12, 12)))
    category = content.stimuli.table["category"]
    shown = plot_rdm(new_figure(3, 3).subplots(), rdm, category).images[0].get_array()
    assert order == rdm_order(rdm, category)
    for i, first in enumerate(order):
        for j, second in enumerate(order):
            assert shown[i, j] == float(rdm.sel(stimulus=first, stimulus_2=second))


def test_matrices_whose_sounds_have_different_orders_carry_none(tmp_path):
    content = make_content()
    rsa = content.results[1]
    turned = rsa.arrays["rdms"].isel(stimulus=slice(None, None, -1), stimulus_2=slice(None, None, -1))
    other = replace(rsa, arrays={**rsa.arrays, "rdms": turned})
    assert Sounds(page_of(replace(content, results=[content.results[0], other]), tmp_path)).rows == []


@pytest.mark.parametrize(
    ("command", "n_sounds"),
    [(["demo"], 12 + 6), (["demo", "--no-audio"], 0), (["run", "study.toml"], 12 + 6),
     (["run", "study.toml", "--no-audio"], 0)],
)  # fmt: skip
def test_the_command_line_leaves_the_sounds_out(command, n_sounds, tmp_path, monkeypatch):
    content = make_content()
    recipe = SimpleNamespace(title=content.title, question=content.question, leaderboard=None)
    run = Run(recipe, content.stimuli, content.brains, content.results, content.provenance, make_examples(1))
    monkeypatch.setattr("brainalign.report.folder.compute_recipe", lambda *_, **__: run)
    monkeypatch.setattr("brainalign.report.svg.Drawing.save", lambda *_: [])
    done = CliRunner().invoke(app, [*command, "--out", str(tmp_path / "out"), "--no-cache"])
    assert done.exit_code == 0, done.output
    html = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert html.count("<audio") == n_sounds


# --- reconstructions --------------------------------------------------------------------------------------------------


def make_examples(n_clips: int = 4, subjects: tuple[str, ...] = ("sub-1", "sub-2")) -> list[Example]:
    """Build examples of two brains in which every sound has a title and a similarity of its own."""
    found, n = [], 0
    for i in range(n_clips):
        clip, genre = f"clip{i}", ("jazz", "rock")[i % 2]
        found.append(Example(clip, genre, "original", f"{clip} itself", tone(300 + 40 * n), RATE))
        for brain in ("real", "noise"):
            for subject in subjects:
                for kind in ("generated", "retrieved"):
                    n += 1
                    title = f"{clip} {brain} {subject} {kind}"
                    found.append(Example(clip, genre, kind, title, tone(440), RATE, brain, subject, round(n / 1000, 3)))
        found.append(Example(clip, genre, "oracle", f"{clip} oracle", tone(440), RATE, similarity=0.99))
    return found


def test_reconstructions_stand_beside_their_clip():
    section = reconstruction_section(make_examples())
    assert section.columns == ["original", "retrieved, sub-1, real", "generated, sub-1, real",
                               "retrieved, sub-1, noise", "generated, sub-1, noise", "oracle"]  # fmt: skip
    assert [(clip, genre) for clip, genre, _ in section.rows] == [
        ("clip0", "jazz"), ("clip1", "rock"), ("clip2", "jazz"), ("clip3", "rock")]  # fmt: skip
    places = [f"{brain} sub-1 {kind}" for brain in ("real", "noise") for kind in ("retrieved", "generated")]
    for clip, _, cells in section.rows:
        titles = [[sound.label for sound, _ in cell.sounds] for cell in cells]
        assert titles == [[f"{clip} {place}"] for place in ("itself", *places, "oracle")]
    assert section.rows[0][2][1].key == "0.002"
    assert section.rows[0][2][1].sounds[0][1] == "0.00"
    # The other subject is named, with its similarities.
    assert len(section.named) == 4 * 4
    assert {row[4] for row in section.named} == {"sub-2"}


def test_reconstructions_keep_the_budget_one_clip_of_each_category_first():
    examples = make_examples(6)
    of_clip = sum(len(snippet(e.waveform, RATE).uri) for e in examples if e.clip == "clip0" and e.subject != "sub-2")
    section = reconstruction_section(examples, max_size=round(3.5 * of_clip))
    assert [clip for clip, *_ in section.rows] == ["clip0", "clip1", "clip2"]
    assert section.notes[0].startswith("Examples: 3 clips; those that come first")
    assert "3 further clips are named below" in section.notes[0]
    assert Counter(row[0] for row in section.named) == {
        **dict.fromkeys(["clip0", "clip1", "clip2"], 4), **dict.fromkeys(["clip3", "clip4", "clip5"], 10)}  # fmt: skip


def test_the_notes_say_which_clips_and_subjects_these_are():
    (clips, others) = reconstruction_section(make_examples(2)).notes
    assert clips == (
        "Examples: one clip of each category; those that come first, not those that were reconstructed best. "
        "Of each brain the first subject is heard, whom the header names."
    )
    assert others == "What came of sub-2 is named below the table, and not played."
    (alone,) = reconstruction_section(make_examples(4, subjects=("sub-1",))).notes
    assert alone.startswith("Examples: 4 clips;")
    pooled = reconstruction_section(make_examples(2, subjects=("",)))
    assert pooled.columns[1] == "retrieved, real"
    assert "subject" not in " ".join(pooled.notes)


def reconstructed(content: ReportContent, folder) -> str:
    """Return the words of the section of a page."""
    html = page_of(content, folder)
    section = html[html.index('<section id="reconstructions"') : html.index('<section id="listen"')]
    return " ".join(re.sub(r"<[^>]+>", " ", section).split())


def test_the_page_says_of_how_many_clips_and_how_the_similarity_was_computed(tmp_path):
    assert "that was heard. Numbers are the similarity of a track" in (
        words := reconstructed(make_content(examples=make_examples(2)), tmp_path)
    )
    assert "(by cosine)" in words
    assert "cosine similarities" not in words
    row = {"measure": "reconstruction", "model": "net", "layer": "fc", "statistic": "cosine", "value": 0.1,
           "brain": "brain", "target": "sub-1", "kind": "retrieved", "category": "", "tags": ""}  # fmt: skip
    settings = {"n_clips": 60, "nearest": "by cosine, the mean of the library taken away"}
    content = make_content(examples=make_examples(2))
    content.results.append(Result("reconstruction", result_table([row]), {}, settings))
    words = reconstructed(content, tmp_path)
    assert "that was heard, of 60 that were tested." in words
    assert "(by cosine, the mean of the library taken away)" in words
    made = [e for e in make_examples(2) if e.kind in ("original", "generated")]
    unnumbered = [replace(e, similarity=None) for e in made]
    assert "similarity of a track" not in reconstructed(make_content(examples=unnumbered), tmp_path)


def test_help_for_figures_is_hidden_until_the_script_finds_them(tmp_path):
    html = page_of(make_content(), tmp_path)
    hidden = re.findall(r'<span data-help="(\w+)" hidden>A (?:bar|point|cell) of an? ', html)
    assert hidden == ["bars", "points", "pairs"]


def test_one_clip_is_heard_however_large():
    assert len(reconstruction_section(make_examples(3), max_size=1).rows) == 1


def test_a_place_without_a_sound_is_empty(tmp_path):
    examples = [e for e in make_examples(2) if not (e.clip == "clip1" and e.kind == "generated")]
    rows = reconstruction_section(examples).rows
    assert [len(cell.sounds) for cell in rows[1][2]] == [1, 1, 0, 1, 0, 1]
    html = page_of(make_content(examples=examples), tmp_path)
    table = html[html.index('id="reconstructions"') : html.index('id="listen"')]
    assert table.count("<audio") == 10
    assert re.search(r'data-key="0.99">\s*<span class="sound"><span>clip1 oracle</span>', table)


def test_an_unknown_kind_is_refused():
    with pytest.raises(ReconstructionError, match="is 'copy'; it is one of original, retrieved"):
        Example("clip", "jazz", "copy", "t", tone(440), RATE)
