"""PAW data in name only, and the results of VASP jobs that nobody ran."""

from ase.io import read

PAW = {"Li": "Li_sv", "H": "H", "O": "O", "Ti": "Ti_sv", "Mg": "Mg"}


def paw_data(root):
    """The folder, with a POTCAR for every element of the tests in one of the two places that are looked at."""
    for symbol, name in PAW.items():
        place = root / ("potpaw_PBE" if symbol in {"Li", "H"} else "") / name
        place.mkdir(parents=True)
        (place / "POTCAR").write_text(f"  PAW_PBE {name} 01Jan2000\n")
    return root


def vasprun(folder, *, energy_ev, forces, d3_ev=0.0, steps=7, **changes):
    """The vasprun.xml of a finished job whose inputs are in the folder, as VASP 6 writes it, without the eigenvalues."""
    structure = read(folder / "POSCAR", format="vasp")
    lines = (folder / "INCAR").read_text().splitlines()
    tags = dict(line.split(" = ") for line in lines) | changes.get("tags", {})
    points = changes.get("points", (folder / "KPOINTS").read_text().splitlines()[3])
    nelm, symbols = tags["NELM"], structure.get_chemical_symbols()

    def rows(name, values):
        body = "".join(f"<v>{' '.join(f'{x:.8f}' for x in row)}</v>\n" for row in values)
        return f'<varray name="{name}">\n{body}</varray>\n'

    def geometry(name):
        attribute = f' name="{name}"' if name else ""
        basis = rows("basis", structure.cell.array)
        return f"<structure{attribute}>\n<crystal>\n{basis}</crystal>\n{rows('positions', structure.get_scaled_positions())}</structure>\n"

    def energies(free):
        pairs = {"e_fr_energy": free, "e_wo_entrp": free + 0.02, "e_0_energy": free + 0.01}
        return "<energy>\n" + "".join(f'<i name="{k}">{v:.8f}</i>\n' for k, v in pairs.items()) + "</energy>\n"

    atoms = "".join(f"<rc><c>{s}</c><c>1</c></rc>\n" for s in symbols)
    paw = changes.get("paw", PAW)
    types = "".join(
        f"<rc><c>{symbols.count(s)}</c><c>{s:2s}</c><c>1.0</c><c>1.0</c><c> PAW_PBE {paw[s]} 01Jan2000 </c></rc>\n"
        for s in sorted(set(symbols))
    )
    scf = "".join(f"<scstep>\n{energies(energy_ev - d3_ev + 2.0**-k)}</scstep>\n" for k in range(1, steps))
    scf += f"<scstep>\n{energies(energy_ev - d3_ev)}</scstep>\n"
    incar = "".join(f'<i name="{k}">{v}</i>\n' for k, v in tags.items() if k not in {"LREAL", "LWAVE", "LCHARG"})
    text = (
        '<?xml version="1.0" encoding="ISO-8859-1"?>\n<modeling>\n'
        '<generator>\n<i name="program" type="string">vasp </i>\n<i name="version" type="string">6.4.2  </i>\n</generator>\n'
        f"<incar>\n{incar}</incar>\n"
        f'<kpoints>\n<generation param="{(folder / "KPOINTS").read_text().splitlines()[2]}">\n<v type="int" name="divisions">'
        f"{points}</v>\n</generation>\n"
        '<varray name="kpointlist">\n<v>0.0 0.0 0.0</v>\n</varray>\n<varray name="weights">\n<v>1.0</v>\n</varray>\n</kpoints>\n'
        '<parameters>\n<separator name="electronic">\n<separator name="electronic convergence">\n'
        f'<i type="int" name="NELM">{nelm}</i>\n</separator>\n</separator>\n</parameters>\n'
        f'<atominfo>\n<atoms>{len(symbols)}</atoms>\n<types>{len(set(symbols))}</types>\n<array name="atoms">\n<set>\n{atoms}</set>\n</array>\n'
        f'<array name="atomtypes">\n<set>\n{types}</set>\n</array>\n</atominfo>\n'
        f"{geometry('initialpos')}<calculation>\n{scf}{geometry('')}{rows('forces', forces)}{energies(energy_ev)}</calculation>\n"
        f"{geometry('finalpos')}</modeling>\n"
    )
    (folder / "vasprun.xml").write_text(text)


def levels(folder, points, energies_ev, parts, *, electrons):
    """Add levels with projections to the vasprun.xml of a folder, as VASP writes them with LORBIT = 11.

    Args:
        folder: of the job.
        points: (k, 3), all of one weight.
        energies_ev: (k, bands).
        parts: (atoms,) of every level, in the order of the POSCAR; half of it in s and half in p orbitals.
        electrons: number of them.
    """

    def sets(kind, bodies):
        return "".join(f'<set comment="{kind} {n}">\n{body}</set>\n' for n, body in enumerate(bodies, 1))

    rows = "".join(f"<v>{' '.join(f'{x:.8f}' for x in point)}</v>\n" for point in points)
    weights = f"<v>{1 / len(points):.8f}</v>\n" * len(points)
    given = sets("kpoint", ("".join(f"<r>{e:.6f} 0.0</r>\n" for e in levels) for levels in energies_ev))
    held = "".join(f"<r>{part / 2:.6f} {part / 2:.6f}</r>\n" for part in parts)
    shares = sets("kpoint", (sets("band", [held] * len(levels)) for levels in energies_ev))
    text = (folder / "vasprun.xml").read_text()
    start, end = text.index('<varray name="kpointlist">'), text.index("</kpoints>")
    lists = f'<varray name="kpointlist">\n{rows}</varray>\n<varray name="weights">\n{weights}</varray>\n'
    text = text[:start] + lists + text[end:]
    text = text.replace("<parameters>\n", f'<parameters>\n<i name="NELECT">{electrons:.8f}</i>\n')
    parts_of = (("eigenvalues", "spin 1", given), ("projected", "spin1", shares))
    made = "".join(
        f'<{name}>\n<array>\n<set>\n<set comment="{spin}">\n{body}</set>\n</set>\n</array>\n</{name}>\n'
        for name, spin, body in parts_of
    )
    (folder / "vasprun.xml").write_text(text.replace("</calculation>", f"{made}</calculation>"))
