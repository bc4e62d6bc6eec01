"""A fitted pipeline in a file that holds no code, and what the command line adds to it."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import spikedrf
from spikedrf import losses
from spikedrf.cli.columns import Kind

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

SUFFIX = ".skops"

#: Types of ours that a file may hold, beside those of scikit-learn that skops knows.
TRUSTED = frozenset(
    {
        "numpy.dtype",
        "sklearn.compose._column_transformer._RemainderColsList",  # a list, in scikit-learn 1.6
        "spikedrf.estimators.classifier.SpikedRFClassifier",
        "spikedrf.estimators.regressor.SpikedRFRegressor",
        *(f"spikedrf.losses.{type(losses.resolve(name)).__name__}" for name in losses.NAMES),
    }
)

# The attribute of the pipeline that holds what follows: plain words and numbers.
_ATTRIBUTE = "spikedrf_table_"


@dataclass(frozen=True)
class About:
    """What a table was whose model is in a file.

    Attributes
    ----------
    target : str
        The column that is predicted.
    kinds : dict of str to Kind
        The columns that it is predicted from, in their order.
    named : bool
        Whether they are found by name; otherwise by position.
    rows : int
        How many were fitted.
    variance : float or None
        Of the target, if it is a number.
    data : str
        The name of the file.
    version : str
        Of the package.
    """

    target: str
    kinds: dict[str, Kind]
    named: bool
    rows: int
    variance: float | None
    data: str
    version: str = spikedrf.__version__


def require_skops(what: str) -> None:
    """Raise ImportError, with what to do, where there is no skops."""
    if importlib.util.find_spec("skops") is None:
        raise ImportError(f"{what} needs skops: pip install 'spikedrf[save]'")


def dump(pipeline: Pipeline, about: About, path: Path) -> None:
    """Write a model."""
    from skops import io

    kinds = [[name, kind.name, kind.how] for name, kind in about.kinds.items()]
    setattr(pipeline, _ATTRIBUTE, {**vars(about), "kinds": kinds})
    io.dump(pipeline, path)


def load(path: Path) -> tuple[Pipeline, About]:
    """Read a model that `dump` has written, or any pipeline of ours.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is no model, or holds types that are not ours to trust.
    """
    from skops import io

    try:
        others = sorted(set(io.get_untrusted_types(file=path)) - TRUSTED)
        if others:
            raise ValueError(f"holds {', '.join(others)}, which spikedrf does not load")
        found = io.load(path, trusted=sorted(TRUSTED))
    except OSError:
        raise
    except Exception as error:  # what skops and the archive in it raise has no common kind
        message = str(error) or type(error).__name__
        raise ValueError(f"{str(path)!r} is no model that can be read: {message}") from None
    return _as_pipeline(path, found)


def _as_pipeline(path: Path, found: Any) -> tuple[Pipeline, About]:
    from sklearn.pipeline import Pipeline, make_pipeline

    from spikedrf import SpikedRFClassifier, SpikedRFRegressor

    model = found if isinstance(found, Pipeline) else make_pipeline(found)
    if not isinstance(model[-1], SpikedRFClassifier | SpikedRFRegressor):
        raise ValueError(f"{str(path)!r} holds a {type(model[-1]).__name__}, which is none of ours")
    given = getattr(model, _ATTRIBUTE, None)
    if isinstance(given, Mapping):
        kinds = {name: Kind(*kind) for name, *kind in given["kinds"]}
        return model, About(**{**given, "kinds": kinds})
    # Fitted in Python: numbers under the names that it has seen, or in the order of its inputs.
    if not hasattr(model, "n_features_in_"):
        raise ValueError(f"{str(path)!r} holds a model that has not been fitted")
    names = [f"x{i}" for i in range(model.n_features_in_)]
    names = [str(name) for name in getattr(model, "feature_names_in_", names)]
    kinds = dict.fromkeys(names, Kind("number", "."))
    named = hasattr(model, "feature_names_in_")
    return model, About("", kinds, named, 0, None, "")
