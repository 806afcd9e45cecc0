"""The lanes: every class and kind of work has one, and every worker knows its own."""

from __future__ import annotations

from broker.app import create_app
from broker.lanes import ALL_LANES, lane_of, lanes_of
from broker.settings import BrokerSettings
from store.states import JobClass, Work


def test_every_class_has_a_lane_for_each_kind_of_work() -> None:
    assert len(ALL_LANES) == len(JobClass) * len(Work)
    for lane, (job_class, work) in ALL_LANES.items():
        assert lane_of(job_class, work) == lane
        assert lane.startswith("stepwell.")


def test_workers_listen_to_their_own_lanes_most_urgent_first() -> None:
    assert lanes_of(Work.WAITS)[0] == "stepwell.interactive.waits"
    assert lanes_of(Work.COMPUTES)[-1] == "stepwell.background.computes"
    assert set(lanes_of(Work.WAITS)) | set(lanes_of(Work.COMPUTES)) == set(ALL_LANES)
    assert not set(lanes_of(Work.WAITS)) & set(lanes_of(Work.COMPUTES))


def test_the_app_knows_the_lanes_and_makes_no_others(broker_settings: BrokerSettings) -> None:
    app = create_app(broker_settings)
    assert {queue.name for queue in app.conf.task_queues} == set(ALL_LANES)
    assert not app.conf.task_create_missing_queues
    assert app.conf.result_backend is None
    app.close()
