"""What Linux says about a process."""

import os
import re
from pathlib import Path


def rss(pid: int | str = "self") -> int:
    """Bytes of memory it holds now."""
    return _status(pid, "VmRSS")


def rss_peak(pid: int | str = "self") -> int:
    """Bytes of memory it ever held."""
    return _status(pid, "VmHWM")


def cpu_s(pid: int) -> float:
    """User and system time of all its threads, in steps of 10 ms."""
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(after_name[11]) + int(after_name[12])) / os.sysconf("SC_CLK_TCK")


def _status(pid: int | str, name: str) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(rf"^{name}:\s+(\d+) kB$", status, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0
