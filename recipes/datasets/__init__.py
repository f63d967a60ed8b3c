"""Data sets: a reader, the assets it reads, its split."""
