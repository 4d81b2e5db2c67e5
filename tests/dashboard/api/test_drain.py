"""`/api/v1/nodes/{id}/drain`: who may, what it takes, what it answers, what it leaves behind."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from dashboard.api.body import BODY_MAX_BYTES
from dashboard.models import AuditEntry, DesiredState, Drain, Node, Scope, Token
from dashboard.services import drain
from dashboard.services.actor import SYSTEM
from meshcore.clock import utcnow

pytestmark = pytest.mark.django_db
Make = Callable[..., Any]
PATH = "nodes/node-a/drain"


def generation() -> int:
    """Return node-a's desired generation."""
    return DesiredState.objects.get(node__name="node-a").generation


def actions() -> list[tuple[str, str]]:
    """Return what was audited of node-a's drains: action and outcome, oldest first."""
    entries = AuditEntry.objects.filter(target="node:node-a", action__in=["drain", "undrain"]).order_by("n")
    return list(entries.values_list("action", "outcome"))


@pytest.mark.parametrize("body", [b"", b"{}", b' {"action": "drain"} '])
def test_no_body_and_an_empty_object_mean_drain(body: bytes, node: Node, caller: Make) -> None:
    answer = caller(Scope.NODES_DRAIN).send(PATH, body)

    assert answer.status_code == 202
    assert generation() == 1
    assert actions() == [("drain", "done")]


def test_the_answer_says_what_is_asked_and_how_far_it_is(online: Node, caller: Make) -> None:
    answer = caller(Scope.NODES_DRAIN).send(PATH, b'{"reason": "kernel update", "deadline_seconds": 60}')

    told = answer.json()
    assert answer.status_code == 202
    assert answer["ETag"] == '"1"'
    assert (told["node"], told["action"], told["changed"], told["generation"]) == ("node-a", "drain", True, 1)
    assert (told["observed"], told["observed_generation"]) == ("pending", 0)
    assert told["drain"]["reason"] == "kernel update"
    assert told["drain"]["by"] == "ci"
    assert "was_draining" not in told


def test_a_drain_that_the_node_confirmed_is_200(online: Node, caller: Make) -> None:
    caller(Scope.NODES_DRAIN).send(PATH)
    Node.objects.update(observed_generation=1)

    answer = caller(Scope.NODES_DRAIN).send(PATH)

    assert (answer.status_code, answer.json()["observed"], answer.json()["changed"]) == (
        200,
        "observed",
        False,
    )
    assert generation() == 1


def test_an_order_unconfirmed_for_ten_seconds_says_so(online: Node, caller: Make) -> None:
    drain.request(node=online, actor=SYSTEM, now=utcnow() - timedelta(seconds=11))

    assert caller(Scope.NODES_DRAIN).send(PATH).json()["observed"] == "not_acknowledged"


def test_a_node_that_is_away_gets_its_order_later(node: Node, caller: Make) -> None:
    answer = caller(Scope.NODES_DRAIN).send(PATH)

    assert (answer.status_code, answer.json()["observed"]) == (202, "unreachable")
    assert generation() == 1


def test_cancel_gives_the_node_back(online: Node, caller: Make) -> None:
    api = caller(Scope.NODES_DRAIN)
    api.send(PATH)

    answer = api.send(PATH, b'{"action": "cancel", "reason": "done"}')

    told = answer.json()
    assert (answer.status_code, told["was_draining"], told["generation"], told["drain"]) == (
        202,
        True,
        2,
        None,
    )
    assert actions() == [("drain", "done"), ("undrain", "done")]


def test_cancelling_nothing_is_200_and_audited(node: Node, caller: Make) -> None:
    answer = caller(Scope.NODES_DRAIN).send(PATH, b'{"action": "cancel"}')

    assert (answer.status_code, answer.json()["was_draining"], answer.json()["changed"]) == (
        200,
        False,
        False,
    )
    assert actions() == [("undrain", "done")]


def test_all_wishes_reach_the_drain(node: Node, caller: Make) -> None:
    body = (
        b'{"reason": "r", "deadline_seconds": 0, "force": true, "sticky": true, "expires_seconds": 60.5,'
        b' "meta": {"ticket": [7]}, "override_guards": true}'
    )

    assert caller(Scope.NODES_DRAIN).send(PATH, body).status_code == 202

    found = Drain.objects.get()
    assert (found.reason, found.force, found.sticky, found.meta) == ("r", True, True, {"ticket": [7]})
    assert found.deadline_at == found.started_at
    assert found.expires_at == found.started_at + timedelta(seconds=60.5)


REFUSED = [
    (b"null", "null"),
    (b"[]", "a list"),
    (b'"drain"', "a string"),
    (b"7", "a number"),
    (b"1.5", "a number"),
    (b"true", "true"),
    (b"{", "not JSON"),
    (b" ", "not JSON"),
    (b"\xff", "not JSON"),
    (b"\xef\xbb\xbf{}", "not JSON"),
    (b"{}{}", "not JSON"),
    (b"[" * 60_000, "not JSON"),
    (b'{"deadline_seconds": ' + b"9" * 5000 + b"}", "not JSON"),
    (b'{"deadline_seconds": NaN}', "NaN"),
    (b'{"action": "explode"}', "explode"),
    (b'{"action": "DRAIN"}', "DRAIN"),
    (b'{"action": null}', "null"),
    (b'{"action": ["cancel"]}', "a list"),
    (b'{"action": {}}', "an object"),
    (b'{"action": "cancel", "action": "drain"}', "twice"),
    (b'{"meta": {"a": 1, "a": 2}}', "twice"),
    (b'{"explode": true}', "explode"),
    (b'{"\\ud800": 1}', "ud800"),
    (b'{"action": "cancel", "force": true}', "force"),
    (b'{"reason": 7}', "reason"),
    (b'{"reason": null}', "reason"),
    (b'{"reason": "\\u0000"}', "reason"),
    (b'{"reason": "\\ud800"}', "reason"),
    (b'{"action": "cancel", "reason": "\\u001b[2J"}', "reason"),
    (b'{"reason": "' + b"x" * 501 + b'"}', "501"),
    (b'{"deadline_seconds": "60"}', "deadline_seconds"),
    (b'{"deadline_seconds": true}', "deadline_seconds"),
    (b'{"deadline_seconds": 0}', "force"),
    (b'{"deadline_seconds": -1}', "deadline_seconds"),
    (b'{"deadline_seconds": 1e999}', "deadline_seconds"),
    (b'{"force": 1}', "force"),
    (b'{"sticky": "yes"}', "sticky"),
    (b'{"expires_seconds": 1e9}', "expires_seconds"),
    (b'{"override_guards": null}', "override_guards"),
    (b'{"meta": []}', "meta"),
    (b'{"meta": {"a": "\\u0000"}}', "meta"),
    (b'{"meta": {"\\ud800": 1}}', "meta"),
    (b'{"meta": {"a": 1e999}}', "meta"),
    (b'{"meta": {"a": "' + b"x" * 5000 + b'"}}', "meta"),
    (b'{"meta": ' + b'{"a": ' * 9 + b"1" + b"}" * 9 + b"}", "meta"),
]


@pytest.mark.parametrize(("body", "named"), REFUSED, ids=lambda value: str(value)[:40])
def test_a_body_that_says_anything_else_is_named_audited_and_changes_nothing(
    body: bytes, named: str, node: Node, caller: Make
) -> None:
    answer = caller(Scope.NODES_DRAIN).send(PATH, body)

    assert answer.status_code == 400
    assert answer["Content-Type"] == "application/problem+json"
    assert named in answer.json()["detail"]
    assert generation() == 0
    assert [outcome for _, outcome in actions()] == ["refused"]
    assert AuditEntry.objects.get(outcome="refused").actor_name == "ci"


def test_a_refusal_names_the_field(node: Node, caller: Make) -> None:
    told = caller(Scope.NODES_DRAIN).send(PATH, b'{"force": 1}').json()

    assert told["title"] == "Bad Request"
    assert told["instance"] == "/api/v1/nodes/node-a/drain"
    assert told["errors"] == [{"field": "force", "detail": told["detail"]}]


@pytest.mark.parametrize(
    "media_type",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/json; charset=utf-16",
        "application/jsonp",
    ],
)
def test_another_media_type_is_415(media_type: str, node: Node, caller: Make) -> None:
    answer = caller(Scope.NODES_DRAIN).send(PATH, b"{}", media_type)

    assert answer.status_code == 415
    assert answer["Accept-Post"] == "application/json"
    assert generation() == 0


@pytest.mark.parametrize(
    "media_type", ["application/json; charset=UTF-8", 'application/json;charset="utf-8"', ""]
)
def test_json_in_utf_8_is_read(media_type: str, node: Node, caller: Make) -> None:
    assert caller(Scope.NODES_DRAIN).send(PATH, b"{}", media_type).status_code == 202


def test_no_body_needs_no_media_type(node: Node, caller: Make) -> None:
    assert caller(Scope.NODES_DRAIN).send(PATH, b"", "application/octet-stream").status_code == 202


def test_a_body_beyond_its_bound_is_413(node: Node, caller: Make) -> None:
    fits = b'{"action": "cancel"}'.ljust(BODY_MAX_BYTES)

    assert caller(Scope.NODES_DRAIN).send(PATH, fits).status_code == 200
    assert caller(Scope.NODES_DRAIN).send(PATH, fits + b" ").status_code == 413


def test_an_unknown_node_is_404_whatever_the_body(caller: Make) -> None:
    for body in (b"", b"{"):
        answer = caller(Scope.NODES_DRAIN).send("nodes/node-z/drain", body)
        assert answer.status_code == 404
        assert "node-z" in answer.json()["detail"]
    assert not AuditEntry.objects.filter(target="node:node-z").exists()


def test_the_audit_names_the_token_the_address_and_the_request(node: Node, caller: Make) -> None:
    answer = caller(Scope.NODES_DRAIN).send(PATH)

    entry = AuditEntry.objects.get(action="drain")
    assert (entry.actor_kind, entry.actor_name, entry.address) == ("token", "ci", "127.0.0.1")
    assert entry.token_prefix == Token.objects.get(name="ci").prefix
    assert entry.request_id == answer["X-Request-Id"]


def test_reading_a_drain_shows_order_word_and_steps(online: Node, caller: Make) -> None:
    caller(Scope.NODES_DRAIN).send(PATH, b'{"reason": "update"}')

    answer = caller(Scope.READ).get(PATH)

    told = answer.json()
    assert (answer.status_code, answer["ETag"]) == (200, '"1"')
    assert (told["observed"], told["state"], told["in_flight"]) == ("pending", "running", 0)
    assert told["last"]["status"] == "active"
    assert [step["step"] for step in told["last"]["steps"]] == ["requested"]


def test_a_node_that_was_never_drained_has_no_last_drain(node: Node, caller: Make) -> None:
    told = caller(Scope.READ).get(PATH).json()

    assert (told["drain"], told["last"], told["generation"]) == (None, None, 0)


def test_reading_needs_read(node: Node, caller: Make) -> None:
    assert caller(Scope.NODES_DRAIN).get(PATH).status_code == 403


@pytest.mark.parametrize("method", ["PATCH", "OPTIONS", "TRACE", "BREW"])
def test_other_methods_are_405(method: str, node: Node, caller: Make) -> None:
    answer = caller(Scope.NODES_DRAIN, Scope.READ).send(PATH, b"", method=method)

    assert answer.status_code == 405
    assert answer["Content-Type"] == "application/problem+json"
    assert answer["Allow"] == "GET, HEAD, POST, PUT, DELETE"


def send(api: Any, method: str, body: bytes = b"", query: str = "", **headers: str) -> Any:
    """Send an order to node-a."""
    return api.send(f"{PATH}{query}", body, method=method, headers=headers)


def test_put_drains_and_put_again_changes_what_it_names(online: Node, caller: Make) -> None:
    api = caller(Scope.NODES_DRAIN)

    first = send(api, "PUT", b'{"reason": "update", "deadline_seconds": 60}')
    again = send(api, "PUT", b'{"force": true}')

    assert (first.status_code, first["ETag"], again["ETag"]) == (202, '"1"', '"2"')
    assert again.json()["drain"]["reason"] == "update"
    assert (again.json()["drain"]["force"], again.json()["changed"]) == (True, True)
    assert Drain.objects.count() == 1


def test_put_without_a_body_drains_with_the_defaults(node: Node, caller: Make) -> None:
    assert send(caller(Scope.NODES_DRAIN), "PUT").status_code == 202
    assert generation() == 1


def test_put_means_drain_and_nothing_else(node: Node, caller: Make) -> None:
    answer = send(caller(Scope.NODES_DRAIN), "PUT", b'{"action": "cancel"}')

    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == "action"
    assert generation() == 0


def test_delete_gives_the_node_back_with_a_reason(online: Node, caller: Make) -> None:
    api = caller(Scope.NODES_DRAIN)
    send(api, "PUT")

    answer = send(api, "DELETE", query="?reason=rolled%20out")

    told = answer.json()
    assert (answer.status_code, answer["ETag"]) == (202, '"2"')
    assert (told["action"], told["was_draining"], told["drain"]) == ("cancel", True, None)
    assert AuditEntry.objects.get(action="undrain").reason == "rolled out"


def test_delete_of_nothing_is_200(node: Node, caller: Make) -> None:
    answer = send(caller(Scope.NODES_DRAIN), "DELETE")

    assert (answer.status_code, answer.json()["was_draining"]) == (200, False)


def test_delete_with_a_body_is_refused_and_gives_nothing_back(node: Node, caller: Make) -> None:
    api = caller(Scope.NODES_DRAIN)
    send(api, "PUT")

    answer = send(api, "DELETE", b'{"reason": "done"}')

    assert answer.status_code == 400
    assert generation() == 1
    assert actions() == [("drain", "done"), ("undrain", "refused")]


ORDERS = [("PUT", b"{}", "drain"), ("POST", b'{"action": "cancel"}', "undrain"), ("DELETE", b"", "undrain")]


@pytest.mark.parametrize(("method", "body", "action"), ORDERS)
def test_an_order_at_another_generation_is_412_audited_and_changes_nothing(
    method: str, body: bytes, action: str, node: Node, caller: Make
) -> None:
    api = caller(Scope.NODES_DRAIN)
    send(api, "PUT", b'{"reason": "update"}')

    answer = send(api, method, body, **{"If-Match": '"0"'})

    told = answer.json()
    assert (answer.status_code, answer["ETag"], told["current_generation"]) == (412, '"1"', 1)
    assert actions() == [("drain", "done"), (action, "refused")]
    assert generation() == 1


@pytest.mark.parametrize(("method", "body", "action"), ORDERS)
@pytest.mark.parametrize("said", ['"1"', "*", '"7", "1"'])
def test_an_order_at_the_present_generation_is_carried_out(
    said: str, method: str, body: bytes, action: str, node: Node, caller: Make
) -> None:
    api = caller(Scope.NODES_DRAIN)
    send(api, "PUT", b'{"reason": "update"}')

    assert send(api, method, body, **{"If-Match": said}).status_code == 202
    assert actions()[-1] == (action, "done")


def test_a_precondition_that_cant_be_read_is_400_audited_and_changes_nothing(
    node: Node, caller: Make
) -> None:
    answer = send(caller(Scope.NODES_DRAIN), "PUT", b"{}", **{"If-Match": "1"})

    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, "If-Match")
    assert generation() == 0
    assert actions() == [("drain", "refused")]


def test_a_parameter_that_nobody_knows_drains_nothing(node: Node, caller: Make) -> None:
    answer = send(caller(Scope.NODES_DRAIN), "PUT", query="?only_try=true")

    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, "only_try")
    assert generation() == 0


def test_guards_refuse_with_their_blockers_unless_overridden(online: Node, caller: Make) -> None:
    give_chat(online)
    api = caller(Scope.NODES_DRAIN)

    refused = send(api, "PUT", b'{"reason": "update"}')
    done = send(api, "PUT", b'{"reason": "update", "override_guards": true}')

    [blocker] = refused.json()["blockers"]
    assert (refused.status_code, refused.json()["title"]) == (409, "Conflict")
    assert (blocker["kind"], blocker["subject"]) == ("last_provider", "llm.chat")
    assert blocker["detail"] in refused.json()["detail"]
    assert refused.json()["errors"][0]["field"] == "override_guards"
    assert (done.status_code, generation()) == (202, 1)
    assert actions() == [("drain", "refused"), ("drain", "done")]


def give_chat(node: Node) -> None:
    """Let a node have the one provider of llm.chat."""
    offer = {"name": "llm.chat", "version": "1.0", "provider": "ollama", "params": {"models": ["llama3"]}}
    Node.objects.filter(pk=node.pk).update(manifest={"node_id": "node-a", "capabilities": [offer]})
