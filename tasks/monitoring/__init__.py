"""The champion at work: live performance and drift."""
