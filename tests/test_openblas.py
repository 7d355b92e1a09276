import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import cells, tiny

from mlip.dft import openblas

XEON = openblas.AVX2 | openblas.AVX512 | {"sse4_2"}
LOADED = """
import ctypes, importlib.util, os
from mlip.dft.engines import gpaw
gpaw.loaded()
name = ctypes.CDLL(importlib.util.find_spec("_gpaw").origin).openblas_get_corename
name.restype = ctypes.c_char_p
print(name().decode(), os.environ.get("OPENBLAS_CORETYPE"))
"""


@pytest.mark.parametrize(
    ("core", "flags", "name"),
    [
        ("Prescott", XEON, "SKYLAKEX"),
        ("Prescott", openblas.AVX2, "HASWELL"),
        ("Prescott", {"sse4_2"}, None),  # an old processor
        ("SkylakeX", XEON, None),  # OpenBLAS knows it
        ("Zen", openblas.AVX2, None),
        ("", XEON, None),  # another BLAS
    ],
)
def test_openblas_gets_kernels_where_it_takes_those_of_an_old_processor(core, flags, name):
    assert openblas.better(core, flags) == name


def test_a_library_without_openblas_has_no_kernels(tmp_path):
    assert openblas.core_of(tmp_path / "missing.so") == ""


def core(**environment):
    """Kernels of GPAW in a process of its own, and the variable afterwards."""
    given = {k: v for k, v in tiny.environment().items() if k != openblas.VARIABLE} | environment
    done = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=True, env=given)
    name, variable = done.stdout.split()
    return name, variable


@cells.needs_gpaw
@pytest.mark.skipif(not openblas.AVX2.issubset(openblas.processor_flags()), reason="a processor without AVX2")
def test_gpaw_is_loaded_with_kernels_of_this_processor():
    if not openblas.core_of(Path(importlib.util.find_spec("_gpaw").origin)):
        pytest.skip("GPAW is linked with another BLAS than OpenBLAS")
    name, variable = core()
    assert name not in openblas.BEFORE_AVX2
    assert variable == "None"  # other processes choose by themselves
    assert core(**{openblas.VARIABLE: "Nehalem"}) == ("Nehalem", "Nehalem")
    assert openblas.VARIABLE not in os.environ
