"""A first model file, written from a sample of the data."""
