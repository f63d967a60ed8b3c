"""What the two recipes that optimize a picture share."""
