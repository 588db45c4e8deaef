"""`make bench`: the replicator measured against its peers in one run. See docs/PERFORMANCE.md."""
