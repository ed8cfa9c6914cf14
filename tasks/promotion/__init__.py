"""Whether a challenger becomes champion: the gate, its checks, the checks for leaks."""
