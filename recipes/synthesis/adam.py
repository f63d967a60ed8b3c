"""Adam: a step per element, scaled by running means of the gradient and of its square.

Two vectors of state instead of L-BFGS's twenty, and more steps. The state is plain arrays, so a run that was killed
goes on to the same bytes.

Source: Kingma and Ba 2015, arXiv 1412.6980, algorithm 1 in the form of the end of its section 2, which TensorFlow's
  AdamOptimizer has too.
"""

import numpy as np

FIRST_DECAY, SECOND_DECAY = 0.9, 0.999  # of the running means of the gradient and of its square
EPSILON = 1e-8


class Adam:
    """Minimizes a function of a float32 vector, one step and one evaluation at a time.

    Attributes:
      x: float32 [size], the point after the last step. A new array with every step.
      losses: What `evaluate` returned at the point before the last step, None before the first.
      num_evaluations: Number of calls of `evaluate`, which is the number of steps.
      converged: Always False: Adam does not know.
    """

    converged = False

    def __init__(self, x, learning_rate):
        """Starts at a point.

        Args:
          x: float32 [size].
          learning_rate: About the change of an element in one step.
        """
        self.x = np.array(x, np.float32).ravel()
        self.learning_rate = learning_rate
        self.losses = None
        self.mean, self.mean_square = np.zeros_like(self.x), np.zeros_like(self.x)
        self.num_evaluations = 0

    def step(self, evaluate):
        """Takes one step; stays where it is when loss or gradient are not finite.

        Args:
          evaluate: As in `LBFGS.step`.
        """
        self.losses, gradient = evaluate(self.x)
        gradient = np.asarray(gradient, np.float32).ravel()
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
