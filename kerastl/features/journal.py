"""The journal beside stored rows: what they are, and a checksum of each block that is done.

One line each, with its own checksum at its end. A line that is torn or damaged counts as not
written, so blocks need no `fsync`: what did not reach the disk does not match either.
CRC-32 notices every damage of up to 32 bits in a row, and misses one in 4,294,967,296 others.
"""

from __future__ import annotations

import json
import math
import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

# Goes up when files of the version before could be misread. An unknown one is a miss.
VERSION = 1

_KIND = "kerastl-rows"


@dataclass(frozen=True)
class Layout:
    """Where rows lie in their file: one after the other, C order, the machine's byte order.

    Attributes:
        count: Rows.
        row_shape: Of one row.
        dtype: Of the numbers.
        block_rows: Rows that are written and checked at once; the last block may have fewer.
    """

    count: int
    row_shape: tuple[int, ...]
    dtype: np.dtype[Any]
    block_rows: int

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return math.prod(self.row_shape) * self.dtype.itemsize

    @property
    def total_bytes(self) -> int:
        """Bytes of all rows."""
        return self.count * self.row_bytes

    @property
    def num_blocks(self) -> int:
        """Blocks, the last of which may be smaller."""
        return -(-self.count // self.block_rows)

    def rows_of(self, block: int) -> slice:
        """Return the rows of a block."""
        start = block * self.block_rows
        return slice(start, min(start + self.block_rows, self.count))

    def bytes_of(self, block: int) -> tuple[int, int]:
        """Return where a block begins in the file, and its length, in bytes."""
        rows = self.rows_of(block)
        return rows.start * self.row_bytes, (rows.stop - rows.start) * self.row_bytes


@dataclass(frozen=True)
class Journal:
    """What a journal says.

    Attributes:
        block_rows: Of the blocks that the checksums are of.
        checksums: CRC-32 by block, of the blocks that are done.
        is_whole: Whether every line could be read.
    """

    block_rows: int
    checksums: dict[int, int]
    is_whole: bool


def read_journal(path: Path, layout: Layout) -> Journal | None:
    """Return what the journal of these rows says.

    Args:
        path: The file.
        layout: Of the rows that are wanted. `block_rows` may differ: the file's counts.

    Returns:
        None if there is none, or if it is of other rows or of another version. One whose
        beginning is damaged names no block.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return None
    payloads = [_payload(line) for line in lines[:-1]]
    if not payloads or payloads[0] is None:
        return Journal(layout.block_rows, {}, is_whole=False)
    head = json.loads(payloads[0])
    block_rows = head.pop("block_rows", None) if isinstance(head, dict) else None
    if not isinstance(block_rows, int) or block_rows < 1 or head != _head(layout):
        return None
    checksums = {}
    for payload in payloads[1:]:
        if payload is not None:
            block, checksum = payload.split()
            checksums[int(block)] = int(checksum, 16)
    return Journal(block_rows, checksums, is_whole=lines[-1] == b"" and None not in payloads)


def write_journal(path: Path, layout: Layout, checksums: dict[int, int]) -> None:
    """Write a journal anew.

    Args:
        path: The file, replaced in one step.
        layout: What the rows are.
        checksums: CRC-32 by block, of the blocks that are done.
    """
    head = json.dumps(_head(layout) | {"block_rows": layout.block_rows}, sort_keys=True)
    lines = [_line(head), *(_block_line(block, crc) for block, crc in sorted(checksums.items()))]
    temporary = path.with_suffix(".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:
        file.write(b"".join(lines))
    temporary.replace(path)


def append_block(descriptor: int, block: int, checksum: int) -> None:
    """Note that a block is done.

    Args:
        descriptor: The journal, open for appending. Its last line must be whole.
        block: Which one.
        checksum: Its CRC-32.
    """
    line = _block_line(block, checksum)
    if os.write(descriptor, line) != len(line):
        raise OSError("The journal could not be written as a whole")


def _head(layout: Layout) -> dict[str, object]:
    """Return what must agree for rows to be the ones that are wanted."""
    return {
        "kind": _KIND,
        "version": VERSION,
        "count": layout.count,
        "row_shape": list(layout.row_shape),
        "dtype": layout.dtype.name,
    }


def _block_line(block: int, checksum: int) -> bytes:
    return _line(f"{block} {checksum:08x}")


def _line(payload: str) -> bytes:
    content = payload.encode("ascii")
    return content + b" %08x\n" % zlib.crc32(content)


def _payload(line: bytes) -> str | None:
    """Return what a line says, None if it is damaged."""
    content = line[:-9]
    return content.decode("ascii") if line[-9:] == b" %08x" % zlib.crc32(content) else None
