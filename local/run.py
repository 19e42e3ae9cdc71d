"""`make run`: Azurite, the simulated Azure OpenAI and the gateway on this machine, with a demo tenant, until Ctrl-C."""

from __future__ import annotations

import json
import os
import secrets
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from local.azurite_server import ACCOUNT, AzuritePorts, new_account_key, start_azurite

ROOT = Path(__file__).resolve().parents[1]
START_SECONDS = 60
STOP_SECONDS = 30
DEMO_TENANT = "demo"
DEMO_QUOTA_TOKENS = 1_000_000
DEMO_BUDGET_USD = "25.00"
PRICES_USD_PER_MILLION = {
    "gpt-4o": {"input": "2.50", "cached_input": "1.25", "output": "10.00"},
    "gpt-4o-mini": {"input": "0.15", "cached_input": "0.075", "output": "0.60"},
    "o4-mini": {"input": "1.10", "cached_input": "0.275", "output": "4.40"},
    "gpt-35-turbo-instruct": {"input": "1.50", "output": "2.00"},
    "text-embedding-3-small": {"input": "0.02"},
    "dall-e-3": {"images": "80000", "images standard 1024x1024": "40000", "images hd 1024x1024": "80000",
                 "images hd 1024x1792": "120000", "images hd 1792x1024": "120000"},
    "gpt-image-1": {"input": "5.00", "output": "40.00"},
    "whisper": {"audio_seconds": "100"},
    "gpt-4o-transcribe": {"input": "2.50", "audio_input": "6.00", "output": "10.00"},
    "tts-hd": {"speech_characters": "30"},
    "gpt-4o-mini-tts": {"input": "0.60", "output": "12.00"},
}  # fmt: skip
"""By meter; of images also by variant."""
PRICES_FROM = "2024-10-01T00:00:00Z"


class CannotRun(Exception):
    """Why a local run is not possible, in one line."""


@dataclass(frozen=True, slots=True)
class LocalSecrets:
    """Generated at the first run of a data folder and kept there, readable by its owner alone."""

    admin_key: str
    audit_chain_key: str
    storage_account_key: str
    simulator_key: str
    tenant_key: str = ""


def main() -> int:
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        with LocalRun(Path(os.environ.get("TALLYGATE_DATA", ".local"))) as run:
            run.start()
            return run.wait()
    except CannotRun as error:
        print(f"make run: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nStopped.")
        return 0


class LocalRun:
    """Everything that `make run` starts. Leaving the context ends it: the gateway first, so that its books are kept."""

    def __init__(self, data: Path) -> None:
        self._data = data.resolve()
        self._port = _port_setting("TALLYGATE_PORT", 7071)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> LocalRun:
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        for name in ("gateway", "simulator", "azurite"):
            process = self._processes.get(name)
            if process is not None and process.poll() is None:
                process.terminate()
                try:
                    process.wait(STOP_SECONDS)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        (self._data / "run.json").unlink(missing_ok=True)

    def start(self) -> None:
        kept = self._prepare()
        _require_free(self._port, "TALLYGATE_PORT")
        blob, queue, table = (_chosen_port(f"TALLYGATE_{name}_PORT") for name in ("BLOB", "QUEUE", "TABLE"))
        simulator_port = _chosen_port("TALLYGATE_SIMULATOR_PORT")
        simulator_url = f"http://127.0.0.1:{simulator_port}"
        environment = self._gateway_environment(kept, blob, table)

        print("Starting Azurite ...", flush=True)
        log = self._data / "azurite.log"
        ports = AzuritePorts(blob, queue, table)
        try:
            self._processes["azurite"] = start_azurite(ports, kept.storage_account_key, self._data / "azurite", log)
        except FileNotFoundError as error:
            raise CannotRun(str(error)) from None
        self._await_port("azurite", table)
        print("Starting the simulated Azure OpenAI ...", flush=True)
        command = [sys.executable, "-m", "local.simulator", "--port", str(simulator_port)]
        self._spawn("simulator", command, {"SIMULATOR_API_KEY": kept.simulator_key})
        self._await_port("simulator", simulator_port)
        print("Starting the gateway ...", flush=True)
        gateway_command = [sys.executable, "-m", "local.functions_host"]
        self._spawn("gateway", gateway_command, environment | {"TALLYGATE_PORT": str(self._port)})
        self._await_port("gateway", self._port)
        kept = self._seed(kept, simulator_url)
        self._write_run_file(kept, simulator_url, environment, gateway_command)
        self._introduce(kept, simulator_url, environment)

    def wait(self) -> int:
        """Until a process ends, which none should by itself."""
        while True:
            for name, process in self._processes.items():
                if process.poll() is not None:
                    raise CannotRun(f"the {name} ended with status {process.returncode}; see {self._log(name)}")
            time.sleep(0.2)

    def _prepare(self) -> LocalSecrets:
        try:
            (self._data / "azurite").mkdir(parents=True, exist_ok=True)
            path = self._data / "secrets.json"
            if path.exists():
                return LocalSecrets(**json.loads(path.read_text()))
            kept = LocalSecrets(
                secrets.token_urlsafe(32), secrets.token_urlsafe(32), new_account_key(), secrets.token_urlsafe(32)
            )
            _write_private(path, asdict(kept))
        except OSError as error:
            raise CannotRun(f"the data folder {self._data} cannot be used: {error.strerror}") from None
        except (ValueError, TypeError):
            raise CannotRun(f"{self._data / 'secrets.json'} is damaged; remove it or the folder") from None
        return kept

    def _gateway_environment(self, kept: LocalSecrets, blob: int, table: int) -> dict[str, str]:
        return {
            "PYTHONPATH": str(ROOT),
            "TALLYGATE_DATA": str(self._data),
            "TALLYGATE_TABLE_ENDPOINT": f"http://127.0.0.1:{table}/{ACCOUNT}",
            "TALLYGATE_BLOB_ENDPOINT": f"http://127.0.0.1:{blob}/{ACCOUNT}",
            "TALLYGATE_STORAGE_ACCOUNT_NAME": ACCOUNT,
            "TALLYGATE_STORAGE_ACCOUNT_KEY": kept.storage_account_key,
            "AUDIT_CHAIN_KEY": kept.audit_chain_key,
            "ADMIN_API_KEY": kept.admin_key,
            "AZURE_OPENAI_API_KEY": kept.simulator_key,
            "ALLOW_LOOPBACK_BACKENDS": "true",
            **{name: value for name, value in os.environ.items() if name.endswith(("_SECONDS", "_HOURS", "_BYTES"))},
        }

    def _spawn(self, name: str, command: list[str], environment: dict[str, str]) -> None:
        with self._log(name).open("ab") as log:
            self._processes[name] = subprocess.Popen(
                command,
                env={**os.environ, **environment},
                cwd=ROOT,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def _await_port(self, name: str, port: int) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self._processes[name].poll() is not None:
                raise CannotRun(f"the {name} did not start; see {self._log(name)}")
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return
            time.sleep(0.05)
        raise CannotRun(f"the {name} did not start within {START_SECONDS} s; see {self._log(name)}")

    def _log(self, name: str) -> Path:
        return self._data / f"{name}.log"

    def _seed(self, kept: LocalSecrets, simulator_url: str) -> LocalSecrets:
        """Backends, deployments and prices as this run has them; the tenant and its key once."""
        for model, prices in PRICES_USD_PER_MILLION.items():
            backend = f"sim-swedencentral-{model}"
            definition = {
                "endpoint": f"{simulator_url}/swedencentral",
                "upstream_deployment": model,
                "model": model,
                "region": "swedencentral",
                "zone": "eu",
                "auth": "api_key",
            }
            self._manage(kept, "PUT", f"/manage/backends/{backend}", definition)
            self._manage(kept, "PUT", f"/manage/deployments/{model}", {"backends": [backend]})
            for meter_and_variant, price in prices.items():
                meter, _, variant = meter_and_variant.partition(" ")
                row = {"model": model, "meter": meter, "usd_per_million": price, "effective_from": PRICES_FROM}
                named = {"variant": variant} if variant else {}
                self._manage(kept, "POST", "/manage/prices", {**row, **named, "source": "demo price"})
        if kept.tenant_key:
            return kept
        tenant = {
            "tenant_id": DEMO_TENANT,
            "name": "Demo",
            "cost_center": "CC-1000",
            "deployments": list(PRICES_USD_PER_MILLION),
            "monthly_quota_tokens": DEMO_QUOTA_TOKENS,
            "monthly_budget_usd": DEMO_BUDGET_USD,
        }
        self._manage(kept, "POST", "/manage/tenants", tenant, accept=(201, 409))
        key = self._manage(kept, "POST", f"/manage/tenants/{DEMO_TENANT}/keys", {})
        kept = LocalSecrets(**{**asdict(kept), "tenant_key": key["key"]})
        _write_private(self._data / "secrets.json", asdict(kept))
        return kept

    def _manage(
        self, kept: LocalSecrets, method: str, path: str, body: dict[str, Any], accept: tuple[int, ...] = (200, 201)
    ) -> dict[str, Any]:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._port}{path}",
            json.dumps(body).encode(),
            {"api-key": kept.admin_key, "content-type": "application/json"},
            method=method,
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                answer: dict[str, Any] = json.load(response)
                return answer
        except urllib.error.HTTPError as error:
            if error.code in accept:
                return {}
            raise CannotRun(f"{method} {path} was answered {error.code}; see {self._log('gateway')}") from None
        except OSError as error:
            raise CannotRun(f"the gateway did not answer {method} {path}: {error}") from None

    def _write_run_file(
        self, kept: LocalSecrets, simulator_url: str, environment: dict[str, str], command: list[str]
    ) -> None:
        document = {
            "url": f"http://127.0.0.1:{self._port}",
            "admin_key": kept.admin_key,
            "tenant_id": DEMO_TENANT,
            "tenant_key": kept.tenant_key,
            "simulator_url": simulator_url,
            "table_endpoint": environment["TALLYGATE_TABLE_ENDPOINT"],
            "pids": {name: process.pid for name, process in self._processes.items()},
            "gateway_command": command,
            "gateway_env": environment,
        }
        _write_private(self._data / "run.json", document)

    def _introduce(self, kept: LocalSecrets, simulator_url: str, environment: dict[str, str]) -> None:
        url = f"http://127.0.0.1:{self._port}"
        body = json.dumps({"messages": [{"role": "user", "content": "Hello!"}]})
        print(
            f"""
Tallygate is running.  Ctrl-C stops it; what it holds stays in {self._data}.

  gateway      {url}
  simulator    {simulator_url}
  tables       {environment["TALLYGATE_TABLE_ENDPOINT"]}
  tenant       {DEMO_TENANT}
  tenant key   {kept.tenant_key}
  admin key    {kept.admin_key}

Try it:

  curl -s '{url}/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21' \\
    -H 'api-key: {kept.tenant_key}' -H 'content-type: application/json' \\
    -d {shlex.quote(body)}
""",
            flush=True,
        )


def _write_private(path: Path, document: dict[str, Any]) -> None:
    temporary = path.with_suffix(".tmp")
    temporary.touch(mode=0o600)
    temporary.write_text(json.dumps(document, indent=2) + "\n")
    temporary.replace(path)


def _port_setting(name: str, default: int) -> int:
    text = os.environ.get(name, "") or str(default)
    if not text.isdigit() or int(text) > 65535:
        raise CannotRun(f"{name} must be a port number, not {text!r}")
    return int(text)


def _chosen_port(name: str) -> int:
    """The port that a setting names, which must be free, else any free one."""
    port = _port_setting(name, 0)
    if port:
        _require_free(port, name)
        return port
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        chosen: int = probe.getsockname()[1]
        return chosen


def _require_free(port: int, name: str) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            raise CannotRun(f"port {port} is taken; choose another with {name}") from None


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
