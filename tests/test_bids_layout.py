"""What is found in a BIDS folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from brainalign.brain.bids_layout import parse_entities, participants, read_bids
from brainalign.errors import BrainError


def touch(root: Path, *names: str, text: str = "") -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def names(root: Path, **options: object) -> list[str]:
    found = read_bids(root, **options)  # type: ignore[arg-type]
    return [run.name for runs in found.subjects.values() for run in runs]


class TestRuns:
    def test_subjects_sessions_and_runs_in_order(self, tmp_path: Path) -> None:
        touch(
            tmp_path,
            *(f"sub-02/func/sub-02_task-music_run-{r}_bold.nii.gz" for r in (10, 9)),
            *(f"sub-01/ses-{s}/func/sub-01_ses-{s}_task-music_bold.nii" for s in ("b", "a")),
            "sub-01/anat/sub-01_T1w.nii.gz",
            "sub-01/func/sub-01_task-music_sbref.nii.gz",
            "sub-02/func/._sub-02_task-music_run-9_bold.nii.gz",
        )
        assert names(tmp_path) == [
            "sub-01_ses-a_task-music",
            "sub-01_ses-b_task-music",
            "sub-02_task-music_run-9",
            "sub-02_task-music_run-10",
        ]
        assert names(tmp_path, subjects=["02"], run="10") == ["sub-02_task-music_run-10"]

    def test_entities_of_a_name(self) -> None:
        name = Path("a-b/sub-01_task-x_run-02_space-MNI152_desc-preproc_bold.nii.gz")
        assert parse_entities(name) == {"sub": "01", "task": "x", "run": "02", "space": "MNI152", "desc": "preproc"}

    def test_several_tasks_must_be_chosen(self, tmp_path: Path) -> None:
        touch(tmp_path, *(f"sub-1/func/sub-1_task-{t}_bold.nii" for t in ("music", "rest", "speech")))
        with pytest.raises(BrainError, match=r"several tasks: say task= one or more of 'music', 'rest', 'speech'"):
            read_bids(tmp_path)
        assert names(tmp_path, task=["speech", "music"]) == ["sub-1_task-music", "sub-1_task-speech"]
        with pytest.raises(BrainError, match=r"no images with task-musik; did you mean 'music'"):
            read_bids(tmp_path, task="musik")
        with pytest.raises(BrainError, match=r"no images with sub-3; known: '1'"):
            read_bids(tmp_path, task="music", subjects=["sub-1", "sub-3"])

    def test_what_is_not_there_in_combination(self, tmp_path: Path) -> None:
        touch(tmp_path, "sub-1/func/sub-1_task-a_bold.nii", "sub-2/func/sub-2_task-b_bold.nii")
        with pytest.raises(BrainError, match=r"no images with sub-1, task-b together"):
            read_bids(tmp_path, subjects=["1"], task="b")

    def test_an_empty_folder_and_none(self, tmp_path: Path) -> None:
        with pytest.raises(BrainError, match=r"holds no functional images: looked for sub-"):
            read_bids(tmp_path)
        with pytest.raises(BrainError, match=r"no folder"):
            read_bids(tmp_path / "other")

    def test_links_may_lead_out_of_the_folder(self, tmp_path: Path) -> None:
        touch(tmp_path, "annex/content", text="x")
        bold = tmp_path / "bids/sub-1/func/sub-1_task-a_bold.nii"
        bold.parent.mkdir(parents=True)
        bold.symlink_to(tmp_path / "annex/content")
        assert names(tmp_path / "bids") == ["sub-1_task-a"]

    def test_a_link_to_content_that_was_not_fetched_breaks_its_subject(self, tmp_path: Path) -> None:
        touch(tmp_path, "sub-2/func/sub-2_task-a_bold.nii")
        bold = tmp_path / "sub-1/func/sub-1_task-a_bold.nii"
        bold.parent.mkdir(parents=True)
        bold.symlink_to(tmp_path / "annex/content")
        found = read_bids(tmp_path)
        assert list(found.subjects) == ["sub-2"]
        assert "is a link to content that is not here; get it, for instance by 'datalad get'" in str(
            found.broken["sub-1"]
        )


class TestDerivatives:
    @pytest.fixture
    def both(self, tmp_path: Path) -> Path:
        touch(tmp_path, "sub-1/func/sub-1_task-a_run-1_bold.nii.gz", "sub-1/func/sub-1_task-a_run-1_events.tsv")
        touch(tmp_path, "task-a_bold.json", text=json.dumps({"RepetitionTime": 2.0, "TaskName": "a"}))
        prep = tmp_path / "derivatives/fmriprep/sub-1/func"
        stem = "sub-1_task-a_run-1"
        for space in ("MNI152NLin2009cAsym", "T1w"):
            touch(
                prep, f"{stem}_space-{space}_desc-preproc_bold.nii.gz", f"{stem}_space-{space}_desc-brain_mask.nii.gz"
            )
        touch(prep, f"{stem}_desc-confounds_timeseries.tsv")
        touch(prep, f"{stem}_space-T1w_desc-preproc_bold.json", text=json.dumps({"StartTime": 1.0}))
        return tmp_path

    def test_images_masks_confounds_and_sidecars(self, both: Path) -> None:
        (run,) = read_bids(both, derivatives="fmriprep", space="T1w").subjects["sub-1"]
        prep = both / "derivatives/fmriprep/sub-1/func"
        assert run.bold == (prep / "sub-1_task-a_run-1_space-T1w_desc-preproc_bold.nii.gz",)
        assert run.mask == prep / "sub-1_task-a_run-1_space-T1w_desc-brain_mask.nii.gz"
        assert run.confounds == prep / "sub-1_task-a_run-1_desc-confounds_timeseries.tsv"
        assert run.events == both / "sub-1/func/sub-1_task-a_run-1_events.tsv"
        assert run.sidecar == {"RepetitionTime": 2.0, "TaskName": "a", "StartTime": 1.0}
        assert run.repetition_time == 2.0

    def test_two_spaces_must_be_chosen(self, both: Path) -> None:
        why = read_bids(both, derivatives="fmriprep").broken["sub-1"]
        assert "2 images of one run fit" in str(why)
        assert "choose by space= (space-MNI152NLin2009cAsym, space-T1w)" in str(why)
        with pytest.raises(BrainError, match=r"no images with space-MNI; did you mean 'MNI152NLin2009cAsym'|known"):
            read_bids(both, derivatives="fmriprep", space="MNI")

    def test_raw_images_are_not_those_of_derivatives(self, both: Path) -> None:
        (run,) = read_bids(both).subjects["sub-1"]
        assert run.bold == (both / "sub-1/func/sub-1_task-a_run-1_bold.nii.gz",)
        assert run.mask is None

    def test_unknown_derivatives(self, both: Path) -> None:
        with pytest.raises(BrainError, match=r"has no derivatives 'fmripep'; did you mean 'fmriprep'"):
            read_bids(both, derivatives="fmripep")


class TestInheritance:
    def test_the_nearest_table_and_all_sidecars(self, tmp_path: Path) -> None:
        bolds = [f"sub-{s}/func/sub-{s}_task-a_run-{r}_bold.nii" for s in (1, 2) for r in (1, 2)]
        touch(tmp_path, *bolds, "task-a_events.tsv", "sub-1/sub-1_task-a_events.tsv", "task-b_events.tsv")
        touch(tmp_path, "sub-1/func/sub-1_task-a_run-2_events.tsv")
        touch(tmp_path, "task-a_bold.json", text='{"RepetitionTime": 2.0, "EchoTime": 0.03}')
        touch(tmp_path, "sub-1/func/sub-1_task-a_run-1_bold.json", text='{"RepetitionTime": 1.5}')
        found = read_bids(tmp_path).subjects
        tables = [run.events.relative_to(tmp_path).as_posix() for s in found for run in found[s] if run.events]
        assert tables == [
            "sub-1/sub-1_task-a_events.tsv",
            "sub-1/func/sub-1_task-a_run-2_events.tsv",
            "task-a_events.tsv",
            "task-a_events.tsv",
        ]
        assert [run.repetition_time for s in found for run in found[s]] == [1.5, 2.0, 2.0, 2.0]
        assert found["sub-1"][0].sidecar["EchoTime"] == 0.03

    def test_each_hemisphere_has_a_sidecar(self, tmp_path: Path) -> None:
        """As fMRIPrep writes them beside GIFTI images."""
        stems = [f"sub-1/func/sub-1_task-a_hemi-{h}_space-fsaverage5_bold" for h in "LR"]
        touch(tmp_path, "sub-1/func/sub-1_task-a_events.tsv", *(f"{s}.func.gii" for s in stems))
        for stem in stems:
            touch(tmp_path, f"{stem}.json", text='{"RepetitionTime": 1.5, "StartTime": 0.75}')
        (run,) = read_bids(tmp_path).subjects["sub-1"]
        assert run.sidecar == {"RepetitionTime": 1.5, "StartTime": 0.75}
        assert run.events is not None
        touch(tmp_path, f"{stems[1]}.json", text='{"RepetitionTime": 2.0}')
        assert "say RepetitionTime" in str(read_bids(tmp_path).broken["sub-1"])

    def test_events_of_runs_that_were_not_asked_for(self, tmp_path: Path) -> None:
        touch(tmp_path, *(f"sub-{s}/func/sub-{s}_task-{t}_events.tsv" for s in (1, 2) for t in ("a", "b")))
        touch(tmp_path, "sub-1/func/sub-1_task-a_dir-AP_bold.nii", "sub-2/func/sub-2_task-a_dir-PA_bold.nii")
        assert list(read_bids(tmp_path, task="a").subjects) == ["sub-1", "sub-2"]
        assert read_bids(tmp_path, task="a", dir="AP").broken == {}
        broken = read_bids(tmp_path).broken
        assert list(broken) == ["sub-1", "sub-2"]
        assert str(broken["sub-1"]).startswith("sub-1_task-b has events but no image that fits")

    def test_two_tables_on_one_level(self, tmp_path: Path) -> None:
        touch(tmp_path, "sub-1/func/sub-1_task-a_acq-x_bold.nii", "task-a_events.tsv", "acq-x_events.tsv")
        assert "several events files fit" in str(read_bids(tmp_path).broken["sub-1"])

    def test_sidecars_that_are_broken(self, tmp_path: Path) -> None:
        touch(tmp_path, *(f"sub-{s}/func/sub-{s}_task-a_bold.nii" for s in (1, 2, 3)))
        touch(tmp_path, "sub-1/func/sub-1_task-a_bold.json", text="{")
        touch(tmp_path, "sub-2/func/sub-2_task-a_bold.json", text="[1]")
        found = read_bids(tmp_path)
        assert "sub-1_task-a_bold.json is not JSON" in str(found.broken["sub-1"])
        assert "holds no JSON object" in str(found.broken["sub-2"])
        (run,) = found.subjects["sub-3"]
        with pytest.raises(BrainError, match=r"^sub-3_task-a: its sidecar says RepetitionTime = None"):
            _ = run.repetition_time

    def test_participants(self, tmp_path: Path) -> None:
        assert participants(tmp_path) == []
        touch(tmp_path, "participants.tsv", text="participant_id\tage\nsub-01\t20\n02\t30\n")
        assert participants(tmp_path) == ["sub-01", "sub-02"]
        touch(tmp_path, "participants.tsv", text="id\nsub-01\n")
        with pytest.raises(BrainError, match=r"no first column 'participant_id'"):
            participants(tmp_path)
