"""A first model file, written from a look at the data."""
