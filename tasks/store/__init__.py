"""The disk: files, frames, models, locks."""
