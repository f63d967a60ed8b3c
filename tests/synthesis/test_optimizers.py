import numpy as np
import pytest

from synthesis.optimizers import LBFGS, Adam, dot


def rosenbrock(x):
    a, b = x[::2].astype(np.float64), x[1::2].astype(np.float64)
    gradient = np.empty(x.size)
    gradient[::2] = -400 * a * (b - a * a) - 2 * (1 - a)
    gradient[1::2] = 200 * (b - a * a)
    return (float(np.sum(100 * (b - a * a) ** 2 + (1 - a) ** 2)), 7.0), gradient.astype(np.float32)


def bowl(x):
    stiffness = np.linspace(1, 100, x.size).astype(np.float32)
    return (float(np.sum(stiffness.astype(np.float64) * (x - 1.0) ** 2) / 2),), stiffness * (x - 1)


def run(optimizer, evaluate, steps):
    for _ in range(steps):
        optimizer.step(evaluate)
    return optimizer


def test_rosenbrocks_valley_is_followed_to_its_end():
    optimizer = run(LBFGS(np.tile([-1.2, 1], 10), first_step=0.1), rosenbrock, 80)
    np.testing.assert_allclose(optimizer.x, 1, atol=1e-2)
    assert optimizer.losses[1] == 7.0


def test_a_quadratic_costs_about_one_evaluation_a_step():
    optimizer = run(LBFGS(np.zeros(50)), bowl, 30)
    np.testing.assert_allclose(optimizer.x, 1, atol=1e-2)
    assert optimizer.num_evaluations <= 36


def test_the_loss_never_rises():
    optimizer, losses = LBFGS(np.tile([-1.2, 1], 3)), []
    for _ in range(40):
        optimizer.step(rosenbrock)
        losses.append(optimizer.losses[0])
    assert losses == sorted(losses, reverse=True)


def test_the_first_step_moves_an_element_by_first_step_on_average():
    optimizer = run(LBFGS(np.zeros(50), first_step=1e-3), bowl, 1)
    assert np.mean(np.abs(optimizer.x)) == pytest.approx(1e-3, rel=1e-4)


def test_at_the_lowest_point_it_says_that_it_has_converged():
    optimizer = run(LBFGS(np.ones(10)), bowl, 3)
    assert optimizer.converged and (optimizer.x == 1).all()
    assert run(optimizer, bowl, 5).num_evaluations == 1


def test_a_failed_search_starts_anew_from_steepest_descent():
    optimizer = run(LBFGS(np.tile([-1.2, 1], 3), first_step=0.01), rosenbrock, 5)
    optimizer.changes *= 1e-6  # a false memory: far too long a step
    optimizer.steps *= -1
    before = optimizer.losses[0]
    optimizer.step(rosenbrock)
    assert optimizer.losses[0] < before and not optimizer.converged


def test_a_step_into_infinity_is_shortened():
    def cliff(x):
        return ((float(np.sum(x ** 2)),), 2 * x) if np.abs(x).max() < 3 else ((float('nan'),), x * np.nan)
    optimizer = run(LBFGS(np.full(4, 2.9), first_step=50), cliff, 20)
    np.testing.assert_allclose(optimizer.x, 0, atol=1e-3)


def test_a_loss_that_is_not_finite_at_the_start_stays_where_it_is():
    optimizer = run(LBFGS(np.ones(4)), lambda x: ((float('nan'),), x), 3)
    assert (optimizer.x == 1).all() and np.isnan(optimizer.losses[0])


@pytest.mark.parametrize('make', [lambda x: LBFGS(x, history=4, first_step=0.1), lambda x: Adam(x, 0.1)])
@pytest.mark.parametrize('steps_before', [1, 3, 9])
def test_state_saved_and_restored_goes_on_to_the_same_bytes(make, steps_before, tmp_path):
    start = np.tile([-1.2, 1], 8)
    whole = run(make(start), rosenbrock, 20)
    np.savez(str(tmp_path / 'state.npz'), **run(make(start), rosenbrock, steps_before).state())
    resumed = make(np.zeros(start.size))
    with np.load(str(tmp_path / 'state.npz'), allow_pickle=False) as state:
        resumed.restore(dict(state))
    run(resumed, rosenbrock, 20 - steps_before)
    assert resumed.x.tobytes() == whole.x.tobytes()
    assert resumed.losses == whole.losses and resumed.num_evaluations == whole.num_evaluations


def test_adam_agrees_with_its_published_algorithm():
    optimizer = run(Adam(np.array([3.0]), 0.5), lambda x: ((float(x[0]),), np.ones(1, np.float32)), 4)
    assert optimizer.x[0] == pytest.approx(1.0, abs=1e-5)  # a constant gradient: every step is the learning rate


def test_adam_finds_the_lowest_point():
    np.testing.assert_allclose(run(Adam(np.zeros(20), 0.05), bowl, 400).x, 1, atol=0.05)


def test_adam_does_not_step_into_infinity():
    optimizer = run(Adam(np.ones(3), 1.0), lambda x: ((1.0,), x * np.inf), 2)
    assert (optimizer.x == 1).all() and np.isnan(optimizer.losses[0])


def test_dot_sums_in_float64():
    ones = np.full(2 ** 24 + 1, 1, np.float32)
    assert dot(ones, ones) == 2 ** 24 + 1
