"""The program: it moves bytes, and it is where the parts are put together."""
