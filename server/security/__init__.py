"""Who may call what: tokens, and the group of RPCs that each of them opens."""
