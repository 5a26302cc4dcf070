"""UDP listeners: sessions of datagrams between clients and endpoints."""
