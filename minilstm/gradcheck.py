"""Is this gradient right? Every output against every input, by directional derivatives.

For an output y and an input x, draw a random dy and a random direction v. Then two numbers must agree:

    analytic = <dx, v>                                      dx = what backward makes of dy
    numeric  = <dy, y(x + eps v) - y(x - eps v)> / (2 eps)  two forwards, whatever the size

and the check demands, in float64,

    |analytic - numeric| <= tol * max(|analytic| + |numeric|, ||dy|| * ||v||)

The second scale is there for directions in which little is left but rounding. It bounds what the check can see, too: a
single wrong term shows in almost every direction, but one in a gradient that is small beside ||dy|| * ||v||, as of the
first layers of a deep model, asks for a smaller tolerance (right gradients of whole models come to some 1e-8) and more
directions. Keep the inputs of ReLU and max off their kinks, where no derivative exists.

    forward = lambda inputs: {"y": np.tanh(inputs["x"])}
    backward = lambda inputs, d: {"x": d["y"] * (1 - np.tanh(inputs["x"]) ** 2)}
    gradcheck(forward, backward, {"x": rng.standard_normal((3, 2))}, rng=rng)      # about 1e-11: it is right
"""

import numpy as np

EPS = 1e-5
TOLERANCE = 1e-6


def gradcheck(forward, backward, inputs, *, rng, tolerance=TOLERANCE, zero=(), directions=1):
    """Raise AssertionError, naming output and input, unless every gradient is right; return the largest error.

    forward(inputs) -> outputs, and backward(inputs, d_outputs) -> gradients: dictionaries of float64 arrays (or
    numbers) by name. d_outputs holds one output's dy; the others are None, so that no output hides behind another.
    `zero` names the (output, input) pairs that are zero by nature; any other gradient that is zero everywhere fails,
    and so does a gradient that is missing or of another shape.
    """
    if directions < 1:
        raise ValueError(f"directions: expected at least 1, got {directions}")
    inputs = {name: np.asarray(x) for name, x in inputs.items()}
    outputs = {name: np.asarray(y) for name, y in forward(inputs).items()}
    if not inputs or not outputs:
        raise ValueError(f"expected inputs and outputs, got {len(inputs)} and {len(outputs)}: nothing to check")
    worst = 0.0
    for y_name, y in outputs.items():
        dy = rng.standard_normal(y.shape)
        grads = backward(inputs, {name: dy if name == y_name else None for name in outputs})
        for x_name, x in inputs.items():
            pair = f"d {y_name} / d {x_name}"
            dx = np.asarray(grads.get(x_name, np.nan))
            _demand(dx.shape == x.shape, f"{pair}: expected shape {x.shape}, got {dx.shape}")
            _demand((y_name, x_name) in zero or dx.any() or not x.size, f"{pair} is zero everywhere")
            for _ in range(directions):
                v = rng.standard_normal(x.shape)
                analytic = np.vdot(dx, v)
                numeric = np.vdot(dy, directional_derivative(forward, inputs, x_name, v, y_name))
                scale = max(abs(analytic) + abs(numeric), np.linalg.norm(dy) * np.linalg.norm(v))
                error = abs(analytic - numeric) / scale if scale else 0.0
                numbers = f"analytic {analytic:.9g}, numeric {numeric:.9g}, error {error:.2g}"
                _demand(error <= tolerance, f"{pair}: {numbers}")
                worst = max(worst, error)
    return worst


def directional_derivative(forward, inputs, x_name, v, y_name):
    """d y(x + eps v) / d eps at eps = 0, by central differences; an array of y's shape."""
    ahead = forward({**inputs, x_name: inputs[x_name] + EPS * v})[y_name]
    behind = forward({**inputs, x_name: inputs[x_name] - EPS * v})[y_name]
    return (np.asarray(ahead) - np.asarray(behind)) / (2 * EPS)


def _demand(holds, message):
    """An assert that `python -O` does not take away."""
    if not holds:
        raise AssertionError(message)
