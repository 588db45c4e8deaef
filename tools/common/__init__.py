"""What the local cloud, the soak and the benchmark share: HTTP, processes, tables, sizes."""
