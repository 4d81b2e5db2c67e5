"""The files in deploy/, and docs/operations.md, name what there is: settings, commands, bounds, addresses."""

import configparser
import ipaddress
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.core.management import load_command_class

from dashboard import engines, retention
from dashboard.secrets import MeshUrl, networks
from dashboard.serving.limits import MIB, Limits
from dashboard.serving.server import EXIT_SECONDS
from meshcore.aio.node import FINISH_SECONDS
from meshcore.cli import drain
from meshcore.config import OVERRIDE_PREFIXES, parse_config

ROOT = Path(__file__).resolve().parent.parent
DEPLOY = ROOT / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
NGINX = DEPLOY / "nginx" / "meshboard.conf"
KUBERNETES = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
CADDYFILES = [DEPLOY / "caddy" / "Caddyfile", DEPLOY / "compose" / "Caddyfile"]
DOCUMENTED = [
    *(path for path in sorted(DEPLOY.rglob("*")) if path.is_file()),
    ROOT / "docs" / "operations.md",
]

SETTING = re.compile(r"\b(?:MESH_[A-Z_]+|DATABASE_URL|CHANNEL_LAYER_URL)\b")
SETTINGS = ("ConfigMap", "meshboard")  # of the dashboard's pods
QUIETEST_SECONDS = 5  # a page hears something that often, a node says it (link-and-telemetry, dashboard.md)


def settings_in_code() -> set[str]:
    """Return the environment variables that the dashboard reads."""
    texts = (path.read_text(encoding="utf-8") for path in (ROOT / "dashboard").glob("*.py"))
    named = {name for text in texts for name in re.findall(r'environ(?:\.get\(|\[)"([A-Z_]+)"', text)}
    return named | retention.NAMES.keys()


def unit(path: Path) -> configparser.SectionProxy:
    """Return what a unit says of its service."""
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[method-assign, assignment]
    parser.read(path, encoding="utf-8")
    return parser["Service"]


def compose() -> dict[str, Any]:
    """Return the compose file, with its variables filled in."""
    text = (DEPLOY / "compose" / "compose.yaml").read_text(encoding="utf-8")
    values = {"MESH_URL": "https://meshboard.example"}
    filled = re.sub(r"\$\{([A-Z_]+)(?::\?[^}]*)?\}", lambda found: values.get(found[1], "s3cret"), text)
    return dict(yaml.safe_load(filled))


def manifests() -> Iterator[dict[str, Any]]:
    """Return every object of the Kubernetes manifests."""
    for path in KUBERNETES:
        yield from yaml.safe_load_all(path.read_text(encoding="utf-8"))


def manifest(kind: str, name: str) -> dict[str, Any]:
    """Return one object."""
    [found] = [each for each in manifests() if each["kind"] == kind and each["metadata"]["name"] == name]
    return found


def pods() -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Return (object, spec of its pods) of all that runs in Kubernetes."""
    for each in manifests():
        if "template" in each.get("spec", {}):
            yield each, each["spec"]["template"]["spec"]


def copied_into_the_image() -> set[str]:
    """Return what of the checkout the image has."""
    text = (DEPLOY / "compose" / "Dockerfile").read_text(encoding="utf-8")
    lines = re.findall(r"^COPY (.+) \S+$", text, flags=re.MULTILINE)
    return {name for line in lines for name in line.split()}


def commands() -> Iterator[tuple[str, list[str]]]:
    """Return (where, arguments of manage.py) of every command that a file in deploy/ runs."""
    for path in UNITS:
        for key in ("ExecStartPre", "ExecStart"):
            line = unit(path).get(key, "").replace("%i", "8001")
            if "manage.py" in line:
                yield f"{path.name} {key}", shlex.split(line.partition("manage.py ")[2])
    for name, service in compose()["services"].items():
        if "build" in service:
            yield f"compose {name}", service["command"]
    for _, pod in pods():
        [container] = pod["containers"]
        if "args" in container:
            yield f"kubernetes {container['name']}", container["args"]


@pytest.mark.parametrize("path", DOCUMENTED, ids=lambda path: path.name)
def test_every_setting_that_is_named_is_read(path: Path) -> None:
    named = set(SETTING.findall(path.read_text(encoding="utf-8")))

    of_nodes = {name for name in named if name.startswith(OVERRIDE_PREFIXES)}
    assert named - of_nodes <= settings_in_code()


def test_every_setting_that_is_read_is_documented() -> None:
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")

    assert {name for name in settings_in_code() if f"| `{name}` |" not in text} == set()


def test_every_option_of_a_database_is_documented() -> None:
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")

    assert {name for name in engines.POSTGRESQL_OPTIONS if f"`{name}`" not in text} == set()


@pytest.mark.parametrize(("where", "arguments"), list(commands()), ids=[where for where, _ in commands()])
def test_every_command_takes_its_arguments(where: str, arguments: list[str]) -> None:
    name, *options = arguments
    owner = "django.core" if name == "migrate" else "dashboard"

    load_command_class(owner, name).create_parser("manage.py", name).parse_args(options)


def test_the_example_of_settings_is_valid() -> None:
    lines = (DEPLOY / "dashboard.env.example").read_text(encoding="utf-8").splitlines()
    said = dict(line.lstrip("#").split("=", 1) for line in lines if re.match(r"#?[A-Z_]+=", line))

    assert MeshUrl.parse(said["MESH_URL"], allow_plain_http=False).secure
    assert networks("MESH_TRUSTED_PROXIES", said["MESH_TRUSTED_PROXIES"])
    assert engines.database(said["DATABASE_URL"], folder=Path("/var"))["ENGINE"] == engines.POSTGRESQL
    assert engines.channel_layer(said["CHANNEL_LAYER_URL"])["BACKEND"] == engines.REDIS_LAYER


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_a_unit_keeps_its_state_where_it_may_write_and_waits_until_it_has_ended(path: Path) -> None:
    service = unit(path)

    is_node = "node" in path.name
    assert service["ProtectSystem"] == "strict"
    assert service["User"] == "meshboard"
    assert is_node or service["Environment"] == f"MESH_VAR=/var/lib/{service['StateDirectory']}"
    assert service["Type"] == "oneshot" or float(service["TimeoutStopSec"]) > (
        FINISH_SECONDS if is_node else EXIT_SECONDS
    )


def test_nginx_passes_on_what_the_dashboard_needs_and_no_more() -> None:
    text = NGINX.read_text(encoding="utf-8")
    said = dict(re.findall(r"^\s*(?:proxy_set_header\s+)?([\w-]+)\s+([^;{]+);", text, flags=re.MULTILINE))

    assert said["client_max_body_size"] == f"{Limits().body_bytes // MIB}m"
    assert (said["Host"], said["X-Forwarded-Proto"]) == ("$http_host", "$scheme")
    assert said["X-Forwarded-For"] == "$proxy_add_x_forwarded_for"
    assert (said["Upgrade"], said["Connection"]) == ("$http_upgrade", "$meshboard_connection")
    assert said["proxy_buffering"] == "off"
    assert int(said["proxy_read_timeout"].removesuffix("s")) > QUIETEST_SECONDS
    assert text.count("{") == text.count("}")


@pytest.mark.parametrize("path", CADDYFILES, ids=lambda path: path.parent.name)
def test_caddy_bounds_bodies_as_the_dashboard_does_and_does_not_hold_answers_back(path: Path) -> None:
    text = path.read_text(encoding="utf-8")

    assert f"max_size {Limits().body_bytes // MIB}MiB" in text
    assert "flush_interval -1" in text
    assert text.count("{") == text.count("}")


def test_the_compose_file_holds_together() -> None:
    file = compose()
    services = file["services"]
    settings = services["dashboard"]["environment"]
    [subnet] = file["networks"]["default"]["ipam"]["config"]
    hosts = {engines.database(settings["DATABASE_URL"], folder=Path("/var"))["HOST"]}
    hosts.add(engines.Url("CHANNEL_LAYER_URL", settings["CHANNEL_LAYER_URL"]).parts.hostname)

    assert hosts == {"postgres", "redis"}
    assert networks("", settings["MESH_TRUSTED_PROXIES"]) == (ipaddress.ip_network(subnet["subnet"]),)
    assert {each for service in services.values() for each in service.get("depends_on", {})} <= set(services)
    assert "dynamic a dashboard 8000" in CADDYFILES[1].read_text(encoding="utf-8")
    assert services["dashboard"]["command"][-3:] == ["--port", "8000", "--no-worker"]


def test_every_container_of_ours_is_given_settings_that_are_read() -> None:
    ours = [service["environment"] for service in compose()["services"].values() if "build" in service]
    ours += [each["data"] for each in manifests() if (each["kind"], each["metadata"]["name"]) == SETTINGS]

    assert len(ours) == 4
    assert set().union(*ours) <= settings_in_code()


def test_the_migration_waits_for_a_database_that_listens_where_it_is_asked() -> None:
    services = compose()["services"]
    check = services["postgres"]["healthcheck"]["test"]

    assert services["migrate"]["depends_on"]["postgres"] == {"condition": "service_healthy"}
    assert check[:4] == ["CMD", "pg_isready", "--host", "127.0.0.1"]
    assert services["postgres"]["environment"]["POSTGRES_USER"] == check[-1]


def test_every_container_of_ours_has_time_to_end() -> None:
    for service in compose()["services"].values():
        if "build" in service:
            assert float(service["stop_grace_period"].removesuffix("s")) > EXIT_SECONDS


def test_every_volume_of_the_compose_file_is_declared_or_there() -> None:
    file = compose()
    mounted = {
        volume.partition(":")[0]
        for service in file["services"].values()
        for volume in service.get("volumes", ())
    }

    files = {name for name in mounted if name.startswith(".")}
    assert mounted - files == set(file["volumes"])
    assert all((DEPLOY / "compose" / name).is_file() for name in files)


def test_every_object_is_in_the_same_namespace_and_every_service_finds_its_pods() -> None:
    labels = [each["spec"]["template"]["metadata"]["labels"] for each, _ in pods()]

    assert {each["metadata"]["namespace"] for each in manifests()} == {"meshboard"}
    for each in manifests():
        if each["kind"] in ("Service", "PodDisruptionBudget"):
            selector = each["spec"]["selector"]
            asked = selector.get("matchLabels", selector)
            assert any(asked.items() <= label.items() for label in labels), each["metadata"]["name"]


def test_every_pod_runs_with_the_least_rights_and_within_bounds() -> None:
    for _, pod in pods():
        [container] = pod["containers"]
        least = container["securityContext"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["automountServiceAccountToken"] is False
        assert (least["allowPrivilegeEscalation"], least["readOnlyRootFilesystem"]) == (False, True)
        assert least["capabilities"] == {"drop": ["ALL"]}
        assert "memory" in container["resources"]["limits"]
        volumes = {volume["name"] for volume in pod["volumes"]}
        claims = {"home"} if container["name"] == "node" else set()
        assert {mount["name"] for mount in container["volumeMounts"]} == volumes | claims


def test_secrets_are_referred_to_and_in_no_manifest() -> None:
    assert not [each for each in manifests() if each["kind"] == "Secret"]
    for _, pod in pods():
        [container] = pod["containers"]
        texts = [variable.get("value", "") for variable in container.get("env", ())]
        assert not [text for text in texts if "msh_" in text or "password" in text.lower()]


def test_a_dashboard_s_pod_has_time_to_end() -> None:
    for name in ("meshboard", "meshboard-worker"):
        pod = manifest("Deployment", name)["spec"]["template"]["spec"]
        [container] = pod["containers"]
        hook = container.get("lifecycle", {}).get("preStop", {"exec": {"command": ["sleep", "0"]}})
        assert pod["terminationGracePeriodSeconds"] > float(hook["exec"]["command"][1]) + EXIT_SECONDS


def test_a_node_s_pod_is_drained_before_it_ends_and_has_time_for_it() -> None:
    pod = manifest("StatefulSet", "meshboard-node")["spec"]["template"]["spec"]
    [container] = pod["containers"]
    hook = container["lifecycle"]["preStop"]["exec"]["command"]

    assert hook[:4] == ["python", "-m", "meshcore", "drain"]
    asked = drain._parser().parse_args(hook[4:])
    assert asked.wait > 0
    assert str(asked.config) == container["command"][-1]
    assert pod["terminationGracePeriodSeconds"] > asked.wait + FINISH_SECONDS
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"


def test_the_configuration_of_the_nodes_is_good() -> None:
    text = manifest("ConfigMap", "meshboard-node")["data"]["node.toml"]
    [container] = manifest("StatefulSet", "meshboard-node")["spec"]["template"]["spec"]["containers"]
    named = {each["name"]: each.get("value", "") for each in container["env"]}
    environ = {name: text.replace("$(MESH_NODE_ID)", "meshboard-node-0") for name, text in named.items()}
    environ |= {"MESH_NODE_ID": "meshboard-node-0", "NODE_API_KEYS": "apps:" + "k" * 32}

    config = parse_config(text, path=container["command"][-1], environ=environ, read_file=lambda _: "s" * 64)

    [mount] = [each for each in container["volumeMounts"] if each["name"] == "home"]
    [probed] = container["ports"]
    assert config.node.id == "meshboard-node-0"
    assert config.node.home.startswith(mount["mountPath"])
    assert config.node.listen.port == probed["containerPort"]
    assert config.dashboard is not None
    assert config.dashboard.token_file == "/etc/meshboard/secrets/meshboard-node-0"
    assert config.node.advertise == "http://meshboard-node-0.meshboard-node.meshboard.svc:8100"


def test_nothing_reaches_a_pod_that_no_policy_names() -> None:
    policies = [each["spec"] for each in manifests() if each["kind"] == "NetworkPolicy"]
    ports = {port["port"] for spec in policies for rule in spec.get("ingress", ()) for port in rule["ports"]}

    assert {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]} in policies
    assert ports == {8000, 8100}
    assert all(rule["from"] for spec in policies for rule in spec.get("ingress", ()))


def test_the_image_has_what_the_dashboard_runs_on() -> None:
    assert copied_into_the_image() == {
        *(
            "requirements.txt",
            "requirements-node.txt",
            "manage.py",
            "meshcore",
            "dashboard",
            "templates",
            "static",
        )
    }
    assert all((ROOT / name).exists() for name in copied_into_the_image())


def test_what_the_image_is_made_of_is_let_through_to_it() -> None:
    lines = (DEPLOY / "compose" / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if not line.startswith("#")]

    assert rules[0] == "*"
    assert {rule[1:] for rule in rules if rule.startswith("!")} == copied_into_the_image()


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the image has of the checkout, and nothing else."""
    folder = tmp_path_factory.mktemp("image")
    for name in copied_into_the_image():
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)
    return folder


@pytest.mark.parametrize("command", [["migrate", "--no-input"], ["serve", "--help"], ["worker", "--help"]])
def test_every_command_finds_all_that_it_needs_in_the_image(image: Path, command: list[str]) -> None:
    environ = {"MESH_VAR": str(image / "var"), "MESH_URL": "https://meshboard.example"}

    done = subprocess.run(
        [sys.executable, "manage.py", *command], cwd=image, env=environ, capture_output=True, text=True
    )

    assert done.returncode == 0, done.stderr
