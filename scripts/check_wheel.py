"""Build the sdist and from it the wheel, and try the wheel in a fresh environment and an empty folder.

python scripts/check_wheel.py [--torch torch==2.13.0] [--keep FOLDER]
"""

import argparse
import os
import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
DATA = ("datasets", "configs")  # inside the wheel they are in mlip/shipped
LARGEST_MB = 10
FRAMES = """\
6
Lattice="3.8 0 0 0 3.8 0 0 0 9.6" Properties=species:S:1:pos:R:3 pbc="T T T"
Ti 0.0 0.0 0.0
Ti 1.9 1.9 4.8
O  0.0 0.0 2.0
O  1.9 1.9 6.8
O  0.0 1.9 0.4
O  1.9 0.0 5.2
1
Lattice="9 0 0 0 9 0 0 0 9" Properties=species:S:1:pos:R:3 pbc="T T T"
Li 1.0 1.0 1.0
"""
CODE = """\
import sys
import mlip
assert not {"numpy", "torch", "ase"} & set(sys.modules), "import mlip is not light"
assert "site-packages" in mlip.__file__, mlip.__file__
from ase.io import read
atoms = read("FRAMES.extxyz", "0")
atoms.calc = mlip.load("datasets/models/tio2-mg-li")
energy = atoms.get_potential_energy()
written = read("predicted.xyz", "0").info["mlip_energy"]
assert abs(energy - written) < 1e-6, (energy, written)
run = mlip.open_run("run")
assert run.stages == ("structures",), run.stages
print(f"{energy:.6f} eV;", [host.name for host in run.result("structures").hosts])
"""


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--torch", default="torch", help="requirement of the torch that is installed first")
    arguments.add_argument("--keep", type=Path, help="an existing empty folder, kept; else a temporary one")
    options = arguments.parse_args()
    if options.keep:
        check(options.keep.resolve(), options.torch)
        return
    with tempfile.TemporaryDirectory(prefix="wheel-") as folder:
        check(Path(folder).resolve(), options.torch)


def check(folder: Path, torch: str) -> None:
    """Everything, in a folder outside the checkout."""
    wheel = built(folder / "dist")
    same_files(wheel)
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv" / "bin" / "python"
    for wanted in (torch, str(wheel)):  # torch first: whatever needs it later then takes this build
        called(folder, python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wanted)
    empty = folder / "empty"
    empty.mkdir()
    (empty / "FRAMES.extxyz").write_text(FRAMES, encoding="utf-8")
    tried(empty, folder / "venv" / "bin")
    print(f"the wheel works: {wheel.name}, {wheel.stat().st_size / 1e6:.1f} MB")


def built(out: Path) -> Path:
    """The wheel, made from the sdist that is made from the checkout."""
    called(REPOSITORY, sys.executable, "-m", "build", "--outdir", out, REPOSITORY)
    (wheel,) = out.glob("*.whl")
    return wheel


def same_files(wheel: Path) -> None:
    """Raise where the wheel holds other files than the commit: the package, `datasets` and `configs`."""
    listed = called(REPOSITORY, "git", "ls-files", "mlip", *DATA).splitlines()
    wanted = {f"mlip/shipped/{name}" if name.startswith(DATA) else name for name in listed}
    with zipfile.ZipFile(wheel) as packed:
        held = {name for name in packed.namelist() if ".dist-info/" not in name}
    assert "mlip/py.typed" in held
    assert held == wanted, f"too much: {sorted(held - wanted)}; absent: {sorted(wanted - held)}"
    assert wheel.stat().st_size < LARGEST_MB * 1e6, wheel.stat().st_size


def tried(here: Path, scripts: Path) -> None:
    """The commands and the Python face of the installed package, in an empty folder."""
    mlip, model = scripts / "mlip", "datasets/models/tio2-mg-li"
    assert called(here, mlip, "--version").startswith("mlip ")
    called(here, mlip, "predict", model, "FRAMES.extxyz", "-o", "predicted.xyz")
    assert called(here, mlip, "predict", "no/model", "FRAMES.extxyz", "-o", "no.xyz", code=1) == ""
    for config in sorted((REPOSITORY / "configs").glob("*.yaml")):
        called(here, mlip, "init", f"configs/{config.name}", f"made/{config.stem}")
    called(here, mlip, "init", "configs/quick.yaml", "run")
    called(here, mlip, "structures", "run")
    print(called(here, scripts / "python", "-c", CODE), end="")
    for stage in ("dataset", "structures"):
        called(here, mlip, stage, "run")
    called(here, mlip, "neb", "run", code=1)
    called(here, mlip, "export", model, "--to", "mace", "-o", "one.model")


def called(here: Path, *words: object, code: int = 0) -> str:
    """Standard output of a command that must end with this exit code."""
    line = [str(word) for word in words]
    print("$", " ".join(line)[:160], flush=True)
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    done = subprocess.run(line, cwd=here, env=clean, capture_output=True, text=True, check=False)
    assert done.returncode == code, f"exit code {done.returncode}, not {code}: {done.stderr[-2000:]}"
    assert "Traceback" not in done.stderr, done.stderr[-2000:]
    return done.stdout


if __name__ == "__main__":
    main()
