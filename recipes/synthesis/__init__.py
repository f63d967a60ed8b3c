"""What the two recipes that optimise a picture share."""
