"""Files as people have them: fitted, shown, predicted, with the numbers of the plain file."""

import contextlib
import csv
import gzip
import io
import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest

from command_line import run
from spikedrf import SpikedRFRegressor, cli

pandas = pytest.importorskip("pandas")
skops = pytest.importorskip("skops.io")

FIT = "--features 60 --step-size 3 --alpha 0.01 --seed 1"
ROWS = 160


def homes():
    """Rows of every kind: what a home costs depends on its size, town, garden and year."""
    rng = np.random.default_rng(5)
    frame = pandas.DataFrame(
        {
            "size": rng.normal(80.0, 25.0, ROWS).round(2),
            "rooms": rng.integers(1, 6, ROWS),
            "town": rng.choice(["Köln", "Ulm", "Bonn"], ROWS, p=[0.5, 0.3, 0.2]),
            "garden": rng.choice(["yes", "no"], ROWS),
            "built": pandas.Timestamp("1990-01-01")
            + pandas.to_timedelta(rng.integers(0, 9000, ROWS), unit="D"),
        }
    )
    days = (frame["built"] - pandas.Timestamp("1990-01-01")).dt.days
    frame["price"] = (
        1500.0 * np.tanh((frame["size"] - 80.0) / 25.0)
        + 900.0 * (frame["town"] == "Köln")
        + 600.0 * (frame["garden"] == "yes")
        + 0.1 * days
        + 4000.0
    ).round(2)
    return frame


FRAME = homes()
KINDS = {
    "size": "number", "rooms": "number", "town": "category", "garden": "truth", "built": "date",
}  # fmt: skip


def text(frame=FRAME, **options):
    options = {"index": False, "date_format": "%Y-%m-%d"} | options
    return frame.to_csv(**options)


def with_gaps():
    frame = FRAME.copy()
    frame.loc[[3, 7], "size"] = np.nan
    frame.loc[11, "town"] = None
    return frame


def quoted_header():
    head, rest = text().split("\n", 1)
    return ",".join(f'"{name}"' for name in head.split(",")) + "\n" + rest


FILES = {
    "plain.csv": text().encode(),
    "semicolons.csv": text(sep=";", decimal=",").encode("latin-1"),
    "utf16.tsv": text(sep="\t").encode("utf-16"),
    "windows.csv": text(lineterminator="\r\n").encode("utf-8-sig"),
    "index.csv": text(index=True).encode(),
    "quoted.csv": quoted_header().encode(),
    "first.csv": text(FRAME[["price", *KINDS]]).encode(),
    "commented.csv": ("# homes of the county\n" + text()).encode(),
    "dates.csv": text(date_format="%d.%m.%Y").encode(),
    "thousands.csv": text(FRAME.assign(price=FRAME["price"].map("{:,.2f}".format))).encode(),
    "booleans.csv": text(FRAME.assign(garden=FRAME["garden"] == "yes")).encode(),
    "packed.csv.gz": gzip.compress(text().encode()),
}


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """Predictions of the model of the plain file."""
    folder = tmp_path_factory.mktemp("plain")
    (folder / "plain.csv").write_bytes(FILES["plain.csv"])
    model, out = folder / "m.skops", folder / "p.csv"
    with contextlib.redirect_stdout(io.StringIO()):
        line = f"fit {folder}/plain.csv --target price {FIT} --quiet --model {model}"
        assert cli.main(line.split()) == 0
        line = f"predict {model} {folder}/plain.csv --quiet --out {out}"
        assert cli.main(line.split()) == 0
    return model, np.loadtxt(out, skiprows=1)


def test_the_plain_file_is_learned(reference):
    """What the others are compared with is right: the prices, and what the library says."""
    predicted = reference[1]
    price = FRAME["price"].to_numpy()
    assert 1.0 - np.mean((predicted - price) ** 2) / np.var(price) > 0.97
    days = (FRAME["built"] - pandas.Timestamp("1970-01-01")).dt.days
    garden = (FRAME["garden"] == "yes").astype(float)
    X = np.column_stack([FRAME["size"], FRAME["rooms"], garden, days])
    towns = [(FRAME["town"] == town).astype(float) for town in ("Bonn", "Köln", "Ulm")]
    X = np.column_stack([X, *towns])
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    network = SpikedRFRegressor(60, step_size=3.0, alpha=0.01, random_state=1).fit(X, price)
    np.testing.assert_allclose(predicted, network.predict(X), rtol=1e-6)


@pytest.mark.parametrize("name", FILES)
def test_fit_show_predict(capsys, tmp_path, reference, name):
    path, model = tmp_path / name, tmp_path / "m.skops"
    path.write_bytes(FILES[name])
    status, out, err = run(capsys, f"fit {path} --target price {FIT} --model {model}")
    assert (status, "Traceback" in err) == (0, False)
    assert f"# price of {name}: {ROWS} rows, 7 inputs, variance " in out
    # What a file leaves open is told, and nothing else.
    notes = [line for line in err.splitlines() if "note:" in line]
    expected = {"semicolons.csv": 1, "index.csv": 1, "commented.csv": 1}
    assert len(notes) == expected.get(name, 0)

    status, out, _ = run(capsys, f"show {model} --json")
    assert status == 0
    shown = json.loads(out)
    assert (shown["target"], shown["rows"]) == ("price", ROWS)
    columns = {column["name"]: column for column in shown["columns"]}
    assert {name: column["holds"] for name, column in columns.items()} == KINDS
    assert columns["town"]["categories"] == ["Bonn", "Köln", "Ulm"]
    assert columns["size"]["missing"] == pytest.approx(FRAME["size"].median(), rel=1e-12)
    assert columns["town"]["missing"] == FRAME["town"].mode()[0]

    status, out, err = run(capsys, f"predict {model} {path}")
    assert (status, out.splitlines()[0]) == (0, "price")
    predicted = np.array(out.splitlines()[1:], dtype=float)
    np.testing.assert_allclose(predicted, reference[1], rtol=1e-7)
    price = FRAME["price"].to_numpy()
    r2 = 1.0 - np.mean((predicted - price) ** 2) / np.var(price)
    assert f"note: R^2 on these rows: {r2:.5g}" in err


def test_a_header_of_years(capsys, tmp_path):
    """All numbers, and no row: the sum of the years is learned, from all rows."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((80, 4))
    years = np.column_stack([X[:, :3], X[:, :3].sum(axis=1)])
    path, model = tmp_path / "t.csv", tmp_path / "m.skops"
    np.savetxt(path, years, delimiter=",", header="2020,2021,2022,2023", comments="")
    for option in ("", "--header"):
        line = f"fit {path} --target 2023 {option} {FIT} --model {model}"
        status, out, err = run(capsys, line)
        assert status == 0
        assert "# 2023 of t.csv: 80 rows, 3 inputs" in out
        assert ("was taken for names" in err) == (not option)
    status, out, _ = run(capsys, f"predict {model} {path} --quiet --json")
    predicted = np.array(json.loads(out)["columns"]["2023"])
    assert np.corrcoef(predicted, years[:, 3])[0, 1] > 0.99
    _, out, _ = run(capsys, f"fit {path} --no-header {FIT}")
    assert "# x3 of t.csv: 81 rows, 3 inputs" in out


def test_missing_cells(capsys, tmp_path):
    path, model = tmp_path / "t.csv", tmp_path / "m.skops"
    frame = with_gaps()
    frame["empty"] = np.nan
    frame.loc[[0, 159], "price"] = np.nan
    path.write_text(text(frame))
    line = f"fit {path} --target price {FIT}"
    status, out, err = run(capsys, f"{line} --model {model}")
    assert (status, f"{ROWS - 2} rows, 7 inputs" in out) == (0, True)
    assert err.splitlines() == [
        "spikedrf fit: note: 2 rows have no price (the first is line 2): they were left out",
        "spikedrf fit: note: column empty is empty and was left out",
        "spikedrf fit: note: 2 missing cells in size: filled in with the median",
        "spikedrf fit: note: 1 missing cell in town: filled in with the most frequent category",
        f"wrote {model}",
    ]
    assert run(capsys, f"{line} --quiet")[2] == ""
    # A missing cell is predicted like one with what is said to be filled in.
    gap, there = tmp_path / "gap.csv", tmp_path / "there.csv"
    columns = list(KINDS)
    row = frame.loc[[20], columns]
    gap.write_text(text(row.assign(size=np.nan, town="?")))
    median = frame["size"][1:159].median()
    there.write_text(text(row.assign(size=median, town=frame["town"].mode()[0])))
    status, one, err = run(capsys, f"predict {model} {gap}")
    assert (status, err.count("1 missing cell in ")) == (0, 2)
    assert one == run(capsys, f"predict {model} {there}")[1]
    for command in (f"{line} --missing error", f"predict {model} {gap} --missing error"):
        status, out, err = run(capsys, command)
        assert (status, out) == (2, "")
    assert "argument --missing: " in err
    assert "has missing cells in size (line 2), town (line 2)" in err


def test_classes_are_words(capsys, tmp_path):
    path, model = tmp_path / "t.csv", tmp_path / "m.skops"
    frame = FRAME.drop(columns="price").assign(
        value=pandas.cut(FRAME["price"], 3, labels=["low", "mid", "high"])
    )
    path.write_text(text(frame))
    line = f"fit {path} --target value {FIT}"
    status, out, err = run(capsys, f"{line} --model {model}")
    assert status == 0
    assert "value is classes (high, low, mid), so --loss logistic was taken" in err
    assert "7 inputs, 3 classes" in out
    assert "direction high" in out
    status, out, err = run(capsys, f"predict {model} {path} --id town --probabilities")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [row["town"] for row in rows] == FRAME["town"].tolist()
    right = np.mean(
        [row["value"] == label for row, label in zip(rows, frame["value"], strict=True)]
    )
    assert right > 0.9
    assert f"note: share of right classes on these rows: {right:.5g}" in err
    for row in rows[:20]:
        shares = {name: float(row[f"probability of {name}"]) for name in ("low", "mid", "high")}
        assert sum(shares.values()) == pytest.approx(1.0)
        assert max(shares, key=shares.get) == row["value"]
    status, _, err = run(capsys, f"{line} --loss square")
    assert status == 2
    assert "argument --loss: square is for numbers, and 'value' holds words" in err
    status, _, err = run(capsys, f"fit {path} --target garden {FIT} --loss hinge --model {model}")
    assert (status, "note" in err) == (0, False)
    status, out, err = run(capsys, f"predict {model} {path} --probabilities")
    assert status == 2
    assert "argument --probabilities: the model has none" in err


def test_new_and_rare_categories(capsys, tmp_path):
    path, model, new = tmp_path / "t.csv", tmp_path / "m.skops", tmp_path / "new.csv"
    frame = FRAME.copy()
    frame.loc[5, "town"] = "Trier"  # one row of 160
    path.write_text(text(frame))
    assert run(capsys, f"fit {path} --target price {FIT} --model {model}")[0] == 0
    columns = json.loads(run(capsys, f"show {model} --json")[1])["columns"]
    (town,) = (column for column in columns if column["name"] == "town")
    assert (town["categories"], town["pooled"]) == (["Bonn", "Köln", "Ulm"], ["Trier"])
    row = FRAME.loc[[20, 20], list(KINDS)].assign(town=["Trier", "Rome"])
    new.write_text(text(row))
    status, out, err = run(capsys, f"predict {model} {new}")
    assert status == 0
    assert "town holds categories that the fit has not seen: Rome" in err
    _, rare, unseen = out.splitlines()
    assert rare == unseen


def test_numbers_may_be_categories(capsys, tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(text(FRAME.drop(columns=["town"])))
    status, out, _ = run(capsys, f"fit {path} --target price --categories rooms {FIT} --json")
    assert status == 0
    inputs = json.loads(out)["inputs"]
    assert [name for name in inputs if name.startswith("rooms")] == [
        f"rooms_{i}" for i in range(1, 6)
    ]


def test_parquet(capsys, tmp_path, reference):
    pytest.importorskip("pyarrow")
    path = tmp_path / "t.parquet"
    FRAME.to_parquet(path)
    status, out, _ = run(capsys, f"predict {reference[0]} {path} --json")
    assert status == 0
    np.testing.assert_allclose(json.loads(out)["columns"]["price"], reference[1], rtol=1e-12)


def test_standard_input_and_pipes(capsys, tmp_path, monkeypatch, reference):
    content = gzip.compress(FILES["semicolons.csv"])
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    status, out, _ = run(capsys, f"predict {reference[0]} - --quiet")
    assert status == 0
    np.testing.assert_allclose(np.array(out.splitlines()[1:], float), reference[1], rtol=1e-12)
    packed = tmp_path / "t.gz"
    packed.write_bytes(FILES["packed.csv.gz"])
    command = f"{sys.executable} -m spikedrf fit <(zcat {packed}) --target price {FIT} --json"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["rows"] == ROWS


def test_the_target_is_asked_for(capsys, tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(text())
    status, out, err = run(capsys, f"fit {path}")
    assert (status, out) == (2, "")
    assert (
        "argument --target: which column is to be predicted? --target NAME, one of size, rooms, "
        "town, garden, built, price"
    ) in err
    path.write_text(text(FRAME.rename(columns={"rooms": "Target"})))
    status, out, err = run(capsys, f"fit {path} {FIT}")
    assert status == 0
    assert "note: the target is Target; --target COLUMN for another" in err
    assert "# Target of t.csv" in out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": [*["1"] * 99, *map(str, range(60)), "big"]}, "'big' (line 161); mend it, make"),
        ({"town": [f"{i}th street" for i in range(ROWS)]}, "holds 160 different words in 160 rows"),
        ({"price": [*map(str, range(ROWS - 1)), "dear"]}, "'price' holds numbers, but 'dear'"),
        ({"price": [f"{i} euros" for i in range(ROWS)]}, "only numbers or a few classes can be"),
        ({"price": FRAME["built"]}, "'price' holds dates: make it a number, such as days since"),
        ({"price": ""}, "160 rows have no price"),
    ],
)
def test_what_is_refused(capsys, tmp_path, change, message):
    path = tmp_path / "t.csv"
    path.write_text(text(FRAME.assign(**change)))
    status, out, err = run(capsys, f"fit {path} --target price {FIT}")
    assert (status, out) == (2, "")
    assert message in err
    if "price" in change:
        # Nobody is told to do without the target.
        assert "--drop" not in err.splitlines()[-1]


# --------------------------------------------------------------------------------------------------
# Models


def test_columns_go_by_name(capsys, tmp_path, reference):
    path = tmp_path / "t.csv"
    path.write_text(text(FRAME[["built", "extra", "garden", "town", "size", "rooms"][:1]]))
    model, predicted = reference
    status, _, err = run(capsys, f"predict {model} {path}")
    assert status == 2
    assert "lacks size, rooms, town, garden, which the model was fitted on; it has built" in err
    other = FRAME.drop(columns="price").assign(extra="x")
    path.write_text(text(other[other.columns[::-1]]))
    status, out, _ = run(capsys, f"predict {model} {path}")
    np.testing.assert_allclose(np.array(out.splitlines()[1:], float), predicted, rtol=1e-12)
    path.write_text(text(FRAME).split("\n", 1)[1])
    status, _, err = run(capsys, f"predict {model} {path} --no-header")
    assert (status, "has no header" in err) == (2, True)
    path.write_text(text(FRAME.assign(size="large")))
    status, _, err = run(capsys, f"predict {model} {path}")
    assert (status, "column 'size' of " in err) == (2, True)
    assert "holds numbers, but 'large' (line 2)" in err


def test_columns_without_names_go_by_position(capsys, tmp_path):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 3))
    y = X @ [1.0, -1.0, 0.5]
    train, new, model = tmp_path / "t.csv", tmp_path / "n.csv", tmp_path / "m.skops"
    np.savetxt(train, np.column_stack([y, X]), delimiter=",")
    assert run(capsys, f"fit {train} --target 0 {FIT} --model {model}")[0] == 0
    _, whole, err = run(capsys, f"predict {model} {train}")
    assert "R^2 on these rows: 0.9" in err
    np.savetxt(new, X, delimiter=",")
    assert run(capsys, f"predict {model} {new} --no-header")[:2] == (0, whole)
    np.savetxt(new, X[:, :2], delimiter=",")
    status, _, err = run(capsys, f"predict {model} {new}")
    assert status == 2
    assert "fitted on 3 columns without names" in err


def test_a_model_fitted_in_python(capsys, tmp_path):
    """A pipeline of the user's own, saved with skops, is predicted from and shown."""
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    frame = FRAME[["size", "rooms"]].astype(float)
    mine = make_pipeline(StandardScaler(), SpikedRFRegressor(30, random_state=0, step_size=1.0))
    mine.fit(frame, FRAME["price"])
    model, path = tmp_path / "m.skops", tmp_path / "t.csv"
    skops.dump(mine, model)
    path.write_text(text())
    status, out, _ = run(capsys, f"predict {model} {path}")
    assert (status, out.splitlines()[0]) == (0, "prediction")
    np.testing.assert_allclose(np.array(out.splitlines()[1:], float), mine.predict(frame))
    status, out, _ = run(capsys, f"show {model}")
    assert status == 0
    assert "# 2 inputs" in out


def test_what_is_no_model(capsys, tmp_path):
    from sklearn.linear_model import LinearRegression
    from sklearn.preprocessing import FunctionTransformer

    path, data = tmp_path / "m.skops", tmp_path / "t.csv"
    data.write_text("a\n1\n")
    cases = [
        (b"nothing", "is no model that can be read"),
        (skops.dumps(LinearRegression()), "holds a LinearRegression, which is none of ours"),
        (skops.dumps(FunctionTransformer(os.getcwd)), "which spikedrf does not load"),
    ]
    for content, message in cases:
        path.write_bytes(content)
        for command in (f"predict {path} {data}", f"show {path}"):
            status, out, err = run(capsys, command)
            assert (status, out) == (2, "")
            assert "argument MODEL: " in err
            assert message in err


def test_show_draws_and_says(capsys, tmp_path, reference):
    pytest.importorskip("matplotlib")
    picture = tmp_path / "p.svg"
    status, out, err = run(capsys, f"show {reference[0]} --out {picture}")
    assert (status, err) == (0, f"wrote {picture}\n")
    assert picture.read_bytes().startswith(b"<?xml")
    lines = out.splitlines()
    columns = lines[lines.index("# columns, and what stands in for a missing cell") + 2 :]
    assert [line.split()[0] for line in columns] == list(KINDS)
    assert columns[2].split(maxsplit=3) == ["town", "categories", "Köln", "Bonn, Köln, Ulm"]
    assert columns[4].split()[:3] == ["built", "dates", columns[4].split()[2]]
    assert columns[4].split()[2].startswith(("2001", "2002", "2003"))


@pytest.mark.parametrize("command", ["fit", "predict", "show", "reproduce"])
def test_helps_end_with_what_is_theirs(capsys, command):
    _, out, _ = run(capsys, f"{command} --help")
    end = out[out.index("example:") :]
    assert "exit status:" in end
    assert "--rtol" not in end
    assert ("hermite5" in end) == (command == "fit")


def test_a_line_that_tells_a_spreadsheet_the_separator(tmp_path, capsys):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 2)).round(3)
    rows = [f"{a},{b},{2 * a + b:.3f}" for a, b in x]
    plain, told = tmp_path / "plain.csv", tmp_path / "told.csv"
    plain.write_text("\n".join(["a,b,y", *rows]), encoding="utf-8")
    swapped = [row.replace(",", ";").replace(".", ",") for row in ["a,b,y", *rows]]
    told.write_bytes("\r\n".join(["sep=;", *swapped]).encode("utf-8-sig"))
    results = [
        json.loads(run(capsys, f"fit {file} {FIT} --target y --json")[1]) for file in (plain, told)
    ]
    for result in results:
        result.pop("parameters")
    assert results[0] == results[1]
    broken = tmp_path / "broken.csv"
    broken.write_text("sep=;\na;b;y\n1;2;3\n1;2\n", encoding="utf-8")
    with pytest.raises(SystemExit, match="2"):
        cli.main(["fit", str(broken), "--target", "y"])
    assert "line 4 of" in capsys.readouterr().err


def test_numbers_too_large_to_be_squared_and_single_rows_are_told(tmp_path, capsys):
    file = tmp_path / "rows.csv"
    for cells, message in (
        ("1e300,2,3\n2e300,1,2\n1e299,4,4", "column 'a' of .* holds 2e\\+300; .* another unit"),
        ("1,2,1e200\n2,1,2\n3,4,4", "column 'y' of .* holds 1e\\+200; numbers must be at most"),
        ("1,2,3", "has 1 row with y; a fit needs 2"),
        ("1,2,3\n4,5,", "has 1 row with y; a fit needs 2"),
    ):
        file.write_text(f"a,b,y\n{cells}\n", encoding="utf-8")
        with pytest.raises(SystemExit) as stop:
            cli.main(["fit", str(file), "--target", "y"])
        assert stop.value.code == 2
        assert re.search(message, capsys.readouterr().err)


@pytest.mark.parametrize("given", ["numbered", "customer_id", "rooms"])
def test_a_column_that_only_names_the_rows_is_told(capsys, tmp_path, given):
    # Whole numbers that differ in every row: one after another, or called an id. Others, and
    # those that repeat, are inputs as any other.
    rng = np.random.default_rng(3)
    column = {
        "numbered": rng.permutation(ROWS) + 7,
        "customer_id": rng.choice(10**6, ROWS, replace=False),
        "rooms": rng.integers(0, 100, ROWS),
    }[given]
    path = tmp_path / "t.csv"
    path.write_text(text(FRAME[["size", "price"]].assign(**{given: column})))
    status, _, err = run(capsys, f"fit {path} --target price {FIT}")
    assert status == 0
    told = f"{given} differs in every row" in err and f"--drop {given}" in err
    assert told == (given != "rooms")
