"""docker-compose.yml, read: valid by the Compose specification's schema, pinned, and safe as it stands.

There is no Docker in these tests; `test_compose_native.py` runs what the file says.
"""

import copy
import importlib.metadata
import importlib.util
import json
import re
import shlex
import shutil
import subprocess
import tomllib
from importlib.resources import files

import pytest
from jsonschema.validators import validator_for
from ruamel.yaml import YAML

from tests.platform.compose_file import PAGE, ROOT, VARIABLE, Native, compose

RAY = ("ray-head", "worker-cpu", "worker-gpu", "sweep")
OWN = (*RAY, "mlflow")


@pytest.fixture(scope="module")
def services():
    return compose()["services"]


@pytest.fixture(scope="module")
def pinned():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if "==" in line)


@pytest.fixture(scope="module")
def schema():
    """The Compose specification's own, as check-jsonschema ships it."""
    text = files("check_jsonschema").joinpath("builtin_schemas/vendor/compose-spec.json").read_text()
    specification = json.loads(text)
    return validator_for(specification)(specification)


def problems(schema, document):
    return [f"{'.'.join(map(str, one.absolute_path))}: {one.message}" for one in schema.iter_errors(document)]


def command(service):
    return " ".join(service["command"])


def lines(service):
    """Return the programs that a service calls, a line each."""
    return command(service).replace("\\\n", " ").splitlines()


def test_the_file_is_valid_before_and_after_its_variables_are_put_in(schema):
    assert problems(schema, YAML(typ="safe").load((ROOT / "docker-compose.yml").read_text())) == []
    assert problems(schema, compose()) == []
    assert problems(schema, compose({"GPU_WORKERS": "4", "MLFLOW_PORT": "5001"})) == []


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda file: file["services"]["ray-head"].update(shmsize="2gb"), "'shmsize' was unexpected"),
        (lambda file: device(file).update(capabilites=device(file).pop("capabilities")), "capabilit"),
        (lambda file: file["services"]["sweep"]["depends_on"]["mlflow"].update(condition="healthy"), "'healthy'"),
    ],
)
def test_the_schema_finds_what_is_misspelt(schema, spoil, said):
    file = copy.deepcopy(compose())
    spoil(file)
    assert any(said in one for one in problems(schema, file))


def device(file):
    return file["services"]["worker-gpu"]["deploy"]["resources"]["reservations"]["devices"][0]


def test_the_images_carry_the_versions_of_the_constraints(services, pinned):
    assert {services[name]["image"] for name in RAY} == {f"enlightengan-ray:{pinned['ray']}"}
    assert services["mlflow"]["image"] == f"enlightengan-mlflow:{pinned['mlflow']}"
    assert re.fullmatch(r"postgres:\d+\.\d+-\w+", services["postgres"]["image"])


def test_the_images_install_what_the_constraints_pin_and_nothing_else(services, pinned):
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    installs = re.findall(r"uv pip install (.*)", text)
    assert len(installs) == 2
    for one in installs:
        assert "--constraint constraints.txt" in one
        named = [word for word in shlex.split(one) if word in pinned]
        assert named or "--extra cluster -r pyproject.toml" in one
    asked = [re.match(r"[\w-]+", name)[0] for name in project["optional-dependencies"]["cluster"]]
    assert sorted(asked) == ["psycopg2-binary", "ray"]
    assert set(asked) <= set(pinned)
    python = re.search(r"FROM python:(3\.\d+)-", text)[1]
    assert re.fullmatch(r">=3\.11,<3\.14", project["requires-python"])
    assert python in {"3.11", "3.12", "3.13"}
    targets = set(re.findall(r"^FROM \w+ AS (\w+)", text, re.MULTILINE))
    assert {services[name]["build"]["target"] for name in OWN} == targets


def test_every_pin_of_the_cluster_is_what_is_installed(pinned):
    for name in ("ray", "mlflow", "psycopg2-binary"):
        try:
            installed = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            pytest.skip(f"{name} (the extra `cluster`) is not installed")
        assert installed == pinned[name]


def test_ports_are_published_on_loopback_alone(services):
    published = [port for service in services.values() for port in service.get("ports", [])]
    assert sorted(published) == ["127.0.0.1:5000:5000", "127.0.0.1:8265:8265"]
    assert not any("network_mode" in service or "expose" in service for service in services.values())


def test_secrets_come_from_files_that_git_ignores(services):
    file = compose()
    places = {name: one["file"] for name, one in file["secrets"].items()}
    assert places == {"ray_token": "./secrets/ray_token", "postgres_password": "./secrets/postgres_password"}
    ignored = subprocess.run(["git", "check-ignore", *places.values()], cwd=ROOT, capture_output=True, text=True)
    assert ignored.stdout.split() == list(places.values())
    for name, service in services.items():
        read = {value for value in service["environment"].values() if value.startswith("/run/secrets/")}
        assert read == {f"/run/secrets/{secret}" for secret in service["secrets"]}, name
        told = [key for key in service["environment"] if re.search("TOKEN|PASSWORD", key)]
        assert all(key.endswith(("_FILE", "_PATH")) for key in told), name
    assert re.search(r"//mlflow@", services["mlflow"]["environment"]["MLFLOW_BACKEND_STORE_URI"])


@pytest.mark.parametrize("name", RAY)
def test_every_node_asks_for_the_token_and_has_shared_memory_for_its_object_store(services, name):
    service = services[name]
    assert service["environment"]["RAY_AUTH_MODE"] == "token"
    assert service["environment"]["RAY_AUTH_TOKEN_PATH"] == "/run/secrets/ray_token"
    starts = [line for line in lines(service) if "ray start" in line]
    assert len(starts) == 1
    asked = int(re.search(r"--object-store-memory=(\d+)", starts[0])[1])
    assert service["shm_size"].endswith("gb")
    assert asked < int(service["shm_size"].removesuffix("gb")) * 2**30 * 0.8


@pytest.mark.parametrize("name", OWN)
def test_our_containers_run_as_no_root_without_privileges(services, name):
    assert services[name]["user"] == "1000:1000"
    assert services[name]["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in services[name]["security_opt"]


def test_mlflow_lets_in_who_comes_by_the_name_that_the_sweep_uses(services):
    uri = re.search(r"tracking\.uri=http://(\S+)", command(services["sweep"]))[1]
    allowed = re.search(r"--allowed-hosts '([^']+)'", command(services["mlflow"]))[1].split(",")
    assert uri == "mlflow:5000"
    assert uri in allowed  # with its port: MLflow compares the whole Host header
    assert {"localhost:*", "127.0.0.1:*"} <= set(allowed)  # a browser, at the published port
    assert "*" not in allowed


def test_hosts_are_services_and_paths_are_volumes(services):
    named = set(re.findall(r"(?:=|//|@| )([a-z-]+):\d{4}\b", json.dumps(services)))
    assert named <= set(services)
    volumes = compose()["volumes"]
    for name, service in services.items():
        inside = {volume.split(":")[1] for volume in service["volumes"]}
        used = set(re.findall(r"(?<![\w.-])/(?:storage|results|artifacts|claims|code)\b", command(service)))
        assert used <= inside, name
        sources = {volume.split(":")[0] for volume in service["volumes"]}
        assert {one for one in sources if not one.startswith(".")} <= set(volumes), name


def test_nobody_waits_for_the_health_of_a_service_without_a_check(services):
    for service in services.values():
        for other, how in service.get("depends_on", {}).items():
            assert how == {"condition": "service_healthy"}
            assert services[other]["healthcheck"]["test"]
            assert not services[other].get("profiles")  # or it would not be started


def test_there_is_a_profile_for_cpus_and_one_for_gpus(services):
    assert {name: one["profiles"] for name, one in services.items() if "profiles" in one} == {
        "worker-cpu": ["cpu"],
        "worker-gpu": ["gpu"],
    }
    assert device(compose()) == {"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}
    more = compose({"CPU_WORKERS": "3", "GPU_WORKERS": "8"})["services"]
    assert (more["worker-cpu"]["deploy"]["replicas"], more["worker-gpu"]["deploy"]["replicas"]) == ("3", "8")
    for name in ("ray-head", "sweep"):
        assert "--num-cpus=0 --num-gpus=0" in command(services[name])


def test_the_page_tells_every_variable_that_a_user_may_set():
    asked = {match["name"] for match in VARIABLE.finditer((ROOT / "docker-compose.yml").read_text()) if match["name"]}
    told = set(re.findall(r"^\| `(\w+)` \|", PAGE.read_text(), re.MULTILINE))
    assert told == {name for name in asked if not name.startswith("NATIVE_")}


FAKE_RAY = """\
#!/bin/sh
echo "$CUDA_VISIBLE_DEVICES $*"
exec sleep 60
"""


@pytest.mark.skipif(shutil.which("flock") is None, reason="flock is not installed")
def test_each_gpu_worker_claims_a_gpu_of_its_own_and_leaves_it_when_it_dies(tmp_path):
    for name, text in (("nvidia-smi", "#!/bin/sh\nprintf '0\\n1\\n'\n"), ("ray", FAKE_RAY)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    (tmp_path / "claims").mkdir()
    native = Native(tmp_path, [str(tmp_path)], {"NATIVE_CLAIMS": str(tmp_path / "claims")})

    def worker():
        service = native.services["worker-gpu"]
        return subprocess.Popen(
            service["command"],
            env=native.environment("worker-gpu"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def granted(process):
        assert process.stdout.readline().startswith("this worker has GPU ")
        device, _, options = process.stdout.readline().partition(" ")
        assert "--num-gpus=1" in options
        return device

    try:
        first, second = worker(), worker()
        device = granted(first)
        assert {device, granted(second)} == {"0", "1"}
        third = worker()
        assert third.wait(timeout=20) == 1
        assert "GPU_WORKERS asks for more workers than there are GPUs" in third.stderr.read()
        first.kill()
        first.wait()
        assert granted(worker()) == device
    finally:
        native.stop("worker-gpu")
