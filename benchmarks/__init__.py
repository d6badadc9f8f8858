"""How fast the indexes are built, how the builds delay an application, and the same for other tools; see README.md."""
