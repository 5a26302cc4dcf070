"""What comes before HTTP and before the bytes of a tunnel: the PROXY header, a ClientHello, the first bytes."""
