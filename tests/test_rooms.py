"""The rooms of the package: who imports whom, and who may know what a step is."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import spikedrf

SOURCE = Path(spikedrf.__file__).parent

#: Where the kinds of steps are told apart: `producer_of` alone.
PRODUCERS = {"spikedrf.first_layer.producers"}
KINDS = {"Spike", "GradientStep", "Layer", "FirstLayer", "NoStep", "Producer"}


def modules():
    """Every module of the package by its name, parsed."""
    found = {}
    for file in SOURCE.rglob("*.py"):
        parts = file.relative_to(SOURCE.parent).with_suffix("").parts
        name = ".".join(part for part in parts if part != "__init__")
        found[name] = ast.parse(file.read_text(encoding="utf-8"))
    return found


def imports(tree, names):
    """What a module imports of the package, anywhere: in functions and for types too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                if whole in names:
                    yield whole
                elif node.module in names:
                    yield node.module


def circle(graph):
    """The modules along a circle of imports, or None."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return None


def test_no_import_circle():
    """Names of the package itself aside: the front door imports every room, on demand too."""
    trees = modules()
    graph = {
        name: {other for other in imports(tree, trees) if other not in ("spikedrf", name)}
        for name, tree in trees.items()
    }
    assert len(graph) > 80
    assert circle(graph) is None


def test_a_circle_would_be_found():
    sources = {"p.a": "import p.b", "p.b": "def f():\n    from p import c", "p.c": "import p.a"}
    trees = {name: ast.parse(source) for name, source in sources.items()}
    graph = {name: set(imports(tree, trees)) for name, tree in trees.items()}
    assert set(circle(graph)) == set(trees)


def asked(tree):
    """Line and name of every ``isinstance(..., kind of step)``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "id", None) in (
            "isinstance",
            "issubclass",
        ):
            for part in ast.walk(node.args[1]):
                name = getattr(part, "id", None) or getattr(part, "attr", None)
                if name in KINDS:
                    yield node.lineno, name


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_question_would_be_found(kind):
    assert list(asked(ast.parse(f"isinstance(step, (int, m.{kind}))"))) == [(1, kind)]


def test_nobody_asks_what_a_step_is():
    """Whoever takes a step takes the first layer that it produces."""
    found = {
        f"{name}:{line} {kind}"
        for name, tree in modules().items()
        if name not in PRODUCERS
        for line, kind in asked(tree)
    }
    assert not found
