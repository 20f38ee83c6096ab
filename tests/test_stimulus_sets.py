"""Stimulus sets: read as they are written, played at their level, and every slip named."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from brainalign import load_stimuli
from brainalign.errors import StimulusError
from brainalign.stimuli import StimulusSet, read_stimulus_set
from brainalign.stimuli.audio import rms
from brainalign.stimuli.sets import Manifest

RATE = 16_000
HEADER = "stimulus_id,file,category\n"
MANIFEST = 'name = "lab"\nversion = "1"\ncitation = "c"\nlicence = "l"\n'


def noise(seed: int, level: float = 0.1, n_samples: int = 4_000) -> np.ndarray:
    return level * np.random.default_rng(seed).normal(size=n_samples)


def write_set(folder: Path, table: str | bytes, manifest: str = MANIFEST) -> Path:
    """Write a set with the sounds a.wav (seed 0), b.flac (seed 1) and c.wav (seed 2)."""
    (folder / "audio").mkdir(parents=True)
    (folder / "stimulus_set.toml").write_text(manifest, encoding="utf-8")
    (folder / "stimuli.csv").write_bytes(table if isinstance(table, bytes) else table.encode())
    for seed, name in enumerate(["a.wav", "b.flac", "c.wav"]):
        soundfile.write(folder / "audio" / name, noise(seed), RATE)
    return folder


THREE = HEADER + "s10,audio/a.wav,Music\ns9,audio/b.flac,Speech\ns1,audio/c.wav,Music\n"


class TestRead:
    def test_a_set_in_the_order_of_its_table(self, tmp_path: Path) -> None:
        stimuli = load_stimuli(write_set(tmp_path / "lab", THREE))
        assert (stimuli.name, len(stimuli)) == ("lab", 3)
        assert stimuli.ids == ["s10", "s9", "s1"]
        assert stimuli.categories == ["Music", "Speech"]
        for seed, stimulus_id in enumerate(stimuli.ids):
            waveform, rate = stimuli.waveform(stimulus_id)
            assert (rate, waveform.dtype) == (RATE, np.float32)
            np.testing.assert_allclose(waveform, noise(seed), rtol=0, atol=2**-15)
        assert repr(stimuli) == "<StimulusSet lab 1: 3 sounds (Music 2, Speech 1)>"

    def test_the_folder_may_be_given_as_text(self, tmp_path: Path) -> None:
        assert load_stimuli(str(write_set(tmp_path / "lab", THREE))).ids == ["s10", "s9", "s1"]

    def test_further_columns_are_kept(self, tmp_path: Path) -> None:
        table = "duration_s,category,stimulus_id,file,note\n2.5,Music,x,audio/a.wav,\n1,Music,y,audio/c.wav,NA\n"
        stimuli = read_stimulus_set(write_set(tmp_path / "lab", table))
        assert stimuli.table["duration_s"].tolist() == [2.5, 1.0]
        assert stimuli.table["note"].tolist() == ["", "NA"]

    @pytest.mark.parametrize("stimulus_id", ["007", "1e5", "NA", "nan", "None", "True", "1.0", "-inf", "2024-01-01"])
    def test_ids_and_categories_stay_text(self, tmp_path: Path, stimulus_id: str) -> None:
        table = HEADER + f"{stimulus_id},audio/a.wav,{stimulus_id}\nx,audio/c.wav,1\n"
        stimuli = read_stimulus_set(write_set(tmp_path / "lab", table))
        assert stimuli.ids == [stimulus_id, "x"]
        assert stimuli.categories == [stimulus_id, "1"]
        assert len(stimuli.waveform(stimulus_id)[0]) == 4_000

    @pytest.mark.parametrize(
        ("rows", "message"),
        [
            ("x,audio/a.wav,Music \ny,audio/c.wav,Music\n", "category 'Music ' begins or ends with a space"),
            (" x,audio/a.wav,Music\ny,audio/c.wav,Music\n", "stimulus_id ' x' begins or ends with a space"),
            ("x,audio/a.wav,Music\ny,audio/c.wav,music\n", "'Music', 'music' differ in case only"),
            ("x,audio/a.wav,Music\ny,audio/a.wav,Song\n", "x, y have the same file 'audio/a.wav'"),
        ],
    )
    def test_what_would_silently_split_or_double_a_group(self, tmp_path: Path, rows: str, message: str) -> None:
        with pytest.raises(StimulusError, match=message):
            read_stimulus_set(write_set(tmp_path / "lab", HEADER + rows))

    def test_numbers_that_differ_as_text_are_different_ids(self, tmp_path: Path) -> None:
        table = HEADER + "1,audio/a.wav,M\n01,audio/c.wav,M\n1.0,audio/b.flac,M\n"
        assert read_stimulus_set(write_set(tmp_path / "lab", table)).ids == ["1", "01", "1.0"]

    @pytest.mark.parametrize("encode", [lambda t: b"\xef\xbb\xbf" + t, lambda t: t.replace(b"\n", b"\r\n")])
    def test_tables_as_spreadsheets_write_them(self, tmp_path: Path, encode: object) -> None:
        folder = write_set(tmp_path / "lab", encode(THREE.encode()))  # type: ignore[operator]
        (folder / "stimulus_set.toml").write_bytes(encode(MANIFEST.encode()))  # type: ignore[operator]
        stimuli = read_stimulus_set(folder)
        assert (stimuli.ids, stimuli.categories) == (["s10", "s9", "s1"], ["Music", "Speech"])

    def test_names_beyond_ascii_and_with_spaces_and_commas(self, tmp_path: Path) -> None:
        folder = write_set(tmp_path / "Mein Set ö", HEADER + '"Vögel, früh",audio/鳥 (1).wav,Tier & Natur\n')
        (folder / "audio" / "a.wav").rename(folder / "audio" / "鳥 (1).wav")
        stimuli = read_stimulus_set(folder)
        assert stimuli.ids == ["Vögel, früh"]
        np.testing.assert_allclose(stimuli.waveform("Vögel, früh")[0], noise(0), rtol=0, atol=2**-15)

    def test_a_set_stands_where_its_folder_is_linked(self, tmp_path: Path) -> None:
        write_set(tmp_path / "lab", THREE)
        (tmp_path / "link").symlink_to(tmp_path / "lab", target_is_directory=True)
        assert len(read_stimulus_set(tmp_path / "link").waveform("s9")[0]) == 4_000

    def test_audio_may_lie_elsewhere(self, tmp_path: Path) -> None:
        write_set(tmp_path / "lab", THREE)
        (tmp_path / "lab" / "audio").rename(tmp_path / "audio")
        assert read_stimulus_set(tmp_path / "lab", audio_folder=tmp_path).folder == tmp_path


class TestBadTables:
    @pytest.mark.parametrize(
        ("table", "message"),
        [
            ("stimulus_id,path,category\nx,audio/a.wav,M\n", r"lacks the column file; it has stimulus_id, path, cat"),
            ("id,file\nx,audio/a.wav\n", r"lacks the column stimulus_id, category; it has id, file"),
            (THREE.replace(",", ";"), "lacks the column stimulus_id, file, category"),
            (HEADER, "lists no stimulus"),
            ("", "cannot be read as a table"),
            (HEADER + "x,audio/a.wav,M\ny,audio/b.flac,M\nx,audio/c.wav,M\n", r"duplicate stimulus_id x$"),
            (HEADER + ",audio/a.wav,M\n", r"stimulus 1: stimulus_id is empty"),
            (HEADER + 'x,audio/a.wav,M\n" ",audio/c.wav,M\n', r"stimulus 2: stimulus_id is empty"),
            (HEADER + "x,audio/a.wav,\n", r"stimulus 1: category is empty"),
            (HEADER + "x,audio/a.wav\n", r"stimulus 1: category is empty"),
            (HEADER + "x\n", r"stimulus 1: file is empty"),
            (HEADER + "x,audio/a.wav,M,\n", "rows have more fields than the header"),
            (HEADER + "x,audio/a.wav,M,extra\n", "rows have more fields than the header"),
            (HEADER + "x,audio/a.wav,M\ny,audio/c.wav,M,extra\n", "cannot be read as a table: .*line 3"),
            (HEADER + 'x,"audio/a.wav,M\n', "cannot be read as a table"),
            (THREE.encode("utf-16"), "cannot be read as a table: 'utf-8' codec"),
            (HEADER.encode() + b"V\xf6gel,audio/a.wav,M\n", "cannot be read as a table: 'utf-8' codec"),
        ],
    )
    def test_is_named(self, tmp_path: Path, table: str | bytes, message: str) -> None:
        with pytest.raises(StimulusError, match=rf"stimuli\.csv(?s:.)*{message}"):
            read_stimulus_set(write_set(tmp_path / "lab", table))

    def test_no_table(self, tmp_path: Path) -> None:
        (write_set(tmp_path / "lab", THREE) / "stimuli.csv").unlink()
        with pytest.raises(StimulusError, match=r"lab is no stimulus set: it has no stimuli\.csv"):
            load_stimuli(tmp_path / "lab")


class TestBadManifests:
    @pytest.mark.parametrize(
        ("manifest", "message"),
        [
            (MANIFEST + "sample_rat = 16000\n", r"key 'sample_rat': .*did you mean 'sample_rate'"),
            (MANIFEST + "[more]\n", r"key 'more': .*known: 'citation'"),
            (MANIFEST.replace('licence = "l"\n', ""), r"key 'licence': Field required"),
            (MANIFEST.replace('"1"', "1"), r"key 'version': .*string"),
            (MANIFEST + 'citation = "again"\n', "is not valid TOML"),
            ("name = lab\n", "is not valid TOML"),
            (MANIFEST + "sample_rate = 0\n", "key 'sample_rate'"),
            (MANIFEST + "sample_rate = 22050.5\n", "key 'sample_rate'"),
            (MANIFEST + "sample_rate = true\n", "key 'sample_rate'"),
            (MANIFEST + 'sample_rate = "44.1 kHz"\n', "key 'sample_rate'"),
            (MANIFEST + "target_rms = 0\n", "key 'target_rms'"),
            (MANIFEST + "target_rms = -20\n", "key 'target_rms'"),
            (MANIFEST + "target_rms = inf\n", "key 'target_rms'"),
            (MANIFEST + "target_rms = nan\n", "key 'target_rms'"),
        ],
    )
    def test_is_named(self, tmp_path: Path, manifest: str, message: str) -> None:
        with pytest.raises(StimulusError, match=rf"stimulus_set\.toml(?s:.)*{message}"):
            read_stimulus_set(write_set(tmp_path / "lab", THREE, manifest))

    def test_text_that_is_not_utf8(self, tmp_path: Path) -> None:
        folder = write_set(tmp_path / "lab", THREE)
        (folder / "stimulus_set.toml").write_bytes(MANIFEST.replace("lab", "löb").encode("latin-1"))
        with pytest.raises(StimulusError, match="cannot be read as valid TOML"):
            read_stimulus_set(folder)

    def test_no_manifest(self, tmp_path: Path) -> None:
        (write_set(tmp_path / "lab", THREE) / "stimulus_set.toml").unlink()
        with pytest.raises(StimulusError, match=r"lab is no stimulus set: it has no stimulus_set\.toml"):
            load_stimuli(tmp_path / "lab")


class TestBadFiles:
    def test_missing_files_are_counted_and_named(self, tmp_path: Path) -> None:
        table = HEADER + "x,audio/a.wav,M\ny,audio/nowhere.wav,M\nz,audio,M\n"
        with pytest.raises(StimulusError, match=r"lab: the files of 2 of 3 stimuli are not in .*: y, z$"):
            read_stimulus_set(write_set(tmp_path / "lab", table))

    @pytest.mark.parametrize(
        ("file", "message"),
        [
            ("audio/" + "x" * 300 + ".wav", r"the files of 1 of 1 stimuli are not in .*: y$"),
            ("audio/\0a.wav", r"column 'file': .* has the sign U\+0000, which is not seen"),
        ],
    )
    def test_a_name_that_no_file_can_have(self, tmp_path: Path, file: str, message: str) -> None:
        with pytest.raises(StimulusError, match=message):
            read_stimulus_set(write_set(tmp_path / "lab", HEADER + f"y,{file},M\n"))

    @pytest.mark.parametrize("file", ["../outside.wav", "audio/../../outside.wav", "{outside}"])
    def test_paths_that_lead_out(self, tmp_path: Path, file: str) -> None:
        outside = tmp_path / "outside.wav"
        soundfile.write(outside, noise(5), RATE)
        table = HEADER + f"x,audio/a.wav,M\ny,{file.format(outside=outside)},M\n"
        with pytest.raises(StimulusError, match=r"stimulus 'y': file '.*outside\.wav' leads out of .*lab"):
            read_stimulus_set(write_set(tmp_path / "lab", table))

    @pytest.mark.parametrize("folder_too", [False, True])
    def test_links_that_lead_out(self, tmp_path: Path, folder_too: bool) -> None:
        (tmp_path / "lab2").mkdir()
        soundfile.write(tmp_path / "lab2" / "a.wav", noise(5), RATE)
        folder = write_set(tmp_path / "lab", HEADER + "x,linked/a.wav,M\n")
        if folder_too:
            (folder / "linked").symlink_to(tmp_path / "lab2", target_is_directory=True)
        else:
            (folder / "linked").mkdir()
            (folder / "linked" / "a.wav").symlink_to(tmp_path / "lab2" / "a.wav")
        with pytest.raises(StimulusError, match=r"stimulus 'x': file 'linked/a\.wav' leads out of"):
            read_stimulus_set(folder)

    def test_a_link_within_the_folder_is_fine(self, tmp_path: Path) -> None:
        folder = write_set(tmp_path / "lab", HEADER + "x,linked.wav,M\n")
        (folder / "linked.wav").symlink_to(folder / "audio" / "b.flac")
        np.testing.assert_allclose(read_stimulus_set(folder).waveform("x")[0], noise(1), rtol=0, atol=2**-15)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"", r"'a\.wav' cannot be read as audio \(0 bytes\)"),
            (b"no sound at all", r"'a\.wav' cannot be read as audio \(15 bytes\)"),
            (np.zeros(0), r"'a\.wav' is empty"),
            (np.array([0.0, np.nan, 0.1]), r"'a\.wav' holds NaN"),
        ],
    )
    def test_a_sound_that_cannot_be_used_is_named(
        self, tmp_path: Path, content: bytes | np.ndarray, message: str
    ) -> None:
        folder = write_set(tmp_path / "lab", THREE)
        if isinstance(content, bytes):
            (folder / "audio" / "a.wav").write_bytes(content)
        else:
            soundfile.write(folder / "audio" / "a.wav", content, RATE, subtype="FLOAT")
        stimuli = read_stimulus_set(folder)
        with pytest.raises(StimulusError, match=rf"stimulus 's10' of lab: sound file {message}"):
            stimuli.waveform("s10")
        assert len(stimuli.waveform("s9")[0]) == 4_000

    def test_a_sound_that_vanished_is_named(self, tmp_path: Path) -> None:
        stimuli = read_stimulus_set(write_set(tmp_path / "lab", THREE))
        (tmp_path / "lab" / "audio" / "c.wav").unlink()
        with pytest.raises(StimulusError, match=r"stimulus 's1' of lab: sound file 'c\.wav' is not there"):
            stimuli.waveform("s1")

    def test_another_sample_rate_is_an_error(self, tmp_path: Path) -> None:
        stimuli = read_stimulus_set(write_set(tmp_path / "lab", THREE, MANIFEST + "sample_rate = 44100\n"))
        with pytest.raises(StimulusError, match=r"stimulus 's9' of lab has 16000 Hz, stimulus_set\.toml says 44100 Hz"):
            stimuli.waveform("s9")

    def test_silence_has_no_level_to_bring_up(self, tmp_path: Path) -> None:
        folder = write_set(tmp_path / "lab", THREE, MANIFEST + "target_rms = 0.01\n")
        soundfile.write(folder / "audio" / "a.wav", np.zeros(1_000), RATE)
        with pytest.raises(StimulusError, match=r"stimulus 's10' of lab is silent: .* RMS of 0\.01"):
            read_stimulus_set(folder).waveform("s10")


class TestWaveform:
    @given(st.floats(1e-4, 0.5), st.floats(1e-3, 0.3))
    def test_the_target_level_is_reached(self, target: float, level: float) -> None:
        stimuli = in_memory({"x": noise(3, level).astype(np.float32)}, target_rms=target)
        assert rms(stimuli.waveform("x")[0]) == pytest.approx(target, rel=1e-6)

    def test_the_level_changes_nothing_else(self) -> None:
        stimuli = in_memory({"x": noise(3).astype(np.float32)}, target_rms=0.01)
        waveform = stimuli.waveform("x")[0]
        assert waveform.dtype == np.float32
        assert np.corrcoef(waveform, noise(3))[0, 1] == pytest.approx(1, abs=1e-12)

    def test_without_a_target_the_level_stays(self) -> None:
        samples = noise(3, 0.37).astype(np.float32)
        np.testing.assert_array_equal(in_memory({"x": samples}).waveform("x")[0], samples)

    @pytest.mark.parametrize("rate", [8_000, 22_050, 44_100])
    def test_resampled_on_request(self, rate: int) -> None:
        waveform, found = in_memory({"x": noise(3).astype(np.float32)}).waveform("x", rate)
        assert (found, waveform.dtype) == (rate, np.float32)
        assert len(waveform) == int(np.floor(4_000 * rate / RATE + 0.5))

    def test_the_rate_asked_for_must_be_positive(self) -> None:
        with pytest.raises(StimulusError, match="from 16000 to 0 Hz"):
            in_memory({"x": noise(3).astype(np.float32)}).waveform("x", 0)

    def test_an_unknown_one_gets_a_near_miss(self) -> None:
        stimuli = in_memory({"violin_01": noise(3).astype(np.float32)})
        with pytest.raises(StimulusError, match=r"lab has no stimulus 'violin_1'; did you mean 'violin_01'"):
            stimuli.waveform("violin_1")
        with pytest.raises(StimulusError, match="lab has no stimulus 0;"):
            stimuli.waveform(0)  # type: ignore[arg-type]

    def test_the_digest_is_of_what_is_played(self) -> None:
        samples = noise(3).astype(np.float32)
        plain, levelled = in_memory({"x": samples}), in_memory({"x": samples}, target_rms=0.01)
        assert plain.digest("x") == hashlib.sha256(samples.tobytes() + b"@16000").hexdigest()
        assert levelled.digest("x") != plain.digest("x")
        changed = samples.copy()
        changed[17] = np.nextafter(changed[17], 1)
        assert in_memory({"x": changed}).digest("x") != plain.digest("x")


def in_memory(sounds: dict[str, np.ndarray], target_rms: float | None = None) -> StimulusSet:
    manifest = Manifest(name="lab", version="1", citation="c", licence="l", target_rms=target_rms)
    table = pd.DataFrame(
        {"file": "", "category": ["Music", "Speech", "Nature"][: len(sounds)]},
        index=pd.Index(list(sounds), name="stimulus_id"),
    )
    return StimulusSet(manifest, table, lambda i: (sounds[i], RATE))


class TestSelect:
    stimuli = in_memory({i: noise(k).astype(np.float32) for k, i in enumerate(["s10", "s9", "s1"])})

    def test_by_id_in_the_order_asked_for(self) -> None:
        chosen = self.stimuli.select(["s1", "s10"])
        assert chosen.ids == ["s1", "s10"]
        assert chosen.table["category"].tolist() == ["Nature", "Music"]
        np.testing.assert_array_equal(chosen.waveform("s1")[0], self.stimuli.waveform("s1")[0])
        assert len(self.stimuli) == 3

    def test_by_category_in_the_order_of_the_set(self) -> None:
        assert self.stimuli.select(categories=["Nature", "Music"]).ids == ["s10", "s1"]
        assert self.stimuli.select(["s1", "s9"], categories=["Nature"]).ids == ["s1"]

    def test_one_name_is_one_name(self) -> None:
        assert self.stimuli.select("s10").ids == ["s10"]
        assert self.stimuli.select(categories="Music").ids == ["s10"]

    def test_asking_twice_is_an_error(self) -> None:
        with pytest.raises(StimulusError, match="asked twice for s1"):
            self.stimuli.select(["s1", "s9", "s1"])

    def test_unknown_names_get_near_misses(self) -> None:
        with pytest.raises(StimulusError, match=r"lab has no stimulus s11; did you mean 's1"):
            self.stimuli.select(["s1", "s11"])
        with pytest.raises(StimulusError, match=r"lab has no category music; did you mean 'Music'"):
            self.stimuli.select(categories=["music"])

    def test_nothing_left_is_an_error(self) -> None:
        with pytest.raises(StimulusError, match="no stimulus of lab is left"):
            self.stimuli.select(["s1"], categories=["Music"])
        with pytest.raises(StimulusError, match="no stimulus of lab is left"):
            self.stimuli.select([])


class TestLoad:
    def test_a_slip_in_the_name_gets_a_near_miss(self) -> None:
        with pytest.raises(StimulusError, match=r"'natsounds165'; did you mean 'natsound165'"):
            load_stimuli("natsounds165")

    def test_a_file_is_no_folder(self, tmp_path: Path) -> None:
        (tmp_path / "stimuli.csv").write_text(THREE)
        with pytest.raises(StimulusError, match="no stimulus set and no folder"):
            load_stimuli(tmp_path / "stimuli.csv")

    def test_the_template_that_labs_copy_is_a_set(self, tmp_path: Path) -> None:
        from brainalign._files import shipped

        template = shipped("stimuli") / "template"
        table = (template / "stimuli.csv").read_text(encoding="utf-8")
        folder = write_set(tmp_path / "lab", table, (template / "stimulus_set.toml").read_text(encoding="utf-8"))
        for name in ("violin_01", "rain_01"):
            soundfile.write(folder / "audio" / f"{name}.wav", noise(1), RATE)
        assert load_stimuli(folder).ids == ["violin_01", "rain_01"]
