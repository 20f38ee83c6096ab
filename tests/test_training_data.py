"""What networks are trained on: ontology, corpora, conditions, spectrograms."""

from __future__ import annotations

import gzip
import json
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

from brainalign.errors import StimulusError
from brainalign.models.logmel import LogMel
from brainalign.training.audioset import read_audioset, read_class_labels, read_exclusions
from brainalign.training.conditions import apply_condition, excluded_labels, with_random_labels
from brainalign.training.corpus import Corpus, read_folder, read_label_map, split_off_validation
from brainalign.training.features import log_mels, read_clip
from brainalign.training.ontology import SUNG_VOICE, Ontology, kind_of_clip, music_labels, read_ontology
from brainalign.training.trainer import SHIPPED_LABEL_MAPS

RATE = 22_050
#: A branch with two parents (Bell), a leaf, and the names that the conditions need.
CHILDREN = {
    "Music": ("Musical instrument",),
    "Musical instrument": ("Bell", "Piano"),
    "Bell": (),
    "Piano": (),
    "Human sounds": ("Speech", *SUNG_VOICE),
    "Speech": ("Conversation",),
    "Conversation": (),
    "Vehicle": ("Bicycle", "Car"),
    "Bicycle": ("Bell",),
    "Car": (),
    **dict.fromkeys(SUNG_VOICE, ()),
}
ONTOLOGY = Ontology(CHILDREN)


def corpus_of(labels: list[tuple[str, ...]], splits: list[str], classes: tuple[str, ...] | None = None) -> Corpus:
    clips = pd.DataFrame(
        {"file": [Path(f"{i}.wav") for i in range(len(labels))], "labels": labels, "split": splits},
        index=pd.Index([f"clip{i}" for i in range(len(labels))], name="id"),
    )
    return Corpus("made", clips, classes or tuple(sorted({name for own in labels for name in own})))


def write_sound(path: Path, seconds: float = 0.5, seed: int = 0, amplitude: float = 0.1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = amplitude * np.random.default_rng(seed).standard_normal(int(seconds * RATE))
    soundfile.write(path, samples, RATE, subtype="FLOAT" if path.suffix == ".wav" else None)


class TestOntology:
    def test_a_subtree_follows_all_parents(self) -> None:
        assert ONTOLOGY.subtree("Vehicle") == {"Vehicle", "Bicycle", "Bell", "Car"}
        assert ONTOLOGY.subtree("Piano") == {"Piano"}

    def test_a_cycle_ends(self) -> None:
        assert Ontology({"a": ("b",), "b": ("a",)}).subtree("a") == {"a", "b"}

    def test_an_unknown_category_gets_a_suggestion(self) -> None:
        with pytest.raises(StimulusError, match=r"'Vehicel'; did you mean 'Vehicle'"):
            ONTOLOGY.subtree("Vehicel")

    def test_reads_audiosets_form(self, tmp_path: Path) -> None:
        path = tmp_path / "ontology.json"
        path.write_text(
            json.dumps(
                [{"id": "/m/1", "name": "A", "child_ids": ["/m/2"]}, {"id": "/m/2", "name": "B", "child_ids": []}]
            )
        )
        assert read_ontology(path).children == {"A": ("B",), "B": ()}
        for damaged in ("[", "{}", '[{"id": "/m/1"}]', '[{"id": "/m/1", "name": "A", "child_ids": ["/m/9"]}]'):
            path.write_text(damaged)
            if damaged == "{}":
                assert read_ontology(path).children == {}
                continue
            with pytest.raises(StimulusError, match=r"(is|not) (not JSON, expected )?an ontology"):
                read_ontology(path)

    @pytest.mark.parametrize(
        ("labels", "kind"),
        [
            (("Piano",), "music"),
            (("Piano", "Bell"), "music"),
            (("Piano", "Car"), "mixed"),
            (("Car", "Speech"), "non-music"),
        ],
    )
    def test_kinds_of_clip(self, labels: tuple[str, ...], kind: str) -> None:
        assert kind_of_clip(labels, ONTOLOGY.subtree("Music")) == kind

    @pytest.mark.realdata
    def test_the_published_label_sets_come_out(self, shared_data: Path) -> None:
        data = shared_data
        ontology = read_ontology(data / "audioset" / "ontology.json")
        known = set(read_class_labels(data / "audioset" / "class_labels_indices.csv").values())
        released = set(np.load(data / "kim2024" / "Music_categories.npy").tolist())
        assert len(known) == 527
        assert ontology.subtree("Music") & known == released & known
        assert len(released & known) == 150
        assert len(music_labels(ontology) & known) == 158
        assert len(known - music_labels(ontology)) == 369
        assert len(ontology.subtree("Speech") & known) == 8
        assert len(set(ontology.children["Music genre"]) & known) == 25
        ontology.check(known)


class TestFolder:
    def table(self, folder: Path, rows: str, header: str = "file,labels") -> Path:
        folder.mkdir(exist_ok=True)
        (folder / "metadata.csv").write_text(f"{header}\n{rows}", encoding="utf-8")
        return folder

    def test_labels_are_mapped_and_the_rest_is_counted(self, tmp_path: Path) -> None:
        folder = self.table(tmp_path / "set", "a.wav,dog|pet\nb.wav,hum|dog\nc.wav,pet|xyz\n")
        (tmp_path / "map.csv").write_text('label,audioset\ndog,Dog|Animal\nhum,"Hum"\n')
        corpus = read_folder(folder, tmp_path / "map.csv")
        assert corpus.clips["labels"].tolist() == [("Dog", "Animal"), ("Hum", "Dog", "Animal")]
        assert corpus.clips.index.tolist() == ["a.wav", "b.wav"]
        assert corpus.classes == ("Animal", "Dog", "Hum")
        assert corpus.unmapped == {"pet": 2, "xyz": 1}
        assert sum(corpus.left_out.values()) == 1
        assert corpus.targets().tolist() == [[True, True, False], [True, True, True]]

    def test_without_a_map_labels_are_as_they_are(self, tmp_path: Path) -> None:
        corpus = read_folder(self.table(tmp_path, "a.wav,y|x\n"))
        assert corpus.classes == ("x", "y")

    @pytest.mark.parametrize(
        ("header", "rows", "message"),
        [
            ("file,kind", "a.wav,x\n", "no column 'labels'"),
            ("file,labels", "a.wav,x\nb.wav,\n", "column 'labels' is empty in line 3"),
            ("id,file,labels", "1,a.wav,x\n1,b.wav,x\n", "more than once: 1"),
            ("file,labels,split", "a.wav,x,dev\n", "unknown splits dev"),
            ("file,labels", "../../etc/passwd,x\n", "outside its folder"),
            ("file,labels", "/etc/passwd,x\n", "outside its folder"),
            ("file,labels", "audio/../../a.wav,x\n", r"outside its folder: 'audio/\.\./\.\./a\.wav'"),
        ],
    )
    def test_bad_tables(self, tmp_path: Path, header: str, rows: str, message: str) -> None:
        with pytest.raises(StimulusError, match=message):
            read_folder(self.table(tmp_path / "set", rows, header))

    def test_links_of_the_lab_are_followed(self, tmp_path: Path) -> None:
        """A big corpus lies elsewhere: the folder of sounds, one sound, or the whole set may be a link to it."""
        for name in ("flute0.wav", "flute1.wav"):
            write_sound(tmp_path / "disk" / name)
        folder = self.table(tmp_path / "set", "flute0.wav,x\nsub/flute1.wav,x\n")
        (folder / "audio").symlink_to(tmp_path / "disk", target_is_directory=True)
        (folder / "sub").mkdir()
        (folder / "sub" / "flute1.wav").symlink_to(tmp_path / "disk" / "flute1.wav")
        (tmp_path / "link").symlink_to(folder, target_is_directory=True)
        for root in (folder, tmp_path / "link"):
            files = list(read_folder(root).clips["file"])
            assert [path.resolve() for path in files] == [tmp_path / "disk" / f"flute{i}.wav" for i in range(2)]

    def test_missing_clips(self, tmp_path: Path) -> None:
        folder = self.table(tmp_path / "set", "a.wav,Dog\nb.wav,Dog\nc.wav,Cat\nd.wav,other\n")
        write_sound(folder / "audio" / "a.wav")
        (tmp_path / "map.csv").write_text("label,audioset\nDog,Dog\nCat,Cat\n")
        everything = read_folder(folder, tmp_path / "map.csv")
        assert everything.clips.index.tolist() == ["a.wav", "b.wav", "c.wav"]
        corpus = read_folder(folder, tmp_path / "map.csv", "leave-out")
        assert corpus.clips.index.tolist() == ["a.wav"]
        assert corpus.left_out == {"no label with a name in AudioSet": 1, "clip is not there": 2}
        assert corpus.classes == everything.classes == ("Cat", "Dog")

    def test_a_missing_table_and_a_double_mapping(self, tmp_path: Path) -> None:
        with pytest.raises(StimulusError, match=r"no file .*metadata\.csv, expected a table"):
            read_folder(tmp_path)
        (tmp_path / "map.csv").write_text("label,audioset\ndog,Dog\ndog,Cat\n")
        with pytest.raises(StimulusError, match="more than once: dog"):
            read_label_map(tmp_path / "map.csv")


class TestSplit:
    def test_a_tenth_as_published(self) -> None:
        # Kim et al. 2024: 17,902 clips are split into 16,112 and 1,790
        corpus = corpus_of([("a",)] * 17_902 + [("b",)] * 5, ["train"] * 17_902 + ["test"] * 5)
        split = split_off_validation(corpus)
        assert Counter(split.clips["split"]) == {"train": 16_112, "val": 1_790, "test": 5}
        assert split.clips["split"].equals(split_off_validation(corpus).clips["split"])
        assert not split.clips["split"].equals(split_off_validation(corpus, seed=1).clips["split"])
        assert set(corpus.clips["split"]) == {"train", "test"}  # the input is left as it was

    def test_a_named_split_is_kept(self) -> None:
        corpus = corpus_of([("a",)] * 20, ["train"] * 19 + ["val"])
        assert split_off_validation(corpus) is corpus


class TestConditions:
    LABELS = (("Piano",), ("Car", "Bell"), ("Speech",), ("Singing", "Car"), ("Car",))

    def corpus(self) -> Corpus:
        splits = [split for split in ("train", "val", "test") for _ in self.LABELS]
        return corpus_of(list(self.LABELS) * 3, splits)

    @pytest.mark.parametrize(
        ("condition", "kept"),
        [
            ("all", (0, 1, 2, 3, 4)),
            ("no-music", (2, 4)),
            ("no-music-no-speech", (4,)),
            ("exclude:Speech", (0, 1, 3, 4)),
            ("exclude:Vehicle", (0, 2)),
        ],
    )
    def test_what_a_network_hears(self, condition: str, kept: tuple[int, ...]) -> None:
        heard = apply_condition(self.corpus(), condition, ONTOLOGY)
        for split in ("train", "val"):
            assert heard.clips["labels"].iloc[heard.of(split)].tolist() == [self.LABELS[i] for i in kept]
        assert len(heard.of("test")) == len(self.LABELS)
        assert heard.classes == self.corpus().classes
        left_out = 2 * (len(self.LABELS) - len(kept))
        assert sum(heard.left_out.values()) == left_out

    def test_clips_removed_by_hand(self) -> None:
        corpus = corpus_of([("Car",)] * 4, ["train", "train", "val", "test"])
        by_hand = ("clip0", "clip3", "other")
        assert apply_condition(corpus, "no-music", ONTOLOGY, by_hand=by_hand).clips.index.tolist() == [
            "clip1",
            "clip2",
            "clip3",
        ]
        assert len(apply_condition(corpus, "all", ONTOLOGY, by_hand=by_hand).clips) == 4

    def test_an_empty_class_after_exclusion(self) -> None:
        corpus = corpus_of([("Piano",), ("Car",), ("Piano",)], ["train", "train", "val"])
        message = r"'no-music' leaves no val clips of 'made' \(1 before\); left out in all: 2 \(labels excluded by 'no-"
        with pytest.raises(StimulusError, match=message):
            apply_condition(corpus, "no-music", ONTOLOGY)

    def test_a_label_that_the_ontology_does_not_know(self) -> None:
        message = r"does not know the labels 'Kar', 'Xyz'; did you mean 'Car'\?; .*label_map = .*docs/training\.md"
        with pytest.raises(StimulusError, match=message):
            apply_condition(corpus_of([("Kar", "Xyz")] * 2, ["train", "val"]), "all", ONTOLOGY)

    def test_an_unknown_condition(self) -> None:
        with pytest.raises(StimulusError, match="unknown training condition 'no music'"):
            excluded_labels("no music", ONTOLOGY)

    def test_random_labels_keep_their_number_and_are_uniform(self) -> None:
        classes = tuple("abcdefgh")
        labels = [classes[: 1 + i % 4] for i in range(4_000)]
        corpus = corpus_of(labels, ["train", "val"] * 1_900 + ["test"] * 200, classes)
        drawn = with_random_labels(corpus, seed=3)
        assert [len(own) for own in drawn.clips["labels"]] == [len(own) for own in labels]
        assert all(len(set(own)) == len(own) for own in drawn.clips["labels"])
        assert drawn.clips["labels"].iloc[3_800:].tolist() == labels[3_800:]
        trained = drawn.targets()[:3_800]
        # each class is drawn with probability k / 8, k = 1 to 4: mean 2.5 / 8; the bound is 5 standard errors
        assert np.abs(trained.mean(axis=0) - 2.5 / 8).max() < 5 * np.sqrt(0.3125 * 0.6875 / 3_800)
        # k of 8 labels drawn without regard to the k own ones share k * k / 8 with them, hypergeometric variance
        n_own = corpus.targets()[:3_800].sum(axis=1)
        shared = (trained & corpus.targets()[:3_800]).sum(axis=1)
        variance = n_own * (n_own / 8) * (1 - n_own / 8) * (8 - n_own) / 7
        assert abs((shared - n_own**2 / 8).sum()) < 5 * np.sqrt(variance.sum())
        assert with_random_labels(corpus, seed=3).clips.equals(drawn.clips)
        assert not with_random_labels(corpus, seed=4).clips.equals(drawn.clips)

    def test_random_labels_differ_from_no_music_in_the_labels_alone(self) -> None:
        corpus = self.corpus()
        own = apply_condition(corpus, "no-music", ONTOLOGY).clips
        drawn = apply_condition(corpus, "random-labels", ONTOLOGY).clips
        assert own.index.equals(drawn.index)
        assert own[["file", "split"]].equals(drawn[["file", "split"]])


class TestAudioSet:
    HEAD = "# made\n# num_ytids=3\n# YTID, start_seconds, end_seconds, positive_labels\n"

    def layout(self, folder: Path, rows: str) -> Path:
        folder.mkdir(exist_ok=True)
        (folder / "class_labels_indices.csv").write_text(
            'index,mid,display_name\n0,/m/1,"Speech"\n1,/m/2,"Male speech, man speaking"\n2,/m/3,Piano\n'
        )
        (folder / "balanced_train_segments.csv").write_text(self.HEAD + rows)
        return folder

    ROWS = '-0abc, 30.000, 40.000, "/m/1,/m/2"\nxyz_9, 0.000, 10.000, "/m/3"\n_q-1, 5.000, 15.000, "/m/1"\n'

    def test_wav_wav_gz_and_flac_by_youtube_id(self, tmp_path: Path) -> None:
        folder = self.layout(tmp_path, self.ROWS)
        (folder / "eval_segments.csv").write_text(self.HEAD + 'test1, 30.000, 40.000, "/m/3"\n')
        write_sound(folder / "train" / "-0abc_30.000.wav", seed=1)
        write_sound(folder / "xyz_9.flac", seed=2)
        write_sound(tmp_path / "plain.wav", seed=3)
        for name in ("_q-1_5.000.wav.gz", "test1.wav.gz"):
            (folder / name).write_bytes(gzip.compress((tmp_path / "plain.wav").read_bytes()))
        unpacked, _ = soundfile.read(tmp_path / "plain.wav", dtype="float32")
        (tmp_path / "plain.wav").unlink()
        corpus = read_audioset(folder)
        assert corpus.clips.index.tolist() == ["-0abc_30.000", "xyz_9_0.000", "_q-1_5.000", "test1_30.000"]
        assert corpus.clips["labels"].tolist() == [
            ("Speech", "Male speech, man speaking"),
            ("Piano",),
            ("Speech",),
            ("Piano",),
        ]
        assert corpus.clips["split"].tolist() == ["train", "train", "train", "test"]
        assert corpus.classes == ("Speech", "Male speech, man speaking", "Piano")
        np.testing.assert_array_equal(read_clip(corpus.clips["file"].iloc[2]), unpacked)

    def test_missing_clips(self, tmp_path: Path) -> None:
        folder = self.layout(tmp_path, self.ROWS)
        write_sound(folder / "xyz_9.wav")
        with pytest.raises(StimulusError, match=r"2 of 3 clips .* -0abc_30.000, _q-1_5.000; .*leave-out"):
            read_audioset(folder)
        corpus = read_audioset(folder, missing_clips="leave-out")
        assert corpus.clips.index.tolist() == ["xyz_9_0.000"]
        assert corpus.left_out == {"clip is not there": 2}
        write_sound(folder / "again" / "xyz_9.flac")
        with pytest.raises(StimulusError, match="'xyz_9' is there twice"):
            read_audioset(folder)

    def test_sounds_behind_links_are_found_once(self, tmp_path: Path) -> None:
        folder = self.layout(tmp_path / "set", 'xyz_9, 0.000, 10.000, "/m/3"\n')
        write_sound(tmp_path / "disk" / "sub" / "xyz_9.wav")
        (tmp_path / "disk" / "ring").symlink_to(tmp_path / "disk", target_is_directory=True)
        for name in ("audio", "audio-again"):
            (folder / name).symlink_to(tmp_path / "disk", target_is_directory=True)
        assert read_audioset(folder).clips["file"].tolist() == [folder / "audio" / "sub" / "xyz_9.wav"]

    @pytest.mark.parametrize(
        ("rows", "message"),
        [
            ('a, 0.0, 10.0, "/m/7,/m/1"\n', "labels that class_labels_indices.csv does not: '/m/7'"),
            ('a, zero, 10.0, "/m/1"\n', "cannot be read as a segment list"),
            ('a, 0.0, 10.0, "/m/1"\na, 0.0, 10.0, "/m/1"\n', "listed more than once: a_0.000"),
        ],
    )
    def test_bad_segment_lists(self, tmp_path: Path, rows: str, message: str) -> None:
        with pytest.raises(StimulusError, match=message):
            read_audioset(self.layout(tmp_path, rows))

    def test_a_list_without_its_header(self, tmp_path: Path) -> None:
        folder = self.layout(tmp_path, "")
        (folder / "balanced_train_segments.csv").write_text(self.ROWS)
        with pytest.raises(StimulusError, match="three lines of comment"):
            read_audioset(folder)


class TestExclusions:
    NAMESPACE = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'

    def spreadsheet(self, path: Path, shared: str, cells: str) -> Path:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("xl/sharedStrings.xml", f"{shared}")
            archive.writestr(
                "xl/worksheets/sheet1.xml", f"<worksheet {self.NAMESPACE}><sheetData>{cells}</sheetData></worksheet>"
            )
        return path

    def test_names_are_read_without_the_slips(self, tmp_path: Path) -> None:
        shared = (
            f"<sst {self.NAMESPACE}><si><t>Name: -A_30.000.wav</t></si><si><t>B_0.000.wav</t></si>"
            "<si><r><t>C_</t></r><r><t>1.000.wav</t></r></si></sst>"
        )
        cells = (
            '<row r="1"><c r="A1" t="s"><v>0</v></c><c r="B1" t="s"><v>1</v></c></row>'
            '<row r="2"><c r="A2" t="s"><v>2</v></c></row>'
            '<row r="3"><c r="A3" t="inlineStr"><is><t>D</t></is></c></row>'
        )
        path = self.spreadsheet(tmp_path / "a.xlsx", shared, cells)
        assert read_exclusions(path) == ("-A_30.000", "C_1.000", "D")
        (tmp_path / "a.txt").write_text("-A_30.000.wav\n\nB\n")
        assert read_exclusions(tmp_path / "a.txt") == ("-A_30.000", "B")

    def test_bad_lists(self, tmp_path: Path) -> None:
        bomb = f'<!DOCTYPE sst [<!ENTITY a "aaaa">]><sst {self.NAMESPACE}><si><t>&a;</t></si></sst>'
        with pytest.raises(StimulusError, match="declares entities"):
            read_exclusions(self.spreadsheet(tmp_path / "a.xlsx", bomb, ""))
        (tmp_path / "b.xlsx").write_text("not a spreadsheet")
        (tmp_path / "c.txt").write_text("\n")
        for name in ("b.xlsx", "c.txt", "missing.txt"):
            with pytest.raises(StimulusError, match="list of clips"):
                read_exclusions(tmp_path / name)

    @pytest.mark.realdata
    def test_the_published_list(self, shared_data: Path) -> None:
        names = read_exclusions(shared_data / "kim2024" / "filenames.xlsx")
        assert len(names) == 507
        assert names[0] == "-A0MTi2NMGI_30.000"
        # a YouTube id has eleven letters; then the start in seconds
        assert all(len(name.rpartition("_")[0]) == 11 and float(name.rpartition("_")[2]) >= 0 for name in names)


class TestLogMels:
    def test_each_row_is_the_front_end_of_the_clip(self, tmp_path: Path) -> None:
        lengths = [0.4, 3.0, 275 * 8 / RATE]
        files = [tmp_path / f"{i}.wav" for i in range(3)]
        for i, (path, seconds) in enumerate(zip(files, lengths, strict=True)):
            write_sound(path, seconds, seed=i, amplitude=0.1 * (i + 1))
        result = log_mels(files, mean_rms=0.01)
        waveforms = [soundfile.read(path, dtype="float32")[0] for path in files]
        levels = [np.sqrt(np.mean(w.astype(float) ** 2)) for w in waveforms]
        assert result.mean_rms == pytest.approx(np.mean(levels))
        assert result.gain == pytest.approx(0.01 / np.mean(levels))
        for row, n, waveform in zip(result.values, result.n_frames, waveforms, strict=True):
            expected = LogMel()(torch.from_numpy(waveform * np.float32(result.gain))[None])[0, 0].numpy()
            assert n == expected.shape[1]
            np.testing.assert_array_equal(row[:, :n], expected)
            assert (row[:, n:] == -100).all()

    def test_files_are_resampled_and_mixed_down(self, tmp_path: Path) -> None:
        t = np.arange(44_100) / 44_100
        stereo = np.stack([np.sin(2 * np.pi * 1000 * t), np.zeros_like(t)], axis=1)
        soundfile.write(tmp_path / "a.wav", stereo, 44_100, subtype="FLOAT")
        waveform = read_clip(tmp_path / "a.wav")
        assert len(waveform) == RATE
        inner = slice(2_000, -2_000)
        expected = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(RATE) / RATE)
        np.testing.assert_allclose(waveform[inner], expected[inner], atol=1e-3)

    def test_the_cache_follows_content_and_level(self, tmp_path: Path) -> None:
        path, cache = tmp_path / "a.wav", tmp_path / "cache"
        write_sound(path, seed=1)
        first = log_mels([path], cache=cache)
        assert len(list(cache.glob("*.npy"))) == 1
        stamp = next(cache.glob("*.npy")).stat().st_mtime_ns
        np.testing.assert_array_equal(log_mels([path], cache=cache).values, first.values)
        assert next(cache.glob("*.npy")).stat().st_mtime_ns == stamp
        louder = log_mels([path], cache=cache, mean_rms=0.3)
        assert (louder.values - first.values)[0, :, : first.n_frames[0]] == pytest.approx(20 * np.log10(3), abs=0.05)
        write_sound(path, seed=2)
        assert not np.array_equal(log_mels([path], cache=cache).values, first.values)
        assert len(list(cache.glob("*.npy"))) == 3

    def test_all_unreadable_clips_are_reported_together(self, tmp_path: Path) -> None:
        write_sound(tmp_path / "good.wav")
        write_sound(tmp_path / "short.wav", seconds=0.005)
        (tmp_path / "noise.wav").write_bytes(b"RIFFxxxx")
        (tmp_path / "cut.wav.gz").write_bytes(gzip.compress((tmp_path / "good.wav").read_bytes())[:500])
        names = ["good.wav", "missing.wav", "short.wav", "noise.wav", "cut.wav.gz"]
        with pytest.raises(StimulusError, match="4 of 5 clips") as error:
            log_mels([tmp_path / name for name in names], cache=tmp_path / "cache")
        assert all(name in str(error.value) for name in names[1:])
        assert 'missing_clips = "leave-out"' in str(error.value)
        with pytest.raises(StimulusError, match=r"2 of 2 clips .*; mend them, or take them out of the table$"):
            log_mels([tmp_path / name for name in names[2:4]])
        assert not (tmp_path / "cache").exists()

    def test_silence_has_no_level(self, tmp_path: Path) -> None:
        soundfile.write(tmp_path / "a.wav", np.zeros(RATE), RATE)
        with pytest.raises(StimulusError, match="silent"):
            log_mels([tmp_path / "a.wav"], mean_rms=0.1)


@pytest.mark.realdata
class TestMinisounds:
    @pytest.fixture
    def raw(self, shared_data: Path) -> pd.DataFrame:
        return pd.read_csv(
            shared_data / "minisounds" / "metadata.csv", dtype=str, keep_default_na=False, index_col="id"
        )

    @pytest.fixture
    def corpus(self, shared_data: Path) -> Corpus:
        return read_folder(shared_data / "minisounds", SHIPPED_LABEL_MAPS["minisounds"])

    def test_the_label_map_names_only_what_both_sides_know(self, shared_data: Path, raw: pd.DataFrame) -> None:
        known = set(read_class_labels(shared_data / "audioset" / "class_labels_indices.csv").values())
        table = read_label_map(SHIPPED_LABEL_MAPS["minisounds"])
        assert {name for names in table.values() for name in names} <= known
        assert set(table) <= {label for own in raw["labels"] for label in own.split("|")}

    @pytest.mark.parametrize("condition", ["no-music", "random-labels", "no-music-no-speech"])
    def test_no_music_reaches_a_network_without_music(
        self, condition: str, shared_data: Path, raw: pd.DataFrame, corpus: Corpus
    ) -> None:
        ontology = read_ontology(shared_data / "audioset" / "ontology.json")
        heard = apply_condition(corpus, condition, ontology).clips
        heard = heard[heard["split"] != "test"]
        own = raw.loc[heard.index]
        table = read_label_map(SHIPPED_LABEL_MAPS["minisounds"])
        names = [{n for label in labels.split("|") for n in table.get(label, ())} for labels in own["labels"]]
        assert len(heard) > 1_000
        assert (own["has_music"] == "0").all()
        assert not any("music" in labels.split("|") for labels in own["labels"])
        assert all(music_labels(ontology).isdisjoint(own_names) for own_names in names)
        if condition == "no-music-no-speech":
            assert (own["has_speech"] == "0").all()
        else:
            assert (own["has_speech"] == "1").any()

    def test_splits_share_no_recording(self, raw: pd.DataFrame, corpus: Corpus) -> None:
        groups = raw.loc[corpus.clips.index, "group"]
        assert pd.crosstab(groups, corpus.clips["split"]).gt(0).sum(axis=1).max() == 1

    def test_every_clip_is_used_or_counted(self, raw: pd.DataFrame, corpus: Corpus) -> None:
        assert len(corpus.clips) + sum(corpus.left_out.values()) == len(raw) == 4_965
