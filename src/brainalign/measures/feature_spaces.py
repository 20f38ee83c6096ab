"""Feature spaces: models or single layers by name, and their kernels for each split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from brainalign.errors import MeasureError, did_you_mean, name_some
from brainalign.measures.banded import (
    BandedFit,
    band_weights,
    banded_ridge_predict,
    left_out_predictions,
    mean_eigenvalue,
    squared_error_without,
)
from brainalign.measures.ridge import gram_matrix
from brainalign.responses import Responses, units_by_layer

Array = NDArray[np.float64]
#: Numbers of spaces, in their order.
Members = tuple[int, ...]
#: Row numbers of the training and test stimuli of each split.
Positions = list[tuple[list[int], list[int]]]


@dataclass(frozen=True)
class FeatureSpace:
    """A model, whole or one layer of it.

    Attributes
    ----------
    name : str
        As it was asked for.
    model, layer : str
        The model, and its layer ("" for all).
    responses : Responses
        Of these units.
    """

    name: str
    model: str
    layer: str
    responses: Responses


def find_spaces(all_responses: Mapping[str, Responses], names: Sequence[str] | None = None) -> list[FeatureSpace]:
    """Find feature spaces by name.

    Parameters
    ----------
    all_responses : mapping of str to Responses
        The models by name.
    names : sequence of str, optional
        Names of models, or ``"model:layer"``; all models if not given.

    Returns
    -------
    list of FeatureSpace
        In the order of the names.

    Raises
    ------
    MeasureError
        If a name is unknown or there twice.
    """
    names = list(all_responses) if names is None else list(names)
    if len(set(names)) < len(names):
        raise MeasureError(f"a feature space is named twice among {name_some(names)}")
    return [_find_space(all_responses, name) for name in names]


def _find_space(all_responses: Mapping[str, Responses], name: str) -> FeatureSpace:
    if name in all_responses:
        return FeatureSpace(name, name, "", all_responses[name])
    # Names of models may hold colons themselves.
    models = [m for m in all_responses if name.startswith(f"{m}:")]
    if not models:
        raise MeasureError(f"no model for the feature space {name!r}; {did_you_mean(name, all_responses)}")
    model = max(models, key=len)
    layer, layers = name[len(model) + 1 :], units_by_layer(all_responses[model])
    if not layer or layer not in layers:
        raise MeasureError(f"{model} has no layer {layer!r}; {did_you_mean(layer, filter(None, layers))}")
    return FeatureSpace(name, model, layer, all_responses[model].isel(unit=layers[layer]))


@dataclass(frozen=True)
class SpaceKernels:
    """Kernels of all spaces for each split, and banded ridge regression on any set of them.

    Attributes
    ----------
    kernels : list of list of ndarray, each of shape (n_stimuli, n_stimuli)
        For each split, one for each space.
    positions : list of (train, test)
        Row numbers of each split.
    """

    kernels: list[list[Array]]
    positions: Positions

    @classmethod
    def of(cls, spaces: Sequence[FeatureSpace], positions: Positions) -> SpaceKernels:
        """Make the kernels: of each space the mean over its layers, each of mean eigenvalue 1 on the training stimuli.

        Parameters
        ----------
        spaces : sequence of FeatureSpace
            Responses to the same stimuli in the same order, without repetitions.
        positions : list of (train, test)
            Row numbers of each split.

        Returns
        -------
        SpaceKernels
            Ready to fit.

        Raises
        ------
        MeasureError
            If a layer does not differ between the training stimuli of a split.
        """
        layers = [
            {name: gram_matrix(space.responses.values[:, units]) for name, units in by_layer.items()}
            for space in spaces
            for by_layer in [units_by_layer(space.responses)]
        ]
        return cls(
            [[_mean_kernel(s, own, train) for s, own in zip(spaces, layers, strict=True)] for train, _ in positions],
            positions,
        )

    def fit(self, members: Members, split: int, train_targets: Array) -> BandedFit:
        """Fit a set of spaces to the training stimuli of a split and predict its test stimuli.

        Parameters
        ----------
        members : tuple of int
            Numbers of the spaces. The band weights that a set may choose from are among those of every larger set.
        split : int
            Number of the split.
        train_targets : ndarray, shape (n_train, n_targets)
            Training targets.

        Returns
        -------
        BandedFit
            See :func:`~brainalign.measures.banded.banded_ridge_predict`.
        """
        grid = band_weights(len(self.kernels[split]))
        nested = grid[(np.delete(grid, members, axis=1) == 0).all(axis=1)][:, members]
        train, test = self.positions[split]
        return banded_ridge_predict(self._of_set(members, split), train, test, train_targets, weights=nested)

    def left_out(self, members: Members, split: int, train_targets: Array) -> Array:
        """Predict each training stimulus of a split from the others.

        Parameters
        ----------
        members, split, train_targets
            As for :meth:`fit`.

        Returns
        -------
        ndarray, shape (n_train, n_targets)
            See :func:`~brainalign.measures.banded.left_out_predictions`.
        """
        fit = self.fit(members, split, train_targets)
        return left_out_predictions(self._of_set(members, split), self.positions[split][0], train_targets, fit)

    def error_without(self, members: Members, split: int, targets: Array, fit: BandedFit) -> Array:
        """Return the squared error on the test stimuli of a split, without each training stimulus.

        Parameters
        ----------
        members, split
            As for :meth:`fit`.
        targets : ndarray, shape (n_stimuli, n_targets)
            All targets.
        fit : BandedFit
            What :meth:`fit` gave.

        Returns
        -------
        ndarray, shape (n_train, n_targets)
            See :func:`~brainalign.measures.banded.squared_error_without`.
        """
        train, test = self.positions[split]
        return squared_error_without(self._of_set(members, split), train, test, targets[train], targets[test], fit)

    def _of_set(self, members: Members, split: int) -> list[Array]:
        return [self.kernels[split][space] for space in members]


def _mean_kernel(space: FeatureSpace, layers: Mapping[str, Array], train: list[int]) -> Array:
    kernels = []
    for layer, kernel in layers.items():
        try:
            kernels.append(kernel / mean_eigenvalue(kernel, train))
        except MeasureError as why:
            name = space.name if space.layer or not layer else f"{space.name}:{layer}"
            raise MeasureError(f"{name}: {why}; leave it out") from why
    return np.asarray(np.mean(kernels, axis=0))
