"""What is measured: the function itself, and what else one could use."""
