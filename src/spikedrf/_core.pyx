"""The compiled core: signatures, allocation, one call without the GIL each."""

from libc.stdint cimport int32_t, int64_t
from libcpp cimport bool as cbool
from libcpp.vector cimport vector

import numpy as np

cdef extern from "functions/activation.hpp" namespace "spikedrf" nogil:
    cdef enum class Activation(int):
        pass
    int activation_count
    const char* activation_name(Activation)
    cbool is_linear(Activation)
    cbool saturates_left(Activation)
    cbool saturates_right(Activation)
    cbool has_derivative(Activation)
    void activate(Activation, const double*, double*, size_t)
    void activate_derivative(Activation, const double*, double*, size_t)

cdef extern from "tables/moments.hpp" namespace "spikedrf" nogil:
    cdef struct MomentSlopes:
        double* f2
        double* f3
        double* p1
        double* p2
    cdef cppclass GaussianMoments:
        cbool evaluate(const double*, size_t, double, int, double*, double*, double*,
                       const MomentSlopes*) except +
    cdef cppclass NamedMoments(GaussianMoments):
        NamedMoments(Activation)
    ctypedef int (*MomentFunction)(void*, const double*, size_t, double, int, double*, double*,
                                   double*, const MomentSlopes*) noexcept
    cdef cppclass CallbackMoments(GaussianMoments):
        CallbackMoments(MomentFunction, void*, vector[double], double) except +

cdef extern from "equations/bulk.hpp" namespace "spikedrf" nogil:
    cdef struct Bulk:
        int nodes
        const double* value
        const double* trace
        int directions
        const double* forms
        size_t stride

cdef extern from "batches/solver.hpp" namespace "spikedrf" nogil:
    cdef struct Spikes:
        size_t count
        int groups
        const double* r
        const double* c
        const double* gamma
        const double* pi
        int bulk_nodes
        int bulk_rules
        Bulk bulk
    cdef struct Points:
        size_t count
        const int64_t* spike
        const double* alpha
        const double* beta
        const double* lam
        const double* noise
    cdef struct Accuracy:
        double rtol
        size_t max_nodes
    cdef struct Results:
        double* test_error
        double* excess_error
        double* train_error
        double* norm
        double* m
        double* theta
        double* psi
        double* q1
        double* q2
        double* V1
        double* V2
        int32_t* status
        int32_t* nit
        int64_t* nodes
        double* residual
        double* quadrature_error
    cbool solve(const Spikes&, const Points&, GaussianMoments&, GaussianMoments&, Accuracy,
                const Results&) except +
    cbool tabulate(const Spikes&, GaussianMoments&, GaussianMoments&, size_t, size_t,
                   vector[double]&) except +


def activations():
    """Properties of every named activation, in the order of their codes."""
    return [
        {
            "name": activation_name(<Activation>code).decode(),
            "linear": is_linear(<Activation>code),
            "saturates": (saturates_left(<Activation>code), saturates_right(<Activation>code)),
            "differentiable": has_derivative(<Activation>code),
        }
        for code in range(activation_count)
    ]


def evaluate(int code, const double[::1] x, bint derivative=False):
    """sigma(x), or sigma'(x), of a named activation."""
    out = np.empty(x.shape[0])
    cdef double[::1] view = out
    cdef Py_ssize_t n = x.shape[0]
    if n == 0:
        return out
    with nogil:
        if derivative:
            activate_derivative(<Activation>code, &x[0], &view[0], n)
        else:
            activate(<Activation>code, &x[0], &view[0], n)
    return out


cdef class Function:
    """An activation or target as the solver sees it: a named one or a Python evaluator.

    The evaluator maps (mean, sd, effort, slopes) to the moment arrays (e0, e1, e2), with slopes
    also (f2, f3, p1, p2), of a function that is smooth on the scale `grain` except at `breaks`.
    """

    cdef GaussianMoments* moments
    cdef object evaluator
    cdef readonly object error

    def __cinit__(self, function):
        cdef vector[double] breaks
        if isinstance(function, int):
            self.moments = new NamedMoments(<Activation><int>function)
        else:
            self.evaluator, points, grain = function
            breaks = points
            self.moments = new CallbackMoments(call_evaluator, <void*>self, breaks, grain)

    def __dealloc__(self):
        del self.moments

    def __call__(self, const double[::1] mean, double sd, int effort=0, bint slopes=False):
        """e0 = E f, e1 = E z f, e2 = E f^2 - e0^2 - e1^2 of f(mean + sd z); with slopes also the
        moments f2, f3, p1, p2 that their derivatives are made of."""
        cdef Py_ssize_t n = mean.shape[0]
        out = np.empty((7 if slopes else 3, n))
        cdef double[:, ::1] view = out
        cdef MomentSlopes rows
        cdef cbool done = True
        if n:
            if slopes:
                rows = MomentSlopes(&view[3, 0], &view[4, 0], &view[5, 0], &view[6, 0])
            with nogil:
                done = self.moments.evaluate(&mean[0], n, sd, effort, &view[0, 0], &view[1, 0],
                                             &view[2, 0], &rows if slopes else NULL)
        if not done:
            raise self.error
        return out


cdef int copy_row(values, double* out, size_t n) except -1:
    cdef const double[::1] row = np.ascontiguousarray(values, dtype=np.float64)
    cdef size_t i
    for i in range(n):
        out[i] = row[i]
    return 0


cdef int call_evaluator(void* context, const double* mean, size_t n, double sd, int effort,
                        double* e0, double* e1, double* e2,
                        const MomentSlopes* slopes) noexcept with gil:
    cdef Function function = <Function>context
    try:
        means = np.asarray(<const double[:n]>mean).copy()
        moments = function.evaluator(means, sd, effort, slopes != NULL)
        copy_row(moments[0], e0, n)
        copy_row(moments[1], e1, n)
        copy_row(moments[2], e2, n)
        if slopes != NULL:
            copy_row(moments[3], slopes.f2, n)
            copy_row(moments[4], slopes.f3, n)
            copy_row(moments[5], slopes.p1, n)
            copy_row(moments[6], slopes.p2, n)
    except BaseException as error:
        # No exception may cross the C++ frames between here and the caller, who raises it.
        function.error = error
        return 1
    return 0


cdef void take_bulk(Spikes* spikes, const double[:, :, ::1] value, const double[:, :, ::1] weight):
    spikes.bulk_nodes = 0
    spikes.bulk_rules = 1
    if value is None:
        return
    spikes.bulk_nodes = <int>value.shape[1]
    spikes.bulk_rules = <int>(<size_t>value.shape[0] // spikes.count)
    spikes.bulk.value = &value[0, 0, 0]
    spikes.bulk.trace = &weight[0, 0, 0]
    spikes.bulk.directions = 2
    spikes.bulk.forms = &weight[1, 0, 0]
    spikes.bulk.stride = weight.shape[1] * weight.shape[2]


cdef void take_spikes(Spikes* spikes, const double[:, ::1] r, const double[:, ::1] c,
                      const double[::1] gamma, const double[:, ::1] pi,
                      const double[:, :, ::1] bulk_value, const double[:, :, ::1] bulk_weight):
    spikes.count = r.shape[0]
    spikes.groups = <int>r.shape[1]
    spikes.r = &r[0, 0]
    spikes.c = &c[0, 0]
    spikes.gamma = NULL
    if gamma is not None:
        spikes.gamma = &gamma[0]
    spikes.pi = &pi[0, 0]
    take_bulk(spikes, bulk_value, bulk_weight)


cdef void take_points(Points* points, const int64_t[::1] spike, const double[::1] alpha,
                      const double[::1] beta, const double[::1] lam, const double[::1] noise,
                      Py_ssize_t start, Py_ssize_t stop):
    points.count = stop - start
    points.spike = &spike[start]
    points.alpha = &alpha[start]
    points.beta = &beta[start]
    points.lam = &lam[start]
    points.noise = &noise[start]


cdef void take_results(Results* results, double[:, ::1] scalars, double[:, :, ::1] vectors,
                       double[:, :, :, ::1] matrices, int32_t[:, ::1] counts, int64_t[::1] nodes,
                       Py_ssize_t start):
    results.test_error = &scalars[0, start]
    results.excess_error = &scalars[1, start]
    results.train_error = &scalars[2, start]
    results.norm = &scalars[3, start]
    results.residual = &scalars[4, start]
    results.quadrature_error = &scalars[5, start]
    results.m = &vectors[0, start, 0]
    results.theta = &vectors[1, start, 0]
    results.psi = &vectors[2, start, 0]
    results.q2 = &vectors[3, start, 0]
    results.V2 = &vectors[4, start, 0]
    results.q1 = &matrices[0, start, 0, 0]
    results.V1 = &matrices[1, start, 0, 0]
    results.status = &counts[0, start]
    results.nit = &counts[1, start]
    results.nodes = &nodes[start]


def solve_points(activation, target, const double[:, ::1] r, const double[:, ::1] c,
                 const double[::1] gamma, const double[:, ::1] pi, const int64_t[::1] spike,
                 const double[::1] alpha, const double[::1] beta, const double[::1] lam,
                 const double[::1] noise, double rtol, size_t max_nodes,
                 double[:, ::1] scalars, double[:, :, ::1] vectors, double[:, :, :, ::1] matrices,
                 int32_t[:, ::1] counts, int64_t[::1] nodes, Py_ssize_t start, Py_ssize_t stop,
                 const double[:, :, ::1] bulk_value=None, const double[:, :, ::1] bulk_weight=None):
    """Solve points[start:stop] (sorted by spike) into the result arrays.

    scalars: test, excess, train, norm, residual, quadrature_error; vectors: m, theta, psi, q2, V2;
    matrices: q1, V1; counts: status, nit. The point is the second axis. Without bulk_value the bulk
    is isotropic; otherwise bulk_value (spikes rules x nodes x groups) holds one description of the
    bulk or several of each spike, which take turns on the quadrature rules, and bulk_weight
    (4 x spikes rules x nodes) the weights seen by the trace, (v, v), (v, xi) and (xi, xi).
    """
    cdef Spikes spikes
    cdef Points points
    cdef Results results
    cdef Accuracy accuracy
    if stop <= start:
        return
    # Scratch space belongs to the function objects: one pair for every call.
    cdef Function sigma = Function(activation)
    cdef Function g = Function(target)
    take_spikes(&spikes, r, c, gamma, pi, bulk_value, bulk_weight)
    take_points(&points, spike, alpha, beta, lam, noise, start, stop)
    accuracy.rtol = rtol
    accuracy.max_nodes = max_nodes
    take_results(&results, scalars, vectors, matrices, counts, nodes, start)
    cdef cbool done
    with nogil:
        done = solve(spikes, points, sigma.moments[0], g.moments[0], accuracy, results)
    if not done:
        raise sigma.error if sigma.error is not None else g.error


def tables(activation, target, const double[::1] r, const double[::1] c, double gamma,
           size_t level, size_t max_nodes):
    """The tables of a spike on one rule of its ladder, None once that is at its end.

    Rows weight, h, hz, g2, then mu0, mu1 and kappa mu1 of every group.
    """
    cdef Function sigma = Function(activation)
    cdef Function g = Function(target)
    cdef Spikes spikes
    cdef vector[double] rows
    cdef cbool done
    cdef Py_ssize_t i
    spikes.count = 1
    spikes.groups = <int>r.shape[0]
    spikes.r = &r[0]
    spikes.c = &c[0]
    spikes.gamma = &gamma
    spikes.pi = NULL
    spikes.bulk_nodes = 0
    with nogil:
        done = tabulate(spikes, sigma.moments[0], g.moments[0], level, max_nodes, rows)
    if not done:
        raise sigma.error if sigma.error is not None else g.error
    if rows.empty():
        return None
    out = np.empty(rows.size())
    cdef double[::1] view = out
    for i in range(view.shape[0]):
        view[i] = rows[i]
    return out.reshape(4 + 3 * spikes.groups, -1)


cdef extern from "network/features.hpp" namespace "spikedrf" nogil:
    void activate(Activation, const float*, float*, size_t)
    size_t spike_features[Real](Activation, const Real*, const Real*, const Real*, Real, Real*,
                                size_t, size_t)
    void residual_and_slopes[Real](Activation, Real*, const Real*, const Real*, Real*, size_t,
                                   size_t)

ctypedef fused real:
    float
    double


def activate_block(int code, real[:, ::1] block):
    """block <- sigma(block)."""
    with nogil:
        activate(<Activation>code, &block[0, 0], &block[0, 0], block.shape[0] * block.shape[1])


def spike_block(int code, const real[:, ::1] Z, const real[::1] s, const real[::1] u, real eta,
                real[:, ::1] out):
    """out <- sigma(Z + eta s u^T), up to the first row that is not finite; the rows done."""
    cdef size_t done
    with nogil:
        done = spike_features(<Activation>code, &Z[0, 0], &s[0], &u[0], eta, &out[0, 0],
                              Z.shape[0], Z.shape[1])
    return done


def residual_block(int code, real[:, ::1] Z, const real[::1] y, const real[::1] u,
                   real[::1] residual):
    """residual <- y - sigma(Z) u / p, then Z <- sigma'(Z)."""
    with nogil:
        residual_and_slopes(<Activation>code, &Z[0, 0], &y[0], &u[0], &residual[0], Z.shape[0],
                            Z.shape[1])


cdef extern from "batches/gradient.hpp" namespace "spikedrf" nogil:
    cdef struct Directions:
        size_t count
        const double* slope
        const double* scale
        const double* bulk
    cdef struct Wanted:
        cbool alpha
        cbool beta
        cbool lam
        cbool noise
    cdef struct Gradients:
        double* test_error
        double* alpha
        double* beta
        double* lam
        double* noise
        double* along
        double* quadrature_error
        int32_t* status
    cbool gradient(const Spikes&, const Points&, const Directions&, Wanted, GaussianMoments&,
                   GaussianMoments&, Accuracy, const Gradients&) except +


def gradient_points(activation, target, const double[:, ::1] r, const double[:, ::1] c,
                    const double[::1] gamma, const double[:, ::1] pi, const int64_t[::1] spike,
                    const double[::1] alpha, const double[::1] beta, const double[::1] lam,
                    const double[::1] noise, const double[:, :, ::1] direction,
                    const double[:, ::1] scale, wanted, double rtol, size_t max_nodes,
                    double[:, ::1] scalars, double[:, ::1] along, int32_t[::1] status,
                    Py_ssize_t start, Py_ssize_t stop, const double[:, :, ::1] bulk_value=None,
                    const double[:, :, ::1] bulk_weight=None,
                    const double[:, :, ::1] bulk_direction=None):
    """Derivatives of the test error at points[start:stop] (sorted by spike).

    direction (spikes x D x (2K + 1)) holds dr, dc, dgamma, scale (spikes x D) what matters;
    wanted: the names among alpha, beta, lam, noise. scalars: test error, d/dalpha, d/dbeta, d/dlam,
    d/dnoise at a fixed spike, quadrature_error; along (points x D): the directional derivatives.
    Bulk as for solve_points; bulk_direction (spikes rules x D x nodes (K + 4)) is how its values and
    then its four weights move.
    """
    cdef Spikes spikes
    cdef Points points
    cdef Directions directions
    cdef Wanted names
    cdef Gradients results
    cdef Accuracy accuracy
    if stop <= start:
        return
    cdef Function sigma = Function(activation)
    cdef Function g = Function(target)
    take_spikes(&spikes, r, c, gamma, pi, bulk_value, bulk_weight)
    take_points(&points, spike, alpha, beta, lam, noise, start, stop)
    directions.count = direction.shape[1]
    directions.slope = NULL
    directions.scale = NULL
    directions.bulk = NULL
    results.along = NULL
    if directions.count:
        directions.slope = &direction[0, 0, 0]
        directions.scale = &scale[0, 0]
        results.along = &along[start, 0]
        if bulk_direction is not None:
            directions.bulk = &bulk_direction[0, 0, 0]
    names.alpha = "alpha" in wanted
    names.beta = "beta" in wanted
    names.lam = "lam" in wanted
    names.noise = "noise" in wanted
    accuracy.rtol = rtol
    accuracy.max_nodes = max_nodes
    results.test_error = &scalars[0, start]
    results.alpha = &scalars[1, start]
    results.beta = &scalars[2, start]
    results.lam = &scalars[3, start]
    results.noise = &scalars[4, start]
    results.quadrature_error = &scalars[5, start]
    results.status = &status[start]
    cdef cbool done
    with nogil:
        done = gradient(spikes, points, directions, names, sigma.moments[0], g.moments[0],
                        accuracy, results)
    if not done:
        raise sigma.error if sigma.error is not None else g.error


cdef extern from "functions/loss.hpp" namespace "spikedrf" nogil:
    cdef enum class LossKind(int):
        pass
    cdef struct Loss:
        LossKind kind
        double parameter
    void prox(Loss, double, const double*, double*, size_t) except +

cdef extern from "tables/labels.hpp" namespace "spikedrf" nogil:
    cdef enum class LabelKind(int):
        pass

cdef extern from "batches/convex.hpp" namespace "spikedrf" nogil:
    cdef struct LossResults:
        double* test_loss
        double* train_loss
        double* test_margin
        double* train_margin
    cbool solve_convex(const Spikes&, const Points&, const double*, Loss, LabelKind,
                       GaussianMoments&, GaussianMoments&, Accuracy, const Results&,
                       const LossResults&) except +


def loss_prox(int kind, double parameter, double V, const double[::1] x):
    """The proximal map argmin_t (t - x)^2 / (2 V) + loss(t), t the argument of the core's losses."""
    out = np.empty(x.shape[0])
    cdef double[::1] view = out
    cdef Loss loss = Loss(<LossKind>kind, parameter)
    if x.shape[0]:
        with nogil:
            prox(loss, V, &x[0], &view[0], x.shape[0])
    return out


def convex_points(activation, target, int kind, double parameter, bint signs,
                  const double[:, ::1] r, const double[:, ::1] c, const double[::1] gamma,
                  const double[:, ::1] pi, const int64_t[::1] spike, const double[::1] alpha,
                  const double[::1] beta, const double[::1] lam, const double[::1] noise,
                  const double[::1] flip, double rtol, size_t max_nodes,
                  double[:, ::1] scalars, double[:, :, ::1] vectors, double[:, :, :, ::1] matrices,
                  int32_t[:, ::1] counts, int64_t[::1] nodes, Py_ssize_t start, Py_ssize_t stop,
                  const double[:, :, ::1] bulk_value=None, const double[:, :, ::1] bulk_weight=None):
    """Like solve_points, for any loss (see LossKind); labels are signs or real.

    scalars: also test_loss, train_loss, test_margin, train_margin.
    """
    cdef Spikes spikes
    cdef Points points
    cdef Results results
    cdef LossResults more
    cdef Accuracy accuracy
    cdef Loss loss = Loss(<LossKind>kind, parameter)
    if stop <= start:
        return
    cdef Function sigma = Function(activation)
    cdef Function g = Function(target)
    take_spikes(&spikes, r, c, gamma, pi, bulk_value, bulk_weight)
    take_points(&points, spike, alpha, beta, lam, noise, start, stop)
    accuracy.rtol = rtol
    accuracy.max_nodes = max_nodes
    take_results(&results, scalars, vectors, matrices, counts, nodes, start)
    more.test_loss = &scalars[6, start]
    more.train_loss = &scalars[7, start]
    more.test_margin = &scalars[8, start]
    more.train_margin = &scalars[9, start]
    cdef cbool done
    with nogil:
        done = solve_convex(spikes, points, &flip[start], loss, <LabelKind><int>signs,
                            sigma.moments[0], g.moments[0], accuracy, results, more)
    if not done:
        raise sigma.error if sigma.error is not None else g.error


cdef extern from "batches/spectrum.hpp" namespace "spikedrf" nogil:
    cdef struct SpectralPoints:
        size_t count
        const int64_t* spike
        const double* alpha
        const double* beta
        const double* z
    cdef struct SpectralResults:
        double* V2
        double* slope
        double* cumulative
        double* mean
        double* form
        int32_t* status
        int32_t* nit
        int64_t* nodes
        double* residual
        double* quadrature_error
    cbool spectrum(const Spikes&, const SpectralPoints&, GaussianMoments&, Accuracy,
                   const SpectralResults&) except +


def spectrum_points(activation, const double[:, ::1] r, const double[:, ::1] c,
                    const double[:, ::1] pi, const int64_t[::1] spike, const double[::1] alpha,
                    const double[::1] beta, const double complex[::1] z, double rtol,
                    size_t max_nodes, double complex[:, ::1] V2, double complex[:, ::1] slope,
                    double[:, ::1] scalars, int32_t[:, ::1] counts, int64_t[::1] nodes,
                    Py_ssize_t start, Py_ssize_t stop, double[:, :, ::1] form=None,
                    const double[:, :, ::1] bulk_value=None,
                    const double[:, :, ::1] bulk_weight=None):
    """The Stieltjes transform at points[start:stop] (sorted by spike, best along the real axis).

    V2 and slope (points x K) sum to it and to its derivative; scalars: cumulative, residual,
    quadrature_error, mean; counts: status, nit; the point is the second axis. form (points x 2K x
    2K), if given, gets what is singular at isolated eigenvalues. Bulk as for solve_points.
    """
    cdef Spikes spikes
    cdef SpectralPoints points
    cdef SpectralResults results
    cdef Accuracy accuracy
    if stop <= start:
        return
    cdef Function sigma = Function(activation)
    take_spikes(&spikes, r, c, None, pi, bulk_value, bulk_weight)
    points.count = stop - start
    points.spike = &spike[start]
    points.alpha = &alpha[start]
    points.beta = &beta[start]
    points.z = <const double*>&z[start]
    accuracy.rtol = rtol
    accuracy.max_nodes = max_nodes
    results.V2 = <double*>&V2[start, 0]
    results.slope = <double*>&slope[start, 0]
    results.cumulative = &scalars[0, start]
    results.residual = &scalars[1, start]
    results.quadrature_error = &scalars[2, start]
    results.mean = &scalars[3, start]
    results.form = NULL
    if form is not None:
        results.form = &form[start, 0, 0]
    results.status = &counts[0, start]
    results.nit = &counts[1, start]
    results.nodes = &nodes[start]
    cdef cbool done
    with nogil:
        done = spectrum(spikes, points, sigma.moments[0], accuracy, results)
    if not done:
        raise sigma.error
