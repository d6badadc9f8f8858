"""The revision files, migrate_*.py: one file, all of them in order, what their functions may do, and the next one."""
