"""Schemathesis sends requests by our OpenAPI document. No answer is a 5xx, and each is as the document says."""

from __future__ import annotations

import asyncio

import pytest

from local.setup.needs import CLIENTS
from tests.clients.test_clients import needs
from tests.tools.stack import ADMIN_KEY, Stack

SCHEMATHESIS = CLIENTS.folder / "bin" / "schemathesis"
CHECKS = "not_a_server_error,response_schema_conformance,content_type_conformance"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("paths", "is_tenant"),
    [("^/(openai|me)", True), ("^/(manage|docs|healthz)", False)],
    ids=["as a tenant", "as an administrator"],
)
async def test_no_request_breaks_the_gateway_or_contradicts_its_description(
    stack: Stack, paths: str, is_tenant: bool
) -> None:
    needs(SCHEMATHESIS)
    key = stack.key if is_tenant else ADMIN_KEY
    headers = ["--header", f"x-gateway-tenant: {stack.tenant}"] if is_tenant else []
    process = await asyncio.create_subprocess_exec(
        str(SCHEMATHESIS), "run", f"{stack.url}/reference/openapi.json", "--no-color",
        "--phases", "examples,coverage,fuzzing", "--max-examples", "10",
        "--mode", "all", "--include-path-regex", paths, "--header", f"api-key: {key}", *headers,
        "--generation-with-security-parameters", "false", "--generation-database", "none", "--checks", CHECKS,
        "--suppress-health-check", "all", "--seed", "1", "--continue-on-failure", "--request-timeout", "30",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()[-5000:]
