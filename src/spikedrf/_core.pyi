from collections.abc import Callable, Sequence
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Evaluator = tuple[Callable[[Floats, float, int, bool], Any], Sequence[float], float]

class Properties(TypedDict):
    name: str
    linear: bool
    saturates: tuple[bool, bool]
    differentiable: bool

def activations() -> list[Properties]: ...
def evaluate(code: int, x: Floats, derivative: bool = False) -> Floats: ...

class Function:
    error: BaseException | None
    def __init__(self, function: int | Evaluator) -> None: ...
    def __call__(
        self, mean: Floats, sd: float, effort: int = 0, slopes: bool = False
    ) -> Floats: ...

def solve_points(
    activation: int | Evaluator,
    target: int | Evaluator,
    r: Floats,
    c: Floats,
    gamma: Floats,
    pi: Floats,
    spike: NDArray[np.int64],
    alpha: Floats,
    beta: Floats,
    lam: Floats,
    noise: Floats,
    rtol: float,
    max_nodes: int,
    scalars: Floats,
    vectors: Floats,
    matrices: Floats,
    counts: NDArray[np.int32],
    nodes: NDArray[np.int64],
    start: int,
    stop: int,
    bulk_value: Floats | None = None,
    bulk_weight: Floats | None = None,
) -> None: ...
def tables(
    activation: int | Evaluator,
    target: int | Evaluator,
    r: Floats,
    c: Floats,
    gamma: float,
    level: int,
    max_nodes: int,
) -> Floats | None: ...

Reals = NDArray[np.float32] | NDArray[np.float64]

def activate_block(code: int, block: Reals) -> None: ...
def spike_block(code: int, Z: Reals, s: Reals, u: Reals, eta: float, out: Reals) -> int: ...
def residual_block(code: int, Z: Reals, y: Reals, u: Reals, residual: Reals) -> None: ...
def gradient_points(
    activation: int | Evaluator,
    target: int | Evaluator,
    r: Floats,
    c: Floats,
    gamma: Floats,
    pi: Floats,
    spike: NDArray[np.int64],
    alpha: Floats,
    beta: Floats,
    lam: Floats,
    noise: Floats,
    direction: Floats,
    scale: Floats,
    wanted: Sequence[str],
    rtol: float,
    max_nodes: int,
    scalars: Floats,
    along: Floats,
    status: NDArray[np.int32],
    start: int,
    stop: int,
    bulk_value: Floats | None = None,
    bulk_weight: Floats | None = None,
    bulk_direction: Floats | None = None,
) -> None: ...
def loss_prox(kind: int, parameter: float, V: float, x: Floats) -> Floats: ...
def convex_points(
    activation: int | Evaluator,
    target: int | Evaluator,
    kind: int,
    parameter: float,
    signs: bool,
    r: Floats,
    c: Floats,
    gamma: Floats,
    pi: Floats,
    spike: NDArray[np.int64],
    alpha: Floats,
    beta: Floats,
    lam: Floats,
    noise: Floats,
    flip: Floats,
    rtol: float,
    max_nodes: int,
    scalars: Floats,
    vectors: Floats,
    matrices: Floats,
    counts: NDArray[np.int32],
    nodes: NDArray[np.int64],
    start: int,
    stop: int,
    bulk_value: Floats | None = None,
    bulk_weight: Floats | None = None,
) -> None: ...
def spectrum_points(
    activation: int | Evaluator,
    r: Floats,
    c: Floats,
    pi: Floats,
    spike: NDArray[np.int64],
    alpha: Floats,
    beta: Floats,
    z: NDArray[np.complex128],
    rtol: float,
    max_nodes: int,
    V2: NDArray[np.complex128],
    slope: NDArray[np.complex128],
    scalars: Floats,
    counts: NDArray[np.int32],
    nodes: NDArray[np.int64],
    start: int,
    stop: int,
    form: Floats | None = None,
    bulk_value: Floats | None = None,
    bulk_weight: Floats | None = None,
) -> None: ...
