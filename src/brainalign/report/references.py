"""The papers and the software behind stimuli, brain data, models, measures and methods, as text and as BibTeX."""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from typing import Any

from brainalign.errors import ResultsError, did_you_mean

#: Kinds of things that name what to cite, as tables of references.toml.
KINDS = ("stimuli", "manipulations", "brains", "models", "generators", "measures", "methods", "software")
#: Further authors, not named.
OTHERS = "others"
_ENTRY = {"article": "article", "proceedings": "inproceedings", "preprint": "misc", "software": "misc"}
_TEX = {
    "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "‘": "`", "’": "'", "–": "--",
    "ø": r"{\o}", "ł": r"{\l}", "Ø": r"{\O}", "Ł": r"{\L}", "æ": r"{\ae}", "Æ": r"{\AE}", "ß": r"{\ss}",
}  # fmt: skip
_ACCENTS = {"\u0300": "`", "\u0301": "'", "\u0302": "^", "\u0303": "~", "\u0308": '"', "\u030a": "r", "\u0327": "c",
            "\u030c": "v"}  # fmt: skip


@dataclass(frozen=True)
class Reference:
    """One entry of the list of references.

    Attributes
    ----------
    key : str
        Name in BibTeX.
    type : {'article', 'proceedings', 'preprint', 'software'}
        What it is.
    authors : tuple of str
        ``"Family, G."``; `OTHERS` last if not all are named; in braces if it is no person.
    title : str
        Title, in sentence case.
    year : int or None
        None for software that its version tells.
    place : str
        Journal, proceedings or archive.
    volume, number, pages, doi, arxiv, url, version : str
        Empty if there is none; `number` is that of an article without pages.
    """

    key: str
    type: str
    authors: tuple[str, ...]
    title: str
    year: int | None = None
    place: str = ""
    volume: str = ""
    number: str = ""
    pages: str = ""
    doi: str = ""
    arxiv: str = ""
    url: str = ""
    version: str = ""

    @property
    def families(self) -> list[str]:
        """Family names of the authors that are named."""
        return [author.strip("{}").split(",")[0] for author in self.authors if author != OTHERS]

    @property
    def when(self) -> str:
        """Year, or version."""
        return str(self.year) if self.year else f"version {self.version}"

    @property
    def short(self) -> str:
        """Author and year: ``"Kim et al., 2024"``."""
        names = self.families
        several = len(names) > 2 or OTHERS in self.authors
        return f"{names[0]} et al., {self.when}" if several else f"{' & '.join(names)}, {self.when}"

    @property
    def link(self) -> str:
        """Where it is found; empty if that is not known."""
        found = f"https://doi.org/{self.doi}" if self.doi else f"https://arxiv.org/abs/{self.arxiv}"
        return found if self.doi or self.arxiv else self.url

    @property
    def text(self) -> str:
        """The entry for a list of references."""
        names = [author.strip("{}") for author in self.authors if author != OTHERS]
        who = ", ".join(names) + ", et al." if OTHERS in self.authors else _and(names)
        where = self.place or (f"arXiv:{self.arxiv}" if self.arxiv else "")
        numbers = ", ".join(part for part in (self.volume, self.pages.replace("-", "–") or self.number) if part)
        after = " ".join(part for part in (where + ("," if where and numbers else ""), numbers) if part)
        what = f"{self.title} [computer software]" if self.type == "software" else self.title
        return " ".join(
            part for part in (f"{who} ({self.when}).", f"{what}.", after and f"{after}.", self.link) if part
        )

    @property
    def bibtex(self) -> str:
        """The entry in BibTeX: letters beyond ASCII as commands, the title in its own capitals."""
        container = {"article": "journal", "proceedings": "booktitle"}.get(self.type, "howpublished")
        fields = {
            "author": " and ".join(_author(author) for author in self.authors),
            "title": f"{{{_tex(self.title)}}}",
            "year": str(self.year or ""),
            container: _tex(self.place),
            "volume": self.volume,
            "pages": (self.pages or self.number if self.type == "article" else self.pages).replace("-", "--"),
            "number": self.number if self.type != "article" else "",
            "doi": self.doi,
            "eprint": self.arxiv,
            "archiveprefix": "arXiv" if self.arxiv else "",
            "url": self.url,
            "note": f"Version {_tex(self.version)}" if self.version else "",
        }
        kind = _ENTRY[self.type] if self.place or self.type == "software" else "misc"
        lines = [f"  {name} = {{{value}}}," for name, value in fields.items() if value]
        return "\n".join([f"@{kind}{{{self.key},", *lines, "}"])


@dataclass(frozen=True)
class Uses:
    """What belongs to a name.

    Attributes
    ----------
    keys : tuple of str
        Of references.
    none : str
        Why there are none, or what else to cite.
    what : str
        What is done, for a methods section.
    """

    keys: tuple[str, ...] = ()
    none: str = ""
    what: str = ""


def references() -> Mapping[str, Reference]:
    """Return all references by key; brainalign in its installed version."""
    return _references()


@cache
def _references() -> Mapping[str, Reference]:
    found = {}
    for key, entry in _shipped()["references"].items():
        texts = {name: str(entry.get(name, "")) for name in ("volume", "number", "pages", "doi", "arxiv", "url")}
        found[key] = Reference(
            key=key,
            type=entry.get("type", "article"),
            authors=tuple(entry["author"]),
            title=entry["title"],
            year=entry.get("year"),
            place=entry.get("in", ""),
            version=version("brainalign") if key == "brainalign" else "",
            **texts,
        )
    return found


@cache
def _shipped() -> dict[str, Any]:
    return tomllib.loads(files("brainalign.report").joinpath("references.toml").read_text(encoding="utf-8"))


def known_names(kind: str) -> list[str]:
    """Return the names of a kind (one of `KINDS`) for which the list says what to cite."""
    return list(_shipped()[kind])


def uses_of(kind: str, name: str) -> Uses | None:
    """Return what to cite for a name.

    Parameters
    ----------
    kind : str
        One of `KINDS`.
    name : str
        As a recipe has it; a variant (``"kim2024-cnn:no-music/0"``) belongs to its family, a control
        (``"@random:0"``) to the network that it is drawn from.

    Returns
    -------
    Uses or None
        None if the list does not know the name.
    """
    family = re.split("[:@]", name)[0]
    entry = _shipped()[kind].get(family)
    if entry is None:
        return None
    rest = name.partition(":")[2].split("@")[0]
    variants = entry.get("variants", {})
    keys = [key for words, own in variants.items() if re.search(words, rest, re.IGNORECASE) for key in own]
    keys = [*entry.get("cite", ()), *keys]
    return Uses(tuple(dict.fromkeys(keys)), "" if keys else entry.get("none", ""), entry.get("what", ""))


def methods_in(text: str) -> list[str]:
    """Return the statistical methods, of those that the list knows, which a text names."""
    return [name for name, own in _shipped()["methods"].items() if re.search(own["words"], text, re.IGNORECASE)]


def bibliography(keys: Iterable[str], brainalign: str = "") -> list[Reference]:
    """Return references, each once, sorted by author and year.

    Parameters
    ----------
    keys : iterable of str
        Keys of references.
    brainalign : str
        Version of brainalign that was used; the installed one if not given.

    Returns
    -------
    list of Reference
        Sorted.

    Raises
    ------
    ResultsError
        If there is no reference of a key.
    """
    known = references()
    chosen = list(dict.fromkeys(keys))
    for key in chosen:
        if key not in known:
            raise ResultsError(f"no reference {key!r}; {did_you_mean(key, known)}")
    found = [known[key] for key in chosen]
    if brainalign:
        found = [replace(r, version=brainalign) if r.key == "brainalign" else r for r in found]
    return sorted(found, key=lambda r: ([_plain(f) for f in r.families], r.year or 0))


def cite(keys: Sequence[str]) -> str:
    """Return author-year citations in brackets, or nothing for no keys: ``" (Efron, 1987; Kim et al., 2024)"``."""
    return f" ({'; '.join(r.short for r in bibliography(keys))})" if keys else ""


def bibtex(chosen: Sequence[Reference]) -> str:
    """Return a BibTeX file of these references."""
    return "\n\n".join(reference.bibtex for reference in chosen) + "\n"


def _and(names: Sequence[str]) -> str:
    return ", & ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]


def _author(name: str) -> str:
    return f"{{{_tex(name.strip('{}'))}}}" if name.startswith("{") else _tex(name)


def _tex(text: str) -> str:
    """Write text for TeX: special characters as commands, accents in braces."""
    return "".join(_tex_letter(letter) for letter in text)


def _tex_letter(letter: str) -> str:
    if letter in _TEX:
        return _TEX[letter]
    bare, *marks = list(unicodedata.normalize("NFD", letter))
    if len(marks) == 1 and marks[0] in _ACCENTS:
        return f"{{\\{_ACCENTS[marks[0]]}{{{bare}}}}}"
    return letter


def _plain(name: str) -> str:
    letters = unicodedata.normalize("NFD", name)
    return "".join(letter for letter in letters if not unicodedata.combining(letter)).casefold()
