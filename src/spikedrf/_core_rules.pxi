# Nodes and weights for averages over what a first layer or the labels depend on.

cdef rule_arrays(Rule& rule):
    cdef Index i
    out = np.empty((2, rule.node.size()))
    cdef double[:, ::1] view = out
    for i in range(view.shape[1]):
        view[0, i] = rule.node[i]
        view[1, i] = rule.weight[i]
    return out


cdef RuleStart rule_start(str name) except *:
    # By name: what a number means changes with the order of the enumerators.
    if name == "hermite":
        return hermite
    if name == "uniform":
        return uniform
    if name == "fine":
        return fine
    raise ValueError(f"start must be 'hermite', 'uniform' or 'fine', got {name!r}")


def class_rule(Function sigma, const double[::1] r, const double[::1] c, double mean, int level,
               Index max_nodes, Function labels=None, double offset=0.0, double slope=0.0,
               double sd=1.0, str start="hermite", bint signs=False, double noise=0.0):
    """Nodes and weights of a rule for z ~ N(0, 1), kappa = mean + z: None beyond the finest.

    It resolves features sigma(r_k kappa + sqrt(c_k) N(0, 1)) and labels(offset + slope z + sd N),
    with `signs` the signs of these plus noise N(0, 1) too. Rules that do not need panels are
    Gauss-Hermite's if `start` is "hermite", trapezoid rules if it is "uniform", finer ones if
    "fine".
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
                           rule_start(start), max_nodes, level, rule):
        return None
    return rule_arrays(rule)


def plane_rule(Function sigma, const double[:, ::1] r, const double[::1] c, const double[::1] mean,
               int level, Index max_nodes, Function labels=None, double offset=0.0, slope=None,
               double sd=1.0):
    """The same for z ~ N(0, I) in a plane, r_k . kappa and slope . z: rows z_1, z_2 and weight."""
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


def panel_edges(Function sigma, const double[:, ::1] r, const double[::1] c, double left,
                double right, strip=None, double coarser=1.0):
    """Ends of panels in the plane of kappa for features sigma(r_k . kappa + sqrt(c_k) N(0, 1)).

    Those across, z_2 from `left` to `right`; with `strip`, the ends of one of them, those of the
    lines along z_1 in it.
    """
    cdef Array[PlaneFunction] functions
    cdef Array[double] edges
    cdef Py_ssize_t k
    for k in range(r.shape[0]):
        functions.push_back(PlaneFunction(sigma.moments, 0.0, r[k, 0], r[k, 1], c[k] ** 0.5))
    if strip is None:
        edges = core_strip_edges(functions, left, right, coarser)
    else:
        edges = core_line_edges(functions, strip[0], strip[1], left, right, coarser)
    return np.array([edges[k] for k in range(edges.size())])


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


def trained_resolvent(const double[:, ::1] x, const double[:, ::1] bulks,
                      const double[:, ::1] law):
    """Solve the equations of trained bulks at ascending x (S, m), see `trained_resolvent.py`.

    Returns (Xi_11, Xi_12, Xi_22) and the eight averages of the forms, shape (11, S, m), NaN where
    Newton's method fails. Rows of bulks (S, 3) are a, b, 1/alpha0; the law (4, N) has nodes and
    weights of a `ResidualLaw`.
    """
    cdef Index i, count = x.shape[0], points = x.shape[1]
    cdef TrainedLaw* residuals = new TrainedLaw(&law[0, 0], law.shape[1])
    out = np.empty((3 + kTrainedSums, count, points))
    cdef double[:, :, ::1] view = out
    with nogil:
        for i in range(count):
            solve_trained(residuals[0], &bulks[i, 0], &x[i, 0], points, count * points,
                          &view[0, i, 0])
    del residuals
    return out
