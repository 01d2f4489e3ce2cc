"""Every cap that a reader here sets, in one place: each is far above what honest checkpoints hold.

A file that passes a cap raises ``LimitExceeded`` (``NotACheckpoint`` while sniffing), whose message names the cap.
"""

from __future__ import annotations

from typing import Final

# -- zip archives -----------------------------------------------------------------------------------------

ZIP_ENTRIES: Final = 300_000
ZIP_DIRECTORY: Final = 64 * 2**20  # bytes of the central directory
SMALL_RECORD: Final = 4096  # bytes of the records that hold one word (byteorder)
PICKLE: Final = 128 * 2**20  # bytes of data.pkl; HistoryBuffers of 80 MB have been seen
WINDOW: Final = 16 * 2**30  # bytes of a file that is mapped whole, where pickles lie between other bytes

# -- pickles ----------------------------------------------------------------------------------------------

OPCODES: Final = 2_000_000
LONG_BYTES: Final = 512  # of an integer: its decimal form stays below Python's limit on conversions
DIGITS: Final = 1_000  # of a number written as text
LINE: Final = 4_096  # bytes of an argument that ends at a newline
STRING_IN_PLACE: Final = 64 * 2**10  # a longer string stays where it lies
QUOTED: Final = 4 * 2**20  # of a string quoted as text; a longer one stays where it lies
STRINGS: Final = 32 * 2**20  # bytes of strings taken out of one pickle, as they lie in memory
OBJECTS: Final = 250_000  # lists, mappings, sets and stand-ins: an empty one costs up to 500 bytes for one opcode
TUPLE_KEYS: Final = 4_096  # tuples hashed: their collisions can be computed, unlike those of strings
TUPLE_KEY_LENGTH: Final = 64
GLOBAL_NAME: Final = 512  # characters of "module.name"

# -- trees and tensors ------------------------------------------------------------------------------------

TEXT_IN_TREE: Final = 2**20  # bytes of one text kept in the tree (a config in meta); longer is elided
TREE_WEIGHT: Final = 64 * 2**20  # bytes of the unfolded tree, about: see the weights in ``outline``
TENSORS: Final = 100_000
TENSOR_NAME: Final = 512  # characters
DIMENSIONS: Final = 64
MODULE_DEPTH: Final = 60
VIRTUAL_BYTES: Final = 2**40  # of all tensors as their shapes say, strides of 0 and ties counted each time
INTEGER: Final = 2**63 - 1

# -- safetensors ------------------------------------------------------------------------------------------

SAFETENSORS_HEADER: Final = 100_000_000  # the reference implementation's MAX_HEADER_SIZE
SAFETENSORS_HEADER_READ: Final = 16 * 2**20
RENDITION_FACTOR: Final = 32  # a rendition's data may be this many times its blob (ties are written twice) …
RENDITION_EXTRA: Final = 64 * 2**20  # … plus this many bytes
