"""Plumbing that every recipe shares: files, pixels, plots, the command line."""
