"""Predictions for the app, published completely or not at all."""
