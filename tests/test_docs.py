"""What the documentation says is what the code does, and nothing public is left out of it."""

import doctest
import importlib.util
import re
from pathlib import Path

import pytest

import spikedrf
from spikedrf import cli, losses, plotting, theory

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


def command_line_page():
    spec = importlib.util.spec_from_file_location("command_line_page", DOCS / "command_line.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def assert_alike(printed, expected):
    """The same words, and numbers that differ by no more than other processors make them."""
    assert len(printed.splitlines()) == len(expected.splitlines())
    pairs = zip(re.split(r"[\s,:]+", printed), re.split(r"[\s,:]+", expected), strict=True)
    for ours, theirs in pairs:
        try:
            numbers = float(ours), float(theirs)
        except ValueError:
            assert ours == theirs
        else:
            assert numbers[0] == pytest.approx(numbers[1], rel=2e-3, abs=2e-3, nan_ok=True)


def test_the_page_of_the_command_line(tmp_path, monkeypatch, capsys):
    pytest.importorskip("pandas")
    pytest.importorskip("skops")
    page = command_line_page()
    text = page.PAGE.read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    for name, content in page.files(text).items():
        (tmp_path / name).write_text(content, encoding="utf-8")
    seen = []
    for command, expected in page.commands(text):
        if command == "spikedrf reproduce":  # a new figure is no reason to look at this page
            assert set(expected.splitlines()) <= set(page.output(command).splitlines())
        else:
            assert_alike(page.output(command), expected)
        seen.append(command.split()[1])
    rest = re.findall(r"^## .*: (.*)$", text, re.MULTILINE)
    told = {name for names in rest for name in re.findall(r"`(\w+)`", names)}
    assert told == set(cli.COMMANDS)
    assert set(seen) == told - {"explore"}
    header = (tmp_path / "towns.csv").read_text().splitlines()[0]
    assert f"since it writes a file: `{header}`." in text


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


def test_every_benchmark_has_its_place_on_the_page():
    # `bench/run.py --page` writes each file's tables between comments of its name.
    page = (DOCS / "benchmarks.md").read_text("utf-8")
    files = sorted((DOCS.parent / "bench").glob("test_*.py"))
    assert files
    for file in files:
        name = file.stem.removeprefix("test_")
        for word in ("begin", "end"):
            assert f"<!-- {word} {name} -->" in page, file.name
