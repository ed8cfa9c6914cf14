"""The steps of a night: pure logic apart from the decorator that wires it."""
