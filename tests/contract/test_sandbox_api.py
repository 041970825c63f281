"""The sandbox's API, held to expectations written by hand from API.md."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import httpx
import pytest

from ninepic_mirror.sandbox import EventSpec, Fault, Sandbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

FIRST: Final = 1768777200  # 2026-01-18 23:00 UTC
HOUR: Final = 3600
EVENT: Final = "/api/v1/ext/903/event/456"

Json = dict[str, object]


class Api:
    """A client that knows nothing but addresses and headers."""

    def __init__(self, sandbox: Sandbox, client: httpx.AsyncClient) -> None:
        self.sandbox = sandbox
        self.client = client

    async def get(self, path: str, key: str | None = "test-key") -> tuple[int, Json]:
        """GET a path; return status and answer."""
        headers = {} if key is None else {"X-API-Key": key}
        answer = await self.client.get(self.sandbox.api_url + path, headers=headers)
        return answer.status_code, answer.json()

    async def data(self, path: str) -> Json:
        """GET a path that answers well; return the envelope's data."""
        status, answer = await self.get(path)
        assert (status, answer["responseType"]) == (200, "success")
        assert list(answer) == ["responseType", "message", "data"]
        data = answer["data"]
        assert isinstance(data, dict)
        return data

    async def originals(self, body: object, query: str = "") -> tuple[int, Json]:
        """POST to original-photos; return status and answer."""
        answer = await self.client.post(
            f"{self.sandbox.api_url}{EVENT}/original-photos{query}",
            json=body,
            headers={"X-API-Key": "test-key"},
        )
        return answer.status_code, answer.json()


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    """Serve an event of 105 photos, 5 of them undated, over three hours."""
    specs = [
        EventSpec(photos=105, undated=5, hours=3, look="cheap", thumb_kb=1, large_kb=1),
        EventSpec(
            event_id=457, name=None, slug=None, date=None, status="draft", photos=0, timeline=False
        ),
    ]
    async with Sandbox(specs).running() as sandbox, httpx.AsyncClient(trust_env=False) as client:
        yield Api(sandbox, client)


def ids(data: Json) -> list[object]:
    """Return the ids of a page."""
    images = data["images"]
    assert isinstance(images, list)
    return [image["image_id"] for image in images]


async def test_events(api: Api) -> None:
    """The organisation's events, with null where a field has no value."""
    data = await api.data("/api/v1/ext/903/events")
    assert data["events"] == [
        {
            "event_id": 456,
            "event_name": "Mumbai Marathon 2026",
            "event_slug": "mumbai-marathon-2026",
            "event_date": "2026-01-18T00:00:00",
            "status": "active",
            "cover_image": None,
        },
        {
            "event_id": 457,
            "event_name": None,
            "event_slug": None,
            "event_date": None,
            "status": "draft",
            "cover_image": None,
        },
    ]
    assert data["pagination"] == {
        "total": 2,
        "currentPage": 1,
        "totalPages": 1,
        "hasNextPage": False,
        "hasPreviousPage": False,
        "page_size": 10,
    }


async def test_events_by_pages(api: Api) -> None:
    """The second page of one holds the second event."""
    data = await api.data("/api/v1/ext/903/events?page=2&page_size=1")
    events = data["events"]
    assert isinstance(events, list)
    assert [event["event_id"] for event in events] == [457]


async def test_ping_is_flat(api: Api) -> None:
    """Ping alone answers without the envelope."""
    assert await api.get(EVENT + "/ping") == (200, {"status": "ok", "org_id": 903, "event_id": 456})


async def test_details(api: Api) -> None:
    """Details are the event's fields and seven booleans."""
    data = await api.data(EVENT + "/details")
    flags = {name for name, value in data.items() if isinstance(value, bool)}
    assert data["event_slug"] == "mumbai-marathon-2026"
    assert flags == {
        "event_enabled",
        "bib_search",
        "selfie_search",
        "name_search",
        "video_search",
        "video_selfie_search",
        "timeline_search",
    }


async def test_images(api: Api) -> None:
    """A page holds 32 photos unless asked otherwise, each with addresses on the photo origin."""
    data = await api.data(EVENT + "/images")
    images = data["images"]
    assert isinstance(images, list)
    name = api.sandbox.event(456).photos[0].image_id
    assert images[0] == {
        "img_url": f"{api.sandbox.photos_url}/imgs/456/large/{name}.jpg",
        "height": 4860,
        "width": 3240,
        "image_id": name,
        "thumbnail_url": f"{api.sandbox.photos_url}/imgs/456/small/{name}.jpg",
        "original_url": None,
    }
    assert len(images) == 32
    assert data["pagination"] == {
        "total": 105,
        "currentPage": 1,
        "totalPages": 4,
        "hasNextPage": True,
        "hasPreviousPage": False,
        "page_size": 32,
    }


async def test_pages_make_the_listing(api: Api) -> None:
    """The pages together are the listing, undated photos last, each photo once."""
    pages = [await api.data(f"{EVENT}/images?page={page}&page_size=50") for page in (1, 2, 3)]
    names = [name for page in pages for name in ids(page)]
    assert names == [photo.image_id for photo in api.sandbox.event(456).photos]
    assert [len(ids(page)) for page in pages] == [50, 50, 5]
    last = pages[-1]["pagination"]
    assert isinstance(last, dict)
    assert (last["hasNextPage"], last["hasPreviousPage"], last["totalPages"]) == (False, True, 3)


async def test_empty_set(api: Api) -> None:
    """An empty set answers total, currentPage and totalPages all 0."""
    data = await api.data("/api/v1/ext/903/event/457/images")
    assert data == {
        "images": [],
        "pagination": {
            "total": 0,
            "currentPage": 0,
            "totalPages": 0,
            "hasNextPage": False,
            "hasPreviousPage": False,
            "page_size": 32,
        },
    }


async def test_timeline_days(api: Api) -> None:
    """Days and hours are UTC, ascend, and count exactly the photos with a time."""
    data = await api.data(EVENT + "/timeline/days")
    counts = list(api.sandbox.event(456).hour_counts().values())
    assert data == {
        "days": [
            {"date": "2026-01-18", "total": counts[0], "hours": [{"hour": 23, "count": counts[0]}]},
            {
                "date": "2026-01-19",
                "total": counts[1] + counts[2],
                "hours": [{"hour": 0, "count": counts[1]}, {"hour": 1, "count": counts[2]}],
            },
        ]
    }
    assert sum(counts) == 100


async def test_timeline_without_dated_photos(api: Api) -> None:
    """An event without capture times has no days."""
    api.sandbox.event(457).set(timeline_search=True)
    assert await api.data("/api/v1/ext/903/event/457/timeline/days") == {"days": []}


async def test_timeline_window(api: Api) -> None:
    """A window is `[from, to)` and holds what its hour counts."""
    photos = api.sandbox.event(456).photos
    inside = [photo.image_id for photo in photos if photo.hour == FIRST + HOUR]
    path = f"{EVENT}/timeline/images?from={FIRST + HOUR}&to={FIRST + 2 * HOUR}&page_size=100"
    assert ids(await api.data(path)) == inside
    first = photos[0].captured
    assert ids(await api.data(f"{EVENT}/timeline/images?from={first}&to={FIRST + 1}")) == [
        photos[0].image_id
    ]
    assert ids(await api.data(f"{EVENT}/timeline/images?from=0&to={first}")) == []


async def test_windows_exclude_undated(api: Api) -> None:
    """No window, however wide, holds a photo without a capture time."""
    data = await api.data(f"{EVENT}/timeline/images?from=0&to={10**20}")
    pagination = data["pagination"]
    assert isinstance(pagination, dict)
    assert pagination["total"] == 100


async def test_bibs(api: Api) -> None:
    """A bib number is found in upper and lower case; one that nobody wears is an empty set."""
    upper, lower = await api.data(EVENT + "/bibs/M1003"), await api.data(EVENT + "/bibs/m1003")
    assert ids(upper) == ids(lower) != []
    assert ids(await api.data(EVENT + "/bibs/nobody")) == []
    api.sandbox.event(456).set(bib_search=False)
    assert (await api.get(EVENT + "/bibs/M1003"))[0] == 403


@pytest.mark.parametrize(
    ("path", "key", "status"),
    [
        (EVENT + "/images", None, 401),
        (EVENT + "/images", "wrong", 403),
        ("/api/v1/ext/904/event/456/images", "test-key", 403),
        ("/api/v1/ext/903/event/999/images", "test-key", 404),
        ("/api/v1/ext/903/event/abc/images", "test-key", 422),
        ("/api/v1/ext/903/event/457/timeline/days", "test-key", 403),
        ("/api/v1/ext/903/event/457/timeline/images?from=0&to=1", "test-key", 403),
        (EVENT + "/images?page=0", "test-key", 422),
        (EVENT + "/images?page=x", "test-key", 422),
        (EVENT + "/images?page_size=101", "test-key", 422),
        (EVENT + "/images?page_size=0", "test-key", 422),
        (EVENT + "/timeline/images?from=1", "test-key", 422),
        (EVENT + "/timeline/images?from=1.5&to=2", "test-key", 422),
        (EVENT + "/timeline/images?from=5&to=5", "test-key", 400),
        (EVENT + "/nothing", "test-key", 404),
    ],
)
async def test_refusals(api: Api, path: str, key: str | None, status: int) -> None:
    """Every documented refusal has its status and the envelope of an error."""
    seen, answer = await api.get(path, key)
    assert seen == status
    assert (answer["responseType"], answer["data"]) == ("error", None)


async def test_a_key_can_be_revoked(api: Api) -> None:
    """A key that was deactivated is refused from the next call on."""
    assert (await api.get(EVENT + "/ping"))[0] == 200
    api.sandbox.revoke("test-key")
    assert (await api.get(EVENT + "/ping"))[0] == 403


async def test_an_event_can_go(api: Api) -> None:
    """An event that was removed is not found, one that was added is."""
    api.sandbox.remove_event(456)
    api.sandbox.add_event(EventSpec(event_id=458, photos=1))
    assert (await api.get(EVENT + "/ping"))[0] == 404
    assert (await api.get("/api/v1/ext/903/event/458/ping"))[0] == 200


async def test_original_photos(api: Api) -> None:
    """Links come with a suggested name and no id; unknown ids are listed as failed."""
    name = api.sandbox.event(456).photos[3].image_id
    status, answer = await api.originals({"method": "image_ids", "identifier": [name, "unknown"]})
    data = answer["data"]
    assert status == 200
    assert isinstance(data, dict)
    (link,) = data.pop("presigned_urls")
    assert link.keys() == {"url", "filename"}
    assert link["filename"] == f"{name}.jpg"
    assert link["url"].startswith(f"{api.sandbox.photos_url}/originals/456/{name}.jpg?")
    assert data == {
        "failed_urls": [{"image_id": "unknown", "error": "Image not found", "path": None}],
        "total_images": 2,
        "successful_count": 1,
        "failed_count": 1,
        "identifier": None,
        "message": None,
        "pagination": {
            "total": 2,
            "currentPage": 1,
            "totalPages": 1,
            "hasNextPage": False,
            "hasPreviousPage": False,
            "page_size": 30,
        },
    }


async def test_original_photos_by_pages(api: Api) -> None:
    """A batch is answered in pages of 30, of at most 60 when asked."""
    names = [photo.image_id for photo in api.sandbox.event(456).photos[:70]]
    body = {"method": "image_ids", "identifier": names}
    lengths = []
    for query in ("", "?page_size=60", "?page_size=60&page=2"):
        data = (await api.originals(body, query))[1]["data"]
        assert isinstance(data, dict)
        lengths.append(len(data["presigned_urls"]))
    assert lengths == [30, 60, 10]
    assert (await api.originals(body, "?page_size=61"))[0] == 422


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"method": "image_ids", "identifier": ["no", "such"]}, 400),
        ({"method": "image_ids", "identifier": "text"}, 422),
        ({"method": "image_ids", "identifier": []}, 422),
        ({"method": "image_id", "identifier": ["list"]}, 422),
        ({"method": "face", "identifier": "x"}, 422),
        (["no", "object"], 422),
        ({"method": "selfie", "identifier": "abc"}, 400),
        ({"method": "bib", "identifier": "nobody"}, 400),
    ],
)
async def test_original_photos_refused(api: Api, body: object, status: int) -> None:
    """A body that does not fit is 422, one that finds nothing 400."""
    seen, answer = await api.originals(body)
    assert (seen, answer["responseType"]) == (status, "error")


async def test_bodies_that_are_no_json(api: Api) -> None:
    """A body that cannot be read is 422."""
    url = f"{api.sandbox.api_url}{EVENT}/original-photos"
    answer = await api.client.post(url, content=b'{"method":', headers={"X-API-Key": "test-key"})
    assert answer.status_code == 422


async def test_original_photos_by_other_methods(api: Api) -> None:
    """One id and a bib number work too, and stand in the answer."""
    event = api.sandbox.event(456)
    for method, identifier in (("image_id", event.photos[0].image_id), ("bib", "m1003")):
        data = (await api.originals({"method": method, "identifier": identifier}))[1]["data"]
        assert isinstance(data, dict)
        assert data["identifier"] == identifier
        assert data["successful_count"] == (
            1 if method == "image_id" else len(event.bib_serials("M1003"))
        )
    event.set(bib_search=False)
    assert (await api.originals({"method": "bib", "identifier": "m1003"}))[0] == 403


async def test_original_photos_without_envelope(api: Api) -> None:
    """The older form of the answer has the same fields and no envelope."""
    api.sandbox.event(456).set(bare_originals=True)
    name = api.sandbox.event(456).photos[0].image_id
    _, answer = await api.originals({"method": "image_ids", "identifier": [name]})
    assert "responseType" not in answer
    assert answer["successful_count"] == 1


async def test_originals_shuffled_failed_and_missing(api: Api) -> None:
    """Faults shuffle the links, refuse some ids and leave others out without a word."""
    names = [photo.image_id for photo in api.sandbox.event(456).photos[:20]]
    faults = api.sandbox.faults
    faults.add(
        Fault(kind="shuffle"),
        Fault(kind="missing", amount=2),
        Fault(kind="failed", image_id=names[5]),
    )
    data = (await api.originals({"method": "image_ids", "identifier": names}))[1]["data"]
    assert isinstance(data, dict)
    given = [link["filename"].removesuffix(".jpg") for link in data["presigned_urls"]]
    expected = [name for name in names[2:] if name != names[5]]
    assert sorted(given) == sorted(expected)
    assert given != expected
    assert [failed["image_id"] for failed in data["failed_urls"]] == [names[5]]


async def totals(api: Api, path: str) -> list[object]:
    """Read a listing to its end; return the total of every page."""
    seen: list[object] = []
    more, page = True, 1
    while more:
        data = await api.data(f"{path}&page={page}&page_size=20")
        pagination = data["pagination"]
        assert isinstance(pagination, dict)
        seen.append(pagination["total"])
        more, page = pagination["hasNextPage"] is True, page + 1
    return seen


@pytest.mark.parametrize(
    ("how", "change"), [("remove", -1), ("add", 1), ("retime", 0), ("swap", 0)]
)
async def test_listings_move(api: Api, how: str, change: int) -> None:
    """A listing that moves after its second page says so only in its total, and `swap` not even there."""
    event = api.sandbox.event(456)
    before = {photo.image_id: photo.captured for photo in event.photos}
    api.sandbox.faults.add(Fault(kind="move", how=how, after=2))
    seen = await totals(api, EVENT + "/images?x=")
    after = {photo.image_id: photo.captured for photo in event.photos}
    assert seen == [105, 105] + [105 + change] * 4
    assert len(after) == 105 + change
    assert after != before


async def test_a_swap_hides_in_its_window(api: Api) -> None:
    """One photo leaves a window and another arrives in it: equal totals, other photos, and the file stays."""
    event = api.sandbox.event(456)
    window = f"{EVENT}/timeline/images?from={FIRST}&to={FIRST + HOUR}"
    first = event.photos[0].image_id
    api.sandbox.faults.add(Fault(kind="move", how="swap", after=1))
    before = ids(await api.data(window))
    after = ids(await api.data(window))
    assert len(before) == len(after)
    assert len(set(before) & set(after)) == len(before) - 1
    assert event.body(first, "large")


async def test_rows_stand_twice(api: Api) -> None:
    """Duplicate rows are in the pages and in the total, and nothing is left out for them."""
    api.sandbox.faults.add(Fault(kind="duplicate_rows", amount=3))
    pages = [await api.data(f"{EVENT}/images?page={page}&page_size=60") for page in (1, 2)]
    names = [name for page in pages for name in ids(page)]
    assert len(names) == 108
    assert len(set(names)) == 105
    assert names[0] == names[1]


async def test_counts_lag_and_lie(api: Api) -> None:
    """Counts can be behind the latest arrivals, or wrong by a number, or no number at all."""
    event, faults = api.sandbox.event(456), api.sandbox.faults
    event.add(4, FIRST)
    true = event.hour_counts()[FIRST]

    async def first_count() -> object:
        days = (await api.data(EVENT + "/timeline/days"))["days"]
        assert isinstance(days, list)
        return days[0]["hours"][0]["count"]

    assert await first_count() == true
    faults.add(Fault(kind="count_lag", amount=3))
    assert await first_count() == true - 3
    faults.clear()
    faults.add(Fault(kind="count_lie", amount=7, count=1), Fault(kind="count_lie", value="many"))
    assert [await first_count(), await first_count()] == [true + 7, "many"]


async def test_totals_lie(api: Api) -> None:
    """A total can be wrong by a number or be anything."""
    faults = api.sandbox.faults
    faults.add(Fault(kind="total_lie", amount=-5, count=1), Fault(kind="total_lie", value="NaN"))
    seen = [(await api.data(EVENT + "/images"))["pagination"] for _ in range(2)]
    assert [page["total"] for page in seen if isinstance(page, dict)] == [100, "NaN"]


async def test_hostile_rows(api: Api) -> None:
    """Rows with hostile ids and addresses arrive as they were given."""
    event = api.sandbox.event(457)
    event.add_raw(image_id="../../x")
    event.add_raw(image_id=None, img_url="file:///etc/passwd")
    event.add_raw(image_id="\ud800\0", item={"thumbnail_url": 5})
    data = await api.data("/api/v1/ext/903/event/457/images")
    assert ids(data) == ["../../x", None, "\ud800\0"]


async def test_requests_are_remembered(api: Api) -> None:
    """Every request is noted with its headers and status, and counted by origin."""
    await api.get(EVENT + "/images?page=7", key="wrong")
    (seen,) = api.sandbox.requests
    assert (seen.origin, seen.method, seen.path, seen.query) == (
        "api",
        "GET",
        EVENT + "/images",
        "page=7",
    )
    assert (seen.headers["x-api-key"], seen.status) == ("wrong", 403)
    assert (api.sandbox.count("api"), api.sandbox.count("photos")) == (1, 0)
    api.sandbox.clear_requests()
    assert (api.sandbox.requests, api.sandbox.count("api")) == ([], 0)


async def test_counters_outlast_the_list(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """The counters stay exact when the list of requests is full."""
    api.sandbox._seen = type(api.sandbox._seen)(maxlen=3)
    for _ in range(5):
        await api.get(EVENT + "/ping")
    assert (len(api.sandbox.requests), api.sandbox.count("api")) == (3, 5)
