# SPDX-License-Identifier: Apache-2.0
"""The front-end's XML-RPC API: the only importer of pyone.

pyone brings the session, the casting of arguments and the protocol; answers are kept as XML, because its object tree
costs five times the CPU and loses the order of attributes. Every call has a deadline of its own (pyone's own
`timeout` does not reach requests), and a call that was never sent is told from one whose answer was lost.
"""

from __future__ import annotations

import re
import xmlrpc.client
from typing import TYPE_CHECKING, Any, Callable, Optional

from lxml import etree

from onebackup_driver import clock, errors, paths, xml_rpc, xml_text

if TYPE_CHECKING:
    import requests

_REFUSALS = {256: errors.AuthenticationFailed, 512: errors.NotAuthorized, 1024: errors.NoSuchObject}
#: What the operating system said, deep inside what urllib3 makes of it.
_SYSTEM_REASON = re.compile(r"\[Errno -?\d+\] ([A-Za-z ]+)")
_RETRY_PAUSE_S = 0.5
#: What oned itself can say at most (MESSAGE_SIZE of oned.conf), and a little more: markup is escaped.
_ANSWER_BYTES = 1280 * 1024 * 1024
_PIECE_BYTES = 1024 * 1024
#: A front-end that has never answered is more likely misspelt than restarting.
_FIRST_PATIENCE_S = 3.0


class FrontEnd:
    """A front-end at `endpoint`, spoken to as `session` (`user:password`)."""

    def __init__(self, endpoint: str, session: str, call_timeout_s: float = 60, patience_s: float = 60):
        self.endpoint = endpoint
        #: Where the session came from, for the line that says that it is wrong.
        self.session_file = ""
        self._call_timeout_s = call_timeout_s
        self._patience_s = patience_s
        self._reached = False
        self._server = _pyone_server(endpoint, session, call_timeout_s)

    def call(self, method: str, *arguments: Any) -> Any:
        """Execute a call that changes something, e.g. `call("one.vm.action", "resume", 42)`; its value is returned.

        Tried again only while it was certainly not sent. Raises CallRefused, Unreachable or OutcomeUnknown.
        """
        return self._patiently(method, arguments, errors.Unreachable)

    def repeat(self, method: str, *arguments: Any) -> Any:
        """Execute a change that may be executed twice (an update, a chmod, a delete): tried again like a read."""
        return self.read(method, *arguments)

    def read(self, method: str, *arguments: Any) -> Any:
        """Execute a call that changes nothing: tried again until the front-end answers or patience ends."""
        return self._patiently(method, arguments, (errors.Unreachable, errors.OutcomeUnknown))

    def element(self, method: str, *arguments: Any) -> etree._Element:
        """The XML a reading call answers with. Raises FrontEndError when it is not well-formed."""
        return self._parse(method, self.read(method, *arguments))

    def version(self) -> str:
        """e.g. `7.4.0`."""
        return str(self.read("one.system.version"))

    def own_user_id(self) -> int:
        """The id of the user whose session this is."""
        return int(self.element("one.user.info", -1).findtext("ID", "-1"))

    def _patiently(self, method: str, arguments: tuple[Any, ...], again: Any) -> Any:
        patience_s = self._patience_s if self._reached else min(self._patience_s, _FIRST_PATIENCE_S)
        deadline = clock.monotonic() + patience_s
        while True:
            try:
                value = self._once(method, arguments)
                self._reached = True
                return value
            except again:
                if clock.monotonic() + _RETRY_PAUSE_S >= deadline:
                    raise
                clock.sleep(_RETRY_PAUSE_S)

    def _once(self, method: str, arguments: tuple[Any, ...]) -> Any:
        import requests

        try:
            answer = self._server._do_request(method, self._server._cast_parms(arguments))
        except requests.exceptions.RequestException as error:
            raise self._lost(method, error) from error
        except (xmlrpc.client.ProtocolError, xmlrpc.client.ResponseError) as error:
            raise errors.OutcomeUnknown(method, f"{self.endpoint} does not speak XML-RPC ({_short(error)})") from error
        except OverflowError as error:
            raise errors.Refused(f"{method} cannot be called with {_numbers(arguments)}: {_short(error)}") from error
        except (OSError, ValueError) as error:
            raise errors.OutcomeUnknown(
                method, f"no usable answer to {method} from {self.endpoint} ({_short(error)})"
            ) from error
        except Exception as error:
            fault = error.__cause__ or error.__context__
            if isinstance(fault, xmlrpc.client.Fault):
                raise errors.CallRefused(method, f"[{method}] {fault.faultString}", fault.faultCode) from error
            raise errors.OutcomeUnknown(
                method, f"no usable answer to {method} from {self.endpoint} ({_short(error)})"
            ) from error
        return _value(method, answer, self.session_file)

    def _lost(self, method: str, error: requests.exceptions.RequestException) -> errors.FrontEndError:
        import requests

        never_sent = isinstance(error, requests.exceptions.ConnectTimeout) or _no_connection(error)
        if never_sent or isinstance(error, (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema)):
            return errors.Unreachable(
                method,
                f"cannot reach the front-end at {self.endpoint}: does oned run, is ONE_XMLRPC right? ({_short(error)})",
            )
        if isinstance(error, requests.exceptions.Timeout):
            return errors.OutcomeUnknown(
                method, f"the front-end did not answer {method} within {self._call_timeout_s:g} s"
            )
        return errors.OutcomeUnknown(
            method, f"the connection to {self.endpoint} broke during {method} ({_short(error)})"
        )

    def _parse(self, method: str, text: Any) -> etree._Element:
        try:
            return xml_text.parse(str(text), _ANSWER_BYTES)
        except xml_text.Unreadable as error:
            raise errors.CallRefused(
                method, f"[{method}] answered with XML that cannot be read: {_short(error)}", 4096
            ) from error


def connect(where: paths.Paths, call_timeout_s: float, patience_s: float) -> FrontEnd:
    """A front-end for the session in one_auth. Raises Refused when the file is missing or holds no session."""
    try:
        session = where.one_auth.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise errors.Refused(
            f"cannot read the OpenNebula session {where.one_auth}: {_short(error)}; run as oneadmin or set ONE_AUTH"
        ) from error
    if ":" not in session:
        raise errors.Refused(f"{where.one_auth} holds no 'user:password' session; set ONE_AUTH to a file that does")
    front_end = FrontEnd(where.endpoint, session, call_timeout_s, patience_s)
    front_end.session_file = str(where.one_auth)
    return front_end


def _pyone_server(endpoint: str, session: str, timeout_s: float) -> Any:
    import pyone

    protocol = {"protocol": "xmlrpc"} if hasattr(pyone, "_resolve_uri_and_protocol") else {}
    try:
        server = pyone.OneServer(endpoint, session=session, **protocol)
    except (OSError, ValueError) as error:
        raise errors.Refused(f"ONE_XMLRPC is not a usable endpoint: {endpoint} ({error})") from error
    server("transport").request = _requester(server("transport"), timeout_s)
    return server


def _requester(transport: Any, timeout_s: float) -> Callable[..., Any]:
    def request(host: str, handler: str, body: bytes, verbose: bool = False) -> Any:
        import requests

        url = transport._build_url(host, handler)
        patience = (min(timeout_s, 10), timeout_s)
        with requests.post(url, data=body, headers=transport.headers, timeout=patience, stream=True) as answer:
            if answer.status_code != 200:
                raise xmlrpc.client.ProtocolError(url, answer.status_code, answer.reason, {})
            return xml_rpc.decode(_content(answer))

    return request


def _content(answer: requests.Response) -> bytes:
    pieces, length = [], 0
    for piece in answer.iter_content(_PIECE_BYTES):
        pieces.append(piece)
        length += len(piece)
        if length > _ANSWER_BYTES:
            raise ValueError(f"it is larger than {_ANSWER_BYTES} bytes")
    return b"".join(pieces)


def _value(method: str, answer: Any, session_file: str = "") -> Any:
    if not isinstance(answer, (list, tuple)) or len(answer) < 3 or not isinstance(answer[2], int):
        raise errors.OutcomeUnknown(method, f"{method} answered something that is not OpenNebula's")
    if answer[0]:
        return answer[1]
    message, code = str(answer[1]), answer[2]
    if code == 256:
        message += f" Check user and password in {session_file or 'the file ONE_AUTH names, or ~/.one/one_auth'}"
    object_id: Optional[int] = answer[3] if len(answer) > 3 and isinstance(answer[3], int) else None
    raise _REFUSALS.get(code, errors.CallRefused)(method, message, code, object_id)


def _no_connection(error: Exception) -> bool:
    """Whether there never was a connection; a name that does not resolve has an error class of its own in urllib3 2."""
    return any(name in repr(error) for name in ("NewConnectionError", "NameResolutionError"))


def _numbers(arguments: tuple[Any, ...]) -> str:
    return ", ".join(str(item) for item in arguments if type(item) is int)


def _short(error: BaseException) -> str:
    text = " ".join(str(error).split())
    if "RemoteDisconnected" in text or "Connection aborted" in text:
        return "it was closed without an answer"
    reason = _SYSTEM_REASON.search(text)
    return reason.group(1) if reason else text[:160]
