"""Runs the command line again and again, in forked children of one process, and kills them or denies them disk space.

``python tests/killing.py`` is the server: it has imported everything, so an attempt costs what the command costs. A
child dies at the k-th change that it is about to make to files (by an audit hook), in the middle of a write (by the
kernel, at a limit of file size), or after a time.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import select
import signal
import subprocess
import sys
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: Audit events of what changes files, and where the path stands among their arguments.
GROWTH = {"open", "os.mkdir", "os.rename"}
CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.chmod", "os.utime", "os.link"}


@dataclass(frozen=True)
class Attempt:
    """How an attempt ended.

    Attributes
    ----------
    code : int
        Exit code; negative: the signal that ended it.
    output : str
        Both streams.
    changes : list of str
        The changes to files that it was about to make, if they were asked for.
    seconds : float
        How long it took.
    """

    code: int
    output: str
    changes: list[str]
    seconds: float

    @property
    def killed(self) -> bool:
        return self.code in (-signal.SIGKILL, -signal.SIGXFSZ)


class Server:
    """A process that makes attempts.

    Parameters
    ----------
    folder : Path
        Where commands run, and below which changes to files count.
    environment : dict
        Variables for the commands.
    """

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        self.folder = folder
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, **threads, **environment},
        )  # fmt: skip

    def attempt(self, *arguments: str, **how: Any) -> Attempt:
        """Run a command; see :func:`_child` for what may be done to it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        order = {"arguments": arguments, "folder": str(self.folder), **how}
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return Attempt(**json.loads(self._process.stdout.readline()))

    def close(self) -> None:
        """End it."""
        self._process.communicate()


def serve() -> None:
    """Answer orders until there are no more."""
    for line in sys.stdin:
        order = json.loads(line)
        report_end, child_report = os.pipe()
        output_end, child_output = os.pipe()
        started = time.monotonic()
        pid = os.fork()
        if pid == 0:
            os.close(report_end)
            os.close(output_end)
            _child(order, child_report, child_output)
        os.setpgid(pid, pid)  # to be killed with all that it has started
        os.close(child_report)
        os.close(child_output)
        status, received = _watch(pid, started + order.get("kill_after", 1e9), report_end, output_end)
        report = json.loads(received[report_end] or b'{"changes": [], "modules": []}')
        # Known by the next child from the beginning.
        for name in report.pop("modules"):
            with suppress(Exception):
                importlib.import_module(name)
        answer = {"code": os.waitstatus_to_exitcode(status), "output": received[output_end].decode(errors="replace")}
        print(json.dumps({**answer, **report, "seconds": time.monotonic() - started}), flush=True)


def _watch(pid: int, deadline: float, *pipes: int) -> tuple[int, dict[int, bytes]]:
    """Read what a child writes until it ends, and kill it at the deadline."""
    received = dict.fromkeys(pipes, b"")
    waiting = list(pipes)
    while waiting:
        ready = select.select(waiting, [], [], max(0, min(deadline - time.monotonic(), 1e6)))[0]
        for pipe in ready:
            part = os.read(pipe, 2**16)
            received[pipe] += part
            if not part:
                os.close(pipe)
                waiting.remove(pipe)
        if not ready:
            os.killpg(pid, signal.SIGKILL)
            deadline = 1e18
    return os.waitpid(pid, 0)[1], received


def _child(order: dict[str, Any], report: int, output: int) -> None:
    """Run one command and leave.

    ``trace``: report the changes to files; ``kill_at``: die before the change of this number; ``torn_at``: die while a
    file grows beyond so many bytes; ``limit``: be refused then instead; ``fail_from``: from the change of this number
    on, nothing new may be opened, made or renamed below ``fail_below``, with ``error`` as on a full disk; ``stamp``:
    seconds by which the clock is wrong.
    """
    code = 70
    try:
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.stdout, sys.stderr = (os.fdopen(end, "w", 1, closefd=False) for end in (1, 2))
        os.chdir(order["folder"])
        known = set(sys.modules)
        if "stamp" in order:
            now = time.time
            time.time = lambda: now() + order["stamp"]
        if "torn_at" in order:
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        size = order.get("torn_at", order.get("limit"))
        if size is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        changes: list[str] = []
        _count_changes(order, changes)
        code = _main(order["arguments"])
        if order.get("trace"):
            made = {"changes": changes, "modules": [name for name in sys.modules if name not in known]}
            with os.fdopen(report, "w") as stream:
                json.dump(made, stream)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _main(arguments: list[str]) -> int:
    from brainalign.cli import main

    sys.argv = ["brainalign", *arguments]
    try:
        main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def _count_changes(order: dict[str, Any], changes: list[str]) -> None:
    """Watch all changes to files below the folder, and do at one of them what is ordered."""
    folder, kill_at, fail_from = order["folder"], order.get("kill_at"), order.get("fail_from", sys.maxsize)
    below = tuple(order.get("fail_below", [folder]))

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            if not isinstance(path, str) or not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                return
        elif event in CHANGES:
            path = arguments[0]
        else:
            return
        # What is removed by its name within an open folder is somewhere below ours: nothing else is removed.
        path = os.fspath(path)
        if not isinstance(path, str) or (path.startswith("/") and not path.startswith(folder)):
            return
        if len(changes) == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        changes.append(f"{event} {path.removeprefix(folder)}")
        if len(changes) > fail_from and event in GROWTH and (str(Path(path).absolute()) + "/").startswith(below):
            raise OSError(order["error"], os.strerror(order["error"]), path)

    sys.addaudithook(hook)


if __name__ == "__main__":
    serve()
