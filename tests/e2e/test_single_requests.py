"""A champion behind ``mlflow models serve``: the batch's answers, and words for bad bodies."""

from __future__ import annotations

import json
import re
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import psutil
import pytest
import skops.io

from tests import nights, pages
from tests.nights import nth_day, write_model, write_more
from tests.served import JSON, PARQUET, Server, json_body, parquet_body, served
from tests.servers import free_port

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.long,
    *(pytest.mark.filterwarnings(text) for text in nights.MLFLOW_WARNINGS),
]

NIGHT = 40
PATIENCE = 300.0
"""Seconds a version may take to answer on a busy machine."""
ALONE = 1e-12
"""How far a row asked for by itself may be from the same row in a batch: summing order."""
CATEGORIES = (
    ('shop=(day["shop"] == "a").astype("int64"),', 'shop=day["shop"],'),
    (
        "from sklearn.tree import DecisionTreeClassifier",
        "from sklearn.compose import ColumnTransformer\n"
        "from sklearn.pipeline import make_pipeline\n"
        "from sklearn.preprocessing import OneHotEncoder",
    ),
    (
        '"logistic": LogisticRegression(),\n'
        '        "tree": DecisionTreeClassifier(max_depth=3, random_state=0),',
        '"logistic": make_pipeline(\n'
        "            ColumnTransformer([\n"
        '                ("shop", OneHotEncoder(handle_unknown="ignore"), ["shop"]),\n'
        '                ("numbers", "passthrough", ["size", "usual"]),\n'
        "            ]),\n"
        "            LogisticRegression(),\n"
        "        ),",
    ),
)
"""What makes the toy model one with a column of words."""


@dataclass(frozen=True)
class Night:
    """A champion that answers, and what the batch has to say of the day after its night.

    Attributes:
        home: State directory.
        server: The champion, served.
        log: What the server said.
        rows: Inputs of the day, with ``number`` as their key.
        batch: Their scores.
        files: Digest of the version's files as they were checked.
    """

    home: Path
    server: Server
    log: Path
    rows: pd.DataFrame
    batch: np.ndarray
    files: str

    def send(self, content: str | bytes, kind: str | None = JSON) -> httpx.Response:
        headers = {} if kind is None else {"Content-Type": kind}
        return httpx.post(self.server.url, content=content, headers=headers, timeout=60)

    def scores(self, content: str | bytes, kind: str = JSON) -> np.ndarray:
        return np.array(self.send(content, kind).raise_for_status().json()["predictions"])[:, 1]

    def record(self, **changes: object) -> str:
        """One row as ``dataframe_records``, with other values."""
        row: dict[str, Any] = self.rows.iloc[0].to_dict()
        return json.dumps({"dataframe_records": [row | changes]})


@pytest.fixture(scope="module")
def night(
    tmp_path_factory: pytest.TempPathFactory, empty_registry: Path, warm_processes: None
) -> Iterator[Night]:
    from tasks.registry import packages
    from tasks.registry.client import open_registry
    from tasks.spec.loading import load_spec
    from tasks.training import fit

    place = tmp_path_factory.mktemp("single")
    home, days = place / "home", place / "days"
    home.mkdir(mode=0o700)
    shutil.copyfile(empty_registry, home / "mlflow.db")
    write_more(days, 1, NIGHT)
    model = write_model(place / "toy.py", days, *CATEGORIES)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NIGHTLY_HOME", str(home))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.delenv("MLFLOW_REGISTRY_URI", raising=False)
        assert nights.run_night(model)["challenger"]["candidate"] == "logistic"
        spec, client = load_spec(str(model)), open_registry()
        with packages.downloaded(client, "toy", "1") as package:
            estimator = skops.io.load(package / "model.skops", trusted=fit.trusted_types(spec))
        files = client.get_model_version("toy", "1").tags["files_sha256"]
    write_more(days, NIGHT + 1, NIGHT + 1)
    history, day = (
        pd.concat(pd.read_parquet(days / f"{nth_day(number)}.parquet") for number in numbers)
        for numbers in (range(NIGHT - 6, NIGHT + 1), [NIGHT + 1])
    )
    inputs = spec.features(day, history)
    batch = spec.problem.score(estimator, inputs)
    log = place / "server.log"
    with served(home, "toy", log) as server:
        yield Night(home, server, log, inputs.assign(number=day["number"]), batch, files)


def test_a_parquet_body_gets_the_batchs_answers_bit_for_bit(night: Night) -> None:
    assert len(night.batch) == 200
    assert (night.scores(parquet_body(night.rows), PARQUET) == night.batch).all()


def test_so_does_json_with_its_numbers_in_full(night: Night) -> None:
    assert (night.scores(json_body(night.rows)) == night.batch).all()


def test_a_row_by_itself_gets_the_batchs_answer(night: Night) -> None:
    alone = [night.scores(json_body(night.rows[n : n + 1]))[0] for n in range(30)]
    assert np.abs(alone - night.batch[:30]).max() <= ALONE
    assert len(set(alone)) == 30


def test_the_order_of_columns_and_a_column_too_many_change_nothing(night: Night) -> None:
    turned = night.rows[night.rows.columns[::-1]].assign(more=1.0)
    assert (night.scores(parquet_body(turned), PARQUET) == night.batch).all()


def test_a_category_never_seen_is_answered_between_those_that_were(night: Night) -> None:
    a, b, unknown = (night.scores(night.record(shop=shop))[0] for shop in ("a", "b", "ZZ"))
    assert a != b
    assert min(a, b) < unknown < max(a, b)


COLUMNS = '"columns": ["size", "shop", "usual"]'


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("", "valid JSON"),
        ("{not json", "valid JSON.*column 2"),
        ("[1, 2]", "dictionary.*Received a list"),
        ("17", "dictionary.*unexpected input type.*int"),
        ("{}", "exactly one of the input fields"),
        ('{"household_id": 17}', "exactly one of the input fields"),
        ('{"dataframe_records": {"size": 1.0}}', "must be a list of records"),
        ('{"dataframe_records": []}', r"missing inputs \['size', 'shop', 'usual'\]"),
        ('{"dataframe_records": [{"size": 1.0, "shop": "a"}]}', r"missing inputs \['usual'\]"),
        ('{"dataframe_records": [{"size": "x", "shop": "a", "usual": 0.5}]}', "column size"),
        ('{"dataframe_records": [{"size": [1], "shop": "a", "usual": 0.5}]}', "column size"),
        ('{"dataframe_split": {"rows": []}}', "must have 'data' field"),
        (f'{{"dataframe_split": {{{COLUMNS}, "data": [[1.0]]}}}}', "3 columns passed"),
        (f'{{"dataframe_split": {{{COLUMNS}, "data": []}}}}', "0 sample"),
        ('{"dataframe_records": [{"size": null, "shop": "a", "usual": 0.5}]}', "contains NaN"),
    ],
)
def test_a_malformed_body_is_refused_in_words(night: Night, body: str, words: str) -> None:
    answer = night.send(body)
    assert answer.status_code == 400
    said = answer.json()
    assert re.search(words, said["message"] + said.get("stack_trace", ""), re.DOTALL), said


def test_a_malformed_parquet_body_is_refused_in_words(night: Night) -> None:
    wrong = night.rows.astype({"size": "str"})
    for content, words in (
        (b"PAR1", "valid Parquet"),
        (parquet_body(wrong), "Incompatible input types for column size"),
        (parquet_body(night.rows[["shop", "usual"]]), r"missing inputs \['size'\]"),
    ):
        answer = night.send(content, PARQUET)
        assert answer.status_code == 400
        assert re.search(words, answer.json()["message"]), answer.text


def test_another_kind_of_body_and_another_method_are_refused(night: Night) -> None:
    answer = night.send(night.record(), "application/x-www-form-urlencoded")
    assert answer.status_code == 415
    assert "only supports the following content types" in answer.text
    assert httpx.get(night.server.url).status_code == 405


@pytest.mark.parametrize(("body", "kind"), [("{}", None), ("[" * 100_000, JSON)])
def test_what_mlflow_takes_for_its_own_fault_does_no_harm(
    night: Night, body: str, kind: str | None
) -> None:
    assert night.send(body, kind).status_code in (400, 415, 500)
    assert (night.scores(parquet_body(night.rows), PARQUET) == night.batch).all()


@pytest.mark.parametrize("key", ["seen", "never seen"])
def test_the_app_of_the_page_ranks_as_the_batch_does(
    night: Night, key: str, tmp_path: Path
) -> None:
    """Its code, with the toy's rows as two households: number 17, and the one without a number."""
    _, code = pages.blocks("deployments/SERVING.md", "python")
    household = np.where(np.arange(len(night.rows)) < 50, 17.0, np.nan)
    rows = night.rows.rename(columns={"number": "product_id"}).assign(household_id=household)
    rows.to_parquet(tmp_path / "inputs.parquet", index=False)
    for old, new in (
        (".nightly/predictions/groceries/inputs.parquet", str(tmp_path / "inputs.parquet")),
        ("http://127.0.0.1:5002/invocations", night.server.url),
        ("== 17]", "== 17]" if key == "seen" else "== 18]"),
    ):
        assert code.count(old) == 1
        code = code.replace(old, new)
    printed = StringIO()
    with redirect_stdout(printed):
        exec(compile(code, "SERVING.md", "exec"), {})
    mine = rows["household_id"].eq(17) if key == "seen" else rows["household_id"].isna()
    best = rows[mine].assign(score=night.batch[mine.to_numpy()]).nlargest(20, "score")["product_id"]
    table = pd.read_csv(StringIO(printed.getvalue()), sep=r"\s+")
    assert table["product_id"].tolist() == best.tolist()


def test_it_listens_to_this_machine_alone(night: Night) -> None:
    ends = night.server.worker.net_connections(kind="inet")
    listening = {one.laddr for one in ends if one.status == psutil.CONN_LISTEN}
    assert listening == {("127.0.0.1", night.server.port)}


# --- one address, whichever version is champion -------------------------------------------------


def add_version(*, sealed: bool) -> str:
    """Another version with the champion's package; returns its number."""
    from tasks.registry import seals
    from tasks.registry.client import open_registry

    client = open_registry()
    first = client.get_model_version("toy", "1")
    tags = {k: v for k, v in first.tags.items() if k not in (seals.MADE, seals.SEAL)}
    made = client.create_model_version("toy", first.source, first.run_id, tags=tags)
    if sealed:
        assert seals.vouch_for(client, [made])
    return str(made.version)


@contextmanager
def one_address() -> Iterator[httpx.Client]:
    """``tasks.serving`` in a thread, and a client with its password."""
    import uvicorn

    from tasks.serving.champions import Champions
    from tasks.serving.front import make_app

    port = free_port()
    app = make_app(Champions(), "nightly:p")
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    login, address = ("nightly", "p"), f"http://127.0.0.1:{port}"
    try:
        with httpx.Client(base_url=address, auth=login, timeout=PATIENCE) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join(60)
    assert not thread.is_alive()


def wait_until(client: httpx.Client, text: str) -> None:
    """Wait until the overview says this."""
    said, deadline = "", time.monotonic() + PATIENCE
    while text not in said and time.monotonic() < deadline:
        with suppress(httpx.TransportError):
            said = client.get("/").text
        time.sleep(0.1)
    assert text in said


def test_no_request_is_lost_while_the_champion_changes(
    night: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tasks.registry.client import open_registry

    monkeypatch.setenv("NIGHTLY_HOME", str(night.home))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    before = psutil.Process().children()
    second, unsealed = add_version(sealed=True), add_version(sealed=False)
    answers: list[httpx.Response] = []
    stop = threading.Event()

    def ask(client: httpx.Client) -> None:
        rows = night.rows[:50]
        while not stop.is_set():
            kind = {"Content-Type": PARQUET}
            answers.append(
                client.post("/toy/invocations", content=parquet_body(rows), headers=kind)
            )

    with one_address() as client:
        wait_until(client, '"version":"1"')
        callers = [threading.Thread(target=ask, args=(client,)) for _ in range(2)]
        for caller in callers:
            caller.start()
        for number, text in (
            (second, f'"version":"{second}"'),
            (unsealed, f"Version {unsealed} of toy is not loaded"),
        ):
            open_registry().set_registered_model_alias("toy", "champion", number)
            wait_until(client, text)
        stop.set()
        for caller in callers:
            caller.join()
        last = client.post("/toy/invocations", content=b"?", headers={"Content-Type": JSON})
    open_registry().set_registered_model_alias("toy", "champion", "1")
    assert {answer.status_code for answer in answers} == {200}
    numbers = [answer.headers["X-Nightly-Version"] for answer in answers]
    assert set(numbers) == {"1", second}
    assert numbers.index(second) > 5
    for answer in answers:
        assert (np.array(answer.json()["predictions"])[:, 1] == night.batch[:50]).all()
    assert (last.status_code, last.headers["X-Nightly-Version"]) == (400, second)
    assert psutil.Process().children() == before


def test_it_ends_cleanly_and_leaves_the_version_as_it_was_checked(
    night: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tasks.clean_process import package_check
    from tasks.registry import client, packages

    night.server.end()
    assert not night.server.worker.is_running()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", night.server.port)) != 0
    assert "Application shutdown complete" in night.log.read_text()
    monkeypatch.setenv("NIGHTLY_HOME", str(night.home))
    with packages.downloaded(client.open_registry(), "toy", "1") as package:
        assert package_check.files_digest(package) == night.files
