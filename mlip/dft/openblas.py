"""The kernels of OpenBLAS for the processor of this machine.

An OpenBLAS that is older than the processor may not know it. It then takes its oldest kernels, of 2004 ("Prescott"):
OpenBLAS 0.3.21 of Debian 12 does so on Xeons of 2023, where GPAW needs twice the time. The results are the same to
rounding. OpenBLAS reads OPENBLAS_CORETYPE once, when it is loaded.
"""

import os
import subprocess
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

VARIABLE = "OPENBLAS_CORETYPE"
BEFORE_AVX2 = {"Prescott", "Core2", "Penryn", "Dunnington", "Nehalem", "Sandybridge", "Barcelona", "Bobcat"}
AVX2, AVX512 = {"avx2", "fma"}, {"avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl"}  # flags of Linux
ASK = (
    "import ctypes, sys; name = ctypes.CDLL(sys.argv[1]).openblas_get_corename; name.restype = ctypes.c_char_p; "
    "print(name().decode())"
)
TIME_LIMIT_S = 60.0


def better(core: str, flags: Collection[str]) -> str | None:
    """Name of kernels with the vector instructions of the processor; None where OpenBLAS has chosen such kernels.

    Args:
        core: the kernels that OpenBLAS takes by itself.
        flags: of the processor, as Linux names them.
    """
    if core not in BEFORE_AVX2 or not AVX2.issubset(flags):
        return None
    return "SKYLAKEX" if AVX512.issubset(flags) else "HASWELL"


def processor_flags() -> frozenset[str]:
    """Of the first processor; empty where the system is not Linux on x86."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return frozenset()
    return frozenset(next((line.split(":", 1)[1].split() for line in lines if line.startswith("flags")), []))


def core_of(library: Path) -> str:
    """The kernels that the OpenBLAS of a shared library takes, asked in a process of its own; empty: no OpenBLAS."""
    try:
        done = subprocess.run(  # noqa: S603
            [sys.executable, "-I", "-c", ASK, str(library)],
            capture_output=True,
            text=True,
            timeout=TIME_LIMIT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


@contextmanager
def fast(module: str) -> Iterator[None]:
    """While this lasts, the first import of a compiled module loads its OpenBLAS with kernels for this processor.

    The variable is taken away again, as other processes may run on other processors. A user who has set it is obeyed.
    """
    found = None if module in sys.modules or VARIABLE in os.environ else find_spec(module)
    flags = processor_flags() if found is not None else frozenset()
    library = found.origin if found is not None and AVX2.issubset(flags) else None
    name = None if library is None else better(core_of(Path(library)), flags)
    if name is None:
        yield
        return
    os.environ[VARIABLE] = name
    try:
        yield
    finally:
        os.environ.pop(VARIABLE, None)
