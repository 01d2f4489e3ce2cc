"""Bytes as torch before 1.13 holds them: in storages of one dtype each, with no untyped one to cut them from.

Memory is taken over through numpy, which those versions need in any case; they have no other way that does not copy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Final

from zooproxy.errors import UnsupportedFormat

if TYPE_CHECKING:
    import torch

#: What numpy calls a dtype; of the rest it knows numbers of the same width.
_NUMPY: Final = {
    "bool": "bool",
    "uint8": "uint8",
    "int8": "int8",
    "int16": "int16",
    "int32": "int32",
    "int64": "int64",
    "float16": "float16",
    "float32": "float32",
    "float64": "float64",
    "complex64": "complex64",
    "complex128": "complex128",
}
_WIDTHS: Final = {1: "uint8", 2: "int16", 4: "int32", 8: "int64"}


class Octets:
    """The bytes of one storage, as a 1-dimensional tensor of any dtype: the same for all that ask for one dtype, so
    that ties survive. The last bytes are left out where they do not make a whole number."""

    def __init__(self, memory: Any) -> None:
        """
        Args:
            memory: writable and contiguous.

        Raises:
            UnsupportedFormat: there is no numpy.
        """
        self._array = _array(memory)
        self._made: dict[torch.dtype, torch.Tensor] = {}

    def numbers(self, dtype: torch.dtype) -> torch.Tensor:
        """All of them, sharing their memory."""
        if dtype not in self._made:
            self._made[dtype] = self._viewed(dtype)
        return self._made[dtype]

    def cut(self, start: int, size: int, alignment: int) -> Octets:
        """Some of the bytes; copied where they do not lie at a multiple of ``alignment``."""
        array = self._array[start : start + size]
        return Octets(array.copy() if size and array.ctypes.data % alignment else array)

    def _viewed(self, dtype: torch.dtype) -> torch.Tensor:
        import torch

        name = str(dtype)[len("torch.") :]
        width = torch.empty(0, dtype=dtype).element_size()
        whole = len(self._array) - len(self._array) % width
        array = self._array[:whole].view(_NUMPY.get(name) or _WIDTHS[width])
        tensor = torch.from_numpy(array) if whole else torch.empty(0, dtype=dtype)
        return tensor if tensor.dtype == dtype else tensor.view(dtype)


class _Moved(Octets):
    """``octets``, of each dtype as ``move`` has it elsewhere."""

    def __init__(self, octets: Octets, move: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__(b"")
        self._octets = octets
        self._move = move

    def _viewed(self, dtype: torch.dtype) -> torch.Tensor:
        return self._move(self._octets.numbers(dtype))


def moved(octets: Octets, device: torch.device) -> Octets:
    """The same numbers on ``device``."""
    return _Moved(octets, lambda numbers: numbers.to(device))


def placed_by(octets: Octets, where: Callable[[Any, str], Any]) -> Octets:
    """Where a function of (storage, location) wants them; it is given typed storages, as those versions' torch.load
    does, and may answer None."""
    import torch

    def move(numbers: torch.Tensor) -> torch.Tensor:
        answer = where(numbers.storage(), "cpu")  # type: ignore[no-untyped-call]
        if answer is None:
            return numbers
        device = torch.device("cuda", answer.get_device()) if answer.is_cuda else torch.device("cpu")
        there: torch.Tensor = torch.empty(0, dtype=numbers.dtype, device=device).set_(answer)
        return there

    return _Moved(octets, move)


def _array(memory: Any) -> Any:
    try:
        import numpy
    except ImportError as error:
        raise UnsupportedFormat("this torch takes no memory over without numpy: pip install numpy") from error
    if isinstance(memory, numpy.ndarray):
        return memory
    return numpy.frombuffer(memory, dtype="uint8") if len(memory) else numpy.empty(0, dtype="uint8")
