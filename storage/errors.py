"""What comes of a request that a file system did not grant, and which errors may pass."""

from __future__ import annotations

import errno
import re
from enum import Enum

from storage.location import Location, scrub


class StorageError(OSError):
    """A request that a file system did not grant, as one line: the place, why, and what to do. `why` is the reason alone."""

    def __init__(self, what: str, why: str, remedy: str) -> None:
        super().__init__(f"{what} ({why}); {remedy}")
        self.what, self.why, self.remedy = what, why, remedy

    def __reduce__(self) -> tuple[type[StorageError], tuple[str, str, str]]:
        return type(self), (self.what, self.why, self.remedy)


class Unreachable(StorageError):
    """A fault of the network, the server or a disk that did not pass within the time that is given to it."""


class Refused(StorageError):
    """What does not pass by itself: no such bucket, a wrong key, no permission, a full disk, an unknown scheme or option."""


def describe(error: BaseException) -> str:
    """An error in one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def why(error: BaseException, location: Location | None = None) -> str:
    """The reason that an error tells, in one line without secrets: those of `location`, and whatever looks like one."""
    if isinstance(error, StorageError):
        return error.why
    if isinstance(error, OSError) and error.errno is not None and error.strerror:
        text = error.strerror.partition(". Detail: ")[0]
    else:
        text = str(error) or type(error).__name__
    text = " ".join(re.sub(r" ?\(Request ID: [^()]*\)|^When [^:]{0,2000}: (?=AWS Error)", "", text).split())
    return location.scrub(text) if location is not None else scrub(text)


class Kind(Enum):
    """How long an error is tried against: within the whole time, within a short one, or not at all."""

    PASSING = "passing"
    FORBIDDEN = "forbidden"
    LASTING = "lasting"


_PASSING = {
    *(errno.EIO, errno.ESTALE, errno.EAGAIN, errno.EINTR, errno.EBUSY, errno.ETIMEDOUT, errno.EPIPE, errno.EREMOTEIO),
    *(errno.ECONNRESET, errno.ECONNREFUSED, errno.ECONNABORTED, errno.ENOTCONN, errno.ESHUTDOWN),
    *(errno.ENETDOWN, errno.ENETUNREACH, errno.ENETRESET, errno.EHOSTDOWN, errno.EHOSTUNREACH),
}
_OF_A_PROGRAM = (ValueError, TypeError, LookupError, AttributeError, AssertionError, NotImplementedError, ImportError, RecursionError)
# Names that S3, Google and Azure have for what does not pass, as pyarrow's errors carry them.
_LASTING = re.compile(
    r"AWS Error (?:NO_SUCH_BUCKET|NO_SUCH_KEY|INVALID_ACCESS_KEY_ID|SIGNATURE_DOES_NOT_MATCH|INVALID_SIGNATURE|INVALID_CLIENT_TOKEN_ID|"
    r"UNRECOGNIZED_CLIENT|MISSING_AUTHENTICATION_TOKEN|OPT_IN_REQUIRED|BUCKET_ALREADY_EXISTS|VALIDATION|INVALID_PARAMETER_VALUE)\b"
    r"|\b(?:UNAUTHENTICATED|INVALID_ARGUMENT)\b"
)
_FORBIDDEN = re.compile(r"\b(?:AWS Error ACCESS_DENIED|PERMISSION_DENIED)\b")
_STATUS = re.compile(r"(?i)\b(?:http status|status code|http)\W{0,3}([345]\d\d)\b")
_REMEDIES = (
    (re.compile("NO_SUCH_BUCKET"), "make the bucket, or correct its name"),
    (re.compile("SIGNATURE|ACCESS_KEY|TOKEN|CLIENT|UNAUTHENTICATED|401"), "correct the credentials, in the environment or in the URI"),
    (re.compile("ACCESS_DENIED|PERMISSION_DENIED|403|denied|permitted"), "correct the credentials or the permissions"),
    (re.compile("Read-only file system"), "give a place that can be written"),
    (re.compile("No space left|quota exceeded"), "free space"),
)


def kind(error: BaseException, *, local: bool) -> Kind:
    """How long an error of a file system is tried against; `local`: whether the file system is of this machine."""
    code = getattr(error, "status", None) or getattr(error, "code", None)  # aiohttp's, gcsfs's
    if isinstance(code, int) and 300 <= code < 600:
        return _of_status(code)
    if isinstance(error, OSError) and error.errno is not None:
        if error.errno in _PASSING or (not local and error.errno > 133):  # which Linux has no name for: a library's own
            return Kind.PASSING
        return Kind.FORBIDDEN if not local and error.errno in (errno.EACCES, errno.EPERM) else Kind.LASTING
    text = str(error)
    if local or isinstance(error, _OF_A_PROGRAM) or _LASTING.search(text):
        return Kind.LASTING
    if _FORBIDDEN.search(text):
        return Kind.FORBIDDEN
    status = _STATUS.search(text)
    return _of_status(int(status[1])) if status is not None else Kind.PASSING


def _of_status(code: int) -> Kind:
    if code == 403:
        return Kind.FORBIDDEN
    passing = code >= 500 or code in (408, 416, 425, 429)  # 416: the file is shorter now, which a new try finds
    return Kind.PASSING if passing else Kind.LASTING


def remedy(reason: str) -> str:
    """What to do about what does not pass, by the reason that was told."""
    return next((text for pattern, text in _REMEDIES if pattern.search(reason)), "correct the place, or what is asked of it")
