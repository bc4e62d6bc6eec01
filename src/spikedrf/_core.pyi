from collections.abc import Callable, Sequence
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Complexes = NDArray[np.complex128]
Evaluator = tuple[Callable[[Floats, float, int, bool], Any], Sequence[float], float]

class Properties(TypedDict):
    name: str
    formula: str
    linear: bool
    saturates: tuple[bool, bool]
    differentiable: bool

class LossProperties(TypedDict):
    name: str
    margin: bool

def activations() -> list[Properties]: ...
def losses() -> list[LossProperties]: ...
def evaluate(code: int, x: Floats, derivative: bool = False) -> Floats: ...

class Function:
    error: BaseException | None
    def __init__(self, function: int | Evaluator) -> None: ...
    def __call__(
        self, mean: Floats, sd: float, effort: int = 0, slopes: bool = False
    ) -> Floats: ...

Latents = tuple[int, int, int, bool, int]

def class_rule(
    sigma: Function,
    r: Floats,
    c: Floats,
    mean: float,
    level: int,
    max_nodes: int,
    labels: Function | None = None,
    offset: float = 0.0,
    slope: float = 0.0,
    sd: float = 1.0,
    start: str = "hermite",
    signs: bool = False,
    noise: float = 0.0,
) -> Floats | None: ...
def plane_rule(
    sigma: Function,
    r: Floats,
    c: Floats,
    mean: Floats,
    level: int,
    max_nodes: int,
    labels: Function | None = None,
    offset: float = 0.0,
    slope: Floats | None = None,
    sd: float = 1.0,
) -> Floats | None: ...
def panel_edges(
    sigma: Function,
    r: Floats,
    c: Floats,
    left: float,
    right: float,
    strip: tuple[float, float] | None = None,
    coarser: float = 1.0,
) -> Floats: ...
def feature_rule(
    centre: Floats, scale: Floats, level: int, max_nodes: int, negligible: float
) -> Floats | None: ...
def label_rule(
    g: Function, at: Floats, sd: float, signs: bool, noise: float, level: int
) -> tuple[Floats, list[int]] | None: ...
def trained_resolvent(x: Floats, bulks: Floats, law: Floats) -> Floats: ...

class Problem:
    def __init__(
        self,
        activation: int | Evaluator,
        target: int | Evaluator | None,
        r: Floats,
        c: Floats,
        pi: Floats,
        gamma: Floats | None,
        *,
        bulk: tuple[Floats, ...] | None = None,
        loss: tuple[int, float] = (0, 0.0),
        signs: bool = False,
        rtol: float = 1e-8,
        max_nodes: int = 32768,
        latents: Latents | None = None,
        tables_at: Callable[[int], tuple[Floats, Sequence[int]] | None] | None = None,
        labels_at: Callable[[int, int], tuple[Floats, Sequence[int]] | None] | None = None,
        classes: int = 1,
        doubtful: bool = False,
        seen: tuple[Floats, Floats, Floats | None] | None = None,
    ) -> None: ...
    def tables(self, level: int) -> Floats | None: ...

class Points:
    def __init__(
        self,
        spike: NDArray[np.int64],
        alpha: Floats,
        beta: Floats,
        *,
        lam: Floats | None = None,
        noise: Floats | None = None,
        flip: Floats | None = None,
        z: Complexes | None = None,
    ) -> None: ...
    def __len__(self) -> int: ...

class Solutions:
    scalars: Floats
    vectors: Floats
    matrices: Floats
    counts: NDArray[np.int32]
    nodes: NDArray[np.int64]
    columns: Floats
    free: Floats
    by_class: Floats
    latents: Latents | None
    def __init__(
        self, points: int, groups: int, latents: Latents | None = None, classes: int = 1
    ) -> None: ...

class Gradients:
    scalars: Floats
    of_convex: Floats
    along: Floats
    status: NDArray[np.int32]
    def __init__(
        self,
        points: int,
        direction: Floats,
        scale: Floats,
        names: Sequence[str],
        bulk_direction: Floats | None = None,
        *,
        of_loss: bool = False,
    ) -> None: ...

class Transforms:
    V2: Complexes
    slope: Complexes
    scalars: Floats
    counts: NDArray[np.int32]
    nodes: NDArray[np.int64]
    form: Floats | None
    def __init__(self, points: int, groups: int, *, form: int = 0) -> None: ...

def run(
    problem: Problem,
    points: Points,
    wanted: Solutions | Gradients | Transforms,
    start: int,
    stop: int,
) -> None: ...
def loss_prox(kind: int, parameter: float, V: float, x: Floats) -> Floats: ...

Reals = NDArray[np.float32] | NDArray[np.float64]

def activate_block(code: int, block: Reals) -> None: ...
def panel_numbers(W: NDArray[Any]) -> int: ...
def pack_block(W: NDArray[Any], panels: NDArray[Any]) -> None: ...
def few_input_block(
    code: int, X: NDArray[Any], panels: NDArray[Any], out: NDArray[Any]
) -> None: ...
def gradient_numbers(W: NDArray[Any]) -> int: ...
def few_input_gradient_block(
    code: int,
    X: NDArray[Any],
    y: NDArray[Any],
    weight: NDArray[Any],
    panels: NDArray[Any],
    u: NDArray[Any],
    residual: NDArray[Any],
    total: NDArray[Any],
    scratch: NDArray[Any],
) -> None: ...
def spike_block(code: int, Z: Reals, s: Reals, u: Reals, eta: float, out: Reals) -> int: ...
def residual_block(code: int, Z: Reals, y: Reals, u: Reals, residual: Reals) -> None: ...
