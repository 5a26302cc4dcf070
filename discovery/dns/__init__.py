"""DNS as rules: what a name means, how an answer is written, which resolver is asked, what may be kept. Pure."""
