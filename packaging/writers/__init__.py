"""Writers of packages: equal input makes equal bytes; every file is of root, and of one time."""
