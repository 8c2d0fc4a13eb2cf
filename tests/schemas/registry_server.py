"""A schema registry as far as its clients meet it: the REST interface of Confluent's, in memory, on loopback."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import unquote, urlsplit

SUBJECT_NOT_FOUND, SCHEMA_NOT_FOUND, INCOMPATIBLE = 40401, 40403, 409


class RegistryServer:
    """Serves until `close`. `requests` lists what was asked; `refuse` and `broken` make it answer errors."""

    def __init__(self) -> None:
        self.schemas: list[dict[str, Any]] = []
        self.subjects: dict[str, list[int]] = {}
        self.compatibility: dict[str, str] = {}
        self.requests: list[str] = []
        self.refuse = False
        self.broken = False
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                path = unquote(urlsplit(self.path).path)
                registry.requests.append(f"{self.command} {path}")
                length = int(self.headers.get("Content-Length", 0))
                body = json.loads(self.rfile.read(length) or b"{}")
                status, content = registry.handle(self.command, path.strip("/").split("/"), body)
                data = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_PUT = answer  # noqa: N815  the server looks for these names

            def log_message(self, *_: Any) -> None:
                """Nothing on stderr."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def handle(self, method: str, path: list[str], body: dict[str, Any]) -> tuple[int, Any]:  # noqa: PLR0911  one a route
        match method, path:
            case _ if self.broken:
                return 500, {"error_code": 50001, "message": "the store is down"}
            case "PUT", ["config", subject]:
                self.compatibility[subject] = body["compatibility"]
                return 200, body
            case "GET", ["schemas", "ids", number] if 0 < int(number) <= len(self.schemas):
                return 200, self.schemas[int(number) - 1]
            case "GET", ["schemas", "ids", number]:
                return 404, {"error_code": SCHEMA_NOT_FOUND, "message": f"Schema {number} not found"}
            case "POST", ["subjects", _, "versions"] if self.refuse:
                return 409, {"error_code": INCOMPATIBLE, "message": "Schema being registered is incompatible"}
            case "POST", ["subjects", subject, "versions"]:
                return 200, {"id": self.add(body["schema"], body.get("schemaType", "AVRO"), subject)}
            case _:
                return 404, {"error_code": SUBJECT_NOT_FOUND, "message": f"{method} /{'/'.join(path)} not found"}

    def add(self, schema: str, kind: str = "AVRO", subject: str = "other-value") -> int:
        """Puts a schema in; returns its id. AVRO is what a registry leaves out when it answers."""
        entry = {"schema": schema} | ({"schemaType": kind} if kind != "AVRO" else {})
        if entry not in self.schemas:
            self.schemas.append(entry)
        schema_id = self.schemas.index(entry) + 1
        self.subjects.setdefault(subject, []).append(schema_id)
        return schema_id

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
