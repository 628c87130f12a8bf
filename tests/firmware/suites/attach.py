"""What a module remembers of earlier sessions, and how it announces its removal."""

from helpers import module_world

from lensfw import contacts, wire

FIRST = 0x11111111
SECOND = 0x22222222
THIRD = 0x33333333
FOURTH = 0x44444444

CONFIGURE = (0, 0, 1, 0, 0)


def host(camera, time, nonce):
    peer = module_world.Peer(camera, time, nonce)
    peer.hello()
    peer.grant()
    return peer


def outcome(peer, nonce, request):
    return module_world.only(peer.send(wire.T_QUERY, 99, (nonce, request)), wire.T_QUERY_REPLY)[0]


def test_query_of_a_request_of_this_session():
    camera, _, time = module_world.camera()
    peer = host(camera, time, FIRST)
    peer.send(wire.T_CONFIGURE, 5, CONFIGURE)
    peer.send(wire.T_CONFIGURE, 6, (9, 0, 1, 0, 0))
    assert outcome(peer, FIRST, 5) == wire.OUTCOME_DONE
    assert outcome(peer, FIRST, 6) == wire.OUTCOME_NOT_DONE, "refused"
    assert outcome(peer, FIRST, 7) == wire.OUTCOME_NOT_DONE, "never came"
    assert outcome(peer, FIRST, 4) == wire.OUTCOME_NOT_DONE, "a gap: it never came either"
    # A query is no request: it takes no place among the answers, nor an id.
    for _ in range(10):
        assert outcome(peer, FIRST, 5) == wire.OUTCOME_DONE
    assert module_world.kinds(peer.send(wire.T_CONFIGURE, 7, CONFIGURE)) == [wire.T_CONFIGURED]


def test_two_earlier_sessions_are_remembered():
    camera, _, time = module_world.camera()
    for number, nonce in enumerate((FIRST, SECOND, THIRD)):
        peer = host(camera, time, nonce)
        peer.send(wire.T_CONFIGURE, 10 + number, CONFIGURE)
    peer = host(camera, time, FOURTH)
    assert outcome(peer, FIRST, 10) == wire.OUTCOME_UNKNOWN
    assert outcome(peer, SECOND, 11) == wire.OUTCOME_DONE
    assert outcome(peer, SECOND, 12) == wire.OUTCOME_NOT_DONE
    assert outcome(peer, THIRD, 12) == wire.OUTCOME_DONE


def test_a_capture_counts_once_it_has_begun():
    camera, ports, time = module_world.camera()
    peer = host(camera, time, FIRST)
    peer.send(wire.T_CONFIGURE, 2, CONFIGURE)
    # The lens has a long way to go first.
    peer.send(wire.T_CAPTURE, 3, (0, 0, 1), module_world.settings(None, None, 3300))
    assert outcome(peer, FIRST, 3) == wire.OUTCOME_DONE, "accepted, and the session goes on"
    peer = host(camera, time, SECOND)
    assert outcome(peer, FIRST, 3) == wire.OUTCOME_NOT_DONE
    time.us += 1000000
    camera.step()
    assert not [call for call in ports.calls if call[0] == "request_rows"]
    peer.send(wire.T_CONFIGURE, 2, CONFIGURE)
    ports.dead = True
    peer.send(wire.T_CAPTURE, 3, (0, 0, 1))
    peer.turn()
    peer = host(camera, time, THIRD)
    assert outcome(peer, SECOND, 3) == wire.OUTCOME_DONE


def test_a_malformed_query_does_no_harm():
    camera, _, time = module_world.camera()
    peer = host(camera, time, FIRST)
    assert peer.send(wire.T_QUERY, 2, payload=b"\x02\x00") == []
    assert camera.link.receiver.discards["malformed"] == 1
    assert outcome(peer, FIRST, 1) == wire.OUTCOME_DONE


def test_the_release_button_gives_one_notice_at_once():
    camera, ports, time = module_world.camera()
    peer = host(camera, time, FIRST)
    for level in (1, 0, 1, 0):
        ports.events.append((ports.CONTACT, contacts.RELEASE_PIN, level))
        time.us += 2000
    said = peer.turn()
    assert module_world.only(said, wire.T_NOTICE) == (wire.NOTICE_RELEASE, 0, 0)
    assert camera.contacts.state == contacts.ATTACHED
    time.us += contacts.RELEASE_US
    ports.events.append((ports.CONTACT, contacts.RELEASE_PIN, 1))
    assert module_world.kinds(peer.turn()) == [wire.T_NOTICE]


def test_the_release_button_without_a_host():
    camera, ports, time = module_world.camera()
    ports.events.append((ports.CONTACT, contacts.RELEASE_PIN, 1))
    camera.step()
    assert module_world.Peer(camera, time).collect() == []
