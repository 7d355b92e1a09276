"""Puts the engine of this folder beside those of the package, in the worker processes that a test starts."""

from pathlib import Path

from mlip.dft import engines

engines.__path__.append(str(Path(__file__).parent))
