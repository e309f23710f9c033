"""SGML and XML as NIST, LDC and WMT write them: encodings, tags and entities. Does not know what the tags mean."""

import codecs
import html
import re
from collections.abc import Iterator
from pathlib import Path

from weightdistill import files
from weightdistill.errors import DistillationError

ENCODINGS = ("utf-8", "gb18030")
"""Tried in this order if a file declares none. GB 18030 contains GBK and GB 2312."""

HEAD = 1000
"""Bytes within which a file declares its encoding."""

_SUPERSETS = {"gb2312": "gb18030", "gbk": "gb18030"}
_WIDE = {
    codecs.BOM_UTF32_LE: "utf-32",  # begins like the mark of UTF-16
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
    b"<\0": "utf-16-le",
    b"\0<": "utf-16-be",
}
"""How files begin whose characters have two or four bytes: with a byte order mark, or with a tag."""
_DECLARATION = re.compile(rb"""(?:\xef\xbb\xbf)?\s*<\?xml[^>]*encoding\s*=\s*["']([\w.-]+)["']""")
_MARKUP = re.compile(r"<(?:(!--)|([?!])|(/?)([A-Za-z][\w.-]*)((?:\s[^<>]*?)?)(/?)>)")
_ATTRIBUTE = re.compile(r"""(?<![\w:-])([\w:-]+)\s*=\s*("[^"]*"|'[^']*'|[^\s"'>]+)""")
# The semicolon is required: "AT&T" and "R&D" are text. No character has a longer number.
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z]\w{0,31});")


def read_bytes(path: Path) -> bytes:
    """Read a file, which may be gzipped. Raises a DistillationError if it cannot be read."""
    return files.read_bytes(path, "give the path of an SGML or XML file")


def decode(data: bytes, path: Path, encoding: str | None) -> tuple[str, int]:
    """Decode a file.

    Args:
        data: Its bytes.
        path: Its path, for errors.
        encoding: Encoding by its name in Python. Default: the one in the XML declaration, else the first of ENCODINGS
            that decodes the file. A file that begins in UTF-16 or UTF-32 is read as such.

    Returns:
        The text, and the number of the first line that the first encoding tried could not decode (0: it decoded all).

    Raises:
        DistillationError: The file cannot be decoded. The message names the line.
    """
    remedy = "name the file's encoding, or fix the line"
    if known := encoding_of(data[:HEAD], path, encoding):
        return files.decode(data, path, known, remedy=remedy), 0
    try:
        return files.decode(data, path, remedy=remedy), 0
    except DistillationError as error:
        lines = _foreign_lines(data)
        if not lines or _is_damaged(data, len(lines)):
            raise
        try:
            return files.decode(data, path, ENCODINGS[1]), lines[0]
        except DistillationError:
            raise DistillationError(f"{path}: line {lines[0]} is not {' or '.join(ENCODINGS)}; {remedy}") from error


def encoding_of(head: bytes, path: Path, encoding: str | None = None) -> str | None:
    """Tell the encoding of a file from its beginning, or return None.

    Args:
        head: Its first HEAD bytes.
        path: Its path, for errors.
        encoding: What to take instead of a declared encoding; characters of two or four bytes show themselves.

    Raises:
        DistillationError: The file declares UTF-16 or UTF-32, but is neither.
    """
    if wide := next((name for mark, name in _WIDE.items() if head.startswith(mark)), None):
        return wide
    if encoding is None and (declaration := _DECLARATION.match(head)):
        encoding = declaration[1].decode("ascii")
        if encoding.lower().startswith(("utf-16", "utf-32", "ucs", "iso-10646-ucs")):
            raise DistillationError(
                f"{path}: line 1 declares the encoding {encoding}, but is in another; name the file's encoding, or fix "
                "the line"
            )
    return _SUPERSETS.get(encoding.lower(), encoding) if encoding else None


def tags(text: str) -> Iterator[tuple[int, int, bool, str, dict[str, str]]]:
    """Yield each tag of a text: its start and end, whether it closes, its name in lower case, and its attributes."""
    position, last_comment, last_bracket = 0, text.rfind("-->"), text.rfind(">")
    while match := _MARKUP.search(text, position):
        position = match.end()
        if match[1]:
            # What never ends is no comment but text; to search for its end each time would take quadratic time.
            if position <= last_comment:
                position = text.index("-->", position) + 3
        elif match[2]:
            if position <= last_bracket:
                position = text.index(">", position) + 1
        else:
            name, values = match[4].lower(), _ATTRIBUTE.findall(match[5])
            attributes = {key.lower(): unescape(value.strip("\"'").strip()) for key, value in values}
            yield match.start(), position, bool(match[3]), name, attributes
            if match[6]:
                yield position, position, True, name, {}


def without_comments(text: str) -> str:
    """Remove the comments of a text. One that does not end is kept."""
    kept, position = [], 0
    while (start := text.find("<!--", position)) >= 0 and (end := text.find("-->", start + 4)) >= 0:
        kept.append(text[position:start])
        position = end + 3
    return "".join([*kept, text[position:]])


def unescape(raw: str) -> str:
    """Replace the entities of a text by their characters. An entity must end with a semicolon."""
    return _ENTITY.sub(lambda match: html.unescape(match[0]), raw)


def _foreign_lines(data: bytes) -> list[int]:
    """Return the numbers of the lines that are not UTF-8."""
    numbers = []
    for number, line in enumerate(data.split(b"\n"), start=1):
        try:
            line.decode("utf-8")
        except UnicodeDecodeError:
            numbers.append(number)
    return numbers


def _is_damaged(data: bytes, foreign: int) -> bool:
    """Say whether a file with some lines that are not UTF-8 is all the same in it: most of its lines with letters are.

    Then another encoding might decode it, but to nonsense.
    """
    return foreign * 2 <= sum(not line.isascii() for line in data.split(b"\n"))
