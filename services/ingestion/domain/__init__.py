"""What may enter, decided purely: no I/O, no clock, no randomness."""
