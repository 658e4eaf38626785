class Callbacks:
    def __init__(self, callbacks=()):
        self.callbacks = tuple(callbacks)

    def __bool__(self):
        return bool(self.callbacks)

    def tell(self, hook, **arguments):
        for c in self.callbacks:
            getattr(c, hook, lambda **k: None)(**arguments)
