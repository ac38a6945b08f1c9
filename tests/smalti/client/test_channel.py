"""Credentials and metadata are given once, to the client, and go with every RPC."""

import subprocess
import sys
from concurrent import futures

import grpc
import pytest

from smalti.client import AsyncClient, Client, Completion, Image
from smalti.errors import InvalidRequest, Unavailable
from smalti.v1 import (
    admin_pb2,
    images_pb2,
    jobs_pb2,
    models_pb2,
    models_pb2_grpc,
    types_pb2,
)

ONE = types_pb2.ModelVersion(name="toy", version=1)
METADATA = [("x-team", "art"), ("authorization", "Bearer secret")]
IMAGE = Image(height=2, width=2, indices=bytes(4), palette=("#000000",))
RPCS = {
    f"{service}/{method.name}"
    for service, file in (
        ("AdminService", admin_pb2),
        ("ImageService", images_pb2),
        ("JobService", jobs_pb2),
        ("ModelService", models_pb2),
    )
    for method in file.DESCRIPTOR.services_by_name[service].methods
}
CALLS = [  # every method of a client that sends a request
    ("draw", ("toy",)),
    ("draw_stream", ("toy",)),
    ("encode", ("toy", IMAGE)),
    ("decode", ("toy", [[0.0]])),
    ("reconstruct", ("toy", IMAGE)),
    ("interpolate", ("toy", IMAGE, IMAGE)),
    ("sweep", ("toy", (0, 1))),
    ("score", ("toy", IMAGE)),
    ("submit", ("toy",)),
    ("submit_completions", ("toy", [Completion(image=IMAGE, rows=1)])),
    ("get_job", ("7",)),
    ("jobs", ()),
    ("watch", ("7",)),
    ("wait", ("7",)),
    ("results", ("7",)),
    ("pause", ("7",)),
    ("resume", ("7",)),
    ("webhook_key", ()),
    ("cancel", ("7",)),
    ("delete", ("7",)),
    ("models", ()),
    ("left_out", ()),
    ("model", ("toy",)),
    ("load", ("toy",)),
    ("unload", ("toy",)),
    ("weights", ()),
    ("set_weight", ("ada", 2.0)),
    ("statistics", ()),
    ("pause_pool", ()),
    ("resume_pool", ()),
    ("drain_worker", ("host-1",)),
    ("dead_samples", ()),
    ("retry_sample", ("7", 3)),
    ("audit_queue", ()),
]


@pytest.fixture
def answering(server, refusal):
    """Answers every RPC; refuses the first Submit and the first Watch, so that clients try again."""
    job = jobs_pb2.Job(id="7", model=ONE, count=1, height=2, width=2, state="JOB_STATE_SUCCEEDED")
    refused = set()

    def refuse_once(method):
        if method not in refused:
            refused.add(method)
            raise refusal("UNAVAILABLE", "UNAVAILABLE", "Redis is away.", retry=0.05)

    def submit(request):
        refuse_once("Submit")
        return jobs_pb2.SubmitResponse(job=job)

    def watch(request):
        refuse_once("Watch")
        yield jobs_pb2.WatchResponse(job=job)

    images = {
        name: lambda request, name=name: getattr(images_pb2, f"{name}Response")(model=ONE)
        for name in ("Draw", "Encode", "Decode", "Reconstruct", "Interpolate", "Sweep")
    }
    server.answers |= {f"ImageService/{name}": answer for name, answer in images.items()} | {
        "ImageService/Score": lambda request: images_pb2.ScoreResponse(model=ONE, kind="SCORE_KIND_ELBO"),
        "ImageService/DrawStream": lambda request: iter(
            [images_pb2.DrawStreamResponse(started=images_pb2.DrawStarted(model=ONE))]
        ),
        "JobService/Submit": submit,
        "JobService/SubmitCompletions": lambda request: jobs_pb2.SubmitResponse(job=job),
        "JobService/Watch": watch,
        "JobService/Get": lambda request: job,
        "JobService/List": lambda request: jobs_pb2.ListJobsResponse(jobs=[job]),
        "JobService/Results": lambda request: iter([jobs_pb2.SampleResult(index=0)]),
        "JobService/Pause": lambda request: job,
        "JobService/Resume": lambda request: job,
        "JobService/GetWebhookKey": lambda request: jobs_pb2.WebhookKey(key="whsec_"),
        "JobService/Cancel": lambda request: job,
        "JobService/Delete": lambda request: jobs_pb2.DeleteJobResponse(),
        "ModelService/List": lambda request: models_pb2.ListModelsResponse(),
        "ModelService/Load": lambda request: models_pb2.LoadModelResponse(),
        "ModelService/Unload": lambda request: models_pb2.UnloadModelResponse(),
        "AdminService/ListWeights": lambda request: admin_pb2.ListWeightsResponse(),
        "AdminService/SetWeight": lambda request: admin_pb2.SetWeightResponse(),
        "AdminService/Statistics": lambda request: admin_pb2.StatisticsResponse(),
        "AdminService/PausePool": lambda request: admin_pb2.PausePoolResponse(),
        "AdminService/ResumePool": lambda request: admin_pb2.ResumePoolResponse(),
        "AdminService/DrainWorker": lambda request: admin_pb2.DrainWorkerResponse(),
        "AdminService/ListDead": lambda request: admin_pb2.ListDeadResponse(),
        "AdminService/Retry": lambda request: admin_pb2.RetryResponse(job=job),
        "AdminService/Audit": lambda request: admin_pb2.AuditResponse(),
    }
    return server


def assert_sent_with_every_rpc(server):
    assert {method for method, _ in server.metadata} == RPCS
    assert [method for method, sent in server.metadata if not dict(METADATA).items() <= sent.items()] == []
    for tried_again in ("JobService/Submit", "JobService/Watch"):
        assert [method for method, _ in server.metadata].count(tried_again) >= 2


def test_metadata_of_a_client_reaches_every_rpc_streams_and_retries_too(answering):
    with Client(answering.address, metadata=METADATA) as client:
        for name, arguments in CALLS:
            answer = getattr(client, name)(*arguments)
            if hasattr(answer, "__next__"):
                list(answer)
    assert_sent_with_every_rpc(answering)


async def test_metadata_of_an_async_client_reaches_every_rpc_streams_and_retries_too(answering):
    async with AsyncClient(answering.address, metadata=METADATA) as client:
        for name, arguments in CALLS:
            answer = getattr(client, name)(*arguments)
            if hasattr(answer, "__aiter__"):
                _ = [each async for each in answer]
            else:
                await answer
    assert_sent_with_every_rpc(answering)


def test_the_calls_above_are_all_methods_of_a_client():
    assert {name for name, _ in CALLS} == {name for name in vars(Client) if not name.startswith("_")} - {
        "close"
    }


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ([("X-Team", "art")], "metadata has the name 'X-Team'; a name has lower-case letters"),
        ([("grpc-timeout", "1")], "neither begins with 'grpc-'"),
        ([("key-bin", "x")], "nor ends with '-bin'"),
        ([(5, "x")], "metadata has the name 5"),
        ([("x-team", "ä")], "The metadata x-team has a value that gRPC cannot send"),
        ([("x-team", 5)], "The metadata x-team has a value that gRPC cannot send"),
        (["x-team"], "metadata must be a dict or pairs"),
        (5, "metadata must be a dict or pairs"),
    ],
)
async def test_metadata_that_cannot_be_sent_is_refused_when_the_client_is_made(metadata, message):
    for kind in (Client, AsyncClient):
        with pytest.raises(InvalidRequest, match=message) as caught:
            kind("localhost:50051", metadata=metadata)
        assert caught.value.field == "metadata"


def test_metadata_of_a_client_may_be_a_dict(answering):
    with Client(answering.address, metadata=dict(METADATA)) as client:
        client.models()
    assert answering.metadata
    assert all(dict(METADATA).items() <= sent.items() for _, sent in answering.metadata)


@pytest.mark.parametrize("credentials", ["secret", 1, True, grpc.access_token_call_credentials("secret")])
async def test_credentials_that_are_not_of_a_channel_are_refused_when_the_client_is_made(credentials):
    for kind in (Client, AsyncClient):
        with pytest.raises(
            InvalidRequest, match=r"^credentials must be a grpc\.ChannelCredentials"
        ) as caught:
            kind("localhost:50051", credentials=credentials)
        assert caught.value.field == "credentials"
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("a\nb:1", r"address is 'a\nb:1': write"),
        ("\x1b[31mx", r"address is '\x1b[31mx': write"),
        (b"127.0.0.1:1", "address is b'127.0.0.1:1': write"),
        (None, "address is None: write"),
    ],
)
def test_a_refused_address_is_shown_in_printable_characters(address, shown):
    with pytest.raises(InvalidRequest) as caught:
        Client(address)
    assert shown in str(caught.value)
    assert str(caught.value).isprintable()


def test_a_refused_value_of_metadata_is_not_shown():
    with pytest.raises(InvalidRequest) as caught:
        Client("localhost:50051", metadata=[("authorization", "Bearer sécret")])
    assert "cret" not in str(caught.value)


@pytest.fixture
def local_only():
    """The address of a server that asks for credentials: here, gRPC's local ones."""
    server = grpc.server(futures.ThreadPoolExecutor(2), options=[("grpc.so_reuseport", 0)])

    class Models(models_pb2_grpc.ModelServiceServicer):
        def List(self, request, context):
            return models_pb2.ListModelsResponse(models=[models_pb2.Model(name="toy", version=1)])

    models_pb2_grpc.add_ModelServiceServicer_to_server(Models(), server)
    port = server.add_secure_port("127.0.0.1:0", grpc.local_server_credentials())
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(grace=None).wait()


async def test_credentials_of_a_client_open_its_channel(local_only):
    with Client(local_only, credentials=grpc.local_channel_credentials()) as client:
        assert [model.name for model in client.models()] == ["toy"]
    async with AsyncClient(local_only, credentials=grpc.local_channel_credentials()) as async_client:
        assert [model.name for model in await async_client.models()] == ["toy"]


async def test_credentials_make_a_client_refuse_a_server_without_them(answering):
    tls = grpc.ssl_channel_credentials()
    with Client(answering.address, credentials=tls) as client, pytest.raises(Unavailable):
        client.models()
    async with AsyncClient(answering.address, credentials=tls) as async_client:
        with pytest.raises(Unavailable):
            await async_client.models()


def test_everything_a_user_needs_comes_from_one_module():
    imported = (
        "from smalti.client import *; print(Client, AsyncClient, Image, Job, Completion, JobState, JobClass)"
    )
    subprocess.run([sys.executable, "-c", imported], check=True, stdout=subprocess.DEVNULL)
    assert Completion(image=IMAGE, rows=1).rows == 1
