"""Command lines: options, the embedded server, the progress bar, exit codes."""
