"""Object keys of all kinds: ordinary ones, odd ones, and those that rclone cannot name."""

from random import Random

ODD = (
    "spaces and + signs",
    "100%",
    "encoded%20already%2F",
    "a+b c%2Bd",
    "ünïcödé/文件/🎉",
    "quotes ' \" & <tag> ? #",
    "~!@$^*()=[]{}|;:,<>",
    "e\u0301 is not é",
    "zero\u200bwidth",
    "back\\slash",
    "trailing space ",
    "long-" + "x" * 800,
)

BEYOND_RCLONE = "beyond-rclone"
"""Prefix of the keys that rclone takes for folders or does not list. Only our audit sees them."""

UNNAMEABLE = ("folder/", "double//slash", "../dots", "a/./b", "//")

ODD_SHARE = 0.1
FOLDERS = 40


def key(number: int, rng: Random) -> str:
    """Return a key that is unique by its number."""
    if rng.random() >= ODD_SHARE:
        return f"folder-{number % FOLDERS:02}/object-{number:06}"
    if rng.random() < len(UNNAMEABLE) / (len(UNNAMEABLE) + len(ODD)):
        return f"{BEYOND_RCLONE}/{number:06}/{rng.choice(UNNAMEABLE)}"
    return f"odd/{number:06} {rng.choice(ODD)}"
