"""Any convex loss: the equations themselves, limits, properties, certificates, misuse."""

import numpy as np
import pytest
from scipy import optimize, special

from brute_force import functions, kappa_rule, tables
from convex_equations import violations
from spikedrf import ConvergenceWarning, GradientStep, Spike, losses, theory
from test_reference import SECTION_8

ONE = {"alpha": 2.0, "beta": 1.0, "lam": 0.1, "activation": "tanh", "target": "tanh", "noise": 0.3}
SPIKE = Spike(1.5, 1.05, 0.85)
MILD = Spike(0.6, 1.05, 0.85)
TWO = {
    "alpha": 2.0,
    "beta": 1.0,
    "lam": 0.1,
    "activation": "relu",
    "target": "hermite2",
    "noise": 0.5,
}
SPIKES = Spike([1.5, -1.0], [1.05, 1.2], 0.8, pi=[0.6, 0.4])
THREE = {"alpha": 0.7, "beta": 1.8, "lam": 0.02}
THREE |= {"activation": "erf", "target": "sin", "noise": 0.4}
GROUPS = Spike([1.2, 0.4, -0.8], [1.05, 1.3, 0.9], 0.7, pi=[0.5, 0.2, 0.3])

REAL = [
    losses.Huber(0.7), losses.PseudoHuber(0.5), losses.Absolute(), losses.Quantile(0.8),
]  # fmt: skip
SIGN = [losses.Logistic(), losses.Hinge(), losses.SquaredHinge()]


def solve(model, loss, labels="real", step=SPIKE, **more):
    return theory.solve(step=step, loss=loss, labels=labels, workers=1, **model, **more)


def signs_of(loss):
    return "sign" if loss.margin else "real"


@pytest.mark.parametrize(
    ("model", "step", "loss", "labels", "flip"),
    [
        (TWO, SPIKES, losses.Huber(), "real", 0.0),
        (ONE, SPIKE, losses.Logistic(), "sign", 0.1),
        (ONE | {"noise": 0.0}, SPIKE, losses.Hinge(), "sign", 0.0),
        (ONE | {"alpha": 0.6}, SPIKE, losses.Quantile(0.8), "real", 0.0),
        (THREE, GROUPS, losses.PseudoHuber(0.5), "real", 0.0),
        (THREE | {"target": "tanh"}, GROUPS, losses.SquaredHinge(), "sign", 0.0),
        (ONE, SPIKE, losses.Absolute(), "sign", 0.2),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_equations_hold(model, step, loss, labels, flip):
    # Every equation of section 11, with plain averages in three dimensions and bisection for the
    # proximal map: the tolerance is what those are good for.
    more = {"flip": flip} if flip else {}
    solution = solve(model, loss, labels, step, **more)
    assert solution.success
    found = violations(solution, loss, labels, spike=step, flip=flip, **model)
    assert max(found.values()) < 3e-6, found


def test_numbers_of_section_11():
    huber = solve(TWO, "huber", step=SPIKES)
    assert huber.test_error == pytest.approx(1.4464, abs=1e-4)
    one = solve(ONE, "logistic", "sign")
    assert one.norm == pytest.approx(2.169, abs=5e-4)
    assert one.error_rate == pytest.approx(0.183, abs=1e-3)
    two = solve(TWO | {"noise": 0.3}, "logistic", "sign", SPIKES)
    assert two.norm == pytest.approx(2.548, abs=5e-4)
    assert two.error_rate == pytest.approx(0.438, abs=1e-3)
    assert two.train_error_rate == pytest.approx(0.173, abs=5e-4)


@pytest.mark.parametrize("case", SECTION_8, ids=[f"{c[0]}-{c[1]}-{len(c[2])}" for c in SECTION_8])
def test_square_loss_through_the_general_equations(case):
    activation, target, r, c, pi, gamma, alpha, beta, lam, noise, _ = case
    model = {
        "alpha": alpha,
        "lam": lam,
        "beta": beta,
        "activation": activation,
        "target": target,
        "noise": noise,
    }
    step = Spike(r, c, gamma, pi=pi)
    ridge = solve(model, "square", step=step)
    for loss in (losses.Huber(1e8), losses.PseudoHuber(1e8)):
        other = solve(model, loss, step=step)
        assert other.success
        for name in (
            "test_error",
            "excess_error",
            "train_error",
            "norm",
            "test_loss",
            "train_loss",
        ):
            assert getattr(other, name) == pytest.approx(getattr(ridge, name), rel=1e-8), name
        for name in ("V1", "V2", "q1", "q2", "psi"):
            np.testing.assert_allclose(
                getattr(other, name), getattr(ridge, name), rtol=1e-7, atol=1e-10, err_msg=name
            )
        # m and theta share what they are for; the function is one.
        at = np.linspace(-3, 3, 7)
        np.testing.assert_allclose(
            other.learned_function(at), ridge.learned_function(at), rtol=1e-7, atol=1e-9
        )


def test_square_loss_of_signs_is_ridge_regression_on_the_sign():
    model = ONE | {"target": "identity", "noise": 0.0}
    ours = solve(model, "square", "sign")
    ridge = solve(model | {"target": "sign"}, "square")
    assert ours.norm == pytest.approx(ridge.norm, rel=1e-8)
    assert 2 * ours.test_loss == pytest.approx(ridge.test_error, rel=1e-8)
    assert 2 * ours.train_loss == pytest.approx(ridge.train_error, rel=1e-8)


def test_median_is_half_the_absolute_loss():
    absolute = solve(ONE, "absolute")
    median = solve(ONE | {"lam": 0.5 * ONE["lam"]}, "quantile")
    assert median.norm == pytest.approx(absolute.norm, rel=1e-9)
    assert median.train_loss == pytest.approx(0.5 * absolute.train_loss, rel=1e-9)


@pytest.mark.parametrize("loss", REAL + SIGN, ids=lambda loss: loss.name)
def test_minimum_falls_with_the_penalty_as_the_norm_says(loss):
    # The minimum over n, (n/p) train_loss + (lam/2) norm, has the derivative norm/2 (envelope
    # theorem). Central differences: an error of h^2 = 1e-6 times the third derivative in log lam.
    lam, h = 0.05, 1e-3
    at = solve(ONE | {"lam": lam * np.exp([-h, 0.0, h]), "beta": 0.7}, loss, signs_of(loss))
    value = 2.0 / 0.7 * at.train_loss + 0.5 * lam * np.exp([-h, 0.0, h]) * at.norm
    slope = (value[2] - value[0]) / (2 * h)
    assert slope == pytest.approx(0.5 * lam * at.norm[1], rel=1e-5)


@pytest.mark.parametrize("loss", [*REAL, SIGN[0], SIGN[2]], ids=lambda loss: loss.name)
def test_large_penalty_leaves_what_is_not_penalised(loss):
    # m is free: the readout becomes the best multiple of mu0(kappa), min_m E loss(y, m mu0).
    model = ONE | {"lam": 1e5, "activation": "relu", "noise": 0.5}
    solution = solve(model, loss, signs_of(loss), Spike(1.2, 1.0, 0.7))
    kappa, w = kappa_rule(1.2, 1.0, 0.7, activation="relu", order=8)
    mu0 = tables(kappa, 1.2, 1.0, 0.7, "relu", "tanh")[0][0]
    z, w_z = np.polynomial.hermite_e.hermegauss(40)
    w_z = w_z / w_z.sum()
    g = functions["tanh"](0.7 * kappa[:, None] + np.sqrt(1 - 0.49) * z)

    def risk(m):
        h = m * mu0[:, None]
        if loss.margin:
            up = special.ndtr(g / 0.5)
            return w @ (up * loss.value(1, h) + (1 - up) * loss.value(-1, h)) @ w_z
        u, w_u = np.polynomial.legendre.leggauss(60)
        u, w_u = 8 * u, 8 * w_u * np.exp(-32 * u**2) / np.sqrt(2 * np.pi)
        return sum(a * (w @ loss.value(g + 0.5 * b, h) @ w_z) for a, b in zip(w_u, u, strict=True))

    best = optimize.minimize_scalar(risk, bracket=(-1, 1), tol=1e-10)
    # Kinks in the rule's way leave 1e-4; the penalty 1/lam.
    assert solution.test_loss == pytest.approx(best.fun, rel=5e-4)
    assert solution.train_loss == pytest.approx(best.fun, rel=5e-4)
    assert solution.m[0] == pytest.approx(best.x, rel=2e-2)
    assert solution.norm < 1e-8


def test_groups_that_are_alike_are_one():
    apart = Spike([1.5, 1.5], [1.05, 1.05], 0.85, pi=[0.3, 0.7])
    for loss in (losses.Logistic(), losses.Huber(0.5)):
        one, two = (solve(ONE, loss, signs_of(loss), step) for step in (SPIKE, apart))
        assert two.test_error == pytest.approx(one.test_error, rel=1e-8)
        assert two.norm == pytest.approx(one.norm, rel=1e-8)
        at = np.linspace(-2, 2, 5)
        np.testing.assert_allclose(two.learned_function(at), one.learned_function(at), atol=1e-8)


def test_random_labels_are_not_learned():
    solution = solve(ONE, "logistic", "sign", flip=0.5)
    assert solution.error_rate == pytest.approx(0.5, abs=1e-12)
    assert solution.excess_error == pytest.approx(0.0, abs=1e-12)
    assert solution.train_error_rate < 0.4
    assert solution.margin == pytest.approx(0.0, abs=1e-12)


def test_order_of_the_errors():
    # Training is easier than the test, and nothing is better than the best classifier.
    alpha = np.array([0.5, 2.0, 8.0])
    for loss in SIGN:
        at = solve(ONE | {"alpha": alpha}, loss, "sign", flip=0.05)
        assert at.success.all()
        assert (at.excess_error > 0).all()
        assert (np.diff(at.error_rate) < 0).all()
        assert (at.train_error_rate < at.error_rate).all()
        assert (at.train_loss < at.test_loss).all()
        assert (at.train_margin > at.margin).all()
        least = theory.bayes_error("tanh", 0.3, 0.05)
        np.testing.assert_allclose(at.error_rate - at.excess_error, least, rtol=1e-12)


def test_bayes_error_in_closed_form():
    # P(z and z + noise u differ in sign) = atan(noise)/pi; of a jump it is Phi(-1/noise).
    noise = np.array([0.0, 0.1, 1.0, 3.0])
    np.testing.assert_allclose(
        theory.bayes_error("identity", noise), np.arctan(noise) / np.pi, rtol=1e-10
    )
    expected = 0.1 + 0.8 * special.ndtr(-1 / 0.7)
    assert theory.bayes_error("sign", 0.7, 0.1) == pytest.approx(expected, rel=1e-12)
    assert theory.bayes_error("sin", 0.0, [0.0, 0.3]).tolist() == [0.0, 0.3]


def test_separable_labels_at_small_penalties():
    # Without noise and with few samples the labels are separable: the norm grows without bound as
    # the penalty goes, the training errors vanish. Every number is certified all the same.
    lam = np.array([1e-2, 1e-4, 1e-6])
    at = solve(ONE | {"lam": lam, "alpha": 0.8, "noise": 0.0}, "logistic", "sign")
    assert at.success.all()
    assert (np.diff(at.norm) > 0).all()
    assert at.train_error_rate[-1] < 1e-8
    assert at.train_loss[-1] < 1e-4
    assert (at.error_rate > 0.1).all()


def test_no_digit_is_wrong_where_labels_become_separable():
    # With noise there is a number of samples at which they cease to be; around it a small penalty
    # makes everything large. What a loose tolerance calls accurate a tight one confirms.
    model = ONE | {"lam": 1e-5, "alpha": np.array([0.7, 2.5, 4.0])}
    loose = solve(model, "logistic", "sign", rtol=1e-4)
    tight = solve(model, "logistic", "sign", rtol=1e-7)
    assert tight.success.all()
    assert tight.norm[-1] > 50 * tight.norm[0]
    for name in ("test_error", "train_loss", "test_loss", "norm", "margin"):
        change = np.abs(getattr(loose, name) / getattr(tight, name) - 1.0)
        assert (change[loose.success] < 1e-4).all(), name
    assert loose.success.any()


def test_not_accurate_enough_is_said(monkeypatch):
    # So few nodes that the answer still moves: it is marked, and its error is what was estimated.
    model = ONE | {"noise": 0.02, "alpha": 1.0}
    monkeypatch.setattr("spikedrf.theory.convex.MAX_NODES", 70)
    with pytest.warns(ConvergenceWarning, match="1 of 1 points did not reach rtol"):
        coarse = solve(model, "hinge", "sign", Spike(1.5, 1.05, 0.9))
    assert not coarse.success
    assert coarse.status == 1
    monkeypatch.undo()
    right = solve(model, "hinge", "sign", Spike(1.5, 1.05, 0.9))
    assert abs(coarse.test_error / right.test_error - 1) <= 3 * coarse.quadrature_error


def test_points_do_not_depend_on_their_company():
    alpha, noise = np.array([[0.5], [2.0]]), np.array([0.3, 0.1])
    together = solve(
        ONE | {"alpha": alpha, "noise": noise}, "logistic", "sign", flip=[[0.0], [0.1]]
    )
    assert together.shape == (2, 2)
    for i in range(2):
        for j in range(2):
            alone = solve(
                ONE | {"alpha": alpha[i, 0], "noise": noise[j]}, "logistic", "sign", flip=0.1 * i
            )
            for name in ("test_error", "norm", "excess_error", "margin", "train_loss"):
                assert getattr(together, name)[i, j] == getattr(alone, name), name


def test_steps_callables_and_labels_of_axes():
    step = GradientStep(eta=[1.0, 2.0], alpha0=5.0, u=[1.0, -0.5], pi=[0.7, 0.3])
    named = solve(ONE | {"target": "tanh"}, losses.Huber(0.5), step=step)
    called = solve(ONE | {"target": np.tanh}, losses.Huber(0.5), step=step)
    np.testing.assert_allclose(called.test_error, named.test_error, rtol=1e-8)
    assert (named.loss, named.labels, named.parameters["delta"]) == ("huber", "real", 0.5)
    data = solve(ONE | {"lam": [0.1, 0.2]}, "hinge", "sign").to_xarray()
    assert data["margin"].dims == ("lam",)
    assert data.attrs["labels"] == "sign"


@pytest.mark.parametrize(
    ("model", "step", "flip"),
    [
        (ONE, MILD, 0.1),
        (ONE | {"noise": 0.0, "target": "sin"}, MILD, 0.0),
        (TWO, SPIKES, 0.05),
        (ONE, None, 0.0),
    ],
    ids=["flips", "no noise", "two groups", "no step"],
)
def test_calibration_is_that_of_the_field_and_its_labels(model, step, flip):
    # What is reported of fresh samples are averages over the field omega and the label given omega.
    # The trapezoid rule over omega converges geometrically, unless features die out or saturate not
    # far out along the spike, where all outputs are the same.
    solution = solve(model, "logistic", "sign", step, flip=flip)
    omega, h = np.linspace(-20.0, 20.0, 401, retstep=True)
    p = special.expit(omega)
    found = solution.calibration(p)
    density = found.density * p * (1 - p) * h
    up = np.where(density > 0, found.frequency, 0.5)
    assert density.sum() == pytest.approx(1.0, abs=3e-6)
    loss = up * np.logaddexp(0, -omega) + (1 - up) * np.logaddexp(0, omega)
    assert density @ loss == pytest.approx(solution.test_loss, rel=1e-5)
    assert density @ ((2 * up - 1) * omega) == pytest.approx(solution.margin, rel=1e-5)
    # At omega = 0, half of which is wrong, the rates of wrong signs have a kink: an error of h^2.
    wrong = density @ np.where(omega == 0, 0.5, np.where(omega > 0, 1 - up, up))
    assert wrong == pytest.approx(solution.error_rate, abs=h**2)


def test_a_small_penalty_makes_it_too_sure():
    sure, modest = (solve(ONE | {"lam": lam}, "logistic", "sign") for lam in (0.01, 1.0))
    assert sure.calibration(0.9).frequency < 0.8
    assert modest.calibration(0.9).frequency > 0.87
    # An odd target and odd features: nothing prefers a sign.
    assert modest.calibration([0.5, 0.2]).frequency[0] == pytest.approx(0.5, abs=1e-6)
    with pytest.raises(ValueError, match="p must be > 0 and < 1"):
        sure.calibration([0.5, 1.0])
    with pytest.raises(ValueError, match="solution must be one point"):
        solve(ONE | {"lam": [0.1, 0.2]}, "logistic", "sign").calibration(0.5)
    with pytest.raises(AttributeError, match="'hinge' gives no probabilities"):
        solve(ONE, "hinge", "sign").calibration(0.5)


def test_error_rates_belong_to_signs():
    solution = solve(ONE, "huber")
    assert solution.margin is None
    with pytest.raises(AttributeError, match="real labels have no error_rate"):
        _ = solution.error_rate
    assert solution.excess_error == pytest.approx(solution.test_error - 0.09, rel=1e-12)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"loss": "hubert"}, "loss must be .* one of square"),
        ({"loss": "logistic"}, "loss 'logistic' .* needs labels='sign'"),
        ({"labels": "signs"}, "labels must be one of real, sign; got 'signs'"),
        ({"loss": "huber", "flip": 0.1}, "flip is for labels='sign'"),
        ({"labels": "sign", "flip": 0.7}, "flip must be >= 0 and <= 0.5"),
        ({"loss": "huber", "lam": 0.0}, "lam must be > 0 with loss 'huber'"),
        (
            {"loss": "hinge", "labels": "sign", "alpha": [np.inf, np.inf]},
            "alpha must be finite with loss",
        ),
        (
            {"loss": "hinge", "labels": "sign", "target": "relu", "noise": 0.0},
            "all labels are \\+1",
        ),
    ],
)
def test_misuse(more, message):
    with pytest.raises(ValueError, match=message):
        theory.solve(**(ONE | {"step": SPIKE} | more))


# --------------------------------------------------------------------------------------------------
# Groups of linear features


@pytest.mark.parametrize("loss", ["huber", "pseudo_huber"])
def test_groups_of_linear_features_are_one(loss):
    """Where K groups pose a regular problem they get what is theirs of the single one's solution.

    The same features in groups whose bulk variances differ by 1e-9 are solved group by group.
    """
    spike = {"r": [1.2, -0.5], "gamma": 0.8, "pi": [0.6, 0.4]}
    call = {"lam": 0.1, "beta": 0.7, "activation": "identity", "target": "tanh", "noise": 0.3}
    alike = theory.solve(1.3, step=Spike(c=[1.1, 1.1], **spike), loss=loss, rtol=1e-6, **call)
    apart = theory.solve(
        1.3, step=Spike(c=[1.1, 1.1 + 1e-9], **spike), loss=loss, rtol=1e-6, **call
    )
    for name in ("test_error", "train_error", "norm", "theta", "psi", "q1", "q2", "V1", "V2"):
        np.testing.assert_allclose(
            getattr(alike, name), getattr(apart, name), rtol=2e-5, atol=1e-7, err_msg=name
        )


@pytest.mark.parametrize("lam", [1e-5, 1e-7])
def test_wide_linear_networks_with_hardly_a_penalty(lam):
    """K-group equations are singular there; neither loss nor groups change what one group gives."""
    call = {"lam": lam, "beta": 2.0, "activation": "identity", "target": "tanh", "noise": 0.3}
    two = GradientStep(eta=1.0, alpha0=2.0, u=(1.0, -0.5))
    one = Spike(r=1.0, c=1.0, gamma=two.spike("identity", "tanh", 0.3).gamma)
    huber = theory.solve(1.5, step=two, loss="huber", rtol=1e-6, **call)
    single = theory.solve(1.5, step=one, loss="huber", rtol=1e-6, **call)
    assert huber.success
    assert huber.test_error == pytest.approx(single.test_error, rel=1e-4)
    # A Huber loss that is never linear is the square loss.
    wide = theory.solve(1.5, step=two, loss=losses.Huber(delta=40.0), rtol=1e-6, **call)
    square = theory.solve(1.5, step=two, **call)
    assert wide.success
    assert wide.test_error == pytest.approx(square.test_error, rel=1e-5)


@pytest.mark.parametrize("target", ["tanh", "hermite2", "sin"])
@pytest.mark.parametrize("loss", ["logistic", "hinge"])
def test_rates_of_noiseless_signs_are_the_limit_of_little_noise(loss, target):
    # Without noise a rate is a sum of quadrant probabilities, with noise a sum over the rest of the
    # target's argument. What noise changes is of second order in it where the target crosses 0.
    model = ONE | {"target": target, "noise": np.array([0.0, 1e-6])}
    solution = solve(model, loss, "sign", flip=0.1)
    assert solution.success.all()
    for name in ("error_rate", "train_error_rate", "train_loss", "norm"):
        without, with_noise = getattr(solution, name)
        assert without == pytest.approx(with_noise, rel=1e-7), name


def test_a_point_of_a_grid_is_the_point_alone():
    # To the last bit: rules that others of the grid asked for do not matter.
    alpha, lam = np.array([0.5, 2.0, 4.0]), np.array([1.0, 0.03])
    for loss, labels in (("logistic", "sign"), ("hinge", "sign"), ("huber", "real")):
        model = ONE | {"alpha": alpha[:, None], "lam": lam}
        grid = solve(model, loss, labels)
        for i, j in ((2, 1), (0, 0), (1, 1)):
            one = solve(ONE | {"alpha": alpha[i], "lam": lam[j]}, loss, labels)
            for name in ("test_error", "train_error", "norm", "test_loss"):
                assert getattr(one, name) == getattr(grid, name)[i, j], (loss, name)


def test_corners_that_come_and_go_are_not_taken_for_a_finer_rule():
    # A rule over zeta that is sharpened at the corners of a field is one finer. Where the corners
    # are none on the next rule that one is no finer, and agrees with itself.
    model = {"alpha": 8.786, "lam": 1.2237, "beta": 1.655, "activation": "erf", "target": "tanh"}
    model |= {"noise": 0.5119}
    step = Spike(1.0956, 1.656, 0.1079)
    values = [
        solve(model, losses.Huber(delta), step=step).test_error
        for delta in np.linspace(0.94, 1.02, 9)
    ]
    # Smooth in delta: what a polynomial of degree seven leaves is rounding.
    assert abs(np.diff(values, 8)) < 1e-9


def test_labels_that_no_rule_resolves_are_flagged():
    # cos(z) of preactivations that the spike stretches tenfold, over almost nothing beside it: the
    # rates of wrong signs have more steps than the coarsest rule has nodes. There is no answer, and
    # the points beside it keep theirs.
    given = {
        "alpha": 2.8, "lam": 9.0, "beta": 8.4, "activation": "cos", "target": "cos",
        "loss": "huber", "labels": "sign", "rtol": 1e-5,
    }  # fmt: skip
    r, c = np.array([[9.7, 2.8], [1.0, 0.5]]), np.array([[0.001], [1.0]])
    with pytest.warns(ConvergenceWarning, match="1 of 2 points"):
        both = theory.solve(noise=[0.001, 0.1], step=Spike(r=r, c=c, gamma=0.0), **given)
    alone = theory.solve(noise=0.1, step=Spike(r=r[1], c=c[1], gamma=0.0), **given)
    assert both.success.tolist() == [False, True]
    assert np.isnan(both.test_error[0])
    assert np.isinf(both.quadrature_error[0])
    assert both.test_error[1] == alone.test_error


def test_steps_that_no_rule_of_the_equations_sees():
    # At a large ridge the sign of the readout turns over an interval of kappa that is far narrower
    # than the panels of the equations. Their ends lie on that step, so that these rules agree, to
    # the last digit, on rates without the width. The rate here is a sum of quadrant probabilities
    # (Owen's T) over a rule that sees it.
    r, c, gamma = 0.20564775125406326, 0.8760404126125053, 0.99836
    model = {"alpha": 0.1642, "beta": 6.495, "lam": 77.7, "activation": "tanh", "target": "tanh"}
    solution = solve(model | {"noise": 0.0}, "logistic", "sign", Spike(r, c, gamma))
    assert solution.success
    # Uniform in u, kappa = 1e-6 sinh u.
    u = 0.01 * (np.arange(-1650, 1650) + 0.5)
    kappa = 1e-6 * np.sinh(u)
    weight = 1e-8 * np.cosh(u) * np.exp(-0.5 * kappa**2) / np.sqrt(2 * np.pi)
    mu0, mu1, mu2 = (row[0] for row in tables(kappa, r, c, gamma, "tanh", "tanh")[:3])
    mean = solution.m[0] * mu0 + solution.theta[0] * kappa * mu1
    s = solution.psi[0] * mu1
    root = np.sqrt(solution.q1[0, 0] * mu1**2 + solution.q2[0] * mu2)
    rho, cut = s / root, -gamma * kappa / np.sqrt(1 - gamma**2)
    h = -mean / root
    across = np.sqrt(1 - rho**2)
    both = (special.ndtr(h) + special.ndtr(cut) - (h * cut < 0)) / 2
    both -= special.owens_t(h, (cut - rho * h) / (h * across))
    both -= special.owens_t(cut, (h - rho * cut) / (cut * across))
    rate = weight @ (special.ndtr(h) + special.ndtr(cut) - 2 * both)
    assert solution.error_rate == pytest.approx(rate, rel=1e-8)
    assert solution.train_error_rate < rate * (1 - 1e-3)
