"""``import brainalign as ba``: what is offered is documented, and typed for those who use it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import brainalign as ba

SCRIPT = """
from pathlib import Path

import pandas as pd

import brainalign as ba

sounds: ba.StimulusSet = ba.load_stimuli("demo")
model = ba.load_model("logmel")
responses = ba.extract(model, sounds, cache=None)
brain: ba.BrainData = ba.load_brain("demo-components")
result: ba.Result = ba.component_encoding(responses, brain, splits="kfold", seed=1)
table: pd.DataFrame = result.table
axes = result.plot()
ratio = ba.response_ratio(responses, categories=["Music", "Song"])
alike = ba.rsa(responses, brain, distance="correlation", comparison="rho-a")
units = ba.make_responses([[0.0, 1.0], [2.0, 3.0]], ["a", "b"])
file: Path = ba.save_responses(units, Path("units.nc"))
found = ba.VoxelDecomposition(n_components=3).fit(units)
folder: Path = ba.run_recipe("demo", "results/demo", jobs=2)
version: str = ba.__version__
try:
    ba.load_brain("nothing")
except ba.BrainalignError as why:
    print(why)
"""


def check(tmp_path: Path, text: str) -> tuple[int, str]:
    """Check a script as a user's mypy does, outside the checkout and its settings."""
    (tmp_path / "script.py").write_text(text, encoding="utf-8")
    (tmp_path / "mypy.ini").write_text(
        "[mypy]\nstrict = True\n[mypy-pandas.*,matplotlib.*,scipy.*]\nignore_missing_imports = True\n", encoding="utf-8"
    )
    line = [sys.executable, "-m", "mypy", "--config-file", "mypy.ini", "--cache-dir", "cache", "script.py"]
    done = subprocess.run(line, capture_output=True, text=True, check=False, cwd=tmp_path)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
def test_a_user_s_script_passes_mypy_strict(tmp_path):
    pytest.importorskip("mypy")
    assert check(tmp_path, SCRIPT) == (0, "Success: no issues found in 1 source file\n")
    wrong = SCRIPT.replace('distance="correlation"', 'distance="correlated"').replace(
        'categories=["Music"', "categories=[1"
    )
    status, said = check(tmp_path, wrong)
    assert status == 1
    assert re.findall(r'Argument "(\w+)" to "(\w+)"', said) == [("distance", "rsa")]
    assert said.count("error:") == 2


def test_types_are_shipped():
    assert (Path(ba.__file__).parent / "py.typed").is_file()


def test_every_public_name_is_in_the_docstring_once_by_topic():
    listed = re.findall(r"`(\w+)`", (ba.__doc__ or "").split("by topic")[1])
    assert sorted(listed) == sorted(set(ba.__all__) - {"__version__"})
    assert set(dir(ba)) == set(ba.__all__)
