"""Pictures by matplotlib: one style, and files that depend on nothing but the data."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.typing import RcKeyType

BLUE, GREEN, ORANGE, RED, GREY = "#4078c0", "#1a7f37", "#d97706", "#bb0000", "#a0a8b0"

STYLE: "dict[RcKeyType, Any]" = {
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": "medium",
    "axes.titleweight": "bold",
    "font.size": 9,
    "grid.color": "#dddddd",
    "legend.fontsize": "small",
    "legend.frameon": False,
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "s3-to-gcs",  # ids are random without it
}


@contextmanager
def picture(path: Path, width: float, height: float) -> Iterator["Figure"]:
    """Write the figure that the block draws to an SVG file. Sizes are in inches.

    The background is white: the picture is readable on light and on dark pages.
    """
    import matplotlib as mpl  # noqa: PLC0415 - 1.5 s, for users of this module who draw nothing, too
    from matplotlib.figure import Figure  # noqa: PLC0415 - same

    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure
        figure.savefig(path, format="svg", dpi=150, metadata={"Date": None})
