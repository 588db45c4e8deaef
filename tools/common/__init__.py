"""What the local cloud, the soak test and the benchmark share: HTTP requests and processes."""
