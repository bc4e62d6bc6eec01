"""Bad input is refused by name, value and what is allowed; odd input just works."""

import warnings

import numpy as np
import pytest

from spikedrf import (
    ConvergenceWarning,
    GradientStep,
    Spike,
    simulate,
    simulate_spectrum,
    theory,
)
from spikedrf.activations import NAMES

OK = {"lam": 0.1, "target": "sin"}


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"alpha": 0.0}, ValueError, r"alpha must be > 0 .* got 0\.0"),
        ({"alpha": -1.0}, ValueError, r"alpha must be > 0 .* got -1\.0"),
        ({"alpha": [1.0, -2.0]}, ValueError, r"alpha .* got -2\.0 at index \(1,\)"),
        ({"alpha": np.nan}, ValueError, "alpha .* got nan"),
        ({"alpha": "many"}, TypeError, "alpha must be a real number"),
        ({"alpha": None}, TypeError, "alpha must be a real number"),
        ({"alpha": 1j}, TypeError, "alpha must be a real number .* complex"),
        ({"alpha": [[1.0], [1.0, 2.0]]}, TypeError, "alpha must be a real number"),
        ({"beta": 0.0}, ValueError, r"beta must be > 0 and finite, got 0\.0"),
        ({"beta": np.inf}, ValueError, "beta must be > 0 and finite, got inf"),
        ({"lam": -1e-9}, ValueError, "lam must be >= 0 and finite, got -1e-09"),
        ({"lam": np.nan}, ValueError, "lam .* got nan"),
        ({"lam": np.inf}, ValueError, "lam .* got inf"),
        ({"noise": -0.1}, ValueError, "noise must be >= 0 and finite, got -0.1"),
        ({"rtol": 0.0}, ValueError, "rtol must be >= 1e-11"),
        ({"rtol": [1e-8, 1e-8]}, ValueError, "rtol must be one number"),
        ({"workers": 0}, ValueError, "workers must be >= 1"),
        ({"workers": 1.5}, TypeError, "workers must be an integer"),
        ({"bulk": "round"}, ValueError, "bulk must be one of 'isotropic', 'network', got 'round'"),
        ({"loss": "hubert"}, ValueError, "loss must be a .* or one of square, .*; got 'hubert'"),
        ({"step": 3.0}, TypeError, "step must be a GradientStep, a Spike or None, got 3.0"),
        ({"activation": "rely"}, ValueError, "activation must be .* relu.* got 'rely'"),
        ({"target": 7}, TypeError, "target must be a name, a callable"),
        ({"activation": (np.tanh, 3)}, TypeError, "derivative of activation must be callable"),
        ({"alpha": [1.0, 2.0], "beta": [1.0, 2.0, 3.0]}, ValueError, r"broadcast.*alpha: \(2,\)"),
    ],
)
def test_solve_refuses(arguments, error, message):
    with pytest.raises(error, match=message):
        theory.solve(**({"alpha": 1.0} | OK | arguments))


def test_unknown_activation_lists_all_known_ones():
    with pytest.raises(ValueError, match="activation") as caught:
        theory.solve(1.0, lam=0.1, activation="swish")
    for name in NAMES:
        assert name in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"gamma": 1.1}, r"gamma must be >= -1 and <= 1 and finite, got 1\.1"),
        ({"gamma": np.nan}, "gamma .* got nan"),
        ({"c": 0.0}, r"c must be > 0 and finite, got 0\.0"),
        ({"c": [1.0, -1.0]}, r"c must be > 0 .* got -1\.0 at index \(1,\)"),
        ({"r": np.inf}, "r must be finite, got inf"),
        ({"pi": [0.5, 0.6]}, r"pi must sum to one .* got a sum of 1\.1"),
        ({"pi": [1.5, -0.5]}, r"pi must be >= 0 and finite, got -0\.5"),
        ({"r": [1.0, 2.0], "pi": [0.2, 0.3, 0.5]}, r"3 readout groups|2 readout groups"),
        ({"r": [1.0, 2.0], "c": [1.0, 1.0, 1.0]}, "readout groups"),
        ({"r": []}, "no readout groups"),
    ],
)
def test_spike_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        Spike(**({"r": 1.0, "c": 1.0, "gamma": 0.5} | arguments))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"eta": np.nan}, "eta .* got nan"),
        ({"alpha0": -1.0}, "alpha0 must be >= 0 and not NaN, got -1.0"),
        ({"u": [1.0, np.inf]}, r"u must be finite, got inf at index \(1,\)"),
        ({"u": [1.0, -1.0, 0.0], "pi": [0.5, 0.5]}, "readout groups"),
        ({"u": [1.0, -1.0], "pi": [0.5, 0.4]}, "pi must sum to one"),
    ],
)
def test_step_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        GradientStep(**({"eta": 1.0, "alpha0": 1.0} | arguments))


def test_sign_cannot_take_a_gradient_step():
    with pytest.raises(ValueError, match="activation='sign' cannot take a gradient step"):
        theory.solve(1.0, lam=0.1, activation="sign", step=GradientStep(1.0, 1.0))
    # It has a theory all the same, and as a target it is fine.
    assert theory.solve(1.0, lam=0.1, activation="sign", step=Spike(1.0, 1.0, 0.5)).success
    assert GradientStep(1.0, 1.0).spike("tanh", "sign").gamma > 0


def test_infinite_ridgeless_limits_are_refused():
    with pytest.raises(
        ValueError, match=r"lam = 0 at the interpolation threshold .*alpha = 1, beta"
    ):
        theory.solve([1.0, 1.0], lam=0.0)
    with pytest.raises(ValueError, match=r"lam = 0 with alpha = 0.5 < beta = 1 and a spike"):
        theory.solve(0.5, lam=0.0, step=Spike(1.0, 1.0, 0.5))
    with pytest.raises(ValueError, match="saturate"):
        theory.solve(0.5, lam=0.0, activation="relu", step=Spike([1.0, 2.0], 1.0, 0.5))
    with pytest.raises(ValueError, match="threshold"):
        theory.solve(1.0, lam=0.0, beta=2.0, activation="identity")


def test_one_bad_point_does_not_kill_a_sweep():
    """Points without a ridgeless limit are inf, the others what they are alone."""
    step = Spike(1.0, 1.0, 0.5)
    sweep = {"lam": [[0.0], [0.1]], "step": step, "target": "sin"}
    with pytest.warns(ConvergenceWarning, match="3 of them have no ridgeless limit") as caught:
        solution = theory.solve([0.5, 0.8, 1.0, 2.0], **sweep)
    assert len(caught) == 1
    assert "rtol" not in str(caught[0].message)
    assert (solution.test_error[0, :3] == np.inf).all()
    assert (solution.norm[0, :3] == np.inf).all()
    assert (solution.train_error[0, :3] == 0.0).all()
    assert (solution.status == [[7, 7, 7, 0], [0, 0, 0, 0]]).all()
    assert np.isnan(solution.m[0, :3]).all()
    for i, j, alpha, lam in ((0, 3, 2.0, 0.0), (1, 1, 0.8, 0.1)):
        alone = theory.solve(alpha, lam=lam, step=step, target="sin")
        assert solution.test_error[i, j] == alone.test_error
    assert (solution.parameters["lam"] == [[0.0], [0.1]]).all()
    with pytest.warns(ConvergenceWarning, match="no ridgeless limit"):
        slope = theory.gradient([0.5, 2.0], lam=0.0, step=step, target="sin", wrt=("alpha", "lam"))
    assert (slope.status == [7, 0]).all()
    assert np.isnan(slope["alpha"][0])
    alone = theory.gradient(2.0, lam=0.0, step=step, target="sin", wrt=("alpha", "lam"))
    assert slope["alpha"][1] == alone["alpha"]
    with pytest.warns(ConvergenceWarning, match="no ridgeless limit"):
        best = theory.optimise([1.0, 2.0], over="eta", lam=0.0, step=GradientStep(1.0, 2.0))
    assert best.test_error[0] == np.inf
    alone = theory.optimise(2.0, over="eta", lam=0.0, step=GradientStep(1.0, 2.0))
    assert best.eta[1] == pytest.approx(alone.eta, rel=1e-6)
    with pytest.raises(ValueError, match="lam = 0 at all points"):
        theory.optimise(1.0, over="eta", lam=0.0, step=GradientStep(1.0, 2.0))
    with pytest.warns(ConvergenceWarning, match=r"2 of 6 points have no answer.* at lam = 0"):
        diagram = theory.phase_diagram(
            alpha=[0.5, 1.0, 2.0], lam=[0.0, 0.1], step=step, target="sin"
        )
    bad = diagram.status == 7
    assert np.isinf(diagram.value[bad]).all()
    assert np.isfinite(diagram.value[~bad]).all()
    assert bad.sum() == 2


@pytest.mark.parametrize("role", ["activation", "target"])
@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        (lambda x: np.sum(x), ValueError, "must be vectorised"),
        (lambda x: x[..., :1], ValueError, "must be vectorised"),
        (lambda x: np.where(x > 1.7, np.nan, x), ValueError, "must be finite .* got nan at x ="),
        (lambda x: 1 / np.where(x > 1, 0.0, 1.0), ValueError, "must be finite .* got inf"),
        (lambda x: x * 1j, TypeError, "must return real numbers"),
        (lambda x: undefined_name, NameError, "undefined_name"),  # noqa: F821
    ],
)
def test_bad_callables(role, function, error, message):
    with np.errstate(all="ignore"), pytest.raises(error, match=message):
        theory.solve(1.0, **({"lam": 0.1} | {role: function}), step=Spike(1.0, 1.0, 0.5))


def test_exceptions_of_callables_pass_through_threads():
    class Custom(Exception):
        pass

    def fails(x):
        raise Custom("mine")

    with pytest.raises(Custom, match="mine"):
        theory.solve(np.linspace(1, 2, 20_000), lam=0.1, target=fails, workers=2)


def test_scalars_in_scalars_out_and_broadcasting():
    solution = theory.solve(1.0, lam=0.1)
    assert isinstance(solution.test_error, float)
    assert isinstance(solution.success, bool)
    assert isinstance(solution.status, int)
    assert isinstance(solution.nodes, int)
    assert solution.shape == ()
    assert solution.m.shape == (1,)
    assert solution.q1.shape == (1, 1)
    step = GradientStep(np.array([1.0, 2.0, 3.0]), 5.0, u=[1.0, -1.0])
    grid = theory.solve(
        np.array([0.5, 1.5])[:, None, None],
        lam=np.array([0.1, 1.0])[:, None],
        step=step,
        target="sin",
    )
    assert grid.test_error.shape == (2, 2, 3)
    assert grid.psi.shape == (2, 2, 3, 2)
    assert grid.V1.shape == (2, 2, 3, 2, 2)
    assert grid.spike.r.shape == (3, 2)
    for i, j, k in np.ndindex(2, 2, 3):
        one = theory.solve(
            [0.5, 1.5][i],
            lam=[0.1, 1.0][j],
            step=GradientStep(k + 1.0, 5.0, u=[1.0, -1.0]),
            target="sin",
        )
        assert grid.test_error[i, j, k] == one.test_error
        np.testing.assert_array_equal(grid.psi[i, j, k], one.psi)
    empty = theory.solve(np.empty((0, 3)), lam=0.1)
    assert empty.test_error.shape == (0, 3)
    assert "no points" in repr(empty)


def test_array_layouts_do_not_matter():
    alpha = np.linspace(0.3, 3, 12).reshape(3, 4)
    expected = theory.solve(alpha, lam=0.1).test_error
    frozen = alpha.copy()
    frozen.flags.writeable = False
    for variant in (
        np.asfortranarray(alpha),
        frozen,
        alpha.tolist(),
        np.repeat(alpha, 2, axis=1)[:, ::2],
    ):
        np.testing.assert_array_equal(theory.solve(variant, lam=0.1).test_error, expected)
    assert theory.solve(1, lam=1).test_error == theory.solve(1.0, lam=1.0).test_error
    single = theory.solve(np.float32(0.5), lam=0.1).test_error
    assert single == theory.solve(0.5, lam=0.1).test_error


def test_results_do_not_depend_on_workers_or_neighbours():
    alpha = np.geomspace(0.1, 10, 9000)
    arguments = {"lam": 0.01, "target": "relu", "step": Spike(2.0, 1.1, 0.9)}
    one = theory.solve(alpha, workers=1, **arguments)
    two = theory.solve(alpha, workers=2, **arguments)
    np.testing.assert_array_equal(one.test_error, two.test_error)
    shuffled = np.random.default_rng(0).permutation(alpha.size)
    np.testing.assert_array_equal(
        theory.solve(alpha[shuffled], workers=-1, **arguments).test_error, one.test_error[shuffled]
    )
    np.testing.assert_array_equal(
        theory.solve(alpha[:5], **arguments).test_error, one.test_error[:5]
    )


def test_repeated_spikes_share_their_tables():
    # Equal spikes anywhere in the batch are solved as one: identical bits.
    eta = np.tile([1.0, 2.0], 50)
    solution = theory.solve(1.0, lam=0.1, target="sin", step=GradientStep(eta, 5.0))
    assert np.unique(solution.test_error).size == 2


@pytest.mark.parametrize("alpha", [1e-8, 1e-3, 1e3, 1e9, 1e300])
@pytest.mark.parametrize("lam", [1e-300, 1e-12, 1e6, 1e300])
def test_extreme_points_are_right_or_flagged(alpha, lam):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        solution = theory.solve(
            alpha, lam=lam, activation="relu", target="tanh", step=Spike(1.0, 1.1, 0.7), noise=0.1
        )
    if solution.success:
        # Between the noise and the variance of the labels, or overfitted noise at small alpha.
        assert np.isfinite([solution.test_error, solution.train_error, solution.norm]).all()
        assert solution.test_error > 0.01
        assert 0 <= solution.train_error <= solution.test_error * (1 + 1e-12)


def test_absurd_spikes_are_flagged():
    # More oscillations than the finest rule has nodes.
    with pytest.warns(ConvergenceWarning):
        solution = theory.solve(0.5, lam=0.1, activation="sin", step=Spike(1e5, 1.0, 0.9))
    assert not solution.success
    assert solution.status == 1


def test_one_warning_tells_how_many_where_and_what_to_do():
    def rough(x):
        return x + 0.1 * np.sign(np.sin(3e4 * x))

    with pytest.warns(ConvergenceWarning) as caught:
        solution = theory.solve(
            [0.5, 1.0], lam=0.1, target=rough, step=Spike(1.0, 1.0, 1.0), rtol=1e-11
        )
    assert len(caught) == 1
    message = str(caught[0].message)
    assert "2 of 2 points" in message
    assert "index (0,)" in message
    assert "rtol" in message
    assert caught[0].filename == __file__
    assert not solution.success.any()
    assert "0 of 2 converged" in repr(solution)


def test_points_of_a_solution():
    """An index and a slice give what solving there alone gives."""
    step = GradientStep([1.0, 2.0, 3.0], 5.0, u=[1.0, -1.0])
    solution = theory.solve(np.array([0.5, 1.0])[:, None], lam=0.1, target="sin", step=step)
    one = solution[1, 2]
    alone = theory.solve(1.0, lam=0.1, target="sin", step=GradientStep(3.0, 5.0, u=[1.0, -1.0]))
    assert one.shape == ()
    assert one.test_error == pytest.approx(alone.test_error, rel=1e-12)
    assert one.success is True
    assert one.parameters["eta"] == 3.0
    np.testing.assert_allclose(one.q1, alone.q1, rtol=1e-9)
    np.testing.assert_allclose(one.spike.r, alone.spike.arrays()[0], rtol=1e-12)
    assert one.learned_function(0.3) == pytest.approx(alone.learned_function(0.3), rel=1e-9)
    assert solution[0].shape == (3,)
    some = solution[:, ::2]
    assert (some.test_error == solution.test_error[:, ::2]).all()
    assert (some.parameters["eta"] == [[1.0, 3.0], [1.0, 3.0]]).all()
    assert some.to_xarray().sizes["eta"] == 2
    with pytest.raises(IndexError, match="one point"):
        alone[0]
    with pytest.raises(IndexError):
        solution[2]


def test_results_travel():
    pytest.importorskip("xarray")
    pandas = pytest.importorskip("pandas")
    step = GradientStep(2.0, 5.0, u=[1.0, -1.0])
    solution = theory.solve([0.5, 2.0], lam=0.1, target="sin", step=step)
    alike = {"activation": "tanh", "target": "sin", "lam": 0.1, "noise": 0.0, "eta": 2.0}
    alike |= {"u": [1.0, -1.0], "pi": [0.5, 0.5], "alpha0": 5.0, "bulk": "isotropic"}
    attributes = solution.to_xarray().attrs
    assert {name: attributes[name] for name in alike} == alike
    table = solution.to_dataframe()
    assert isinstance(table, pandas.DataFrame)
    assert table.attrs == attributes
    assert list(table.alpha) == [0.5, 2.0]
    assert (table.test_error.to_numpy() == solution.test_error).all()
    assert (table.q1_0_1.to_numpy() == solution.q1[:, 0, 1]).all()
    run = simulate([0.5, 2.0], lam=0.1, target="sin", d=30, replicates=3, rng=0, step=step)
    data = run.to_xarray()
    assert data.test_error.dims == ("alpha",)
    assert data.test_error_samples.dims == ("replicate", "alpha")
    assert (data.test_error_samples.mean("replicate") == run.test_error).all()
    assert data.attrs["u"] == [1.0, -1.0]
    assert data.attrs["eta"] == 2.0
    assert data.attrs["d"] == 30
    assert list(run.to_dataframe().test_error_sem) == list(run.test_error_sem)
    diagram = theory.phase_diagram(alpha=[0.5, 2.0], lam=[0.1, 1.0], step=step)
    assert diagram.to_xarray().attrs["u"] == [1.0, -1.0]
    rows = diagram.to_dataframe()
    there = rows[(rows.alpha == 2.0) & (rows.lam == 0.1)].test_error.item()
    assert there == diagram.value[0, 1]
    spectrum = theory.spectrum([0.1, 0.2], alpha=2.0, step=step)
    assert spectrum.to_xarray().attrs["target"] == "tanh"
    assert list(spectrum.to_dataframe().density) == list(spectrum.density)
    eigenvalues = simulate_spectrum(2.0, d=20, replicates=2, rng=0)
    assert eigenvalues.to_xarray().eigenvalue.shape == (2, 20)
    assert len(eigenvalues.to_dataframe()) == 40


def test_libraries_that_are_missing_are_named_with_their_extra(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"to_dataframe needs pandas.*spikedrf\[results\]"):
        theory.solve(1.0, lam=0.1).to_dataframe()


def test_to_xarray_names_axes():
    xarray = pytest.importorskip("xarray")
    solution = theory.solve(
        np.array([0.5, 1.0])[:, None],
        lam=0.1,
        target="sin",
        step=GradientStep([1.0, 2.0, 3.0], 5.0),
    )
    data = solution.to_xarray()
    assert isinstance(data, xarray.Dataset)
    assert data.test_error.dims == ("alpha", "eta")
    assert float(data.test_error.sel(alpha=0.5, eta=2.0)) == solution.test_error[0, 1]
    assert data.q1.dims == ("alpha", "eta", "group", "group_other")
    assert "Solution(shape=(2, 3)" in repr(solution)


def test_repr_is_short():
    assert repr(GradientStep(3.0, 20.0)) == "GradientStep(eta=3, alpha0=20, u=1)"
    assert repr(Spike([1.0, 2.0], 1.0, 0.5)) == "Spike(r=[1., 2.], c=1, gamma=0.5)"
    assert repr(theory.solve(1.0, lam=0.1)).startswith("Solution(test_error=0.")
