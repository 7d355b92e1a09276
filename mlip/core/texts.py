"""Text files of users: the encodings they come in, and YAML in which no key is dropped.

Takes paths; gives text in UTF-8 with plain line feeds, or what a YAML document holds. A byte order mark at the start
of a line (files that were joined have several) and the line ends of Windows are accepted. Every other encoding, a
compressed or binary file and a key that stands twice in one mapping end in an error of one line.
"""

import codecs
import re
from pathlib import Path
from typing import Any

import yaml

MERGE = "tag:yaml.org,2002:merge"
PLAIN = (MERGE, "tag:yaml.org,2002:value")  # tags of the keys << and =, which stand for themselves
UTF_16 = ("UTF-16", "save it as UTF-8")
STARTS = (  # first bytes of a file, what the file is and what to do; UTF-32 begins like UTF-16
    (codecs.BOM_UTF32_LE, "UTF-32", "save it as UTF-8"),
    (codecs.BOM_UTF32_BE, "UTF-32", "save it as UTF-8"),
    (codecs.BOM_UTF16_LE, *UTF_16),
    (codecs.BOM_UTF16_BE, *UTF_16),
    (b"\x1f\x8b", "compressed (gzip)", "unpack it first"),
    (b"BZh", "compressed (bzip2)", "unpack it first"),
    (b"\xfd7zXZ", "compressed (xz)", "unpack it first"),
    (b"PK\x03\x04", "an archive (zip)", "unpack it first"),
)
CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")  # bytes that no text in one byte per letter holds
LINE_END = re.compile("[\n\x85\u2028\u2029]")  # as PyYAML counts lines
WRONG_SCALAR = (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError)  # PyYAML on !!int "" etc.


class NotTextError(ValueError):
    """Bytes that are not UTF-8 text; the message follows "the file is ..."."""


def read_text(path: Path, *, advice: str) -> str:
    """The text of a file in UTF-8, with line feeds as line ends and without byte order marks.

    Raises:
        ValueError: the file cannot be read (`advice` says what to do) or is not UTF-8 text.
    """
    try:
        return decoded(_bytes(path, advice), advice=advice)
    except NotTextError as error:
        raise ValueError(f"{path}: is {error}") from error


def read_yaml(path: Path, *, advice: str) -> Any:
    """What a YAML file holds.

    Raises:
        ValueError: the file cannot be read (`advice` says what to do), is not valid YAML or gives a key twice.
    """
    try:
        return parse_yaml(decoded(_bytes(path, advice), advice=advice))
    except (NotTextError, yaml.YAMLError) as error:
        raise ValueError(f"{path}: is not valid YAML ({error})") from error


def _bytes(path: Path, advice: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror}); {advice}") from error


def decoded(data: bytes, *, advice: str) -> str:
    """The text in these bytes, as `read_text` gives it.

    Raises:
        NotTextError: the bytes are not UTF-8 text.
    """
    kind, remedy = _kind(data)
    if kind is not None:
        raise NotTextError(f"not text in UTF-8 but {kind}; {remedy or advice}")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        if CONTROL.search(data):
            raise NotTextError(f"not text ({error.reason}); {advice}") from error
        line = len(re.findall(rb"\r\n|\r|\n", data[: error.start])) + 1
        raise NotTextError(
            f"not text in UTF-8 (line {line} holds the byte 0x{data[error.start]:02x}; Latin-1 or Windows-1252?); "
            "save it as UTF-8"
        ) from error
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return re.sub("^\ufeff", "", text, flags=re.MULTILINE)


def _kind(data: bytes) -> tuple[str | None, str | None]:
    """What a file is that is certainly not UTF-8 text, and what to do; None where that is not known."""
    for start, kind, remedy in STARTS:
        if data.startswith(start):
            return kind, remedy
    few, many = sorted((data[::2].count(0), data[1::2].count(0)))
    if 3 * many > len(data) and 10 * few < many:  # about every other byte
        return UTF_16
    return ("binary", None) if many else (None, None)


class KeyTwiceError(yaml.YAMLError):
    """A key stands twice in one mapping."""


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, which by itself keeps the last of equal keys and drops the others without a word."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        lines: dict[object, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue  # refused when the mapping is made
            name = key.value if key.tag in PLAIN else self.construct_object(key)
            line = key.start_mark.line + 1
            if (name, key.tag == MERGE) in lines:
                first = lines[name, key.tag == MERGE]
                where = f"lines {first} and {line}" if line > first else f"line {line}"
                keep = "merge several with <<: [*a, *b]" if key.tag == MERGE else "keep one of them"
                raise KeyTwiceError(f"key {key.value!r} is given twice, in {where}; {keep}")
            lines[name, key.tag == MERGE] = line
        return node


def parse_yaml(text: str) -> Any:
    """What a YAML document holds.

    Raises:
        yaml.YAMLError: not valid YAML, or a key that is given twice in one mapping; the message is one line.
    """
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506  (a safe loader)
    except yaml.MarkedYAMLError as error:
        raise type(error)(problem=_reason(error, text)) from error
    except yaml.reader.ReaderError as error:
        line = text[: error.position].count("\n") + 1
        raise yaml.YAMLError(f"line {line}: the character {chr(int(error.character))!r} is not allowed") from error
    except RecursionError as error:
        raise yaml.YAMLError("nested too deeply") from error
    except WRONG_SCALAR as error:
        raise yaml.YAMLError(f"a value is not of the type it is given: {error}") from error


def _reason(error: yaml.MarkedYAMLError, text: str) -> str:
    mark = error.problem_mark or error.context_mark
    if mark is None:
        return " ".join(str(error).split())
    line = [*LINE_END.split(text), ""][mark.line]
    if "\t" in line[: mark.column + 1] or re.match(r" *\t", line):
        return f"line {mark.line + 1}: holds a tab; YAML takes only spaces between a line's start and its values"
    said = " ".join(x for x in (error.context, error.problem) if x)
    return f"line {mark.line + 1}, column {mark.column + 1}: {' '.join(said.split())}"
