"""The text of a file, whatever it is compressed and encoded with, or of standard input."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import re
import sys
import zipfile
import zlib

#: The name of standard input.
STDIN = "-"

_GZIP, _XZ, _BZIP2, _ZIP = b"\x1f\x8b", b"\xfd7zXZ\x00", b"BZh", b"PK\x03\x04"

#: What compressed files are called, and how they begin.
_COMPRESSED = {".gz": _GZIP, ".xz": _XZ, ".bz2": _BZIP2, ".zip": _ZIP}

# The longer ones first: that of UTF-32 begins with that of UTF-16.
_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}

# Control characters that no text has.
_BINARY = re.compile(r"[\x00-\x06\x0e-\x1a]")


def read(source: str) -> bytes:
    """Return the bytes of a file, decompressed; a pipe is a file.

    Raises
    ------
    OSError
        If it cannot be read.
    ValueError
        If it is damaged, or an archive of several files.
    """
    if source == STDIN:
        data = sys.stdin.buffer.read()
    else:
        with open(source, "rb") as file:
            data = file.read()
    for suffix, begin in _COMPRESSED.items():
        if source.lower().endswith(suffix) and not data.startswith(begin):
            raise ValueError(f"{source!r} is not what its name says: {suffix}")
    try:
        return _decompressed(source, data)
    except (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile) as error:
        raise ValueError(f"{source!r} is damaged, or cut off: {error}") from None
    except (RuntimeError, NotImplementedError) as error:  # a password, another method
        raise ValueError(f"{source!r} cannot be unpacked: {error}") from None


def _decompressed(source: str, data: bytes) -> bytes:
    if data.startswith(_GZIP):
        return gzip.decompress(data)
    if data.startswith(_XZ):
        return lzma.decompress(data)
    if data.startswith(_BZIP2):
        return bz2.BZ2File(io.BytesIO(data)).read()  # says more clearly that it is cut off
    if not data.startswith(_ZIP):
        return data
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = [info.filename for info in archive.infolist() if not info.is_dir()]
        if any(member.startswith(("xl/", "content.xml")) for member in members):
            raise ValueError(f"{source!r} is a workbook of a spreadsheet: save it as CSV")
        if len(members) != 1:
            raise ValueError(f"{source!r} holds {len(members)} files: {', '.join(members[:5])}")
        return archive.read(members[0])


def decode(source: str, data: bytes, encoding: str | None = None) -> tuple[str, str]:
    """Return the text and its encoding: as told, or by its mark, or UTF-8, or Windows-1252.

    Windows-1252 is Latin-1 with letters where that has control characters.

    Raises
    ------
    ValueError
        If it is no text, or not of this encoding.
    """
    tried = [encoding] if encoding else [_marked(data) or "utf-8", "cp1252", "latin-1"]
    for name in tried:
        try:
            text = data.decode(name)
        except UnicodeError as error:
            if encoding:
                raise ValueError(f"{source!r} is not {encoding}: {error}") from None
            continue
        if found := _BINARY.search(text[:100_000]):
            raise ValueError(f"{source!r} is not a text file: it holds {found[0]!r}")
        return text, name
    raise ValueError(f"{source!r} is not a text file")


def _marked(data: bytes) -> str | None:
    for mark, name in _MARKS.items():
        if data.startswith(mark):
            return name
    # Without a mark: every other byte of what is mostly ASCII is zero.
    start = data[:1000]
    for name, zeros in (("utf-16-le", start[1::2]), ("utf-16-be", start[::2])):
        if len(zeros) > 2 and zeros.count(0) > 0.8 * len(zeros):
            return name
    return None
