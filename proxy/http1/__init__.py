"""HTTP/1.1 on live connections: framing machine, exchange, the two drivers, and what we answer ourselves."""
