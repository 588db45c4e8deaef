"""`make soak`: many changes, several runtimes, faults and kills; then both sides are compared."""
