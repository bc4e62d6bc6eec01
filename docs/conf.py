"""How the documentation is built: `python -m sphinx -W docs docs/_build`."""

import spikedrf

project = "spikedrf"
author = "the spikedrf developers"
project_copyright = "the spikedrf developers"
version = release = spikedrf.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx-mathjax-offline",  # pages read from disk have their formulas, too
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "_templates", "gallery/*.rst", "images/**"]
templates_path = ["_templates"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
default_role = "py:obj"  # docstrings write `name` for what can be looked up

myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence"]
myst_heading_anchors = 3

autosummary_generate = True
autodoc_typehints = "none"  # types are in the docstrings, in words
numpydoc_show_class_members = False
autodoc_default_options = {"members": True, "inherited-members": False}

sphinx_gallery_conf = {
    "examples_dirs": "gallery",
    "gallery_dirs": "auto_gallery",
    "filename_pattern": r"/plot_",
    "within_subsection_order": "FileNameSortKey",
    "abort_on_example_error": True,
    "show_memory": False,
    "show_signature": False,
    "download_all_examples": False,
    "copyfile_regex": r".*\.csv$",
    "capture_repr": (),
}

html_theme = "furo"
html_title = f"spikedrf {version}"
html_copy_source = False
html_show_sourcelink = False
html_static_path = ["_static"]
html_css_files = ["formulas.css"]
