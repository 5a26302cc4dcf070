"""The configuration file: reading it with positions, checking it, its schema and tests, what of it is in force."""
