"""What the commands do once their flags are read. Flags are in modules of their own, which load at once."""
