"""What a fitted pipeline has learned, as numbers and in words."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from spikedrf import losses
from spikedrf.cli import output, preparation
from spikedrf.cli.model_file import About
from spikedrf.cli.options import Floats

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

    from spikedrf import SpikedRFClassifier, SpikedRFRegressor

    Model = SpikedRFRegressor | SpikedRFClassifier

# So many inputs, or categories of a column, are listed on a terminal; files and JSON have all.
_LISTED = 10


def numbers(pipeline: Pipeline, about: About) -> dict[str, Any]:
    """Collect for JSON what was learned."""
    model: Model = pipeline[-1]
    result = {
        "rows": about.rows,
        "inputs": preparation.inputs(pipeline, list(about.kinds)),
        "variance": about.variance,
        "step_size": model.step_size_,
        "alpha": model.alpha_,
        "intercept": model.intercept_,
        **errors(model, about.variance),
        "size": sizes(model),
        "direction": model.spike_,
    }
    if hasattr(model, "classes_"):
        result["classes"] = model.classes_
    if hasattr(model, "loo_errors_"):
        result["candidates"] = {
            "step_size": model.step_sizes_,
            "alpha": model.alphas_,
            "loo_error": model.loo_errors_,
        }
    return result


def columns(pipeline: Pipeline, about: About) -> list[dict[str, Any]]:
    """Collect for JSON what the columns of a table are, and what is made of them."""
    names = list(about.kinds)
    filled = preparation.filled(pipeline, names)
    levels = preparation.levels(pipeline, names)
    found = []
    for name, kind in about.kinds.items():
        column: dict[str, Any] = {"name": name, "holds": kind.name}
        if kind.name == "date":
            column["format"] = kind.how
        if name in filled:
            column["missing"] = filled[name]
        if name in levels:
            column["categories"], column["pooled"] = levels[name]
        found.append(column)
    return found


def errors(model: Model, variance: float | None) -> dict[str, Any]:
    """Estimate errors at the choice and, if it was among the candidates, without a step."""
    if not hasattr(model, "loo_error_"):
        return {"chosen": {"cv_loss": getattr(model, "cv_loss_", None)}}
    squared = {"chosen": model.loo_error_, "without_step": None}
    if hasattr(model, "loo_errors_"):
        plain = model.loo_errors_[model.step_sizes_ == 0.0]
        squared["without_step"] = float(np.nanmin(plain)) if plain.size else None
    return {
        name: {
            "loo_error": error,
            "r2": 1.0 - error / variance if error is not None and variance else None,
        }
        for name, error in squared.items()
    }


def sizes(model: Model) -> Floats:
    """Return the root mean square weight of each input, all together of length one.

    Where the target depends on an input evenly, features are drawn to it with either sign: the
    direction, what the step adds to all of them alike, does not show that.
    """
    squares: Floats = np.einsum("ij,ij->j", model.weights_, model.weights_, dtype=np.float64)
    lengths: Floats = np.sqrt(squares / squares.sum())
    return lengths


def directions(model: Model) -> dict[str, Floats]:
    """Return the learned direction, or one for each of several classes."""
    if model.spike_.ndim == 1:
        return {"direction": model.spike_}
    return {
        f"direction {label_text(label)}": spike
        for label, spike in zip(model.classes_, model.spike_, strict=True)
    }


def label_text(label: Any) -> str:
    """Write a class."""
    return f"{label:g}" if isinstance(label, float | np.floating) else str(label)


def print_network(pipeline: Pipeline, about: About) -> None:
    """Print what was fitted, how well, and what was learned."""
    model: Model = pipeline[-1]
    inputs = preparation.inputs(pipeline, list(about.kinds))
    classes = getattr(model, "classes_", None)
    what = [] if about.variance is None else [f"variance {about.variance:.6g}"]
    if classes is not None:
        what = [f"{len(classes)} classes"]
    of = f"{about.target} of {about.data}: {about.rows} rows, " if about.target else ""
    print(f"# {of}{', '.join([f'{len(inputs)} inputs', *what])}")
    step = f"step {model.step_size_:.4g}" if model.step_size_ else "no step"
    activation = getattr(model.activation, "__name__", model.activation)
    print(f"# {model.n_components} {activation} features, {step}, ridge {model.alpha_:.4g}")
    found = errors(model, about.variance)
    if "cv_loss" not in found["chosen"]:
        _print_errors(model, found)
    elif found["chosen"]["cv_loss"] is not None:
        loss = losses.resolve(model.loss).name
        print(f"# mean {loss} loss on rows left out: {found['chosen']['cv_loss']:.5g}")
    if model.step_size_:
        _print_inputs(model, inputs)


def _print_errors(model: Model, found: dict[str, Any]) -> None:
    names = ["without_step", "chosen"] if model.step_size_ else ["chosen"]
    given = [name for name in names if found[name]["loo_error"] is not None]
    if not given:
        return
    cells = [
        ["-" if found[name][key] is None else f"{found[name][key]:#.5g}" for name in given]
        for key in ("loo_error", "r2")
    ]
    stepped = [model.step_size_ and name == "chosen" for name in given]
    print("# estimated on rows left out")
    output.print_table(
        ("features", "mean squared error", "R^2"),
        [["with step" if step else "without step" for step in stepped], *cells],
    )


def _print_inputs(model: Model, inputs: list[str]) -> None:
    weights = sizes(model)
    order = np.argsort(-weights, kind="stable")[:_LISTED]
    print(
        f"# size: root mean square weight of the input over all features, "
        f"{len(inputs) ** -0.5:.3f} before the step"
    )
    shown = f"; {_LISTED} of {len(inputs)} inputs" if len(inputs) > _LISTED else ""
    print(f"# direction: weight of the input in what the step adds to all of them{shown}")
    values = {"size": weights} | directions(model)
    cells = [[f"{column[i]:.3f}" for i in order] for column in values.values()]
    output.print_table(["input", *values], [[inputs[i] for i in order], *cells])


def print_columns(pipeline: Pipeline, about: About) -> None:
    """Print what the columns of a table are, and what is made of them."""
    print("# columns, and what stands in for a missing cell")
    names, kinds, missing, more = [], [], [], []
    for column in columns(pipeline, about):
        name = column["name"]
        names.append(name)
        kinds.append(str(about.kinds[name]))
        missing.append(_cell(about.kinds[name].name, column.get("missing", "-")))
        words = column.get("categories", [])
        text = ", ".join(words[:_LISTED]) + (", ..." if len(words) > _LISTED else "")
        if column.get("pooled"):
            text += f"; {len(column['pooled'])} rare ones as one"
        more.append(text or "-")
    output.print_table(("column", "holds", "missing", "categories"), [names, kinds, missing, more])


def _cell(kind: str, value: Any) -> str:
    """Write a prepared value as a cell of the table."""
    if isinstance(value, str):
        return value
    if kind == "truth":
        return {0.0: "no", 1.0: "yes"}.get(float(value), f"{value:g}")
    if kind == "date":
        return str(np.datetime64(0, "D") + np.timedelta64(int(np.floor(value)), "D"))
    return f"{value:.6g}"


def draw(pipeline: Pipeline, about: About, path: Path) -> None:
    """Draw what was learned."""
    from spikedrf.plotting import FirstLayerDisplay

    inputs = preparation.inputs(pipeline, list(about.kinds))
    display = FirstLayerDisplay.from_estimator(pipeline, feature_names=inputs)
    title = display.figure_.suptitle(about.data, fontsize="medium", x=0.01, ha="left")
    title.set_parse_math(False)
    display.figure_.savefig(path)
