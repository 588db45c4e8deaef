"""Reconcile: compare the listings of both sides, report what differs, and nominate it.

It decides about no object and writes none: a nomination is an event as any other.
"""

from replicate.reconcile.steps import Reconcile

__all__ = ["Reconcile"]
