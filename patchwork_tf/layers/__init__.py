"""Layers that carry memory, and the stateless blocks around them."""
