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

    def test_what_cannot_be_shown(self) -> None:
        assert "the option path= is needed" in says(brain("show", "table"))
        assert "no brain data set named 'nh2015'" in says(brain("show", "nh2015"))
        assert "no option 'pth'; did you mean 'path'" in says(brain("show", "table", "pth='x'"))
