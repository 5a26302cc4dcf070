"""Health checks: can an endpoint serve? Rules and the machines of protocols are pure; checker and drivers act."""
