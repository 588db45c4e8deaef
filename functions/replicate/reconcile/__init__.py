"""The reconcile: lists both sides, finds keys that differ, and nominates them to the engine."""
