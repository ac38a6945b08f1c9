"""The networks, one file each: nothing here knows of training or files."""
