"""Figures as files, and as SVG that stands inside a page."""

from __future__ import annotations

import base64
import csv
import io
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from brainalign._files import write_then_rename
from brainalign.report.colours import GRID, INK, MUTED, PAPER

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SVG, _XLINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}"
_PNG = "data:image/png;base64,"
_VARIABLES = {INK: "var(--ink)", MUTED: "var(--muted)", GRID: "var(--grid)", PAPER: "var(--paper)"}
#: A spreadsheet takes text that begins with one of these for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


class Drawing:
    """A figure drawn once as SVG, for a file and for the page.

    Marks that have a graphics id (``set_gid``) carry it as their title, which browsers show under the pointer.

    Parameters
    ----------
    figure : matplotlib Figure
        What to draw; its layout is settled now.
    """

    def __init__(self, figure: Figure) -> None:
        layout = figure.get_layout_engine()
        if layout is not None:
            layout.execute(figure)
            # With any engine, also one that does nothing, each file would be drawn twice.
            figure.set_layout_engine(None)
        self.figure = figure
        self._root = _drawn(figure)

    def save(self, data: pd.DataFrame, folder: Path, name: str) -> list[Path]:
        """Write SVG (text as text), PDF, and the numbers as CSV, each whole or not at all.

        Parameters
        ----------
        data : DataFrame
            The numbers that the figure shows; see :func:`safe_csv`.
        folder : Path
            Made if it is not there.
        name : str
            Name of the files, without suffix.

        Returns
        -------
        list of Path
            The files written.
        """
        paths = [folder / f"{name}{suffix}" for suffix in (".svg", ".pdf", ".csv")]
        with write_then_rename(paths[0]) as temporary:
            temporary.write_text(self.standalone(), encoding="utf-8")
        with write_then_rename(paths[1]) as temporary:
            self.figure.savefig(temporary, format="pdf", metadata={"CreationDate": None})
        with write_then_rename(paths[2]) as temporary:
            temporary.write_text(safe_csv(data), encoding="utf-8")
        return paths

    def standalone(self) -> str:
        """Return the SVG file, on the paper of the figures."""
        root = deepcopy(self._root)
        root.set("xmlns", _SVG.strip("{}"))
        root.insert(0, ET.Element("rect", {"width": "100%", "height": "100%", "fill": PAPER}))
        return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, encoding="unicode")

    def inline(self, name: str, alt: str) -> str:
        """Return an SVG element for a page with the colour and font variables of the template.

        Parameters
        ----------
        name : str
            Unique in the page: ids within the figure begin with it.
        alt : str
            What the figure shows, for those who do not see it.

        Returns
        -------
        str
            The element; names are escaped.
        """
        root = deepcopy(self._root)
        for key in ("width", "height"):
            root.attrib.pop(key, None)
        # A hundred pixels an inch: text has one size in all figures of the page.
        root.set("style", f"max-width: {100 * self.figure.get_figwidth():.0f}px")
        root.set("role", "img")
        root.set("aria-label", alt)
        for element in root.iter():
            if style := element.get("style"):
                for colour, variable in _VARIABLES.items():
                    style = style.replace(colour, variable)
                element.set("style", re.sub(r"(font: (?:\w+ )*[\d.]+px) [^;]*", r"\1 var(--font)", style))
            for key, value in element.attrib.items():
                if key == "id":
                    element.set(key, f"{name}-{value}")
                elif key == "href" and value.startswith("#"):
                    element.set(key, f"#{name}-{value[1:]}")
                elif value.startswith("url(#"):
                    element.set(key, f"url(#{name}-{value[5:]}")
        return ET.tostring(root, encoding="unicode")


def safe_csv(data: pd.DataFrame) -> str:
    """Return a table as CSV in which no text can be taken for a formula.

    Parameters
    ----------
    data : DataFrame
        Columns of text and of numbers.

    Returns
    -------
    str
        CSV without the index. An apostrophe stands before text that begins with ``=``, ``+``, ``-``, ``@``, a tab
        or a line break; numbers are as they are. Text stands in quotes where it needs them.
    """
    data = data.rename(columns=_not_a_formula)
    text = [c for c in data.columns if not pd.api.types.is_numeric_dtype(data[c])]
    data = data.assign(**{c: data[c].map(_not_a_formula) for c in text})
    # The csv module of older Pythons leaves a lone carriage return bare, at which readers break the row.
    cells = [*data.columns, *(cell for c in text for cell in data[c])]
    returns = any("\r" in cell for cell in cells if isinstance(cell, str))
    return data.to_csv(index=False, quoting=csv.QUOTE_NONNUMERIC if returns else csv.QUOTE_MINIMAL)


def _not_a_formula(cell: object) -> object:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell


def _drawn(figure: Figure) -> ET.Element:
    """Draw a figure and clean the SVG: no metadata, no style sheet, short numbers, ids only where they are used."""
    stream = io.BytesIO()
    facts = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(stream, format="svg", dpi=150, metadata=facts, transparent=True)
    titles = {artist.get_gid() for artist in figure.findobj(lambda artist: bool(artist.get_gid()))}
    text = stream.getvalue().decode("utf-8")
    used = set(re.findall(r'(?:href="|url\()#([^")]+)', text))
    root = ET.fromstring(text)
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag == f"{_SVG}metadata" or child.find(f"{_SVG}style") is not None:
                parent.remove(child)
    for element in list(root.iter()):
        element.tag = element.tag.removeprefix(_SVG)
        if element.get("id") in titles:
            title = ET.Element("title")
            title.text = element.get("id")
            element.insert(0, title)
        element.attrib = dict(_attributes(element, used))
    root.set("stroke-linejoin", "round")
    return root


def _attributes(element: ET.Element, used: set[str]) -> Iterator[tuple[str, str]]:
    for key, value in element.attrib.items():
        if key == "id":
            if value in used:
                yield key, value
        elif value.startswith(_PNG):
            yield (
                key.removeprefix(_XLINK),
                _PNG + base64.b64encode(_palette(base64.b64decode(value[len(_PNG) :]))).decode(),
            )
        else:
            yield key.removeprefix(_XLINK), re.sub(r"\d+\.\d{3,}", lambda number: f"{float(number[0]):.2f}", value)


def _palette(png: bytes) -> bytes:
    """Store a PNG of at most 256 colours, as a colour map gives, with a palette: the same pixels, fewer bytes."""
    from PIL import Image

    image = Image.open(io.BytesIO(png)).convert("RGBA")
    colours, index = np.unique(np.asarray(image).reshape(-1, 4), axis=0, return_inverse=True)
    if len(colours) > 256 or (colours[:, 3] < 255).any():
        return png
    small = Image.fromarray(index.reshape(image.size[::-1]).astype(np.uint8), mode="P")
    small.putpalette(colours[:, :3].tobytes())
    stream = io.BytesIO()
    small.save(stream, format="PNG", optimize=True)
    return stream.getvalue()
