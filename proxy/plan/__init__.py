"""What a new configuration would change, before it is in force."""
