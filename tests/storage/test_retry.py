"""What is tried again, for how long, and what is said then."""

from __future__ import annotations

import errno
import pickle

import pyarrow as pa
import pytest

from storage.errors import Kind, Refused, StorageError, Unreachable, kind, why
from storage.location import Location
from storage.retry import FORBIDDEN_SECONDS, Patience, stated
from tests.trainer.stores import patient

PLACE = Location.parse("s3://key:geheim@bucket/x?region=y")


class Answer(Exception):
    """An error of a web client's."""

    def __init__(self, status: int) -> None:
        super().__init__(f"{status}, message='...', url='https://host/x?sig=verborgen'")
        self.status = status


@pytest.mark.parametrize(
    ("error", "local", "expected"),
    [
        (OSError("When reading information for key 'x' in bucket 'b': AWS Error NETWORK_CONNECTION during HeadObject operation: curlCode: 7, Could not connect"), False, Kind.PASSING),
        (OSError("When uploading part for key 'x' in bucket 'b': AWS Error SLOW_DOWN during UploadPart operation: Reduce your request rate."), False, Kind.PASSING),
        (OSError("AWS Error INTERNAL_FAILURE during GetObject operation: x"), False, Kind.PASSING),
        (OSError("AWS Error UNKNOWN (HTTP status 500) during HeadObject operation: No response body."), False, Kind.PASSING),
        (OSError("AWS Error UNKNOWN (HTTP status 429) during HeadObject operation: No response body."), False, Kind.PASSING),
        (OSError("AWS Error UNKNOWN (HTTP status 400) during HeadObject operation: No response body."), False, Kind.LASTING),
        (OSError("AWS Error ACCESS_DENIED during HeadObject operation: No response body."), False, Kind.FORBIDDEN),
        (OSError("AWS Error SIGNATURE_DOES_NOT_MATCH during ListObjectsV2 operation: x"), False, Kind.LASTING),
        (OSError("AWS Error INVALID_ACCESS_KEY_ID during PutObject operation: x"), False, Kind.LASTING),
        (OSError("AWS Error NO_SUCH_BUCKET during CreateMultipartUpload operation: The specified bucket does not exist."), False, Kind.LASTING),
        (OSError("google::cloud::Status(UNAVAILABLE: Retry policy exhausted)"), False, Kind.PASSING),
        (OSError("google::cloud::Status(PERMISSION_DENIED: no)"), False, Kind.FORBIDDEN),
        (Answer(503), False, Kind.PASSING),
        (Answer(429), False, Kind.PASSING),
        (Answer(403), False, Kind.FORBIDDEN),
        (Answer(401), False, Kind.LASTING),
        (Answer(410), False, Kind.LASTING),
        (TimeoutError(), False, Kind.PASSING),
        (EOFError(), False, Kind.PASSING),
        (ConnectionResetError(errno.ECONNRESET, "reset"), False, Kind.PASSING),
        (PermissionError(errno.EACCES, "forbidden"), False, Kind.FORBIDDEN),
        (pa.ArrowInvalid("Unexpected query parameter"), False, Kind.LASTING),
        (KeyError("x"), False, Kind.LASTING),
        (OSError(errno.EIO, "Input/output error"), True, Kind.PASSING),
        (OSError(errno.ESTALE, "Stale file handle"), True, Kind.PASSING),
        (OSError(errno.ENOSPC, "No space left on device"), True, Kind.LASTING),
        (PermissionError(errno.EACCES, "Permission denied"), True, Kind.LASTING),
        (OSError(errno.EROFS, "Read-only file system"), True, Kind.LASTING),
        (IsADirectoryError(errno.EISDIR, "Is a directory"), True, Kind.LASTING),
        (OSError("Cannot open for reading: path 'x' is a directory"), True, Kind.LASTING),
    ],
)  # fmt: skip
def test_what_may_pass_is_told_from_what_does_not(error: Exception, local: bool, expected: Kind) -> None:
    assert kind(error, local=local) is expected


class Failing:
    """An action that fails so many times, with what it is told; what it waits in between is noted."""

    def __init__(self, error: Exception, times: int = 1 << 30) -> None:
        self.error, self.times, self.calls = error, times, 0

    def __call__(self) -> str:
        self.calls += 1
        if self.calls <= self.times:
            raise self.error
        return "done"


def test_what_passes_is_done_after_waits_that_grow_and_differ() -> None:
    rows = []
    for _ in range(30):
        waits: list[float] = []
        assert Patience(1e9, waits.append, lambda: 0.0).again(Failing(OSError("cut"), 9), "x", PLACE) == "done"
        rows.append(waits)
    for number, column in enumerate(zip(*rows, strict=True)):
        middle = min(20.0, 0.5 * 2**number)
        assert all(0.5 * middle <= wait <= 1.5 * middle for wait in column)
        assert len(set(column)) > 20, "many workers do not come back at once"


@pytest.mark.parametrize(("error", "limit"), [(OSError("cut"), 60.0), (OSError("AWS Error ACCESS_DENIED"), FORBIDDEN_SECONDS)])
def test_what_does_not_pass_is_given_up_within_the_stated_time(error: OSError, limit: float) -> None:
    patience, action = patient(), Failing(error)
    with pytest.raises(StorageError):
        patience.again(action, "x", PLACE)
    assert patience.clock() == pytest.approx(limit, abs=0.02), "all of the time is used, and no more"
    assert action.calls > 4


def test_what_cannot_pass_is_told_at_once_in_one_line_without_secrets() -> None:
    for error, said, reason in (
        (ValueError("no such option\n in s3://key:geheim@bucket?a"), Refused, "no such option in s3://key:***@bucket?a"),
        (OSError("AWS Error NO_SUCH_BUCKET with geheim"), Refused, "AWS Error NO_SUCH_BUCKET with ***"),
        (Answer(404), Refused, "404, message='...', url='https://host/x?sig=***'"),
    ):
        action = Failing(error)
        with pytest.raises(said) as caught:
            patient().again(action, f"{PLACE}: cannot be read", PLACE)
        assert action.calls == 1
        assert str(caught.value).startswith(f"s3://key:***@bucket/x?region=y: cannot be read ({reason}); ")
        assert caught.value.why == why(caught.value) == reason
        again = pickle.loads(pickle.dumps(caught.value))
        assert (type(again), str(again)) == (said, str(caught.value)), "it comes through from workers"
    with pytest.raises(FileNotFoundError):
        patient().again(Failing(FileNotFoundError(2, "x")), "x", PLACE)
    with pytest.raises(MemoryError):
        patient().again(Failing(MemoryError()), "x", PLACE)


def test_the_time_is_the_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FOUNDRY_RETRY_SECONDS", raising=False)
    assert stated() == 120
    monkeypatch.setenv("FOUNDRY_RETRY_SECONDS", "0")
    action = Failing(OSError("cut"))
    with pytest.raises(Unreachable, match=r"^x \(cut\); check the URI, the network and the server, then run the same command again$"):
        Patience().again(action, "x", PLACE)
    assert action.calls == 1
    monkeypatch.setenv("FOUNDRY_RETRY_SECONDS", "soon")
    with pytest.raises(Refused, match=r"^FOUNDRY_RETRY_SECONDS \(`soon` is no number\); give seconds, such as 120$"):
        stated()
