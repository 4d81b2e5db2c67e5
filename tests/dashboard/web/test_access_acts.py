"""What the Access page makes is shown once; what it takes away asks twice."""

import re
import tomllib
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from dashboard.models import AuditEntry, Node, Scope, Token
from dashboard.services import accounts, nodes, tokens
from dashboard.services.actor import SYSTEM
from dashboard.services.rights import Right, user_rights
from dashboard.services.tokens import TokenRejected
from tests.dashboard.conftest import person
from tests.dashboard.web import factory
from tests.dashboard.web.conftest import NOW, signed_in

pytestmark = pytest.mark.django_db


@pytest.fixture
def dora(db: None) -> User:
    """Administers."""
    return person("dora", "admin")


@pytest.fixture
def admin(dora: User) -> Client:
    """Dora's browser."""
    return signed_in(dora)


def body(answer: Any) -> str:
    return unescape(answer.content.decode())


def copies(answer: Any) -> list[str]:
    """What the page has to copy: the secret first."""
    return re.findall(r'<pre class="copy[^>]*>(.*?)</pre>', body(answer), re.DOTALL)


def make(admin: Client, **form: Any) -> Any:
    wanted = {"name": "ci", "scope": ["read", "nodes:drain"], "expires": "86400", **form}
    return admin.post("/access/tokens/", wanted, REMOTE_ADDR="192.0.2.7")


def test_a_token_is_shown_in_the_one_answer_that_made_it(admin: Client) -> None:
    answer = make(admin, networks="10.0.0.0/8, fd00::/8")

    secret, use = copies(answer)
    token = tokens.authenticate(secret, address="10.1.2.3")
    assert (token.name, token.created_by, token.scopes) == ("ci", "dora", ["nodes:drain", "read"])
    assert (token.networks, token.expires_at) == (["10.0.0.0/8", "fd00::/8"], NOW + timedelta(days=1))
    assert use.startswith(f'MESH_TOKEN={secret}\ncurl -H "Authorization: Bearer $MESH_TOKEN" http://')
    assert "no-store" in answer["Cache-Control"]
    assert secret.rsplit("_", 1)[1] not in body(admin.get("/access/"))
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.actor_name, entry.address) == ("token.issue", "dora", "192.0.2.7")


@pytest.mark.parametrize(
    ("scopes", "words"),
    [
        (["audit:read", "admin"], "/audit"),
        (["nodes:drain", "runs:cancel"], "/nodes/NODE/drain"),
        (["runs:cancel"], "/runs/RUN/cancel"),
        (["breakers:write"], "/breakers/overrides"),
        (["admin"], "/tokens"),
    ],
)
def test_its_first_use_is_one_that_it_may(admin: Client, scopes: list[str], words: str) -> None:
    assert words in copies(make(admin, scope=scopes))[1]


def test_a_node_s_token_is_used_by_starting_the_node(admin: Client, node: Node) -> None:
    secret, use = copies(make(admin, scope=["nodes:push"], node="node-a", expires="never"))

    assert tokens.authenticate(secret, address="192.0.2.1").node == node
    assert use == f"NODE_TOKEN={secret} python -m meshcore node --config node-a.toml"


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        ({"name": " "}, "name=''"),
        ({"scope": []}, "no scope"),
        ({"scope": ["root"]}, "scope='root'"),
        ({"scope": ["nodes:push"]}, "bound to one node"),
        ({"networks": "here"}, "networks:"),
        ({"expires": "5"}, "expires='5'"),
    ],
)
def test_a_token_that_makes_no_sense_is_the_form(admin: Client, wish: dict[str, Any], said: str) -> None:
    answer = make(admin, **wish)

    assert answer.status_code == 422
    assert said in body(answer)
    assert '<details class="make" open>' in body(answer)
    assert not Token.objects.exists()


def test_what_was_typed_is_kept_when_it_is_refused(admin: Client) -> None:
    page = body(make(admin, networks="here", expires="never"))

    assert 'value="here"' in page
    assert '<option value="never" selected>' in page
    assert re.search(r'value="nodes:drain" checked>', page)


def test_a_token_for_a_node_that_is_not_there_is_a_404(admin: Client) -> None:
    assert make(admin, scope=["nodes:push"], node="nowhere").status_code == 404


def test_revoking_takes_two_steps_and_a_reason(admin: Client) -> None:
    token, secret = tokens.issue(name="ci", scopes=[Scope.READ], actor=SYSTEM)
    first = body(admin.get(f"/access/?confirm=revoke&of={token.prefix}"))
    assert f"Revoke ci ({token.prefix})?" in first
    assert f"manage.py revoke_token {token.prefix}" in first

    refused = admin.post(f"/access/tokens/{token.prefix}/revoke/", {"reason": "x"})
    assert refused.status_code == 422
    assert "3 characters or more" in body(refused)
    assert tokens.authenticate(secret, address="192.0.2.1")

    done = admin.post(f"/access/tokens/{token.prefix}/revoke/", {"reason": "leaked"}, follow=True)
    assert f"Token ci ({token.prefix}) is revoked." in body(done)
    with pytest.raises(TokenRejected):
        tokens.authenticate(secret, address="192.0.2.1")
    assert AuditEntry.objects.latest("n").reason == "leaked"

    again = admin.post(f"/access/tokens/{token.prefix}/revoke/", {"reason": "leaked"}, follow=True)
    assert "was revoked before" in body(again)


def test_a_node_comes_with_its_token_its_configuration_and_its_command(admin: Client) -> None:
    answer = admin.post("/access/nodes/", {"name": "laptop", "upstream": "http://u/v1", "listen": ""})

    secret, toml, start = copies(answer)
    settings = tomllib.loads(toml)
    assert (settings["node"]["id"], settings["node"]["listen"]) == ("laptop", "127.0.0.1:8120")
    assert settings["providers"][0]["base_url"] == "http://u/v1"
    assert start == f"NODE_TOKEN={secret} python -m meshcore node --config laptop.toml"
    assert "it needs their secret" in body(answer)
    assert Node.objects.get().name == "laptop"


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ({"name": "Laptop"}, "name='Laptop'"),
        ({"name": "laptop", "upstream": "ollama"}, "base_url = 'ollama'"),
        ({"name": "laptop", "listen": "here"}, "node.listen = 'here'"),
    ],
)
def test_a_node_that_could_not_start_is_the_form_again(
    admin: Client, form: dict[str, str], said: str
) -> None:
    answer = admin.post("/access/nodes/", form)

    assert answer.status_code == 422
    assert said in body(answer)
    assert not Node.objects.exists()


def test_forgetting_a_connected_node_has_to_be_meant(admin: Client) -> None:
    factory.seen_node("node-a", now=NOW)
    assert "node-a is connected now" in body(admin.get("/access/?confirm=forget&of=node-a"))

    refused = admin.post("/access/nodes/node-a/forget/", {"reason": "sold"})
    assert refused.status_code == 422
    assert "node-a is connected: stop it first" in body(refused)

    done = admin.post("/access/nodes/node-a/forget/", {"reason": "sold", "insist": "yes"}, follow=True)
    assert "node-a is forgotten." in body(done)
    assert not Node.objects.exists()


def test_forgetting_one_that_is_away_asks_for_a_reason_alone(admin: Client) -> None:
    nodes.add(name="node-a", actor=SYSTEM)
    assert "forget it all the same" not in body(admin.get("/access/?confirm=forget&of=node-a"))

    admin.post("/access/nodes/node-a/forget/", {"reason": "sold"})

    assert AuditEntry.objects.get(action="node.forget").reason == "sold"


def test_a_new_person_chooses_a_password_before_anything_opens(admin: Client) -> None:
    answer = admin.post("/access/people/", {"name": "eve", "group": ["viewer"]})
    (password,) = copies(answer)
    eve = Client()

    eve.post("/login/", {"username": "eve", "password": password})
    assert eve.get("/")["Location"] == "/password/"
    assert eve.get("/", headers={"HX-Request": "true"})["HX-Redirect"] == "/password/"
    own = "one that nobody told me"
    form = {"old_password": password, "new_password1": own, "new_password2": own}
    assert eve.post("/password/", form)["Location"] == "/"

    assert eve.get("/").status_code == 200
    assert AuditEntry.objects.latest("n").actor_name == "eve"
    assert not accounts.has_one_time_password(User.objects.get(username="eve"))


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ({"name": ""}, "name=''"),
        ({"name": "dora"}, "has this name"),
        ({"name": "e", "group": "x"}, "group='x'"),
    ],
)
def test_somebody_who_can_not_be_is_the_form_again(admin: Client, form: dict[str, str], said: str) -> None:
    answer = admin.post("/access/people/", form)

    assert answer.status_code == 422
    assert said in body(answer)
    assert User.objects.count() == 1


def change(admin: Client, user: User, act: str, **form: Any) -> Any:
    return admin.post(f"/access/people/{user.pk}/{act}/", form, follow=True)


def test_groups_are_changed_on_the_page(admin: Client, bob: User) -> None:
    first = body(admin.get(f"/access/?confirm=groups&of={bob.pk}"))
    assert re.search(r'value="viewer" checked>', first)

    done = change(admin, bob, "groups", group=["operator", "auditor"])

    assert "bob is in operator, auditor now." in body(done)
    assert user_rights(bob) == set(Right) - {Right.ADMIN}
    assert "bob is in no group now." in body(change(admin, bob, "groups"))


def test_a_group_that_is_none_changes_nothing(admin: Client, bob: User) -> None:
    answer = change(admin, bob, "groups", group="root", reason="why not")

    assert answer.status_code == 422
    assert "group='root'" in body(answer)
    assert 'value="why not"' in body(answer)
    assert user_rights(bob) == {Right.READ}


def test_deactivating_asks_for_a_reason_and_can_be_undone(admin: Client, bob: User) -> None:
    browser = signed_in(bob)
    assert change(admin, bob, "deactivate").status_code == 422

    assert "bob is deactivated." in body(change(admin, bob, "deactivate", reason="left"))
    assert browser.get("/").status_code == 302

    assert "bob may sign in again." in body(change(admin, bob, "reactivate"))
    assert browser.get("/").status_code == 200


@pytest.mark.parametrize(
    ("act", "form"), [("groups", {"group": "operator"}), ("deactivate", {"reason": "tired"})]
)
def test_nobody_shuts_themselves_out(admin: Client, dora: User, act: str, form: dict[str, str]) -> None:
    answer = change(admin, dora, act, **form)

    assert answer.status_code == 422
    assert "You can't take away your own right to administer" in body(answer)
    assert Right.ADMIN in user_rights(User.objects.get(pk=dora.pk))


def test_a_new_password_is_shown_once_and_ends_sessions(admin: Client, bob: User) -> None:
    browser = signed_in(bob)
    assert change(admin, bob, "password", reason="x" * 501).status_code == 422

    (password,) = copies(change(admin, bob, "password", reason="forgotten"))

    assert browser.get("/").status_code == 302
    assert User.objects.get(pk=bob.pk).check_password(password)
    assert password not in body(admin.get("/access/"))


@pytest.mark.parametrize(
    "path",
    [
        *("/access/tokens/zzzzzzzz/revoke/", "/access/nodes/nowhere/forget/"),
        *(f"/access/people/999/{act}/" for act in ("groups", "deactivate", "reactivate", "password")),
    ],
)
def test_what_is_not_there_can_not_be_changed(admin: Client, path: str) -> None:
    assert admin.post(path, {"reason": "because"}).status_code == 404
    assert not AuditEntry.objects.exists()
