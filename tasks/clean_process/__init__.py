"""A version at work in a process of its own, with its own packaged code."""
