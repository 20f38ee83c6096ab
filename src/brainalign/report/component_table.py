"""The table of components by models: trained networks beside what they must be held against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from brainalign.measures.result import Result
from brainalign.report.estimates import headline_rows
from brainalign.report.headline import is_baseline
from brainalign.report.words import highest, join, number, records, scores, table_of

#: Kinds of models in the order of the columns; the last three are controls.
KINDS = ("trained", "permuted weights", "random weights", "acoustic baseline")
_ONE_OF = {
    "trained": "a model with its own weights",
    "permuted weights": "one with permuted weights",
    "random weights": "one with random weights",
    "acoustic baseline": "an acoustic baseline",
}


@dataclass(frozen=True)
class Score:
    """A cell: value, interval, p, and whether it is the highest of its row, or one of several that are equal."""

    value: str
    ends: str
    p: str
    key: str
    highest: bool


@dataclass(frozen=True)
class ComponentTable:
    """What the template shows: columns (model, kind), rows (component, cells), and a sentence on what was not run."""

    columns: list[tuple[str, str]]
    rows: list[tuple[str, list[Score | None]]]
    note: str


def kind_of(model: str, baselines: Sequence[str] | None = None) -> str:
    """Return the kind of a model, one of :data:`KINDS`, by its name.

    Parameters
    ----------
    model : str
        Name, with ``@random:SEED`` or ``@permuted:SEED`` for a control.
    baselines : sequence of str, optional
        Models that are acoustic baselines; those of a known family if not given.

    Returns
    -------
    str
        The kind.
    """
    control = model.rpartition("@")[2].split(":")[0] if "@" in model else ""
    if control in ("permuted", "random"):
        return f"{control} weights"
    return KINDS[3] if is_baseline(model, baselines) else KINDS[0]


def component_table(
    results: Sequence[Result], targets: Sequence[str], baselines: Sequence[str] | None = None
) -> ComponentTable | None:
    """Hold the models against each other, component by component.

    Parameters
    ----------
    results : sequence of Result
        Those of the measure "component-encoding" are used.
    targets : sequence of str
        Components, from top to bottom.
    baselines : sequence of str, optional
        As for :func:`kind_of`.

    Returns
    -------
    ComponentTable or None
        Held-out r² with the layer chosen inside the training sounds, or of the highest layer of a model without such a
        choice; None if nothing was encoded.
    """
    table = table_of(results, "component-encoding", "r2")
    if table.empty:
        return None
    rows = records(headline_rows(table))
    models = [str(m) for m in dict.fromkeys(table["model"])]
    models.sort(key=lambda m: KINDS.index(kind_of(m, baselines)))
    of_cell = {(t, m): highest(r for r in rows if (r["target"], r["model"]) == (t, m)) for t in targets for m in models}
    body: list[tuple[str, list[Score | None]]] = []
    for target in targets:
        best = highest(r for m in models if (r := of_cell[target, m]) is not None)
        cells: list[Score | None] = []
        for model in models:
            row = of_cell[target, model]
            if row is None:
                cells.append(None)
                continue
            value, low, high = scores(row)
            ends = f"{low} to {high}" if low else ""
            top = best is not None and row["value"] == best["value"]
            cells.append(Score(value, ends, number(row["p"], 2), str(row["value"]), top and len(models) > 1))
        body.append((target, cells))
    kinds = [kind_of(m, baselines) for m in models]
    lacking = [_ONE_OF[k] for k in KINDS if k not in kinds]
    note = f"Not run beside these: {join(lacking)}." if lacking else ""
    return ComponentTable(list(zip(models, kinds, strict=True)), body, note)
