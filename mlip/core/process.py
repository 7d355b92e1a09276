"""What belongs to the whole process and not to us: environment variables, filters of warnings, logging, random numbers.

Takes blocks that import or call libraries which change them; gives the process back as it was. Settings that are meant
for a whole process (`own`) are made only by processes of ours: the command line and its workers.
"""

import contextlib
import ctypes
import io
import logging
import os
import random
import sys
import warnings
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType

OF_CALCULATORS = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"  # set by mace.calculators on import; its classes need it later
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # glibc, malloc.h


def own() -> None:
    """Settings of a process of ours: malloc keeps what was freed for the next call of the model.

    By default glibc gives every large array back to the system, and the next call pays for fresh pages, which are
    zeroed one by one: up to half of the time of a batch on a CPU.
    """
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # not in every C library
        if mallopt is not None:
            mallopt(M_MMAP_MAX, 0)
            mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
            mallopt(M_TOP_PAD, 2**26)


@contextlib.contextmanager
def quiet(*kept: str) -> Iterator[None]:
    """A block in which libraries are imported: what they print and set in the environment is not the user's concern.

    Args:
        kept: variables that keep the value which the block gave them.
    """
    environment = dict(os.environ)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for name in os.environ.keys() - environment.keys() - set(kept):
            del os.environ[name]
        os.environ.update({k: v for k, v in environment.items() if os.environ.get(k) != v})


def imported(name: str) -> ModuleType:
    """A module, imported in silence where it is not there yet."""
    if name not in sys.modules:
        with quiet():
            import_module(name)
    return sys.modules[name]


@contextlib.contextmanager
def with_variables(**variables: str) -> Iterator[None]:
    """A block with these variables in the environment."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextlib.contextmanager
def unchanged(**variables: str) -> Iterator[None]:
    """A quiet block after which logging, random numbers and the settings of torch are as before, too.

    Args:
        variables: of the environment, for the block; those that the user has set stay as they are.
    """
    import numpy as np
    import torch

    disabled, level, handlers = logging.root.manager.disable, logging.root.level, list(logging.root.handlers)
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002  (of others)
    dtype, threads = torch.get_default_dtype(), torch.get_num_threads()
    logging.disable(logging.WARNING)
    try:
        with quiet():
            for name, value in variables.items():
                os.environ.setdefault(name, value)
            yield
    finally:
        logging.disable(disabled)
        logging.root.setLevel(level)
        logging.root.handlers[:] = handlers
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        torch.set_rng_state(states[2])
        torch.set_default_dtype(dtype)
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
