"""Which images a step takes, and the thread that prepares them."""
import threading
import time

import numpy as np
import pytest

from training.batches import batch_indices, mirrored, prefetch


def test_every_image_is_taken_once_an_epoch():
    taken = np.concatenate([batch_indices(step, 3, 10, seed=5) for step in range(10)])
    for epoch in range(3):
        assert sorted(taken[10 * epoch:10 * epoch + 10]) == list(range(10))
    assert list(taken[:10]) != list(taken[10:20]) != list(range(10))


def test_what_is_prefetched_comes_in_order_made_in_one_other_thread():
    makers = set()

    def make(item):
        makers.add(threading.current_thread())
        time.sleep(0.01 * (item % 2))
        return item ** 2
    assert list(prefetch(make, range(9))) == [item ** 2 for item in range(9)]
    assert len(makers) == 1 and threading.current_thread() not in makers


def test_prefetch_works_while_the_caller_does_but_not_far_ahead():
    made, before = [], set(threading.enumerate())
    results = prefetch(made.append, range(100), ahead=2)
    next(results)
    deadline = time.time() + 10
    while len(made) < 3 and time.time() < deadline:
        time.sleep(0.01)
    time.sleep(0.05)
    assert made == [0, 1, 2]
    results.close()
    assert len(made) <= 4
    assert not set(threading.enumerate()) - before


def test_what_goes_wrong_in_the_thread_is_raised_in_its_place():
    results = prefetch(lambda item: 1 / item, [1, 0, 1])
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)


@pytest.mark.parametrize('batch_size', [10, 7])  # 7: epochs that end within a batch
def test_an_image_is_mirrored_every_second_epoch(batch_size):
    seen = {}
    for step in range(120 // batch_size):
        indices = batch_indices(step, batch_size, 30, seed=4)
        for index, way in zip(indices, mirrored(step, indices, 30, seed=4)):
            seen.setdefault(index, []).append(way)
    for ways in seen.values():
        assert len(ways) >= 3 and all(one != next_one for one, next_one in zip(ways, ways[1:]))
    assert 5 < sum(ways[0] for ways in seen.values()) < 25
