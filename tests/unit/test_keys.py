"""API keys: stored hashed, scoped, revocable, with a balance that cannot be overdrawn."""

import uuid
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
import sqlalchemy as sa

from prosopon.deployments.state.database import Records
from prosopon.deployments.state.errors import KeyNotFound, NotEnoughCredits, StateError
from prosopon.deployments.state.keys import SCOPES, KeyStore, give_back_credits


@pytest.fixture
def keys(tmp_path: Path) -> KeyStore:
    return KeyStore(Records(f"sqlite:///{tmp_path / 'records.db'}"))


def refund(keys: KeyStore, key: int, amount: int) -> None:
    with keys._records.write() as db:
        give_back_credits(db, key, amount)


def test_a_key_is_found_by_its_secret_alone(keys: KeyStore) -> None:
    key, secret = keys.create("door", ["recognition"])
    assert uuid.UUID(secret).version == 4
    assert keys.find(secret) == key == keys.find(f" {secret.upper()} ")
    assert keys.find(str(uuid.uuid4())) is None
    assert keys.find("") is None
    assert keys.find("\ud800\0") is None
    assert key.allows("recognition")
    assert not key.allows("verification")


def test_the_database_does_not_hold_the_secret(keys: KeyStore, tmp_path: Path) -> None:
    _, secret = keys.create("door")
    stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert secret[:8].encode() in stored
    assert secret.encode() not in stored
    assert uuid.UUID(secret).bytes not in stored


def test_a_revoked_key_is_unknown_and_still_listed(keys: KeyStore) -> None:
    key, secret = keys.create("door")
    keys.revoke(key.id)
    assert keys.find(secret) is None
    (listed,) = keys.list()
    assert listed.id == key.id
    assert listed.revoked is not None
    keys.revoke(key.id)
    assert keys.list()[0].revoked == listed.revoked
    with pytest.raises(KeyNotFound):
        keys.revoke(999)


def test_keys_have_galleries_of_their_own_unless_one_is_named(keys: KeyStore) -> None:
    a, b = keys.create("a")[0], keys.create("b")[0]
    c, d = (keys.create(name, gallery="staff", tenant="shop")[0] for name in "cd")
    other = keys.create("e", gallery="staff", tenant="acme")[0]
    assert len({a.gallery, b.gallery, c.gallery, other.gallery}) == 4
    assert c.gallery == d.gallery
    with pytest.raises(StateError, match="name the tenant"):
        keys.create("f", gallery="staff")


def test_a_new_key_is_a_tenant_of_its_own_and_may_use_the_apis_alone(keys: KeyStore) -> None:
    a, b = keys.create("a")[0], keys.create("b")[0]
    together = {keys.create(name, tenant="shop")[0].tenant for name in "cd"}
    assert a.tenant != b.tenant and len(together) == 1 and not together & {a.tenant, b.tenant}
    assert a.scopes == set(SCOPES) - {"admin"}
    assert keys.create("boss", ["admin"])[0].allows("admin")


@pytest.mark.parametrize(
    ("scopes", "credits"), [(["recognition", "root"], None), ([], None), (["facecheck"], -1)]
)
def test_keys_that_make_no_sense_are_refused(keys: KeyStore, scopes: list, credits: int | None) -> None:
    with pytest.raises(StateError):
        keys.create("door", scopes, credits=credits)
    assert keys.list() == []


def test_the_development_key_is_made_once(keys: KeyStore) -> None:
    secret = keys.ensure_development_key()
    assert secret is not None
    key = keys.find(secret)
    assert key is not None
    assert key.scopes == set(SCOPES)
    assert keys.ensure_development_key() is None
    keys.revoke(key.id)
    assert keys.ensure_development_key() is None


def test_a_balance_is_never_overdrawn_by_concurrent_charges(keys: KeyStore) -> None:
    key, secret = keys.create("search", ["facecheck"], credits=50)

    def charge(_: int) -> bool:
        try:
            keys.charge(key.id, 3)
        except NotEnoughCredits:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        charged = sum(pool.map(charge, range(40)))
    assert charged == 16
    found = keys.find(secret)
    assert found is not None
    assert found.credits == 2
    refund(keys, key.id, 3)
    assert keys.charge(key.id, 5) == 0
    assert keys.top_up(key.id, 7) == 7
    with pytest.raises(KeyNotFound):
        keys.charge(999, 1)
    for method in (keys.charge, partial(refund, keys), keys.top_up):
        with pytest.raises(StateError):
            method(key.id, -1)


def test_a_key_without_a_limit_is_not_counted(keys: KeyStore) -> None:
    key, secret = keys.create("search")
    assert keys.charge(key.id, 1000) is None
    refund(keys, key.id, 1000)
    found = keys.find(secret)
    assert found is not None
    assert found.credits is None


def test_the_database_itself_refuses_a_negative_balance(keys: KeyStore) -> None:
    key, _ = keys.create("search", credits=1)
    with pytest.raises(sa.exc.IntegrityError), keys._records.write() as db:
        db.execute(sa.text("update keys set credits = -1"))
    assert keys.charge(key.id, 1) == 0
