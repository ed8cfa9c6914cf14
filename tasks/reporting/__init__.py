"""What a person reads: reports, plots, the history page; the only package that knows matplotlib."""
