"""The roles that a tenant's document gives to the caller of a token."""

from __future__ import annotations

from shared.domain.identity.access_token import AccessTokenClaims
from shared.domain.identity.role import Role
from shared.domain.tenancy.entra_principals import EntraPrincipal, PrincipalKind, named_roles, roles_in_tenant
from tests.tools.known_tokens import APPLICATION, DIRECTORY, PERSON, application_claims, person_claims

GROUP = "66666666-6666-4666-8666-666666666666"
USER, ADMIN = Role.TENANT_USE, Role.TENANT_ADMIN
APPLICATIONS, PEOPLE, GROUPS = PrincipalKind.APPLICATION, PrincipalKind.PERSON, PrincipalKind.GROUP


def named(kind: PrincipalKind, id_: str, role: Role = USER, directory: str = DIRECTORY) -> EntraPrincipal:
    return EntraPrincipal(directory_id=directory, kind=kind, id=id_, role=role)


def roles(claims: AccessTokenClaims, *principals: EntraPrincipal) -> frozenset[Role]:
    return roles_in_tenant(claims, named_roles(principals))


def test_a_person_is_named_by_object_id_and_an_application_by_client_id() -> None:
    assert roles(person_claims(), named(PEOPLE, PERSON)) == {USER}
    assert roles(application_claims(), named(APPLICATIONS, APPLICATION)) == {USER}


def test_nobody_is_named_by_another_kind_or_directory() -> None:
    person, application = person_claims(), application_claims()
    for id_ in (person.object_id, person.application_id, application.object_id, APPLICATION):
        assert roles(person, named(APPLICATIONS, id_), named(GROUPS, id_)) == frozenset()
        assert roles(application, named(PEOPLE, id_), named(GROUPS, id_)) == frozenset()
    assert roles(person, named(PEOPLE, PERSON, directory="another")) == frozenset()


def test_a_person_does_not_act_as_the_application_through_which_it_signed_in() -> None:
    assert roles(person_claims(application_id=APPLICATION), named(APPLICATIONS, APPLICATION)) == frozenset()


def test_roles_of_the_caller_and_of_its_groups_add_up() -> None:
    claims = person_claims(groups=frozenset({GROUP, "other"}))
    assert roles(claims, named(GROUPS, GROUP)) == {USER}
    assert roles(claims, named(PEOPLE, PERSON, ADMIN), named(GROUPS, GROUP)) == {USER, ADMIN}
    assert roles(claims, named(PEOPLE, PERSON, ADMIN), named(PEOPLE, PERSON)) == {USER, ADMIN}


def test_the_app_role_use_counts_only_for_those_whom_the_tenant_names() -> None:
    claims = person_claims(roles=frozenset({"Gateway.Use", "Gateway.Admin"}))
    assert roles(claims) == frozenset()
    assert roles(claims, named(PEOPLE, PERSON, ADMIN)) == {ADMIN, Role.USE}


def test_a_token_of_a_legacy_audience_serves_inference_by_its_own_id_only() -> None:
    claims = person_claims(is_legacy_audience=True, groups=frozenset({GROUP}), roles=frozenset({"Gateway.Use"}))
    assert roles(claims, named(PEOPLE, PERSON), named(PEOPLE, PERSON, ADMIN)) == {Role.USE}
    assert roles(claims, named(PEOPLE, PERSON, ADMIN)) == frozenset()
    assert roles(claims, named(GROUPS, GROUP), named(GROUPS, GROUP, ADMIN)) == frozenset()
