"""A run: its lock, the sessions that block it, and the execution of its steps."""
