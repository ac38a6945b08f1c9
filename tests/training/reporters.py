"""A reporter for tests of the training loop."""


class Silent:
    """Shows nothing, and keeps the validations."""

    def __init__(self):
        self.points = []

    def stepped(self, step, figure):
        pass

    def validated(self, point, *, better):
        self.points.append((point, better))
