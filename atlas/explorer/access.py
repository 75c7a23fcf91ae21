"""Who may see a server's pages: this machine alone, or whoever has the token.

With a token, a page is shown to the holder of a cookie that only the right token earns. The cookie is not the token:
it is drawn anew at each start, HttpOnly and SameSite=Strict. Both are compared in constant time.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import secrets
from typing import Any
from urllib.parse import urlencode

from bokeh.server.auth_provider import AuthProvider
from tornado.web import RequestHandler

from atlas.errors import AtlasError

COOKIE = "atlas-access"
LOGIN = "/login"
SHORTEST_TOKEN = 12
WRONG_TOKEN_SECONDS = 1.0

PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="referrer" content="no-referrer">
<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,"><title>Activation Atlas</title>{refresh}
<style>body {{ font: 16px/1.5 system-ui, sans-serif; display: grid; place-content: center;
       min-height: 100vh; margin: 0 }}
form {{ display: grid; gap: 0.8em; width: 20em }} input, button {{ font: inherit; padding: 0.5em 0.7em }}</style>
<form method="post" action="/login"><label for="token">{words}</label>
<input id="token" name="token" type="password" autocomplete="current-password" autofocus required>
<button>Open</button></form></html>"""


class Access:
    """The rule of one server: the token (None: none is asked for) and the cookie that proves it."""

    def __init__(self, token: str | None) -> None:
        self._token = token
        self.cookie = secrets.token_urlsafe(32)

    def is_right(self, token: str) -> bool:
        """Whether this is the token."""
        return self._token is not None and hmac.compare_digest(token.encode(), self._token.encode())

    def admits(self, handler: RequestHandler) -> bool:
        """Whether a request may see this server's pages and data."""
        if self._token is None:
            return True
        return hmac.compare_digest((handler.get_cookie(COOKIE) or "").encode(), self.cookie.encode())

    @property
    def needed(self) -> bool:
        """Whether a token is asked for."""
        return self._token is not None


def check_binding(address: str, token: str | None, origins: tuple[str, ...]) -> None:
    """Refuse an address that others reach without a token, and a token that could be guessed. Raises AtlasError."""
    if token is not None and len(token) < SHORTEST_TOKEN:
        raise AtlasError(
            f"--token is too short: at least {SHORTEST_TOKEN} characters, such as {secrets.token_urlsafe(16)}"
        )
    if is_loopback(address):
        return
    if token is None:
        raise AtlasError(
            f"--address {address} lets others in: name a token too, such as --token {secrets.token_urlsafe(16)}"
        )
    if address in ("0.0.0.0", "::") and not origins:  # this refuses it
        raise AtlasError(
            f"--address {address} says no name to open: add --origin HOST:PORT, as it stands in the browser"
        )


def is_loopback(address: str) -> bool:
    """Whether only this machine reaches an address. Raises AtlasError for what is no IP address."""
    try:
        return ipaddress.ip_address("127.0.0.1" if address == "localhost" else address).is_loopback
    except ValueError:
        raise AtlasError(f"--address {address} is no IP address: name one of this machine's") from None


class TokenAuth(AuthProvider):
    """Bokeh's question who the user is, answered by the cookie; pages and websockets are refused without it."""

    def __init__(self, access: Access) -> None:
        self._access = access
        super().__init__()

    @property
    def get_user(self) -> Any:
        """Who asks: anybody who is admitted, else None."""
        return lambda handler: "admitted" if self._access.admits(handler) else None

    @property
    def get_user_async(self) -> Any:
        """There is no slow answer."""
        return None

    @property
    def login_url(self) -> str | None:
        """See get_login_url."""
        return None

    @property
    def get_login_url(self) -> Any:
        """The login page; a token in the page's address goes with it."""

        def address(handler: RequestHandler) -> str:
            token = handler.get_query_argument("token", "")
            known = {"next": handler.request.path} | ({"token": token} if token else {})
            return f"{LOGIN}?{urlencode(known)}"

        return address

    @property
    def login_handler(self) -> None:
        """The page is a route of its own: Bokeh would hand the handler nothing of this object."""
        return None

    @property
    def logout_url(self) -> str | None:
        """There is none: the cookie ends with the server."""
        return None

    @property
    def logout_handler(self) -> None:
        """There is none."""
        return None


class LoginHandler(RequestHandler):
    """The page that asks for the token; right, it is exchanged for the cookie."""

    def initialize(self, access: Access, hosts: frozenset[str], routes: tuple[str, ...]) -> None:
        """Take what all requests share."""
        self.access, self.hosts, self.routes = access, hosts, routes

    def prepare(self) -> None:
        """Refuse another host's name (DNS rebinding)."""
        if self.request.host.lower() not in self.hosts:
            self.send_error(403)

    async def get(self) -> None:
        """Ask, unless the address holds the right token already."""
        token = self.get_query_argument("token", "")
        await self._answer(token, "The token for this atlas" if not token else "That is not the token. Try again:")

    async def post(self) -> None:
        """Take the form's token."""
        await self._answer(self.get_body_argument("token", ""), "That is not the token. Try again:")

    async def _answer(self, token: str, words: str) -> None:
        self.set_header(
            "Content-Security-Policy",
            "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; img-src data:",
        )
        self.set_header("Cache-Control", "no-store")
        if self.access.is_right(token):
            # A page that goes on by itself: after a redirect from another site a strict cookie would not be sent.
            self.set_cookie(
                COOKIE,
                self.access.cookie,
                httponly=True,
                samesite="Strict",
                path="/",
                secure=self.request.protocol == "https",
            )
            wanted = self.get_query_argument("next", "/")
            target = wanted if wanted in self.routes else "/"
            self.finish(PAGE.format(words="Opening …", refresh=f'<meta http-equiv="refresh" content="0;url={target}">'))
            return
        if token:
            await asyncio.sleep(WRONG_TOKEN_SECONDS)  # tells who types it that it was read
            self.set_status(403)
        self.finish(PAGE.format(words=words, refresh=""))
