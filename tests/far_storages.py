"""Storages with an address, for tests: an S3 server of one's own on loopback, and one that fails as it is told."""

import socket
from contextlib import contextmanager

import boto3
import fsspec
import s3fs
from fsspec.implementations.memory import MemoryFileSystem
from moto.server import ThreadedMotoServer

BUCKET = "bucket"


@contextmanager
def s3_server():
    """Yield the environment in which s3:// is a new server with one bucket."""
    s3fs.S3FileSystem.clear_instance_cache()  # which knows an earlier server
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    place = {"endpoint_url": f"http://{host}:{port}", "region_name": "us-east-1"}
    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
    try:
        boto3.client("s3", **place, **keys).create_bucket(Bucket=BUCKET)
        yield {
            "AWS_ENDPOINT_URL_S3": place["endpoint_url"],
            "AWS_DEFAULT_REGION": place["region_name"],
            **{name.upper(): value for name, value in keys.items()},
        }
    finally:
        server.stop()


@contextmanager
def silent_s3():
    """Yield the environment in which s3:// is a server that takes connections and says nothing."""
    s3fs.S3FileSystem.clear_instance_cache()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host, port = silent.getsockname()
        yield {
            "AWS_ENDPOINT_URL_S3": f"http://{host}:{port}", "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
        }  # fmt: skip
    s3fs.S3FileSystem.clear_instance_cache()


class Failing(MemoryFileSystem):
    """failing://: a store in this process's memory that refuses to write or read `failures` more times."""

    protocol = "failing"
    store = {}  # noqa: RUF012
    pseudo_dirs = [""]  # noqa: RUF012
    failures = 0

    @classmethod
    def _strip_protocol(cls, path):
        return MemoryFileSystem._strip_protocol(path.replace("failing://", "memory://"))

    def put_file(self, *arguments, **options):
        Failing._refuse()
        super().put_file(*arguments, **options)

    def get_file(self, *arguments, **options):
        Failing._refuse()
        super().get_file(*arguments, **options)

    @classmethod
    def _refuse(cls):
        if cls.failures > 0:
            cls.failures -= 1
            raise PermissionError("503 slow down")


def failing(failures):
    """Make failing:// an empty store that fails so many times; return its files, by path."""
    fsspec.register_implementation("failing", Failing, clobber=True)
    Failing.failures = failures
    Failing.store.clear()
    return Failing.store
