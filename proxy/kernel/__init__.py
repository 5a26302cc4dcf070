"""Compiled leaf code over C pointers: buffers, head scanning and writing, sockets, statistics cells, entropy."""
