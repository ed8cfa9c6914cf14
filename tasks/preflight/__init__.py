"""What a night would do and what is wrong, said before it runs (`--check`)."""
