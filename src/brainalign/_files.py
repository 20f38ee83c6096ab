"""Files: what ships with the package, where data are kept, and writes that are whole or not there."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import re
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any

from brainalign.errors import BrainalignError, WriteError

_ROOM, _PLACE = "make room", "choose another place or see to its permissions"
#: What a file system answers that has no room or lets nobody write, and what to do then.
_REMEDIES = {
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
    errno.EFBIG: "see to the limit of file sizes (ulimit -f)",
    errno.EROFS: _PLACE,
    errno.EACCES: _PLACE,
    errno.EPERM: _PLACE,
    errno.EIO: "see to the disk",
}
_ODD = re.compile(r"[^\w.-]+")
_LOCK = ".brainalign-lock"
#: A hundred years: beyond it is no date.
MAX_AGE_DAYS = 36_500
#: What a file system answers that knows no locks.
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}


def file_name(name: str) -> str:
    """Return a name in letters that every file system takes: others become underscores."""
    return _ODD.sub("_", name)


def file_names(names: Sequence[str]) -> list[str]:
    """Return a file name for each name; those that would share one, on any system, get a digest of the name as well."""
    plain = [file_name(name) for name in names]
    n_of = Counter(p.casefold() for p in plain)
    digests = [hashlib.sha256(name.encode()).hexdigest()[:8] for name in names]
    return [p if n_of[p.casefold()] == 1 else f"{p}-{d}" for p, d in zip(plain, digests, strict=True)]


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
        Where to write; there is no file yet.

    Raises
    ------
    WriteError
        If the disk is full or refuses the file; other errors pass as they are.
    """
    try:
        with scratch_folder(path) as folder:
            temporary = folder / path.name
            try:
                yield temporary
            except Exception as why:
                _check_room(temporary, why)
                raise
            temporary.replace(path)
    except OSError as why:
        if isinstance(why, BrainalignError) or why.errno not in _REMEDIES or not _is_about(why, path):
            raise
        refused = WriteError(
            f"{path} cannot be written: {os.strerror(why.errno)}; what was there before is as it was; "
            f"{_REMEDIES[why.errno]} and start the same command again"
        )
        refused.errno = why.errno
        raise refused from why


def _check_room(path: Path, why: Exception) -> None:
    """Raise what the operating system says, if that is why a library could not write: each words it in its own way."""
    if isinstance(why, BrainalignError) or (isinstance(why, OSError) and why.errno is not None):
        return
    try:
        with path.open("ab") as stream:
            stream.write(bytes(2**20))
    except OSError as full:
        if full.errno in _REMEDIES:
            raise full from why


def _is_about(why: OSError, path: Path) -> bool:
    """Whether an error is about a file that is being written, rather than one that is read meanwhile."""
    if why.filename is None:
        return True
    named = Path(os.fsdecode(why.filename)).absolute()
    parent = path.parent.absolute()
    return named.is_relative_to(parent) or parent.is_relative_to(named)


@contextmanager
def scratch_folder(path: Path) -> Iterator[Path]:
    """Give an empty folder beside `path` for this process alone; it is removed when the block ends.

    It is called ``.NAME.writing`` and holds a locked file; the lock ends with the process. What a killed process left
    there is therefore known as such, and removed when the same file or folder is written again. While another process
    writes the same, the folder is ``.NAME.writing-2``, and so on.

    Parameters
    ----------
    path : Path
        What will be written; its folder is made.

    Yields
    ------
    Path
        The folder; on the same file system as `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    folder, lock = _claim_folder(path)
    try:
        yield folder
    finally:
        _give_back(folder, lock)


def _claim_folder(path: Path) -> tuple[Path, int | None]:
    """Take the first scratch folder that no living process has; empty those that killed ones left."""
    stem = f".{path.name}.writing"
    folders = (path.with_name(stem if k == 1 else f"{stem}-{k}") for k in count(1))
    try:
        taken = next((folder, lock) for folder in folders if (lock := _lock_folder(folder)) is not None)
    except OSError as why:
        if why.errno not in _NO_LOCKS:
            raise
        # Nobody can tell the folder of a killed process from that of a living one here: each has its own and it stays.
        return Path(tempfile.mkdtemp(dir=path.parent, prefix=f"{stem}-")), None
    for folder in folders:
        if not folder.is_dir():
            break
        if (lock := _lock_folder(folder)) is not None:
            _give_back(folder, lock)
    return taken


def remove_leftovers(folder: Path) -> None:
    """Remove the scratch folders that killed processes left in a folder.

    Parameters
    ----------
    folder : Path
        Where files were written; scratch folders of living processes stay.
    """
    for scratch in folder.glob(".*.writing*"):
        with suppress(OSError):
            if (lock := _lock_folder(scratch)) is not None:
                _give_back(scratch, lock)


def _lock_folder(folder: Path) -> int | None:
    """Lock a folder, which is made if need be, and empty it; None if another process has it."""
    while True:
        try:
            folder.mkdir(exist_ok=True)
        except FileExistsError:  # a file
            return None
        try:
            handle = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o666)
        except FileNotFoundError:
            continue  # another process removed the folder just now
        try:
            _lock(handle)
            found = (folder / _LOCK).stat()
        except BlockingIOError:
            os.close(handle)
            return None
        except FileNotFoundError:
            os.close(handle)
            continue
        except OSError:
            os.close(handle)
            raise
        if os.path.samestat(found, os.fstat(handle)):
            _empty(folder)
            return handle
        os.close(handle)


def _lock(handle: int) -> None:
    """Lock an open file until it is closed; raise BlockingIOError if another process holds it."""
    if sys.platform == "win32":
        import msvcrt

        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except OSError as why:
            raise BlockingIOError(*why.args) from why
    else:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _give_back(folder: Path, lock: int | None) -> None:
    """Remove a folder; the lock file goes while the lock is held, so that nobody locks a file that is about to go."""
    _empty(folder)
    if lock is not None:
        with suppress(OSError):
            (folder / _LOCK).unlink()
        os.close(lock)
    if sys.platform == "win32":  # which removes no open file, and thus none that another process has locked since
        with suppress(OSError):
            (folder / _LOCK).unlink()
    with suppress(OSError):  # it is not empty if another process has it already
        folder.rmdir()


def _empty(folder: Path) -> None:
    for part in folder.iterdir():
        if part.is_dir() and not part.is_symlink():
            shutil.rmtree(part, ignore_errors=True)
        elif part.name != _LOCK:
            with suppress(OSError):
                part.unlink()


class HDF5Stream(io.RawIOBase):
    """A file for HDF5 to write to, which may meet a full disk.

    The HDF5 library crashes the process when a write of its own fails. So where there is no room left, this goes on in
    memory, and raises when it is left.

    Parameters
    ----------
    path : Path
        The file; made anew.
    """

    def __init__(self, path: Path) -> None:
        self._file: io.FileIO | io.BytesIO = io.FileIO(path, "w+")
        self._failure: OSError | None = None

    def readable(self) -> bool:
        """Return True."""
        return True

    def writable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a position."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """Return the position."""
        return self._file.tell()

    def readinto(self, buffer: Any) -> int:
        """Read from the position on."""
        return self._file.readinto(buffer)

    def write(self, content: Any) -> int:
        """Write all of it at the position."""
        whole = memoryview(content).cast("B")
        start, n_written = self.tell(), 0
        try:
            while n_written < len(whole):
                n_written += self._file.write(whole[n_written:])
        except OSError as why:
            self._go_on_in_memory(why)
            self.seek(start)
            self._file.write(whole)
        return len(whole)

    def truncate(self, size: int | None = None) -> int:
        """Change the size."""
        size = self.tell() if size is None else size
        try:
            return self._file.truncate(size)
        except OSError as why:
            self._go_on_in_memory(why)
            return size

    def _go_on_in_memory(self, why: OSError) -> None:
        self._failure = why
        self._file.seek(0)
        content = self._file.read()
        self._file.close()
        self._file = io.BytesIO(content)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()

    def __exit__(
        self, kind: type[BaseException] | None, why: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file; raise the first failure."""
        self.close()
        if self._failure is not None:
            raise self._failure


def reserve(path: Path) -> None:
    """Take the room of a file that was made with holes; a map of it would crash the process where the disk is full.

    Parameters
    ----------
    path : Path
        The file; its content stays.
    """
    size = path.stat().st_size
    with path.open("r+b") as stream:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(stream.fileno(), 0, size)
        else:
            stream.seek(0, os.SEEK_END)
            for start in range(0, size, 2**24):
                stream.seek(start)
                block = stream.read(2**24)
                stream.seek(start)
                stream.write(block)


def sha256(path: Path) -> str:
    """Return the SHA-256 digest of a file, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def days_ago(days: float, error: type[BrainalignError]) -> datetime:
    """Return the moment before which a file is older than so many days."""
    if not 0 <= days <= MAX_AGE_DAYS:
        raise error(f"older_than_days is {days}, expected a number from 0 (all that is not in use) to {MAX_AGE_DAYS}")
    return datetime.now(UTC) - timedelta(days=days)


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
