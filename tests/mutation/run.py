"""Mutation testing of ``stats`` and the core of ``measures`` with mutmut: see docs/mutation-testing.md.

Each group of modules has its folder under build/mutation, where mutmut keeps what it has found: a run that was
stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[2]
WORK = ROOT / "build" / "mutation"

# Modules, and the files of fast tests that judge them.
GROUPS: dict[str, tuple[list[str], list[str]]] = {
    "effects": (["stats/effects", "stats/multiple"], ["test_stats_effects"]),
    "rank": (["stats/rank_tests", "stats/rank_nulls"], ["test_stats_rank"]),
    "resampling": (["stats/resampling", "stats/permutation"], ["test_stats_resampling"]),
    "ceilings": (["stats/ceilings"], ["test_ceilings"]),
    "hierarchical": (["stats/hierarchical"], ["test_hierarchical"]),
    "mixed": (["stats/mixed"], ["test_stats_mixed"]),
    "scores": (["measures/scores"], ["test_scores"]),
    "splits": (["measures/splits"], ["test_splits"]),
    "ratio": (["measures/ratio"], ["test_ratio"]),
    "selectivity": (["measures/selectivity"], ["test_selectivity"]),
    "ridge": (["measures/ridge", "measures/ridge_basis"], ["test_ridge"]),
    "rdm": (["measures/rdm"], ["test_rdm"]),
    "rdm_compare": (["measures/rdm_compare", "measures/rdm_tau"], ["test_rdm_compare"]),
    "difference": (["measures/score_difference"], ["test_score_difference"]),
    "draws": (
        ["measures/jackknife", "measures/resampling"],
        [
            "test_measure_resampling",
            "test_dimensionality",
            "test_similarity",
            "test_rsa",
            "test_ratio",
            "test_quilt_sweep",
        ],
    ),
}
# Simulations of several seconds, whose mutants the other tests of the same file judge.
DESELECTED = [
    "tests/test_selectivity.py::test_cross_fitted_p_holds_where_both_directions_depend_on_each_other",
    "tests/test_selectivity.py::test_profile_p_is_uniform_on_noise",
    "tests/test_selectivity.py::test_noise_has_no_selective_units_unless_selection_and_test_overlap",
    "tests/test_stats_mixed.py::test_planted_effects_are_recovered",
]
STATES = {0: "survived", 33: "no test", 36: "timed out", 24: "timed out", -24: "timed out", 152: "timed out"}


def prepare(group: str) -> Path:
    """Write mutmut's folder of one group: the sources and tests of this checkout, and a configuration."""
    modules, tests = GROUPS[group]
    folder = WORK / group
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("src", "tests"):
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(ROOT / name)
    shutil.copy2(ROOT / "pyproject.toml", folder)
    lists = {
        "only_mutate": [f"src/brainalign/{module}.py" for module in modules],
        "pytest_add_cli_args_test_selection": [f"tests/{test}.py" for test in tests],
        "pytest_add_cli_args": [
            "-m",
            "not slow and not realdata",
            "-pno:cacheprovider",
            *[f"--deselect={test}" for test in DESELECTED if test.split("::")[0][6:-3] in tests],
        ],
    }
    text = "[mutmut]\nsource_paths = src\ntimeout_multiplier = 4.0\ntimeout_constant = 5.0\n"
    text += "".join(f"{key} =\n" + "".join(f"    {value}\n" for value in values) for key, values in lists.items())
    (folder / "setup.cfg").write_text(text)
    return folder


def found(group: str) -> dict[str, dict[str, int | None]]:
    """Return mutmut's exit code of each mutant (None: not tried) of each module of the group."""
    folder = WORK / group / "mutants" / "src" / "brainalign"
    files = {module: folder / f"{module}.py.meta" for module in GROUPS[group][0]}
    return {m: json.loads(f.read_text())["exit_code_by_key"] if f.exists() else {} for m, f in files.items()}


def mutmut(folder: Path, children: int, names: list[str]) -> None:
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "mutmut", "run", "--max-children", str(children), *names]
    subprocess.run(command, cwd=folder, env=env, stdout=(folder / "log.txt").open("a"), check=True)


def run(group: str, tenths: int, seed: int, children: int, again: bool) -> None:
    """Try the mutants of a group that were not tried yet: all, or those whose number ends in one of some random digits.

    Or, where the tests have changed since, those that survived.
    """
    folder = prepare(group)
    digits = random.Random(seed).sample("0123456789", tenths)
    codes = {name: code for module in found(group).values() for name, code in module.items()}
    if again:
        if survivors := [name for name, code in codes.items() if STATES.get(code) == "survived"]:
            mutmut(folder, children, survivors)
    elif tenths == 10:
        mutmut(folder, children, [])
    elif not codes:
        mutmut(folder, children, [f"*__mutmut_*{digit}" for digit in digits])
    elif names := [name for name, code in codes.items() if code is None and name[-1] in digits]:
        mutmut(folder, children, names)


def report(group: str) -> None:
    """Print the counts of each module of a group."""
    for module, codes in found(group).items():
        counts = Counter(STATES.get(code, "killed") for code in codes.values() if code is not None)
        tried = sum(counts.values())
        states = " | ".join(str(counts[state]) for state in ("killed", "timed out", "survived", "no test"))
        print(f"| {module} | {len(codes)} | {tried} | {states} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"of {', '.join(GROUPS)}; default: all")
    parser.add_argument("--tenths", type=int, default=10, choices=range(1, 11), help="of all mutants, to try")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--children", type=int, default=2, help="mutants tried at the same time")
    parser.add_argument("--again", action="store_true", help="try those that survived, with the tests of now")
    parser.add_argument("--report", action="store_true", help="print the counts of what was tried, and try nothing")
    options = parser.parse_args()
    groups = options.groups or list(GROUPS)
    if not options.report:
        for group in groups:
            run(group, options.tenths, options.seed, options.children, options.again)
    print("| module | mutants | tried | killed | timed out | survived | no test |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for group in groups:
        report(group)


if __name__ == "__main__":
    main()
