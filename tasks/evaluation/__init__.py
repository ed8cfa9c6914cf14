"""Estimates with intervals, by resampling whole days."""
