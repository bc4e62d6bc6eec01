"""`spikedrf spectrum`: its numbers are the library's, in the table, as JSON and in files."""

import csv
import json
import re
import sys

import numpy as np
import pytest

from command_line import MODEL, STEP, rows_of, run
from spikedrf import GradientStep, simulate_spectrum, theory
from spikedrf.cli import main

MODEL = {name: value for name, value in MODEL.items() if name != "lam"}
OPTIONS = (
    "--activation relu --target tanh --eta 2 --alpha0 5 --u 1 -0.5 --pi 0.4 0.6 --beta 0.7 "
    "--noise 0.2 --alpha 0.5"
)
STEPS = {"without_step": None, "with_step": GradientStep(**STEP)}


def spectra(x=None, **changes):
    case = {"alpha": 0.5, **MODEL} | changes
    return {name: theory.spectrum(x, step=step, **case) for name, step in STEPS.items()}


def test_json_is_what_the_library_says(capsys):
    status, out, err = run(capsys, f"spectrum {OPTIONS} --json --full")
    assert (status, err) == (0, "")
    result = json.loads(out)
    assert (result["schema"], result["command"]) == (1, "spectrum")
    given = {"alpha": 0.5, **MODEL, **STEP, "rtol": 1e-8}
    assert result["parameters"] == given
    assert len(result["spike"]["r"]) == 2
    names = ("atom", "mass", "mean", "edges", "outliers", "growth", "x", "density", "by_group")
    for name, expected in spectra().items():
        for key in (*names, "cumulative", "success", "status"):
            np.testing.assert_array_equal(result[name][key], getattr(expected, key), err_msg=key)


def test_points_and_table(capsys):
    status, out, err = run(capsys, f"spectrum {OPTIONS} --x 0.01 0.1:0.4:3 --x 0.02 1:2:2:log")
    assert (status, err) == (0, "")
    x = np.array([0.02, 1.0, 2.0])  # the last --x counts
    table = np.array(rows_of(out), dtype=float)
    np.testing.assert_allclose(table[:, 0], x, rtol=5e-6)
    before, after = spectra(x).values()
    for column, spectrum in ((1, before), (3, after)):
        np.testing.assert_allclose(table[:, column], spectrum.density, rtol=5e-6, atol=1e-300)
        beyond = 1.0 - spectrum.cumulative
        np.testing.assert_allclose(table[:, column + 1], beyond, rtol=5e-4, atol=1e-9)
    lines = out.splitlines()
    assert lines[0].startswith(
        "# relu on tanh, alpha 0.5, eta 2, alpha0 5, u 1 -0.5, pi 0.4 0.6, beta 0.7, noise 0.2: r "
    )
    (low, high), (lower, higher) = before.edges[0], after.edges[0]
    words = (
        f"atom {before.atom:.6g} at 0, {low:.6g} to {high:.6g}, mean {before.mean:.6g}, isolated"
    )
    assert lines[1] == f"# without step: {words} {before.growth[0]:.6g} p"
    assert lines[2].startswith(
        f"# with step: atom {after.atom:.6g} at 0, {lower:.6g} to {higher:.6g}"
    )
    assert {len(line) for line in lines[4:]} == {len(lines[4])}


def test_the_table_covers_both_spectra(capsys):
    _, out, _ = run(capsys, "spectrum --alpha 2 --beta 0.5")
    table = np.array(rows_of(out), dtype=float)
    edge = theory.spectrum(1.0, alpha=2.0, beta=0.5).edges.max()
    np.testing.assert_allclose(table[:, 0], edge * np.arange(1, 26) / 26, rtol=5e-6)
    _, out, _ = run(capsys, "spectrum --alpha 0.5 --activation relu")  # eigenvalues near 0
    ratios = np.diff(np.log(np.array(rows_of(out), dtype=float)[:, 0]))
    np.testing.assert_allclose(ratios, ratios[0], rtol=1e-4)


def test_files(capsys, tmp_path):
    pytest.importorskip("matplotlib")
    paths = [tmp_path / f"s.{suffix}" for suffix in ("csv", "png", "svg", "PDF")]
    status, _, err = run(capsys, f"spectrum {OPTIONS} --x 0.1:0.4:3 --out", *paths)
    assert status == 0
    assert err == "".join(f"wrote {path}\n" for path in paths)
    with paths[0].open(newline="") as file:
        rows = list(csv.DictReader(file))
    expected = spectra(np.linspace(0.1, 0.4, 3))
    assert [row["spectrum"] for row in rows] == ["without_step"] * 3 + ["with_step"] * 3
    for key in ("x", "density", "cumulative", "quadrature_error"):
        values = np.concatenate([getattr(s, key) for s in expected.values()])
        np.testing.assert_array_equal([float(row[key]) for row in rows], values)
    np.testing.assert_array_equal(
        [float(row["density_1"]) for row in rows[3:]], expected["with_step"].by_group[:, 1]
    )
    assert all(row["density_1"] == "nan" for row in rows[:3])
    heads = [path.read_bytes()[:4] for path in paths[1:]]
    assert heads == [b"\x89PNG", b"<?xm", b"%PDF"]


def test_simulated_beside_the_theory(capsys):
    line = f"spectrum {OPTIONS} --simulate network --d 60 --replicates 2 --seed 5"
    status, out, err = run(capsys, f"{line} --json")
    assert (status, err) == (0, "")
    result = json.loads(out)
    simulation = result["simulation"]
    assert [simulation[key] for key in ("model", "d", "p", "n", "seed")] == [
        "network",
        60,
        42,
        30,
        5,
    ]
    rng = np.random.default_rng(5)
    for name, expected in spectra(1.0).items():
        drawn = simulate_spectrum(
            0.5, d=60, replicates=2, rng=rng, model="network", step=STEPS[name], **MODEL
        )
        np.testing.assert_allclose(
            simulation[name]["eigenvalues"], drawn.eigenvalues, rtol=1e-9, atol=1e-12
        )
        np.testing.assert_allclose(simulation[name]["distance"], drawn.distance(expected))
    assert simulation["with_step"]["n0"] == 300
    _, out, _ = run(capsys, line)
    far = " ".join(f"{x:.2g}" for x in simulation["with_step"]["distance"])
    assert (
        f"# simulated with step: network, d 60, p 42, n 30, n0 300, seed 5: "
        f"Kolmogorov distance {far}\n"
    ) in out


def test_the_network_has_its_own_bulk(capsys):
    line = "spectrum --alpha 2 --alpha0 0.5 --bulk network --x 0.5 1 --json"
    status, out, err = run(capsys, line)
    assert (status, err) == (0, "")
    result = json.loads(out)
    step = GradientStep(3.0, 0.5)
    expected = theory.spectrum([0.5, 1.0], alpha=2.0, target="sin", step=step, bulk="network")
    np.testing.assert_allclose(result["with_step"]["density"], expected.density, rtol=1e-9)
    before = theory.spectrum([0.5, 1.0], alpha=2.0)
    np.testing.assert_allclose(result["without_step"]["density"], before.density, rtol=1e-9)


def test_points_that_did_not_converge_are_marked(capsys, monkeypatch):
    """A rule that may not be refined cannot vouch for its answer."""
    monkeypatch.setattr(sys.modules["spikedrf.theory.stieltjes"], "MAX_NODES", 64)
    line = "spectrum --alpha 0.5 --eta 20 --rtol 1e-11 --x 1e-3 20"
    status, out, err = run(capsys, line)
    assert status == 3
    assert err == "spikedrf spectrum: 1 of 4 points did not reach --rtol 1e-11; they are marked\n"
    assert [row[3][-1] == "?" for row in rows_of(out)] == [True, False]
    status, out, _ = run(capsys, f"{line} --json --quiet")
    assert status == 3
    assert json.loads(out)["with_step"]["success"] == [False, True]


def test_help_has_an_example_that_works(capsys, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    status, out, err = run(capsys, "spectrum --help")
    assert (status, err) == (0, "")
    assert "--lam" not in out
    assert "--n-test" not in out
    example = re.search(r"^example:\n +spikedrf (.*)$", out, flags=re.MULTILINE)[1].split()
    assert main(example) == 0
    assert (tmp_path / example[-1]).read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "extreme", ["--beta 1e4", "--beta 3000", "--alpha 1e-4", "--beta 1e-8", "--alpha 1e-6"]
)
def test_extreme_shapes_have_a_table(extreme, capsys):
    code = main(["spectrum", *extreme.split()])
    out, _ = capsys.readouterr()
    assert code in (0, 3)
    rows = [line for line in out.splitlines() if not line.startswith("#")]
    beyond = [float(row.split()[-1]) for row in rows]
    assert len(beyond) > 10
    assert (np.diff(beyond) <= 0).all()
    assert 0 <= beyond[-1] <= beyond[0] <= 1


def test_several_values_are_refused_with_the_reason(capsys):
    with pytest.raises(SystemExit):
        main(["spectrum", "--eta", "1", "2"])
    assert "takes one value" in capsys.readouterr().err


@pytest.mark.parametrize("words", ["--alpha 2", "--alpha 0.3 --beta 2", "--beta 1e-3"])
def test_json_has_the_curves_in_some_hundred_points(words, tmp_path, capsys):
    file = tmp_path / "all.csv"
    assert main(["spectrum", *words.split(), "--json", "--quiet", "--out", str(file)]) == 0
    result = json.loads(capsys.readouterr().out)
    for name in ("without_step", "with_step"):
        spectrum = result[name]
        x, density = np.array(spectrum["x"]), np.array(spectrum["density"])
        assert 100 < x.size < 400
        assert (np.diff(x) > 0).all()
        # The polygon through them has the area of the continuous part.
        area = float(np.sum(0.5 * np.diff(x) * (density[1:] + density[:-1])))
        assert area + spectrum["atom"] == pytest.approx(1.0, abs=2e-3)
    assert len(file.read_text().splitlines()) > 1000
    assert main(["spectrum", *words.split(), "--json", "--x", "0.1:2:1000"]) in (0, 3)
    assert len(json.loads(capsys.readouterr().out)["with_step"]["x"]) == 1000
