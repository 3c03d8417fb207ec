"""Errors that a user can act on."""


class UserError(Exception):
    """Something outside the code is wrong; its message is one line that says what, and what to do instead."""
