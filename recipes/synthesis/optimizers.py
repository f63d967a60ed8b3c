"""L-BFGS and Adam in NumPy, one step at a time, whose whole state is plain arrays: a resumed run gives the same bytes.

SciPy's L-BFGS works on a float64 copy, stops on its own terms, may spend several evaluations on a step, and hides its
memory; TensorFlow's Adam would need an image that is a variable of the graph, one graph for each size.

`evaluate`, which both minimize, is a function of a float32 [size] to (losses, gradient): a tuple of floats, the first
of which counts and the others are kept beside it, and float32 [size].
"""
import numpy as np

SUFFICIENT_DECREASE = 1e-4  # fraction of the decrease that the slope promises which a step has to deliver (Armijo)
MAX_TRIALS = 8  # evaluations in a line search before it counts as failed
SMALLEST_CURVATURE = 1e-10  # s·y over y·y below which a pair says nothing about the curvature
FIRST_DECAY, SECOND_DECAY = 0.9, 0.999  # of Adam's running means of the gradient and of its square
EPSILON = 1e-8


class LBFGS:
    """L-BFGS: Newton's method with the curvature of the last few steps; as a rule a step is one evaluation.

    Attributes:
      x: float32 [size], the best point so far. A new array with every step: never written into.
      losses: what `evaluate` returned for `x`, None before the first step.
      gradient: float32 [size] at `x`, None before the first step.
      num_evaluations: number of calls of `evaluate` so far.
      converged: bool, no step downhill can be found, not even along the gradient: `step` does nothing any more.

    Source: Nocedal and Wright, Numerical Optimization, 2nd ed., algorithm 7.4 (two-loop recursion), equation 7.20
      (scaling) and algorithm 3.1 (backtracking). We demand only Armijo's sufficient decrease and drop a pair whose
      curvature is not positive, instead of paying for the further evaluations that Wolfe's second condition costs.
    """

    def __init__(self, x, history=10, first_step=1.0):
        """Starts at a point.

        Args:
          x: float32 [size].
          history: number of past steps remembered; memory is 2 * history vectors.
          first_step: mean absolute change of an element tried where nothing is known about the curvature yet.
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
        """Takes one step downhill; before the very first, evaluates the start as well."""
        if self.gradient is None:
            self.losses, self.gradient = evaluate(self.x)
            self.num_evaluations += 1
        while not self.converged and np.isfinite(self.losses[0]):
            direction = self._direction()
            slope, length = dot(self.gradient, direction), 1.0
            for _ in range(MAX_TRIALS if slope < 0 else 0):
                x = self.x + np.float32(length) * direction
                losses, gradient = evaluate(x)
                self.num_evaluations += 1
                promised, rise = length * slope, losses[0] - self.losses[0]
                if np.isfinite(rise) and np.isfinite(gradient).all() and rise <= SUFFICIENT_DECREASE * promised:
                    self._remember(x - self.x, gradient - self.gradient)
                    self.x, self.losses, self.gradient = x, losses, gradient
                    return
                # The lowest point of the parabola through both losses and the slope, kept within reason.
                lowest = -promised / (2 * (rise - promised)) if np.isfinite(rise) else 0
                length *= min(max(lowest, 0.1), 0.5)
            self.converged = self.oldest_pair == self.num_pairs  # it was the gradient itself; else the pairs mislead
            self.oldest_pair = self.num_pairs

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


class Adam:
    """Adam: a step per element, scaled by running means of the gradient and of its square.

    Two vectors of state instead of L-BFGS's twenty, and more steps.

    Attributes:
      x: float32 [size], the point after the last step. A new array with every step.
      losses: what `evaluate` returned at the point before the last step, None before the first.
      num_evaluations: number of calls of `evaluate`, which is the number of steps.
      converged: always False: Adam does not know.

    Source: Kingma and Ba 2015, arXiv 1412.6980, algorithm 1 in the form of the end of its section 2, which TensorFlow's
      AdamOptimizer has too.
    """

    converged = False

    def __init__(self, x, learning_rate):
        """Starts at a point.

        Args:
          x: float32 [size].
          learning_rate: about the change of an element in one step.
        """
        self.x = np.array(x, np.float32).ravel()
        self.learning_rate = learning_rate
        self.losses = None
        self.mean, self.mean_square = np.zeros_like(self.x), np.zeros_like(self.x)
        self.num_evaluations = 0

    def step(self, evaluate):
        """Takes one step; stays where it is when loss or gradient are not finite."""
        self.losses, gradient = evaluate(self.x)
        if not (np.isfinite(self.losses[0]) and np.isfinite(gradient).all()):
            self.losses = (float('nan'), *self.losses[1:])
            return
        self.num_evaluations += 1
        self.mean = np.float32(FIRST_DECAY) * self.mean + np.float32(1 - FIRST_DECAY) * gradient
        self.mean_square = np.float32(SECOND_DECAY) * self.mean_square + np.float32(1 - SECOND_DECAY) * gradient ** 2
        bias = np.sqrt(1 - SECOND_DECAY ** self.num_evaluations) / (1 - FIRST_DECAY ** self.num_evaluations)
        scale = np.sqrt(self.mean_square) + np.float32(EPSILON)
        self.x = self.x - np.float32(self.learning_rate * bias) * self.mean / scale

    def state(self):
        """Returns all that a later `restore` needs, as a dict of arrays."""
        return {'x': self.x, 'losses': np.array(self.losses, np.float64), 'mean': self.mean,
                'mean_square': self.mean_square, 'counters': np.array([self.num_evaluations], np.int64)}

    def restore(self, state):
        """Goes back to a state that `state` returned, to the bit."""
        self.x, self.mean, self.mean_square = state['x'], state['mean'], state['mean_square']
        self.losses = tuple(state['losses'].tolist())
        self.num_evaluations = int(state['counters'][0])


def named_state(optimizer):
    """Returns the optimizer's state as a part of a checkpoint, under names of its own; see `restore`."""
    return {f'optimizer_{name}': array for name, array in optimizer.state().items()}


def restore(optimizer, checkpoint):
    """Goes back to the state in a checkpoint, a dict of arrays."""
    optimizer.restore({name.split('_', 1)[1]: array for name, array in checkpoint.items()
                       if name.startswith(('optimizer_', 'optimiser_'))})  # as they were called once


def dot(a, b):
    """Returns the dot product of two float32 vectors, summed in float64: an image has millions of terms."""
    return float(np.einsum('i,i->', a, b, dtype=np.float64))
