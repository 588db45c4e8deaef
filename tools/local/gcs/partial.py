"""Partial responses: the `fields` parameter selects what of a JSON response is sent.

Supports `items(name,size),nextPageToken`, `items/name` and `*`. Source: the documentation,
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
_PUNCTUATION = frozenset({"", "/", "(", ")", ","})


def _leaves(names: str) -> dict[str, Schema]:
    return {name: {} for name in names.split()}


OBJECT: Schema = {
    **_leaves(
        "acl bucket cacheControl componentCount contentDisposition contentEncoding contentLanguage"
        " contentType crc32c customTime etag eventBasedHold generation hardDeleteTime id kind"
        " kmsKeyName md5Hash mediaLink metageneration name owner restoreToken retention"
        " retentionExpirationTime selfLink size softDeleteTime storageClass temporaryHold"
        " timeCreated timeDeleted timeFinalized timeStorageClassUpdated updated"
    ),
    "contexts": {"custom": {_ALL: _leaves("value createTime updateTime")}},
    "metadata": {_ALL: {}},
}
OBJECTS: Schema = {**_leaves("kind nextPageToken prefixes"), "items": OBJECT}
REWRITE: Schema = {
    **_leaves("done kind objectSize rewriteToken totalBytesRewritten"),
    "resource": OBJECT,
}
BUCKET: Schema = _leaves(
    "acl etag id kind labels lifecycle location locationType metageneration name owner"
    " projectNumber selfLink softDeletePolicy storageClass timeCreated updated versioning"
)
PERMISSIONS: Schema = _leaves("kind permissions")


def parse(fields: str | None, schema: Schema) -> Selection | None:
    """Return what `fields` selects, None where it selects nothing in particular."""
    if not fields:
        return None
    tokens = _TOKEN.findall(fields)
    if "".join(tokens) != fields:
        raise _invalid(fields)
    tokens.reverse()  # the next token is the last one
    selection: Selection = {}
    _parse_list(tokens, selection, schema)
    if tokens:
        raise _invalid(fields)
    return selection


def pick(selection: Selection, value: Any) -> Any:  # noqa: ANN401 - JSON values
    """Return the selected part of a JSON value."""
    if not selection:
        return value
    if isinstance(value, list):
        return [pick(selection, item) for item in value]
    below = {key: selection.get(key, selection.get(_ALL)) for key in value}
    return {key: pick(inner, value[key]) for key, inner in below.items() if inner is not None}


def _parse_list(tokens: list[str], into: Selection, schema: Schema) -> None:
    """Parse `a,b/c,d(e)`."""
    _parse_path(tokens, into, schema)
    while _take(tokens, ","):
        _parse_path(tokens, into, schema)


def _parse_path(tokens: list[str], into: Selection, schema: Schema) -> None:
    """Parse `a`, `a/b` or `a(b,c)`. A field that is selected as a whole stays whole."""
    name = tokens.pop() if tokens else ""
    below = schema.get(name, schema.get(_ALL))
    if name == _ALL and schema:
        below = {key: each for inner in schema.values() for key, each in inner.items()}
    if below is None or name in _PUNCTUATION:
        raise _invalid(name)
    is_whole = into.get(name) == {}
    inner = into.get(name, {})
    if _take(tokens, "/"):
        _parse_path(tokens, inner, below)
    elif _take(tokens, "("):
        _parse_list(tokens, inner, below)
        if not _take(tokens, ")"):
            raise _invalid(name)
    else:
        is_whole = True
    into[name] = {} if is_whole else inner


def _take(tokens: list[str], token: str) -> bool:
    if tokens[-1:] != [token]:
        return False
    tokens.pop()
    return True


def _invalid(what: str) -> ApiError:
    return ApiError(400, "invalidParameter", f"Invalid field selection {what}")
