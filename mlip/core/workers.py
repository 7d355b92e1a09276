"""Independent jobs in processes side by side, on this machine or wherever an executor carries them out.

Takes a function of one job (importable, both picklable); gives results in order. Workers use one thread each, die with
their parent, and keep what they finished on disk: after a kill the same call goes on.
"""

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from mlip.core import guarded, process

Job = TypeVar("Job")
Result = TypeVar("Result")
GPUS_OF_A_PROCESS = "CUDA_VISIBLE_DEVICES"


class Executor(Protocol):
    """Carries out jobs elsewhere; the arguments are those of `run_parallel`."""

    def __call__(
        self,
        function: Callable[[Job], Result],
        jobs: Sequence[Job],
        *,
        on_tick: Callable[[int], None],
        tick_s: float,
        uses_torch: bool,
    ) -> list[Result]:
        """Results in the order of the jobs."""


_EXECUTOR: ContextVar[Executor | None] = ContextVar("executor", default=None)


@contextmanager
def carried_out_by(executor: Executor | None) -> Iterator[None]:
    """A block in which `run_parallel` gives its jobs to this executor; None is this machine."""
    before = _EXECUTOR.set(executor)
    try:
        yield
    finally:
        _EXECUTOR.reset(before)


def run_parallel(
    function: Callable[[Job], Result],
    jobs: Sequence[Job],
    *,
    workers: int,
    on_tick: Callable[[int], None] = lambda _: None,
    tick_s: float = 0.5,
    uses_torch: bool = True,
) -> list[Result]:
    """Results of `function` for every job, in the order of the jobs.

    Args:
        function: of one job; runs in another process.
        jobs: what to do.
        workers: processes at the same time.
        on_tick: called with the number of finished jobs, at least every `tick_s` seconds.
        tick_s: seconds between calls.
        uses_torch: set torch up in each worker, which takes a second or two.

    Raises:
        ValueError: a worker was killed, for example for want of memory; or whatever a job raised first.
    """
    if not jobs:
        return []
    if (executor := _EXECUTOR.get()) is not None:
        return executor(function, jobs, on_tick=on_tick, tick_s=tick_s, uses_torch=uses_torch)
    return run_local(function, jobs, workers=workers, on_tick=on_tick, tick_s=tick_s, uses_torch=uses_torch)


def run_local(
    function: Callable[[Job], Result],
    jobs: Sequence[Job],
    *,
    workers: int,
    on_tick: Callable[[int], None] = lambda _: None,
    tick_s: float = 0.5,
    uses_torch: bool = True,
    gpus: Sequence[str] = (),
) -> list[Result]:
    """The same on this machine, whatever the executor; see `run_parallel`. Each worker sees one of `gpus`, if any."""
    context = multiprocessing.get_context("spawn")
    count = min(workers, len(jobs))
    with _signal_held():  # for the helper process of multiprocessing, too
        own = context.SimpleQueue()
        for gpu in gpus[:count]:
            own.put(gpu)
        pool = ProcessPoolExecutor(
            count, mp_context=context, initializer=_begin, initargs=(uses_torch, own if gpus else None)
        )
        futures: list[Future[Result]] = [pool.submit(function, job) for job in jobs]
    with pool:
        pending = set(futures)
        try:
            while pending:
                done, pending = wait(pending, timeout=tick_s, return_when=FIRST_COMPLETED)
                on_tick(len(futures) - len(pending))
                for future in done:
                    future.result()
        except BrokenProcessPool as error:
            raise ValueError(
                "a worker process was killed (out of memory?); lower common.workers and run again: "
                "finished work is kept"
            ) from error
        finally:
            for future in pending:
                future.cancel()
        return [future.result() for future in futures]


@contextmanager
def _signal_held() -> Iterator[None]:
    """A block whose new processes never see the signal with which SLURM announces a time limit: this one acts on it."""
    if sys.platform != "linux":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@dataclass(frozen=True, kw_only=True)
class OnGpus:
    """The executor of a machine with several GPUs: one job on each at a time.

    Attributes:
        gpus: each as CUDA_VISIBLE_DEVICES names it.
        workers: processes side by side for jobs that use no GPU.
    """

    gpus: tuple[str, ...]
    workers: int

    def __call__(
        self,
        function: Callable[[Job], Result],
        jobs: Sequence[Job],
        *,
        on_tick: Callable[[int], None],
        tick_s: float,
        uses_torch: bool,
    ) -> list[Result]:
        """Results of the jobs in order; see `run_parallel`."""
        gpus = self.gpus if uses_torch else ()
        workers = len(gpus) or self.workers
        return run_local(
            function, jobs, workers=workers, on_tick=on_tick, tick_s=tick_s, uses_torch=uses_torch, gpus=gpus
        )


def chosen_gpus(asked: int, *, visible: str | None, there: int) -> tuple[str, ...]:
    """The GPUs of the workers, each as CUDA_VISIBLE_DEVICES names it.

    Args:
        asked: how many.
        visible: the value of CUDA_VISIBLE_DEVICES: numbers or UUIDs; None where the variable is not set.
        there: how many CUDA finds.

    Raises:
        ValueError: there are fewer.
    """
    named = [str(k) for k in range(there)] if visible is None else [n.strip() for n in visible.split(",") if n.strip()]
    named = named[:there]  # CUDA stops at the first name that it does not know
    if asked > len(named):
        seen = "" if visible is None else f" ({GPUS_OF_A_PROCESS}={visible})"
        raise ValueError(f"common.gpus: {asked} asked for and {len(named)} found{seen}; lower common.gpus")
    return tuple(named[:asked])


def _begin(uses_torch: bool, gpus: Any = None) -> None:
    """Set up a worker: one thread, and death with the parent so that two runs never write to the same folder."""
    os.environ["OMP_NUM_THREADS"] = "1"
    if gpus is not None:
        os.environ[GPUS_OF_A_PROCESS] = gpus.get()  # before CUDA starts in this process
    process.own()
    if (parent := multiprocessing.parent_process()) is not None and parent.pid is not None:
        guarded.dies_with(parent.pid, signal.SIGKILL)
    if uses_torch:
        import torch

        torch.set_num_threads(1)
