"""Whatever it is given, every public function answers, flags its answer, or says what is wrong.

Never a crash or a number that is not a number without a flag, and never an exception that a reader
could not make sense of: `TypeError`, `ValueError` and `MemoryError` with a message that names an
argument.
"""

import inspect
import re
import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from spikedrf import (
    ConvergenceWarning,
    GradientStep,
    Spike,
    SpikedRandomFeatures,
    SpikedRFClassifier,
    SpikedRFRegressor,
    simulate,
    theory,
)
from spikedrf.activations import NAMES
from spikedrf.features import feature_map, spike_features
from spikedrf.gradient_step import gradient_step
from spikedrf.losses import Huber
from spikedrf.readout.convex import fit_readout
from spikedrf.readout.ridge import RidgeStatistics, ridge_readout

# The same examples in every run, unless `--hypothesis-profile deep` asks for many others.
DEEP = settings().max_examples > 1000
few, some = (
    settings(max_examples=2000 if DEEP else count, suppress_health_check=list(HealthCheck))
    for count in (60, 150)
)

AWKWARD = [
    0.0, -0.0, 1.0, -1.0, 0.5, 5e-324, 1e-300, 1e-16, 1e-9, 1e9, 1e16, 1e154, 1e300,
    float("inf"), float("-inf"), float("nan"), 1, 0, True, np.float32(0.3), np.int64(2),
]  # fmt: skip
NOT_NUMBERS = [
    None,
    "",
    "tanh",
    "auto",
    1j,
    [],
    [[]],
    {},
    object,
    b"1",
    [1.0, "x"],
    [[1.0], [1.0, 2]],
]

usual = st.floats(1e-3, 10.0)
few_values = npst.arrays(np.float64, st.sampled_from([(2,), (3, 1), (1, 2)]), elements=usual)
meant = st.one_of(usual, usual, few_values)
anything = st.one_of(
    meant,
    st.floats(),
    st.sampled_from(AWKWARD),
    npst.arrays(np.float64, npst.array_shapes(min_dims=0, max_dims=2, min_side=0, max_side=3)),
    st.sampled_from(NOT_NUMBERS),
)
name = st.sampled_from(NAMES)
vocabulary = st.lists(usual, min_size=2, max_size=2)
any_vocabulary = st.one_of(st.lists(st.floats(-3, 3), max_size=4), anything)
not_numbers = st.sampled_from(NOT_NUMBERS)


@st.composite
def arguments(draw, **choices):
    """Of every argument what is meant, but of up to two what else there may be.

    A choice is a pair of strategies. Were every argument awkward, hardly a call would be more than
    its checks.
    """
    odd = draw(st.lists(st.sampled_from(sorted(choices)), max_size=2, unique=True))
    return {name: draw(choices[name][name in odd]) for name in choices}


@st.composite
def steps(draw):
    """A step as a class and its arguments."""
    pi = (st.sampled_from([None, [0.3, 0.7]]), any_vocabulary)
    pairs = draw(st.booleans())
    of_groups = (vocabulary if pairs else meant, any_vocabulary)
    if draw(st.booleans()):
        choices = {"eta": (meant, anything), "alpha0": (meant, anything), "u": of_groups}
        kind = GradientStep
    else:
        choices = {"r": of_groups, "c": of_groups, "gamma": (st.floats(-1, 1), anything)}
        kind = Spike
    return kind, draw(arguments(**choices, **({"pi": pi} if pairs else {})))


step = (st.one_of(st.none(), steps()), not_numbers)


def attempt(call, *args, allowed=(ConvergenceWarning,), names=(), **given):
    """Return what the call returns, or None if it says what is wrong with which argument.

    The arguments are those of the call and of the step, and what else is in ``names``.
    """
    names = {*names, *given, *inspect.signature(call).parameters}
    if isinstance(given.get("step"), tuple):
        names |= {*given["step"][1]}
    with warnings.catch_warnings():
        for category in allowed:
            warnings.simplefilter("ignore", category)
        try:
            if isinstance(given.get("step"), tuple):
                kind, chosen = given["step"]
                given["step"] = kind(**chosen)
            return call(*args, **given)
        except (TypeError, ValueError, MemoryError) as error:
            told = str(error)
    assert names & set(re.findall(r"\w+", told)), f"no argument ({', '.join(names)}) in: {told}"
    return None


def never_nan_unless_flagged(result, *names):
    for name in names:
        value = np.asarray(getattr(result, name), float)
        success = np.asarray(result.success)
        success = success.reshape(success.shape + (1,) * (value.ndim - success.ndim))
        assert not (np.isnan(value) & success).any(), f"{name} is NaN with success=True"


model = {
    "alpha": (st.one_of(meant, st.just(np.inf)), anything),
    "lam": (meant, anything),
    "beta": (meant, anything),
    "activation": (name, not_numbers),
    "target": (name, not_numbers),
    "step": step,
    "noise": (meant, anything),
}
rtol = (
    st.sampled_from([1e-8, 1e-8, 1e-3, 1e-11]), st.sampled_from([0.0, 1.0, np.nan, "x", [1e-8]])
)  # fmt: skip
bulk = (st.sampled_from(["isotropic", "isotropic", "network"]), st.sampled_from(["other", None]))


@some
@given(arguments(**model, rtol=rtol, bulk=bulk))
def test_solve(given):
    solution = attempt(theory.solve, workers=1, **given)
    if solution is None:
        return
    errors = ("test_error", "train_error", "excess_error", "norm")
    never_nan_unless_flagged(solution, *errors, "m", "theta", "psi", "q1", "q2", "V1", "V2")
    for error in errors:
        assert np.all(np.asarray(getattr(solution, error))[np.asarray(solution.success)] >= 0)
    assert np.array_equal(np.asarray(solution.status) == 0, solution.success)
    repr(solution)


LOSSES = ["huber", "logistic", "hinge", "squared_hinge", "absolute", "quantile", "pseudo_huber"]
any_loss = {
    "loss": (st.sampled_from(["square", *LOSSES]), st.sampled_from(["other", None, Huber(1e-9)])),
    "labels": (st.just("sign"), st.sampled_from(["real", "other", None])),
    "flip": (st.floats(0, 0.5), anything),
}


@few
@given(arguments(**model | any_loss | {"lam": (usual, anything)}))
def test_solve_for_any_loss(given):
    solution = attempt(theory.solve, workers=1, rtol=1e-5, **given)
    if solution is not None:
        never_nan_unless_flagged(
            solution, "test_error", "train_error", "test_loss", "train_loss", "norm"
        )


VARIABLES = ["alpha", "beta", "lam", "noise", "eta", "alpha0", "gamma", "r"]
wrt = (st.sampled_from(["lam", ("alpha", "noise"), "beta"]),
       st.lists(st.sampled_from([*VARIABLES, "other"]), max_size=3) | not_numbers)  # fmt: skip


@some
@given(arguments(**model, wrt=wrt))
def test_gradient(given):
    slope = attempt(theory.gradient, workers=1, **given)
    if slope is not None:
        for name in slope:
            value = np.asarray(slope[name], float)
            success = np.asarray(slope.success)
            success = success.reshape(success.shape + (1,) * (value.ndim - success.ndim))
            assert not (np.isnan(value) & success).any(), name


features_of_theory = {name: model[name] for name in ("activation", "target", "step", "noise")}
on_the_plane = st.one_of(
    usual, st.just(0.0), st.complex_numbers(max_magnitude=10.0), st.floats(-5.0, -0.1)
)


def certain(call, **given):
    """As `attempt`, but None also where a warning says that some of the answer is not certain."""
    try:
        return attempt(call, allowed=(), workers=1, **given)
    except ConvergenceWarning:
        return None


@some
@given(
    arguments(
        **features_of_theory, alpha=(meant, anything), beta=(meant, anything),
        z=(on_the_plane, anything),
    )
)  # fmt: skip
def test_stieltjes(given):
    s = certain(theory.stieltjes, **given)
    if s is not None:
        assert not np.isnan(s).any()
        z = np.broadcast_to(np.asarray(given["z"], complex), np.shape(s))
        assert np.all(np.asarray(s).imag[z.imag > 0] > 0)


@few
@given(
    arguments(
        **features_of_theory | {"noise": (usual, anything)},
        alpha=(usual, anything), beta=(usual, anything),
        x=(st.lists(st.one_of(usual, st.just(0.0)), max_size=3), anything),
    )
)  # fmt: skip
def test_spectrum(given):
    assume(given["x"] is not None)  # a grid that resolves it may take seconds
    spectrum = certain(theory.spectrum, **given)
    if spectrum is not None:
        never_nan_unless_flagged(spectrum, "density", "cumulative", "by_group")
        assert np.all(np.asarray(spectrum.density) >= 0)
        assert 0 <= spectrum.atom <= 1
        repr(spectrum)


over = (st.sampled_from(["lam", "eta", ("lam", "eta")]), st.sampled_from(["other", None, ()]))
bounds = (st.none(), st.dictionaries(st.sampled_from(["lam", "eta", "alpha"]),
                                     st.tuples(anything, anything), max_size=2))  # fmt: skip


@settings(few, max_examples=few.max_examples // 3)
@given(arguments(**model, over=over, bounds=bounds, rtol=(st.just(1e-5), rtol[1])))
def test_optimise(given):
    for name in ("alpha", "beta", "noise"):
        assume(as_floats(given[name]).size <= 2)
    if given["over"] is not None and "lam" in given["over"]:
        del given["lam"]
    best = attempt(theory.optimise, workers=1, **given)
    if best is not None:
        never_nan_unless_flagged(best, "test_error", "lam")


@some
@given(arguments(**{name: model[name] for name in model if name not in ("alpha", "lam")}))
def test_best_function(given):
    best = attempt(theory.best_function, **given)
    if best is not None:
        never_nan_unless_flagged(best, "along", "across", "fluctuation", "m", "theta", "psi")


grid = (st.lists(usual, min_size=2, max_size=3, unique=True), anything)


@some
@given(
    st.lists(st.sampled_from(VARIABLES), min_size=2, max_size=2, unique=True),
    st.sampled_from(["test_error", "gain", "norm"]),
    arguments(
        **dict.fromkeys(VARIABLES, (usual, anything)) | {"gamma": (st.floats(-1, 1), anything)},
        x=grid,
        y=grid,
    ),
    st.sampled_from(["eta", "r", None]),
)
def test_phase_diagram(axes, value, given, kind):
    unused = {"eta": ("r", "gamma"), "r": ("eta", "alpha0"), None: ("eta", "alpha0", "r", "gamma")}
    x, y = given.pop("x"), given.pop("y")
    given = {name: v for name, v in given.items() if name not in unused[kind] or name in axes}
    given |= dict(zip(axes, (x, y), strict=True)) | ({"c": 1.0} if kind == "r" else {})
    diagram = attempt(theory.phase_diagram, value=value, workers=1, **given)
    if diagram is not None:
        never_nan_unless_flagged(diagram, "value")


@some
@given(steps(), arguments(**{name: model[name] for name in ("activation", "target", "noise")}))
def test_steps(step, given):
    kind, chosen = step
    made = attempt(kind, **chosen)
    if isinstance(made, GradientStep):
        # Its own arguments broadcast here, not when it was made.
        spike = attempt(made.spike, names=chosen, **given)
        if spike is not None:
            assert all(np.isfinite(part).all() for part in spike.arrays())
    repr(made)


@some
@given(
    arguments(
        **model
        | dict.fromkeys(["beta", "noise"], (usual, anything))
        | {"alpha": (meant, anything)},
        loss=(st.sampled_from(["square", "square", *LOSSES]), any_loss["loss"][1]),
        labels=(st.sampled_from(["real", "sign"]), any_loss["labels"][1]),
        d=(st.integers(2, 12), st.sampled_from([0, -1, 1, 2.5, "8", None])),
        model=(st.sampled_from(["srf", "network"]), st.just("other")),
        replicates=(st.integers(1, 3), st.sampled_from([0, -1, 1.5])),
        n_test=(st.just(20), st.sampled_from([None, 0, 2.5])),
        rng=(st.just(0), st.sampled_from([None, -1, "x", 1.5])),
    )
)
def test_simulate(given):
    # Large samples are refused by memory or take time; only small ones are drawn.
    for v in (given["alpha"], given["beta"]):
        assume(not (np.abs(as_floats(v)) > 100).any())
    if isinstance(given["step"], tuple):
        assume(not (np.abs(as_floats(given["step"][1].get("alpha0"))) > 100).any())
    simulation = attempt(simulate, workers=1, **given)
    if simulation is not None:
        for name in ("test_error", "train_error", "norm"):
            assert np.isfinite(getattr(simulation, name)).all(), name


def as_floats(value):
    try:
        return np.asarray(value, float)
    except (TypeError, ValueError):
        return np.zeros(0)


# ---- Arrays of data ------------------------------------------------------------------------------

DTYPES = [np.float64, np.float32, np.float16, np.int64, np.complex128, object]


@st.composite
def matrices(draw, ndim=2):
    """Small arrays of any shape, kind and scale, and of what is not quite a number."""
    shape = draw(
        st.one_of(
            st.tuples(*[st.integers(1, 7)] * ndim),
            npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
        )
    )
    array = draw(normal(shape)) * 10.0 ** draw(st.sampled_from([0, 0, 2, -5, 9, -160, 155]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        array = np.asarray(array).astype(draw(st.sampled_from(DTYPES)))
        if array.size and array.dtype.kind == "f" and draw(st.booleans()):
            array.flat[draw(st.integers(0, array.size - 1))] = draw(st.sampled_from(AWKWARD[:16]))
    return array


def normal(shape):
    return st.integers(0, 2**16).map(lambda seed: np.random.default_rng(seed).normal(size=shape))


noisy = (RuntimeWarning,)  # overflow in a product of what is given


@st.composite
def arrays(draw, *shapes, odd=True):
    """Arrays whose axes of the same letter agree, but now and then one of anything if ``odd``."""
    size = {letter: draw(st.integers(2, 9)) for letter in "npd"}
    wrong = draw(st.sampled_from([*range(len(shapes)), None, None, None])) if odd else None
    return [
        draw(matrices(len(axes)) if i == wrong else normal([size[axis] for axis in axes]))
        for i, axes in enumerate(shapes)
    ]


@some
@given(arrays("nd", "pd", "n", "p"), name, arguments(eta=(usual, anything)))
def test_kernels_of_the_network(drawn, activation, given):
    (X, W, s, u), eta = drawn, given["eta"]
    phi = attempt(feature_map, X, W, activation, allowed=noisy)
    if phi is not None:
        assert phi.shape == (len(X), len(W))
        if max(np.abs(X).max(), np.abs(W).max()) < 10:
            assert np.isfinite(phi).all()
    attempt(spike_features, X, s, u, eta, activation, allowed=noisy)
    step = attempt(gradient_step, X, s, W, u, activation, eta, allowed=noisy)
    assert step is None or step.W.shape == W.shape


@some
@given(arrays("np", "n"), arguments(lam=(usual, anything)))
def test_ridge(drawn, given):
    (phi, y), lam = drawn, given["lam"]
    a = attempt(ridge_readout, phi, y, lam, allowed=noisy)
    if a is not None and max(float(np.abs(v).max()) for v in (phi, y)) < 1e100:
        assert np.isfinite(a).all()

    def streamed():
        statistics = RidgeStatistics(np.atleast_1d(phi).shape[-1])
        statistics.update(phi, y)
        return statistics.solve(lam)

    attempt(streamed, allowed=noisy, names=("p", "Phi", "y", "lam"))


@some
@given(arrays("np", "n"), st.booleans(), arguments(loss=any_loss["loss"], lam=(usual, anything)))
def test_readout(drawn, signs, given):
    phi, y = drawn
    if signs and y.dtype == float:
        y = np.where(y > 0, 1.0, -1.0)
    readout = attempt(fit_readout, phi, y, **given, allowed=noisy)
    if readout is not None and readout.success:
        assert np.isfinite(readout.a).all()


@few
@given(arrays("pd", "d"), arguments(target=(name, not_numbers), groups=(st.none(), anything)))
def test_theory_of_a_layer(drawn, given):
    W, theta = drawn

    def run():
        layer = theory.from_layer(W, theta, **given)
        return theory.solve(2.0, lam=0.1, step=layer, rtol=1e-5, workers=1)

    # It warns where the layer is not what the theory is about.
    solution = attempt(run, allowed=(UserWarning, *noisy), names=("W", "theta", *given))
    if solution is not None:
        never_nan_unless_flagged(solution, "test_error", "train_error", "norm")


features = {
    "n_components": (st.just(8), st.sampled_from([1, 2, 0, -1, 2.5, None])),
    "activation": (name, not_numbers),
    "step_size": (st.sampled_from([0.0, 1.0]), anything),
    "readout": (st.sampled_from(["normal", (1.0, -1.0)]), any_vocabulary),
    "step_fraction": (st.sampled_from(["auto", 0.5]), anything),
    "update": (st.sampled_from(["full", "rank_one"]), st.sampled_from(["other", None])),
    "bias": (st.booleans(), st.none()),
    "W0": (st.none(), matrices()),
    "random_state": (st.just(0), st.sampled_from([-1, "x", 1.5])),
}
readouts = {
    "step_size": (st.sampled_from(["auto", "auto", 1.0, [0.0, 1.0]]), anything),
    "alpha": (st.sampled_from(["auto", 0.1, 1.0]), anything),
    "fit_intercept": (st.booleans(), st.none()),
}
losses = st.sampled_from(["square", "huber", "absolute"])
margins = st.sampled_from(["logistic", "hinge"])
ESTIMATORS = {
    SpikedRandomFeatures: features,
    SpikedRFRegressor: features | readouts | {"loss": (losses, not_numbers)},
    SpikedRFClassifier: features | readouts | {"loss": (margins, not_numbers)},
}


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda estimator: estimator.__name__)
@few
@given(data=st.data())
def test_estimators(estimator, data):
    """A fit predicts finite numbers, or refuses its data or a parameter, or warns."""
    odd = data.draw(st.sampled_from(["data", "arguments", "nothing"]))
    choices = ESTIMATORS[estimator]
    if odd != "arguments":
        choices = {name: choice[:1] * 2 for name, choice in choices.items()}
    given = data.draw(arguments(**choices))
    X, y, weight = data.draw(arrays("nd", "n", "n", odd=odd == "data"))
    if estimator is SpikedRFClassifier:
        y = np.sign(y) if y.dtype == float else y
    if weight.dtype == float:
        weight = data.draw(st.sampled_from([None, np.abs(weight), weight]))
    streamed = data.draw(st.booleans())

    def run():
        model = estimator(**given)
        whole = not (streamed and hasattr(model, "partial_fit"))
        fitted = (model.fit if whole else model.partial_fit)(X, y, sample_weight=weight)
        return (fitted.predict if hasattr(fitted, "predict") else fitted.transform)(X)

    # It warns where the gradient vanishes, a solver stops early or numbers overflow.
    # scikit-learn says "data", "array" and "samples" of X and y.
    words = ("data", "array", "samples")
    names = ("X", "y", "sample_weight", *words, *given)
    predicted = attempt(run, allowed=(UserWarning, RuntimeWarning), names=names)
    if predicted is not None and np.abs(X.astype(float)).max() < 1e50:
        assert predicted.shape[0] == len(X)
        assert np.isfinite(predicted).all()
