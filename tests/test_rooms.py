"""The rooms of the package: who imports whom, and who may know what a step is."""

import ast
import importlib
import re
import subprocess
import sys
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


CSRC = Path(__file__).parents[1] / "csrc"
#: The rooms of the kernels: each may know those before it. Networks of finite size have their own.
KERNELS = ("numerics", "functions", "tables", "averages", "equations", "batches")
KNOWN = {room: set(KERNELS[: i + 1]) for i, room in enumerate(KERNELS)}
KNOWN["network"] = {"numerics", "functions", "network"}


def kernel_sources():
    return sorted(file for file in CSRC.rglob("*") if file.suffix in (".hpp", ".cpp"))


def test_kernels_include_nothing_from_the_rooms_above_them():
    rooms = {file.relative_to(CSRC).parts[0] for file in kernel_sources()}
    assert rooms == {*KNOWN, "tests"}
    for file in kernel_sources():
        room = file.relative_to(CSRC).parts[0]
        included = set(re.findall(r'#include "(\w+)/', file.read_text(encoding="utf-8")))
        assert included <= KNOWN.get(room, rooms), f"{file}: {included - KNOWN[room]}"


def test_lines_of_the_kernels_end_at_100():
    for file in kernel_sources():
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
            assert len(line) <= 100, f"{file}:{number}"


def test_the_kernels_build_lists_every_source():
    listed = (CSRC / "CMakeLists.txt").read_text() + (CSRC / "tests/CMakeLists.txt").read_text()
    for file in kernel_sources():
        if file.suffix == ".cpp":
            assert re.search(rf"\b{file.name}\b", listed), file


def test_the_kernels_have_one_index_type():
    for file in kernel_sources():
        if file.name != "array.hpp":
            assert "size_t" not in file.read_text(encoding="utf-8"), file


@pytest.mark.parametrize("package", ["spikedrf", "spikedrf.theory"])
def test_every_public_name_is_found(package):
    room = importlib.import_module(package)
    assert set(room.__all__) <= set(dir(room))
    for name in room.__all__:
        assert getattr(room, name) is not None
    with pytest.raises(AttributeError, match="nothing_like_this"):
        room.nothing_like_this  # noqa: B018


def test_the_package_alone_imports_nothing_but_itself():
    code = "import sys, spikedrf; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"numpy", "scipy", "sklearn", "pandas"} & set(done.stdout.split())
    code = "import sys, spikedrf.theory; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"scipy", "sklearn", "pandas", "sqlite3"} & set(done.stdout.split())
