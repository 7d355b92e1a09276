"""The answer in sentences: one per verdict, and one per published barrier that can be quoted as it stands.

Takes rows of the headline table; gives sentences. Energies are in eV. A row without a result has no number to quote.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mlip.core.report import ANGSTROM, number, with_error
from mlip.core.status import AGREES, DIFFERS, NOT_COMPARABLE, NOT_RESOLVED
from mlip.stages.report.rows import Headline


@dataclass(frozen=True, kw_only=True)
class MadeBy:
    """What a quoted barrier needs beside its number; None where it is not known."""

    members: int | None = None  # of the committee
    crystal: str | None = None
    images: int | None = None  # between the ends of a band
    version: str | None = None  # of the package
    run: str | None = None  # fingerprint of the bands: their settings and all that they rest on
    refined_run: str | None = None  # the same of the barriers relaxed with DFT


def _name(row: Headline) -> str:
    return f"{row.ion} in the bulk" if row.host == "bulk" else f"{row.ion} on {row.facet}"


def _with_difference(row: Headline) -> str:
    return f"{_name(row)} ({number(row.difference_ev, 2, signed=True)} eV)"


VERDICTS: tuple[tuple[str, str, str, Callable[[Headline], str]], ...] = (  # verdict, words for one and for many, item
    (AGREES, "agrees with ours", "agree with ours", _with_difference),
    (DIFFERS, "differs from ours", "differ from ours", _with_difference),
    (NOT_COMPARABLE, "is not comparable with ours", "are not comparable with ours", _name),
    (NOT_RESOLVED, "is not resolved", "are not resolved", _name),
)


def verdict_sentences(rows: Sequence[Headline]) -> tuple[str, ...]:
    """One sentence per verdict: how many of the published barriers have it, and which."""
    out = []
    for verdict, one, many, item in VERDICTS:
        own = [row for row in rows if row.verdict == verdict]
        if own:
            of = f"{len(own)} of {len(rows)} published barriers {one if len(own) == 1 else many}"
            out.append(f"{of}: {_listed([item(row) for row in own])}.")
    if any(row.difference_ev is not None for row in rows):
        out.append("Differences in brackets are ours minus published.")
    return tuple(out)


def _listed(items: Sequence[str]) -> str:
    *first, last = items
    return f"{', '.join(first)} and {last}" if first else last


def sentences(rows: Sequence[Headline], made: MadeBy) -> tuple[str, ...]:
    """For every row one sentence to quote: value, level, uncertainty, method and origin; or why there is none."""
    known = {AGREES, DIFFERS}
    return tuple(quotable(row, made) if row.verdict in known else refused(row) for row in rows)


def refused(row: Headline) -> str:
    """Why the row has no number to quote."""
    return f"{_name(row)}: there is no number to quote; the barrier is {row.verdict} ({row.reason})."


def quotable(row: Headline, made: MadeBy) -> str:
    """The barrier that the verdict rests on, as one sentence."""
    value = with_error(row.decided_ev, row.decided_two_sigma_ev)
    of = _name(row) if made.crystal is None else f"{_name(row)} of {made.crystal}"
    barrier = f"Migration barrier of {of}: {'at most ' if row.upper_bound else ''}{value} eV (2 sigma)"
    level = "PBE-D3" if row.decided_has_d3 else "PBE without D3"
    method = _by_dft(row) if row.dft_refined else _by_potential(made, row.hops_by_dft)
    run = made.refined_run if row.dft_refined else made.run
    origin = ", ".join(p for p in (made.version and f"mlip {made.version}", run and f"run {run}") if p)
    path = f"limiting hop {row.limiting_hop}, path from site {row.start}"
    return "; ".join(part for part in (f"{barrier}, {level}", method, path, origin) if part) + "."


def _by_dft(row: Headline) -> str:
    force = row.dft_force_ev_per_angstrom
    left = "" if force is None else f", largest residual force {1e3 * force:.0f} meV/{ANGSTROM}"
    added = ", D3 added at these points" if row.decided_has_d3 else ""
    return f"initial state and saddle relaxed with DFT ({row.dft_calls} DFT calculations{left}){added}"


def _by_potential(made: MadeBy, by_dft: Sequence[str]) -> str:
    committee = "a machine-learned potential"
    if made.members is not None and made.members > 1:
        committee = f"a committee of {made.members} machine-learned potentials"
    images = "" if made.images is None else f" with {made.images} images between the ends"
    refined = f"of its hops, {', '.join(by_dft)} relaxed with DFT" if by_dft else "not refined with DFT"
    return f"climbing-image NEB by {committee}{images}, {refined}"
