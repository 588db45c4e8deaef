"""What reports are made of."""

from tools.common.tables import duration, size, table


def test_a_table_has_text_on_the_left_and_numbers_on_the_right() -> None:
    lines = table(("name", "unit", "count"), [("a", "ms", 1), ("b", "s", "1e3")], text_columns=2)
    assert [line.replace(" ", "") for line in lines.splitlines()] == [
        "|name|unit|count|",
        "|:-------|:-------|--------:|",
        "|a|ms|1|",
        "|b|s|1e3|",
    ]


def test_a_table_without_rows_is_empty() -> None:
    assert not table(("name", "count"), [])


def test_sizes_and_durations_have_units() -> None:
    assert [size(n) for n in (12, 10 * 1024, 1.5 * 1024**2, 4 * 1024**3)] == [
        "12 Bytes",
        "10 KiB",
        "1.5 MiB",
        "4 GiB",
    ]
    assert [duration(seconds) for seconds in (0.0304, 1, 83.456)] == ["30 ms", "1.00 s", "83.46 s"]
