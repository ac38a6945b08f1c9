"""Pictures that people bring: read, fitted and written with Pillow alone, for training, clients and servers."""
