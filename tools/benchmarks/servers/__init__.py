"""A source and a sink that cost the measured client nothing but its own work."""
