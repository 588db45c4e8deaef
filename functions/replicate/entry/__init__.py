"""The invokers. Each has a module for the events that it sends and the response that it gets."""

from replicate.entry.dispatch import parse

__all__ = ["parse"]
