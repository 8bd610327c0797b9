"""Find out why a stream can't be opened, as a code and a sentence, by a simple request to its server.

OpenCV only reports that it failed. HTTP servers are asked first, and the response is used as the stream if it is MJPEG;
other servers are asked after OpenCV has failed.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import socket
import ssl
import time
from collections.abc import Mapping
from email.message import Message
from http.client import HTTPException, HTTPResponse, parse_headers
from types import MappingProxyType
from typing import Final, NamedTuple
from urllib.error import HTTPError, URLError
from urllib.parse import quote, unquote
from urllib.request import (
    HTTPSHandler,
    Request,
    build_opener,
    getproxies,
    parse_http_list,
    parse_keqv_list,
    proxy_bypass,
)

import cv2

from stpr.runtime.contract.errors import SourceError
from stpr.runtime.contract.names import masked, shown

ELSEWHERE: Final = "or try --source FILE or --source synthetic:motions"
# The fix for each code.
FIXES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "refused": "check the address and that the camera's service is on",
        "unauthorised": "check user and password; the next attempt is in five minutes, to avoid being locked out",
        "not found": "check the address",
        "codec": "choose H.264 or MJPEG in the camera's settings",
        "timeout": "check the network, the port and whether the camera is on",
        "tls": "check whether the port speaks TLS, or use the address without it",
        "gone": "check the camera or server",
    }
)
PORTS: Final = {"rtsp": 554, "rtsps": 322, "rtmp": 1935, "http": 80, "https": 443}
RTSP: Final = ("rtsp", "rtsps")
REDIRECTS: Final = {300, 301, 302, 303, 305, 307, 308}
SAFE: Final = "%/:=&?~#+!$,;'@()*[]"  # characters allowed in a URL; others are percent-encoded
LAST_PORT: Final = 65535
LONGEST_HEAD: Final = 1 << 16  # bytes of an RTSP response


def no_stream(url: str, code: str, words: str) -> SourceError:
    """The error of a stream that can't be opened."""
    return SourceError(f"no stream at {masked(shown(url))}: {code}, {words}; {FIXES[code]}, {ELSEWHERE}.", code=code)


def ask_http(url: str, seconds: float, wanted: str | None = None) -> HTTPResponse:
    """The response of an HTTP server, with unread body; raises SourceError with the reason of a failure.

    `wanted`: the range of bytes to ask for, as in the header; None: all.
    """
    headers = {"User-Agent": "stpr"} | ({} if wanted is None else {"Range": wanted})
    try:
        bare, user = parted(url)
        _place(bare)
        bare = quote(bare, safe=SAFE)
        opener = build_opener(HTTPSHandler(context=_trusting()))
        try:
            return opener.open(Request(bare, headers=headers), timeout=seconds)  # type: ignore[no-any-return]
        except HTTPError as error:
            challenge = error.headers.get_all("WWW-Authenticate") or []
            error.close()
            if error.code != 401 or user is None or not challenge:
                raise
        # Only once, since repeated wrong passwords lock users out.
        request = Request(bare, headers=headers)
        request.add_unredirected_header("Authorization", _authorization(challenge, "GET", request.selector, user))
        return opener.open(request, timeout=seconds)  # type: ignore[no-any-return]
    except HTTPError as error:
        error.close()
        code, words = _status(error.code, error.headers.get("Location"))
        proxy = _proxy(url)
        raise no_stream(url, code, words if proxy is None else f"{words}, by way of {proxy}") from None
    except (OSError, HTTPException, ValueError) as error:
        raise no_stream(url, *fault(error, url, seconds)) from None


def why_no_stream(url: str, seconds: float) -> SourceError:
    """Ask the server why OpenCV could not open a stream."""
    scheme = url.partition("://")[0]
    try:
        if scheme in {"http", "https"}:
            ask_http(url, seconds).close()
        elif scheme in RTSP:
            _ask_for_video(url, seconds)
        elif scheme in PORTS:
            _connected(url, seconds).close()
        elif not _speaks(scheme):
            return SourceError(  # no code, since waiting can't help
                f"the OpenCV here ({cv2.__version__}) does not support {scheme}; let FFmpeg relay it, as in:"
                f" ffmpeg -i {masked(url)} -f mjpeg -q:v 3 - | stpr-run --source -."
            )
        else:
            return no_stream(url, "timeout", f"nothing came within {seconds:g} s")
    except SourceError as error:
        return error
    except (OSError, HTTPException, ValueError) as error:
        return no_stream(url, *fault(error, url, seconds))
    otherwise = ", or can't come this way (--transport)" if scheme in RTSP else ", or breaks off"
    return no_stream(url, "codec", f"the server answers, but what it sends can't be decoded here{otherwise}")


def _ask_for_video(url: str, seconds: float) -> None:
    """Ask an RTSP server for a stream; raises SourceError if it has none, or one without a picture."""
    status, offered = _ask_rtsp(url, seconds)
    if status != 200:
        raise no_stream(url, *_status(status))
    if offered and "video" not in offered:
        raise no_stream(url, "not found", f"no picture there, the server offers {' and '.join(offered)} alone")


def _speaks(scheme: str) -> bool:
    """Whether OpenCV's FFmpeg supports this scheme; unsupported ones fail immediately."""
    begun = time.monotonic()
    device = cv2.VideoCapture(f"{scheme}://127.0.0.1:9", cv2.CAP_FFMPEG, [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, 200])
    device.release()
    return time.monotonic() - begun > 0.1


def parted(url: str) -> tuple[str, tuple[str, str] | None]:
    """Split a URL into the URL without credentials, and user and password."""
    scheme, _, rest = url.partition("://")
    place, slash, path = rest.partition("/")
    user, at, host = place.rpartition("@")
    if not at:
        return url, None
    name, _, password = user.partition(":")
    return f"{scheme}://{host}{slash}{path}", (unquote(name), unquote(password))


def _ask_rtsp(url: str, seconds: float) -> tuple[int, list[str]]:
    """The status of an RTSP DESCRIBE request, and the kinds of media that the stream offers, such as video.

    Raises OSError or ValueError on failure.
    """
    bare, user = parted(url)
    with _connected(url, seconds) as connection:
        if url.startswith("rtsps"):
            connection = _trusting().wrap_socket(connection)
        head = f"DESCRIBE {bare} RTSP/1.0\r\nCSeq: {{}}\r\nAccept: application/sdp\r\nUser-Agent: stpr\r\n"
        answer = _exchange(connection, head.format(1))
        challenge = answer.headers.get_all("WWW-Authenticate") or []
        if answer.status == 401 and user is not None and challenge:
            proof = _authorization(challenge, "DESCRIBE", bare, user)
            answer = _exchange(connection, f"{head.format(2)}Authorization: {proof}\r\n")
    return answer.status, re.findall(r"(?m)^m=(\w+)", answer.body.decode("latin-1"))


class _Answer(NamedTuple):
    """An RTSP server's answer to a request."""

    status: int
    headers: Message
    body: bytes


def _exchange(connection: socket.socket, head: str) -> _Answer:
    connection.sendall(f"{head}\r\n".encode())
    with connection.makefile("rb") as answer:
        first = answer.readline(LONGEST_HEAD).decode("latin-1").strip()
        if not first:
            raise ConnectionResetError
        found = re.fullmatch(r"RTSP/\d\.\d (\d{3}).*", first)
        if found is None:
            raise HTTPException
        headers = parse_headers(answer)
        length = headers.get("Content-Length", "0")
        return _Answer(int(found[1]), headers, answer.read(min(int(length), LONGEST_HEAD) if length.isdecimal() else 0))


def _connected(url: str, seconds: float) -> socket.socket:
    return socket.create_connection(_place(parted(url)[0]), timeout=seconds)


def _place(bare: str) -> tuple[str, int]:
    """Host and port of a URL without credentials; raises ValueError if invalid."""
    scheme, _, rest = bare.partition("://")
    found = re.match(r"(\[[^\]]*\]|[^/?:]*)(?::(\d+))?", rest)
    if found is None or not found[1]:
        raise ValueError("the address has no host")
    if int(found[2] or 0) > LAST_PORT:
        raise ValueError(f"{found[2]} is not a port")
    return found[1].strip("[]"), int(found[2] or PORTS[scheme])


def _authorization(challenges: list[str], method: str, path: str, user: tuple[str, str]) -> str:
    """The Authorization header for the strongest supported challenge; raises ValueError if none is supported."""
    name, password = user
    for challenge in sorted(challenges, key=lambda one: not one.lower().startswith("digest")):
        kind, _, rest = challenge.partition(" ")
        if kind.lower() == "basic":
            import base64

            return f"Basic {base64.b64encode(f'{name}:{password}'.encode()).decode()}"
        asked = parse_keqv_list(parse_http_list(rest))
        algorithm = {"MD5": hashlib.md5, "SHA-256": hashlib.sha256}.get(asked.get("algorithm", "MD5").upper())
        if kind.lower() != "digest" or algorithm is None:
            continue

        def digest(*parts: str, of: object = algorithm) -> str:
            return str(of(":".join(parts).encode()).hexdigest())  # type: ignore[operator]

        realm, nonce = asked.get("realm", ""), asked.get("nonce", "")
        secret, about = digest(name, realm, password), digest(method, path)
        fields = f'username="{name}", realm="{realm}", nonce="{nonce}", uri="{path}"'
        if "auth" in asked.get("qop", "").replace(",", " ").split():
            own = secrets.token_hex(8)
            fields += f', qop=auth, nc=00000001, cnonce="{own}"'
            proof = digest(secret, nonce, "00000001", own, "auth", about)
        else:
            proof = digest(secret, nonce, about)
        known = {key: asked[key] for key in ("opaque", "algorithm") if key in asked}
        return "Digest " + ", ".join(
            [fields, f'response="{proof}"', *(f'{key}="{value}"' for key, value in known.items())]
        )
    raise ValueError("it asks for a kind of login that is not supported here")


def _status(status: int, onwards: str | None = None) -> tuple[str, str]:
    if status in REDIRECTS:
        where = f"to {masked(shown(onwards))}" if onwards else "without a target"
        return "not found", f"the server redirects {where} ({status}), which does not lead to a stream here"
    if status in {401, 403, 407}:
        return "unauthorised", f"the server requires other credentials ({status})"
    if status in {404, 410}:
        return "not found", f"the server has no such stream ({status})"
    return "refused", f"the server answers with an error ({status})"


def fault(error: Exception, url: str, seconds: float) -> tuple[str, str]:
    """Code and reason for a network error."""
    if isinstance(error, URLError) and isinstance(error.reason, OSError):
        error = error.reason
    place = _proxy(url) or masked(parted(url)[0]).partition("://")[2].partition("/")[0]
    if isinstance(error, ConnectionRefusedError):
        return "refused", f"nothing listens at {place}"
    if isinstance(error, socket.gaierror):
        return "not found", f"there is no host {place}"
    if isinstance(error, ssl.SSLError):
        return "tls", f"no encrypted connection: {(error.reason or 'handshake failed').lower().replace('_', ' ')}"
    if isinstance(error, OSError):
        return _broken_connection(error, seconds)
    if isinstance(error, HTTPException):
        return "refused", f"it answers, but not with valid {'RTSP' if url.startswith(RTSP) else 'HTTP'}"
    return "not found", str(error) or "it is not a valid address"


def _proxy(url: str) -> str | None:
    """The proxy that the environment sets for a URL's requests; None without one."""
    scheme, _, rest = parted(url)[0].partition("://")
    proxy = getproxies().get(scheme)
    if proxy is None or proxy_bypass(rest.partition("/")[0]):
        return None
    place = masked(proxy).rpartition("://")[2].rpartition("@")[2].rstrip("/")
    return f"{place}, the proxy that {scheme}_proxy sets (no_proxy=HOST reaches a camera without it)"


def _broken_connection(error: OSError, seconds: float) -> tuple[str, str]:
    if isinstance(error, TimeoutError):
        return "timeout", f"nothing came within {seconds:g} s"
    if isinstance(error, ConnectionError):
        return "gone", "the server hung up"
    return "gone", (error.strerror or "the network failed").lower()


def _trusting() -> ssl.SSLContext:
    """TLS without certificate checks, as in FFmpeg, since cameras use self-signed certificates."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context
