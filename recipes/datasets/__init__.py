"""Data sets: a reader, the assets it reads, an honest split."""
