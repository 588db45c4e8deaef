"""The invokers: one module for each, with what it sends and what it is answered."""

from replicate.entry.dispatch import parse

__all__ = ["parse"]
