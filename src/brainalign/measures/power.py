"""Power: how many subjects, repetitions and sounds tell two models apart, by simulated studies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from brainalign._progress import track
from brainalign.brain.data import BrainData
from brainalign.errors import MeasureError, did_you_mean
from brainalign.measures.difference_test import POPULATIONS, Inference, difference_test, paired_t_power
from brainalign.measures.encoding import MINIMUM_STIMULI
from brainalign.measures.rdm_compare import Comparison, check_comparison
from brainalign.measures.resampling import Level, Seed, draw_counts
from brainalign.measures.result import Result, result_table
from brainalign.measures.scores import Statistic, check_statistic
from brainalign.measures.simulated_study import (
    Analysis,
    Cell,
    EncodingAnalysis,
    Population,
    RdmAnalysis,
    Sample,
    aligned_models,
    draw_sample,
    readout_features,
    run_studies,
)
from brainalign.responses import Responses, units_by_layer
from brainalign.stats import pairwise_correlations

Array = NDArray[np.float64]
Measure = Literal["rsa", "encoding"]
POWER, FALSE_POSITIVES = "power", "false positive rate"
#: Shares at which the difference of the models is looked up to find where it is 0.
_SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)


def power(
    first: Responses,
    second: Responses,
    *,
    n_subjects: Sequence[int] = (5, 10, 20),
    n_repetitions: Sequence[int] = (1, 3),
    n_stimuli: Sequence[int] | None = None,
    reliability: float | BrainData | Responses = 0.2,
    share: Annotated[float, Field(gt=0.5, le=1)] = 0.75,
    share_sd: Annotated[float, Field(ge=0)] = 0.5,
    n_voxels: Annotated[int, Field(ge=2)] = 50,
    measures: Sequence[Measure] = ("rsa", "encoding"),
    inference: Inference = "subjects",
    comparison: Comparison = "spearman",
    statistic: Statistic = "r2",
    n_splits: int = 2,
    n_simulations: int = 200,
    n_bootstrap: int = 100,
    false_positives: bool = True,
    alpha: Level = 0.05,
    seed: Seed = 0,
    progress: bool = False,
) -> Result:
    """Simulate studies of brains that the first of two models generates for the most part, and count how many find it.

    Each voxel of a simulated subject is a random linear read-out of the first model (a share of its signal variance)
    and of the second (the rest), plus noise. Both models are scored on it, and the difference of scores is tested.

    Parameters
    ----------
    first, second : Responses
        Of the models to the sounds at hand, one layer each (see :func:`~brainalign.responses.select_units`). Matched by
        stimulus id. A coordinate ``category`` keeps subsets balanced.
    n_subjects, n_repetitions : sequence of int
        What to try; all combinations are simulated. A repetition is one measurement of every sound in every subject.
    n_stimuli : sequence of int, optional
        Numbers of sounds; each simulation draws its own from those at hand, which are all used if not given.
    reliability : float, BrainData or Responses
        Correlation over sounds that two repetitions are expected to have in a voxel. Or measured responses with
        repetitions: simulated voxels draw from the reliabilities of measured ones, negative ones counting as 0.
    share : float
        Share of the first model in the signal of the median subject, above 0.5. With 1 the brain *is* the first model,
        which makes any study look good; this number decides the result as much as the noise does.
    share_sd : float
        Standard deviation over subjects of the log odds of the share: 0.5 puts two thirds of subjects with a share
        around 0.75 between 0.65 and 0.83.
    n_voxels : int
        Voxels per subject, with independent weights and noise. Measured voxels are alike: what counts is how many of
        them are independent.
    measures : sequence of {'rsa', 'encoding'}
        What scores the models. ``rsa``: correlation RDMs, each subject's with each model's. ``encoding``: ridge
        regression, `n_splits` folds, median over splits, then over the voxels of a subject.
    inference : {'subjects', 'stimuli', 'both'}
        To what the test generalises. ``subjects``: to new subjects who hear the same sounds, by a paired t test.
        ``stimuli``: to new sounds of the same kind and the same subjects, by a bootstrap over sounds (of encoding, the
        test sounds with fits held fixed). ``both``: by the dual bootstrap of Schütt et al. (2023).
    comparison : str
        Of RDMs, see :func:`~brainalign.measures.rdm_compare.compare_rdms`.
    statistic : str
        Score of predictions, see :func:`~brainalign.measures.scores.score`.
    n_splits : int
        Folds of the sounds for encoding.
    n_simulations : int
        Studies per estimate, at least 20.
    n_bootstrap : int
        Bootstrap samples per study, unless inference is over subjects.
    false_positives : bool
        Simulate also, for each number of sounds and repetitions, the mixture that both models explain equally well.
    alpha : float
        Level of the two-sided test.
    seed : int
        Seed of everything that is drawn.
    progress : bool
        Show a progress bar.

    Returns
    -------
    Result
        Statistic ``power``: share of simulated studies in which the first model is better, p < `alpha`; interval:
        Wilson's, which holds the uncertainty of the simulation only. Statistic ``false positive rate``: share of p <
        `alpha`, whoever wins, where the expected difference is 0. ``target`` is the measure. Columns ``n_subjects``,
        ``n_repetitions``, ``n_stimuli``; ``wrong`` (share of studies that the second model wins), ``difference`` (mean
        over studies), ``difference_sd`` (standard deviation over subjects within a study), ``effect_size`` (their
        ratio), ``closed_form`` (for tests over subjects, their power with this effect, see
        :func:`~brainalign.measures.difference_test.paired_t_power`; it ignores that studies differ in their sounds and
        takes differences for Gaussian), ``share``.

    Raises
    ------
    MeasureError
        If a number is out of range, a model has several layers, or measured responses have no repetitions or are not
        reliable at all.
    ResponseError
        If the stimuli of the models differ.

    References
    ----------
    Schütt, H. H. et al. (2023). Statistical inference on representational geometries. eLife 12, e82566.
    """
    models = aligned_models([first, second])
    n = models[0].sizes["stimulus"]
    sizes = sorted(set([n] if n_stimuli is None else n_stimuli))
    subjects, repetitions = sorted(set(n_subjects)), sorted(set(n_repetitions))
    _check_options(measures, inference, share, share_sd, alpha)
    check_comparison(comparison)
    check_statistic(statistic)
    _check_counts(subjects, repetitions, sizes, n, inference, n_simulations, n_voxels)
    population = Population(
        (readout_features(models[0]), readout_features(models[1])), _reliabilities(reliability), n_voxels, share_sd
    )
    known: dict[str, Analysis] = {
        "rsa": RdmAnalysis.of(models, comparison),
        "encoding": EncodingAnalysis([m.values.astype(np.float64) for m in models], statistic, n_splits),
    }
    analyses = {str(name): known[name] for name in measures}
    category = models[0]["category"].values if "category" in models[0].coords else np.zeros(n)
    cells = [Cell(m, r, k) for m in analyses for k in sizes for r in repetitions]
    simulation = _Simulation(population, category, analyses, subjects, inference, n_bootstrap, seed, progress)
    found = {POWER: simulation.test(dict.fromkeys(cells, share), n_simulations, POWER)}
    if false_positives:
        equal = simulation.equal_shares(cells, max(25, n_simulations // 4))
        found[FALSE_POSITIVES] = simulation.test(equal, n_simulations, FALSE_POSITIVES)
    layers = [next(iter(units_by_layer(m))) for m in models]
    names = [
        "/".join(dict.fromkeys(filter(None, (str(m.attrs.get("source", "")) or f"model {i}", layer))))
        for i, (m, layer) in enumerate(zip(models, layers, strict=True), 1)
    ]
    rows = [
        {
            **_row(what, cell, size, outcome, inference, alpha),
            "model": names[0],
            "layer": layers[0],
            "model_2": names[1],
            "brain": "simulated",
        }
        for what, outcomes in found.items()
        for cell, outcome in outcomes.items()
        for size in subjects
    ]
    settings: dict[str, Any] = {
        "models": names,
        "reliability": reliability if isinstance(reliability, float | int) else f"measured: {_source(reliability)}",
        "share": share,
        "share_sd": share_sd,
        "n_voxels": n_voxels,
        "n_stimuli_at_hand": n,
        "measures": list(analyses),
        "inference": inference,
        "population": POPULATIONS[inference],
        "n_simulations": n_simulations,
        "alpha": alpha,
        "seed": seed,
        "interval": "Wilson's, 95 %, of the share of simulations",
    }
    if not isinstance(reliability, float | int):
        settings["mean_reliability"] = float(population.reliability.mean())
    if "rsa" in analyses:
        settings["comparison"] = comparison
    if "encoding" in analyses:
        settings |= {"statistic": statistic, "n_splits": n_splits}
    if inference != "subjects":
        settings["n_bootstrap"] = n_bootstrap
    return Result("power", result_table(rows), settings=settings, warnings=_warnings(found, names))


def smallest_studies(result: Result, wanted: float = 0.8) -> pd.DataFrame:
    """Return, for each measure and number of repetitions and sounds, the fewest subjects that were enough.

    Parameters
    ----------
    result : Result
        Of :func:`power`.
    wanted : float
        The power that is enough.

    Returns
    -------
    DataFrame
        Columns ``measure``, ``n_repetitions``, ``n_stimuli``, ``n_subjects`` (missing where none that was tried is
        enough), ``power``, ``ci_low``, ``ci_high`` (of that number, or of the most that was tried), ``sure`` (whether
        the whole interval is above what is wanted).
    """
    table = result.table[result.table["statistic"] == POWER]
    rows = []
    for (measure, k, r), group in table.groupby(["target", "n_stimuli", "n_repetitions"], sort=False):
        enough = group[group["value"] >= wanted]
        row = (group if enough.empty else enough).sort_values("n_subjects").iloc[-1 if enough.empty else 0]
        rows.append(
            {
                "measure": measure,
                "n_repetitions": r,
                "n_stimuli": k,
                "n_subjects": pd.NA if enough.empty else row["n_subjects"],
                "power": row["value"],
                "ci_low": row["ci_low"],
                "ci_high": row["ci_high"],
                "sure": bool(row["ci_low"] >= wanted),
            }
        )
    return pd.DataFrame(rows).astype({"n_subjects": "Int64"})


@dataclass(frozen=True)
class _Outcome:
    """All simulations of a cell: p and mean differences by number of subjects, and what lies behind them."""

    share: float
    p: dict[int, Array]
    means: dict[int, Array]
    #: Of all subjects: mean over simulations of the difference, and root mean variance between subjects.
    difference: float
    spread: float


@dataclass(frozen=True)
class _Simulation:
    population: Population
    category: NDArray[np.generic]
    analyses: Mapping[str, Analysis]
    subjects: list[int]
    inference: Inference
    n_bootstrap: int
    seed: int
    progress: bool

    def samples(self, n_simulations: int, what: str) -> Iterator[Sample]:
        """Yield simulated studies; the same for the same seed, and the first ones the same for more simulations."""
        stream = (POWER, FALSE_POSITIVES, "equally good models").index(what)
        for simulation in track(range(n_simulations), what, unit="study", show=self.progress):
            rng = np.random.default_rng([self.seed, stream, simulation])
            yield draw_sample(self.population, max(self.subjects), self.category, rng)

    def test(self, shares: Mapping[Cell, float], n_simulations: int, what: str) -> dict[Cell, _Outcome]:
        """Simulate and test; a cell whose share is NaN stays empty."""
        rng = np.random.default_rng([self.seed, 3])
        counts = None
        if self.inference != "subjects":
            counts = {c.n_stimuli: draw_counts(c.n_stimuli, self.n_bootstrap, rng) for c in shares}
        wanted = {cell: [share] for cell, share in shares.items() if np.isfinite(share)}
        tests: dict[Cell, list[list[tuple[float, float]]]] = {cell: [] for cell in shares}
        all_differences: dict[Cell, list[Array]] = {cell: [] for cell in shares}
        studies = run_studies(self.samples(n_simulations, what), self.analyses, wanted, counts)
        for cell, _, differences, resampled in studies:
            all_differences[cell].append(differences)
            tests[cell].append(
                [
                    difference_test(differences[:s], resampled[:, :s], self.inference, cell.n_stimuli, rng)
                    for s in self.subjects
                ]
            )
        outcomes = {}
        for cell, share in shares.items():
            means, p = np.array(tests[cell]).reshape(-1, len(self.subjects), 2).transpose(2, 1, 0)
            table = np.array(all_differences[cell]).reshape(-1, max(self.subjects))
            difference = float(table.mean()) if len(table) else np.nan
            one = len(table) == 0 or table.shape[1] < 2
            spread = np.nan if one else float(np.sqrt(table.var(axis=1, ddof=1).mean()))
            by = self.subjects
            outcomes[cell] = _Outcome(
                share, dict(zip(by, p, strict=True)), dict(zip(by, means, strict=True)), difference, spread
            )
        return outcomes

    def equal_shares(self, cells: Sequence[Cell], n_simulations: int) -> dict[Cell, float]:
        """Return the share at which the expected difference of the models is 0; NaN where it never is."""
        from scipy.interpolate import PchipInterpolator

        sums = {cell: dict.fromkeys(_SHARES, 0.0) for cell in cells}
        samples = self.samples(n_simulations, "equally good models")
        for cell, share, differences, _ in run_studies(samples, self.analyses, dict.fromkeys(cells, _SHARES)):
            sums[cell][share] += float(differences.mean())
        found = {}
        for cell, by_share in sums.items():
            roots = PchipInterpolator(_SHARES, list(by_share.values())).roots(extrapolate=False)
            roots = roots[np.isfinite(roots)]
            found[cell] = float(roots[np.argmin(np.abs(roots - 0.5))]) if len(roots) else np.nan
        return found


def _row(
    what: str, cell: Cell, n_subjects: int, outcome: _Outcome, inference: Inference, alpha: float
) -> dict[str, Any]:
    from statsmodels.stats.proportion import proportion_confint

    p, means, size = outcome.p[n_subjects], outcome.means[n_subjects], outcome.difference / (outcome.spread or np.nan)
    significant = p < alpha
    known = what == POWER and inference == "subjects"
    wins, n = significant & ((means > 0) | (what == FALSE_POSITIVES)), len(p)
    low, high = proportion_confint(wins.sum(), n, method="wilson") if n else (np.nan, np.nan)
    return {
        "measure": "power",
        "target": cell.measure,
        "statistic": what,
        "value": wins.mean() if n else np.nan,
        "ci_low": low,
        "ci_high": high,
        "effect_size": size,
        "n": n,
        "n_of": "simulations",
        "note": "" if n else "no mixture of the two is explained equally well by both",
        "n_subjects": n_subjects,
        "n_repetitions": cell.n_repetitions,
        "n_stimuli": cell.n_stimuli,
        "wrong": (significant & (means < 0)).mean() if n else np.nan,
        "difference": outcome.difference,
        "difference_sd": outcome.spread,
        "closed_form": float(paired_t_power(size, n_subjects, alpha)) if known else np.nan,
        "share": outcome.share,
    }


def _source(data: BrainData | Responses) -> str:
    return data.name if isinstance(data, BrainData) else str(data.attrs.get("source", "responses"))


def _reliabilities(given: float | BrainData | Responses) -> Array:
    if isinstance(given, float | int):
        if not 0 < given <= 1:
            raise MeasureError(f"the reliability of one repetition is {given}, expected above 0 and up to 1")
        return np.array([float(given)])
    measured = given.responses if isinstance(given, BrainData) else given
    if "repetition" not in measured.dims:
        raise MeasureError(f"{_source(given)} has no repetitions, from which alone a reliability can be estimated")
    found: Array = np.maximum(pairwise_correlations(measured.values).mean(axis=0), 0)
    dead = np.isnan(found)
    if dead.any():
        raise MeasureError(f"{int(dead.sum())} units of {_source(given)} are constant; leave them out by name")
    if not found.any():
        raise MeasureError(f"no unit of {_source(given)} is reliable: its repetitions do not correlate")
    return found


def _check_options(measures: Sequence[str], inference: str, share: float, share_sd: float, alpha: float) -> None:
    for what, given, known in (
        *(("measure", m, get_args(Measure)) for m in measures),
        ("inference", inference, get_args(Inference)),
    ):
        if given not in known:
            raise MeasureError(f"no {what} {given!r}; {did_you_mean(given, known)}")
    if not measures:
        raise MeasureError("no measure is named; expected rsa, encoding or both")
    for what, value, good, expected in (
        ("share", share, 0.5 < share <= 1, "above 0.5 and up to 1; for a brain more like the second, swap the models"),
        ("share_sd", share_sd, 0 <= share_sd < np.inf, "0 or more"),
        ("alpha", alpha, 0 < alpha < 1, "between 0 and 1"),
    ):
        if not good:
            raise MeasureError(f"{what} is {value}, expected {expected}")


def _check_counts(
    subjects: list[int], repetitions: list[int], sizes: list[int], n: int, inference: str, n_sim: int, n_voxels: int
) -> None:
    least_subjects = 1 if inference == "stimuli" else 2
    for what, found, least in (
        ("n_subjects", subjects, least_subjects),
        ("n_repetitions", repetitions, 1),
        ("n_stimuli", sizes, MINIMUM_STIMULI),
        ("n_simulations", [n_sim], 20),
        ("n_voxels", [n_voxels], 2),
    ):
        if not found or found[0] < least:
            raise MeasureError(f"{what} is {found[0] if found else 'empty'}, expected at least {least}")
    if sizes[-1] > n:
        raise MeasureError(f"n_stimuli is {sizes[-1]}, but there are responses to {n} stimuli only")


def _warnings(found: Mapping[str, Mapping[Cell, _Outcome]], names: Sequence[str]) -> list[str]:
    about = "{0.measure}, {0.n_stimuli} sounds, {0.n_repetitions} repetitions"
    notes = [
        f"{about.format(cell)}: {names[1]} scores higher on average ({outcome.difference:.3g}), although {names[0]} "
        f"gives {outcome.share:.0%} of the signal; this measure would decide for the wrong model"
        for cell, outcome in found[POWER].items()
        if outcome.difference < 0
    ]
    return notes + [
        f"{about.format(cell)}: no mixture of the two is explained equally well by both, hence no false positive rate"
        for cell, outcome in found.get(FALSE_POSITIVES, {}).items()
        if np.isnan(outcome.share)
    ]
