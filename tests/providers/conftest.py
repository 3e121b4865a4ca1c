"""EC2 for tests: moto as a server, behind real boto3. No AWS account, and none can be reached."""

from __future__ import annotations

import functools
import os
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from jupyter_remote.providers.ec2.provider import Ec2Provider
from jupyter_remote.settings import Settings
from tests.providers.aws import Answers

REGION = "us-east-1"


def client(service: str, url: str) -> Any:
    import boto3

    keys = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing"}
    return boto3.client(service, region_name=REGION, endpoint_url=url, **keys)


@pytest.fixture(scope="session", autouse=True)
def _models_are_read_once() -> Iterator[None]:
    """Descriptions of services are large files, which each session of boto3 reads anew."""
    from botocore.loaders import JSONFileLoader

    load, read = JSONFileLoader.load_file, functools.cache(JSONFileLoader().load_file)
    JSONFileLoader.load_file = lambda self, path: read(path)
    yield
    JSONFileLoader.load_file = load


@pytest.fixture(scope="session")
def moto_url() -> Iterator[str]:
    os.environ["MOTO_EC2_ENABLE_INSTANCE_TYPE_VALIDATION"] = "true"
    os.environ["MOTO_ENABLE_AMI_VALIDATION"] = "true"
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def aws(moto_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """Address of an AWS with credentials that are good for it alone."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "no-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "no-credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return moto_url


@pytest.fixture(scope="session")
def ec2(moto_url: str) -> Iterator[Any]:
    """EC2 as anybody sees it."""
    with closing(client("ec2", moto_url)) as found:
        yield found


@pytest.fixture(scope="session")
def ami(ec2: Any) -> str:
    """An image."""
    id: str = ec2.describe_images()["Images"][0]["ImageId"]
    return id


@pytest.fixture
def image_path(aws: str, ami: str) -> str:
    """A parameter that names it."""
    path = "/jupyter-remote/image"
    with closing(client("ssm", aws)) as ssm:
        ssm.put_parameter(Name=path, Value=ami, Type="String", Overwrite=True)
    return path


@pytest.fixture
def settings(aws: str, ami: str) -> Settings:
    return Settings(providers="ec2", ec2_region=REGION, ec2_endpoint=aws, ec2_image=ami)


@pytest.fixture
def backend_id() -> str:
    return uuid.uuid4().hex[:16]


@pytest.fixture(scope="session")
def made_clients(moto_url: str) -> Iterator[dict[tuple[str, str], Any]]:
    """Clients of boto3 take long to make, and remember nothing but what is undone after a test."""
    made = {(service, REGION): client(service, moto_url) for service in ("ec2", "ssm")}
    yield made
    for one in made.values():
        one.close()


@pytest.fixture
def provider(
    settings: Settings, backend_id: str, made_clients: dict[tuple[str, str], Any]
) -> Iterator[Ec2Provider]:
    provider = Ec2Provider(settings, backend_id)
    provider._clients._made.update(made_clients)
    yield provider
    Answers.undo_all()
