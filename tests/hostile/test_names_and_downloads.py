"""Names that a spreadsheet would run, names that a browser would, and downloads that are not what was published."""

from __future__ import annotations

import csv
import hashlib
import http.server
import io
import json
import sys
import threading
import unicodedata
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hostile_targets import MANIFEST, TABLE, sounds
from hypothesis import given
from hypothesis import strategies as st

from brainalign._reading import check_names, formula
from brainalign.errors import BrainalignError, BrainError, DownloadError, ResponseError, StimulusError
from brainalign.responses import make_responses

RUN = [
    "=1+1", "=cmd|' /C calc'!A0", "+cmd|' /C calc'!A0", "-2+3+cmd|' /C calc'!A0", "@SUM(1+1)*cmd|' /C calc'!A0",
    '=HYPERLINK("http://x","y")', "-HYPERLINK (1)", "+IMPORTXML(1)", "\t=1+1", "\r=1+1", "\n=1", "a\r=1+1", "＝1+1", "＠SUM(1)",  # noqa: E501
]  # fmt: skip
#: AudioSet's clips begin with a minus, contrasts of conditions with a plus, and numbers with both.
DO_NOT_RUN = [
    "-0RWZT-miFs_420.000",
    "-3.5",
    "+1e-3",
    "-inf",
    "@home",
    "+music-speech",
    "a=b",
    "x(y)|z",
    "",
    " =1",
    "-",
    "'=1",
]


#: By what Unicode says of them: controls, separators of lines, and the controls of direction.
UNSEEN = {
    chr(c)
    for c in range(sys.maxunicode + 1)
    if unicodedata.category(chr(c)) in ("Cc", "Zl", "Zp")
    or unicodedata.bidirectional(chr(c)) in ("LRE", "RLE", "PDF", "LRO", "RLO", "LRI", "RLI", "FSI", "PDI")
} | {"\u061c", "\u200e", "\u200f"}


class TestFormulas:
    @pytest.mark.parametrize("name", RUN)
    def test_what_would_run_is_refused_everywhere(self, name: str, tmp_path: Path) -> None:
        from brainalign.brain.data import BrainData
        from brainalign.stimuli.sets import read_manifest, read_stimulus_set

        assert formula(name)
        values = np.arange(4.0).reshape(2, 2) ** 2
        for stimulus, unit, info in (([name, "b"], None, None), (["a", "b"], [name, "u"], None),
                                     (["a", "b"], None, {"region": [name, "x"]})):  # fmt: skip
            with pytest.raises(ResponseError, match="would be a formula in a spreadsheet"):
                make_responses(values, stimulus, unit, unit_info=info)
        with pytest.raises(BrainError, match="the name of the brain data .* would be a formula"):  # noqa: RUF043
            BrainData(name, make_responses(values, ["a", "b"]), "1", "c", "l")
        if name.strip() != name:
            return  # sets refuse spaces at the ends of names as such
        sounds(tmp_path)
        (tmp_path / "stimulus_set.toml").write_text(MANIFEST)
        for column in ("stimulus_id", "category", "level"):
            rows = list(csv.DictReader(io.StringIO(TABLE)))
            rows[1][column] = name
            stream = io.StringIO()
            writer = csv.DictWriter(stream, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
            (tmp_path / "stimuli.csv").write_text(stream.getvalue(), encoding="utf-8")
            with pytest.raises(StimulusError, match=f"column '{column}': .*would be a formula"):
                read_stimulus_set(tmp_path)
        (tmp_path / "stimulus_set.toml").write_text(MANIFEST.replace('"tiny"', json.dumps(name)), encoding="utf-8")
        with pytest.raises(StimulusError, match="the name .* would be a formula"):  # noqa: RUF043
            read_manifest(tmp_path / "stimulus_set.toml")

    @pytest.mark.parametrize("name", DO_NOT_RUN)
    def test_what_would_not_is_taken_as_it_is(self, name: str) -> None:
        assert not formula(name)
        found = make_responses(np.arange(4.0).reshape(2, 2) ** 2, ["a", "b"], unit_info={"region": [name, "x"]})
        assert found["region"].values.tolist() == [name, "x"]

    @given(st.text(max_size=12))
    def test_the_check_of_arrays_is_that_of_names(self, name: str) -> None:
        refused = False
        try:
            check_names(np.array(["x", name + "x"]), "name", BrainalignError)
        except BrainalignError:
            refused = True
        assert refused == (formula(name + "x") or any(c in UNSEEN for c in name))

    @pytest.mark.parametrize("sign", list("\x00\t\n\x1f\x7f\x85\u061c\u200f\u202e\u2066"))
    def test_what_is_not_seen_is_refused(self, sign: str) -> None:
        for names in (["b", f"a{sign}1"], np.array(["b", f"a{sign}1"], dtype=object)):
            with pytest.raises(BrainalignError, match=rf"region 'a.*1' has the sign U\+{ord(sign):04X}, which"):
                check_names(names, "region", BrainalignError)

    def test_letters_that_run_from_the_right_and_joiners_are_fine(self) -> None:
        check_names(["שלום", "می\u200cخواهم", "é", "e\u0301", "\xa0", "😀", "", "~"], "region", BrainalignError)

    def test_a_label_of_a_recipe(self, tmp_path: Path) -> None:
        from brainalign.recipes.schema import read_recipe

        path = tmp_path / "r.toml"
        path.write_text("title = 't'\n[stimuli]\nset = 'demo'\n[[models]]\nname = 'logmel'\n[[measures]]\n"
                        "name = 'response-ratio'\ncategories = ['music']\nlabel = '=1+1'\n")  # fmt: skip
        with pytest.raises(BrainalignError, match="the label '=1\\+1' would be a formula"):
            read_recipe(path)

    @given(st.text(st.sampled_from("=+-@\tab(|1'\",")), st.text(st.sampled_from("=+-@\tab(|1'\",")))
    def test_figures_show_no_formula_at_all(self, name: str, column: str) -> None:
        import pandas as pd

        from brainalign.report.svg import safe_csv

        text = safe_csv(pd.DataFrame({column or "c": [name, "x"], "value": [-1.5, 2.0]}))
        rows = list(csv.reader(io.StringIO(text, newline="")))
        cells = [rows[0][0], *(row[0] for row in rows[1:] if row)]
        assert not any(formula(cell) for cell in cells)


class Tags(HTMLParser):
    """Collects the elements of a page and what their attributes could run."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.handlers: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.handlers += [
            f"{k}={v}" for k, v in attrs if k.startswith("on") or ("hostile()" in (v or "") and k in ("href", "src"))
        ]


HOSTILE = [
    "<script>hostile()</script>",
    '"><img src=x onerror=hostile()>',
    "</script><script>hostile()//",
    "{{7*7}}'`${hostile()}",
]


def test_names_on_a_page_are_text(tmp_path: Path) -> None:
    from brainalign.report.folder import run_recipe
    from brainalign.stimuli.audio import write_audio

    for folder, names in (("hostile", HOSTILE), ("plain", ["one", "two", "three", "four"])):
        audio = tmp_path / folder / "set" / "audio"
        audio.mkdir(parents=True)
        rows = ["stimulus_id,file,category"]
        rng = np.random.default_rng(0)
        for k in range(8):
            write_audio(audio / f"{k}.wav", (rng.normal(size=16000) * 0.05).astype(np.float32), 16000)
            name = names[k % 4].replace('"', '""')
            rows.append(f'"{name}{k}",audio/{k}.wav,"{name}"')
        (audio.parent / "stimuli.csv").write_text("\n".join(rows) + "\n")
        (audio.parent / "stimulus_set.toml").write_text(
            f"name = '''{names[0]}'''\nversion = '1'\ncitation = '''{names[1]}'''\nlicence = '''{names[2]}'''\n"
        )
        (tmp_path / folder / "r.toml").write_text(
            f"title = '''{names[0]}'''\nquestion = '''{names[2]}'''\n[stimuli]\nset = 'set'\n[[models]]\nname = 'logmel'\n"  # noqa: E501
            f"[[measures]]\nname = 'response-ratio'\ncategories = ['''{names[0]}''', '''{names[1]}''']\n"
            f"label = '''{names[3]}'''\n"
        )
    pages = {}
    for folder in ("hostile", "plain"):
        out = run_recipe(tmp_path / folder / "r.toml", tmp_path / folder / "out", audio=False)
        pages[folder] = Tags()
        pages[folder].feed((out / "report.html").read_text(encoding="utf-8"))
        for figure in (out / "figures").glob("*.svg"):
            import xml.etree.ElementTree as ElementTree

            assert not [
                e for e in ElementTree.parse(figure).iter() if e.tag.lower().endswith(("script", "foreignobject"))
            ]
    assert "script" in pages["plain"].names, "the page is not what this test thinks it is"
    assert pages["hostile"].handlers == pages["plain"].handlers
    for tag in ("script", "img", "iframe", "object", "embed", "style", "link", "meta"):
        assert pages["hostile"].names.count(tag) == pages["plain"].names.count(tag), tag
    assert "hostile()" in (tmp_path / "hostile" / "out" / "results.csv").read_text(encoding="utf-8")


CONTENT = b"the published sound"


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves what the name of the file asks for."""

    def do_GET(self) -> None:
        if self.path.endswith("redirect.wav"):
            self.send_response(302)
            self.send_header("Location", "file:///etc/hostname")
            self.end_headers()
            return
        body = {"whole.wav": CONTENT, "wrong.wav": b"something else"}.get(self.path.rpartition("/")[2], CONTENT)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:7] if self.path.endswith("truncated.wav") else body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Serve a known data set on loopback; give the data folder."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    digest = hashlib.sha256(CONTENT).hexdigest()
    for file in ("whole", "wrong", "truncated", "redirect"):
        folder = tmp_path / "shipped" / file
        folder.mkdir(parents=True)
        (folder / "files.csv").write_text(f"file,bytes,sha256\n{file}.wav,{len(CONTENT)},{digest}\n")
        (folder / "origin.toml").write_text(f'url = "http://127.0.0.1:{server.server_port}/"\n')
    monkeypatch.setattr("brainalign.stimuli.fetch.shipped", lambda _kind: tmp_path / "shipped")
    monkeypatch.setenv("BRAINALIGN_DATA", str(tmp_path / "data"))
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    yield tmp_path / "data"
    server.shutdown()
    server.server_close()
    thread.join()


def files_of(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.rglob("*") if p.is_file())


class TestDownloads:
    def test_the_published_file_is_installed(self, served: Path) -> None:
        from brainalign.stimuli.fetch import fetch

        fetch("whole")
        assert (served / "whole" / "whole.wav").read_bytes() == CONTENT

    def test_another_digest(self, served: Path) -> None:
        from brainalign.stimuli.fetch import fetch

        with pytest.raises(DownloadError) as why:
            fetch("wrong")
        assert hashlib.sha256(CONTENT).hexdigest() in str(why.value)
        assert hashlib.sha256(b"something else").hexdigest() in str(why.value)
        assert files_of(served) == []

    @pytest.mark.parametrize("name", ["truncated", "redirect"])
    def test_a_download_that_breaks_off_or_is_sent_to_a_file(self, served: Path, name: str) -> None:
        from brainalign.stimuli.fetch import fetch

        with pytest.raises(DownloadError, match=rf"{name}\.wav of {name} could not be fetched from http://127"):
            fetch(name)
        assert files_of(served) == []
