"""The compiled core: signatures, allocation, one call without the GIL each."""

from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int32_t, int64_t
from libcpp cimport bool as cbool

import numpy as np

cdef extern from "numerics/array.hpp" namespace "spikedrf" nogil:
    ctypedef ptrdiff_t Index
    cdef cppclass Array[T]:
        Array() except +
        Index size()
        T& operator[](Index)
        cbool empty()
        T* data()
        void push_back(T) except +
        void assign(const T*, const T*) except +

cdef extern from "functions/activation.hpp" namespace "spikedrf" nogil:
    cdef enum class Activation(int):
        pass
    cdef struct ActivationTraits:
        const char* name
        const char* formula
        cbool linear
        cbool saturates_left
        cbool saturates_right
        cbool differentiable
    int activation_count
    ActivationTraits traits(Activation)
    void activate(Activation, const double*, double*, Index)
    void activate_derivative(Activation, const double*, double*, Index)

cdef extern from "tables/moments.hpp" namespace "spikedrf" nogil:
    cdef struct MomentSlopes:
        double* f2
        double* f3
        double* p1
        double* p2
    cdef cppclass GaussianMoments:
        cbool evaluate(const double*, Index, double, int, double*, double*, double*,
                       const MomentSlopes*) except +
    cdef cppclass NamedMoments(GaussianMoments):
        NamedMoments(Activation)
    ctypedef int (*MomentFunction)(void*, const double*, Index, double, int, double*, double*,
                                   double*, const MomentSlopes*) noexcept
    cdef cppclass CallbackMoments(GaussianMoments):
        CallbackMoments(MomentFunction, void*, Array[double], double) except +

cdef extern from "equations/bulk.hpp" namespace "spikedrf" nogil:
    cdef struct Bulk:
        int nodes
        const double* value
        const double* trace
        int directions
        const double* forms
        Index stride
        const double* lengths
        const double* left

cdef extern from "functions/loss.hpp" namespace "spikedrf" nogil:
    cdef enum class LossKind(int):
        pass
    cdef struct Loss:
        LossKind kind
        double parameter
    cdef struct LossTraits:
        const char* name
        cbool margin
    int loss_count
    LossTraits loss_traits "spikedrf::traits"(LossKind)
    void prox(Loss, double, const double*, double*, Index) except +

cdef extern from "tables/labels.hpp" namespace "spikedrf" nogil:
    cdef enum class LabelKind(int):
        pass
    cdef cppclass LabelVariation:
        cbool find(LabelKind, GaussianMoments&) except +
    cdef cppclass LabelTable:
        cbool fill_around(LabelKind, const Array[double]&, int, double, double,
                          const LabelVariation&, GaussianMoments&) except +
        cbool exhausted()
        Index begin(Index)
        const double* zeta()
        const double* weight()
        const double* value()

cdef extern from "numerics/quadrature.hpp" namespace "spikedrf" nogil:
    cdef enum RuleStart "spikedrf::RuleLadder::Start":
        hermite "spikedrf::RuleLadder::Start::hermite"
        uniform "spikedrf::RuleLadder::Start::uniform"
        fine "spikedrf::RuleLadder::Start::fine"

cdef extern from "tables/class_rule.hpp" namespace "spikedrf" nogil:
    cdef struct Rule:
        Array[double] node
        Array[double] weight
    cdef struct ScalarLabels:
        const GaussianMoments* function
        double offset
        double slope
        double sd
        const LabelVariation* signs
        double noise
    cbool core_class_rule "spikedrf::class_rule"(
        const GaussianMoments&, int, const double*, const double*, double, const ScalarLabels&,
        RuleStart, Index, int, Rule&) except +
    cbool core_feature_rule "spikedrf::feature_rule"(
        const double*, const double*, Index, Index, double, int, Rule&) except +

cdef extern from "tables/plane_rule.hpp" namespace "spikedrf" nogil:
    cdef struct PlaneRule:
        Array[double] first
        Array[double] second
        Array[double] weight
    cdef struct PlaneFunction:
        const GaussianMoments* function
        double offset
        double along
        double beside
        double sd
    cbool core_plane_rule "spikedrf::plane_rule"(
        const Array[PlaneFunction]&, Index, int, PlaneRule&) except +

cdef extern from "tables/latents.hpp" namespace "spikedrf" nogil:
    cdef struct Latents:
        int spans
        int coupled
        int free
        cbool lengths
        unsigned int labelled

cdef extern from "batches/problem.hpp" namespace "spikedrf" nogil:
    cdef cppclass TableSource:
        pass
    cdef struct MadeRows:
        Array[double] rows
        Index nodes
        Array[Index] begin
    ctypedef int (*TableFunction)(void*, Index, Index, MadeRows*) noexcept
    cdef cppclass CallbackTables(TableSource):
        CallbackTables(TableFunction, void*)
    cdef struct Spikes:
        Index count
        int groups
        const double* r
        const double* c
        const double* gamma
        const double* pi
        int bulk_nodes
        int bulk_rules
        Bulk bulk
    cdef struct Accuracy:
        double rtol
        Index max_nodes
    cdef struct CoreProblem "spikedrf::Problem":
        Spikes spikes
        GaussianMoments* activation
        GaussianMoments* target
        Loss loss
        LabelKind labels
        Accuracy accuracy
        Latents latents
        TableSource* source
        int classes
        cbool doubtful
    cdef struct CorePoints "spikedrf::Points":
        Index count
        const int64_t* spike
        const double* alpha
        const double* beta
        const double* lam
        const double* noise
        const double* flip
        const double* z

cdef extern from "batches/solutions.hpp" namespace "spikedrf" nogil:
    cdef struct CoreSolutions "spikedrf::Solutions":
        double* test_error
        double* excess_error
        double* train_error
        double* norm
        double* residual
        double* quadrature_error
        double* test_loss
        double* train_loss
        double* test_margin
        double* train_margin
        double* m
        double* theta
        double* psi
        double* q2
        double* V2
        double* q1
        double* V1
        int32_t* status
        int32_t* nit
        int64_t* nodes
        double* class_error
        double* class_wrong

cdef extern from "averages/loss_averages.hpp" namespace "spikedrf" nogil:
    cdef enum class ObjectiveKind(int):
        pass

cdef extern from "batches/gradient.hpp" namespace "spikedrf" nogil:
    cdef struct Directions:
        Index count
        const double* slope
        const double* scale
        const double* bulk
    cdef struct CoreGradients "spikedrf::Gradients":
        Directions directions
        cbool by_alpha
        cbool by_beta
        cbool by_lam
        cbool by_noise
        cbool by_flip
        cbool by_parameter
        ObjectiveKind objective
        double* test_error
        double* test_loss
        double* alpha
        double* beta
        double* lam
        double* noise
        double* flip
        double* parameter
        double* along
        double* quadrature_error
        int32_t* status

cdef extern from "batches/spectrum.hpp" namespace "spikedrf" nogil:
    cdef struct CoreTransforms "spikedrf::Transforms":
        double* V2
        double* slope
        double* cumulative
        double* residual
        double* quadrature_error
        double* mean
        double* form
        int32_t* status
        int32_t* nit
        int64_t* nodes

cdef extern from "batches/run.hpp" namespace "spikedrf" nogil:
    cdef struct Wanted:
        const CoreSolutions* solutions
        const CoreGradients* gradients
        const CoreTransforms* transforms
    cbool core_run "spikedrf::run"(const CoreProblem&, const CorePoints&, const Wanted&) except +
    cbool tabulate(const CoreProblem&, Index, Array[double]&) except +


def activations():
    """Properties of every named activation, in the order of their codes."""
    found = []
    cdef ActivationTraits of
    for code in range(activation_count):
        of = traits(<Activation><int>code)
        found.append({
            "name": of.name.decode(),
            "formula": of.formula.decode(),
            "linear": of.linear,
            "saturates": (of.saturates_left, of.saturates_right),
            "differentiable": of.differentiable,
        })
    return found


def losses():
    """Properties of every loss, in the order of their codes."""
    return [
        {
            "name": loss_traits(<LossKind>code).name.decode(),
            "margin": loss_traits(<LossKind>code).margin,
        }
        for code in range(loss_count)
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
        cdef Array[double] breaks
        if isinstance(function, int):
            if not 0 <= function < activation_count:
                raise ValueError(f"the core has no activation of number {function}")
            self.moments = new NamedMoments(<Activation><int>function)
        else:
            self.evaluator, points, grain = function
            for at in points:
                breaks.push_back(<double>at)
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


cdef int copy_row(values, double* out, Index n) except -1:
    cdef const double[::1] row = np.ascontiguousarray(values, dtype=np.float64)
    cdef Index i
    for i in range(n):
        out[i] = row[i]
    return 0


cdef int call_evaluator(void* context, const double* mean, Index n, double sd, int effort,
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


cdef rule_arrays(Rule& rule):
    cdef Index i
    out = np.empty((2, rule.node.size()))
    cdef double[:, ::1] view = out
    for i in range(view.shape[1]):
        view[0, i] = rule.node[i]
        view[1, i] = rule.weight[i]
    return out


def class_rule(Function sigma, const double[::1] r, const double[::1] c, double mean, int level,
               Index max_nodes, Function labels=None, double offset=0.0, double slope=0.0,
               double sd=1.0, int start=0, bint signs=False, double noise=0.0):
    """Nodes and weights of a rule for z ~ N(0, 1), kappa = mean + z: None beyond the finest.

    It resolves features sigma(r_k kappa + sqrt(c_k) N(0, 1)) and labels(offset + slope z + sd N),
    with `signs` the signs of these plus noise N(0, 1) too. Rules that do not need panels are
    Gauss-Hermite's if `start` is 0, trapezoid rules if it is 1, and finer ones if it is 2.
    """
    cdef Rule rule
    cdef ScalarLabels of = ScalarLabels(NULL, offset, slope, sd, NULL, noise)
    cdef LabelVariation crossings
    if labels is not None:
        of.function = labels.moments
        if signs:
            if not crossings.find(<LabelKind>1, labels.moments[0]):
                raise labels.error
            of.signs = &crossings
    if not core_class_rule(sigma.moments[0], <int>r.shape[0], &r[0], &c[0], mean, of,
                           <RuleStart>start, max_nodes, level, rule):
        return None
    return rule_arrays(rule)


def plane_rule(Function sigma, const double[:, ::1] r, const double[::1] c, const double[::1] mean,
               int level, Index max_nodes, Function labels=None, double offset=0.0, slope=None,
               double sd=1.0):
    """The same for z ~ N(0, I) in the plane, r_k . kappa and slope . z: rows z_1, z_2 and weight."""
    cdef Array[PlaneFunction] functions
    cdef PlaneRule rule
    cdef Py_ssize_t i, k
    for k in range(r.shape[0]):
        functions.push_back(PlaneFunction(
            sigma.moments, r[k, 0] * mean[0] + r[k, 1] * mean[1], r[k, 0], r[k, 1], c[k] ** 0.5))
    if labels is not None:
        functions.push_back(PlaneFunction(labels.moments, offset, slope[0], slope[1], sd))
    if not core_plane_rule(functions, max_nodes, level, rule):
        return None
    out = np.empty((3, rule.weight.size()))
    cdef double[:, ::1] view = out
    for i in range(view.shape[1]):
        view[0, i] = rule.first[i]
        view[1, i] = rule.second[i]
        view[2, i] = rule.weight[i]
    return out


def feature_rule(const double[::1] centre, const double[::1] scale, int level, Index max_nodes,
                 double negligible):
    """Nodes and weights of a rule for N(0, 1) that resolves these features, None beyond the finest.

    Weights below `negligible` are left out.
    """
    cdef Rule rule
    cdef Index count = centre.shape[0]
    if not core_feature_rule(&centre[0] if count else NULL, &scale[0] if count else NULL, count,
                             max_nodes, negligible, level, rule):
        return None
    return rule_arrays(rule)


def label_rule(Function g, const double[::1] at, double sd, bint signs, double noise, int level):
    """Labels g(at_i + sd zeta), or the chance of +1, on a rule over zeta for each node i.

    Returns rows of weight, value, zeta and where those of each node begin, and the last end; None
    beyond the finest rule.
    """
    cdef LabelVariation variation
    cdef LabelTable table
    cdef Array[double] nodes
    cdef cbool done
    cdef Index i
    cdef LabelKind kind = <LabelKind><int>signs
    for i in range(at.shape[0]):
        nodes.push_back(at[i])
    done = variation.find(kind, g.moments[0])
    done = done and table.fill_around(kind, nodes, level, sd, noise, variation, g.moments[0])
    if not done:
        if table.exhausted():
            return None
        raise g.error
    begin = [table.begin(i) for i in range(at.shape[0] + 1)]
    out = np.empty((3, begin[len(begin) - 1]))
    cdef double[:, ::1] view = out
    for i in range(view.shape[1]):
        view[0, i] = table.weight()[i]
        view[1, i] = table.value()[i]
        view[2, i] = table.zeta()[i]
    return out, begin


cdef int call_table_maker(void* context, Index level, Index fine, MadeRows* out) noexcept with gil:
    cdef Problem problem = <Problem>context
    cdef const double[:, ::1] rows
    cdef Index i
    try:
        made = problem.tables_at(level) if fine < 0 else problem.labels_at(level, fine)
        if made is not None:
            rows, begin = made
            out.nodes = rows.shape[1]
            out.rows.assign(&rows[0, 0], &rows[0, 0] + rows.shape[0] * rows.shape[1])
            for i in begin:
                out.begin.push_back(i)
    except BaseException as error:
        # No exception may cross the C++ frames between here and the caller, who raises it.
        problem.error = error
        return 1
    return 0


cdef class Problem:
    """First layers, activation and target, the readout's loss, and the accuracy wanted of it all.

    r, c, pi are (spikes x groups), gamma (spikes). Without `bulk` theirs is isotropic; otherwise it
    is `value` (spikes rules x nodes x groups), one description of the bulk or several of each spike,
    which take turns on the quadrature rules, and `weight` (1 + forms x spikes rules x nodes): the
    weights seen by the trace, then by the pairs (v, v), (v, xi), (xi, xi) of directions. Lengths of
    neurons that are correlated with the bulk add two: their weights (spikes rules x nodes x
    (directions + groups) x groups) and what no direction explains of them (groups). `loss` is
    (kind, parameter) of the core's losses, without which there are no solutions.

    With `latents` = (spans, coupled, free, lengths, labelled) and `classes` there is one spike,
    whose tables are what `tables_at(level)` returns: rows of one number for each node (weight, one
    over the weight in the loss, h, g2, hz of each direction beside kappa, mu0, mu1, columns, mu2^2)
    and where the nodes of each class begin, and the last end; None beyond the finest rule. Pairs of
    directions are then (l, m), l <= m, and `target` and `gamma` None. For losses other than the
    square of real labels `labels_at(level, fine)` returns labels on these nodes: rows of weight,
    value (of sign labels the chance of +1) and zeta of each direction that has its bit in
    `labelled`, and where those of each node begin, and the last end; None beyond the finest rule.
    `doubtful` says that rows hold averages over grids, of which two may agree by accident.
    """

    cdef CoreProblem core
    cdef object activation, target
    cdef object tables_at, labels_at, error
    cdef CallbackTables* source
    # What the pointers point into.
    cdef const double[:, ::1] r, c, pi
    cdef const double[::1] gamma
    cdef const double[:, :, ::1] value, weight
    cdef const double[:, :, :, ::1] lengths
    cdef const double[::1] left

    def __cinit__(self, activation, target, r, c, pi, gamma, *, bulk=None, loss=None,
                  bint signs=False, double rtol=1e-8, Index max_nodes=1 << 15, latents=None,
                  tables_at=None, labels_at=None, int classes=1, bint doubtful=False):
        cdef Spikes* spikes = &self.core.spikes
        self.activation, self.target = activation, activation if target is None else target
        self.source = NULL
        self.core.source = NULL
        self.core.classes = classes
        self.core.doubtful = doubtful
        self.core.latents = Latents(1, 1, 1, False, 1)
        if latents is not None:
            spans, coupled, free, lengths, labelled = latents
            self.core.latents = Latents(spans, coupled, free, lengths, labelled)
            self.tables_at, self.labels_at = tables_at, labels_at
            self.source = new CallbackTables(call_table_maker, <void*>self)
            self.core.source = self.source
        self.r, self.c, self.pi, self.gamma = r, c, pi, gamma
        spikes.count = self.r.shape[0]
        spikes.groups = <int>self.r.shape[1]
        spikes.r = &self.r[0, 0]
        spikes.c = &self.c[0, 0]
        spikes.gamma = &self.gamma[0] if self.gamma is not None else NULL
        spikes.pi = &self.pi[0, 0]
        spikes.bulk_nodes = 0
        spikes.bulk_rules = 1
        if bulk is not None:
            self.value, self.weight = bulk[:2]
            spikes.bulk_nodes = <int>self.value.shape[1]
            spikes.bulk_rules = <int>(self.value.shape[0] // spikes.count)
            spikes.bulk.value = &self.value[0, 0, 0]
            spikes.bulk.trace = &self.weight[0, 0, 0]
            spikes.bulk.directions = self.core.latents.coupled + self.core.latents.free
            spikes.bulk.forms = &self.weight[1, 0, 0]
            spikes.bulk.stride = self.weight.shape[1] * self.weight.shape[2]
            if len(bulk) > 2:
                self.lengths, self.left = bulk[2:]
                spikes.bulk.lengths = &self.lengths[0, 0, 0, 0]
                spikes.bulk.left = &self.left[0]
        if loss is not None:
            if not 0 <= <int>loss[0] < loss_count:
                raise ValueError(f"the core has no loss of number {loss[0]}")
            self.core.loss = Loss(<LossKind><int>loss[0], loss[1])
        self.core.labels = <LabelKind><int>signs
        self.core.accuracy = Accuracy(rtol, max_nodes)

    def __dealloc__(self):
        del self.source

    def tables(self, Index level):
        """The tables of the first spike on one rule of its ladder, None once that is at its end.

        Rows weight, h, hz, g2, then mu0, mu1 and kappa mu1 of every group.
        """
        cdef Function sigma = Function(self.activation)
        cdef Function g = Function(self.target)
        cdef CoreProblem core = self.core
        cdef Array[double] rows
        cdef cbool done
        cdef Py_ssize_t i
        core.activation = sigma.moments
        core.target = g.moments
        with nogil:
            done = tabulate(core, level, rows)
        if not done:
            raise sigma.error if sigma.error is not None else g.error
        if rows.empty():
            return None
        out = np.empty(rows.size())
        cdef double[::1] view = out
        for i in range(view.shape[0]):
            view[i] = rows[i]
        return out.reshape(4 + 3 * core.spikes.groups, -1)


cdef class Points:
    """Where: one entry for each point, sorted by spike; `lam` and `noise`, or `z` for a spectrum."""

    cdef const int64_t[::1] spike
    cdef const double[::1] alpha, beta, lam, noise, flip
    cdef const double complex[::1] z

    def __cinit__(self, spike, alpha, beta, *, lam=None, noise=None, flip=None, z=None):
        self.spike, self.alpha, self.beta = spike, alpha, beta
        self.lam, self.noise, self.flip, self.z = lam, noise, flip, z

    def __len__(self):
        return self.spike.shape[0]

    cdef CorePoints part(self, Py_ssize_t start, Py_ssize_t stop):
        cdef CorePoints points
        points.count = stop - start
        points.spike = &self.spike[start]
        points.alpha = &self.alpha[start]
        points.beta = &self.beta[start]
        points.lam = &self.lam[start] if self.lam is not None else NULL
        points.noise = &self.noise[start] if self.noise is not None else NULL
        points.flip = &self.flip[start] if self.flip is not None else NULL
        points.z = <const double*>&self.z[start] if self.z is not None else NULL
        return points


cdef class Solutions:
    """Solutions: arrays with the point as second axis.

    scalars: test, excess, train, norm, residual, quadrature_error, test_loss, train_loss, margin,
    train_margin; vectors: m, theta, psi, q2, V2; matrices: q1, V1; counts: status, nit; nodes.
    With latents theta is `columns` (points x columns) and psi `free` (points x free K) instead, and
    by_class (2 x points x classes) has test errors and rates of wrong signs.
    """

    cdef readonly object scalars, vectors, matrices, counts, nodes, columns, free, by_class, latents

    def __init__(self, Py_ssize_t points, Py_ssize_t groups, latents=None, Py_ssize_t classes=1):
        self.latents = latents
        self.columns = self.free = self.by_class = None
        if latents is not None:
            _, coupled, free, lengths, _ = latents
            self.columns = np.zeros((points, max((coupled + lengths) * groups, 1)))
            self.free = np.zeros((points, max(free * groups, 1)))
            self.by_class = np.zeros((2, points, classes))
        self.scalars = np.zeros((10, points))
        self.vectors = np.zeros((5, points, groups))
        self.matrices = np.zeros((2, points, groups, groups))
        self.counts = np.zeros((2, points), dtype=np.int32)
        self.nodes = np.zeros(points, dtype=np.int64)

    cdef CoreSolutions part(self, Py_ssize_t start):
        cdef CoreSolutions to
        cdef double[:, ::1] scalars = self.scalars
        cdef double[:, :, ::1] vectors = self.vectors
        cdef double[:, :, :, ::1] matrices = self.matrices
        cdef int32_t[:, ::1] counts = self.counts
        cdef int64_t[::1] nodes = self.nodes
        to.test_error = &scalars[0, start]
        to.excess_error = &scalars[1, start]
        to.train_error = &scalars[2, start]
        to.norm = &scalars[3, start]
        to.residual = &scalars[4, start]
        to.quadrature_error = &scalars[5, start]
        to.test_loss = &scalars[6, start]
        to.train_loss = &scalars[7, start]
        to.test_margin = &scalars[8, start]
        to.train_margin = &scalars[9, start]
        to.m = &vectors[0, start, 0]
        to.theta = &vectors[1, start, 0]
        to.psi = &vectors[2, start, 0]
        to.q2 = &vectors[3, start, 0]
        to.V2 = &vectors[4, start, 0]
        to.q1 = &matrices[0, start, 0, 0]
        to.V1 = &matrices[1, start, 0, 0]
        to.status = &counts[0, start]
        to.nit = &counts[1, start]
        to.nodes = &nodes[start]
        to.class_error = NULL
        to.class_wrong = NULL
        cdef double[:, ::1] columns, free
        cdef double[:, :, ::1] by_class
        if self.columns is not None:
            columns, free, by_class = self.columns, self.free, self.by_class
            to.theta = &columns[start, 0]
            to.psi = &free[start, 0]
            to.class_error = &by_class[0, start, 0]
            to.class_wrong = &by_class[1, start, 0]
        return to


cdef class Gradients:
    """Derivatives of the test error, or of the test loss if `of_loss`.

    direction (spikes x D x (2K + 1)) holds dr, dc, dgamma, scale (spikes x D) what matters;
    bulk_direction (spikes rules x D x nodes (K + weights)) is how the values of the bulk and then
    its weights move; `names` are those among alpha, beta, lam, noise, flip, parameter (of the loss) that are to be certified.
    scalars: test error, d/dalpha, d/dbeta, d/dlam, d/dnoise at a fixed spike, quadrature_error;
    of_convex, of any but the square loss of real labels: d/dflip, d/dparameter, test loss; along
    (points x D): the directional derivatives; status.
    """

    cdef readonly object scalars, of_convex, along, status
    cdef const double[:, :, ::1] direction, bulk_direction
    cdef const double[:, ::1] scale
    cdef tuple names
    cdef cbool of_loss

    def __init__(self, Py_ssize_t points, direction, scale, names, bulk_direction=None,
                 *, of_loss=False):
        self.of_loss = of_loss
        self.direction, self.scale, self.bulk_direction = direction, scale, bulk_direction
        self.names = tuple(names)
        self.scalars = np.zeros((6, points))
        self.of_convex = np.zeros((3, points))
        self.along = np.zeros((points, self.direction.shape[1]))
        self.status = np.zeros(points, dtype=np.int32)

    cdef CoreGradients part(self, Py_ssize_t start):
        cdef CoreGradients to
        cdef double[:, ::1] scalars = self.scalars
        cdef double[:, ::1] of_convex = self.of_convex
        cdef double[:, ::1] along = self.along
        cdef int32_t[::1] status = self.status
        to.directions = Directions(self.direction.shape[1], NULL, NULL, NULL)
        to.along = NULL
        if to.directions.count:
            to.directions.slope = &self.direction[0, 0, 0]
            to.directions.scale = &self.scale[0, 0]
            to.along = &along[start, 0]
            if self.bulk_direction is not None:
                to.directions.bulk = &self.bulk_direction[0, 0, 0]
        to.by_alpha = "alpha" in self.names
        to.by_beta = "beta" in self.names
        to.by_lam = "lam" in self.names
        to.by_noise = "noise" in self.names
        to.test_error = &scalars[0, start]
        to.alpha = &scalars[1, start]
        to.beta = &scalars[2, start]
        to.lam = &scalars[3, start]
        to.noise = &scalars[4, start]
        to.quadrature_error = &scalars[5, start]
        to.flip = &of_convex[0, start]
        to.parameter = &of_convex[1, start]
        to.test_loss = &of_convex[2, start]
        to.by_flip = "flip" in self.names
        to.by_parameter = "parameter" in self.names
        to.objective = <ObjectiveKind>(1 if self.of_loss else 0)
        to.status = &status[start]
        return to


cdef class Transforms:
    """The Stieltjes transform of the spectrum of the features.

    V2 and slope (points x K) sum to it and to its derivative; scalars: cumulative, residual,
    quadrature_error, mean; counts: status, nit; nodes; the point is the second axis. form (points x
    2K x 2K), if asked for, gets what is singular at isolated eigenvalues.
    """

    cdef readonly object V2, slope, scalars, counts, nodes, form

    def __init__(self, Py_ssize_t points, Py_ssize_t groups, *, bint forms=False):
        self.V2 = np.zeros((points, groups), dtype=np.complex128)
        self.slope = np.zeros((points, groups), dtype=np.complex128)
        self.scalars = np.zeros((4, points))
        self.counts = np.zeros((2, points), dtype=np.int32)
        self.nodes = np.zeros(points, dtype=np.int64)
        self.form = np.zeros((points, 2 * groups, 2 * groups)) if forms else None

    cdef CoreTransforms part(self, Py_ssize_t start):
        cdef CoreTransforms to
        cdef double complex[:, ::1] V2 = self.V2
        cdef double complex[:, ::1] slope = self.slope
        cdef double[:, ::1] scalars = self.scalars
        cdef int32_t[:, ::1] counts = self.counts
        cdef int64_t[::1] nodes = self.nodes
        cdef double[:, :, ::1] form
        to.V2 = <double*>&V2[start, 0]
        to.slope = <double*>&slope[start, 0]
        to.cumulative = &scalars[0, start]
        to.residual = &scalars[1, start]
        to.quadrature_error = &scalars[2, start]
        to.mean = &scalars[3, start]
        to.form = NULL
        if self.form is not None:
            form = self.form
            to.form = &form[start, 0, 0]
        to.status = &counts[0, start]
        to.nit = &counts[1, start]
        to.nodes = &nodes[start]
        return to


def run(Problem problem, Points points, wanted, Py_ssize_t start, Py_ssize_t stop):
    """Fill wanted, which is Solutions, Gradients or Transforms, at points[start:stop].

    Points of the real axis come best in a row; points of one spike and, with other losses, one
    noise share most if they do.
    """
    cdef CoreProblem core = problem.core
    cdef CorePoints part
    cdef Wanted results = Wanted(NULL, NULL, NULL)
    cdef CoreSolutions solutions
    cdef CoreGradients gradients
    cdef CoreTransforms transforms
    if stop <= start:
        return
    part = points.part(start, stop)
    if isinstance(wanted, Solutions):
        solutions = (<Solutions>wanted).part(start)
        results.solutions = &solutions
    elif isinstance(wanted, Gradients):
        gradients = (<Gradients>wanted).part(start)
        results.gradients = &gradients
    else:
        transforms = (<Transforms?>wanted).part(start)
        results.transforms = &transforms
    # Scratch space belongs to the function objects: one pair for every call.
    cdef Function sigma = Function(problem.activation)
    cdef Function g = Function(problem.target)
    core.activation = sigma.moments
    core.target = g.moments
    cdef cbool done
    with nogil:
        done = core_run(core, part, results)
    if not done:
        for error in (sigma.error, g.error, problem.error):
            if error is not None:
                raise error


def loss_prox(int kind, double parameter, double V, const double[::1] x):
    """The proximal map argmin_t (t - x)^2 / (2 V) + loss(t), t the argument of the core's losses."""
    out = np.empty(x.shape[0])
    cdef double[::1] view = out
    cdef Loss loss = Loss(<LossKind>kind, parameter)
    if x.shape[0]:
        with nogil:
            prox(loss, V, &x[0], &view[0], x.shape[0])
    return out


cdef extern from "network/features.hpp" namespace "spikedrf" nogil:
    void activate(Activation, const float*, float*, Index)
    void pack_panels[Real](const Real*, Index, Index, Real*)
    void few_input_features[Real](Activation, const Real*, const Real*, Real*, Index, Index,
                                  Index)
    Index spike_features[Real](Activation, const Real*, const Real*, const Real*, Real, Real*,
                                Index, Index)
    void residual_and_slopes[Real](Activation, Real*, const Real*, const Real*, Real*, Index,
                                   Index)

ctypedef fused real:
    float
    double


def activate_block(int code, real[:, ::1] block):
    """block <- sigma(block)."""
    with nogil:
        activate(<Activation>code, &block[0, 0], &block[0, 0], block.shape[0] * block.shape[1])


#: Bytes of a row of a panel, see features.hpp.
PANEL_BYTES = 128


def pack_block(const real[:, ::1] W, real[::1] panels):
    """panels <- the weights as `few_input_block` wants them, in whole panels of columns."""
    with nogil:
        pack_panels(&W[0, 0], W.shape[0], W.shape[1], &panels[0])


def few_input_block(int code, const real[:, ::1] X, const real[::1] panels, real[:, ::1] out):
    """out <- sigma(X W^T), W packed by `pack_block`."""
    with nogil:
        few_input_features(<Activation>code, &X[0, 0], &panels[0], &out[0, 0], X.shape[0],
                           X.shape[1], out.shape[1])


def spike_block(int code, const real[:, ::1] Z, const real[::1] s, const real[::1] u, real eta,
                real[:, ::1] out):
    """out <- sigma(Z + eta s u^T), up to the first row that is not finite; the rows done."""
    cdef Index done
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
