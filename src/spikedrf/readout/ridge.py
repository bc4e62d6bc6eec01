"""Ridge regression of the readout: from blocks of features, for one penalty or a path of them."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike
from scipy import linalg
from scipy.linalg import blas

from spikedrf.arrays import Array, data_array, require_finite, require_match
from spikedrf.parameters import Floats, real_array
from spikedrf.running.memory import require_memory


class RidgeStatistics:
    r"""What ridge regression needs of the data: ``Phi^T Phi``, ``Phi^T y``, ``y^T y`` and n.

    Blocks of samples are added one after the other (or in several objects that are then merged),
    so the ``n x p`` features never have to exist::

        a = argmin_a  sum_mu w_mu (y_mu - b - Phi_mu . a / sqrt p)^2 + lam |a|^2

    Parameters
    ----------
    p : int
        Number of features.
    dtype : {float64, float32}
        Precision of the sums and of the solution. Features of other precision are converted.
    targets : int, optional
        Number of targets; by default there is one and ``y`` is one-dimensional.
    intercept : bool
        Whether an intercept ``b``, which is not penalised, is fitted too. The sums are then of
        deviations from the means, which are kept up to date block by block without cancellation.

    Attributes
    ----------
    n : float
        Samples seen, or the sum of their weights.
    upper : ndarray, shape (p, p)
        Upper triangle of ``Phi^T Phi``, of the deviations from the means if there is an
        intercept; in Fortran order, zero below.
    moment : ndarray, shape (p,) or (p, targets)
        ``Phi^T y``, likewise.
    square : float or ndarray, shape (targets,)
        ``y^T y``, likewise.
    mean : ndarray, shape (p,)
        Mean features; zero without an intercept.
    mean_y : float or ndarray, shape (targets,)
        Mean labels; zero without an intercept.

    Raises
    ------
    TypeError, ValueError
        If ``p`` or ``dtype`` is out of range.
    MemoryError
        If a p x p matrix would not fit into memory, before it is asked for.

    Notes
    -----
    Forming ``Phi^T Phi`` squares the condition number: directions of the features weaker than
    ``sqrt(p eps)`` times the strongest are lost to rounding. A penalty hides this, and for
    ``lam = 0`` such directions count as absent.

    Source: theory.md, section 1.

    Examples
    --------
    >>> import numpy as np
    >>> from spikedrf.readout.ridge import RidgeStatistics
    >>> statistics = RidgeStatistics(2)
    >>> statistics.update(np.eye(2), np.array([1.0, 2.0]))
    >>> statistics.solve(0.5) / np.sqrt(2)
    array([0.5, 1. ])
    """

    def __init__(
        self,
        p: int,
        dtype: DTypeLike = np.float64,
        *,
        targets: int | None = None,
        intercept: bool = False,
    ) -> None:
        self.dtype = np.dtype(dtype)
        if self.dtype not in (np.dtype(np.float32), np.dtype(np.float64)):
            raise TypeError(f"dtype must be float32 or float64, got {self.dtype}")
        if not isinstance(p, (int, np.integer)) or isinstance(p, bool):
            raise TypeError(f"p must be an integer, got {p!r}")
        if p < 1:
            raise ValueError(f"p must be at least 1, got {p}")
        self.p = int(p)
        self.n = 0.0
        self.intercept = intercept
        self.labels: tuple[int, ...] = () if targets is None else (int(targets),)
        size = self.p * self.p * self.dtype.itemsize
        require_memory(size, f"the Gram matrix of {p} features", "use fewer features")
        self.upper = np.zeros((self.p, self.p), self.dtype, order="F")
        self.moment = np.zeros((self.p, *self.labels), self.dtype)
        self.square: Any = np.zeros(self.labels)[()]
        self.mean = np.zeros(self.p, self.dtype)
        self.mean_y: Any = np.zeros(self.labels)[()]

    @property
    def gram(self) -> Array:
        """``Phi^T Phi``, shape (p, p), a copy."""
        return np.asarray(np.triu(self.upper) + np.triu(self.upper, 1).T)

    def update(
        self,
        Phi: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        overwrite: bool = False,
    ) -> None:
        """Add a block of samples.

        Parameters
        ----------
        Phi : array_like of float32 or float64, shape (m, p)
            Features.
        y : array_like of float32 or float64, shape (m,) or (m, targets)
            Labels.
        sample_weight : array_like, shape (m,), optional
            Weights, >= 0: of weight 2 is a sample that is there twice.
        overwrite : bool
            Whether ``Phi`` may be used as scratch space.

        Raises
        ------
        TypeError, ValueError
            If the arrays are not of float32 or float64, shapes do not match, or an entry is not
            finite. Then nothing has been added.
        """
        given, (Phi, y) = Phi, _data(Phi, y, self.labels)
        if Phi.shape[1] != self.p:
            raise ValueError(f"Phi must have {self.p} columns, got shape {Phi.shape}")
        weight = None if sample_weight is None else real_array("sample_weight", sample_weight)
        if weight is not None and weight.shape != Phi.shape[:1]:
            raise ValueError(
                f"sample_weight must have shape {Phi.shape[:1]}, got shape {weight.shape}"
            )
        if weight is not None and weight.min() < 0:
            raise ValueError(f"sample_weight must be >= 0, got {float(weight.min())!r}")
        total = float(len(Phi) if weight is None else weight.sum())
        if total == 0.0:
            return
        y64 = y.astype(np.float64, copy=False)
        Phi = Phi.astype(self.dtype, copy=False)
        ours = overwrite and Phi is given and bool(np.asarray(Phi).flags.writeable)
        if (self.intercept or weight is not None) and not ours:
            Phi = Phi.copy()
        self._own()
        if self.intercept:
            # Deviations from the block's own means, and then what the means differ by: the
            # pairwise update of a covariance, in which nothing cancels.
            share = np.full(len(Phi), 1.0 / total) if weight is None else weight / total
            mean, mean_y = share.astype(self.dtype) @ Phi, share @ y64
            Phi -= mean
            y64 = y64 - mean_y
            shift, shift_y = mean - self.mean, mean_y - self.mean_y
            self._add_shift(shift, shift_y, self.n * total / (self.n + total))
            self.mean += shift * (total / (self.n + total))
            self.mean_y = self.mean_y + shift_y * (total / (self.n + total))
        if weight is not None:
            root = np.sqrt(weight)
            Phi *= root[:, None].astype(self.dtype)
            y64 = y64 * root.reshape(-1, *(1 for _ in self.labels))
        add_gram(Phi, self.upper)
        self.moment += Phi.T @ y64.astype(self.dtype, copy=False)
        self.square = self.square + np.sum(y64 * y64, axis=0)
        self.n += total

    def _own(self) -> None:
        """Copy the sums that are read-only, such as those of a memory map: BLAS does not look."""
        for name in ("upper", "moment", "mean"):
            array = getattr(self, name)
            if not array.flags.writeable:
                setattr(self, name, array.copy(order="K"))

    def __copy__(self) -> RidgeStatistics:
        """Return a copy with sums of its own, which are added to in place."""
        return copy.deepcopy(self)

    def _add_shift(self, shift: Array, shift_y: Any, weight: float) -> None:
        if weight == 0.0:
            return
        syr = blas.get_blas_funcs("syr", dtype=self.dtype)
        syr(weight, shift, a=self.upper, overwrite_a=1)
        self.moment += np.multiply.outer(weight * shift, shift_y).astype(self.dtype)
        self.square = self.square + weight * np.square(shift_y)

    def merge(self, other: RidgeStatistics) -> None:
        """Add the samples that another object has seen.

        Raises
        ------
        TypeError, ValueError
            If it is no `RidgeStatistics` of as many features and targets, the same dtype and
            intercept.
        """
        if not isinstance(other, RidgeStatistics):
            raise TypeError(f"cannot merge {type(other).__name__} into RidgeStatistics")
        kind, theirs = ((x.p, x.dtype, x.labels, x.intercept) for x in (self, other))
        if kind != theirs:
            raise ValueError(
                f"cannot merge statistics of {other.p} features in {other.dtype} into "
                f"{self.p} in {self.dtype}, or of other targets or intercept"
            )
        if other.n == 0.0:
            return
        self._own()
        if self.intercept:
            shift, shift_y = other.mean - self.mean, other.mean_y - self.mean_y
            total = self.n + other.n
            self._add_shift(shift, shift_y, self.n * other.n / total)
            self.mean += shift * (other.n / total)
            self.mean_y = self.mean_y + shift_y * (other.n / total)
        self.upper += other.upper
        self.moment += other.moment
        self.square = self.square + other.square
        self.n += other.n

    def solve(self, lam: ArrayLike) -> Array:
        """Return the readout for one penalty or several.

        Parameters
        ----------
        lam : float or array_like
            Penalty, >= 0. One is solved by a Cholesky factorisation, several share one
            eigendecomposition. For 0 the solution of least norm is returned.

        Returns
        -------
        ndarray, shape (..., p) or (..., p, targets)
            One readout for each penalty.

        Raises
        ------
        TypeError, ValueError
            If a penalty is not a number or negative, or there are no samples yet.
        MemoryError
            If the factorisation would not fit into memory, before it is asked for.
        """
        self._require_samples()
        penalty = real_array("lam", lam, minimum=0.0)
        rhs = self.moment / np.sqrt(self.p).astype(self.dtype)
        return _solve_shifted(self.upper, 1.0 / self.p, rhs, penalty)

    def offset(self, a: Array) -> Any:
        """Return the intercept ``b`` that belongs to a readout, 0 if none is fitted.

        Parameters
        ----------
        a : ndarray, shape (p,) or (p, targets)

        Returns
        -------
        float or ndarray, shape (targets,)
        """
        return self.mean_y - self.mean.astype(np.float64) @ a / np.sqrt(self.p)

    def train_error(self, a: ArrayLike) -> Any:
        """Mean squared residual ``(1/n) sum (y - Phi a/sqrt p)^2`` of the samples seen.

        From the statistics, without a second pass. Three numbers of the size of ``y^T y`` (for a
        fit that is not wild) almost cancel if the fit is close: the absolute error is about
        ``p eps`` times the mean of ``y^2``, so an error far below ``1e-12`` of that (``1e-4`` in
        float32) cannot be told from 0. Never negative. Of one target only.

        Parameters
        ----------
        a : array_like, shape (..., p)
            Readouts.

        Returns
        -------
        float or ndarray, shape (...)

        Raises
        ------
        TypeError, ValueError
            If ``a`` has the wrong dtype or shape, or there are no samples yet.
        """
        self._require_samples()
        a = data_array("a", a, np.ndim(a))
        if a.ndim == 0 or a.shape[-1] != self.p or self.labels:
            raise ValueError(f"a must have shape (..., {self.p}), got {a.shape}")
        scaled = a.reshape(-1, self.p).astype(np.float64) / np.sqrt(self.p)
        symm = blas.dsymm if self.dtype == np.float64 else blas.ssymm
        product = symm(1.0, self.upper, scaled.T.astype(self.dtype, order="F"))
        fit = np.sum(scaled.T * product, axis=0, dtype=np.float64)
        error = (self.square - 2.0 * scaled @ self.moment.astype(np.float64) + fit) / self.n
        error = np.maximum(error, 0.0).reshape(a.shape[:-1])
        return float(error) if a.ndim == 1 else error

    def _require_samples(self) -> None:
        if self.n == 0:
            raise ValueError("there are no samples yet: call update first")


def ridge_readout(Phi: ArrayLike, y: ArrayLike, lam: ArrayLike) -> Array:
    r"""Ridge regression of the readout on features that are in memory.

    ``a = argmin_a sum_mu (y_mu - Phi_mu . a / sqrt p)^2 + lam |a|^2``, from the smaller of the
    two Gram matrices: ``Phi^T Phi`` (p x p) or, for ``n < p``, ``Phi Phi^T`` (n x n).

    Parameters
    ----------
    Phi : array_like of float32 or float64, shape (n, p)
        Features.
    y : array_like of float32 or float64, shape (n,)
        Labels.
    lam : float or array_like
        Penalty, >= 0. Several share one eigendecomposition. For 0 the solution of least norm is
        returned, from the features themselves (a singular value decomposition).

    Returns
    -------
    ndarray, shape (..., p)
        One readout for each penalty, in the dtype of ``Phi``.

    Raises
    ------
    TypeError, ValueError
        If an array is not of float32 or float64, shapes do not match, an entry is not finite, or
        a penalty is negative.
    MemoryError
        If the Gram matrix would not fit into memory, before it is asked for.

    Notes
    -----
    Source: theory.md, section 1.
    """
    Phi, y = _data(Phi, y)
    penalty = real_array("lam", lam, minimum=0.0)
    n, p = Phi.shape
    y = y.astype(Phi.dtype, copy=False)
    root = np.sqrt(p).astype(Phi.dtype)
    a = np.empty((penalty.size, p), Phi.dtype)
    flat = penalty.ravel()
    absent = flat == 0.0
    if absent.any():
        require_memory(2 * Phi.nbytes, f"the decomposition of features of shape {Phi.shape}")
        a[absent] = np.linalg.lstsq(Phi, y, rcond=None)[0] * root
    if not absent.all():
        size = min(n, p)
        require_memory(size * size * Phi.itemsize, f"a Gram matrix of order {size}")
        gram = np.zeros((size, size), Phi.dtype, order="F")
        add_gram(Phi if n >= p else Phi.T, gram)
        rhs = Phi.T @ y / root if n >= p else y
        several = flat[~absent] if penalty.ndim else flat[0]
        x = _solve_shifted(gram, 1.0 / p, rhs, several)
        a[~absent] = x if n >= p else x @ Phi / root
    return a.reshape(*penalty.shape, p)


def _data(Phi: ArrayLike, y: ArrayLike, labels: tuple[int, ...] = ()) -> tuple[Array, Array]:
    Phi, y = data_array("Phi", Phi, 2), data_array("y", y, 1 + len(labels))
    require_match(Phi=(Phi, 0), y=(y, 0))
    if y.shape[1:] != labels:
        raise ValueError(f"y must have {labels[0]} columns, got shape {y.shape}")
    require_finite("Phi", Phi)
    require_finite("y", y)
    return Phi, y


def add_gram(Phi: Array, gram: Array) -> None:
    """Add ``Phi^T Phi`` to the upper triangle of a matrix in Fortran order, in place."""
    if not (gram.flags.writeable and gram.flags.f_contiguous):  # BLAS would not look
        raise ValueError("gram must be writable and in Fortran order")
    syrk = blas.dsyrk if gram.dtype == np.float64 else blas.ssyrk
    if Phi.flags.f_contiguous:
        syrk(1.0, Phi, beta=1.0, c=gram, trans=1, overwrite_c=1)
    else:
        syrk(1.0, np.ascontiguousarray(Phi).T, beta=1.0, c=gram, overwrite_c=1)


def require_finite_gram(gram: Array) -> None:
    """Raise ValueError if a Gram matrix of features has overflowed."""
    if not np.isfinite(np.trace(gram)):
        raise ValueError(
            f"Phi must be smaller: products of the features overflow {gram.dtype}; standardise the "
            f"inputs, or take a smaller step_size"
        )


def _solve_shifted(gram: Array, scale: float, rhs: Array, lam: Floats) -> Array:
    """Solve ``(scale gram + lam I) x = rhs`` for every lam; gram is an upper triangle.

    Below the rounding errors of its largest eigenvalue the matrix counts as singular, and the
    solution of least norm is taken.
    """
    size = len(rhs)
    require_memory(
        (1 if lam.ndim == 0 else 3) * gram.nbytes, f"the factorisation of a matrix of order {size}"
    )
    require_finite_gram(gram)
    lost = size * float(np.finfo(gram.dtype).eps)
    matrix = gram * np.asarray(scale, gram.dtype)
    if lam.ndim == 0 and _exceeds(lam, lost, matrix):
        matrix[np.diag_indices(size)] += np.asarray(lam, gram.dtype)
        factor = linalg.cho_factor(matrix, lower=False, overwrite_a=True, check_finite=False)
        return np.asarray(linalg.cho_solve(factor, rhs, check_finite=False))
    # numpy's eigh lets go of the GIL, scipy's does not.
    value, vector = np.linalg.eigh(matrix, UPLO="U")
    shifted = np.maximum(value, 0.0) + lam[..., None]
    weight = np.zeros_like(shifted)
    np.divide(1.0, shifted, out=weight, where=shifted > lost * value[-1])
    if rhs.ndim == 2:
        rotated = (weight[..., None] * (vector.T @ rhs)).astype(gram.dtype)
        return np.asarray(vector @ rotated)
    return np.asarray((weight * (rhs @ vector)).astype(gram.dtype) @ vector.T)


def _exceeds(lam: Floats, lost: float, matrix: Array) -> bool:
    """Whether ``lam`` is above ``lost`` times the largest eigenvalue, whatever that is.

    It is at most the trace and at most the largest sum of magnitudes in a row, which for features
    that are nearly orthogonal is far less. Then no factorisation of ``matrix + lam I`` (an upper
    triangle) can break down.
    """
    if lam > lost * float(np.trace(matrix, dtype=np.float64)):
        return True
    size = np.abs(matrix)
    rows = size.sum(axis=0) + size.sum(axis=1) - size.diagonal()
    return bool(lam > lost * float(rows.max()))
