from __future__ import annotations

import threading
import time

import pytest
import torch

from ecotone.inference.ahead import side_by_side


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_results_come_in_order_whatever_takes_longest(workers):
    def work(i: int) -> int:
        time.sleep(0.01 * (i % 3 == 0))
        return i * i

    assert list(side_by_side(work, iter(range(20)), workers)) == [i * i for i in range(20)]


def test_items_are_worked_on_at_the_same_time_by_threads_of_one_core():
    together = threading.Barrier(2, timeout=30)  # broken unless two come at once

    def work(_: int) -> int:
        together.wait()
        return torch.get_num_threads()

    before = torch.get_num_threads()
    assert list(side_by_side(work, iter(range(4)), 2)) == [1] * 4
    assert torch.get_num_threads() == before


def test_only_a_few_items_are_taken_before_they_are_wanted():
    taken = []

    def items():
        for i in range(100):
            taken.append(i)
            yield i

    results = side_by_side(lambda i: i, items(), 2)
    next(results)
    assert len(taken) <= 4
    results.close()


def test_an_error_comes_when_its_item_is_due():
    def work(i: int) -> int:
        if i == 2:
            raise ValueError("the third")
        return i

    results = side_by_side(work, iter(range(9)), 2)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ValueError, match="the third"):
        next(results)
