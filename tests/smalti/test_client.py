import pytest

from smalti.client import AsyncClient, Client
from smalti.errors import (
    ImageRefused,
    InvalidRequest,
    JobNotFound,
    QueueFull,
    RequestConflict,
    SmaltiError,
    Unavailable,
)
from smalti.jobs.job import JobState
from smalti.pictures import reader
from smalti.v1 import images_pb2, jobs_pb2, types_pb2
from smalti.values import (
    Completion,
    DrawFinished,
    DrawnRows,
    DrawStarted,
    Image,
    Interrupted,
    Job,
    SampleEnded,
    SampleRows,
    ScoreKind,
)

ONE = types_pb2.ModelVersion(name="toy", version=1)


def pixels(*indices):
    return types_pb2.Image(pixels=types_pb2.Pixels(height=2, width=2, indices=bytes(indices)))


def a_job(state="RUNNING", **fields):
    fields = {"id": "7", "model": ONE, "count": 3, "height": 2, "width": 2, **fields}
    return jobs_pb2.Job(state=f"JOB_STATE_{state}", **fields)


def job_event(*args, **fields):
    return jobs_pb2.WatchResponse(job=a_job(*args, **fields))


def rows_event(index, first_row, *indices):
    rows = jobs_pb2.SampleRows(index=index, first_row=first_row, indices=bytes(indices))
    return jobs_pb2.WatchResponse(rows=rows)


def ended_event(index, succeeded=True):
    return jobs_pb2.WatchResponse(ended=jobs_pb2.SampleEnded(index=index, succeeded=succeeded))


def facts(event):
    match event:
        case Job():
            return event.state.value
        case SampleRows():
            return (event.index, event.first_row, event.indices)
        case SampleEnded():
            return ("ended", event.index)
        case Interrupted():
            return "interrupted"


@pytest.fixture
def client(server):
    with Client(server.address) as client:
        yield client


@pytest.fixture
async def async_client(server):
    async with AsyncClient(server.address) as client:
        yield client


def test_drawn_images_come_with_the_models_palette(server, client):
    server.answers["ImageService/Draw"] = lambda request: images_pb2.DrawResponse(
        model=ONE, seed=request.seed, images=[pixels(0, 1, 2, 3)]
    )
    drawn = client.draw("toy", count=1, seed=5)
    assert drawn.seed == 5
    assert drawn.images[0].pixels == ((0, 1), (2, 3))
    assert drawn.images[0].picture().convert("RGB").getpixel((1, 1)) == (0, 0, 255)


def test_the_palette_is_asked_for_once(server, client):
    server.answers["ImageService/Draw"] = lambda request: images_pb2.DrawResponse(model=ONE)
    client.draw("toy")
    client.draw("toy")
    assert [type(request).__name__ for request in server.requests] == [
        "DrawRequest",
        "GetModelRequest",
        "DrawRequest",
    ]


def test_a_request_without_a_seed_leaves_it_to_the_server(server, client):
    server.answers["ImageService/Draw"] = lambda request: images_pb2.DrawResponse(model=ONE)
    client.draw("toy")
    assert not server.requests[0].HasField("seed")


def test_a_saved_image_is_a_png_of_the_same_colours(server, client, tmp_path):
    image = Image(height=1, width=2, indices=bytes([1, 0]), palette=("#000000", "#ff0000"))
    server.answers["ImageService/Score"] = lambda request: images_pb2.ScoreResponse(
        model=ONE, kind=images_pb2.SCORE_KIND_ELBO, scores=[-1.5]
    )
    scores = client.score("toy", [image.save(tmp_path / "x.png"), image, image.picture(), image.png()])
    sent = [message.png for message in server.requests[0].images]
    assert len(sent) == 4
    assert {reader.read(png).rgba.tobytes() for png in sent} == {image.picture().convert("RGBA").tobytes()}
    assert (scores.kind, scores.scores) == (ScoreKind.ELBO, (-1.5,))


def test_an_image_of_many_colours_keeps_its_indices():
    palette = tuple(f"#{value:06x}" for value in range(300))
    image = Image(height=1, width=2, indices=b"\x2b\x01\x00\x00", palette=palette)
    assert image.pixels == ((299, 0),)
    assert image.picture().getpixel((0, 0)) == (0, 1, 43)


def test_a_file_that_is_no_picture_is_refused_before_it_is_sent(server, client, tmp_path):
    (tmp_path / "x.png").write_text("no")
    with pytest.raises(ImageRefused, match=r"x\.png is no PNG, GIF"):
        client.score("toy", [tmp_path / "x.png"])
    with pytest.raises(ImageRefused, match=r"y\.png is not there"):
        client.score("toy", [tmp_path / "y.png"])
    assert server.requests == []


@pytest.mark.parametrize("wrong", [{"count": 0}, {"seed": -1}, {"seed": 2**64}, {"first_index": -1}])
def test_a_number_that_does_not_fit_the_contract_is_named(client, wrong):
    with pytest.raises(InvalidRequest, match=next(iter(wrong))):
        client.draw("toy", **wrong)


def test_a_completion_keeps_either_rows_or_a_mask(client):
    picture = Image(height=2, width=2, indices=bytes(4), palette=("#000000", "#ffffff"))
    with pytest.raises(InvalidRequest, match="either rows or a mask"):
        client.submit("toy", completion=Completion(image=picture))


def test_sent_again_a_submission_is_the_same_request(server, client, refusal):
    def fail_once(request):
        if len(server.requests) == 1:
            raise refusal("RESOURCE_EXHAUSTED", "QUEUE_FULL", "Full.", retry=0.05)
        return jobs_pb2.SubmitResponse(job=a_job("QUEUED"))

    server.answers["JobService/Submit"] = fail_once
    job = client.submit("toy", count=3)
    first, second = server.requests
    assert job.state is JobState.QUEUED
    assert first.request_id
    assert first == second


def test_two_submissions_are_two_requests(server, client):
    server.answers["JobService/Submit"] = lambda request: jobs_pb2.SubmitResponse(job=a_job())
    client.submit("toy")
    client.submit("toy")
    assert server.requests[0].request_id != server.requests[1].request_id


def test_patience_with_a_full_queue_ends(server, client, refusal):
    def full(request):
        raise refusal("RESOURCE_EXHAUSTED", "QUEUE_FULL", "Full.", retry=0.05)

    server.answers["JobService/Submit"] = full
    with pytest.raises(QueueFull) as caught:
        client.submit("toy", patience_seconds=0.1)
    assert caught.value.retry_seconds == 0.05
    assert len(server.requests) > 1


@pytest.mark.parametrize(
    ("code", "reason", "kind"),
    [
        ("NOT_FOUND", "JOB_NOT_FOUND", JobNotFound),
        ("ALREADY_EXISTS", "REQUEST_CONFLICT", RequestConflict),
        ("INVALID_ARGUMENT", "IMAGE_REFUSED", ImageRefused),
        ("UNAVAILABLE", "UNAVAILABLE", Unavailable),
    ],
)
def test_an_error_of_the_server_is_raised_as_what_it_was(server, client, refusal, code, reason, kind):
    def refuse(request):
        raise refusal(code, reason, "A sentence.", field="image")

    server.answers["JobService/Get"] = refuse
    with pytest.raises(kind, match="A sentence") as caught:
        client.get_job("7")
    assert type(caught.value) is kind
    assert getattr(caught.value, "field", "image") == "image"


def test_an_unknown_reason_still_tells_what_the_server_said(server, client, refusal):
    def refuse(request):
        raise refusal("INTERNAL", "NEVER_HEARD", "Something broke.")

    server.answers["JobService/Get"] = refuse
    with pytest.raises(SmaltiError, match="INTERNAL: Something broke"):
        client.get_job("7")


def test_a_request_that_a_stopping_server_drops_may_be_sent_again(server, client, refusal):
    def drop(request):
        raise refusal("CANCELLED", "", "")

    server.answers["JobService/Get"] = drop
    with pytest.raises(Unavailable, match=f"{server.address} stopped"):
        client.get_job("7")


def test_a_server_that_is_away_is_named(server, client):
    server.stop()
    with pytest.raises(Unavailable, match=f"No smalti server answers at {server.address}"):
        client.models()


def test_jobs_are_listed_over_pages(server, client):
    pages = {
        "": jobs_pb2.ListJobsResponse(jobs=[a_job(id="3"), a_job(id="2")], next_page_token="more"),
        "more": jobs_pb2.ListJobsResponse(jobs=[a_job(id="1")]),
    }
    server.answers["JobService/List"] = lambda request: pages[request.page_token]
    assert [job.id for job in client.jobs()] == ["3", "2", "1"]


def test_results_bring_images_and_the_reason_of_failures(server, client):
    server.answers["JobService/Get"] = lambda request: a_job()
    server.answers["JobService/Results"] = lambda request: iter(
        [
            jobs_pb2.SampleResult(index=0, image=pixels(0, 0, 1, 1), log_probability=-2.0),
            jobs_pb2.SampleResult(index=1, error="It could not be drawn."),
        ]
    )
    good, bad = client.results("7")
    assert good.image is not None
    assert good.image.pixels == ((0, 0), (1, 1))
    assert (bad.image, bad.error) == (None, "It could not be drawn.")


def test_a_stream_draws_one_image_row_by_row(server, client):
    server.answers["ImageService/DrawStream"] = lambda request: iter(
        [
            images_pb2.DrawStreamResponse(
                started=images_pb2.DrawStarted(model=ONE, seed=9, height=2, width=2)
            ),
            images_pb2.DrawStreamResponse(rows=images_pb2.DrawnRows(first_row=0, indices=bytes([3, 2]))),
            images_pb2.DrawStreamResponse(
                finished=images_pb2.DrawFinished(image=pixels(3, 2, 1, 0), log_probability=-4.0)
            ),
        ]
    )
    started, rows, finished = client.draw_stream("toy", seed=9)
    assert isinstance(started, DrawStarted)
    assert len(started.palette) == 4
    assert rows == DrawnRows(first_row=0, indices=bytes([3, 2]))
    assert isinstance(finished, DrawFinished)
    assert finished.image.pixels == ((3, 2), (1, 0))


WATCHED_TWICE = [
    [job_event(done=1), ended_event(0), rows_event(1, 0, 1, 1)],
    [
        job_event(done=1),
        ended_event(0),
        rows_event(1, 0, 1, 1, 2, 2),
        ended_event(1),
        job_event("SUCCEEDED", done=3),
    ],
]
TOLD_ONCE = [
    "RUNNING",
    ("ended", 0),
    (1, 0, bytes([1, 1])),
    "interrupted",
    (1, 1, bytes([2, 2])),
    ("ended", 1),
    "SUCCEEDED",
]


def interrupted_watch(server, refusal):
    watches: list[object] = []

    def answer(request):
        yield from WATCHED_TWICE[len(watches)]
        watches.append(request)
        if len(watches) == 1:
            raise refusal("UNAVAILABLE", "UNAVAILABLE", "Redis is away.", retry=0.05)

    server.answers["JobService/Watch"] = answer


def test_a_watch_goes_on_where_it_was_interrupted(server, client, refusal):
    interrupted_watch(server, refusal)
    assert [facts(event) for event in client.watch("7", rows=True)] == TOLD_ONCE


async def test_an_async_watch_goes_on_where_it_was_interrupted(server, async_client, refusal):
    interrupted_watch(server, refusal)
    assert [facts(event) async for event in async_client.watch("7", rows=True)] == TOLD_ONCE


def test_a_watch_survives_a_restart_of_the_server(server, client):
    server.answers["JobService/Watch"] = lambda request: iter([job_event("SUCCEEDED")])
    server.stop()
    events = client.watch("7", patience_seconds=30)
    assert facts(next(events)) == "interrupted"
    server.start()
    assert [facts(event) for event in events][-1] == "SUCCEEDED"


def test_a_watch_gives_up_when_its_patience_is_over(server, client):
    server.stop()
    with pytest.raises(Unavailable, match=server.address):
        list(client.watch("7", patience_seconds=0.2))


def test_a_watch_that_the_server_ends_early_starts_again(server, client):
    connections = iter([[job_event()], [job_event(), job_event("CANCELLED")]])
    server.answers["JobService/Watch"] = lambda request: iter(next(connections))
    assert [facts(event) for event in client.watch("7")] == ["RUNNING", "interrupted", "CANCELLED"]


def test_how_the_job_ended_is_told_last(server, client):
    server.answers["JobService/Watch"] = lambda request: iter(
        [job_event("SUCCEEDED"), ended_event(0), job_event("SUCCEEDED")]
    )
    assert [facts(event) for event in client.watch("7")] == ["SUCCEEDED", ("ended", 0), "SUCCEEDED"]


def test_an_end_that_was_cut_off_is_told_to_its_end(server, client, refusal):
    connections = iter(
        [[job_event("SUCCEEDED")], [job_event("SUCCEEDED"), ended_event(0), job_event("SUCCEEDED")]]
    )

    def answer(request):
        events = next(connections)
        yield from events
        if len(events) == 1:
            raise refusal("UNAVAILABLE", "UNAVAILABLE", "Redis is away.", retry=0.05)

    server.answers["JobService/Watch"] = answer
    told = [facts(event) for event in client.watch("7")]
    assert told == ["SUCCEEDED", "interrupted", "SUCCEEDED", ("ended", 0), "SUCCEEDED"]


def test_watching_an_unknown_job_raises_at_once(server, client, refusal):
    def refuse(request):
        raise refusal("NOT_FOUND", "JOB_NOT_FOUND", "There is no job 7.")

    server.answers["JobService/Watch"] = refuse
    with pytest.raises(JobNotFound):
        list(client.watch("7"))


async def test_the_async_client_asks_the_same(server, async_client):
    server.answers |= {
        "ImageService/Draw": lambda request: images_pb2.DrawResponse(model=ONE, images=[pixels(1, 1, 1, 1)]),
        "JobService/Submit": lambda request: jobs_pb2.SubmitResponse(job=a_job("QUEUED")),
        "JobService/Get": lambda request: a_job(),
        "JobService/List": lambda request: jobs_pb2.ListJobsResponse(jobs=[a_job()]),
        "JobService/Results": lambda request: iter([jobs_pb2.SampleResult(image=pixels(0, 0, 0, 0))]),
    }
    assert (await async_client.draw("toy")).images[0].indices == bytes([1, 1, 1, 1])
    assert (await async_client.submit("toy")).state is JobState.QUEUED
    assert [job.id async for job in async_client.jobs()] == ["7"]
    assert [result.index async for result in async_client.results("7")] == [0]


async def test_an_async_call_to_a_server_that_is_away_says_so(server, async_client):
    server.stop()
    with pytest.raises(Unavailable, match="No smalti server answers"):
        await async_client.models()


def test_both_clients_offer_the_same_methods():
    assert public(Client) - {"close"} == public(AsyncClient) - {"close"}


def public(kind):
    return {name for name in vars(kind) if not name.startswith("_")}


@pytest.fixture
def a_finished_job(server):
    """A job that ends while it is watched, and has one sample."""
    server.answers["JobService/Get"] = lambda request: a_job("QUEUED")
    server.answers["JobService/Watch"] = lambda request: iter(
        [job_event("RUNNING"), ended_event(0), job_event("SUCCEEDED", done=3)]
    )
    server.answers["JobService/Results"] = lambda request: iter(
        [jobs_pb2.SampleResult(image=pixels(0, 1, 2, 3))]
    )
    server.answers["JobService/Cancel"] = lambda request: a_job("CANCELLED")
    server.answers["JobService/Delete"] = lambda request: jobs_pb2.DeleteJobResponse()


@pytest.mark.usefixtures("a_finished_job")
def test_a_job_is_waited_for_and_goes_wherever_its_id_does(server, client):
    job = client.wait(client.get_job("7"))
    assert (job.state, job.done) == (JobState.SUCCEEDED, 3)
    assert client.wait("7") == job
    assert client.get_job(job).id == "7"
    assert len(list(client.results(job))) == 1
    assert [facts(event) for event in client.watch(job)][-1] == "SUCCEEDED"
    assert client.cancel(job).state is JobState.CANCELLED
    client.delete(job)
    assert {request.id for request in server.requests if hasattr(request, "id")} == {"7"}


@pytest.mark.usefixtures("a_finished_job")
async def test_in_asyncio_too_a_job_is_waited_for_and_goes_wherever_its_id_does(server, async_client):
    job = await async_client.wait(await async_client.get_job("7"))
    assert (job.state, job.done) == (JobState.SUCCEEDED, 3)
    assert await async_client.wait("7") == job
    assert (await async_client.get_job(job)).id == "7"
    assert len([result async for result in async_client.results(job)]) == 1
    assert [facts(event) async for event in async_client.watch(job)][-1] == "SUCCEEDED"
    assert (await async_client.cancel(job)).state is JobState.CANCELLED
    await async_client.delete(job)
    assert {request.id for request in server.requests if hasattr(request, "id")} == {"7"}
