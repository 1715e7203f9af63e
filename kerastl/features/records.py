"""The list beside stored rows: which image each row is of, and checksums of both.

One record of 40 bytes for each row, in the order of the rows:

    32 bytes  name of the row, a SHA-256
     4 bytes  CRC-32 of the row
     4 bytes  CRC-32 of the record's number and of the 36 bytes before

A record that is torn or damaged counts as not written, so nothing needs an `fsync`: what did not
reach the disk does not match either. CRC-32 notices every damage of up to 32 bits in a row, and
misses one in 4,294,967,296 others.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

# Goes up when files of the version before could be misread; part of the key of all rows.
VERSION = 2

NAME_BYTES = 32
_RECORD = struct.Struct(f"<{NAME_BYTES}sII")
_READ_BYTES = _RECORD.size * 2**15


@dataclass(frozen=True)
class Place:
    """Where a row is.

    Attributes:
        slot: Number of the row in its file.
        checksum: CRC-32 of the row.
    """

    slot: int
    checksum: int


def read_records(descriptor: int, *, first: int = 0) -> tuple[dict[bytes, Place], int, bool]:
    """Return what is listed from a record on.

    Args:
        descriptor: The list, open for reading.
        first: Number of the first record to read.

    Returns:
        Places by name, of two with one name the later; the number of records up to the end, torn
        or damaged ones included; whether all of them are whole.
    """
    found: dict[bytes, Place] = {}
    number, rest, whole = first, b"", True
    while True:
        content = rest + os.pread(descriptor, _READ_BYTES, _RECORD.size * number + len(rest))
        if len(content) == len(rest):
            return found, number + bool(rest), whole and not rest
        end = len(content) // _RECORD.size * _RECORD.size
        for start in range(0, end, _RECORD.size):
            name, row, own = _RECORD.unpack_from(content, start)
            if own == _own_checksum(number, content[start : start + _RECORD.size - 4]):
                found[name] = Place(number, row)
            else:
                whole = False
            number += 1
        rest = content[end:]


def append_records(
    descriptor: int, names: Sequence[bytes], checksums: Sequence[int], *, first: int
) -> None:
    """List rows that are written.

    Args:
        descriptor: The list, open for appending.
        names: Of 32 bytes each.
        checksums: CRC-32 of the rows.
        first: Number of the first of them.

    Raises:
        OSError: They could not be written as a whole; nothing must be appended any more.
    """
    content = b""
    for number, (name, row) in enumerate(zip(names, checksums, strict=True), start=first):
        record = _RECORD.pack(name, row, 0)[:-4]
        content += record + struct.pack("<I", _own_checksum(number, record))
    if os.write(descriptor, content) != len(content):
        raise OSError("The list of rows could not be written as a whole")


def _own_checksum(number: int, content: bytes) -> int:
    """Return the checksum of a record: one that has moved is damaged, too."""
    return zlib.crc32(content, zlib.crc32(struct.pack("<Q", number)))
