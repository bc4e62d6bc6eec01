"""The figures of `spikedrf reproduce`: each holds what it claims."""

import io

import numpy as np
import pytest

from spikedrf import GradientStep, figures, theory
from spikedrf.figures import NAMES, Plan, Skipped, make, real_data, summary

pytest.importorskip("matplotlib")

# (1 - e^-2)/2 - 1/e: the error of the best linear function on sin.
LINEAR = (1 - np.exp(-2)) / 2 - np.exp(-1)


@pytest.fixture(scope="module")
def made():
    return {name: make(name, Plan()) for name in NAMES if name != "real-data"}


def lines(made, panel):
    return {s.label: s for s in made.series if s.panel == panel and s.kind == "theory"}


def test_every_figure_says_what_it_shows(made):
    for name, figure in made.items():
        assert 20 < len(summary(name)) < 100
        assert figure.finding[0].islower()
        assert not figure.finding.endswith(".")
        assert figure.success
        figure.figure.savefig(io.BytesIO(), dpi=40)


def test_learning_curve_has_the_published_values(made):
    after = lines(made["learning-curve"], "learning curve")["after the step"]
    at = [0.2, 0.9, 1.6, 2.3, 3.0]
    np.testing.assert_allclose(
        np.interp(at, after.x, after.y), [0.04848, 0.04250, 0.03731, 0.03430, 0.03252], atol=5e-6
    )


def test_random_features_stay_above_every_linear_function(made):
    errors = lines(made["linear-part"], "errors")
    plain = [s for label, s in errors.items() if label.startswith("no step")]
    assert len(plain) == 3
    assert min(s.y.min() for s in plain) > LINEAR
    (stepped,) = (s for label, s in errors.items() if not label.startswith("no step"))
    assert stepped.y[-1] < 0.3 * LINEAR
    functions = lines(made["linear-part"], "functions")
    straight = functions["no step"]
    curvature = np.diff(straight.y, 2)
    assert np.abs(curvature).max() < 1e-9
    assert np.ptp(np.diff(functions["after the step"].y)) > 0.3 * np.ptp(straight.y) / 100


def test_the_optimum_is_where_the_curve_is_lowest(made):
    errors = lines(made["step-size"], "errors")
    optima = lines(made["step-size"], "optima")
    assert len(optima) == 4
    for label, s in optima.items():
        curve = errors[label]
        at = int(np.argmin(curve.y))
        assert curve.x[at - 1] < s.x[0] < curve.x[at + 1]
        assert 0.998 * curve.y[at] < s.y[0] <= curve.y[at]
    assert np.all(np.diff([s.x[0] for s in optima.values()]) > 0)
    best = lines(made["step-size"], "best step")
    for s in best.values():
        inside = np.isfinite(s.y)
        # A batch that is too small has no best step; from there on it grows.
        assert not inside[0]
        assert inside[np.argmax(inside) :].all()
        assert (np.diff(s.y[inside]) > 0).all()


def test_small_batches_harm_and_large_ones_help(made):
    over = lines(made["batch-size"], "over alpha")
    order = [s.y[-1] for label, s in over.items() if label != "no step"]
    assert order == sorted(order, reverse=True)
    assert order[0] > over["no step"].y[-1] > LINEAR > order[-2]
    over = lines(made["batch-size"], "over alpha0")
    plain = over.pop("no step").y[0]
    assert plain == pytest.approx(theory.solve(3.0, lam=0.1, target="sin").test_error, rel=1e-12)
    assert all(s.y[0] > plain > s.y[-1] for s in over.values())


def test_learned_functions_approach_the_target(made):
    for panel in ("tanh on sin", "relu on relu", "erf on sign"):
        series = [s for s in made["learned-functions"].series if s.panel == panel]
        (target,) = (s.y for s in series if s.kind == "target")
        learned = {s.label: s.y for s in series if s.kind == "theory"}
        assert np.ptp(learned["no step"]) < 1e-12
        inner = np.abs(series[0].x) < 1.5
        distance = [np.abs(y - target)[inner].max() for y in learned.values()]
        assert distance == sorted(distance, reverse=True)


def test_each_value_of_the_vocabulary_buys_something(made):
    over = lines(made["vocabulary"], "over eta")
    lowest = [s.y.min() for label, s in over.items() if label != "no step"]
    assert 0.75 * lowest[0] > lowest[1] > 1.05 * lowest[2]
    # The best step of the panel beside it is that of this one.
    at_five = [
        np.interp(np.log(5.0), np.log(s.x), s.y)
        for label, s in lines(made["vocabulary"], "over alpha").items()
        if label != "no step"
    ]
    np.testing.assert_allclose(at_five, lowest, rtol=1e-3)


def test_simulated_points_lie_on_the_lines():
    """Spiked models at d = 120, 6 replicates: |z| < 6 (Student, 5 degrees of freedom)."""
    figure = make("batch-size", Plan(d=120, replicates=6, seed=1))
    points = [s for s in figure.series if s.kind == "simulation"]
    assert {s.label for s in points} == {r"$\alpha_0 = 1$", r"$\alpha_0 = 20$"}
    for s in points:
        theirs = lines(figure, "over alpha")[s.label]
        z = (s.y - np.interp(np.log(s.x), np.log(theirs.x), theirs.y)) / s.sem
        assert np.abs(z).max() < 6
        assert (s.sem < 0.3 * s.y).all()


def test_networks_are_simulated():
    plan = Plan(d=40, replicates=2)
    for name, expected in (("learning-curve", 2), ("linear-part", 2), ("batch-size", 2)):
        points = [s for s in make(name, plan).series if s.kind == "simulation"]
        assert len(points) == expected
        assert all(np.isfinite(s.y).all() and (s.sem > 0).all() for s in points)


def test_the_step_stretches_the_spectrum(made):
    densities, shares = (lines(made["spectrum"], name) for name in ("density", "cumulative"))
    for label, s in densities.items():
        mass = np.sum(np.diff(s.x) * (s.y[1:] + s.y[:-1]) / 2)
        assert mass == pytest.approx(1.0, abs=1e-3)  # alpha = 2 > beta: no atom
        assert np.interp(s.x[-1], shares[label].x, shares[label].y) == pytest.approx(1.0, abs=1e-6)
    beyond = {label: 1 - np.interp(3.0, s.x, s.y) for label, s in shares.items()}
    assert beyond["after the step"] > 10 * beyond["no step"]
    simulated = make("spectrum", Plan(d=150, replicates=2))
    assert [s.x.size for s in simulated.series if s.kind == "simulation"] == [300, 300]
    assert float(simulated.finding.rpartition(" ")[2]) < 0.05


def test_the_trained_network_leaves_its_model(made):
    errors = lines(made["trained-network"], "errors")
    srf, network = errors["spiked model"], errors["trained network"]
    step = GradientStep(1.0, 0.5)
    model = {"lam": 0.01, "step": step}
    for s, bulk in ((srf, "isotropic"), (network, "network")):
        expected = theory.solve(s.x, bulk=bulk, **model).test_error
        np.testing.assert_allclose(s.y, expected, rtol=1e-9)
    ratio = lines(made["trained-network"], "ratios")["trained network"]
    np.testing.assert_allclose(ratio.y, network.y / srf.y, rtol=1e-12)
    assert 1.01 < ratio.y.min() < ratio.y.max() < 1.03
    # theory.md, section 10: .24061 and .26355 at alpha0 = .5.
    errors = lines(made["small-batch"], "errors")
    for label, value in (("spiked model", 0.24061), ("trained network", 0.26355)):
        s = errors[label]
        at_half = np.interp(np.log(0.5), np.log(s.x), np.log(s.y))
        assert np.exp(at_half) == pytest.approx(value, rel=1e-3)
    for s in lines(made["small-batch"], "difference").values():
        assert s.y.min() > 0
        assert s.y[-1] < 0.1 < 5 < s.y.max()


def test_simulated_networks_follow_their_own_theory():
    """At d = 150 the spiked model and the network, 8 replicates each: |z| < 5, 7 degrees."""
    figure = make("small-batch", Plan(d=150, seed=2))
    points = {s.label: s for s in figure.series if s.kind == "simulation"}
    for label, s in points.items():
        theirs = lines(figure, "errors")[label]
        expected = np.exp(np.interp(np.log(s.x), np.log(theirs.x), np.log(theirs.y)))
        some = s.x < 5  # beyond, no noise and a strong spike: 1/d is larger than the errors
        assert np.abs(((s.y - expected) / s.sem)[some]).max() < 5
    first = [points[label].y[0] for label in ("spiked model", "trained network")]
    assert first[1] > 1.05 * first[0]


def test_real_data(tmp_path, monkeypatch):
    monkeypatch.setattr(real_data, "FEATURES", 200)
    rng = np.random.default_rng(0)
    X = rng.standard_normal((1000, 6))
    # Even in the second input: no linear function of it helps.
    y = np.sin(X[:, 0]) * np.abs(X[:, 1]) + 0.1 * rng.standard_normal(1000)
    np.savetxt(tmp_path / "pumadyn32nm.csv.gz", np.column_stack([X, y]), delimiter=",")
    figure = make("real-data", Plan(data=tmp_path))
    rows = {s.label: s for s in figure.series if s.panel == "rows"}
    assert set(rows) == {"no step", "after the step"}
    for label, s in rows.items():
        score = 1 - np.mean((s.y - s.x) ** 2) / np.var(s.x)
        assert f"{score:.3f}" in figure.finding, label
    sizes = next(s.y for s in figure.series if s.label == "size")
    assert set(np.argsort(-sizes)[:2]) == {0, 1}
    assert np.sum(sizes**2) == pytest.approx(1.0, rel=1e-12)
    for plan in (Plan(), Plan(data=tmp_path / "elsewhere")):
        with pytest.raises(Skipped, match=r"needs --data FOLDER, a folder that holds pumadyn32nm"):
            make("real-data", plan)


def test_an_unknown_figure():
    with pytest.raises(ValueError, match="name must be one of learning-curve"):
        figures.make("curve", Plan())


def test_a_point_that_did_not_converge_counts(made):
    series = made["learning-curve"].series
    flags = np.array(series[0].success)
    flags[3] = False
    from dataclasses import replace

    assert not replace(
        made["learning-curve"], series=[replace(series[0], success=flags), *series[1:]]
    ).success


def test_plan_simulates_what_it_is_told():
    step = GradientStep(1.0, 2.0)
    shared = {"lam": 0.1, "target": "sin"}
    given = Plan(d=20, replicates=2, seed=3).simulate(
        [1.0], {"a": {}, "b": {"eta": 1.0, "alpha0": 2.0}}, model="network", **shared
    )
    from spikedrf import simulate

    rng = np.random.default_rng(3)
    for label, s in (("a", None), ("b", step)):
        expected = simulate([1.0], d=20, replicates=2, model="network", step=s, rng=rng, **shared)
        np.testing.assert_array_equal(given[label].test_error, expected.test_error)
    assert Plan().simulate([1.0], {"a": {}}, **shared) == {}


def test_the_staircase_is_climbed(made):
    errors = lines(made["staircase"], "errors")
    assert [*errors] == ["no step", "one step", "two steps", "three steps"]
    order = [s.y[-1] for s in errors.values()]
    assert order == sorted(order, reverse=True)
    spikes = lines(made["staircase"], "spikes")
    beside = [np.abs(s.y).max() for s in spikes.values()]
    # Networks of d = 400 have 0, .33 and .69 along the second direction.
    np.testing.assert_allclose(beside, [0.0, 0.33, 0.69], atol=0.01)
    assert all(s.x[0] * s.x[1] < 0 for s in spikes.values())
