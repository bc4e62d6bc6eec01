"""``spikedrf forecast`` and ``spikedrf fit --forecast``."""

import json

import numpy as np
import pytest

from spikedrf.cli import main


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A table, and the model that fit has saved."""
    folder = tmp_path_factory.mktemp("forecast")
    rng = np.random.default_rng(0)
    X = rng.standard_normal((200, 3))
    y = np.tanh(X[:, 0]) + 0.3 * rng.standard_normal(200)
    table = np.column_stack([X, y])
    np.savetxt(folder / "d.csv", table, delimiter=",", header="a,b,c,price", comments="")
    call = ["fit", str(folder / "d.csv"), "--target", "price", "--features", "40"]
    assert main([*call, "--step-size", "0", "--model", str(folder / "m.skops"), "--quiet"]) == 0
    return folder


def loaded(folder):
    from spikedrf.cli import model_file

    return model_file.load(folder / "m.skops")[0][-1]


def test_table_and_sentence(saved, capsys):
    capsys.readouterr()
    assert main(["forecast", str(saved / "m.skops"), "--n", "100", "1e4", "inf"]) == 0
    lines = capsys.readouterr().out.splitlines()
    forecast = loaded(saved).forecast([100.0, 1e4, np.inf])
    body = [line.split() for line in lines if not line.startswith("#")]
    assert [line[0] for line in body] == ["100", "10000", "inf"]
    np.testing.assert_allclose([float(line[1]) for line in body], forecast.r2, atol=5e-5)
    assert body[-1][-1] == "-"
    last = loaded(saved).forecast(np.inf).r2
    assert f"no number of rows brings these 40 features above {last:.3f}" in lines[-1]


def test_json_and_picture(saved, tmp_path, capsys):
    capsys.readouterr()
    picture = tmp_path / "f.png"
    call = ["forecast", str(saved / "m.skops"), "--features", "80", "--level", "0.5"]
    assert main([*call, "--json", "--out", str(picture)]) == 0
    result = json.loads(capsys.readouterr().out)
    forecast = loaded(saved).forecast(result["n"][:-1], n_components=80, level=0.5)
    np.testing.assert_allclose(result["r2"][:-1], forecast.r2)
    np.testing.assert_allclose(result["upper"][:-1], forecast.upper)
    assert (result["n"][-1], result["lam"][-1], result["features"]) == ("inf", None, 80)
    assert picture.read_bytes()[1:4] == b"PNG"


def test_fit_says_what_more_rows_would_bring(saved, capsys):
    capsys.readouterr()
    call = ["fit", str(saved / "d.csv"), "--target", "price", "--features", "40"]
    assert main([*call, "--step-size", "0", "--forecast", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)["forecast"]
    forecast = loaded(saved).forecast(result["n"][:-1])
    np.testing.assert_allclose(result["r2"][:-1], forecast.r2, rtol=1e-9)
    assert main([*call, "--step-size", "0", "--forecast"]) == 0
    assert "# twice the rows: R^2" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--n", "0"], "argument --n: '0' must be > 0, or inf"),
        (["--n", "many"], "argument --n: 'many' is no number"),
        (["--features", "1.5"], "argument --features: '1.5' must be a whole number >= 1"),
        (["--level", "1"], "argument --level: '1' must lie between 0 and 1"),
    ],
)
def test_misuse(saved, capsys, options, message):
    with pytest.raises(SystemExit) as stopped:
        main(["forecast", str(saved / "m.skops"), *options])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_only_squares_are_forecast(saved, tmp_path, capsys):
    call = ["fit", str(saved / "d.csv"), "--target", "price", "--features", "40"]
    call += ["--step-size", "0", "--alpha", "0.1", "--loss", "huber", "--quiet"]
    with pytest.raises(SystemExit):
        main([*call, "--forecast"])
    assert "argument --forecast: only what the square loss fits" in capsys.readouterr().err
    model = tmp_path / "huber.skops"
    assert main([*call, "--model", str(model)]) == 0
    with pytest.raises(SystemExit):
        main(["forecast", str(model)])
    assert "argument MODEL" in capsys.readouterr().err
