"""Sizes in bytes."""

KIB, MIB, GIB, TIB = 1024, 1024**2, 1024**3, 1024**4
