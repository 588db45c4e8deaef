"""The report page of a reconcile: what it says, and that no text of a bucket becomes HTML."""

import re
from collections import Counter
from html.parser import HTMLParser
from typing import Any

import pytest
from summaries import HOSTILE, by_prefix, hostile_summary, sample, summary

from replicate.reconcile.page import page


class Reading(HTMLParser):
    """The elements of a page, and its visible text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: Counter[str] = Counter()
        self.attributes: list[tuple[str, str | None]] = []
        self._texts: list[str] = []
        self._is_style = False
        self.feed(html)
        self.close()

    @property
    def text(self) -> str:
        return " ".join(" ".join(self._texts).split()).replace(" ,", ",")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._is_style = tag == "style"
        self.elements[tag] += 1
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        if not self._is_style:
            self._texts.append(data)


def read(**changes: Any) -> str:  # noqa: ANN401 - JSON
    return Reading(page(summary(**changes))).text


def test_page_states_what_was_compared_and_how_it_ended() -> None:
    text = read(prefix="raw/")
    assert "4,560 differences" in text
    assert "s3://photos → gs://photos-replica below raw/" in text
    assert "1,234,567 objects compared, 5.0 TiB in S3, in 3 min 5 s" in text
    for counted in ("equal 1,230,000", "missing 4,000", "different 500", "extra 60", "foreign 7"):
        assert counted in text
    assert "young 12" in text
    assert "filtered" not in text  # none were


@pytest.mark.parametrize(
    ("ended", "differences", "heading"),
    [
        ("equal", 0, "Both sides are equal"),
        ("differences", 1, "1 difference"),
        ("nominated", 2, "2 keys nominated for repair"),
        ("too_many_differences", 9, "Repair stopped: too many differences"),
    ],
)
def test_heading_says_how_the_run_ended(ended: str, differences: int, heading: str) -> None:
    html = page(summary(ended=ended, differences=differences, counts={"nominated": differences}))
    assert f"<h1>{heading}</h1>" in html
    assert f"<title>Reconcile: {heading}</title>" in html


def test_cost_of_a_repair_is_stated_before_it_is_started() -> None:
    text = read()
    assert "What a repair costs 4,500 objects to copy, 3.0 GiB." in text
    assert "Egress from AWS $0.27" in text
    assert "Lambda and its log less than $0.01" in text
    assert "Sum $0.31" in text
    assert "make reconcile STACK=… REPAIR=1" in text


@pytest.mark.parametrize(
    ("deletes", "fate"), [(True, "A repair deletes them"), (False, "They stay")]
)
def test_page_says_what_becomes_of_extra_replicas(fate: str, *, deletes: bool) -> None:
    assert f"replicas without a source. {fate}" in read(replicates_all_deletes=deletes)


def test_stopped_repair_says_why_and_how_to_confirm() -> None:
    text = read(ended="too_many_differences", valve="12 % of the objects differ.")
    assert "12 % of the objects differ." in text
    assert "make reconcile STACK=… REPAIR=1 . It asks you first" in text


def test_repair_does_not_ask_for_another_one() -> None:
    text = read(ended="nominated")
    assert "What this repair costs" in text
    assert "make reconcile" not in text


def test_equal_sides_have_no_cost_chart_or_samples() -> None:
    counts = {"compared": 3, "equal": 3}
    text = read(ended="equal", differences=0, counts=counts, by_prefix=[], samples=[])
    assert "make reconcile" not in text
    assert "Differences by prefix" not in text
    assert "Samples" not in text


def test_chart_has_only_prefixes_with_differences() -> None:
    html = page(summary())
    chart = Reading(html[html.index('class="chart"') : html.index("Samples")]).text
    assert re.findall(r"raw/2026/|thumbnails/|\(top level\)|clean/", chart) == [
        "raw/2026/",
        "thumbnails/",
        "(top level)",
    ]
    assert "500 different 59 extra 7 foreign of 234,000; 1.0 GiB to copy" in chart
    assert "1 prefix without differences" in chart


def test_bars_are_in_proportion_and_one_object_among_millions_shows() -> None:
    rows = [by_prefix("a", 0, missing=10**7, extra=10**7), by_prefix("b", 0, different=1)]
    bars = re.findall(r'class="(\w+)" x="(\d+)" y="0" width="(\d+)"', page(summary(by_prefix=rows)))
    assert bars == [
        ("missing", "0", "500"),
        ("extra", "500", "500"),
        ("different", "0", "6"),
    ]


def test_sample_shows_both_sides_and_what_differs() -> None:
    text = read()
    assert "4 of 4,567; the CSV files have all of them." in text
    assert "missing raw/2026/a.jpg S3 etag 900150983cd24fb0d6963f7d28e17f72, size 3," in text
    assert "size 3 -> 5" in text
    assert "GCS generation 1790000000000001, size 5" in text
    assert "foreign thumbnails/d.jpg S3 absent" in text


def test_samples_beyond_the_first_are_folded_but_there() -> None:
    html = page(summary(samples=[sample(f"key-{number}") for number in range(100)]))
    assert html.index("key-19<") < html.index("<summary>80 more</summary>") < html.index("key-20<")
    assert "key-99<" in html


def test_links_name_the_files_beside_the_page() -> None:
    reading = Reading(page(summary()))
    links = {value for name, value in reading.attributes if name in {"href", "src"}}
    assert links == {"data:,", "differences.csv", "differences-gcs.csv", "summary.json"}


def test_hostile_text_becomes_no_element_and_no_attribute() -> None:
    html = page(hostile_summary())
    reading, harmless = Reading(html), Reading(page(summary()))
    assert set(reading.elements) <= {*harmless.elements, "details", "strong", "summary"}
    assert {name for name, _ in reading.attributes} <= {name for name, _ in harmless.attributes}
    assert html.count("<script") == 0
    assert HOSTILE[0] in reading.text
    assert HOSTILE[1] in reading.text  # no placeholder of the frame was filled in it


def test_characters_that_cannot_be_seen_are_shown() -> None:
    html = page(hostile_summary())
    assert html.encode()  # also a lone surrogate
    assert r"\u{202e}gpj.exe\u{001b}[31m\u{0000}\u{000d}\u{000a}\u{0009}end" in html
    assert r"\u{d800} lone surrogate" in html
    assert "ünïcödé/文件/🎉/" in html


def test_unknown_kind_is_no_class_of_the_page() -> None:
    html = page(summary(samples=[sample("k", kind='"><script>')]))
    assert "<script" not in html
