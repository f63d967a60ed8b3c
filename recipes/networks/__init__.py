"""Published networks with fixed weights: a reader, a builder, the assets."""
