"""The engine: the same numbers wherever tasks run; a task that loses its process is computed again. On real workers."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from brainalign.engine import Cost, Loaded, Task, open_engine
from brainalign.errors import BrainalignError, EngineError, MeasureError, MissingExtraError
from brainalign.recipes.runner import compute_recipe

MEASURED = 40


def singular(x: np.ndarray, seed: int, kill: str = "") -> tuple[float, int, list[int]]:
    """Compute what several threads would round differently; end the process on the way, once or always."""
    if kill == "always" or (kill and not Path(kill).exists()):
        if kill != "always":
            Path(kill).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    drawn = np.random.default_rng(seed).normal(size=(x.shape[1], MEASURED))
    values = np.linalg.svd(x @ drawn, compute_uv=False)
    threads = [pool["num_threads"] for pool in threadpool_info()]
    return float(values.sum() + (x @ drawn).mean()), os.getpid(), threads


def tasks(n: int = 6, **kills: str) -> list[Task]:
    x = np.random.default_rng(0).normal(size=(300, 2_000))
    return [Task(f"task {i}", singular, {"seed": i, "kill": kills.get(f"t{i}", "")}, {"x": x}) for i in range(n)]


def collect(engine: Any, todo: list[Task]) -> dict[int, Any]:
    found = {i: (value, cost) for i, value, cost in engine.run(todo)}
    assert sorted(found) == list(range(len(todo)))
    return found


@pytest.fixture(scope="module")
def alone() -> list[float]:
    with open_engine() as engine:
        return [value[0] for value, _ in (collect(engine, tasks())[i] for i in range(6))]


class Outside:
    """A scheduler and workers that somebody else has started, as on a cluster."""

    def __init__(self, n_workers: int, *folders: Path) -> None:
        code = "from distributed.cli.dask_{} import main; main()"
        path = os.pathsep.join(map(str, (Path(__file__).parent, *folders)))
        environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}

        def start(what: str, *arguments: str) -> subprocess.Popen[str]:
            command = [sys.executable, "-c", code.format(what), *arguments]
            return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)

        self.scheduler = start("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard")
        assert self.scheduler.stderr is not None
        line = next(line for line in self.scheduler.stderr if "Scheduler at:" in line)
        self.address = line.split()[-1]
        options = ["--host", "127.0.0.1", "--nthreads", "1", "--no-dashboard", "--no-nanny"]
        self.workers = [start("worker", self.address, *options) for _ in range(n_workers)]

    def end(self) -> None:
        for process in (*self.workers, self.scheduler):
            process.kill()
            process.wait()
            assert process.stderr is not None
            process.stderr.close()


@pytest.fixture
def outside() -> Iterator[Outside]:
    pytest.importorskip("distributed")
    found = Outside(2)
    yield found
    found.end()


class TestSameNumbers:
    def test_in_this_process(self, alone: list[float]) -> None:
        with open_engine() as engine:
            found = collect(engine, tasks())
        assert [found[i][0][0] for i in range(6)] == alone
        assert {found[i][0][1] for i in found} == {os.getpid()}
        assert all(set(found[i][0][2]) == {1} for i in found)

    def test_one_thread_although_the_caller_has_more(self) -> None:
        code = (
            "import sys; sys.path.insert(0, sys.argv[1])\n"
            "from test_engine import tasks, collect\nfrom brainalign.engine import open_engine\n"
            "with open_engine() as engine: found = collect(engine, tasks(2))\n"
            "print([v[0].hex() for v, _ in (found[0], found[1])], {t for v, _ in found.values() for t in v[2]})"
        )
        said = [
            subprocess.run(
                [sys.executable, "-c", code, str(Path(__file__).parent)],
                capture_output=True, text=True, check=True, env={**os.environ, "OMP_NUM_THREADS": n},
            ).stdout
            for n in ("1", "4")
        ]  # fmt: skip
        assert said[0] == said[1]
        assert said[0].strip().endswith("{1}")

    def test_in_processes_one_of_which_is_killed(self, alone: list[float], tmp_path: Path) -> None:
        with open_engine(2) as engine:
            found = collect(engine, tasks(t3=str(tmp_path / "killed")))
        assert (tmp_path / "killed").exists()
        assert [found[i][0][0] for i in range(6)] == alone
        assert os.getpid() not in {found[i][0][1] for i in found}
        assert all(set(found[i][0][2]) == {1} for i in found)

    def test_on_a_local_cluster_with_a_worker_killed(
        self, alone: list[float], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        pytest.importorskip("distributed")
        with open_engine(2, "local") as engine:
            assert engine.n_workers == 2
            found = collect(engine, tasks(t2=str(tmp_path / "killed")))
        assert (tmp_path / "killed").exists()
        assert [found[i][0][0] for i in range(6)] == alone
        assert all(set(found[i][0][2]) == {1} for i in found)
        assert "dashboard: http://127.0.0.1:" in capsys.readouterr().err

    def test_at_an_address_with_a_worker_killed_for_good(
        self, alone: list[float], tmp_path: Path, outside: Outside
    ) -> None:
        with open_engine(cluster=outside.address) as engine:
            found = collect(engine, tasks(t1=str(tmp_path / "killed")))
        assert [found[i][0][0] for i in range(6)] == alone
        gone = [worker for worker in outside.workers if worker.poll() is not None]
        assert [worker.returncode for worker in gone] == [-signal.SIGKILL]
        # The scheduler is somebody else's: it goes on.
        assert outside.scheduler.poll() is None


class TestFailures:
    def test_a_task_that_always_ends_its_process_is_named(self) -> None:
        with open_engine(2) as engine, pytest.raises(EngineError, match=r"^task 2: .* was killed 3 times.*memory"):
            collect(engine, tasks(t2="always"))

    def test_errors_and_warnings_of_a_worker_come_back(self) -> None:
        with open_engine(2) as engine:
            with pytest.raises(MeasureError, match=r"^five sounds are too few"):
                collect(engine, [Task("a", fail, {"kind": "measure"})])
            # This one cannot be pickled: it comes back as its base.
            with pytest.raises(BrainalignError, match=r"pip install 'brainalign\[onnx\]'"):
                collect(engine, [Task("a", fail, {"kind": "extra"})])
            with pytest.warns(UserWarning, match="^a: few sounds"):
                collect(engine, [Task("a", warn)])

    def test_what_cannot_be_a_cluster(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(EngineError, match="jobs must be at least 1, found 0"), open_engine(0):
            pass
        monkeypatch.setattr("brainalign.engine.cluster.PATIENCE_S", 1)
        pytest.importorskip("distributed")
        with pytest.raises(EngineError, match="expected 'local', 'slurm' or an address"), open_engine(1, "lokal"):
            pass
        with pytest.raises(EngineError, match=r"no Dask scheduler answers at tcp://127.0.0.1:9"):
            open_engine(1, "tcp://127.0.0.1:9").__enter__()
        monkeypatch.setenv("PATH", "")
        with pytest.raises(EngineError, match="there is no command sbatch here"), open_engine(1, "slurm"):
            pass

    def test_without_dask_the_extra_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def absent(name: str, *_: object) -> None:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

        monkeypatch.setattr("brainalign.engine.cluster.import_module", absent)
        with pytest.raises(MissingExtraError, match=r"'distributed'.*pip install 'brainalign\[cluster\]'"):
            open_engine(1, "local").__enter__()

    def test_a_worker_with_other_code_is_refused(self, outside: Outside, monkeypatch: pytest.MonkeyPatch) -> None:
        there = {"numpy": "0.1"}
        monkeypatch.setattr("brainalign.engine.cluster.fingerprint", lambda: there)
        with (
            open_engine(cluster=outside.address) as engine,
            pytest.raises(EngineError, match=rf"has numpy {np.__version__} instead of 0.1; install the same"),
        ):
            collect(engine, tasks(1))


def fail(kind: str) -> None:
    raise MissingExtraError("onnx", "onnx") if kind == "extra" else MeasureError("five sounds are too few")


def warn() -> None:
    warnings.warn("few sounds", UserWarning, stacklevel=1)


def loads(folder: str) -> Any:
    path = Path(folder) / f"{os.getpid()}-{len(list(Path(folder).iterdir()))}"
    path.touch()
    return object()


def use(model: Any, i: int) -> tuple[int, int]:
    return os.getpid(), id(model)


def test_a_worker_loads_a_model_once(tmp_path: Path) -> None:
    from functools import partial

    model = Loaded(partial(loads, str(tmp_path)), "model", here=object())
    with open_engine(2) as engine:
        found = collect(engine, [Task(f"t{i}", use, {"model": model, "i": i}) for i in range(8)])
    pids = {value[0] for value, _ in found.values()}
    assert len(list(tmp_path.iterdir())) == len(pids) == len({value for value, _ in found.values()})
    with open_engine() as engine:
        assert collect(engine, [Task("t", use, {"model": model, "i": 0})])[0][0] == (os.getpid(), id(model.here))


def test_costs_are_those_of_the_block() -> None:
    """In a process of its own: what an earlier test needed and gave back would hide what is needed here."""
    script = """
        import json, time
        from dataclasses import asdict
        import numpy as np
        from brainalign.engine import measured

        with measured() as idle:
            time.sleep(0.2)
        with measured() as busy:
            held = np.ones(60_000_000)  # 480 MB
        assert held[-1] == 1
        del held
        with measured() as smaller:
            assert np.ones(1_000_000)[-1] == 1
        print(json.dumps([asdict(cost) for cost in (idle, busy, smaller)]))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True, timeout=300
    )
    idle, busy, smaller = (Cost(**cost) for cost in json.loads(done.stdout))
    assert idle.seconds > 0.19
    assert idle.cpu_s < 0.15
    assert 400 < busy.peak_mb < 700
    # 8 MB fit into what was needed before, so nobody knows how much it was.
    assert np.isnan(smaller.peak_mb)
    total = Cost()
    for part in (smaller, busy, smaller):
        total.add(part)
    assert total.peak_mb == busy.peak_mb


RECIPE = """
    title = "Two models"
    [stimuli]
    set = "demo"
    categories = ["Music", "Speech"]
    [[models]]
    name = "logmel"
    [[models]]
    name = "kim2024-cnn@random:0"
    layers = ["pool1", "avg*"]
    [brain]
    name = "demo-components"
    [[measures]]
    name = "component-encoding"
    splits = "kfold"
    n_splits = 3
    n_permutations = 19
    n_bootstrap = 50
    [[measures]]
    name = "rsa"
    n_permutations = 19
    n_bootstrap = 50
"""


def test_a_recipe_gives_the_same_bytes_everywhere(
    tmp_path: Path, outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The workers run from the same checkout, in which somebody may be at work.
    monkeypatch.setattr("brainalign.engine.cluster.fingerprint", lambda: {})
    path = tmp_path / "study.toml"
    path.write_text(textwrap.dedent(RECIPE))
    tables = {}
    for name, jobs, cluster in (("here", 1, None), ("processes", 2, None), ("address", 1, outside.address)):
        run = compute_recipe(path, jobs=jobs, cluster=cluster)
        tables[name] = "".join(result.table.to_csv(index=False) for result in run.results)
        arrays = [a.values.tobytes() for r in run.results for a in r.arrays.values() if a.dtype.kind == "f"]
        tables[name] += str([hashlib.sha256(a).hexdigest() for a in arrays])
        assert len(run.costs) == 2 + 2 + 2
        assert (run.costs["seconds"] > 0).all()
        assert run.costs["n_parameters"].notna().sum() == 1
    assert tables["here"] == tables["processes"] == tables["address"]


SBATCH = """#!/bin/sh
# Stands for SLURM: runs the job here, at once, and says its number as sbatch does.
sh "$1" > /dev/null 2>&1 &
echo $! >> "{folder}/jobs"
echo "Submitted batch job $!"
"""


def test_slurm_jobs(alone: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("dask_jobqueue")
    import dask

    commands = tmp_path / "bin"
    commands.mkdir()
    for name, text in (("sbatch", SBATCH.format(folder=tmp_path)), ("scancel", "#!/bin/sh\nexit 0\n")):
        (commands / name).write_text(text)
        (commands / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{commands}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    monkeypatch.setattr("brainalign.engine.cluster.fingerprint", lambda: {})
    own = {"jobqueue.slurm.scheduler-options": {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}}
    with dask.config.set(own), open_engine(2, "slurm") as engine:
        found = collect(engine, tasks())
    assert [found[i][0][0] for i in range(6)] == alone
    assert os.getpid() not in {value[1] for value, _ in found.values()}
    assert all(set(value[2]) == {1} for value, _ in found.values())
    assert len((tmp_path / "jobs").read_text().split()) == 2
