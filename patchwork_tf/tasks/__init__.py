"""The tasks of the zoo, a file each."""
