"""Keys over HTTP: for administrators alone, and what they make works, or works no longer."""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from prosopon.configs.settings import StateSettings
from prosopon.deployments.state.database import Records
from prosopon.deployments.state.keys import API_SCOPES, KeyStore
from prosopon.deployments.state.usage import DayOfKey, UsageStore, Used, today
from prosopon.pipelines.http.key_routes import routes
from prosopon.pipelines.http.keys import Authenticator


class Admin:
    """Asks the routes with a key."""

    def __init__(self, records: Records, key: str) -> None:
        keys = Authenticator(KeyStore(records))
        self._transport = httpx.ASGITransport(Starlette(routes=routes(keys, records)))
        self._key = key

    def __call__(
        self, method: str, path: str, json: Any = None, key: str | None = None, at: str = "/admin/key"
    ) -> httpx.Response:
        async def ask() -> httpx.Response:
            async with httpx.AsyncClient(transport=self._transport, base_url="http://keys") as client:
                headers = {"x-api-key": key or self._key}
                return await client.request(method, at + path, json=json, headers=headers)

        return asyncio.run(ask())


@pytest.fixture
def records(tmp_path: Path) -> Records:
    return Records(StateSettings(home=tmp_path).database)


@pytest.fixture
def store(records: Records) -> KeyStore:
    return KeyStore(records)


@pytest.fixture
def admin(records: Records, store: KeyStore) -> Admin:
    return Admin(records, store.create("operator", ["admin"])[1])


def test_a_key_is_made_and_works_until_it_is_revoked(admin: Admin, store: KeyStore) -> None:
    answer = admin("POST", "s", {"name": "shop", "scopes": ["recognition"], "credits": 5})
    assert answer.status_code == 201
    made = answer.json()
    found = store.find(made["key"])
    assert found is not None and (found.id, found.scopes, found.credits) == (made["id"], {"recognition"}, 5)
    assert admin("POST", f"s/{made['id']}/credits", {"credits": 10}).json() == {
        "id": made["id"],
        "credits": 15,
    }
    assert admin("POST", f"s/{made['id']}/revoke").status_code == 200
    assert store.find(made["key"]) is None


def test_without_scopes_a_key_is_for_every_api_and_not_for_administration(admin: Admin) -> None:
    assert admin("POST", "s", {"name": "all"}).json()["scopes"] == sorted(API_SCOPES)


def test_the_list_shows_no_secret(admin: Admin) -> None:
    made = admin("POST", "s", {"name": "shop"}).json()
    listed = admin("GET", "s")
    assert [key["name"] for key in listed.json()["keys"]] == ["operator", "shop"]
    assert made["key"] not in listed.text and made["key"].startswith(listed.json()["keys"][1]["prefix"])


def test_every_key_may_know_what_it_is_for(admin: Admin, store: KeyStore) -> None:
    key, secret = store.create("client", ["verification"], credits=7)
    answer = admin("GET", "", key=secret)
    assert answer.json()["scopes"] == ["verification"] and answer.json()["credits"] == 7
    assert answer.json()["id"] == key.id and secret not in answer.text
    store.revoke(key.id)
    assert admin("GET", "", key="01234567-89ab-4def-8123-456789abcdef").status_code == 401


def test_nobody_else_sees_or_makes_keys(admin: Admin, store: KeyStore) -> None:
    other = store.create("client", API_SCOPES)[1]
    for key in (other, "01234567-89ab-4def-8123-456789abcdef", "nonsense"):
        for method, path in (("GET", "s"), ("POST", "s"), ("POST", "s/1/revoke"), ("POST", "s/1/credits")):
            assert admin(method, path, {"name": "mine"}, key=key).status_code == 401
    assert len(store.list()) == 2


@pytest.mark.parametrize(
    ("path", "body", "status", "says"),
    [
        ("s", {}, 400, "name"),
        ("s", {"name": ""}, 400, "name"),
        ("s", {"name": "x", "scopes": ["everything"]}, 400, "scopes"),
        ("s", {"name": "x", "scopes": []}, 400, "a key needs a scope"),
        ("s", {"name": "x", "gallery": "g"}, 400, "name the tenant"),
        ("s", {"name": "x", "credits": -1}, 400, "credits"),
        ("s", {"name": "x", "colour": "red"}, 400, "colour"),
        ("s", ["x"], 400, "object"),
        ("s/99/revoke", None, 404, "no key 99"),
        ("s/99/credits", {"credits": 1}, 404, "no key 99"),
        ("s/1/credits", {"credits": 0}, 400, "credits"),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence(
    admin: Admin, path: str, body: Any, status: int, says: str
) -> None:
    answer = admin("POST", path, body)
    assert answer.status_code == status and says in answer.json()["message"]


def test_usage_is_told_by_day_to_administrators_of_all_keys_and_to_any_key_of_itself(
    admin: Admin, records: Records, store: KeyStore
) -> None:
    (shop, secret), (other, _) = store.create("shop"), store.create("other")
    yesterday = today() - timedelta(1)
    UsageStore(records).add(
        {
            DayOfKey(today(), shop.id): Used(requests=3, pictures=2),
            DayOfKey(yesterday, shop.id): Used(requests=1),
            DayOfKey(today(), other.id): Used(requests=9),
        }
    )
    store.charge(shop.id, 5)
    now = {"day": today().isoformat(), "key": shop.id, "requests": 3, "pictures": 2, "points": 5}
    before = {"day": yesterday.isoformat(), "key": shop.id, "requests": 1, "pictures": 0, "points": 0}
    assert admin("GET", "/usage", key=secret).json() == {"days": [before, now]}
    assert admin("GET", "/usage?days=1", key=secret).json() == {"days": [now]}
    everybody = admin("GET", "/usage?days=1", at="/admin").json()["days"]
    assert {row["key"]: row["requests"] for row in everybody} == {shop.id: 3, other.id: 9}
    assert admin("GET", "/usage", at="/admin", key=secret).status_code == 401
    assert admin("GET", "/usage?days=0", at="/admin").json()["message"].startswith("days")
    assert admin("GET", "/usage?days=many", key=secret).status_code == 400
