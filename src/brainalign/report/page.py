"""The page of a run: one HTML file with its figures, tables, methods and provenance, and nothing to load.

The page works without a network and without JavaScript, in light and dark, on paper and by keyboard.
Everything that comes from names is escaped.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from shlex import join
from typing import Any

import pandas as pd

from brainalign._files import write_then_rename
from brainalign._progress import progress_bar
from brainalign.brain.data import BrainData
from brainalign.measures.result import COLUMNS, Result
from brainalign.reconstruction.examples import Example
from brainalign.report import panels, words
from brainalign.report._draw import style
from brainalign.report.brain_surface_page import brain_section, viewer_script
from brainalign.report.colours import model_styles
from brainalign.report.component_table import component_table
from brainalign.report.figures import OF_ALL_BRAINS
from brainalign.report.headline import Headline, headline
from brainalign.report.listening import listen_section, listening_script, reconstruction_section
from brainalign.report.methods import methods_section
from brainalign.report.sound_panels import maps, matrices
from brainalign.stimuli.sets import StimulusSet

#: Most rows of a table in the page; a run over voxels has many times more.
MAX_ROWS = 2000
#: Measures whose first figure opens the page of a run that begins with them, where no profile of a component does.
LEADING = frozenset({"compare-models", "voxel-encoding", "selective-ratio"})


@dataclass(frozen=True)
class ReportContent:
    """What a page is made from.

    Attributes
    ----------
    title : str
        Title of the recipe.
    question : str
        One sentence.
    stimuli : StimulusSet
        The sounds.
    brains : sequence of BrainData
        What was measured; the figures of a brain are those of the first.
    results : list of Result
        One per measure and model.
    provenance : dict
        Versions, seeds, digests, and the ``command`` that repeats the run.
    baselines : sequence of str, optional
        Models that are acoustic baselines; if not given, those whose names say so
        (:data:`brainalign.report.headline.ACOUSTIC_BASELINES`).
    audio : bool
        Whether the page brings the sounds along.
    examples : sequence of Example
        Sounds of a reconstruction; they need `audio`.
    leaderboard : str
        Address of the leaderboard, if there is one.
    """

    title: str
    question: str
    stimuli: StimulusSet
    brains: Sequence[BrainData]
    results: list[Result]
    provenance: dict[str, Any]
    baselines: Sequence[str] | None = None
    audio: bool = True
    examples: Sequence[Example] = ()
    leaderboard: str = ""

    @property
    def brain(self) -> BrainData | None:
        """The first of the brain data, if there are any."""
        return self.brains[0] if self.brains else None


def write_report(content: ReportContent, path: Path, *, figures_folder: Path | None, progress: bool = False) -> Path:
    """Write the page of a run, and its figures as files.

    Parameters
    ----------
    content : ReportContent
        What to show.
    path : Path
        The HTML file; replaced when the new one is whole.
    figures_folder : Path or None
        Where every figure goes as SVG and PDF, with its numbers as CSV; None for no files.
    progress : bool
        Count the figures while they are drawn.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    MeasureError
        If the arrays of a result name a sound that the stimulus set does not have.
    """
    from jinja2 import Environment, StrictUndefined

    models = [m for r in content.results for m in r.table["model"] if m]
    with style(), progress_bar("figures", None, unit="figure", show=progress) as bar:
        drawn = _of_first_brain(content)
        gallery = panels.Gallery(drawn, Path(path), figures_folder, model_styles(models), count=bar.update)
        context = _context(content, gallery)
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    source = files("brainalign.report").joinpath("template.html.j2").read_text(encoding="utf-8")
    html = environment.from_string(source).render(context)
    with write_then_rename(Path(path)) as temporary:
        temporary.write_text(html, encoding="utf-8", errors="replace")
    return Path(path)


def _of_first_brain(content: ReportContent) -> ReportContent:
    """Leave out results about other brain data than the first: figures have one value for a layer and target."""
    others = {brain.name for brain in content.brains[1:]}
    drawn = [r for r in content.results if r.kind in OF_ALL_BRAINS or not others & set(r.table["brain"])]
    return replace(content, results=drawn)


def _context(content: ReportContent, gallery: panels.Gallery) -> dict[str, Any]:
    """Gather what the template shows."""
    results = gallery.content.results
    answer = headline(results, content.baselines)
    leading, others = panels.main(gallery, answer), panels.others(gallery)
    first = next((r.measure for r in results[:1] if r.kind in LEADING), "")
    if leading is None and first in others:
        # The first screen shows what the answer is about; the figure is not drawn twice.
        leading = others[first].pop(0)
        others = {measure: shown for measure, shown in others.items() if shown}
    provenance = {k: v for k, v in content.provenance.items() if k != "command"}
    command = content.provenance.get("command", "")
    return {
        "content": content,
        "answer": answer,
        "tiles": _tiles(answer),
        "cautions": words.cautions(content.results, content.stimuli, content.brains),
        "first": answer.best["model"] if answer.best else "",
        "main": leading,
        "profiles": panels.profiles(gallery),
        "means": panels.means(gallery),
        "curves": panels.curves(gallery),
        "ratios": panels.ratios(gallery),
        "component_table": component_table(results, panels.few_targets(results)[0], content.baselines),
        "matrices": matrices(gallery),
        "maps": maps(gallery),
        "others": others,
        "on_brain": brain_section(gallery),
        "viewer_script": viewer_script(),
        "listening": listen_section(content.stimuli) if content.audio else None,
        "reconstructions": reconstruction_section(content.examples) if content.audio and content.examples else None,
        "listening_script": listening_script(content.audio),
        "missing": gallery.missing,
        "tables": [_table(m, content.results) for m in dict.fromkeys(r.measure for r in content.results)],
        "methods": methods_section(content.stimuli, content.brains, content.results, content.provenance),
        "settings": words.methods(content.results),
        "categories": content.stimuli.table["category"].value_counts(sort=False).items(),
        "facts": {k: words.setting(v) for k, v in provenance.items() if not _nested(v)},
        "records": {
            k: json.dumps(v, indent=2, default=str, ensure_ascii=False) for k, v in provenance.items() if _nested(v)
        },
        "command": command if isinstance(command, str) else join(map(str, command)),
    }  # fmt: skip


def _nested(value: Any) -> bool:
    return isinstance(value, Mapping | list | tuple)


def _tiles(answer: Headline) -> list[tuple[str, str, str]]:
    """Return the numbers of the answer as value, interval and what it is."""
    tiles = []
    for row, what in ((answer.best, "held-out r²"), (answer.baseline, "held-out r², acoustic baseline")):
        if row is not None:
            label = f"{what}, {row['model']}"
            tiles.append((words.scores(row)[0], _ends(row), label))
    row = answer.ratio
    if row is not None:
        if words.readable(row):
            tiles.append((words.scores(row)[0], _ends(row), f"response ratio of the brain’s {answer.target}"))
        if words.present(row["effect_size"]):
            p = words.p_words(row["p"]) if words.present(row["p"]) else ""
            tiles.append((f"{row['effect_size']:.3f}", p, "common-language effect size (rank-sum)"))
    return tiles  # fmt: skip


def _ends(row: words.Row) -> str:
    _, low, high = words.scores(row)
    return f"{low} to {high}" if low else "no interval"


def _table(measure: str, results: Sequence[Result]) -> dict[str, Any]:
    """Prepare all rows of a measure for the page: empty columns are left out, constant ones named in the caption."""
    own = [r for r in results if r.measure == measure]
    table = pd.concat([r.table for r in own], ignore_index=True)
    about_p = words.about_p(own)
    table = table.drop(columns="measure").rename(columns=str)
    # What tells rows apart comes before the numbers. Notes are wide, and most rows have none.
    about = [c for c in COLUMNS[: COLUMNS.index("value")] if c in table]
    about += [str(c) for c in table if c not in COLUMNS and pd.api.types.infer_dtype(table[c]) == "string"]
    table = table[[*about, *(c for c in table if c not in about and c != "note"), "note"]]
    shown = _first_rows(table)
    text = table.map(lambda v: str(v) if words.present(v) else "")
    constant = [
        c
        for c in table
        if c not in ("model", "layer", "target", "value", "note") and len(table) > 1 and text[c].nunique() == 1
    ]
    seen = text.loc[shown.index]
    columns = [str(c) for c in table if (seen[str(c)] != "").any() and c not in constant]
    numeric = {c for c in columns if _numeric(table[c])}
    rows = [[_cell(c, row[c], c in numeric) for c in columns] for row in words.records(shown)]
    same = ", ".join(
        f"{c} {_cell(str(c), table[c].iloc[0], _numeric(table[c]))['text']}" for c in constant if text[c].iloc[0]
    )
    every = words.counted(len(table), "estimate")
    n = every if len(rows) == len(table) else f"The first {len(rows)} of {every}"
    n += ", by rank in each layer" if "rank" in table else ""
    caption = " ".join([f"{n}; the same in all: {same}." if same else f"{n}.", *about_p])
    return {"measure": measure, "columns": [(c, c in numeric) for c in columns], "rows": rows, "caption": caption}


def _first_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows to show; of ranked ones those of highest rank in each layer, layer by layer."""
    if "rank" not in table:
        return table.head(MAX_ROWS)
    place = table.groupby(["model", "layer"], sort=False).ngroup()
    first = table.assign(place=place).sort_values(["rank", "place"]).head(MAX_ROWS)
    return table.loc[first.sort_values(["place", "rank"]).index]


def _numeric(column: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)


def _cell(column: str, value: Any, numeric: bool) -> dict[str, str]:
    """Write a cell: what is read, the full value that sorts, and how it is set."""
    if not words.present(value):
        return {"text": "–" if numeric else "", "key": "", "kind": "number" if numeric else ""}
    estimate = column in ("value", "ci_low", "ci_high", "effect_size")
    text = words.number(value, trailing=estimate) if numeric else str(value)
    if numeric and (column == "p" or column.startswith("p_")) and value < words.SMALLEST_P:
        text = f"< {words.SMALLEST_P}"
    return {"text": text, "key": str(value), "kind": "number" if numeric else "note" if column == "note" else ""}
