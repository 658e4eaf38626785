"""The dashboard: pages that show the trials of a store in a browser, live and read only.

:func:`~daskperiment.dashboard.serving.start` serves it.  What a page shows comes from the
endpoints in :mod:`daskperiment.dashboard.api`; the page itself is in the folder ``static``.
"""
