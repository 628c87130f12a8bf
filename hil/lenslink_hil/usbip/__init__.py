"""USB without USB hardware: USB/IP, and the virtual boards that are exported by it."""
