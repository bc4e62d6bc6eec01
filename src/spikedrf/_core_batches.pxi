# A problem, its points, what is wanted of them, and the one call that solves it.

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
    is `value` (spikes rules x nodes x groups), one description of the bulk of each spike or several
    that take turns on the quadrature rules, and `weight` (1 + forms x spikes rules x nodes): the
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
    For spectra of spikes that span a plane rows are weight, ones, h, g2 and hz, which nobody looks
    at, mu0, mu1, columns of the spikes, mu2^2, the weights of each class and, if lengths vary,
    their columns, on strips of panels: the degree of these and where strips begin, and the last
    ends.

    For spectra `seen` are the classes of inputs: their shares, their means along the spike and in
    the other directions in which they differ, (classes x directions), whose pairs are then those of
    the bulk's weights, and d times the variance of lengths (groups), or None if these do not vary.
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
    cdef const double[::1] left, share, spread
    cdef const double[:, ::1] mean

    def __cinit__(self, activation, target, r, c, pi, gamma, *, bulk=None, loss=None,
                  bint signs=False, double rtol=1e-8, Index max_nodes=1 << 15, latents=None,
                  tables_at=None, labels_at=None, int classes=1, bint doubtful=False,
                  seen=None):
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
        self.core.seen = Classes(0, 1, NULL, NULL, NULL)
        if seen is not None:
            self.share, self.mean, self.spread = seen
            self.core.seen = Classes(<int>self.share.shape[0], <int>self.mean.shape[1],
                                     &self.share[0], &self.mean[0, 0], NULL)
            if self.spread is not None:
                self.core.seen.spread = &self.spread[0]
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
            if seen is not None:
                spikes.bulk.directions = self.core.seen.directions
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
    """One entry for each point, sorted by spike; `lam` and `noise`, or `z` for a spectrum."""

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
    its weights move; `names` are those among alpha, beta, lam, noise, flip, parameter (of the
    loss) that are to be certified.
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
    size x size), if its size is given, gets what is singular at isolated eigenvalues: groups, then
    columns.
    """

    cdef readonly object V2, slope, scalars, counts, nodes, form

    def __init__(self, Py_ssize_t points, Py_ssize_t groups, *, Py_ssize_t form=0):
        self.V2 = np.zeros((points, groups), dtype=np.complex128)
        self.slope = np.zeros((points, groups), dtype=np.complex128)
        self.scalars = np.zeros((4, points))
        self.counts = np.zeros((2, points), dtype=np.int32)
        self.nodes = np.zeros(points, dtype=np.int64)
        self.form = np.zeros((points, form, form)) if form else None

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
