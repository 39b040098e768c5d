"""Names of subjects: which of them can be stored, and how people's are compared."""

import re

from prosopon.deployments.state.errors import InvalidSubject
from prosopon.deployments.state.schema import MAX_SUBJECT_LENGTH

PEOPLE = "compreface"
"""The kind of galleries whose subjects are found without regard to case. In others names are ids and URLs."""

_NO_TEXT = re.compile("[\0\ud800-\udfff]")
_PATHS = frozenset({".", ".."})


def folded(name: str) -> str:
    """What people's names are compared by. At most one character longer for each of the name's (U+0130), and in UTF-8
    at most 3 bytes for a character of 2."""
    return name.lower()


def unstorable(name: str) -> str | None:
    """Why a name cannot be a subject's."""
    if not name.strip():
        return "a subject's name is empty"
    if len(name) > MAX_SUBJECT_LENGTH:
        return f"a subject's name has {len(name)} characters, more than {MAX_SUBJECT_LENGTH}"
    if _NO_TEXT.search(name):
        return "a subject's name holds a character that is not text"
    return None


def check_new(name: str) -> None:
    """Raises `InvalidSubject` for a name that a subject cannot be given.

    ``.`` and ``..`` are none: in a URL's path every client takes them for folders (RFC 3986, section 5.2.4), and the
    path that is left is that of all subjects. A subject that has such a name already can be found and deleted.
    """
    reason = unstorable(name)
    if reason is None and name in _PATHS:
        reason = f"a subject's name cannot be '{name}': in a URL that means a folder"
    if reason:
        raise InvalidSubject(reason)
