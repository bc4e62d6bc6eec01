"""Nothing in the package runs what a string or a file says."""

import ast
from pathlib import Path

import pytest

import spikedrf

SOURCE = Path(spikedrf.__file__).parent
BUILTINS = {"eval", "exec", "compile", "__import__"}
ATTRIBUTES = {"system", "popen", "Popen"}
MODULES = {"cloudpickle", "dill", "marshal", "pickle", "shelve", "subprocess", "yaml"}


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda p: p.stem)
def test_nothing_evaluates_strings(path):
    for node in ast.walk(ast.parse(path.read_text())):
        where = f"{path.name}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Name):
            assert node.id not in BUILTINS, where
        elif isinstance(node, ast.Attribute):
            assert node.attr not in ATTRIBUTES, where
        elif isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            assert isinstance(node.value, ast.Constant), where
            assert node.value.value is False, where
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else node.names
            for name in names:
                root = getattr(name, "name", name).split(".")[0]
                assert root not in MODULES, f"{where} imports {root}"


def test_there_is_a_source_to_look_at():
    assert len(list(SOURCE.rglob("*.py"))) > 30
