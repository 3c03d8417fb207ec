"""Errors that a user can act on."""


class UserError(Exception):
    """Something outside the code is wrong; its message is one line that says what, and what to do instead."""


def first_line(error: BaseException) -> str:
    """What a library's error says, as far as it goes into a line of ours."""
    return str(error).strip().partition("\n")[0]
