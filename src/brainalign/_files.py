"""Files: what ships with the package, where data are kept, and writes that are whole or not there."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def write_then_rename(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path` and move it there when the block ends without an error.

    A killed or failed run leaves the old file as it was, or none.

    Parameters
    ----------
    path : Path
        The file to write; its folder is made.

    Yields
    ------
    Path
        Where to write.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes files private; results are meant to be shared like any other file.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def sha256(path: Path) -> str:
    """Return the SHA-256 digest of a file, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def shipped(kind: str) -> Path:
    """Return the folder of files that ship with the package.

    Parameters
    ----------
    kind : {'stimuli', 'analyses'}
        Stimulus-set manifests or recipes.

    Returns
    -------
    Path
        Inside the installed package, or at the top of the checkout when the package runs from there.
    """
    package = Path(__file__).parent
    installed = package / "_shipped" / kind
    return installed if installed.is_dir() else package.parents[1] / kind


def data_folder() -> Path:
    """Return the folder for fetched data: ``BRAINALIGN_DATA``, or the user's cache folder."""
    named = os.environ.get("BRAINALIGN_DATA")
    if named:
        return Path(named).expanduser()
    import pooch

    return Path(pooch.os_cache("brainalign"))
