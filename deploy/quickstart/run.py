#!/usr/bin/env python3
"""Runs attache beside a real Envoy on this machine, sends a few requests and shows how each was decided.

Everything is made fresh in one temporary directory: certificates, configuration, policy, audit. Nothing is left when it
ends. Needs cargo, openssl and curl; Envoy is installed into a cache on first use.

Environment: ONCE=1 stops after showing; the exit code is 0 only if every decision shown is the expected one.
ENGINE=opa lets OPA judge, and shows what becomes of requests while it is away; that OPA is built on first use, which
needs Go. ATTACHE_BIN, ENVOY_BIN and OPA_BIN name programs to use instead of those built and installed here.
"""

import http.client
import http.server
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
QUICKSTART = REPOSITORY / "deploy" / "quickstart"
TRUST_DOMAIN = "spiffe://example.org/"
START_DEADLINE = 30.0

NEEDED = {
    "cargo": "install Rust from https://rustup.rs",
    "openssl": "Debian: apt-get install openssl",
    "curl": "Debian: apt-get install curl",
    "bash": "Debian: apt-get install bash",
}

# caller, method, path, more curl arguments, expected status ("TLS" = no connection), expected reason, what it shows
REQUESTS = [
    ("svc/reporting", "GET", "/documents/42", [], 200, "", "holds the permission"),
    ("svc/reporting", "DELETE", "/documents/42", [], 403, "approval_required", "a person must say yes first"),
    ("svc/reporting", "PUT", "/billing/7", [], 403, "tier_forbidden", "never by automation, permission or not"),
    ("svc/reporting", "GET", "/documents/sealed", [], 403, "policy_denied", "the Rego policy says no"),
    ("svc/reporting", "GET", "/nowhere", [], 403, "route_unmatched", "what no route names is denied"),
    ("svc/unknown", "GET", "/documents/42", [], 403, "out_of_scope", "has no permission"),
    ("agent/planner", "GET", "/documents/42", [], 403, "orphan_agent", "an agent that acts for nobody"),
    ("svc/reporting", "GET", "/documents/43", ["-H", f"x-attache-caller: {TRUST_DOMAIN}svc/admin"], 200, "",
     "a forged x-attache-caller is dropped"),
    ("svc/reporting", "GET", "/documents/..%2fbilling%2f7", [], 400, "", "a path with two readings: Envoy refuses"),
    (None, "GET", "/documents/42", [], "TLS", "", "no certificate, no connection"),
]

# Alice has delegated documents and billing to the planner, and that one reading documents to the reader. "-H @FILE" sends
# a token without showing it.
PLANNER, READER = ["-H", "@planner.header"], ["-H", "@reader.header"]
MANDATES = [
    ("agent/planner", "GET", "/documents/42", PLANNER, 200, "", "acts for Alice, who may"),
    ("agent/planner", "PUT", "/documents/42", PLANNER, 200, "", "this as well"),
    ("agent/planner", "GET", "/analytics/7", PLANNER, 403, "out_of_scope", "Alice may, but did not delegate it"),
    ("agent/planner", "PUT", "/billing/7", PLANNER, 403, "tier_forbidden", "never by automation, whoever delegates it"),
    ("agent/reader", "GET", "/documents/42", READER, 200, "", "acts for Alice, by way of the planner"),
    ("agent/reader", "PUT", "/documents/42", READER, 403, "out_of_scope", "was given reading only"),
    ("agent/reader", "GET", "/documents/42", PLANNER, 401, "presenter_mismatch", "shows the planner's token"),
]
REVOKED = [
    ("agent/planner", "GET", "/documents/42", PLANNER, 401, "token_revoked", "nothing of the task is left"),
    ("agent/reader", "GET", "/documents/42", READER, 401, "token_revoked", "nor of what was handed on for it"),
]

# What is shown with OPA as the judge after it was stopped. Before the last row it is refused often enough to open the circuit.
OUTAGE = [
    ("svc/reporting", "GET", "/documents/42", [], 200, "", "asked before: the verdict is in the cache"),
    ("svc/reporting", "GET", "/documents/44", [], 503, "policy_unavailable", "not asked before, and OPA is away"),
]
OPEN = [
    ("svc/reporting", "GET", "/documents/45", [], 503, "circuit_open", "failed 5 times: left alone for 2 s"),
]
RECOVERED = [
    ("svc/reporting", "GET", "/documents/44", [], 200, "", "OPA is back, and found so by a probe"),
]


class Failure(Exception):
    """Something the person at the terminal can act on."""


def say(text=""):
    print(text, flush=True)


# --- the application behind Envoy -------------------------------------------------------------------------------------


class Application(http.server.ThreadingHTTPServer):
    """Answers every request with what it received, and remembers it."""

    daemon_threads = True

    def __init__(self, port):
        self.seen = []
        super().__init__(("127.0.0.1", port), Echo)
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Echo(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        self.rfile.read(int(self.headers.get("content-length") or 0))
        seen = {"method": self.command, "path": self.path, "headers": {k.lower(): v for k, v in self.headers.items()}}
        self.server.seen.append(seen)
        body = json.dumps(seen, indent=2).encode() + b"\n"
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = answer

    def log_message(self, *_):
        pass


# --- what is made before the start ------------------------------------------------------------------------------------


def check_needs():
    missing = [f"  {name}: {hint}" for name, hint in NEEDED.items() if not shutil.which(name)]
    if missing:
        raise Failure("these programs are needed and not here:\n" + "\n".join(missing))


def build():
    """Builds attache and returns the path of the binary."""
    if "ATTACHE_BIN" in os.environ:
        return Path(os.environ["ATTACHE_BIN"]).resolve()
    say("Building attache (the first time takes some minutes) ...")
    command = ["cargo", "build", "--locked", "--bin", "attache"]
    if subprocess.run(command, cwd=REPOSITORY).returncode:
        raise Failure("attache does not build: see above")
    metadata = subprocess.run(["cargo", "metadata", "--no-deps", "--format-version=1"], cwd=REPOSITORY,
                              check=True, stdout=subprocess.PIPE)
    return Path(json.loads(metadata.stdout)["target_directory"]) / "debug" / "attache"


def install(tool):
    """Returns the path of Envoy or OPA, installed if need be."""
    result = subprocess.run([REPOSITORY / "tests" / "tools" / tool], stdout=subprocess.PIPE, text=True)
    if result.returncode:
        raise Failure(f"{tool} could not be installed: see above")
    return Path(result.stdout.strip())


def openssl(*arguments):
    result = subprocess.run(["openssl", *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if result.returncode:
        raise Failure(f"openssl {arguments[0]} failed:\n{result.stdout}")


def make_authority(home):
    """A certificate authority for the trust domain, good for a day."""
    tls = home / "tls"
    tls.mkdir()
    config = home / "ca.cnf"
    config.write_text(
        "[req]\ndistinguished_name = subject\nx509_extensions = ca\nprompt = no\n"
        "[subject]\nO = attache quickstart\n"
        "[ca]\nbasicConstraints = critical, CA:TRUE\nkeyUsage = critical, keyCertSign, cRLSign\n"
        "subjectKeyIdentifier = hash\nsubjectAltName = URI:spiffe://example.org\n")
    openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", home / "ca.key")
    openssl("req", "-x509", "-new", "-key", home / "ca.key", "-config", config, "-days", "1", "-out", tls / "bundle.pem")


def issue(home, path, certificate, key, more_names=""):
    """An X509-SVID for a path of the trust domain."""
    request, extensions = home / "request.csr", home / "svid.cnf"
    extensions.write_text(
        f"subjectAltName = URI:{TRUST_DOMAIN}{path}{more_names}\n"
        "basicConstraints = critical, CA:FALSE\nkeyUsage = critical, digitalSignature\n"
        "extendedKeyUsage = clientAuth, serverAuth\nsubjectKeyIdentifier = hash\nauthorityKeyIdentifier = keyid\n")
    openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key)
    openssl("req", "-new", "-key", key, "-subj", "/O=attache quickstart", "-out", request)
    openssl("x509", "-req", "-in", request, "-CA", home / "tls" / "bundle.pem", "-CAkey", home / "ca.key",
            "-set_serial", str(int.from_bytes(os.urandom(8), "big")), "-days", "1", "-extfile", extensions,
            "-out", certificate)


def caller_file(caller):
    """Certificate and key of a caller in one file, as curl takes them."""
    return caller.rsplit("/", 1)[1] + ".pem"


def free_port(preferred):
    """The preferred port, or another one where that is taken."""
    for port in (preferred, 0):
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                continue
            return listener.getsockname()[1]
    raise Failure("no free port on 127.0.0.1")


def write_replaced(source, target, replacements):
    """Copies a file of the repository with passages replaced, each of which must be there."""
    text = source.read_text()
    for old, new in replacements.items():
        if old not in text:
            raise Failure(f"{source.relative_to(REPOSITORY)} no longer has `{old}`")
        text = text.replace(old, new)
    target.write_text(text)


# --- running ----------------------------------------------------------------------------------------------------------


class Child:
    """A process in a session of its own, so that Ctrl-C reaches us first and we stop things in order."""

    def __init__(self, name, home, *command):
        self.name, self.log = name, home / f"{name}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(list(map(str, command)), cwd=home, stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=subprocess.STDOUT, start_new_session=True)

    def check(self):
        status = self.process.poll()
        if status is not None:
            tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-20:])
            raise Failure(f"{self.name} ended with status {status}:\n{tail}")

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket, as Envoy's admin interface has it."""

    def __init__(self, path):
        super().__init__("localhost", timeout=2)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self.path))


def wait_until_ready(child, connection, path):
    deadline = time.monotonic() + START_DEADLINE
    while time.monotonic() < deadline:
        child.check()
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            response.read()
            if response.status == 200:
                return
        except (OSError, http.client.HTTPException):
            pass
        finally:
            connection.close()
        time.sleep(0.05)
    child.check()
    raise Failure(f"{child.name} was not ready within {START_DEADLINE:.0f} s; its log ends:\n"
                  + "\n".join(child.log.read_text(errors="replace").splitlines()[-20:]))


ROW = "  {:<14} {:<34} {:>6}  {:<8} {:<18} {}"


class Quickstart:
    def __init__(self, home, engine):
        self.home = home
        self.engine = engine
        self.children = []

    def start(self):
        self.binary, envoy = build(), install("envoy")
        home = self.home
        self.port, self.health_port, self.mesh_port = free_port(8443), free_port(8082), free_port(8444)
        self.application = Application(free_port(8080))

        make_authority(home)
        issue(home, "svc/documents", home / "tls" / "svid.pem", home / "tls" / "key.pem", ", DNS:localhost, IP:127.0.0.1")
        issue(home, "attache", home / "tls" / "attache.pem", home / "tls" / "attache-key.pem")
        for caller in sorted({request[0] for request in REQUESTS + MANDATES if request[0]}):
            name = caller.rsplit("/", 1)[1]
            certificate, key = home / "tls" / f"{name}.pem", home / "tls" / f"{name}-key.pem"
            issue(home, caller, certificate, key)
            (home / caller_file(caller)).write_text(certificate.read_text() + key.read_text())

        shutil.copytree(QUICKSTART / "policy", home / "policy")
        ports = {"127.0.0.1:8082": f"127.0.0.1:{self.health_port}", "127.0.0.1:8444": f"127.0.0.1:{self.mesh_port}"}
        judge = self.ask_opa() if self.engine == "opa" else {}
        write_replaced(QUICKSTART / "attache.yaml", home / "attache.yaml", ports | judge)
        with (home / "attache.yaml").open("a") as config:
            config.write(self.people())
        (home / "sds").mkdir()
        run = {"/run/attache": str(home)}
        shipped = REPOSITORY / "deploy" / "envoy"
        for name in ("svid.yaml", "bundle.yaml"):
            write_replaced(shipped / "sds" / name, home / "sds" / name, run)
        write_replaced(shipped / "sidecar-uds.yaml", home / "envoy.yaml", {
            **run,
            "/etc/envoy/sds": str(home / "sds"),
            "0.0.0.0, port_value: 8443": f"127.0.0.1, port_value: {self.port}",
            "127.0.0.1, port_value: 8080": f"127.0.0.1, port_value: {self.application.server_port}",
        })

        if self.engine == "opa":
            say("Starting OPA ...")
            self.start_opa()
        say("Starting attache and Envoy ...")
        self.attache = self.child("attache", self.binary, "serve", "--config", home / "attache.yaml")
        wait_until_ready(self.attache, http.client.HTTPConnection("127.0.0.1", self.health_port, timeout=2), "/readyz")
        self.envoy = self.child("envoy", envoy, "--disable-hot-restart", "--concurrency", "1", "--log-level", "warning",
                                "-c", home / "envoy.yaml")
        wait_until_ready(self.envoy, UnixConnection(home / "envoy-admin.sock"), "/ready")

    def people(self):
        """Alice, with a password that nobody else knows."""
        self.password = os.urandom(16).hex()
        user = {"email": "alice@example.org", "id": "usr-alice-001", "role": "editor",
                "password_hash": self.run("hash-password", told=self.password).strip()}
        return "\nhumans: " + json.dumps({"local": [user]}) + "\n"

    def run(self, *command, told=""):
        """Runs a command of attache to its end; returns what it prints."""
        result = subprocess.run([self.binary, *map(str, command)], cwd=self.home, input=told, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True)
        if result.returncode:
            raise Failure(f"attache {command[0]} failed: {result.stderr.strip()}")
        return result.stdout

    def as_agent(self, name):
        """The flags with which an agent reaches attache."""
        return ["--address", f"127.0.0.1:{self.mesh_port}", "--server", f"{TRUST_DOMAIN}attache",
                "--certificate", f"tls/{name}.pem", "--key", f"tls/{name}-key.pem", "--bundle", "tls/bundle.pem"]

    def delegate(self):
        """Alice logs in and delegates to the planner, the planner to the reader; both have tokens issued."""
        session = ["--session-file", "session"]
        self.run("login", "alice@example.org", "--address", f"unix:{self.home}/ext_authz.sock", *session,
                 told=self.password)
        planner = json.loads(self.run(
            "delegate", *session, "--to", f"{TRUST_DOMAIN}agent/planner", "--as", "planner-001", "--task", "task-abc",
            "--resources", "documents,billing", "--further", "1", "--json"))
        self.fetch("planner", planner["grant"])
        reader = json.loads(self.run(
            "delegate", *self.as_agent("planner"), "--grant", planner["grant"], "--to", f"{TRUST_DOMAIN}agent/reader",
            "--as", "reader-002", "--task", "task-abc-read", "--resources", "documents", "--read-only", "--json"))
        self.fetch("reader", reader["grant"])

    def fetch(self, name, grant):
        """An agent has its token issued; it is kept as the header that curl sends."""
        self.run("token", *self.as_agent(name), "--grant", grant, "--out", f"{name}.token")
        header = self.home / f"{name}.header"
        header.touch(0o600)
        header.write_text("authorization: Bearer " + (self.home / f"{name}.token").read_text() + "\n")

    def show_mandates(self):
        """Shows agents that act for Alice, then that nothing is left when she ends the task."""
        self.delegate()
        say("  Alice delegates documents and billing to the planner, the planner reading documents to the reader:")
        correct, _ = self.show_rows(MANDATES)
        for line in self.run("tasks", "--session-file", "session").splitlines():
            say("    " + line)
        ended = self.run("revoke", "--session-file", "session", "--task", "task-abc").splitlines()[0]
        say(f"  Alice ends the task: {ended}")
        return self.show_rows(REVOKED)[0] and correct

    def ask_opa(self):
        """What is different in attache's configuration when OPA is the judge."""
        self.opa_binary, self.opa_port = install("opa"), free_port(8181)
        return {
            "engine: embedded": "engine: opa",
            "  embedded: {modules: [policy/], reload: true}":
                f"  opa: {{endpoint: \"http://127.0.0.1:{self.opa_port}\"}}\n"
                "  breaker: {failure_threshold: 5, recovery_timeout: 2s}",
        }

    def start_opa(self):
        self.opa = self.child("opa", self.opa_binary, "run", "--server", "--addr", f"127.0.0.1:{self.opa_port}",
                              "--disable-telemetry", "--watch", "policy")
        wait_until_ready(self.opa, http.client.HTTPConnection("127.0.0.1", self.opa_port, timeout=2), "/health")

    def child(self, name, *command):
        child = Child(name, self.home, *command)
        self.children.append(child)
        return child

    def curl(self, caller, method, path, more=()):
        """The curl command for a request, as one would type it in our directory."""
        identity = ["--cert", caller_file(caller)] if caller else []
        verb = [] if method == "GET" else ["-X", method]
        as_is = ["--path-as-is"] if "%" in path or ".." in path else []
        return ["curl", "--cacert", "tls/bundle.pem", *identity, *verb, *as_is, *more,
                f"https://localhost:{self.port}{path}"]

    def ask(self, caller, method, path, more):
        """Sends a request; returns (status, decision, reason, response body)."""
        head, body = self.home / "head", self.home / "body"
        body.write_text("")
        before = len(self.application.seen)
        result = subprocess.run(
            self.curl(caller, method, path, more) + ["--silent", "--max-time", "10", "--dump-header", str(head), "--output", str(body), "--write-out", "%{http_code}"],
            cwd=self.home, stdout=subprocess.PIPE, text=True)
        if result.returncode:
            # 7: nobody there; 28: too late. Otherwise the connection was ended under us: with TLS 1.3 that comes after
            # the client's last word, which curl reports in several ways.
            return f"curl {result.returncode}" if result.returncode in (7, 28) else "TLS", "refused", "", ""
        lines = (line.split(":", 1) for line in head.read_text().splitlines() if ":" in line)
        headers = {name.strip().lower(): value.strip() for name, value in lines}
        reached = len(self.application.seen) > before
        decision = headers.get("x-attache-decision") or ("allow" if reached else "refused")
        return int(result.stdout), decision, headers.get("x-attache-reason", ""), body.read_text()

    def show(self):
        """Sends every request and prints what became of it; returns whether everything was as expected."""
        say()
        say(ROW.format("CALLER", "REQUEST", "STATUS", "DECISION", "REASON", "WHY"))
        correct, refusal = self.show_rows(REQUESTS)
        say()
        for seen in self.application.seen[-1:]:
            say(f"  What the application was told with {seen['method']} {seen['path']}, forged header and all:")
            for name, value in sorted(seen["headers"].items()):
                if name.startswith("x-attache-"):
                    say(f"    {name}: {value}")
        say()
        say("  What a refused client is told (DELETE /documents/42):")
        say("    " + refusal.strip())
        say()
        correct = self.show_mandates() and correct
        say()
        if self.engine == "opa":
            correct = self.show_outage() and correct
            say()
        say("  Every decision shown is the expected one." if correct else "  NOT every decision is the expected one.")
        return correct

    def show_rows(self, requests):
        """Sends requests, a line each; returns whether all went as expected, and the last refusal that asks for approval."""
        correct, refusal = True, ""
        for caller, method, path, more, status, reason, why in requests:
            got = self.ask(caller, method, path, more)
            expected = (got[0], got[2]) == (status, reason)
            if got[1] == "allow":
                told = self.application.seen[-1]["headers"].get("x-attache-caller")
                expected = expected and told == TRUST_DOMAIN + caller
            elif status == 200:
                expected = False
            if reason == "approval_required":
                refusal = got[3]
            correct = correct and expected
            request = f"{method} {path}" + (" (forged)" if any(it.startswith("x-attache") for it in more) else "")
            say(ROW.format(caller or "nobody", request, got[0], got[1], got[2] or "-",
                           why if expected else f"NOT AS EXPECTED: {status} {reason}"))
        return correct, refusal

    def show_outage(self):
        """Stops OPA, asks, starts it again, asks; returns whether everything was as expected."""
        self.children.remove(self.opa)
        self.opa.stop()
        say("  OPA is stopped:")
        correct, _ = self.show_rows(OUTAGE)
        self.ask_until("/documents/45", "circuit_open")
        correct = self.show_rows(OPEN)[0] and correct
        self.start_opa()
        say("  OPA is started again:")
        self.ask_until("/documents/44", "")
        return self.show_rows(RECOVERED)[0] and correct

    def ask_until(self, path, reason):
        """Asks again and again until the answer has this reason; gives up after a while, and the next row tells."""
        deadline = time.monotonic() + START_DEADLINE
        while time.monotonic() < deadline and self.ask("svc/reporting", "GET", path, [])[2] != reason:
            time.sleep(0.1)

    def show_next(self):
        home = self.home
        say(f"""
  Try it yourself
    cd {home}
    {" ".join(self.curl("svc/reporting", "GET", "/documents/42"))}
    {" ".join(self.curl("svc/reporting", "DELETE", "/documents/42", ["-i"]))}
    {" ".join(self.curl("agent/planner", "GET", "/documents/42", ["-i"]))}

  Log in as Alice, whose password is {self.password}, and delegate:
    {self.binary} login alice@example.org --address unix:{home}/ext_authz.sock
    {self.binary} delegate --to {TRUST_DOMAIN}agent/planner --as planner-003 --resources documents

  Change the policy: edit {home}/policy/authz.rego, save, ask again.
    With  allow if false  in place of  allow if not sealed  every request is refused.{self.later()}

  See what happened
    tail -f {home}/audit.jsonl     every decision, each record chained to the one before
    tail -f {home}/envoy.log       Envoy's access log, with the decision on each line
    tail -f {home}/attache.log
    curl http://127.0.0.1:{self.health_port}/metrics

  Ctrl-C stops everything and removes {home}.""")

    def later(self):
        """When a changed policy is seen; nothing needs saying of the embedded engine."""
        if self.engine == "embedded":
            return ""
        return "\n    What OPA allowed before stays in attache's cache for 60 s, unless policy.cache says otherwise."

    def wait(self):
        while True:
            for child in self.children:
                child.check()
            time.sleep(0.5)

    def stop(self):
        for child in reversed(self.children):
            child.stop()


def interrupted(*_):
    raise KeyboardInterrupt


def main():
    once = os.environ.get("ONCE", "") not in ("", "0")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupted)
    # Under /tmp whatever TMPDIR says: the path of a Unix socket may have 107 bytes at most.
    home = Path(tempfile.mkdtemp(prefix="attache-run-", dir="/tmp"))
    engine = os.environ.get("ENGINE") or "embedded"
    quickstart = Quickstart(home, engine)
    correct = None
    try:
        if engine not in ("embedded", "opa"):
            raise Failure(f"ENGINE={engine} is not a policy engine: write embedded or opa")
        check_needs()
        quickstart.start()
        correct = quickstart.show()
        if not once:
            quickstart.show_next()
            quickstart.wait()
    except KeyboardInterrupt:
        say("\nStopping.")
    except Failure as failure:
        print(f"make run: {failure}", file=sys.stderr)
        correct = False
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        quickstart.stop()
        shutil.rmtree(home, ignore_errors=True)
    return 0 if correct else 1


if __name__ == "__main__":
    sys.exit(main())
