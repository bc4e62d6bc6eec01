"""``spikedrf fit``."""

from __future__ import annotations

import argparse
import importlib.util
import os
import warnings
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from spikedrf import losses
from spikedrf.cli import options, output
from spikedrf.cli.options import Floats
from spikedrf.cli.table import Table, column, read_table

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

    from spikedrf import SpikedRFClassifier, SpikedRFRegressor

    Model = SpikedRFRegressor | SpikedRFClassifier

SUMMARY = "fit a table of numbers by random features that have learned a direction"
EXAMPLE = "spikedrf fit data.csv --target price --out learned.png --model price.skops"

# So many inputs are listed on a terminal; files and JSON have all.
_INPUTS = 10

_SAVED = ".skops"

#: What the estimator calls options that have other names here.
_NAMES = {"n_components": "features", "readout": "u", "y": "target"}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.description = (
        f"{parser.description} Inputs are standardised; step and ridge are chosen by the error on "
        f"rows left out, and no step is taken where none is better. The saved model is a "
        f"scikit-learn pipeline, read by skops.io.load, which executes no code."
    )
    group = parser.add_argument_group("data")
    group.add_argument(
        "data",
        type=_readable,
        metavar="DATA",
        help="CSV file, also compressed (.gz); separated by comma, semicolon or tab; "
        "with a header or without",
    )
    group.add_argument(
        "--target",
        default="-1",
        metavar="COLUMN",
        help="what to predict: a name, or a position from 0, negative from the end (the last)",
    )
    group.add_argument(
        "--drop", nargs="+", default=[], metavar="COLUMN", help="columns to leave out"
    )
    group = parser.add_argument_group("network")
    group.add_argument(
        "--features", type=int, default=1000, metavar="N", help="how many (%(default)d)"
    )
    group.add_argument(
        "--activation", metavar="NAME", default="tanh", help="of the features (%(default)s)"
    )
    several: dict[str, Any] = {"nargs": "+", "type": _number_or_auto, "metavar": "X"}
    group.add_argument(
        "--step-size",
        default=["auto"],
        help="of the gradient step, 0 for none; the best of several (auto)",
        **several,
    )
    group.add_argument(
        "--alpha", default=["auto"], help="ridge; the best of several (auto)", **several
    )
    group.add_argument(
        "--loss",
        type=options.loss,
        default="square",
        metavar="LOSS[:X]",
        help="of the readout: square, huber:DELTA, pseudo_huber:DELTA, quantile:LEVEL, absolute; "
        "or logistic, hinge, squared_hinge, which take the target's values for classes (square)",
    )
    group.add_argument(
        "--u",
        nargs="+",
        type=float,
        default=[1.0, -1.0],
        metavar="X",
        help="values of the initial readout (1 -1)",
    )
    group.add_argument(
        "--update",
        choices=("full", "rank_one"),
        default="full",
        help="the gradient, or only the direction that it has for all features (%(default)s)",
    )
    group.add_argument(
        "--step-fraction",
        type=_number_or_auto,
        default="auto",
        metavar="X",
        help="share of the rows that is kept for the step alone (auto: none is, and step and "
        "ridge are chosen by cross-fitting)",
    )
    group.add_argument(
        "--seed", type=options.seed, default=0, metavar="N", help="of the features (%(default)d)"
    )
    group = options.add_output(parser, (*options.PICTURES, ".csv"))
    group.add_argument(
        "--model", type=_saved, metavar="FILE", help=f"save what was fitted, {_SAVED}"
    )


def run(args: argparse.Namespace) -> int:
    """Read, fit, print what was learned; write files."""
    table, target = _read(args)
    inputs = [name for i, name in enumerate(table.names) if i != target]
    X, y = np.delete(table.values, target, axis=1), table.values[:, target]
    pipeline = options.checked(args, lambda: _fit(args, table.header, inputs, X, y), _NAMES)
    model: Model = pipeline[-1]
    status = output.OK
    for path in args.out:
        if path.suffix.lower() == ".csv":
            writer = partial(_write_csv, inputs, model)
        else:
            writer = partial(_draw, args, pipeline, inputs)
        status = output.write(args, path, writer) or status
    if args.model is not None:
        from skops.io import dump

        status = output.write(args, args.model, partial(dump, pipeline)) or status
    errors = _errors(model, float(np.var(y)))
    given = _given(args, table.names[target])
    if args.json:
        result = {
            "rows": len(y),
            "inputs": inputs,
            "variance": float(np.var(y)),
            "step_size": model.step_size_,
            "alpha": model.alpha_,
            "intercept": model.intercept_,
            **errors,
            "size": _sizes(model),
            "direction": model.spike_,
        }
        if hasattr(model, "loo_errors_"):
            result["candidates"] = {
                "step_size": model.step_sizes_,
                "alpha": model.alphas_,
                "loo_error": model.loo_errors_,
            }
        output.print_json(args, result, given=given)
    else:
        _print_tables(args, given["target"], inputs, y, model, errors)
    return status


# --------------------------------------------------------------------------------------------------
# What is given


def _readable(text: str) -> Path:
    path = Path(text)
    if not path.is_file() or not os.access(path, os.R_OK):
        raise argparse.ArgumentTypeError(f"{text!r} is not a file that can be read")
    return path


def _saved(text: str) -> Path:
    if not text.lower().endswith(_SAVED):
        raise argparse.ArgumentTypeError(f"{text!r} must end in {_SAVED}")
    if importlib.util.find_spec("skops") is None:
        raise argparse.ArgumentTypeError(f"{text!r} needs skops: pip install 'spikedrf[save]'")
    return options.writable(text)


def _number_or_auto(text: str) -> float | str:
    if text == "auto":
        return text
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number nor auto") from None


def _read(args: argparse.Namespace) -> tuple[Table, int]:
    """Read the file and find the target in it; what is wrong with either is misuse."""
    parser: argparse.ArgumentParser = args.parser
    try:
        table = read_table(args.data, drop=args.drop)
    except LookupError as error:
        parser.error(f"argument --drop: {error}")
    except OSError as error:
        parser.error(f"argument DATA: {str(args.data)!r}: {error.strerror or error}")
    except ValueError as error:
        parser.error(f"argument DATA: {error}")
    try:
        target = column(table.names, args.target)
    except LookupError as error:
        parser.error(f"argument --target: {error}")
    if len(table.names) == 1:
        parser.error(f"argument DATA: no column is left beside the target, {table.names[0]!r}")
    return table, target


def _given(args: argparse.Namespace, target: str) -> dict[str, Any]:
    """Collect what was asked for."""
    names = ("features", "activation", "u", "update", "step_fraction", "seed", "drop")
    return {
        "data": str(args.data),
        "target": target,
        **{name: getattr(args, name) for name in names},
        "step_size": _one_or_all(args.step_size),
        "alpha": _one_or_all(args.alpha),
        "loss": {"name": args.loss.name, **vars(args.loss)},
    }


def _one_or_all(values: list[float | str]) -> Any:
    return values[0] if len(values) == 1 else values


# --------------------------------------------------------------------------------------------------
# What is done


def _fit(
    args: argparse.Namespace, named: bool, inputs: list[str], X: Floats, y: Floats
) -> Pipeline:
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from spikedrf import SpikedRFClassifier, SpikedRFRegressor

    for name in ("step_size", "alpha"):
        if "auto" in getattr(args, name)[1:] + getattr(args, name)[:-1]:
            raise ValueError(f"{name} must be auto or numbers, not both")
    kind = SpikedRFClassifier if args.loss.margin else SpikedRFRegressor
    model = kind(
        args.features,
        activation=args.activation,
        step_size=_one_or_all(args.step_size),
        alpha=_one_or_all(args.alpha),
        # By its name where that says all: it is saved with the model.
        loss=args.loss.name if args.loss == losses.resolve(args.loss.name) else args.loss,
        readout=args.u,
        step_fraction=args.step_fraction,
        update=args.update,
        random_state=args.seed,
    )
    pipeline = make_pipeline(StandardScaler(), model)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pipeline.fit(X, y)
    for warning in caught:
        output.say(f"spikedrf fit: warning: {warning.message}")
    if named:
        # scikit-learn takes names from data frames only; these then check those of new ones.
        pipeline[0].feature_names_in_ = np.array(inputs, dtype=object)
    return pipeline


def _errors(model: Model, variance: float) -> dict[str, Any]:
    """Estimate errors at the choice and, if it was among the candidates, without a step."""
    if not hasattr(model, "loo_error_"):
        return {"chosen": {"cv_loss": getattr(model, "cv_loss_", None)}}
    plain = model.loo_errors_[model.step_sizes_ == 0.0]
    squared = {
        "chosen": model.loo_error_,
        "without_step": float(np.nanmin(plain)) if plain.size else None,
    }
    return {
        name: {
            "loo_error": error,
            "r2": None if error is None or variance == 0 else 1.0 - error / variance,
        }
        for name, error in squared.items()
    }


def _sizes(model: Model) -> Floats:
    """Return the root mean square weight of each input, all together of length one.

    Where the target depends on an input evenly, features are drawn to it with either sign: the
    direction, what the step adds to all of them alike, does not show that.
    """
    squares: Floats = np.einsum("ij,ij->j", model.weights_, model.weights_, dtype=np.float64)
    sizes: Floats = np.sqrt(squares / squares.sum())
    return sizes


# --------------------------------------------------------------------------------------------------
# What is printed and written


def _print_tables(
    args: argparse.Namespace,
    target: str,
    inputs: list[str],
    y: Floats,
    model: Model,
    errors: dict[str, Any],
) -> None:
    classes = getattr(model, "classes_", None)
    what = f"variance {np.var(y):.6g}" if classes is None else f"{len(classes)} classes"
    print(f"# {target} of {args.data.name}: {len(y)} rows, {len(inputs)} inputs, {what}")
    step = f"step {model.step_size_:.4g}" if model.step_size_ else "no step"
    print(f"# {args.features} {args.activation} features, {step}, ridge {model.alpha_:.4g}")
    if "cv_loss" in errors["chosen"]:
        if errors["chosen"]["cv_loss"] is not None:
            print(
                f"# mean {args.loss.name} loss on rows left out: {errors['chosen']['cv_loss']:.5g}"
            )
    else:
        _print_errors(model, errors)
    if not model.step_size_:
        return
    sizes = _sizes(model)
    order = np.argsort(-sizes, kind="stable")[:_INPUTS]
    print(
        f"# size: root mean square weight of the input over all features, "
        f"{len(inputs) ** -0.5:.3f} before the step"
    )
    shown = f"; {_INPUTS} of {len(inputs)} inputs" if len(inputs) > _INPUTS else ""
    print(f"# direction: weight of the input in what the step adds to all of them{shown}")
    columns = {"size": sizes} | _directions(model)
    cells = [[f"{values[i]:.3f}" for i in order] for values in columns.values()]
    output.print_table(["input", *columns], [[inputs[i] for i in order], *cells])


def _print_errors(model: Model, errors: dict[str, Any]) -> None:
    names = ["without_step", "chosen"] if model.step_size_ else ["without_step"]
    given = [name for name in names if errors[name]["loo_error"] is not None]
    print("# estimated on rows left out")
    output.print_table(
        ("features", "mean squared error", "R^2"),
        [
            ["with step" if name == "chosen" else "without step" for name in given],
            *([f"{errors[name][key]:#.5g}" for name in given] for key in ("loo_error", "r2")),
        ],
    )


def _directions(model: Model) -> dict[str, Floats]:
    """Return the learned direction, or one for each of several classes."""
    if model.spike_.ndim == 1:
        return {"direction": model.spike_}
    return {
        f"direction {label:g}": spike
        for label, spike in zip(model.classes_, model.spike_, strict=True)
    }


def _write_csv(inputs: list[str], model: Model, path: Path) -> None:
    columns: dict[str, Any] = {"input": inputs, "size": _sizes(model)}
    output.write_csv(path, columns | _directions(model))


def _draw(args: argparse.Namespace, pipeline: Pipeline, inputs: list[str], path: Path) -> None:
    from spikedrf.plotting import FirstLayerDisplay

    display = FirstLayerDisplay.from_estimator(pipeline, feature_names=inputs)
    display.figure_.suptitle(args.data.name, fontsize="medium", x=0.01, ha="left")
    display.figure_.savefig(path)
