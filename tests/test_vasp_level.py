"""Finished VASP jobs against the level asked for: job files of right and wrong physics, one difference at a time."""

import re
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from helpers import cells, tiny
from helpers.vasp_jobs import paw_data
from numpy.testing import assert_allclose

from mlip.atoms import dispersion, extxyz
from mlip.dft import engines, queue, tasks, vasp_tags
from mlip.dft.engines import vasp
from mlip.dft.settings import Dft

DATA = Path(__file__).parent / "data" / "vasp"
PBE = vasp.Settings.model_validate(vasp.PRESETS["vasp-paper"].model_dump() | {"dispersion": "none"})
DFT = Dft(preset="vasp-paper", settings={"dispersion": "none"})
SITE = "vasprun-001_11_Li_site.xml"
PARAMETERS = {  # as VASP 6.4 writes them for this job
    "SYSTEM": "LiO8Ti4", "LCOMPAT": "F", "PREC": "accura", "ENMAX": "520.00000000", "ENAUG": "605.39200000",
    "EDIFF": "0.00000100", "IALGO": "38", "IWAVPR": "10", "NBANDS": "68", "NELECT": "99.00000000", "TURBO": "0",
    "ISMEAR": "0", "SIGMA": "0.05000000", "KSPACING": "0.50000000", "KGAMMA": "T", "LREAL": "F",
    "ROPT": "0.00000000 0.00000000 0.00000000", "LMAXPAW": "-100", "LMAXMIX": "2", "NLSPLINE": "F", "ISTART": "0",
    "ICHARG": "2", "INIWAV": "1", "ISPIN": "1", "LNONCOLLINEAR": "F", "MAGMOM": " ".join(["1.0"] * 13),
    "NUPDOWN": "-1.00000000", "LSORBIT": "F", "SAXIS": "0.0 0.0 1.0", "LSPIRAL": "F", "QSPIRAL": "0.0 0.0 0.0",
    "LZEROZ": "F", "LASPH": "F", "LMETAGGA": "F", "NELM": "120", "NELMDL": "-5", "NELMIN": "2", "ENINI": "520.0",
    "LDIPOL": "F", "LMONO": "F", "IDIPOL": "0", "EPSILON": "1.00000000", "DIPOL": "-100.0 -100.0 -100.0",
    "EFIELD": "0.00000000", "NGX": "40", "NGXF": "80", "ADDGRID": "F", "NSW": "0", "IBRION": "-1", "MDALGO": "0",
    "ISIF": "2", "PSTRESS": "0.00000000", "SMASS": "-3.0", "SCALEE": "1.0", "ISYM": "2", "LORBIT": "0", "NPAR": "4",
    "LSCALAPACK": "T", "LCORR": "T", "GGA_COMPAT": "T", "ICORELEVEL": "0", "LDAU": "F", "I_CONSTRAINED_M": "0",
    "GGA    ": "PE", "VOSKOWN": "0", "LHFCALC": "F", "PRECFOCK": "", "ENCUT4O": "-1.0", "AEXX": "0.0", "ALDAX": "1.0",
    "AGGAX": "1.0", "AMGGAX": "1.0", "ALDAC": "1.0", "AGGAC": "1.0", "AMGGAC": "1.0", "NKREDX": "1", "LMAXFOCK": "0",
    "HFSCREEN": "0.0", "LUSE_VDW": "F", "IVDW_NL": "-1", "Zab_VDW": "-0.84910000", "PARAM1": "0.12340000",
    "LEPSILON": "F", "LCHIMAG": "F", "LADDER": "F", "LHARTREE": "T", "OFIELD_A": "0.0", "LKPOINTS_OPT": "F",
}  # fmt: skip


@pytest.fixture
def potcars(tmp_path, monkeypatch):
    """A folder with PAW data in name only."""
    monkeypatch.setenv("VASP_PP_PATH", str(paw_data(tmp_path / "pp")))


@pytest.fixture
def shipped():
    return {f.info["frame_id"]: f for f in extxyz.read_frames(tiny.DATA / "frames.extxyz")}


def frames():
    found = extxyz.read_frames(DATA / "frames.extxyz")
    return {frame.info["frame_id"]: frame for frame in found}


def right():
    """The text of a right job of the site, with everything that VASP says of its parameters."""
    text = (DATA / SITE).read_text()
    body = "".join(f' <i name="{k}">{v}</i>\n' for k, v in PARAMETERS.items())
    text = re.sub(r"<parameters>.*</parameters>", f"<parameters>\n{body}</parameters>", text, flags=re.DOTALL)
    for element, valence in (("Li", 3), ("O ", 6), ("Ti", 12)):
        text = text.replace(
            f"<c>{element}</c><c> 1.0 </c><c> 1.0 </c>", f"<c>{element}</c><c> 1.0 </c><c> {valence} </c>"
        )
    return text


def with_tag(text, tag, value, part="incar"):
    """The job with a tag added to a part of its file, or another value of one that is there."""
    head, body, tail = re.split(rf"(<{part}>.*</{part}>)", text, flags=re.DOTALL)
    there = rf'(name="{tag} *" *>)[^<]*<'
    if re.search(there, body):
        return head + re.sub(there, rf"\g<1>{value}<", body) + tail
    return head + body.replace(f"</{part}>", f'<i name="{tag}">{value}</i>\n</{part}>') + tail


def swapped(text, old, new):
    assert old in text
    return text.replace(old, new)


def read(tmp_path, text, name="001_11_Li_site", settings=PBE):
    source = tmp_path / "vasprun.xml"
    source.write_text(text)
    return vasp.read_job(frames()[name], source, settings)


def as_written(text):
    """Forces of the last structure in the file."""
    (block,) = ET.fromstring(text).findall("calculation")[-1].findall("varray[@name='forces']")  # noqa: S314
    return np.array([[float(x) for x in row.text.split()] for row in block])


def in_job_order(atoms):
    return sorted(range(len(atoms)), key=lambda k: atoms[k].symbol)


@pytest.mark.parametrize("name", ["001_11_Li_site", "001_11_Li_hop1", "001_11_clean_relaxed"])
def test_forces_of_held_atoms_are_those_that_vasp_wrote(shipped, name):
    source = DATA / f"vasprun-{name}.xml"
    text, frame = source.read_text(), shipped[name]
    masks = ET.fromstring(text).findall("structure[@name='initialpos']/varray[@name='selective']/v")  # noqa: S314
    held = np.array([row.text.split() == ["F"] * 3 for row in masks])
    found = vasp.read_job(frame, source, PBE).forces[in_job_order(frame)]
    assert_allclose(found, as_written(text), rtol=0, atol=0)
    assert held.sum() in {6, 5}
    assert np.abs(found[held]).max() > 0.1
    true = frame.arrays["dft_forces"][in_job_order(frame)]  # those of the shipped label
    assert_allclose(found, true, rtol=0, atol=2e-3)


@pytest.mark.parametrize("mask", ["T F F", "F T T", "F F F"])
def test_forces_do_not_depend_on_the_mask(tmp_path, mask):
    text = right().replace("> F F F <", f"> {mask} <")
    found = read(tmp_path, text).forces
    assert_allclose(found[in_job_order(frames()["001_11_Li_site"])], as_written(text), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("ldau", r"the job has LDAU = T, the settings say F; .*LDAUU = 0 0 4\.2, .*; run it with the INCAR given$"),
        ("metagga_r2scan", r"^the job has METAGGA = R2SCAN, the settings say none; run it with the INCAR given$"),
        ("charged", r"^the job has NELECT = 95, the settings say neutral \(13 by the PAW data\)"),
        ("ml_tag_but_dft_step", r"of a machine-learned force field \(ML_LMLFF = T\), whose energies .* are of a fit"),
        ("mlff_mixed_last_step_fit", r"of a machine-learned force field \(ML_LMLFF = T\)"),
        ("mlff_only", r"of a machine-learned force field \(ML_LMLFF = T\)"),
        ("no_electronic_step_in_last", "the last structure has no electronic step: .* not of DFT"),
        ("relaxation_frame_is_first", r"is of another structure: an atom or the cell is 0\.5692 Angstrom off"),
    ],
)
def test_jobs_that_are_not_of_this_level_or_structure_are_refused(file, message):
    with pytest.raises(engines.Refused, match=message):
        vasp.read_job(frames()["001_11_Li_site"], DATA / f"{file}.vasprun.xml", PBE)


def test_the_last_structure_of_a_relaxation_is_read():
    frame, source = frames()["001_11_Li_site"], DATA / "relaxation_frame_is_last.vasprun.xml"
    found = vasp.read_job(frame, source, PBE)
    assert_allclose(found.energy_ev, -103.79136238, rtol=1e-10, atol=0)
    assert_allclose(found.forces[in_job_order(frame)], as_written(source.read_text()), rtol=0, atol=0)


def test_a_right_job_gives_its_numbers(tmp_path):
    found = read(tmp_path, right())
    assert_allclose((found.energy_ev, found.extrapolated_ev), (-103.79136238, -103.75685986), rtol=1e-10, atol=0)
    assert found.iterations == 9


PHYSICS = [
    # functional
    ("GGA", "PS", "GGA = PS, the settings say PE"),
    ("GGA", "91", "GGA = 91, the settings say PE"),
    ("METAGGA", "SCAN", "METAGGA = SCAN, the settings say none"),
    ("XC", "ITPSS", "XC = ITPSS, the settings do not name this tag"),
    ("GGA_COMPAT", ".FALSE.", "GGA_COMPAT = F, the settings say T"),
    ("LASPH", "T", "LASPH = T, the settings say F"),
    ("VOSKOWN", "1", "VOSKOWN = 1, the settings say 0"),
    ("LDAU", "T", "LDAU = T, the settings say F"),
    ("LHFCALC", " T ", "LHFCALC = T, the settings say F"),
    ("HFSCREEN", "0.2", "HFSCREEN = 0.2, the settings say 0"),
    ("AEXX", "0.25", "AEXX = 0.25, the settings say 0"),
    ("AGGAC", "0.0", "AGGAC = 0, the settings say 1"),
    # van der Waals
    ("IVDW", "12", "IVDW = 12, the settings say 0"),
    ("LUSE_VDW", "T", "LUSE_VDW = T, the settings say F"),
    ("LVDW", "T", "LVDW = T, the settings say F"),
    ("VDW_A3", "0.5", "VDW_A3 = 0.5, the settings do not name this tag"),
    ("VDW_RADIUS", "30.0", "VDW_RADIUS = 30, the settings say 50.2"),
    ("VDW_S8", "0.5", "VDW_S8 = 0.5, the settings say 0.722"),
    # electrons and spin
    ("NELECT", "98.0", r"NELECT = 98, the settings say neutral \(99 by the PAW data\)"),
    ("ISPIN", "2", "ISPIN = 2, the settings say 1"),
    ("NUPDOWN", "2", "NUPDOWN = 2, the settings say -1"),
    ("LSORBIT", ".TRUE.", "LSORBIT = T, the settings say F"),
    ("LNONCOLLINEAR", "T", "LNONCOLLINEAR = T, the settings say F"),
    ("I_CONSTRAINED_M", "1", "I_CONSTRAINED_M = 1, the settings say 0"),
    ("ISMEAR", "-5", "ISMEAR = -5, the settings say 0"),
    ("SIGMA", "0.2", r"SIGMA = 0\.2, the settings say 0\.05"),
    ("FERWE", "1 1 0", "FERWE = 1 1 0, the settings do not name this tag"),
    # precision, projection, grids
    ("ENCUT", "400", "ENCUT = 400, the settings say 520"),
    ("PREC", "Normal", "PREC = Normal, the settings say Accurate"),
    ("EDIFF", "1E-4", "EDIFF = 0.0001, the settings say 1e-06"),
    ("LREAL", "Auto", "LREAL = Auto, the settings say F"),
    ("ADDGRID", "T", "ADDGRID = T, the settings say F"),
    ("NGX", "20", "NGX = 20, the settings do not name this tag"),
    ("NGXF", "60", "NGXF = 60, the settings do not name this tag"),
    ("ENAUG", "400", "ENAUG = 400, the settings do not name this tag"),
    ("LMAXMIX", "4", "LMAXMIX = 4, the settings say 2"),
    ("LMAXPAW", "0", "LMAXPAW = 0, the settings say -100"),
    ("ROPT", "-0.01", "ROPT = -0.01, the settings do not name this tag"),
    # fields, solvent, pressure
    ("EFIELD", "0.1", "EFIELD = 0.1, the settings say 0"),
    ("EFIELD_PEAD", "0 0 0.01", "EFIELD_PEAD = 0 0 0.01, the settings say 0"),
    ("LDIPOL", "T", "LDIPOL = T, the settings say F"),
    ("IDIPOL", "3", "IDIPOL = 3, the settings say 0"),
    ("LMONO", "T", "LMONO = T, the settings say F"),
    ("EPSILON", "2.0", "EPSILON = 2, the settings say 1"),
    ("LSOL", "T", "LSOL = T, the settings say F"),
    ("EB_K", "78.4", "EB_K = 78.4, the settings do not name this tag"),
    ("PSTRESS", "20", "PSTRESS = 20, the settings say 0"),
    # what is no self-consistent energy of these atoms
    ("ICHARG", "11", "ICHARG = 11, the settings say 2"),
    ("ICHARG", "12", "ICHARG = 12, the settings say 2"),
    ("ALGO", "None", "ALGO = None, the settings say normal"),
    ("ALGO", "G0W0", "ALGO = G0W0, the settings say normal"),
    ("ALGO", "CHI", "ALGO = CHI, the settings say normal"),
    ("IALGO", "3", "IALGO = 3, the settings say 38"),
    ("SCALEE", "0.5", "SCALEE = 0.5, the settings say 1"),
    ("LCORR", "F", "LCORR = F, the settings say T"),
    ("IMAGES", "4", "IMAGES = 4, the settings say 0"),
    ("IBRION", "44", "IBRION = 44, the settings say -1"),
    ("MDALGO", "21", "MDALGO = 21, the settings say 0"),
    ("ICORELEVEL", "2", "ICORELEVEL = 2, the settings say 0"),
    ("NEWTAG", "7", "NEWTAG = 7, the settings do not name this tag"),
]


@pytest.mark.parametrize(("tag", "value", "message"), PHYSICS)
def test_other_physics_is_refused_by_name_and_value(tmp_path, tag, value, message):
    with pytest.raises(engines.Refused, match=f"^the job has {message}.*; run it with the INCAR given$"):
        read(tmp_path, with_tag(right(), tag, value))


@pytest.mark.parametrize(
    ("tag", "value"),
    [(t, v) for t, v, _ in PHYSICS if t in {*PARAMETERS, "GGA"} and t not in {"NGX", "NGXF", "ENAUG", "ROPT"}],
)
def test_what_vasp_used_counts_as_well_as_what_the_user_wrote(tmp_path, tag, value):
    text = with_tag(right(), tag, value, part="parameters")
    with pytest.raises(engines.Refused, match=f"^the job has {tag} = .*the settings say"):
        read(tmp_path, text)


def test_the_cutoff_that_vasp_used_is_compared(tmp_path):
    with pytest.raises(engines.Refused, match="ENCUT = 400, the settings say 520"):
        read(tmp_path, with_tag(right(), "ENMAX", "400.0", part="parameters"))


HARMLESS = [
    ("NCORE", "8"), ("NPAR", "1"), ("KPAR", "2"), ("NSIM", "8"), ("LPLANE", "F"), ("LSCALAPACK", "F"),
    ("LWAVE", "T"), ("LCHARG", "T"), ("NWRITE", "3"), ("LORBIT", "11"), ("LVHAR", "T"), ("LAECHG", "T"),
    ("ALGO", "Fast"), ("ALGO", " Very_Fast"), ("ALGO", "All"), ("ALGO", "N"), ("IALGO", "48"), ("NELM", "200"),
    ("NELMIN", "6"), ("AMIX", "0.1"), ("BMIX", "0.0001"), ("NBANDS", "96"), ("ISTART", "1"), ("ICHARG", "1"),
    ("ISYM", "0"), ("NSW", "3"), ("IBRION", "2"), ("EDIFFG", "-0.02"), ("POTIM", "0.3"), ("MAGMOM", "8*0 5*0.6"),
    ("SYSTEM", "another title"), ("METAGGA", "--"), ("LDAU", ".FALSE."), ("LASPH", "F"), ("PREC", "Acc"),
    ("ENCUT", "520"), ("LREAL", ".FALSE."), ("GGA", "--"), ("LHFCALC", "F"), ("IVDW", "0"), ("ML_LMLFF", "F"),
    ("DIPOL", "-100 -100 -100"), ("NELECT", "99"), ("LSOL", ".FALSE."), ("SIGMA", "5.0D-2"),
    ("KPOINT_BSE", "-1 0 0 0"), ("LMAXTAU", "6"),  # VASP echoes these two though nobody wrote them
]  # fmt: skip


@pytest.mark.parametrize(("tag", "value"), HARMLESS)
def test_harmless_tags_are_accepted(tmp_path, tag, value):
    found = read(tmp_path, with_tag(right(), tag, value))
    assert_allclose(found.energy_ev, -103.79136238, rtol=1e-10, atol=0)


def test_u_that_is_switched_off_is_no_u(tmp_path):
    text = with_tag(with_tag(right(), "LDAU", "F"), "LDAUU", "0 0 4.2")
    assert read(tmp_path, text).iterations == 9
    with pytest.raises(engines.Refused, match=r"LDAU = T.*LDAUU = 0 0 4\.2"):
        read(tmp_path, with_tag(text, "LDAU", "T"))


@pytest.mark.parametrize(
    ("tag", "message"),
    [
        ("PREC", "PREC = Normal, the settings say Accurate"),
        ("ENCUT", "no ENCUT, the settings say 520"),
        ("EDIFF", "EDIFF = 0.0001, the settings say 1e-06"),
        ("ISMEAR", "ISMEAR = 1, the settings say 0"),
        ("SIGMA", r"SIGMA = 0\.2, the settings say 0\.05"),
    ],
)
def test_a_tag_that_stands_nowhere_has_the_default_of_vasp(tmp_path, tag, message):
    text = re.sub(rf'<i[^>]*name="({tag}|ENMAX)">[^<]*</i>', "", right())
    if tag != "ENCUT":
        text = with_tag(text, "ENMAX", "520.0", part="parameters")
    with pytest.raises(engines.Refused, match=f"the job has {message}"):
        read(tmp_path, text)
    assert read(tmp_path, re.sub(rf'<i[^>]*name="{tag}">[^<]*</i>', "", right(), count=1)).iterations == 9


def test_many_differences_are_counted(tmp_path):
    text = right()
    for tag, value, _ in PHYSICS[4:14]:
        text = with_tag(text, tag, value)
    with pytest.raises(engines.Refused, match=r"GGA_COMPAT = F.*; and [2-9] more; run it with the INCAR given$"):
        read(tmp_path, text)


SCHEME, POINTS, SHIFT = 'param="Monkhorst-Pack"', "> 4 4 1 <", '"usershift"> 0.0 0.0 0.0 <'


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (POINTS, "> 4 4 2 <", "the k-points Monkhorst-Pack 4x4x2, the settings say Monkhorst-Pack 4x4x1"),
        (POINTS, "> 2 2 1 <", "the k-points Monkhorst-Pack 2x2x1, the settings say"),
        (SCHEME, 'param="Gamma"', "the k-points Gamma 4x4x1, the settings say Monkhorst-Pack 4x4x1"),
        (SHIFT, '"usershift"> 0.5 0.5 0.0 <', r"the k-points Monkhorst-Pack 4x4x1 shifted by 0\.5 0\.5 0, the"),
        (SHIFT, '"usershift"> 0.0 0.0 0.5 <', r"the k-points Monkhorst-Pack 4x4x1 shifted by 0 0 0\.5, the"),
        (SCHEME, 'param="listgenerated"', r"a list of 1 k-points \(listgenerated\), the settings say"),
    ],
)
def test_other_k_points_are_refused(tmp_path, old, new, message):
    with pytest.raises(engines.Refused, match=f"^the job has {message}.*; run it with the inputs given$"):
        read(tmp_path, swapped(right(), old, new))


def test_an_explicit_list_of_k_points_is_refused(tmp_path):
    text = re.sub(r"<generation.*</generation>", "", right(), flags=re.DOTALL)
    with pytest.raises(engines.Refused, match="a list of 1 k-points, the settings say Monkhorst-Pack 4x4x1"):
        read(tmp_path, text)


def test_the_same_mesh_by_another_name_is_accepted(tmp_path):
    moved = swapped(swapped(right(), SCHEME, 'param="Gamma"'), SHIFT, '"usershift"> 0.5 0.5 0.0 <')
    assert read(tmp_path, moved).iterations == 9  # four points from Gamma, moved by half a step
    assert read(tmp_path, swapped(right(), SHIFT, '"usershift"> 1.0 0.0 0.0 <')).iterations == 9


@pytest.mark.parametrize(
    ("new", "message"),
    [
        ("PAW_PBE Ti_pv 01Jan2000", "the PAW data 'PAW_PBE Ti_pv 01Jan2000', the settings say Ti_sv"),
        ("PAW_PBE Ti_sv_GW 01Jan2000", "the PAW data 'PAW_PBE Ti_sv_GW 01Jan2000', the settings say Ti_sv"),
        ("PAW Ti_sv 01Jan2000", r"the PAW data 'PAW Ti_sv 01Jan2000', the settings say those of PBE \(PAW_PBE\)"),
        ("US Ti_sv", "the PAW data 'US Ti_sv', the settings say those of PBE"),
        ("PAW_PBE Ti_sv 26Sep2005", "the PAW data 'PAW_PBE Ti_sv 26Sep2005', the POTCAR given is 'PAW_PBE Ti_sv 01Jan"),
    ],
)
def test_other_paw_data_are_refused(tmp_path, potcars, new, message):
    with pytest.raises(engines.Refused, match=f"^the job has {message}"):
        read(tmp_path, swapped(right(), "PAW_PBE Ti_sv 01Jan2000", new))


def test_the_incar_beside_tells_what_vasp_does_not_echo(tmp_path):
    (tmp_path / "INCAR").write_text("SYSTEM = a # title\nENCUT = 300\nLSOL = .TRUE. ; NCORE = 4\n! LASPH = T\n")
    with pytest.raises(
        engines.Refused, match=r"^the job has LSOL = T, the settings say F; run it with the INCAR given$"
    ):
        read(tmp_path, right())
    (tmp_path / "INCAR").write_text("LSOL = F\nLSOL = T\nENCUT = 300\nOWN_NOTE = 3\n")  # ENCUT is in the job itself
    assert read(tmp_path, right()).iterations == 9


def test_an_incar_is_read_as_vasp_reads_one():
    text = "A = 1 # B = 2\n  c=.TRUE.;D = x y \\\n z\n!E = 3\nA = 9\nno statement\n"
    assert vasp_tags.of_incar(text) == {"A": "1", "C": ".TRUE.", "D": "x y   z"}


@pytest.mark.parametrize(
    ("one", "other", "fine"),
    [
        ("520.00000000", "520", True), ("0.00000100", "1e-06", True), ("0.00000200", "1e-06", False),
        (".TRUE.", "T", True), ("F", ".false.", True), ("Auto", "F", False), ("3*0 2*0.2", "0 0 0 0.2 0.2", True),
        ("0 0 0", "0", True), ("0 0 1", "0", False), ("", "0", False), ("********", "520", False), ("1 2", "1", False),
        ("nan", "0", False), ("1.0d-6", "1e-6", True),
    ],
)  # fmt: skip
def test_values_are_compared_as_numbers_words_and_logicals(one, other, fine):
    assert vasp_tags.same(one, other) is fine


@pytest.mark.parametrize("tag", ["ML_LMLFF", "ML_FF_LMLFF"])
@pytest.mark.parametrize("part", [0.3, 0.8, 1.0])
def test_a_force_field_is_refused_even_where_its_job_still_runs(tmp_path, tag, part):
    text = with_tag(right(), tag, ".TRUE.")
    with pytest.raises(engines.Refused, match=rf"of a machine-learned force field \({tag} = T\)"):
        read(tmp_path, text[: int(part * len(text))])


def test_a_job_that_only_names_a_force_field_is_not_refused_as_one(tmp_path):
    with pytest.raises(engines.Refused, match="ML_MODE = train, the settings do not name this tag"):
        read(tmp_path, with_tag(right(), "ML_MODE", "train"))


def test_a_cell_that_changed_during_the_job_is_refused(tmp_path):
    head, tail = right().split('<structure name="initialpos"', 1)
    tail = tail.replace("23.10022400", "23.20022400", 1)
    with pytest.raises(engines.Refused, match=r"the cell changed by 0\.1000 Angstrom during the job \(ISIF\)"):
        read(tmp_path, f'{head}<structure name="initialpos"{tail}')


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("-0.00580615", "**********", "cannot be read .*could not convert string to float: '\\*+'"),
        ("<v>      -0.00580615      -0.00007820      -0.43833855 </v>", "", "has forces on 12 of 13 atoms"),
        ("<c> 12 </c>", "<c> twelve </c>", "cannot be read .*could not convert string to float: 'twelve'"),
        ("> 4 4 1 <", "> 4 4 x <", "cannot be read .*invalid literal"),
        ("<rc><c>Li</c><c>   1</c></rc>", "<rc><c>Na</c><c>   1</c></rc>", "holds NaO8Ti4, the frame is LiO8Ti4"),
    ],
)
def test_a_damaged_file_is_refused_in_one_line(tmp_path, old, new, message):
    with pytest.raises(engines.Refused, match=message) as error:
        read(tmp_path, swapped(right(), old, new))
    assert "\n" not in str(error.value)


def test_energy_added_after_the_electrons_is_no_pure_pbe(tmp_path):
    text = right()
    head, last = text.rsplit("<scstep>", 1)
    with pytest.raises(engines.Refused, match=r"the job added -2\.0000 eV after its electrons, .* no dispersion"):
        read(tmp_path, f"{head}<scstep>{last.replace('-103.79136238', '-101.79136238', 1)}")


@pytest.mark.parametrize(
    ("kind", "asked", "message"),
    [
        ("d3-zero", "d3-zero", None),
        ("d3-bj", "d3-bj", None),
        ("d3-bj", "d3-zero", r"the dispersion energy in the job is -\d\.\d+ eV, d3-zero gives"),
        ("d3-bj", "none", r"the job added -\d\.\d+ eV after its electrons, the settings say no dispersion"),
        ("none", "d3-zero", "the job has IVDW = 0, the settings say 11"),
    ],
)
def test_where_vasp_does_not_echo_ivdw_the_energy_it_added_tells(tmp_path, kind, asked, message):
    text, frame = re.sub(r'<i[^>]*name="IVDW">0</i>', "", right()), frames()["001_11_Li_site"]
    ordered = frame[in_job_order(frame)]
    added = 0.0 if kind == "none" else dispersion.d3(ordered, vasp.D3_OF_JOB[kind])[0]
    head, last = text.rsplit("</scstep>", 1)
    text = f"{head}</scstep>{last.replace('-103.79136238', f'{-103.79136238 + added:.8f}')}"
    settings = PBE.model_copy(update={"dispersion": asked})
    if message:
        with pytest.raises(engines.Refused, match=message):
            read(tmp_path, text, settings=settings)
    else:
        assert_allclose(read(tmp_path, text, settings=settings).energy_ev, -103.79136238, rtol=0, atol=1e-7)


def test_starting_moments_and_a_dipole_correction_are_compared_where_they_are_asked(tmp_path):
    polarised = vasp.Settings(dispersion="none", spin="polarised", moments_bohr={"Ti": 0.2}, dipole=True)
    text = right()
    for tag, value in (("ISPIN", "2"), ("LDIPOL", "T"), ("IDIPOL", "3")):
        text = with_tag(with_tag(text, tag, value), tag, value, part="parameters")
    fine = with_tag(with_tag(text, "MAGMOM", "9*0 4*0.2"), "MAGMOM", "9*0 4*0.2", part="parameters")
    assert read(tmp_path, fine, settings=polarised).iterations == 9
    for tag, value, message in (
        ("MAGMOM", "9*0 4*1.0", "MAGMOM = 9"), ("IDIPOL", "1", "IDIPOL = 1, the settings say 3"),
        ("LDIPOL", "F", "LDIPOL = F, the settings say T"), ("ISPIN", "1", "ISPIN = 1, the settings say 2"),
    ):  # fmt: skip
        with pytest.raises(engines.Refused, match=f"the job has {re.escape(message)}"):
            read(tmp_path, with_tag(fine, tag, value), settings=polarised)


def test_a_job_of_another_level_keeps_no_other_from_its_label(tmp_path, potcars):
    ours, store = list(frames().values()), tmp_path / "labels"
    first, second = ours
    assert len(cells.in_process(ours, DFT, store)) == 2
    place = tasks.Store(store / tasks.settings_hash(DFT))
    done, other = (place.work(tasks.digest(frame, DFT)) for frame in (first, second))
    (done / "vasprun.xml").write_text(right())
    assert list(cells.in_process(ours, DFT, store)) == [second.info["frame_id"]]
    kept = place.label(tasks.digest(first, DFT)).read_bytes()
    (other / "vasprun.xml").write_text(with_tag((DATA / "vasprun-001_11_Li_hop1.xml").read_text(), "METAGGA", "SCAN"))
    assert cells.in_process(ours, DFT, store) == {}
    found = queue.label(ours, DFT, store, workers=1)
    assert found.frames[0] is not None
    assert found.frames[1] is None
    (problem,) = found.problems
    assert problem.frame_id == "001_11_Li_hop1"
    assert problem.reason.startswith("the job has METAGGA = SCAN, the settings say none; run it with the INCAR given")
    assert place.label(tasks.digest(first, DFT)).read_bytes() == kept


def test_whole_numbers_and_decimal_ones_are_one_level():
    for preset in ("vasp-paper", "gpaw-pbe-520"):
        one, other = (Dft(preset=preset, settings={"cutoff_ev": x, "smearing_ev": 1}) for x in (520, 520.0))
        assert queue.settings_hash(one) == queue.settings_hash(other)
