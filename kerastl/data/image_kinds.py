"""What a file really is, by its first bytes; and which files are taken for images.

Standard library only: the command line asks before anything heavy is imported.
"""

from __future__ import annotations

import os
import re

# One list for every place that looks for images by name.
IMAGE_SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".gif", ".bmp", ".dib", ".webp",
    ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".ico", ".avif",
    ".heic", ".heif",
)  # fmt: skip

# What the exported graph decodes by itself.
SERVED_KINDS = ("JPEG", "PNG", "GIF", "BMP", "WebP")

# Taken for images without a suffix: these beginnings do not happen by chance, and no other
# kind of file is made of them, as camera raw files are of TIFF.
_CERTAIN_KINDS = ("JPEG", "PNG", "GIF", "WebP", "AVIF", "HEIC", "JPEG 2000")

# Enough for the beginnings below.
FIRST_BYTES = 64

_IMAGE_BEGINNINGS = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG", "PNG"),
    (b"GIF8", "GIF"),
    (rb"RIFF....WEBP", "WebP"),
    (b"II\\*\0\x10\0\0\0CR|IIRO|IIRS|IIU\0|FUJIFILMCCD-RAW|....ftypcrx ", "camera raw"),
    (b"II\\*\0|MM\0\\*|II\\+\0|MM\0\\+", "TIFF"),
    (rb"....ftypavi[fs]", "AVIF"),
    (rb"....ftyp(?:hei[cxms]|hev[cxms]|mif1|msf1)", "HEIC"),
    (b"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51", "JPEG 2000"),
    (rb"P[1-7fF][\s#]", "PPM"),
    (b"\0\0[\1\2]\0[^\0]\0", "ICO"),
    (rb"BM", "BMP"),
)

_OTHER_BEGINNINGS = (
    (rb"(?i)\s*(?:<!--.*?-->\s*)*<(?:!doctype html|html|head|body)", "an HTML page"),
    (
        rb"(?i)\s*(?:<\?xml.*?\?>\s*)?(?:<!--.*?-->\s*)*(?:<!doctype svg.*?>\s*)?<svg",
        "an SVG drawing",
    ),
    (rb"%PDF", "a PDF document"),
    (rb"%!PS|\xc5\xd0\xd3\xc6", "a PostScript file"),
    (
        rb"....(?:ftyp|moov|mdat)|\x1a\x45\xdf\xa3|RIFF....AVI |FLV\x01|\0\0\x01[\xb3\xba]",
        "a video",
    ),
    (b"8BPS", "a Photoshop file"),
    (b"\0\x05\x16\x07", "a side file of macOS (AppleDouble)"),
    (b"\xd0\xcf\x11\xe0", "an Office or Thumbs.db file"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"version https://git-lfs", "a Git LFS pointer (run: git lfs pull)"),
    (rb"\s*[{\[]", "JSON"),
)  # fmt: skip


def image_kind(content: bytes) -> str:
    """Return what kind of image a file is, by its first bytes.

    Args:
        content: The first bytes (`FIRST_BYTES` of them), or more.

    Returns:
        "JPEG", "PNG", "GIF", "BMP", "WebP", "TIFF", "PPM", "JPEG 2000", "ICO", "AVIF", "HEIC",
        "camera raw", or "" for what is none of these.

    Example:
        >>> image_kind(b"GIF89a..."), image_kind(b"hello")
        ('GIF', '')
    """
    head = content[:FIRST_BYTES]
    return next((kind for start, kind in _IMAGE_BEGINNINGS if re.match(start, head, re.DOTALL)), "")


def what_it_is(content: bytes) -> str:
    """Return in words what a file is that is no image.

    Args:
        content: The contents of the file.

    Returns:
        Such as "an HTML page", or "" if nobody knows.

    Example:
        >>> what_it_is(b"<!DOCTYPE html><html>404"), what_it_is(b"%PDF-1.7")
        ('an HTML page', 'a PDF document')
    """
    head = content[:2048]
    for start, words in _OTHER_BEGINNINGS:
        if re.match(start, head, re.DOTALL):
            return words
    if not head.strip(b"\0"):
        return "nothing but zeros"
    return "text" if _is_text(head) else ""


def _is_text(head: bytes) -> bool:
    """Whether bytes can be read as lines of text."""
    try:
        text = head[: head.rfind(b" ") + 1 or None].decode("utf-8-sig")
    except UnicodeDecodeError:
        return False
    return all(character.isprintable() or character in "\t\r\n" for character in text)


def is_image_name(name: str) -> bool:
    """Return whether a file is taken for an image for its suffix, in any case.

    Args:
        name: Of a file.

    Example:
        >>> is_image_name("a.JPG"), is_image_name("a.txt")
        (True, False)
    """
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


def is_clutter(name: str) -> bool:
    """Return whether a name is one that systems and editors leave behind.

    Args:
        name: Of a file or folder.

    Example:
        >>> is_clutter("._photo.jpg"), is_clutter("photo.jpg")
        (True, False)
    """
    known = {"__macosx", "@eadir", "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"}
    return name.startswith(".") or name.endswith("~") or name.lower() in known


def holds_an_image(path: str | os.PathLike[str]) -> bool:
    """Return whether a file without an image's suffix is one all the same, by its first bytes.

    Photos that lost or changed their suffix ("IMG_1234", "photo.jpg.download", "a.JPG.1") are.

    Args:
        path: Of a file; one that cannot be read is no image.
    """
    try:
        with open(path, "rb") as file:
            return image_kind(file.read(FIRST_BYTES)) in _CERTAIN_KINDS
    except OSError:
        return False
