"""The steps of a reconcile, over both stores in memory."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import unquote

import pytest
from fakes import PLAIN, FakeGcs, FakeS3
from listings import (
    FakeJournal,
    FakeNominations,
    FakeReplicaListing,
    FakeReports,
    FakeSourceListing,
    KilledError,
    Machine,
)

from replicate.errors import (
    DestinationForbiddenError,
    SettingsError,
    SourceForbiddenError,
    SourceUnavailableError,
)
from replicate.protocol import mapping
from replicate.protocol.deadline import Deadline
from replicate.protocol.mapping import Naming
from replicate.protocol.model import SourceRef
from replicate.reconcile import output, tally, workers
from replicate.reconcile.steps import Reconcile, step
from replicate.step_errors import PermanentError, TransientError

RUN = "20260601T000000Z-cution-1"


@dataclass
class Sides:
    """Two stores and the reconcile between them."""

    s3: FakeS3 = field(default_factory=FakeS3)
    gcs: FakeGcs = field(default_factory=FakeGcs)
    reports: FakeReports = field(default_factory=FakeReports)
    nominations: FakeNominations = field(default_factory=FakeNominations)
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.source = FakeSourceListing(self.s3)
        self.replicas = FakeReplicaListing(self.gcs)

    def put(self, *keys: str) -> None:
        for key in keys:
            self.s3.put(SourceRef("source", key), key.encode())

    def replicate(self, *keys: str) -> None:
        """Make replicas of keys as the engine does."""
        for key in keys:
            ref = SourceRef("source", key)
            found = self.s3.head(ref)
            assert found
            name = self.replicas.key_prefix + key
            self.gcs.put(name, self.s3.data(ref), mapping.attributes(found))

    @property
    def reconcile(self) -> Reconcile:
        values: dict[str, Any] = {
            "source": self.source,
            "replicas": self.replicas,
            "reports": self.reports,
            "nominations": self.nominations,
            "deadline": Deadline(900),
            "naming": Naming("replica", self.replicas.key_prefix),
            "buckets": frozenset({"source"}),
        }
        return Reconcile(**values | self.options)

    @property
    def machine(self) -> Machine:
        return Machine(self.reconcile)

    def run(self, execution: str = "execution-1", **request: Any) -> dict[str, Any]:  # noqa: ANN401
        return self.machine.run(execution, **request)

    def json(self, name: str, run: str = RUN) -> Any:  # noqa: ANN401
        return json.loads(self.reports.files[f"runs/{run}/{name}"])

    def lines(self, name: str, run: str = RUN) -> list[list[str]]:
        text = self.reports.files[f"runs/{run}/{name}"].decode()
        return [line.split(",") for line in text.splitlines()]

    def nominated(self) -> list[str]:
        return [ref.key for ref in self.nominations.refs]


@pytest.fixture
def sides() -> Sides:
    """One key of each kind: equal, missing, different, extra and foreign."""
    sides = Sides()
    sides.put("a/equal", "a/missing", "b/different, ü+", "c/extra")
    sides.replicate("a/equal", "b/different, ü+", "c/extra")
    sides.put("b/different, ü+")
    sides.s3.delete(SourceRef("source", "c/extra"))
    sides.gcs.put("c/foreign", b"foreign", PLAIN)
    return sides


COUNTED = {"equal": 1, "missing": 1, "different": 1, "extra": 1, "foreign": 1}


class TestReport:
    def test_finds_every_kind_and_changes_nothing(self, sides: Sides) -> None:
        before = dict(sides.gcs.objects)

        result = sides.run()

        assert result["ended"] == "differences"
        assert result["differences"] == 2
        assert {name: result["counts"][name] for name in COUNTED} == COUNTED
        assert result["counts"]["compared"] == 5
        assert result["counts"]["nominated"] == 0
        assert sides.gcs.objects == before
        assert not sides.nominated()

    @pytest.mark.parametrize(("minutes", "kind"), [(14, "young"), (16, "missing")])
    def test_what_has_changed_in_the_last_15_minutes_is_young(
        self, minutes: int, kind: str
    ) -> None:
        sides = Sides()
        sides.s3.now = datetime(2026, 6, 1, tzinfo=UTC) - timedelta(minutes=minutes)
        sides.put("a")

        assert sides.run()["counts"][kind] == 1

    def test_files_say_what_was_found(self, sides: Sides) -> None:
        sides.run()

        found = sides.json("summary.json")
        assert (found["run"], found["mode"], found["ended"]) == (RUN, "report", "differences")
        assert (found["source"], found["destination"]) == ("s3://source", "gs://replica/")
        assert {sample["kind"]: sample["key"] for sample in found["samples"]} == {
            "missing": "a/missing",
            "different": "b/different, ü+",
            "extra": "c/extra",
            "foreign": "c/foreign",
        }
        shown = next(s for s in found["samples"] if s["kind"] == "different")
        assert (shown["source"].keys(), shown["replica"].keys()) == (
            {"etag", "size", "last_modified"},
            {"generation", "size", "etag"},
        )
        assert [group["prefix"] for group in found["by_prefix"]] == ["a/", "c/", "b/"]
        assert found["cost"]["total_usd"] > 0
        assert b"a/missing" in sides.reports.files[f"runs/{RUN}/report.html"]

    def test_files_have_types_that_browsers_know(self, sides: Sides) -> None:
        sides.run()
        types = {name.rpartition("/")[2]: kind for name, kind in sides.reports.types.items()}
        assert types == {
            "plan.json": "application/json",
            "0000.json": "application/json",
            "0000-000.csv": "text/csv; charset=utf-8",
            "0000-gcs-000.csv": "text/csv; charset=utf-8",
            "total.json": "application/json",
            "differences.csv": "text/csv; charset=utf-8",
            "differences-gcs.csv": "text/csv; charset=utf-8",
            "report.html": "text/html",
            "summary.json": "application/json",
            "boundaries.json": "application/json",
            "last-report.json": "application/json",
        }

    def test_lines_are_a_manifest_of_what_s3_has(self, sides: Sides) -> None:
        """S3 Batch Operations takes bucket and URL-encoded key, without a header."""
        sides.run()

        lines = sides.lines("differences.csv")
        assert [(line[0], unquote(line[1]), line[2]) for line in lines] == [
            ("source", "a/missing", "missing"),
            ("source", "b/different, ü+", "different"),
        ]
        assert [line[2] for line in sides.lines("differences-gcs.csv")] == ["extra", "foreign"]

    def test_lines_beyond_the_most_are_left_out(
        self, sides: Sides, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(output, "MAX_LINES", 1)
        monkeypatch.setattr(workers, "PIECE_LINES", 1)
        monkeypatch.setattr(workers, "LOOK_EVERY", 1)
        sides.run()
        assert [line[2] for line in sides.lines("differences.csv")] == ["missing"]

    def test_folders_beyond_the_most_are_counted_together(
        self, sides: Sides, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(tally, "MAX_PREFIXES", 2)
        sides.put("d/missing", "b/missing", "e")
        sides.run()
        found = sides.json("summary.json")["by_prefix"]
        assert {row["prefix"]: (row["compared"], row["missing"]) for row in found} == {
            "a/": (2, 1),
            "b/": (2, 1),
            tally.OTHERS: (4, 2),
        }

    def test_equal_sides_end_equal(self, sides: Sides) -> None:
        result = sides.run(prefix="a/equal")

        assert (result["ended"], result["counts"]["compared"]) == ("equal", 1)

    def test_replicas_have_a_prefix_of_their_own(self) -> None:
        sides = Sides()
        sides.replicas.key_prefix = "backup/"
        sides.put("a", "b")
        sides.replicate("a")
        sides.gcs.put("other", b"", PLAIN)

        counts = sides.run()["counts"]

        assert (counts["equal"], counts["missing"], counts["compared"]) == (1, 1, 2)

    def test_only_complete_runs_are_recorded_and_the_second_with_differences_is_marked(
        self, sides: Sides
    ) -> None:
        machine = sides.machine
        machine.run("execution-0", prefix="a/")
        assert not machine.journal.metrics

        report = {"reconcile": "report", "run": machine.run("execution-1")["run"]}
        step(lambda: sides.reconcile, machine.journal, report)  # its response was lost
        machine.run("execution-2")
        machine.run("execution-3", mode="repair", confirmed=True)

        repeated = [metrics["repeated"] for metrics in machine.journal.metrics]
        assert repeated == [0, 0, 2, None]
        assert {m["missing"] for m in machine.journal.metrics} == {1}
        assert {name: [*result] for name, result in machine.journal.results.items()} == {
            "plan": ["run", "compares", "shards"],
            "compare": ["run", "shard", "done", "cursor", "counts"],
            "total": ["run", "nominates", "shards"],
            "nominate": ["run", "shard", "done"],
            "report": ["run", "mode", "ended", "differences", "counts", "bucket", "prefix"],
        }, "what the state machine and the log read"


class TestRepair:
    def test_nominates_what_differs_but_no_extra_replica(self, sides: Sides) -> None:
        result = sides.run(mode="repair", confirmed=True)

        assert result["ended"] == "nominated"
        assert result["counts"]["nominated"] == 2
        assert sides.nominated() == ["a/missing", "b/different, ü+"]

    def test_nominates_extra_replicas_where_all_deletes_are_replicated(self, sides: Sides) -> None:
        sides.options["replicates_all_deletes"] = True

        result = sides.run(mode="repair", confirmed=True)

        assert result["differences"] == 3
        assert sides.nominated() == ["a/missing", "b/different, ü+", "c/extra"]

    @pytest.mark.parametrize(
        ("limits", "ended"),
        [
            ({}, "too_many_differences"),
            ({"max_share": 0.4}, "nominated"),
            ({"max_share": 0.39}, "too_many_differences"),
            ({"max_share": 1, "max_differences": 2}, "nominated"),
            ({"max_share": 1, "max_differences": 1}, "too_many_differences"),
            ({"confirmed": True}, "nominated"),
        ],
    )
    def test_safety_valve_stops_a_repair_of_too_much(
        self, sides: Sides, limits: dict[str, Any], ended: str
    ) -> None:
        """Two of five keys differ."""
        result = sides.run(mode="repair", **limits)

        assert result["ended"] == ended
        assert bool(sides.nominated()) == (ended == "nominated")
        assert (sides.json("summary.json")["valve"] is None) == (ended == "nominated")

    def test_emptied_source_starts_no_mass_deletion(self) -> None:
        sides = Sides(options={"replicates_all_deletes": True})
        keys = [f"{number:03}" for number in range(200)]
        sides.put(*keys)
        sides.replicate(*keys)
        for key in keys:
            sides.s3.delete(SourceRef("source", key))

        assert sides.run(mode="repair")["ended"] == "too_many_differences"
        assert not sides.nominated()

    def test_differences_of_a_report_are_nominated_without_another_comparison(
        self, sides: Sides
    ) -> None:
        sides.run()
        listed = len(sides.source.read)

        result = sides.run("execution-2", mode="repair", from_run=RUN, confirmed=True)

        assert sides.nominated() == ["a/missing", "b/different, ü+"]
        assert result["counts"]["missing"] == 1
        assert len(sides.source.read) == listed
        assert len(sides.lines("differences.csv", result["run"])) == 2

    def test_equal_sides_need_no_repair(self) -> None:
        sides = Sides()
        sides.put("a")
        sides.replicate("a")

        assert sides.run(mode="repair")["ended"] == "equal"


class TestShards:
    @pytest.fixture
    def many(self, monkeypatch: pytest.MonkeyPatch) -> Sides:
        monkeypatch.setattr(tally, "MARK_EVERY", 10)
        monkeypatch.setattr(workers, "LOOK_EVERY", 7)
        monkeypatch.setattr(workers, "PIECE_LINES", 4)
        sides = Sides()
        sides.put(*(f"{number:03}" for number in range(100)))
        sides.replicate(*(f"{number:03}" for number in range(0, 100, 2)))
        return sides

    def test_next_run_divides_the_keys_by_the_marks_of_this_one(self, many: Sides) -> None:
        many.run()
        result = many.run("execution-2")

        plan = many.json("plan.json", result["run"])
        assert [to for _, to in plan["shards"]] == [
            *(f"{number:03}" for number in range(9, 100, 10)),
            None,
        ]
        assert plan["expected_objects"] == 100
        assert (result["counts"]["equal"], result["counts"]["missing"]) == (50, 50)
        assert len(many.lines("differences.csv", result["run"])) == 50

    def test_wrong_boundaries_only_make_shards_unequal(self, many: Sides) -> None:
        boundaries = {"objects": 7, "keys": ["", "0", "0500", "051", "051", "zzz"]}
        many.reports.files["state/source/boundaries.json"] = json.dumps(boundaries).encode()

        counts = many.run()["counts"]

        assert (counts["compared"], counts["missing"]) == (100, 50)

    def test_plan_that_is_repeated_stays_as_it_was(self, many: Sides) -> None:
        """Workers may have begun with it."""
        event = {
            "reconcile": "plan",
            "input": {},
            "execution": "execution-1",
            "started_at": "2026-06-01T00:00:00Z",
        }
        first = step(lambda: many.reconcile, FakeJournal(), event)
        boundaries = {"objects": 100, "keys": ["050"]}
        many.reports.files["state/source/boundaries.json"] = json.dumps(boundaries).encode()

        assert step(lambda: many.reconcile, FakeJournal(), event) == first

    def test_worker_returns_before_its_time_is_over_and_another_one_continues(
        self, many: Sides
    ) -> None:
        seconds = iter(range(0, 100_000, 20))  # each look at the clock takes 20 seconds
        many.options["deadline"] = deadline = Deadline(0, clock=lambda: next(seconds))
        machine = many.machine
        machine.pause = lambda: deadline.restart(90)

        counts = machine.run(mode="repair", confirmed=True)["counts"]

        assert (counts["compared"], counts["missing"], counts["nominated"]) == (100, 50, 50)
        assert sorted(many.nominated()) == [f"{number:03}" for number in range(1, 100, 2)]
        assert machine.journal.steps.count("compare") > 2
        assert machine.journal.steps.count("nominate") > 2
        samples = many.json("summary.json")["samples"]
        assert [sample["key"] for sample in samples] == many.nominated()[:25]

    def test_run_survives_a_kill_at_any_call_of_a_port(
        self, many: Sides, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Nothing is lost or counted twice; a nomination may be sent twice."""
        monkeypatch.setattr(workers, "STORE_EVERY_S", -1.0)  # at every look at the clock
        for number in range(30, 100):
            many.s3.delete(SourceRef("source", f"{number:03}"))
            many.gcs.objects.pop(f"{number:03}", None)
        expected = many.run("undisturbed")["counts"]
        kills = 0
        for at in range(1000):
            many.nominations.refs.clear()
            killer = Killer(at)
            machine = Machine(killer.wrap(many.reconcile))
            result = machine.run(f"kill-{at:04}", mode="repair", confirmed=True)

            assert result["counts"] == {**expected, "nominated": 15}
            assert {*many.nominated()} == {f"{number:03}" for number in range(1, 30, 2)}
            assert len(many.lines("differences.csv", result["run"])) == 15
            kills += killer.killed
            if not killer.killed:
                break
        assert kills > 50

    def test_failed_execution_continues_where_it_stopped_when_it_is_redriven(
        self, many: Sides
    ) -> None:
        """A redrive has the same name and start, and repeats the step that failed."""
        machine = many.machine
        many.replicas.error = DestinationForbiddenError("denied")
        with pytest.raises(PermanentError, match="destination_forbidden: denied"):
            machine.run()
        many.replicas.error = None
        many.source.read.clear()

        assert machine.run()["counts"]["missing"] == 50
        plans = [name for name in many.reports.files if name.endswith("plan.json")]
        assert len(plans) == 1


@dataclass
class Killer:
    """Kills the process at one call of a port, after the call's effect or before it."""

    at: int
    calls: int = 0
    killed: bool = False

    def wrap(self, reconcile: Reconcile) -> Reconcile:
        return replace(
            reconcile,
            reports=_Wrapped(reconcile.reports, self),
            nominations=_Wrapped(reconcile.nominations, self),
            source=_Wrapped(reconcile.source, self),
        )

    def call(self, method: Callable[..., Any], arguments: Sequence[Any]) -> Any:  # noqa: ANN401
        self.calls += 1
        if self.calls == self.at // 2 + 1 and not self.killed:
            self.killed = True
            if self.at % 2:
                method(*arguments)
            raise KilledError
        return method(*arguments)


class _Wrapped:
    def __init__(self, port: object, killer: Killer) -> None:
        self._port, self._killer = port, killer

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        found = getattr(self._port, name)
        if not callable(found):
            return found
        return lambda *arguments: self._killer.call(found, arguments)


class TestBadInput:
    @pytest.mark.parametrize(
        ("request_", "message"),
        [
            ({"mode": "destroy"}, "mode is 'destroy'"),
            ({"prefix": 7}, "prefix is 7"),
            ({"confirmed": "yes"}, "confirmed is 'yes'"),
            ({"grace_minutes": -1}, "grace_minutes is negative"),
            ({"max_differences": True}, "max_differences is True"),
            ({"from_run": RUN}, "from_run is only for mode repair"),
            ({"mode": "repair", "from_run": "gone"}, "There is no run gone in s3://reports"),
            ({"bucket": "other"}, "The bucket other is not SourceBucketName"),
            (
                {"prefix": "nothing/"},
                "No key in s3://source and no replica in gs://replica/ begins",
            ),
        ],
    )
    def test_plan_fails_with_what_is_wrong(
        self, sides: Sides, request_: dict[str, Any], message: str
    ) -> None:
        machine = sides.machine
        with pytest.raises(PermanentError) as error:
            machine.run(**request_)

        assert message in str(error.value)
        assert machine.journal.errors

    def test_prefix_outside_of_the_source_prefix_is_refused_and_a_shorter_one_is_completed(
        self, sides: Sides
    ) -> None:
        sides.options["source_prefix"] = "a/"

        with pytest.raises(PermanentError, match="Keys that begin with 'b/' are not replicated"):
            sides.run(prefix="b/")
        assert sides.run()["counts"]["compared"] == 2

    def test_denied_listing_fails_the_plan_with_the_message_of_its_side(self, sides: Sides) -> None:
        sides.source.error = SourceForbiddenError("S3 denied")
        with pytest.raises(PermanentError, match="source_forbidden: S3 denied"):
            sides.run()
        sides.source.error = SourceUnavailableError("S3 is down")
        with pytest.raises(TransientError, match="source_unavailable"):
            sides.run()

    def test_bucket_is_named_where_several_are_replicated(self, sides: Sides) -> None:
        sides.options["buckets"] = frozenset({"source", "other"})
        with pytest.raises(PermanentError, match=r"several buckets, or none\. Name one of them"):
            sides.run()
        assert sides.run(bucket="source")["counts"]["compared"] == 5

    def test_run_that_has_not_ended_is_neither_reported_nor_repaired(self, sides: Sides) -> None:
        machine = sides.machine
        event = {"input": {}, "execution": "execution-1", "started_at": "2026-06-01T00:00:00Z"}
        step(lambda: sides.reconcile, machine.journal, {"reconcile": "plan", **event})

        with pytest.raises(PermanentError, match=f"The run {RUN} has no total. Start a new run"):
            step(lambda: sides.reconcile, machine.journal, {"reconcile": "report", "run": RUN})
        with pytest.raises(PermanentError) as error:
            machine.run("execution-2", mode="repair", from_run=RUN)
        assert (
            f"The run {RUN} has not compared all keys: shard 0 is not done. Wait for its end,"
            " redrive its execution, or start a new run."
        ) in str(error.value)

    def test_repair_without_the_files_of_the_report_says_which_is_gone(self, sides: Sides) -> None:
        sides.run()
        name = f"runs/{RUN}/differences/0000-000.csv"
        del sides.reports.files[name]
        with pytest.raises(PermanentError) as error:
            sides.run("execution-2", mode="repair", from_run=RUN, confirmed=True)
        assert f"s3://reports/{name} is gone. Start a new run." in str(error.value)

    def test_function_without_a_reports_bucket_says_so(self) -> None:
        def build() -> Reconcile:
            raise SettingsError("REPORTS_BUCKET is not set")

        with pytest.raises(PermanentError, match="settings_invalid: REPORTS_BUCKET"):
            step(build, FakeJournal(), {"reconcile": "plan"})

    def test_unknown_step_is_an_error(self, sides: Sides) -> None:
        with pytest.raises(PermanentError, match="invalid_event"):
            step(lambda: sides.reconcile, FakeJournal(), {"reconcile": "dance"})
