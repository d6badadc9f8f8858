"""The records of the tool: its two tables, who made an index, and the version table of Alembic."""
