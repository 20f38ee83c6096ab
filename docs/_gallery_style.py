"""The style of the reports for figures and tables of the gallery."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import pandas as pd

from brainalign.report._draw import STYLE


def reset(gallery_conf: dict[str, Any], name: str) -> None:
    """Start each example with the style of the reports; sphinx-gallery calls this before and after."""
    mpl.rcdefaults()
    mpl.use("agg")
    mpl.rcParams.update(STYLE)
    # Not three decimals: a small p is not 0.
    pd.set_option("display.float_format", "{:.3g}".format)
