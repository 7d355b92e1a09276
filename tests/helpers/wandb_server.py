"""As much of a W&B server as `wandb sync` needs to upload a history: what arrives is kept, by run."""

import contextlib
import gzip
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PROJECT = {"id": "P", "name": "p", "entity": {"id": "E", "name": "me"}}


@dataclass
class Server:
    """A server that is up: its address, and the lines of the history of every run."""

    url: str = ""
    history: dict[str, list] = field(default_factory=dict)
    groups: dict[str, str] = field(default_factory=dict)

    def answer(self, asked):
        """What GraphQL gives for a query."""
        query, given = asked["query"], asked.get("variables") or {}
        name = given.get("name") or given.get("run")
        lines = self.history.get(name, [])
        bucket = {"id": "B", "name": name, "displayName": name, "config": "{}", "project": PROJECT, "tags": []}
        bucket |= {"historyLineCount": len(lines), "eventsLineCount": 0, "logLineCount": 0, "summaryMetrics": "{}"}
        bucket |= {"historyTail": json.dumps([json.dumps(lines[-1])] if lines else []), "eventsTail": "[]"}
        bucket |= {"wandbConfig": "{}"}
        if "upsertBucket" in query:
            if given.get("groupName"):
                self.groups[name] = given["groupName"]
            return {"upsertBucket": {"bucket": bucket, "inserted": not lines}}
        if "createRunFiles" in query:
            made = [{"name": file, "uploadUrl": f"{self.url}/up"} for file in given["files"]]
            return {"createRunFiles": {"runID": "B", "uploadHeaders": [], "files": made}}
        if "bucket(" in query:
            return {"model": PROJECT | {"bucket": bucket if name in self.history else None}}
        return {"viewer": {"id": "V", "entity": "me", "flags": "{}"}, "serverInfo": {"features": []}}

    def take(self, run, body):
        """Keep lines of a history; those from the offset on are replaced, as W&B does."""
        sent = (body.get("files") or {}).get("wandb-history.jsonl")
        if sent:
            own = self.history.setdefault(run, [])
            own[sent["offset"] :] = [json.loads(line) for line in sent["content"]]


def handler(server):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def do_POST(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            answer = {}
            if self.path == "/graphql":
                answer = {"data": server.answer(json.loads(body))}
            elif self.path.endswith("/file_stream"):
                server.take(self.path.split("/")[-2], json.loads(body))
            sent = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(sent)))
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(sent)

        do_PUT = do_GET = do_POST  # noqa: N815

    return Handler


class Quiet(ThreadingHTTPServer):
    """Says nothing where a client goes away."""

    def handle_error(self, *_):
        pass


@contextlib.contextmanager
def serving():
    """A server while the block lasts."""
    server = Server()
    with Quiet(("127.0.0.1", 0), handler(server)) as http:
        server.url = f"http://127.0.0.1:{http.server_address[1]}"
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            http.shutdown()
            thread.join()
