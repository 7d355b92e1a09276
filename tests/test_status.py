"""A status is compared by its code and read as text."""

from dataclasses import dataclass
from pathlib import Path

from mlip.core import files
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
