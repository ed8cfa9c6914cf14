"""What the app reads, published whole or not at all."""
