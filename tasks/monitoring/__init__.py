"""Monitoring of the champion: live performance and drift."""
