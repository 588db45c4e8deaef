"""Check a stack: what the function itself finds, then what only somebody outside can see."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from botocore.config import Config
from rich.table import Table
from rich.text import Text

from tools.operate.checks import Check, Checks
from tools.operate.errors import MissingPermissionError, OperatorError, explained
from tools.operate.stack import Stack

FUNCTION_TIMEOUT_S = 900
"""The template's: the doctor responds in seconds, or when a hop has run out of time."""

Hop = Mapping[str, Any]
"""One check in the words of the function's doctor: `hop`, `ok`, `found`."""


def examine(stack: Stack, *, compress: bool = False) -> list[Hop]:
    """Make every check. A problem is reported and not raised.

    `compress` sends the compressed canary in any case.
    """
    hops = [_described(name, check) for name, check in Checks(stack).all()]
    return [*_of_function(stack, compress=compress), *hops]


def table(hops: list[Hop]) -> Table:
    """Return the checks as a table."""
    shown = Table(box=None, pad_edge=False, show_header=False)
    shown.add_column(width=1)
    shown.add_column(style="bold", overflow="fold", max_width=40)
    shown.add_column(overflow="fold")
    for hop in hops:
        mark = "[green]✓[/]" if hop["ok"] else "[red]✗[/]"
        if hop["ok"] and hop["found"].startswith("Warning"):
            mark = "[yellow]![/]"
        shown.add_row(mark, Text(hop["hop"]), Text(hop["found"]))
    return shown


def _of_function(stack: Stack, *, compress: bool) -> Iterator[Hop]:
    """Invoke the function's own doctor. Yield its hops."""
    if stack.parameters.get("ReservedConcurrency") == "0":
        found = "The function is stopped. Deploy it with another ReservedConcurrency than 0."
        yield {"hop": "function", "ok": False, "found": found}
        return
    config = Config(read_timeout=FUNCTION_TIMEOUT_S, retries={"total_max_attempts": 1})
    try:
        with explained():
            response = stack.session.client("lambda", config=config).invoke(
                FunctionName=stack.output("FunctionArn"),
                Payload=json.dumps({"doctor": True, "compress": compress}),
            )
            body = json.loads(response["Payload"].read())
    except OperatorError as error:
        yield {"hop": "function", "ok": False, "found": str(error)}
        return
    if hops := body.get("hops"):
        yield from hops
        return
    found = f"It did not respond: {body.get('errorMessage', body)} Look into its log."
    yield {"hop": "function", "ok": False, "found": found}


def _described(name: str, check: Check) -> Hop:
    try:
        with explained():
            return {"hop": name, "ok": True, "found": check()}
    except MissingPermissionError as error:
        return {"hop": name, "ok": True, "found": f"Warning: not checked. {error}"}
    except OperatorError as error:
        return {"hop": name, "ok": False, "found": str(error)}
