"""Numbers and JSON as they stand inside a page."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

#: The whole number that stands for a value that is not there.
_NOTHING = 65535


def packed(values: NDArray[Any], kind: str) -> str:
    """Return numbers of a NumPy type, such as ``"<u2"``, as base64."""
    return base64.b64encode(np.ascontiguousarray(values, dtype=kind).tobytes()).decode()


def packed_steps(values: NDArray[np.float64]) -> dict[str, Any]:
    """Return numbers as 16-bit steps between the least and the greatest of them.

    Parameters
    ----------
    values : ndarray
        NaN and infinity are stored as missing.

    Returns
    -------
    dict
        ``low``, ``step`` and ``packed``: a value is ``low + step * k`` to within half a step, a 131,068th of the range.
    """
    there = np.isfinite(values)
    low, high = (float(values[there].min()), float(values[there].max())) if there.any() else (0.0, 0.0)
    step = (high - low) / (_NOTHING - 1) or 1.0
    steps = np.full(values.shape, _NOTHING)
    steps[there] = np.round((values[there] - low) / step)
    return {"low": low, "step": step, "packed": packed(steps, "<u2")}


def script_json(content: Any) -> Markup:
    """Write JSON that can end no script element."""
    text = json.dumps(content, ensure_ascii=True, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))
