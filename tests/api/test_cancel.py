"""Cancel by a filter: who is met, who is not, and what is no filter."""

import pytest
from msgspec.structs import replace

from fakes import served as fake
from fakes.tasks import new_task
from tesk.api.hashing import hash_secret
from tesk.caller import LOCAL
from tesk.settings import AuthSettings, Settings, Token

CANCEL = "/tesk/v1/tasks:cancel"
TASK = {"executors": [{"image": "debian", "command": ["true"]}]}


def submit(served, count=1, headers=None, **more):
    answer = served.ask("POST", "/tesk/v1/tasks:batch", [TASK | more] * count, headers)
    return [place["id"] for place in answer.json()["tasks"]]


def cancel(served, which, headers=None, **more):
    answer = served.ask("POST", CANCEL, {"filter": which} | more, headers)
    assert answer.status == 200, answer
    done = answer.json()
    return done["matched"], done["canceled"]


def state(served, task_id):
    return served.get(f"/v1/tasks/{task_id}").json()["state"]


def start(served, task_ids):
    """Begin tasks, as a controller would."""

    async def begin():
        lease = await served.store.acquire("here", "server", 60)
        for task_id in task_ids:
            await served.store.begin(lease, task_id, 1.0)

    served.run(begin())


def test_what_fits_is_canceled_and_nothing_else(served):
    align, sort = (
        submit(served, 700, name="align", tags={"run": "1"}),
        submit(served, 3, name="sort", tags={"run": "2"}),
    )
    start(served, [align[0], sort[0]])
    assert cancel(served, {"name_prefix": "ali"}, dry_run=True) == (700, 0)
    assert state(served, align[1]) == "QUEUED"
    assert cancel(served, {"name_prefix": "ali", "state": ["QUEUED"]}) == (699, 699)
    assert (state(served, align[0]), state(served, align[1])) == ("INITIALIZING", "CANCELED")
    assert cancel(served, {"name_prefix": "ali"}) == (1, 1)
    assert state(served, align[0]) == "CANCELING"
    assert cancel(served, {"name_prefix": "ali"}) == (0, 0)
    assert cancel(served, {"tag_key": ["run"], "tag_value": ["1"]}) == (0, 0)
    assert cancel(served, {"tag_key": ["run", "no"]}) == (0, 0)
    assert cancel(served, {"tag_key": ["run"], "name_prefix": "sort", "state": ["RUNNING", "INITIALIZING"]}) == (1, 1)
    assert cancel(served, {"tag_key": ["run"]}, dry_run=True) == (2, 0)
    assert cancel(served, {"tag_key": ["run"], "tag_value": [""]}) == (2, 2)
    assert served.run(served.store.check()) == []


def test_ids_may_be_many_and_may_be_wrong(served):
    some, others = submit(served, 600), submit(served, 2)
    served.ask("POST", f"/v1/tasks/{some[0]}:cancel", {})
    which = {"ids": [*some, *some, "nobody's", "0" * 26]}
    assert cancel(served, which, dry_run=True) == (599, 0)
    assert cancel(served, which | {"state": ["RUNNING"]}) == (0, 0)
    assert cancel(served, which | {"state": ["QUEUED", "CANCELED"]}) == (600, 599)
    assert cancel(served, which) == (0, 0)
    assert {state(served, one) for one in others} == {"QUEUED"}


def test_all_is_said_aloud(served):
    submit(served, 5)
    refused = served.ask("POST", CANCEL, {})
    assert (refused.status, refused.json()["problems"][0]["path"]) == (400, "filter")
    assert cancel(served, {}, all=True, dry_run=True) == (5, 0)
    assert cancel(served, {}, all=True) == (5, 5)


def test_states_in_which_nothing_can_be_canceled_are_counted_once(served):
    some = submit(served, 4)
    start(served, some[:2])
    served.ask("POST", f"/v1/tasks/{some[3]}:cancel", {})
    states = ["CANCELED", "CANCELING", "RUNNING", "INITIALIZING", "QUEUED", "PAUSED", "QUEUED"]
    assert cancel(served, {"state": states}, dry_run=True) == (4, 0)
    assert cancel(served, {"state": states}) == (4, 3)


def test_one_cancels_ones_own_and_an_admin_everybodys(tmp_path):
    tokens = tuple(
        Token(name=name, token_hash=hash_secret(name * 20, "token"), admin=name == "root")
        for name in ("ann", "ben", "root")
    )
    with fake.serve(tmp_path, replace(Settings(), auth=AuthSettings(tokens=tokens))) as served:
        ann, ben, root = ({"Authorization": f"Bearer {name * 20}"} for name in ("ann", "ben", "root"))
        hers, his = submit(served, 3, ann, name="x"), submit(served, 2, ben, name="x")
        assert served.ask("POST", CANCEL, {"all": True}).status == 401
        assert cancel(served, {"ids": [*hers, *his]}, ben) == (2, 2)
        assert cancel(served, {"name_prefix": "x"}, ben) == (0, 0)
        assert cancel(served, {}, root, all=True, dry_run=True) == (3, 0)
        assert cancel(served, {"name_prefix": "x"}, root) == (3, 3)


class Moving:
    """A store in which a task goes back to the queue behind the back of who walks through it."""

    def __init__(self, store):
        self._store = store
        self.left = []

    def __getattr__(self, name):
        return getattr(self._store, name)

    async def list(self, query):
        page = await self._store.list(query)
        if query.state == "QUEUED" and self.left:
            await self._store.create(self.left.pop())
        return page


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (b"{}", "filter"),
        (b'{"filter": {}}', "filter"),
        (b'{"filter": {"state": [], "name_prefix": "", "tag_key": [], "tag_value": []}}', "filter"),
        (b'{"filter": {"ids": []}}', "filter.ids"),
        (b'{"filter": {"ids": [], "state": ["RUNNING"]}}', "filter.ids"),
        (b'{"filter": {"ids": ["x"], "name_prefix": "a"}}', "filter.ids"),
        (b'{"filter": {"ids": [' + b'"x",' * 10_000 + b'"x"]}}', "filter.ids"),
        (b'{"filter": {"state": ["DONE"]}}', "filter.state[0]"),
        (b'{"filter": {"state": "RUNNING"}}', "filter.state"),
        (b'{"filter": {"name": "a"}}', "filter"),
        (b'{"filter": {"tag_value": ["a"]}}', "filter.tag_value"),
        (b'{"filter": {"name_prefix": "\\ud800"}}', "filter.name_prefix"),
        (b'{"filter": {"name_prefix": "a"}, "dry-run": true}', ""),
        (b'{"filter": {"name_prefix": "a"}, "dry_run": true, "dry_run": false}', "dry_run"),
        (b'{"filter": {"name_prefix": "a", "name_prefix": ""}}', "filter.name_prefix"),
        (b'{"filter": {"name_prefix": "a"}, "all": true}', "all"),
        (b'{"filter": null, "all": true}', "filter"),
        (b'{"filter": {"name_prefix": "a"}, "dry_run": "true"}', "dry_run"),
        (b"[", ""),
        (b"[]", ""),
        (b"\xff", ""),
        (b"{" * 100_000, ""),
        (b"", ""),
    ],
)
def test_what_is_no_filter_cancels_nothing(shared, body, path):
    (there,) = submit(shared, name="a")
    answer = shared.ask("POST", CANCEL, body, {"Content-Type": "application/json"})
    assert answer.status == 400, answer
    assert path in [problem["path"] for problem in answer.json()["problems"]], answer.body
    assert state(shared, there) == "QUEUED"


def test_a_filter_comes_as_json_and_is_bounded(shared):
    assert shared.ask("POST", CANCEL, b'{"all": true}', {"Content-Type": "text/plain"}).status == 415
    large = b'{"filter": {"name_prefix": "' + b"a" * (1024 * 1024) + b'"}}'
    assert shared.ask("POST", CANCEL, large, {"Content-Type": "application/json"}).status == 413


def test_what_is_submitted_meanwhile_stays(tmp_path):
    stores = []

    def wrap(store):
        stores.append(Moving(store))
        return stores[0]

    with fake.serve(tmp_path, wrap=wrap) as served:
        submit(served, 3)
        late = new_task(LOCAL.name)
        stores[0].left.append(late)
        assert cancel(served, {}, all=True) == (3, 3)
        assert state(served, late.id) == "QUEUED"
