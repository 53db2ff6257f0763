"""Downloads that go on where they stopped, are checked, and appear under their name only when they are whole."""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.message import Message
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from ecotone.errors import DataError
from ecotone.files import file_sha256

Progress = Callable[[int, int | None], None]  # bytes so far, bytes in all if known
CHUNK = 1 << 20
SECONDS = 60  # without a byte, after which a connection counts as lost


def download(
    url: str,
    folder: str | Path,
    *,
    name: str | None = None,
    sha256: str | None = None,
    size: int | None = None,
    progress: Progress | None = None,
) -> Path:
    """Fetch a file over http or https into a folder; a file that is there already and right is not fetched again.

    What arrived before an interruption waits under ``NAME.part`` and is continued, unless the server says that the
    file has changed since.

    Args:
        url: Where it is.
        folder: Where it goes; made if missing.
        name: Its name there; default the last part of the URL.
        sha256: Checksum of the whole file, 64 hexadecimal digits, where one is published.
        size: Its bytes, where they are published.
        progress: Called with the bytes so far and in all.

    Raises:
        DataError: The URL or name cannot be used, the server refuses, the transfer broke off, or the file is not the
            published one.
    """
    target = Path(folder) / _plain_name(name if name is not None else unquote(urlsplit(url).path.rpartition("/")[2]))
    if target.exists():
        _check(target, target.stat().st_size, size, sha256, url)
        return target
    part = target.with_name(target.name + ".part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        total = _transfer(url, part, checked=sha256 is not None, progress=progress or (lambda done, total: None))
        arrived = part.stat().st_size
        if total is not None and arrived < total:
            raise _lost(url, f"{arrived} of {total} bytes")
        try:
            _check(part, arrived, size if size is not None else total, sha256, url)
        except DataError:
            part.unlink()  # going on from it cannot end well
            _tag(part).unlink(missing_ok=True)
            raise
        part.replace(target)
    except OSError as error:
        raise DataError(f"cannot write {target}", found=error.strerror, mend="Free some space.") from error
    _tag(part).unlink(missing_ok=True)
    return target


@dataclass(frozen=True)
class _Answer:
    """What a server's answer says of the file: where its bytes start, how many there are, and which version it is."""

    start: int
    total: int | None
    version: str | None


def _transfer(url: str, part: Path, checked: bool, progress: Progress) -> int | None:
    """Append what is missing of the file to its part; return the bytes of the whole, if the server tells."""
    have, version = _unfinished(part, url, checked)
    headers = {"User-Agent": "ecotone", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
        if version:
            headers["If-Range"] = version
    try:
        with _open(url, headers) as response:
            answer = _understood(response.status, response.headers, have, url)
            _tag(part).write_text(json.dumps({"url": url, "version": answer.version}), "utf-8")
            with part.open("ab" if answer.start else "wb") as file:
                _copy(response, file, answer, progress)
            return answer.total
    except HTTPError as error:
        if error.code == 416 and have:  # nothing is left, or the file has become shorter
            return _shorter(error.headers, part, have, url, checked, progress)
        raise DataError(f"cannot download {url}", found=f"{error.code} {error.reason}", mend=_mend(error)) from error
    except (URLError, HTTPException, ConnectionError, TimeoutError, ssl.SSLError) as error:
        raise _lost(url, str(getattr(error, "reason", error) or type(error).__name__)) from error


def _shorter(headers: Message, part: Path, have: int, url: str, checked: bool, progress: Progress) -> int | None:
    told = re.fullmatch(r"bytes \*/(\d+)", headers.get("Content-Range", ""))
    if told and int(told[1]) == have:
        return have
    part.unlink()
    return _transfer(url, part, checked, progress)


def _copy(response: IO[bytes], file: IO[bytes], answer: _Answer, progress: Progress) -> None:
    done = answer.start
    progress(done, answer.total)
    while chunk := response.read(CHUNK):
        file.write(chunk)
        done += len(chunk)
        progress(done, answer.total)


def _understood(status: int, headers: Message, have: int, url: str) -> _Answer:
    version = headers.get("ETag") or headers.get("Last-Modified")
    if version and version.startswith("W/"):  # a weak tag does not promise the same bytes
        version = headers.get("Last-Modified")
    length = int(headers["Content-Length"]) if headers.get("Content-Length", "").isdigit() else None
    if status == 200:
        return _Answer(0, length, version)
    told = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", headers.get("Content-Range", ""))
    if status != 206 or not told or int(told[1]) != have:
        raise DataError(
            f"the server's answer for {url} does not fit what was asked",
            found=f"{status} {headers.get('Content-Range', '')}".strip(),
            expected=f"bytes from {have} on",
        )
    return _Answer(have, int(told[2]) if told[2] != "*" else None, version)


def _unfinished(part: Path, url: str, checked: bool) -> tuple[int, str | None]:
    """Bytes that wait to be continued, and the version of the file that they are of."""
    try:
        tag = json.loads(_tag(part).read_text("utf-8"))
        version = tag["version"] if tag["url"] == url else None
    except (OSError, ValueError, KeyError, TypeError):
        version = None
    if not part.exists() or not (version or checked):  # of which version the bytes are cannot be known
        return 0, None
    return part.stat().st_size, version


def _check(file: Path, found: int, size: int | None, sha256: str | None, url: str) -> None:
    if size is not None and found != size:
        raise DataError(
            f"{file.name} is not the published file",
            found=f"{found} bytes",
            expected=f"{size} bytes",
            mend=f"Delete {file} and download it again; if that does not help, {url} has changed.",
        )
    digest = file_sha256(file) if sha256 else None
    if digest != sha256:
        raise DataError(
            f"{file.name} is not the published file",
            found=f"sha256 {digest}",
            expected=sha256,
            mend=f"Delete {file} and download it again; if that does not help, {url} has changed.",
        )


def _open(url: str, headers: Mapping[str, str]) -> HTTPResponse:
    _web_only(url)
    return build_opener(_WebRedirects).open(Request(url, headers=dict(headers)), timeout=SECONDS)


class _WebRedirects(HTTPRedirectHandler):
    """Follow redirects from the web to the web, never from https to http."""

    def redirect_request(self, req: Request, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Request | None:
        _web_only(newurl, secure=req.type == "https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _web_only(url: str, secure: bool = False) -> None:
    scheme = urlsplit(url).scheme
    if scheme != "https" and (secure or scheme != "http"):
        raise DataError(
            f"refusing to download {url}", found=scheme or "no scheme", expected="https" if secure else "http or https"
        )


def _plain_name(name: str) -> str:
    if not re.fullmatch(r"[\w+@,=()][\w.+@,=() -]*", name) or name.endswith((".part", ".part.json")):
        raise DataError("a download needs a plain file name", found=repr(name), mend="Give another name.")
    return name


def _tag(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _lost(url: str, found: str) -> DataError:
    return DataError(
        f"the download of {url} broke off",
        found=found,
        mend="Give the same command again: it goes on where it stopped.",
    )


def _mend(error: HTTPError) -> str:
    if error.code in (404, 410):
        return "The file has moved: look for it on the authors' pages, and import it with ecotone weights import."
    return "Try again later."
