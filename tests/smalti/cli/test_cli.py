import json
import subprocess
import sys
import threading

import pytest
from click.testing import CliRunner
from PIL import Image as pillow

from smalti.cli.main import main
from smalti.v1 import images_pb2, jobs_pb2, models_pb2, types_pb2

ONE = types_pb2.ModelVersion(name="toy", version=1)
PALETTE = ("#000000", "#ff0000", "#00ff00", "#0000ff")


def pixels(*indices):
    return types_pb2.Image(pixels=types_pb2.Pixels(height=2, width=2, indices=bytes(indices)))


def opened(path):
    with pillow.open(path) as image:
        return image.convert("RGB")


def a_job(state="RUNNING", **fields):
    fields = {"id": "7", "model": ONE, "count": 3, "height": 2, "width": 2, **fields}
    return jobs_pb2.Job(state=f"JOB_STATE_{state}", **fields)


def watched(*jobs):
    return lambda request: iter([jobs_pb2.WatchResponse(job=job) for job in jobs])


@pytest.fixture
def smalti(server):
    """Runs the command against the canned server."""

    def run(*arguments):
        return CliRunner().invoke(main, [*map(str, arguments)], env={"SMALTI_SERVER": server.address})

    return run


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "picture.png"
    pillow.new("RGB", (2, 2), "#ff0000").save(path)
    return path


@pytest.fixture
def drawing(server):
    server.answers["ImageService/Draw"] = lambda request: images_pb2.DrawResponse(
        model=ONE, seed=4, images=[pixels(0, 1, 2, 3)] * request.count
    )


@pytest.mark.usefixtures("drawing")
def test_one_drawn_image_is_written_enlarged(smalti, tmp_path):
    result = smalti("draw", "toy", "-o", tmp_path / "x.png")
    assert result.exit_code == 0
    assert opened(tmp_path / "x.png").size == (128, 128)
    assert "each pixel 64×64 (--scale 1 writes 2×2)" in result.stderr
    assert "seed 4" in result.stderr


@pytest.mark.usefixtures("drawing")
def test_several_drawn_images_are_written_as_a_sheet(smalti, tmp_path):
    smalti("draw", "toy", "--count", 4, "-o", tmp_path / "x.png")
    assert opened(tmp_path / "x.png").size == (28, 28)


@pytest.mark.usefixtures("drawing")
def test_a_folder_gets_a_file_for_each_image(smalti, tmp_path):
    smalti("draw", "toy", "--count", 2, "-o", tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["00000.png", "00001.png"]


@pytest.mark.usefixtures("drawing")
def test_drawing_without_a_terminal_needs_an_output(smalti):
    result = smalti("draw", "toy")
    assert result.exit_code == 2
    assert "-o FILE.png" in result.stderr


@pytest.mark.usefixtures("drawing")
@pytest.mark.parametrize("count", [1, 3])
def test_json_has_the_same_keys_for_any_count_and_output(smalti, tmp_path, count):
    def printed(*arguments):
        return json.loads(smalti("draw", "toy", "--count", count, "--json", *arguments).stdout)

    inline, filed, folder = printed(), printed("-o", tmp_path / "x.png"), printed("-o", f"{tmp_path}/out/")
    assert inline.keys() == filed.keys() == folder.keys()
    for each in (inline, filed, folder):
        assert (len(each["images"]), each["seed"], each["colour_change"]["moved_pixels"]) == (count, 4, 0)
        assert all(image.keys() == {"png", "file"} for image in each["images"])
    assert inline["images"][0]["png"].startswith("iVBOR")
    assert (inline["images"][0]["file"], inline["output"]) == (None, None)
    assert filed["images"][0] == {"png": None, "file": filed["output"]}
    assert folder["images"][0] == {"png": None, "file": f"{folder['output']}00000.png"}


def test_completions_in_json_have_the_same_keys_for_any_output(smalti, completing, two_pictures, tmp_path):
    inline = json.loads(smalti("complete", "toy", two_pictures, "--json").stdout)
    filed = json.loads(smalti("complete", "toy", two_pictures, "--json", "-o", tmp_path / "x.png").stdout)
    assert inline.keys() == filed.keys()
    (one, *_), (other, *_) = (printed["pictures"][0]["draws"] for printed in (inline, filed))
    assert one.keys() == other.keys()
    assert one["image"].keys() == other["image"].keys() == {"png", "file"}


def test_submit_watch_json_prints_an_event_on_each_line(server, smalti):
    server.answers["JobService/Submit"] = lambda request: jobs_pb2.SubmitResponse(job=a_job("QUEUED"))
    server.answers["JobService/Watch"] = watched(a_job("SUCCEEDED", done=3))
    lines = [json.loads(line) for line in smalti("submit", "toy", "--watch", "--json").stdout.splitlines()]
    assert [line["job"]["state"] for line in lines] == ["QUEUED", "SUCCEEDED"]


@pytest.mark.usefixtures("drawing")
def test_a_file_that_cannot_be_written_is_one_sentence(smalti, tmp_path):
    (tmp_path / "file").touch()
    result = smalti("draw", "toy", "-o", tmp_path / "file" / "x.png")
    assert result.exit_code == 2
    assert f"{tmp_path / 'file' / 'x.png'} cannot be written" in result.stderr


def test_submit_prints_the_id_and_nothing_else(server, smalti):
    server.answers["JobService/Submit"] = lambda request: jobs_pb2.SubmitResponse(job=a_job("QUEUED"))
    result = smalti("submit", "toy", "--count", 3, "--seed", 7, "--temperature", 0.9)
    assert (result.exit_code, result.stdout) == (0, "7\n")
    [request] = server.requests
    assert (request.count, request.seed, round(request.temperature, 3)) == (3, 7, 0.9)


def test_submit_sends_the_class_of_the_job(server, smalti):
    job = a_job("QUEUED", job_class=jobs_pb2.JOB_CLASS_INTERACTIVE)
    server.answers["JobService/Submit"] = lambda request: jobs_pb2.SubmitResponse(job=job)
    result = smalti("submit", "toy", "--class", "interactive", "--json")
    assert json.loads(result.stdout)["job_class"] == "interactive"
    assert server.requests[0].job_class == jobs_pb2.JOB_CLASS_INTERACTIVE
    smalti("submit", "toy")
    assert server.requests[1].job_class == jobs_pb2.JOB_CLASS_STANDARD


def test_submit_watch_follows_the_job_to_its_end(server, smalti):
    server.answers["JobService/Submit"] = lambda request: jobs_pb2.SubmitResponse(job=a_job("QUEUED"))
    server.answers["JobService/Watch"] = watched(a_job("RUNNING", done=1), a_job("SUCCEEDED", done=3))
    result = smalti("submit", "toy", "--watch")
    assert result.exit_code == 0
    assert "RUNNING: 1 of 3 samples" in result.stderr
    assert "SUCCEEDED: 3 of 3 samples" in result.stderr


def test_submit_can_complete_a_picture(server, smalti, picture):
    server.answers["JobService/Submit"] = lambda request: jobs_pb2.SubmitResponse(
        job=a_job("QUEUED"), colour_change=types_pb2.ColourChange(moved_pixels=2, largest_distance=3.25)
    )
    result = smalti("submit", "toy", "--complete", picture, "--mask", picture)
    assert result.exit_code == 0
    assert submitted(server)[0].completion.mask == bytes(4)  # red is darker than half
    assert "2 pixels had colours outside" in result.stderr


def test_a_version_without_a_model_is_refused(smalti):
    result = smalti("models", "--version", 1)
    assert result.exit_code == 2
    assert result.stderr.endswith("Error: --version needs the NAME of a model.\n")


def test_a_completion_needs_rows_or_a_mask_and_a_picture(smalti, picture):
    assert smalti("submit", "toy", "--complete", picture).exit_code == 2
    assert smalti("submit", "toy", "--rows", 1).exit_code == 2


def test_watching_a_failed_job_exits_with_1(server, smalti):
    server.answers["JobService/Get"] = lambda request: a_job()
    server.answers["JobService/Watch"] = watched(a_job("FAILED", done=2, failed=1, reason="SAMPLE_FAILED"))
    result = smalti("watch", "7")
    assert result.exit_code == 1
    assert "1 of 3 samples could not be drawn (SAMPLE_FAILED)" in result.stderr


def test_a_job_stopped_at_its_deadline_says_so_and_exits_with_7(server, smalti):
    asked = []

    def answer(request):
        asked.append(request.deadline.ToMilliseconds())
        return jobs_pb2.SubmitResponse(job=a_job("QUEUED"))

    server.answers["JobService/Submit"] = answer
    server.answers["JobService/Watch"] = watched(a_job("FAILED", done=1, reason="DEADLINE_EXCEEDED"))
    result = smalti("submit", "toy", "--deadline", 1.5, "--watch")
    assert (asked, result.exit_code) == ([1500], 7)
    assert "stopped at its deadline after 1 of 3 samples; smalti results writes them." in result.stderr


def test_watch_json_prints_an_event_on_each_line(server, smalti):
    server.answers["JobService/Get"] = lambda request: a_job()
    server.answers["JobService/Watch"] = watched(a_job(), a_job("CANCELLED"))
    result = smalti("watch", "7", "--json")
    assert [json.loads(line)["job"]["state"] for line in result.stdout.splitlines()] == [
        "RUNNING",
        "CANCELLED",
    ]
    assert result.exit_code == 6


@pytest.fixture
def half_done(server):
    server.answers["JobService/Get"] = lambda request: a_job()
    server.answers["JobService/Results"] = lambda request: iter(
        [
            jobs_pb2.SampleResult(index=1, image=pixels(0, 0, 1, 1)),
            jobs_pb2.SampleResult(index=2, error="Its pixels were no numbers."),
        ]
    )


@pytest.mark.usefixtures("half_done")
def test_results_writes_files_named_by_index_and_names_failures(smalti, tmp_path):
    result = smalti("results", "7", "-o", tmp_path / "out")
    assert result.exit_code == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["00001.png"]
    assert "Wrote 1 of 3 samples" in result.stderr
    assert "Its pixels were no numbers." in result.stderr
    assert "still to come" in result.stderr


@pytest.mark.usefixtures("half_done")
def test_results_json_counts_written_and_failed(smalti, tmp_path):
    summary = json.loads(smalti("results", "7", "-o", tmp_path / "x.png", "--json").stdout)
    assert (summary["written"], summary["failed"]) == (1, 1)
    assert (tmp_path / "x.png").exists()


def test_results_without_a_finished_sample_exits_with_1(server, smalti, tmp_path):
    server.answers["JobService/Get"] = lambda request: a_job("QUEUED")
    server.answers["JobService/Results"] = lambda request: iter([])
    result = smalti("results", "7", "-o", tmp_path / "x.png")
    assert result.exit_code == 1
    assert "no finished sample" in result.stderr


def test_cancel_says_how_many_samples_are_done(server, smalti):
    server.answers["JobService/Cancel"] = lambda request: a_job("CANCELLED", done=2)
    assert smalti("cancel", "7").stdout == "Job 7 is CANCELLED after 2 of 3 samples.\n"


def test_pause_and_resume_say_what_the_job_is_now(server, smalti):
    server.answers["JobService/Pause"] = lambda request: a_job("PAUSED", id=request.id, done=2)
    server.answers["JobService/Resume"] = lambda request: a_job("RUNNING", id=request.id)
    assert smalti("pause", "7").stdout == "Job 7 is PAUSED after 2 of 3 samples.\n"
    assert smalti("resume", "7").stdout == "Job 7 is RUNNING.\n"
    assert json.loads(smalti("pause", "7", "--json").stdout)["state"] == "PAUSED"


@pytest.fixture
def ended(server):
    """Four jobs that end in four ways: one, two, three, four."""
    jobs = {
        "one": a_job("SUCCEEDED", id="one", done=3),
        "two": a_job("FAILED", id="two", done=2, failed=1, reason="SAMPLES_FAILED"),
        "three": a_job("FAILED", id="three", done=1, reason="DEADLINE_EXCEEDED"),
        "four": a_job("CANCELLED", id="four"),
    }
    server.answers["JobService/Get"] = lambda request: a_job("RUNNING", id=request.id)
    server.answers["JobService/Watch"] = lambda request: watched(
        a_job("RUNNING", id=request.id), jobs[request.id]
    )(request)


@pytest.mark.usefixtures("ended")
@pytest.mark.parametrize(
    ("jobs", "code"),
    [
        (["one"], 0),
        (["two"], 1),
        (["three"], 7),
        (["four"], 6),
        (["one", "four"], 6),
        (["four", "three", "one"], 7),
        (["four", "three", "two", "one"], 1),
    ],
)
def test_wait_says_by_its_exit_code_how_jobs_ended(smalti, jobs, code):
    result = smalti("wait", *jobs)
    assert result.exit_code == code
    assert [line.split()[0] for line in result.stdout.splitlines()] == jobs


@pytest.mark.usefixtures("ended")
def test_wait_prints_a_line_or_json_for_each_job(smalti):
    lines = smalti("wait", "one", "three").stdout.splitlines()
    assert lines == ["one SUCCEEDED 3/3", "three FAILED 1/3 DEADLINE_EXCEEDED"]
    printed = [json.loads(line) for line in smalti("wait", "one", "three", "--json").stdout.splitlines()]
    assert [(job["id"], job["state"]) for job in printed] == [("one", "SUCCEEDED"), ("three", "FAILED")]


def test_wait_stops_at_its_timeout_and_still_says_what_has_ended(server, smalti):
    may_end = threading.Event()

    def watch(request):
        yield jobs_pb2.WatchResponse(job=a_job("RUNNING", id=request.id))
        may_end.wait(10)

    states = {"slow": "RUNNING", "done": "SUCCEEDED"}
    server.answers["JobService/Get"] = lambda request: a_job(states[request.id], id=request.id)
    server.answers["JobService/Watch"] = watch
    try:
        result = smalti("wait", "slow", "done", "--timeout", 0.2)
    finally:
        may_end.set()
    assert (result.exit_code, result.stdout) == (8, "slow RUNNING 0/3\ndone SUCCEEDED 0/3\n")


def test_waiting_for_an_unknown_job_ends_before_any_other_is_waited_for(server, smalti, refusal):
    def get(request):
        if request.id == "unknown":
            raise refusal("NOT_FOUND", "JOB_NOT_FOUND", "There is no job.")
        return a_job("RUNNING", id=request.id)

    server.answers["JobService/Get"] = get
    result = smalti("wait", "7", "unknown")
    assert (result.exit_code, result.stdout, result.stderr) == (3, "", "Error: There is no job.\n")


def test_jobs_and_models_are_tables_or_json(server, smalti):
    server.answers["JobService/List"] = lambda request: jobs_pb2.ListJobsResponse(jobs=[a_job(done=2)])
    model = models_pb2.Model(name="toy", version=1, family="vae", height=2, width=2, palette=PALETTE)
    server.answers["ModelService/List"] = lambda request: models_pb2.ListModelsResponse(models=[model])
    assert "2/3" in smalti("jobs").stdout
    assert json.loads(smalti("jobs", "--json").stdout)[0]["id"] == "7"
    assert "vae" in smalti("models").stdout
    assert json.loads(smalti("models", "--json").stdout)[0]["palette"] == list(PALETTE)
    assert json.loads(smalti("models", "toy").stdout) == {"figures": {}}
    assert smalti("models", "toy", "--json").stdout == '{"figures": {}}\n'


def test_models_names_what_the_server_leaves_out(server, smalti):
    left_out = models_pb2.LeftOut(place="toy/2", reason="toy version 2: decode.onnx differs.")
    server.answers["ModelService/List"] = lambda request: models_pb2.ListModelsResponse(left_out=[left_out])
    printed = smalti("models")
    assert printed.stderr == "Left out: toy version 2: decode.onnx differs.\n"
    assert smalti("models", "--json").stdout == "[]\n"


def test_models_are_loaded_and_unloaded(server, smalti):
    model = models_pb2.Model(name="toy", version=3, family="vae", height=2, width=2, palette=PALETTE)
    server.answers["ModelService/Load"] = lambda request: models_pb2.LoadModelResponse(model=model)
    server.answers["ModelService/Unload"] = lambda request: models_pb2.UnloadModelResponse()
    server.answers["ModelService/List"] = lambda request: models_pb2.ListModelsResponse()
    assert smalti("load", "toy").stdout == "toy version 3 is served.\n"
    del server.requests[1:]  # the request for versions that are left out
    assert json.loads(smalti("load", "toy", "--version", 3, "--json").stdout)["version"] == 3
    assert "toy is no longer served" in smalti("unload", "toy").stdout
    assert json.loads(smalti("unload", "toy", "--version", 3, "--json").stdout)["unloaded"]["version"] == 3
    assert [request.version for request in server.requests] == [0, 3, 0, 3]


def test_models_tell_what_goes_on_as_before(server, smalti):
    fault = models_pb2.LeftOut(place="toy/1", reason="toy/serving.toml cannot be used.", still_served=True)
    server.answers["ModelService/List"] = lambda request: models_pb2.ListModelsResponse(left_out=[fault])
    assert smalti("models").stderr == "toy/1 goes on as before: toy/serving.toml cannot be used.\n"


def test_load_names_newer_versions_that_are_left_out(server, smalti):
    model = models_pb2.Model(name="toy", version=3, family="vae", height=2, width=2, palette=PALETTE)
    places = ("toy/2", "toy/4", "other/9", "toy")
    server.answers["ModelService/Load"] = lambda request: models_pb2.LoadModelResponse(model=model)
    server.answers["ModelService/List"] = lambda request: models_pb2.ListModelsResponse(
        left_out=[models_pb2.LeftOut(place=place, reason=f"{place} is bad.") for place in places]
    )
    printed = smalti("load", "toy")
    assert (printed.stdout, printed.stderr) == ("toy version 3 is served.\n", "Left out: toy/4 is bad.\n")
    assert smalti("load", "toy", "--version", 3).stderr == ""


def test_a_model_that_cannot_be_loaded_is_one_sentence(server, smalti, refusal):
    def refuse(request):
        raise refusal("FAILED_PRECONDITION", "REPOSITORY_DAMAGED", "toy version 1: decode.onnx differs.")

    server.answers["ModelService/Load"] = refuse
    printed = smalti("load", "toy")
    assert (printed.exit_code, printed.stderr) == (1, "Error: toy version 1: decode.onnx differs.\n")


def test_jobs_shows_whose_they_are_if_the_server_knows(server, smalti):
    jobs = [a_job("QUEUED", client="anne"), a_job("RUNNING", client="b\x1b[31men")]
    server.answers["JobService/List"] = lambda request: jobs_pb2.ListJobsResponse(jobs=jobs)
    header, *lines = smalti("jobs").stdout.splitlines()
    assert [line.split()[0] for line in (header, *lines[:1])] == ["CLIENT", "anne"]
    assert "\x1b" not in lines[1]
    assert json.loads(smalti("jobs", "--json").stdout)[0]["client"] == "anne"


def test_jobs_of_one_client_are_asked_for_by_name(server, smalti):
    asked = []

    def answer(request):
        asked.append(request)
        return jobs_pb2.ListJobsResponse()

    server.answers["JobService/List"] = answer
    smalti("jobs", "--client", "anne")
    smalti("jobs")
    assert [(request.HasField("client"), request.client) for request in asked] == [
        (True, "anne"),
        (False, ""),
    ]
    assert smalti("jobs").stdout.split()[0] == "JOB"


def test_submit_sends_name_and_labels_and_jobs_asks_for_them(server, smalti):
    asked: list[object] = []

    def submit(request):
        asked.append((request.name, dict(request.labels)))
        return jobs_pb2.SubmitResponse(job=a_job("QUEUED"))

    def answer(request):
        asked.append((list(request.states), request.model, request.name, dict(request.labels)))
        named = a_job("RUNNING", name="trial", labels={"who": "me", "run": "7"})
        return jobs_pb2.ListJobsResponse(jobs=[named, a_job("QUEUED")])

    server.answers["JobService/Submit"] = submit
    server.answers["JobService/List"] = answer
    assert (
        smalti("submit", "toy", "--name", "trial", "--label", "run=7", "--label", "who=me=you").exit_code == 0
    )
    asks = (
        "--state",
        "running",
        "--state",
        "QUEUED",
        "--model",
        "toy",
        "--name",
        "trial",
        "--label",
        "run=7",
    )
    listed = smalti("jobs", *asks)
    assert asked == [
        ("trial", {"run": "7", "who": "me=you"}),
        ([jobs_pb2.JOB_STATE_RUNNING, jobs_pb2.JOB_STATE_QUEUED], "toy", "trial", {"run": "7"}),
    ]
    assert listed.stdout.splitlines()[0].split()[-2:] == ["NAME", "LABELS"]
    assert listed.stdout.splitlines()[1].endswith("run=7 who=me")
    assert json.loads(smalti("jobs", "--json").stdout)[0]["labels"] == {"run": "7", "who": "me"}


def test_submit_sends_the_webhook_and_webhook_key_prints_the_key(server, smalti):
    asked = []

    def submit(request):
        asked.append(request.webhook)
        return jobs_pb2.SubmitResponse(job=a_job("QUEUED"))

    server.answers["JobService/Submit"] = submit
    server.answers["JobService/GetWebhookKey"] = lambda request: jobs_pb2.WebhookKey(key="whsec_AAAA")
    smalti("submit", "toy", "--webhook", "https://hooks.example.org/")
    assert asked == ["https://hooks.example.org/"]
    assert smalti("webhook-key").stdout == "whsec_AAAA\n"
    assert json.loads(smalti("webhook-key", "--json").stdout) == {"key": "whsec_AAAA"}


def test_a_label_without_a_value_is_wrong_usage(smalti):
    result = smalti("jobs", "--label", "run")
    assert (result.exit_code, "'run' is not KEY=VALUE" in result.stderr) == (2, True)


def test_jobs_explains_each_reason_once(server, smalti):
    jobs = [a_job("QUEUED", reason="MODEL_REPLACED"), a_job("RUNNING", reason="MODEL_REPLACED")]
    server.answers["JobService/List"] = lambda request: jobs_pb2.ListJobsResponse(jobs=jobs)
    printed = smalti("jobs")
    assert printed.stdout.count("MODEL_REPLACED") == 2
    assert (
        printed.stderr.count("exported again, and no worker has the old export: put that back in its place")
        == 1
    )


def test_adjacent_versions_with_identical_details_share_a_line(server, smalti):
    def a_model(name, version, **fields):
        fields = {"family": "gan", "height": 2, "width": 2, "palette": PALETTE, **fields}
        return models_pb2.Model(name=name, version=version, **fields)

    listed = [a_model("gan", version) for version in (1, 2, 3, 5)] + [a_model("gan", 6, height=3)]
    server.answers["ModelService/List"] = lambda request: models_pb2.ListModelsResponse(
        models=[*listed, a_model("vae", 1)]
    )
    lines = [line.split() for line in smalti("models").stdout.splitlines()[1:]]
    assert [(line[0], "".join(line[1:-3])) for line in lines] == [
        ("gan", "1–3,5"),
        ("gan", "6"),
        ("vae", "1"),
    ]


def test_an_onnx_file_is_listed_with_its_inputs_and_outputs(server, smalti):
    tensor = models_pb2.Tensor(name="x", type="float32", shape=[-1, 10])
    other = models_pb2.Tensor(name="y", type="string")
    graph = models_pb2.Graph(name="model", inputs=[tensor, other], outputs=[tensor])
    model = models_pb2.Model(name="dec", version=1, medium="tensors", graphs=["model"], signatures=[graph])
    server.answers["ModelService/List"] = lambda request: models_pb2.ListModelsResponse(models=[model])
    _, line = smalti("models").stdout.splitlines()
    assert line.split()[:4] == ["dec", "1", "ONNX", "file"]
    assert line.endswith("x float32[-1,10], y string[] → x float32[-1,10]")
    [shown] = json.loads(smalti("models", "--json").stdout)
    assert shown["signatures"][0]["inputs"][1] == {"name": "y", "type": "string", "shape": []}


def test_a_model_without_images_is_refused_without_advice_on_other_commands(server, smalti, refusal):
    def refuse(request):
        raise refusal("FAILED_PRECONDITION", "NO_IMAGES", "dec is an ONNX file and has no images.")

    server.answers["ImageService/Draw"] = refuse
    assert smalti("draw", "dec").stderr.endswith("dec is an ONNX file and has no images.\n")


@pytest.mark.usefixtures("drawing")
def test_draw_sends_the_version(server, smalti, tmp_path):
    assert smalti("draw", "toy", "--version", 2, "-o", tmp_path / "x.png").exit_code == 0
    [request] = [request for request in server.requests if hasattr(request, "count")]
    assert (request.model.name, request.model.version) == ("toy", 2)


def test_delete_names_the_job(server, smalti):
    server.answers["JobService/Delete"] = lambda request: jobs_pb2.DeleteJobResponse()
    assert smalti("delete", "7").stdout == "Deleted job 7.\n"


DRAWS = (pixels(1, 1, 2, 2), pixels(1, 1, 0, 3))  # the first row is kept


@pytest.fixture
def completing(server):
    """Lets the server complete every picture; returns the ids of the deleted jobs."""
    deleted = []
    counts = []

    def submit(request):
        change = types_pb2.ColourChange(moved_pixels=2, largest_distance=3.25)
        counts.append(request.count)
        job = a_job("QUEUED", id=str(len(counts)), count=request.count, seed=request.seed or 9)
        job.first_index = request.first_index
        return jobs_pb2.SubmitResponse(job=job, colour_change=change)

    def results(request):
        for index in range(counts[int(request.id) - 1]):
            yield jobs_pb2.SampleResult(index=index, image=DRAWS[index], log_probability=-4.0 - index)

    def delete(request):
        deleted.append(request.id)
        return jobs_pb2.DeleteJobResponse()

    server.answers["JobService/Submit"] = submit
    server.answers["JobService/Watch"] = watched(a_job("SUCCEEDED"))
    server.answers["JobService/Get"] = lambda request: a_job("SUCCEEDED", id=request.id)
    server.answers["JobService/Results"] = results
    server.answers["JobService/Cancel"] = lambda request: a_job("SUCCEEDED", id=request.id)
    server.answers["JobService/Delete"] = delete
    return deleted


def submitted(server):
    return [request for request in server.requests if isinstance(request, jobs_pb2.SubmitRequest)]


def test_one_draw_of_one_picture_is_written_alone(server, smalti, completing, picture, tmp_path):
    result = smalti(
        "complete", "toy", picture, "--rows", 1, "--first-index", 3, "--scale", 1, "-o", tmp_path / "x.png"
    )
    assert result.exit_code == 0, result.stderr
    assert "seed 9; log-probability -4.0 nats" in result.stderr
    assert "2 pixels had colours outside" in result.stderr
    assert opened(tmp_path / "x.png").size == (2, 2)
    assert opened(tmp_path / "x.png").getpixel((0, 1)) == (0, 255, 0)
    [request] = submitted(server)
    assert (request.completion.mask, request.count, request.first_index) == (bytes([1, 1, 0, 0]), 1, 3)
    assert completing == ["1"]


@pytest.fixture
def two_pictures(completing, tmp_path):
    """A folder of two."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name, colour in (("bat", "#ff0000"), ("ant", "#00ff00")):
        pillow.new("RGB", (2, 2), colour).save(folder / f"{name}.png")
    (folder / "notes.txt").touch()
    return folder


def test_several_draws_are_a_sheet_with_the_original_and_its_kept_pixels(
    server, smalti, completing, two_pictures, tmp_path
):
    result = smalti("complete", "toy", two_pictures, "--draws", 2, "--seed", 5, "-o", tmp_path / "x.png")
    assert result.exit_code == 0, result.stderr
    sheet = opened(tmp_path / "x.png")
    scale = sheet.width // (1 + 4 * 3)  # a gap, then four columns of two pixels and a gap
    assert sheet.size == (13 * scale, 7 * scale)

    def cell(row, column):
        left, top = 1 + 3 * column, 1 + 3 * row
        spots = [(left + x, top + y) for y in (0, 1) for x in (0, 1)]
        return [sheet.getpixel((round((x + 0.5) * scale), round((y + 0.5) * scale))) for x, y in spots]

    red, green, hidden = (255, 0, 0), (0, 255, 0), (48, 48, 48)
    drawn = [[red, red, green, green], [red, red, (0, 0, 0), (0, 0, 255)]]
    assert [cell(0, column) for column in range(4)] == [[green] * 4, [red, red, hidden, hidden], *drawn]
    assert [cell(1, column) for column in range(4)] == [[red] * 4, [red, red, hidden, hidden], *drawn]
    assert [request.seed for request in submitted(server)] == [5, 5]
    assert [request.first_index for request in submitted(server)] == [0, 2]  # each draw has its own numbers
    assert completing == ["1", "2"]


def test_all_pictures_use_the_seed_of_the_first(server, smalti, completing, two_pictures, tmp_path):
    smalti("complete", "toy", two_pictures, "--draws", 2, "-o", tmp_path / "x.png")
    first, second = submitted(server)
    assert (first.HasField("seed"), second.seed) == (False, 9)


def test_labels_stand_outside_the_pictures_of_the_sheet(smalti, two_pictures, tmp_path):
    for name, extra in (("plain", []), ("labelled", ["--labels"])):
        smalti("complete", "toy", two_pictures, "--draws", 2, *extra, "-o", tmp_path / f"{name}.png")
    plain, labelled = (opened(tmp_path / f"{name}.png") for name in ("plain", "labelled"))
    left, top = labelled.width - plain.width, labelled.height - plain.height
    assert left > 0
    assert top > 0
    assert labelled.crop((left, top, labelled.width, labelled.height)).tobytes() == plain.tobytes()


def test_a_folder_gets_a_file_for_each_draw_named_after_its_picture(
    smalti, completing, picture, two_pictures, tmp_path
):
    smalti("complete", "toy", two_pictures, "--draws", 2, "--first-index", 7, "-o", tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "ant-00007.png",
        "ant-00008.png",
        "bat-00009.png",
        "bat-00010.png",
    ]


def test_completions_in_json_have_log_probabilities(smalti, completing, two_pictures):
    printed = json.loads(smalti("complete", "toy", two_pictures, "--draws", 2, "--seed", 5, "--json").stdout)
    assert (printed["seed"], printed["model"]["version"]) == (5, 1)
    assert [each["name"] for each in printed["pictures"]] == ["ant", "bat"]
    assert [draw["index"] for draw in printed["pictures"][1]["draws"]] == [2, 3]
    assert [draw["log_probability"] for draw in printed["pictures"][1]["draws"]] == [-4.0, -5.0]
    assert printed["pictures"][0]["draws"][0]["image"]["png"].startswith("iVBOR")


@pytest.mark.parametrize(
    ("arguments", "kept"),
    [
        ([], [1, 1, 0, 0]),
        (["--hidden", "0.1"], [1, 1, 0, 0]),
        (["--hidden", "1"], [0, 0, 0, 0]),
        (["--rows", "2"], [1, 1, 1, 1]),
    ],
)
def test_the_lower_part_is_hidden(server, smalti, completing, picture, tmp_path, arguments, kept):
    assert smalti("complete", "toy", picture, *arguments, "-o", tmp_path / "x.png").exit_code == 0
    assert list(submitted(server)[0].completion.mask) == kept


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--rows", "1", "--hidden", "0.5"], "Say what is kept in one way"),
        (["--rows", "3"], "--rows is 3, and toy draws 2 rows"),
        (["--mask", "large.png"], "large.png is 3×2, and toy takes 2×2: see --fit"),
        (["empty"], "empty holds no picture"),
        (["large.png"], "large.png is 3×2, and toy takes 2×2: see --fit"),
    ],
)
def test_a_wrong_completion_is_refused_before_anything_is_queued(
    server, smalti, completing, picture, tmp_path, monkeypatch, arguments, words
):
    monkeypatch.chdir(tmp_path)
    pillow.new("RGB", (3, 2)).save("large.png")
    (tmp_path / "empty").mkdir()
    result = smalti("complete", "toy", picture, *arguments, "-o", "x.png")
    assert result.exit_code == 2
    assert words in result.stderr
    assert submitted(server) == []


@pytest.mark.parametrize(
    "arguments", [["--draws", 5000, "-o", "x.webp"], ["--draws", 2, "--scale", 64, "-o", "out/"]]
)
def test_completions_too_large_to_write_are_refused_before_anything_is_queued(
    server, smalti, completing, tmp_path, monkeypatch, arguments
):
    monkeypatch.chdir(tmp_path)
    large = models_pb2.Model(
        name="toy", version=1, family="pixel_rnn", height=100, width=200, palette=PALETTE
    )
    server.answers["ModelService/Get"] = lambda request: models_pb2.GetModelResponse(
        model=large, manifest_json="{}"
    )
    pillow.new("RGB", (200, 100)).save("picture.png")
    result = smalti("complete", "toy", "picture.png", *arguments)
    assert (result.exit_code, submitted(server)) == (2, [])
    assert "too large" in result.stderr


def test_a_failed_draw_is_named_and_all_jobs_are_deleted(server, smalti, completing, picture, tmp_path):
    server.answers["JobService/Results"] = lambda request: iter(
        [jobs_pb2.SampleResult(index=0, error="Its pixels were no numbers.")]
    )
    result = smalti("complete", "toy", picture, picture, "-o", tmp_path / "x.png")
    assert result.exit_code == 1
    assert "picture: draw 0 failed: Its pixels were no numbers." in result.stderr
    assert completing == ["1", "2"]


def test_if_one_picture_is_refused_the_jobs_of_the_others_are_cancelled(
    server, smalti, completing, refusal, two_pictures, tmp_path
):
    submit = server.answers["JobService/Submit"]

    def refuse_the_second(request):
        if len(submitted(server)) == 2:
            raise refusal("INVALID_ARGUMENT", "INVALID_REQUEST", "One sentence.")
        return submit(request)

    server.answers["JobService/Submit"] = refuse_the_second
    result = smalti("complete", "toy", two_pictures, "-o", tmp_path / "x.png")
    assert (result.exit_code, result.stderr) == (2, "Error: One sentence.\n")
    assert completing == ["1"]


def test_sweep_writes_a_grid_of_two_dimensions(server, smalti, tmp_path):
    server.answers["ImageService/Sweep"] = lambda request: images_pb2.SweepResponse(
        model=ONE, steps=request.steps, images=[pixels(0, 1, 2, 3)] * request.steps**2
    )
    assert smalti("sweep", "toy", "--dims", "2,7", "--steps", 3, "-o", tmp_path / "x.png").exit_code == 0
    assert (server.requests[0].row_dimension, server.requests[0].column_dimension) == (2, 7)
    assert opened(tmp_path / "x.png").size == (40, 40)
    assert smalti("sweep", "toy", "--dims", "2", "-o", tmp_path / "x.png").exit_code == 2


def test_latents_and_scores_are_printed_a_line_each(server, smalti, picture):
    server.answers["ImageService/Encode"] = lambda request: images_pb2.EncodeResponse(
        model=ONE, means=[types_pb2.Latent(values=[0.5, -1])]
    )
    server.answers["ImageService/Score"] = lambda request: images_pb2.ScoreResponse(
        model=ONE, kind=images_pb2.SCORE_KIND_REAL_PROBABILITY, scores=[0.25]
    )
    assert smalti("encode", "toy", picture).stdout == f"{picture}: 0.5000 -1.0000\n"
    assert smalti("score", "toy", picture).stdout == f"{picture}: 0.2500 (P(real))\n"


def test_reconstruct_and_interpolate_write_pictures(server, smalti, picture, tmp_path):
    server.answers["ImageService/Reconstruct"] = lambda request: images_pb2.ReconstructResponse(
        model=ONE, images=[pixels(0, 0, 0, 0)]
    )
    server.answers["ImageService/Interpolate"] = lambda request: images_pb2.InterpolateResponse(
        model=ONE, images=[pixels(0, 0, 0, 0)] * request.steps
    )
    assert smalti("reconstruct", "toy", picture, "-o", tmp_path / "x.png").exit_code == 0
    between = smalti("interpolate", "toy", picture, picture, "--steps", 4, "-o", tmp_path / "x.png")
    assert between.exit_code == 0
    assert opened(tmp_path / "x.png").size == (52, 16)


@pytest.mark.parametrize(
    ("code", "reason", "exit_code"),
    [
        ("INVALID_ARGUMENT", "INVALID_REQUEST", 2),
        ("NOT_FOUND", "JOB_NOT_FOUND", 3),
        ("RESOURCE_EXHAUSTED", "QUEUE_FULL", 4),
        ("UNAVAILABLE", "UNAVAILABLE", 4),
        ("FAILED_PRECONDITION", "GRAPH_NOT_SERVED", 1),
    ],
)
def test_each_kind_of_error_has_its_exit_code(server, smalti, refusal, code, reason, exit_code):
    def refuse(request):
        raise refusal(code, reason, "One sentence.")

    server.answers["JobService/Cancel"] = refuse
    result = smalti("cancel", "7")
    assert result.exit_code == exit_code
    assert result.stderr == "Error: One sentence.\n"


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("GRAPH_FAILED", "Error: It failed. The server's log has it as request order-66.\n"),
        ("INTERNAL_ERROR", "Error: It failed. The server's log has it as request order-66.\n"),
        ("MODEL_NOT_FOUND", "Error: It failed.\n"),
    ],
)
def test_an_error_that_only_the_log_explains_names_the_request(server, smalti, refusal, reason, said):
    def refuse(request):
        raise refusal("INTERNAL", reason, "It failed.", request_id="order-66")

    server.answers["JobService/Cancel"] = refuse
    assert smalti("cancel", "7").stderr == said


def test_a_server_that_is_away_is_one_sentence_without_a_traceback(server, smalti):
    server.stop()
    result = smalti("models")
    assert result.exit_code == 4
    assert result.stderr == (
        f"Error: No smalti server answers at {server.address}: "
        "the connection was refused, so nothing listens there.\n"
    )


def test_the_exit_codes_are_in_the_help(smalti):
    assert "4    the server is away or busy" in smalti("--help").stdout


def test_client_and_command_import_nothing_that_only_servers_need():
    loaded = "import sys, smalti.cli.main; print(*{name.split('.')[0] for name in sys.modules})"
    modules = subprocess.run(
        [sys.executable, "-c", loaded], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"numpy", "redis", "onnxruntime", "pydantic", "structlog", "torch"} & set(modules)


@pytest.mark.parametrize(
    ("state", "start", "code", "said"),
    [
        ("SUCCEEDED", 3, 2, "Error: Job 7 has indices 0 to 2: --start 3 is after the last one."),
        ("RUNNING", 3, 2, "Error: Job 7 has indices 0 to 2: --start 3 is after the last one."),
        ("RUNNING", 2, 1, "Error: Job 7 has no finished sample to write yet."),
        ("CANCELLED", 2, 1, "Error: Job 7 has no finished sample to write."),
    ],
)
def test_results_without_samples_say_whether_more_will_come(
    server, smalti, tmp_path, state, start, code, said
):
    server.answers["JobService/Get"] = lambda request: a_job(state)
    server.answers["JobService/Results"] = lambda request: iter([])
    result = smalti("results", "7", "--start", start, "-o", tmp_path / "x.png")
    assert (result.exit_code, result.stderr.splitlines()[-1]) == (code, said)


def test_a_wrong_value_is_reported_before_a_missing_terminal(smalti, picture, server, refusal):
    def refuse(request):
        raise refusal("INVALID_ARGUMENT", "INVALID_REQUEST", "toy has latent dimensions 0 to 9, not 10.")

    server.answers["ImageService/Sweep"] = refuse
    assert "dimensions 0 to 9, not 10" in smalti("sweep", "toy", "--dims", "2,10").stderr
    assert "--dims is 'x'" in smalti("sweep", "toy", "--dims", "x").stderr
    assert "--rows is 20, and toy draws 2 rows" in smalti("complete", "toy", picture, "--rows", 20).stderr
    assert "is not there" in smalti("reconstruct", "toy", "nowhere.png").stderr
    assert "is not there" in smalti("interpolate", "toy", picture, "nowhere.png").stderr


@pytest.mark.usefixtures("drawing")
def test_the_message_on_written_files_has_scale_and_number(smalti, tmp_path):
    said = smalti("draw", "toy", "--count", 4, "-o", tmp_path / "x.png").stderr
    assert "each pixel 4×4 (--scale 1 writes 7×7)" in said
    assert (
        "each pixel" not in smalti("draw", "toy", "--count", 4, "--scale", 2, "-o", tmp_path / "x.png").stderr
    )
    assert "Wrote 1 image to " in smalti("draw", "toy", "-o", tmp_path / "out/").stderr
    assert "Wrote 2 images to " in smalti("draw", "toy", "--count", 2, "-o", tmp_path / "out/").stderr


def test_a_mistyped_model_gets_a_suggestion_and_no_list(server, smalti, refusal, tmp_path):
    def refuse(request):
        there_is = "there is digits-vae, toy-vae."
        raise refusal(
            "NOT_FOUND",
            "MODEL_NOT_FOUND",
            f"There is no model 'toy' here (did you mean toy-vae?); {there_is}",
        )

    server.answers["ImageService/Draw"] = refuse
    result = smalti("draw", "toy", "-o", tmp_path / "x.png")
    assert result.exit_code == 3
    assert result.stderr == (
        "Error: There is no model 'toy' here (did you mean toy-vae?); smalti models lists them all.\n"
    )
