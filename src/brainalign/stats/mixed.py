"""Linear mixed models for responses that share networks, stimuli and categories."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from brainalign.errors import MeasureError, did_you_mean, name_some
from brainalign.stats._checks import check_level

if TYPE_CHECKING:
    import pandas as pd

#: What a formula may use besides the columns of the table: functions, and their arguments.
_FUNCTIONS = {"C", "Q", "Treatment", "Sum", "Poly", "Helmert", "Diff", "center", "standardize"}
_FUNCTIONS |= {"reference", "levels"}


def mixed_model(
    table: pd.DataFrame,
    formula: str,
    *,
    random: Sequence[str] | Mapping[str, str],
    groups: str | None = None,
    reml: bool = True,
    level: float = 0.95,
) -> pd.DataFrame:
    """Fit a linear mixed model, by default with crossed random effects.

    The same sounds are played to all networks, so values share both their sound and their
    network. ``mixed_model(table, "response ~ category", random=["network", "stimulus"])`` gives
    each network and each sound a random intercept.

    Parameters
    ----------
    table : DataFrame
        One row per value, with the columns that the formula names.
    formula : str
        Fixed effects, as ``"response ~ category * condition"``. Besides columns it may use
        ``C()`` and its contrasts, ``Q()``, ``center()`` and ``standardize()``.
    random : sequence of str, or mapping of str to str
        Columns that each get a random intercept, or formulas of variance components by name
        (``{"slope": "0 + C(network):level"}``). Components are independent.
    groups : str, optional
        A column whose levels share nothing with one another: it gets a random intercept, and the
        components in `random` are nested within it. Without it all components are crossed.
    reml : bool
        Restricted maximum likelihood; plain maximum likelihood if False.
    level : float
        The confidence level.

    Returns
    -------
    DataFrame
        One row per term, columns ``kind`` ("fixed", or "variance" of a random effect or of the
        residual), ``term``, ``estimate``, ``se``, ``ci_low``, ``ci_high``, ``z``, ``p`` (two-sided
        Wald test; empty for variances), ``n`` of ``n_of`` (rows, or levels of the random effect),
        ``converged`` and ``note``: what the fit complained of, as a variance at its boundary of 0.

    Raises
    ------
    MeasureError
        For unknown columns, missing values in a used column, a formula that cannot be read, or a
        model that cannot be fitted.

    Notes
    -----
    Wald tests take the variances as known. They reject too often for effects that vary between
    few levels: with 5 networks each in two conditions, a null difference of conditions has
    p < .05 in about one of ten fits. Compare such conditions with :func:`rank_sum` on one value
    per network.

    References
    ----------
    Baayen, R. H., Davidson, D. J. & Bates, D. M. (2008). J. Mem. Lang. 59, 390-412.
    """
    from statsmodels.regression.mixed_linear_model import MixedLM

    check_level(level)
    components = _components(random)
    if not components and groups is None:
        raise MeasureError("a mixed model needs a random effect: name its column in random")
    table = _used_rows(table, [formula, *components.values()], groups)
    try:
        with warnings.catch_warnings():
            # With patsy, the empty namespace of eval_env=-1 is announced as deprecated.
            warnings.simplefilter("ignore", FutureWarning)
            model = MixedLM.from_formula(
                formula,
                table,
                groups=np.zeros(len(table)) if groups is None else groups,
                re_formula=None if groups is None else "1",
                vc_formula=components or None,
                eval_env=-1,
            )
        fit, note = _fit(model, reml)
    except Exception as why:  # patsy and statsmodels raise many kinds
        reason = (str(why) or type(why).__name__).splitlines()[0]
        raise MeasureError(f"the model {formula!r} cannot be fitted: {reason}") from why
    rows = _fixed_rows(fit, level) + _variance_rows(fit, table, components, groups)
    return _tidy(rows, bool(fit.converged), note)


def _fit(model: Any, reml: bool) -> tuple[Any, str]:
    """Fit by a search without gradients, and say what it complained of.

    The default of statsmodels searches along gradients, which vanish where a variance is 0: on
    crossed designs with such a component most fits stop early or far from the optimum.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            fit = model.fit(reml=reml, method="nm")
        except np.linalg.LinAlgError:  # a step onto a variance of exactly 0
            fit = model.fit(reml=reml, method="powell")
    complaints = (w for w in caught if not issubclass(w.category, FutureWarning))
    return fit, "; ".join(dict.fromkeys(str(w.message).splitlines()[0] for w in complaints))


def _components(random: Sequence[str] | Mapping[str, str]) -> dict[str, str]:
    if isinstance(random, str):
        raise MeasureError(f"random must be a list of columns, found the text {random!r}")
    if isinstance(random, Mapping):
        return dict(random)
    return {name: f'0 + C(Q("{name}"))' for name in random}


def _used_rows(table: pd.DataFrame, formulas: list[str], groups: str | None) -> pd.DataFrame:
    """Return the used columns with a fresh index, after checking names and missing values."""
    columns = [str(c) for c in table.columns]
    used = _names_in(formulas, columns)
    if groups is not None:
        used.append(groups)
    unknown = [name for name in used if name not in columns]
    if unknown:
        raise MeasureError(
            f"the table has no column {name_some(map(repr, unknown))}; {did_you_mean(unknown[0], columns)}"
        )
    used = list(dict.fromkeys(used))
    missing = table[used].isna().sum()
    if missing.any():
        found = (f"{count} in {name!r}" for name, count in missing[missing > 0].items())
        raise MeasureError(f"missing values: {name_some(found)}; take out those rows before the fit")
    # statsmodels looks rows up by their index, so repeated labels would repeat rows.
    return table[used].reset_index(drop=True)


def _names_in(formulas: list[str], columns: list[str]) -> list[str]:
    """Return all names that formulas use. A formula is evaluated as code, so nothing else passes."""
    names = []
    for formula in formulas:
        if found := re.search(r"[{}\\]", formula):  # in a string, they can hold code
            raise MeasureError(f"the formula {formula!r} holds {found[0]!r}, which is not allowed")
        names += re.findall(r"""Q\(\s*["']([^"']*)["']\s*\)""", formula)
        code = re.sub(r""""[^"]*"|'[^']*'""", "", formula)
        code = re.sub(r"\b\d+(\.\d+)?\b(?!\s*\.)", "1", code)
        if bad := re.sub(r"[\w\s,~+\-*/:()=^]", "", code):
            raise MeasureError(f"the formula {formula!r} holds {bad[0]!r}, which is not allowed")
        words = re.findall(r"[^\W\d]\w*", code)
        names += [word for word in words if word in columns or word not in _FUNCTIONS]
    return names


def _fixed_rows(fit: Any, level: float) -> list[dict[str, Any]]:
    limits = np.asarray(fit.conf_int(alpha=1 - level))
    return [
        {
            "kind": "fixed",
            "term": name,
            "estimate": fit.fe_params.iloc[i],
            "se": fit.bse_fe.iloc[i],
            "ci_low": limits[i, 0],
            "ci_high": limits[i, 1],
            "z": fit.tvalues.iloc[i],
            "p": fit.pvalues.iloc[i],
            "n": int(fit.nobs),
            "n_of": "rows",
        }
        for i, name in enumerate(fit.fe_params.index)
    ]


def _variance_rows(
    fit: Any, table: pd.DataFrame, components: dict[str, str], groups: str | None
) -> list[dict[str, Any]]:
    found = [("residual", fit.scale, int(fit.nobs), "rows")]
    if groups is not None:
        found.append((groups, np.asarray(fit.cov_re)[0, 0], table[groups].nunique(), groups))
    for i, name in enumerate(fit.model.exog_vc.names):
        n_levels = sum(matrix.shape[1] for matrix in fit.model.exog_vc.mats[i])
        found.append((name, fit.vcomp[i], n_levels, name))
    return [
        {"kind": "variance", "term": term, "estimate": value, "n": n, "n_of": n_of} for term, value, n, n_of in found
    ]


def _tidy(rows: list[dict[str, Any]], converged: bool, note: str) -> pd.DataFrame:
    import pandas as pd

    columns = ["kind", "term", "estimate", "se", "ci_low", "ci_high", "z", "p", "n", "n_of"]
    result = pd.DataFrame(rows, columns=columns)
    result["converged"] = converged
    result["note"] = note if converged else f"the fit did not converge; {note}".rstrip("; ")
    return result
