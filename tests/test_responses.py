"""Responses are matched by stimulus id, and what is wrong with them is named."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from brainalign.errors import BrainalignError, MissingExtraError, ResponseError, did_you_mean, name_some
from brainalign.responses import (
    DIMS,
    align,
    average_repetitions,
    check_responses,
    constant_stimuli,
    describe,
    from_table,
    load_responses,
    make_responses,
    save_responses,
    select_stimuli,
    select_units,
)

# Sorted as text, this order would become s1, s10, s2, s9.
IDS = ["s10", "s9", "s2", "s1"]
VALUES = np.arange(12.0).reshape(4, 3) ** 1.5


def responses(**options: Any) -> xr.DataArray:
    return make_responses(
        VALUES,
        IDS,
        ["a", "b", "c"],
        stimulus_info={"category": ["Music", "Song", "Music", "Nature"]},
        unit_info={"layer": ["conv1", "conv2", "fc"], "channel": [0, 1, 0], "x_mm": [1.5, np.nan, -3.0]},
        **options,
    )


class TestMake:
    def test_the_order_given_is_kept(self) -> None:
        made = responses()
        assert made.dims == DIMS
        assert made["stimulus"].values.tolist() == IDS
        np.testing.assert_array_equal(made.values, VALUES)
        assert float(made.sel(stimulus="s9", unit="b")) == VALUES[1, 1]

    def test_units_are_numbered_where_they_have_no_names(self) -> None:
        assert make_responses(VALUES, IDS)["unit"].values.tolist() == ["0", "1", "2"]

    def test_repetitions_come_first(self) -> None:
        made = make_responses(np.stack([VALUES, 2 * VALUES]), IDS)
        assert made.dims == ("repetition", "stimulus", "unit")
        np.testing.assert_array_equal(made.sel(repetition=1, stimulus="s2").values, 2 * VALUES[2])

    @pytest.mark.parametrize("dtype", ["int16", "uint8", "float32", "float64"])
    def test_numbers_become_floating_point_of_the_same_value(self, dtype: str) -> None:
        values = np.array([[1, 2], [3, 250]]).astype(dtype)
        made = make_responses(values, ["a", "b"])
        assert made.dtype == (dtype if dtype.startswith("float") else "float64")
        np.testing.assert_array_equal(made.values, values)

    @pytest.mark.parametrize("values", [VALUES > 2, VALUES + 1j, VALUES.astype(str), VALUES.astype(object)])
    def test_what_is_no_real_number_is_refused(self, values: np.ndarray) -> None:
        with pytest.raises(ResponseError, match="real numbers, found dtype"):
            make_responses(values, IDS)

    @pytest.mark.parametrize("shape", [(4,), (1, 1, 4, 3)])
    def test_other_numbers_of_dimensions_are_refused(self, shape: tuple[int, ...]) -> None:
        with pytest.raises(ResponseError, match=f"found {len(shape)} dimensions"):
            make_responses(np.zeros(shape), IDS)

    def test_ids_must_be_as_many_as_rows_and_columns(self) -> None:
        with pytest.raises(ResponseError, match="3 stimulus ids for 4 rows"):
            make_responses(VALUES, IDS[:3])
        with pytest.raises(ResponseError, match="2 unit ids for 3 columns"):
            make_responses(VALUES, IDS, ["a", "b"])

    def test_a_column_must_be_as_long_as_its_dimension(self) -> None:
        with pytest.raises(ResponseError, match="'category' has 2 entries for 4 stimulus ids"):
            make_responses(VALUES, IDS, stimulus_info={"category": ["Music", "Song"]})


class TestTablesOfInformation:
    category = pd.Series({"s1": "Nature", "s2": "Music", "s9": "Song", "s10": "Music", "s77": "Other"})
    expected = ("Music", "Song", "Music", "Nature")

    def test_a_stimulus_table_is_aligned_by_id(self) -> None:
        made = make_responses(VALUES, IDS, stimulus_info=pd.DataFrame({"category": self.category}))
        assert tuple(made["category"].values) == self.expected

    def test_a_series_is_aligned_by_id(self) -> None:
        made = make_responses(VALUES, IDS, stimulus_info={"category": self.category})
        assert tuple(made["category"].values) == self.expected

    def test_a_unit_table_is_aligned_by_id(self) -> None:
        table = pd.DataFrame({"layer": ["third", "second", "first"]}, index=["c", "b", "a"])
        made = make_responses(VALUES, IDS, ["a", "b", "c"], unit_info=table)
        assert made["layer"].values.tolist() == ["first", "second", "third"]

    def test_a_unit_table_without_ids_is_in_the_order_of_the_units(self) -> None:
        made = make_responses(VALUES, IDS, ["a", "b", "c"], unit_info=pd.DataFrame({"layer": ["x", "y", "z"]}))
        assert made["layer"].values.tolist() == ["x", "y", "z"]

    def test_a_stimulus_that_the_table_lacks_is_named(self) -> None:
        with pytest.raises(ResponseError, match=r"no row for s9$"):
            make_responses(VALUES, IDS, stimulus_info=pd.DataFrame({"category": self.category.drop("s9")}))

    def test_a_table_that_is_not_indexed_by_id_is_refused(self) -> None:
        with pytest.raises(ResponseError, match="no row for s10, s9, s2, s1"):
            make_responses(VALUES, IDS, stimulus_info=pd.DataFrame({"category": list("abcd")}))

    def test_a_stimulus_that_the_table_has_twice_is_refused(self) -> None:
        twice = pd.DataFrame({"category": list("abcde")}, index=["s10", "s9", "s2", "s1", "s9"])
        with pytest.raises(ResponseError, match="5 entries for 4 stimulus ids"):
            make_responses(VALUES, IDS, stimulus_info=twice)


class TestFromTable:
    def test_rows_and_columns_are_taken_as_they_stand(self) -> None:
        text = "stimulus_id,v2,category,v1\ns10,1,Music,2\ns9,3,Song,4\n"
        made = from_table(pd.read_csv(io.StringIO(text)), source="lab")
        assert made["stimulus"].values.tolist() == ["s10", "s9"]
        assert made["unit"].values.tolist() == ["v2", "v1"]
        assert made["category"].values.tolist() == ["Music", "Song"]
        np.testing.assert_array_equal(made.values, [[1, 2], [3, 4]])
        assert made.attrs == {"source": "lab"}

    def test_numeric_ids_become_text(self) -> None:
        made = from_table(pd.DataFrame({"stimulus_id": [10, 9], "u": [1.0, 2.0]}))
        assert made["stimulus"].values.tolist() == ["10", "9"]

    def test_a_missing_id_column_gets_a_near_miss(self) -> None:
        with pytest.raises(ResponseError, match="no column 'stimulus_id'; did you mean 'stimulus id'"):
            from_table(pd.DataFrame({"stimulus id": ["a"], "u": [1.0]}))

    def test_text_where_a_response_should_be_is_named(self) -> None:
        table = pd.DataFrame({"stimulus_id": ["a", "b"], "u": [1.0, 2.0], "note": ["x", "y"]})
        with pytest.raises(ResponseError, match="note are not numeric; name them in info_columns"):
            from_table(table)
        assert from_table(table, info_columns=["note"])["note"].values.tolist() == ["x", "y"]

    @pytest.mark.parametrize("missing", [None, np.nan, pd.NA])
    def test_a_row_without_an_id_is_refused(self, missing: object) -> None:
        table = pd.DataFrame({"stimulus_id": ["a", missing, "c"], "u": [1.0, 2.0, 3.0]})
        with pytest.raises(ResponseError, match="'stimulus_id' is empty in row 2"):
            from_table(table)

    def test_a_gap_names_the_stimulus(self) -> None:
        integers = pd.DataFrame({"stimulus_id": ["a", "b"], "u": pd.array([1, None], dtype="Int64"), "v": [1, 2]})
        with pytest.raises(ResponseError, match=r"1 of 4 responses are NaN .* stimuli b$"):
            from_table(integers)

    def test_a_table_of_ids_alone_holds_no_unit(self) -> None:
        with pytest.raises(ResponseError, match="hold no unit"):
            from_table(pd.DataFrame({"stimulus_id": ["a", "b"]}))


class TestCheck:
    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
    @pytest.mark.parametrize("repeated", [False, True])
    def test_values_that_are_not_finite_name_their_stimulus(self, bad: float, repeated: bool) -> None:
        values = np.stack([VALUES] * 3) if repeated else VALUES.copy()
        values[(1, 2, 0) if repeated else (2, 0)] = bad
        with pytest.raises(ResponseError, match=rf"^1 of {values.size} .* for the stimuli s2$"):
            make_responses(values, IDS)

    def test_duplicates_are_named(self) -> None:
        with pytest.raises(ResponseError, match=r"duplicate stimulus ids: s9$"):
            make_responses(VALUES, ["s10", "s9", "s2", "s9"])
        with pytest.raises(ResponseError, match=r"duplicate unit ids: u$"):
            make_responses(VALUES, IDS, ["u", "v", "u"])

    def test_an_empty_id_is_refused(self) -> None:
        with pytest.raises(ResponseError, match="stimulus ids must be strings that are not empty, found ''"):
            make_responses(VALUES, ["s10", "", "s2", "s1"])

    def test_ids_that_are_no_text_are_refused(self) -> None:
        with pytest.raises(ResponseError, match=r"found 1$"):
            check_responses(xr.DataArray(VALUES, dims=DIMS, coords={"stimulus": [1, 2, 3, 4], "unit": list("abc")}))

    def test_a_stimulus_without_a_pattern_is_named(self) -> None:
        values = VALUES.copy()
        values[3] = 0.25
        with pytest.raises(ResponseError, match="all units respond alike to s1: "):
            make_responses(values, IDS)
        made = make_responses(values, IDS, allow_constant=True)
        assert constant_stimuli(made) == ["s1"]

    def test_one_constant_repetition_is_enough(self) -> None:
        values = np.stack([VALUES, VALUES])
        values[1, 0] = 7
        with pytest.raises(ResponseError, match="alike to s10: "):
            make_responses(values, IDS)

    def test_one_unit_is_no_constant_pattern(self) -> None:
        assert make_responses(VALUES[:, :1], IDS).shape == (4, 1)

    @pytest.mark.parametrize(("shape", "lacking"), [((0, 3), "stimulus"), ((4, 0), "unit")])
    def test_nothing_is_refused(self, shape: tuple[int, int], lacking: str) -> None:
        with pytest.raises(ResponseError, match=f"hold no {lacking}"):
            make_responses(np.zeros(shape), IDS[: shape[0]], list("abc")[: shape[1]])

    def test_other_dims_and_missing_ids_are_refused(self) -> None:
        with pytest.raises(ResponseError, match="expected"):
            check_responses(responses().T)
        with pytest.raises(ResponseError, match="no coordinate 'unit'"):
            check_responses(responses().drop_vars("unit"))

    def test_a_long_list_of_stimuli_is_cut(self) -> None:
        with pytest.raises(ResponseError, match=r"s0, s1, s2, s3, s4 and 95 more$"):
            make_responses(np.full((100, 2), np.nan), [f"s{i}" for i in range(100)])


class TestAlign:
    @given(st.permutations(range(4)), st.permutations(range(4)))
    def test_any_order_of_rows_gives_the_same_numbers(self, rows: list[int], others: list[int]) -> None:
        first, second = responses(), responses() * 10
        a, b, c = align(first[rows], second[others], second)
        assert a["stimulus"].values.tolist() == [IDS[i] for i in rows]
        for aligned in (b, c):
            assert aligned["stimulus"].values.tolist() == a["stimulus"].values.tolist()
            np.testing.assert_array_equal(aligned.values, 10 * VALUES[rows])
            np.testing.assert_array_equal(aligned["category"].values, a["category"].values)

    def test_repetitions_move_with_their_stimulus(self) -> None:
        repeated = make_responses(np.stack([VALUES, -VALUES]), IDS)
        _, moved = align(responses()[::-1], repeated)
        np.testing.assert_array_equal(moved.values, np.stack([VALUES, -VALUES])[:, ::-1])

    def test_the_first_is_left_alone(self) -> None:
        first = responses()
        assert align(first)[0] is first

    def test_what_is_on_one_side_only_is_named(self) -> None:
        with pytest.raises(ResponseError, match=r"lab \(3 stimuli x 3 units\) lacks 's10'; .*select_stimuli"):
            align(responses(), responses(attrs={"source": "lab"})[1:])
        with pytest.raises(ResponseError, match="differ: the responses with 3 stimuli x 3 units lacks 's1';"):
            align(responses()[:3], responses())

    def test_a_name_that_differs_in_case_is_another(self) -> None:
        other = responses().assign_coords(stimulus=["S10", "s9", "s2", "s1"])
        with pytest.raises(ResponseError, match=r"lacks 's10'; .* lacks 'S10'"):
            align(responses(), other)


class TestSelectStimuli:
    def test_the_order_asked_for(self) -> None:
        chosen = select_stimuli(responses(), ["s1", "s10"])
        assert chosen["stimulus"].values.tolist() == ["s1", "s10"]
        np.testing.assert_array_equal(chosen.values, VALUES[[3, 0]])
        assert chosen["category"].values.tolist() == ["Nature", "Music"]

    def test_an_unknown_one_gets_a_near_miss(self) -> None:
        with pytest.raises(ResponseError, match=r"no stimulus 's99'; did you mean 's9'"):
            select_stimuli(responses(), ["s1", "s99"])

    def test_a_number_is_no_id(self) -> None:
        with pytest.raises(ResponseError, match="no stimulus 1;"):
            select_stimuli(responses(), [1])  # type: ignore[list-item]

    def test_asking_twice_is_an_error(self) -> None:
        with pytest.raises(ResponseError, match="asked twice for s1"):
            select_stimuli(responses(), ["s1", "s9", "s1"])


class TestSelectUnits:
    @pytest.mark.parametrize(
        ("patterns", "expected"),
        [
            ({"layer": "conv1"}, "a"),
            ({"layer": "conv*"}, "ab"),
            ({"layer": "conv?"}, "ab"),
            ({"layer": ["fc", "conv1"]}, "ac"),
            ({"channel": 0}, "ac"),
            ({"channel": [1, 0]}, "abc"),
            ({"channel": np.int64(1)}, "b"),
            ({"x_mm": -3.0}, "c"),
            ({"layer": "conv*", "channel": 0}, "a"),
            ({"unit": ["b"]}, "b"),
        ],
    )
    def test_by_value_list_or_glob(self, patterns: dict[str, Any], expected: str) -> None:
        chosen = select_units(responses(), **patterns)
        assert "".join(chosen["unit"].values) == expected
        np.testing.assert_array_equal(chosen.values, VALUES[:, ["abc".index(u) for u in expected]])

    def test_capitals_count(self) -> None:
        with pytest.raises(ResponseError, match="layer = 'CONV1'; "):
            select_units(responses(), layer="CONV1")

    def test_a_name_with_brackets_means_itself(self) -> None:
        named = responses().assign_coords(layer=("unit", ["block[1]", "block1", "block2"]))
        assert select_units(named, layer="block[1]")["unit"].values.tolist() == ["a"]
        assert select_units(named, layer="block[12]")["unit"].values.tolist() == ["b", "c"]

    def test_each_name_of_a_list_must_be_there(self) -> None:
        with pytest.raises(ResponseError, match="no unit has layer = 'conv3'; did you mean 'conv"):
            select_units(responses(), layer=["conv1", "conv3"])

    def test_an_unknown_coordinate_gets_a_near_miss(self) -> None:
        with pytest.raises(ResponseError, match="no coordinate 'layers'; did you mean 'layer'"):
            select_units(responses(), layers="conv1")

    def test_a_coordinate_of_the_stimuli_is_none_of_the_units(self) -> None:
        with pytest.raises(ResponseError, match="no coordinate 'category'"):
            select_units(responses(), category="Music")

    def test_nothing_left_is_an_error(self) -> None:
        with pytest.raises(ResponseError, match="no unit satisfies all of"):
            select_units(responses(), layer="fc", channel=1)
        with pytest.raises(ResponseError, match="no layer is named"):
            select_units(responses(), layer=[])


class TestAverageRepetitions:
    def test_the_mean_keeps_coordinates_and_says_how_many(self) -> None:
        repeated = make_responses(
            np.stack([VALUES, 3 * VALUES, 5 * VALUES]),
            IDS,
            stimulus_info={"category": list("abcd")},
            attrs={"source": "x"},
        )
        mean = average_repetitions(repeated)
        assert mean.dims == DIMS
        np.testing.assert_allclose(mean.values, 3 * VALUES, rtol=1e-15)
        assert mean.attrs == {"source": "x", "n_repetitions": 3}
        assert mean["category"].values.tolist() == list("abcd")
        assert "n_repetitions" not in repeated.attrs

    def test_without_repetitions_nothing_changes(self) -> None:
        single = responses()
        assert average_repetitions(single) is single


class TestFiles:
    attrs = {"source": "Zürich 脳", "n": 3, "scale": 0.5, "empty": "", "record": '{"a": [1, null]}'}  # noqa: RUF012

    @pytest.mark.parametrize("repeated", [False, True])
    def test_round_trip(self, tmp_path: Path, repeated: bool) -> None:
        made = make_responses(
            np.stack([VALUES, -VALUES]) if repeated else VALUES.astype(np.float32),
            ["007", "nan", "grüße 音", "NA"],
            ["u[0]", "1e5", "b"],
            stimulus_info={"category": ["", "NaN", "é", "None"]},
            unit_info={
                "channel": [3, -1, 2],
                "x_mm": [0.1, np.nan, np.inf],
                "left": [True, False, True],
                "layer": ["", "a", ""],
            },
            attrs=self.attrs,
        )
        path = save_responses(made, tmp_path / "new folder" / "respönses 1.nc")
        back = load_responses(path)
        xr.testing.assert_identical(back, made)
        assert back.dtype == made.dtype
        assert {n: back[n].dtype.kind for n in back.coords} == {n: made[n].dtype.kind for n in made.coords}
        assert {k: type(v).__name__.rstrip("0123456789_") for k, v in back.attrs.items()} == {
            "source": "str",
            "n": "int",
            "scale": "float",
            "empty": "str",
            "record": "str",
        }

    @settings(max_examples=15)
    @given(st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1), min_size=2, unique=True))
    def test_any_id_comes_back(self, tmp_path_factory: pytest.TempPathFactory, ids: list[str]) -> None:
        made = make_responses(np.arange(2.0 * len(ids)).reshape(-1, 2), ids)
        back = load_responses(save_responses(made, tmp_path_factory.mktemp("any") / "x.nc"))
        assert back["stimulus"].values.tolist() == ids

    def test_constant_stimuli_may_be_kept(self, tmp_path: Path) -> None:
        made = make_responses(np.ones((2, 3)), ["a", "b"], allow_constant=True)
        xr.testing.assert_identical(load_responses(save_responses(made, tmp_path / "x.nc")), made)

    @pytest.mark.parametrize("value", [True, None, {"a": 1}, object()])
    def test_an_attribute_without_a_place_in_the_format(self, tmp_path: Path, value: object) -> None:
        path = save_responses(responses(), tmp_path / "x.nc")
        before = path.read_bytes()
        with pytest.raises(ResponseError, match="cannot be written as netCDF"):
            save_responses(responses(attrs={"odd": value}), path)
        assert path.read_bytes() == before
        assert list(tmp_path.iterdir()) == [path]

    def test_the_suffix_says_the_format(self, tmp_path: Path) -> None:
        with pytest.raises(ResponseError, match=r"'x.npz' must end in '.nc'"):
            save_responses(responses(), tmp_path / "x.npz")

    def test_bad_responses_are_not_written(self, tmp_path: Path) -> None:
        with pytest.raises(ResponseError, match="NaN"):
            save_responses(responses() * np.nan, tmp_path / "x.nc")
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize("interruption", [KeyboardInterrupt, OSError])
    def test_an_interrupted_save_leaves_the_old_file(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interruption: type[BaseException]
    ) -> None:
        path = save_responses(responses(), tmp_path / "x.nc")

        def stop_half_way(_self: xr.Dataset, target: BinaryIO, **_: Any) -> None:
            target.write(b"\x89HDF half")
            raise interruption

        monkeypatch.setattr(xr.Dataset, "to_netcdf", stop_half_way)
        with pytest.raises(interruption):
            save_responses(responses() + 1, path)
        xr.testing.assert_identical(load_responses(path), responses())
        assert list(tmp_path.iterdir()) == [path]

    def test_a_pickle_is_refused_and_not_run(self, tmp_path: Path) -> None:
        path = tmp_path / "x.nc"
        path.write_bytes(pickle.dumps(_Payload(tmp_path / "ran")))
        with pytest.raises(ResponseError, match=r"x.nc is a pickle; .* netCDF-4 only"):
            load_responses(path)
        assert not (tmp_path / "ran").exists()

    @pytest.mark.parametrize("content", [b"", b"stimulus,unit\n", b"CDF\x01" + bytes(60), b"PK\x03\x04"])
    def test_other_formats_are_refused(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "x.nc"
        path.write_bytes(content)
        with pytest.raises(ResponseError, match=r"x.nc is no netCDF-4 file"):
            load_responses(path)

    def test_an_archive_of_arrays_is_refused(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "x.npz", responses=VALUES)
        (tmp_path / "x.npz").rename(tmp_path / "x.nc")
        with pytest.raises(ResponseError, match="no netCDF-4 file"):
            load_responses(tmp_path / "x.nc")

    @pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
    @pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
    def test_a_truncated_file_is_refused(self, tmp_path: Path, share: float) -> None:
        path = save_responses(responses(), tmp_path / "x.nc")
        content = path.read_bytes()
        path.write_bytes(content[: int(share * len(content))])
        with pytest.raises(ResponseError, match=r"x.nc cannot be read as netCDF-4"):
            load_responses(path)

    def test_another_netcdf_file_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "x.nc"
        xr.Dataset({"temperature": ("t", [1.0])}).to_netcdf(path, engine="h5netcdf")
        with pytest.raises(ResponseError, match="no variable 'responses', found temperature"):
            load_responses(path)
        xr.Dataset({"responses": (("row", "column"), VALUES)}).to_netcdf(path, engine="h5netcdf")
        with pytest.raises(ResponseError, match="have dims"):
            load_responses(path)

    def test_nan_in_a_file_is_found_on_loading(self, tmp_path: Path) -> None:
        path = tmp_path / "x.nc"
        bad = responses().copy(data=np.where(VALUES[1, 1] == VALUES, np.nan, VALUES))
        bad.rename("responses").to_dataset().to_netcdf(path, engine="h5netcdf")
        with pytest.raises(ResponseError, match=r"stimuli s9$"):
            load_responses(path)

    def test_a_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(ResponseError, match=r"no file .*nowhere.nc"):
            load_responses(tmp_path / "nowhere.nc")


class _Payload:
    """Leaves a mark when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


class TestMessages:
    def test_short_names(self) -> None:
        assert describe(responses()) == "the responses with 4 stimuli x 3 units"
        assert describe(responses(attrs={"source": "lab"})) == "lab (4 stimuli x 3 units)"

    def test_near_misses_come_first(self) -> None:
        assert did_you_mean("conv9", ["pool1", "conv1", "fc"]) == "did you mean 'conv1'?"
        assert did_you_mean("xyz", ["b", "a"]) == "known: 'a', 'b'"
        assert did_you_mean("xyz", []) == "known: none"
        assert did_you_mean(12, ["120"]) == "did you mean '120'?"

    def test_many_names_are_cut(self) -> None:
        assert name_some("abcde") == "a, b, c, d, e"
        assert name_some("abcdefg") == "a, b, c, d, e and 2 more"

    def test_a_missing_extra_says_what_to_install(self) -> None:
        why = MissingExtraError("transformers", "hf")
        assert isinstance(why, BrainalignError)
        assert "pip install 'brainalign[hf]'" in str(why)


@pytest.mark.parametrize("name", ["index", "Unnamed: 0"])
def test_saved_row_numbers_are_no_unit(name: str) -> None:
    table = pd.DataFrame({"stimulus_id": ["a", "b"], name: [0, 1], "v": [0.5, 1.5]})
    with pytest.raises(ResponseError, match=f"{name} looks like a saved row number"):
        from_table(table)


def test_a_column_of_truths_is_no_unit() -> None:
    with pytest.raises(ResponseError, match="the columns valid are not numeric"):
        from_table(pd.DataFrame({"stimulus_id": ["a", "b"], "valid": [True, False], "v": [0.5, 1.5]}))


@pytest.mark.parametrize("missing", [None, float("nan"), pd.NA])
def test_a_label_that_is_missing_is_named(missing):
    table = pd.DataFrame({"category": ["Music", missing]}, index=["a", "b"])
    with pytest.raises(ResponseError, match="column 'category' has no entry for b"):
        make_responses(np.eye(2), ["a", "b"], stimulus_info=table)
