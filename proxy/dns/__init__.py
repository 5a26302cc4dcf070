"""The DNS server of a worker: drivers around the rules of discovery/dns and the kernel that answers."""
