"""What the care for indexes asks of PostgreSQL."""
