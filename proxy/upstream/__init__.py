"""Services and endpoints at run time: who may be picked, and the connections that are kept to them."""
