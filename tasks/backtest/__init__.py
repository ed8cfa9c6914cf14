"""Replay of past nights: does nightly retraining pay, and with which window and gate?"""
