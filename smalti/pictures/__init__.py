"""Pictures that people bring: one reader for training, client, commands and server, with Pillow alone."""
