"""The commands: the only place where click is imported."""
