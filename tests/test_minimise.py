"""The lowest of all minima: functions with several, that jump, end, are flat or not known."""

import numpy as np
import pytest

from spikedrf.theory.minimise import minimise

# The unit is far below the range: x is its logarithm for all that matters.
GRID = np.geomspace(1e-3, 1e3, 20)


def search(value, slope, count=1, grid=GRID, unit=1e-3):
    """Minimise functions of (x, number) on one grid."""
    at = np.repeat(np.asarray(grid, dtype=float)[:, None], count, axis=1)

    def objective(x, which):
        which = np.broadcast_to(which, x.shape)
        return value(x, which), slope(x, which)

    return minimise(objective, at, np.full(count, unit), 1e-10)


def test_the_lowest_of_two_minima():
    """E = (t^2 - 4)^2 + tilt t in t = log x: the tilt says which of the two wells is lower."""
    tilt = np.array([-3.0, -0.1, 0.1, 3.0, 40.0])

    def value(x, which):
        t = np.log(x)
        return (t**2 - 4) ** 2 + tilt[which] * t

    def slope(x, which):
        t = np.log(x)
        return (4 * t * (t**2 - 4) + tilt[which]) / x

    found = search(value, slope, tilt.size)
    for i, extra in enumerate(tilt):
        roots = np.roots([4, 0, -16, extra])
        roots = roots[abs(roots.imag) < 1e-9].real
        wells = roots[12 * roots**2 > 16]
        best = wells[np.argmin((wells**2 - 4) ** 2 + extra * wells)]
        assert found.x[i] == pytest.approx(np.exp(best), rel=1e-9)
        assert found.count[i] == wells.size
        assert found.value[i] == pytest.approx((best**2 - 4) ** 2 + extra * best, rel=1e-12)
    assert not found.cut_off.any()


def test_ends():
    sign = np.array([1.0, -1.0, 0.0])
    found = search(lambda x, w: sign[w] * x, lambda x, w: sign[w] + 0 * x, 3)
    np.testing.assert_array_equal(found.x, [GRID[0], GRID[-1], GRID[0]])  # a constant: leftmost
    np.testing.assert_array_equal(found.count, 1)
    # A hill has a minimum at each end.
    height = np.array([0.1, -0.1])
    found = search(
        lambda x, w: -(np.log(x) ** 2) + height[w] * np.log(x),
        lambda x, w: (height[w] - 2 * np.log(x)) / x,
        2,
    )
    np.testing.assert_array_equal(found.x, [GRID[0], GRID[-1]])
    np.testing.assert_array_equal(found.count, 2)


def test_a_minimum_and_a_maximum_between_two_neighbours():
    """A cubic in t = log x whose wells are narrower than the grid is wide."""
    rng = np.random.default_rng(0)
    centre, half = rng.uniform(-5, 5, 200), rng.uniform(0.05, 0.3, 200)
    assert half.max() < np.diff(np.log(GRID)).min() / 2
    for sign in (1, -1):
        found = search(
            lambda x, w, sign=sign: (
                sign * ((np.log(x) - centre[w]) ** 3 / 3 - half[w] ** 2 * np.log(x))
            ),
            lambda x, w, sign=sign: sign * ((np.log(x) - centre[w]) ** 2 - half[w] ** 2) / x,
            200,
        )
        np.testing.assert_array_equal(found.x, GRID[0] if sign > 0 else GRID[-1])
        np.testing.assert_array_equal(found.count, 2)


def test_the_range_may_begin_at_zero_and_below():
    grid = [-5.0, -1.0, 0.0, 0.0, 1.0, 5.0]
    centre = np.array([-0.3, 0.0, 1e-9, 0.4, 9.0])
    found = search(
        lambda x, w: (x - centre[w]) ** 2, lambda x, w: 2 * (x - centre[w]), 5, grid, unit=0.1
    )
    np.testing.assert_allclose(found.x, [-0.3, 0.0, 1e-9, 0.4, 5.0], rtol=1e-9, atol=1e-11)


def test_what_is_flat_in_double_precision_goes_on_as_before():
    """1 + 1/x^6 falls for ever, 1 + 1e-16 sin is flat: its slopes are noise."""
    found = search(lambda x, w: 1 + x**-6.0, lambda x, w: -6 * x**-7.0)
    assert found.x == GRID[-1]
    found = search(lambda x, w: 1 + 0 * x, lambda x, w: 1e-16 * np.sin(7 * x) / x)
    assert found.x == GRID[0]
    assert found.count == 1
    # A flat bottom: some point of it.
    found = search(
        lambda x, w: 1 + np.maximum(abs(np.log(x)) - 2, 0) ** 2,
        lambda x, w: 2 * np.maximum(abs(np.log(x)) - 2, 0) * np.sign(np.log(x)) / x,
    )
    assert abs(np.log(found.x[0])) <= 2 + 1e-6
    assert found.count == 1
    # Flat, then falling, then rising: only one minimum.
    found = search(
        lambda x, w: 1 + np.where(x > 0.1, np.log(x / 0.1) * np.log(x / 10), 0),
        lambda x, w: np.where(x > 0.1, (np.log(x / 0.1) + np.log(x / 10)) / x, 0),
    )
    assert found.x == pytest.approx(1.0, rel=1e-9)
    assert found.count == 1


def test_jumps():
    """|x| + 1 but `at_zero` at 0: the neighbours of a jump tell nothing of each other."""
    at_zero = np.array([3.0, 0.5])
    grid = [-1.0, -1e-3, 0.0, 1e-3, 1.0]

    def value(x, which):
        return np.where(x == 0, at_zero[which], 1 + abs(x) + 0.1 * x)

    def slope(x, which):
        return np.where(x == 0, np.nan, np.sign(x) + 0.1)

    found = search(value, slope, 2, grid)
    np.testing.assert_array_equal(found.x, [-1e-3, 0.0])
    np.testing.assert_array_equal(found.count, [2, 3])
    assert not found.cut_off.any()


def test_what_is_not_known():
    """A parabola in log x that is known from `limit` on only."""
    limit = np.array([1e-9, 1.0, 30.0, 1e9])

    def value(x, which):
        return np.where(x >= limit[which], np.log(x / 10) ** 2, np.nan)

    def slope(x, which):
        return np.where(x >= limit[which], 2 * np.log(x / 10) / x, np.nan)

    found = search(value, slope, 4)
    np.testing.assert_allclose(found.x[:2], 10.0, rtol=1e-9)
    assert found.x[2] == GRID[GRID >= 30][0]
    assert np.isnan(found.x[3])
    assert np.isnan(found.value[3])
    np.testing.assert_array_equal(found.cut_off, [False, False, True, True])
    # Unknown between two points: the better of them, with a doubt.
    found = search(
        lambda x, w: np.where((x > 7) & (x < 14), np.nan, np.log(x / 10) ** 2),
        lambda x, w: np.where((x > 7) & (x < 14), np.nan, 2 * np.log(x / 10) / x),
    )
    assert found.cut_off[0]
    assert found.x[0] in GRID


def test_no_functions():
    found = search(lambda x, w: x, lambda x, w: x, 0)
    assert found.x.shape == found.count.shape == (0,)
