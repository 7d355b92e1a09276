"""The status of a result: a code that programs compare, and a reason that people read.

A code is a constant of the module whose result has it; the codes that several stages share are here. Statuses of
version 0.1 were one text each; `of_text` reads those.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType

CALCULATED, NOT_CALCULATED, INCOMPLETE = "calculated", "not calculated", "incomplete"
WAITING = "waiting for jobs"  # that the user runs
RESOLVED, NOT_RESOLVED = "resolved", "not resolved"
AGREES, DIFFERS, NOT_COMPARABLE = "agrees", "differs", "not comparable"


@dataclass(frozen=True)
class Status:
    """How a result came out.

    Attributes:
        code: one of the codes that the module of the result lists as constants; compare this one.
        reason: why, for people; empty where the code says all. Never parsed.
    """

    code: str
    reason: str = ""

    def __str__(self) -> str:
        """The code and the reason as one text for a table or a message."""
        return f"{self.code}: {self.reason}" if self.reason else self.code

    @property
    def detail(self) -> str:
        """The reason, or the code where there is none: for tables in which the reason says what the code says."""
        return self.reason or self.code


def of_text(text: str, codes: Collection[str], *, others: Mapping[str, str] = MappingProxyType({})) -> Status:
    """The status that a file of version 0.1 holds as text.

    Args:
        text: a code, 'code: reason', or a text without a code.
        codes: those that there are.
        others: codes of texts without one, by the regular expression that such a text begins with.

    Raises:
        ValueError: the text is none of these.
    """
    code, _, reason = text.partition(": ")
    if code in codes:
        return Status(code, reason)
    found = next((other for pattern, other in others.items() if re.match(pattern, text)), None)
    if found is None:
        raise ValueError(f"status {text!r} is of no known kind; delete the result and run the stage again")
    return Status(found, text)
