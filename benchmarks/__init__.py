"""How fast the indexes are built, what the application feels meanwhile, and how other tools do; see README.md."""
