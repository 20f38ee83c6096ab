"""Voxels in the released layout are read whole and in order, and a pickle that wants to run code does not run."""

from __future__ import annotations

import base64
import os
import pickle
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.io import savemat

from brainalign import load_brain
from brainalign.brain import tuckute2023
from brainalign.brain.restricted_pickle import read_pickled_table
from brainalign.brain.tuckute2023 import load_b2021_voxels, load_nh2015_voxels, take_tuckute2023
from brainalign.errors import BrainError, DownloadError
from brainalign.responses import load_responses, save_responses

SOUNDS = list(tuckute2023._categories())
#: What pandas 1.1.4 with numpy 1.19.5, the versions of the release, wrote for `OLD_TABLE` (zlib, base64).
OLD_PICKLE = (
    "eNqVVM9P1EAU7o/tsoDEYCTChUQTdVHTiPHAQYOCitq4GC6eSDPdnd2p9sdm2uJuIkEPoCRz48kVE/8h/wSPHj1yMME30652EaPMoTPzZr7vvff1"
    "zXtrfTywNDXEZJdELZLYzZhTu81JSEGMPiApeaTWezD3DjahLipu2OEgZsvX/SilPCJBYockIh3KExBnloK4+epZvs/h9XXETw8DW7RHE9sjCbob"
    "cyP62n0ibQhg48IarJXjFgYDYirKwm4/h4dZkPqEc9JHfy6nzThKUp41U4QIS10EMYLu1JU9cLRtWNY9eA9rUHd0p7YNbEpYrbTflRkKY3UBdj/k"
    "p6bQ30Cj0Xh6hEN9nMUUvF2ZQy3JvJeu3+qBqDAa+uis53KCWdc24h4N8AhNYZb4TRA6qjWaMMJpy/Uwnkke+25APLzWoRHlJACKxKISSZ0b2Q66"
    "ZxNi5iSdOIk6Uqg1OZfEYXZDWElKeIo5ikqSxl3ADHBBcaErTiojP1dSD5eUywjH3TaPQy9rt9Wfqu8/1k4a3xeH91+L/Zdi/rZ47N69fDrcAjYr"
    "jPaQtneOaauhBI7pmDso2DKkUoO79X2zYNJ1Q3Fk87852KUTGHTJwB4O8NUCb2o/jixNUfi3ShRL/6aYPqaCXsxGMeekC6cgPc8uyEJkM4MyNNTh"
    "RVVaBmdYhwEDRsXIc+6HhPdhZeuweKW1+/Kp+TFXNSN/KZtgZ2UFTP7Ja24XrGyOXWPXJQILpSiwv6L0AsUuk1MCrp4WUP9PgPErkSvsRjkNugmi"
    "etOev23P5z2C4CsBNiaqnuw+CSBG2qsbJMjkyYqoYfty8VA+Vi/zsYFEuLSSwG/KHuBUnBFHl44zGcwBW2Wf2GdHk2GXrC+UFX/ckNVVVhM5ylZP"
    "WXVnwqkqK80S9d5dbDvYGmRbG/RbN6QpUX1uHWMiaYqddBMyz/4JJ1cOUg=="
)
OLD_TABLE = pd.DataFrame(
    {
        "subj_idx": np.array([1, 1, 2], dtype=np.uint8),
        "hemi": ["rh", "lh", "rh"],
        "x_ras": np.array([3, -4, 5], dtype=np.int16),
        "voxel_id": np.arange(3),
        "music": [0.0, 1.0, 0.0],
        "r": [0.5, 0.25, 0.75],
        "shared_by": [1.0, 2.0, np.nan],
        "roi_label_general": ["Primary", np.nan, "Anterior"],
    }
)


def pearson(values: np.ndarray) -> np.ndarray:
    """Compute the median over pairs of scans of their correlation, voxel by voxel."""
    pairs = ((0, 1), (1, 2), (0, 2))
    return np.array([np.median([np.corrcoef(v[:, a], v[:, b])[0, 1] for a, b in pairs]) for v in values.swapaxes(0, 1)])


def voxel_table(values: np.ndarray, ids: np.ndarray, subjects: np.ndarray) -> pd.DataFrame:
    n = len(ids)
    labels = np.array(["Primary", np.nan, "Lateral", "Posterior"], dtype=object)
    return pd.DataFrame(
        {
            "subj_idx": subjects,
            "hemi": np.where(np.arange(n) % 2, "lh", "rh"),
            "x_ras": np.arange(n) - 20,
            "y_ras": 2 * np.arange(n),
            "voxel_id": ids,
            "kell_r_reliability": np.linspace(0.3, 0.9, n),
            "pearson_r_reliability": pearson(values),
            "roi_label_specific": np.where(np.arange(n) % 4 == 1, np.nan, np.array("A4", dtype=object)),
            "roi_label_general": labels[np.arange(n) % 4],
        }
    )


def write_nh2015(base: Path, n_all: int = 12, n_subjects: int = 2) -> tuple[np.ndarray, pd.DataFrame]:
    """Write a copy of the layout, every third voxel with two scans; return the kept values and their table."""
    folder = base / "neural" / "NH2015"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    signal = rng.normal(size=(165, n_all, 1))
    values = signal + rng.normal(size=(165, n_all, 3))
    fields = [
        ("subj_idx", "u1"),
        ("hemi", "S2"),
        ("x_ras", "i2"),
        ("y_ras", "i2"),
        ("voxel_id", "i4"),
        ("n_reps", "u1"),
    ]
    meta = np.zeros(n_all, dtype=fields)
    meta["voxel_id"] = 100 + np.arange(n_all)
    meta["subj_idx"] = 1 + np.arange(n_all) * n_subjects // n_all
    meta["n_reps"] = np.where(np.arange(n_all) % 3 == 1, 2, 3)
    values[:, meta["n_reps"] == 2, 2] = np.nan
    keep = meta["n_reps"] == 3
    table = voxel_table(values[:, keep], meta["voxel_id"][keep], meta["subj_idx"][keep])
    for place, name in enumerate(("tonotopic", "pitch", "music", "speech")):
        table[name] = (np.arange(len(table)) % 4 == place).astype(float)
    order = rng.permutation(165)
    stimuli = np.array([(f"{SOUNDS[i]}.wav".encode(), i) for i in order], dtype=[("filename", "S60"), ("id", "i4")])
    np.save(folder / "voxel_features_array.npy", values[order])
    np.save(folder / "voxel_features_meta.npy", meta)
    np.save(folder / "neural_stim_meta.npy", stimuli)
    table.to_pickle(folder / "df_roi_meta.pkl")
    return values[:, keep], table


def write_b2021(base: Path, n: int = 8) -> tuple[np.ndarray, list[str]]:
    folder = base / "neural" / "B2021"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(1)
    values = rng.normal(size=(192, n, 1)) + rng.normal(size=(192, n, 3))
    order = rng.permutation(165)
    names = [SOUNDS[i] for i in order] + [f"more_{i}" for i in range(27)]
    cells = np.empty((192, 1), dtype=object)
    cells[:, 0] = names
    np.save(folder / "voxel_features_array.npy", values)
    np.save(folder / "voxel_features_meta.npy", np.arange(n))
    savemat(folder / "stim_info_v4.mat", {"stim_info": {"category_labels": np.arange(3), "stim_names": cells}})
    voxel_table(values, np.arange(n), 1 + np.arange(n) // 4).to_pickle(folder / "df_roi_meta.pkl")
    return values, names


class TestNH2015:
    def test_values_ids_and_places_are_those_written(self, tmp_path: Path) -> None:
        values, table = write_nh2015(tmp_path)
        brain = load_nh2015_voxels(tmp_path, published=False)
        r = brain.responses
        assert r.dims == ("repetition", "stimulus", "unit")
        assert r["stimulus"].values.tolist() == SOUNDS
        np.testing.assert_array_equal(r.values, np.moveaxis(values, 2, 0))
        ids = [f"sub-{s:02d}_v{v:05d}" for s, v in zip(table["subj_idx"], table["voxel_id"], strict=True)]
        assert r["unit"].values.tolist() == ids
        assert r["hemisphere"].values.tolist() == ["left" if h == "lh" else "right" for h in table["hemi"]]
        np.testing.assert_array_equal(r["x"], table["x_ras"])
        np.testing.assert_array_equal(r["y"], table["y_ras"])
        assert r["region"].values.tolist() == table["roi_label_general"].fillna("").tolist()
        assert r["region_detail"].values.tolist()[:2] == ["A4", ""]
        np.testing.assert_array_equal(r["roi_music"], table["music"])
        np.testing.assert_array_equal(r["reliability_nh2015"], table["kell_r_reliability"])
        assert r["category"].sel(stimulus="stim33_bluegrass").item() == "Music"
        assert brain.warnings == ("4 of 12 voxels with fewer than 3 scans are left out, as published",)
        assert "e3002366" in brain.citation

    def test_it_survives_netcdf(self, tmp_path: Path) -> None:
        write_nh2015(tmp_path)
        r = load_nh2015_voxels(tmp_path, published=False).responses
        loaded = load_responses(save_responses(r, tmp_path / "r.nc"))
        assert loaded.identical(r)

    def test_the_published_counts(self, tmp_path: Path) -> None:
        # 11,541 voxels of which every third has two scans leave 7,694.
        _, table = write_nh2015(tmp_path, n_all=11_541, n_subjects=8)
        brain = load_brain("nh2015-voxels", path=tmp_path)
        assert brain.responses.sizes == {"repetition": 3, "stimulus": 165, "unit": 7_694}
        assert len(set(brain.responses["subject"].values)) == 8
        array = tmp_path / "neural" / "NH2015" / "voxel_features_array.npy"
        meta = array.with_name("voxel_features_meta.npy")
        np.save(array, np.load(array)[:, 1:])
        np.save(meta, np.load(meta)[1:])
        table.iloc[1:].to_pickle(array.with_name("df_roi_meta.pkl"))
        expected = (
            r"holds 165 sounds, 7693 voxels, 3 scans, 8 subjects, published are 165 sounds, 7694 voxels, .*"
            "published=False"
        )
        with pytest.raises(BrainError, match=expected):
            load_nh2015_voxels(tmp_path)

    def test_a_csv_table_is_taken_before_the_pickle(self, tmp_path: Path) -> None:
        _, table = write_nh2015(tmp_path)
        from_pickle = load_nh2015_voxels(tmp_path, published=False)
        folder = tmp_path / "neural" / "NH2015"
        table.to_csv(folder / "df_roi_meta.csv", index=False)
        (folder / "df_roi_meta.pkl").unlink()
        xr_same = load_nh2015_voxels(tmp_path, published=False).responses
        np.testing.assert_allclose(xr_same.values, from_pickle.responses.values)
        for name in from_pickle.responses["unit"].coords:
            assert xr_same[name].values.tolist() == pytest.approx(from_pickle.responses[name].values.tolist()), name

    def test_rows_out_of_order_are_found(self, tmp_path: Path) -> None:
        _, table = write_nh2015(tmp_path)
        path = tmp_path / "neural" / "NH2015" / "df_roi_meta.pkl"
        table.iloc[::-1].to_pickle(path)
        with pytest.raises(BrainError, match=r"differ in voxel_id for 8 of 8 voxels, first in row 1: 111 and 100"):
            load_nh2015_voxels(tmp_path, published=False)
        table.assign(pearson_r_reliability=table["pearson_r_reliability"].to_numpy()[::-1]).to_pickle(path)
        warned = load_nh2015_voxels(tmp_path, published=False).warnings
        assert "differs from that in df_roi_meta for 8 of 8 voxels" in warned[-1]

    def test_nan_in_a_voxel_with_three_scans(self, tmp_path: Path) -> None:
        write_nh2015(tmp_path)
        path = tmp_path / "neural" / "NH2015" / "voxel_features_array.npy"
        values = np.load(path)
        values[3, 2, 1] = np.nan
        np.save(path, values)
        with pytest.raises(BrainError, match=r"1 voxels with 3 scans hold NaN: sub-01_v00102"):
            load_nh2015_voxels(tmp_path, published=False)

    @pytest.mark.parametrize(
        ("file", "change", "message"),
        [
            (
                "voxel_features_array.npy",
                lambda a: a.astype(object),
                "voxel_features_array.npy cannot be read .*pickle",
            ),
            ("voxel_features_array.npy", lambda a: a[:, :, :2], r"is \(165, 12, 2\) of float64, expected numbers"),
            ("voxel_features_array.npy", lambda a: a[:160], r"is \(160, 12, 3\)"),
            ("voxel_features_meta.npy", lambda a: a["voxel_id"], "has no field subj_idx, voxel_id, n_reps"),
            ("neural_stim_meta.npy", lambda a: a["id"], "has dtype int32, expected fields"),
            ("neural_stim_meta.npy", lambda a: a[:-1], "names 164 sounds, .* it lacks stim"),
            ("neural_stim_meta.npy", lambda a: np.append(a, a[:1]), "names 166 sounds, 165 different ones"),
        ],
        ids=["object array", "two scans", "fewer sounds", "no fields", "no names", "a sound less", "a sound twice"],
    )
    def test_other_arrays(
        self, tmp_path: Path, file: str, change: Callable[[np.ndarray], np.ndarray], message: str
    ) -> None:
        write_nh2015(tmp_path)
        path = tmp_path / "neural" / "NH2015" / file
        np.save(path, change(np.load(path)), allow_pickle=True)
        with pytest.raises(BrainError, match=message):
            load_nh2015_voxels(tmp_path, published=False)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda t: t.drop(columns="x_ras"), "df_roi_meta has no column 'x_ras'; it has subj_idx, hemi"),
            (lambda t: t.assign(hemi="left"), "names the hemispheres left, expected lh and rh"),
            (lambda t: t.iloc[:-1], "df_roi_meta has 7 rows for the 8 voxels"),
        ],
    )
    def test_other_tables(self, tmp_path: Path, change: Callable[[pd.DataFrame], pd.DataFrame], message: str) -> None:
        _, table = write_nh2015(tmp_path)
        change(table).to_pickle(tmp_path / "neural" / "NH2015" / "df_roi_meta.pkl")
        with pytest.raises(BrainError, match=message):
            load_nh2015_voxels(tmp_path, published=False)


class TestB2021:
    def test_the_sounds_of_natsound165_by_name(self, tmp_path: Path) -> None:
        values, names = write_b2021(tmp_path)
        brain = load_b2021_voxels(tmp_path, published=False)
        expected = values[[names.index(s) for s in SOUNDS]]
        np.testing.assert_array_equal(brain.responses.values, np.moveaxis(expected, 2, 0))
        assert brain.responses["category"].values.tolist() == list(tuckute2023._categories().values())
        assert brain.responses["unit"].values.tolist()[:5:4] == ["sub-01_v00000", "sub-02_v00004"]
        assert "roi_music" not in brain.responses.coords
        assert brain.warnings == ()
        assert "jn.00588.2020" in brain.citation

    def test_all_sounds(self, tmp_path: Path) -> None:
        values, names = write_b2021(tmp_path)
        r = load_b2021_voxels(tmp_path, published=False, all_sounds=True).responses
        assert r["stimulus"].values.tolist() == [*SOUNDS, *names[165:]]
        np.testing.assert_array_equal(r.sel(stimulus="more_3").values, values[168].T)
        assert "category" not in r.coords

    def test_the_published_counts_are_asked_for(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        assert tuckute2023.PUBLISHED["B2021"] == (192, 26_792, 3, 20)
        write_b2021(tmp_path)
        with pytest.raises(BrainError, match="8 voxels, 3 scans, 2 subjects, published are 192 sounds, 26792 voxels"):
            load_b2021_voxels(tmp_path)
        monkeypatch.setitem(tuckute2023.PUBLISHED, "B2021", (192, 8, 3, 2))
        assert load_b2021_voxels(tmp_path).name == "b2021-voxels"

    def test_a_damaged_sound_list(self, tmp_path: Path) -> None:
        write_b2021(tmp_path)
        (tmp_path / "neural" / "B2021" / "stim_info_v4.mat").write_bytes(b"no MATLAB")
        with pytest.raises(BrainError, match=r"stim_info_v4\.mat cannot be read as a MATLAB file"):
            load_b2021_voxels(tmp_path, published=False)


class TestTaking:
    @pytest.fixture(autouse=True)
    def data(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("BRAINALIGN_DATA", str(tmp_path / "kept"))
        monkeypatch.setitem(tuckute2023.PUBLISHED, "NH2015", (165, 8, 3, 2))
        monkeypatch.setitem(tuckute2023.PUBLISHED, "B2021", (192, 8, 3, 2))

    @pytest.mark.parametrize("within", ["", "data"])
    def test_a_copy_of_what_there_is(self, tmp_path: Path, within: str) -> None:
        write_nh2015(tmp_path / "copy" / within)
        assert take_tuckute2023(tmp_path / "copy") == tmp_path / "kept" / "tuckute2023"
        shutil.rmtree(tmp_path / "copy")
        assert load_brain("nh2015-voxels").responses.sizes["unit"] == 8
        with pytest.raises(BrainError, match=r"holds no neural/B2021: get data\.tar .*fetch tuckute2023 --from FOLDER"):
            load_brain("b2021-voxels")

    def test_no_folder_or_another(self, tmp_path: Path) -> None:
        with pytest.raises(
            DownloadError, match=r"tuckute2023 is not downloaded for you: .*it lies at https://mcdermott"
        ):
            take_tuckute2023(None)
        with pytest.raises(BrainError, match="holds neither neural/NH2015 nor neural/B2021"):
            take_tuckute2023(tmp_path)

    def test_what_cannot_be_loaded_is_not_taken(self, tmp_path: Path) -> None:
        write_nh2015(tmp_path / "copy")
        (tmp_path / "copy" / "neural" / "NH2015" / "voxel_features_meta.npy").unlink()
        with pytest.raises(BrainError, match=r"NH2015 lacks voxel_features_meta\.npy"):
            take_tuckute2023(tmp_path / "copy")
        assert not (tmp_path / "kept").exists()


class Hostile:
    """Runs a command when an ordinary unpickler loads it."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


class TestRestrictedPickle:
    def old(self, folder: Path) -> Path:
        (folder / "old.pkl").write_bytes(zlib.decompress(base64.b64decode(OLD_PICKLE)))
        return folder / "old.pkl"

    def test_the_release_s_own_pandas(self, tmp_path: Path) -> None:
        pd.testing.assert_frame_equal(read_pickled_table(self.old(tmp_path)), OLD_TABLE)

    @pytest.mark.parametrize("protocol", [2, 3, 4, 5])
    @pytest.mark.parametrize("strings", ["str", "object"])
    def test_the_pandas_of_here(self, tmp_path: Path, protocol: int, strings: str) -> None:
        table = OLD_TABLE.astype({"hemi": strings}).iloc[[0, 2]].set_index("voxel_id", drop=False)
        table.to_pickle(tmp_path / "t.pkl", protocol=protocol)
        pd.testing.assert_frame_equal(
            read_pickled_table(tmp_path / "t.pkl"), OLD_TABLE.iloc[[0, 2]].reset_index(drop=True)
        )

    def test_a_command_is_refused_and_does_not_run(self, tmp_path: Path) -> None:
        proof, path = tmp_path / "it_ran", tmp_path / "df_roi_meta.pkl"
        hostile = pickle.dumps(Hostile(os.system, f"touch {proof}"))
        path.write_bytes(hostile)
        with pytest.raises(BrainError, match=r"df_roi_meta\.pkl: a pickle that asks for (posix|nt)\.system, .*CSV"):
            read_pickled_table(path)
        assert not proof.exists()
        pickle.loads(hostile)
        assert proof.exists(), "the pickle is not hostile, so the test proves nothing"

    def test_a_command_within_a_table(self, tmp_path: Path) -> None:
        proof = tmp_path / "it_ran"
        write_nh2015(tmp_path)
        path = tmp_path / "neural" / "NH2015" / "df_roi_meta.pkl"
        column = np.array([Hostile(os.system, f"touch {proof}")] * 8, dtype=object)
        pd.DataFrame({"subj_idx": column}).to_pickle(path)
        with pytest.raises(BrainError, match=r"asks for (posix|nt)\.system"):
            load_nh2015_voxels(tmp_path, published=False)
        assert not proof.exists()

    @pytest.mark.parametrize(
        ("function", "arguments", "asked"),
        [
            (eval, ("1",), "builtins.eval"),
            (getattr, ("", "join"), "builtins.getattr"),
            (np.load, ("x.npy",), "numpy.load"),
            (pd.read_pickle, ("x.pkl",), "pandas.read_pickle"),
            (pd.DataFrame.eval, (), r"getattr|DataFrame\.eval"),
        ],
    )
    def test_other_functions_are_named(
        self, tmp_path: Path, function: Callable[..., Any], arguments: tuple[Any, ...], asked: str
    ) -> None:
        (tmp_path / "t.pkl").write_bytes(pickle.dumps(Hostile(function, *arguments)))
        with pytest.raises(BrainError, match=f"asks for .*({asked}|_pickle|eval|load)"):
            read_pickled_table(tmp_path / "t.pkl")

    def test_what_is_known_is_not_changed(self, tmp_path: Path) -> None:
        # BUILD with a state for slots: setattr(pandas.DataFrame, "changed", slice)
        program = b"\x80\x04cpandas\nDataFrame\nN}X\x07\x00\x00\x00changedcbuiltins\nslice\ns\x86b."
        (tmp_path / "t.pkl").write_bytes(program)
        with pytest.raises(BrainError, match="cannot be read as a pickled table"):
            read_pickled_table(tmp_path / "t.pkl")
        assert not hasattr(pd.DataFrame, "changed")
        read_pickled_table(self.old(tmp_path))

    def test_scalars_of_numpy_in_a_column_of_objects(self, tmp_path: Path) -> None:
        entries = np.array([np.float64(0.5), None, np.int16(3)], dtype=object)
        pd.DataFrame({"a": entries}).to_pickle(tmp_path / "t.pkl")
        read = read_pickled_table(tmp_path / "t.pkl")["a"]
        np.testing.assert_array_equal(read.astype(float), [0.5, np.nan, 3.0])

    def test_all_kinds_of_numbers(self, tmp_path: Path) -> None:
        rng = np.random.default_rng(0)
        kinds = ["bool", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", ">f8", ">i2"]
        table = pd.DataFrame({k: rng.integers(0, 2, 5).astype(k) for k in kinds} | {"t": list("abcde")})
        table.to_pickle(tmp_path / "t.pkl")
        pd.testing.assert_frame_equal(read_pickled_table(tmp_path / "t.pkl"), table)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (pickle.dumps({"a": 1}), "holds dict, expected a DataFrame"),
            (pickle.dumps(pd.DataFrame({"a": [[1], [2]]})), "the column 'a' holds a list"),
            (pickle.dumps(pd.DataFrame([[1, 2]])), "its columns are 0, 1, expected different names"),
            (b"", "cannot be read as a pickled table"),
            (b"a,b\n1,2\n", "cannot be read as a pickled table"),
            (pickle.dumps(OLD_TABLE)[:-40], "cannot be read as a pickled table"),
            (b"\x80\x04cpandas\nDataFrame\n)\x81.", "cannot be read as a pickled table"),
            (b"\x80\x04cpandas\nIndex\n)\x81.", "holds Index, expected a DataFrame"),
        ],
        ids=["dict", "lists", "numbered columns", "empty", "text", "cut off", "hollow", "an index"],
    )
    def test_no_plain_table(self, tmp_path: Path, content: bytes, message: str) -> None:
        (tmp_path / "t.pkl").write_bytes(content)
        with pytest.raises(BrainError, match=message):
            read_pickled_table(tmp_path / "t.pkl")

    def test_a_damaged_pickle_is_never_a_traceback(self, tmp_path: Path) -> None:
        rng = np.random.default_rng(0)
        for whole in (pickle.dumps(OLD_TABLE), pickle.dumps(OLD_TABLE, 2), self.old(tmp_path).read_bytes()) * 200:
            damaged = bytearray(whole)
            for place in rng.integers(0, len(whole), 3):
                damaged[place] = rng.integers(256)
            (tmp_path / "t.pkl").write_bytes(damaged)
            try:
                read_pickled_table(tmp_path / "t.pkl")
            except BrainError:
                continue
