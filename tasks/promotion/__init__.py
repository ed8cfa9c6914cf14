"""Whether a challenger becomes champion: the gate, its checks, the search for leaks."""
