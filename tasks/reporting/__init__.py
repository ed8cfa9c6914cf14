"""What a person reads: reports, pictures, the history page; only it knows matplotlib."""
