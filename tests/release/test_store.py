"""The rule of a node about releases: signed by the pinned key, no downgrade, no replay, a new key by the old key alone."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pytest

from agent.errors import EdgeError, IdentityError, Refused
from agent.identity import IdentityStore
from agent.release import ReleaseStore, SigningKey, check_package
from agent.release.manifest import MAX_MANIFEST
from tests.release.making import package, signed

OWNER = SigningKey.generate()


@pytest.fixture
def store(tmp_path: Path) -> ReleaseStore:
    store = ReleaseStore(tmp_path / "release")
    store.pin(OWNER.public.pem)
    return store


def install(store: ReleaseStore, release: tuple[bytes, bytes], **more: str) -> str:
    admission = store.admit(*release, **more)
    store.accept(admission)
    return admission.way


def code(store: ReleaseStore, release: tuple[bytes, bytes], **more: str) -> str:
    with pytest.raises(EdgeError) as error:
        store.admit(*release, **more)
    assert error.value.hint
    return error.value.code


def test_a_higher_version_is_an_upgrade(store: ReleaseStore) -> None:
    assert install(store, signed(OWNER, "0.1.0")) == "first"
    assert install(store, signed(OWNER, "0.2.0")) == "upgrade"
    assert (store.current and store.current.version, store.previous and store.previous.version) == ("0.2.0", "0.1.0")


def test_the_current_release_may_be_installed_again(store: ReleaseStore) -> None:
    release = signed(OWNER)
    install(store, release)
    assert install(store, release) == "again"
    assert store.previous is None


def test_a_node_goes_back_to_the_previous_release_alone(store: ReleaseStore) -> None:
    releases = [signed(OWNER, v) for v in ("0.1.0", "0.2.0", "0.3.0")]
    for release in releases:
        install(store, release)
    assert code(store, releases[0]) == "release.downgrade"
    assert install(store, releases[1]) == "back"
    assert code(store, releases[0]) == "release.downgrade"
    assert install(store, releases[2]) == "back"


def test_a_replay_after_going_back_is_refused(store: ReleaseStore) -> None:
    old, new = signed(OWNER, "0.1.0"), signed(OWNER, "0.3.0")
    install(store, old)
    install(store, new)
    install(store, old)
    assert code(store, signed(OWNER, "0.2.0")) == "release.downgrade"
    assert install(store, signed(OWNER, "0.4.0-rc.1")) == "upgrade"


def test_a_version_is_one_manifest(store: ReleaseStore) -> None:
    install(store, signed(OWNER, "0.1.0"))
    assert code(store, signed(OWNER, "0.1.0", protocol=2)) == "release.replaced"


def test_a_pre_release_does_not_replace_its_release(store: ReleaseStore) -> None:
    install(store, signed(OWNER, "0.2.0"))
    assert code(store, signed(OWNER, "0.2.0-rc.2")) == "release.downgrade"


def test_a_node_keeps_its_channel_until_asked(store: ReleaseStore) -> None:
    install(store, signed(OWNER, "0.1.0"))
    beta = signed(OWNER, "0.2.0", channel="beta")
    assert code(store, beta) == "release.channel"
    assert install(store, beta, channel="beta") == "upgrade"
    assert code(store, signed(OWNER, "0.3.0")) == "release.channel"


def test_a_node_without_a_pinned_key_installs_nothing(tmp_path: Path) -> None:
    assert code(ReleaseStore(tmp_path), signed(OWNER)) == "release.no-key"


def test_another_key_is_not_pinned_over_the_first(store: ReleaseStore) -> None:
    store.pin(OWNER.public.pem)
    with pytest.raises(IdentityError) as error:
        store.pin(SigningKey.generate().public.pem)
    assert error.value.code == "release.pinned"
    assert store.key is not None
    assert store.key.id == OWNER.public.id


def test_changed_bytes_are_refused(store: ReleaseStore) -> None:
    raw, signature = signed(OWNER)
    assert code(store, (raw.replace(b"stable", b"stalbe"), signature)) == "release.signature"
    assert code(store, (raw, b"x" * 1000)) == "release.manifest"
    assert code(store, (b"x" * (MAX_MANIFEST + 1), signature)) == "release.manifest"


def test_an_operator_cannot_make_an_installable_release(store: ReleaseStore, tmp_path: Path) -> None:
    operator = IdentityStore(tmp_path / "identity").create_mesh("operator")
    assert operator.ca_key_pem is not None
    install(store, signed(OWNER, "0.1.0"))
    own = SigningKey.generate()
    raw = signed(own, "0.2.0")[0]
    with_next = signed(own, "0.2.0", next_key=own.public.pem.decode())
    from agent.identity.keys import ECDSA_SHA256, key_from_pem

    by_ca = key_from_pem(operator.ca_key_pem).sign(raw, ECDSA_SHA256)
    for release in ((raw, operator.sign(raw)), (raw, by_ca), signed(own, "0.2.0"), with_next):
        assert code(store, release) == "release.signature"
        with pytest.raises(IdentityError):
            store.follow_key(*release)
    with pytest.raises(IdentityError):
        store.pin(own.public.pem)
    with pytest.raises(IdentityError) as error:
        check_package(io.BytesIO(b"a TREE"), package(b"a tree"))
    assert error.value.code == "release.package"
    assert store.current is not None
    assert store.current.version == "0.1.0"


def test_a_new_key_counts_when_the_old_key_named_it(store: ReleaseStore) -> None:
    new = SigningKey.generate()
    install(store, signed(OWNER, "0.1.0"))
    assert code(store, signed(new, "0.3.0")) == "release.signature"
    last = signed(OWNER, "0.2.0", next_key=new.public.pem.decode())
    install(store, last)
    assert store.key is not None
    assert store.key.id == new.public.id
    assert code(store, signed(OWNER, "0.3.0")) == "release.signature"
    assert install(store, signed(new, "0.3.0")) == "upgrade"
    assert install(store, last) == "back"
    assert store.key.id == new.public.id
    assert install(store, signed(new, "0.4.0")) == "upgrade"


def test_a_node_that_missed_a_release_follows_its_key(store: ReleaseStore) -> None:
    new, newest = SigningKey.generate(), SigningKey.generate()
    install(store, signed(OWNER, "0.1.0"))
    bridge = signed(OWNER, "0.2.0", next_key=new.public.pem.decode())
    assert store.follow_key(*bridge).id == new.public.id
    assert store.follow_key(*signed(new, "0.3.0", next_key=newest.public.pem.decode())).id == newest.public.id
    assert install(store, signed(newest, "0.4.0")) == "upgrade"
    with pytest.raises(IdentityError):
        store.follow_key(*bridge)
    with pytest.raises(Refused) as error:
        store.follow_key(*signed(newest, "0.5.0"))
    assert error.value.code == "release.no-next-key"


def test_a_crash_while_accepting_is_completed_by_the_next_call(
    store: ReleaseStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = signed(OWNER, "0.1.0"), signed(OWNER, "0.2.0")
    install(store, first)
    from agent.release import store as module

    real = module.replacing
    for allowed in range(3):
        left = iter(range(10))

        @contextmanager
        def cut(path: Path, *, mode: int, most: int = allowed, left: Iterator[int] = left) -> Iterator[BinaryIO]:
            if next(left) >= most:
                raise OSError(5, "power cut")
            with real(path, mode=mode) as file:
                yield file

        monkeypatch.setattr(module, "replacing", cut)
        with pytest.raises(OSError, match="power cut"):
            install(store, second)
        monkeypatch.setattr(module, "replacing", real)
        assert store.current is not None
        store.admit(*second)
        store.admit(*first)
    install(store, second)
    assert code(store, signed(OWNER, "0.1.5")) == "release.downgrade"


def test_a_package_is_checked_to_its_last_byte() -> None:
    data = bytes(3_000_000)
    good = package(data)
    file = io.BytesIO(data)
    check_package(file, good)
    assert file.tell() == 0
    for wrong in (data[:-1], data + b"\0", data[:-1] + b"\1", b""):
        with pytest.raises(IdentityError) as error:
            check_package(io.BytesIO(wrong), good)
        assert error.value.code == "release.package"


def test_a_version_that_runs_counts_besides_accepted_ones(store: ReleaseStore) -> None:
    install(store, signed(OWNER, "0.1.0"))
    assert code(store, signed(OWNER, "0.2.0"), running="0.3.0") == "release.downgrade"
    assert store.admit(*signed(OWNER, "0.3.0"), running="0.3.0").way == "upgrade"
