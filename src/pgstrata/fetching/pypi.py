"""The Python package index that this machine is configured to use, and the URLs of its files."""

import configparser
import http.client
import json
import sys
from collections.abc import Iterator, Mapping
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urldefrag, urljoin, urlsplit

from pgstrata.errors import ProgramError
from pgstrata.fetching.download import open_url, without_login

_PUBLIC = "https://pypi.org/simple"
_JSON = "application/vnd.pypi.simple.v1+json"


def index(env: Mapping[str, str]) -> str:
    """The index's URL as pip determines it: from its variables, then its files."""
    return env.get("PIP_INDEX_URL") or _configured(env) or _PUBLIC


def url_of(index_url: str, project: str, file_name: str) -> str:
    """The URL of a project's file. Raises ``ProgramError``."""
    page = f"{index_url.rstrip('/')}/{project}/"
    try:
        with open_url(page, {"Accept": f"{_JSON}, text/html;q=0.5"}) as answer:
            kind = answer.headers.get_content_type()
            links = dict(_links(answer.read().decode("utf-8", "replace"), kind))
            base = answer.geturl()
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise _unobtainable(file_name, page, str(error)) from None
    if file_name not in links:
        raise _unobtainable(file_name, page, "it is not listed there")
    return _with_login(urljoin(base, urldefrag(links[file_name]).url), page)


def _links(text: str, kind: str) -> Iterator[tuple[str, str]]:
    if kind == _JSON:
        yield from ((file["filename"], file["url"]) for file in json.loads(text)["files"])
        return
    page = _Page()
    page.feed(text)
    yield from ((urldefrag(href).url.rpartition("/")[2], href) for href in page.links)


class _Page(HTMLParser):
    """The links of an index's page."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.links.extend(value for name, value in attrs if name == "href" and value)


def _with_login(url: str, page: str) -> str:
    """The URL with the page's name and password, if it is on the same server."""
    login, at, server = urlsplit(page).netloc.rpartition("@")
    parts = urlsplit(url)
    return parts._replace(netloc=f"{login}{at}{server}").geturl() if parts.netloc == server else url


def _configured(env: Mapping[str, str]) -> str | None:
    for path in _files(env):
        parser = configparser.RawConfigParser()
        try:
            parser.read(path, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError) as error:
            raise ProgramError(f"{path} cannot be read: {error}", remedy="correct it") from None
        for section in ("install", "global"):
            if found := parser.get(section, "index-url", fallback=None):
                return found
    return None


def _files(env: Mapping[str, str]) -> Iterator[Path]:
    """The files with pip's settings, in order of precedence."""
    if given := env.get("PIP_CONFIG_FILE"):
        yield Path(given)
    yield Path(sys.prefix) / "pip.conf"
    home = Path(env["HOME"]) if env.get("HOME") else Path.home()
    yield Path(env.get("XDG_CONFIG_HOME") or home / ".config") / "pip" / "pip.conf"
    yield home / "Library" / "Application Support" / "pip" / "pip.conf"
    yield home / ".pip" / "pip.conf"
    yield Path("/etc/xdg/pip/pip.conf")
    yield Path("/etc/pip.conf")


def _unobtainable(file_name: str, page: str, reason: str) -> ProgramError:
    return ProgramError(
        f"{file_name} cannot be fetched from {without_login(page)}: {reason}",
        remedy="check that the index can be reached, or use a local file: --from",
    )
