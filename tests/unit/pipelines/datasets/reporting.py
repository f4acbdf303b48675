class Lines:
    """Keeps what a conversion says."""

    def __init__(self):
        self.messages = []
        self.figures = []

    def message(self, text):
        self.messages.append(text)

    def progress(self, description, done, total, detail=""):
        self.figures.append((description, done, total))
