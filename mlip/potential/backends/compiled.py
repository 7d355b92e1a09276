"""The one place that knows the package symmetrix-xl: its version, its private methods, its environment variables.

Takes members of a model and flat arrays of their graphs; gives the package's own description of a member, and compiled
evaluators of such descriptions. The package has no public way to evaluate many structures in one call, so that three of
its private methods are called here, and only the version whose methods these are is used.
"""

import importlib.util
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlip.core.arrays import Array
from mlip.core.process import unchanged

Integers = NDArray[np.int32]

VERSION = "0.1.1"  # as pinned in pyproject.toml
PRIVATE = ("_prepare_factorized_graph", "_compute_prepared_factorized", "_reduce_atom_forces", "node_energies")
VARIABLES = {
    "SYMMETRIX_BACKEND": "cpu",
    # through OpenBLAS it asks the linker in every product which library that is: 10 to 40 ms a call of any size
    "SYMMETRIX_HOST_WORKER_BLAS": "off",
    "OMP_PROC_BIND": "false",
}


def version() -> str | None:
    """The installed version, or None."""
    if importlib.util.find_spec("symmetrix") is None:
        return None
    try:
        return installed_version("symmetrix-xl")
    except PackageNotFoundError:  # another package of that name, or a bare folder
        return "unknown"


def require() -> None:
    """Nothing where the package can be used.

    Raises:
        ValueError: it is not installed, or in a version whose private methods are not known here.
    """
    found = version()
    if found is None:
        raise ValueError(
            f"symmetrix-xl is not installed; on Linux, x86-64, Python 3.11 to 3.13: pip install symmetrix-xl=={VERSION}"
        )
    if found != VERSION:
        raise ValueError(
            f"symmetrix-xl {found} is installed, only {VERSION} is known; pip install symmetrix-xl=={VERSION}"
        )


def described(member: Any, *, spline_points: int) -> dict[str, Any]:
    """A member of a model, a mace-torch module, in the package's own form; JSON-able."""
    import torch

    with unchanged(**VARIABLES):
        from symmetrix import extract_mace_data as module

        packed = io.BytesIO()
        torch.save(member, packed)
        packed.seek(0)
        with _plain_numbers(module):
            found: dict[str, Any] = module.extract_mace_data(packed, num_spline_points=spline_points)
    return found


class _Numbers(np.ndarray[Any, np.dtype[np.float64]]):
    """An array with the one method of a tensor that the package needs of coupling coefficients."""

    def unsqueeze(self, axis: int) -> Any:
        return np.expand_dims(self, axis)


@contextmanager
def _plain_numbers(module: Any) -> Iterator[None]:
    """Coupling coefficients as numpy arrays: the package reads them number by number, ten times slower from tensors."""
    kept = module.U_matrix_real

    def coefficients(*args: Any, **kwargs: Any) -> list[Any]:
        return [
            part.detach().cpu().double().numpy().view(_Numbers) if hasattr(part, "detach") else part
            for part in kept(*args, **kwargs)
        ]

    module.U_matrix_real = coefficients
    try:
        yield
    finally:
        module.U_matrix_real = kept


def load(paths: Sequence[Path], *, device: str, dtype: str) -> "list[Member]":
    """Compiled evaluators of described members.

    Raises:
        ValueError: the package runs on another device, or lacks what is called here.
    """
    variables = VARIABLES if device == "cpu" else {k: v for k, v in VARIABLES.items() if k == "OMP_PROC_BIND"}
    with unchanged(**variables):
        import symmetrix
        from symmetrix import Symmetrix

        calculators = [Symmetrix(str(path), dtype=dtype) for path in paths]
        chosen = str((symmetrix.selected_backend() or {}).get("backend"))
    if chosen != device:
        raise ValueError(f"symmetrix-xl runs on {chosen}, not on {device}; install its package for this device")
    return [Member(calculator, variables) for calculator in calculators]


class Member:
    """One compiled member."""

    def __init__(self, calculator: Any, variables: Mapping[str, str]) -> None:
        """An evaluator that has not been called yet.

        Args:
            calculator: the package's own, which keeps the loaded library.
            variables: of the environment; the package reads some of them when it evaluates for the first time.

        Raises:
            ValueError: its evaluator lacks a method that is called here.
        """
        self._calculator, self._evaluator = calculator, calculator.evaluator
        self._variables: Mapping[str, str] | None = variables
        if missing := [name for name in PRIVATE if not hasattr(self._evaluator, name)]:
            raise ValueError(f"symmetrix-xl has no {', '.join(missing)}; pip install symmetrix-xl=={VERSION}")

    def graph(self, species: Integers, neighbours: Integers, sender: Integers) -> Any:
        """What the package keeps of a graph while positions change; edges are in the order of their receivers."""
        return self._evaluator._prepare_factorized_graph(  # noqa: SLF001  (as its calculator does, one by one)
            len(species), species, neighbours, sender, species[sender]
        )

    def run(
        self, graph: Any, receiver: Integers, sender: Integers, vectors: Array, lengths: Array
    ) -> tuple[Array, Array]:
        """Energies of the atoms (N,) and forces on them (N, 3), of edges (E, 3) from receiver to sender."""
        with nullcontext() if self._variables is None else unchanged(**self._variables):
            self._evaluator._compute_prepared_factorized(graph, vectors.reshape(-1), lengths)  # noqa: SLF001
        self._variables = None
        energies = np.array(self._evaluator.node_energies, dtype=float)
        forces = self._evaluator._reduce_atom_forces(len(energies), receiver, sender, graph)  # noqa: SLF001
        return energies, np.array(forces, dtype=float).reshape(-1, 3)
