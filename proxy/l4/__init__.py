"""Connections that are passed through as they are: TCP, and TLS by its server name."""
