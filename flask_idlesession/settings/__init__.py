"""From ``app.config`` to :class:`~.keys.Settings`, checked."""
