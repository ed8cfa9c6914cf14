"""The models kept fresh, one file each, and how they are served."""
