"""What a person reads when the lab can't go on."""


class LabError(Exception):
    """One clear sentence; __main__ prints it without a traceback."""
