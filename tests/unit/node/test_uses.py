"""A use of a model becomes a row of the history and what metrics count."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from aicn import defaults
from aicn.clock import ManualClock
from aicn.endpoints import Endpoint
from aicn.ids import InstanceId, ModelName, PeerId, ProjectName, RequestId
from aicn.node.uses import UseRecorder
from aicn.store import Entry, History, HistoryReader, Query, Store
from aicn.store.database import FILE_NAME
from aicn.telemetry import Metrics, Occasion, Outcome, Side, Spent, Use, metrics

ANSWER = b'{"choices":[],"usage":{"prompt_tokens":12,"completion_tokens":11}}'
STREAM = b'data: {"choices":[{}]}\n\ndata: ' + ANSWER + b"\n\n"


class _Recording:
    """A recorder, its clock, and what it kept."""

    def __init__(self, store: Store, folder: Path, *, prompts: bool) -> None:
        self._folder = folder
        self.clock = ManualClock(unix_s=1_000.0)
        self.counted = Metrics()
        self.history = History(store, self.clock, max_age_s=3_600, max_entries=100)
        self.recorder = UseRecorder(self.counted, PeerId("me"), self.clock, keeps_prompts=prompts)
        self.recorder.keep_in(self.history)

    def begin(self, side: Side = Side.INPUT, endpoint: Endpoint = Endpoint.CHAT, **changes: Any) -> Use:
        settings: dict[str, Any] = {"project": "P", "model": "m", "cid": "", "peer": None, "caller": "127.0.0.1"}
        settings |= {"request_id": "", "key": "", "request_bytes": 0}
        settings |= changes
        return self.recorder.begin(
            Occasion(
                side,
                endpoint,
                ProjectName(settings["project"]),
                ModelName(settings["model"]),
                InstanceId(settings["cid"]),
                settings["peer"],
                settings["caller"],
                RequestId(settings["request_id"]),
                settings["key"],
                request_bytes=settings["request_bytes"],
            )
        )

    async def kept(self) -> tuple[list[Entry], list[str | None]]:
        self.history.stop()
        await self.history.run()
        with HistoryReader(self._folder / FILE_NAME) as reader:
            found = reader.read(Query())
        return [each.entry for each in found], [each.prompt for each in found]

    def cells(self, metric: metrics.Metric) -> dict[tuple[str, ...], Any]:
        return dict(next(cells for each, cells in self.counted.snapshot() if each is metric))


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = await Store.open(tmp_path)
    yield store
    await store.close()


@pytest.fixture
def recording(store: Store, tmp_path: Path) -> _Recording:
    return _Recording(store, tmp_path, prompts=False)


async def test_a_chat_that_nobody_answered_was_asked_of_some(recording: _Recording) -> None:
    use = recording.begin()
    use.failed_after(3)
    use.end(Outcome.UNREACHABLE, 502)
    (entry,), _ = await recording.kept()
    assert (entry.attempts, entry.peer) == (3, "")
    assert recording.cells(metrics.ATTEMPTS) == {("chat",): 3}
    # Nobody has shown that there is such a model.
    assert [key[2:4] for key in recording.cells(metrics.REQUESTS)] == [("other", "other")]


async def test_a_chat_that_went_well(recording: _Recording) -> None:
    use = recording.begin()
    assert recording.cells(metrics.IN_FLIGHT) == {("input", "chat"): 1}
    recording.clock.advance(0.5)
    use.served_by(PeerId("16Uiu2HAmPeer"), InstanceId("c1"), 2)
    use.first_byte()
    use.part(STREAM[:20])
    recording.clock.advance(2.0)
    use.part(STREAM[20:])
    use.end(Outcome.OK, 200)
    assert await recording.kept() == (
        [
            Entry(
                at_unix_ms=1_000_000,
                side="input",
                kind="chat",
                project="P",
                model="m",
                cid="c1",
                caller="127.0.0.1",
                peer="16Uiu2HAmPeer",
                attempts=2,
                outcome="ok",
                status=200,
                first_byte_ms=500.0,
                total_ms=2_500.0,
                prompt_tokens=12,
                completion_tokens=11,
                images=None,
                answer_bytes=len(STREAM),
            )
        ],
        [None],
    )
    labels = ("input", "chat", "P", "m")
    assert recording.cells(metrics.IN_FLIGHT) == {("input", "chat"): 0}
    assert recording.cells(metrics.REQUESTS) == {(*labels, "ok"): 1}
    assert recording.cells(metrics.TOKENS) == {(*labels, "input"): 12, (*labels, "output"): 11}
    assert recording.cells(metrics.ANSWER_BYTES) == {labels: len(STREAM)}
    assert recording.cells(metrics.ATTEMPTS) == {("chat",): 2}
    assert recording.cells(metrics.FIRST_TOKEN)[labels].total == pytest.approx(0.5)
    assert recording.cells(metrics.TOKEN_TIME)[labels].total == pytest.approx(0.2)
    assert recording.cells(metrics.DURATION)[labels].total == pytest.approx(2.5)


async def test_an_answer_that_comes_whole_tells_nothing_of_its_tokens_times(recording: _Recording) -> None:
    use = recording.begin()
    recording.clock.advance(2.0)
    use.first_byte()
    use.part(ANSWER)
    use.end(Outcome.OK, 200)
    (first,) = recording.cells(metrics.FIRST_TOKEN).values()
    assert first.total == pytest.approx(2.0)
    assert not recording.cells(metrics.TOKEN_TIME)


async def test_the_first_content_of_a_failure_is_no_first_token(recording: _Recording) -> None:
    use = recording.begin()
    use.first_byte()
    use.part(b'{"error":{}}')
    use.end(Outcome.UPSTREAM_ERROR, 400)
    assert not recording.cells(metrics.FIRST_TOKEN)


async def test_images(recording: _Recording) -> None:
    use = recording.begin(Side.WORKER, Endpoint.IMAGE_GENERATION, cid="c2", caller="16Uiu2HAmAsks")
    use.first_byte()
    use.part(b'{"created":1,"data":[{"b64_json":"aGk="},{"b64_json":"aGk="}]}')
    use.end(Outcome.OK, 200)
    ((entry,), _) = await recording.kept()
    assert (entry.kind, entry.side, entry.images, entry.cid) == ("image_generation", "worker", 2, "c2")
    assert (entry.caller, entry.peer) == ("16Uiu2HAmAsks", "me")
    assert recording.cells(metrics.IMAGES) == {("worker", "image_generation", "P", "m"): 2}


async def test_a_chat_that_nobody_answered(recording: _Recording) -> None:
    use = recording.begin(model="invented")
    use.end(Outcome.NO_CANDIDATE, 500)
    ((entry,), _) = await recording.kept()
    assert (entry.model, entry.outcome, entry.peer, entry.first_byte_ms) == ("invented", "no_candidate", "", None)
    assert recording.cells(metrics.REQUESTS) == {("input", "chat", "other", "other", "no_candidate"): 1}
    assert recording.cells(metrics.FIRST_TOKEN) == {}


async def test_names_that_no_file_can_hold_are_made_to_fit(recording: _Recording) -> None:
    recording.begin(model="\ud800" + "x" * 1_000, caller="\udcff").end(Outcome.NO_CANDIDATE, None)
    ((entry,), _) = await recording.kept()
    assert entry.model == "?" + "x" * (defaults.HISTORY_NAME_MAX_CHARS - 1)
    assert entry.caller == "?"
    assert recording.history.lost == 0


async def test_words_are_not_wanted_unless_they_are_to_be_kept(recording: _Recording) -> None:
    assert not recording.recorder.wants_body


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"model":"m","messages":[{"role":"user","content":"hi \xc3\xa9"}]}', '[{"role":"user","content":"hi é"}]'),
        (b'{"model":"m","prompt":"a cat"}', '"a cat"'),
        (b'{"model":"m"}', None),
        (b"no JSON", None),
        (b"", None),
        (json.dumps({"prompt": "x" * 100_000}).encode(), '"' + "x" * (defaults.HISTORY_PROMPT_MAX_BYTES - 1)),
        (b'{"prompt":"' + b"x" * 2_000_000 + b'"}', '{"prompt":"' + "x" * (defaults.HISTORY_PROMPT_MAX_BYTES - 11)),
    ],
    ids=["chat", "image", "none", "no JSON", "empty", "long", "very long"],
)
async def test_words_are_kept_on_demand(store: Store, tmp_path: Path, body: bytes, words: str | None) -> None:
    recording = _Recording(store, tmp_path, prompts=True)
    assert recording.recorder.wants_body
    use = recording.begin()
    use.body(body)
    use.end(Outcome.OK, 200)
    assert (await recording.kept())[1] == [words]


def test_without_a_history_metrics_count_all_the_same() -> None:
    counted = Metrics()
    recorder = UseRecorder(counted, PeerId("me"), ManualClock(), keeps_prompts=True)
    assert not recorder.wants_body
    use = recorder.begin(
        Occasion(Side.INPUT, Endpoint.CHAT, ProjectName("P"), ModelName("m"), InstanceId(""), None, "127.0.0.1")
    )
    use.end(Outcome.TIMEOUT, None)
    (cells,) = (cells for metric, cells in counted.snapshot() if metric is metrics.REQUESTS)
    assert cells == {("input", "chat", "other", "other", "timeout"): 1}


async def test_what_a_request_is_known_by_is_kept_and_told(
    recording: _Recording, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "aicn.requests")
    spent: list[Spent] = []
    recording.recorder.spend = spent.append
    use = recording.begin(endpoint=Endpoint.EMBEDDINGS, model='m"\n x', request_id="r-1", key="k_1")
    use.queued(0.25)
    use.served_by(PeerId("16Uiu2HAmPeer"), InstanceId(""), 1)
    use.first_byte()
    use.part(b'{"data":[],"usage":{"prompt_tokens":7,"total_tokens":7}}')
    use.end(Outcome.OK, 200)
    ((entry,), _) = await recording.kept()
    assert (entry.kind, entry.request_id, entry.key, entry.queue_ms) == ("embeddings", "r-1", "k_1", 250.0)
    (line,) = caplog.messages
    assert line.startswith('request_id=r-1 side=input kind=embeddings project=P model="m\\"\\n x" ')
    assert " key=k_1 peer=16Uiu2HAmPeer attempts=1 outcome=ok status=200 queue_ms=250.0 " in line
    assert "\n" not in line
    ((occasion, peer, outcome, *numbers),) = spent
    assert (occasion.key, peer, outcome, numbers) == ("k_1", "16Uiu2HAmPeer", Outcome.OK, [7, 0, 0])
    assert recording.cells(metrics.QUEUE_TIME)[("embeddings",)].total == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("endpoint", "parts", "tokens"),
    [
        (Endpoint.CHAT, [b"data: {}\n\n"] * 7, [10, 7]),
        (
            Endpoint.CHAT,
            [b"data: {}\n\n" * 3, b'data: {"usage":{"prompt_tokens":5,"completion_tokens":2}}\n\n'],
            [5, 2],
        ),
        (Endpoint.CHAT, [], [0, 0]),
        (Endpoint.EMBEDDINGS, [b'{"data":[]}'], [0, 0]),
    ],
    ids=["left before the end", "told", "not begun", "no words"],
)
async def test_tokens_that_nobody_told_are_guessed_for_those_who_pay(
    recording: _Recording, endpoint: Endpoint, parts: list[bytes], tokens: list[int]
) -> None:
    spent: list[Spent] = []
    recording.recorder.spend = spent.append
    use = recording.begin(endpoint=endpoint, request_bytes=40)
    if parts:
        use.first_byte()
    for part in parts:
        use.part(part)
    use.end(Outcome.CLIENT_GONE, 200)
    assert [spent[0].prompt_tokens, spent[0].completion_tokens] == tokens
    if endpoint is Endpoint.CHAT and len(parts) != 2:
        ((entry,), _) = await recording.kept()
        assert entry.completion_tokens is None, "the history has only what was told"


@pytest.mark.parametrize(
    ("model", "logged"),
    [
        ("a b", '"a b"'),
        ("größe", "größe"),
        ("größe XL", '"größe XL"'),
        ("\x1b[31mred\n", '"\\u001b[31mred\\n"'),
        ("\x9b31mred", '"\\u009b31mred"'),
        ("a\u202eb", '"a\\u202eb"'),
        ("a\u2028b", '"a\\u2028b"'),
    ],
)
async def test_no_name_in_the_log_moves_a_terminal(
    recording: _Recording, caplog: pytest.LogCaptureFixture, model: str, logged: str
) -> None:
    with caplog.at_level(logging.INFO, "aicn.requests"):
        recording.begin(model=model).end(Outcome.NO_CANDIDATE, 503)
    assert f" model={logged} cid=" in caplog.messages[-1]


@pytest.mark.parametrize(
    ("parts", "outcome", "tokens"),
    [
        ([[b"data: 1\n\n", b"data: 2\n\n"], [ANSWER]], Outcome.OK, (10 + 12, 2 + 11)),
        ([[ANSWER], [b"data: 1\n\n"], [ANSWER]], Outcome.OK, (12 + 10 + 12, 11 + 1 + 11)),
        ([[b"data: 1\n\n"], [b"data: 2\n\n"]], Outcome.CUT, (10 + 10, 1 + 1)),
        ([[ANSWER], [b"data: 2\n\n"]], Outcome.CLIENT_GONE, (12 + 10, 11 + 1)),
    ],
    ids=["the last tells", "the first and the last tell", "nobody tells", "left in the second"],
)
async def test_of_an_answer_in_parts_each_counts(
    recording: _Recording, parts: list[list[bytes]], outcome: Outcome, tokens: tuple[int, int]
) -> None:
    spent: list[Spent] = []
    recording.recorder.spend = spent.append
    use = recording.begin(request_bytes=40)
    use.first_byte()
    for at, part in enumerate(parts):
        if at:
            use.continued()
        for data in part:
            use.part(data)
    use.end(outcome, 200)
    assert (spent[0].prompt_tokens, spent[0].completion_tokens) == tokens
    ((entry,), _) = await recording.kept()
    assert (entry.prompt_tokens, entry.completion_tokens) == tokens
    assert sum(recording.cells(metrics.TOKENS).values()) == sum(tokens)


async def test_who_is_refused_by_the_model_server_has_spent_nothing(recording: _Recording) -> None:
    spent: list[Spent] = []
    recording.recorder.spend = spent.append
    use = recording.begin(request_bytes=40)
    use.first_byte()
    use.part(b'{"error":{"message":"no"}}')
    use.end(Outcome.UPSTREAM_ERROR, 400)
    assert (spent[0].prompt_tokens, spent[0].completion_tokens) == (0, 0)


async def test_what_a_worker_answers_costs_no_client_anything(recording: _Recording) -> None:
    spent: list[Spent] = []
    recording.recorder.spend = spent.append
    recording.begin(Side.WORKER).end(Outcome.OK, 200)
    assert spent == []
