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
        '<kpoints>\n<generation param="Monkhorst-Pack">\n<v type="int" name="divisions">'
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
