"""Answers to single requests: the champion of every model behind one address."""
