"""The tar file of a bundle: headers of 512 bytes, each followed by its file, filled up with zeros to 512.

One header, field by field (POSIX.1-1988, "ustar interchange format"; offsets and lengths in bytes)::

      0  100  name       manifest.json, manifest.json.sig or blobs/sha256/<64 hex>
    100    8  mode       0000644
    108    8  uid        0000000
    116    8  gid        0000000
    124   12  size       11 octal digits; from 8 GiB on, 0x80 and 11 bytes big-endian (GNU's form, read by all tars)
    136   12  mtime      00000000000
    148    8  checksum   6 octal digits, NUL, space: the sum of the header's bytes, these eight taken as spaces
    156    1  typeflag   0: a regular file
    157  100  linkname   empty
    257    8  magic      ustar, NUL, 00
    265  235  uname, gname, devmajor, devminor, prefix, padding: all NUL

Every tar program unpacks this. Python's ``tarfile`` is not used to read it: it believes links, devices, sparse maps,
global headers and names that PAX records overrule, and its own guards have had holes (CVE-2025-4517, CVE-2025-8194).
Here a header is what it has to be, byte for byte, or the file is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from zooproxy.digest import Sha256
from zooproxy.errors import MalformedBundle

BLOCK: Final = 512
MANIFEST: Final = "manifest.json"
SIGNATURE: Final = "manifest.json.sig"
END: Final = bytes(2 * BLOCK)
LARGEST: Final = (1 << 62) - 1  # bytes in one member

_FOLDER: Final = "blobs/sha256/"
_SIZE = slice(124, 136)
_CHECKSUM = slice(148, 156)
_OCTAL_LIMIT: Final = 8**11
_KINDS: Final = {
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a device",
    b"4": "a device",
    b"5": "a directory",
    b"6": "a pipe",
    b"g": "a PAX header",
    b"x": "a PAX header",
    b"K": "a GNU long name",
    b"L": "a GNU long name",
    b"S": "a sparse file",
}


def blob_name(digest: Sha256) -> str:
    return _FOLDER + digest


def header(name: str, size: int) -> bytes:
    """The one header of a member with that name and ``size`` in bytes."""
    if not 0 <= size <= LARGEST:
        raise ValueError("no size of a member")
    octal = b"%011o\0" % size
    block = bytearray(BLOCK)
    block[0:100] = name.encode().ljust(100, b"\0")
    block[100:124] = b"0000644\x000000000\x000000000\x00"
    block[_SIZE] = octal if size < _OCTAL_LIMIT else b"\x80" + size.to_bytes(11, "big")
    block[136:148] = b"00000000000\0"
    block[_CHECKSUM] = b" " * 8
    block[156:157] = b"0"
    block[257:265] = b"ustar\00000"
    block[_CHECKSUM] = b"%06o\0 " % sum(block)
    return bytes(block)


def padding(size: int) -> int:
    """How many zeros follow a file of ``size`` bytes."""
    return -size % BLOCK


def footprint(size: int) -> int:
    """What a member of ``size`` bytes takes in the tar file."""
    return BLOCK + size + padding(size)


def parsed_size(block: bytes, name: str) -> int | None:
    """The size that ``block`` gives, if it is the header of a file ``name``; None if it is another one's.

    Raises:
        MalformedBundle: it has the name and is not the header that was to be written.
    """
    if block[:100] != name.encode().ljust(100, b"\0"):
        return None
    field = block[_SIZE]
    try:
        size = int.from_bytes(field[1:], "big") if field[0] == 0x80 else int(field[:11].decode("ascii"), 8)
        if header(name, size) == block:
            return size
    except ValueError:
        pass
    raise unexpected(block, name)


def unexpected(block: bytes, wanted: str) -> MalformedBundle:
    """Says what stands where the header of ``wanted`` should; a name only where it is harmless to print."""
    if len(block) < BLOCK:
        return MalformedBundle(f"the bundle ends where {wanted} should begin: it was cut short; copy it again")
    if not any(block):
        return MalformedBundle(f"the bundle's end stands where {wanted} should begin: members are missing")
    kind = _KINDS.get(block[156:157])
    if kind is not None and block[257:262] == b"ustar":
        return MalformedBundle(f"{kind} stands where {wanted} should: nothing but plain files belongs in a bundle")
    name = block[:100].rstrip(b"\0")
    if name == wanted.encode():
        return MalformedBundle(f"the header of {wanted} is not as zooproxy writes it: it is damaged, or was made anew")
    return MalformedBundle(f"another member stands where {wanted} should: this is no bundle, or it was packed anew")


def read_end(read: Callable[[int], bytes]) -> None:
    """
    Raises:
        MalformedBundle: the two empty blocks are missing, or something follows them.
    """
    if read(len(END)) != END:
        raise MalformedBundle("after its last member the bundle does not end; it is damaged, or was added to")
    if read(1):
        raise MalformedBundle("something follows the end of the bundle; it is damaged, or was added to")
