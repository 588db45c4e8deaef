"""How an object is split: byte ranges (parts), groups of parts (slices), groups of slices."""

import hashlib
from dataclasses import dataclass

from replicate.protocol import mapping
from replicate.protocol.model import SourceObject, Span

MAX_COMPONENTS = 32
"""Objects that one compose joins. Source: "Composite objects" in GCS's documentation."""


PARTS_AT_ONCE = 4
"""Connections of one invocation. 8 need 40 % more CPU, because threads wait for the interpreter's
lock, and save no time where the function's own bandwidth is the limit (docs/PERFORMANCE.md)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Sizes in bytes that decide how an object is copied. docs/PERFORMANCE.md has the figures."""

    parallel_from: int = 256 * 1024**2
    """From this size on an object is copied in parts by several connections."""
    large_from: int = 16 * 1024**3
    """From this size on an execution of the state machine copies the object."""
    part: int = 256 * 1024**2
    """Size of a part that one connection copies, unless that makes more than 32 parts."""
    compress_from: int = 1024**2
    """From this size on an object may travel compressed. To stage it takes a compose and a read
    more, $0.0000054: as much as the egress of 0.06 MiB."""
    slice: int = 2 * 1024**3
    """Least size of a slice that one invocation copies."""
    max_slices: int = 640
    """Slices grow when there would be more: 5 TiB are 640 slices of 8 GiB."""
    parts_per_slice: int = PARTS_AT_ONCE
    """One for each connection of the invocation that copies the slice."""


@dataclass(frozen=True, slots=True)
class Cut:
    """A split of `size` bytes into parts of `part_size`, and of the parts into slices."""

    size: int
    part_size: int
    parts_per_slice: int

    @property
    def parts(self) -> int:
        """How many parts there are."""
        return -(-self.size // self.part_size)

    @property
    def slices(self) -> int:
        """How many slices there are."""
        return -(-self.parts // self.parts_per_slice)

    def part(self, number: int) -> Span:
        """Return the range of one part. Parts are numbered from 0."""
        start = number * self.part_size
        return Span(start, min(start + self.part_size, self.size))

    def parts_of(self, slice_number: int) -> range:
        """Return the numbers of a slice's parts."""
        first = slice_number * self.parts_per_slice
        return range(first, min(first + self.parts_per_slice, self.parts))

    def span(self, slice_number: int) -> Span:
        """Return the range of one slice."""
        numbers = self.parts_of(slice_number)
        return Span(self.part(numbers[0]).start, self.part(numbers[-1]).end)


def cut_into_parts(size: int, sizes: Sizes, alignment: int = 1) -> Cut:
    """Split an object that one invocation copies: one slice of at most 32 parts.

    `alignment` is the size of S3's parts when the source's checksum is computed over these.
    """
    wanted = max(PARTS_AT_ONCE, -(-size // sizes.part))
    part_size = _aligned(-(-size // min(wanted, MAX_COMPONENTS)), alignment)
    return Cut(size, part_size, MAX_COMPONENTS)


def cut_into_slices(size: int, sizes: Sizes, alignment: int = 1) -> Cut:
    """Split an object that many invocations copy into slices of a few parts each."""
    slice_size = max(sizes.slice, -(-size // sizes.max_slices))
    part_size = _aligned(-(-slice_size // sizes.parts_per_slice), alignment)
    return Cut(size, part_size, sizes.parts_per_slice)


def _aligned(size: int, alignment: int) -> int:
    """Return the next multiple of `alignment`."""
    return -(-size // alignment) * alignment


def groups(count: int) -> list[range]:
    """Group numbers so that one compose can join each group."""
    return [range(at, min(at + MAX_COMPONENTS, count)) for at in range(0, count, MAX_COMPONENTS)]


def version_digest(source: SourceObject) -> str:
    """Return a short text that names one version of an object: 32 hexadecimal digits."""
    return _digest(sorted(mapping.provenance(source).items()))


@dataclass(frozen=True, slots=True)
class StagedNames:
    """Names of the staged objects of one version. No text of the user is in them.

    Another version, destination, cut or storage class has other names.
    """

    folder: str
    cut: Cut
    storage_class: str | None = None
    """The class of the final object: a composed object must have the class of its components."""

    def part(self, number: int) -> str:
        """Return the name of a part. Numbers count from 0."""
        return self._name("part", number)

    def slice(self, number: int) -> str:
        """Return the name of a slice. Numbers count from 0."""
        return self._name("slice", number)

    def group(self, number: int) -> str:
        """Return the name of a group of slices. Numbers count from 0."""
        return self._name("group", number)

    @property
    def whole(self) -> str:
        """The name of an object that is staged in one stream."""
        return self._name("whole", 0)

    def _name(self, level: str, number: int) -> str:
        return f"{self.folder}{_digest((self.cut, self.storage_class))[:8]}/{level}-{number}"


def staging_folder(prefix: str, version: str, destination: str) -> str:
    """Return the prefix of all staged objects of one version for one destination, of any cut."""
    return f"{prefix}{_digest((version, destination))}/"


def _digest(value: object) -> str:
    return hashlib.sha256(repr(value).encode(errors="surrogatepass")).hexdigest()[:32]
