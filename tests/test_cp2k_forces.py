"""The second code: its input says what the label says, and its output is read or refused."""

import importlib.util

import numpy as np
import pytest
from ase.units import Bohr, Hartree
from helpers import tiny
from numpy.testing import assert_allclose

OUTPUT = """
  *** SCF run converged in    23 steps ***
 ATOMIC FORCES in [a.u.]

 # Atom   Kind   Element          X              Y              Z
      1      1      Ti         0.0100000000  0.0000000000 -0.0200000000
      2      2      O         -0.0100000000  0.0000000000  0.0200000000
 SUM OF ATOMIC FORCES           0.0000000000  0.0000000000  0.0000000000  0.0

 -                                T I M I N G                                  -
"""


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("cp2k_forces", tiny.REPOSITORY / "scripts" / "cp2k_forces.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_input_has_the_mesh_the_cell_and_the_smearing_of_the_label(script, labelled):
    atoms = labelled["001_11_Mg_site"]
    lines = [line.strip() for line in script.written(atoms, 1000).splitlines()]
    assert "SCHEME MONKHORST-PACK 4 4 1" in lines
    assert "CUTOFF 1000" in lines
    assert "ELECTRONIC_TEMPERATURE [K] 580.2" in lines  # 0.05 eV
    assert f"C 0.0000000000 0.0000000000 {atoms.cell[2, 2]:.10f}" in lines
    assert sum(line.startswith("&KIND") for line in lines) == 3
    assert sum(line.split()[0] in {"Ti", "O", "Mg"} for line in lines if line) == len(atoms)


def test_a_finished_output_is_read_and_another_refused(script, tmp_path):
    (tmp_path / "forces.out").write_text(OUTPUT)
    found = script.forces(tmp_path, None, 1000)
    assert_allclose(found, np.array([[0.01, 0, -0.02], [-0.01, 0, 0.02]]) * Hartree / Bohr, rtol=1e-12, atol=0)
    (tmp_path / "forces.out").write_text(OUTPUT.replace("run converged", "run NOT converged"))
    with pytest.raises(SystemExit, match="did not finish or did not converge"):
        script.forces(tmp_path, None, 1000)
