# SPDX-License-Identifier: Apache-2.0
"""The HTTP server of the gateway: GET, HEAD and one Range, nothing else.

aiohttp: a download costs no thread while its client is slow, each write is waited for, and a transfer that breaks off
is a closed connection before Content-Length is reached: no client takes it for a complete one.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Optional, TypeVar

from aiohttp import web
from aiohttp.abc import AbstractAccessLogger
from aiohttp.log import server_logger

from onebackup_driver import errors, plain, served
from onebackup_driver.gateway import sending
from onebackup_driver.gateway.content import Content
from onebackup_driver.gateway.points import Points, Unknown
from onebackup_driver.repository import problems
from onebackup_driver.site_rules import Gateway

_log = logging.getLogger(__name__)
#: Threads that read at once, for all clients together; each needs memory for a cell as it is stored.
_THREADS = 4
#: Cells in memory, for all clients together.
_CELLS = 6
_IDLE_S = 15.0
_GREETING = "onebackup gateway\n"
Result = TypeVar("Result")


def _is_no_lost_client(record: logging.LogRecord) -> bool:
    """OpenNebula's downloader hangs up after a first look, each time: nothing to report. What was broken off here is
    logged where it happens."""
    return not (record.exc_info and isinstance(record.exc_info[1], ConnectionError))


class Server:
    """Serves what `points` knows, by the site's rules."""

    def __init__(self, rules: Gateway, points: Points):
        self._rules, self._points = rules, points
        self._pool = ThreadPoolExecutor(_THREADS, "gateway")
        self._prefix = served.prefix(rules)
        self._lender = sending.Lender(_CELLS)
        self._active = 0

    def application(self) -> web.Application:
        made = web.Application()
        server_logger.addFilter(_is_no_lost_client)
        made.router.add_get(f"{self._prefix}/", self._greet)
        made.router.add_get(self._prefix + "/{repository}/{name}/{file}", self._serve)
        return made

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _greet(self, request: web.Request) -> web.StreamResponse:
        return web.Response(text=_GREETING)

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        if self._active >= self._rules.connections:
            return _refusal(503, "too many downloads at once", {"Retry-After": "5"})
        self._active += 1
        try:
            return await self._answer(request)
        finally:
            self._active -= 1

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        found = served.parse(request.path[len(self._prefix) :])
        if found is None:
            return _refusal(404, "not found")
        try:
            content = await self._in_thread(partial(self._points.content, *found))
        except (Unknown, problems.Missing):
            return _refusal(404, "not found")
        except (errors.Error, OSError) as error:
            _log.error("%s: %s", found[1], error)
            return _refusal(503, "the repository cannot be read now", {"Retry-After": "5"})
        return await self._respond(request, content, f'"{found[1]}.{found[2]}"')

    async def _respond(self, request: web.Request, content: Content, tag: str) -> web.StreamResponse:
        size = content.size_bytes
        headers = {
            "Accept-Ranges": "bytes", "ETag": tag, "Content-Type": "application/octet-stream", "Server": "onebackup"
        }  # fmt: skip
        part = _range(request, size, tag)
        if part is None:
            return _refusal(416, "no such range", {"Content-Range": f"bytes */{size}"})
        begin, end, status = part
        if status == 206:
            headers["Content-Range"] = f"bytes {begin}-{end - 1}/{size}"
        response = web.StreamResponse(status=status, headers=headers)
        response.content_length = end - begin
        await response.prepare(request)
        if request.method == "HEAD":
            return response
        try:
            await self._send(request, response, content, begin, end)
        except (ConnectionError, asyncio.CancelledError):
            raise  # the client went away
        except Exception as error:
            _log.error("%s broke off: %s", content.disk.name, str(error) or type(error).__name__)
            if request.transport is not None:
                request.transport.abort()
            raise ConnectionAbortedError from error
        return response

    async def _send(
        self, request: web.Request, response: web.StreamResponse, content: Content, begin: int, end: int
    ) -> None:
        loop, stall_s = asyncio.get_running_loop(), self._rules.stall_s

        def give_up() -> None:
            _log.error("%s broke off: the client has taken nothing for %g s", content.disk.name, stall_s)
            if request.transport is not None:
                request.transport.abort()

        async def write(piece: memoryview) -> None:
            patience = loop.call_later(stall_s, give_up)
            try:
                await response.write(piece)  # waits until the client has taken nearly all of it
            finally:
                patience.cancel()

        await sending.Transfer(self._lender, self._pool, content, begin, end).run(write)
        await asyncio.wait_for(response.write_eof(), stall_s)

    def _in_thread(self, work: Callable[[], Result]) -> asyncio.Future[Result]:
        return asyncio.get_running_loop().run_in_executor(self._pool, work)


def _refusal(status: int, text: str, headers: Optional[dict[str, str]] = None) -> web.Response:
    return web.Response(status=status, text=f"{text}\n", headers=headers)


def _range(request: web.Request, size: int, tag: str) -> Optional[tuple[int, int, int]]:
    """Begin, end and status of what is asked for; None for a range that is not there. What is no single range of bytes
    means everything (RFC 9110, 14.2), as does one of another file (If-Range)."""
    everything = (0, size, 200)
    if request.headers.get("If-Range", tag) != tag:
        return everything
    try:
        wanted = request.http_range
    except ValueError:
        return everything
    if wanted.start is None and wanted.stop is None:
        return everything
    if wanted.start is not None and wanted.start < 0:  # the last bytes
        return (max(0, size + wanted.start), size, 206) if size else None
    begin, end = wanted.start or 0, size if wanted.stop is None else min(wanted.stop, size)
    return (begin, end, 206) if begin < end else None


class _AccessLog(AbstractAccessLogger):
    """A line for each answer; without the token, and without what a client says of itself."""

    def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
        found = served.parse(request.path)
        what = f"{found[0]}/{found[1]}/disk.{found[2]}" if found else "something else"
        text = f"{request.remote} {request.method} {what} {response.status} {response.body_length} {time:.1f} s"
        self.logger.info("%s", plain.line(text))


async def run(rules: Gateway, points: Points, ready: Callable[[str], None]) -> None:
    """Serve until cancelled; `ready` is called with the URL once connections are taken. Raises UsageError, OSError."""
    served.check(rules)
    server = Server(rules, points)
    runner = web.AppRunner(
        server.application(), access_log=_log if _log.isEnabledFor(logging.INFO) else None, keepalive_timeout=_IDLE_S,
        access_log_class=_AccessLog, handler_cancellation=True, shutdown_timeout=2.0,
    )  # fmt: skip
    await runner.setup()
    try:
        site = web.TCPSite(runner, rules.address, rules.port, ssl_context=_tls(rules))
        await site.start()
        host, port = runner.addresses[0][:2]
        scheme = "https" if rules.tls_certificate else "http"
        ready(f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}")
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()
        server.close()


def _tls(rules: Gateway) -> Optional[ssl.SSLContext]:
    if not rules.tls_certificate:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(rules.tls_certificate, rules.tls_key or None)
    except (OSError, ssl.SSLError) as error:
        raise errors.UsageError(f"the gateway's certificate {rules.tls_certificate} cannot be used: {error}") from error
    return context
