"""Valid files with bytes flipped, removed and put in: a reader takes them or raises a BrainalignError, and soon."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hostile_targets import TARGETS, Target
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

#: What a reader may take of addresses beyond what the tests have already.
MEMORY_BYTES = 3 * 2**30
#: Far beyond what a small file needs on a loaded machine; what grows with a number in a header would take hours.
PATIENCE_S = 60

NUMBERS = [0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1, 10**12, 2**63 - 1, 2**64 - 1]
WORDS = [
    "", "nan", "inf", "-1", "1e999", "9" * 400, "9" * 5000, "-9223372036854775809", "null", "true", "[[[[", "{", '"', "'",  # noqa: E501
    "=cmd|' /C calc'!A0", "../../etc/passwd", "/etc/passwd", "\x00", "\r", "\t", ",,,,", "é", "\ufeff", "<script>", "a.b.c",  # noqa: E501
    "[" * 3000, '{"a":' * 3000, "{x:>99999999999}", "%s%n", "0x10", "1_000", "2026-11-22",
]  # fmt: skip


@st.composite
def changes(draw: st.DrawFn) -> Callable[[bytes, bool], bytes]:
    """Draw how a file is changed: up to four small steps."""
    steps = draw(st.lists(st.tuples(st.integers(0, 7), st.floats(0, 1), st.floats(0, 1), st.binary(max_size=8)),
                          min_size=1, max_size=4))  # fmt: skip
    number, wide, big = draw(st.sampled_from(NUMBERS)), draw(st.sampled_from([2, 4, 8])), draw(st.booleans())
    word = draw(st.sampled_from(WORDS))

    def change(content: bytes, text: bool) -> bytes:
        for kind, where, length, extra in steps:
            at = int(where * len(content))
            end = at + 1 + int(length * 16)
            if kind == 0:
                content = content[:at] + (extra or b"\xff") + content[at + len(extra or b"x") :]
            elif kind == 1:
                content = content[:at] + content[end:]
            elif kind == 2:
                content = content[:at] + extra + content[at:]
            elif kind == 3:
                content = content[:at] + content[at:end] * 3 + content[end:]
            elif kind == 4:
                content = content[:at]
            elif kind == 5 and text:
                content = _other_word(content, where, word.encode("utf-8"))
            elif kind == 5:
                packed = (number % 256**wide).to_bytes(wide, "big" if big else "little")
                content = content[:at] + packed + content[at + wide :]
            elif kind == 6 and text:
                content = _swapped(content, where, length)
            elif kind == 6:
                content = content[:at] + content[end:] + content[at:end]
            else:
                bit = 1 << int(length * 7)
                content = content[:at] + bytes(b ^ bit for b in content[at : at + 1]) + content[at + 1 :]
        return content

    return change


def _other_word(content: bytes, where: float, word: bytes) -> bytes:
    """Put a word in the place of one between separators."""
    ends = [i for i, c in enumerate(content) if c in b',\t\n"=: ']
    if not ends:
        return word
    k = int(where * (len(ends) - 1))
    stop = ends[k + 1] if k + 1 < len(ends) else len(content)
    return content[: ends[k] + 1] + word + content[stop:]


def _swapped(content: bytes, one: float, other: float) -> bytes:
    """Swap two lines, or two cells of every line."""
    lines = content.split(b"\n")
    if one < 0.5:
        i, j = int(one * 2 * (len(lines) - 1)), int(other * (len(lines) - 1))
        lines[i], lines[j] = lines[j], lines[i]
        return b"\n".join(lines)
    rows = [line.split(b",") for line in lines]
    for row in rows:
        i, j = int(one * (len(row) - 1)), int(other * (len(row) - 1))
        row[i], row[j] = row[j], row[i]
    return b"\n".join(b",".join(row) for row in rows)


@pytest.fixture
def little_memory() -> Iterator[None]:
    """Let this process have little more memory than it has: what asks for a terabyte fails, as a small machine would."""  # noqa: E501
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY_BYTES, hard))
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def attack(target: Target, folder: Path, n: int, record: Callable[[str, object], None]) -> None:
    seeds = target.prepare(folder)
    for seed in seeds:
        target.accepts(folder, seed)
    tried = taken = 0
    slowest = 0.0

    @settings(max_examples=n, database=None, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(which=st.integers(0, len(seeds) - 1), change=changes())
    def one(which: int, change: Callable[[bytes, bool], bytes]) -> None:
        nonlocal tried, taken, slowest
        begin = time.perf_counter()
        taken += target.accepts(folder, change(seeds[which], target.text))
        slowest = max(slowest, time.perf_counter() - begin)
        tried += 1

    one()
    record("hostile_inputs", (target.name, tried, taken, slowest))
    assert tried >= n // 2
    assert taken < tried or not target.raises, "no input was refused: are the changes any?"
    assert slowest < PATIENCE_S


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: t.name)
def test_valid_files_are_read(target: Target, tmp_path: Path) -> None:
    first = target.prepare(tmp_path)[0]
    assert target.accepts(tmp_path, first)


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize("target", TARGETS, ids=lambda t: t.name)
def test_changed_files(target: Target, tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    attack(target, tmp_path, 60, record_property)


@pytest.mark.slow
@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize("target", TARGETS, ids=lambda t: t.name)
def test_many_changed_files(target: Target, tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    attack(target, tmp_path, 150, record_property)
