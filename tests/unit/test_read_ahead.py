"""Pages of a listing are read one ahead, in another thread."""

import threading
from collections.abc import Generator

import pytest

from replicate.parallel import read_ahead


class Pages:
    """Three pages, and what was done with them."""

    def __init__(self, error: Exception | None = None) -> None:
        self.begun: list[int] = []
        self.is_closed = False
        self.threads: set[int] = set()
        self.third_begins = threading.Event()
        self._error = error

    def __call__(self) -> Generator[int, None, None]:
        try:
            for number in range(1, 4):
                self.begun.append(number)
                self.threads.add(threading.get_ident())
                if number == 3:
                    self.third_begins.set()
                    if self._error:
                        raise self._error
                yield number
        finally:
            self.is_closed = True


def test_next_page_is_read_while_one_is_used() -> None:
    pages = Pages()
    ahead = read_ahead(pages())

    assert next(ahead) == 1
    assert next(ahead) == 2
    assert pages.third_begins.wait(5), "before it is asked for"
    assert list(ahead) == [3]
    assert threading.get_ident() not in pages.threads


def test_error_comes_after_the_pages_before_it() -> None:
    ahead = read_ahead(Pages(ValueError("third"))())

    assert [next(ahead), next(ahead)] == [1, 2]
    with pytest.raises(ValueError, match="third"):
        next(ahead)


def test_reading_stops_when_nobody_wants_more() -> None:
    pages = Pages()
    ahead = read_ahead(pages())
    next(ahead)

    ahead.close()

    assert pages.is_closed
    assert pages.begun == [1, 2]
