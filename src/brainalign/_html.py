"""What notebooks show of results and data: small tables, escaped, with nothing to load."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape

from brainalign.errors import name_some

#: Rows that a notebook shows.
MAX_ROWS = 30


def html_card(title: str, facts: Mapping[str, object], *more: str) -> str:
    """Return a card: a title, facts in two columns, and what follows them.

    Parameters
    ----------
    title : str
        What it is.
    facts : mapping of str to object
        A dict is shown as names with numbers, a list as names; empty facts are left out.
    *more : str
        HTML.

    Returns
    -------
    str
        HTML; titles and facts are escaped, `more` is not.
    """
    rows = "".join(
        f'<tr><th scope="row" style="text-align:left">{escape(name)}</th>'
        f'<td style="text-align:left">{escape(_words(fact))}</td></tr>'
        for name, fact in facts.items()
        if _words(fact)
    )
    name = escape(title, quote=True)
    table = f"<table><tbody>{rows}</tbody></table>" if rows else ""
    return f'<section aria-label="{name}"><p><strong>{name}</strong></p>{table}{"".join(more)}</section>'


def html_table(columns: Sequence[object], rows: Iterable[Sequence[object]], caption: str) -> str:
    """Return a table; columns in which nothing stands are left out, and so are rows after the first thirty.

    Parameters
    ----------
    columns : sequence
        Names.
    rows : iterable of sequences
        Values, one for each column.
    caption : str
        What the table holds; says how many rows are left out.

    Returns
    -------
    str
        HTML, escaped.
    """
    cells = [[_cell(value) for value in row] for row in rows]
    kept = [i for i in range(len(columns)) if any(row[i] for row in cells)]
    if len(cells) > MAX_ROWS:
        caption = f"{caption}: the first {MAX_ROWS} of {len(cells)}"
    head = "".join(f'<th scope="col">{escape(str(columns[i]))}</th>' for i in kept)
    body = "".join("<tr>" + "".join(f"<td>{escape(row[i])}</td>" for i in kept) + "</tr>" for row in cells[:MAX_ROWS])
    return f"<table><caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def html_list(title: str, items: Sequence[object]) -> str:
    """Return a list that unfolds under its title; nothing if it is empty."""
    inner = "".join(f"<li>{escape(str(item))}</li>" for item in items)
    return f"<details><summary>{escape(title)} ({len(items)})</summary><ul>{inner}</ul></details>" if items else ""


def html_fold(summary: str, content: str) -> str:
    """Return HTML that unfolds under a summary, which is escaped."""
    return f"<details><summary>{escape(summary)}</summary>{content}</details>"


def _words(fact: object) -> str:
    if isinstance(fact, Mapping):
        return name_some((f"{k} {v}" for k, v in fact.items()), 12)
    if isinstance(fact, list | tuple):
        return name_some(fact, 12)
    return "" if fact is None else str(fact)


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.3g}"
    # pandas' own sign of a missing value has no truth.
    return "" if value is None or type(value).__name__ == "NAType" else str(value)
