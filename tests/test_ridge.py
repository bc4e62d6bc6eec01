"""The ridge readout: primal, dual, streamed and path against plain NumPy."""

import numpy as np
import pytest

from spikedrf.readout import ridge
from spikedrf.readout.ridge import RidgeStatistics, ridge_readout
from spikedrf.running import memory

LAM = [1e-3, 0.1, 10.0]


def problem(n, p, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    Phi = np.tanh(rng.standard_normal((n, p))).astype(dtype)
    y = (Phi[:, 0] + 0.3 * rng.standard_normal(n)).astype(dtype)
    return Phi, y


def plain(Phi, y, lam):
    """The stacked least-squares problem: no Gram matrix anywhere."""
    Phi, y = Phi.astype(float), y.astype(float)
    p = Phi.shape[1]
    stacked = np.vstack([Phi / np.sqrt(p), np.sqrt(lam) * np.eye(p)])
    return np.linalg.lstsq(stacked, np.concatenate([y, np.zeros(p)]), rcond=None)[0]


SHAPES = [(60, 25), (25, 60), (40, 40), (1, 5), (5, 1), (1, 1)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("lam", LAM)
def test_against_stacked_least_squares(shape, lam):
    Phi, y = problem(*shape)
    np.testing.assert_allclose(ridge_readout(Phi, y, lam), plain(Phi, y, lam), rtol=0, atol=1e-10)


@pytest.mark.parametrize("shape", SHAPES)
def test_primal_and_dual_agree(shape):
    Phi, y = problem(*shape)
    primal = RidgeStatistics(shape[1])
    primal.update(Phi, y)
    for lam in (*LAM, LAM):
        either = ridge_readout(Phi, y, lam)  # the dual where n < p
        np.testing.assert_allclose(primal.solve(lam), either, rtol=0, atol=1e-10)


@pytest.mark.parametrize("shape", SHAPES)
def test_path_and_single_penalties_agree(shape):
    Phi, y = problem(*shape)
    lam = [0.0, *LAM]
    path = ridge_readout(Phi, y, lam)
    assert path.shape == (4, shape[1])
    for i, one in enumerate(lam):
        np.testing.assert_allclose(path[i], ridge_readout(Phi, y, one), rtol=0, atol=1e-10)
    square = ridge_readout(Phi, y, np.reshape(lam, (2, 2)))
    np.testing.assert_array_equal(square, path.reshape(2, 2, -1))


def test_a_path_needs_one_decomposition(monkeypatch):
    calls = []
    eigh = np.linalg.eigh
    monkeypatch.setattr(np.linalg, "eigh", lambda *a, **k: calls.append(1) or eigh(*a, **k))
    Phi, y = problem(30, 20)
    ridge_readout(Phi, y, np.geomspace(1e-3, 1, 50))
    assert len(calls) == 1
    ridge_readout(Phi, y, 0.1)
    assert len(calls) == 1  # one penalty: Cholesky


@pytest.mark.parametrize("shape", SHAPES)
def test_least_norm_without_penalty(shape):
    Phi, y = problem(*shape)
    expected = np.linalg.pinv(Phi / np.sqrt(shape[1])) @ y
    np.testing.assert_allclose(ridge_readout(Phi, y, 0.0), expected, rtol=1e-9, atol=1e-9)
    statistics = RidgeStatistics(shape[1])
    statistics.update(Phi, y)
    np.testing.assert_allclose(statistics.solve(0), expected, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("shape", [(30, 12), (12, 30)])
def test_dependent_features_without_penalty(shape):
    Phi, y = problem(*shape)
    Phi[:, 5:8] = Phi[:, :3]
    Phi[3] = Phi[4]
    expected = np.linalg.pinv(Phi / np.sqrt(shape[1])) @ y
    np.testing.assert_allclose(ridge_readout(Phi, y, 0.0), expected, rtol=0, atol=1e-10)
    statistics = RidgeStatistics(shape[1])
    statistics.update(Phi, y)
    np.testing.assert_allclose(statistics.solve(0.0), expected, rtol=0, atol=1e-7)
    # A penalty that rounding would swallow is no reason to fail.
    for lam in (1e-18, 1e-300):
        np.testing.assert_allclose(statistics.solve(lam), expected, rtol=0, atol=1e-7)
        assert np.isfinite(ridge_readout(Phi, y, lam)).all()


def test_streaming_and_merging():
    Phi, y = problem(101, 13)
    whole = RidgeStatistics(13)
    whole.update(Phi, y)
    first, second = RidgeStatistics(13), RidgeStatistics(13)
    first.update(Phi[:1], y[:1])
    first.update(np.asfortranarray(Phi[1:50]), y[1:50])
    second.update(Phi[50:], y[50:])
    first.merge(second)
    assert first.n == whole.n == 101
    np.testing.assert_allclose(whole.gram, Phi.T @ Phi, rtol=1e-13)
    np.testing.assert_allclose(first.gram, whole.gram, rtol=1e-12)
    np.testing.assert_allclose(first.moment, Phi.T @ y, rtol=1e-12, atol=1e-12)
    assert first.square == pytest.approx(y @ y)
    np.testing.assert_allclose(first.solve(LAM), ridge_readout(Phi, y, LAM), rtol=0, atol=1e-10)


def test_train_error():
    Phi, y = problem(60, 25)
    statistics = RidgeStatistics(25)
    statistics.update(Phi, y)
    a = statistics.solve(LAM)
    expected = np.mean((y - a @ Phi.T / 5) ** 2, axis=1)
    np.testing.assert_allclose(statistics.train_error(a), expected, rtol=1e-12)
    one = statistics.train_error(a[1])
    assert isinstance(one, float)
    assert one == pytest.approx(expected[1], rel=1e-12)
    # An exact fit: nothing is left but rounding, never below zero.
    exact = RidgeStatistics(25)
    exact.update(Phi[:20], y[:20])
    assert 0 <= exact.train_error(exact.solve(0.0)) < 25 * 2.3e-16 * np.mean(y**2) * 100


@pytest.mark.parametrize("shape", [(200, 40), (40, 200)])
def test_single_precision(shape):
    Phi, y = problem(*shape, dtype=np.float32)
    for lam in (0.1, LAM, 0.0):
        a = ridge_readout(Phi, y, lam)
        assert a.dtype == np.float32
        np.testing.assert_allclose(
            a, ridge_readout(Phi.astype(float), y.astype(float), lam), rtol=0, atol=5e-3
        )
    statistics = RidgeStatistics(shape[1], np.float32)
    statistics.update(Phi, y)
    a = statistics.solve(0.1)
    assert a.dtype == np.float32
    expected = np.mean((y - Phi.astype(float) @ a / np.sqrt(shape[1])) ** 2)
    assert statistics.train_error(a) == pytest.approx(expected, rel=1e-2, abs=1e-6)
    wide = RidgeStatistics(shape[1])
    wide.update(Phi, y)
    np.testing.assert_allclose(wide.solve(0.1), plain(Phi, y, 0.1), rtol=0, atol=1e-10)


def test_any_layout():
    Phi, y = problem(30, 12)
    expected = ridge_readout(Phi, y, 0.1)
    wide = np.zeros((60, 36))
    wide[::2, ::3] = Phi
    readonly = Phi.copy()
    readonly.flags.writeable = False
    for other in (
        np.asfortranarray(Phi),
        wide[::2, ::3],
        readonly,
        Phi.astype(">f8"),
        Phi.tolist(),
    ):
        np.testing.assert_allclose(ridge_readout(other, y, 0.1), expected, rtol=0, atol=1e-12)
        np.testing.assert_allclose(
            ridge_readout(np.transpose(other), y[:12], 0.1),
            ridge_readout(np.ascontiguousarray(Phi.T), y[:12], 0.1),
            rtol=0,
            atol=1e-12,
        )
        statistics = RidgeStatistics(12)
        statistics.update(other, y)
        np.testing.assert_allclose(statistics.solve(0.1), expected, rtol=0, atol=1e-12)


def bad_calls():
    Phi, y = problem(10, 4)
    nan = Phi.copy()
    nan[7, 2] = np.nan
    infinite = y.copy()
    infinite[3] = np.inf
    return [
        (Phi.astype(int), y, 0.1, TypeError, "^Phi must be an array of float32 or float64"),
        (Phi, y.astype(object), 0.1, TypeError, "^y must be an array of float32 or float64"),
        (Phi, y[:-1], 0.1, ValueError, "shapes do not match"),
        (Phi[0], y, 0.1, ValueError, "^Phi must have 2 axes"),
        (Phi[:0], y[:0], 0.1, ValueError, r"^Phi must not be empty, got shape \(0, 4\)"),
        (nan, y, 0.1, ValueError, r"^Phi must be finite, got nan at index \[7, 2\]"),
        (Phi, infinite, 0.1, ValueError, r"^y must be finite, got inf at index \[3\]"),
        (Phi, y, -0.1, ValueError, "^lam must be >= 0"),
        (Phi, y, [0.1, np.nan], ValueError, "^lam must be >= 0"),
        (Phi, y, "much", TypeError, "^lam must be a real number"),
    ]


@pytest.mark.parametrize(("Phi", "y", "lam", "error", "message"), bad_calls())
def test_bad_input(Phi, y, lam, error, message):
    with pytest.raises(error, match=message):
        ridge_readout(Phi, y, lam)

    def stream():
        statistics = RidgeStatistics(4)
        statistics.update(Phi, y)
        statistics.solve(lam)

    with pytest.raises(error, match=message):
        stream()


def test_bad_statistics():
    Phi, y = problem(10, 4)
    for p, error in ((0, ValueError), (2.0, TypeError), (True, TypeError)):
        with pytest.raises(error, match=r"^p must be"):
            RidgeStatistics(p)
    with pytest.raises(TypeError, match=r"^dtype must be"):
        RidgeStatistics(4, np.int64)
    statistics = RidgeStatistics(4)
    with pytest.raises(ValueError, match="no samples"):
        statistics.solve(0.1)
    with pytest.raises(ValueError, match="no samples"):
        statistics.train_error(np.ones(4))
    with pytest.raises(ValueError, match="4 columns"):
        statistics.update(Phi[:, :3], y)
    statistics.update(Phi, y)
    with pytest.raises(ValueError, match=r"a must have shape \(\.\.\., 4\)"):
        statistics.train_error(np.ones(3))
    with pytest.raises(ValueError, match="cannot merge statistics of 3 features"):
        statistics.merge(RidgeStatistics(3))
    with pytest.raises(ValueError, match="float32"):
        statistics.merge(RidgeStatistics(4, np.float32))
    with pytest.raises(TypeError, match="cannot merge dict"):
        statistics.merge({})


def test_memory_that_would_not_fit(monkeypatch):
    with pytest.raises(MemoryError, match=rf"would take {10**14 * 8} bytes"):
        RidgeStatistics(10**7)
    tall = np.lib.stride_tricks.as_strided(np.ones(2), (4000, 4000), (0, 0))
    asked = []
    monkeypatch.setattr(ridge, "require_memory", lambda size, *what: asked.append(size))
    ridge_readout(tall[:5, :3].copy(), np.ones(5), 1.0)
    assert asked == [3 * 3 * 8, 3 * 3 * 8]
    monkeypatch.undo()
    monkeypatch.setattr(memory, "available_memory", lambda: 1000)
    with pytest.raises(MemoryError, match="1000 are available"):
        ridge_readout(tall, np.ones(4000), 1.0)
