"""The flows: what happens in which order."""
