"""Mesh policies as pure rules: routing, splitting, balancing, replaying. No I/O, no clock."""
