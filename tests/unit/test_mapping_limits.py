"""Fields that GCS cannot hold are dropped and named. They never prevent the replication."""

from collections.abc import Mapping

import pytest
from builders import make_source

from replicate.protocol import mapping
from replicate.protocol.mapping import MAX_METADATA_BYTES, PROVENANCE, Fit, Tags, fit
from replicate.protocol.model import SourceObject

# Tags as object contexts

KEPT_CONTEXTS = [
    "plain",
    "XYZ",
    "Plain text with spaces",
    "0 begins with a digit",
    "a_-+=.:@ all that S3 allows but the slash",
    "a: 😀",
    "ü".join("abc"),
    "a\tb",
    "x" * 256,
    "x" + "ü" * 127 + "y",
]
DROPPED_CONTEXTS = [
    "",
    *(first + "rest" for first in "_-+=.:@ /"),
    "ürst",
    "😀",
    "it's",
    'a "quote"',
    "back\\slash",
    "a/b",
    "line\nbreak",
    "a\x00b",
    "half \ud800",
    "x" * 257,
    "x" + "ü" * 128,
]


def contexts(**tags: str) -> Fit:
    return fit(make_source(tags=tags), Tags.CONTEXTS)


@pytest.mark.parametrize("text", KEPT_CONTEXTS)
def test_text_that_a_context_can_hold_is_kept_as_key_and_value(text: str) -> None:
    fitted = fit(make_source(tags={"key": text, text: "value"}), Tags.CONTEXTS)
    assert fitted.attributes.contexts == {"key": text, text: "value"}
    assert fitted.dropped == ()


@pytest.mark.parametrize("text", DROPPED_CONTEXTS)
def test_text_that_no_context_can_hold_drops_only_its_tag(text: str) -> None:
    tags = {"one": "1", "bad value": text, text: "value", "two": "2"}
    fitted = fit(make_source(tags=tags), Tags.CONTEXTS)
    assert fitted.attributes.contexts == {"one": "1", "two": "2"}
    assert fitted.dropped == ("tag bad value", f"tag {text}")


def test_context_keys_reserved_by_google_are_dropped() -> None:
    fitted = contexts(goog="1", google="2", goog_x="3", Goog="4", go="5", kept="goog")
    assert fitted.attributes.contexts == {"Goog": "4", "go": "5", "kept": "goog"}
    assert fitted.dropped == ("tag goog", "tag google", "tag goog_x")


@pytest.mark.parametrize("tags", [Tags.OFF, Tags.METADATA])
def test_context_rules_do_not_apply_to_other_tag_modes(tags: Tags) -> None:
    source = make_source(tags={"/key": "it's"})
    fitted = fit(source, tags)
    kept = {"s3-tag-/key": "it's"} if tags is Tags.METADATA else {}
    assert fitted.attributes.contexts == {}
    assert fitted.attributes.metadata == kept | mapping.provenance(source)
    assert fitted.dropped == ()


# Metadata


def a_full_source(metadata: Mapping[str, str], tags: Mapping[str, str]) -> SourceObject:
    return make_source(metadata=metadata, tags=tags, version_id="v" * 32)


def free_metadata_bytes(source: SourceObject) -> int:
    """Return how many bytes of metadata the provenance leaves free."""
    return MAX_METADATA_BYTES - sum(len(k) + len(v) for k, v in mapping.provenance(source).items())


def metadata_bytes(metadata: Mapping[str, str]) -> int:
    return sum(len(k.encode()) + len(v.encode()) for k, v in metadata.items())


@pytest.mark.parametrize(
    ("excess", "dropped"), [(-1, ()), (0, ()), (1, ("metadata name",))], ids=str
)
def test_metadata_is_kept_up_to_8_kib_including_provenance(
    excess: int, dropped: tuple[str, ...]
) -> None:
    free = free_metadata_bytes(a_full_source({}, {}))
    source = a_full_source({"name": "v" * (free - len("name") + excess)}, {})
    fitted = fit(source)
    assert fitted.dropped == dropped
    assert metadata_bytes(fitted.attributes.metadata) <= MAX_METADATA_BYTES
    assert mapping.provenance(source).items() <= fitted.attributes.metadata.items()


def test_metadata_limit_counts_utf_8_bytes_of_names_and_values() -> None:
    free = free_metadata_bytes(a_full_source({}, {}))
    fits = {"ü": "ü" * ((free - 2) // 2)}
    assert fit(a_full_source(fits, {})).dropped == ()
    assert fit(a_full_source({"ü": fits["ü"] + "ü"}, {})).dropped == ("metadata ü",)


def test_smaller_entries_are_kept_when_a_large_one_is_dropped() -> None:
    source = a_full_source({"a": "1", "large": "v" * 9000, "z": "2"}, {})
    fitted = fit(source)
    assert fitted.dropped == ("metadata large",)
    assert fitted.attributes.metadata == {"a": "1", "z": "2"} | mapping.provenance(source)


def test_provenance_is_kept_when_metadata_and_tags_exceed_the_limit() -> None:
    """S3 allows 2 KiB of metadata, a key of 1 KiB and ten tags of 384 characters each."""
    metadata = {"m": "x" * 2000}
    tags = {f"{number}{'k' * 127}": "ü" * 256 for number in range(10)}
    source = a_full_source(metadata, tags)
    fitted = fit(source, Tags.METADATA)
    kept = fitted.attributes.metadata
    assert mapping.provenance(source).items() <= kept.items()
    assert kept["m"] == metadata["m"]
    assert metadata_bytes(kept) <= MAX_METADATA_BYTES
    assert fitted.dropped
    kept_tags = [name for name in kept if name.startswith("s3-tag-")]
    assert len(kept_tags) + len(fitted.dropped) == len(tags)


def test_metadata_that_s3_did_not_send_is_named() -> None:
    assert fit(make_source(metadata_missing=2)).dropped == ("metadata that S3 did not send (2)",)
    assert fit(make_source()).dropped == ()


def test_tag_stored_as_metadata_is_dropped_under_its_metadata_name() -> None:
    source = make_source(tags={"big": "x" * 9000, "small": "y"})
    fitted = fit(source, Tags.METADATA)
    assert fitted.dropped == ("metadata s3-tag-big",)
    assert fitted.attributes.metadata == {"s3-tag-small": "y"} | mapping.provenance(source)


@pytest.mark.parametrize("value", ["line\nbreak", "\r", "a\x00b", "\x7f", "\x85", "half \udc00"])
@pytest.mark.parametrize("is_name", [False, True])
def test_metadata_that_decodes_to_control_characters_is_dropped(
    value: str, *, is_name: bool
) -> None:
    entry = {value: "x"} if is_name else {"bad": value}
    source = make_source(metadata=entry | {"good": "kept"})
    fitted = fit(source)
    assert fitted.dropped == (f"metadata {value if is_name else 'bad'}",)
    assert fitted.attributes.metadata == {"good": "kept"} | mapping.provenance(source)


def test_tabs_are_kept() -> None:
    source = make_source(
        metadata={"tab": "a\tb"},
        cache_control="max-age=1,\tpublic",
        content_disposition="inline;\tx",
        content_language="de,\ten",
    )
    fitted = fit(source)
    assert fitted.dropped == ()
    assert fitted.attributes.metadata["tab"] == "a\tb"
    assert fitted.attributes.cache_control == "max-age=1,\tpublic"
    assert fitted.attributes.content_disposition == "inline;\tx"
    assert fitted.attributes.content_language == "de,\ten"


def test_user_metadata_with_a_reserved_prefix_is_not_reported_as_dropped() -> None:
    """The documentation says that it is never copied, so a warning each time is unnecessary."""
    fitted = fit(make_source(metadata={PROVENANCE + "etag": "forged"}))
    assert fitted.dropped == ()


# Headers


@pytest.mark.parametrize(
    "value", ["text/plain; charset=ü", "text/😀", "text/\tplain", "text/plain\n", "a\x7f", "a\x00"]
)
def test_content_type_that_is_not_printable_ascii_is_dropped(value: str) -> None:
    fitted = fit(make_source(content_type=value))
    assert fitted.attributes.content_type == "application/octet-stream"
    assert fitted.dropped == ("content-type",)


@pytest.mark.parametrize("value", ["text/plain; charset=utf-8", "x y z", "!", "~"])
def test_printable_ascii_content_type_is_kept(value: str) -> None:
    fitted = fit(make_source(content_type=value))
    assert fitted.attributes.content_type == value
    assert fitted.dropped == ()


@pytest.mark.parametrize("missing", [None, ""])
def test_missing_content_type_is_not_reported_as_dropped(missing: str | None) -> None:
    fitted = fit(make_source(content_type=missing))
    assert fitted.attributes.content_type == "application/octet-stream"
    assert fitted.dropped == ()


@pytest.mark.parametrize(("length", "is_kept"), [(100, True), (101, False)])
def test_content_language_of_more_than_100_characters_is_dropped(
    length: int, *, is_kept: bool
) -> None:
    language = "ü" * length
    fitted = fit(make_source(content_language=language))
    assert fitted.attributes.content_language == (language if is_kept else None)
    assert fitted.dropped == (() if is_kept else ("content-language",))


@pytest.mark.parametrize(
    "header", ["cache_control", "content_disposition", "content_encoding", "content_language"]
)
def test_header_with_control_characters_is_dropped(header: str) -> None:
    fitted = fit(make_source(**{header: "a\nb"}))
    assert getattr(fitted.attributes, header) is None
    assert fitted.dropped == (header.replace("_", "-"),)


def test_every_dropped_field_is_named() -> None:
    fitted = fit(
        make_source(
            content_type="\x00",
            cache_control="\x00",
            content_disposition="\x00",
            content_encoding="\x00",
            content_language="\x00",
            metadata={"a": "\x00"},
            tags={"b": ""},
        ),
        Tags.CONTEXTS,
    )
    assert sorted(fitted.dropped) == [
        "cache-control",
        "content-disposition",
        "content-encoding",
        "content-language",
        "content-type",
        "metadata a",
        "tag b",
    ]
