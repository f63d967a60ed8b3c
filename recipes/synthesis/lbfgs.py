"""L-BFGS: Newton's method with a curvature remembered from the last few steps.

Why not SciPy's: it works on a float64 copy, stops on its own terms, may spend several evaluations on one step, and
keeps its memory to itself. Here all the state is plain arrays, so a run that was killed goes on to the same bytes,
and a step costs one evaluation as a rule.

Source: Nocedal and Wright, Numerical Optimization, 2nd ed., algorithm 7.4 (two-loop recursion), equation 7.20
(scaling) and algorithm 3.1 (backtracking). We demand only Armijo's sufficient decrease and drop a pair whose
curvature is not positive, instead of paying for the further evaluations that Wolfe's second condition costs.
"""

import numpy as np

SUFFICIENT_DECREASE = 1e-4  # part of the decrease promised by the slope that a step has to deliver (Armijo)
MAX_TRIALS = 8  # evaluations in a line search before it counts as failed
SMALLEST_CURVATURE = 1e-10  # s·y over y·y below which a pair says nothing about the curvature


class LBFGS:
    """Minimizes a function of a float32 vector, one step at a time.

    Attributes:
      x: float32 [size], the best point so far. A new array with every step: never written into.
      losses: What `evaluate` returned for `x`, None before the first step.
      gradient: float32 [size] at `x`, None before the first step.
      num_evaluations: Number of calls of `evaluate` so far.
      converged: True once no step downhill can be found, not even along the gradient: further calls of `step` do
        nothing.
    """

    def __init__(self, x, history=10, first_step=1.0):
        """Starts at a point.

        Args:
          x: float32 [size].
          history: Number of past steps remembered; memory is 2 * history vectors.
          first_step: Mean absolute change of an element tried where nothing is known about the curvature yet.
        """
        self.x = np.array(x, np.float32).ravel()
        self.first_step = first_step
        self.losses, self.gradient = None, None
        self.num_evaluations, self.num_pairs, self.converged = 0, 0, False
        # Pair k, counted from the start, lies in row k % history: a step and the gradient's change over it.
        self.steps = np.zeros((history, self.x.size), np.float32)
        self.changes = np.zeros((history, self.x.size), np.float32)
        self.oldest_pair = 0

    def step(self, evaluate):
        """Takes one step downhill: as a rule one evaluation, and one more before the very first step.

        Args:
          evaluate: Function of a float32 [size] to (losses, gradient): a tuple of floats whose first is minimized
            (the others are kept beside it), and float32 [size]. A loss that is not finite makes the step shorter.
        """
        if self.gradient is None:
            self.losses, self.gradient = self._call(evaluate, self.x)
        if self.converged or not np.isfinite(self.losses[0]):
            return
        has_memory = self.num_pairs > self.oldest_pair
        if self._search(evaluate, self._direction()):
            return
        self.oldest_pair = self.num_pairs  # a false memory: start anew from steepest descent
        self.converged = not (has_memory and self._search(evaluate, self._direction()))

    def _call(self, evaluate, x):
        self.num_evaluations += 1
        losses, gradient = evaluate(x)
        return losses, np.asarray(gradient, np.float32).ravel()

    def _search(self, evaluate, direction):
        """Tries shorter and shorter steps along a direction; returns whether one was taken."""
        slope = dot(self.gradient, direction)
        if not slope < 0:
            return False
        length = 1.0
        for _ in range(MAX_TRIALS):
            x = self.x + np.float32(length) * direction
            losses, gradient = self._call(evaluate, x)
            promised = length * slope
            rise = losses[0] - self.losses[0]
            if np.isfinite(rise) and np.isfinite(gradient).all() and rise <= SUFFICIENT_DECREASE * promised:
                self._remember(x - self.x, gradient - self.gradient)
                self.x, self.losses, self.gradient = x, losses, gradient
                return True
            # The lowest point of the parabola through both losses and the slope, kept within reason.
            lowest = -promised / (2 * (rise - promised)) if np.isfinite(rise) else 0
            length *= min(max(lowest, 0.1), 0.5)
        return False

    def _remember(self, step, change):
        if dot(step, change) > SMALLEST_CURVATURE * dot(change, change):
            row = self.num_pairs % len(self.steps)
            self.steps[row], self.changes[row] = step, change
            self.num_pairs += 1
            self.oldest_pair = max(self.oldest_pair, self.num_pairs - len(self.steps))

    def _direction(self):
        """Returns minus the inverse Hessian, as the remembered pairs estimate it, times the gradient."""
        direction = -self.gradient
        if self.oldest_pair == self.num_pairs:
            mean_gradient = np.mean(np.abs(direction), dtype=np.float64)
            return direction * np.float32(self.first_step / mean_gradient) if mean_gradient else direction
        rows = [pair % len(self.steps) for pair in range(self.oldest_pair, self.num_pairs)]
        curvatures = {row: dot(self.steps[row], self.changes[row]) for row in rows}
        weights = {}
        for row in reversed(rows):
            weights[row] = dot(self.steps[row], direction) / curvatures[row]
            direction -= np.float32(weights[row]) * self.changes[row]
        newest = rows[-1]
        direction *= np.float32(curvatures[newest] / dot(self.changes[newest], self.changes[newest]))
        for row in rows:
            correction = weights[row] - dot(self.changes[row], direction) / curvatures[row]
            direction += np.float32(correction) * self.steps[row]
        return direction

    def state(self):
        """Returns all that a later `restore` needs, as a dict of arrays."""
        counters = [self.num_evaluations, self.num_pairs, self.oldest_pair, self.converged]
        used = slice(min(self.num_pairs, len(self.steps)))
        return {'x': self.x, 'losses': np.array(self.losses, np.float64), 'gradient': self.gradient,
                'steps': self.steps[used], 'changes': self.changes[used], 'counters': np.array(counters, np.int64)}

    def restore(self, state):
        """Goes back to a state that `state` returned, to the bit; `history` and `first_step` are to be the same."""
        self.x, self.gradient = state['x'], state['gradient']
        self.losses = tuple(state['losses'].tolist())
        used = len(state['steps'])
        self.steps[:used], self.changes[:used] = state['steps'], state['changes']
        self.num_evaluations, self.num_pairs, self.oldest_pair, converged = state['counters'].tolist()
        self.converged = bool(converged)


def dot(a, b):
    """Returns the dot product of two float32 vectors, summed in float64: a picture has millions of terms."""
    return float(np.einsum('i,i->', a, b, dtype=np.float64))
