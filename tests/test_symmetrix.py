import os
import re
import tomllib
from functools import partial
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import tiny
from numpy.testing import assert_allclose

from mlip.potential import equivalence, models, potential
from mlip.potential.backends import compiled, symmetrix
from mlip.potential.batch import Batch

pytest.importorskip("symmetrix")


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory):
    """Compiled code goes to a folder of this session."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SYMMETRIX_JIT_CACHE", str(tmp_path_factory.mktemp("compiled")))
        yield


def released(*, max_ell, max_l=0, members=1, layers=2):
    """Random weights: nothing that could hide a wrong path is small."""
    import torch

    architecture = tiny.ARCHITECTURE.model_copy(
        update={"max_ell": max_ell, "channels": 8, "correlation": 3, "max_l": max_l, "layers": layers}
    )
    shape = models.scratch_shape(
        architecture, e0_ev=dict.fromkeys(architecture.elements, -1.5), force_rms=1.3, neighbours=10.0
    )
    torch.manual_seed(4)
    return models.Released(
        tuple(models.build(shape).eval() for _ in range(members)), shape, {"target": "pbe"}, "random"
    )


FRAMES = [tiny.rattled(seed=1), tiny.rattled("Ti2O4", seed=5).repeat((2, 1, 1)), tiny.rattled("Ti2O4", seed=6)]


def check_close(found, expected, atol=1e-6):
    for a, b in zip(found, expected, strict=True):
        assert_allclose(a.energies_ev, b.energies_ev, rtol=0, atol=atol)
        assert_allclose(a.forces, b.forces, rtol=0, atol=10 * atol)


@pytest.mark.parametrize("max_ell", [1, 2])
def test_lifted_model_is_the_same_model(max_ell):
    small = released(max_ell=max_ell)
    large = symmetrix.lifted(small)
    assert large.shape["max_ell"] == 3
    check_close(potential.Evaluator(large)(FRAMES), potential.Evaluator(small)(FRAMES), atol=1e-7)
    assert symmetrix.lifted(large) is large


def test_what_cannot_be_lifted_is_said():
    with pytest.raises(ValueError, match="only 3, or lower with scalar messages"):
        symmetrix.lifted(released(max_ell=2, max_l=1))


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    model = released(max_ell=2, members=2)
    folder = tmp_path_factory.mktemp("symmetrix")
    return potential.Evaluator(model), potential.Evaluator(model, backend="symmetrix-xl", folder=folder), folder


def test_same_energies_and_forces_as_mace_torch(pair):
    plain, fast, folder = pair
    check_close(fast(FRAMES), plain(FRAMES))
    energies = [f.energies_ev for f in fast(FRAMES)]
    assert min(abs(e[0] - e[1]) for e in energies) > 1e-3  # two members, not one twice
    written = {p: p.stat().st_mtime_ns for p in folder.iterdir()}
    assert len(written) == 2
    potential.Evaluator(plain.model, backend="symmetrix-xl", folder=folder)
    assert {p: p.stat().st_mtime_ns for p in folder.iterdir()} == written


def test_moving_structures_and_calls_of_any_size(pair, monkeypatch):
    plain, fast, _ = pair
    rng = np.random.default_rng(0)
    batch = Batch(fast, FRAMES, skin_angstrom=0.5)
    positions = [f.positions.copy() for f in FRAMES]
    for edges in (10**6, 1, 10**6):
        monkeypatch.setattr(fast, "edges_per_call", edges)
        for _ in range(3):
            positions = [p + rng.normal(scale=0.05, size=p.shape) for p in positions]
            frames = [f.copy() for f in FRAMES]
            for f, p in zip(frames, positions, strict=True):
                f.positions = p
            check_close(batch(positions), plain(frames))
    assert batch.rebuilds > len(FRAMES)


def test_the_equivalence_check_takes_it_and_refuses_another_model(pair):
    plain, fast, folder = pair
    tried = equivalence.candidates(device="cpu", dtype="float64", symmetrix=True)
    limits = (1e-3, 1e-3)
    make = partial(equivalence.evaluator, plain.model, folder=folder)
    (found,) = equivalence.check(plain.model, FRAMES, tried, limits=limits, make=make)
    assert found.accepted
    assert found.backend.name == "symmetrix-xl"
    assert 0 < found.force_ev_per_angstrom < 1e-4
    other = plain.model.subset([2, 1])
    refused, taken = equivalence.check(
        other,
        FRAMES,
        tried,
        limits=limits,
        make=lambda backend: fast if backend == tried[0] else equivalence.evaluator(other, backend, folder=folder),
    )
    assert (refused.accepted, taken.accepted) == (False, True)
    assert equivalence.accepted([refused, taken]).name == "mace-scalar"


def test_stress_comes_from_mace_torch(pair):
    plain, fast, _ = pair
    frames = FRAMES[:1]
    assert_allclose(fast(frames, stress=True)[0].stresses, plain(frames, stress=True)[0].stresses, rtol=0, atol=1e-9)


def test_a_model_it_cannot_take_is_one_line(tmp_path):
    with pytest.raises(ValueError, match=r"symmetrix-xl cannot take this model \(ValueError: edge harmonics"):
        potential.Evaluator(released(max_ell=2, max_l=1), backend="symmetrix-xl", folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_without_the_package(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ValueError, match=r"symmetrix-xl is not installed; .* pip install symmetrix-xl==0\.1\.1"):
        potential.Evaluator(released(max_ell=3), backend="symmetrix-xl", folder=tmp_path)


@pytest.mark.parametrize("found", ["0.1.0", "0.2.0", "unknown"])
def test_a_version_whose_private_methods_are_not_known_is_not_used(tmp_path, monkeypatch, found):
    monkeypatch.setattr(compiled, "version", lambda: found)
    with pytest.raises(ValueError, match=rf"symmetrix-xl {found} is installed, only 0\.1\.1 is known"):
        potential.Evaluator(released(max_ell=3), backend="symmetrix-xl", folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_pin_is_what_is_installed_and_what_the_seam_knows(pair):
    """A new version fails here first: look at the private methods of `compiled` before the pin is moved."""
    wanted = tomllib.loads((tiny.REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    (line,) = [d for d in wanted if d.startswith("symmetrix-xl")]
    assert line.partition(";")[0] == f"symmetrix-xl=={compiled.VERSION}"
    assert compiled.version() == compiled.VERSION
    evaluator = pair[1].backend.members[0]._evaluator
    assert all(hasattr(evaluator, name) for name in compiled.PRIVATE)


def test_a_method_that_is_gone_is_one_line():
    with pytest.raises(ValueError, match=r"symmetrix-xl has no _prepare_factorized_graph, .*; pip install"):
        compiled.Member(SimpleNamespace(evaluator=SimpleNamespace(node_energies=[])), {})


def test_variables_still_hold_when_the_package_reads_them(pair):
    """The package reads this one in its first evaluation and asks the linker in every product where it is not off."""
    from symmetrix import _native_cpu

    pair[1](FRAMES[:1])
    name = "SYMMETRIX_HOST_WORKER_BLAS"
    found = _native_cpu._openmp_runtime_info()["host_blas"]["environment_policy"]
    assert found == os.environ.get(name, compiled.VARIABLES[name])


def test_only_the_seam_imports_the_package():
    sources = [p for p in (tiny.REPOSITORY / "mlip").rglob("*.py") if p.name != "compiled.py"]
    assert not [p.name for p in sources if re.search(r"^\s*(from|import) symmetrix", p.read_text(), re.MULTILINE)]


def test_tables_are_made_only_when_a_kind_of_atom_is_new(pair, monkeypatch):
    """Calls of other kinds of atoms in any order: same numbers, and never fewer kinds than in the call before."""
    plain, _, folder = pair
    fast = potential.Evaluator(plain.model, backend="symmetrix-xl", folder=folder)
    kinds = []
    prepare = compiled.Member.graph

    def graph(self, species, neighbours, sender):
        kinds.append(set(species.tolist()))
        return prepare(self, species, neighbours, sender)

    monkeypatch.setattr(compiled.Member, "graph", graph)
    oxide, lithium, both = (tiny.rattled(s, seed=2) for s in ("Ti2O4", "Ti2O4Li", "Ti2O4LiMg"))
    for frames in ([oxide], [lithium], [oxide], [both], [lithium], [oxide, both], [oxide]):
        check_close(fast(frames), plain(frames))
    own = kinds[::2]  # of the first member
    assert all(before <= after for before, after in pairwise(own))
    assert len(set(map(len, own))) == 3


def test_a_graph_from_before_a_new_kind_goes_on(pair):
    plain, _, folder = pair
    fast = potential.Evaluator(plain.model, backend="symmetrix-xl", folder=folder)
    oxide, both = tiny.rattled("Ti2O4", seed=2), tiny.rattled("Ti2O4LiMg", seed=2)
    batch = Batch(fast, [oxide])
    expected = plain([oxide])
    check_close(batch([oxide.positions]), expected)
    fast([both])
    check_close(batch([oxide.positions]), expected)
    assert batch.rebuilds == 1
