"""The stage rates on a run whose stages before it are made by hand: what it reads, leaves, and refuses."""

import time
from dataclasses import replace

import numpy as np
import pytest
import yaml
from ase import Atoms
from helpers import declaring, rated, tiny, walks
from helpers.ways import relaxed_to
from numpy.testing import assert_allclose

from mlip import cli, driver
from mlip.atoms.dispersion import d3
from mlip.core import files
from mlip.core.uncertainty import Uncertainty
from mlip.core.units import BOLTZMANN_EV_PER_KELVIN, CM2_PER_S
from mlip.stages.evaluate.evaluate import Errors, Evaluation, Parity, PathError
from mlip.stages.modes.result import Modes
from mlip.stages.neb import neb
from mlip.stages.neb.stage import Barriers
from mlip.stages.rates import assembly, stage
from mlip.stages.rates.result import Rates
from mlip.stages.refine.stage import Refinement
from mlip.stages.sites.stage import SiteNetwork

RATES = {"samples": 100, "temperatures_kelvin": [300, 600]}
HOPS = (("x", "001", 0.3), ("y", "001", 0.4), ("bulk_oct", "bulk", 0.5))


def configured(path, **rates):
    path.write_text(yaml.safe_dump(tiny.run_settings(rates={**RATES, **rates})), encoding="utf-8")
    return path


def command(*words):
    return cli.main([str(w) for w in words])


def put(run, name, result):
    """Write a result as the stage would have."""
    one = run.stage(name)
    made = files.provenance(name, settings=run.settings(one), inputs=run.inputs(one), started=time.time())
    files.write_result(run.path(name, "result.json"), result, replace(made, fingerprint=run.fingerprint(one)))


def pair(height, part):
    atoms = Atoms("OLi", [[0, 0, 0], [0, 0, height]], cell=[8, 8, 8], pbc=True)
    atoms.info["part"] = part
    return atoms


def evaluation():
    path = PathError(group="g", initial="a", saddle="b", dft_ev=0.5, model_ev=0.51)
    one = Errors(
        model="committee",
        frames=1,
        force_rmse_ev_per_angstrom=0.1,
        energy_rmse_ev_per_atom=0.01,
        force_slope=1.0,
        species_force_rmse={},
        ion_shell_force_rmse=None,
        groups=(),
        paths=(path,),
        calibration=2.0,
    )
    nothing = Parity(energy_ref_ev_per_atom=(), energy_ev_per_atom=(), force_ref=(), force=())
    return Evaluation(held_out_groups=("g",), models=(one,), parity=nothing)


@pytest.fixture
def ready(tmp_path, request):
    """A run in which everything before `rates` is done; `request.param` changes the results of neb and modes."""
    found = getattr(request, "param", lambda f: f)(rated.found())
    folder = tmp_path / "run"
    assert command("init", configured(tmp_path / "c.yaml"), folder) == 0
    driver.run_one("structures", folder)
    for name, cell in rated.CELLS.items():
        files.write_frames(folder / "sites" / "hosts" / f"{name}.extxyz", [Atoms("O", cell=cell, pbc=True)])
    run = driver.opened(folder)
    put(run, "evaluate", evaluation())
    put(run, "sites", SiteNetwork(sites=found.sites, hops=found.hops, notes=(), equivalence=()))
    put(run, "neb", Barriers(bands=found.bands, barriers=found.barriers, bottlenecks=()))
    for hop in found.modes:
        points = [pair(1.9, part) for part in ("initial", "saddle", "final")]  # D3 is known, and makes no difference
        files.write_frames(folder / "modes" / "hops" / f"{hop.ion}_{hop.hop}.extxyz", points)
    put(run, "modes", Modes(hops=found.modes, bulk=None))
    return folder


def result(folder):
    return files.read_result(folder / "rates" / "result.json", Rates)


def test_a_run_ends_with_rates_diffusivities_and_the_verdict_on_the_claim(ready, capsys):
    assert command("rates", ready) == 0
    found = result(ready)
    kt = BOLTZMANN_EV_PER_KELVIN * 300
    rate = rated.PREFACTOR * rated.quantum(300.0) * np.exp(-np.array([0.3, 0.4]) / kt)
    slab, bulk = found.diffusivities
    assert_allclose(slab.at_reference.mean.value, CM2_PER_S * walks.A**2 * rate.mean(), rtol=1e-9, atol=0)
    assert_allclose((slab.bottleneck_ev, bulk.bottleneck_ev), (0.3, 0.5), rtol=1e-9, atol=0)
    (gain,) = found.gains
    assert (gain.host, gain.ion, gain.claimed, gain.verdict) == ("001", "Li", 2.0, "agrees")
    assert_allclose(gain.implied, 0.13 / kt / np.log(10), rtol=1e-6, atol=0)
    # spread 0.01 * calibration 2 and convergence 0.005
    assert_allclose(found.hops[0].forward.barrier_std_ev, np.hypot(0.02, 0.005), rtol=1e-9, atol=0)
    assert "001        Li   300 K  D " in "".join(capsys.readouterr())


def test_the_bottleneck_beside_d_is_on_the_sites_of_d():
    """S2 and S3, 0.6 eV apart, are connected to S1 by nothing: D is that of the row over S1 with 0.3 eV."""
    places = {"S1": (0.5, 0.5, 12.0), "S2": (1.0, 2.5, 12.0), "S3": (2.9, 2.5, 12.0)}
    made = [replace(s, periods=(rated.next_copy(s),)) for s in (walks.site(n, [p]) for n, p in places.items())]
    sites = [replace(site, energy_ev=energy) for site, energy in zip(made, (0.0, 0.1, 0.5), strict=True)]
    row = walks.hop("a", "S1", "S1", [(0, 0, 1, 0, 0)], 3.8)
    aside = walks.hop("b", "S2", "S3", [(0, 0, 0, 0, 0), (0, 0, -1, 0, 0)], 1.9)
    bands = (
        *rated.bands("a", "001", 0.3),
        *(replace(band, reverse_ev=band.forward_ev - 0.4) for band in rated.bands("b", "001", 0.6)),
    )
    found = rated.found(
        sites=tuple(sites),
        hops=(row, aside),
        bands=bands,
        barriers=tuple(neb.committee([b for b in bands if b.hop == n], symmetric=n == "a") for n in "ab"),
        modes=(rated.proved("a", "001", 0.3), replace(rated.proved("b", "001", 0.6), reverse_ev=0.2)),
    )
    (system,) = assembly.systems(found, rated.CELLS, rated.BUDGET, with_d3=False)
    assert_allclose(stage._bottleneck_ev(system, found), 0.3, rtol=1e-9, atol=0)


@pytest.mark.parametrize(
    "ready", [lambda f: replace(f, modes=(*f.modes[:2], rated.failed("bulk_oct", "bulk")))], indirect=True
)
def test_an_unproved_saddle_is_a_status_in_the_claim(ready):
    assert command("rates", ready) == 0
    (gain,) = result(ready).gains
    assert (gain.verdict, gain.decades.value) == ("not resolved", None)
    assert "bulk_oct (second-order saddle: imaginary modes of 6.0 and 2.1 THz)" in gain.reason


@pytest.mark.parametrize("ready", [lambda f: replace(f, modes=())], indirect=True)
def test_a_run_without_any_proved_saddle_still_ends_well(ready):
    assert command("rates", ready) == 0
    found = result(ready)
    assert {row.status.code for row in found.hops} == {"no rate"}
    assert {row.status.code for row in found.diffusivities} == {"not resolved"}


def test_a_barrier_refined_with_dft_makes_rates_stale_and_takes_the_place_of_the_potentials(ready):
    """x on (001) has 0.30 eV with the potential and 0.35 eV with DFT; dynamics are held against the potential."""
    assert command("rates", ready) == 0
    before = result(ready)
    run = driver.opened(ready)
    hop = replace(relaxed_to("x", 0.35), d3_forward_ev=0.0, d3_reverse_ev=0.0)
    put(run, "refine", Refinement(level="0", hops=(hop,), problems=()))
    assert not driver.opened(ready).is_done(run.stage("rates"))
    assert command("rates", ready) == 0
    after = result(ready)
    assert [(row.hop, row.is_dft) for row in after.hops] == [("x", True), ("y", False), ("bulk_oct", False)]
    shift = after.hops[0].forward.barrier_ev - before.hops[0].forward.barrier_ev
    assert_allclose(shift, 0.05, rtol=1e-9, atol=0)
    assert after.gains[0].decades.value < before.gains[0].decades.value


def test_a_dataset_with_a_refined_path_gives_the_same_rates_as_a_refinement_of_the_run(ready, tmp_path):
    run = driver.opened(ready)
    put(run, "refine", Refinement(level="0", hops=(relaxed_to("x", 0.35),), problems=()))
    assert command("rates", ready) == 0
    own = result(ready).hops[0].forward
    (ready / "refine" / "result.json").unlink()
    made = declaring.dataset(tmp_path / "refined", hop="x", height_ev=0.35, d3_ev=-0.02, std_ev=0.001)
    settings = yaml.safe_load((ready / "config.yaml").read_text())
    settings["refine"]["datasets"] = [str(made)]
    (ready / "config.yaml").write_text(yaml.safe_dump(settings))
    assert not driver.opened(ready).is_done(run.stage("rates"))
    assert command("rates", ready) == 0
    declared = result(ready).hops[0]
    assert declared.is_dft
    assert_allclose(declared.forward.barrier_std_ev, np.hypot(0.001, Uncertainty().dft_settings_ev), rtol=1e-9, atol=0)
    assert_allclose(declared.forward.barrier_ev, own.barrier_ev, rtol=1e-9, atol=0)


def test_modes_must_be_done_first(ready, capsys):
    (ready / "modes" / "result.json").unlink()
    assert command("rates", ready) == 1
    assert "modes is not done with these settings; first run: mlip modes" in "".join(capsys.readouterr())


def test_a_change_of_the_barriers_makes_rates_stale(ready):
    assert command("rates", ready) == 0
    run = driver.opened(ready)
    assert run.is_done(run.stage("rates"))
    settings = yaml.safe_load((ready / "config.yaml").read_text())
    settings["neb"]["images"] = 5
    (ready / "config.yaml").write_text(yaml.safe_dump(settings))
    assert not driver.opened(ready).is_done(run.stage("rates"))


@pytest.mark.parametrize("place", ["Mg 001", "Li 101"])
def test_an_error_of_the_settings_of_no_ion_or_host_of_the_run_is_refused(tmp_path, capsys, place):
    config = configured(tmp_path / "c.yaml")
    settings = yaml.safe_load(config.read_text()) | {"uncertainty": {"dft_settings_of_ev": {place: 0.04}}}
    config.write_text(yaml.safe_dump(settings))
    assert command("init", config, tmp_path / "run") == 1
    assert f"uncertainty.dft_settings_of_ev: '{place}' is no ion on a host of this run; ions: Li; hosts:" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("rates", "message"),
    [
        ({"walks": [{"host": "101", "ions": ["Li"]}]}, "rates.walks.0: host '101' is not built by structures"),
        ({"walks": [{"host": "001", "ions": ["Na"]}]}, "rates.walks.0: Na not in structures.ions"),
        ({"walks": [{"host": "001", "ions": []}]}, "rates.walks.0.ions"),
        ({"samples": 10}, "rates.samples"),
        ({"temperatures_kelvin": [0]}, "rates.temperatures_kelvin.0"),
        ({"prefactor_factor": 0.5}, "rates.prefactor_factor"),
        ({"balance_factor": 1.0}, "rates.balance_factor"),
    ],
)
def test_settings_that_make_no_sense_are_refused_before_anything_runs(tmp_path, capsys, rates, message):
    assert command("init", configured(tmp_path / "c.yaml", **rates), tmp_path / "run") == 1
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said


def test_d3_of_both_barriers_is_that_of_the_refined_points(ready):
    run = driver.opened(ready)
    context, hop = run.context(run.stage("rates")), rated.proved("in", "001", 0.6)
    assert stage._d3_ev(context, hop) is None
    heights = {"initial": 1.9, "saddle": 2.2, "final": 2.6}
    frames = [pair(height, part) for part, height in heights.items()]
    files.write_frames(run.path("modes", "hops", "Li_in.extxyz"), frames)
    initial, saddle, final = (d3(frame)[0] for frame in frames)
    assert_allclose(stage._d3_ev(context, hop), (saddle - initial, saddle - final), rtol=1e-9, atol=0)
    assert abs(initial - final) > 1e-4
    files.write_frames(run.path("modes", "hops", "Li_in.extxyz"), frames[:2])  # of a symmetric hop one end is kept
    assert_allclose(stage._d3_ev(context, hop), saddle - initial, rtol=1e-9, atol=0)
