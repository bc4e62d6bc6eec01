"""The examples in the docstrings give what they say."""

import doctest
import importlib
import pkgutil

import pytest

import spikedrf

MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(spikedrf.__path__, "spikedrf.")
    if not module.name.endswith(("__main__", "_core"))
)


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert result.failed == 0


def test_there_are_examples():
    finder = doctest.DocTestFinder()
    found = [t for n in MODULES for t in finder.find(importlib.import_module(n)) if t.examples]
    assert len(found) >= 4
