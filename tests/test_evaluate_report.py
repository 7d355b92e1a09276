"""The section of the evaluation: errors in milli-units, and the figure of potential against DFT."""

from dataclasses import replace

from helpers.material import evaluation

from mlip.core.status import Status
from mlip.stages.evaluate import report
from mlip.stages.evaluate.evaluate import Parity
from mlip.stages.train.given import TRAINED_ON


def test_errors_in_milli_units():
    found = evaluation()
    assert report.models_table(found.models).rows[0] == (
        *("fine-tuned committee", "12", "62.1", "81.0", "1.20", "0.985", "1.50"),
    )
    assert report.models_table(found.models).rows[1][3] == report.models_table(found.models).rows[1][-1] == "\u2013"
    assert report.path_errors_table(found.models[0].paths).rows[1][-1] == "+12"
    assert report.path_errors_table(found.models[0].paths).rows[0][-1] == "\u221210"
    assert report.groups_table(found.models[0].groups).rows == (("001_perp_Li_neb", "5", "70.0", "1.00"),)
    assert report.species_table(found.models[0]).rows == (("Li", "80.0"), ("O", "60.0"), ("Ti", "61.0"))


def test_the_section_names_the_held_out_groups_and_has_every_table():
    section = report.accuracy_section(evaluation())
    assert section.text[0].endswith("which contain no training frame: 001_perp_Li_neb.")
    assert [t.caption for t in section.tables] == [
        "Errors of all potentials on the same frames",
        "Errors of the potential of this run by species",
        "Errors of the potential of this run by held-out group",
        "Saddle energies of held-out paths relative to the initial image",
    ]
    assert [f.form for f in section.figures] == ["png"]
    bare = replace(evaluation(), models=())
    assert report.accuracy_section(bare).tables == ()


def test_how_many_saddles_the_held_out_error_is_from():
    found = evaluation()
    few = report.accuracy_section(found).text[-1]
    assert few == (
        "The held-out path error in the uncertainty of barriers is the root mean square of the errors of 2 saddles on 1 "
        "held-out path: 11 meV. So few saddles do not measure it well: at other saddles the error can be larger."
    )
    own = found.models[0]
    many = tuple(replace(p, group=f"{p.group}{n}") for n in range(5) for p in own.paths)
    enough = replace(found, models=(replace(own, paths=many), *found.models[1:]))
    assert report.accuracy_section(enough).text[-1].endswith("of 10 saddles on 5 held-out paths: 11 meV.")
    seen = replace(found, exposure=Status(TRAINED_ON, "it was"))
    assert not any("held-out path error" in line for line in report.accuracy_section(seen).text)


def test_parity_is_png():
    image = report.parity(evaluation().parity)
    assert image.startswith(b"\x89PNG")
    assert report.parity(Parity(energy_ref_ev_per_atom=(), energy_ev_per_atom=(), force_ref=(), force=())).startswith(
        b"\x89PNG"
    )


def test_parity_shows_every_frame_and_force(monkeypatch):
    kept = {}
    monkeypatch.setattr(report, "encoded", lambda figure, form="svg": kept.update(axes=figure.axes) or b"")
    found = evaluation().parity
    report.parity(found)
    energy, force = kept["axes"]
    assert len(energy.collections[0].get_offsets()) == 12
    assert tuple(force.collections[0].get_offsets()[:, 1]) == found.force
    assert (energy.get_xlabel(), energy.get_ylabel()) == ("DFT energy (eV/atom)", "predicted energy (eV/atom)")
