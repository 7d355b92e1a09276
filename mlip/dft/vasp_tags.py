"""Tags of VASP: which of them may differ from what was asked for, and how their values are compared.

Takes names and values as text; gives what is wrong with a tag, or None.

    asked         a tag of the INCAR that was written and not a harmless one: its value must be the same
    HARMLESS      parallel runs, output, start, motion of atoms, the path of the electrons to convergence: any value
    ALLOWED       physics that was not asked for: only these values, the default of VASP first
    anything else refused where the user wrote the tag; elsewhere it has the default of VASP
Tags and defaults: the VASP wiki, https://www.vasp.at/wiki/index.php/Category:INCAR_tag.
"""

import re
from collections.abc import Mapping

import numpy as np

PRINTED = 5e-9  # vasprun.xml has eight decimals
LONGEST = 60  # characters of a value in a message


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


DEFAULTS = {  # of VASP, for tags that are asked
    "GGA": "PE", "PREC": "Normal", "EDIFF": "1e-4", "ISMEAR": "1", "SIGMA": "0.2", "IVDW": "0", "LREAL": "F",
    "ISPIN": "1", "LDIPOL": "F", "IDIPOL": "0",
}  # fmt: skip
PARALLEL = _words("""
    NCORE NPAR KPAR NSIM NBLK LPLANE LSCALAPACK LSCALU LSCAAWARE LASYNC LORBITALREAL NCORE_IN_IMAGE1 NCSHMEM MAXMEM
    LUSENCCL NTAUPAR NOMEGAPAR NCRPA LFOCKACE IDIOT
""")
OUTPUT = _words("""
    SYSTEM NWRITE LWAVE LCHARG LDOWNSAMPLE LPARD LVTOT LVHAR LELF LAECHG LORBIT RWIGS NEDOS EMIN EMAX EFERMI LVACPOTAV
    LOPTICS LNABLA CSHIFT OMEGAMAX LH5 LCHARGH5 LWAVEH5 LPOTH5 LELFH5 LPARDH5 LWANNIER90 LWRITE_WANPROJ KPOINT_BSE
    LEPSILON LBERRY STM LKPOINTS_OPT KPOINTS_OPT_MODE LSEPB LSEPK NBMOD EINT IBAND KPUSE LHYPERFINE LEFG QUAD_EFG
    LDAUPRINT LCALCPOL DEG_THRESHOLD LKPROJ
""")
ELECTRONS = _words("""
    INIWAV NELM NELMIN NELMDL ENINI LDIAG LSUBROT WEIMIN EBREAK DEPER NRMM TIME IMIX AMIX BMIX AMIN AMIX_MAG BMIX_MAG
    MAXMIX WC INIMIX MIXPRE MREMOVE MIXFIRST NBANDS TURBO IRESTART NREBOOT NMIN EREF ISYM SYMPREC KBLOWUP LMIXTAU
""")
ATOMS = _words("""
    NSW ISIF EDIFFG POTIM NFREE SMASS PMASS TEBEG TEEND NBLOCK KBLOCK NPACO APACO IWAVPR LATTICE_CONSTRAINTS POMASS
    LANGEVIN_GAMMA LANGEVIN_GAMMA_L ANDERSEN_PROB NHC_NCHAINS NHC_PERIOD NHC_NRESPA NHC_NS CSVR_PERIOD RANDOM_SEED
    IOPT MAXMOVE TIMESTEP ILBFGSMEM LGLOBAL LAUTOSCALE INVCURV LLINEOPT FDSTEP
""")  # structure and cell are compared themselves
IDLE = _words("MAGMOM SAXIS KSPACING KGAMMA LMAXTAU")  # without spin; with a mesh in <kpoints>; without meta-GGA
HARMLESS = frozenset((*PARALLEL, *OUTPUT, *ELECTRONS, *ATOMS, *IDLE))

OFF = _words("""
    LCOMPAT LASPH LMETAGGA ADDGRID NLSPLINE LNONCOLLINEAR LSORBIT LSPIRAL LZEROZ LMONO LDIPOL LDAU LHFCALC LHFONE
    LRHFCALC LTHOMAS LMODELHF LUSE_VDW LVDW LSPIN_VDW LVDW_EWALD LVDWSCS LLIBMBD LSOL LCALCEPS LPEAD LCHIMAG
    ORBITALMAG NUCIND LFINITE_TEMPERATURE LMUSIC LRPA LRPAFORCE LADDER LFXC LCLIMB LNEBCELL LDNEB LMAGBLOCH LSFBXC
    ODDONLY EVENONLY SHIFTRED ML_LMLFF ML_FF_LMLFF LTRUNCATE KERNEL_TRUNCATION/LTRUNCATE
""")
ZERO = _words("""
    EFIELD EFIELD_PEAD IDIPOL PSTRESS VOSKOWN AEXX HFALPHA MCALPHA HFSCREEN HFSCREENC HFRCUT EXXOEP FOURORBIT QSPIRAL
    I_CONSTRAINED_M M_CONSTR OFIELD_A OFIELD_KAPPA IMAGES ICHAIN
""")
ONE = _words("EPSILON SCALEE ALDAX AGGAX AMGGAX ALDAC AGGAC AMGGAC NKRED NKREDX NKREDY NKREDZ VDW_S6 VCA")
ALLOWED: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(OFF, ("F",)),
    **dict.fromkeys(ZERO, ("0",)),
    **dict.fromkeys(ONE, ("1",)),
    "GGA_COMPAT": ("T",),
    "LCORR": ("T",),
    "METAGGA": ("none",),
    "LMAXMIX": ("2",),
    "LMAXPAW": ("-100",),
    "NUPDOWN": ("-1",),
    "DIPOL": ("-100",),
    "IVDW_NL": ("-1", "0"),
    "VDW_S8": ("0.722", "0.7875"),  # of the two dampings; the energy of D3 is compared as well
    "VDW_SR": ("1.217",),
    "VDW_A1": ("0.4289",),
    "VDW_A2": ("4.4407",),
    "VDW_RADIUS": ("50.2",),
    "VDW_CNRADIUS": ("20",),
    "ICORELEVEL": ("0", "1"),
    "ISTART": ("0", "1", "2", "3"),
    "ICHARG": ("2", "0", "1"),  # from 10 on the density is fixed
    "IBRION": ("-1", "0", "1", "2", "3", "5", "6", "7", "8"),
    "MDALGO": ("0", "1", "2", "3", "4", "5", "13"),  # thermostats without a bias
    "IALGO": ("38", "44", "46", "48", "53", "54", "58", "68", "90"),  # below 5 nothing is made self-consistent
    "ALGO": ("normal", "n", "fast", "f", "veryfast", "v", "all", "a", "damped", "d", "conjugate", "c", "exact"),
}


def wanted(asked: Mapping[str, str]) -> dict[str, str]:
    """The tags of an INCAR whose values belong to the level of theory."""
    free = HARMLESS - {"MAGMOM"} | {tag for tag, values in ALLOWED.items() if len(values) > 1}
    return {tag: value for tag, value in asked.items() if tag not in free}


def fault(tag: str, value: str, asked: Mapping[str, str], *, is_given: bool) -> str | None:
    """What is wrong with one tag; None where nothing is.

    Args:
        tag: name in capitals.
        value: as text.
        asked: see `wanted`.
        is_given: whether the user wrote the tag.
    """
    if tag not in asked and (tag in HARMLESS or (tag not in ALLOWED and not is_given)):
        return None
    choices = (asked[tag],) if tag in asked else ALLOWED.get(tag, ())
    if any(same(_word(tag, value), _word(tag, choice)) for choice in choices):
        return None
    says = f"the settings say {shown(choices[0])}" if choices else "the settings do not name this tag"
    return f"{tag} = {shown(value)}, {says}"


def of_incar(text: str) -> dict[str, str]:
    """Tags of an INCAR; the first of two counts, as in VASP."""
    found: dict[str, str] = {}
    for statement in re.split(r"[\n;]", re.sub(r"[#!].*", "", re.sub(r"\\[ \t]*\n", " ", text))):
        tag, is_tag, value = statement.partition("=")
        if is_tag:
            found.setdefault(tag.strip().upper(), value.strip())
    return found


def same(value: str, other: str) -> bool:
    """Whether two values are the same; a single other number may stand for all of a vector."""
    one, two = _tokens(value), _tokens(other)
    if len(two) == 1 and one:
        two = two * len(one)
    return len(one) == len(two) and all(_same_token(a, b) for a, b in zip(one, two, strict=True))


def shown(value: str) -> str:
    """A value in a message."""
    numbers = ((token, _number(token)) for token in value.split())
    text = " ".join(_logical(token) if number is None else f"{number:g}" for token, number in numbers) or "nothing"
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def is_off(value: str) -> bool:
    """Whether a logical tag is false."""
    return _logical(value) == "F"


def _word(tag: str, value: str) -> str:
    """The value of a tag of words in the form that is compared."""
    text = value.strip().strip("\"'")
    if tag == "PREC":
        return text[:1].upper()
    if tag == "ALGO":
        return re.sub(r"[_ ]", "", text.lower())
    if tag in {"GGA", "METAGGA"} and text.upper() in {"", "--", "NONE"}:
        return "PE" if tag == "GGA" else "NONE"  # without GGA the PAW data decide, and those are compared
    return text


def _tokens(value: str) -> list[str]:
    found: list[str] = []
    for token in value.split():
        repeated = re.fullmatch(r"(\d+)\*(\S+)", token)
        found += [repeated.group(2)] * int(repeated.group(1)) if repeated else [token]
    return found


def _same_token(one: str, other: str) -> bool:
    first, second = _number(one), _number(other)
    if first is None or second is None:
        return _logical(one).upper() == _logical(other).upper()
    return bool(np.isclose(first, second, rtol=1e-6, atol=PRINTED))


def _number(token: str) -> float | None:
    try:
        return float(re.sub(r"[dD]", "e", token))
    except ValueError:
        return None


def _logical(token: str) -> str:
    """T or F of a logical value; other text as it is."""
    found = re.fullmatch(r"\.?(T|F)(?:RUE|ALSE)?\.?", token.strip(), flags=re.IGNORECASE)
    return found.group(1).upper() if found else token.strip()
