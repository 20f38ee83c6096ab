"""Colours of categories and models, chosen to be told apart by every reader.

Categories of one family share a hue and differ in lightness: voices are blue, animals yellow to
brown, the environment green to grey, music red to pink. The eleven colours of the 165 natural
sounds of Norman-Haignere, Kanwisher and McDermott (2015) were searched so that each pair stays at
least 20 CIELAB units apart for normal vision and for the dichromacies simulated after Machado,
Oliveira and Fernandes (2009). Models have the colours of Okabe and Ito (2008), and a marker and a
line style each, so that no reader depends on colour.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

#: Text and axes, secondary text, grid lines and background of all figures. The page swaps these four
#: for its light or dark values, so no mark that carries data may use them by accident.
INK, MUTED, GRID, PAPER = "#1f2328", "#59636f", "#d5dae0", "#fefefe"

_CATEGORY = {
    "EngSpeech": "#4a4979",
    "ForSpeech": "#527df8",
    "HumVoc": "#17c4fe",
    "HumNonVoc": "#c5c5d4",
    "AniVoc": "#eca61a",
    "AniNonVoc": "#9e8252",
    "Nature": "#96d2a0",
    "Mechanical": "#7b8d88",
    "EnvSound": "#005f44",
    "Music": "#b72800",
    "Song": "#dc60c1",
}
#: Names that other sets use for one kind of sound, and the category whose colour they take.
_ALIAS = {
    "speech": "ForSpeech",
    "voice": "HumVoc",
    "vocalization": "HumVoc",
    "vocalisation": "HumVoc",
    "animal": "AniVoc",
    "environment": "EnvSound",
    "environmental": "EnvSound",
    "machine": "Mechanical",
    "instrumentalmusic": "Music",
    "vocalmusic": "Song",
}
#: For names that are not known: members of different families first.
_SPARE = ("ForSpeech", "Music", "AniVoc", "EnvSound", "Song", "HumVoc", "Mechanical", "Nature",
          "EngSpeech", "AniNonVoc", "HumNonVoc")  # fmt: skip

_MODEL_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6bb1")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<")
_LINES = ("-", "--", "-.", (0, (1, 1)), (0, (5, 1)))


@dataclass(frozen=True)
class ModelStyle:
    """How one model is drawn, in every figure of a report alike.

    Attributes
    ----------
    colour : str
        Hexadecimal colour.
    marker : str
        Matplotlib marker.
    line : str or tuple
        Matplotlib line style.
    """

    colour: str
    marker: str
    line: str | tuple[int, tuple[int, ...]]


def category_colours(categories: Iterable[str]) -> dict[str, str]:
    """Give each category a colour.

    Parameters
    ----------
    categories : iterable of str
        Names; repeats are allowed. Case and punctuation do not matter for the known names.

    Returns
    -------
    dict of str to str
        Hexadecimal colour by category, in the order of :func:`category_order`. No two are the same.
    """
    order = category_order(categories)
    colours = {c: _CATEGORY[k] for c in order if (k := _known(c)) is not None}
    if len(set(colours.values())) < len(colours):  # two spellings of one name, say
        colours = {}
    used = set(colours.values())
    spare = (c for c in _spare_colours() if c not in used)
    for category in order:
        if category not in colours:
            colours[category] = next(spare)
    return {c: colours[c] for c in order}


def category_order(categories: Iterable[str]) -> list[str]:
    """Order categories by family; names that are not known follow in the order of appearance.

    Parameters
    ----------
    categories : iterable of str
        Names; repeats are allowed.

    Returns
    -------
    list of str
        Each name once.
    """
    unique = list(dict.fromkeys(str(c) for c in categories))
    known = list(_CATEGORY)
    return sorted(unique, key=lambda c: known.index(k) if (k := _known(c)) else len(known))


def model_styles(models: Sequence[str]) -> dict[str, ModelStyle]:
    """Give each model a colour, a marker and a line style.

    Parameters
    ----------
    models : sequence of str
        Names, in the order in which legends list them.

    Returns
    -------
    dict of str to ModelStyle
        The first 280 differ from each other.
    """
    return {
        m: ModelStyle(
            _MODEL_COLOURS[i % len(_MODEL_COLOURS)],
            _MARKERS[i % len(_MARKERS)],
            _LINES[(i + i // len(_MODEL_COLOURS)) % len(_LINES)],
        )
        for i, m in enumerate(dict.fromkeys(models))
    }


def _known(category: str) -> str | None:
    """Return the known category that a name stands for."""
    names = {name.casefold(): name for name in _CATEGORY} | _ALIAS
    bare = re.sub(r"[\W_]+", "", category).casefold()
    return names.get(bare) or names.get(bare.removesuffix("s"))


def _spare_colours() -> Iterable[str]:
    """Yield the palette, and then hues at the golden angle: close neighbours, but never the same."""
    from matplotlib.colors import hsv_to_rgb, to_hex

    yield from (_CATEGORY[name] for name in _SPARE)
    seen = set(_CATEGORY.values())
    step = 0
    while True:
        hsv = (step * 0.618034 % 1, 0.45 + 0.2 * (step % 3), 0.9 - 0.2 * (step % 2))
        red, green, blue = hsv_to_rgb(hsv)
        colour = to_hex((red, green, blue))
        step += 1
        if colour not in seen:
            seen.add(colour)
            yield colour
