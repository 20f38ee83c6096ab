"""Which model is more brain-like? One door to inference on RDMs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from brainalign.brain.data import BrainData
from brainalign.errors import MeasureError, did_you_mean, name_some
from brainalign.measures.rdm import DIMS as RDM_DIMS
from brainalign.measures.rdm import NOISELESS, Distance, RDMs, align_rdms, check_rdms, compute_rdms, pair_values
from brainalign.measures.rdm_compare import Comparison, check_comparison, check_varied, compare_rdms
from brainalign.measures.rdm_noise import Shrinkage
from brainalign.measures.resampling import Count, Level, Resamples, Seed
from brainalign.measures.result import Result, result_table
from brainalign.measures.rsa import MINIMUM_STIMULI
from brainalign.measures.score_inference import Bootstrap, ScoreInference, infer_scores
from brainalign.responses import Responses, select_units
from brainalign.stats import adjust_p
from brainalign.stats.multiple import AdjustMethod

Array = NDArray[np.float64]


@dataclass(frozen=True)
class _Candidates:
    """RDMs as rows of pair values, with the model and layer of each."""

    model: list[str]
    layer: list[str]
    rdms: RDMs

    def named(self, models: list[str], *, others: bool = False) -> _Candidates:
        keep = [i for i, m in enumerate(self.model) if (m in models) != others]
        return _Candidates([self.model[i] for i in keep], [self.layer[i] for i in keep], self.rdms.isel(rdm=keep))


def compare_models(
    all_responses: Mapping[str, Responses | RDMs] | RDMs,
    brain: BrainData | Responses | RDMs,
    *,
    distance: Distance = "correlation",
    comparison: Comparison = "spearman",
    layers: dict[str, str] | None = None,
    controls: list[str] | None = None,
    by: str = "subject",
    bootstrap: Bootstrap = "stimuli",
    n_bootstrap: Resamples = 1000,
    n_permutations: Count = 1000,
    fdr: AdjustMethod = "fdr_bh",
    level: Level = 0.95,
    shrinkage: Shrinkage = "ledoit-wolf",
    seed: Seed = 0,
) -> Result:
    """Compare the RDMs of models with those of brains, and the models with each other.

    Parameters
    ----------
    all_responses : mapping of str to Responses or RDMs, or RDMs
        The models by name; each layer (each RDM) is a candidate. Stimuli are matched by id.
    brain : BrainData, Responses or RDMs
        The brain: one RDM for each value of the unit coordinate `by`, or the RDMs of subjects as they are.
    distance : str
        See :func:`~brainalign.measures.rdm.compute_rdm`. A model has no noise: beside ``"mahalanobis"`` it gets
        ``"euclidean"``, beside ``"crossnobis"`` ``"squared-euclidean"``.
    comparison : str
        See :func:`~brainalign.measures.rdm_compare.compare_rdms`. A score is the mean over subjects.
    layers : dict of str to str, optional
        The one layer of a model to use; all layers of models that are not named here. To choose it on these very data
        is to choose the best of many by luck.
    controls : list of str, optional
        Models (all that `layers` leaves of them) whose RDMs are taken out of both sides: scores are partial, and the
        controls are no candidates.
    by : str
        The coordinate that tells subjects apart; without it the brain is one RDM and there is no noise ceiling.
    bootstrap : {'stimuli', 'subjects', 'both'}
        Over what intervals and differences generalise: to new stimuli and the same subjects, to new subjects and the
        same stimuli, or to both (dual bootstrap).
    n_bootstrap : int
        Bootstrap samples. 0 leaves intervals and tests of differences empty.
    n_permutations : int
        Permutations of stimulus labels for the p of a score. 0 leaves it empty.
    fdr : str
        How ``p_adjusted`` corrects for the number of tests, see :func:`~brainalign.stats.adjust_p`; scores and
        differences are a family each.
    level : float
        Coverage of the intervals.
    shrinkage : str
        Of the noise covariance, see :func:`~brainalign.measures.rdm.compute_rdm`.
    seed : int
        Seed of permutations and resamples.

    Returns
    -------
    Result
        One row per candidate, statistic `comparison`: the score of the data (not the mean of bootstrap samples), a t
        interval with the standard error of the bootstrap, ``p`` (one-sided: more alike than with stimulus labels
        permuted), ``chance`` (the mean over permutations, which for a cosine of distances is far from 0),
        ``ceiling_lower`` and ``ceiling_upper``. Then one row per pair of candidates of different models (of layers, if
        there is one model only), statistic ``"difference in ..."``, of ``model`` and ``layer`` less ``model_2`` and
        ``layer_2``: ``p`` is a two-sided t test with the standard error of the bootstrap and one degree of freedom
        less than there are stimuli or subjects, whichever was resampled (the fewer, for both). Arrays: ``rdms``,
        ``brain_rdms``, ``subject_scores`` (rdm, subject).

    Raises
    ------
    MeasureError
        If there are fewer than 6 stimuli, one subject for a bootstrap over subjects, stimuli on one side only, an RDM
        without differences, or an unknown name.
    ResponseError
        If a response is missing; the message names the stimulus.

    References
    ----------
    Schütt, H. H. et al. (2023). Statistical inference on representational geometries. eLife 12, e82566.
    """
    check_comparison(comparison, partial=bool(controls))
    if isinstance(all_responses, xr.DataArray) and "rdm" not in all_responses.dims:
        raise MeasureError("compare_models takes the responses of models by name: {'my-net': responses}")
    subjects, source, notes = _brain_rdms(brain, distance, by, shrinkage)
    # In the order of ids, so that no draw depends on the order of a table.
    by_id = sorted(subjects["stimulus"].values)
    subjects = subjects.sel(stimulus=by_id, stimulus_2=by_id)
    n = subjects.sizes["stimulus"]
    if n < MINIMUM_STIMULI:
        raise MeasureError(f"RSA needs at least {MINIMUM_STIMULI} stimuli, found {n}")
    everything = _candidates(all_responses, layers or {}, NOISELESS.get(distance, distance), subjects)
    unknown = [name for name in controls or [] if name not in everything.model]
    if unknown:
        raise MeasureError(f"no model {unknown[0]!r} to control for; {did_you_mean(unknown[0], everything.model)}")
    candidates = everything.named(controls or [], others=True)
    if not candidates.model:
        raise MeasureError("all models are controls, which leaves none to compare")
    pairs = _pairs(candidates.model)
    models, brains = pair_values(candidates.rdms), pair_values(subjects)
    taken = pair_values(everything.named(controls).rdms) if controls else None
    _check_left(models, brains, taken, comparison, candidates)
    found = infer_scores(
        models,
        brains,
        comparison,
        controls=taken,
        pairs=pairs,
        bootstrap=bootstrap,
        n_bootstrap=n_bootstrap,
        n_permutations=n_permutations,
        level=level,
        seed=seed,
    )
    if found.n_dropped:
        notes.append(
            f"{found.n_dropped} of {n_bootstrap} bootstrap samples left an RDM without differences and were not used"
        )
    common = {
        "measure": "compare-models",
        "brain": source,
        "target": "all units" if len(subjects) == 1 else f"mean of {len(subjects)} subjects",
        "n": found.n,
        "n_of": "stimuli" if found.n == n else "subjects",
        "n_stimuli": n,
        "n_subjects": len(subjects),
    }
    scores = xr.DataArray(
        found.subject_scores,
        dims=("rdm", "subject"),
        coords={"rdm": candidates.rdms["rdm"].values, "subject": subjects["rdm"].values},
    )
    return Result(
        measure="compare-models",
        table=result_table(_rows(found, candidates, pairs, comparison, fdr, common)),
        arrays={"rdms": candidates.rdms, "brain_rdms": subjects, "subject_scores": scores},
        settings={
            "distance": distance,
            "distance_of_models": NOISELESS.get(distance, distance),
            "comparison": comparison,
            "layers": dict(layers or {}),
            "controls": list(controls or []),
            "bootstrap": bootstrap,
            "n_bootstrap": n_bootstrap,
            "n_permutations": n_permutations,
            "level": level,
            "shrinkage": shrinkage,
            "seed": seed,
            "correction": f"{fdr} over {len(candidates.model)} scores and, apart, {len(pairs)} differences",
            **_methods(bootstrap, bool(controls)),
        },
        warnings=notes,
    )


def _check_left(
    models: Array, brains: Array, controls: Array | None, comparison: Comparison, candidates: _Candidates
) -> None:
    """Raise if controls explain an RDM wholly; the models are named."""
    if controls is None:
        return
    lost = ~np.isfinite(compare_rdms(models, brains, comparison, controls=controls))
    if lost.any():
        names = candidates.rdms["rdm"].values[lost.any(axis=1)]
        raise MeasureError(f"the controls leave nothing of the RDM of {name_some(names)}, or of that of a subject")


def _rows(
    found: ScoreInference,
    candidates: _Candidates,
    pairs: list[tuple[int, int]],
    comparison: str,
    fdr: AdjustMethod,
    common: dict[str, Any],
) -> list[dict[str, Any]]:
    k = len(candidates.model)
    adjusted = np.concatenate([adjust_p(part, fdr, nan="keep") for part in np.split(found.p, [k])])
    rows = []
    about: list[tuple[int, int | None]] = [*((i, None) for i in range(k)), *pairs]
    for i, (first, second) in enumerate(about):
        rows.append(
            {
                **common,
                "model": candidates.model[first],
                "layer": candidates.layer[first],
                "statistic": comparison if second is None else f"difference in {comparison}",
                "value": found.values[i],
                "ci_low": found.low[i],
                "ci_high": found.high[i],
                "p": found.p[i],
                "effect_size": found.values[i],
                "p_adjusted": adjusted[i],
                "standard_error": found.error[i],
                "ceiling_lower": found.ceiling[0] if second is None else np.nan,
                "ceiling_upper": found.ceiling[1] if second is None else np.nan,
                "chance": found.chance[i] if second is None else np.nan,
                "model_2": "" if second is None else candidates.model[second],
                "layer_2": "" if second is None else candidates.layer[second],
            }
        )
    return rows


def _methods(bootstrap: Bootstrap, partial: bool) -> dict[str, str]:
    """Say which tests gave the p, and what they mean."""
    new = {"both": "stimuli and subjects"}.get(bootstrap, bootstrap)
    return {
        "test_of_scores": "one-sided permutation of stimulus labels; p: chance of a score as high if the distances "
        "of the brain had nothing to do with those of the model" + (" beyond the controls" if partial else ""),
        "test_of_differences": f"two-sided t test, standard error from the bootstrap over {new}; p: chance of a "
        f"difference as large if both models were equally good over new {new}",
        "interval": f"value -/+ t times standard error, bootstrap over {new} by pair weights",
        "ceiling": "leave-one-subject-out (lower) and all subjects (upper), in the measure of the score",
    }


def _brain_rdms(
    brain: BrainData | Responses | RDMs, distance: Distance, by: str, shrinkage: Shrinkage
) -> tuple[RDMs, str, list[str]]:
    """Return one RDM per subject, the name of the brain, and what a reader must know."""
    data = brain.responses if isinstance(brain, BrainData) else brain
    source = str(data.attrs.get("source", ""))
    if data.dims == RDM_DIMS:
        check_rdms(data)
        rdms = data
    else:
        known = by in data.coords and data[by].dims == ("unit",)
        rdms = compute_rdms(data, distance, by=by if known else None, shrinkage=shrinkage)
    check_varied(pair_values(rdms), [f"{by} {name}" for name in rdms["rdm"].values])
    one = f"the brain is one RDM (no several values of the unit coordinate {by!r}): there is no noise ceiling"
    return rdms, source, [one] if len(rdms) == 1 else []


def _candidates(
    models: Mapping[str, Responses | RDMs] | RDMs, layers: Mapping[str, str], distance: Distance, brain: RDMs
) -> _Candidates:
    if isinstance(models, xr.DataArray):
        models = {str(name): models.isel(rdm=[i]) for i, name in enumerate(models["rdm"].values)}
    if not models:
        raise MeasureError("there is no model to compare")
    unknown = [name for name in layers if name not in models]
    if unknown:
        raise MeasureError(
            f"a layer is named for {unknown[0]!r}, which is no model; {did_you_mean(unknown[0], models)}"
        )
    model, layer, found = [], [], []
    for name, given in models.items():
        if given.dims == RDM_DIMS:
            check_rdms(given)
            rdms = given
            if name in layers:
                if layers[name] not in given["rdm"].values:
                    known = [str(r) for r in given["rdm"].values]
                    raise MeasureError(f"{name} has no RDM {layers[name]!r}; {did_you_mean(layers[name], known)}")
                rdms = given.sel(rdm=[layers[name]])
            titles = [str(r) if len(rdms) > 1 or name in layers else "" for r in rdms["rdm"].values]
        else:
            responses = select_units(given, layer=layers[name]) if name in layers else given
            has_layers = "layer" in responses.coords
            rdms = compute_rdms(responses, distance, by="layer" if has_layers else None)
            titles = [str(r) if has_layers else "" for r in rdms["rdm"].values]
        rdms = align_rdms(brain, rdms, name)
        full = [f"{name}/{title}" if title else name for title in titles]
        check_varied(pair_values(rdms), full)
        model += [name] * len(titles)
        layer += titles
        found.append(rdms.drop_vars("category", errors="ignore").assign_coords(rdm=full))
    return _Candidates(model, layer, xr.concat(found, "rdm"))


def _pairs(model: list[str]) -> list[tuple[int, int]]:
    """Return pairs of candidates of different models, or of layers if there is one model."""
    alone = len(set(model)) == 1
    return [(i, j) for i in range(len(model)) for j in range(i + 1, len(model)) if alone or model[i] != model[j]]
