"""Published gaps and Bader charges beside ours: of this run, or of an earlier calculation of the project.

Takes a published value, the result of the stage `electronic` and references; gives our value with a verdict. A number
that did not converge is a status.
"""

from dataclasses import dataclass

from mlip.core.status import AGREES, CALCULATED, DIFFERS, NOT_COMPARABLE, Status
from mlip.literature.references import References, Value
from mlip.stages.electronic.result import Electronic
from mlip.stages.report.settings import ReportSettings

GAP, CHARGE = "band gap", "Bader charge transfer"
OPTICAL = "UV-vis"  # how the method of an optical gap begins


@dataclass(frozen=True)
class Compared:
    """What this work says about a published value."""

    status: Status
    ours: float | None = None
    verdict: str = ""


def compared(
    value: Value, result: Electronic | None, references: References, settings: ReportSettings
) -> Compared | None:
    """Our value of a published gap or charge with its verdict; None where there is none.

    Args:
        value: published.
        result: of the stage electronic in this run; None where it is not done.
        references: with values of the project's own DFT.
        settings: tolerances.
    """
    if value.method.startswith(OPTICAL):
        reason = "another quantity: the optical gap of a powder; a PBE gap is smaller than the gap of the crystal"
        return Compared(Status(NOT_COMPARABLE, reason), verdict=NOT_COMPARABLE)
    tolerance = settings.agree_gap_ev if value.quantity == GAP else settings.agree_charge_e
    found = (_of_run(value, result) if result is not None else None) or _of_project(value, references)
    if found is None or found.ours is None:
        return found
    verdict = AGREES if abs(found.ours - value.value) <= tolerance else DIFFERS
    return Compared(found.status, found.ours, verdict)


def _of_run(value: Value, result: Electronic) -> Compared | None:
    if value.quantity == GAP:
        for row in result.hosts:
            if row.host == value.host:
                text = f"{row.gap_ev:.2f} eV, PBE" if row.gap_ev is not None else ""
                return _compared(row.gap_ev, row.status, text)
    for one in result.ions:
        if (one.host, one.ion) == (value.host, value.ion):
            text = f"{one.charge_e:.2f} e at {one.site}, PBE" if one.charge_e is not None else ""
            return _compared(one.charge_e, one.status, text)
    return None


def _compared(number: float | None, status: Status, text: str) -> Compared:
    return Compared(Status(CALCULATED, text) if number is not None else status, number)


def _of_project(value: Value, references: References) -> Compared | None:
    for own in references.select(role="own", quantity=value.quantity):
        if (own.facet, own.ion) == (value.facet, value.ion):
            text = f"{own.value:.2f} {own.unit}, {own.method} (earlier calculation of this project)"
            return Compared(Status(CALCULATED, text), own.value)
    return None
