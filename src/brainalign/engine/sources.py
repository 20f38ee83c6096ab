"""Code that is not brainalign's: the files it stands in, their digest, and how to import it anew when they change.

What counts is the whole package of a module, or else all modules that lie beside its file, with the packages there,
whether they are imported or not. Of an installed package its name and version count.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from importlib.metadata import packages_distributions, version
from importlib.util import cache_from_source
from pathlib import Path
from typing import Any

#: What :func:`source_digest` says of code whose version is in every key.
SHIPPED = "shipped"
_SHIPPED = {"brainalign", "torch", "torchaudio", *sys.stdlib_module_names}
#: What was on disk when this process imported from there.
_IMPORTED: dict[tuple[str, ...], str] = {}


def source_digest(thing: Any) -> str | None:
    """Return the digest of the code of a function or a class, as it was when it was first asked for.

    Parameters
    ----------
    thing : callable
        The function or class.

    Returns
    -------
    str or None
        Hexadecimal, the name and version of an installed package, or ``"shipped"`` if it is brainalign's own or that
        of a package whose version is in every key; None if it stands in no file.
    """
    try:
        return _at_first_sight(thing)
    except TypeError:  # not hashable
        return _source_digest(thing)


def _source_digest(thing: Any) -> str | None:
    module = inspect.getmodule(inspect.unwrap(thing))
    if module is None or module.__name__ == "__main__" or not getattr(module, "__file__", None):
        return None
    top = module.__name__.partition(".")[0]
    roots = list(getattr(sys.modules.get(top), "__path__", []))
    return code_digest(top, str(module.__file__), roots)


# What this process has loaded does not change when its file does; what is imported anew is another function.
_at_first_sight = lru_cache(maxsize=4096)(_source_digest)


def code_digest(top: str, file: str, roots: Sequence[str] = ()) -> str:
    """Return the digest of a module and of what lies beside it, as it is on disk now.

    Parameters
    ----------
    top : str
        Name of the package, or of the module.
    file : str
        Where the module stands.
    roots : sequence of str
        Folders of its package; empty if it has none.

    Returns
    -------
    str
        As for :func:`source_digest`.
    """
    if top in _SHIPPED:
        return SHIPPED
    if _is_installed(file):
        names = sorted(set(packages_distributions().get(top, [])))
        if names:
            return ", ".join(f"{name} {version(name)}" for name in names)
    total = hashlib.sha256(b"" if roots else Path(file).name.encode())
    for folder, modules in _places(file, roots):
        total.update(digest_files(modules, folder).encode())
    return total.hexdigest()[:32]


def imported_digest(top: str, file: str, roots: Sequence[str] = ()) -> str:
    """Return the digest of code that is about to be imported; what has changed since the last time is forgotten.

    Parameters
    ----------
    top, file, roots
        As for :func:`code_digest`.

    Returns
    -------
    str
        As for :func:`source_digest`.
    """
    place, now = (file, *roots), code_digest(top, file, roots)
    if _IMPORTED.get(place, now) != now:
        _forget({module.resolve() for _, modules in _places(file, roots) for module in modules})
    _IMPORTED[place] = now
    return now


def _is_installed(file: str) -> bool:
    return bool({"site-packages", "dist-packages"} & set(Path(file).parts))


def _places(file: str, roots: Sequence[str]) -> list[tuple[Path, list[Path]]]:
    """List folders and the modules in them that count."""
    if roots:
        return [(Path(root), _modules(Path(root), whole=True)) for root in roots]
    folder = Path(file).parent
    return [(folder, [Path(file)] if _is_installed(file) else _modules(folder, whole=False))]


def _modules(folder: Path, whole: bool) -> list[Path]:
    """List the modules of a package, or those of a folder and of the packages in it."""
    found = list(folder.rglob("*.py") if whole else folder.glob("*.py"))
    for part in [] if whole else folder.iterdir():
        if os.access(part / "__init__.py", os.R_OK):
            found += part.rglob("*.py")
    # Editors leave hidden files; what cannot be read cannot be imported.
    named = [f for f in found if not any(part.startswith(".") for part in f.relative_to(folder).parts)]
    return sorted(f for f in named if os.access(f, os.R_OK) and f.is_file())


def _forget(files: set[Path]) -> None:
    """Let the next import read these files."""
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if file and name != "__main__" and Path(file).resolve() in files:
            del sys.modules[name]
    for path in files:
        # Compiled code is taken for fresh if a file of the same size was written within the same second.
        with suppress(OSError, NotImplementedError):
            Path(cache_from_source(str(path))).unlink()
    importlib.invalidate_caches()


def digest_files(files: Sequence[Path], root: Path) -> str:
    """Return the digest of files and of their names below a folder.

    Parameters
    ----------
    files : sequence of Path
        Which.
    root : Path
        The folder.

    Returns
    -------
    str
        Hexadecimal.
    """
    total = hashlib.sha256()
    for file in files:
        content = hashlib.sha256(file.read_bytes()).hexdigest()
        total.update(f"{file.relative_to(root).as_posix()}\n{content}\n".encode())
    return total.hexdigest()[:32]
