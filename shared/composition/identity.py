"""Wire the verification of access tokens, if Entra ID is configured."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import aiohttp

from shared.adapters.identity.access_tokens import EntraAccessTokens
from shared.adapters.identity.key_documents import KeyDocuments
from shared.adapters.identity.signing_keys import SigningKeys
from shared.adapters.identity.verified_tokens import VerifiedTokens
from shared.application.ports.clock import Clock
from shared.domain.identity.authority import Authority, authority_of
from shared.domain.identity.token_rules import TokenRules
from shared.settings import Settings, listed


def access_tokens(settings: Settings, session: aiohttp.ClientSession, clock: Clock) -> EntraAccessTokens | None:
    """Make the verifier of access tokens; `None` if no directory is configured. Sends no request."""
    authority = authority_of(settings.entra_authority)
    directory_ids = listed(settings.entra_tenant_ids.lower())
    if authority is None or not directory_ids:
        return None
    verified = VerifiedTokens()
    documents = KeyDocuments(session, authority)
    keys = {each: SigningKeys(partial(documents.fetch, each), clock, verified.clear) for each in directory_ids}
    return EntraAccessTokens(_rules(settings, authority, directory_ids), keys, verified, clock)


def _rules(settings: Settings, authority: Authority, directory_ids: Sequence[str]) -> TokenRules:
    client_id = settings.entra_client_id.lower()
    return TokenRules(
        authority=authority,
        directory_ids=frozenset(directory_ids),
        home_directory_id=directory_ids[0],
        audiences=frozenset({client_id, f"api://{client_id}"}) | _both_forms(settings.entra_audiences),
        legacy_audiences=_both_forms(settings.entra_legacy_audiences),
        scopes=frozenset(listed(settings.entra_scopes)),
    )


def _both_forms(text: str) -> frozenset[str]:
    """Return names of services with a slash at the end and without: a version 1 token has the form that was asked."""
    names = [each.removesuffix("/") for each in listed(text)]
    return frozenset(names) | {f"{name}/" for name in names}
