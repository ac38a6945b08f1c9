import asyncio
import threading

import pytest

from smalti.client import AsyncClient, Client
from smalti.client.values import (
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
from smalti.errors import (
    DeadlinePassed,
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
from smalti.v1 import images_pb2, jobs_pb2, models_pb2, types_pb2

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


def test_the_client_asks_for_a_palette_only_once(server, client):
    server.answers["ImageService/Draw"] = lambda request: images_pb2.DrawResponse(model=ONE)
    client.draw("toy")
    client.draw("toy")
    assert [type(request).__name__ for request in server.requests] == [
        "DrawRequest",
        "GetModelRequest",
        "DrawRequest",
    ]


def test_without_a_seed_the_server_chooses_one(server, client):
    server.answers["ImageService/Draw"] = lambda request: images_pb2.DrawResponse(model=ONE)
    client.draw("toy")
    assert not server.requests[0].HasField("seed")


def test_an_image_is_sent_with_the_same_colours_from_a_file_a_value_and_bytes(server, client, tmp_path):
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


def test_a_file_without_a_picture_is_refused_before_it_is_sent(server, client, tmp_path):
    (tmp_path / "x.png").write_text("no")
    with pytest.raises(ImageRefused, match=r"x\.png is not a PNG, GIF"):
        client.score("toy", [tmp_path / "x.png"])
    with pytest.raises(ImageRefused, match=r"y\.png is not there"):
        client.score("toy", [tmp_path / "y.png"])
    assert server.requests == []


@pytest.mark.parametrize("wrong", [{"count": 0}, {"seed": -1}, {"seed": 2**64}, {"first_index": -1}])
def test_a_number_out_of_range_is_named_in_the_error(client, wrong):
    with pytest.raises(InvalidRequest, match=next(iter(wrong))):
        client.draw("toy", **wrong)


def test_a_completion_keeps_either_rows_or_a_mask(client):
    picture = Image(height=2, width=2, indices=bytes(4), palette=("#000000", "#ffffff"))
    with pytest.raises(InvalidRequest, match="either rows or a mask"):
        client.submit("toy", completion=Completion(image=picture))


def test_submit_sends_the_same_request_id_when_it_tries_again(server, client, refusal):
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


def test_two_submits_have_different_request_ids(server, client):
    server.answers["JobService/Submit"] = lambda request: jobs_pb2.SubmitResponse(job=a_job())
    client.submit("toy")
    client.submit("toy")
    assert server.requests[0].request_id != server.requests[1].request_id


def test_submit_gives_up_on_a_full_queue_after_its_patience(server, client, refusal):
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
def test_an_error_of_the_server_has_the_same_class_in_the_client(server, client, refusal, code, reason, kind):
    def refuse(request):
        raise refusal(code, reason, "A sentence.", field="image")

    server.answers["JobService/Get"] = refuse
    with pytest.raises(kind, match="A sentence") as caught:
        client.get_job("7")
    assert type(caught.value) is kind
    assert getattr(caught.value, "field", "image") == "image"


def test_an_error_with_an_unknown_reason_keeps_the_servers_words(server, client, refusal):
    def refuse(request):
        raise refusal("INTERNAL", "NEVER_HEARD", "Something broke.")

    server.answers["JobService/Get"] = refuse
    with pytest.raises(SmaltiError, match="INTERNAL: Something broke"):
        client.get_job("7")


def test_a_server_that_answers_unavailable_with_an_unknown_reason_was_not_lost(server, client, refusal):
    def refuse(request):
        raise refusal("UNAVAILABLE", "NEVER_HEARD", "Redis refuses this.")

    server.answers["JobService/Get"] = refuse
    with pytest.raises(Unavailable, match=r"^Redis refuses this\.$"):
        client.get_job("7")


def test_a_request_dropped_by_a_stopping_server_raises_unavailable(server, client, refusal):
    def drop(request):
        raise refusal("CANCELLED", "", "")

    server.answers["JobService/Get"] = drop
    with pytest.raises(Unavailable, match=f"{server.address} stopped"):
        client.get_job("7")


def test_the_error_names_the_address_of_a_server_that_is_away(server, client):
    server.stop()
    with pytest.raises(Unavailable, match=f"No smalti server answers at {server.address}"):
        client.models()


def test_every_page_is_asked_for_with_the_client(server, client):
    asked = []

    def answer(request):
        asked.append(request.client)
        return jobs_pb2.ListJobsResponse(
            jobs=[a_job(client="anne")], next_page_token="" if asked[1:] else "more"
        )

    server.answers["JobService/List"] = answer
    assert [job.client for job in client.jobs(client="anne")] == ["anne", "anne"]
    assert asked == ["anne", "anne"]


def test_jobs_reads_all_pages(server, client):
    pages = {
        "": jobs_pb2.ListJobsResponse(jobs=[a_job(id="3"), a_job(id="2")], next_page_token="more"),
        "more": jobs_pb2.ListJobsResponse(jobs=[a_job(id="1")]),
    }
    server.answers["JobService/List"] = lambda request: pages[request.page_token]
    assert [job.id for job in client.jobs()] == ["3", "2", "1"]


def test_results_have_images_or_the_reason_of_the_failure(server, client):
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


@pytest.fixture
def breaking(server, refusal):
    """Lets a server with five results go away after each second one; returns what it was asked for."""
    asked = []

    def results(request):
        asked.append((request.start, request.limit))
        stop = request.start + request.limit if request.limit else 5
        for sent, index in enumerate(range(request.start, min(5, stop))):
            if sent == 2:
                raise refusal("UNAVAILABLE", "UNAVAILABLE", "Redis is away.", retry=0.05)
            yield jobs_pb2.SampleResult(index=index, image=pixels(0, 0, 1, 1))

    server.answers["JobService/Get"] = lambda request: a_job()
    server.answers["JobService/Results"] = results
    return asked


@pytest.mark.parametrize(
    ("start", "limit", "indices", "asked"),
    [
        (0, 0, [0, 1, 2, 3, 4], [(0, 0), (2, 0), (4, 0)]),
        (1, 3, [1, 2, 3], [(1, 3), (3, 1)]),
        (1, 2, [1, 2], [(1, 2)]),
    ],
)
async def test_a_download_that_broke_off_goes_on_after_the_last_result(
    client, async_client, breaking, start, limit, indices, asked
):
    assert [result.index for result in client.results("7", start=start, limit=limit)] == indices
    assert breaking == asked
    breaking.clear()
    results = async_client.results("7", start=start, limit=limit)
    assert [result.index async for result in results] == indices
    assert breaking == asked


@pytest.mark.usefixtures("breaking")
def test_a_download_without_patience_raises_what_broke_it(client):
    results = client.results("7", patience_seconds=0)
    assert [next(results).index, next(results).index] == [0, 1]
    with pytest.raises(Unavailable, match="Redis is away"):
        next(results)


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
EVENTS_ONCE = [
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
    assert [facts(event) for event in client.watch("7", rows=True)] == EVENTS_ONCE


async def test_an_async_watch_goes_on_where_it_was_interrupted(server, async_client, refusal):
    interrupted_watch(server, refusal)
    assert [facts(event) async for event in async_client.watch("7", rows=True)] == EVENTS_ONCE


def test_a_watch_survives_a_restart_of_the_server(server, client):
    server.answers["JobService/Watch"] = lambda request: iter([job_event("SUCCEEDED")])
    server.stop()
    events = client.watch("7", patience_seconds=30)
    assert facts(next(events)) == "interrupted"
    server.start()
    assert [facts(event) for event in events][-1] == "SUCCEEDED"


async def test_a_watch_waits_for_a_place_among_the_watchers(server, client, async_client, refusal):
    tries = []

    def answer(request):
        tries.append(request)
        if len(tries) % 2:
            raise refusal("RESOURCE_EXHAUSTED", "WATCHERS_FULL", "There are too many watchers.", retry=0.05)
        yield job_event("SUCCEEDED")

    server.answers["JobService/Watch"] = answer
    assert [facts(event) for event in client.watch("7")] == ["interrupted", "SUCCEEDED"]
    assert [facts(event) async for event in async_client.watch("7")] == ["interrupted", "SUCCEEDED"]


def test_a_watch_gives_up_after_its_patience(server, client):
    server.stop()
    with pytest.raises(Unavailable, match=server.address):
        list(client.watch("7", patience_seconds=0.2))


def test_a_watch_starts_again_if_the_server_ends_it_early(server, client):
    connections = iter([[job_event()], [job_event(), job_event("CANCELLED")]])
    server.answers["JobService/Watch"] = lambda request: iter(next(connections))
    assert [facts(event) for event in client.watch("7")] == ["RUNNING", "interrupted", "CANCELLED"]


def test_the_end_of_the_job_is_the_last_event(server, client):
    server.answers["JobService/Watch"] = lambda request: iter(
        [job_event("SUCCEEDED"), ended_event(0), job_event("SUCCEEDED")]
    )
    assert [facts(event) for event in client.watch("7")] == ["SUCCEEDED", ("ended", 0), "SUCCEEDED"]


def test_a_watch_cut_off_after_the_jobs_end_repeats_it_after_the_last_sample(server, client, refusal):
    connections = iter(
        [[job_event("SUCCEEDED")], [job_event("SUCCEEDED"), ended_event(0), job_event("SUCCEEDED")]]
    )

    def answer(request):
        events = next(connections)
        yield from events
        if len(events) == 1:
            raise refusal("UNAVAILABLE", "UNAVAILABLE", "Redis is away.", retry=0.05)

    server.answers["JobService/Watch"] = answer
    seen = [facts(event) for event in client.watch("7")]
    assert seen == ["SUCCEEDED", "interrupted", "SUCCEEDED", ("ended", 0), "SUCCEEDED"]


async def test_waiting_ends_at_its_timeout_whether_the_server_answers_or_is_away(
    server, client, async_client, refusal
):
    may_end = threading.Event()

    def hang(request):
        yield job_event("RUNNING")
        may_end.wait(10)

    def away(request):
        raise refusal("UNAVAILABLE", "UNAVAILABLE", "Redis is away.", retry=0.05)

    try:
        for answer in (hang, away):
            server.answers["JobService/Watch"] = answer
            with pytest.raises(DeadlinePassed, match=r"The job had not ended after 0.3 s\."):
                await asyncio.to_thread(client.wait, "7", timeout_seconds=0.3)
            with pytest.raises(DeadlinePassed, match=r"The job had not ended after 0.3 s\."):
                await async_client.wait("7", timeout_seconds=0.3)
    finally:
        may_end.set()


def test_watching_an_unknown_job_raises_at_once(server, client, refusal):
    def refuse(request):
        raise refusal("NOT_FOUND", "JOB_NOT_FOUND", "There is no job 7.")

    server.answers["JobService/Watch"] = refuse
    with pytest.raises(JobNotFound):
        list(client.watch("7"))


async def test_the_async_client_draws_submits_lists_and_reads_results(server, async_client):
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


NOT_UTF8 = "\udcff"  # how Python shows the byte ff in a command line
ONE_PIXEL = Image(height=1, width=1, indices=b"\0", palette=("#000000",))
BROKEN = Image(height=2, width=2, indices=b"", palette=())
UNUSABLE_ARGUMENTS = [  # the method, its arguments, and a part of the error
    *(
        (name, (NOT_UTF8,), {}, "not UTF-8 text")
        for name in ("draw", "draw_stream", "model", "load", "unload")
    ),
    *(
        (name, (NOT_UTF8,), {}, "not UTF-8 text")
        for name in ("get_job", "watch", "results", "cancel", "delete")
    ),
    *((name, (7,), {}, "must be a string") for name in ("submit", "get_job", "watch", "results", "cancel")),
    *((name, ("toy",), {"version": -1}, "version is -1") for name in ("model", "load", "unload", "draw")),
    ("submit", ("toy",), {"request_id": NOT_UTF8}, "request_id is .* not UTF-8 text"),
    (
        "submit",
        ("toy",),
        {"job_class": "fast"},
        "job_class is 'fast'; it must be interactive, standard, batch",
    ),
    ("submit", ("toy",), {"labels": "run=7"}, "labels is 'run=7'; it must be a dict"),
    ("submit", ("toy",), {"labels": {"run": 7}}, "labels is 7; it must be a string"),
    ("submit", ("toy",), {"name": NOT_UTF8}, "name is .* not UTF-8 text"),
    ("jobs", (), {"states": ["DONE"]}, "states has 'DONE'; a state is QUEUED, RUNNING"),
    ("submit", ("toy",), {"completion": ONE_PIXEL}, "write Completion"),
    ("submit", ("toy",), {"temperature": "hot"}, "temperature is 'hot'; it must be a number"),
    ("submit", ("toy",), {"retention_seconds": float("nan")}, "retention_seconds is nan"),
    ("submit", ("toy",), {"retention_seconds": -1}, "retention_seconds is -1"),
    ("submit", ("toy",), {"patience_seconds": float("nan")}, "patience_seconds is nan"),
    ("wait", ("7",), {"timeout_seconds": "soon"}, "timeout_seconds is 'soon'"),
    ("submit", ("toy",), {"count": 1.5}, "count is 1.5; it must be a whole number"),
    ("jobs", (), {"page_size": -1}, "page_size is -1"),
    ("sweep", ("toy", (0,)), {}, r"dimensions is \(0,\); it must be two numbers"),
    ("sweep", ("toy", 5), {}, "dimensions is 5"),
    ("sweep", ("toy", (0, 1)), {"low": "x"}, "low is 'x'"),
    ("decode", ("toy", [0.0] * 8), {}, "a list of numbers for each image"),
    ("decode", ("toy", 5), {}, "a list of numbers for each image"),
    ("encode", ("toy", BROKEN), {}, "This Image is not an image"),
    ("encode", ("toy", ""), {}, "The name of a picture is empty"),
    ("encode", ("toy", 5), {}, r"array of \(count, height, width, 3 or 4\), not int"),
    ("score", ("toy", [5]), {}, r"array of \(count, height, width, 3 or 4\), not int"),
    ("interpolate", ("toy", 5, 5), {}, r"\(height, width, 3 or 4\) colours, not int"),
]


@pytest.mark.parametrize(("method", "given", "named", "message"), UNUSABLE_ARGUMENTS)
async def test_unusable_arguments_raise_one_sentence_and_send_nothing(
    server, client, async_client, method, given, named, message
):
    with pytest.raises(InvalidRequest, match=message) as caught:
        list(getattr(client, method)(*given, **named))
    assert NOT_UTF8 not in str(caught.value)
    with pytest.raises(InvalidRequest, match=message):
        await answer_of(getattr(async_client, method)(*given, **named))
    assert server.requests == []


async def answer_of(asked):
    return [each async for each in asked] if hasattr(asked, "__aiter__") else await asked


def test_the_class_of_a_job_may_be_given_by_name(server, client):
    server.answers["JobService/Submit"] = lambda request: jobs_pb2.SubmitResponse(job=a_job())
    client.submit("toy", job_class="interactive")
    assert server.requests[0].job_class == jobs_pb2.JOB_CLASS_INTERACTIVE


def test_a_very_long_retention_is_sent_so_that_the_server_names_its_limit(server, client):
    server.answers["JobService/Submit"] = lambda request: jobs_pb2.SubmitResponse(job=a_job())
    for seconds in (1e8, 1e30, float("inf")):
        client.submit("toy", retention_seconds=seconds)
    assert all(request.retention.seconds >= 10**8 for request in server.requests)


async def test_a_closed_client_says_that_it_is_closed(server, client, async_client):
    client.close()
    await async_client.close()
    sentence = f"^This client of {server.address} is closed: make a new one.$"
    for ask in (client.models, lambda: client.submit("toy"), lambda: list(client.watch("7"))):
        with pytest.raises(SmaltiError, match=sentence):
            ask()
    for method in (async_client.models(), async_client.submit("toy"), anext(async_client.watch("7"))):
        with pytest.raises(SmaltiError, match=sentence):
            await method
    assert repr(client) == f"<Client of {server.address}, closed>"
    assert repr(async_client) == f"<AsyncClient of {server.address}, closed>"


async def test_closing_a_client_during_a_call_raises_that_it_is_closed(server):
    asked, may_answer = threading.Event(), threading.Event()

    def wait(request):
        asked.set()
        may_answer.wait(10)
        return models_pb2.ListModelsResponse()

    server.answers["ModelService/List"] = wait
    try:
        client = Client(server.address)
        call = asyncio.create_task(asyncio.to_thread(client.models))
        await asyncio.to_thread(asked.wait, 10)
        client.close()
        with pytest.raises(SmaltiError, match="is closed"):
            await call
        asked.clear()
        async_client = AsyncClient(server.address)
        call = asyncio.create_task(async_client.models())
        await asyncio.to_thread(asked.wait, 10)
        await async_client.close()
        with pytest.raises(SmaltiError, match="is closed"):
            await call
    finally:
        may_answer.set()


def test_both_clients_offer_the_same_methods():
    assert public(Client) - {"close"} == public(AsyncClient) - {"close"}


def public(kind):
    return {name for name in vars(kind) if not name.startswith("_")}


@pytest.fixture
def a_finished_job(server):
    """A job that ends while it is watched and has one sample."""
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
def test_every_method_takes_a_job_or_its_id(server, client):
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
async def test_every_async_method_takes_a_job_or_its_id(server, async_client):
    job = await async_client.wait(await async_client.get_job("7"))
    assert (job.state, job.done) == (JobState.SUCCEEDED, 3)
    assert await async_client.wait("7") == job
    assert (await async_client.get_job(job)).id == "7"
    assert len([result async for result in async_client.results(job)]) == 1
    assert [facts(event) async for event in async_client.watch(job)][-1] == "SUCCEEDED"
    assert (await async_client.cancel(job)).state is JobState.CANCELLED
    await async_client.delete(job)
    assert {request.id for request in server.requests if hasattr(request, "id")} == {"7"}
