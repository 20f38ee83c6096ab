"""Fuzz the readers of outside data with atheris: ``python tests/fuzz/run.py --seconds 60``.

Each target runs in a process of its own, with a limit of memory and a limit for each input; the corpus is made of small
valid files at run time. An exception other than a BrainalignError ends the run of its target, and the input stays in the
folder of ``--keep``.
"""  # noqa: E501

from __future__ import annotations

import argparse
import os
import re
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "hostile"))

#: libFuzzer itself, torch and what they map; a reader that asks for more gets a MemoryError.
ADDRESS_BYTES = 24 * 2**30
RESIDENT_MB = 3000
SECONDS_PER_INPUT = 60


def fuzz(name: str, seconds: int, keep: Path, random_seed: int) -> None:
    """Fuzz one target in this process, which libFuzzer ends."""
    import atheris

    with atheris.instrument_imports(include=["brainalign"]):
        from hostile_targets import TARGETS

        target = next(t for t in TARGETS if t.name == name)
        folder = Path(tempfile.mkdtemp())
        seeds = target.prepare(folder)
        for seed in seeds:
            target.accepts(folder, seed)
    corpus = Path(tempfile.mkdtemp())
    for i, seed in enumerate(seeds):
        (corpus / f"seed{i}").write_bytes(seed)
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_BYTES, ADDRESS_BYTES))
    limits = [
        f"-seed={random_seed}",
        f"-max_total_time={seconds}",
        f"-timeout={SECONDS_PER_INPUT}",
        f"-rss_limit_mb={RESIDENT_MB}",
    ]
    longest = max(4096, *(2 * len(s) for s in seeds))
    options = [*limits, f"-max_len={longest}", "-print_final_stats=1", f"-artifact_prefix={keep}/{_slug(name)}-"]
    atheris.Setup([sys.argv[0], *options, str(corpus)], lambda data: target.accepts(folder, data))
    atheris.Fuzz()


def _slug(name: str) -> str:
    return re.sub(r"\W+", "_", name)


def run(name: str, seconds: int, keep: Path, seed: int) -> tuple[int, str]:
    """Fuzz one target in a new process; return how many inputs it was given, and what it failed with, if it did."""
    command = [sys.executable, __file__, "--one", name, "--seconds", str(seconds), "--keep", str(keep)]
    command += ["--seed", str(seed)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds + 240,
            env=environment,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return 0, "did not end"
    counted = re.search(r"number_of_executed_units:\s*(\d+)", done.stderr)
    failure = "" if done.returncode == 0 else "\n".join(done.stderr.strip().splitlines()[-40:])
    return int(counted[1]) if counted else 0, failure


def main() -> int:
    """Fuzz the targets that were asked for, one after another."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=20, help="for each target")
    parser.add_argument("--targets", nargs="*", help="names; all if not given")
    parser.add_argument("--keep", type=Path, default=Path("fuzz-findings"), help="where inputs go that break a reader")
    parser.add_argument("--seed", type=int, default=0, help="of the inputs; 0: others each time")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    asked.keep.mkdir(parents=True, exist_ok=True)
    if asked.one:
        fuzz(asked.one, asked.seconds, asked.keep, asked.seed)
        return 0
    from hostile_targets import TARGETS

    names = [t.name for t in TARGETS if not asked.targets or t.name in asked.targets]
    total = failed = 0
    for name in names:
        tried, failure = run(name, asked.seconds, asked.keep, asked.seed)
        total, failed = total + tried, failed + bool(failure)
        print(f"{name:24}{tried:10} inputs  {'BROKEN' if failure else 'ok'}", flush=True)
        if failure:
            print(failure, flush=True)
    print(f"{'together':24}{total:10} inputs  {failed} of {len(names)} readers broken")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
