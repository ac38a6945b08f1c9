"""Many pictures for one job: what is sent, in which portions, and what is said of those that cannot be used."""

import pytest
from PIL import Image as pillow

from smalti.client import AsyncClient, Client, Completion
from smalti.errors import ImageRefused, InvalidRequest, Unavailable
from smalti.v1 import jobs_pb2, types_pb2

ONE = types_pb2.ModelVersion(name="toy", version=1)


@pytest.fixture
def uploads(server):
    """What was uploaded: a list of messages each time."""
    received = []

    def submit(messages):
        received.append(messages)
        return jobs_pb2.SubmitResponse(
            job=jobs_pb2.Job(id="7", model=ONE, count=messages[0].job.count, state="JOB_STATE_QUEUED")
        )

    server.answers["JobService/SubmitCompletions"] = submit
    return received


@pytest.fixture
def client(server):
    with Client(server.address) as client:
        yield client


def pictures(count):
    return [
        Completion(image=pillow.new("RGB", (2, 2), (place % 256, 0, 0)), rows=1) for place in range(count)
    ]


def test_the_job_comes_first_and_then_all_pictures_in_order(client, uploads):
    job = client.submit_completions(
        "toy", iter(pictures(150)), picture_names=map(str, range(150)), seed=7, first_index=3
    )
    [[header, *portions]] = uploads
    assert (job.id, header.job.count, header.job.seed, header.job.first_index) == ("7", 150, 7, 3)
    assert header.job.request_id
    assert [len(portion.completions.completions) for portion in portions] == [64, 64, 22]
    assert [name for portion in portions for name in portion.completions.names] == [*map(str, range(150))]
    sent = [each.image.png for portion in portions for each in portion.completions.completions]
    assert len(set(sent)) == 150
    assert {each.rows for portion in portions for each in portion.completions.completions} == {1}


def test_large_pictures_come_a_few_at_a_time(client, uploads):
    noise = pillow.effect_noise((512, 512), 99)
    client.submit_completions("toy", [Completion(image=noise, rows=1)] * 20)
    [[_, *portions]] = uploads
    assert len(portions) > 1
    assert all(portion.ByteSize() < 2_000_000 for portion in portions)
    assert sum(len(portion.completions.completions) for portion in portions) == 20


async def test_an_upload_that_broke_off_is_sent_again_as_a_whole_with_the_same_request_id(
    server, client, uploads, refusal
):
    answer, failures = server.answers["JobService/SubmitCompletions"], 2

    def fail_first(messages):
        nonlocal failures
        reply, failures = answer(messages), failures - 1
        if failures >= 0:
            raise refusal("UNAVAILABLE", "UNAVAILABLE", "Redis is away.", retry=0.05)
        return reply

    server.answers["JobService/SubmitCompletions"] = fail_first
    assert client.submit_completions("toy", pictures(3)).id == "7"
    failures = 1
    async with AsyncClient(server.address) as other:
        assert (await other.submit_completions("toy", pictures(3))).id == "7"
    first, again, third, *rest = uploads
    assert first == again == third
    assert rest[0] == rest[1] != first
    failures = 1
    with pytest.raises(Unavailable):
        client.submit_completions("toy", pictures(3), patience_seconds=0)


@pytest.mark.parametrize("names", [[], ["a.png", "b.png", "c.png"]])
def test_a_picture_that_cannot_be_read_is_named_before_anything_is_sent(client, uploads, names):
    bad = [*pictures(1), Completion(image=b"no picture", rows=1), *pictures(1)]
    expected = "Picture 2 of 3 (b.png): " if names else "Picture 2 of 3: "
    with pytest.raises(ImageRefused) as raised:
        client.submit_completions("toy", bad, picture_names=names)
    assert str(raised.value).startswith(expected)
    assert uploads == []


@pytest.mark.parametrize(
    ("completions", "names", "said"),
    [
        ([], [], "count is 0"),
        (pictures(2), ["one"], "2 pictures and 1 names"),
        ([Completion(image=pillow.new("RGB", (2, 2)))], [], "Picture 1 of 1: Give either rows or a mask"),
        (["x.png"], [], "Picture 1 of 1: completion is 'x.png'"),
        (7, [], "not iterable"),
    ],
)
def test_what_is_no_list_of_completions_is_refused(client, uploads, completions, names, said):
    with pytest.raises(InvalidRequest, match=said):
        client.submit_completions("toy", completions, picture_names=names)
    assert uploads == []
