"""Many past nights replayed: does nightly retraining pay, and with which window and gate?"""
