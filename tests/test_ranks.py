"""Several processes of one training: they have equal results, however they were started, and end together."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import sharded_training

from kgrec import Graph, Run, TrainingConfig, train
from kgrec.errors import KgrecError
from kgrec.ranks import share, swapped
from kgrec.splits.split import split
from kgrec.training.joining import place_from_outside
from kgrec.training.measuring import measure

OPTIONS = ("--split", "last_n:1,valid=1", "--set", "dim=8", "--set", "batch_size=64", "--device", "cpu")

#: Forks two processes with the variables that torchrun sets, prints their numbers, and at the end their exit codes
TWO_RANKS = """
import json, os, sys, traceback
port, code, *arguments = sys.argv[1:]
ranks = []
for rank in range(2):
    ranks.append(os.fork())
    if ranks[-1]:
        continue
    os.environ.update(
        RANK=str(rank), WORLD_SIZE="2", LOCAL_RANK=str(rank), LOCAL_WORLD_SIZE="2", MASTER_ADDR="127.0.0.1",
        MASTER_PORT=port,
    )
    sys.argv = ["kgrec", *json.loads(arguments[min(rank, len(arguments) - 1)])]
    end = 1
    try:
        exec(code)
        end = 0
    except SystemExit as stopped:
        end = stopped.code
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(end)
print(json.dumps(ranks), flush=True)
print(json.dumps([os.waitstatus_to_exitcode(os.waitpid(one, 0)[1]) for one in ranks]), flush=True)
"""
COMMAND = "from kgrec.cli import main; main()"


@pytest.fixture(scope="module")
def tastes(tmp_path_factory) -> Path:
    """40 users of three kinds, each with a third of 30 items; times rise within a user."""
    rng, rows = np.random.default_rng(0), []
    for user in range(40):
        liked = rng.permutation(np.arange(user % 3, 30, 3))[:9]
        rows += [(f"u{user}", f"i{item}", 100 + step) for step, item in enumerate(liked)]
    folder = tmp_path_factory.mktemp("ranks") / "tastes.graph"
    frame = pd.DataFrame(rows, columns=["source", "target", "time"])
    Graph.from_frames(edges={("user", "liked", "item"): frame}).save(folder)
    return folder


@pytest.fixture
def two_ranks(forked) -> Callable:
    """Starts two ranks of a command, or of some code; arguments: for both, or for each."""

    def start(*arguments: list, code: str = COMMAND, bytes_a_file: int | None = None):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        texts = [json.dumps(list(map(str, one))) for one in arguments]
        return forked(TWO_RANKS, port, code, *texts, bytes_a_file=bytes_a_file, first=["lightning_fabric"])

    return start


def test_ranks_started_from_outside_and_by_devices_have_equal_results(tastes, two_ranks, tmp_path, monkeypatch, capfd):
    with monkeypatch.context() as patch:
        patch.setenv("PYTHONPROFILEIMPORTTIME", "1")  # each process says what it imports
        by_devices = train(
            "mf",
            tastes,
            split="last_n:1,valid=1",
            config={"dim": 8, "batch_size": 64},
            training=TrainingConfig(epochs=2, device="cpu", devices=2),
            out=tmp_path / "one",
        )
    said = capfd.readouterr().err
    imported = re.findall(r"^import time:.* (lightning_fabric\.fabric|torchmetrics\.metric)$", said, re.MULTILINE)
    assert imported == ["lightning_fabric.fabric"] * 2  # it asks torchmetrics for its version, and gets that alone
    assert by_devices.metrics["processes"] == 2 and by_devices.metrics["epochs"] == 2
    done = two_ranks(["train", "mf", tastes, "--out", tmp_path / "two", "--epochs", "2", "--json", *OPTIONS]).ended()
    _, printed, codes = done.stdout.splitlines()  # rank 0 alone prints
    assert json.loads(codes) == [0, 0] and done.stderr.count("epoch 2") == 1 and "Traceback" not in done.stderr
    found = json.loads(printed)
    for name in ("valid", "test", "control", "epochs", "best_epoch"):
        assert found[name] == by_devices.metrics[name]
    assert 0 < found["exchange_share"] < 1
    tables = [pq.read_table(tmp_path / name / "per_user.parquet") for name in ("one", "two")]
    assert tables[0].equals(tables[1]) and len(tables[0]) == 40
    alone = train("mf", tastes, split="last_n:1,valid=1", config={"dim": 8}, training=TrainingConfig(epochs=2))
    assert alone.metrics["test"] != found["test"]  # the negatives of two ranks are other draws


def test_a_lost_rank_ends_the_other_and_another_number_goes_on(tastes, two_ranks, command, tmp_path):
    ends = ["train", "mf", tastes, "--out", tmp_path / "run", "--json", "--shard-vectors", *OPTIONS]
    process = two_ranks([*ends, "--epochs", "100000", "--patience", "100000"])
    ranks = json.loads(process.out.readline())
    while not (tmp_path / "run.checkpoint").exists():
        time.sleep(0.05)
    os.kill(ranks[1], signal.SIGKILL)
    done = process.ended()
    assert json.loads(done.stdout) == [1, -signal.SIGKILL]
    assert "error: rank 1 of 2" in done.stderr and "is lost" in done.stderr and "Traceback" not in done.stderr
    assert sorted(one.name for one in tmp_path.iterdir()) == ["run.checkpoint"]
    again = command(*ends, "--epochs", "1", "--patience", "100000", "--resume")
    assert again.returncode == 0 and json.loads(again.stdout)["processes"] == 1
    run = Run.load(tmp_path / "run")  # as one that was trained in one process
    assert run.model.user.weight.shape == (41, 8) and not run.model.user.weight[-1].any()
    assert len(run.recommend("all", k=3)["item"]) == 120
    assert measure(run, tastes)["test"] == run.metrics["test"]


def test_ranks_that_differ_are_refused_and_say_so_once(tastes, two_ranks, tmp_path):
    same = ["train", "mf", tastes, "--out", tmp_path / "run", *OPTIONS, "--epochs", "2"]
    done = two_ranks(same, [*same, "--seed", "3"]).ended()
    assert json.loads(done.stdout.splitlines()[-1]) == [1, 1] and done.stderr.count("error:") == 1
    assert "training.seed is 0 on rank 0 and 3 there" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_one_rank_ends_both(tastes, two_ranks, tmp_path):
    (tmp_path / "run").mkdir()
    same = ["train", "mf", tastes, *OPTIONS, "--epochs", "2", "--out"]
    done = two_ranks([*same, tmp_path / "run"], [*same, tmp_path / "other"]).ended()
    assert json.loads(done.stdout.splitlines()[-1]) == [1, 1]
    assert done.stderr.count("error:") == 1 and f"{tmp_path / 'run'} exists already" in done.stderr


APART = """
import os
import torch
from kgrec.models.mf import MF


class Apart(MF):
    def begin(self, epoch):
        with torch.no_grad():
            self.user.weight += os.getpid()
"""


def test_processes_whose_weights_come_apart_are_stopped(tastes, two_ranks, tmp_path):
    (tmp_path / "apart_model.py").write_text(APART)
    code = f"sys.path.insert(0, {str(tmp_path)!r})\n{COMMAND}"
    done = two_ranks(["train", "apart_model:Apart", tastes, *OPTIONS, "--out", tmp_path / "r"], code=code).ended()
    assert json.loads(done.stdout.splitlines()[-1]) == [1, 1]
    assert done.stderr.count("error: the processes have different weights") == 1
    assert not (tmp_path / "r").exists()


def test_a_full_disk_of_rank_0_ends_both(tastes, two_ranks, tmp_path):
    same = ["train", "mf", tastes, *OPTIONS, "--shard-vectors", "--out", tmp_path / "run"]
    done = two_ranks(same, bytes_a_file=1_000).ended()
    assert json.loads(done.stdout.splitlines()[-1]) == [1, 1] and list(tmp_path.iterdir()) == []
    assert done.stderr.count("error:") == 1 and "Traceback" not in done.stderr


#: Averages gradients of which few rows are touched, one that is missing on a rank, and small ones; and evaluates
EXCHANGE = """
import os, sys
import torch
from kgrec import Graph, models, ranks
from kgrec.evaluation.evaluation import evaluate
from kgrec.splits.split import split
from kgrec.training.gradients import average_gradients
from kgrec.training.joining import join, place_from_outside, together

def work():
    rank, found = ranks.rank(), {}
    table, sparse, alone, small = (torch.nn.Parameter(torch.zeros(rows, 2)) for rows in (1000, 1000, 1000, 3))
    table.grad = torch.zeros(1000, 2).index_fill_(0, torch.tensor([5, 7 + rank]), 1.0 + rank)
    sparse.grad = torch.sparse_coo_tensor([[3, 3, 900]], torch.full((3, 2), 2.0 + rank), (1000, 2))
    small.grad = torch.full((3, 2), float(rank))
    if rank:
        alone.grad = torch.ones(1000, 2)  # every row, so that it goes as a whole
    before = ranks.traffic.bytes
    average_gradients([table, sparse, alone, small])
    found["bytes"] = ranks.traffic.bytes - before
    found["table"] = [(row, table.grad[row].tolist()) for row in table.grad.any(1).nonzero().squeeze(1).tolist()]
    found["sparse"] = [sparse.grad.indices()[0].tolist(), sparse.grad.values()[:, 0].tolist()]
    found["others"] = [alone.grad.unique().tolist(), small.grad.unique().tolist()]
    parts = split(Graph.load(sys.argv[1]), "last_n:1,valid=1")
    torch.manual_seed(0)
    model = models.build("mf", parts.train, {"dim": 8}).eval()
    asked = {"metrics": ["ndcg@10", "coverage@3"], "batch_size": 7}
    one, both = (evaluate(model, parts.train, parts.valid, **asked, shared=shared) for shared in (False, True))
    found["equal"] = one.metrics == both.metrics and one.per_user.equals(both.per_user)
    every = ranks.of_all(found)
    if not rank:
        print(json.dumps(every))

join(place_from_outside(), torch.device("cpu"))
together(work)
"""


def test_only_touched_rows_travel_and_evaluation_is_shared(tastes, two_ranks):
    done = two_ranks([tastes], code=EXCHANGE).ended()
    _, printed, codes = done.stdout.splitlines()
    assert json.loads(codes) == [0, 0], done.stderr
    first, second = json.loads(printed)
    assert first == second
    assert first["table"] == [[5, [1.5, 1.5]], [7, [0.5, 0.5]], [8, [1.0, 1.0]]]
    assert first["sparse"] == [[3, 900], [5.0, 2.5]]  # (2 + 2 + 3 + 3) / 2 and (2 + 3) / 2
    assert first["others"] == [[0.5], [0.5]]
    # whole: 1,003 rows of 2 numbers; as rows: 2 of each of two tables, a number and two values each; 6 counts
    assert first["bytes"] == 1_003 * 2 * 4 + (2 + 2) * 3 * 4 + 3 * 2 * 8
    assert first["equal"]


#: Moves a rank to a machine of its own: another network namespace, and another name
ON_TWO_HOSTS = """
import ctypes, socket
libc, place = ctypes.CDLL(None, use_errno=True), os.open(f"/run/netns/{HOSTS}{rank}", os.O_RDONLY)
assert libc.setns(place, 0x40000000) == 0 and libc.unshare(0x04000000) == 0
socket.sethostname(f"host{rank}")
os.environ.update(LOCAL_RANK="0", LOCAL_WORLD_SIZE="1", MASTER_ADDR="10.99.0.1", GLOO_SOCKET_IFNAME="eth0")
"""


@pytest.fixture
def two_hosts() -> Iterator[str]:
    """Two network namespaces, joined by a line; their names are this one and 0 or 1."""
    name = f"kgrec{os.getpid()}-"
    if os.geteuid() != 0:
        pytest.skip("needs root, for network namespaces")
    made = [f"ip netns add {name}{one}" for one in (0, 1)]
    made.append(f"ip -n {name}0 link add eth0 type veth peer name eth0 netns {name}1")
    for one in (0, 1):
        made += [f"ip -n {name}{one} addr add 10.99.0.{one + 1}/24 dev eth0", f"ip -n {name}{one} link set lo up"]
        made.append(f"ip -n {name}{one} link set eth0 up")
    try:
        for line in made:
            try:
                subprocess.run(line.split(), check=True, capture_output=True)
            except (OSError, subprocess.CalledProcessError) as error:
                pytest.skip(f"this system makes no network namespaces: {line}: {error}")
        yield name
    finally:
        for one in (0, 1):
            subprocess.run(["ip", "netns", "del", f"{name}{one}"], check=False, capture_output=True)


@pytest.mark.root
def test_two_hosts_have_the_results_of_two_local_ranks(tastes, two_ranks, two_hosts, tmp_path):
    host = f"HOSTS = {two_hosts!r}\n{ON_TWO_HOSTS}{COMMAND}"
    ends = ["train", "mf", tastes, "--epochs", "2", "--json", "--shard-vectors", *OPTIONS]
    found = []
    for name, code in (("local", COMMAND), ("hosts", host)):
        # rank 0 alone needs the place of the result
        places = [[*ends, "--out", tmp_path / name], [*ends, "--out", "/nowhere/run"]]
        done = two_ranks(*places, code=code).ended()
        _, printed, codes = done.stdout.splitlines()
        assert json.loads(codes) == [0, 0], done.stderr
        found.append(json.loads(printed))
    for part in ("valid", "test"):
        assert found[0][part] == pytest.approx(found[1][part], abs=1e-5)


@pytest.mark.root
def test_a_cut_line_ends_the_ranks_of_both_hosts(tastes, two_ranks, two_hosts, tmp_path):
    host = f"HOSTS = {two_hosts!r}\n{ON_TWO_HOSTS}os.environ['KGREC_SECONDS_LOST'] = '2'\n{COMMAND}"
    ends = ["train", "mf", tastes, "--epochs", "100000", "--patience", "100000", "--out", tmp_path / "run", *OPTIONS]
    process = two_ranks(ends, code=host)
    while not (tmp_path / "run.checkpoint").exists():
        time.sleep(0.05)
    subprocess.run(["ip", "-n", f"{two_hosts}1", "link", "set", "eth0", "down"], check=True)
    done = process.ended()
    assert json.loads(done.stdout.splitlines()[-1]) == [1, 1]
    assert "error: rank 1 of 2 (on host1) is lost" in done.stderr
    assert "error: rank 0 of 2 (on host0) is lost" in done.stderr and "Traceback" not in done.stderr


def test_commands_of_one_process_are_refused_in_several(tastes, two_ranks, tmp_path):
    done = two_ranks(["compare", "mf", tastes, "--out", tmp_path / "table"]).ended()
    assert json.loads(done.stdout.splitlines()[-1]) == [1, 1] and done.stderr.count("error:") == 1
    assert "kgrec compare runs in one process" in done.stderr and list(tmp_path.iterdir()) == []


#: Compares models with whole and with shared tables
SHARDED = """
import sys
sys.path.insert(0, sys.argv.pop(1))
from sharded_training import as_rank
as_rank(*sys.argv[1:])
"""


def test_shared_tables_learn_what_whole_ones_do(two_ranks, tmp_path):
    graph = sharded_training.tastes()
    graph.save(tmp_path / "tastes.graph")
    small = {"dim": 8, "batch_size": 64}
    cases = {
        "mf": {**small, "biases": True, "negatives": 3},
        "kgat": {**small, "fanouts": [4, 3], "layer_dims": [8, 4], "features": ["size"]},
        "transe": {**small, "l2": 0.1},
        "irgan": {**small, "pretrain_epochs": 1, "d_start": "pretrained", "g_l2": 0.01},
    }
    place = Path(sharded_training.__file__).parent
    done = two_ranks([place, tmp_path / "tastes.graph", tmp_path, json.dumps(cases)], code=SHARDED).ended()
    assert json.loads(done.stdout.splitlines()[-1]) == [0, 0], done.stderr
    first, second = json.loads(done.stdout.splitlines()[1])
    known = split(graph, sharded_training.SPLIT)
    for name, config in cases.items():
        assert first[name]["begun"]
        assert first[name]["apart"] < 1e-5 and max(1e-6, 10 * first[name]["apart"]) < first[name]["moved"]
        for found in (first[name], second[name]):
            assert found["again"] and found["started"] and found["losses"] < 1e-5 and found["metrics"] < 1e-5
        # one process goes on from what two have stored
        metric, of_two = sharded_training.resumed(name, known, config, tmp_path / f"{name}.pt")
        assert metric == pytest.approx(of_two, abs=1e-6)
    rows = first["kgat"]["rows"]  # half of 40 users, of 30 items, and of 80 nodes
    assert rows == {"user_vector.shard": 20, "item_vector.shard": 15, "encoder.node.shard": 40}


def test_one_process_has_everything():
    assert list(share(range(3))) == [0, 1, 2] and swapped("rows", [4], [4]) == "rows"


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"RANK": "0", "WORLD_SIZE": "2"}, "has no 'LOCAL_RANK'"),
        ({"RANK": "x", "WORLD_SIZE": "2", "LOCAL_RANK": "0"}, "RANK is 'x'"),
        ({"RANK": "2", "WORLD_SIZE": "2", "LOCAL_RANK": "0"}, "rank 2 of 2"),
        ({"RANK": "2", "WORLD_SIZE": "3", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "2"}, "the same number of processes"),
    ],
)
def test_wrong_variables_are_refused(variables, message, monkeypatch):
    for name, value in {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(KgrecError, match=message):
        place_from_outside()
