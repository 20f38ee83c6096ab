"""Averaging windows of volumes: which volumes, how many windows, and what happens at the end of a run."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainalign.brain.volume_windows import average_windows, volumes_of
from brainalign.errors import BrainError, StimulusError


def clips(*onsets: float, duration: float = 15.0, **columns: list[str]) -> pd.DataFrame:
    ids = [f"clip{i}" for i in range(len(onsets))]
    return pd.DataFrame({"stimulus_id": ids, "onset": onsets, "duration": duration, **columns})


#: Each volume answers with its own number, so that a mean tells which volumes were averaged.
NUMBERS = np.arange(40.0)[:, None]


class TestVolumes:
    @pytest.mark.parametrize(
        ("begin", "end", "volumes"),
        [
            # The window of 10 s of Denk et al.: scans 0-1.5, ..., 9-10.5.
            (0, 10, [0, 1, 2, 3, 4, 5, 6]),
            (4.5, 14.5, [3, 4, 5, 6, 7, 8, 9]),
            (0, 5, [0, 1, 2, 3]),
            (0, 1.5, [0]),
            (1.5, 3, [1]),
            (0, 15, list(range(10))),
            (0.7, 0.8, [0]),
            (-1.5, 1.5, [-1, 0]),
        ],
    )
    def test_all_that_overlap(self, begin: float, end: float, volumes: list[int]) -> None:
        assert list(volumes_of(begin, end, 1.5)) == volumes

    @given(st.integers(0, 400), st.integers(1, 20), st.sampled_from([0.72, 0.8, 1.5, 2.0, 2.1, 3.4]))
    def test_whole_volumes_are_themselves_in_spite_of_rounding(self, first: int, n: int, tr: float) -> None:
        assert volumes_of(first * tr, (first + n) * tr, tr) == range(first, first + n)

    @given(st.floats(0, 100), st.floats(0.1, 30), st.floats(0.3, 4))
    def test_overlap_by_brute_force(self, begin: float, length: float, tr: float) -> None:
        end = begin + length
        overlap = {k: min(end, (k + 1) * tr) - max(begin, k * tr) for k in range(500)}
        chosen = set(volumes_of(begin, end, tr))
        assert {k for k, o in overlap.items() if o > 1e-3 * tr} <= chosen
        assert chosen <= {k for k, o in overlap.items() if o > 0}


class TestWindows:
    @pytest.mark.parametrize(("window_s", "n_windows", "n_volumes"), [(1.5, 10, 1), (5, 7, 4), (10, 4, 7), (15, 1, 10)])
    def test_the_published_numbers_of_windows(self, window_s: float, n_windows: int, n_volumes: int) -> None:
        means = average_windows(NUMBERS, clips(0, 15), repetition_time=1.5, window_s=window_s, delay_s=0)
        assert len(means.table) == 2 * n_windows
        assert (means.table["n_volumes"] == n_volumes).all()
        first = np.concatenate([np.arange(n_windows), 10 + np.arange(n_windows)])
        np.testing.assert_allclose(means.values[:, 0], first + (n_volumes - 1) / 2)

    def test_rows_carry_clip_window_and_columns(self) -> None:
        means = average_windows(
            NUMBERS, clips(0, 15, genre=["pop", "jazz"]), repetition_time=1.5, window_s=10, delay_s=4.5
        )
        assert means.table["stimulus_id"].tolist() == [f"clip{c}@{w:02d}" for c in range(2) for w in range(4)]
        assert means.table["clip"].tolist() == ["clip0"] * 4 + ["clip1"] * 4
        assert means.table["window"].tolist() == [0, 1, 2, 3] * 2
        assert means.table["genre"].tolist() == ["pop"] * 4 + ["jazz"] * 4
        # Three volumes later: volumes 3 to 9, mean 6.
        assert means.values[0, 0] == 6

    def test_the_whole_event_keeps_its_id(self) -> None:
        means = average_windows(NUMBERS, clips(3, 30, duration=7.5), repetition_time=1.5, delay_s=3)
        assert means.table["stimulus_id"].tolist() == ["clip0", "clip1"]
        np.testing.assert_array_equal(means.values[:, 0], [6, 24])

    def test_the_end_of_the_run(self) -> None:
        events = clips(45)
        with pytest.raises(BrainError, match=r"3 windows reach beyond the 40 volumes .*: clip0@07, clip0@08, clip0@09"):
            average_windows(NUMBERS, events, repetition_time=1.5, window_s=1.5, delay_s=4.5)
        means = average_windows(NUMBERS, events, repetition_time=1.5, window_s=5, delay_s=4.5, incomplete="shorten")
        assert means.table["n_volumes"].tolist() == [4, 4, 4, 4, 3, 2, 1]
        np.testing.assert_array_equal(means.values[-3:, 0], [38, 38.5, 39])
        beyond = average_windows(NUMBERS, events, repetition_time=1.5, window_s=1.5, incomplete="shorten")
        assert beyond.table["n_volumes"].tolist() == [1] * 7 + [0] * 3
        assert np.isnan(beyond.values[7:]).all()
        assert np.isfinite(beyond.values[:7]).all()

    def test_a_window_longer_than_the_event(self) -> None:
        with pytest.raises(BrainError, match=r"a window of 10 s does not fit into 'clip0', which lasts 7.5 s"):
            average_windows(NUMBERS, clips(0, duration=7.5), repetition_time=1.5, window_s=10)
        with pytest.raises(StimulusError, match=r"step"):
            average_windows(NUMBERS, clips(0), repetition_time=1.5, window_s=5, step_s=0)
