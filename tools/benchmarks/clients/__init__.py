"""The clients that are measured: the function itself and its peers."""
