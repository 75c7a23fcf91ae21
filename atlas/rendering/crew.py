"""Several batches of icons at once on a processor, each on a core of its own.

A step is a hundred small operations; shared among cores, each of them waits for the slowest. docs/performance.md has
what a batch for each core brings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any

import torch

from atlas.rendering.target import Target

Task = Callable[[Target], Any]
Submit = Callable[[Task], "Future[Any]"]


@contextmanager
def crew(targets: Sequence[Target], *, alone: bool) -> Iterator[Submit]:
    """Give a way to run tasks, each with a target of its own, as many at once as there are targets.

    alone: each task computes on one thread, however many tasks there are; without it, and with one target, a task has
    all of torch's threads and is run at once by the caller. When the block is left early, what runs is halted within a
    step and the rest is dropped.
    """
    if not alone:
        yield lambda task: _now(task, targets[0])
        return
    free: SimpleQueue[Target] = SimpleQueue()
    for target in targets:
        free.put(target)

    def run(task: Task) -> Any:
        torch.set_num_threads(1)  # of this thread; what others have is put back at the end
        target = free.get()
        try:
            return task(target)
        finally:
            free.put(target)

    threads = torch.get_num_threads()
    pool = ThreadPoolExecutor(len(targets), thread_name_prefix="icons")
    try:
        yield lambda task: pool.submit(run, task)
    except BaseException:
        for target in targets:
            target.halt()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)


def _now(task: Task, target: Target) -> Future[Any]:
    done: Future[Any] = Future()
    try:
        done.set_result(task(target))
    except RuntimeError as error:  # memory that ran out is the caller's to answer; all else ends the block
        done.set_exception(error)
    return done
