"""`spikedrf fit`: its model is the library's, and what it says of it is true."""

import csv
import json

import numpy as np
import pytest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from command_line import rows_of, run
from spikedrf import SpikedRFRegressor
from spikedrf.cli import main

NAMES = ["north", "east", "width", "mass"]
D = len(NAMES)
OPTIONS = "--target yield --features 60 --step-size 0 2 8 --alpha 0.01 0.1 1 --seed 3"


def rows(n=400):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, D)) * [1.0, 10.0, 0.1, 1.0] + [0.0, 5.0, 0.0, 0.0]
    y = 3.0 * np.sin(2.0 * X[:, 1] / 10.0) + 0.1 * rng.standard_normal(n)
    return X, y


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "field.csv"
    X, y = rows()
    columns = np.column_stack([X[:, :2], y, X[:, 2:]])
    header = ",".join([*NAMES[:2], "yield", *NAMES[2:]])
    np.savetxt(path, columns, delimiter=",", header=header, comments="", fmt="%.17g")
    return path


@pytest.fixture(scope="module")
def expected():
    model = SpikedRFRegressor(60, step_size=[0.0, 2.0, 8.0], alpha=[0.01, 0.1, 1.0], random_state=3)
    X, y = rows()
    return make_pipeline(StandardScaler(), model).fit(X, y)


def test_json_is_what_the_library_says(capsys, data, expected):
    status, out, err = run(capsys, f"fit {data} {OPTIONS} --json")
    assert (status, err) == (0, "")
    result = json.loads(out)
    model = expected[-1]
    assert (result["schema"], result["command"]) == (1, "fit")
    assert result["parameters"] == {
        "data": str(data),
        "target": "yield",
        "features": 60,
        "activation": "tanh",
        "u": [1.0, -1.0],
        "update": "full",
        "step_fraction": "auto",
        "seed": 3,
        "drop": [],
        "step_size": [0.0, 2.0, 8.0],
        "alpha": [0.01, 0.1, 1.0],
        "loss": {"name": "square"},
    }
    assert (result["rows"], result["inputs"]) == (400, NAMES)
    assert (result["step_size"], result["alpha"]) == (model.step_size_, model.alpha_)
    assert result["step_size"] > 0
    np.testing.assert_allclose(result["direction"], model.spike_, rtol=1e-12)
    variance = np.var(rows()[1])
    for name, error in (
        ("chosen", model.loo_error_),
        ("without_step", model.loo_errors_[0].min()),
    ):
        assert result[name]["loo_error"] == pytest.approx(error, rel=1e-12)
        assert result[name]["r2"] == pytest.approx(1 - error / variance, rel=1e-12)
    np.testing.assert_allclose(result["candidates"]["loo_error"], model.loo_errors_, rtol=1e-12)
    assert result["chosen"]["r2"] > result["without_step"]["r2"] + 0.05


def test_table_names_the_input_that_matters(capsys, data, expected):
    status, out, err = run(capsys, f"fit {data} {OPTIONS}")
    assert (status, err) == (0, "")
    lines = rows_of(out)
    assert [line[:2] for line in lines[:2]] == [["without", "step"], ["with", "step"]]
    inputs = {name: (float(size), float(weight)) for name, size, weight in lines[2:]}
    assert set(inputs) == set(NAMES)
    assert lines[2][0] == "east"
    for i, name in enumerate(NAMES):
        assert inputs[name][1] == pytest.approx(expected[-1].spike_[i], abs=6e-4)
    assert sum(size**2 for size, _ in inputs.values()) == pytest.approx(1.0, abs=3e-3)
    assert f"# yield of {data.name}: 400 rows, 4 inputs, variance" in out
    assert "0.500 before the step" in out


def test_the_saved_model_predicts_the_same_and_holds_no_code(capsys, data, tmp_path, expected):
    skops = pytest.importorskip("skops.io")
    pandas = pytest.importorskip("pandas")
    path = tmp_path / "field.skops"
    status, _, err = run(capsys, f"fit {data} {OPTIONS} --model {path}")
    assert (status, err) == (0, f"wrote {path}\n")
    ours = "spikedrf.estimators.regressor.SpikedRFRegressor"
    assert skops.get_untrusted_types(file=path) == ["numpy.dtype", ours]
    model = skops.load(path, trusted=["numpy.dtype", ours])
    X, _ = rows()
    frame = pandas.DataFrame(X, columns=NAMES)
    np.testing.assert_allclose(model.predict(frame), expected.predict(X), rtol=1e-9, atol=1e-9)
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(frame[NAMES[::-1]])


def test_files(capsys, data, tmp_path, expected):
    pytest.importorskip("matplotlib")
    paths = [tmp_path / f"f.{suffix}" for suffix in ("csv", "png", "svg", "pdf")]
    status, _, err = run(capsys, f"fit {data} {OPTIONS} --out", *paths)
    assert status == 0
    assert err == "".join(f"wrote {path}\n" for path in paths)
    with paths[0].open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["input"] for line in lines] == NAMES
    written = [float(line["direction"]) for line in lines]
    np.testing.assert_allclose(written, expected[-1].spike_, rtol=1e-12)
    heads = [path.read_bytes()[:4] for path in paths[1:]]
    assert heads == [b"\x89PNG", b"<?xm", b"%PDF"]


def test_one_step_size_and_no_step(capsys, data):
    _, out, _ = run(capsys, f"fit {data} --target yield --features 20 --step-size 2 --json")
    result = json.loads(out)
    assert result["step_size"] == 2.0
    assert result["without_step"] == {"loo_error": None, "r2": None}
    _, out, _ = run(capsys, f"fit {data} --target yield --features 20 --step-size 0")
    assert [line[0] for line in rows_of(out)] == ["without"]
    assert "no step" in out


def test_other_losses(capsys, data, tmp_path):
    from spikedrf import losses

    path = tmp_path / "f.csv"
    line = f"fit {data} --target yield --features 20 --step-size 2 --alpha 0.1 1 --seed 3"
    _, out, _ = run(capsys, f"{line} --loss huber:0.3 --json")
    result = json.loads(out)
    assert result["parameters"]["loss"] == {"name": "huber", "delta": 0.3}
    X, y = rows()
    model = SpikedRFRegressor(
        20, step_size=2.0, alpha=[0.1, 1.0], loss=losses.Huber(delta=0.3), random_state=3
    )
    model.fit(StandardScaler().fit_transform(X), y)
    assert result["chosen"] == {"cv_loss": pytest.approx(model.cv_loss_, rel=1e-9)}
    assert "candidates" not in result
    _, out, _ = run(capsys, f"{line} --loss huber:0.3 --out {path}")
    assert f"# mean huber loss on rows left out: {model.cv_loss_:.5g}" in out
    with path.open(newline="") as file:
        assert list(csv.DictReader(file).fieldnames) == ["input", "size", "direction"]


def test_classes(capsys, tmp_path):
    skops = pytest.importorskip("skops.io")
    X, _ = rows(200)
    path = tmp_path / "t.csv"
    line = f"fit {path} --features 20 --step-size 2 --alpha 0.1 1 --loss logistic"
    for edges, columns in (([5.0], 1), ([0.0, 10.0], 3)):
        label = np.digitize(X[:, 1], edges)
        np.savetxt(path, np.column_stack([X, label]), delimiter=",")
        saved = tmp_path / "m.skops"
        status, out, err = run(capsys, f"{line} --model {saved}")
        assert (status, err) == (0, f"wrote {saved}\n")
        assert f"{max(columns, 2)} classes" in out
        assert "# mean logistic loss on rows left out: 0." in out
        table = {name: np.array(cells, dtype=float) for name, *cells in rows_of(out)}
        assert {len(cells) for cells in table.values()} == {1 + columns}
        # The last class is that of large values of this input.
        assert max(table, key=lambda name: abs(table[name][-1])) == "x1"
        ours = "spikedrf.estimators.classifier.SpikedRFClassifier"
        assert skops.get_untrusted_types(file=saved) == ["numpy.dtype", ours]
        model = skops.load(saved, trusted=["numpy.dtype", ours])
        assert model.score(X, label) > 0.8


def test_without_a_header_the_last_column_is_the_target(capsys, tmp_path):
    X, y = rows(100)
    path = tmp_path / "t.csv.gz"
    np.savetxt(path, np.column_stack([X, y]), delimiter=",")
    _, out, _ = run(capsys, f"fit {path} --features 20 --step-size 1 --alpha 1 --json")
    result = json.loads(out)
    assert result["parameters"]["target"] == "x4"
    assert result["inputs"] == ["x0", "x1", "x2", "x3"]
    _, out, _ = run(capsys, f"fit {path} --features 20 --target 0 --drop x4 1 --alpha 1 --json")
    result = json.loads(out)
    assert (result["parameters"]["target"], result["inputs"]) == ("x0", ["x2", "x3"])


def test_a_zero_gradient_is_told(capsys, tmp_path):
    path = tmp_path / "t.csv"
    # A product of signs: no input correlates with it.
    path.write_text("a,b,y\n" + "1,1,1\n1,-1,-1\n-1,1,-1\n-1,-1,1\n" * 10)
    status, _, err = run(
        capsys, f"fit {path} --features 10 --step-size 1 --alpha 1 --update rank_one"
    )
    assert status == 0
    assert err.startswith("spikedrf fit: warning: ")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--target nothing", "argument --target: there is no column 'nothing' among north, east"),
        ("--drop nothing", "argument --drop: there is no column 'nothing'"),
        ("--drop 0 1 3 4", "no column is left beside the target, 'yield'"),
        ("--features 0", "argument --features: n_components must be at least 1, got 0"),
        ("--features x", "argument --features: invalid int value: 'x'"),
        ("--activation foo", "argument --activation: activation must be"),
        ("--activation sign", "argument --activation: "),
        ("--step-size x", "argument --step-size: 'x' is neither a number nor auto"),
        ("--step-size auto 1", "argument --step-size: step_size must be auto or numbers, not both"),
        ("--alpha -1", "argument --alpha: alpha must be >= 0"),
        ("--update half", "argument --update: invalid choice: 'half'"),
        ("--step-fraction 2", "argument --step-fraction: step_fraction must be > 0 and <= 1"),
        ("--loss log", "argument --loss: loss must be a spikedrf.losses.Loss or one of square, "),
        ("--loss huber:x", "argument --loss: could not convert string to float: 'x'"),
        ("--loss huber:-1", "argument --loss: delta must be > 0"),
        ("--loss absolute:1", "argument --loss: absolute has no parameter"),
        ("--loss huber --alpha 0", "argument --alpha: alpha must be > 0"),
        ("--u nan", "argument --u: readout must be"),
        ("--seed -1", "argument --seed: must be >= 0, got -1"),
        ("--model m.pickle", "argument --model: 'm.pickle' must end in .skops"),
        ("--model nowhere/m.skops", "argument --model: 'nowhere/m.skops' cannot be written"),
        ("--out m.gif", "argument --out: 'm.gif' must end in .png, .svg, .pdf, .csv"),
    ],
)
def test_misuse(capsys, data, options, message):
    target = "" if "--target" in options else "--target yield"
    status, out, err = run(capsys, f"fit {data} {target} {options}")
    assert (status, out) == (2, "")
    assert message in err


def test_misuse_of_files(capsys, tmp_path):
    status, _, err = run(capsys, f"fit {tmp_path / 'no.csv'}")
    assert status == 2
    assert "argument DATA: " in err
    assert "is not a file that can be read" in err
    path = tmp_path / "t.csv"
    path.write_text("a,b\n1,\n")
    status, _, err = run(capsys, f"fit {path}")
    assert status == 2
    assert "argument DATA: 1 rows have no b (the first is line 2)" in err
    path.write_text("a,b\n1,2\n3,2\n")
    status, _, err = run(capsys, f"fit {path}")
    assert status == 0
    assert "warning: y is constant: a gradient step has nothing to learn from it" in err


def test_help_has_an_example_that_works(capsys, data, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    pytest.importorskip("skops")
    monkeypatch.chdir(tmp_path)
    _, out, _ = run(capsys, "fit --help")
    example = out.split("example:\n")[1].splitlines()[0].split()
    assert example[:2] == ["spikedrf", "fit"]
    text = data.read_text().replace("yield", "price")
    (tmp_path / example[2]).write_text(text)
    assert main([*example[1:], "--features", "30"]) == 0
    for option in ("--out", "--model"):
        assert (tmp_path / example[example.index(option) + 1]).is_file()
