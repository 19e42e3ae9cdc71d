"""The user of a call: who signed in, or who is stated by somebody who may state it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from shared.application.inference.user_of_call import stated_user
from shared.application.tenancy.principals import TenantPrincipal
from shared.domain.identity.role import Role
from shared.domain.tenancy.keys import new_gateway_key
from shared.domain.tenancy.tenant import Tenant
from tests.tools.ledgers import NOW

ANN, APPLICATION = "6f1cd2a0-1111-4222-8333-944455556666", "a0a0a0a0-1111-4222-8333-944455556666"
TENANT = Tenant(tenant_id="acme", name="Acme", created_at=NOW)
KEY = replace(new_gateway_key("acme", NOW, None)[0], key_id="acme-0a1b2c3d")
BY_KEY = TenantPrincipal(tenant=TENANT, key_id=KEY.key_id, role=Role.TENANT_USE, key=KEY)
BY_PERSON = TenantPrincipal(tenant=TENANT, key_id="", role=Role.USE, user=ANN, application=APPLICATION)
BY_APPLICATION = replace(BY_PERSON, user="")
FORGED = [
    ANN, ANN.upper(), ANN.replace("-", ""), f"{{{ANN}}}", f" {ANN}\t", f"{ANN}.", f"<{ANN}>", f"\x00{ANN}\x7f",
    ANN.replace("-", "_"), ANN.replace("-", "\u2010"), f"{ANN}\xad", f"{ANN[:9]}\u200b{ANN[9:]}", f"\ufeff{ANN}",
    f"{ANN}\u3164", f"{ANN}\u200b".encode().decode("latin-1"), "".join(chr(ord(each) + 0xFEE0) for each in ANN),
]  # fmt: skip


def untrusted(caller: TenantPrincipal) -> TenantPrincipal:
    return replace(caller, tenant=replace(TENANT, trust_user_header=False))


@pytest.mark.parametrize(
    ("caller", "header", "body", "user"),
    [
        (BY_KEY, "bob", "eve", "bob"),
        (BY_KEY, "", "eve", "eve"),
        (BY_KEY, "", "", ""),
        (BY_KEY, ANN, "", ANN),
        (untrusted(BY_KEY), "bob", "eve", "eve"),
        (untrusted(BY_KEY), "bob", "", ""),
        (BY_PERSON, "bob", "eve", ANN),
        (untrusted(BY_PERSON), "bob", "eve", ANN),
        (BY_APPLICATION, "bob", "eve", "bob"),
        (BY_APPLICATION, "", "eve", "eve"),
        (BY_APPLICATION, "", "", ""),
        (untrusted(BY_APPLICATION), "bob", "eve", "eve"),
        (untrusted(BY_APPLICATION), "bob", "", ""),
    ],
)
def test_the_first_user_that_counts_is_taken(caller: TenantPrincipal, header: str, body: str, user: str) -> None:
    assert stated_user(caller, header, body) == user


@pytest.mark.parametrize("forged", FORGED)
@pytest.mark.parametrize("caller", [BY_APPLICATION, untrusted(BY_APPLICATION), untrusted(BY_KEY)])
def test_nobody_else_can_state_the_id_of_a_person(caller: TenantPrincipal, forged: str) -> None:
    assert not stated_user(caller, forged, "")
    assert not stated_user(caller, "", forged)
    assert not stated_user(caller, forged, forged)


def test_a_user_of_the_body_is_cut() -> None:
    assert stated_user(BY_KEY, "", "x" * 300) == "x" * 256
