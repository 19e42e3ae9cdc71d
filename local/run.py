"""`make run`: Azurite, the simulated Azure OpenAI and the gateway on this machine, with a demo tenant, until Ctrl-C.

If the environment or a file `.env` names an Azure OpenAI resource, that serves in place of the simulation.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

from local.azurite_server import ACCOUNT, AzuritePorts, new_account_key, start_azurite
from local.data_folder import FolderInUse, FolderLock, make_private, write_private, write_private_text
from local.demo import REGIONS, TENANT, Demo, DemoFailed
from local.env_file import read_env_file
from local.ready import ready_block
from shared.generated_secrets import KEY_FILE_NAME, generate_key_file

ROOT = Path(__file__).resolve().parents[1]
START_SECONDS = 60
STOP_SECONDS = 30
_PRIVACY_KEY = ("PRIVACY_KEY", "PRIVACY_KEY_SECRET_NAME")
"""If the environment has one of these settings, the generated key is not used."""


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
    host_key: str = ""
    """Key of the functions host, which starts timers by hand; absent in the folders of older versions."""
    privacy_key: str = ""
    """Key of pseudonyms and of hashed prompts; absent in the folders of older versions."""


def main() -> int:
    os.umask(0o077)  # also for the processes that are started: their logs and data are for their owner alone
    # A shell without job control starts background processes with SIGINT ignored, and Python then leaves it so.
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, _interrupt)
    try:
        if (file := read_env_file(ROOT)) is not None:
            print(f"Settings of {file} are used.", flush=True)
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
        self._has_resource = bool(os.environ.get("AZURE_OPENAI_ENDPOINT"))
        """A resource of Azure OpenAI serves in place of the simulation."""
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._lock: FolderLock | None = None

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
        if self._lock is not None:
            for path in (self._run_file, *self._header_files):
                path.unlink(missing_ok=True)
            self._lock.release()

    @property
    def _run_file(self) -> Path:
        """The file that describes the run. Only the run that holds the lock may touch it."""
        return self._data / "run.json"

    @property
    def _header_files(self) -> tuple[Path, Path]:
        """Files for `curl -H @FILE`, of the tenant and the administrator: others see the arguments of a process."""
        return self._data / "tenant.header", self._data / "admin.header"

    def start(self) -> None:
        self._take_folder()
        kept = self._prepare()
        _require_free(self._port, "TALLYGATE_PORT")
        blob, queue, table = (_chosen_port(f"TALLYGATE_{name}_PORT") for name in ("BLOB", "QUEUE", "TABLE"))
        simulator_port = 0 if self._has_resource else _chosen_port("TALLYGATE_SIMULATOR_PORT")
        simulator_url = f"http://127.0.0.1:{simulator_port}" if simulator_port else ""
        environment = self._gateway_environment(kept, blob, table)

        print("Starting Azurite ...", flush=True)
        log = self._data / "azurite.log"
        ports = AzuritePorts(blob, queue, table)
        try:
            self._processes["azurite"] = start_azurite(
                ports, kept.storage_account_key, self._data / "azurite", log, inherited=self._inherited
            )
        except FileNotFoundError as error:
            raise CannotRun(str(error)) from None
        self._await_port("azurite", table)
        if simulator_port:
            print("Starting the simulated Azure OpenAI ...", flush=True)
            place = ["--port", str(simulator_port), "--regions", ",".join(REGIONS)]
            command = [sys.executable, "-m", "local.simulator", *place]
            self._spawn("simulator", command, {"SIMULATOR_API_KEY": kept.simulator_key})
            self._await_port("simulator", simulator_port)
        print("Starting the gateway ...", flush=True)
        gateway_command = [sys.executable, "-m", "local.functions_host"]
        self._spawn("gateway", gateway_command, environment | {"TALLYGATE_PORT": str(self._port)})
        self._await_port("gateway", self._port)
        kept = self._set_up_demo(kept, simulator_url)
        document = self._write_run_file(kept, simulator_url, environment, gateway_command)
        print(ready_block(document, self._data), flush=True)

    def wait(self) -> int:
        """Until a process ends, which none should by itself."""
        while True:
            for name, process in self._processes.items():
                if process.poll() is not None:
                    raise CannotRun(f"the {name} ended with status {process.returncode}; see {self._log(name)}")
            time.sleep(0.2)

    def _take_folder(self) -> None:
        """Lock the data folder, before anything in it is read or changed."""
        try:
            self._data.mkdir(parents=True, exist_ok=True)
            self._lock = FolderLock(self._data)
            make_private(self._data)
            self._run_file.unlink(missing_ok=True)  # of a run that was killed
        except FolderInUse as error:
            raise CannotRun(str(error)) from None
        except OSError as error:
            raise CannotRun(f"the data folder {self._data} cannot be used: {error.strerror}") from None

    @property
    def _inherited(self) -> tuple[int, ...]:
        """The lock, for the processes that write into the data folder."""
        return () if self._lock is None else (self._lock.descriptor,)

    def _prepare(self) -> LocalSecrets:
        path = self._data / "secrets.json"
        try:
            (self._data / "azurite").mkdir(exist_ok=True)
            generate_key_file(self._data / KEY_FILE_NAME)
            kept = LocalSecrets(**json.loads(path.read_text())) if path.exists() else _new_secrets()
            if not (kept.host_key and kept.privacy_key and path.exists()):
                kept = replace(
                    kept,
                    host_key=kept.host_key or secrets.token_urlsafe(32),
                    privacy_key=kept.privacy_key or secrets.token_urlsafe(32),
                )
                write_private(path, asdict(kept))
        except OSError as error:
            raise CannotRun(f"the data folder {self._data} cannot be used: {error.strerror}") from None
        except (ValueError, TypeError):
            raise CannotRun(f"{self._data / 'secrets.json'} is damaged; remove it or the folder") from None
        return kept

    def _gateway_environment(self, kept: LocalSecrets, blob: int, table: int) -> dict[str, str]:
        """Return the settings of the gateway that differ from this process's environment."""
        return {
            "PYTHONPATH": str(ROOT),
            "TALLYGATE_DATA": str(self._data),
            "TALLYGATE_TABLE_ENDPOINT": f"http://127.0.0.1:{table}/{ACCOUNT}",
            "TALLYGATE_BLOB_ENDPOINT": f"http://127.0.0.1:{blob}/{ACCOUNT}",
            "TALLYGATE_STORAGE_ACCOUNT_NAME": ACCOUNT,
            "TALLYGATE_STORAGE_ACCOUNT_KEY": kept.storage_account_key,
            "AUDIT_CHAIN_KEY": kept.audit_chain_key,
            "AUDIT_SIGNING_KEY_FILE": str(self._data / KEY_FILE_NAME),
            "AUDIT_CHAIN_KEY_SECRET_NAME": "",
            "ADMIN_API_KEY": kept.admin_key,
            "ADMIN_API_KEY_SECRET_NAME": "",
            **({} if any(map(os.environ.get, _PRIVACY_KEY)) else {"PRIVACY_KEY": kept.privacy_key}),
            **({} if self._has_resource else {"AZURE_OPENAI_API_KEY": kept.simulator_key}),
            "HOST_KEY": kept.host_key,
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
                pass_fds=self._inherited,
            )
        self._name_processes()

    def _name_processes(self) -> None:
        if self._lock is not None:
            self._lock.name({"run": os.getpid()} | self._pids)

    @property
    def _pids(self) -> dict[str, int]:
        return {name: process.pid for name, process in self._processes.items()}

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

    def _set_up_demo(self, kept: LocalSecrets, simulator_url: str) -> LocalSecrets:
        """Configure the gateway as this run needs it. The tenant and its key are created once in a data folder."""
        demo = Demo(f"http://127.0.0.1:{self._port}", kept.admin_key)
        try:
            if self._has_resource:
                deployments = [demo.adopt(os.environ["AZURE_OPENAI_ENDPOINT"])]
            else:
                deployments = demo.configure(simulator_url)
            if kept.tenant_key:
                return kept
            kept = replace(kept, tenant_key=demo.create_tenant(deployments))
        except DemoFailed as error:
            raise CannotRun(f"{error}; see {self._log('gateway')}") from None
        write_private(self._data / "secrets.json", asdict(kept))
        return kept

    def _write_run_file(
        self, kept: LocalSecrets, simulator_url: str, environment: dict[str, str], command: list[str]
    ) -> dict[str, Any]:
        document = {
            "url": f"http://127.0.0.1:{self._port}",
            "admin_key": kept.admin_key,
            "host_key": kept.host_key,
            "tenant_id": TENANT,
            "tenant_key": kept.tenant_key,
            "simulator_url": simulator_url,
            "deployment": os.environ["AZURE_OPENAI_DEPLOYMENT"] if self._has_resource else "gpt-4o",
            "table_endpoint": environment["TALLYGATE_TABLE_ENDPOINT"],
            "pids": {"run": os.getpid()} | self._pids,
            "gateway_command": command,
            "gateway_env": environment,
        }
        for path, key in zip(self._header_files, (kept.tenant_key, kept.admin_key), strict=True):
            write_private_text(path, f"api-key: {key}\n")
        write_private(self._run_file, document)
        return document


def _new_secrets() -> LocalSecrets:
    return LocalSecrets(
        admin_key=secrets.token_urlsafe(32),
        audit_chain_key=secrets.token_urlsafe(32),
        storage_account_key=new_account_key(),
        simulator_key=secrets.token_urlsafe(32),
    )


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
