"""What an attacker tries, one test each."""

from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.empty_pb2 import Empty
from grpc_health.v1 import health_pb2

from server.caller import Caller, caller
from server.security.admission import Admission
from server.security.tokens import Tokens
from smalti.client.failures import from_rpc
from smalti.errors import NotPermitted, TokenRefused
from smalti.runtime.metrics import RPCS_REFUSED
from smalti.v1 import images_pb2, jobs_pb2, models_pb2, types_pb2
from tests.server.conftest import Running, StartServer, refused
from tests.server.security.conftest import TOKENS, bearer, write_tokens

DRAW = images_pb2.DrawRequest(model=types_pb2.ModelVersion(name="toy-vae"))
UNKNOWN, WRONG_FORM = "does not know the token", "write it once, as 'Bearer TOKEN'"
SECRETS = [*TOKENS.values(), "nonsense-token"]


def count(reason: str) -> float:
    return float(RPCS_REFUSED.labels(reason)._value.get())


async def test_a_call_without_a_token_is_refused_with_a_sentence_that_says_how_to_send_one(guarded: Running):
    before = count("no_token")
    refusal = await refused(guarded.images.Draw(DRAW))
    assert (refusal.code, refusal.reason, refusal.domain) == ("UNAUTHENTICATED", "TOKEN_REFUSED", "smalti")
    assert "authorization: Bearer TOKEN" in refusal.message
    assert count("no_token") == before + 1


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ((("authorization", "Bearer nonsense-token"),), UNKNOWN),
        ((("authorization", TOKENS["ada"]),), WRONG_FORM),
        ((("authorization", f"Basic {TOKENS['ada']}"),), WRONG_FORM),
        ((("authorization", "Bearer"),), WRONG_FORM),
        ((("authorization", ""),), WRONG_FORM),
        ((*bearer("ada"), *bearer("root")), WRONG_FORM),
        ((("authorization-bin", f"Bearer {TOKENS['ada']}".encode()), ("authorization", "Bearer x")), UNKNOWN),
    ],
)
async def test_a_wrong_token_is_refused_and_never_repeated(guarded: Running, metadata: Any, said: str):
    before = count("wrong_token")
    refusal = await refused(guarded.images.Draw(DRAW, metadata=metadata))
    assert (refusal.code, refusal.reason) == ("UNAUTHENTICATED", "TOKEN_REFUSED")
    assert said in refusal.message
    assert not any(secret in refusal.message for secret in SECRETS)
    assert count("wrong_token") == before + 1


@pytest.mark.parametrize("value", ["Bearer {}", "Bearer   {}", "bearer {}"])
async def test_more_blanks_before_a_token_and_small_letters_do_no_harm(guarded: Running, value: str):
    await guarded.images.Draw(DRAW, metadata=(("authorization", value.format(TOKENS["ada"])),))


async def test_a_right_token_without_the_group_is_refused_and_the_group_named(guarded: Running):
    before = count("no_group")
    request = models_pb2.UnloadModelRequest(name="toy-vae")
    refusal = await refused(guarded.models.Unload(request, metadata=bearer("ada")))
    assert (refusal.code, refusal.reason) == ("PERMISSION_DENIED", "NOT_PERMITTED")
    assert refusal.message == "The client 'ada' may not do this: its token lacks the group 'admin'."
    assert count("no_group") == before + 1
    assert (await guarded.images.Draw(DRAW, metadata=bearer("ada"))).images  # the model is still there


async def test_a_refused_call_is_counted_by_its_reason_only(guarded: Running):
    await refused(guarded.images.Draw(DRAW))
    [metric] = RPCS_REFUSED.collect()
    assert {tuple(sample.labels) for sample in metric.samples} == {("reason",)}
    assert {sample.labels["reason"] for sample in metric.samples} <= {"no_token", "wrong_token", "no_group"}


async def test_a_stream_of_requests_without_a_token_is_refused_before_it_is_read(guarded: Running):
    method: Any = guarded.channel.stream_stream(
        "/inference.GRPCInferenceService/ModelStreamInfer", Empty.SerializeToString
    )
    call = method()  # no request is ever written
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_no_token_appears_in_the_log_in_an_error_or_in_a_repr(
    guarded: Running, tokens_file: Path, capfd: pytest.CaptureFixture[str]
):
    for metadata in (bearer("ada"), bearer("root"), (("authorization", "Bearer nonsense-token"),)):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await guarded.jobs.Get(jobs_pb2.GetJobRequest(id="none"), metadata=metadata)
        shown = f"{caught.value!r} {from_rpc(caught.value, 'here')!r}"
        assert not any(secret in shown for secret in SECRETS)
    tokens = Tokens(tokens_file)
    known = tokens.client_of(TOKENS["ada"])
    shown = f"{tokens!r} {tokens.files!r} {known!r} {Admission(tokens)!r} {guarded.application!r}"
    out, err = capfd.readouterr()
    assert not any(secret in shown + out + err for secret in SECRETS)


async def test_probes_of_health_need_no_token(guarded: Running):
    assert await guarded.status() == "SERVING"
    watching = guarded.health.Watch(health_pb2.HealthCheckRequest())
    assert (await anext(aiter(watching))).status == health_pb2.HealthCheckResponse.SERVING
    watching.cancel()


async def test_clients_raise_the_refusals_as_classes_of_their_own(guarded: Running):
    for metadata, kind in (((), TokenRefused), (bearer("bob"), NotPermitted)):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await guarded.images.Draw(DRAW, metadata=metadata)
        assert type(from_rpc(caught.value, guarded.address)) is kind


async def test_a_client_that_is_taken_out_of_the_file_is_refused_while_the_server_runs(
    guarded: Running, tokens_file: Path, until
):
    await guarded.images.Draw(DRAW, metadata=bearer("ada"))
    write_tokens(tokens_file, {"root": TOKENS["root"]})

    async def is_refused() -> bool:
        try:
            await guarded.images.Draw(DRAW, metadata=bearer("ada"))
        except grpc.aio.AioRpcError as error:
            return error.code() is grpc.StatusCode.UNAUTHENTICATED
        return False

    await until(is_refused)
    assert (await guarded.images.Draw(DRAW, metadata=bearer("root"))).images


async def test_each_handler_sees_the_client_that_calls_it(guarded: Running, monkeypatch: pytest.MonkeyPatch):
    seen: list[Caller] = []

    def note(size: int) -> int:
        seen.append(caller())
        return 1

    monkeypatch.setattr("server.services.jobs.checks.page_size_of", note)
    for name in ("bob", "root", "bob"):
        await guarded.jobs.List(jobs_pb2.ListJobsRequest(), metadata=bearer(name))
    assert [each.name for each in seen] == ["bob", "root", "bob"]


async def test_without_a_file_of_tokens_everybody_may_do_everything(start_server: StartServer):
    async with start_server() as server:
        assert (await server.images.Draw(DRAW)).images
        await server.models.Unload(models_pb2.UnloadModelRequest(name="toy-vae"))


async def test_the_job_of_another_client_is_to_everybody_but_an_admin_no_job(guarded: Running):
    request = jobs_pb2.SubmitRequest(model=types_pb2.ModelVersion(name="toy-pixel-rnn"), count=1)
    job = (await guarded.jobs.Submit(request, metadata=bearer("bob"))).job
    for call, kind in (
        (guarded.jobs.Get, jobs_pb2.GetJobRequest),
        (guarded.jobs.Watch, jobs_pb2.WatchRequest),
        (guarded.jobs.Results, jobs_pb2.ResultsRequest),
        (guarded.jobs.Cancel, jobs_pb2.CancelJobRequest),
        (guarded.jobs.Delete, jobs_pb2.DeleteJobRequest),
    ):
        assert (await refused(call(kind(id=job.id), metadata=bearer("eve")))).code == "NOT_FOUND"
    listed = await guarded.jobs.List(jobs_pb2.ListJobsRequest(), metadata=bearer("eve"))
    assert not listed.jobs
    for name in ("bob", "root"):
        found = await guarded.jobs.Get(jobs_pb2.GetJobRequest(id=job.id), metadata=bearer(name))
        assert found.state == jobs_pb2.JOB_STATE_QUEUED


async def test_a_name_is_never_a_path(guarded: Running, repository: Path):
    for name in (
        "../models/toy-vae",
        "/etc/passwd",
        "toy-vae/../toy-vae",
        "..",
        "toy-vae/1",
        "%2e%2e",
        "a\0b",
        "~",
    ):
        model = types_pb2.ModelVersion(name=name)
        for call in (
            guarded.models.Get(models_pb2.GetModelRequest(name=name), metadata=bearer("root")),
            guarded.models.Load(models_pb2.LoadModelRequest(name=name), metadata=bearer("root")),
            guarded.images.Draw(images_pb2.DrawRequest(model=model), metadata=bearer("root")),
        ):
            refusal = await refused(call)
            assert refusal.code in ("NOT_FOUND", "INVALID_ARGUMENT")
            assert str(repository) not in refusal.message
