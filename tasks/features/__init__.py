"""From raw rows to examples: contract, cleaning, split by time, scoring."""
