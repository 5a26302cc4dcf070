"""Supervisor, agent and workers, and what they say to each other."""
