"""The status of a result: a code that programs compare, and a reason that people read."""

from dataclasses import dataclass


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
