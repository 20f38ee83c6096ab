"""A set of one's own: what the folder says is what the set says, and no sound is lost, doubled or touched."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import soundfile

from brainalign._files import sha256
from brainalign.errors import StimulusError
from brainalign.stimuli import StimulusSet, load_stimuli
from brainalign.stimuli.checks import check_stimuli
from brainalign.stimuli.create import create_stimulus_set, other_files

RATE = 16_000


def put(folder: Path, *files: str) -> Path:
    """Put a sound (noise of its own) at each path beneath a folder."""
    for seed, file in enumerate(files):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / file, 0.1 * np.random.default_rng(seed).normal(size=4_000), RATE)
    return folder


def rows(stimuli: StimulusSet) -> list[tuple[str, str, str]]:
    return [(str(i), str(r["file"]), str(r["category"])) for i, r in stimuli.table.iterrows()]


class TestFromFolders:
    def test_sub_folders_are_categories(self, tmp_path: Path) -> None:
        wavs = put(tmp_path / "wavs", "Music/violin.wav", "Music/piano/chord.flac", "Nature/rain.wav")
        (wavs / "notes.txt").write_text("x")
        (wavs / "Music" / "._violin.wav").write_text("what macOS leaves")
        before = {p: (sha256(p), p.stat().st_mtime_ns) for p in wavs.rglob("*") if p.is_file()}
        stimuli = create_stimulus_set(tmp_path / "lab", wavs, citation="Us 2024", licence="CC0")
        assert {p: (sha256(p), p.stat().st_mtime_ns) for p in wavs.rglob("*") if p.is_file()} == before
        assert rows(stimuli) == [
            ("chord", "audio/Music/piano/chord.flac", "Music"),
            ("violin", "audio/Music/violin.wav", "Music"),
            ("rain", "audio/Nature/rain.wav", "Nature"),
        ]
        for stimulus_id, file, _ in rows(stimuli):
            assert sha256(tmp_path / "lab" / file) == sha256(wavs / file.removeprefix("audio/")), stimulus_id
        assert (stimuli.name, stimuli.manifest.citation, stimuli.manifest.licence) == ("lab", "Us 2024", "CC0")
        assert other_files(wavs) == ["Music/._violin.wav", "notes.txt"]
        assert load_stimuli(tmp_path / "lab").ids == stimuli.ids

    def test_a_flat_folder_has_no_categories_and_the_check_says_so(self, tmp_path: Path) -> None:
        stimuli = create_stimulus_set(tmp_path / "lab", put(tmp_path / "wavs", "a.wav", "b.wav"))
        assert stimuli.categories == ["uncategorised"]
        checks = {f.check: f.message for f in check_stimuli(stimuli).findings}
        assert {"categories", "citation", "licence"} <= set(checks)
        assert checks["citation"] == "stimulus_set.toml does not say how to cite these sounds"

    def test_sounds_that_lie_in_the_folder_already_are_not_copied(self, tmp_path: Path) -> None:
        put(tmp_path / "lab", "wavs/A/a.wav", "wavs/B/b.wav")
        stimuli = create_stimulus_set(tmp_path / "lab", tmp_path / "lab" / "wavs")
        assert rows(stimuli) == [("a", "wavs/A/a.wav", "A"), ("b", "wavs/B/b.wav", "B")]
        assert len(list((tmp_path / "lab").rglob("*.wav"))) == 2
        put(tmp_path / "here", "A/a.wav", "B/b.wav")
        assert create_stimulus_set(tmp_path / "here", tmp_path / "here").table["file"].tolist() == [
            "A/a.wav",
            "B/b.wav",
        ]

    @pytest.mark.parametrize("name", ["with space", "Vögel 鳥", "a..b", 'quote"d, comma', "100%", "#1", "-rf"])
    def test_names(self, tmp_path: Path, name: str) -> None:
        stimuli = create_stimulus_set(tmp_path / f"set {name}", put(tmp_path / "wavs", f"{name}/{name}.wav"))
        assert rows(stimuli) == [(name, f"audio/{name}/{name}.wav", name)]
        assert stimuli.name == f"set {name}"
        assert len(stimuli.waveform(name)[0]) == 4_000

    @pytest.mark.parametrize("files", [("A/a.wav", "B/a.wav"), ("A/a.wav", "A/a.flac")])
    def test_two_sounds_of_one_name(self, tmp_path: Path, files: tuple[str, str]) -> None:
        with pytest.raises(StimulusError, match=r"2 sounds have the id 'a': .*a\.(wav|flac), .*; rename them, or give"):
            create_stimulus_set(tmp_path / "lab", put(tmp_path / "wavs", *files))
        assert not (tmp_path / "lab").exists()

    def test_some_in_sub_folders_some_not(self, tmp_path: Path) -> None:
        with pytest.raises(StimulusError, match=r"1 sounds lie in sub-folders.* but 1 do not: loose\.wav; move"):
            create_stimulus_set(tmp_path / "lab", put(tmp_path / "wavs", "A/a.wav", "loose.wav"))

    def test_no_sounds_and_no_folder(self, tmp_path: Path) -> None:
        (tmp_path / "wavs").mkdir()
        with pytest.raises(StimulusError, match=r"wavs holds no sounds; expected files that end in \.aif"):
            create_stimulus_set(tmp_path / "lab", tmp_path / "wavs")
        with pytest.raises(StimulusError, match=r"there is no folder .*nowhere"):
            create_stimulus_set(tmp_path / "lab", tmp_path / "nowhere")

    def test_nothing_is_overwritten(self, tmp_path: Path) -> None:
        wavs = put(tmp_path / "wavs", "A/a.wav")
        create_stimulus_set(tmp_path / "lab", wavs)
        with pytest.raises(StimulusError, match="lab holds a stimulus set already"):
            create_stimulus_set(tmp_path / "lab", wavs)
        put(tmp_path / "other", "thesis.wav")
        with pytest.raises(StimulusError, match="other is not empty"):
            create_stimulus_set(tmp_path / "other", wavs)

    def test_a_failed_copy_leaves_nothing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*_: object) -> None:
            raise KeyboardInterrupt

        wavs = put(tmp_path / "wavs", "A/a.wav")
        monkeypatch.setattr("shutil.copyfile", fail)
        with pytest.raises(KeyboardInterrupt):
            create_stimulus_set(tmp_path / "lab", wavs)
        assert [p.name for p in tmp_path.iterdir()] == ["wavs"]

    def test_the_set_may_be_moved(self, tmp_path: Path) -> None:
        create_stimulus_set(tmp_path / "lab", put(tmp_path / "wavs", "A/a.wav"))
        (tmp_path / "lab").rename(tmp_path / "moved")
        assert len(load_stimuli(tmp_path / "moved").waveform("a")[0]) == 4_000
        assert (tmp_path / "moved").stat().st_mode == (tmp_path / "wavs").stat().st_mode


class TestFromTables:
    @pytest.fixture
    def wavs(self, tmp_path: Path) -> Path:
        return put(tmp_path / "wavs", "x/a.wav", "y/b.wav")

    def create(self, tmp_path: Path, table: str | bytes) -> StimulusSet:
        path = tmp_path / "table.csv"
        path.write_bytes(table if isinstance(table, bytes) else table.encode())
        return create_stimulus_set(tmp_path / "lab", tmp_path / "wavs", path)

    def test_in_the_order_of_the_table_with_its_columns(self, tmp_path: Path, wavs: Path) -> None:
        stimuli = self.create(
            tmp_path, "note,category,file,stimulus_id\nNA,Music,y/b.wav,007\n,Speech,x/a.wav,second\n"
        )
        assert rows(stimuli) == [("007", "audio/y/b.wav", "Music"), ("second", "audio/x/a.wav", "Speech")]
        assert stimuli.table["note"].tolist() == ["NA", ""]

    @pytest.mark.parametrize(
        "table",
        [
            "stimulus_id,category\na,Music\nb,Speech\n",
            "file,category\nx/a.wav,Music\ny/b.wav,Speech\n",
            "file, category\nx/a.wav, Music\ny/b.wav, Speech\n",
        ],
    )
    @pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
    def test_by_id_or_by_file_with_or_without_a_byte_order_mark(
        self, tmp_path: Path, wavs: Path, table: str, mark: bytes
    ) -> None:
        stimuli = self.create(tmp_path, mark + table.encode())
        assert rows(stimuli) == [("a", "audio/x/a.wav", "Music"), ("b", "audio/y/b.wav", "Speech")]

    @pytest.mark.parametrize(
        ("table", "message"),
        [
            ("file,kind\nx/a.wav,M\n", r"has the columns file, kind; it needs category, and file or stimulus_id"),
            ("category\nM\n", "it needs category, and file or stimulus_id"),
            ("file;category\nx/a.wav;M\n", "it needs category, .* separator seems to be ';': save it with commas"),
            ("file, category,category\nx/a.wav, M,M\ny/b.wav, M,M\n", "has two columns 'category'"),
            ("file,category\n", "lists no sound"),
            ("file,category\nx/a.wav,M\ny/b.wav, \n", r"table\.csv: category is empty for 'y/b\.wav' \(row 2 below"),
            ("stimulus_id,category\n,M\n,M\n", "stimulus_id is empty for a sound \\(row 1 .* and 1 more"),
            ("file,category\nx/a.wav,M\n", r"1 sounds in .* are not in .*: y/b\.wav; list them or move them away"),
            ("file,category\nx/a.wav,M\ny/b.wav,M\nz.wav,M\n", r"lists 1 sounds that are not in .*: z\.wav"),
            ("stimulus_id,category\na,M\nb,M\nc,M\n", r"lists 1 sounds that are not in .*: c$"),
            ("file,category\nx/a.wav,M\ny/b.wav,M\n../table.csv,M\n", r"not in .*: \.\./table\.csv"),
            ("file,stimulus_id,category\nx/a.wav,s,M\ny/b.wav,s,M\n", "2 sounds have the id 's': x/a"),
            ("file,category\nx/a.wav,M\nx/a.wav,M\ny/b.wav,M\n", "2 sounds have the id 'a'"),
            (b"file,category\nx/a.wav,M\xf6\n", "cannot be read as a table: 'utf-8'.*; save it as UTF-8"),
        ],
    )
    def test_bad_tables(self, tmp_path: Path, wavs: Path, table: str | bytes, message: str) -> None:
        with pytest.raises(StimulusError, match=message):
            self.create(tmp_path, table)
        assert not (tmp_path / "lab").exists()

    @pytest.mark.parametrize(
        ("table", "message"),
        [
            ("file,category\nx/a.wav,M\ny/b.wav,\n", "category is empty for 'y/b"),
            ("file,category\nx/a.wav,Music\ny/b.wav,music\n", "differ in case only"),
        ],
    )
    def test_what_makes_no_set_is_not_left_there(self, tmp_path: Path, wavs: Path, table: str, message: str) -> None:
        with pytest.raises(StimulusError, match=message):
            self.create(tmp_path, table)
        assert not (tmp_path / "lab").exists()

    def test_no_table(self, tmp_path: Path, wavs: Path) -> None:
        with pytest.raises(StimulusError, match=r"no file .*nowhere\.csv, expected a table"):
            create_stimulus_set(tmp_path / "lab", wavs, tmp_path / "nowhere.csv")

    def test_an_id_for_which_there_are_two_files(self, tmp_path: Path) -> None:
        put(tmp_path / "wavs", "x/a.wav", "y/a.wav")
        with pytest.raises(
            StimulusError, match=r"several files fit a \(x/a\.wav, y/a\.wav\); name the file in a column"
        ):
            self.create(tmp_path, "stimulus_id,category\na,M\n")


TEMPLATE = Path(__file__).parents[1] / "template"


@pytest.mark.skipif(not TEMPLATE.is_dir(), reason="runs from an installed package, not from a checkout")
def test_the_template_package_passes_its_own_test(tmp_path: Path) -> None:
    project = tomllib.loads((TEMPLATE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (entry,) = project["entry-points"]["brainalign.stimuli"].items()
    # What pip would write: the name of the distribution and its entry points.
    installed = tmp_path / "my_sounds-1.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: 1\n")
    (installed / "entry_points.txt").write_text("[brainalign.stimuli]\n{} = {}\n".format(*entry))
    code = (
        f"import sys; sys.path[:0] = {[str(tmp_path), str(TEMPLATE / 'src')]!r}; import pytest; sys.exit(pytest.main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code.replace("main()", "main(['-q', '-p', 'no:cacheprovider', 'tests'])")],
        capture_output=True,
        text=True,
        check=False,
        cwd=TEMPLATE,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "5 passed" in done.stdout
