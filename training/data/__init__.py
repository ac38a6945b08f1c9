"""Image data: reading it, dividing it, its palette, its augmentation."""
