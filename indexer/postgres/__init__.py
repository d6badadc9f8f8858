"""PostgreSQL: everything online, one statement at a time, no transaction open while an index is built."""
