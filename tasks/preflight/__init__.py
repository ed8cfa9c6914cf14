"""What a night would do and what is wrong, found before it runs (`--check`)."""
