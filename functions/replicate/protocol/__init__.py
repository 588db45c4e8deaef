"""The protocol: make one destination object equal what the source holds now. No I/O."""
