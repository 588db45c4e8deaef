"""Reconcile: compare the listings of both sides, report what differs, and nominate it.

It decides nothing and writes no object: a nomination is an event as any other.
"""

from replicate.reconcile.steps import Reconcile

__all__ = ["Reconcile"]
