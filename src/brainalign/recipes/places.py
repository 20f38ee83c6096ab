"""Where in a TOML file a key stands, so that a message can name its line.

``tomllib`` keeps no positions. The scanner here follows text that ``tomllib`` has read already, so it only has to find
its way through it, not to judge it.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right
from collections.abc import Sequence

#: A place in a recipe: keys, and indices of lists and of arrays of tables.
Place = tuple[str | int, ...]

_BLANK = re.compile(r"[ \t]*")
_BLANK_LINES = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_KEY = re.compile(r'[A-Za-z0-9_-]+|"(?:[^"\\]|\\.)*"|\'[^\']*\'')
#: A string; three quotation marks in a row end a long one, which may have two more of them as its last characters.
_STRING = re.compile(
    r'''"""(?:[^"\\]|\\.|"{1,2}(?!"))*"{3,5} | "(?:[^"\\]|\\.)*"'''
    r""" | '''(?:[^']|'{1,2}(?!'))*'{3,5} | '[^']*'""",
    re.DOTALL | re.VERBOSE,
)
_OTHER = re.compile(r"[^,\]}#\r\n]+")


def find_lines(text: str) -> dict[Place, int]:
    """Find the line of every key, table and entry of a list.

    Parameters
    ----------
    text : str
        A TOML file that ``tomllib`` can read.

    Returns
    -------
    dict of tuple to int
        For each place (``("measures", 0, "splits")``) its line, from 1 on. A table that is never written out has the
        line of the first key within it.
    """
    return _Scanner(text).lines


def line_of(text: str, place: Sequence[str | int]) -> int | None:
    """Find the line of a place, or, if it is not there (a key is missing), of the nearest part that is around it.

    Parameters
    ----------
    text : str
        A TOML file that ``tomllib`` can read.
    place : sequence of str or int
        Keys and indices.

    Returns
    -------
    int or None
        The line, from 1 on; None if nothing of the place is there.
    """
    lines = find_lines(text)
    parts = (tuple(place[:end]) for end in range(len(place), 0, -1))
    return next((lines[part] for part in parts if part in lines), None)


class _Scanner:
    """Goes through a file once and notes where each place begins."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.lines: dict[Place, int] = {}
        self._ends = [m.start() for m in re.finditer("\n", text)]
        self._tables: dict[Place, int] = {}
        table: Place = ()
        self._skip(_BLANK_LINES)
        while self.at < len(text):
            if text[self.at] == "[":
                table = self._header()
            else:
                self._pair(table)
            self._skip(_BLANK_LINES)

    def _skip(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self.text, self.at)
        if match is None:
            raise ValueError(f"line {self._line()} is not TOML")
        self.at = match.end()
        return match[0]

    def _line(self) -> int:
        return bisect_right(self._ends, self.at - 1) + 1

    def _note(self, place: Place, line: int) -> None:
        for end in range(1, len(place) + 1):
            self.lines.setdefault(place[:end], line)

    def _keys(self) -> list[str]:
        """Read a key, which may be dotted."""
        keys = []
        while True:
            self._skip(_BLANK)
            key = self._skip(_KEY)
            keys.append(tomllib.loads(f"k = {key}")["k"] if key[0] in "\"'" else key)
            self._skip(_BLANK)
            if self.text[self.at : self.at + 1] != ".":
                return keys
            self.at += 1

    def _header(self) -> Place:
        """Read ``[table]`` or ``[[table]]``; a table within an array of tables belongs to its last entry."""
        line, brackets = self._line(), 2 if self.text.startswith("[[", self.at) else 1
        self.at += brackets
        *around, last = self._keys()
        self.at += brackets
        place: Place = ()
        for key in around:
            place = self._entry((*place, key))
        place = (*place, last)
        if brackets == 2:
            self._note(place, line)
            self._tables[place] = self._tables.get(place, 0) + 1
        place = self._entry(place)
        self._note(place, line)
        return place

    def _entry(self, place: Place) -> Place:
        return (*place, self._tables[place] - 1) if place in self._tables else place

    def _pair(self, table: Place) -> None:
        line = self._line()
        place = (*table, *self._keys())
        self._note(place, line)
        self.at += 1  # the equals sign
        self._skip(_BLANK)
        self._value(place)

    def _value(self, place: Place) -> None:
        first = self.text[self.at]
        if first == "[":
            self._list(place)
        elif first == "{":
            self._inline_table(place)
        else:
            self._skip(_STRING if first in "\"'" else _OTHER)

    def _list(self, place: Place) -> None:
        self.at += 1
        self._skip(_BLANK_LINES)
        i = 0
        while self.text[self.at] != "]":
            entry = (*place, i)
            self._note(entry, self._line())
            self._value(entry)
            self._between()
            i += 1
        self.at += 1

    def _inline_table(self, place: Place) -> None:
        self.at += 1
        self._skip(_BLANK_LINES)
        while self.text[self.at] != "}":
            self._pair(place)
            self._between()
        self.at += 1

    def _between(self) -> None:
        self._skip(_BLANK_LINES)
        if self.text[self.at] == ",":
            self.at += 1
            self._skip(_BLANK_LINES)
