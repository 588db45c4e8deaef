"""The data path, measured against its peers in one run: `make bench`, docs/PERFORMANCE.md."""
