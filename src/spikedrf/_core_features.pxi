# Feature maps and gradients of networks of finite size, a block of rows at a time.

def activate_block(int code, real[:, ::1] block):
    """block <- sigma(block)."""
    with nogil:
        activate(<Activation>code, &block[0, 0], &block[0, 0], block.shape[0] * block.shape[1])


def panel_numbers(const real[:, ::1] W):
    """How many numbers `pack_block` makes of the weights."""
    return panels_size(W.shape[0], W.shape[1], sizeof(real))


def pack_block(const real[:, ::1] W, real[::1] panels):
    """panels <- the weights as the functions for few inputs want them."""
    with nogil:
        pack_panels(&W[0, 0], W.shape[0], W.shape[1], &panels[0])


def few_input_block(int code, const real[:, ::1] X, const real[::1] panels, real[:, ::1] out):
    """out <- sigma(X W^T), W packed by `pack_block`."""
    with nogil:
        few_input_features(<Activation>code, &X[0, 0], &panels[0], &out[0, 0], X.shape[0],
                           X.shape[1], out.shape[1])


def gradient_numbers(const real[:, ::1] W):
    """How many numbers `few_input_gradient_block` wants as scratch."""
    return scratch_size(W.shape[0], W.shape[1], sizeof(real))


def few_input_gradient_block(int code, const real[:, ::1] X, const real[::1] y,
                             const real[::1] weight, const real[::1] panels, const real[::1] u,
                             real[::1] residual, real[:, ::1] total, real[::1] scratch):
    """residual <- weight (y - sigma(X W^T) u / p), total += (residual sigma'(X W^T))^T X."""
    with nogil:
        few_input_gradient(<Activation>code, &X[0, 0], &y[0], &weight[0], &panels[0], &u[0],
                           &residual[0], &total[0, 0], &scratch[0], X.shape[0], X.shape[1],
                           total.shape[0])


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
