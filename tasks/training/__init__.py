"""Fits of candidates, and the search of their hyperparameters."""
