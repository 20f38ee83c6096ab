"""One mechanism for everything that has a name: entry points plus a decorator.

A package adds a stimulus set, a model, a brain or a measure either by an entry point in its
``pyproject.toml``::

    [project.entry-points."brainalign.models"]
    my-net = "my_package:load_my_net"

or, in a script or a notebook, by the decorator of the registry::

    from brainalign.models import MODELS

    @MODELS.register("my-net")
    def load_my_net(...): ...

What brainalign ships is registered by entry points as well. Nothing is imported before it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any, TypeVar

from brainalign.errors import BrainalignError, did_you_mean

F = TypeVar("F", bound=Callable[..., Any])


class Registry:
    """Named loaders of one kind.

    Parameters
    ----------
    kind : str
        What the names stand for, as messages put it ("model", "stimulus set").
    group : str
        The entry-point group.
    error : type of BrainalignError
        What an unknown name raises.
    """

    def __init__(self, kind: str, group: str, error: type[BrainalignError]) -> None:
        self.kind = kind
        self.group = group
        self.error = error
        self._registered: dict[str, Callable[..., Any]] = {}

    def register(self, name: str) -> Callable[[F], F]:
        """Register the decorated callable as `name`.

        Parameters
        ----------
        name : str
            The name; one that is taken is an error.

        Returns
        -------
        callable
            The decorator.

        Raises
        ------
        BrainalignError
            If the name is taken already.
        """

        def decorate(loader: F) -> F:
            if name in self.names():
                raise self.error(f"a {self.kind} named {name!r} is registered already")
            self._registered[name] = loader
            return loader

        return decorate

    def names(self) -> list[str]:
        """Return all known names, sorted, without importing what they stand for."""
        return sorted({*self._registered, *(e.name for e in entry_points(group=self.group))})

    def get(self, name: str) -> Callable[..., Any]:
        """Return what is registered as `name`.

        Parameters
        ----------
        name : str
            A registered name.

        Returns
        -------
        callable
            The loader or the function.

        Raises
        ------
        BrainalignError
            If there is none, or if the package that offers it cannot be imported.
        """
        if name in self._registered:
            return self._registered[name]
        found = list(entry_points(group=self.group, name=name))
        if not found:
            raise self.error(f"no {self.kind} named {name!r}; {did_you_mean(name, self.names())}")
        if len({e.value for e in found}) > 1:
            offers = " and ".join(sorted(e.value for e in found))
            raise self.error(f"the {self.kind} name {name!r} is offered twice, by {offers}")
        try:
            loader: Callable[..., Any] = next(iter(found)).load()
        except (ImportError, AttributeError) as why:
            raise self.error(
                f"the {self.kind} {name!r} is registered as {found[0].value!r}, which cannot be imported: {why}"
            ) from why
        return loader
