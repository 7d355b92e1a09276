"""A status is compared by its code and read as text."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from mlip.core import files, status
from mlip.core.status import Status


def test_a_status_reads_as_code_and_reason():
    assert str(Status("resolved")) == "resolved"
    assert str(Status("not resolved", "two members desorbed")) == "not resolved: two members desorbed"


@dataclass(frozen=True)
class _Record:
    status: Status


def test_a_status_is_stored_as_two_fields(tmp_path: Path):
    record = _Record(Status("upper bound", "a: b"))
    files.write_record(tmp_path / "r.json", record)
    assert files.read_record(tmp_path / "r.json", _Record) == record


def test_the_detail_is_the_reason_or_else_the_code():
    assert Status("incomplete", "lacks final").detail == "lacks final"
    assert Status("complete").detail == "complete"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("resolved", Status("resolved")),
        ("not resolved: no barrier for a: b", Status("not resolved", "no barrier for a: b")),
        ("2 of 4 members converged: 2 max steps", Status("not converged", "2 of 4 members converged: 2 max steps")),
    ],
)
def test_the_text_of_an_earlier_version_is_read(text, expected):
    found = status.of_text(text, {"resolved", "not resolved"}, others={r"\d+ of \d+ members": "not converged"})
    assert found == expected


def test_a_text_of_no_known_kind_is_refused():
    with pytest.raises(ValueError, match="status 'odd: words' is of no known kind"):
        status.of_text("odd: words", {"resolved"})
