# Activations, losses, and functions of one argument that the kernels call.

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


def loss_prox(int kind, double parameter, double V, const double[::1] x):
    """The proximal map argmin_t (t - x)^2 / (2 V) + loss(t), t what the losses are functions of."""
    out = np.empty(x.shape[0])
    cdef double[::1] view = out
    cdef Loss loss = Loss(<LossKind>kind, parameter)
    if x.shape[0]:
        with nogil:
            prox(loss, V, &x[0], &view[0], x.shape[0])
    return out
