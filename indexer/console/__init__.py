"""What a person or a machine reads: text, tables, progress, and the documents of --json."""
