"""As much of curl as `make up` prints, for machines that have none."""

import argparse
import http.client
import sys
from contextlib import closing
from urllib.parse import urlsplit


def main() -> None:
    """Send the request and print its answer, with the head in front of it after `-i`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("-s", action="store_true")
    parser.add_argument("-i", action="store_true", dest="head")
    parser.add_argument("-X", dest="method")
    parser.add_argument("-H", dest="headers", action="append", default=[])
    parser.add_argument("-d", dest="data")
    parser.add_argument("url", type=urlsplit)
    asked = parser.parse_args()
    with closing(http.client.HTTPConnection(asked.url.netloc, timeout=30)) as connection:
        connection.request(
            asked.method or ("POST" if asked.data else "GET"),
            asked.url.path + (f"?{asked.url.query}" if asked.url.query else ""),
            asked.data,
            dict(header.split(": ", 1) for header in asked.headers),
        )
        answer = connection.getresponse()
        if asked.head:
            sys.stdout.write(f"HTTP/1.1 {answer.status} {answer.reason}\n{answer.headers}")
        sys.stdout.write(answer.read().decode())


if __name__ == "__main__":
    main()
