"""A headless browser, driven by the Chrome DevTools Protocol over two pipes."""

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

Json = dict[str, Any]

COMMAND = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)

PHONE = 600
"""Narrower windows are those of a phone."""

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update"),
    *("--hide-scrollbars", "--remote-debugging-pipe"),
)


class Browser:
    """One page of a running browser. It records requests and messages of the page."""

    def __init__(self, to_browser: IO[bytes], from_browser: IO[bytes]) -> None:
        self._out = to_browser
        self._in = from_browser
        self._session: str | None = None
        self._last = 0
        self.requests: list[str] = []
        self.messages: list[Json] = []
        """What the console shows, with violations of the page's policy."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)[
            "sessionId"
        ]
        for domain in ("Page", "Network", "Log", "Runtime"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: object) -> Json:
        """Call a method of the protocol, and return its result."""
        self._last += 1
        call = {"id": self._last, "method": method, "params": parameters}
        if self._session:
            call["sessionId"] = self._session
        self._out.write(json.dumps(call).encode() + b"\0")
        while (message := self._read()).get("id") != self._last:
            pass
        if "error" in message:
            raise AssertionError(f"{method}: {message['error']}")
        result: Json = message["result"]
        return result

    def show(self, path: Path, *, width: int, scheme: str = "light") -> None:
        """Load a file in a window of this width."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=800,
            deviceScaleFactor=1,
            mobile=width < PHONE,
        )
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", features=features)
        self.call("Page.navigate", url=path.as_uri())
        while self._read().get("method") != "Page.loadEventFired":
            pass

    def evaluate(self, expression: str) -> Any:  # noqa: ANN401 - any value
        """Return the value of an expression in the page. Its policy does not apply to this."""
        done = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in done, done
        return done["result"].get("value")

    def screenshot(self, path: Path, height: int | None = None) -> None:
        """Write a PNG of the page: all of it, or its first pixels."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {**size, "x": 0, "y": 0, "height": height or size["height"], "scale": 1}
        taken = self.call("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        path.write_bytes(base64.b64decode(taken["data"]))

    def _read(self) -> Json:
        """Read the next message; keep what the page requested and said."""
        data = bytearray()
        while (byte := self._in.read(1)) != b"\0":
            assert byte, "the browser has ended"
            data += byte
        message: Json = json.loads(data)
        if message.get("method") == "Network.requestWillBeSent":
            self.requests.append(message["params"]["request"]["url"])
        elif message.get("method") in {
            "Log.entryAdded",
            "Runtime.consoleAPICalled",
            "Runtime.exceptionThrown",
        }:
            self.messages.append(message["params"])
        return message


@contextmanager
def browser(profile: Path) -> Iterator[Browser]:
    """Run a browser with an empty profile in this folder."""
    assert COMMAND
    their_in, to_browser = os.pipe()
    from_browser, their_out = os.pipe()
    # The browser reads its descriptor 3 and writes to 4.
    shell = f'exec "$0" "$@" 3<&{their_in} 4>&{their_out}'
    process = subprocess.Popen(  # noqa: S603 - our own command
        ["/bin/bash", "-c", shell, COMMAND, *FLAGS, f"--user-data-dir={profile}", "about:blank"],
        pass_fds=(their_in, their_out),
        stderr=subprocess.DEVNULL,
    )
    os.close(their_in)
    os.close(their_out)
    with os.fdopen(to_browser, "wb", 0) as out, os.fdopen(from_browser, "rb") as into, process:
        try:
            yield Browser(out, into)
        finally:
            process.terminate()
