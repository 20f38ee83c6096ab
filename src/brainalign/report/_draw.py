"""What all figures share: their style, safe labels, and sounds matched by id."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pandas as pd
import xarray as xr

from brainalign.errors import MeasureError, name_some
from brainalign.report.colours import GRID, INK, MUTED, PAPER

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STYLE: dict[str, Any] = {
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.axisbelow": True,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "figure.facecolor": PAPER,
    "axes.facecolor": "none",
    "svg.fonttype": "none",
    "svg.hashsalt": "brainalign",
    "pdf.fonttype": 42,
}


@contextmanager
def style() -> Iterator[None]:
    """Draw figures in the style of the reports; characters that the font lacks are named once, at the end."""
    from matplotlib import RcParams, rc_context

    with missing_glyphs_once(), rc_context(RcParams(STYLE)):
        yield


class MissingGlyphs(UserWarning):
    """Characters that the font of the figures lacks; they are its second argument."""

    def __str__(self) -> str:
        return str(self.args[0])


@contextmanager
def missing_glyphs_once() -> Iterator[None]:
    """Gather matplotlib's warnings about characters that its font lacks, one for each piece of text, into one.

    Other warnings come as they are, at the end. An inner block leaves its characters to the outer one.
    """
    lacking: list[str] = []
    caught: list[warnings.WarningMessage] = []
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.filterwarnings("always", message=r"Glyph \d+ .*missing from font")
            warnings.simplefilter("always", MissingGlyphs)
            yield
    finally:
        for said in caught:
            if isinstance(said.message, MissingGlyphs):
                lacking += said.message.args[1]
            elif glyph := re.match(r"Glyph (\d+) .*missing from font", str(said.message)):
                lacking.append(chr(int(glyph[1])))
            else:
                warnings.warn_explicit(said.message, said.category, said.filename, said.lineno, source=said.source)
        if lacking:
            characters = list(dict.fromkeys(lacking))
            text = (
                f"the font of the figures has no glyph for {name_some(map(repr, characters), 20)}: names are drawn "
                f"with a box in PDF files; the page and SVG files use the fonts of the reader"
            )
            warnings.warn(MissingGlyphs(text, characters), stacklevel=3)


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure, sized in inches, that is not registered with pyplot."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def plain(name: object, limit: int = 48) -> str:
    """Make a name safe as a label: no formula is read into ``$``, no control character is drawn.

    Parameters
    ----------
    name : object
        What is to be written.
    limit : int
        Longer names lose their middle.

    Returns
    -------
    str
        The label.
    """
    text = re.sub(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]", "\ufffd", str(name))
    if len(text) > limit:
        text = f"{text[: limit // 2]}…{text[-(limit // 2 - 1) :]}"
    return text.replace("$", r"\$")


def series(values: xr.DataArray) -> pd.Series:
    """Turn responses along ``stimulus`` into a Series indexed by stimulus id."""
    return pd.Series(values.to_numpy().astype(float), index=[str(s) for s in values["stimulus"].values])


def by_id(values: pd.Series, category: pd.Series) -> tuple[pd.Series, pd.Series]:
    """Match categories to values by stimulus id."""
    values = values.set_axis(values.index.map(str))
    category = category.set_axis(category.index.map(str)).astype(str)
    lacking = values.index.difference(category.index)
    if len(lacking):
        raise MeasureError(f"no category for the sounds {name_some(lacking)}")
    return values, category.loc[values.index]
