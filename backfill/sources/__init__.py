"""Sources: files that can be read again from any position, as chunks. One file a format."""
