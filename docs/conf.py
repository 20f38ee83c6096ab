"""How the documentation is built: everything from this repository, nothing from the network."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

from sphinx.util.nodes import make_refnode

import brainalign

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS))

# Activations that the gallery extracts stay out of the user's cache, and nothing is fetched.
os.environ["BRAINALIGN_CACHE"] = tempfile.mkdtemp(prefix="brainalign-docs-")
os.environ["HF_HUB_OFFLINE"] = "1"

project = "brainalign"
author = "The brainalign developers"
copyright = author
version = release = brainalign.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
source_suffix = {".rst": "restructuredtext", ".md": "markdown"}
exclude_patterns = ["_build", "gallery/**", "**/GALLERY_HEADER.rst"]
templates_path = ["_templates"]
nitpicky = True
nitpick_ignore = [("py:class", "pydantic.main.BaseModel")]

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 4

autosummary_generate = True
# Types stand in the numpydoc sections; signatures stay short enough to read.
autodoc_typehints = "none"
autodoc_preserve_defaults = True
numpydoc_show_class_members = False
numpydoc_xref_param_type = False

sphinx_gallery_conf = {
    "examples_dirs": ["gallery"],
    "gallery_dirs": ["gallery_built"],
    "filename_pattern": r"/plot_",
    "subsection_order": ["gallery/analyses", "gallery/add"],
    "within_subsection_order": "FileNameSortKey",
    "abort_on_example_error": True,
    "download_all_examples": False,
    "thumbnail_size": (600, 360),
    # The page of times loads scripts from outside.
    "write_computation_times": False,
    "show_memory": False,
    "show_signature": False,
    "remove_config_comments": True,
    "capture_repr": ("_repr_html_",),
    "image_scrapers": ("matplotlib",),
    "reset_modules": ("_gallery_style.reset",),
    "doc_module": ("brainalign",),
    "backreferences_dir": "gallery_built/backreferences",
    "reference_url": {"brainalign": None},
}

html_theme = "pydata_sphinx_theme"
html_title = "brainalign"
html_static_path = ["_static"]
html_css_files = ["brainalign.css"]
html_context = {"default_mode": "auto"}
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "logo": {"text": "brainalign"},
    "header_links_before_dropdown": 8,
    "navbar_align": "left",
    "show_prev_next": True,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": ["sphinx-version"],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
copybutton_exclude = ".linenos, .gp, .go"

_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)\s#]+)(#[^)\s]*)?\)")


def unlink_the_rest(app: Any, docname: str, source: list[str]) -> None:
    """Show links to files of the repository that are no pages as plain text: the pages work without it."""
    folder = (DOCS / docname).parent

    def replaced(link: re.Match[str]) -> str:
        text, target, _ = link.groups()
        if "://" in target or target.startswith("mailto:"):
            return link[0]
        path = (folder / target).resolve()
        return link[0] if path.is_relative_to(DOCS) and path.is_file() else text

    source[0] = _LINK.sub(replaced, source[0])


def exists(module: Any, path: list[str]) -> bool:
    """Say whether a module has what a dotted path names; fields of data classes count."""
    thing = module
    for name in path:
        if name not in getattr(thing, "__dataclass_fields__", {}) and not hasattr(thing, name):
            return False
        thing = getattr(thing, name, None)
    return True


def imported(parts: list[str]) -> Any:
    """Return a module, or None if there is none of that name."""
    try:
        return import_module(".".join(parts))
    except ModuleNotFoundError:
        return None


def check_reference(app: Any, env: Any, node: Any, contnode: Any) -> Any:
    """Link names without their module, and accept what has no page if it exists; anything else is a warning."""
    target = node["reftarget"]
    if node.get("refdomain") != "py":
        return None
    domain = env.domains.python_domain
    found = domain.find_obj(env, None, None, target, None, searchmode=1)
    if len(found) == 1:
        (name, entry) = found[0]
        return make_refnode(app.builder, node["refdoc"], entry.docname, entry.node_id, contnode, name)
    if target.startswith("brainalign."):
        parts = target.split(".")
        return contnode if any(exists(imported(parts[:n]), parts[n:]) for n in range(1, len(parts) + 1)) else None
    ours = [module for name, module in list(sys.modules.items()) if name.partition(".")[0] == "brainalign"]
    return contnode if any(exists(module, target.split(".")) for module in ours) else None


def setup(app: Any) -> None:
    """Connect what stands above."""
    app.connect("source-read", unlink_the_rest)
    app.connect("missing-reference", check_reference)
