"""Who offers a service, where, and in which state: the registry and what feeds it."""
