"""A version run in a separate process, with its own packaged code."""
