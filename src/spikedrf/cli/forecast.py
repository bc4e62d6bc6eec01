"""``spikedrf forecast``."""

from __future__ import annotations

import argparse
import math
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from spikedrf.cli import options, output
from spikedrf.cli.predict import load_model, saved_model

if TYPE_CHECKING:
    from spikedrf import SpikedRFRegressor
    from spikedrf.theory import Forecast

SUMMARY = "what more rows would bring to a model that fit has saved"
EXAMPLE = "spikedrf forecast price.skops --n 1e4 1e5 inf --out forecast.png"
EPILOG = """\
exit status:
  0 done; 1 a file could not be written; 2 misuse
"""

#: Numbers of rows, in units of those at hand, that a table shows by itself.
_TIMES = (0.5, 1.0, 2.0, 5.0, 10.0)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "model", type=saved_model, metavar="MODEL", help="file that fit --model has written"
    )
    group = parser.add_argument_group("forecast")
    group.add_argument(
        "--n",
        nargs="+",
        type=_rows,
        metavar="N",
        help="numbers of rows, or inf (half to ten times those of the fit, and inf)",
    )
    group.add_argument(
        "--features",
        type=_features,
        metavar="P",
        help="another number of features of the same kind (that of the fit)",
    )
    group.add_argument(
        "--level",
        type=_level,
        default=0.9,
        metavar="X",
        help="probability of the ranges (%(default)g)",
    )
    options.add_output(parser, output.PICTURES)


def run(args: argparse.Namespace) -> int:
    """Read the model, print the forecast; draw it."""
    pipeline, about = load_model(args)
    model = pipeline[-1]
    if not hasattr(model, "forecast"):
        args.parser.error(
            f"argument MODEL: {str(args.model)!r} holds a {type(model).__name__}: only what was "
            f"fitted by the square loss can be forecast"
        )
    try:
        forecast = of(model, args.n, n_components=args.features, level=args.level)
    except ValueError as error:
        args.parser.error(f"argument MODEL: {str(args.model)!r}: {error}")
    if args.json:
        result = numbers(model, forecast)
        output.print_json(args, result, given={"model": str(args.model), "level": args.level})
    else:
        print(f"# {about.target or 'the target'} of {about.data}")
        print_forecast(forecast)
        print(f"# {sentence(model)}")
    print(end="", flush=True)
    status = output.OK
    for path in args.out:
        status = output.write(args, path, partial(draw, model, args.level)) or status
    return status


def of(
    model: SpikedRFRegressor,
    n: list[float] | None = None,
    *,
    n_components: int | None = None,
    level: float = 0.9,
) -> Forecast:
    """Forecast for some numbers of rows, or for those of a table."""
    if n is None:
        rows = model.forecast(np.inf).rows
        n = [*(float(round(times * rows)) for times in _TIMES), math.inf]
    return model.forecast(n, n_components=n_components, level=level)


def numbers(model: SpikedRFRegressor, forecast: Forecast | None = None) -> dict[str, Any]:
    """Collect for JSON what is forecast."""
    forecast = of(model) if forecast is None else forecast
    names = ("n", "r2", "r2_lower", "r2_upper", "test_error", "lower", "upper", "train_error")
    result: dict[str, Any] = {name: getattr(forecast, name) for name in (*names, "lam", "rows")}
    # The ridge of infinitely many rows is none, or infinite: JSON has no number for it.
    result["lam"] = _ridges(forecast)
    return result | {"features": forecast.n_components, "sentence": sentence(model)}


def print_forecast(forecast: Forecast) -> None:
    """Print a line for each number of rows."""
    print(f"# forecast from {forecast.rows:.0f} rows, {forecast.n_components} features")
    header = ["rows", "R^2", f"{forecast.level:.0%} range", "test error", "train error", "ridge"]
    cells = [
        [f"{value:g}" for value in forecast.n],
        [f"{value:.4f}" for value in forecast.r2],
        [
            f"{low:.4f} to {high:.4f}"
            for low, high in zip(forecast.r2_lower, forecast.r2_upper, strict=True)
        ],
        [f"{value:.5g}" for value in forecast.test_error],
        [f"{value:.5g}" for value in forecast.train_error],
        ["-" if ridge is None else f"{ridge:.3g}" for ridge in _ridges(forecast)],
    ]
    output.print_table(header, cells)


def _ridges(forecast: Forecast) -> list[float | None]:
    pairs = zip(forecast.n, forecast.lam, strict=True)
    return [None if math.isinf(n) else float(lam) for n, lam in pairs]


def sentence(model: SpikedRFRegressor) -> str:
    """Say what twice the rows would bring, what all of them, and what twice the features.

    Parameters
    ----------
    model : SpikedRFRegressor
    """
    limit = model.forecast(np.inf)
    now, twice = model.forecast(limit.rows), model.forecast(2.0 * limit.rows)
    wide = model.forecast(np.inf, n_components=2 * limit.n_components)
    # Of several targets the mean.
    now_, twice_, limit_, wide_ = (float(np.mean(each.r2)) for each in (now, twice, limit, wide))
    half = 0.5 * float(np.mean(twice.r2_upper - twice.r2_lower))
    more = "would, to about" if wide_ > limit_ + 5e-4 else "would not either: about"
    return (
        f"twice the rows: R^2 {now_:.3f} -> {twice_:.3f} (+-{half:.3f}); no number of rows "
        f"brings these {limit.n_components} features above {limit_:.3f}; "
        f"{wide.n_components} features {more} {wide_:.3f}"
    )


def draw(model: SpikedRFRegressor, level: float, path: Path) -> None:
    """Draw the forecast into a file."""
    from spikedrf.plotting import ForecastDisplay

    ForecastDisplay.from_estimator(model, level=level).figure_.savefig(path)


def _rows(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number") from None
    if not value > 0.0:
        raise argparse.ArgumentTypeError(f"{text!r} must be > 0, or inf")
    return value


def _features(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number >= 1")
    return int(text)


def _level(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0.0 < value < 1.0:
        raise argparse.ArgumentTypeError(f"{text!r} must lie between 0 and 1")
    return value
