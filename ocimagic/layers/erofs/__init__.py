"""A layer as one file: an image of the EROFS file system, written straight from the tar."""
