"""docs/benchmarks.md from the measurements of bench.py."""

import textwrap

PEER = "ASE + MACECalculator"
OURS = ("mace-scalar", "symmetrix-xl")  # backends
NAMED = {name: f"ours, {name}" for name in OURS}
HEAD = [PEER, *(cell for name in NAMED.values() for cell in (name, ""))]


def page(known, machine):
    """The whole page; a table whose measurements are missing is left out."""
    dates = sorted({v["date"] for v in known.values()})
    parts = [
        "# Benchmarks\n",
        (
            f"`make bench`, {dates[0]}"
            + (f" to {dates[-1]}" if len(dates) > 1 else "")
            + f". {machine['cores']} cores of "
            f"{machine['processor']}, {machine['memory_gb']} GB.\n"
        ),
        wrapped(
            "Model: first member of `datasets/models/tio2-mg-li`. Each measurement in a process of its own; shortest of many "
            "calls. Peers run as shipped; ours runs as a stage runs it, in a process in which malloc keeps freed memory. "
            "*symmetrix-xl*: compiled; *mace-scalar*: torch alone, nothing compiled."
        )
        + "\n",
    ]
    for make in (versions, aims, points, many, neb, refined, md, flat, training, rest):
        lines = make(known)
        if lines:
            parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def wrapped(text):
    return textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False)


def versions(known):
    """Versions that the measurements were made with; several where they were made in several environments."""
    packages = list(dict.fromkeys(p for v in known.values() for p in v["versions"]))
    rows = [[p, ", ".join(sorted({v["versions"][p] for v in known.values() if p in v["versions"]}))] for p in packages]
    return table("Versions", ["", "version"], rows)


def get(known, name, key):
    return known[name][key] if name in known else None


def shown(value, digits=1):
    return "" if value is None else f"{value:.{digits}f}"


def ratio(slow, fast):
    return "" if slow is None or fast is None else f"{slow / fast:.1f}x"


def table(title, head, rows):
    rows = [r for r in rows if any(c for c in r[1:])]
    if not rows:
        return []
    return [
        f"## {title}\n",
        "| " + " | ".join(head) + " |",
        "|" + "---|" * len(head),
        *("| " + " | ".join(r) + " |" for r in rows),
    ]


def refined(known):
    """True calls of each hop by each method, another potential as the truth."""
    names = {"ours": "refine", "neb": "ASE, climbing-image NEB", "dimer": "ASE, dimer"}
    hops = list(dict.fromkeys(k.split()[2] for k in known if k.startswith("refine ")))
    rows = []
    for hop in hops:
        found = [known.get(f"refine {peer} {hop}", {}) for peer in names]
        rows.append([hop, *(c for f in found for c in (shown(f.get("calls"), 0), _barrier(f)))])
    head = ["", *(c for name in names.values() for c in (f"{name}: true calls", "barrier (eV)"))]
    return table("Calls of the truth to converged ends and saddle (0.05 eV/A)", head, rows)


def _barrier(found):
    return "not converged" if found and found["barrier_ev"] is None else shown(found.get("barrier_ev"), 4)


def compared(known, name, key):
    """Cells: peer, and each backend of ours with its ratio."""
    peer = get(known, name.format("ase"), key)
    found = [get(known, name.format(p), key) for p in OURS]
    return [shown(peer), *(c for own in found for c in (shown(own), ratio(peer, own)))]


def points(known):
    rows = [
        [f"{n} atoms, {d}", *compared(known, f"point {{}} {n} {d}", "ms"),
         *(shown(get(known, f"point {p} {n} {d}", "peak_mb"), 0) for p in ("ase", *OURS))]
        for d in ("float64", "float32") for n in (49, 196, 980, 1960)
    ]  # fmt: skip
    head = ["ms", *HEAD, "peak MB: peer", *OURS]
    return table("One structure, energy and forces", head, rows)


def many(known):
    rows = [[d, *compared(known, f"many {{}} {d}", "ms")] for d in ("float64", "float32")]
    return table("40 structures of 49 atoms, ms per structure on one thread", ["", *HEAD], rows)


def neb(known):
    tight = known.get("neb mace-scalar 0.01")
    rows = [
        [label, shown(get(known, f"neb {p}", "seconds")), ratio(get(known, "neb ase", "seconds"), get(known, f"neb {p}", "seconds")),
         *(shown(get(known, f"neb {p}", k), 0) for k in ("end_calls", "band_calls")), _apart(tight, known.get(f"neb {p}"))]
        for p, label in {"ase": f"{PEER}, NEB and FIRE of ASE", **NAMED}.items()
    ]  # fmt: skip
    head = [
        "six hops to 0.05 eV/Angstrom",
        "s",
        "",
        "force calls, ends",
        "bands",
        "largest error of a barrier, meV",
    ]
    title = "Climbing-image NEB: Li and Mg, bulk_oct, 001_in and 100_010zz (errors against 0.01 eV/Angstrom)"
    return table(title, head, rows)


def _apart(one, other):
    if one is None or other is None or one is other:
        return ""
    pairs = [(one["barriers_ev"][h], other["barriers_ev"][h]) for h in one["barriers_ev"]]
    known = [abs(a - b) for a, b in pairs if a is not None and b is not None]
    left = len(pairs) - len(known)
    return f"{1e3 * max(known):.2f}" + (f" ({left} not converged)" if left else "") if known else "none converged"


def md(known):
    rows = []
    for atoms, n in ((49, 1), (196, 1), (980, 1), (1960, 1), (49, 16)):
        peer = md_rate(known, "ase", atoms)
        found = {p: get(known, f"md {p} {atoms} {n}", "steps_per_s") for p in (*OURS, "torch-sim")}
        cells = [c for own in found.values() for c in (shown(own, 2), ratio(own, peer))]
        if any(cells):
            rows.append([f"{atoms} atoms, {n} replica{'s' * (n > 1)}", shown(peer, 2), *cells])
    head = ["steps/s of all replicas", f"{PEER}, 1 replica", *HEAD[1:], "torch-sim", ""]
    return table("Molecular dynamics, one process with all cores", head, rows)


def flat(known):
    """Cost of an atom and step against the size of the cell."""
    rows = []
    for way, label in NAMED.items():
        rates = [md_rate(known, way, n) for n in (196, 980, 1960)]
        costs = [None if r is None else 1e6 / (r * n) for r, n in zip(rates, (196, 980, 1960), strict=True)]
        spread = "" if None in costs else f"{100 * (max(costs) / min(costs) - 1):.0f} %"
        rows.append([label, *(shown(c, 0) for c in costs), spread])
    head = ["microseconds per atom and step", "196 atoms", "980", "1960", "largest above smallest"]
    return table("Cost of an atom (aim: within 15 %)", head, rows)


def aims(known):
    """What was asked for beside what was measured."""
    neb = {p: get(known, f"neb {p}", "seconds") for p in ("ase", *OURS)}
    rows = [
        *(
            [f"six bands, {p}, against ASE", f"at least {aim}x", ratio(neb["ase"], neb[p])]
            for p, aim in zip(OURS, ("2.5", "6"), strict=True)
        ),
        *(
            [f"dynamics, {n} atoms, {p}, against {PEER}", f"at least {aim}x", ratio(md_rate(known, p, n), md_rate(known, "ase", n))]
            for p, aim in zip(OURS, ("1.5", "3"), strict=True)
            for n in (49, 196, 980)
        ),
        *(
            [f"49 atoms, {p}: overhead beyond the network", "under 10 %", percent(get(known, f"profile {p}", "overhead"))]
            for p in OURS
        ),
        *([f"memory at 1960 atoms, {p}, against {PEER}", "at most 1.00", quotient(known, p)] for p in OURS),
        ["`mlip --help`", "under 0.3 s", seconds(get(known, "start_up ours", "seconds"))],
        ["`mlip run` with nothing to do", "under 5 s", seconds(get(known, "run_again ours", "seconds"))],
    ]  # fmt: skip
    rows = [r for r in rows if r[2]]
    return table("Aims", ["", "aim", "measured"], rows)


def md_rate(known, way, atoms):
    return get(known, f"md {way} {atoms} 1", "steps_per_s")


def percent(value):
    return "" if value is None else f"{100 * value:.1f} %"


def seconds(value):
    return "" if value is None else f"{value:.2f} s"


def quotient(known, way):
    own, peer = (get(known, f"point {p} 1960 float64", "peak_mb") for p in (way, "ase"))
    return "" if own is None or peer is None else f"{own / peer:.2f}"


TRAINING = (
    "Ten epochs measure speed. Neither model is fully trained after them. Ours warms up and lets the learning rate fall to "
    "a hundredth within these epochs, with a weight drawn for each group; mace_run_train keeps 1e-3. The errors are "
    "therefore not those of equal trainings."
)


def training(known):
    rows = [
        [
            label,
            *(
                shown(get(known, f"train {p}", k), d)
                for k, d in (("frames_per_s", 1), ("seconds", 0), ("force_rmse_ev_per_angstrom", 4))
            ),
        ]
        for label, p in (("mace_run_train of mace-torch", "mace-torch"), ("ours", "ours"))
    ]
    made = table(
        "Training, 10 epochs of 40 frames, 64x0e, float32",
        ["", "frames/s", "s", "force RMSE of 8 others, eV/Angstrom"],
        rows,
    )
    return [*made, "", wrapped(TRAINING)] if made else []


def rest(known):
    rows = [["`mlip --help`, s", shown(get(known, "start_up ours", "seconds"), 2)]]
    rows += [[f"site search of Li on (001), s, {p}", shown(get(known, f"sites {p}", "seconds"))] for p in OURS]
    for p in OURS:
        rows.append([f"49 atoms, one thread, {p}: network alone, ms", shown(get(known, f"profile {p}", "floor_ms"))])
        rows.append([f"49 atoms, one thread, {p}: whole call, ms", shown(get(known, f"profile {p}", "batch_ms"))])
        rows.append(
            [
                f"49 atoms, one thread, {p}: whole call with a new neighbour list, ms",
                shown(get(known, f"profile {p}", "new_list_ms")),
            ]
        )
    return table("Overheads", ["", ""], rows)
