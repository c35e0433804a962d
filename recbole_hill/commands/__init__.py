"""The commands, a file each.

A command has ``HELP`` (a line), ``run(arguments)``, which may return an exit status, and where it
needs them ``EPILOG`` (what ``--help`` ends with), ``add_arguments(command)`` and
``TAKES_SETTINGS = True``, if settings may follow as ``--key=value`` (``arguments.overrides``).
Every command has ``--debug`` and ``--plugin``. Nothing heavy is imported before ``run``.
"""
