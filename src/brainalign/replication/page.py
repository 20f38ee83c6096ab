"""The scoreboard as one HTML page without anything to load; all text is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from typing import TYPE_CHECKING

from brainalign.replication.verdicts import VERDICTS

if TYPE_CHECKING:
    from brainalign.replication.scoreboard import Score


def render_page(scores: Sequence[Score]) -> str:
    """Return the page.

    Parameters
    ----------
    scores : sequence of Score
        From :func:`~brainalign.replication.scoreboard.scoreboard`.

    Returns
    -------
    str
        HTML.
    """
    from jinja2 import Environment, StrictUndefined

    from brainalign.replication.scoreboard import count_verdicts, data_needed

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    source = files("brainalign.replication").joinpath("page.html.j2").read_text(encoding="utf-8")
    papers = {name: [s for s in scores if s.paper == name] for name in dict.fromkeys(s.paper for s in scores)}
    return environment.from_string(source).render(
        papers=papers,
        needs={name: data_needed(own) for name, own in papers.items()},
        counts=count_verdicts(scores),
        verdicts=VERDICTS,
    )
