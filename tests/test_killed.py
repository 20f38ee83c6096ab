"""Whatever kills a run, an extraction or a training: nothing is half, and the same command ends as if unbroken."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from killing import Attempt, Server
from safetensors.numpy import load_file
from workplace import UNTIMED, furnish

from brainalign.models.cache import verify

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
Outcome = dict[str, bytes]


@dataclass(frozen=True)
class Command:
    """A command, what comes out of it when it is done, and what must hold when it is not.

    Attributes
    ----------
    arguments : tuple of str
        Of the command line.
    outcome : callable
        Reads what must be the same after any history; empty while the command has not ended.
    """

    arguments: tuple[str, ...]
    outcome: Callable[[Path], Outcome]


def of_run(folder: Path) -> Outcome:
    """Read all files of the results but those that tell the time of the run."""
    out = folder / "out"
    names = sorted(p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file())
    timed = ("report.html", "provenance.json", "costs.csv")
    found = {name: (out / name).read_bytes() for name in names if name not in timed}
    if found:
        record = json.loads((out / "provenance.json").read_text(encoding="utf-8"))
        found |= {"results_sha256": record["results_sha256"].encode(), "names": "\n".join(names).encode()}
        assert (out / "report.html").read_text(encoding="utf-8").rstrip().endswith("</html>")
    return found


def of_extract(folder: Path) -> Outcome:
    return {p.name: p.read_bytes() for p in folder.glob("responses.nc")}


def of_train(folder: Path) -> Outcome:
    trained = folder / "trained"
    if not (trained / "weights.json").exists():
        return {}
    card = json.loads((trained / "weights.json").read_text(encoding="utf-8"))
    del card["training"]["seconds_per_epoch"]
    log = pd.read_csv(trained / "log.csv")
    return {
        "weights": (trained / "weights.safetensors").read_bytes(),
        "figure": b"there" if (trained / "learning-curves.png").stat().st_size else b"",
        "card": json.dumps(card).encode(),
        "log": log[UNTIMED].to_csv().encode(),
    }


EXTRACT = ("extract", "kim2024-cnn@random:0", "set", "--layer", "conv1", "--layer", "conv2", "--out", "responses.nc")
COMMANDS = {
    "run": Command(("run", "run.toml", "--out", "out", "--no-audio"), of_run),
    "extract": Command(EXTRACT, of_extract),
    "train": Command(("train", "train.toml", "--out", "trained"), of_train),
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("killed") / "work"
    folder.mkdir()
    environment = {"BRAINALIGN_CACHE": str(folder / "cache"), "TMPDIR": str(folder / "tmp")}
    server = Server(folder, environment)
    yield server
    server.close()


def refurnish(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()
    furnish(folder)


def check_what_is_left(folder: Path, command: Command, unbroken: Outcome) -> None:
    """Look at a folder as a kill left it: what stands under its own name is whole."""
    found = command.outcome(folder)
    assert found in ({}, unbroken)
    assert not any(problems for problems in verify(folder / "cache").values())
    for path in visible(folder / "trained"):
        if path.suffix == ".safetensors":
            assert all(np.isfinite(array).all() for array in load_file(path).values())
        elif path.suffix == ".ckpt":
            assert torch.load(path, weights_only=True)["state_dict"]
        elif path.suffix == ".csv":
            assert len(pd.read_csv(path)) >= 1
        elif path.suffix == ".json":
            json.loads(path.read_text(encoding="utf-8"))


def visible(folder: Path) -> list[Path]:
    """Name the files of which no part of the name is hidden."""
    files = (p for p in folder.rglob("*") if p.is_file())
    return [p for p in files if not any(part.startswith(".") for part in p.relative_to(folder).parts)]


def check_tidy(folder: Path) -> None:
    """Look for what killed attempts left; an empty folder with a lock may stay where the last step was cut off."""
    left = [p for p in folder.rglob(".*.writing*/*") if p.name != ".brainalign-lock"]
    assert not left


def campaign(server: Server, command: Command, n_events: int, n_torn: int, n_times: int, seed: int = 0) -> Counter[str]:
    """Kill a command again and again, let it end now and then, and compare; return how often which kind of kill hit."""
    rng = np.random.default_rng(seed)
    folder = server.folder
    for _ in range(2):  # the first one imports what the command needs
        refurnish(folder)
        whole = server.attempt(*command.arguments, trace=True)
        assert whole.code == 0, whole.output
    unbroken = command.outcome(folder)
    sizes = sorted({p.stat().st_size for p in folder.rglob("*") if p.is_file()} - {0})
    draw: dict[str, Callable[[], dict[str, float]]] = {
        "change": lambda: {"kill_at": int(rng.integers(len(whole.changes)))},
        "torn": lambda: {"torn_at": int(rng.integers(0, rng.choice(sizes)))},
        "time": lambda: {"kill_after": float(rng.uniform(0, whole.seconds))},
    }
    plan = [
        *(("change", {"kill_at": int(k)}) for k in rng.permutation(len(whole.changes))[:n_events]),
        *(("torn", draw["torn"]()) for _ in range(n_torn)),
        *(("time", draw["time"]()) for _ in range(n_times)),
    ]
    rng.shuffle(plan)  # type: ignore[arg-type]
    most = 2 * len(plan)
    killed: Counter[str] = Counter()
    refurnish(folder)
    in_a_row = 0

    def end(attempt: Attempt) -> None:
        assert attempt.code == 0, attempt.output
        assert command.outcome(folder) == unbroken
        check_tidy(folder)
        refurnish(folder)

    for kind, how in plan:
        attempt = server.attempt(*command.arguments, **how)
        if not attempt.killed and len(plan) < most:
            # It had ended before, as it went on where the last one stopped: another such kill takes its place.
            plan.append((kind, draw[kind]()))
        if attempt.killed:
            killed[kind] += 1
            in_a_row += 1
            check_what_is_left(folder, command, unbroken)
        if command.outcome(folder):
            if attempt.killed:  # it had ended but for its last word: the same command says that all is there
                again = server.attempt(*command.arguments)
                assert again.code == 2, again.output
                attempt = Attempt(0, attempt.output, [], 0)
            end(attempt)
            in_a_row = 0
        elif in_a_row == 6:
            end(server.attempt(*command.arguments))
            in_a_row = 0
        else:
            assert attempt.killed, attempt.output
    print(
        f"\n{command.arguments[0]}: {sum(killed.values())} kills: {dict(killed)}; {len(whole.changes)} changes to files"
    )
    return killed


class TestKilled:
    """Few kills at every push; the many are marked slow."""

    def test_a_few_times(self, server: Server) -> None:
        assert sum(campaign(server, COMMANDS["extract"], 6, 3, 0).values()) >= 7

    @pytest.mark.slow
    @pytest.mark.parametrize("name", COMMANDS)
    def test_many_times(self, server: Server, name: str) -> None:
        killed = campaign(server, COMMANDS[name], 36, 18, 12, seed=1)
        assert sum(killed.values()) >= 50
        assert min(killed[kind] for kind in ("change", "torn", "time")) >= 6
