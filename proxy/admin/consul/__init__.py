"""The Consul-shaped part of the HTTP API: what registrators, Prometheus and Traefik call."""
