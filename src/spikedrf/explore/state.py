"""The parameters of the page, as an address, a command line and a Python call."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any
from urllib.parse import parse_qs, urlencode

from spikedrf import losses
from spikedrf.activations import NAMES
from spikedrf.inputs.covariance import Covariance
from spikedrf.multi_index import NAMED

#: Where the learning curve has its points: fewer where the readout is no ridge regression of real
#: labels, which takes a hundred times as long, and less accurate ones.
LOWEST, HIGHEST, POINTS, FEW = 0.1, 100.0, 61, 13
RTOL = 1e-4

#: How finely spectra are computed: for a picture.
SPECTRUM: dict[str, Any] = {"resolution": 1e-3, "rtol": 1e-5}

#: The most values of a vocabulary: a page must stay quick.
MOST_GROUPS = 5

#: What the numbers may be. A page is no place for the hardest cases.
RANGES = {
    "alpha": (0.01, 1e4),
    "beta": (0.01, 100.0),
    "lam": (1e-8, 1e3),
    "noise": (0.0, 10.0),
    "eta": (0.0, 100.0),
    "alpha0": (0.01, math.inf),
    "power": (0.0, 2.0),
    "steps": (1, 8),
}

#: What the words may be.
CHOICES = {
    "activation": NAMES,
    "target": (*NAMES, *NAMED),
    "bulk": ("isotropic", "network"),
    "loss": losses.NAMES,
    "labels": losses.LABELS,
}


@dataclass(frozen=True)
class State:
    """Parameters of a page.

    Parameters
    ----------
    alpha, beta, lam, noise, eta, alpha0 : float
        As in `theory.solve` and `GradientStep`, within `RANGES`.
    steps : int
        How many such steps, each on fresh samples.
    power : float
        Exponent of a power law of the inputs' eigenvalues; 0 is white inputs.
    activation, target : str
        Names of `spikedrf.activations.NAMES`; targets also of two directions, of
        `spikedrf.multi_index.NAMED`.
    u, pi : tuple of float
        The vocabulary and its proportions; no proportions are equal ones.
    bulk : {"isotropic", "network"}
        As in `theory.solve`.
    loss : str
        Of the readout, a name of `spikedrf.losses.NAMES`.
    labels : {"real", "sign"}
        What it learns from, as in `theory.solve`.

    Raises
    ------
    ValueError
        If a value is out of range; the message names it.

    Examples
    --------
    >>> from spikedrf.explore.state import State
    >>> State.from_query("eta=2&target=relu").eta
    2.0
    >>> State.from_query(State(u=(1.0, -0.5)).query()).u
    (1.0, -0.5)
    """

    alpha: float = 2.0
    beta: float = 1.0
    lam: float = 0.1
    noise: float = 0.0
    eta: float = 3.0
    alpha0: float = 20.0
    steps: int = 1
    power: float = 0.0
    activation: str = "tanh"
    target: str = "sin"
    u: tuple[float, ...] = (1.0,)
    pi: tuple[float, ...] = ()
    bulk: str = "isotropic"
    loss: str = "square"
    labels: str = "real"

    def __post_init__(self) -> None:
        for name, (low, high) in RANGES.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"{name} must be {low:g} to {high:g}, got {value:g}")
        if self.steps != int(self.steps):
            raise ValueError(f"steps must be an integer, got {self.steps!r}")
        object.__setattr__(self, "steps", int(self.steps))
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(
                    f"{name} must be one of {', '.join(choices)}, got {getattr(self, name)!r}"
                )
        if not 1 <= len(self.u) <= MOST_GROUPS:
            raise ValueError(f"u must have 1 to {MOST_GROUPS} values, got {len(self.u)}")

    @property
    def ridge(self) -> bool:
        """Whether the readout is ridge regression of real labels."""
        return (self.loss, self.labels) == ("square", "real")

    @property
    def inputs(self) -> dict[str, Any]:
        """What `theory.solve` is told of the inputs."""
        return {"inputs": Covariance.power_law(self.power)} if self.power else {}

    @property
    def points(self) -> int:
        """So many points the learning curve has."""
        return POINTS if self.ridge else FEW

    @property
    def readout(self) -> dict[str, Any]:
        """What `theory.solve` is told of the readout, beyond its ridge, and of the accuracy."""
        if self.ridge:
            return {"rtol": RTOL} if self.plane else {}
        return {"loss": self.loss, "labels": self.labels, "rtol": RTOL}

    @property
    def plane(self) -> bool:
        """Whether the spikes may span a plane, on which nothing is quick."""
        return self.steps > 1 and len(self.u) > 1

    @property
    def has_spectrum(self) -> bool:
        """Whether the spectrum with this bulk is known, of spikes on a line."""
        return self.steps == 1 or self.bulk == "isotropic"

    @classmethod
    def from_query(cls, query: str, default: State | None = None) -> State:
        """Read the query of an address; what it does not say is as in ``default``.

        Raises
        ------
        ValueError
            If a parameter is unknown, given twice, no number or out of range.
        """
        given = parse_qs(query, keep_blank_values=True)
        kinds = {field.name: field.type for field in fields(cls)}
        values: dict[str, object] = dict(vars(default or cls()))
        for name, texts in given.items():
            if name not in kinds:
                raise ValueError(f"there is no parameter {name!r}")
            if len(texts) > 1:
                raise ValueError(f"{name} is given {len(texts)} times")
            values[name] = (
                texts[0]
                if kinds[name] == "str"
                else numbers(name, texts[0])
                if kinds[name].startswith("tuple")
                else _number(name, texts[0])
            )
        return cls(**values)  # type: ignore[arg-type]

    @classmethod
    def from_arguments(cls, arguments: Mapping[str, list[bytes]], default: State) -> State:
        """Read the arguments of a request, as a web server gives them; as `from_query`."""
        pairs = [(name, text.decode()) for name, texts in arguments.items() for text in texts]
        return cls.from_query(urlencode(pairs), default)

    def query(self) -> str:
        """Write all parameters as the query of an address; `from_query` reads it back."""
        return urlencode(
            {
                name: ",".join(map(_text, value))
                if isinstance(value, tuple)
                else value
                if isinstance(value, str)
                else _text(value)
                for name, value in vars(self).items()
                if value != ()
            }
        )

    def command(self) -> str:
        """Write the command line that prints the curves of the page."""
        words = ["spikedrf", "curve", "--activation", self.activation, "--target", self.target]
        for name in ("eta", "alpha0", "u", "pi", "beta", "lam", "noise"):
            value = getattr(self, name)
            if value != ():
                several = value if isinstance(value, tuple) else (value,)
                words += [f"--{name}", *map(_text, several)]
        words += ["--steps", str(self.steps)] if self.steps > 1 else []
        words += ["--inputs", f"power:{_text(self.power)}"] if self.power else []
        words += ["--bulk", self.bulk]
        for name, given in self.readout.items():
            words += [f"--{name}", given if isinstance(given, str) else _text(given)]
        words += ["--alpha", f"{LOWEST:g}:{HIGHEST:g}:{self.points}:log", _text(self.alpha)]
        return shlex.join(words)

    def python(self) -> str:
        """Write the Python call that computes what the page draws."""
        shares = f", pi={list(self.pi)}" if self.pi else ""
        readout = "".join(f', "{name}": {given!r}' for name, given in self.readout.items())
        law = f', "inputs": Covariance.power_law({self.power!r})' if self.power else ""
        names = ["beta", "noise", "activation", "target"] + ["inputs"] * bool(self.power)
        line = "np.linspace(-3.0, 3.0, 121)"
        learned = f"here.learned_along_target({line})"
        if self.target in NAMED:
            learned = f"here.learned_function(np.stack([{line}, np.zeros(121)], axis=-1))"
        imports = "Covariance, GradientStep, theory" if self.power else "GradientStep, theory"
        before, after = ("[", f"] * {self.steps}") if self.steps > 1 else ("", "")
        alpha0 = "np.inf" if math.isinf(self.alpha0) else repr(self.alpha0)
        spectrum = f"""\
spectrum = theory.spectrum(alpha={self.alpha!r}, step=step, bulk="{self.bulk}",
                           **picture, **features)
"""
        if self.plane or not self.has_spectrum:
            spectrum = ""
        return f"""\
import numpy as np
from spikedrf import {imports}

model = {{"beta": {self.beta!r}, "lam": {self.lam!r}, "noise": {self.noise!r},
         "activation": "{self.activation}", "target": "{self.target}"{readout}{law}}}
step = {before}GradientStep(eta={self.eta!r}, alpha0={alpha0}, u={list(self.u)}{shares}){after}
alpha = np.geomspace({LOWEST!r}, {HIGHEST!r}, {self.points})
with_step = theory.solve(alpha, step=step, bulk="{self.bulk}", **model).test_error
without_step = theory.solve(alpha, **model).test_error
here = theory.solve({self.alpha!r}, step=step, bulk="{self.bulk}", **model)
learned = {learned}
features = {{name: model[name] for name in {tuple(names)!r}}}
picture = {{"resolution": {SPECTRUM["resolution"]!r}, "rtol": {SPECTRUM["rtol"]!r}}}
{spectrum}print(here)
"""


def _text(value: float) -> str:
    return f"{value:g}" if float(f"{value:g}") == value else repr(value)


def _number(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"{name} must be a number, got {text!r}") from None
    if math.isnan(value):
        raise ValueError(f"{name} must be a number, got {text!r}")
    return value


def numbers(name: str, text: str) -> tuple[float, ...]:
    """Read numbers separated by commas or spaces; ``name`` is for the message."""
    return tuple(_number(name, part) for part in text.replace(",", " ").split())
