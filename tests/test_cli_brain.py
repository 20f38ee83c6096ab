"""``brainalign brain``: what there is, and responses out of images, ready for a recipe."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from typer.testing import CliRunner, Result

from brainalign.brain import BRAINS, BrainData, load_brain
from brainalign.cli.brain import app
from brainalign.errors import BrainError
from brainalign.responses import make_responses, save_responses

TR = 2.0
SOUNDS = ["alarm", "bell", "cello"]
RNG = np.random.default_rng(3)
#: Plateau of each of 6 voxels in each sound's block.
PLANTED = RNG.uniform(1, 5, size=(3, 6))


def brain(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


def says(result: Result) -> str:
    """Return the message of the error; the main program prints it in one line."""
    assert isinstance(result.exception, BrainError), result.output
    return str(result.exception)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two subjects, one run of three blocks of 8 s; an image holds 100 + the plateau of the block, at once."""
    root = tmp_path / "lab"
    for s in ("sub-01", "sub-02"):
        stem = root / s / "func" / f"{s}_task-listen"
        stem.parent.mkdir(parents=True)
        rows = [f"{4 + 16 * i}\t8\t{sound}\t{'bells' if i < 2 else 'strings'}" for i, sound in enumerate(SOUNDS)]
        Path(f"{stem}_events.tsv").write_text("\n".join(["onset\tduration\ttrial_type\tkind", *rows]) + "\n")
        series = np.full((28, 6), 100.0)
        for i in range(3):
            series[2 + 8 * i : 6 + 8 * i] += PLANTED[i]
        image = nibabel.Nifti1Image(series.T.reshape(3, 2, 1, -1).astype(np.float32), np.eye(4))
        image.header.set_zooms((1, 1, 1, TR))
        nibabel.save(image, f"{stem}_bold.nii")
    (root / "task-listen_bold.json").write_text(json.dumps({"RepetitionTime": TR}))
    nibabel.save(nibabel.Nifti1Image(np.ones((3, 2, 1), dtype=np.uint8), np.eye(4)), root / "mask.nii")
    return root


class TestFromBids:
    def test_written_for_a_recipe(self, folder: Path, tmp_path: Path) -> None:
        out = tmp_path / "lab.nc"
        options = ["--task", "listen", "--mask", "mask.nii", "--category", "kind", "--design", "block", "--delay-s", 0]
        done = brain("from-bids", folder, "--out", out, *options, 'drift="none"', 'scaling="none"')
        assert done.exit_code == 0, (done.output, done.exception)
        assert done.output.splitlines() == [
            f"{out}: 3 stimuli x 12 units",
            "subjects: sub-01 6, sub-02 6",
            f'in a recipe: [brain] name = "table", path = "{out}"',
        ]
        loaded = load_brain("table", path=str(out))
        assert loaded.responses["category"].values.tolist() == ["bells", "bells", "strings"]
        assert loaded.responses["unit"].values.tolist()[:2] == ["sub-01_v0", "sub-01_v1"]
        assert loaded.responses.attrs["grid"].tolist() == [3, 2, 1]
        np.testing.assert_allclose(loaded.responses, 100 + np.hstack([PLANTED, PLANTED]), rtol=1e-6)

    def test_blocks_against_silence(self, folder: Path, tmp_path: Path) -> None:
        for path in folder.glob("sub-*/func/*_events.tsv"):
            path.write_text(path.read_text() + "".join(f"{12 + 16 * i}\t8\trest\tn/a\n" for i in range(3)))
        options = ["--mask", "mask.nii", "--design", "block", "--delay-s", 0, 'drift="none"']
        further = 'estimation={silence="rest", acquisitions=[2, 3]}'
        done = brain("from-bids", folder, "--out", tmp_path / "lab.nc", *options, further)
        assert done.exit_code == 0, (done.output, done.exception)
        percent = load_brain("table", path=str(tmp_path / "lab.nc")).responses
        assert percent["stimulus"].values.tolist() == SOUNDS
        np.testing.assert_allclose(percent, np.hstack([PLANTED, PLANTED]), rtol=1e-4)

    def test_a_broken_subject_is_named_and_stays_in_the_file(self, folder: Path, tmp_path: Path) -> None:
        (folder / "sub-02/func/sub-02_task-listen_bold.nii").write_bytes(b"nothing")
        out = tmp_path / "lab.nc"
        stopped = brain("from-bids", folder, "--out", out, "--mask", "mask.nii")
        assert "sub-02_task-listen: sub-02_task-listen_bold.nii cannot be read as an image" in says(stopped)
        assert not out.exists()
        done = brain("from-bids", folder, "--out", out, "--mask", "mask.nii", "--skip-broken")
        assert done.exit_code == 0, (done.output, done.exception)
        (note,) = [line for line in done.output.splitlines() if line.startswith("note: ")]
        assert note.startswith("note: sub-02 is left out: sub-02_task-listen: ")
        assert load_brain("table", path=str(out)).warnings == (note.removeprefix("note: "),)
        shown = brain("show", out)
        assert f"warnings     {note.removeprefix('note: ')}" in shown.output.splitlines()

    def test_messages_name_the_options_of_the_command_line(self, folder: Path, tmp_path: Path) -> None:
        arguments = ["from-bids", folder, "--out", tmp_path / "lab.nc", "--mask", "mask.nii"]
        assert says(brain(*arguments, "stimuli=['alarm']")).endswith("name with --ignore what is no stimulus")
        assert "ignore names 'rest', which no events hold" in says(brain(*arguments, "--ignore", "rest"))
        events = folder / "sub-02/func/sub-02_task-listen_events.tsv"
        events.write_text(events.read_text() + "30\t8\trest\tn/a\n")
        hint = "pass allow_overlap=true if that is meant; --skip-broken goes on without this subject"
        assert says(brain(*arguments)).endswith(hint)
        (folder / "sub-02/func/sub-02_task-listen_bold.nii").unlink()
        message = says(brain(*arguments))
        assert message.startswith("sub-02_task-listen has events but no image that fits in ")
        assert "choose by --task, --subject or entities= what is to be read; --skip-broken goes on" in message

    def test_a_file_is_not_replaced_unasked(self, folder: Path, tmp_path: Path) -> None:
        out = tmp_path / "lab.nc"
        out.write_text("precious")
        table = tmp_path / "t.csv"
        table.write_text("stimulus_id,v1,v2\nalarm,1,2\nbell,2,4\n")
        commands = {
            "from-bids": [folder, "--mask", "mask.nii"],
            "from-images": [folder / "none.csv"],
            "save": ["table", f"path={json.dumps(str(table))}"],
        }
        for command, arguments in commands.items():
            assert f"{out} is there already; give another name, or --overwrite" in says(
                brain(command, *arguments, "--out", out)
            )
            assert "ends in .nc" in says(brain(command, *arguments, "--out", tmp_path / "lab.csv"))
            assert out.read_text() == "precious"
        for command in ("from-bids", "save"):
            done = brain(command, *commands[command], "--out", out, "--overwrite")
            assert done.exit_code == 0, (done.output, done.exception)
            assert (
                load_brain("table", path=str(out)).responses.sizes["stimulus"] == {"from-bids": 3, "save": 2}[command]
            )

    def test_further_options(self, folder: Path, tmp_path: Path) -> None:
        out = tmp_path / "windows.nc"
        options = ["--design", "windows", "--window-s", 4, "--delay-s", 2, "--subject", "01", "--mask", "mask.nii"]
        done = brain("from-bids", folder, "--out", out, *options, "estimation={step_s=2}", 'scaling="percent"')
        assert done.exit_code == 0, (done.output, done.exception)
        assert load_brain("table", path=str(out)).responses["stimulus"].values.tolist() == [
            f"{s}@{w:02d}" for s in SOUNDS for w in range(3)
        ]

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (["drfit='cosine'"], "no option 'drfit'; did you mean 'drift'"),
            (["mask='x.nii'"], "mask has an option of its own: see --help"),
            (["space=T1w"], "'space=T1w' is not KEY=VALUE as in TOML: .* put quotes around text"),
            (["--stimulus", "knd"], "has no column 'knd' to name stimuli; did you mean 'kind'"),
            (["--task", "rest"], "no images with task-rest; known: 'listen'"),
            (["--design", "blok"], "no design 'blok'; did you mean 'block'"),
            (["--delay-s", "4.5"], "delay_s is an option of design='block' or 'windows', not of 'glm'"),
        ],
    )
    def test_bad_options(self, folder: Path, tmp_path: Path, options: list[str], message: str) -> None:
        result = brain("from-bids", folder, "--out", tmp_path / "x.nc", *options)
        with pytest.raises(BrainError, match=message):
            raise result.exception or AssertionError(result.output)


def test_from_images(tmp_path: Path) -> None:
    rows = ["stimulus_id,file,category"]
    for i, sound in enumerate(SOUNDS):
        nibabel.save(nibabel.Nifti1Image(PLANTED[i].reshape(3, 2, 1), np.eye(4)), tmp_path / f"{sound}.nii")
        rows.append(f"{sound},{sound}.nii,{'bells' if i < 2 else 'strings'}")
    (tmp_path / "betas.csv").write_text("\n".join(rows) + "\n")
    nibabel.save(nibabel.Nifti1Image(np.ones((3, 2, 1), dtype=np.uint8), np.eye(4)), tmp_path / "mask.nii")
    done = brain("from-images", tmp_path / "betas.csv", "--out", tmp_path / "b.nc", "--mask", tmp_path / "mask.nii",
                 'citation="Us 2024"')  # fmt: skip
    assert done.exit_code == 0, (done.output, done.exception)
    loaded = load_brain("table", path=str(tmp_path / "b.nc"))
    np.testing.assert_allclose(loaded.responses.sel(stimulus=SOUNDS), PLANTED, rtol=1e-6)
    assert loaded.citation == "Us 2024"
    shown = json.loads(brain("show", tmp_path / "b.nc", "--json").output)
    assert shown["sizes"] == {"stimulus": 3, "unit": 6}
    assert shown["categories"] == {"bells": 2, "strings": 1}
    lacking = brain("from-images", tmp_path / "other.csv", "--out", tmp_path / "c.nc", "--mask", tmp_path / "mask.nii")
    assert "other.csv" in says(lacking)


class TestListAndShow:
    def test_every_data_set_with_what_is_missing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("BRAINALIGN_DATA", str(tmp_path))
        rows = {r["name"]: r for r in json.loads(brain("list", "--json").output)}
        assert list(rows) == BRAINS.names()
        assert {n for n, r in rows.items() if r["state"] == "yours"} == {"bids", "images", "table"}
        assert rows["demo-voxels"]["state"] == "ready"
        for name in ("nh2015-components", "nh2015-voxels", "b2021-voxels", "ecog165-components", "ds003720"):
            assert rows[name]["state"] == "not here", name
        assert "brainalign fetch natsound165" in rows["nh2015-components"]["how"]
        assert "OpenNeuro" in rows["ds003720"]["how"]
        text = brain("list").output
        assert all(f"\n{name} " in f"\n{text}" for name in rows)

    def test_events_alone_are_no_data(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("BRAINALIGN_DATA", str(tmp_path))
        func = tmp_path / "ds003720/sub-001/func"
        func.mkdir(parents=True)

        def state() -> tuple[str, str]:
            rows = {r["name"]: r for r in json.loads(brain("list", "--json").output)}
            return rows["ds003720"]["state"], rows["ds003720"]["how"]

        (func / "sub-001_task-Test_run-01_events.tsv").touch()
        (func / "sub-001_task-Test_run-01_bold.nii.gz").symlink_to(tmp_path / "not-fetched")
        assert state()[0] == "not here"
        assert state()[1].startswith("its events are here, but no images: get the data set (46 GB) from OpenNeuro")
        (func / "sub-001_task-Test_run-02_bold.nii.gz").touch()
        assert state() == ("ready", "")

    @pytest.mark.realdata
    def test_fetched_data_are_ready(self) -> None:
        rows = {r["name"]: r for r in json.loads(brain("list", "--json").output)}
        assert rows["nh2015-components"]["state"] == "ready"
        shown = json.loads(brain("show", "nh2015-components", "--json").output)
        assert shown["sizes"] == {"stimulus": 165, "unit": 6}
        assert "doi:10.1016/j.neuron.2015.11.035" in shown["citation"]

    def test_reliability_of_repetitions(self, tmp_path: Path) -> None:
        signal = RNG.normal(size=(200, 3))
        # Signal and noise of equal variance: halves of 2 correlate by 2/3, by Spearman-Brown .8 for all 4.
        repeated = signal + RNG.normal(size=(4, 200, 3))
        save_responses(
            make_responses(repeated, [f"s{i}" for i in range(200)], unit_info={"region": ["A1", "A1", "STG"]}),
            tmp_path / "voxels.nc",
        )
        shown = json.loads(brain("show", tmp_path / "voxels.nc", "--json").output)
        assert shown["regions"] == {"A1": 2, "STG": 1}
        median = float(shown["reliability"].split()[2])
        assert median == pytest.approx(0.8, abs=0.06)
        assert f"reliability  {shown['reliability']}" in brain("show", tmp_path / "voxels.nc").output.splitlines()

    def test_options_reach_the_loader(self, tmp_path: Path) -> None:
        save_responses(make_responses(PLANTED, SOUNDS), tmp_path / "voxels.nc")
        options = [f"path={json.dumps(str(tmp_path / 'voxels.nc'))}", 'citation="Us"']
        assert "citation     Us" in brain("show", "table", *options).output
        done = brain("save", "table", "--out", tmp_path / "copy.nc", *options)
        assert done.exit_code == 0, (done.output, done.exception)
        copy = load_brain("table", path=str(tmp_path / "copy.nc"))
        assert isinstance(copy, BrainData)
        assert copy.citation == "Us"
        np.testing.assert_array_equal(copy.responses, PLANTED)

    def test_what_cannot_be_shown(self, tmp_path: Path) -> None:
        mask = tmp_path / "mask.nii.gz"
        mask.touch()
        assert says(brain("show", tmp_path / "labX.nc")).startswith(f"no file {str(tmp_path / 'labX.nc')!r}")
        message = "mask.nii.gz is no table of responses (.csv, .npz) and no netCDF file (.nc); responses out of "
        assert says(brain("show", mask)).startswith(message)
        assert "the option path= is needed" in says(brain("show", "table"))
        assert "no brain data set named 'nh2015'" in says(brain("show", "nh2015"))
        assert "no option 'pth'; did you mean 'path'" in says(brain("show", "table", "pth='x'"))
