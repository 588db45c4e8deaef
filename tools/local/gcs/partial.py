"""Partial responses: the `fields` parameter selects what of a JSON answer is sent.

`items(name,size),nextPageToken`, `items/name` and `*` are understood. Source: the documentation,
"Cloud Storage JSON API overview", section "Partial response".
"""

import re
from collections.abc import Mapping
from typing import Any, TypeAlias

from tools.local.gcs.errors import ApiError

Schema: TypeAlias = Mapping[str, "Schema"]
"""The fields of a message and what is below them. `*` stands for names that the client chooses."""

Selection: TypeAlias = dict[str, "Selection"]
"""The selected fields and what is selected below them; an empty one selects everything."""

_TOKEN = re.compile(r"[A-Za-z0-9_.\-]+|[*/(),]")
_ALL = "*"
_NOT_NAMES = frozenset({"", "/", "(", ")", ","})


def _leaves(names: str) -> dict[str, Schema]:
    return {name: {} for name in names.split()}


_FREE: dict[str, Schema] = {_ALL: {}}
_OWNER: Schema = _leaves("entity entityId")
_ACL: Schema = {
    **_leaves("bucket domain email entity entityId etag generation id kind object role selfLink"),
    "projectTeam": _leaves("projectNumber team"),
}
OBJECT: Schema = {
    **_leaves(
        "bucket cacheControl componentCount contentDisposition contentEncoding contentLanguage"
        " contentType crc32c customTime etag eventBasedHold generation hardDeleteTime id kind"
        " kmsKeyName md5Hash mediaLink metageneration name restoreToken retentionExpirationTime"
        " selfLink size softDeleteTime storageClass temporaryHold timeCreated timeDeleted"
        " timeFinalized timeStorageClassUpdated updated"
    ),
    "acl": _ACL,
    "contexts": {"custom": {_ALL: _leaves("value createTime updateTime")}},
    "customerEncryption": _leaves("encryptionAlgorithm keySha256"),
    "metadata": _FREE,
    "owner": _OWNER,
    "retention": _leaves("mode retainUntilTime"),
}
OBJECTS: Schema = {**_leaves("kind nextPageToken prefixes"), "items": OBJECT}
REWRITE: Schema = {
    **_leaves("done kind objectSize rewriteToken totalBytesRewritten"),
    "resource": OBJECT,
}
BUCKET: Schema = {
    **_leaves(
        "defaultEventBasedHold etag generation hardDeleteTime id kind location locationType"
        " metageneration name projectNumber rpo satisfiesPZI satisfiesPZS selfLink softDeleteTime"
        " storageClass timeCreated updated"
    ),
    "acl": _ACL,
    "autoclass": _leaves("enabled terminalStorageClass terminalStorageClassUpdateTime toggleTime"),
    "billing": _leaves("requesterPays"),
    "cors": _leaves("maxAgeSeconds method origin responseHeader"),
    "customPlacementConfig": _leaves("dataLocations"),
    "defaultObjectAcl": _ACL,
    "encryption": _leaves("defaultKmsKeyName"),
    "hierarchicalNamespace": _leaves("enabled"),
    "iamConfiguration": {
        **_leaves("publicAccessPrevention"),
        "bucketPolicyOnly": _leaves("enabled lockedTime"),
        "uniformBucketLevelAccess": _leaves("enabled lockedTime"),
    },
    "ipFilter": _FREE,
    "labels": _FREE,
    "lifecycle": {"rule": {"action": _FREE, "condition": _FREE}},
    "logging": _leaves("logBucket logObjectPrefix"),
    "objectRetention": _leaves("mode"),
    "owner": _OWNER,
    "retentionPolicy": _leaves("effectiveTime isLocked retentionPeriod"),
    "softDeletePolicy": _leaves("effectiveTime retentionDurationSeconds"),
    "versioning": _leaves("enabled"),
    "website": _leaves("mainPageSuffix notFoundPage"),
}
BUCKETS: Schema = {**_leaves("kind nextPageToken unreachable"), "items": BUCKET}
PERMISSIONS: Schema = _leaves("kind permissions")


def parse(fields: str | None, schema: Schema) -> Selection | None:
    """Return what `fields` selects, None where it selects nothing in particular."""
    return _Parser(fields, schema).parse() if fields else None


def pick(selection: Selection, value: Any) -> Any:  # noqa: ANN401 - JSON values
    """Return the selected part of a JSON value."""
    if not selection:
        return value
    if isinstance(value, list):
        return [pick(selection, item) for item in value]
    below = {key: selection.get(key, selection.get(_ALL)) for key in value}
    return {key: pick(inner, value[key]) for key, inner in below.items() if inner is not None}


class _Parser:
    def __init__(self, fields: str, schema: Schema) -> None:
        self._fields = fields
        self._schema = schema
        self._tokens = _TOKEN.findall(fields)
        if "".join(self._tokens) != fields:
            raise self._invalid(fields)
        self._tokens.reverse()  # the next token is the last one

    def parse(self) -> Selection:
        selection: Selection = {}
        self._list(selection, self._schema)
        if self._tokens:
            raise self._invalid(self._fields)
        return selection

    def _list(self, into: Selection, schema: Schema) -> None:
        """Read `a,b/c,d(e)`."""
        self._path(into, schema)
        while self._take(","):
            self._path(into, schema)

    def _path(self, into: Selection, schema: Schema) -> None:
        """Read `a`, `a/b` or `a(b,c)`. A field that is selected as a whole stays whole."""
        name = self._tokens.pop() if self._tokens else ""
        below = self._below(name, schema)
        is_whole = into.get(name) == {}
        inner = into.get(name, {})
        if self._take("/"):
            self._path(inner, below)
        elif self._take("("):
            self._list(inner, below)
            if not self._take(")"):
                raise self._invalid(self._fields)
        else:
            is_whole = True
        into[name] = {} if is_whole else inner

    def _below(self, name: str, schema: Schema) -> Schema:
        if name == _ALL and schema:
            return {key: each for inner in schema.values() for key, each in inner.items()}
        below = schema.get(name, schema.get(_ALL))
        if below is None or name in _NOT_NAMES:
            raise self._invalid(name or self._fields)
        return below

    def _take(self, token: str) -> bool:
        if not self._tokens or self._tokens[-1] != token:
            return False
        self._tokens.pop()
        return True

    def _invalid(self, what: str) -> ApiError:
        return ApiError(400, "invalidParameter", f"Invalid field selection {what}")
