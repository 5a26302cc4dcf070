"""The commands of hivemesh."""
