"""A run whose bands are known, all its earlier stages done, to be labelled by an engine of the tests."""

from dataclasses import replace
from pathlib import Path

import yaml

from helpers.material import host
from mlip import cli, driver
from mlip.core import files
from mlip.core.status import Status
from mlip.stages import structures
from mlip.stages.dataset import dataset
from mlip.stages.neb.stage import Barriers
from mlip.stages.sites.network import Bottleneck
from mlip.stages.sites.stage import SiteNetwork
from mlip.stages.train.stage import Committee

MORE = Path(__file__).parents[1] / "more_engines"
REPOSITORY = Path(__file__).parents[2]
PYTHONPATH = f"{MORE}:{MORE.parent}:{REPOSITORY}"


def made(folder, bands, *, sites=(), **changes):
    """A run whose bands and sites are these, all its earlier stages done."""
    settings = {
        "common": {"workers": 1},
        "structures": {"ions": ["Li"]},
        "dft": {"preset": "cosine-exact", "settings": {"barrier": 0.56}},
        **changes,
    }
    folder.mkdir(exist_ok=True)
    (folder / "c.yaml").write_text(yaml.safe_dump(settings))
    assert cli.main(["init", str(folder / "c.yaml"), str(folder / "run")]) == 0
    run = driver.opened(folder / "run")
    limiting = Bottleneck(
        host="001",
        ion="Li",
        direction="x",
        translation_angstrom=(3.0, 0.0, 0.0),
        start="S1",
        barrier_ev=0.5,
        hops=("001_par",),
        limiting_hop="001_par",
        status=Status("resolved"),
    )
    results = {
        "structures": structures.Hosts(hosts=(host("001"),)),
        "dataset": dataset.Manifest(target="pbe", settings_hash="", parts={}, e0_ev={}),
        "train": Committee(target="pbe", e0_ev={}, members=()),
        "sites": SiteNetwork(sites=tuple(sites), hops=tuple(p.hop for p in bands), notes=(), equivalence=()),
        "neb": Barriers(
            bands=tuple(p.band for p in bands), barriers=tuple(p.barrier for p in bands), bottlenecks=(limiting,)
        ),
    }
    for stage, result in results.items():
        provenance = files.provenance(stage, settings={}, inputs={}, started=0.0)
        files.write_result(
            run.path(stage, "result.json"), result, replace(provenance, fingerprint=run.fingerprint(run.stage(stage)))
        )
    for p in bands:
        name = f"Li_{p.hop.name}_member-{p.band.member}.extxyz"
        files.write_frames(run.path("neb", "bands", name), list(p.images))
    return run
