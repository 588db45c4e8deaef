"""The scope: which source objects this deployment replicates."""

from dataclasses import dataclass

from replicate.errors import SourceNotAllowedError
from replicate.protocol.model import SourceRef


@dataclass(frozen=True, slots=True)
class Scope:
    """Buckets, and how the keys in them begin and end. Keys and both texts are decoded."""

    buckets: frozenset[str]
    prefix: str = ""
    suffix: str = ""

    def require(self, ref: SourceRef) -> None:
        """Raise SourceNotAllowedError unless the object is in the scope."""
        if ref.bucket not in self.buckets:
            raise SourceNotAllowedError(
                f"{ref.uri} is not replicated: its bucket is not SourceBucketName (SOURCE_BUCKETS)."
            )
        if not ref.key.startswith(self.prefix):
            raise SourceNotAllowedError(
                f"{ref.uri} is not replicated: the key does not begin with {self.prefix!r}:"
                " SourcePrefix (SOURCE_PREFIX)."
            )
        if not ref.key.endswith(self.suffix):
            raise SourceNotAllowedError(
                f"{ref.uri} is not replicated: the key does not end with {self.suffix!r}:"
                " SourceSuffix (SOURCE_SUFFIX)."
            )
