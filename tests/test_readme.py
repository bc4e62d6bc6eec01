"""What the README prints is what the code prints."""

import contextlib
import inspect
import io
import re
import shlex
import subprocess
from pathlib import Path

import numpy as np
import pytest

import spikedrf
from spikedrf import cli

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
VENV = "test -d .venv || python3 -m venv .venv; .venv/bin/pip install -q "


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.DOTALL | re.MULTILINE)


def printed(function):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        function()
    return out.getvalue()


def test_the_two_commands():
    first, second = blocks("sh")[:2]
    assert first == VENV + "'.[plot]' && .venv/bin/spikedrf curve --out curve.png\n"
    assert second == VENV + "'.[test]' && .venv/bin/python -m pytest -n 2 --dist worksteal\n"


def test_ci_runs_the_commands():
    script = ROOT / ".ci" / "run"
    if not script.exists():
        pytest.skip("no .ci/run beside these tests (it is not in the source distribution)")
    listed = subprocess.run(
        [script, "--list"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    ).stdout
    assert listed == "".join(blocks("sh")[:3])


@pytest.mark.parametrize("code", blocks("python"))
def test_python_block(code):
    text = blocks("text")[blocks("python").index(code)]
    assert printed(lambda: exec(compile(code, "README.md", "exec"), {})) == text


def test_console_blocks():
    consoles = blocks("console")
    assert consoles
    for console in consoles:
        command, table = console.split("\n", 1)
        prompt, program, *arguments = shlex.split(command)
        assert (prompt, program) == ("$", "spikedrf")
        assert printed(lambda arguments=arguments: cli.main(arguments)) == table


def test_links_exist():
    links = re.findall(r"\]\(([^)]+)\)", README)
    assert len(links) >= 4
    local = [link for link in links if not link.startswith("https://")]
    assert [link for link in local if not (ROOT / link).is_file()] == []


def test_picture_is_made_by_the_command_beside_it(tmp_path):
    program, *arguments = shlex.split(blocks("sh")[3])
    assert program == ".venv/bin/spikedrf"
    picture = ROOT / arguments[-1]
    assert f"]({arguments[-1]})" in README
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size < 80_000
    arguments[-1] = str(tmp_path / "again.png")
    printed(lambda: cli.main([*arguments, "--quiet"]))
    image = pytest.importorskip("matplotlib.image")
    ours, again = (blue_curve(image.imread(path)) for path in (picture, arguments[-1]))
    common = np.isfinite(ours) & np.isfinite(again)
    assert common.sum() > 500
    # Margins differ by pixels between versions of matplotlib; the curve does not.
    assert np.median(np.abs(ours - again)[common]) < 5


def blue_curve(image):
    """Row of the curve after the step in every column of the picture, above the legend."""
    blue = np.abs(image[..., :3] - (0, 0x72 / 255, 0xB2 / 255)).max(axis=-1) < 0.02
    blue[int(0.85 * len(blue)) :] = False
    rows = np.arange(len(blue))[:, None]
    count = blue.sum(axis=0)
    return np.where(count > 0, (rows * blue).sum(axis=0) / np.maximum(count, 1), np.nan)


def test_notation_names_are_arguments():
    table = README.split("## Notation")[1].split("## ")[0]
    rows = [line.split("|")[1:4] for line in table.splitlines() if line.startswith("| `")]
    names = {name for _, _, where in rows for name in re.findall(r"(\w+)=", where)}
    known = {
        name
        for function in (spikedrf.theory.solve, spikedrf.GradientStep, spikedrf.Spike)
        for name in inspect.signature(function).parameters
    }
    assert names >= {
        "activation",
        "target",
        "beta",
        "lam",
        "noise",
        "eta",
        "alpha0",
        "u",
        "pi",
        "r",
    }
    assert names <= known
    solution = spikedrf.theory.solve(1.0, lam=0.1)
    attributes = {name for _, _, where in rows for name in re.findall(r"\.(\w+)`", where)}
    assert attributes >= {"m", "theta", "psi", "q1", "q2", "V1", "V2"}
    assert [name for name in attributes if not hasattr(solution, name)] == []


def test_version_is_the_same_everywhere():
    version = spikedrf.__version__
    assert f"version {version}," in README
    assert f"version: {version}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
