"""The proxies that are compared: how each is configured for a scenario, started, and asked for its version."""
