"""The audit gives the numbers that follow from the paper, to 1 %."""

from dataclasses import replace
from pathlib import Path

import pytest
from numpy.testing import assert_allclose

from mlip.literature import audit, references

FOLDER = Path(__file__).parents[1] / "datasets" / "references"


@pytest.fixture(scope="module")
def found():
    return {f.key: f for f in audit.findings(references.load(FOLDER))}


EXPECTED = [
    ("rates", "Mg, (001) over bulk", 547.0),
    ("rates", "Li, (001) over bulk", 158.0),
    ("rates", "Mg, (100) over bulk", 40.35),
    ("rates", "Li, (100) over bulk", 14.67),
    ("rates", "Mg, (001) over bulk, log10", 2.74),
    ("rates", "Li, (001) over bulk, log10", 2.20),
    ("voltage-metal", "Mg against Mg2+/Mg", 1.072),
    ("voltage-metal", "Li against Mg2+/Mg", 1.197),
    ("voltage-atom", "Mg against Mg2+/Mg", 0.32),
    ("voltage-atom", "Li against Li+/Li", 0.256),
    ("voltage-atom", "Li against Mg2+/Mg", -0.412),
    ("capacity", "(001), 1 Mg per 1x1 cell", 78.3),
    ("capacity", "(001), 1 Mg per 2x2 cell", 19.6),
    ("capacity", "(001), measured gain", 80.52),
    ("capacity", "(100), 1 Mg per site", 33.1),
    ("capacity", "(100), measured gain", 28.99),
    ("coverage", "area per ion, (001) p(2x2)", 57.76),
    ("coverage", "area per ion, (100) p(2x1)", 73.57),
    ("layers", "layers of (100) p(2x2)", 2.0),
    ("k-points", "(001) along x", 0.413),
    ("k-points", "(001) along y", 0.276),
    ("k-points", "(100) along x", 0.276),
    ("k-points", "(100) along y", 0.3245),
    ("dipole", "spurious energy for 1 e A", 0.068),
    ("diffusion-ranges", "Mg salt, lower ends", 1.0),
    ("diffusion-ranges", "dual salt, lower ends", 3.0),
    ("diffusion-ranges", "dual salt, upper ends", 2.0),
    ("diffusion-ranges", "dual salt, span within the (001) sample", 4.0),
    ("diffusion-absolute", "Mg, bulk", 1.08e-13),
    ("diffusion-absolute", "Mg, 001", 1.35e-10),
    ("areas", "(001) sheets, whole surface", 68.5),
    ("areas", "(001) sheets, (001) faces only", 42.8),
    ("areas", "(100) rods, sides", 8.56),
    ("fringes", "d(001), forbidden", 0.951),
    ("fringes", "d(004), the first allowed (00l)", 0.238),
    ("fringes", "d(101)", 0.352),
    ("percentages", "Mg salt, computed", 89.86),
    ("bader", "Mg on (001), share of 2 e", 64.5),
    ("gaps", "narrowing on (001), PBE", 0.37),
    ("capacitive-share", "capacitive part of the dual-salt capacity", 7.2),
    ("composition", "electrons per TiO2 at the dual-salt capacity", 0.932),
]


@pytest.mark.parametrize(("key", "name", "value"), EXPECTED)
def test_numbers(found, key, name, value):
    number = next(n for n in found[key].numbers if n.name == name)
    assert_allclose(number.value, value, rtol=0.01, atol=0)


def test_every_finding_is_whole(found):
    assert set(found) == set(audit.COMPUTE)
    for finding in found.values():
        assert finding.status.code == "computed", finding
        assert finding.claimed
        assert finding.where
        assert finding.formula
        assert finding.consequence
        assert finding.numbers


def test_numbers_follow_the_references():
    loaded = references.load(FOLDER)
    changed = tuple(replace(v, value=0.637) if v.id == "barrier-Mg-001" else v for v in loaded.values)
    rates = audit.findings(replace(loaded, values=changed))[0]
    assert_allclose(rates.numbers[0].value, 1.0, rtol=1e-12, atol=0)


def test_absent_number_is_a_status():
    loaded = references.load(FOLDER)
    fewer = tuple(v for v in loaded.values if v.id != "bet-001")
    finding = next(f for f in audit.findings(replace(loaded, values=fewer)) if f.key == "capacity")
    assert str(finding.status).startswith("not computed: references: no value with id 'bet-001'")
    assert finding.numbers == ()
    assert not finding.consequence


def test_rate_ratio():
    assert_allclose(audit.rate_ratio(0.0), 1.0, rtol=0, atol=0)
    assert_allclose(audit.rate_ratio(0.02, 300.0), 2.17, rtol=0.01, atol=0)
    assert_allclose(audit.rate_ratio(0.10, 300.0), 47.9, rtol=0.01, atol=0)
