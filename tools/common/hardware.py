"""What a report says about the machine."""

import os
import platform
import re
from pathlib import Path


def processor() -> str:
    """Return the number of cores and the model, as Linux states it."""
    found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return f"{os.cpu_count()} cores of {found[1] if found else platform.machine()}"
