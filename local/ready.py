"""Tell the user of `make run` what is running, and what to try."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any
from urllib.parse import quote

from local.demo import REGIONS

_DEFAULT_DATA = Path(".local").resolve()


def ready_block(document: dict[str, Any], data: Path) -> str:
    """Addresses, keys, and commands that work when pasted. `document` is that of `run.json`."""
    url, simulator, tenant_key = document["url"], document["simulator_url"], document["tenant_key"]
    question = shlex.quote(json.dumps({"messages": [{"role": "user", "content": "Hello!"}]}))
    target = (
        f"{url}/openai/deployments/{quote(document['deployment'], safe='')}/chat/completions?api-version=2024-10-21"
    )
    key = shlex.quote(f"@{data.name if data == _DEFAULT_DATA else data}/tenant.header")
    verify = "make verify" if data == _DEFAULT_DATA else f"TALLYGATE_DATA={shlex.quote(str(data))} make verify"
    serves = f"simulator    {simulator}" if simulator else f"deployment   {document['deployment']}"
    return f"""
Tallygate is running.  Ctrl-C stops it; its data stays in {data}.

  gateway      {url}
  reference    {url}/reference
  {serves}
  tables       {document["table_endpoint"]}
  tenant       {document["tenant_id"]}
  tenant key   {tenant_key}
  admin key    {document["admin_key"]}
  host key     {document["host_key"]}  (starts timers by hand)

Try it:

  curl -si '{target}' \\
    -H {key} -H 'content-type: application/json' \\
    -d {question}

See what the tenant has used, and check the ledger:

  curl -s {url}/me/usage -H {key}
  {verify}
{_failover(simulator) if simulator else ""}"""


def _failover(simulator: str) -> str:
    first, *others = REGIONS
    fault = json.dumps({"kind": "status", "status": 503, "region": first, "count": None})
    return f"""
See failover: {first} serves, {" and ".join(others)} take over. Let {first} fail, try again,
look at x-gateway-region and x-gateway-attempts, and end the fault:

  curl -s {simulator}/_sim/faults -d {shlex.quote(fault)}
  curl -s -X DELETE {simulator}/_sim/faults
"""
