"""What the documentation says is what the code does, and nothing public is left out of it."""

import doctest
import re
from pathlib import Path

import pytest

import spikedrf
from spikedrf import losses, plotting, theory

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGES = sorted(DOCS.glob("*.md"))
REFERENCE = (DOCS / "api.rst").read_text(encoding="utf-8")


def examples(page):
    """The interpreter sessions of a page, in one piece: later ones use names of earlier ones."""
    blocks = re.findall(r"^```pycon\n(.*?)^```$", page.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    return "\n".join(blocks)


def test_there_are_examples():
    assert any(examples(page) for page in PAGES)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_examples(page):
    session = doctest.DocTestParser().get_doctest(examples(page), {}, page.name, str(page), 0)
    assert doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(session).failed == 0


@pytest.mark.parametrize(
    "module", [spikedrf, theory, losses, plotting], ids=lambda module: module.__name__
)
def test_reference_lists_every_public_name(module):
    listed = set(re.findall(r"^   (\w+)$", REFERENCE, re.MULTILINE))
    modules = {"theory", "losses"}
    assert set(module.__all__) - {"__version__"} - modules - listed == set()


def test_gallery_has_the_how_tos():
    titles = [path.read_text("utf-8").splitlines()[1] for path in DOCS.glob("gallery/plot_*.py")]
    assert len(titles) == len(set(titles)) >= 6
